//! A finished batch that its leader has yet to stamp.
//!
//! # Invariants
//! - Header and bytes say the same, and the checksum in both is right.

use std::ops::Range;

use bytes::{BufMut, BytesMut};

use super::batch::{Batch, Limits, control_record};
use super::compression;
use super::control::ControlRecord;
use super::crc::crc32c;
use super::error::BatchError;
use super::header::{Attributes, BatchHeader, BatchProducer, CRC_START, HEADER_LENGTH};
use super::memory;
use crate::base::Compression;
use crate::base::LeaderEpoch;
use crate::base::Offset;
use crate::base::Timestamp;

/// A finished batch, owned, so that the leader can write offsets and epoch into it.
#[derive(Debug)]
pub struct EncodedBatch {
    header: BatchHeader,
    bytes: BytesMut,
}

impl EncodedBatch {
    /// Writes `header`, with the checksum that it lacks, over the first 61 of `bytes`.
    pub(super) fn seal(header: BatchHeader, bytes: BytesMut) -> Self {
        let mut batch = Self { header, bytes };
        batch.write_header();
        batch.update_crc();
        batch
    }

    /// A batch of a header and the bytes that it was read from, with a checksum that was verified.
    pub(super) fn from_parts(header: BatchHeader, bytes: BytesMut) -> Self {
        debug_assert_eq!(BatchHeader::parse(&bytes), Ok(header));
        Self { header, bytes }
    }

    /// A batch without records that takes the place of `offsets`, as Kafka's cleaner leaves them: readers pass over it.
    /// `None` if there are none, or more than a batch can have.
    pub fn empty(offsets: &Range<Offset>) -> Option<Batch> {
        let count = u32::try_from(offsets.end.distance_from(offsets.start)?).ok()?;
        let header = BatchHeader {
            base_offset: offsets.start,
            size: u32::try_from(HEADER_LENGTH).ok()?,
            last_offset_delta: count.checked_sub(1).filter(|delta| *delta < (1 << 31) - 1)?,
            ..BatchHeader::unstamped(Attributes::default())
        };
        Some(Self::seal(header, BytesMut::zeroed(HEADER_LENGTH)).freeze())
    }

    /// A copy of `batch` that can be stamped: for batches that come from elsewhere.
    ///
    /// The checksum is copied with the rest: verify it first.
    ///
    /// # Errors
    /// [`BatchError::OutOfMemory`].
    pub fn copy_from(batch: &Batch) -> Result<Self, BatchError> {
        Ok(Self { header: *batch.header(), bytes: memory::copy(batch.bytes())? })
    }

    /// The batch, to be changed again. Copies it if others look at it; `None` if there is no memory for that.
    pub fn thaw(batch: Batch) -> Option<Self> {
        let header = *batch.header();
        let bytes = batch.into_bytes().try_into_mut().or_else(|bytes| memory::copy(&bytes)).ok()?;
        Some(Self { header, bytes })
    }

    /// Says that the batch is of this producer. Costs a checksum of the whole batch.
    pub fn set_producer(&mut self, producer: BatchProducer) {
        self.header.set_producer(producer);
        self.write_header();
        self.update_crc();
    }

    /// The header.
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The bytes of the batch, header included.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of the whole batch.
    pub const fn size(&self) -> usize {
        self.header.size()
    }

    /// See [`Batch::control_record`].
    pub fn control_record(&self) -> Result<Option<ControlRecord>, BatchError> {
        control_record(&self.header, &self.bytes)
    }

    /// Number of records.
    pub const fn record_count(&self) -> u32 {
        self.header.record_count()
    }

    /// See [`BatchHeader::base_timestamp`].
    pub const fn base_timestamp(&self) -> Option<Timestamp> {
        self.header.base_timestamp()
    }

    /// See [`BatchHeader::max_timestamp`].
    pub const fn max_timestamp(&self) -> Option<Timestamp> {
        self.header.max_timestamp()
    }

    /// Gives the batch its offsets, from `base_offset` on, and the epoch of the leader that appends it. The
    /// checksum does not cover these.
    ///
    /// # Panics
    /// If the batch's last offset would be past [`Offset::MAX`].
    pub fn stamp(&mut self, base_offset: Offset, leader_epoch: LeaderEpoch) {
        let last = base_offset.checked_add(self.header.last_offset_delta());
        assert!(last.is_some(), "a partition cannot have offsets past the largest");
        self.header.base_offset = base_offset;
        self.header.leader_epoch = leader_epoch.value();
        self.write_header();
    }

    /// Gives all records the time at which the leader appends them (`message.timestamp.type=LogAppendTime`).
    /// Costs a checksum of the whole batch.
    pub fn stamp_log_append_time(&mut self, now: Timestamp) {
        self.header.set_log_append_time(now);
        self.write_header();
        self.update_crc();
    }

    /// The same batch in another codec: header and records are as they were, but for size, codec and checksum.
    ///
    /// # Errors
    /// [`BatchError::TooLarge`] past the limit, or 2 GiB; those of [`check_codec`](super::check_codec);
    /// [`BatchError::Decompress`], [`BatchError::Compress`] and [`BatchError::OutOfMemory`].
    pub fn recompress(
        &self,
        codec: Compression,
        level: Option<i32>,
        limits: &Limits,
    ) -> Result<Self, BatchError> {
        let block = memory::copy(self.bytes.get(HEADER_LENGTH..).unwrap_or_default())?.freeze();
        let limit = limits.max_decompressed_bytes;
        let records = compression::decompress(self.header.compression(), &block, limit)?;
        let records = compression::compress(codec, level, &records)?;
        let size = HEADER_LENGTH.saturating_add(records.len());
        let mut header = self.header;
        header.set_compression(codec);
        // As the format counts: a batch's length has 31 bits.
        header.size = u32::try_from(size)
            .ok()
            .filter(|size| i32::try_from(*size).is_ok())
            .ok_or(BatchError::TooLarge { limit })?;
        let mut bytes = memory::buffer(size)?;
        bytes.put_bytes(0, HEADER_LENGTH);
        bytes.put_slice(&records);
        Ok(Self::seal(header, bytes))
    }

    /// The smallest timestamp of a record, `None` if none has one. Unlike the largest it is not in the header, so all
    /// records are looked at, after they were decompressed.
    ///
    /// # Errors
    /// Those of [`Batch::decode`], and [`BatchError::OutOfMemory`].
    pub fn min_timestamp(&self, limits: &Limits) -> Result<Option<Timestamp>, BatchError> {
        if self.record_count() == 1 && self.header.last_offset_delta() == 0 {
            return Ok(self.base_timestamp());
        }
        let batch = Batch::from_parts(self.header, memory::copy(&self.bytes)?.freeze());
        Ok(batch.decode(limits)?.iter().filter_map(|record| record.timestamp).min())
    }

    /// Puts right what the header says of the records' timestamps.
    pub(super) fn set_max_timestamp(&mut self, millis: i64) {
        self.header.max_timestamp = millis;
        self.write_header();
        self.update_crc();
    }

    /// Bytes that the batch's buffer could hold.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The batch as a copy of its own size, and the buffer that it was in: where it stays without memory for a copy.
    pub fn freeze_copy(self) -> (Batch, Option<BytesMut>) {
        match memory::copy(&self.bytes) {
            Ok(copy) => (Batch::from_parts(self.header, copy.freeze()), Some(self.bytes)),
            Err(_) => (self.freeze(), None),
        }
    }

    /// The batch, no longer to be changed. Nothing is copied.
    pub fn freeze(self) -> Batch {
        Batch::from_parts(self.header, self.bytes.freeze())
    }

    fn update_crc(&mut self) {
        self.header.crc = crc32c(self.bytes.get(CRC_START..).unwrap_or_default());
        self.write_header();
    }

    fn write_header(&mut self) {
        if let Some(header) = self.bytes.first_chunk_mut::<HEADER_LENGTH>() {
            *header = self.header.encode();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::builder::{BatchBuilder, CloseOptions, RecordFields};
    use super::super::header::TimestampType;
    use super::*;

    fn batch() -> EncodedBatch {
        let mut builder = BatchBuilder::new(BytesMut::new());
        for (millis, value) in [(5, b"a"), (3, b"b")] {
            let timestamp = Timestamp::from_millis(millis);
            builder
                .append(&RecordFields { timestamp, value: Some(value), ..RecordFields::default() })
                .unwrap();
        }
        builder.close(&CloseOptions::default()).unwrap()
    }

    #[test]
    fn append_time_replaces_every_timestamp() {
        let now = Timestamp::from_millis(99);
        let mut batch = batch();
        batch.stamp_log_append_time(now.unwrap());
        let batch = batch.freeze();
        assert_eq!(batch.verify_crc(), Ok(()));
        assert_eq!(batch.header().timestamp_type(), TimestampType::LogAppendTime);
        let decoded = batch.decode(&Limits::default()).unwrap();
        assert!(decoded.iter().all(|record| record.timestamp == now));
    }

    #[test]
    fn a_copy_can_be_stamped_without_touching_the_original() {
        let original = batch().freeze();
        let mut copy = EncodedBatch::copy_from(&original).unwrap();
        copy.stamp(Offset::from(1), LeaderEpoch::ZERO);
        assert_eq!(original.header().base_offset(), Offset::ZERO);
        let decoded = copy.freeze().decode(&Limits::default()).unwrap();
        let seen: Vec<_> = decoded.iter().map(|record| (record.offset, record.timestamp)).collect();
        let time = Timestamp::from_millis;
        assert_eq!(seen, [(Offset::from(1), time(5)), (Offset::from(2), time(3))]);
    }

    #[test]
    #[should_panic(expected = "past the largest")]
    fn offsets_do_not_overflow() {
        batch().stamp(Offset::MAX, LeaderEpoch::ZERO);
    }
}
