//! The 61 bytes in front of a batch's records.
//!
//! # Bytes
//! ```text
//!  0 base_offset: i64            23 last_offset_delta: i32     51 producer_epoch: i16, -1 none
//!  8 length: i32, of 12..        27 base_timestamp: i64, -1    53 base_sequence: i32, -1 none
//! 12 leader_epoch: i32, -1       35 max_timestamp: i64, -1     57 record_count: i32
//! 16 magic: i8, 2                43 producer_id: i64, -1       61 records, perhaps compressed
//! 17 crc: u32, of 21..
//! 21 attributes: i16: bits 0-2 codec, 3 log append time, 4 transactional, 5 control, 6 delete horizon
//! ```
//! All big-endian. With bit 6 set, base_timestamp holds the delete horizon; record timestamps count from it all
//! the same.
//!
//! # Invariants
//! - A [`BatchHeader`] that exists has a size, codec, offsets and record count that are possible together; that
//!   its checksum matches, or its records are any good, is not known.

use bytes::{Buf, BufMut};

use super::error::BatchError;
use crate::base::Compression;
use crate::base::LeaderEpoch;
use crate::base::Offset;
use crate::base::ProducerEpoch;
use crate::base::ProducerId;
use crate::base::Timestamp;

/// Bytes of a batch in front of its records.
pub const HEADER_LENGTH: usize = 61;

/// Bytes of a batch that its length field does not count: base offset and the length itself.
pub const LOG_OVERHEAD: usize = 12;

/// First byte that the checksum covers.
pub(super) const CRC_START: usize = 21;

/// Stands for "none" in every field that can be absent, and for "no timestamp" in records.
pub(super) const NONE: i8 = -1;

const MAGIC: i8 = 2;
const CODEC_MASK: u16 = 0x07;
const LOG_APPEND_TIME: u16 = 0x08;
const TRANSACTIONAL: u16 = 0x10;
const CONTROL: u16 = 0x20;
const DELETE_HORIZON: u16 = 0x40;

/// What the timestamps of a batch's records mean (`message.timestamp.type`).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum TimestampType {
    /// Each record has the time its producer gave it.
    #[default]
    CreateTime,
    /// All records have the time at which the leader appended their batch.
    LogAppendTime,
}

/// Who wrote a batch, so that its retries are recognised (KIP-98).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct BatchProducer {
    /// The producer.
    pub id: ProducerId,
    /// The incarnation of the producer.
    pub epoch: ProducerEpoch,
    /// Sequence number of the batch's first offset, never negative. `None` in control batches.
    pub base_sequence: Option<i32>,
}

/// The sequence number `count` after `sequence`: they wrap from `i32::MAX` to 0.
pub const fn next_sequence(sequence: i32, count: u32) -> i32 {
    // Sequences live in 31 bits, and so do sums modulo 2^31.
    (sequence.cast_unsigned().wrapping_add(count) & 0x7fff_ffff).cast_signed()
}

/// The sequence number `count` before `sequence`.
pub const fn previous_sequence(sequence: i32, count: u32) -> i32 {
    (sequence.cast_unsigned().wrapping_sub(count) & 0x7fff_ffff).cast_signed()
}

/// The header of a batch: enough to walk a log without touching the records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BatchHeader {
    pub(super) base_offset: Offset,
    /// Bytes of the whole batch.
    pub(super) size: u32,
    pub(super) leader_epoch: i32,
    pub(super) crc: u32,
    pub(super) attributes: u16,
    pub(super) last_offset_delta: u32,
    pub(super) base_timestamp: i64,
    pub(super) max_timestamp: i64,
    pub(super) producer_id: i64,
    pub(super) producer_epoch: i16,
    pub(super) base_sequence: i32,
    pub(super) record_count: u32,
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`; what follows it is not looked at.
    ///
    /// # Errors
    /// [`BatchError::Truncated`] below 61 bytes, [`BatchError::UnsupportedMagic`],
    /// [`BatchError::UnknownCodec`], or [`BatchError::InvalidHeader`] for a field that makes no sense: a length
    /// without room for the header, a negative offset, delta or count, more records than offsets, or offsets
    /// past [`Offset::MAX`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let truncated = BatchError::Truncated { needed: HEADER_LENGTH, available: bytes.len() };
        let header = bytes.first_chunk::<HEADER_LENGTH>().ok_or(truncated)?;
        let mut fields = header.as_slice();
        let base_offset = fields.get_i64();
        let length = fields.get_i32();
        let leader_epoch = fields.get_i32();
        let magic = fields.get_i8();
        if magic != MAGIC {
            return Err(BatchError::UnsupportedMagic(magic));
        }
        let crc = fields.get_u32();
        let attributes = fields.get_u16();
        codec(attributes)?;
        let last_offset_delta = non_negative(fields.get_i32(), "last offset delta is negative")?;
        let parsed = Self {
            base_offset: Offset::new(base_offset).ok_or(invalid("base offset is negative"))?,
            size: whole_size(length)?,
            leader_epoch,
            crc,
            attributes,
            last_offset_delta,
            base_timestamp: fields.get_i64(),
            max_timestamp: fields.get_i64(),
            producer_id: fields.get_i64(),
            producer_epoch: fields.get_i16(),
            base_sequence: fields.get_i32(),
            record_count: non_negative(fields.get_i32(), "record count is negative")?,
        };
        if parsed.base_offset.checked_add(last_offset_delta).is_none() {
            return Err(invalid("last offset is past the largest there is"));
        }
        // The delta fits 31 bits, so the sum does not overflow.
        if parsed.record_count > last_offset_delta + 1 {
            return Err(invalid("more records than offsets"));
        }
        Ok(parsed)
    }

    /// The header of a batch from a producer, without size, checksum and records: all that can be absent is.
    pub(super) fn unstamped(attributes: Attributes) -> Self {
        Self {
            base_offset: Offset::ZERO,
            size: 0,
            leader_epoch: NONE.into(),
            crc: 0,
            attributes: attributes.bits(),
            last_offset_delta: 0,
            base_timestamp: NONE.into(),
            max_timestamp: NONE.into(),
            producer_id: NONE.into(),
            producer_epoch: NONE.into(),
            base_sequence: NONE.into(),
            record_count: 0,
        }
    }

    /// The 61 bytes of this header.
    pub(super) fn encode(&self) -> [u8; HEADER_LENGTH] {
        let mut bytes = [0; HEADER_LENGTH];
        let mut fields = bytes.as_mut_slice();
        fields.put_i64(self.base_offset.value());
        // Size, delta and count were checked to fit 31 bits when they were set.
        fields.put_u32(self.size.saturating_sub(12));
        fields.put_i32(self.leader_epoch);
        fields.put_i8(MAGIC);
        fields.put_u32(self.crc);
        fields.put_u16(self.attributes);
        fields.put_u32(self.last_offset_delta);
        fields.put_i64(self.base_timestamp);
        fields.put_i64(self.max_timestamp);
        fields.put_i64(self.producer_id);
        fields.put_i16(self.producer_epoch);
        fields.put_i32(self.base_sequence);
        fields.put_u32(self.record_count);
        bytes
    }

    /// Bytes of the whole batch, header included: at least 61.
    pub const fn size(&self) -> usize {
        self.size as usize
    }

    /// The offset from which record offsets count. After compaction no record may have it.
    pub const fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// The last offset that the batch takes. After compaction no record may have it.
    pub fn last_offset(&self) -> Offset {
        // Checked not to overflow by `parse`, and by whoever else makes a header.
        self.base_offset.checked_add(self.last_offset_delta).unwrap_or(Offset::MAX)
    }

    /// The offset of the batch after this one.
    pub fn next_offset(&self) -> Offset {
        self.last_offset().next()
    }

    /// [`last_offset`](Self::last_offset) minus [`base_offset`](Self::base_offset).
    pub const fn last_offset_delta(&self) -> u32 {
        self.last_offset_delta
    }

    /// Epoch of the leader that appended the batch, `None` before a leader has.
    pub const fn leader_epoch(&self) -> Option<LeaderEpoch> {
        LeaderEpoch::new(self.leader_epoch)
    }

    /// The checksum that bytes 21.. of the batch should have.
    pub const fn crc(&self) -> u32 {
        self.crc
    }

    /// How the records are compressed.
    pub fn compression(&self) -> Compression {
        // Only the five codecs get past `parse`.
        codec(self.attributes).unwrap_or_default()
    }

    /// What the records' timestamps mean.
    pub const fn timestamp_type(&self) -> TimestampType {
        if self.has(LOG_APPEND_TIME) {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    /// Whether the batch belongs to a transaction: as its data, or as the marker that ends it.
    pub const fn is_transactional(&self) -> bool {
        self.has(TRANSACTIONAL)
    }

    /// Whether the batch holds a [`ControlRecord`](super::ControlRecord) and nothing for applications.
    pub const fn is_control(&self) -> bool {
        self.has(CONTROL)
    }

    /// When the cleaner may drop the batch's tombstones or marker, `None` until it has set a time for it.
    pub const fn delete_horizon(&self) -> Option<Timestamp> {
        if self.has(DELETE_HORIZON) { Timestamp::from_millis(self.base_timestamp) } else { None }
    }

    /// Timestamp of the record that was first when the batch was written; `None` if it has none, or if a
    /// [`delete_horizon`](Self::delete_horizon) has taken its place.
    pub const fn base_timestamp(&self) -> Option<Timestamp> {
        if self.has(DELETE_HORIZON) { None } else { Timestamp::from_millis(self.base_timestamp) }
    }

    /// The largest timestamp of a record, or the append time of all, by [`timestamp_type`](Self::timestamp_type).
    pub const fn max_timestamp(&self) -> Option<Timestamp> {
        Timestamp::from_millis(self.max_timestamp)
    }

    /// Who wrote the batch, `None` unless it has both a producer id and an epoch.
    pub fn producer(&self) -> Option<BatchProducer> {
        Some(BatchProducer {
            id: ProducerId::new(self.producer_id)?,
            epoch: ProducerEpoch::new(self.producer_epoch)?,
            base_sequence: Some(self.base_sequence).filter(|&sequence| sequence >= 0),
        })
    }

    /// Sequence number of the batch's last offset, `None` if it has no base sequence.
    pub fn last_sequence(&self) -> Option<i32> {
        let base = self.producer()?.base_sequence?;
        Some(next_sequence(base, self.last_offset_delta))
    }

    /// Number of records: after compaction perhaps fewer than offsets, even none.
    pub const fn record_count(&self) -> u32 {
        self.record_count
    }

    const fn has(&self, bit: u16) -> bool {
        self.attributes & bit != 0
    }

    pub(super) const fn set_log_append_time(&mut self, now: Timestamp) {
        self.attributes |= LOG_APPEND_TIME;
        self.max_timestamp = now.as_millis();
    }

    pub(super) fn set_compression(&mut self, codec: Compression) {
        self.attributes = self.attributes & !CODEC_MASK | codec_bits(codec);
    }

    pub(super) fn set_producer(&mut self, producer: BatchProducer) {
        self.producer_id = producer.id.value();
        self.producer_epoch = producer.epoch.value();
        self.base_sequence = producer.base_sequence.unwrap_or(NONE.into());
    }
}

/// The attributes of a batch, for writing one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attributes {
    pub(super) compression: Compression,
    pub(super) timestamp_type: TimestampType,
    pub(super) transactional: bool,
    pub(super) control: bool,
    pub(super) delete_horizon: bool,
}

impl Attributes {
    pub(super) fn bits(self) -> u16 {
        let codec = codec_bits(self.compression);
        let flags = [
            (self.timestamp_type == TimestampType::LogAppendTime, LOG_APPEND_TIME),
            (self.transactional, TRANSACTIONAL),
            (self.control, CONTROL),
            (self.delete_horizon, DELETE_HORIZON),
        ];
        flags.iter().fold(codec, |bits, &(on, bit)| if on { bits | bit } else { bits })
    }
}

fn codec_bits(codec: Compression) -> u16 {
    match codec {
        Compression::None => 0,
        Compression::Gzip => 1,
        Compression::Snappy => 2,
        Compression::Lz4 => 3,
        Compression::Zstd => 4,
    }
}

fn codec(attributes: u16) -> Result<Compression, BatchError> {
    match attributes & CODEC_MASK {
        0 => Ok(Compression::None),
        1 => Ok(Compression::Gzip),
        2 => Ok(Compression::Snappy),
        3 => Ok(Compression::Lz4),
        4 => Ok(Compression::Zstd),
        number => Err(BatchError::UnknownCodec(number.to_be_bytes()[1])),
    }
}

fn whole_size(length: i32) -> Result<u32, BatchError> {
    let size = non_negative(length, "length is negative")? + 12;
    if size < 61 {
        return Err(invalid("length leaves no room for the header"));
    }
    Ok(size)
}

fn non_negative(value: i32, reason: &'static str) -> Result<u32, BatchError> {
    u32::try_from(value).map_err(|_| invalid(reason))
}

const fn invalid(reason: &'static str) -> BatchError {
    BatchError::InvalidHeader { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> BatchHeader {
        BatchHeader {
            base_offset: Offset::from(40),
            size: 61,
            leader_epoch: 3,
            crc: 0x0102_0304,
            attributes: 0,
            last_offset_delta: 4,
            base_timestamp: 1000,
            max_timestamp: 2000,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: 5,
        }
    }

    /// The header's bytes with those from `at` on replaced.
    fn patched(at: usize, bytes: &[u8]) -> [u8; HEADER_LENGTH] {
        let mut header = plain().encode();
        header[at..at + bytes.len()].copy_from_slice(bytes);
        header
    }

    #[test]
    fn encoding_and_parsing_are_inverse() {
        assert_eq!(BatchHeader::parse(&plain().encode()), Ok(plain()));
    }

    #[test]
    fn minus_one_is_none() {
        let mut header = plain();
        header.leader_epoch = -1;
        header.base_timestamp = -1;
        header.max_timestamp = -1;
        assert_eq!(header.leader_epoch(), None);
        assert_eq!(header.base_timestamp(), None);
        assert_eq!(header.max_timestamp(), None);
        assert_eq!(header.producer(), None);
        assert_eq!(header.last_sequence(), None);
    }

    #[test]
    fn a_delete_horizon_takes_the_base_timestamps_place() {
        let mut header = plain();
        header.attributes = DELETE_HORIZON;
        assert_eq!(header.delete_horizon(), Timestamp::from_millis(1000));
        assert_eq!(header.base_timestamp(), None);
    }

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(next_sequence(5, 3), 8);
        assert_eq!(next_sequence(i32::MAX, 0), i32::MAX);
        assert_eq!(next_sequence(i32::MAX, 1), 0);
        assert_eq!(next_sequence(i32::MAX - 1, 4), 2);
        assert_eq!(next_sequence(i32::MAX, i32::MAX.cast_unsigned()), i32::MAX - 1);
        for (sequence, count) in [(0, 0), (0, 1), (5, 6), (i32::MAX, 3), (7, 0x7fff_ffff)] {
            let before = previous_sequence(sequence, count);
            assert!(before >= 0);
            assert_eq!(next_sequence(before, count), sequence);
        }
    }

    #[test]
    fn every_length_below_61_is_truncated() {
        let bytes = plain().encode();
        for available in 0..HEADER_LENGTH {
            let error = BatchError::Truncated { needed: HEADER_LENGTH, available };
            assert_eq!(BatchHeader::parse(&bytes[..available]), Err(error));
        }
    }

    #[test]
    fn impossible_fields_are_refused() {
        let magic = |magic| Err(BatchError::UnsupportedMagic(magic));
        assert_eq!(BatchHeader::parse(&patched(16, &[1])), magic(1));
        assert_eq!(BatchHeader::parse(&patched(16, &[0xff])), magic(-1));
        for codec in 5..8 {
            let parsed = BatchHeader::parse(&patched(21, &[0xff, codec]));
            assert_eq!(parsed, Err(BatchError::UnknownCodec(codec)));
        }
        let mut far = plain().encode();
        far[..8].copy_from_slice(&(i64::MAX - 3).to_be_bytes());
        for bytes in [
            patched(0, &(-1i64).to_be_bytes()),
            far,
            patched(8, &48i32.to_be_bytes()),
            patched(8, &(-1i32).to_be_bytes()),
            patched(23, &(-1i32).to_be_bytes()),
            patched(57, &(-1i32).to_be_bytes()),
            patched(57, &6i32.to_be_bytes()),
        ] {
            let parsed = BatchHeader::parse(&bytes);
            assert!(matches!(parsed, Err(BatchError::InvalidHeader { .. })), "{parsed:?}");
        }
    }

    #[test]
    fn the_high_byte_of_the_attributes_is_ignored() {
        let header = BatchHeader::parse(&patched(21, &[0xff, 0x10])).unwrap();
        assert!(header.is_transactional() && !header.is_control());
        assert_eq!(header.compression(), Compression::None);
    }
}
