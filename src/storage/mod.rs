//! One partition's log: segments, indexes, append, read, roll, recover.
//!
//! Knows nothing of replicas, leaders or consumers; time and threads belong to its callers.

mod checkpoint;
mod config;
mod damage;
mod digest;
mod epochs;
mod error;
mod index;
mod log;
mod names;
mod producers;
mod quarantine;
mod recovery;
mod sealed;
mod segment;
mod tail;
mod txn_index;

pub(crate) use checkpoint::{
    OffsetCheckpoint, decode_offsets, encode_offsets, read_offsets, write_offsets,
};
use config::Layout;
pub(crate) use config::LogConfig;
pub use damage::Damage;
pub(crate) use digest::{Digest, Owner, Place};
pub(crate) use epochs::{EpochEnd, read_leader_epochs};
pub(crate) use error::{AppendError, LossError, ReadError, StorageError};
pub(crate) use log::Repaired;
pub(crate) use log::{Appended, Fetched, Log, LogScrub, OpenLog, Refused};
pub use log::{ScrubReport, TimestampedOffset};
pub(crate) use producers::{AbortedTransaction, AppendOrigin, ProducerError, SnapshotEntry};
pub(crate) use quarantine::Quarantine;
pub(crate) use recovery::{Recovered, Shutdown, read_topic_id};
pub(crate) use sealed::{seal, unseal};
pub(crate) use tail::TailCache;
