//! Which brokers get the replicas of a partition: Kafka's classic algorithm.
//!
//! Brokers stand in a row, by rank within their rack and then by rack, so that neighbours are in different racks. The
//! first replicas of successive partitions go along the row. The others follow the first at a distance, and this
//! shift grows by one each time the partitions have been around: the leaders that a broker's failure leaves behind
//! are spread over the others.
//!
//! Brokers without racks are in one rack, all of them, and so are brokers of which some have no rack (Kafka's
//! `RackAwareMode.Safe`).
//!
//! # Invariants
//! - The brokers of a partition are distinct, and they are in as many racks as there can be.
//! - Of any run of partitions two brokers lead as many, or one more.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::base::BrokerId;
use crate::cluster::ClusterError;
use crate::cluster::metadata::is_distinct;

/// A broker that can take replicas.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    pub(crate) broker: BrokerId,
    /// Kafka's `broker.rack`.
    pub(crate) rack: Option<String>,
}

/// Where a topic begins on the row of brokers, and how far its other replicas are from the first: one that is created
/// after `topics_ever_created` others.
pub(crate) fn start_and_shift(topics_ever_created: u64, brokers: usize) -> (usize, usize) {
    let modulo = |number: u64, of: usize| {
        let of = u64::try_from(of).ok()?;
        usize::try_from(number.checked_rem(of)?).ok()
    };
    let start = modulo(topics_ever_created, brokers).unwrap_or(0);
    let rounds = u64::try_from(brokers).ok().and_then(|n| topics_ever_created.checked_div(n));
    let shift = rounds.and_then(|rounds| modulo(rounds, brokers.checked_sub(1)?)).unwrap_or(0);
    (start, shift)
}

/// The replicas of each of `partitions`, the preferred leader first. `brokers` are distinct and in any order.
///
/// # Errors
/// `InvalidReplicationFactor` if `factor` is 0, or more than there are brokers.
pub(crate) fn assign(
    brokers: &[Place],
    partitions: Range<u32>,
    factor: u16,
    start: usize,
    shift: usize,
) -> Result<Vec<Vec<BrokerId>>, ClusterError> {
    let replicas = usize::from(factor);
    if !(1..=brokers.len()).contains(&replicas) {
        let brokers = u16::try_from(brokers.len()).unwrap_or(u16::MAX);
        return Err(ClusterError::InvalidReplicationFactor { replicas: factor, brokers });
    }
    let row = Row::new(brokers);
    let n = row.spots.len();
    let mut shift = shift;
    let mut assigned = Vec::new();
    for partition in partitions {
        let partition = usize::try_from(partition).unwrap_or(usize::MAX);
        if partition > 0 && partition % n == 0 {
            shift = shift.wrapping_add(1);
        }
        assigned.push(row.replicas((partition % n + start % n) % n, shift, replicas));
    }
    Ok(assigned)
}

/// The replicas of partitions that a topic gets later: as many as its partition 0 has, beginning where that one does.
///
/// # Errors
/// `InvalidReplicationFactor` if there are fewer brokers than that.
pub(crate) fn assign_more(
    brokers: &[Place],
    partitions: Range<u32>,
    partition_0: &[BrokerId],
) -> Result<Vec<Vec<BrokerId>>, ClusterError> {
    let factor = u16::try_from(partition_0.len()).unwrap_or(u16::MAX);
    let Some(first) = partition_0.first() else {
        return assign(brokers, partitions, factor, 0, 0);
    };
    // If that broker is gone, the next one; if there is none, the first. Kafka counts along the ids, racks or not.
    let start = brokers.iter().filter(|place| place.broker < *first).count() % brokers.len().max(1);
    assign(brokers, partitions, factor, start, start)
}

/// Checks replicas that the caller has chosen, a list for each partition.
///
/// # Errors
/// `InvalidReplicaAssignment` if there are none, or not the same number of them for each partition; if a broker is
/// listed twice for a partition, or is unknown.
pub(crate) fn check_manual(
    assignments: &[Vec<BrokerId>],
    brokers: &[Place],
) -> Result<(), ClusterError> {
    let refused = |why: String| Err(ClusterError::InvalidReplicaAssignment(why));
    let Some(first) = assignments.first() else {
        return refused("there is no partition in it".to_owned());
    };
    for (partition, replicas) in assignments.iter().enumerate() {
        if replicas.is_empty() {
            return refused(format!("list {partition} has no replica"));
        }
        if replicas.len() != first.len() {
            let (has, others) = (replicas.len(), first.len());
            return refused(format!("list {partition} has {has} replicas, others {others}"));
        }
        if !is_distinct(replicas) {
            return refused(format!("list {partition} has a broker twice"));
        }
        let known = |id: BrokerId| brokers.iter().any(|place| place.broker == id);
        if let Some(unknown) = replicas.iter().find(|id| !known(**id)) {
            return refused(format!("there is no broker {unknown}, which is in list {partition}"));
        }
    }
    Ok(())
}

/// Brokers in the order in which partitions go around, each with its rack.
struct Row<'a> {
    spots: Vec<(BrokerId, Option<&'a str>)>,
    racks: usize,
}

impl<'a> Row<'a> {
    fn new(brokers: &'a [Place]) -> Self {
        let aware = brokers.iter().all(|place| place.rack.is_some());
        let mut spots: Vec<_> = brokers
            .iter()
            .map(|place| (place.broker, place.rack.as_deref().filter(|_| aware)))
            .collect();
        spots.sort_unstable();
        let mut ranks = BTreeMap::new();
        spots.sort_by_cached_key(|(_, rack)| {
            let rank = ranks.entry(*rack).or_insert(0usize);
            *rank += 1;
            (*rank, *rack)
        });
        Self { spots, racks: ranks.len() }
    }

    /// `count` replicas, the first of them at `first`.
    fn replicas(&self, first: usize, shift: usize, count: usize) -> Vec<BrokerId> {
        let others = self.spots.len() - 1;
        // In two rounds over the others all racks are met, and then all brokers.
        let followers = (0..2 * others).map(|k| {
            let distance = 1 + (shift % others * self.racks + k) % others;
            (first + distance) % self.spots.len()
        });
        let mut replicas = Vec::with_capacity(count);
        let mut racks = BTreeSet::new();
        for spot in std::iter::once(first).chain(followers) {
            let Some((broker, rack)) = self.spots.get(spot) else { continue };
            if replicas.len() == count {
                break;
            }
            let rack_is_due = racks.len() == self.racks || !racks.contains(rack);
            if rack_is_due && !replicas.contains(broker) {
                replicas.push(*broker);
                racks.insert(*rack);
            }
        }
        replicas
    }
}

#[cfg(test)]
mod tests;
