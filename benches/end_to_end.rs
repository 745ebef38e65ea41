//! From a producer to a consumer: how long one record takes, and how many come through.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "threads and clocks are real here, not simulated")]

use std::thread;
use std::time::Duration;

use brooklet::{Cluster, Consumer, FlushPolicy, NewTopic, Record, Topic};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const WAIT: Duration = Duration::from_secs(10);

/// Each with a topic, and a consumer of it.
fn clusters() -> [(&'static str, Cluster, Topic, Consumer); 3] {
    let with = |policy| Cluster::builder().flush_policy(policy);
    [
        ("memory", Cluster::in_memory().unwrap()),
        ("os", with(FlushPolicy::Os).temp().unwrap()),
        ("on-ack", with(FlushPolicy::OnAck).temp().unwrap()),
    ]
    .map(|(name, cluster)| {
        let topic = cluster.create_topic(NewTopic::new("t")).unwrap();
        let mut consumer = cluster.consumer().build().unwrap();
        consumer.assign(topic.partitions()).unwrap();
        (name, cluster, topic, consumer)
    })
}

/// One record, from `send` until `poll` returns it: nobody waits for its acknowledgement.
fn latency(c: &mut Criterion) {
    let mut group = c.benchmark_group("latency");
    for (name, cluster, topic, mut consumer) in clusters() {
        let producer = cluster.producer().build().unwrap();
        group.bench_function(name, |b| {
            b.iter(|| {
                producer.send(Record::to(&topic).value("welcome")).unwrap();
                assert_eq!(consumer.poll(WAIT).unwrap().len(), 1);
            });
        });
    }
    group.finish();
}

/// Records of 1 KiB, by one thread as fast as it can, read by another meanwhile.
fn throughput(c: &mut Criterion) {
    const RECORDS: usize = 50_000;
    let mut group = c.benchmark_group("throughput");
    group.throughput(Throughput::Bytes(RECORDS as u64 * 1024)).sample_size(10);
    for (name, cluster, topic, mut consumer) in clusters() {
        let producer = cluster.producer().build().unwrap();
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                thread::scope(|scope| {
                    scope.spawn(|| {
                        for _ in 0..RECORDS {
                            producer.send(Record::to(&topic).value(&[7; 1024])).unwrap();
                        }
                        producer.flush().unwrap();
                    });
                    let mut count = 0;
                    while count < RECORDS {
                        count += consumer.poll(WAIT).unwrap().len();
                    }
                });
            });
        });
    }
    group.finish();
}

criterion_group!(benches, latency, throughput);
criterion_main!(benches);
