//! Sticky assignment for members whose subscriptions differ.
//!
//! 1. Everybody keeps what it had.
//! 2. What is free goes to the subscriber that has the fewest; first what few could take.
//! 3. Single partitions go from members to others that have at least two fewer, until there are none: first of those
//!    that nobody had, then of all. One that was moved goes back to its owner before, if there is the choice.
//!
//! # Invariants
//! - A move brings two members closer together and no others apart: step 3 ends, and is never worse than nothing.
//!   Kafka compares both, and keeps what was there before if nothing was gained.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;

use super::{GroupAssignment, GroupSpec};

/// A balanced assignment: no partition has a subscriber with at least two fewer than its owner.
pub(super) fn assign(group: &GroupSpec) -> GroupAssignment {
    let mut balance = Balance::new(group);
    balance.give_away();
    for only_new in [true, false] {
        while balance.improve(only_new) {}
    }
    GroupAssignment::from_owners(group, balance.owners)
}

struct Balance<'a> {
    group: &'a GroupSpec,
    /// Topics with subscribers, those with the fewest first.
    topics: Vec<u32>,
    owners: Vec<Option<u32>>,
    loads: Loads,
    /// Whether partitions were taken from the member, by member.
    robbed: Vec<bool>,
}

impl<'a> Balance<'a> {
    fn new(group: &'a GroupSpec) -> Self {
        let subscribers = |topic: &u32| group.subscriber_indexes(*topic).len();
        let mut topics: Vec<_> = group.topic_indexes().filter(|t| subscribers(t) > 0).collect();
        topics.sort_by_key(subscribers);
        let mut loads = Loads(vec![0; group.member_count()]);
        group.previous_owners().iter().flatten().for_each(|owner| loads.add(*owner));
        let robbed = vec![false; group.member_count()];
        Self { group, topics, owners: group.previous_owners().to_vec(), loads, robbed }
    }

    fn give_away(&mut self) {
        for topic in &self.topics {
            let owners = self.owners.get_mut(self.group.slots(*topic)).unwrap_or_default();
            let mut free = owners.iter_mut().filter(|owner| owner.is_none()).peekable();
            if free.peek().is_none() {
                continue;
            }
            let mut fewest = Fewest::new(self.group.subscriber_indexes(*topic), &self.loads);
            for owner in free {
                *owner = fewest.peek(&self.loads);
                if let Some(member) = *owner {
                    self.loads.add(member);
                    fewest.update(member, &self.loads);
                }
            }
        }
    }

    /// Goes through all partitions, or those that nobody had; whether any was moved.
    fn improve(&mut self, only_new: bool) -> bool {
        if self.loads.are_even() {
            return false;
        }
        let topics = mem::take(&mut self.topics);
        let mut improved = false;
        for topic in &topics {
            improved |= self.improve_topic(*topic, only_new);
        }
        self.topics = topics;
        improved
    }

    fn improve_topic(&mut self, topic: u32, only_new: bool) -> bool {
        let subscribers = self.group.subscriber_indexes(topic);
        if subscribers.len() < 2 {
            return false;
        }
        let mut improved = false;
        let mut fewest = Fewest::new(subscribers, &self.loads);
        for slot in self.group.slots(topic) {
            let previous = self.previous_owner(slot);
            let Some(owner) = self.owner(slot) else { continue };
            if only_new && previous.is_some() {
                continue;
            }
            let gains = |to: &u32| self.loads.of(owner) > self.loads.of(*to) + 1;
            let to = previous.filter(gains).or_else(|| fewest.peek(&self.loads).filter(gains));
            if let Some(to) = to {
                let slot = self.taken_from(to, owner, topic).unwrap_or(slot);
                self.give(slot, owner, to);
                fewest.update(owner, &self.loads);
                fewest.update(to, &self.loads);
                improved = true;
            }
        }
        improved
    }

    /// A partition of the topic that `owner` has from `previous`.
    fn taken_from(&self, previous: u32, owner: u32, topic: u32) -> Option<usize> {
        if !self.robbed.get(previous as usize).is_some_and(|robbed| *robbed) {
            return None;
        }
        self.group.slots(topic).find(|slot| {
            self.owner(*slot) == Some(owner) && self.previous_owner(*slot) == Some(previous)
        })
    }

    fn give(&mut self, slot: usize, from: u32, to: u32) {
        if let Some(owner) = self.owners.get_mut(slot) {
            *owner = Some(to);
            self.loads.remove(from);
            self.loads.add(to);
        }
        if let Some(robbed) = self.robbed.get_mut(from as usize) {
            *robbed = true;
        }
    }

    fn owner(&self, slot: usize) -> Option<u32> {
        self.owners.get(slot).copied().flatten()
    }

    fn previous_owner(&self, slot: usize) -> Option<u32> {
        self.group.previous_owners().get(slot).copied().flatten()
    }
}

/// How many partitions each member has.
struct Loads(Vec<usize>);

impl Loads {
    fn of(&self, member: u32) -> usize {
        self.0.get(member as usize).copied().unwrap_or(0)
    }

    fn add(&mut self, member: u32) {
        if let Some(load) = self.0.get_mut(member as usize) {
            *load += 1;
        }
    }

    fn remove(&mut self, member: u32) {
        if let Some(load) = self.0.get_mut(member as usize) {
            *load = load.saturating_sub(1);
        }
    }

    fn are_even(&self) -> bool {
        let (least, most) = (self.0.iter().min(), self.0.iter().max());
        most.zip(least).is_none_or(|(most, least)| most - least <= 1)
    }
}

/// The one of some members that has the fewest partitions, the first of several.
struct Fewest {
    /// Loads and members. Each member's load is in it, and others that it had once.
    queue: BinaryHeap<Reverse<(usize, u32)>>,
}

impl Fewest {
    fn new(members: &[u32], loads: &Loads) -> Self {
        Self { queue: members.iter().map(|m| Reverse((loads.of(*m), *m))).collect() }
    }

    fn peek(&mut self, loads: &Loads) -> Option<u32> {
        while let Some(Reverse((load, member))) = self.queue.peek().copied() {
            if loads.of(member) == load {
                return Some(member);
            }
            self.queue.pop();
        }
        None
    }

    /// To be called when a member's load has changed.
    fn update(&mut self, member: u32, loads: &Loads) {
        self.queue.push(Reverse((loads.of(member), member)));
    }
}
