//! Kafka's assignor that deals all partitions like cards.

use super::{Assignor, GroupAssignment, GroupSpec};

/// All partitions, by topic and number, go round the members in their order, past those that are not subscribed.
///
/// If all have the same subscription, nobody has more than one partition more than another. Nobody's previous
/// partitions count.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobinAssignor;

impl Assignor for RoundRobinAssignor {
    fn name(&self) -> &str {
        "roundrobin"
    }

    fn assign(&self, group: &GroupSpec) -> GroupAssignment {
        let mut owners = vec![None; group.slot_count()];
        // The member whose turn it is, if it is subscribed.
        let mut next = 0;
        for topic in group.topic_indexes() {
            let subscribers = group.subscriber_indexes(topic);
            let first = subscribers.partition_point(|member| *member < next);
            let turns = subscribers.iter().cycle().skip(first);
            let owners = owners.get_mut(group.slots(topic)).unwrap_or_default();
            for (owner, member) in owners.iter_mut().zip(turns) {
                *owner = Some(*member);
                next = *member + 1;
            }
        }
        GroupAssignment::from_owners(group, owners)
    }
}
