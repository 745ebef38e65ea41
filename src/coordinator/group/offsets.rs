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
    /// The topic that was read: of the same name there may be another by now.
    pub(crate) topic: TopicId,
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

/// Partitions for which commits are on their way into the log, and the topic that the last of them is for.
pub(in crate::coordinator) type Pending = BTreeMap<TopicPartition, Option<TopicId>>;

/// Whether what was committed under the name `topic`, for the topic with this id, is for the one that has the name now. What
/// others have written without an id goes by the name, as in Kafka.
pub(super) fn is_for(topic: &TopicName, id: Option<TopicId>, world: &World<'_>) -> bool {
    world.topic(topic).is_some_and(|known| id.is_none_or(|id| id == known.id))
}

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
            let Some(known) = world.topic(&topic).filter(|known| known.id == id) else {
                // It is deleted, and so is what was committed for it.
                continue;
            };
            let (index, count) = (u32::from(partition), known.partitions);
            if index >= count {
                return Err(
                    ClusterError::UnknownPartition { topic, partition: index, count }.into()
                );
            }
            if let Some(handle) = by {
                let is_own = match self.claims.owner(id, partition) {
                    Some(owner) => owner == handle.member(),
                    // What somebody is about to be given is with nobody until then: others may have committed more since
                    // this member had it.
                    None => self.target.owner(id, partition).is_none(),
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
            let value = OffsetValue {
                topic: Some(id),
                offset,
                leader_epoch,
                metadata,
                committed_at,
                expires_at: None,
            };
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

    /// What was committed for a partition of the topic that has the name now.
    pub(in crate::coordinator) fn committed(
        &self,
        topic: &TopicName,
        partition: PartitionId,
        world: &World<'_>,
    ) -> Option<&Committed> {
        let committed = self.offsets.get(topic, partition)?;
        is_for(topic, committed.topic, world).then_some(committed)
    }

    /// All that was committed for topics that there are.
    pub(in crate::coordinator) fn all_committed(
        &self,
        world: &World<'_>,
    ) -> BTreeMap<TopicPartition, Committed> {
        let known = self.offsets.iter().filter(|(topic, _, committed)| {
            // What is left of others is about to be forgotten.
            is_for(topic, committed.topic, world)
        });
        let committed = known.map(|(topic, partition, committed)| {
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
        let known = partitions.iter().filter(|p| {
            self.offsets.get(&p.topic, p.partition).is_some() || pending.contains_key(p)
        });
        known.for_each(|p| changes.record(self.tombstone(&p.topic, p.partition)));
        Ok(())
    }

    /// Tombstones for all offsets under the name of a topic that are not for the one that has it now.
    pub(in crate::coordinator) fn forget_topic(
        &self,
        topic: &TopicName,
        pending: &Pending,
        world: &World<'_>,
        changes: &mut Changes,
    ) {
        let known = self.offsets.0.get(topic).into_iter().flatten();
        let known = known.map(|(partition, committed)| (*partition, committed.topic));
        let pending = pending.iter().filter(|(at, _)| at.topic == *topic);
        // Those come behind what is there.
        let last = known.chain(pending.map(|(at, id)| (at.partition, *id)));
        let last = last.collect::<BTreeMap<_, _>>();
        let left = last.into_iter().filter(|(_, id)| !is_for(topic, *id, world));
        left.for_each(|(partition, _)| changes.record(self.tombstone(topic, partition)));
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
        let all = known.chain(pending.keys().cloned()).collect::<BTreeSet<_>>();
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
