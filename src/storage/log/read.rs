//! Reading: whole batches as slices, from the tail cache or from the segments.

use std::sync::Arc;

use crate::base::{Offset, Timestamp};
use crate::record::{Batch, BatchError, BatchHeader, Frame, HEADER_LENGTH, Limits};
use crate::storage::log::Log;
use crate::storage::segment::{Segment, length};
use crate::storage::ReadError;

/// Bytes looked at in one go while looking for the first batch wanted: index entries are about this far apart.
const SEEK_BYTES: usize = 8 * 1024;

/// Batches from a log, and whether their checksums still have to be verified.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    pub(crate) batches: Vec<Batch>,
    /// `true` for batches from the cache, which have not been to a disk.
    pub(crate) trusted: bool,
}

/// A record found by its timestamp.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TimestampedOffset {
    /// The record's offset.
    pub offset: Offset,
    /// The record's timestamp.
    pub timestamp: Timestamp,
}

impl Log {
    /// Reads whole batches, oldest first, starting with the one that holds `from`, of at most `max_bytes` together,
    /// or one if the first alone is larger. None that reaches `upto` is returned. The first one may begin before
    /// `from`. Empty means that nothing is there yet.
    pub(crate) fn read(&self, from: Offset, max_bytes: usize, upto: Offset) -> Result<Fetched, ReadError> {
        let (start, end) = (self.start(), self.end());
        if from < start || from > end {
            return Err(ReadError::OutOfRange { offset: from, start, end });
        }
        if from >= upto {
            return Ok(Fetched::default());
        }
        if let Some(batches) = self.tail.read(from, max_bytes, upto) {
            return Ok(Fetched { batches, trusted: true });
        }
        let segments = self.segments.load_full();
        let mut at = segments.partition_point(|segment| segment.base() <= from).saturating_sub(1);
        while let Some(segment) = segments.get(at) {
            let batches = read_segment(segment, from, max_bytes, upto)?;
            if !batches.is_empty() {
                return Ok(Fetched { batches, trusted: false });
            }
            // Nothing of this segment is at or after `from`: what follows was compacted away.
            at += 1;
        }
        Ok(Fetched::default())
    }

    /// The first record below `upto` with a timestamp of at least `timestamp`.
    pub(crate) fn find_timestamp(
        &self,
        timestamp: Timestamp,
        upto: Offset,
        limits: &Limits,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        for segment in self.segments.load_full().iter() {
            if segment.base() >= upto {
                break;
            }
            if segment.largest_timestamp()?.is_none_or(|largest| largest < timestamp) {
                continue;
            }
            let from = segment.offset_before_time(timestamp)?.max(self.start());
            if let Some(found) = find_in_segment(segment, timestamp, from, upto, limits)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

fn read_segment(
    segment: &Arc<Segment>,
    from: Offset,
    max_bytes: usize,
    upto: Offset,
) -> Result<Vec<Batch>, ReadError> {
    let size = segment.size();
    let Some(position) = seek(segment, from, size)? else { return Ok(Vec::new()) };
    let available = usize::try_from(size - position).unwrap_or(usize::MAX);
    let mut bytes = segment.read(position, available.min(max_bytes.max(HEADER_LENGTH)))?;
    let mut batches = Vec::new();
    let mut next = from;
    while !bytes.is_empty() {
        let whole = match Frame::peek(&bytes, length(bytes.len())) {
            Frame::Complete(whole) => whole,
            // The limit was met within this batch. The first one is returned nevertheless.
            Frame::Torn | Frame::End if batches.is_empty() && bytes.len() < available => {
                let needed = BatchSize::of(&bytes, available).ok_or_else(|| torn(next))?;
                bytes = segment.read(position, needed.0)?;
                continue;
            }
            Frame::Torn | Frame::End if bytes.len() < available => break,
            Frame::Torn | Frame::End | Frame::Corrupt if !batches.is_empty() => break,
            Frame::Torn | Frame::End | Frame::Corrupt => return Err(torn(next)),
        };
        let batch = Batch::parse(bytes.split_to(whole))
            .map_err(|source| ReadError::Corrupt { offset: next, source })?;
        if batch.header().last_offset() >= upto {
            break;
        }
        next = batch.header().next_offset();
        batches.push(batch);
    }
    Ok(batches)
}

/// Position of the first batch that ends at or after `from`.
fn seek(segment: &Segment, from: Offset, size: u64) -> Result<Option<u64>, ReadError> {
    let mut position = segment.position_before(from)?;
    let mut window = bytes::Bytes::new();
    let mut window_at = position;
    while size.saturating_sub(position) >= length(HEADER_LENGTH) {
        let skip = usize::try_from(position - window_at).unwrap_or(usize::MAX);
        if window.len().saturating_sub(skip) < HEADER_LENGTH || skip > window.len() {
            let available = usize::try_from(size - position).unwrap_or(usize::MAX);
            window = segment.read(position, available.min(SEEK_BYTES))?;
            window_at = position;
            continue;
        }
        let header = BatchHeader::parse(&window.slice(skip..))
            .map_err(|source| ReadError::Corrupt { offset: from, source })?;
        if header.last_offset() >= from {
            return Ok(Some(position));
        }
        position += length(header.size());
    }
    Ok(None)
}

fn find_in_segment(
    segment: &Arc<Segment>,
    timestamp: Timestamp,
    mut from: Offset,
    upto: Offset,
    limits: &Limits,
) -> Result<Option<TimestampedOffset>, ReadError> {
    const MAX_BYTES: usize = 64 * 1024;
    loop {
        let batches = read_segment(segment, from, MAX_BYTES, upto)?;
        let Some(last) = batches.last() else { return Ok(None) };
        let next = last.header().next_offset();
        for batch in &batches {
            if batch.header().max_timestamp().is_none_or(|max| max < timestamp) {
                continue;
            }
            let offset = batch.header().base_offset();
            batch.verify_crc().map_err(|source| ReadError::Corrupt { offset, source })?;
            let decoded = batch.decode(limits).map_err(|source| ReadError::Corrupt { offset, source })?;
            let found = decoded.iter().find_map(|record| {
                let found = record.timestamp.filter(|t| *t >= timestamp && record.offset >= from)?;
                Some(TimestampedOffset { offset: record.offset, timestamp: found })
            });
            if found.is_some() {
                return Ok(found);
            }
        }
        from = next;
    }
}

/// Whole size of the batch whose beginning is at hand.
struct BatchSize(usize);

impl BatchSize {
    fn of(bytes: &[u8], available: usize) -> Option<Self> {
        match Frame::peek(bytes, length(available)) {
            Frame::Complete(size) => Some(Self(size)),
            Frame::Torn | Frame::End | Frame::Corrupt => None,
        }
    }
}

/// Published bytes that are no batch: the file was changed behind our back, or has rotted.
fn torn(offset: Offset) -> ReadError {
    let source = BatchError::Truncated { needed: HEADER_LENGTH, available: 0 };
    ReadError::Corrupt { offset, source }
}
