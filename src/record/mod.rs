//! Bytes to record batches and back: Kafka's format v2, and nothing else.
//!
//! A pure layer: no files, no clocks, no threads, no logging. Every byte may come from an attacker or a broken
//! disk: each declared length and count is checked against the bytes there are before anything is allocated or
//! read, and the answer to bad bytes is a [`BatchError`].
//!
//! # Invariants
//! - The `-1` that the format writes for "none" stays in here: accessors return `Option`.
//! - What a [`DecodedBatch`] iterates over has been checked from end to end, so iteration cannot fail.
//! - The checksum covers bytes 21.. of a batch. Base offset, length, leader epoch and magic are not covered,
//!   which is what lets a leader stamp a batch; whoever stores batches has to guard these bytes itself.
//!
//! # Elsewhere
//! Which batches to accept, and where they lie, is for `storage`. Which records go into a batch, and when it
//! is full, is for `client`.

mod batch;
mod builder;
mod compression;
mod control;
mod crc;
mod decoded;
mod encoded;
mod error;
mod header;
mod memory;
mod murmur2;
mod produced;
mod rewriter;
mod scan;
mod varint;
mod view;

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod property_tests;

pub use batch::{Batch, Limits};
pub use builder::{BatchBuilder, CloseOptions, RecordFields, size_upper_bound};
pub use compression::check_codec;
pub use control::{ControlRecord, MarkerKind, TransactionMarker};
pub use crc::{Crc32c, crc32c};
pub use decoded::{DecodedBatch, RecordIter};
pub use encoded::EncodedBatch;
pub use error::BatchError;
pub use header::{
    BatchHeader, BatchProducer, HEADER_LENGTH, LOG_OVERHEAD, TimestampType, next_sequence,
    previous_sequence,
};
pub use memory::buffer;
pub use murmur2::{murmur2, to_positive};
pub use produced::ProducedBatch;
pub use rewriter::BatchRewriter;
pub use scan::Frame;
pub use varint::{put_unsigned_varint, read_unsigned_varint};
pub use view::{HeaderIter, Headers, RecordView};
