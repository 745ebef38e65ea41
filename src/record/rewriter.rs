//! Rewriting a batch with fewer records, in place of the original: what compaction does.
//!
//! # Invariants
//! - The new batch takes the same offsets as the original, so the log keeps its shape; producer, sequence and
//!   leader epoch stay too, so producers and epochs can still be recovered from it.

use bytes::BytesMut;

use super::builder::{BatchBuilder, Content};
use super::encoded::EncodedBatch;
use super::error::BatchError;
use super::header::{Attributes, BatchHeader, NONE, TimestampType};
use super::view::RecordView;
use crate::base::Compression;
use crate::base::Timestamp;

/// A batch being rewritten with some of its records.
#[derive(Debug)]
pub struct BatchRewriter {
    builder: BatchBuilder,
    original: BatchHeader,
    delete_horizon: Option<Timestamp>,
}

impl BatchRewriter {
    /// A batch in place of `original`, built in `buf`, which is cleared.
    ///
    /// `delete_horizon` is the time from which tombstones in the new batch, or its marker, may be dropped. A
    /// horizon that the original has is kept by passing it on.
    pub fn new(buf: BytesMut, original: &BatchHeader, delete_horizon: Option<Timestamp>) -> Self {
        let builder = match delete_horizon {
            Some(horizon) => BatchBuilder::with_base_timestamp(buf, horizon),
            None => BatchBuilder::new(buf),
        };
        Self { builder, original: *original, delete_horizon }
    }

    /// Keeps `record`, with its offset. Records have to come in their order.
    ///
    /// # Errors
    /// [`BatchError::InvalidRecord`] if the record does not belong here: its offset is not of the original batch,
    /// or not above the one kept before. [`BatchError::TooLarge`] if the batch would reach 2 GiB.
    /// [`BatchError::OutOfMemory`].
    pub fn keep(&mut self, record: &RecordView<'_>) -> Result<(), BatchError> {
        let delta = record
            .offset
            .distance_from(self.original.base_offset())
            .and_then(|delta| u32::try_from(delta).ok())
            .filter(|&delta| delta <= self.original.last_offset_delta())
            .filter(|&delta| delta >= self.builder.next_delta())
            .ok_or(BatchError::InvalidRecord {
                index: self.builder.record_count(),
                reason: "offset is not of this batch, or not above the one before",
            })?;
        let RecordView { timestamp, key, value, headers, .. } = *record;
        self.builder.encode(delta, Content { timestamp, key, value, headers })?;
        Ok(())
    }

    /// Number of records kept.
    pub const fn record_count(&self) -> u32 {
        self.builder.record_count()
    }

    /// Finishes the batch, which may be one of no records: those are never compressed, and have no horizon.
    ///
    /// # Errors
    /// As for [`BatchBuilder::close`].
    pub fn close(
        self,
        compression: Compression,
        level: Option<i32>,
    ) -> Result<EncodedBatch, BatchError> {
        let is_empty = self.builder.is_empty();
        let compression = if is_empty { Compression::None } else { compression };
        let attributes = Attributes {
            compression,
            timestamp_type: self.original.timestamp_type(),
            transactional: self.original.is_transactional(),
            control: self.original.is_control(),
            delete_horizon: self.delete_horizon.is_some() && !is_empty,
        };
        let keeps_max = is_empty || self.original.timestamp_type() == TimestampType::LogAppendTime;
        let header = BatchHeader {
            attributes: attributes.bits(),
            base_timestamp: if is_empty { NONE.into() } else { self.builder.raw_base_timestamp() },
            max_timestamp: if keeps_max {
                self.original.max_timestamp
            } else {
                self.builder.raw_max_timestamp()
            },
            record_count: self.builder.record_count(),
            ..self.original
        };
        self.builder.seal(header, compression, level)
    }
}
