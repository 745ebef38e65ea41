//! Too few descriptors, files that may not grow, too little memory, no threads.

use std::path::Path;
use std::time::Duration;

use brooklet::{Cluster, Compression, ErrorKind, NewTopic, Offset, Record};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{
    Child, assert_expected, check, is_definite, open, policies, report, send, summary, words,
};
use crate::report::Report;

fn limit(resource: Resource, to: u64) {
    let Rlimit { maximum, .. } = getrlimit(resource);
    setrlimit(resource, Rlimit { current: Some(to), maximum }).unwrap();
}

fn lift(resource: Resource) {
    let Rlimit { maximum, .. } = getrlimit(resource);
    setrlimit(resource, Rlimit { current: maximum, maximum }).unwrap();
}

const PARTITIONS: u32 = 200;

/// Goal: who has too few descriptors is told so, keeps what was acknowledged, and does with little: 64 are enough for
/// any number of partitions.
#[test]
fn few_descriptors_are_enough_or_an_error() {
    if let Some(words) = words() {
        return use_with_few_descriptors(Path::new(&words[0]), &words[1..]);
    }
    let report = Report::new("T10");
    let (mut states, mut acknowledged, mut figures) = (0, 0, String::new());
    for policy in policies() {
        for descriptors in [16, 32, 64, 256] {
            let dir = tempfile::tempdir().unwrap();
            let lines = Child {
                test: "limits::scarce::few_descriptors_are_enough_or_an_error",
                role: format!("{} {policy} {descriptors}", dir.path().display()),
                environment: &[],
            }
            .run();
            let kept = check(dir.path(), &lines);
            assert!(descriptors < 64 || kept == PARTITIONS as usize, "{descriptors}: {lines:?}");
            figures += &format!("with_{descriptors}={kept} ");
            acknowledged += kept;
            states += 1;
        }
    }
    summary(report, "descriptors", states, acknowledged, &figures);
}

fn use_with_few_descriptors(dir: &Path, words: &[String]) {
    limit(Resource::Nofile, words[1].parse().unwrap());
    let policy = words[0].parse().unwrap();
    let told = |error: brooklet::Error| {
        assert_expected(&error);
        report(&format!("error {error:?}"));
    };
    let cluster = match open(dir, policy) {
        Ok(cluster) => cluster,
        Err(error) => return told(error),
    };
    let topic = match cluster.create_topic(NewTopic::new("t").partitions(PARTITIONS)) {
        Ok(topic) => topic,
        Err(error) => return told(error),
    };
    for partition in 0..PARTITIONS {
        if let Err(error) = send(&cluster, &topic, partition, &format!("to-{partition}")) {
            told(error);
        }
    }
    for partition in topic.partitions() {
        match partition.read(Offset::ZERO, 1) {
            Ok(records) => {
                let value = format!("to-{}", partition.id());
                assert!(records.iter().all(|record| record.value() == Some(value.as_bytes())));
            }
            Err(error) => told(error),
        }
    }
    drop(topic);
    if let Err(error) = cluster.close() {
        told(error);
    }
}

/// Goal: a file that may not grow is a full disk: nothing was written, the rest goes on, and so does this one later.
#[test]
fn files_that_may_not_grow_are_a_full_disk() {
    if let Some(words) = words() {
        return fill_a_file(Path::new(&words[0]), words[1].parse().unwrap());
    }
    let report = Report::new("T10");
    let mut acknowledged = 0;
    for policy in policies() {
        let dir = tempfile::tempdir().unwrap();
        let lines = Child {
            test: "limits::scarce::files_that_may_not_grow_are_a_full_disk",
            role: format!("{} {policy}", dir.path().display()),
            environment: &[],
        }
        .run();
        acknowledged += check(dir.path(), &lines);
    }
    assert!(acknowledged >= 20);
    summary(report, "file size", policies().len(), acknowledged, "");
}

fn fill_a_file(dir: &Path, policy: usize) {
    limit(Resource::Fsize, 200_000);
    let cluster = open(dir, policy).unwrap();
    let topic = cluster.create_topic(NewTopic::new("t").partitions(2)).unwrap();
    let value = "x".repeat(10_000);
    let error = (0..100).find_map(|_| send(&cluster, &topic, 0, &value).err()).unwrap();
    for error in [error, send(&cluster, &topic, 0, &value).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error:?}");
        assert!(is_definite(&error) && error.is_retriable(), "{error:?}");
    }
    send(&cluster, &topic, 0, "small").unwrap();
    send(&cluster, &topic, 1, &value).unwrap();
    assert!(topic.partition(0).unwrap().watermarks().unwrap().high.value() >= 15);
    lift(Resource::Fsize);
    send(&cluster, &topic, 0, &value).unwrap();
    drop(topic);
    cluster.close().unwrap();
}

/// Goal: large batches, and those that unpack to much, end in records or errors where addresses are scarce.
#[test]
fn scarce_memory_is_an_error() {
    if let Some(words) = words() {
        let [policy, megabytes] = [&words[1], &words[2]].map(|word| word.parse().unwrap());
        return use_large_batches(Path::new(&words[0]), policy, megabytes);
    }
    let report = Report::new("T10");
    let (mut states, mut acknowledged, mut figures) = (0, 0, String::new());
    for policy in policies() {
        // From hardly any batch to nearly all of them.
        for megabytes in [256, 448, 640] {
            let dir = tempfile::tempdir().unwrap();
            let lines = Child {
                test: "limits::scarce::scarce_memory_is_an_error",
                role: format!("{} {policy} {megabytes}", dir.path().display()),
                environment: &[],
            }
            .run();
            let of = |kind| lines.iter().filter(|line| line.starts_with(kind)).count();
            figures += &format!("with_{megabytes}={}/{} ", of("read"), of("error"));
            acknowledged += check(dir.path(), &lines);
            states += 1;
        }
    }
    summary(report, "memory", states, acknowledged, &figures);
}

fn use_large_batches(dir: &Path, policy: usize, megabytes: usize) {
    const LARGE: usize = 64 << 20;
    limit(Resource::As, (megabytes << 20) as u64);
    let cluster = open(dir, policy).unwrap();
    let topic = NewTopic::new("t").partitions(2).config("max.message.bytes", LARGE + 1000);
    let topic = cluster.create_topic(topic).unwrap();
    let value = vec![7; LARGE];
    for codec in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let producer = cluster.producer().compression(codec);
        let producer = producer.max_request_size(LARGE + 1000).buffer_memory(2 * LARGE).build();
        let Ok(producer) = producer else { continue };
        for _ in 0..4 {
            let partition = u32::from(codec != Compression::None);
            // It unpacks to hardly less than what is allowed.
            let record = Record::to(&topic).partition(partition).value(&value[..LARGE - 1000]);
            if let Err(error) = producer.send(record).and_then(|sent| sent.wait()) {
                assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error:?}");
                assert!(is_definite(&error), "{error:?}");
                report(&format!("error {error:?}"));
            }
        }
    }
    drop(value);
    // All at once: more than there is room for.
    for partition in topic.partitions() {
        let high = partition.watermarks().unwrap().high;
        let mut next = Offset::ZERO;
        while next < high {
            match partition.read(next, 1 << 20) {
                Ok(records) => {
                    assert!(!records.is_empty());
                    next = Offset::new(next.value() + records.len() as i64).unwrap();
                    report(&format!("read {}", records.len()));
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error:?}");
                    report(&format!("error {error:?}"));
                    break;
                }
            }
        }
    }
    send(&cluster, &topic, 1, "small").unwrap();
    drop(topic);
    cluster.close().unwrap();
}

/// Goal: where no thread can be had, callers do what threads would have done.
#[test]
fn without_threads_callers_do_the_work() {
    if let Some(words) = words() {
        return use_without_threads(Path::new(&words[0]), words[1].parse().unwrap());
    }
    let report = Report::new("T10");
    let mut acknowledged = 0;
    for policy in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let lines = Child {
            test: "limits::scarce::without_threads_callers_do_the_work",
            role: format!("{} {policy}", dir.path().display()),
            // No such stack can be had.
            environment: &[("RUST_MIN_STACK", "1125899906842624")],
        }
        .run();
        acknowledged += check(dir.path(), &lines);
    }
    assert_eq!(acknowledged, 60);
    summary(report, "threads", 3, acknowledged, "");
}

fn use_without_threads(dir: &Path, policy: usize) {
    let spawned = std::thread::Builder::new().spawn(|| ());
    assert!(spawned.is_err(), "the limit is none");
    let cluster: Cluster = open(dir, policy).unwrap();
    let topic = cluster.create_topic(NewTopic::new("t").partitions(3)).unwrap();
    let mut consumer = cluster.consumer().build().unwrap();
    consumer.assign(topic.partitions()).unwrap();
    for number in 0..20 {
        send(&cluster, &topic, number % 3, &format!("number {number}")).unwrap();
    }
    // Nobody waits for these.
    let producer = cluster.producer().build().unwrap();
    for number in 0..20 {
        drop(producer.send(Record::to(&topic).partition(number % 3).value("unwaited")).unwrap());
    }
    let mut count = 0;
    while count < 40 {
        let records = consumer.poll(Duration::from_secs(5)).unwrap();
        assert!(!records.is_empty(), "only {count} records came");
        count += records.len();
    }
    drop((topic, producer, consumer));
    cluster.close().unwrap();
}
