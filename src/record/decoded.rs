//! The records of a batch, uncompressed and checked.

use bytes::Bytes;

use super::error::BatchError;
use super::header::{BatchHeader, TimestampType};
use super::view::{RawRecord, RecordView};
use crate::base::Offset;
use crate::base::Timestamp;

/// A batch whose records can be read. Cheap to clone: the bytes are shared.
#[derive(Clone, Debug)]
pub struct DecodedBatch {
    header: BatchHeader,
    body: Bytes,
}

impl DecodedBatch {
    /// Checks every record of `body`, and that there are as many as `header` says and no byte more.
    pub(super) fn check(header: BatchHeader, body: Bytes) -> Result<Self, BatchError> {
        let invalid = |index, reason| BatchError::InvalidRecord { index, reason };
        let count = header.record_count();
        if count as usize > body.len() / RawRecord::MIN_SIZE {
            return Err(invalid(0, "batch is too short for its record count"));
        }
        let mut rest = &body[..];
        let mut next_delta = 0;
        for index in 0..count {
            let record = RawRecord::take(&mut rest).map_err(|reason| invalid(index, reason))?;
            record.check_headers().map_err(|reason| invalid(index, reason))?;
            next_delta = check_deltas(&header, &record, next_delta)
                .map_err(|reason| invalid(index, reason))?;
        }
        if rest.is_empty() {
            Ok(Self { header, body })
        } else {
            Err(invalid(count, "bytes remain after the last record"))
        }
    }

    /// The batch's header.
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The encoded records, uncompressed.
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// The records, by rising offset.
    #[inline]
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter {
            header: &self.header,
            remaining: self.header.record_count(),
            bytes: &self.body,
        }
    }

    /// The record at `position` of the [`body`](Self::body), and the position after it.
    ///
    /// For reading on where an earlier call stopped: start with position 0, pass on what was returned. `None` at
    /// the end. At a position that no call returned the answer is `None` or garbage.
    #[inline]
    pub fn read_at(&self, position: usize) -> Option<(RecordView<'_>, usize)> {
        let mut bytes = self.body.get(position..)?;
        let raw = RawRecord::take(&mut bytes).ok()?;
        // What is left of the body is never longer than the body.
        Some((view(&self.header, &raw), self.body.len().saturating_sub(bytes.len())))
    }
}

impl<'a> IntoIterator for &'a DecodedBatch {
    type Item = RecordView<'a>;
    type IntoIter = RecordIter<'a>;

    fn into_iter(self) -> RecordIter<'a> {
        self.iter()
    }
}

/// Iterates over the records of a [`DecodedBatch`].
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    header: &'a BatchHeader,
    remaining: u32,
    bytes: &'a [u8],
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = RecordView<'a>;

    // By force, as `RawRecord::take`.
    #[inline(always)]
    fn next(&mut self) -> Option<RecordView<'a>> {
        self.remaining = self.remaining.checked_sub(1)?;
        let raw = RawRecord::take(&mut self.bytes).ok()?;
        Some(view(self.header, &raw))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let remaining = self.remaining as usize;
        (remaining, Some(remaining))
    }
}

impl ExactSizeIterator for RecordIter<'_> {}

/// Checks that offset and timestamp can be computed, and that offsets rise. Returns the least delta that the next
/// record may have.
#[inline]
fn check_deltas(
    header: &BatchHeader,
    record: &RawRecord<'_>,
    least: u32,
) -> Result<u32, &'static str> {
    let delta = u32::try_from(record.offset_delta).map_err(|_| "offset is below its batch's")?;
    if delta < least {
        return Err("offset is not above the one before");
    }
    if delta > header.last_offset_delta {
        return Err("offset is past its batch's last");
    }
    if header.base_timestamp.checked_add(record.timestamp_delta).is_none() {
        return Err("timestamp does not fit 64 bits");
    }
    Ok(delta + 1)
}

/// Adds the batch's offset and timestamp to a record that has been checked.
#[inline]
fn view<'a>(header: &BatchHeader, raw: &RawRecord<'a>) -> RecordView<'a> {
    let offset = header.base_offset.checked_add(raw.offset_delta.cast_unsigned());
    let timestamp = match header.timestamp_type() {
        TimestampType::CreateTime => header.base_timestamp.wrapping_add(raw.timestamp_delta),
        TimestampType::LogAppendTime => header.max_timestamp,
    };
    RecordView {
        offset: offset.unwrap_or(Offset::MAX),
        timestamp: Timestamp::from_millis(timestamp),
        key: raw.key,
        value: raw.value,
        headers: raw.headers,
    }
}
