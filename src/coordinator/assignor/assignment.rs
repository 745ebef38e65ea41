//! What an assignor has decided.
//!
//! # Invariants
//! - A partition has one owner or none: owners are kept by partition.
//! - An owner is a member of the group, and subscribed to the topic.

use std::fmt;

use super::{GroupMember, GroupPartition, GroupSpec};
use crate::base::TopicPartition;

/// Who is to read which partition. Made by an [`Assignor`](super::Assignor).
///
/// Displayed member by member, those that have nothing with a dash: `C0: t0-0 t1-0; C1: -`.
#[derive(Clone, Debug)]
pub struct GroupAssignment {
    group: GroupSpec,
    /// By slot, as numbers of members.
    owners: Vec<Option<u32>>,
    mistake: Option<AssignmentError>,
}

impl GroupAssignment {
    /// An assignment by which nobody has anything yet.
    pub fn empty(group: &GroupSpec) -> Self {
        Self::from_owners(group, vec![None; group.slot_count()])
    }

    /// `owners` are by slot.
    pub(super) fn from_owners(group: &GroupSpec, owners: Vec<Option<u32>>) -> Self {
        Self { group: group.clone(), owners, mistake: None }
    }

    /// Makes `member` the owner of `partition`, instead of any that it has had.
    ///
    /// If the member is not subscribed to the topic, or either of them is of another group, then nothing changes, but
    /// [`check`](Self::check) will tell.
    pub fn give(&mut self, partition: GroupPartition<'_>, member: GroupMember<'_>) {
        let (slot, index) = (self.group.slot(partition), self.group.index(member));
        let owner = slot.and_then(|slot| self.owners.get_mut(slot));
        let mistake = match (owner, index) {
            (Some(owner), Some(_)) if member.is_subscribed_to(partition.topic()) => {
                *owner = index;
                return;
            }
            (Some(_), Some(_)) => AssignmentError::NotSubscribed {
                member: member.id().to_owned(),
                partition: partition.to_topic_partition(),
            },
            _ => AssignmentError::OtherGroup,
        };
        self.mistake.get_or_insert(mistake);
    }

    /// Who is to read `partition`.
    pub fn owner(&self, partition: GroupPartition<'_>) -> Option<GroupMember<'_>> {
        let owner = self.owners.get(self.group.slot(partition)?).copied()?;
        owner.and_then(|owner| self.group.member_at(owner))
    }

    /// Whether this is an assignment for `group`, and has come about without a mistake.
    ///
    /// # Errors
    /// The first mistake that was made.
    pub fn check(&self, group: &GroupSpec) -> Result<(), AssignmentError> {
        match &self.mistake {
            Some(mistake) => Err(mistake.clone()),
            None if !self.group.is_same_as(group) => Err(AssignmentError::OtherGroup),
            None => Ok(()),
        }
    }

    #[cfg(test)]
    pub(super) fn owners(&self) -> &[Option<u32>] {
        &self.owners
    }

    /// By slot: the partitions of all topics of the group in a row, each with the number of its owner.
    pub(crate) fn into_owners(self) -> Vec<Option<u32>> {
        self.owners
    }
}

impl fmt::Display for GroupAssignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut of_members = vec![String::new(); self.group.member_count()];
        let partitions = self.group.topics().flat_map(|topic| topic.partitions());
        for (partition, owner) in partitions.zip(&self.owners) {
            if let Some(owned) = owner.and_then(|owner| of_members.get_mut(owner as usize)) {
                *owned += &format!(" {partition}");
            }
        }
        let mut separator = "";
        for (member, owned) in self.group.members().zip(&of_members) {
            let owned = if owned.is_empty() { " -" } else { owned };
            write!(f, "{separator}{}:{owned}", member.id())?;
            separator = "; ";
        }
        Ok(())
    }
}

/// Why an assignment cannot be used: a mistake of the assignor that made it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AssignmentError {
    /// A partition was given to a member that did not ask for its topic.
    #[error("{partition} was given to {member}, which is not subscribed to its topic")]
    NotSubscribed {
        /// The member's id.
        member: String,
        /// What it was given.
        partition: TopicPartition,
    },
    /// The assignment, or a member or partition in it, belongs to another [`GroupSpec`] than the one to assign.
    #[error("the assignment is for another group than the one to assign")]
    OtherGroup,
}
