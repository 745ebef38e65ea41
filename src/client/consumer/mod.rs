//! Reading records.

mod aborted;
mod builder;
mod commit;
mod fetcher;
mod grouped;
mod iso8601;
mod membership;
mod rebalance;
mod records;
mod source;
mod stream;
mod wakeup;

#[cfg(test)]
mod isolation_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{BrokerId, ErrorKind, Offset, Timestamp, TopicPartition};
use crate::client::interceptor::{ConsumerInterceptor, Interceptors};
use crate::client::{Error, Partition, Result};
use crate::cluster::Running;
use crate::coordinator::GroupCoordinator;
use crate::env::Moment;
use crate::env::sync::Event;
use crate::replica::Replica;
use crate::storage::TimestampedOffset;

use builder::Settings;
use fetcher::{Collected, Fetcher};
use membership::Membership;
use rebalance::Hook;

pub use builder::{AutoOffsetReset, ConsumerBuilder};
pub(in crate::client) use commit::Committer;
pub use commit::{Commit, NextOffset};
pub use grouped::GroupMetadata;
pub use rebalance::{RebalanceEvent, Revocation};
pub use records::{ConsumerRecord, Headers, HeadersIter, Records, RecordsIter};
pub use stream::RecordStream;
pub use wakeup::Wakeup;

/// Where to go on reading, for [`Consumer::seek`].
///
/// ```
/// use brooklet::{Cluster, NewTopic, SeekTo};
/// use std::time::{Duration, SystemTime};
///
/// let cluster = Cluster::in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email"))?;
/// let mut consumer = cluster.consumer().build()?;
/// consumer.assign(email.partitions())?;
/// let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
/// consumer.seek_all(SeekTo::Timestamp(an_hour_ago.into()))?;
/// # Ok::<(), brooklet::Error>(())
/// ```
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
    core: Arc<Running>,
    settings: Settings,
    interceptors: Interceptors<dyn ConsumerInterceptor>,
    fetchers: BTreeMap<TopicPartition, Fetcher>,
    groups: Arc<GroupCoordinator>,
    /// Of a consumer with a group.
    committer: Option<Arc<Committer>>,
    /// Of a member of the group.
    membership: Option<Membership>,
    /// What is called when partitions are about to go.
    hook: Option<Hook>,
    /// Notified when there is more to read in any of the partitions.
    arrived: Arc<Event>,
    wakeup: Wakeup,
    /// Which partition comes first in the next poll.
    turn: usize,
    /// Since when there has been less to fetch than `fetch.min.bytes`.
    short_since: Option<Moment>,
}

impl Consumer {
    fn new(
        (core, groups): (Arc<Running>, Arc<GroupCoordinator>),
        settings: Settings,
        interceptors: Interceptors<dyn ConsumerInterceptor>,
    ) -> Self {
        let arrived = Arc::new(Event::new());
        let group = settings.group.clone();
        let committer =
            group.map(|group| Committer::new(&core, &groups, group, settings.api_timeout));
        Self {
            core,
            groups,
            committer,
            membership: None,
            hook: None,
            settings,
            interceptors,
            fetchers: BTreeMap::new(),
            wakeup: Wakeup::new(&arrived),
            arrived,
            turn: 0,
            short_since: None,
        }
    }

    /// Reads these partitions from now on, and no others. Positions of those that it read before are kept; new ones
    /// begin where the consumer's group has committed, or as `auto.offset.reset` says.
    ///
    /// # Errors
    /// [`InvalidState`](ErrorKind::InvalidState) if the consumer is [subscribed](Self::subscribe);
    /// [`TopicDeleted`](ErrorKind::TopicDeleted) or [`Storage`](ErrorKind::Storage) if a partition cannot be opened,
    /// [`LeaderNotAvailable`](ErrorKind::LeaderNotAvailable) if nobody leads it at the moment; for a consumer with a group [`CoordinatorNotAvailable`](ErrorKind::CoordinatorNotAvailable) and
    /// [`CoordinatorLoadInProgress`](ErrorKind::CoordinatorLoadInProgress) at the moment; the assignment is as it was.
    pub fn assign(&mut self, partitions: impl IntoIterator<Item = Partition>) -> Result<()> {
        if self.membership.is_some() {
            let message = "the consumer is subscribed: a consumer does one or the other";
            return Err(Error::new(ErrorKind::InvalidState, message));
        }
        let mut assigned = BTreeMap::new();
        for partition in partitions {
            if !Arc::ptr_eq(partition.topic().core(), &self.core) {
                let message = format!("{partition} belongs to another cluster than the consumer");
                return Err(Error::new(ErrorKind::InvalidState, message));
            }
            let place = partition.topic_partition().clone();
            let is_kept = self.fetchers.get(&place).is_some_and(|before| before.reads(&partition));
            let runtime = self.core.runtime();
            let begin = || {
                let from = self.committed_for(&partition)?;
                Fetcher::new(partition, &self.arrived, runtime, &self.settings, from)
            };
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

    fn committed_for(&self, partition: &Partition) -> Result<Option<NextOffset>> {
        match &self.committer {
            Some(_) => self.committed(partition),
            None => Ok(None),
        }
    }

    /// The name that was given to the consumer (`client.id`), empty if none was.
    pub fn client_id(&self) -> &str {
        &self.settings.client_id
    }

    /// The partitions that are read, in order.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        match &self.membership {
            Some(membership) => {
                let mut assigned = membership.assignment().cloned().collect::<Vec<_>>();
                assigned.sort();
                assigned
            }
            None => self.fetchers.keys().cloned().collect(),
        }
    }

    /// Returns records that were not returned before, of one or several partitions, each in the order of their
    /// offsets. Waits up to `timeout` if there are none; a record that comes in ends the waiting at once. No records
    /// means that none came.
    ///
    /// # Errors
    /// By [`kind`](Error::kind): [`CorruptMessage`](ErrorKind::CorruptMessage) if a batch does not match its
    /// checksum: seek to the end of [`Error::unreadable_offsets`] to go on;
    /// [`OffsetOutOfRange`](ErrorKind::OffsetOutOfRange) under [`AutoOffsetReset::None`]; [`TopicDeleted`](ErrorKind::TopicDeleted); [`Closed`](ErrorKind::Closed);
    /// [`InvalidState`](ErrorKind::InvalidState) if nothing is assigned; [`FencedInstanceId`](ErrorKind::FencedInstanceId) if
    /// another has come in the place of a static member; of a member also [`Storage`](ErrorKind::Storage) if a partition cannot
    /// be opened, [`CoordinatorNotAvailable`](ErrorKind::CoordinatorNotAvailable) if the coordinator's log cannot be read, and,
    /// if it was removed and cannot join again, those of [`subscribe`](Self::subscribe): later polls try again. No record is
    /// lost by an error: positions are as they were.
    pub fn poll(&mut self, timeout: Duration) -> Result<Records> {
        let records = self.wait_for_records(timeout);
        self.poll_ends();
        Ok(self.intercept(records?))
    }

    /// What [`poll`](Self::poll) returns, without end and without blocking.
    ///
    /// ```
    /// use brooklet::{Cluster, NewTopic, Record};
    /// use futures_util::TryStreamExt;
    ///
    /// let cluster = Cluster::in_memory()?;
    /// let email = cluster.create_topic(NewTopic::new("email"))?;
    /// let mut consumer = cluster.consumer().build()?;
    /// consumer.assign(email.partitions())?;
    /// cluster.producer().build()?.send(Record::to(&email).value("welcome"))?.wait()?;
    ///
    /// futures_executor::block_on(async {
    ///     let mut stream = consumer.stream();
    ///     while let Some(records) = stream.try_next().await? {
    ///         for record in &records {
    ///             println!("{}: {:?}", record.offset(), record.value());
    ///         }
    ///         # stream.consumer().wakeup().wake();
    ///     }
    ///     Ok::<(), brooklet::Error>(())
    /// })?;
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    pub fn stream(&mut self) -> RecordStream<'_> {
        RecordStream::new(self)
    }

    fn intercept(&self, mut records: Records) -> Records {
        if !self.interceptors.is_empty() && !records.is_empty() {
            self.interceptors.on_consume(&mut records);
        }
        records
    }

    fn wait_for_records(&mut self, timeout: Duration) -> Result<Records> {
        let found = self.turn(true)?;
        if found.is_some() || timeout.is_zero() {
            return Ok(found.unwrap_or_default());
        }
        let runtime = Arc::clone(self.core.runtime());
        let deadline = runtime.now().after(timeout);
        loop {
            let listener = self.arrived.listen();
            if let Some(found) = self.turn(false)? {
                return Ok(found);
            }
            let is_over = deadline.is_some_and(|deadline| deadline <= runtime.now());
            if is_over || self.wakeup.take() {
                return Ok(Records::default());
            }
            let until = [self.patience(), self.look_again(), deadline];
            self.waits();
            runtime.park(listener, until.into_iter().flatten().min());
        }
    }

    /// What is there for a poll, if it is to return at once. `begins` says that this is its first look.
    fn turn(&mut self, begins: bool) -> Result<Option<Records>> {
        self.check_open()?;
        self.follow_group(begins)?;
        let has_news = self.membership.as_ref().is_some_and(Membership::has_news);
        let overdue = self.membership.as_mut().filter(|_| !has_news);
        if let Some(error) = overdue.and_then(Membership::overdue_failure) {
            return Err(error);
        }
        let collected = self.collect();
        let Some(membership) = &mut self.membership else {
            return collected.map(|records| Some(records).filter(|records| !records.is_empty()));
        };
        if has_news || collected.as_ref().map_or(true, |records| !records.is_empty()) {
            membership.put_failure_off();
        } else if let Some(error) = membership.failure() {
            return Err(error);
        }
        // What has happened in the group is told first. The error comes again.
        let mut records = if has_news { collected.unwrap_or_default() } else { collected? };
        records.set_rebalances(membership.take_events());
        Ok(Some(records).filter(|records| has_news || !records.is_empty()))
    }

    /// Until when there may be less than `fetch.min.bytes` asks for, if there is less.
    fn patience(&self) -> Option<Moment> {
        self.short_since.and_then(|since| since.after(self.settings.fetch_max_wait))
    }

    /// When to look for leaders, where there are none, or to ask them whom to read.
    fn look_again(&self) -> Option<Moment> {
        let of_group = self.membership.as_ref().and_then(Membership::look_again);
        self.fetchers.values().filter_map(Fetcher::look_again).chain(of_group).min()
    }

    fn check_open(&self) -> Result<()> {
        if self.core.is_closed() { Err(Error::closed()) } else { Ok(()) }
    }

    /// Takes what is there, from each partition in turn.
    fn collect(&mut self) -> Result<Records> {
        if self.fetchers.is_empty() && self.membership.is_none() {
            let message = "no partitions to read: call Consumer::assign or subscribe first";
            return Err(Error::new(ErrorKind::InvalidState, message));
        }
        let mut collected = Collected {
            records: Records::default(),
            room: self.settings.max_poll_records,
            bytes: self.settings.fetch_max_bytes,
        };
        if !self.is_enough() {
            return Ok(collected.records);
        }
        let is_member = self.membership.is_some();
        let count = self.fetchers.len();
        let first = self.turn % count.max(1);
        // Listed once: to look for each by its number takes long if there are very many.
        let mut fetchers = self.fetchers.iter_mut().enumerate().collect::<Vec<_>>();
        fetchers.rotate_left(first);
        for (at, (partition, fetcher)) in fetchers {
            match fetcher.take(partition, &self.settings, &mut collected) {
                Ok(()) => {}
                // What was found before is handed out; the error comes first in the next poll.
                Err(_) if !collected.records.is_empty() => {
                    self.turn = at;
                    break;
                }
                Err(error) if is_member && error.kind() == ErrorKind::TopicDeleted => {
                    // The group's next answer says so.
                    log::debug!("{error}");
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
        for fetcher in self.fetchers.values_mut() {
            // An error comes to light when it is read.
            let _ = fetcher.find_source(&self.settings);
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

    /// How many offsets lie between the position and the end of what the consumer can read as yet: how far it is behind
    /// (Kafka's `currentLag`). Zero behind the end.
    ///
    /// ```
    /// use brooklet::{Cluster, NewTopic, Record};
    ///
    /// let cluster = Cluster::in_memory()?;
    /// let email = cluster.create_topic(NewTopic::new("email"))?;
    /// cluster.producer().build()?.send(Record::to(&email).value("welcome"))?.wait()?;
    /// let mut consumer = cluster.consumer().build()?;
    /// consumer.assign(email.partitions())?;
    /// assert_eq!(consumer.lag(email.partition(0)?)?, 1);
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`position`](Self::position).
    pub fn lag(&self, partition: impl AsRef<TopicPartition>) -> Result<u64> {
        let partition = partition.as_ref();
        self.fetchers.get(partition).ok_or_else(|| not_assigned(partition))?.lag()
    }

    /// The broker that a partition is read from: its leader, or one in the consumer's rack, see
    /// [`ConsumerBuilder::client_rack`].
    ///
    /// # Errors
    /// [`InvalidState`](ErrorKind::InvalidState) if the partition is not assigned.
    pub fn read_replica(&self, partition: impl AsRef<TopicPartition>) -> Result<BrokerId> {
        let partition = partition.as_ref();
        let fetcher = self.fetchers.get(partition).ok_or_else(|| not_assigned(partition))?;
        Ok(fetcher.read_replica())
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

    /// Ends a [`poll`](Self::poll) that waits, from another thread.
    pub fn wakeup(&self) -> Wakeup {
        self.wakeup.clone()
    }

    /// The first offset that can be read in each of these partitions, which need not be assigned.
    ///
    /// # Errors
    /// [`TopicDeleted`](ErrorKind::TopicDeleted), or [`Storage`](ErrorKind::Storage) if a partition cannot be opened.
    pub fn beginning_offsets(
        &self,
        partitions: impl IntoIterator<Item = Partition>,
    ) -> Result<BTreeMap<TopicPartition, Offset>> {
        of_each(partitions, |_, leader| Ok(leader.log().start()))
    }

    /// The offset behind the last record of each of these partitions, which need not be assigned: the high watermark,
    /// or the last stable offset, as `isolation.level` says.
    ///
    /// # Errors
    /// As [`beginning_offsets`](Self::beginning_offsets), and [`OffsetNotAvailable`](ErrorKind::OffsetNotAvailable) for a
    /// moment after another broker has begun to lead.
    pub fn end_offsets(
        &self,
        partitions: impl IntoIterator<Item = Partition>,
    ) -> Result<BTreeMap<TopicPartition, Offset>> {
        of_each(partitions, |partition, leader| partition.end(leader, self.settings.isolation))
    }

    /// For each partition, which need not be assigned, the first record with at least the timestamp beside it; `None`
    /// where there is none.
    ///
    /// # Errors
    /// As [`end_offsets`](Self::end_offsets), and [`CorruptMessage`](ErrorKind::CorruptMessage).
    pub fn offsets_for_times(
        &self,
        timestamps: impl IntoIterator<Item = (Partition, Timestamp)>,
    ) -> Result<BTreeMap<TopicPartition, Option<TimestampedOffset>>> {
        let Settings { isolation, limits, .. } = &self.settings;
        let find = |(partition, timestamp): (Partition, Timestamp)| {
            let leader = partition.leader()?;
            let found = leader.find_timestamp(timestamp, *isolation, limits)?;
            if found.is_none() {
                // What it does not let be read yet may be it.
                partition.end(&leader, *isolation)?;
            }
            Ok((partition.topic_partition().clone(), found))
        };
        timestamps.into_iter().map(find).collect()
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

/// A member leaves its group, and waits for nobody.
impl Drop for Consumer {
    fn drop(&mut self) {
        self.leave(false);
    }
}

fn of_each(
    partitions: impl IntoIterator<Item = Partition>,
    look: impl Fn(&Partition, &Replica) -> Result<Offset>,
) -> Result<BTreeMap<TopicPartition, Offset>> {
    let entry = |partition: Partition| {
        let offset = look(&partition, &*partition.leader()?)?;
        Ok((partition.topic_partition().clone(), offset))
    };
    partitions.into_iter().map(entry).collect()
}

fn not_assigned(partition: &TopicPartition) -> Error {
    let message =
        format!("{partition} is not assigned to this consumer: call Consumer::assign first");
    Error::new(ErrorKind::InvalidState, message)
}
