//! Coordinators: who is in a group, who reads which partition, and how far everybody has come.
//!
//! A [`group`] is a pure state machine. A [`shard`] has those of one partition of `__consumer_offsets`, and carries their
//! records there. [`GroupCoordinator`] finds the shard of a group, and looks after them all.

mod assignment;
mod assignor;
mod commit;
mod config;
#[allow(clippy::module_inception, reason = "the file is named after its type")]
mod coordinator;
mod error;
mod group;
mod handle;
mod housekeeping;
mod ids;
mod join;
mod records;
mod shard;
mod subscription;
#[cfg(test)]
mod tests;
mod wall_clock;

pub(crate) use assignment::Assignment;
pub use assignor::{
    AssignmentError, Assignor, CooperativeStickyAssignor, GroupAssignment, GroupMember,
    GroupPartition, GroupSpec, GroupSpecBuilder, GroupTopic, RangeAssignor, RoundRobinAssignor,
    StickyAssignor, UniformAssignor,
};
pub(crate) use commit::{CommitWatch, PendingCommit};
pub(crate) use config::GroupConfig;
pub(crate) use coordinator::{Description, GroupCoordinator, Listing};
pub(crate) use error::GroupError;
pub(crate) use group::{Commit, Committed, DescribedMember, Told};
pub use group::{GroupProtocol, GroupState};
pub(crate) use handle::MemberHandle;
pub(crate) use ids::GroupId;
pub(crate) use join::Join;
pub use subscription::Subscription;
