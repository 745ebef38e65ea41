//! Correct histories, from a model of a few partitions in memory.
//!
//! The model keeps every promise, and makes use of every liberty: answers get lost, records arrive late or doubled,
//! clients crash, logs are compacted, deleted from, and cut where they may be.

mod consumers;
mod logs;
mod producers;

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// How much a run of the tests checks: more on demand, as the reliability suites do.
pub(super) fn seeds() -> std::ops::Range<u64> {
    0..if std::env::var_os("RELIABILITY_FULL").is_some() { 2_000 } else { 50 }
}

/// They make about 2,000 operations.
const STEPS: usize = 3_500;

/// Goal: nothing that may happen is taken for an anomaly. Method: many histories of the model.
#[test]
fn correct_histories_pass() {
    let (mut operations, mut found) = (0, BTreeSet::new());
    for seed in seeds() {
        let (history, rules) = Model::new(seed).run(STEPS);
        let report = check(&history, &rules);
        assert!(report.is_ok(), "seed {seed}: {report}");
        operations += history.len();
        found.extend(
            [
                AnomalyKind::Duplicate,
                AnomalyKind::IntSendSkip,
                AnomalyKind::DirtyWrite,
                AnomalyKind::RebalanceRewind,
            ]
            .into_iter()
            .filter(|kind| report.count(*kind) > 0),
        );
    }
    assert!(operations > 90_000, "{operations} operations");
    assert_eq!(found.len(), 4, "of what is allowed, the model shows only {found:?}");
}

const GROUP: &str = "group";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Open,
    Committed,
    Aborted,
}

#[derive(Clone, Debug)]
struct Stored {
    value: u64,
    key: u64,
    tombstone: bool,
    /// Index of its transaction.
    transaction: Option<usize>,
    /// Removed by compaction, or never there for applications: a control record.
    gone: bool,
}

/// A partition: what it is called, and what it holds.
struct Log {
    name: TopicPartition,
    start: usize,
    records: Vec<Stored>,
    /// What a crash cannot take.
    durable: usize,
}

/// A send that was begun.
struct Pending {
    sending: Sending,
    message: Message,
    log: usize,
    transaction: Option<usize>,
    /// Where it is, once it is.
    offset: Option<usize>,
}

struct Producer {
    name: String,
    /// In the order of their sends.
    pending: Vec<Pending>,
    transaction: Option<(Transaction, usize, Offsets)>,
}

type Returned = (TopicPartition, Offset, u64);

/// Offsets that a transaction commits, by log.
type Offsets = BTreeMap<usize, usize>;

struct Consumer {
    name: String,
    committed: bool,
    member: bool,
    /// By log.
    positions: BTreeMap<usize, usize>,
    /// A begun poll, with what it will return.
    polling: Option<(Polling, Vec<Returned>)>,
}

struct Model {
    random: fastrand::Rng,
    recorder: Recorder,
    logs: Vec<Log>,
    transactions: Vec<State>,
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
    /// Transactions that are still to be decided, though their producer has given up; with the offsets of those that
    /// were asked to commit.
    undecided: Vec<(usize, Option<Offsets>)>,
    committed: BTreeMap<usize, usize>,
    generation: u64,
    values: u64,
}

/// `plain` doubles what it sends, `weak` loses it, `auditor` reads what is not committed.
const PRODUCERS: [&str; 5] = ["plain", "weak", "p1", "t1", "t2"];
const CONSUMERS: [&str; 5] = ["auditor", "c1", "c2", "m1", "m2"];

impl Model {
    fn new(seed: u64) -> Self {
        let names = [("email", 0), ("email", 1), ("table", 0), ("metrics", 0), ("orders", 0)];
        let log = |(topic, index)| Log {
            name: partition(topic, index),
            start: 0,
            records: Vec::new(),
            durable: 0,
        };
        let producer =
            |name: &str| Producer { name: name.into(), pending: Vec::new(), transaction: None };
        let consumer = |name: &str| Consumer {
            name: name.into(),
            committed: name != "auditor",
            member: name.starts_with('m'),
            positions: BTreeMap::new(),
            polling: None,
        };
        Self {
            random: fastrand::Rng::with_seed(seed),
            recorder: Recorder::new(),
            logs: names.into_iter().map(log).collect(),
            transactions: Vec::new(),
            producers: PRODUCERS.into_iter().map(producer).collect(),
            consumers: CONSUMERS.into_iter().map(consumer).collect(),
            undecided: Vec::new(),
            committed: BTreeMap::new(),
            generation: 0,
            values: 0,
        }
    }

    fn run(mut self, steps: usize) -> (History, Rules) {
        for _ in 0..steps {
            self.step();
        }
        self.read_to_the_end();
        let rules = Rules::new()
            .read_committed(true)
            .uncommitted_reader("auditor")
            .plain_producer("plain")
            .weak_acks("weak")
            .compacted("table")
            .lossy("metrics")
            .all_read(true);
        (self.recorder.history(), rules)
    }

    fn step(&mut self) {
        let (producer, consumer) = (self.random.usize(..5), self.random.usize(..5));
        match self.random.u32(..1000) {
            0..250 => self.send(producer),
            250..600 => self.progress(producer),
            600..800 => self.poll(consumer),
            800..830 => self.seek(consumer),
            830..870 => self.begin_or_end(producer),
            870..880 => self.decide(),
            880..900 => self.rebalance(),
            900..940 => self.commit(consumer),
            940..960 => self.ask_committed(consumer),
            960..970 => self.watch(consumer),
            970..976 => self.delete_records(),
            976..982 => self.compact(),
            982..984 => self.cut(),
            984..985 => self.delete_topic(),
            985..990 => self.crash_producer(producer),
            990..995 => self.crash_consumer(consumer),
            _ => self.logs.iter_mut().for_each(|log| log.durable = log.records.len()),
        }
    }

    fn at(offset: usize) -> Offset {
        at(u32::try_from(offset).unwrap())
    }

    /// All that is open ends, and a new consumer reads everything.
    fn read_to_the_end(&mut self) {
        for at in 0..self.producers.len() {
            while self.producers[at].transaction.is_some() {
                self.begin_or_end(at);
            }
            self.crash_producer(at);
        }
        while !self.undecided.is_empty() {
            self.decide();
        }
        self.watch(1);
        let reader = self.recorder.client("final");
        let names = self.logs.iter().map(|log| &log.name);
        reader.assign(names.map(|name| (name, Some(Offset::ZERO))));
        for log in 0..self.logs.len() {
            let polling = reader.poll();
            let (_, read) = self.read(log, 0, usize::MAX, true);
            let Log { name, records, .. } = &self.logs[log];
            polling.ok(read.into_iter().map(|at| (name, Self::at(at), records[at].value)));
        }
    }
}

/// A correct history, and the rules it keeps.
pub(super) fn correct(seed: u64) -> (History, Rules) {
    Model::new(seed).run(STEPS)
}
