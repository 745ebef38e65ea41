//! Which member has a partition, or has not given it up yet.

use rustc_hash::FxHashMap;

use crate::base::{PartitionId, TopicId};
use crate::coordinator::ids::MemberId;

/// Who has what. Only looked up: the order of the map is nobody's business.
#[derive(Debug, Default)]
pub(super) struct Claims(FxHashMap<(TopicId, PartitionId), MemberId>);

impl Claims {
    pub(super) fn owner(&self, topic: TopicId, partition: PartitionId) -> Option<&MemberId> {
        self.0.get(&(topic, partition))
    }

    /// Gives a partition that nobody has to `member`.
    pub(super) fn claim(&mut self, topic: TopicId, partition: PartitionId, member: &MemberId) {
        let before = self.0.insert((topic, partition), member.clone());
        assert!(
            before.as_ref().is_none_or(|before| before == member),
            "{partition} of {topic} was given to {member}, and is with {before:?}"
        );
    }

    pub(super) fn give_up(&mut self, topic: TopicId, partition: PartitionId, member: &MemberId) {
        if self.owner(topic, partition) == Some(member) {
            self.0.remove(&(topic, partition));
        }
    }

    /// What was one member's is another's: they are lives of the same.
    pub(super) fn pass_on(&mut self, topic: TopicId, partition: PartitionId, to: &MemberId) {
        self.0.insert((topic, partition), to.clone());
    }
}
