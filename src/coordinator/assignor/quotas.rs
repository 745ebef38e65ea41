//! How many partitions each member is to have, if all have the same subscription.

use super::GroupSpec;

/// The same for everybody, and one more for some.
pub(super) struct Quotas {
    pub(super) least: usize,
    /// How many members have one more than the least.
    pub(super) extras: usize,
    /// How many partitions of `topics` each member had.
    pub(super) owned: Vec<usize>,
}

impl Quotas {
    /// For all members of `group`, which are subscribed to `topics`.
    pub(super) fn new(group: &GroupSpec, topics: &[u32]) -> Self {
        let mut owned = vec![0; group.member_count()];
        let mut partitions = 0usize;
        for topic in topics {
            let owners = group.previous_owners_of(*topic);
            partitions += owners.len();
            for owner in owners.iter().flatten() {
                if let Some(owned) = owned.get_mut(*owner as usize) {
                    *owned += 1;
                }
            }
        }
        let least = partitions.checked_div(owned.len()).unwrap_or(0);
        Self { least, extras: partitions.checked_rem(owned.len()).unwrap_or(0), owned }
    }
}
