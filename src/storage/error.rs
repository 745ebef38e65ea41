//! What can go wrong with a log. One enum per family of operations, over one [`StorageError`].
//!
//! All are `Clone`, since one failed write or sync is the answer to every batch that it was to carry.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::{LeaderEpoch, Offset, Timestamp, TopicPartition};
use crate::record::BatchError;
use crate::storage::damage::Damage;
use crate::storage::producers::ProducerError;

/// A file could not be read, written or understood.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum StorageError {
    /// The operating system refused a call.
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: Arc<io::Error>,
    },
    /// Bytes that were durable once are not what they should be. Nothing was cut or changed.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
    /// Recovery would have to cut what is behind the last good batch, and is not allowed to. Nothing was changed.
    #[error(
        "{partition} has {bytes} bytes behind its last good batch, at offset {offset}: they may be a torn write or \
         records that have rotted; brooklet.strict.open=false cuts them, and keeps a copy"
    )]
    TornTail { partition: TopicPartition, offset: Offset, bytes: u64 },
    /// The log was damaged when it was opened: it can be read, but not be written.
    #[error(
        "{0}. It can be read, but not be written before that loss is accepted (Partition::accept_loss)"
    )]
    DamagedLog(Arc<Damage>),
    /// An earlier write or sync failed, so that what is on disk is not known.
    #[error(
        "{partition} is offline since a write or sync failed: close the cluster and open it again to recover"
    )]
    Offline { partition: TopicPartition },
}

impl StorageError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source: Arc::new(source) }
    }

    pub(crate) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.into() }
    }

    /// Whether the disk, a quota or a size limit was full.
    pub(crate) fn is_full(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge))
    }

    /// Whether there was no memory for it.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::OutOfMemory)
    }

    /// Whether the file or directory may not be written.
    pub(crate) fn is_read_only(&self) -> bool {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), PermissionDenied | ReadOnlyFilesystem))
    }
}

/// Why a batch was not appended.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum AppendError {
    /// Nothing was written; the same batch can never succeed.
    #[error("batch of {size} bytes exceeds {limit_name}={limit}")]
    BatchTooLarge { size: usize, limit: u32, limit_name: &'static str },
    /// Nothing was written: the batch does not go with what is known of its producer.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// Nothing was written: the batch is none that a log may take.
    #[error("the batch is not valid")]
    Invalid(#[source] BatchError),
    /// Nothing was written: a record is of a time that the topic does not allow.
    #[error("a record of {timestamp} comes at {now}, outside of {limit_name}={limit}")]
    InvalidTimestamp { timestamp: Timestamp, now: Timestamp, limit_name: &'static str, limit: u128 },
    /// Nothing was written: the leader's batches do not go on where the log ends.
    #[error(
        "a batch that begins at offset {base} cannot follow, where the next offset is {expected}"
    )]
    UnexpectedOffset { base: Offset, expected: Offset },
    /// Nothing was written: a leader's batch is of an earlier epoch than what the log has. It is to be cut first.
    #[error("a batch of leader epoch {epoch} cannot follow one of {latest}")]
    EarlierEpoch { epoch: LeaderEpoch, latest: LeaderEpoch },
    /// Nothing was written: the partition has had 2^63 records.
    #[error("the partition's offsets are used up")]
    OffsetsExhausted,
    /// Nothing of the batch is in the log, and never will be.
    #[error("not written")]
    NotWritten(#[source] StorageError),
    /// The batch may be on disk, in part or whole; the log is offline until it is opened again.
    #[error("it is not known whether the batch was written")]
    Unknown(#[source] StorageError),
}

/// Why no loss was accepted.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LossError {
    /// There is nothing to be given up. Nothing was changed.
    #[error("nothing is damaged in {partition} at offsets {}..{}", offsets.start, offsets.end)]
    NotDamaged { partition: TopicPartition, offsets: Range<Offset> },
    /// More would be lost than is in the range. Nothing was changed.
    #[error("more would be lost: {0}")]
    Beyond(Damage),
    /// The log is as it was, or offline until it is opened again.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a read returned nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// Below the log start, or above the end.
    #[error("offset {offset} is outside {start}..={end}")]
    OutOfRange { offset: Offset, start: Offset, end: Offset },
    /// Bytes that do not make a batch. Reading may go on behind them.
    #[error("the batch at {offset} is corrupt")]
    Corrupt {
        offset: Offset,
        #[source]
        source: BatchError,
    },
    /// A file could not be read.
    #[error("cannot read")]
    Storage(#[from] StorageError),
}
