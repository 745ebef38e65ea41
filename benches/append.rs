//! Sending: records one by one into batches, and one durable record after another.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark fails by panicking")]

use brooklet::{Cluster, Compression, FlushPolicy, NewTopic, Record};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// One call to send for each record; every 10,000 a flush.
fn send(c: &mut Criterion) {
    const RECORDS: u64 = 10_000;
    let mut group = c.benchmark_group("send");
    for size in [100usize, 1024] {
        let value = "abcdefghij0123456789".repeat(52).into_bytes();
        let value = value.get(..size).unwrap();
        for codec in [Compression::None, Compression::Lz4, Compression::Zstd] {
            let cluster = Cluster::builder().flush_policy(FlushPolicy::Os).temp().unwrap();
            let topic = cluster.create_topic(NewTopic::new("t")).unwrap();
            let producer = cluster.producer().compression(codec).build().unwrap();
            group.throughput(Throughput::Bytes(RECORDS * value.len() as u64));
            group.bench_function(BenchmarkId::new(codec.to_string(), size), |b| {
                b.iter(|| {
                    for _ in 0..RECORDS {
                        producer.send(Record::to(&topic).value(value)).unwrap();
                    }
                    producer.flush().unwrap();
                });
            });
        }
    }
    group.finish();
}

/// One record, on disk before the next is sent; in memory, what the call itself costs.
fn send_and_wait(c: &mut Criterion) {
    let mut group = c.benchmark_group("send_and_wait");
    for (name, cluster) in
        [("memory", Cluster::in_memory().unwrap()), ("on-ack", Cluster::temp().unwrap())]
    {
        let topic = cluster.create_topic(NewTopic::new("t")).unwrap();
        let producer = cluster.producer().build().unwrap();
        group.bench_function(name, |b| {
            b.iter(|| producer.send(Record::to(&topic).value("welcome")).unwrap().wait().unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, send, send_and_wait);
criterion_main!(benches);
