//! Kafka's assignor that moves as little as balance allows, for members that all have the same subscription.
//!
//! 1. Everybody keeps what it had, up to its quota. Which ones, if it had more: those of low numbers of all topics.
//! 2. What is free goes one by one round those that have less than the least.
//! 3. The rest goes to those that have the least, one for each.

use std::collections::VecDeque;

use super::quotas::Quotas;
use super::{Assignor, GroupAssignment, GroupSpec, general};

/// As even as it can be, and of all such assignments one that moves little (KIP-54).
///
/// If all members have the same subscription, nobody has more than one partition more than another. Otherwise no
/// partition can go to a subscriber that has at least two fewer than its owner.
///
/// In the classic protocol members give up everything before they get it again: see
/// [`CooperativeStickyAssignor`](super::CooperativeStickyAssignor). What a member had is what the group has recorded.
#[derive(Clone, Copy, Debug, Default)]
pub struct StickyAssignor;

impl Assignor for StickyAssignor {
    fn name(&self) -> &str {
        "sticky"
    }

    fn assign(&self, group: &GroupSpec) -> GroupAssignment {
        match group.common_subscription() {
            Some(topics) => assign_to_equals(group, topics),
            None => general::assign(group),
        }
    }
}

fn assign_to_equals(group: &GroupSpec, topics: &[u32]) -> GroupAssignment {
    let quotas = Quotas::new(group, topics);
    let mut below = Below::default();
    let kept: Vec<_> = (0..).zip(&quotas.owned).map(|(m, o)| below.keeps(&quotas, m, *o)).collect();
    let mut owners = group.previous_owners().to_vec();
    release_surplus(group, &quotas.owned, kept, &mut owners);
    for topic in topics {
        let owners = owners.get_mut(group.slots(*topic)).unwrap_or_default();
        for owner in owners.iter_mut().filter(|owner| owner.is_none()) {
            *owner = below.next(quotas.least);
        }
    }
    GroupAssignment::from_owners(group, owners)
}

/// Members that can take more, each list in the order in which it is served.
#[derive(Default)]
struct Below {
    /// Members with less than the least, and how much they have.
    least: VecDeque<(u32, usize)>,
    /// Members with the least.
    most: VecDeque<u32>,
    /// How many members have one more than the least.
    extras_used: usize,
}

impl Below {
    /// How many of its `owned` partitions the member keeps.
    fn keeps(&mut self, quotas: &Quotas, member: u32, owned: usize) -> usize {
        if owned < quotas.least {
            self.least.push_back((member, owned));
            return owned;
        }
        if owned > quotas.least && self.extras_used < quotas.extras {
            self.extras_used += 1;
            return quotas.least + 1;
        }
        // If all that may have one more have it, nothing will be left for these.
        self.most.push_back(member);
        quotas.least
    }

    /// Who gets the next partition.
    fn next(&mut self, least: usize) -> Option<u32> {
        let Some((member, owned)) = self.least.pop_front() else {
            return self.most.pop_front();
        };
        if owned + 1 < least {
            self.least.push_back((member, owned + 1));
        } else {
            self.most.push_back(member);
        }
        Some(member)
    }
}

/// Takes from each member what it owns above `kept`: the partitions that come last by number, then topic.
fn release_surplus(
    group: &GroupSpec,
    owned: &[usize],
    mut kept: Vec<usize>,
    owners: &mut [Option<u32>],
) {
    if owned.iter().zip(&kept).all(|(owned, kept)| owned == kept) {
        return;
    }
    let numbered = group.topic_indexes().flat_map(|topic| group.slots(topic).enumerate());
    let mut slots: Vec<_> = numbered.collect();
    // Within a number the topics stay in their order.
    slots.sort_by_key(|(number, _)| *number);
    for (_, slot) in slots {
        let Some(owner) = owners.get_mut(slot) else { continue };
        match owner.and_then(|member| kept.get_mut(member as usize)) {
            Some(0) => *owner = None,
            Some(kept) => *kept -= 1,
            None => {}
        }
    }
}
