//! Reading: a scan from the beginning, and single records at random offsets.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark fails by panicking")]

use std::time::Duration;

use brooklet::{Cluster, FlushPolicy, NewTopic, Offset, ReadMode, Record, Topic};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const RECORDS: u32 = 100_000;

/// A topic with records of 1 KiB, written and closed, so that it is read from its files.
fn filled(dir: &std::path::Path, mode: ReadMode) -> (Cluster, Topic) {
    let open =
        || Cluster::builder().flush_policy(FlushPolicy::Os).read_mode(mode).open_at(dir).unwrap();
    let cluster = open();
    let topic = cluster.create_topic(NewTopic::new("t")).unwrap();
    let producer = cluster.producer().build().unwrap();
    for n in 0..RECORDS {
        producer.send(Record::to(&topic).value(&[n.to_be_bytes()[3]; 1024])).unwrap();
    }
    drop((producer, topic));
    cluster.close().unwrap();
    let cluster = open();
    let topic = cluster.topic("t").unwrap();
    (cluster, topic)
}

fn scan(c: &mut Criterion) {
    let mut group = c.benchmark_group("scan");
    group.throughput(Throughput::Bytes(u64::from(RECORDS) * 1024)).sample_size(10);
    for mode in [ReadMode::Map, ReadMode::Pread] {
        let dir = tempfile::tempdir().unwrap();
        let (cluster, topic) = filled(dir.path(), mode);
        group.bench_function(BenchmarkId::from_parameter(format!("{mode:?}")), |b| {
            b.iter(|| {
                let mut consumer = cluster.consumer().build().unwrap();
                consumer.assign(topic.partitions()).unwrap();
                let mut count = 0;
                while count < RECORDS as usize {
                    let records = consumer.poll(Duration::from_secs(1)).unwrap();
                    count += records
                        .iter()
                        .filter(|r| r.value().is_some_and(|v| v.len() == 1024))
                        .count();
                }
            });
        });
    }
    group.finish();
}

fn get(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let (_cluster, topic) = filled(dir.path(), ReadMode::Map);
    let partition = topic.partition(0).unwrap();
    let mut offset = 0;
    c.bench_function("get", |b| {
        b.iter(|| {
            offset = (offset + 7_919) % RECORDS;
            partition.read(Offset::from(offset), 1).unwrap().len()
        });
    });
}

criterion_group!(benches, scan, get);
criterion_main!(benches);
