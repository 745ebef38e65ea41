//! One partition of a topic, seen from close by.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::base::{Acks, BrokerId, ErrorKind, IsolationLevel, LeaderEpoch, Offset};
use crate::base::{PartitionId, Timestamp, TopicPartition};
use crate::client::batch_delivery::BatchOutcome;
use crate::client::consumer::Records;
use crate::client::{BatchDelivery, Error, Result, Topic};
use crate::cluster::{ClusterError, ElectionKind, PartitionImage, not_internal};
use crate::record::Limits;
use crate::replica::{Append, ProduceError, Replica};
use crate::storage::{AppendOrigin, Damage, ReadError, ScrubReport, TimestampedOffset};

/// One partition of a topic. A handle, cheap to clone.
///
/// ```
/// use brooklet::{Cluster, NewTopic, Offset, Record};
///
/// let cluster = Cluster::in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email"))?;
/// cluster.producer().build()?.send(Record::to(&email).value("welcome"))?.wait()?;
///
/// let partition = email.partition(0)?;
/// assert_eq!(partition.watermarks()?.high, Offset::from(1));
/// for record in &partition.read(Offset::ZERO, 1 << 20)? {
///     assert_eq!(record.value(), Some(&b"welcome"[..]));
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Partition {
    topic: Topic,
    place: TopicPartition,
}

/// The offsets between which a partition can be read.
///
/// ```
/// use brooklet::{Cluster, NewTopic, Record};
///
/// let cluster = Cluster::in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email"))?;
/// cluster.producer().build()?.send(Record::to(&email).value("welcome"))?.wait()?;
/// let watermarks = email.partition(0)?.watermarks()?;
/// assert_eq!(watermarks.high.distance_from(watermarks.low), Some(1));
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Watermarks {
    /// The log start: the first offset that can be read.
    pub low: Offset,
    /// The last stable offset: where consumers of [`IsolationLevel::ReadCommitted`] wait. Below it every transaction
    /// has ended; without transactions it is the high watermark.
    pub last_stable: Offset,
    /// The high watermark: the offset after the last committed record.
    pub high: Offset,
}

/// A description of a partition, from [`Partition::describe`].
///
/// ```
/// use brooklet::{Cluster, NewTopic};
///
/// let cluster = Cluster::builder().brokers(3).in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email").replication_factor(3))?;
/// let partition = email.partition(0)?.describe()?;
/// let is_whole = partition.isr.len() == partition.replicas.len();
/// println!("{}: broker {:?} leads, {}", partition.id, partition.leader, if is_whole { "well" } else { "too few in sync" });
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PartitionDescription {
    /// The partition's index within its topic.
    pub id: PartitionId,
    /// The broker that leads it, `None` if none does.
    pub leader: Option<BrokerId>,
    /// Counts the terms of its leaders.
    pub leader_epoch: LeaderEpoch,
    /// The brokers that have a replica, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Those of them whose replica is in sync.
    pub isr: Vec<BrokerId>,
    /// While the partition is being moved: those that have no replica before it.
    pub adding: Vec<BrokerId>,
    /// While the partition is being moved: those that have no replica after it.
    pub removing: Vec<BrokerId>,
}

impl PartitionDescription {
    pub(super) fn of(id: PartitionId, known: &PartitionImage) -> Self {
        Self {
            id,
            leader: known.leader,
            leader_epoch: known.leader_epoch,
            replicas: known.replicas.clone(),
            isr: known.isr.clone(),
            adding: known.adding.clone(),
            removing: known.removing.clone(),
        }
    }
}

/// A replica of a partition on a broker that runs, from [`Partition::replicas`].
///
/// ```
/// use brooklet::{Cluster, NewTopic, Record};
///
/// let cluster = Cluster::builder().brokers(3).in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email").replication_factor(3))?;
/// cluster.producer().build()?.send(Record::to(&email).value("welcome"))?.wait()?;
/// let replicas = email.partition(0)?.replicas()?;
/// assert!(replicas.iter().all(|replica| replica.is_in_sync && replica.lag == Some(0)));
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ReplicaDescription {
    /// Where it is.
    pub broker: BrokerId,
    /// Whether it leads.
    pub is_leader: bool,
    /// Whether it is in sync.
    pub is_in_sync: bool,
    /// Where its log begins.
    pub log_start: Offset,
    /// Where its log ends.
    pub log_end: Offset,
    /// Up to where it can be read, as far as it knows.
    pub high_watermark: Offset,
    /// How many records the leader has that it lacks; `None` while nobody leads.
    pub lag: Option<u64>,
    /// Its log cannot be written: its disk has failed, or it is damaged.
    pub is_offline: bool,
}

impl Partition {
    pub(super) fn new(topic: Topic, id: PartitionId) -> Self {
        let place = TopicPartition::new(topic.name().clone(), id);
        Self { topic, place }
    }

    /// The topic.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The partition's index within its topic.
    pub fn id(&self) -> PartitionId {
        self.place.partition
    }

    /// Topic and index, by name.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.place
    }

    /// Who has the partition, who of them is in sync, and who leads.
    ///
    /// ```
    /// use brooklet::{Cluster, NewTopic};
    ///
    /// let cluster = Cluster::in_memory()?;
    /// let email = cluster.create_topic(NewTopic::new("email"))?;
    /// let description = email.partition(0)?.describe()?;
    /// assert_eq!(description.replicas, description.isr);
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`TopicDeleted`](crate::ErrorKind::TopicDeleted).
    pub fn describe(&self) -> Result<PartitionDescription> {
        let known = self.topic.core().partition(self.topic.image(), self.id())?;
        Ok(PartitionDescription::of(self.id(), &known))
    }

    /// How far each replica on a broker that runs has come, in the order of [`PartitionDescription::replicas`].
    ///
    /// ```
    /// use brooklet::{Cluster, NewTopic, Record};
    ///
    /// let cluster = Cluster::builder().brokers(3).in_memory()?;
    /// let email = cluster.create_topic(NewTopic::new("email").replication_factor(3))?;
    /// cluster.producer().build()?.send(Record::to(&email).value("welcome"))?.wait()?;
    /// for replica in email.partition(0)?.replicas()? {
    ///     println!("broker {}: up to {}, lag {:?}", replica.broker, replica.log_end, replica.lag);
    /// }
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`TopicDeleted`](crate::ErrorKind::TopicDeleted); [`Storage`](crate::ErrorKind::Storage) if a replica cannot be
    /// opened.
    pub fn replicas(&self) -> Result<Vec<ReplicaDescription>> {
        let core = self.topic.core();
        let known = core.partition(self.topic.image(), self.id())?;
        let mut replicas = Vec::new();
        for broker in &known.replicas {
            match core.replica(self.topic.image(), self.id(), *broker) {
                Ok(replica) => replicas.push(replica),
                Err(ClusterError::UnknownBroker(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let leader = replicas.iter().find(|replica| Some(replica.broker()) == known.leader);
        let leader_end = leader.map(|leader| leader.log().end());
        let describe = |replica: &Arc<Replica>| {
            let log = replica.log();
            let log_end = log.end();
            ReplicaDescription {
                broker: replica.broker(),
                is_leader: known.leader == Some(replica.broker()),
                is_in_sync: known.isr.contains(&replica.broker()),
                log_start: log.start(),
                log_end,
                high_watermark: replica.high_watermark(),
                lag: leader_end.map(|end| end.distance_from(log_end).unwrap_or(0)),
                is_offline: log.is_offline(),
            }
        };
        Ok(replicas.iter().map(describe).collect())
    }

    /// Elects another leader (Kafka's `electLeaders`).
    ///
    /// # Errors
    /// By [`kind`](crate::Error::kind): [`ElectionNotNeeded`](crate::ErrorKind::ElectionNotNeeded) if it leads already;
    /// [`PreferredLeaderNotAvailable`](crate::ErrorKind::PreferredLeaderNotAvailable) if the preferred replica does not run
    /// or is not in sync; [`LeaderNotAvailable`](crate::ErrorKind::LeaderNotAvailable) if no broker with a replica runs.
    pub fn elect_leader(&self, kind: ElectionKind) -> Result<()> {
        Ok(self.topic.core().elect_leader(self.topic.image(), self.id(), kind)?)
    }

    /// Begins to move the partition to other brokers, or to more or fewer of them, the preferred leader first. It is in use
    /// meanwhile: brokers that are new to it catch up, then those that are not wanted any more drop theirs.
    /// [`describe`](Self::describe) tells how far that is: who is `adding` and not in the `isr` is on its way.
    ///
    /// ```
    /// use brooklet::{Cluster, NewTopic};
    ///
    /// let cluster = Cluster::builder().brokers(3).in_memory()?;
    /// let email = cluster.create_topic(NewTopic::new("email").replication_factor(1))?;
    /// let partition = email.partition(0)?;
    /// let all = cluster.brokers().iter().map(|broker| broker.id()).collect::<Vec<_>>();
    /// partition.reassign(all.clone())?;
    /// while !partition.describe()?.adding.is_empty() {
    ///     std::thread::yield_now();
    /// }
    /// assert_eq!(partition.describe()?.replicas, all);
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidReplicaAssignment`](crate::ErrorKind::InvalidReplicaAssignment) if a broker is unknown, not running or
    /// named twice.
    pub fn reassign(&self, brokers: impl IntoIterator<Item = BrokerId>) -> Result<()> {
        let target = Some(brokers.into_iter().collect());
        Ok(self.topic.core().reassign(self.topic.image(), self.id(), target)?)
    }

    /// Gives up a move under way: the partition is where it was before.
    ///
    /// # Errors
    /// [`NoReassignmentInProgress`](crate::ErrorKind::NoReassignmentInProgress).
    pub fn cancel_reassignment(&self) -> Result<()> {
        Ok(self.topic.core().reassign(self.topic.image(), self.id(), None)?)
    }

    pub(super) fn leader(&self) -> Result<Arc<Replica>> {
        Ok(self.topic.core().leader(self.topic.image(), self.id())?)
    }

    /// Which offsets can be read.
    ///
    /// # Errors
    /// [`OffsetNotAvailable`](crate::ErrorKind::OffsetNotAvailable) for a moment after another broker has begun to lead.
    pub fn watermarks(&self) -> Result<Watermarks> {
        let leader = self.leader()?;
        let low = leader.log().start();
        // Not above the high watermark that is looked at afterwards.
        let last_stable = self.end(&leader, IsolationLevel::ReadCommitted)?;
        Ok(Watermarks { low, last_stable, high: leader.high_watermark() })
    }

    /// Up to where the partition can be read, if its leader knows.
    pub(super) fn end(&self, leader: &Replica, isolation: IsolationLevel) -> Result<Offset> {
        leader.known_end(isolation).ok_or_else(|| {
            let message =
                format!("the new leader of {} does not know yet where it ends", self.place);
            Error::new(ErrorKind::OffsetNotAvailable, message)
        })
    }

    /// Bytes in the partition's log files.
    pub fn size_bytes(&self) -> Result<u64> {
        Ok(self.leader()?.log().size().1)
    }

    /// Reads records from `from` on, whatever transaction they are of, of whole batches of at most `max_bytes` together,
    /// or one batch if the first alone is larger. Empty means that there are none below the high watermark. Does not
    /// wait: see [`Consumer`](crate::Consumer).
    ///
    /// # Errors
    /// [`OffsetOutOfRange`](crate::ErrorKind::OffsetOutOfRange) if `from` is below the log start or above the end;
    /// [`CorruptMessage`](crate::ErrorKind::CorruptMessage) if a batch is not what was written:
    /// [`Error::unreadable_offsets`](crate::Error::unreadable_offsets) tells where to go on.
    pub fn read(&self, from: Offset, max_bytes: usize) -> Result<Records> {
        let leader = self.leader()?;
        let read = |from| {
            let fetched = leader.fetch(from, max_bytes, IsolationLevel::ReadUncommitted)?;
            let next = fetched.batches.last().map(|last| last.header().next_offset());
            let place = (self.topic.id(), self.place.clone());
            Ok((Records::decode(place, &fetched, from)?, next))
        };
        let mut next = from;
        loop {
            let mut found = read(next);
            if matches!(found, Err(ReadError::Corrupt { .. })) && !leader.heal().is_empty() {
                found = read(next);
            }
            match found.map_err(|error| Error::of_read(&leader, error))? {
                // Batches that hold no records for applications.
                (records, Some(behind)) if records.is_empty() => next = behind,
                (records, _) => return Ok(records),
            }
        }
    }

    /// Appends a batch as it is: the bytes of one record batch of Kafka's format v2, as its producers encode it, with base
    /// offset 0. Everything that a broker checks is checked: the length, the checksum, each record. Its offsets, and the
    /// leader epoch, are written into it. A batch with a producer id, an epoch and a sequence number that is in the log
    /// already is not appended again, but answered with its old offsets.
    ///
    /// Writes the batch before it returns; what is waited for is its acknowledgement, with `acks=all`.
    ///
    /// # Errors
    /// Nothing was written. By [`kind`](crate::Error::kind): [`InvalidRecord`](crate::ErrorKind::InvalidRecord) if the
    /// bytes are not exactly one batch that a producer may send; [`CorruptMessage`](crate::ErrorKind::CorruptMessage) if
    /// the checksum is wrong; [`MessageTooLarge`](crate::ErrorKind::MessageTooLarge);
    /// [`InvalidTimestamp`](crate::ErrorKind::InvalidTimestamp) before 1970, or for append times;
    /// [`InvalidTxnState`](crate::ErrorKind::InvalidTxnState) for a batch of a transaction, which nobody would end;
    /// [`InvalidTopic`](crate::ErrorKind::InvalidTopic) for a topic of the cluster itself.
    /// What is known of its producer is an error of the delivery:
    /// [`OutOfOrderSequenceNumber`](crate::ErrorKind::OutOfOrderSequenceNumber),
    /// [`InvalidProducerEpoch`](crate::ErrorKind::InvalidProducerEpoch).
    pub fn append(&self, batch: impl Into<Vec<u8>>) -> Result<BatchDelivery> {
        not_internal(&self.place.topic)?;
        let leader = self.leader()?;
        let checked = leader.log().check_produced(batch.into().into(), &Limits::default());
        let batch = checked.map_err(ProduceError::from)?;
        let outcome = Arc::new(BatchOutcome::default());
        let completion = Arc::clone(&outcome) as _;
        let append = Append { batch, origin: AppendOrigin::Client, acks: Acks::All, completion };
        leader.enqueue(append).map_err(|unqueued| unqueued.error)?;
        leader.drive();
        Ok(BatchDelivery::new(leader, Arc::clone(self.topic.core().runtime()), outcome))
    }

    /// Deletes the records before an offset, as Kafka's `deleteRecords`: the log begins there from now on, whatever
    /// happens, and what consumers ask for below it is out of range. Returns the offset at which it begins, which is a
    /// later one if more was deleted before. Durable when it returns; files that held nothing else are removed.
    ///
    /// ```
    /// use brooklet::{Cluster, NewTopic, Offset, Record};
    ///
    /// let cluster = Cluster::in_memory()?;
    /// let email = cluster.create_topic(NewTopic::new("email"))?;
    /// let producer = cluster.producer().build()?;
    /// for value in ["welcome", "goodbye"] {
    ///     producer.send(Record::to(&email).value(value))?.wait()?;
    /// }
    /// let partition = email.partition(0)?;
    /// assert_eq!(partition.delete_records(Offset::from(1))?, Offset::from(1));
    /// assert_eq!(partition.watermarks()?.low, Offset::from(1));
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`OffsetOutOfRange`](crate::ErrorKind::OffsetOutOfRange) if `before` is above the high watermark;
    /// [`PolicyViolation`](crate::ErrorKind::PolicyViolation) if the topic's `cleanup.policy` is `compact` alone;
    /// [`InvalidTopic`](crate::ErrorKind::InvalidTopic) if it is the cluster's own;
    /// [`Storage`](crate::ErrorKind::Storage) if the deletion could not be made durable. Nothing was deleted.
    pub fn delete_records(&self, before: Offset) -> Result<Offset> {
        let topic = self.topic.image();
        Ok(self.topic.core().delete_records(topic, self.id(), Some(before))?)
    }

    /// Deletes all records that are committed: Kafka's `deleteRecords` with the offset -1. See
    /// [`delete_records`](Partition::delete_records).
    pub fn delete_all_records(&self) -> Result<Offset> {
        Ok(self.topic.core().delete_records(self.topic.image(), self.id(), None)?)
    }

    /// The first committed record with a timestamp of at least `timestamp`, `None` if there is none.
    pub fn offset_for_timestamp(&self, timestamp: Timestamp) -> Result<Option<TimestampedOffset>> {
        let isolation = IsolationLevel::ReadUncommitted;
        let leader = self.leader()?;
        let found = leader.find_timestamp(timestamp, isolation, &Limits::default());
        found.map_err(|error| Error::of_read(&leader, error))
    }

    /// Reads all of the leader's log, and reports every part that differs from what was written. What another replica in sync
    /// has is put in its place. What else happens meanwhile goes on.
    ///
    /// # Errors
    /// [`Storage`](crate::ErrorKind::Storage) if a file cannot be read at all.
    pub fn scrub(&self) -> Result<ScrubReport> {
        let leader = self.leader()?;
        let mut report = leader.log().scrub()?;
        if !report.damages.is_empty() {
            report.repaired = leader.heal();
            report.damages.retain(|damage| !report.repaired.contains(damage));
        }
        Ok(report)
    }

    /// Gives up the records that are damaged in `range`, so that the partition can be written again. Returns what it was.
    /// Good records stay, in `range` too, and all that stay keep their offsets: those that are lost are missing from then
    /// on, as in a compacted topic. The bytes are copied to `.quarantine` files first. All is durable when it returns.
    ///
    /// A partition that is damaged elsewhere too stays read-only, until that loss is accepted as well. Reads all of the
    /// partition; producers wait while the segments concerned are written anew.
    ///
    /// ```
    /// use brooklet::{Cluster, NewTopic, Offset};
    ///
    /// # let cluster = Cluster::in_memory()?;
    /// # let email = cluster.create_topic(NewTopic::new("email"))?;
    /// let partition = email.partition(0)?;
    /// for damage in partition.scrub()?.damages {
    ///     println!("{damage}");
    ///     partition.accept_loss(damage.offsets)?;
    /// }
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidState`](crate::ErrorKind::InvalidState) if nothing is damaged in `range`, or if something is damaged there
    /// and beyond it too: more would be lost than was agreed to. [`Storage`](crate::ErrorKind::Storage),
    /// [`StorageFull`](crate::ErrorKind::StorageFull) if a file could not be written: the partition is as it was, or
    /// offline until the cluster is opened again.
    pub fn accept_loss(&self, range: Range<Offset>) -> Result<Vec<Damage>> {
        Ok(self.leader()?.accept_loss(&range)?)
    }

    /// Makes everything written to the partition so far durable, whatever the flush policy.
    pub fn sync(&self) -> Result<()> {
        let leader = self.leader()?;
        // The log of a topic that is being deleted fails for no other reason.
        leader.flush().map_err(|error| match leader.ended() {
            Some(reason) => reason.into(),
            None => error.into(),
        })
    }
}

/// `topic-partition`.
impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

/// Calls that ask for a partition by name take the handle as well.
impl AsRef<TopicPartition> for Partition {
    fn as_ref(&self) -> &TopicPartition {
        &self.place
    }
}
