//! Reading records.

mod fetcher;
mod iso8601;
mod records;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Config, ConfigError, Draft, ErrorKind, Offset, ReadConfig, Scope};
use crate::base::{Timestamp, TopicPartition};
use crate::client::{Error, Partition, Result, properties};
use crate::cluster::{BrokerConfig, Core};
use crate::env::Moment;
use crate::env::sync::Event;
use crate::record::Limits;

use fetcher::{Collected, Fetcher};

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
    /// With the records of this last time, by their timestamps; behind the last one if there is none as young
    /// (`by_duration:P7D`, KIP-1106).
    ByDuration(Duration),
}

impl AutoOffsetReset {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "earliest" => Self::Earliest,
            "latest" => Self::Latest,
            "none" => Self::None,
            _ => Self::ByDuration(iso8601::parse(text.split_once(':')?.1)?),
        })
    }
}

/// As Kafka writes it.
impl fmt::Display for AutoOffsetReset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::None => f.write_str("none"),
            Self::ByDuration(time) => write!(f, "by_duration:{}", iso8601::format(*time)),
        }
    }
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
    draft: Draft,
}

#[derive(Clone, Debug, PartialEq)]
struct Settings {
    client_id: String,
    reset: AutoOffsetReset,
    max_poll_records: usize,
    max_partition_fetch_bytes: usize,
    fetch_max_bytes: usize,
    fetch_min_bytes: usize,
    fetch_max_wait: Duration,
    check_crcs: bool,
    limits: Limits,
}

impl Settings {
    fn read(config: &Config, broker: &BrokerConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            client_id: config.text("client.id")?,
            reset: config.parsed("auto.offset.reset", AutoOffsetReset::parse)?,
            max_poll_records: config.number("max.poll.records")?,
            max_partition_fetch_bytes: config.number("max.partition.fetch.bytes")?,
            fetch_max_bytes: config
                .number("fetch.max.bytes")
                .map(|ours: usize| ours.min(broker.fetch_max_bytes))?,
            fetch_min_bytes: config.number("fetch.min.bytes")?,
            fetch_max_wait: config.duration("fetch.max.wait.ms")?,
            check_crcs: config.bool("check.crcs")?,
            limits: Limits::default(),
        })
    }
}

impl ConsumerBuilder {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, draft: Draft::new(Scope::Consumer) }
    }

    /// Sets a setting by Kafka's name and in Kafka's units: `config("max.poll.records", 100)`. All settings:
    /// `docs/configuration.md`.
    ///
    /// A name that has no meaning within one process, such as `bootstrap.servers`, is accepted and ignored, and a
    /// warning logged. A mistake is an error of [`build`](Self::build).
    pub fn config(mut self, name: impl AsRef<str>, value: impl ToString) -> Self {
        self.draft.set_text(name.as_ref(), &value.to_string());
        self
    }

    /// Sets all that the text of a `.properties` file says.
    pub fn properties(mut self, text: impl AsRef<str>) -> Self {
        self.draft.properties("properties", text.as_ref());
        self
    }

    /// Sets all that such a file says. It is read at once, as UTF-8.
    pub fn properties_file(mut self, path: impl AsRef<Path>) -> Self {
        properties::load(&mut self.draft, path.as_ref());
        self
    }

    /// A name that tells consumers apart (`client.id`). Default: none.
    pub fn client_id(mut self, id: impl AsRef<str>) -> Self {
        self.draft.set("client.id", id.as_ref());
        self
    }

    /// Where to begin (`auto.offset.reset`). Default: [`AutoOffsetReset::Earliest`].
    pub fn auto_offset_reset(mut self, reset: AutoOffsetReset) -> Self {
        self.draft.set("auto.offset.reset", reset.to_string().as_str());
        self
    }

    /// Most records that one poll returns (`max.poll.records`), 1 or more. Default: 500.
    pub fn max_poll_records(mut self, records: usize) -> Self {
        self.draft.set("max.poll.records", records);
        self
    }

    /// Bytes fetched from a partition at a time, but at least one batch (`max.partition.fetch.bytes`).
    /// Default: 1 MiB.
    pub fn max_partition_fetch_bytes(mut self, bytes: usize) -> Self {
        self.draft.set("max.partition.fetch.bytes", bytes);
        self
    }

    /// Bytes that one poll fetches from all partitions, but at least one batch (`fetch.max.bytes`). Default: 50 MiB.
    /// The broker's setting of that name bounds it.
    pub fn fetch_max_bytes(mut self, bytes: usize) -> Self {
        self.draft.set("fetch.max.bytes", bytes);
        self
    }

    /// Bytes that have to be there before a poll fetches anything (`fetch.min.bytes`). Default: 1, whatever there is.
    /// After [`fetch_max_wait`](Self::fetch_max_wait) less will do.
    pub fn fetch_min_bytes(mut self, bytes: usize) -> Self {
        self.draft.set("fetch.min.bytes", bytes);
        self
    }

    /// How long polls wait for [`fetch_min_bytes`](Self::fetch_min_bytes) (`fetch.max.wait.ms`), from the first of
    /// them that finds less. Default: 500 ms.
    pub fn fetch_max_wait(mut self, limit: Duration) -> Self {
        self.draft.set("fetch.max.wait.ms", limit);
        self
    }

    /// Whether batches read from files are checked against their CRC-32C (`check.crcs`). Default: yes.
    pub fn check_crcs(mut self, check: bool) -> Self {
        self.draft.set("check.crcs", check);
        self
    }

    /// The consumer, with no partitions yet.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for an unknown setting or a value out of range;
    /// [`Closed`](ErrorKind::Closed).
    pub fn build(self) -> Result<Consumer> {
        let Self { core, draft } = self;
        if core.is_closed() {
            return Err(Error::closed());
        }
        for notice in draft.notices() {
            log::warn!("{notice}");
        }
        let settings = Settings::read(&draft.finish()?, core.config())?;
        Ok(Consumer {
            core,
            settings,
            fetchers: BTreeMap::new(),
            arrived: Arc::new(Event::new()),
            turn: 0,
            short_since: None,
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
    /// Since when there has been less to fetch than `fetch.min.bytes`.
    short_since: Option<Moment>,
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
            let (place, leader) = (partition.topic_partition().clone(), partition.leader()?);
            let is_kept = self.fetchers.get(&place).is_some_and(|before| before.reads(&leader));
            let runtime = self.core.runtime();
            let begin = || Fetcher::new(leader, &self.arrived, runtime, &self.settings);
            let fetcher = if is_kept { None } else { Some(begin()?) };
            assigned.insert(place, fetcher);
        }
        let mut before = std::mem::take(&mut self.fetchers);
        for (place, fetcher) in assigned {
            if let Some(fetcher) = fetcher.or_else(|| before.remove(&place)) {
                self.fetchers.insert(place, fetcher);
            }
        }
        Ok(())
    }

    /// The name that was given to the consumer (`client.id`), empty if none was.
    pub fn client_id(&self) -> &str {
        &self.settings.client_id
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
            if !records.is_empty() || deadline.is_some_and(|deadline| deadline <= runtime.now()) {
                return Ok(records);
            }
            let patience = self.short_since.and_then(|at| at.after(self.settings.fetch_max_wait));
            runtime.park(listener, patience.into_iter().chain(deadline).min());
        }
    }

    /// Takes what is there, from each partition in turn.
    fn collect(&mut self) -> Result<Records> {
        if self.core.is_closed() {
            return Err(Error::closed());
        }
        let mut collected = Collected {
            records: Records::default(),
            room: self.settings.max_poll_records,
            bytes: self.settings.fetch_max_bytes,
        };
        if !self.is_enough() {
            return Ok(collected.records);
        }
        let count = self.fetchers.len();
        let first = self.turn % count.max(1);
        for at in (first..count).chain(0..first) {
            let Some((partition, fetcher)) = self.fetchers.iter_mut().nth(at) else { break };
            match fetcher.take(partition, &self.settings, &mut collected) {
                Ok(()) => {}
                // What was found before is handed out; the error comes first in the next poll.
                Err(_) if !collected.records.is_empty() => {
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
            if collected.room == 0 || collected.is_full() {
                break;
            }
        }
        Ok(collected.records)
    }

    /// Whether there is as much as `fetch.min.bytes` asks for, or has been less for long enough.
    fn is_enough(&mut self) -> bool {
        let Settings { fetch_min_bytes, fetch_max_wait, .. } = self.settings;
        if fetch_min_bytes <= 1 {
            return true;
        }
        let available = self.fetchers.values().map(|fetcher| fetcher.available(&self.settings));
        let available = available.fold(0, usize::saturating_add);
        let now = self.core.runtime().now();
        let since = *self.short_since.get_or_insert(now);
        let is_enough =
            available >= fetch_min_bytes || (available > 0 && now.since(since) >= fetch_max_wait);
        if is_enough || available == 0 {
            self.short_since = None;
        }
        is_enough
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
