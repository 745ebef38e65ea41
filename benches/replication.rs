//! Three brokers: what waiting for all of them costs, and how long it takes until another one leads.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "what is measured against is files and threads")]

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use brooklet::{Cluster, ElectionKind, FlushPolicy, NewTopic, Record, Topic};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const VALUE: [u8; 1024] = [7; 1024];

fn three(policy: FlushPolicy) -> Cluster {
    Cluster::builder().brokers(3).flush_policy(policy).temp().unwrap()
}

/// A topic of which broker 1 leads every partition.
fn topic(cluster: &Cluster, partitions: usize) -> Topic {
    let brokers = cluster.brokers().iter().map(|broker| broker.id()).collect::<Vec<_>>();
    cluster.create_topic(NewTopic::new("t").assignment(vec![brokers; partitions])).unwrap()
}

/// One record that is synced on three brokers, and what the disk takes for that: three threads that write and sync as
/// much at the same moment.
fn on_ack(c: &mut Criterion) {
    let mut group = c.benchmark_group("on-ack");
    group.bench_function("three replicas", |b| {
        let cluster = three(FlushPolicy::OnAck);
        let topic = topic(&cluster, 1);
        let producer = cluster.producer().build().unwrap();
        b.iter(|| producer.send(Record::to(&topic).value(&VALUE)).unwrap().wait().unwrap());
    });
    group.bench_function("three parallel syncs", |b| {
        b.iter_custom(|times| {
            let dir = tempfile::tempdir().unwrap();
            let barrier = Arc::new(Barrier::new(4));
            let threads = (0..3).map(|n| {
                let mut file = File::create(dir.path().join(n.to_string())).unwrap();
                let barrier = Arc::clone(&barrier);
                thread::spawn(move || {
                    for _ in 0..times {
                        barrier.wait();
                        file.write_all(&VALUE).unwrap();
                        file.sync_data().unwrap();
                        barrier.wait();
                    }
                })
            });
            let threads = threads.collect::<Vec<_>>();
            let began = Instant::now();
            for _ in 0..times {
                barrier.wait();
                barrier.wait();
            }
            let took = began.elapsed();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            took
        });
    });
    group.finish();
}

/// From the crash of the broker that leads to an acknowledgement in each of its partitions.
fn failover(c: &mut Criterion) {
    let mut group = c.benchmark_group("failover");
    group.sample_size(10);
    for (name, policy, partitions) in [
        ("os", FlushPolicy::Os, 1),
        ("os", FlushPolicy::Os, 100),
        ("on-ack", FlushPolicy::OnAck, 1),
    ] {
        let cluster = three(policy);
        let topic = topic(&cluster, partitions);
        let producer = cluster.producer().build().unwrap();
        let send = || {
            let send = |partition| {
                let record = Record::to(&topic).partition(partition).value(&VALUE);
                producer.send(record).unwrap()
            };
            let sent = (0..topic.partition_count()).map(send).collect::<Vec<_>>();
            sent.into_iter().for_each(|delivery| drop(delivery.wait().unwrap()));
        };
        group.bench_function(BenchmarkId::new(name, partitions), |b| {
            b.iter_custom(|times| {
                let mut took = Duration::ZERO;
                for _ in 0..times {
                    send();
                    let leader = cluster.broker(1).unwrap();
                    let began = Instant::now();
                    leader.crash().unwrap();
                    send();
                    took += began.elapsed();
                    leader.start().unwrap();
                    give_back(&cluster, &topic);
                }
                took
            });
        });
    }
    group.finish();
}

/// Waits until all is as it was before the crash.
fn give_back(cluster: &Cluster, topic: &Topic) {
    let is_whole = || {
        let partitions = topic.describe().unwrap().partitions;
        partitions.iter().all(|partition| partition.isr.len() == 3)
            && cluster.describe().unwrap().metadata_isr.len() == 3
    };
    while !is_whole() {
        thread::sleep(Duration::from_millis(1));
    }
    for partition in topic.partitions() {
        partition.elect_leader(ElectionKind::Preferred).unwrap();
    }
}

criterion_group!(benches, on_ack, failover);
criterion_main!(benches);
