//! What it takes to have many partitions, and many segments. Times are printed, and asserted nowhere.

use std::path::{Path, PathBuf};
use std::time::Instant;

use brooklet::{Cluster, FlushPolicy, NewTopic, Offset, Record};

use super::{Child, descriptors, report, status, summary, words};
use crate::report::Report;

/// A directory in memory, if there is one: it is not the disk that is measured.
fn scratch() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
    tempfile::tempdir_in(folder).unwrap()
}

fn open(dir: &Path) -> Cluster {
    Cluster::builder().flush_policy(FlushPolicy::Os).open_at(dir).unwrap()
}

/// One record in each partition of a topic.
fn fill(dir: &Path, partitions: u32) {
    let cluster = open(dir);
    let topic = cluster.create_topic(NewTopic::new("t").partitions(partitions)).unwrap();
    let producer = cluster.producer().buffer_memory(256 << 20).build().unwrap();
    for partition in 0..partitions {
        producer.send(Record::to(&topic).partition(partition).value("one")).unwrap();
        if partition % 500 == 0 {
            producer.flush().unwrap();
        }
    }
    producer.flush().unwrap();
    drop((topic, producer));
    cluster.close().unwrap();
}

/// What it took, from a state of the process to the present one.
struct Cost {
    began: Instant,
    memory: u64,
}

impl Cost {
    fn new() -> Self {
        Self { began: Instant::now(), memory: status("VmRSS") }
    }

    fn figures(&self) -> String {
        let mib = status("VmRSS").saturating_sub(self.memory) as f64 / 1024.0;
        let millis = self.began.elapsed().as_secs_f64() * 1000.0;
        format!("ms={millis:.1} mib={mib:.1} descriptors={}", descriptors())
    }
}

fn value(figures: &str, name: &str) -> f64 {
    let found = figures.split(' ').find_map(|figure| figure.strip_prefix(name)?.strip_prefix('='));
    found.unwrap().parse().unwrap()
}

/// Runs one of the tests below as a child, on a store that was made before. Returns its figures.
fn measure(test: &str, dir: &Path) -> String {
    let test = format!("limits::figures::{test}");
    let child = Child { test: &test, role: dir.display().to_string(), environment: &[] };
    child.run().join(" ")
}

/// Goal: partitions that nobody uses cost little: 1,000 less than 16 MiB and 64 descriptors.
#[test]
fn a_thousand_idle_partitions_take_little() {
    if let Some(words) = words() {
        let cost = Cost::new();
        let cluster = open(Path::new(&words[0]));
        let topic = cluster.topic("t").unwrap();
        for partition in topic.partitions() {
            assert_eq!(partition.watermarks().unwrap().high, Offset::from(1));
        }
        return report(&cost.figures());
    }
    let report = Report::new("T10");
    let dir = scratch();
    fill(dir.path(), 1000);
    let figures = measure("a_thousand_idle_partitions_take_little", dir.path());
    assert!(value(&figures, "mib") < 16.0 && value(&figures, "descriptors") < 64.0, "{figures}");
    summary(report, "1,000 idle partitions", 1, 1000, &figures);
}

/// Goal: many partitions open and close, after either kind of stop.
#[test]
fn ten_thousand_partitions_open_and_close() {
    const MANY: u32 = 10_000;
    if let Some(words) = words() {
        let cost = Cost::new();
        let cluster = open(Path::new(&words[0]));
        let opened = cost.figures();
        let topic = cluster.topic("t").unwrap();
        for partition in topic.partitions() {
            assert_eq!(partition.watermarks().unwrap().high, Offset::from(1));
        }
        assert!(descriptors() < 64, "{}", descriptors());
        let used = cost.figures();
        drop(topic);
        let closing = Instant::now();
        cluster.close().unwrap();
        let closed = closing.elapsed().as_secs_f64() * 1000.0;
        return report(&format!("open: {opened} used: {used} close_ms={closed:.1}"));
    }
    let report = Report::new("T10");
    let dir = scratch();
    fill(dir.path(), MANY);
    let test = "ten_thousand_partitions_open_and_close";
    let clean = measure(test, dir.path());
    std::fs::remove_file(dir.path().join(".kafka_cleanshutdown")).unwrap();
    let unclean = measure(test, dir.path());
    let figures = format!("after a clean stop: {clean}; after another: {unclean}");
    summary(report, "10,000 partitions", 2, 2 * MANY as usize, &figures);
}

/// Goal: a long log opens without being read.
#[test]
fn a_thousand_segments_open_without_being_read() {
    if let Some(words) = words() {
        let cost = Cost::new();
        let cluster = open(Path::new(&words[0]));
        let partition = cluster.topic("t").unwrap().partition(0).unwrap();
        assert_eq!(partition.watermarks().unwrap().high, Offset::from(1000));
        let figures = cost.figures();
        let mut next = 0;
        while next < 1000 {
            next += partition.read(Offset::from(next), 1 << 20).unwrap().len() as u32;
        }
        return report(&format!("{figures} peak_mib={:.1}", status("VmHWM") as f64 / 1024.0));
    }
    let report = Report::new("T10");
    let dir = scratch();
    let cluster = open(dir.path());
    let topic = NewTopic::new("t").config("segment.bytes", 1100);
    let topic = cluster.create_topic(topic).unwrap();
    let producer = cluster.producer().build().unwrap();
    for _ in 0..1000 {
        producer.send(Record::to(&topic).value(&[7; 1000])).unwrap().wait().unwrap();
    }
    drop((topic, producer));
    cluster.close().unwrap();
    let logs = std::fs::read_dir(dir.path().join("t-0")).unwrap();
    let logs =
        logs.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "log"));
    assert_eq!(logs.count(), 1000);
    let figures = measure("a_thousand_segments_open_without_being_read", dir.path());
    summary(report, "1,000 segments", 1, 1000, &figures);
}
