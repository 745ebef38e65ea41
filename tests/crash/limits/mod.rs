//! Resources that run out (suite T10): descriptors, file sizes, memory, threads, disks; and what it takes to have much.
//!
//! Each case runs in a process of its own, that sets the limit for itself. It reports what was acknowledged; the store is
//! then opened without limits, and held against that.

mod figures;
mod full_disk;
mod scarce;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use brooklet::{Cluster, Error, ErrorKind, FlushPolicy, Offset, Outcome, Record, Topic};

use crate::report::{Report, full};
use crate::{ROLE, role};

/// A child process in the role of `role`, with what it sets in its environment.
struct Child<'a> {
    test: &'a str,
    role: String,
    environment: &'a [(&'a str, &'a str)],
}

impl Child<'_> {
    /// Runs to its end. Returns the lines that it reported.
    fn run(self) -> Vec<String> {
        // Or a file that would get too long ends the process.
        let child = Command::new("sh")
            .args(["-c", r#"trap '' XFSZ; exec "$@""#, "sh"])
            .arg(std::env::current_exe().unwrap())
            .args([self.test, "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, &self.role)
            .envs(self.environment.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{} as {}: {text}", self.test, self.role);
        let lines = text.lines().filter_map(|line| line.split_once("report: "));
        lines.map(|(_, line)| line.to_owned()).collect()
    }
}

/// Reports a line to the parent. The harness may have begun one.
fn report(line: &str) {
    std::io::stdout().write_all(format!("\nreport: {line}\n").as_bytes()).unwrap();
}

/// What the process of this test is to do, in words, if it is a child.
fn words() -> Option<Vec<String>> {
    role().map(|role| role.split(' ').map(str::to_owned).collect())
}

const POLICIES: [FlushPolicy; 3] = [
    FlushPolicy::OnAck,
    FlushPolicy::Interval { time: Duration::from_millis(3), messages: None },
    FlushPolicy::Os,
];

/// The policies to try: all, if there is time.
fn policies() -> std::ops::Range<usize> {
    if full() { 0..3 } else { 0..1 }
}

fn open(dir: &Path, policy: usize) -> Result<Cluster, Error> {
    Cluster::builder().flush_policy(POLICIES[policy]).open_at(dir)
}

/// Sends one record and waits; reports the acknowledgement.
fn send(cluster: &Cluster, topic: &Topic, partition: u32, value: &str) -> Result<(), Error> {
    // Who waits has waited long enough after one more attempt.
    let backoff = Duration::from_millis(1);
    let producer = cluster.producer().retries(1).retry_backoff(backoff).build()?;
    let metadata = producer.send(Record::to(topic).partition(partition).value(value))?.wait()?;
    report(&format!("ack {partition} {} {value}", metadata.offset.unwrap()));
    Ok(())
}

/// An error that a resource may lead to.
fn assert_expected(error: &Error) {
    let expected = [ErrorKind::Storage, ErrorKind::StorageFull].contains(&error.kind());
    assert!(expected, "{error:?}");
}

/// Everything that was acknowledged is there; and a store that met a limit is as good as any other. Returns how many
/// acknowledgements there were.
fn check(dir: &Path, lines: &[String]) -> usize {
    let cluster = Cluster::open(dir).unwrap();
    let mut acknowledged = 0;
    for line in lines {
        let fields = line.splitn(4, ' ').collect::<Vec<_>>();
        let ["ack", partition, offset, value] = fields[..] else { continue };
        let topic = cluster.topic("t").unwrap();
        let partition = topic.partition(partition.parse().unwrap()).unwrap();
        let offset = Offset::new(offset.parse().unwrap()).unwrap();
        let records = partition.read(offset, 1).unwrap();
        let first = records.iter().next().unwrap();
        assert_eq!(first.offset(), offset, "{line}");
        assert!(first.value() == Some(value.as_bytes()), "{line}");
        acknowledged += 1;
    }
    if let Ok(topic) = cluster.topic("t") {
        let producer = cluster.producer().build().unwrap();
        for partition in topic.partitions() {
            let high = partition.watermarks().unwrap().high;
            let record = Record::to(&topic).partition(partition.id().value().cast_unsigned());
            let metadata = producer.send(record.value("again")).unwrap().wait().unwrap();
            assert_eq!(metadata.offset, Some(high), "{partition}");
        }
    }
    cluster.close().unwrap();
    acknowledged
}

fn summary(mut report: Report, case: &str, states: usize, acknowledged: usize, figures: &str) {
    (report.states, report.faults) = (states as u64, states as u64);
    (report.records_checked, report.acked) = (acknowledged as u64, acknowledged as u64);
    report.say(format_args!("case={case:?} {figures}"));
}

/// A line of `/proc/self/status`, in KiB.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Descriptors of this process, without the one that looks.
fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

fn is_definite(error: &Error) -> bool {
    error.outcome() == Outcome::NotWritten
}
