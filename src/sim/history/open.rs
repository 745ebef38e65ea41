//! Operations between their invocation and their end.
//!
//! # Invariants
//! - Each ends at most once. One that is dropped has no end: its outcome is unknown.

use std::sync::Arc;

use crate::base::{Offset, TopicPartition};
use crate::client::{ConsumerRecord, Error, Outcome, RecordMetadata, Records, Result};
use crate::env::sync::Mutex;

use super::operation::{Ending, History, Names, PartitionKey, Polled, What};

/// An operation's place in the history.
#[derive(Debug)]
pub(super) struct Open {
    history: Arc<Mutex<History>>,
    place: usize,
}

impl Open {
    pub(super) fn new(history: &Arc<Mutex<History>>, place: usize) -> Self {
        Self { history: Arc::clone(history), place }
    }

    fn end(self, ending: Ending) {
        self.end_with(ending, |_, _| {});
    }

    /// Ends it, with what the client was told.
    fn end_with(
        self,
        ending: Ending,
        tell: impl FnOnce(&mut What, &mut Names<TopicPartition, PartitionKey>),
    ) {
        let mut history = self.history.lock();
        let history = &mut *history;
        let tick = history.tick();
        if let Some(operation) = history.operations.get_mut(self.place) {
            operation.ended = Some((tick, ending));
            tell(&mut operation.what, &mut history.partitions);
        }
    }

    fn end_by(self, error: &Error) {
        self.end(match error.outcome() {
            Outcome::NotWritten => Ending::Failed,
            Outcome::Unknown => Ending::Unknown,
        });
    }
}

/// A send that has begun. Dropped, its outcome is unknown.
///
/// ```
/// use brooklet::sim::history::Recorder;
/// use brooklet::{Cluster, Delivery, NewTopic, Record};
///
/// let cluster = Cluster::in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email"))?;
/// let producer = cluster.producer().build()?;
/// let recorder = Recorder::new();
///
/// let sending = recorder.client("writer").send(7);
/// sending.end(&producer.send(Record::to(&email).value("7")).and_then(Delivery::wait));
/// assert_eq!(recorder.history().to_string(), "#1..2    writer: send 7 -> email-0@0\n");
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Debug)]
pub struct Sending(pub(super) Open);

impl Sending {
    /// It was acknowledged, and is at this offset.
    pub fn ok(self, partition: impl AsRef<TopicPartition>, offset: Offset) {
        self.0.end_with(Ending::Ok, |what, partitions| {
            if let What::Send { place, .. } = what {
                *place = Some((partitions.id(partition.as_ref()), offset));
            }
        });
    }

    /// It was answered without an offset, as with `acks=0`: it may be lost, and cannot be missed.
    pub fn ok_without_offset(self) {
        self.0.end(Ending::Ok);
    }

    /// It is definitely not in the log, and never will be.
    pub fn failed(self) {
        self.0.end(Ending::Failed);
    }

    /// It may be in the log, now or later.
    pub fn unknown(self) {
        self.0.end(Ending::Unknown);
    }

    /// Whatever came of it. An error tells by its [`Outcome`] whether the send has failed or is unknown.
    pub fn end(self, result: &Result<RecordMetadata>) {
        match result {
            Ok(RecordMetadata { topic, partition, offset: Some(offset), .. }) => {
                self.ok(TopicPartition::new(topic.clone(), *partition), *offset);
            }
            Ok(_) => self.ok_without_offset(),
            Err(error) => self.0.end_by(error),
        }
    }
}

/// A poll that has begun. Dropped, it may have moved the client's positions to anywhere.
#[derive(Debug)]
pub struct Polling(pub(super) Open);

impl Polling {
    /// It returned these records, in this order: partition, offset and value of each.
    pub fn ok<P: AsRef<TopicPartition>>(self, records: impl IntoIterator<Item = (P, Offset, u64)>) {
        // Outside the lock: the iterator is the caller's.
        let records = records.into_iter().collect::<Vec<_>>();
        self.0.end_with(Ending::Ok, |what, partitions| {
            let mut last: Option<(&TopicPartition, PartitionKey)> = None;
            let polled = records.iter().map(|(name, offset, value)| {
                let name = name.as_ref();
                let known = last.filter(|(last, _)| *last == name);
                let (_, partition) =
                    *last.insert(known.unwrap_or_else(|| (name, partitions.id(name))));
                Polled { partition, offset: *offset, value: *value }
            });
            *what = What::Poll { records: polled.collect() };
        });
    }

    /// It failed, and left the client's positions as they were.
    pub fn failed(self) {
        self.0.end(Ending::Failed);
    }

    /// Whatever came of it; `value` finds the unique value of a record.
    pub fn end(self, result: &Result<Records>, value: impl Fn(&ConsumerRecord<'_>) -> u64) {
        match result {
            Ok(records) => self.ok(records
                .iter()
                .map(|record| (record.topic_partition(), record.offset(), value(&record)))),
            Err(_) => self.failed(),
        }
    }
}

/// A question for a group's committed offset that has no answer yet. Dropped, there is none.
#[derive(Debug)]
pub struct CommittedQuery(pub(super) Open);

impl CommittedQuery {
    /// The answer: `None` if nothing was committed.
    pub fn ok(self, committed: Option<Offset>) {
        self.0.end_with(Ending::Ok, |what, _| {
            if let What::Committed { offset, .. } = what {
                *offset = committed;
            }
        });
    }
}

/// A question for a partition's watermarks that has no answer yet. Dropped, there is none.
#[derive(Debug)]
pub struct WatermarksQuery(pub(super) Open);

impl WatermarksQuery {
    /// The answer: log start and high watermark.
    pub fn ok(self, low: Offset, high: Offset) {
        self.0.end_with(Ending::Ok, |what, _| {
            if let What::Watermarks { found, .. } = what {
                *found = Some((low, high));
            }
        });
    }
}

/// A call that has begun: a commit, the end of a transaction, a deletion of records. Dropped, its outcome is unknown.
#[derive(Debug)]
pub struct Call(pub(super) Open);

impl Call {
    /// It is done.
    pub fn ok(self) {
        self.0.end(Ending::Ok);
    }

    /// It has definitely had no effect, and never will.
    pub fn failed(self) {
        self.0.end(Ending::Failed);
    }

    /// It may have had its effect, or have it later.
    pub fn unknown(self) {
        self.0.end(Ending::Unknown);
    }

    /// Whatever came of it. An error tells by its [`Outcome`] whether the call has failed or is unknown.
    pub fn end<T>(self, result: &Result<T>) {
        match result {
            Ok(_) => self.ok(),
            Err(error) => self.0.end_by(error),
        }
    }
}
