//! Reading records.

mod aborted;
mod fetcher;
mod records;

#[cfg(test)]
mod isolation_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{ErrorKind, IsolationLevel, Offset, Timestamp, TopicPartition};
use crate::client::{Error, Partition, Result};
use crate::cluster::{ConfigError, Core};
use crate::env::sync::Event;
use crate::record::Limits;

use fetcher::Fetcher;

pub use records::{ConsumerRecord, Headers, HeadersIter, Records, RecordsIter};

/// Where a consumer begins where it has no position, or its position is gone (`auto.offset.reset`). Default:
/// earliest, while Kafka's is latest: who reads a log in process expects to see what is there.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum AutoOffsetReset {
    /// At the first record there is.
    #[default]
    Earliest,
    /// Behind the last one: only what is written from now on.
    Latest,
    /// Nowhere: [`Consumer::poll`] fails with [`OffsetOutOfRange`](ErrorKind::OffsetOutOfRange) until the
    /// application has sought.
    None,
}

/// Where to go on reading, for [`Consumer::seek`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SeekTo {
    /// The first record there is.
    Beginning,
    /// Behind the last record.
    End,
    /// This offset.
    Offset(Offset),
    /// The first record with a timestamp of at least this; the end if there is none.
    Timestamp(Timestamp),
}

impl From<Offset> for SeekTo {
    fn from(offset: Offset) -> Self {
        Self::Offset(offset)
    }
}

impl From<Timestamp> for SeekTo {
    fn from(timestamp: Timestamp) -> Self {
        Self::Timestamp(timestamp)
    }
}

/// Settings of a [`Consumer`], under Kafka's names.
///
/// ```
/// use brooklet::{AutoOffsetReset, Cluster};
///
/// let cluster = Cluster::in_memory()?;
/// let consumer = cluster.consumer().auto_offset_reset(AutoOffsetReset::Latest).max_poll_records(100).build()?;
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct ConsumerBuilder {
    core: Arc<Core>,
    settings: Settings,
}

#[derive(Clone, Debug)]
struct Settings {
    reset: AutoOffsetReset,
    max_poll_records: usize,
    max_partition_fetch_bytes: usize,
    check_crcs: bool,
    isolation: IsolationLevel,
    limits: Limits,
}

impl ConsumerBuilder {
    pub(super) fn new(core: Arc<Core>) -> Self {
        let settings = Settings {
            reset: AutoOffsetReset::default(),
            max_poll_records: 500,
            max_partition_fetch_bytes: 1 << 20,
            check_crcs: true,
            isolation: IsolationLevel::default(),
            limits: Limits::default(),
        };
        Self { core, settings }
    }

    /// Where to begin (`auto.offset.reset`). Default: [`AutoOffsetReset::Earliest`].
    pub fn auto_offset_reset(mut self, reset: AutoOffsetReset) -> Self {
        self.settings.reset = reset;
        self
    }

    /// Most records that one poll returns (`max.poll.records`). Default: 500.
    pub fn max_poll_records(mut self, records: usize) -> Self {
        self.settings.max_poll_records = records;
        self
    }

    /// Bytes fetched from a partition at a time, but at least one batch (`max.partition.fetch.bytes`).
    /// Default: 1 MiB.
    pub fn max_partition_fetch_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_partition_fetch_bytes = bytes;
        self
    }

    /// Whether batches read from files are checked against their CRC-32C (`check.crcs`). Default: yes.
    pub fn check_crcs(mut self, check: bool) -> Self {
        self.settings.check_crcs = check;
        self
    }

    /// Which records of transactions are returned (`isolation.level`). Default: [`IsolationLevel::ReadUncommitted`].
    /// With [`IsolationLevel::ReadCommitted`] the end of a partition is its last stable offset.
    pub fn isolation_level(mut self, isolation: IsolationLevel) -> Self {
        self.settings.isolation = isolation;
        self
    }

    /// The consumer, with no partitions yet.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) if `max.poll.records` is zero; [`Closed`](ErrorKind::Closed).
    pub fn build(self) -> Result<Consumer> {
        if self.core.is_closed() {
            return Err(Error::closed());
        }
        if self.settings.max_poll_records == 0 {
            return Err(ConfigError::out_of_range("max.poll.records", 0, "1 or more").into());
        }
        Ok(Consumer {
            core: self.core,
            settings: self.settings,
            fetchers: BTreeMap::new(),
            arrived: Arc::new(Event::new()),
            turn: 0,
        })
    }
}

/// Reads records of the partitions that it was assigned.
///
/// ```
/// use brooklet::{Cluster, NewTopic, Record};
/// use std::time::Duration;
///
/// let cluster = Cluster::in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email"))?;
/// cluster.producer().build()?.send(Record::to(&email).value("welcome"))?.wait()?;
///
/// let mut consumer = cluster.consumer().build()?;
/// consumer.assign(email.partitions())?;
/// for record in &consumer.poll(Duration::from_secs(1))? {
///     println!("{}: {:?}", record.offset(), record.value());
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Debug)]
pub struct Consumer {
    core: Arc<Core>,
    settings: Settings,
    fetchers: BTreeMap<TopicPartition, Fetcher>,
    /// Notified when there is more to read in any of the partitions.
    arrived: Arc<Event>,
    /// Which partition comes first in the next poll.
    turn: usize,
}

impl Consumer {
    /// Reads these partitions from now on, and no others. Positions of those that it read before are kept; new ones
    /// begin as `auto.offset.reset` says.
    ///
    /// # Errors
    /// [`TopicDeleted`](ErrorKind::TopicDeleted) or [`Storage`](ErrorKind::Storage) if a partition cannot be opened;
    /// the assignment is as it was.
    pub fn assign(&mut self, partitions: impl IntoIterator<Item = Partition>) -> Result<()> {
        let mut assigned = BTreeMap::new();
        for partition in partitions {
            if !Arc::ptr_eq(partition.topic().core(), &self.core) {
                let message = format!("{partition} belongs to another cluster than the consumer");
                return Err(Error::new(ErrorKind::InvalidState, message));
            }
            assigned.insert(partition.topic_partition().clone(), partition.leader()?);
        }
        let mut before = std::mem::take(&mut self.fetchers);
        for (partition, leader) in assigned {
            let kept = before.remove(&partition).filter(|fetcher| fetcher.reads(&leader));
            let fetcher =
                kept.unwrap_or_else(|| Fetcher::new(leader, &self.arrived, &self.settings));
            self.fetchers.insert(partition, fetcher);
        }
        Ok(())
    }

    /// The partitions that are read, in order.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.fetchers.keys().cloned().collect()
    }

    /// Returns records that were not returned before, of one or several partitions, each in the order of their
    /// offsets. Waits up to `timeout` if there are none; a record that comes in ends the waiting at once. No records
    /// means that none came.
    ///
    /// # Errors
    /// By [`kind`](Error::kind): [`CorruptMessage`](ErrorKind::CorruptMessage) if a batch does not match its
    /// checksum: seek past it to go on; [`OffsetOutOfRange`](ErrorKind::OffsetOutOfRange) under
    /// [`AutoOffsetReset::None`]; [`TopicDeleted`](ErrorKind::TopicDeleted); [`Closed`](ErrorKind::Closed);
    /// [`InvalidState`](ErrorKind::InvalidState) if nothing is assigned. No record is lost by an error: positions
    /// are as they were.
    pub fn poll(&mut self, timeout: Duration) -> Result<Records> {
        if self.fetchers.is_empty() {
            let message = "no partitions to read: call Consumer::assign first";
            return Err(Error::new(ErrorKind::InvalidState, message));
        }
        let mut records = self.collect()?;
        if !records.is_empty() || timeout.is_zero() {
            return Ok(records);
        }
        let runtime = Arc::clone(self.core.runtime());
        let deadline = runtime.now().after(timeout);
        loop {
            let listener = self.arrived.listen();
            records = self.collect()?;
            if !records.is_empty() || !runtime.park(listener, deadline) {
                return Ok(records);
            }
        }
    }

    /// Takes what is there, from each partition in turn.
    fn collect(&mut self) -> Result<Records> {
        if self.core.is_closed() {
            return Err(Error::closed());
        }
        let mut records = Records::default();
        let mut room = self.settings.max_poll_records;
        let count = self.fetchers.len();
        let first = self.turn % count.max(1);
        for at in (first..count).chain(0..first) {
            let Some((partition, fetcher)) = self.fetchers.iter_mut().nth(at) else { break };
            match fetcher.take(partition, room, &self.settings, &mut records) {
                Ok(taken) => room -= taken,
                // What was found before is handed out; the error comes first in the next poll.
                Err(_) if !records.is_empty() => {
                    self.turn = at;
                    break;
                }
                // The other partitions have their turn before it comes again.
                Err(error) => {
                    self.turn = at + 1;
                    return Err(error);
                }
            }
            self.turn = at + 1;
            if room == 0 {
                break;
            }
        }
        Ok(records)
    }

    /// Goes on reading a partition somewhere else. Returns the offset of the next record, or where it will be.
    ///
    /// # Errors
    /// [`InvalidState`](ErrorKind::InvalidState) if the partition is not assigned. An offset out of range is an
    /// error of the next poll, or reset there as `auto.offset.reset` says.
    pub fn seek(
        &mut self,
        partition: impl AsRef<TopicPartition>,
        to: impl Into<SeekTo>,
    ) -> Result<Offset> {
        let limits = self.settings.limits;
        self.fetcher(partition.as_ref())?.seek(to.into(), &limits)
    }

    /// [`seek`](Consumer::seek) in every assigned partition.
    pub fn seek_all(&mut self, to: impl Into<SeekTo>) -> Result<()> {
        let (to, limits) = (to.into(), self.settings.limits);
        self.fetchers.values_mut().try_for_each(|fetcher| fetcher.seek(to, &limits).map(drop))
    }

    /// The offset of the next record that a poll will return, if it is there.
    ///
    /// # Errors
    /// [`InvalidState`](ErrorKind::InvalidState) if the partition is not assigned;
    /// [`OffsetOutOfRange`](ErrorKind::OffsetOutOfRange) under [`AutoOffsetReset::None`] before the first seek.
    pub fn position(&self, partition: impl AsRef<TopicPartition>) -> Result<Offset> {
        let partition = partition.as_ref();
        let fetcher = self.fetchers.get(partition).ok_or_else(|| not_assigned(partition))?;
        fetcher.position()
    }

    /// Returns no records of these partitions until they are resumed.
    ///
    /// # Errors
    /// [`InvalidState`](ErrorKind::InvalidState) for the first that is not assigned; those before it are paused.
    pub fn pause(
        &mut self,
        partitions: impl IntoIterator<Item = impl AsRef<TopicPartition>>,
    ) -> Result<()> {
        partitions.into_iter().try_for_each(|partition| {
            self.fetcher(partition.as_ref())?.set_paused(true);
            Ok(())
        })
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// [`InvalidState`](ErrorKind::InvalidState) for the first that is not assigned; those before it are resumed.
    pub fn resume(
        &mut self,
        partitions: impl IntoIterator<Item = impl AsRef<TopicPartition>>,
    ) -> Result<()> {
        partitions.into_iter().try_for_each(|partition| {
            self.fetcher(partition.as_ref())?.set_paused(false);
            Ok(())
        })
    }

    /// The partitions that are paused, in order.
    pub fn paused(&self) -> Vec<TopicPartition> {
        let paused = self.fetchers.iter().filter(|(_, fetcher)| fetcher.is_paused());
        paused.map(|(partition, _)| partition.clone()).collect()
    }

    fn fetcher(&mut self, partition: &TopicPartition) -> Result<&mut Fetcher> {
        self.fetchers.get_mut(partition).ok_or_else(|| not_assigned(partition))
    }
}

fn not_assigned(partition: &TopicPartition) -> Error {
    let message =
        format!("{partition} is not assigned to this consumer: call Consumer::assign first");
    Error::new(ErrorKind::InvalidState, message)
}
