//! Why a batch was not acknowledged.

use crate::record::BatchError;
use crate::storage::{AppendError, StorageError};

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
    /// The topic was deleted. Nothing was written, or nothing of it is left.
    #[error("the topic was deleted")]
    Deleted,
    /// The cluster was closed. Nothing was written.
    #[error("the cluster is closed")]
    Closed,
}
