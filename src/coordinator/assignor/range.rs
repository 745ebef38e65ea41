//! Kafka's assignor by topic: runs of successive partitions.

use std::iter::repeat_n;

use super::{Assignor, GroupAssignment, GroupSpec};

/// Of each topic by itself, members have successive partitions in their order, the first ones one more than the others.
///
/// Partitions of the same number go to the same member, if topics have equally many of them and the same subscribers:
/// what is to be joined is read together. In exchange the first members have more, by one partition for each topic, and
/// a change moves much. As that of Kafka's clients; nobody's previous partitions count.
#[derive(Clone, Copy, Debug, Default)]
pub struct RangeAssignor;

impl Assignor for RangeAssignor {
    fn name(&self) -> &str {
        "range"
    }

    fn assign(&self, group: &GroupSpec) -> GroupAssignment {
        let mut owners = vec![None; group.slot_count()];
        for topic in group.topic_indexes() {
            let subscribers = group.subscriber_indexes(topic);
            let owners = owners.get_mut(group.slots(topic)).unwrap_or_default();
            let least = owners.len().checked_div(subscribers.len()).unwrap_or(0);
            let extras = owners.len().checked_rem(subscribers.len()).unwrap_or(0);
            let takers = subscribers
                .iter()
                .enumerate()
                .flat_map(|(rank, member)| repeat_n(*member, least + usize::from(rank < extras)));
            for (owner, member) in owners.iter_mut().zip(takers) {
                *owner = Some(member);
            }
        }
        GroupAssignment::from_owners(group, owners)
    }
}
