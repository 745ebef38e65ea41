//! Building a batch in place: records are encoded straight into the buffer that becomes the batch.
//!
//! # Invariants
//! - The buffer holds 61 bytes of room for the header, then `record_count` whole records. A record that is
//!   refused leaves no byte behind.
//! - Offsets rise from record to record; all offset deltas fit 31 bits.
//!
//! # Elsewhere
//! When a batch is full is the caller's choice, who knows [`len`](BatchBuilder::len) and [`size_upper_bound`].
//! Offsets and leader epoch come later, from the leader, by [`EncodedBatch::stamp`].

use bytes::{BufMut, BytesMut};

use super::compression;
use super::encoded::EncodedBatch;
use super::error::BatchError;
use super::header::{Attributes, BatchHeader, BatchProducer, HEADER_LENGTH, NONE};
use super::memory;
use super::varint::{
    MAX_VARINT, MAX_VARLONG, length_size, put_length, put_null, put_varlong, varlong_size,
};
use crate::base::Compression;
use crate::base::Timestamp;

/// Largest batch: its length field has 31 bits.
const MAX_SIZE: usize = (1 << 31) - 1;

/// Largest offset delta: so that the number of offsets still fits 31 bits.
const MAX_DELTA: u32 = (1 << 31) - 2;

/// Bytes of a record beside key, value and headers, at most: length, attributes, timestamp and offset.
const MAX_RECORD_OVERHEAD: usize = MAX_VARINT + 1 + MAX_VARLONG + MAX_VARINT;

/// What to append: a record that has no offset yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordFields<'a> {
    /// When the record came to be, `None` for a record without timestamp.
    pub timestamp: Option<Timestamp>,
    /// The key; `None` differs from an empty one.
    pub key: Option<&'a [u8]>,
    /// The value; `None` (a tombstone, in a compacted topic) differs from an empty one.
    pub value: Option<&'a [u8]>,
    /// Names and values of headers, in order.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// Bytes that a batch of this one record takes, at most: Kafka's estimate, which `max.request.size` bounds.
pub fn size_upper_bound(record: &RecordFields<'_>) -> usize {
    let fields = nullable_size(record.key)
        .saturating_add(nullable_size(record.value))
        .saturating_add(FieldHeaders::of(record.headers).size());
    HEADER_LENGTH.saturating_add(MAX_RECORD_OVERHEAD).saturating_add(fields)
}

/// How to finish a batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloseOptions {
    /// Codec for the records.
    pub compression: Compression,
    /// The codec's level, `None` for its default.
    pub level: Option<i32>,
    /// Who writes the batch, if it is to be recognised when sent again.
    pub producer: Option<BatchProducer>,
    /// Whether the batch is part of the producer's transaction.
    pub transactional: bool,
}

/// A batch being filled: [`new`](Self::new), [`append`](Self::append) for each record, [`close`](Self::close). Whoever
/// appends the result to a log [stamps](EncodedBatch::stamp) it first.
#[derive(Debug)]
pub struct BatchBuilder {
    buf: BytesMut,
    record_count: u32,
    /// Least offset delta that the next record may have.
    next_delta: u32,
    /// What timestamps count from, `None` until the first record.
    base_timestamp: Option<i64>,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// A builder of one batch in `buf`, which is cleared; its capacity is what matters.
    pub fn new(mut buf: BytesMut) -> Self {
        buf.clear();
        buf.put_bytes(0, HEADER_LENGTH);
        Self {
            buf,
            record_count: 0,
            next_delta: 0,
            base_timestamp: None,
            max_timestamp: NONE.into(),
        }
    }

    /// A builder of a batch whose timestamps count from `base` and not from the first record's.
    pub(super) fn with_base_timestamp(buf: BytesMut, base: Timestamp) -> Self {
        Self { base_timestamp: Some(base.as_millis()), ..Self::new(buf) }
    }

    /// Appends `record` at the next offset. Returns its place in the batch, from 0.
    ///
    /// # Errors
    /// [`BatchError::TooLarge`] if the batch would reach 2 GiB, [`BatchError::OutOfMemory`]. The batch is as before.
    #[inline]
    pub fn append(&mut self, record: &RecordFields<'_>) -> Result<u32, BatchError> {
        let RecordFields { timestamp, key, value, .. } = *record;
        let headers = FieldHeaders::of(record.headers);
        self.encode(self.next_delta, Content { timestamp, key, value, headers })
    }

    /// Appends a record at `offset_delta`.
    #[inline]
    pub(super) fn encode<H: EncodedHeaders>(
        &mut self,
        offset_delta: u32,
        record: Content<'_, H>,
    ) -> Result<u32, BatchError> {
        let timestamp = record.timestamp.map_or(NONE.into(), Timestamp::as_millis);
        // Timestamps are -1 at least, so no difference of two leaves 64 bits.
        let timestamp_delta = timestamp - self.base_timestamp.unwrap_or(timestamp);
        let length = 1 // attributes
            + varlong_size(timestamp_delta)
            + length_size(offset_delta as usize)
            + nullable_size(record.key);
        let length = length
            .saturating_add(nullable_size(record.value))
            .saturating_add(record.headers.size());
        let size = length.saturating_add(length_size(length));
        // Also bounds every length, count and offset in the batch to 31 bits: each item takes a byte or more.
        if size > MAX_SIZE - self.buf.len() || offset_delta > MAX_DELTA {
            return Err(BatchError::TooLarge { limit: MAX_SIZE });
        }
        memory::reserve(&mut self.buf, size)?;
        put_length(&mut self.buf, length);
        self.buf.put_u8(0);
        put_varlong(&mut self.buf, timestamp_delta);
        put_length(&mut self.buf, offset_delta as usize);
        put_nullable(&mut self.buf, record.key);
        put_nullable(&mut self.buf, record.value);
        record.headers.put(&mut self.buf);

        let index = self.record_count;
        self.base_timestamp = Some(self.base_timestamp.unwrap_or(timestamp));
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.record_count += 1;
        self.next_delta = offset_delta + 1;
        Ok(index)
    }

    /// Number of records appended.
    pub const fn record_count(&self) -> u32 {
        self.record_count
    }

    /// Whether there are no records yet, only room for the header.
    pub const fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Bytes of the batch so far, header included and not compressed.
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Bytes that the batch can reach before its buffer has to grow.
    pub fn capacity(&self) -> usize {
        self.buf.capacity()
    }

    /// Timestamp of the first record, `None` if there is no record yet or it has none.
    pub fn base_timestamp(&self) -> Option<Timestamp> {
        self.base_timestamp.and_then(Timestamp::from_millis)
    }

    /// Least offset delta that the next record may have.
    pub(super) const fn next_delta(&self) -> u32 {
        self.next_delta
    }

    /// What timestamps count from, as the header has it.
    pub(super) fn raw_base_timestamp(&self) -> i64 {
        self.base_timestamp.unwrap_or(NONE.into())
    }

    /// The largest timestamp, as the header has it.
    pub(super) const fn raw_max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    /// Compresses the records and writes the header: base offset 0, no leader epoch.
    ///
    /// # Errors
    /// [`BatchError::Empty`], or an error of [`check_codec`](super::check_codec), which callers do well to ask
    /// before there are records to lose; [`BatchError::OutOfMemory`], [`BatchError::Compress`].
    pub fn close(self, options: &CloseOptions) -> Result<EncodedBatch, BatchError> {
        let attributes = Attributes {
            compression: options.compression,
            transactional: options.transactional,
            ..Attributes::default()
        };
        self.close_with(attributes, options.level, options.producer)
    }

    /// [`close`](Self::close), for batches with other attributes as well.
    pub(super) fn close_with(
        self,
        attributes: Attributes,
        level: Option<i32>,
        producer: Option<BatchProducer>,
    ) -> Result<EncodedBatch, BatchError> {
        let last_offset_delta = self.next_delta.checked_sub(1).ok_or(BatchError::Empty)?;
        let mut header = BatchHeader::unstamped(attributes);
        header.last_offset_delta = last_offset_delta;
        header.record_count = self.record_count;
        header.base_timestamp = self.raw_base_timestamp();
        header.max_timestamp = self.max_timestamp;
        if let Some(producer) = producer {
            header.set_producer(producer);
        }
        self.seal(header, attributes.compression, level)
    }

    /// Compresses the records and writes `header`, completed by size and checksum, in front of them.
    pub(super) fn seal(
        mut self,
        mut header: BatchHeader,
        compression: Compression,
        level: Option<i32>,
    ) -> Result<EncodedBatch, BatchError> {
        if compression != Compression::None {
            let records = self.buf.get(HEADER_LENGTH..).unwrap_or_default();
            let compressed = compression::compress(compression, level, records)?;
            self.buf.truncate(HEADER_LENGTH);
            memory::reserve(&mut self.buf, compressed.len())?;
            self.buf.put_slice(&compressed);
        }
        let too_large = BatchError::TooLarge { limit: MAX_SIZE };
        let size = u32::try_from(self.buf.len()).map_err(|_| too_large.clone())?;
        if self.buf.len() > MAX_SIZE {
            return Err(too_large);
        }
        header.size = size;
        Ok(EncodedBatch::seal(header, self.buf))
    }
}

/// What [`BatchBuilder::encode`] writes of a record.
pub(super) struct Content<'a, H> {
    pub(super) timestamp: Option<Timestamp>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: H,
}

/// Headers that know how long they are before they are written, so that no record is written twice.
pub(super) trait EncodedHeaders {
    /// Bytes that [`put`](Self::put) writes.
    fn size(&self) -> usize;

    /// Appends the count and the headers.
    fn put(&self, buf: &mut BytesMut);
}

/// Headers that a caller gave as names and values.
struct FieldHeaders<'a> {
    headers: &'a [(&'a str, Option<&'a [u8]>)],
    size: usize,
}

impl<'a> FieldHeaders<'a> {
    #[inline]
    fn of(headers: &'a [(&'a str, Option<&'a [u8]>)]) -> Self {
        let mut size = length_size(headers.len());
        for (name, value) in headers {
            let header = nullable_size(Some(name.as_bytes())).saturating_add(nullable_size(*value));
            size = size.saturating_add(header);
        }
        Self { headers, size }
    }
}

impl EncodedHeaders for FieldHeaders<'_> {
    #[inline]
    fn size(&self) -> usize {
        self.size
    }

    #[inline]
    fn put(&self, buf: &mut BytesMut) {
        put_length(buf, self.headers.len());
        for (name, value) in self.headers {
            put_nullable(buf, Some(name.as_bytes()));
            put_nullable(buf, *value);
        }
    }
}

/// Bytes that [`put_nullable`] writes.
#[inline]
fn nullable_size(field: Option<&[u8]>) -> usize {
    field.map_or(1, |field| length_size(field.len()).saturating_add(field.len()))
}

#[inline]
fn put_nullable(buf: &mut BytesMut, field: Option<&[u8]>) {
    match field {
        Some(field) => {
            put_length(buf, field.len());
            buf.put_slice(field);
        }
        None => put_null(buf),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::LeaderEpoch;
    use crate::base::Offset;
    use crate::base::ProducerEpoch;
    use crate::base::ProducerId;

    fn value(value: &[u8]) -> RecordFields<'_> {
        RecordFields { value: Some(value), ..RecordFields::default() }
    }

    #[test]
    fn an_empty_batch_cannot_be_closed() {
        let builder = BatchBuilder::new(BytesMut::new());
        assert!(builder.is_empty());
        assert_eq!(builder.close(&CloseOptions::default()).unwrap_err(), BatchError::Empty);
    }

    #[test]
    fn a_used_buffer_leaves_no_trace() {
        let dirty = BytesMut::from(&[0xee; 500][..]);
        let mut used = BatchBuilder::new(dirty);
        let mut fresh = BatchBuilder::new(BytesMut::new());
        for builder in [&mut used, &mut fresh] {
            assert_eq!(builder.append(&value(b"a")), Ok(0));
            assert_eq!(builder.append(&value(b"b")), Ok(1));
        }
        let close = |builder: BatchBuilder| builder.close(&CloseOptions::default()).unwrap();
        assert_eq!(close(used).freeze().bytes(), close(fresh).freeze().bytes());
    }

    #[test]
    fn stamping_leaves_the_checksum_valid() {
        let mut builder = BatchBuilder::new(BytesMut::new());
        builder.append(&value(b"a")).unwrap();
        let mut batch = builder.close(&CloseOptions::default()).unwrap();
        assert_eq!(
            (batch.header().base_offset(), batch.header().leader_epoch()),
            (Offset::ZERO, None)
        );
        batch.stamp(Offset::from(77), LeaderEpoch::ZERO);
        let batch = batch.freeze();
        assert_eq!(batch.verify_crc(), Ok(()));
        assert_eq!(batch.header().base_offset(), Offset::from(77));
        assert_eq!(batch.header().leader_epoch(), Some(LeaderEpoch::ZERO));
    }

    #[test]
    fn the_upper_bound_is_kafkas() {
        let headers = [("h1", Some(&b"v1"[..])), ("h2", None)];
        let record = RecordFields { value: Some(&[0; 100]), headers: &headers, ..value(b"") };
        // 61 of header, 21 of overhead, null key, two bytes of length and the value, count, two headers.
        assert_eq!(size_upper_bound(&record), 61 + 21 + 1 + 102 + 1 + 6 + 4);
    }

    #[test]
    fn the_producer_ends_up_in_the_header() {
        let producer = BatchProducer {
            id: ProducerId::new(9).unwrap(),
            epoch: ProducerEpoch::ZERO,
            base_sequence: Some(i32::MAX),
        };
        let options = CloseOptions {
            producer: Some(producer),
            transactional: true,
            ..CloseOptions::default()
        };
        let mut builder = BatchBuilder::new(BytesMut::new());
        builder.append(&value(b"a")).unwrap();
        builder.append(&value(b"b")).unwrap();
        let header = *builder.close(&options).unwrap().header();
        assert_eq!(header.producer(), Some(producer));
        assert_eq!(header.last_sequence(), Some(0));
        assert!(header.is_transactional() && !header.is_control());
    }

    /// The same large slice many times: more bytes than the format can count, without having them.
    #[test]
    fn a_record_past_2_gib_is_refused_and_leaves_the_batch_as_it_was() {
        let large = vec![0; 64 << 20];
        let headers = vec![("h", Some(&large[..])); 32];
        let mut builder = BatchBuilder::new(BytesMut::new());
        builder.append(&value(b"a")).unwrap();
        let before = builder.len();
        let record = RecordFields { headers: &headers, ..value(b"b") };
        assert_eq!(builder.append(&record), Err(BatchError::TooLarge { limit: MAX_SIZE }));
        assert_eq!((builder.len(), builder.record_count()), (before, 1));
    }
}
