//! Kafka's assignor on the broker's side, and the default: even, and moves no more than it must.

use std::iter::repeat_n;

use super::quotas::Quotas;
use super::{Assignor, GroupAssignment, GroupSpec, general};

/// Everybody has the same number of partitions, or one more than others, and keeps what it had as far as that allows.
/// The default.
///
/// What is free goes to the members in their order, each in turn as much as is due to it: a new group has runs of
/// successive partitions. Where subscriptions differ it does what [`StickyAssignor`](super::StickyAssignor) does.
///
/// Unlike in Kafka the members with one more are, if possible, those that have it already.
#[derive(Clone, Copy, Debug, Default)]
pub struct UniformAssignor;

impl Assignor for UniformAssignor {
    fn name(&self) -> &str {
        "uniform"
    }

    fn assign(&self, group: &GroupSpec) -> GroupAssignment {
        match group.common_subscription() {
            Some(topics) => assign_to_equals(group, topics),
            None => general::assign(group),
        }
    }
}

fn assign_to_equals(group: &GroupSpec, topics: &[u32]) -> GroupAssignment {
    let mut room = room(&Quotas::new(group, topics));
    let mut owners = vec![None; group.slot_count()];
    for topic in topics {
        let owners = owners.get_mut(group.slots(*topic)).unwrap_or_default();
        for (owner, previous) in owners.iter_mut().zip(group.previous_owners_of(*topic)) {
            let room = previous.and_then(|member| room.get_mut(member as usize));
            if let Some(room) = room.filter(|room| **room > 0) {
                *room -= 1;
                *owner = *previous;
            }
        }
    }
    let mut takers = (0..).zip(room).flat_map(|(member, room)| repeat_n(member, room));
    for topic in topics {
        let owners = owners.get_mut(group.slots(*topic)).unwrap_or_default();
        for owner in owners.iter_mut().filter(|owner| owner.is_none()) {
            *owner = takers.next();
        }
    }
    GroupAssignment::from_owners(group, owners)
}

/// How many partitions each member may have.
fn room(quotas: &Quotas) -> Vec<usize> {
    let mut extras = quotas.extras;
    let mut room = vec![quotas.least; quotas.owned.len()];
    // First those that have one more already: it would only move to another.
    for (room, _) in room.iter_mut().zip(&quotas.owned).filter(|(_, owned)| **owned > quotas.least)
    {
        let extra = extras.min(1);
        *room += extra;
        extras -= extra;
    }
    for room in room.iter_mut().filter(|room| **room == quotas.least).take(extras) {
        *room += 1;
    }
    room
}
