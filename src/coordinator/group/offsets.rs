//! How far a group has come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::{
    Bug, LeaderEpoch, Offset, PartitionId, TopicId, TopicName, TopicPartition, is_planted,
};
use crate::cluster::ClusterError;
use crate::coordinator::error::GroupError;
use crate::coordinator::group::{Changes, Group, World};
use crate::coordinator::handle::MemberHandle;
use crate::coordinator::ids::ShortText;
use crate::coordinator::records::{CoordinatorRecord, OffsetValue};

/// What was committed for a partition.
pub(crate) type Committed = OffsetValue;

/// What is to be committed for a partition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Commit {
    /// The topic that was read, if that is known: of the same name there may be another by now.
    pub(crate) topic: Option<TopicId>,
    pub(crate) partition: TopicPartition,
    /// The offset to read next.
    pub(crate) offset: Offset,
    pub(crate) leader_epoch: Option<LeaderEpoch>,
    pub(crate) metadata: String,
}

/// What was committed, by topic and partition: what is in the log for good.
#[derive(Debug, Default)]
pub(super) struct Offsets(BTreeMap<TopicName, BTreeMap<PartitionId, Committed>>);

impl Offsets {
    pub(super) fn get(&self, topic: &TopicName, partition: PartitionId) -> Option<&Committed> {
        self.0.get(topic)?.get(&partition)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&TopicName, PartitionId, &Committed)> {
        self.0.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(move |(partition, committed)| (topic, *partition, committed))
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn set(&mut self, topic: TopicName, partition: PartitionId, to: Option<Committed>) {
        match to {
            Some(committed) => _ = self.0.entry(topic).or_default().insert(partition, committed),
            None => {
                let Some(partitions) = self.0.get_mut(&topic) else { return };
                partitions.remove(&partition);
                if partitions.is_empty() {
                    self.0.remove(&topic);
                }
            }
        }
    }
}

/// Partitions for which commits are on their way into the log.
pub(in crate::coordinator) type Pending = BTreeSet<TopicPartition>;

impl Group {
    /// The records of a commit, by a member or, in a group without members, by anybody. It counts when they are in the
    /// log for good: see [`applied`](Self::applied).
    ///
    /// # Errors
    /// Why nothing of it may be committed.
    pub(in crate::coordinator) fn commit(
        &self,
        by: Option<&Arc<MemberHandle>>,
        commits: Vec<Commit>,
        world: &World<'_>,
        changes: &mut Changes,
    ) -> Result<(), GroupError> {
        let group = || self.id.to_string();
        match by {
            Some(handle) => _ = self.member(handle)?,
            None if self.has_members() => return Err(GroupError::NotAMember { group: group() }),
            None => {}
        }
        let mut records = Vec::with_capacity(commits.len());
        let nothing = ShortText::default();
        for Commit {
            topic: id,
            partition: TopicPartition { topic, partition },
            offset,
            leader_epoch,
            metadata,
        } in commits
        {
            let known = world.topic(&topic);
            if id.is_some_and(|id| known.is_none_or(|known| known.id != id)) {
                // It is deleted, and so is what was committed for it.
                continue;
            }
            if by.is_some() && known.is_none() {
                return Err(ClusterError::UnknownTopic(topic.to_string()).into());
            }
            if let (Some(handle), Some(known)) = (by, known) {
                let is_own = match self.claims.owner(known.id, partition) {
                    Some(owner) => owner == handle.member(),
                    // What somebody is about to be given is with nobody until then: others may have committed more since
                    // this member had it.
                    None => self.target.owner(known.id, partition).is_none(),
                };
                if !is_own && !is_planted(Bug::FormerOwnersCommit) {
                    return Err(GroupError::NotOwner { group: group(), topic, partition });
                }
            }
            let (size, max) = (metadata.len(), world.config.offset_metadata_max_bytes);
            let metadata = match size {
                0 => Some(nothing.clone()),
                _ => ShortText::new(&metadata).filter(|_| size <= max),
            };
            let Some(metadata) = metadata else {
                return Err(GroupError::OffsetMetadataTooLarge { topic, partition, size, max });
            };
            let committed_at = changes.wall_clock;
            let value =
                OffsetValue { offset, leader_epoch, metadata, committed_at, expires_at: None };
            let (group, value) = (self.id.clone(), Some(value));
            records.push(CoordinatorRecord::Offset { group, topic, partition, value });
        }
        changes.records.append(&mut records);
        Ok(())
    }

    /// A record about an offset is in the log for good.
    pub(in crate::coordinator) fn applied(&mut self, record: CoordinatorRecord) {
        if let CoordinatorRecord::Offset { topic, partition, value, .. } = record {
            self.offsets.set(topic, partition, value);
        }
    }

    pub(in crate::coordinator) fn committed(
        &self,
        topic: &TopicName,
        partition: PartitionId,
    ) -> Option<&Committed> {
        self.offsets.get(topic, partition)
    }

    /// All that was committed.
    pub(in crate::coordinator) fn all_committed(&self) -> BTreeMap<TopicPartition, Committed> {
        let committed = self.offsets.iter().map(|(topic, partition, committed)| {
            (TopicPartition::new(topic.clone(), partition), committed.clone())
        });
        committed.collect()
    }

    /// Tombstones for the offsets of these partitions, as far as there are some, or some are on their way.
    ///
    /// # Errors
    /// A member is subscribed to one of the topics.
    pub(in crate::coordinator) fn delete_offsets(
        &self,
        partitions: &[TopicPartition],
        pending: &Pending,
        changes: &mut Changes,
    ) -> Result<(), GroupError> {
        let subscribed = |partition: &&TopicPartition| self.is_subscribed_to(&partition.topic);
        if let Some(partition) = partitions.iter().find(subscribed) {
            let (group, topic) = (self.id.to_string(), partition.topic.clone());
            return Err(GroupError::SubscribedToTopic { group, topic });
        }
        let known = partitions
            .iter()
            .filter(|p| self.committed(&p.topic, p.partition).is_some() || pending.contains(*p));
        known.for_each(|p| changes.record(self.tombstone(&p.topic, p.partition)));
        Ok(())
    }

    /// Tombstones for all offsets of a topic, which is no more.
    pub(in crate::coordinator) fn forget_topic(
        &self,
        topic: &TopicName,
        pending: &Pending,
        changes: &mut Changes,
    ) {
        let known = self.offsets.0.get(topic).into_iter().flat_map(BTreeMap::keys).copied();
        let pending = pending.iter().filter(|p| p.topic == *topic).map(|p| p.partition);
        let of_topic = known.chain(pending).collect::<BTreeSet<_>>();
        of_topic.iter().for_each(|partition| changes.record(self.tombstone(topic, *partition)));
    }

    /// Tombstones for everything.
    ///
    /// # Errors
    /// It has members.
    pub(in crate::coordinator) fn delete(
        &mut self,
        pending: &Pending,
        changes: &mut Changes,
    ) -> Result<(), GroupError> {
        if self.has_members() {
            let (group, members) = (self.id.to_string(), self.members.len());
            return Err(GroupError::NonEmptyGroup { group, members });
        }
        let known = self.offsets.iter();
        let known = known.map(|(topic, p, _)| TopicPartition::new(topic.clone(), p));
        let all = known.chain(pending.iter().cloned()).collect::<BTreeSet<_>>();
        all.iter().for_each(|p| changes.record(self.tombstone(&p.topic, p.partition)));
        self.end(changes);
        Ok(())
    }

    pub(super) fn is_subscribed_to(&self, topic: &TopicName) -> bool {
        self.members.values().any(|member| member.wants.subscribed.contains(topic))
    }

    pub(super) fn tombstone(&self, topic: &TopicName, partition: PartitionId) -> CoordinatorRecord {
        let (group, topic) = (self.id.clone(), topic.clone());
        CoordinatorRecord::Offset { group, topic, partition, value: None }
    }
}
