//! Opening: after a clean stop, and after ones that left more or less to be checked.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "files are removed as a crash would leave them")]

use std::fs;
use std::path::Path;

use brooklet::{Cluster, FlushPolicy, NewTopic, Record};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const CLEAN_MARKER: &str = ".kafka_cleanshutdown";
const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";

/// How the store was left.
#[derive(Clone, Copy)]
enum Stop {
    /// Closed.
    Clean,
    /// Killed when everything had been synced, and that been noted.
    Noted,
    /// Killed before anything was noted: all of it is suspect.
    Suspect,
}

/// A store with `mib` MiB of records of 1 KiB in one partition.
fn filled(dir: &Path, mib: u32) {
    let cluster = open(dir);
    let topic = cluster.create_topic(NewTopic::new("t")).unwrap();
    let producer = cluster.producer().build().unwrap();
    for n in 0..mib * 1024 {
        producer.send(Record::to(&topic).value(&[n.to_be_bytes()[3]; 1024])).unwrap();
    }
    drop((producer, topic));
    cluster.close().unwrap();
}

fn open(dir: &Path) -> Cluster {
    Cluster::builder().flush_policy(FlushPolicy::Os).open_at(dir).unwrap()
}

fn reopen(c: &mut Criterion) {
    let mut group = c.benchmark_group("reopen");
    group.sample_size(10);
    for (name, mib, stop) in [
        ("clean", 64, Stop::Clean),
        ("clean", 1024, Stop::Clean),
        ("noted", 64, Stop::Noted),
        ("suspect", 64, Stop::Suspect),
    ] {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), mib);
        if let Stop::Suspect = stop {
            group.throughput(Throughput::Bytes(u64::from(mib) << 20));
        }
        group.bench_function(BenchmarkId::new(name, format!("{mib} MiB")), |b| {
            b.iter_batched(
                || match stop {
                    Stop::Clean => {}
                    Stop::Noted => fs::remove_file(dir.path().join(CLEAN_MARKER)).unwrap(),
                    Stop::Suspect => {
                        fs::remove_file(dir.path().join(CLEAN_MARKER)).unwrap();
                        fs::remove_file(dir.path().join(RECOVERY_POINTS)).unwrap();
                    }
                },
                |()| {
                    let cluster = open(dir.path());
                    // After a clean stop a partition is opened when it is first used.
                    cluster.topic("t").unwrap().partition(0).unwrap().watermarks().unwrap();
                    cluster
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, reopen);
criterion_main!(benches);
