//! Why a batch was not acknowledged, and why a follower got nothing.

use crate::record::BatchError;
use crate::storage::{AppendError, ReadError, StorageError};

/// Why a batch was not acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ProduceError {
    /// The log refused it; the source says whether anything was written.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The batch could not be encoded. Nothing was written.
    #[error(transparent)]
    Encode(#[from] BatchError),
    /// It was written, but making it durable failed: it may or may not be there after the next open.
    #[error("it is not known whether the batch is on disk")]
    Sync(#[source] StorageError),
    /// Too few replicas are in sync for `acks=all`. Nothing was written.
    #[error(
        "{in_sync} replicas are in sync, and min.insync.replicas={needed}: wait until brokers are back"
    )]
    NotEnoughReplicas { in_sync: usize, needed: usize },
    /// As before, but it is in the leader's log.
    #[error(
        "written to the leader, but then {in_sync} replicas were in sync, and min.insync.replicas={needed}"
    )]
    NotEnoughReplicasAfterAppend { in_sync: usize, needed: usize },
    /// Another broker leads the partition by now, or none does. Nothing was written.
    #[error("the broker does not lead the partition")]
    NotLeader,
    /// It is in this leader's log, and may be in that of the next, or not.
    #[error("the broker stopped leading the partition before all replicas in sync had the batch")]
    LeaderLost,
    /// It is in the leader's log, but not in all others.
    #[error("the cluster was closed before all replicas in sync had the batch")]
    Unreplicated,
    /// The topic was deleted. Nothing was written, or nothing of it is left.
    #[error("the topic was deleted")]
    Deleted,
    /// The cluster was closed. Nothing was written.
    #[error("the cluster is closed")]
    Closed,
}

impl ProduceError {
    /// What remains to be said if another broker takes over from one whose disk has failed.
    pub(super) fn elsewhere(&self) -> Self {
        match self {
            Self::Append(AppendError::NotWritten(_)) => Self::NotLeader,
            _ => Self::LeaderLost,
        }
    }

    /// Whether it is about who leads: another broker may take what this one did not.
    pub(crate) fn is_of_leader(&self) -> bool {
        matches!(self, Self::NotLeader | Self::LeaderLost)
    }

    /// Whether a file could not be written or synced.
    pub(super) fn is_of_disk(&self) -> bool {
        use AppendError::{NotWritten, Unknown};
        matches!(self, Self::Sync(_) | Self::Append(NotWritten(_) | Unknown(_)))
    }
}

/// Why a leader gave a follower nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The replica does not lead, or not in the term that the follower knows of.
    #[error("the replica does not lead in this term")]
    NotLeader,
    /// The request is of an earlier life of the follower, or of a broker without a replica.
    #[error("the follower is not one of this term")]
    UnknownFollower,
    /// What is asked for cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why a follower did not take what it got.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum FollowError {
    /// It follows another leader by now, has ended, or somebody else was faster.
    #[error("it came too late")]
    Stale,
    /// It could not be written.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// Its log could not be cut.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
