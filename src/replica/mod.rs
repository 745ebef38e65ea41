//! One replica of one partition: who may append, what counts as committed, who is told.
//!
//! Knows nothing of the controller or of other partitions. What it needs from above is [`SyncScheduler`].

mod error;
mod queue;
#[expect(clippy::module_inception, reason = "a file is named after its main type")]
mod replica;
mod roles;
mod watchers;

#[cfg(test)]
mod tests;

pub(crate) use error::ProduceError;
pub(crate) use queue::{Append, Completion, Refusal};
pub(crate) use replica::{OpenReplica, Replica, SyncScheduler};
