//! One replica of one partition: who may append, what counts as committed, who is told.
//!
//! Knows nothing of the controller or of other partitions. What it needs from above is [`SyncScheduler`] and [`Peers`].

#[cfg(test)]
mod alone;
mod answer;
mod end;
mod error;
mod fitness;
mod follow;
mod in_sync;
mod office;
mod peers;
mod queue;
#[expect(clippy::module_inception, reason = "a file is named after its main type")]
mod replica;
mod roles;
mod serve;
mod state;
mod sync;
mod watchers;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use end::Unanswered;
pub(crate) use error::{FetchError, FollowError, ProduceError};
pub(crate) use follow::Followed;
pub(crate) use in_sync::{FollowerEnd, ReplicaView};
pub(crate) use peers::{Follower, Peers};
pub(crate) use queue::{Append, Completion, Refusal};
pub(crate) use replica::{OpenReplica, Replica, SyncScheduler};
pub(crate) use serve::{FetchRequest, Served};
pub(crate) use state::PartitionState;
pub(crate) use write::Unqueued;
