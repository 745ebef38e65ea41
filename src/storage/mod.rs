//! One partition's log: segments, indexes, append, read, roll, recover.
//!
//! Knows nothing of replicas, leaders or consumers; time and threads belong to its callers.

mod checkpoint;
mod config;
mod epochs;
mod error;
mod index;
mod log;
mod names;
#[expect(dead_code, unused_imports, reason = "the log does not use it yet")]
mod producers;
mod recovery;
mod segment;
mod tail;

pub(crate) use checkpoint::{OffsetCheckpoint, read_offsets, write_offsets};
pub(crate) use config::LogConfig;
pub(crate) use error::{AppendError, ReadError, StorageError};
pub use log::TimestampedOffset;
pub(crate) use log::{Appended, Fetched, Log, OpenLog};
pub(crate) use recovery::{Recovered, Shutdown};
pub(crate) use tail::TailCache;
