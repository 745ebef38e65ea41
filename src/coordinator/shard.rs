//! The groups of one partition of `__consumer_offsets`: what is in its log, and who lives.
//!
//! There is one for each partition, whichever broker leads it: the coordinator moves when the partition does. In a new
//! term the log of its leader is read anew; only the members that live are kept, and what they have.
//!
//! # Invariants
//! - Offsets are changed by what is in the log for good, in the order of the log: [`InFlight`] holds what comes too soon.
//! - Records go into the leader's queue with the lock held: their order is that of the changes.
//!
//! # Locks
//! A shard's lock comes before those of replicas and of the metadata. Nobody is woken, nothing written and nobody waited
//! for with it held; the log of a new term is read.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::base::{
    Acks, Bug, Compression, IsolationLevel, LeaderEpoch, Offset, PartitionId, Timestamp, TopicName,
    TopicPartition, is_planted,
};
use crate::cluster::Sender;
use crate::coordinator::commit::Outcome;
use crate::coordinator::error::GroupError;
use crate::coordinator::group::{Changes, Committed, Group, Pending, World};
use crate::coordinator::handle::MemberHandle;
use crate::coordinator::ids::GroupId;
use crate::coordinator::records::{CoordinatorRecord, Decoded};
use crate::env::sync::Mutex;
use crate::record::{BatchBuilder, BatchError, CloseOptions, EncodedBatch, Limits, RecordFields};
use crate::replica::{Append, Completion, ProduceError, Refusal, Replica};
use crate::storage::{AppendOrigin, Appended};

/// Bytes of records that are one batch, if they can be more than one.
const MAX_BATCH_BYTES: usize = 256 << 10;

/// About as many bytes has a record besides its key and its value.
const RECORD_BYTES: usize = 16;

/// Bytes that are read at a time.
const READ_BYTES: usize = 1 << 20;

/// The groups of one partition.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) partition: PartitionId,
    pub(super) groups: Mutex<Groups>,
}

/// Who leads the partition, in one term.
#[derive(Clone, Debug)]
pub(super) struct Term {
    pub(super) leader: Arc<Replica>,
    pub(super) epoch: LeaderEpoch,
    /// The background sender of its broker.
    pub(super) sender: Arc<Sender>,
}

impl Term {
    /// Has the background write what is queued.
    pub(super) fn have_written(&self) {
        self.sender.submit(Arc::clone(&self.leader) as _, None);
    }
}

impl Term {
    /// Whether it is a later one of the same partition.
    fn is_after(&self, other: &Self) -> bool {
        self.epoch > other.epoch && self.leader.topic_id() == other.leader.topic_id()
    }
}

impl PartialEq for Term {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.leader, &other.leader) && self.epoch == other.epoch
    }
}

#[derive(Debug, Default)]
pub(super) struct Groups {
    /// In which the log was read; `None` before.
    term: Option<Term>,
    /// Up to where.
    loaded_end: Offset,
    groups: BTreeMap<GroupId, Group>,
    in_flight: VecDeque<InFlight>,
    /// Those that have their results since the log was read anew, and are to be told.
    told: Vec<Arc<Outcome>>,
    /// Of what goes into the log next.
    next_ticket: u64,
}

/// What is on its way into the log.
#[derive(Debug)]
struct InFlight {
    ticket: u64,
    leader: Arc<Replica>,
    records: Vec<CoordinatorRecord>,
    /// Whose it is.
    by: Option<Arc<MemberHandle>>,
    outcome: Arc<Outcome>,
    /// Nothing more of the outcome is to come.
    is_last: bool,
    result: Option<Result<Offset, ProduceError>>,
}

impl Shard {
    pub(super) fn new(partition: PartitionId) -> Arc<Self> {
        Arc::new(Self { partition, groups: Mutex::default() })
    }
}

impl Groups {
    /// Reads the log if `term` is another than that in which it was read.
    pub(super) fn enter(
        &mut self,
        term: &Term,
        world: &World<'_>,
        changes: &mut Changes,
    ) -> Result<(), GroupError> {
        if self.term.as_ref() == Some(term) {
            return Ok(());
        }
        let partition = term.leader.partition();
        let moved = || GroupError::LoadInProgress { partition: partition.clone() };
        if self.term.as_ref().is_some_and(|known| known.is_after(term)) {
            // Who asks has not heard yet (KAFKA-10614).
            return Err(moved());
        }
        let end = term.leader.known_end(IsolationLevel::ReadUncommitted);
        let end = end.ok_or_else(moved)?;
        let mut groups = BTreeMap::new();
        read(&term.leader, end, &mut groups)?;
        let mut before = std::mem::take(&mut self.groups);
        for (id, group) in &mut groups {
            group.adopt(before.remove(id), world, changes);
        }
        // Those of which nothing has come into the log.
        for (id, group) in before.into_iter().filter(|(_, group)| group.has_members()) {
            let mut again = Group::new(id.clone());
            again.adopt(Some(group), world, changes);
            groups.insert(id, again);
        }
        self.groups = groups;
        self.loaded_end = end;
        self.term = Some(term.clone());
        self.give_up(&term.leader, world, changes);
        Ok(())
    }

    /// What was on its way to another leader than `leader` is in the log that was read, or not in it: who waits is not to
    /// wait for a broker that may answer late.
    fn give_up(&mut self, leader: &Arc<Replica>, world: &World<'_>, changes: &mut Changes) {
        let all = std::mem::take(&mut self.in_flight);
        let (kept, lost) = all.into_iter().partition(|f| Arc::ptr_eq(&f.leader, leader));
        self.in_flight = kept;
        for in_flight in lost {
            let told = self.finish(in_flight, world, changes);
            self.told.extend(told);
        }
    }

    /// Who is to be told since the log was read.
    pub(super) fn take_told(&mut self) -> Vec<Arc<Outcome>> {
        std::mem::take(&mut self.told)
    }

    pub(super) fn get(&self, group: &GroupId) -> Option<&Group> {
        self.groups.get(group)
    }

    pub(super) fn get_mut(&mut self, group: &GroupId) -> Option<&mut Group> {
        self.groups.get_mut(group)
    }

    pub(super) fn get_or_create(&mut self, group: &GroupId) -> &mut Group {
        self.groups.entry(group.clone()).or_insert_with(|| Group::new(group.clone()))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&GroupId, &Group)> {
        self.groups.iter()
    }

    /// Whether anybody lives, as far as is known without the log.
    pub(super) fn have_members(&self) -> bool {
        self.groups.values().any(Group::has_members)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        self.groups.values_mut()
    }

    pub(super) fn forget(&mut self, group: &GroupId) {
        self.groups.remove(group);
    }

    pub(super) fn term(&self) -> Option<&Term> {
        self.term.as_ref()
    }

    /// Queues records that nobody waits for. Returns whether there were any.
    pub(super) fn append(&mut self, records: &[CoordinatorRecord], how: &Batching) -> bool {
        let Some(term) = &self.term else { return false };
        let encoded = encode(records);
        for piece in pieces(&encoded) {
            let batch = how.batch(piece);
            let queued = batch.map_err(ProduceError::from).and_then(|batch| {
                let completion = Arc::new(Unwatched(term.leader.partition().to_string()));
                queue(&term.leader, batch, completion)
            });
            if let Err(error) = queued {
                // The next broker knows the members that live all the same.
                log::debug!("{}: members were not recorded: {error}", term.leader.partition());
            }
        }
        !records.is_empty()
    }

    /// Queues records that count when they are in the log for good: `outcome` is told then.
    pub(super) fn commit(
        &mut self,
        records: Vec<CoordinatorRecord>,
        by: Option<&Arc<MemberHandle>>,
        outcome: &Arc<Outcome>,
        how: &Batching,
    ) -> Result<(), GroupError> {
        let Some(term) = &self.term else { return Ok(()) };
        let encoded = encode(&records);
        // A commit is in the log as a whole, or not at all.
        let is_commit =
            |r: &CoordinatorRecord| matches!(r, CoordinatorRecord::Offset { value: Some(_), .. });
        let pieces = match records.iter().any(is_commit) {
            true => vec![encoded.as_slice()],
            false => pieces(&encoded).collect(),
        };
        let (mut records, mut left) = (records.into_iter(), pieces.len());
        for piece in pieces {
            left -= 1;
            let batch = how.batch(piece).map_err(|e| GroupError::NotWritten(e.into()))?;
            let ticket = self.next_ticket;
            let completion = Arc::new(Ticket { outcome: Arc::clone(outcome), ticket });
            queue(&term.leader, batch, completion).map_err(GroupError::NotWritten)?;
            self.next_ticket += 1;
            if is_planted(Bug::OffsetsBeforeLog) {
                for record in records.clone().take(piece.len()) {
                    self.groups
                        .entry(record.group().clone())
                        .or_insert_with(|| Group::new(record.group().clone()))
                        .applied(record);
                }
            }
            let by = by.cloned();
            if let Some(handle) = &by
                && let Some(group) = self.groups.get_mut(handle.group())
            {
                group.commit_begins(handle);
            }
            self.in_flight.push_back(InFlight {
                ticket,
                leader: Arc::clone(&term.leader),
                records: records.by_ref().take(piece.len()).collect(),
                by,
                outcome: Arc::clone(outcome),
                is_last: left == 0,
                result: None,
            });
        }
        Ok(())
    }

    /// Takes note of what became of records, and has all count whose turn it is. Returns who is to be told.
    pub(super) fn settle(
        &mut self,
        ticket: u64,
        result: Result<Offset, ProduceError>,
        world: &World<'_>,
        changes: &mut Changes,
    ) -> Vec<Arc<Outcome>> {
        if let Some(in_flight) = self.in_flight.iter_mut().find(|f| f.ticket == ticket) {
            in_flight.result = Some(result);
        }
        let mut told = Vec::new();
        while self.in_flight.front().is_some_and(|first| first.result.is_some()) {
            let Some(first) = self.in_flight.pop_front() else { break };
            told.extend(self.finish(first, world, changes));
        }
        told
    }

    /// Has records count, if they are in the log. Returns who is to be told.
    fn finish(
        &mut self,
        in_flight: InFlight,
        world: &World<'_>,
        changes: &mut Changes,
    ) -> Option<Arc<Outcome>> {
        let InFlight { records, by, outcome, is_last, result, .. } = in_flight;
        let result = result.unwrap_or(Err(ProduceError::LeaderLost));
        // What was read from the log since then is newer.
        let counts = result.as_ref().is_ok_and(|base| *base >= self.loaded_end);
        for record in records {
            let id = record.group().clone();
            if counts {
                self.get_or_create(&id).applied(record);
            }
            if self.get(&id).is_some_and(Group::is_dead) {
                self.groups.remove(&id);
            }
        }
        if let Some(handle) = by
            && let Some(group) = self.groups.get_mut(handle.group())
        {
            group.commit_ends(&handle, world, changes);
        }
        let is_over = is_last || result.is_err();
        if is_over {
            outcome.set(result.map(drop));
        }
        is_over.then_some(outcome)
    }
}

/// What becomes of offsets that are there, or on their way.
impl Groups {
    pub(super) fn expire_offsets(&mut self, world: &World<'_>, changes: &mut Changes) {
        let (pending, none) = (self.pending(), Pending::default());
        for (id, group) in &mut self.groups {
            group.expire_offsets(pending.get(id).unwrap_or(&none), world, changes);
        }
    }

    pub(super) fn forget_topic(&self, topic: &TopicName, world: &World<'_>, changes: &mut Changes) {
        let (pending, none) = (self.pending(), Pending::default());
        for (id, group) in &self.groups {
            group.forget_topic(topic, pending.get(id).unwrap_or(&none), world, changes);
        }
    }

    /// `None` if there is no such group.
    pub(super) fn delete_offsets(
        &self,
        group: &GroupId,
        partitions: &[TopicPartition],
        changes: &mut Changes,
    ) -> Option<Result<(), GroupError>> {
        let pending = self.pending().remove(group).unwrap_or_default();
        Some(self.get(group)?.delete_offsets(partitions, &pending, changes))
    }

    /// `None` if there is no such group.
    pub(super) fn delete(
        &mut self,
        group: &GroupId,
        changes: &mut Changes,
    ) -> Option<Result<(), GroupError>> {
        let pending = self.pending().remove(group).unwrap_or_default();
        Some(self.get_mut(group)?.delete(&pending, changes))
    }

    /// What was committed for these partitions, as far as something was.
    pub(super) fn committed(
        &self,
        group: &GroupId,
        partitions: &[TopicPartition],
        world: &World<'_>,
    ) -> BTreeMap<TopicPartition, Committed> {
        let group = self.get(group);
        let committed = partitions.iter().filter_map(|place| {
            let committed = group?.committed(&place.topic, place.partition, world)?;
            Some((place.clone(), committed.clone()))
        });
        committed.collect()
    }

    /// Whether a commit for one of these partitions is on its way into the log.
    pub(super) fn has_pending(&self, group: &GroupId, partitions: &[TopicPartition]) -> bool {
        if is_planted(Bug::BegunBeforeDecided) {
            return false;
        }
        let pending = self.pending().remove(group).unwrap_or_default();
        partitions.iter().any(|place| pending.contains_key(place))
    }

    /// Of each group, the partitions for which commits are on their way into the log.
    fn pending(&self) -> BTreeMap<GroupId, Pending> {
        let mut pending = BTreeMap::<_, Pending>::new();
        for record in self.in_flight.iter().flat_map(|in_flight| &in_flight.records) {
            if let CoordinatorRecord::Offset { group, topic, partition, value: Some(value) } =
                record
            {
                let of_group = pending.entry(group.clone()).or_default();
                of_group.insert(TopicPartition::new(topic.clone(), *partition), value.topic);
            }
        }
        pending
    }
}

fn queue(
    leader: &Replica,
    batch: EncodedBatch,
    completion: Arc<dyn Completion>,
) -> Result<(), ProduceError> {
    let (origin, acks) = (AppendOrigin::Client, Acks::All);
    let queued = leader.enqueue(Append { batch, origin, acks, completion });
    queued.map_err(|unqueued| unqueued.error)
}

/// Adds up the records of a log.
fn read(
    leader: &Replica,
    end: Offset,
    groups: &mut BTreeMap<GroupId, Group>,
) -> Result<(), GroupError> {
    let unreadable = |at: Offset, reason: String| GroupError::Unreadable {
        reason: format!("{} at {at}: {reason}", leader.partition()),
    };
    let mut next = leader.log().start();
    while next < end {
        let fetched = leader.log().read(next, READ_BYTES, end);
        let fetched = fetched.map_err(|error| unreadable(next, error.to_string()))?;
        // There is more below `end`: a batch that seems to be behind that is damaged where no checksum tells (H5).
        let Some(last) = fetched.batches.last() else {
            return Err(unreadable(next, "the log seems to end there".to_owned()));
        };
        let behind = last.header().next_offset();
        for batch in fetched.batches.iter().filter(|batch| !batch.header().is_control()) {
            let at = batch.header().base_offset();
            let checked = if fetched.trusted { Ok(()) } else { batch.verify_crc() };
            let decoded = checked.and_then(|()| batch.decode(&Limits::default()));
            for record in decoded.map_err(|e| unreadable(at, e.to_string()))?.iter() {
                let Some(key) = record.key.filter(|_| record.offset >= next) else { continue };
                match CoordinatorRecord::decode(key, record.value) {
                    Ok(Decoded::Record(record)) => {
                        let group = record.group().clone();
                        let new = || Group::new(group.clone());
                        groups.entry(group.clone()).or_insert_with(new).replay(record);
                    }
                    Ok(Decoded::Unknown { kind }) => {
                        log::debug!("{}: kind {kind} is passed over", leader.partition());
                    }
                    Err(error) => return Err(unreadable(record.offset, error.to_string())),
                }
            }
        }
        // A log with gaps goes on behind them (KAFKA-9065).
        next = behind.max(next);
    }
    groups.retain(|_, group| !group.is_dead());
    Ok(())
}

/// How records become batches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batching {
    pub(super) compression: Compression,
    pub(super) now: Timestamp,
}

impl Batching {
    /// All of the records as one batch.
    fn batch(&self, records: &[Encoded]) -> Result<EncodedBatch, BatchError> {
        let mut builder = BatchBuilder::new(BytesMut::new());
        for (key, value) in records {
            builder.append(&RecordFields {
                timestamp: Some(self.now),
                key: Some(key),
                value: value.as_deref(),
                headers: &[],
            })?;
        }
        builder.close(&CloseOptions { compression: self.compression, ..CloseOptions::default() })
    }
}

/// Key and value of a record.
type Encoded = (Bytes, Option<Bytes>);

fn encode(records: &[CoordinatorRecord]) -> Vec<Encoded> {
    records.iter().map(|record| (record.encode_key(), record.encode_value())).collect()
}

/// Records that are a batch each.
fn pieces(records: &[Encoded]) -> impl Iterator<Item = &[Encoded]> {
    let mut rest = records;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|(key, value)| {
            let before = bytes;
            bytes += key.len() + value.as_ref().map_or(0, Bytes::len) + RECORD_BYTES;
            before == 0 || bytes <= MAX_BATCH_BYTES
        });
        let (piece, behind) = rest.split_at(fits.count());
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Tells an [`Outcome`] which of its tries has come to an end.
struct Ticket {
    outcome: Arc<Outcome>,
    ticket: u64,
}

impl Completion for Ticket {
    fn complete(self: Arc<Self>, result: Result<Appended, Refusal>) {
        let result = result.map(|appended| appended.base).map_err(|refusal| refusal.error);
        self.outcome.settled(self.ticket, result);
    }

    fn tell(&self) {
        self.outcome.tell();
    }

    fn hand_over(&self) -> bool {
        self.outcome.hand_over()
    }
}

/// Of records that nobody waits for.
struct Unwatched(String);

impl Completion for Unwatched {
    fn complete(self: Arc<Self>, result: Result<Appended, Refusal>) {
        if let Err(refusal) = result {
            log::debug!("{}: members were not recorded: {}", self.0, refusal.error);
        }
    }

    fn hand_over(&self) -> bool {
        false
    }
}
