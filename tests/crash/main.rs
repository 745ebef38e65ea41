//! What real processes leave behind when they are killed, and do where resources are scarce.
//!
//! A test starts itself as a child process, which writes and reports each acknowledgement through a pipe, and kills it
//! at a random moment.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test fails by panicking, and looks at real processes, files and clocks"
)]

mod groups;
#[cfg(target_os = "linux")]
mod limits;
#[path = "../sim/report.rs"]
#[allow(dead_code, reason = "these suites have no parts to add up")]
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use brooklet::{Cluster, ErrorKind, FlushPolicy, NewTopic, Offset, Record, Topic};
use report::{Report, seeds};

/// Tells a child process what to do, and where.
const ROLE: &str = "BROOKLET_CRASH_TEST";

const PARTITIONS: u32 = 3;

/// Starts this test again as a child process in the role of `role`.
fn start(test: &str, role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

fn policy(round: u64) -> FlushPolicy {
    match round % 3 {
        0 => FlushPolicy::OnAck,
        1 => FlushPolicy::Interval { time: Duration::from_millis(3), messages: None },
        _ => FlushPolicy::Os,
    }
}

fn open(dir: &Path, round: u64) -> (Cluster, Topic) {
    let cluster = Cluster::builder().flush_policy(policy(round)).open_at(dir).unwrap();
    let topic = cluster.topic("t").or_else(|_| {
        let topic = NewTopic::new("t").partitions(PARTITIONS).config("segment.bytes", 30_000);
        cluster.create_topic(topic)
    });
    (cluster, topic.unwrap())
}

/// The child: writes for ever. Every value is unique: round, thread, number. An acknowledged one is reported as
/// `ack <partition> <offset> <value>`.
fn write_for_ever(dir: &Path, round: u64) {
    let (cluster, topic) = open(dir, round);
    let producer = cluster.producer().build().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let (producer, topic) = (&producer, &topic);
            scope.spawn(move || {
                for burst in 0.. {
                    // Two threads wait for each record, two for a burst of them.
                    let size = if thread < 2 { 1 } else { 40 };
                    let values =
                        (0..size).map(|n| format!("{round} {thread} {}", burst * size + n));
                    let sent = values.map(|value| {
                        let record = Record::to(topic).partition(thread % PARTITIONS).value(&value);
                        (producer.send(record).unwrap(), value.clone())
                    });
                    for (delivery, value) in sent.collect::<Vec<_>>() {
                        let m = delivery.wait().unwrap();
                        let line = format!("ack {} {} {value}\n", m.partition, m.offset.unwrap());
                        std::io::stdout().write_all(line.as_bytes()).unwrap();
                    }
                }
            });
        }
    });
}

/// Everything acknowledged so far, by partition and offset.
type Acknowledged = BTreeMap<(i32, i64), String>;

/// Lets a child, in the role that `test` plays then, do its work for a random time, and kills it. Returns what it has said.
fn kill_a_child(test: &str, dir: &Path, round: u64, rng: &mut fastrand::Rng) -> Vec<String> {
    let mut child = start(test, &format!("{round} {}", dir.display()));
    let stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(stdout).split(b'\n').map_while(Result::ok);
        lines.map(|line| String::from_utf8(line).unwrap()).collect::<Vec<_>>()
    });
    std::thread::sleep(Duration::from_millis(rng.u64(1..300)));
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

/// Kills a writer, and adds what it has had acknowledged.
fn kill_a_writer(dir: &Path, round: u64, rng: &mut fastrand::Rng, acknowledged: &mut Acknowledged) {
    for line in kill_a_child("acknowledged_records_survive_kill_9", dir, round, rng) {
        let mut fields = line.splitn(4, ' ');
        // The last line may be cut off: then nobody was told of that acknowledgement.
        let (Some("ack"), Some(partition), Some(offset), Some(value)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if value.split(' ').count() == 3 && !value.ends_with(' ') {
            let place = (partition.parse().unwrap(), offset.parse().unwrap());
            // A number may be cut off too, but then it is shorter than what is in the log: not reported.
            acknowledged.insert(place, value.to_owned());
        }
    }
}

/// Reads everything and compares. Returns how many records there are.
fn check(dir: &Path, round: u64, acknowledged: &Acknowledged) -> usize {
    let (cluster, topic) = open(dir, round);
    let (mut found, mut unique) = (BTreeMap::new(), BTreeSet::new());
    for partition in topic.partitions() {
        let mut next = Offset::ZERO;
        let mut last = BTreeMap::new();
        while next < partition.watermarks().unwrap().high {
            for record in &partition.read(next, 1 << 20).unwrap() {
                assert_eq!(record.offset(), next, "a hole in {partition}, round {round}");
                let value = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
                let numbers =
                    value.split(' ').map(|n| n.parse::<u64>().unwrap()).collect::<Vec<_>>();
                let [writer, thread, number] = numbers[..] else { panic!("invented: {value}") };
                let before = last.insert((writer, thread), number);
                assert_eq!(before.map_or(0, |n| n + 1), number, "out of order, round {round}");
                assert!(unique.insert(value.clone()), "twice: {value}, round {round}");
                found.insert((partition.id().value(), record.offset().value()), value);
                next = next.next();
            }
        }
    }
    for (place, value) in acknowledged {
        let there = found.get(place);
        assert!(
            there.is_some_and(|f| f.starts_with(value.as_str())),
            "{place:?}: {value} acknowledged, {there:?} found, round {round}"
        );
    }
    cluster.close().unwrap();
    found.len()
}

/// T5, G1 to G3. Goal: what was acknowledged survives the death of the process, in place, once and in order, under every
/// flush policy; nothing is invented. Method: kill a writer at a random moment, also while it opens, again and again on
/// the same directory; look every other time, so that the writers recover from kills themselves as well.
#[test]
fn acknowledged_records_survive_kill_9() {
    if let Some(role) = role() {
        let (round, dir) = role.split_once(' ').unwrap();
        write_for_ever(Path::new(dir), round.parse().unwrap());
    }
    let (dir, mut report) = (tempfile::tempdir().unwrap(), Report::new("T5"));
    let mut acknowledged = Acknowledged::new();
    let rounds = seeds(50);
    for round in rounds.clone() {
        let mut rng = fastrand::Rng::with_seed(round);
        kill_a_writer(dir.path(), round, &mut rng, &mut acknowledged);
        if round % 2 == 1 || round + 1 == rounds.end {
            report.records_checked += check(dir.path(), round, &acknowledged) as u64;
        }
    }
    assert!(!acknowledged.is_empty());
    report.seeds = rounds.end - rounds.start;
    (report.states, report.faults) = (report.seeds, report.seeds);
    report.acked = acknowledged.len() as u64;
    report.ops = report.acked;
    report.say("");
}

#[test]
fn a_second_process_is_refused_and_changes_nothing() {
    if let Some(dir) = role() {
        let kind = Cluster::open(dir).map(drop).map_err(|e| e.kind());
        let line = if kind == Err(ErrorKind::AlreadyOpen) { "refused\n" } else { "let in\n" };
        std::io::stdout().write_all(line.as_bytes()).unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::open(dir.path()).unwrap();
    let knock = || {
        let mut child =
            start("a_second_process_is_refused_and_changes_nothing", dir.path().to_str().unwrap());
        let mut output = String::new();
        child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        child.wait().unwrap();
        output
    };
    assert!(knock().contains("refused"));
    cluster.create_topic(NewTopic::new("still-ours")).unwrap();
    cluster.close().unwrap();
    assert!(knock().contains("let in"));
    assert_eq!(Cluster::open(dir.path()).unwrap().topics().unwrap(), ["still-ours"]);
}
