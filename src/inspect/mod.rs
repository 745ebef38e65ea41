//! A look into the files of a log, whoever wrote them: brooklet or Apache Kafka.
//!
//! No cluster is opened and nothing is locked or written, so this works beside whoever has the files open. What is
//! appended after a file was opened is not seen.
//!
//! | file | look at it by |
//! |---|---|
//! | `.log`, and Kafka's `.checkpoint` | [`LogFile`]: its [`Batch`]es and their records |
//! | `.index` | [`OffsetIndex`] |
//! | `.timeindex` | [`TimeIndex`] |
//! | `.txnindex` | [`TransactionIndex`] |
//! | `.snapshot` | [`ProducerSnapshot`] |
//! | brooklet's `.digest` | [`SegmentDigest`] |
//! | `leader-epoch-checkpoint` | [`read_leader_epochs`] |
//! | `recovery-point-offset-checkpoint` and its like | [`read_offsets`] |
//! | `partition.metadata` | [`read_topic_id`] |
//!
//! Any bytes can be looked at: what makes no sense is an error of kind
//! [`CorruptMessage`](crate::ErrorKind::CorruptMessage) at its place, and the rest is read as far as it is known where
//! it begins. Files are read a piece at a time. The program `brooklet dump-log` prints what is found here.
//!
//! ```
//! use brooklet::inspect::LogFile;
//!
//! # let dir = "tests/fixtures/golden/partition-dir/golden-0";
//! let log = LogFile::open(format!("{dir}/00000000000000000000.log"))?;
//! let mut records = 0;
//! for batch in log.batches() {
//!     let batch = batch?;
//!     assert!(batch.is_valid());
//!     records += batch.record_count();
//! }
//! assert_eq!(records, 47);
//! # Ok::<(), brooklet::Error>(())
//! ```
//!
//! # Invariants
//! - Memory is bounded whatever the bytes: by [`LogFile::max_batch_bytes`] and a few hundred KiB.
//! - Every iterator comes to an end, after a time in proportion to the files.

mod batch;
mod checkpoints;
mod entries;
mod log_file;
mod offset_index;
mod producer_snapshot;
mod segment_digest;
mod source;
#[cfg(test)]
mod tests;
mod time_check;
mod time_index;
mod transaction_index;

pub use crate::record::TimestampType;
pub use batch::{Batch, BatchRecord, BatchRecords, BatchRecordsIter, Control};
pub use checkpoints::{read_leader_epochs, read_offsets, read_topic_id};
pub use log_file::{BadBatch, Batches, LogFile};
pub use offset_index::{OffsetEntry, OffsetIndex, OffsetMismatch};
pub use producer_snapshot::{ProducerBatch, ProducerEntry, ProducerSnapshot};
pub use segment_digest::SegmentDigest;
pub use time_index::{TimeEntry, TimeIndex, TimeMismatch};
pub use transaction_index::{AbortedTransaction, TransactionIndex};
