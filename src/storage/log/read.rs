//! Reading: whole batches as slices, from the tail cache or from the segments.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::base::{Offset, Timestamp};
use crate::record::{Batch, BatchError, BatchHeader, Frame, HEADER_LENGTH, Limits};
use crate::storage::damage::{Piece, Pieces};
use crate::storage::log::Log;
use crate::storage::producers::AbortedTransaction;
use crate::storage::segment::{Segment, length};
use crate::storage::{ReadError, StorageError};

/// Bytes looked at in one go while looking for the first batch wanted: index entries are about this far apart.
const SEEK_BYTES: usize = 8 * 1024;

/// Batches from a log, and whether their checksums still have to be verified.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    pub(crate) batches: Vec<Batch>,
    /// `true` for batches from the cache, which have not been to a disk.
    pub(crate) trusted: bool,
    /// Transactions that batches among them may be of and that were aborted, for readers of committed records.
    pub(crate) aborted: Vec<AbortedTransaction>,
}

/// A record found by its timestamp.
///
/// ```
/// use brooklet::{Cluster, NewTopic, Record, Timestamp};
///
/// let cluster = Cluster::in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email"))?;
/// cluster.producer().build()?.send(Record::to(&email).value("welcome"))?.wait()?;
/// let first = email.partition(0)?.offset_for_timestamp(Timestamp::EPOCH)?.unwrap();
/// assert_eq!(first.offset.value(), 0);
/// # Ok::<(), brooklet::Error>(())
/// ```
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
    pub(crate) fn read(
        &self,
        from: Offset,
        max_bytes: usize,
        upto: Offset,
    ) -> Result<Fetched, ReadError> {
        let (start, end) = (self.start(), self.end());
        if from < start || from > end {
            return Err(ReadError::OutOfRange { offset: from, start, end });
        }
        self.read_files(from, max_bytes, upto).map_err(|error| {
            // Deleted meanwhile, and the files with it.
            let start = self.start();
            if from < start { ReadError::OutOfRange { offset: from, start, end } } else { error }
        })
    }

    /// Bytes in the log's files from the batch that holds `from` on.
    pub(crate) fn bytes_from(&self, from: Offset) -> Result<u64, ReadError> {
        let segments = self.segments.load_full();
        let at = segments.partition_point(|segment| segment.base() <= from).saturating_sub(1);
        let Some((first, later)) = segments.get(at..).and_then(|rest| rest.split_first()) else {
            return Ok(0);
        };
        let size = first.size();
        let before = seek(first, from, size)?.map_or(size, |found| found.position);
        let later = later.iter().map(|segment| segment.size());
        Ok(later.fold(size.saturating_sub(before), u64::saturating_add))
    }

    /// The offsets around `at` that cannot be read; those of its batch if that is good.
    pub(crate) fn unreadable(&self, at: Offset) -> Range<Offset> {
        let found = self.find_unreadable(at).inspect_err(|error| log::warn!("{error}"));
        found.ok().filter(|offsets| offsets.contains(&at)).unwrap_or(at..at.next())
    }

    fn find_unreadable(&self, at: Offset) -> Result<Range<Offset>, StorageError> {
        let segments = self.segments.load_full();
        let after = segments.partition_point(|segment| segment.base() <= at);
        let end = segments.get(after).map_or(self.end(), |next| next.base());
        let Some(segment) = segments.get(after.saturating_sub(1)) else { return Ok(at..end) };
        let mut pieces = Pieces::new(Arc::clone(segment), end).from(at)?;
        while let Some(piece) = pieces.next()? {
            let offsets = match piece {
                Piece::Good(_, header, _) => header.base_offset()..header.next_offset(),
                Piece::Bad(_, offsets, _) => offsets,
            };
            if at < offsets.end {
                return Ok(offsets);
            }
        }
        Ok(pieces.offset..end)
    }

    fn read_files(
        &self,
        from: Offset,
        max_bytes: usize,
        upto: Offset,
    ) -> Result<Fetched, ReadError> {
        if from >= upto {
            return Ok(Fetched::default());
        }
        if let Some(batches) = self.tail.read(from, max_bytes, upto) {
            return Ok(Fetched { batches, trusted: true, ..Fetched::default() });
        }
        let segments = self.segments.load_full();
        let mut at = segments.partition_point(|segment| segment.base() <= from).saturating_sub(1);
        while let Some(segment) = segments.get(at) {
            if let Some(batches) = read_segment(segment, from, max_bytes, upto)? {
                return Ok(Fetched { batches, ..Fetched::default() });
            }
            at += 1;
            // It ends at `from`, where the next one has to begin.
            if segments.get(at).is_some_and(|next| !next.layout().follows(next.base(), from)) {
                return Err(misplaced(from));
            }
        }
        // It was there once: the log is damaged.
        Err(torn(from))
    }

    /// As [`Log::read`], up to a last stable offset, and tells which transactions among what was read were aborted.
    pub(crate) fn read_committed(
        &self,
        from: Offset,
        max_bytes: usize,
        last_stable: Offset,
    ) -> Result<Fetched, ReadError> {
        let mut fetched = self.read(from, max_bytes, last_stable)?;
        let is_concerned = fetched.batches.iter().any(|batch| batch.header().is_transactional());
        if let Some(last) = fetched.batches.last().filter(|_| is_concerned) {
            fetched.aborted = self.aborted(from, last.header().next_offset());
        }
        Ok(fetched)
    }

    /// Aborted transactions that batches in `from..upto` may be of. `upto` is at most a last stable offset: of what
    /// began below it, all markers are there.
    pub(super) fn aborted(&self, from: Offset, upto: Offset) -> Vec<AbortedTransaction> {
        let segments = self.segments.load_full();
        let first = segments.partition_point(|segment| segment.base() <= from).saturating_sub(1);
        let mut found = Vec::new();
        for segment in segments.iter().skip(first) {
            if !segment.transactions().collect(from, upto, &mut found) {
                break;
            }
        }
        found
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
            segment.check_is_own()?;
            let (largest, entry) = segment
                .with_index(|index| (index.largest_timestamp(), index.lookup_time(timestamp)))?;
            if largest.is_none_or(|largest| largest < timestamp) {
                continue;
            }
            let range = self.start()..upto;
            let from = match entry {
                Some(entry) if is_time_of_batch(segment, entry)? => entry.1,
                _ => segment.base(),
            };
            if let Some(found) = find_in_segment(segment, timestamp, from, range, limits)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// Whether the batch that a time entry points to has the entry's timestamp.
fn is_time_of_batch(
    segment: &Segment,
    (timestamp, offset): (Timestamp, Offset),
) -> Result<bool, ReadError> {
    let Some(found) = seek(segment, offset, segment.size())? else { return Ok(false) };
    let header = segment.header_at(found.position)?;
    Ok(header.is_some_and(|h| h.base_offset() <= offset && h.max_timestamp() == Some(timestamp)))
}

/// Batches from the one that holds `from` on, none that reaches `upto`. `None` if the segment ends before `from`.
fn read_segment(
    segment: &Arc<Segment>,
    from: Offset,
    max_bytes: usize,
    upto: Offset,
) -> Result<Option<Vec<Batch>>, ReadError> {
    segment.check_is_own()?;
    let size = segment.size();
    let Some(Found { position, expected }) = seek(segment, from, size)? else {
        return Ok(None);
    };
    let mut available = usize::try_from(size - position).unwrap_or(usize::MAX);
    let mut bytes = segment.read(position, available.min(max_bytes.max(HEADER_LENGTH)))?;
    let layout = segment.layout();
    let mut batches = Vec::<Batch>::new();
    while !bytes.is_empty() {
        let frame = Frame::peek(&bytes, length(bytes.len()));
        let cut_short = bytes.len() < available && matches!(frame, Frame::Torn | Frame::End);
        if cut_short && batches.is_empty() {
            // The limit was met within the first batch, which is returned nevertheless.
            let Frame::Complete(whole) = Frame::peek(&bytes, length(available)) else {
                return Err(torn(from));
            };
            bytes = segment.read(position, whole)?;
            continue;
        }
        let batch = match frame {
            Frame::Complete(whole) => Batch::parse(bytes.split_to(whole)),
            _ if cut_short => break,
            Frame::Torn | Frame::End | Frame::Corrupt => Err(TORN),
        };
        // No checksum covers a batch's base offset: it has to be the one that comes next (H5).
        let follows = |b: &Batch| {
            let next = batches.last().map(|last| last.header().next_offset()).or(expected);
            next.is_none_or(|next| layout.follows(b.header().base_offset(), next))
        };
        match batch {
            Ok(batch) if batch.header().last_offset() >= upto => {
                // No bound lies within a batch, unless its length in offsets is damaged.
                if let Err(source) = batch.verify_crc()
                    && batches.is_empty()
                {
                    return Err(ReadError::Corrupt { offset: from, source });
                }
                break;
            }
            Ok(batch) if follows(&batch) => {
                available = available.saturating_sub(batch.bytes().len());
                batches.push(batch);
            }
            Err(source) if batches.is_empty() => {
                return Err(ReadError::Corrupt { offset: from, source });
            }
            Ok(_) if batches.is_empty() => return Err(misplaced(from)),
            // The good ones before it come first: the next read meets it again.
            Ok(_) | Err(_) => break,
        }
    }
    Ok(Some(batches))
}

/// Where a batch was found.
struct Found {
    position: u64,
    /// The base offset that it must have, if that is known: of a batch that an index entry points to only the last offset is.
    expected: Option<Offset>,
}

/// The first batch that ends at or after `from`.
fn seek(segment: &Segment, from: Offset, size: u64) -> Result<Option<Found>, ReadError> {
    let mut position = segment.position_before(from)?;
    let mut expected = (position == 0).then(|| segment.base());
    let mut window = Bytes::new();
    while position < size {
        if window.len() < HEADER_LENGTH {
            let available = usize::try_from(size - position).unwrap_or(usize::MAX);
            window = segment.read(position, available.min(SEEK_BYTES))?;
        }
        let header = BatchHeader::parse(&window)
            .map_err(|source| ReadError::Corrupt { offset: from, source })?;
        let layout = segment.layout();
        if expected.is_some_and(|expected| !layout.follows(header.base_offset(), expected)) {
            return Err(misplaced(from));
        }
        if header.last_offset() >= from {
            return Ok(Some(Found { position, expected }));
        }
        expected = Some(header.next_offset());
        position += length(header.size());
        window.advance(header.size().min(window.len()));
    }
    // A batch that does not end where the segment does hides what is behind it.
    if position == size { Ok(None) } else { Err(torn(from)) }
}

fn find_in_segment(
    segment: &Arc<Segment>,
    timestamp: Timestamp,
    mut from: Offset,
    range: Range<Offset>,
    limits: &Limits,
) -> Result<Option<TimestampedOffset>, ReadError> {
    const MAX_BYTES: usize = 64 * 1024;
    loop {
        let batches = read_segment(segment, from, MAX_BYTES, range.end)?;
        let Some(last) = batches.iter().flatten().last() else { return Ok(None) };
        let next = last.header().next_offset();
        for batch in batches.iter().flatten() {
            if batch.header().max_timestamp().is_none_or(|max| max < timestamp) {
                continue;
            }
            let offset = batch.header().base_offset();
            batch.verify_crc().map_err(|source| ReadError::Corrupt { offset, source })?;
            let decoded =
                batch.decode(limits).map_err(|source| ReadError::Corrupt { offset, source })?;
            let found = decoded.iter().find_map(|record| {
                let found =
                    record.timestamp.filter(|t| *t >= timestamp && record.offset >= range.start)?;
                Some(TimestampedOffset { offset: record.offset, timestamp: found })
            });
            if found.is_some() {
                return Ok(found);
            }
        }
        from = next;
    }
}

/// Published bytes that are no batch: the file was changed behind our back, or has rotted.
const TORN: BatchError = BatchError::Truncated { needed: HEADER_LENGTH, available: 0 };

/// A batch that is not where its base offset says.
fn misplaced(offset: Offset) -> ReadError {
    ReadError::Corrupt { offset, source: BatchError::Misplaced }
}

fn torn(offset: Offset) -> ReadError {
    ReadError::Corrupt { offset, source: TORN }
}
