//! Who leads a partition, and who is in sync with its leader: decisions upon a [`PartitionImage`].
//!
//! Each function takes the partition as it is and gives what is to be recorded, its epochs raised, or nothing if all
//! stays as it is. Nothing here keeps state, waits or looks around: who is alive is asked of the caller.
//!
//! # Invariants
//! - Who is elected is alive, and was in sync, except in an unclean election.
//! - Without unclean elections, somebody of those in sync before a change is so after it: nothing that was
//!   acknowledged is lost.

use crate::base::{BrokerId, Bug, LeaderEpoch, is_planted};
use crate::cluster::ClusterError;
use crate::cluster::metadata::{PartitionImage, without};

/// Why the replicas in sync stay as they were.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum AlterIsrError {
    /// Somebody else leads by now, or nobody.
    #[error("leader epoch {asked} is not the current one, {current}")]
    FencedLeaderEpoch { asked: LeaderEpoch, current: LeaderEpoch },
    /// The partition has changed meanwhile: the leader is to look at it again.
    #[error("partition epoch {asked} is not the current one, {current}")]
    InvalidUpdateVersion { asked: i32, current: i32 },
    #[error("broker {0} has no replica")]
    UnknownReplica(BrokerId),
    #[error("the leader is not among those in sync")]
    WithoutLeader,
    /// The broker is not alive, or about to stop.
    #[error("broker {0} cannot be in sync now")]
    IneligibleReplica(BrokerId),
}

/// Sees to it that the partition has a leader that is alive, if it can: the one that it has, else the first replica
/// that is alive and in sync, else none. With `unclean`, if none is in sync, the first that is alive: what only the
/// others have is lost.
pub(crate) fn elect(
    partition: &PartitionImage,
    is_alive: impl Fn(BrokerId) -> bool,
    unclean: bool,
) -> Option<PartitionImage> {
    partition.changed(|partition| choose_leader(partition, is_alive, unclean))
}

/// Has the replica lead whose log has all that those in sync have, whether it is one of them or not.
pub(crate) fn elect_longest(
    partition: &PartitionImage,
    broker: BrokerId,
) -> Option<PartitionImage> {
    if !partition.replicas.contains(&broker) {
        return None;
    }
    partition.changed(|partition| {
        partition.leader = Some(broker);
        match partition.recovering {
            // The only one in sync has lost what others have, and may not be in sync beside it.
            true => partition.isr = vec![broker],
            false => partition.isr.push(broker),
        }
    })
}

/// A broker stops, crashes or is about to stop: it is in sync no more, unless nobody else is, and leads nothing.
pub(crate) fn without_broker(
    partition: &PartitionImage,
    broker: BrokerId,
    is_alive: impl Fn(BrokerId) -> bool,
    unclean: bool,
) -> Option<PartitionImage> {
    partition.changed(|partition| {
        let others = without(&partition.isr, &[broker]);
        if !others.is_empty() {
            partition.isr = others;
        }
        choose_leader(partition, |id| id != broker && is_alive(id), unclean);
    })
}

/// A broker is alive again: a partition without leader gets one, if it can now. Leaders that are there stay.
pub(crate) fn broker_back(
    partition: &PartitionImage,
    is_alive: impl Fn(BrokerId) -> bool,
    unclean: bool,
) -> Option<PartitionImage> {
    if partition.leader.is_some() {
        return None;
    }
    elect(partition, is_alive, unclean)
}

/// The same leader, in another term: it has been away, and may have lost what it had not synced.
pub(crate) fn next_term(partition: &PartitionImage) -> Option<PartitionImage> {
    // Leaving office and taking it are two changes, and one term.
    let left = partition.changed(|next| next.leader = None)?;
    let back = PartitionImage { leader: partition.leader, ..left };
    back.is_valid().then_some(back)
}

/// Gives the leadership to the first replica.
///
/// # Errors
/// `ElectionNotNeeded` if it leads, `PreferredLeaderNotAvailable` if it is not alive or not in sync.
pub(crate) fn elect_preferred(
    partition: &PartitionImage,
    is_alive: impl Fn(BrokerId) -> bool,
) -> Result<PartitionImage, ClusterError> {
    let preferred = partition.replicas.first().copied();
    // A leader that is dead loses its leadership by `without_broker`, not by this.
    if preferred == partition.leader {
        return Err(ClusterError::ElectionNotNeeded);
    }
    let able = preferred.filter(|id| partition.isr.contains(id) && is_alive(*id));
    let elected = able.and_then(|id| partition.changed(|next| next.leader = Some(id)));
    elected.ok_or(ClusterError::PreferredLeaderNotAvailable)
}

/// The leader of `leader_epoch` asks for other replicas in sync, having seen the partition at `partition_epoch`.
/// `Ok(None)` if they are the same. An election that was unclean is made good by it: the leader has told that it
/// knows what it has.
///
/// # Errors
/// See [`AlterIsrError`]; nothing is changed.
pub(crate) fn alter_isr(
    partition: &PartitionImage,
    leader_epoch: LeaderEpoch,
    partition_epoch: i32,
    new_isr: &[BrokerId],
    is_eligible: impl Fn(BrokerId) -> bool,
) -> Result<Option<PartitionImage>, AlterIsrError> {
    let current = partition.leader_epoch;
    if leader_epoch != current && !is_planted(Bug::OlderLeaderAlters) {
        return Err(AlterIsrError::FencedLeaderEpoch { asked: leader_epoch, current });
    }
    let current = partition.partition_epoch;
    if partition_epoch != current {
        return Err(AlterIsrError::InvalidUpdateVersion { asked: partition_epoch, current });
    }
    if let Some(unknown) = without(new_isr, &partition.replicas).first() {
        return Err(AlterIsrError::UnknownReplica(*unknown));
    }
    if !partition.leader.is_some_and(|leader| new_isr.contains(&leader)) {
        return Err(AlterIsrError::WithoutLeader);
    }
    if let Some(ineligible) = new_isr.iter().find(|id| !is_eligible(**id)) {
        return Err(AlterIsrError::IneligibleReplica(*ineligible));
    }
    Ok(partition.changed(|next| {
        next.isr = new_isr.to_vec();
        next.recovering = false;
    }))
}

/// Puts into `partition` the leader that is due, without touching its epochs.
pub(super) fn choose_leader(
    partition: &mut PartitionImage,
    is_alive: impl Fn(BrokerId) -> bool,
    unclean: bool,
) {
    let able = |id: &BrokerId| partition.isr.contains(id) && is_alive(*id);
    let clean = partition.leader.filter(|id| able(id));
    let clean = clean.or_else(|| partition.replicas.iter().copied().find(able));
    partition.leader = clean;
    if clean.is_some() || !(unclean || is_planted(Bug::OutOfSyncElected)) {
        return;
    }
    if let Some(id) = partition.replicas.iter().copied().find(|id| is_alive(*id)) {
        partition.leader = Some(id);
        partition.isr = vec![id];
        partition.recovering = true;
    }
}

#[cfg(test)]
mod tests;
