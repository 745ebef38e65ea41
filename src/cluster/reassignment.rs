//! Moving a partition to other brokers while it is in use (KIP-455): decisions upon a [`PartitionImage`].
//!
//! 1. [`begin`]: replicas that come join those that are there, the target in front. All catch up.
//! 2. [`advance`], after each change of who is in sync: once the whole target is, the others go.
//! 3. Or [`cancel`]: those that came go again.
//!
//! A reassignment may begin while another is under way. What was there before the first is still what a cancellation
//! goes back to. A replica that only the abandoned one wanted stays until the end, because it may be the one that is
//! in sync: it is both `adding` and `removing`, and goes either way.
//!
//! # Invariants
//! - No step takes the last one in sync away.
//! - The replicas before are those that are not `adding`, the replicas after those that are not `removing`.

use crate::base::BrokerId;
use crate::cluster::ClusterError;
use crate::cluster::election::choose_leader;
use crate::cluster::metadata::{PartitionImage, common, without};

/// Begins to move the partition to `target`, the preferred leader first: distinct brokers that exist, as
/// [`check_manual`](crate::cluster::placement::check_manual) has found. `None` if it is there, or on its way.
pub(crate) fn begin(partition: &PartitionImage, target: &[BrokerId]) -> Option<PartitionImage> {
    partition.changed(|next| {
        let original = partition.original();
        next.replicas = [target, &without(&partition.replicas, target)].concat();
        next.adding = without(&next.replicas, &original);
        next.removing = without(&next.replicas, target);
    })
}

/// Ends the reassignment under way if all of its target is in sync. `None` if there is none, or it is not yet time:
/// also as long as it would leave a partition that is led without a leader.
pub(crate) fn advance(
    partition: &PartitionImage,
    is_alive: impl Fn(BrokerId) -> bool,
) -> Option<PartitionImage> {
    let target = partition.target();
    if !partition.is_reassigning() || !without(&target, &partition.isr).is_empty() {
        return None;
    }
    let done = ended(partition, target, is_alive)?;
    (done.leader.is_some() || partition.leader.is_none()).then_some(done)
}

/// Gives up the reassignment under way: the replicas are again those before it, in the order that they have now.
///
/// # Errors
/// `NoReassignmentInProgress`. `InvalidReplicaAssignment` if none of the replicas before is in sync: acknowledged
/// records would be lost.
pub(crate) fn cancel(
    partition: &PartitionImage,
    is_alive: impl Fn(BrokerId) -> bool,
) -> Result<PartitionImage, ClusterError> {
    if !partition.is_reassigning() {
        return Err(ClusterError::NoReassignmentInProgress);
    }
    let original = partition.original();
    if common(&original, &partition.isr).is_empty() {
        let why = "none of the replicas before the reassignment is in sync".to_owned();
        return Err(ClusterError::InvalidReplicaAssignment(why));
    }
    ended(partition, original, is_alive).ok_or(ClusterError::NoReassignmentInProgress)
}

/// The partition with `replicas` for good, under a leader of theirs.
fn ended(
    partition: &PartitionImage,
    replicas: Vec<BrokerId>,
    is_alive: impl Fn(BrokerId) -> bool,
) -> Option<PartitionImage> {
    partition.changed(|next| {
        next.isr = common(&replicas, &next.isr);
        next.replicas = replicas;
        next.adding.clear();
        next.removing.clear();
        choose_leader(next, is_alive, false);
    })
}

#[cfg(test)]
mod tests;
