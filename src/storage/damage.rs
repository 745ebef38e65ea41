//! What is not what was written, and where the good part of a segment goes on.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::{Offset, TopicPartition};
use crate::record::{Batch, BatchHeader, Frame, HEADER_LENGTH};
use crate::storage::epochs::LeaderEpochs;
use crate::storage::segment::{Segment, length};
use crate::storage::{StorageError, names};

/// Bytes looked at together in search of the next batch.
const SEARCH_BYTES: u64 = 64 << 10;

/// A part of a partition that is not what was written.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Damage {
    /// The partition.
    pub partition: TopicPartition,
    /// The offsets that cannot be read, or not be relied on. Reading can go on at the end.
    pub offsets: Range<Offset>,
    /// The file.
    pub file: PathBuf,
    /// Where in the file it begins, in bytes.
    pub position: u64,
    /// What is wrong.
    pub reason: String,
}

impl Damage {
    /// In the log file of `segment`.
    pub(super) fn new(
        partition: &TopicPartition,
        segment: &Segment,
        offsets: Range<Offset>,
        position: u64,
        reason: impl Into<String>,
    ) -> Self {
        let (partition, file) = (partition.clone(), segment.path(names::LOG));
        Self { partition, offsets, file, position, reason: reason.into() }
    }
}

/// The partition, the offsets, what is wrong, the file and the place in it.
impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, offsets, file, position, reason } = self;
        let (from, to, file) = (offsets.start, offsets.end, file.display());
        write!(f, "{partition} is damaged at offsets {from}..{to}: {reason} ({file} at {position})")
    }
}

/// Why no batch can be read at a place.
pub(super) type Flaw = String;

/// A part of a segment.
#[derive(Debug)]
pub(super) enum Piece {
    /// A batch: where it begins, its header, and that as it is in the file.
    Good(u64, BatchHeader, Bytes),
    /// Bytes that are none, and the offsets that should be there.
    Bad(Range<u64>, Range<Offset>, Flaw),
}

/// Goes through a segment from batch to batch, and past what is none.
#[derive(Debug)]
pub(super) struct Pieces {
    segment: Arc<Segment>,
    /// Which leader wrote what, if that is to be looked at.
    epochs: Option<Arc<LeaderEpochs>>,
    /// Bytes that are looked at.
    pub(super) size: u64,
    /// Offset behind the segment.
    pub(super) end: Offset,
    /// Where the next piece begins, and the offset that it should have.
    pub(super) position: u64,
    pub(super) offset: Offset,
}

impl Pieces {
    /// Of the bytes that there are now, and whose offsets are to be below `end`.
    pub(super) fn new(segment: Arc<Segment>, end: Offset) -> Self {
        let (size, offset) = (segment.size(), segment.base());
        Self { segment, epochs: None, size, end, position: 0, offset }
    }

    /// A batch of another leader than these is bad.
    pub(super) fn with_epochs(self, epochs: Option<Arc<LeaderEpochs>>) -> Self {
        Self { epochs, ..self }
    }

    /// Begins at or before the batch that holds `offset`, as far as the index knows.
    pub(super) fn from(mut self, offset: Offset) -> Result<Self, StorageError> {
        let position = self.segment.position_before(offset)?;
        if let Some(header) = self.segment.header_at(position)?.filter(|_| position > 0) {
            (self.position, self.offset) = (position, header.base_offset());
        }
        Ok(self)
    }

    pub(super) fn next(&mut self) -> Result<Option<Piece>, StorageError> {
        let (position, offset) = (self.position, self.offset);
        if position >= self.size {
            return Ok(None);
        }
        let reason = match self.check(position, offset)? {
            Ok((header, bytes)) => {
                (self.position, self.offset) =
                    (position + length(header.size()), header.next_offset());
                return Ok(Some(Piece::Good(position, header, bytes)));
            }
            Err(reason) => reason,
        };
        (self.position, self.offset) = match self.behind(position, offset)? {
            Some((position, header)) => (position, header.base_offset()),
            None => (self.size, self.end.max(offset)),
        };
        Ok(Some(Piece::Bad(position..self.position, offset..self.offset, reason)))
    }

    /// The next good batch behind a bad one: where that says that it ends, or wherever there is one.
    fn behind(
        &self,
        position: u64,
        offset: Offset,
    ) -> Result<Option<(u64, BatchHeader)>, StorageError> {
        let offsets = offset.next()..self.end;
        if let Some(bad) = self.segment.header_at(position)? {
            let at = position + length(bad.size());
            if let Some(next) = self.segment.header_at(at)?
                && offsets.contains(&next.base_offset())
                && next.next_offset() <= self.end
                && self.check(at, next.base_offset())?.is_ok()
            {
                return Ok(Some((at, next)));
            }
        }
        self.segment.next_good(position + 1, self.size, &offsets)
    }

    /// The batch at `position`, which is to begin at `expected`, or what is wrong with it.
    fn check(
        &self,
        position: u64,
        expected: Offset,
    ) -> Result<Result<(BatchHeader, Bytes), Flaw>, StorageError> {
        let checked = self.segment.check_batch(position, self.size, expected)?;
        Ok(checked.and_then(|(header, bytes)| {
            // Of what was deleted from the front it is not known.
            let known = self.epochs.as_ref().and_then(|epochs| epochs.at(header.base_offset()));
            match header.leader_epoch().zip(known) {
                Some((epoch, known)) if epoch != known => {
                    Err("it has another leader epoch than its leader".to_owned())
                }
                _ => Ok((header, bytes)),
            }
        }))
    }
}

impl Segment {
    /// The batch at `position` of the first `size` bytes, which is to begin at `expected`: its header, as it is in the
    /// file too. Or what is wrong with it.
    pub(super) fn check_batch(
        &self,
        position: u64,
        size: u64,
        expected: Offset,
    ) -> Result<Result<(BatchHeader, Bytes), Flaw>, StorageError> {
        if size.saturating_sub(position) < length(HEADER_LENGTH) {
            return Ok(Err("a batch is cut short".to_owned()));
        }
        let bytes = self.read(position, HEADER_LENGTH)?;
        let whole = match Frame::peek(&bytes, size - position) {
            Frame::Complete(whole) => whole,
            Frame::Corrupt => return Ok(Err("no batch begins there".to_owned())),
            Frame::Torn | Frame::End => return Ok(Err("a batch is cut short".to_owned())),
        };
        let batch = match Batch::parse(self.read(position, whole)?) {
            Ok(batch) => batch,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let header = *batch.header();
        if let Err(error) = batch.verify_crc() {
            return Ok(Err(error.to_string()));
        }
        if !self.layout().follows(header.base_offset(), expected) {
            let found = header.base_offset();
            return Ok(Err(format!("it begins at offset {found}, where {expected} comes next")));
        }
        Ok(Ok((header, bytes)))
    }

    /// The next good batch among the first `size` bytes, at `from` or behind, whose offsets are in `offsets`: where it
    /// begins, and its header.
    pub(super) fn next_good(
        &self,
        from: u64,
        size: u64,
        offsets: &Range<Offset>,
    ) -> Result<Option<(u64, BatchHeader)>, StorageError> {
        let mut position = from;
        while position + length(HEADER_LENGTH) <= size {
            let window = (size - position).min(SEARCH_BYTES);
            let bytes = self.read(position, usize::try_from(window).unwrap_or_default())?;
            for (at, header) in bytes.windows(HEADER_LENGTH).enumerate() {
                let Ok(header) = BatchHeader::parse(header) else { continue };
                let (base, place) = (header.base_offset(), position + length(at));
                let possible = base >= offsets.start
                    && header.next_offset() <= offsets.end
                    && place + length(header.size()) <= size;
                if possible && self.check_batch(place, size, base)?.is_ok() {
                    return Ok(Some((place, header)));
                }
            }
            position += window.saturating_sub(length(HEADER_LENGTH) - 1).max(1);
        }
        Ok(None)
    }

    /// How many good batches there are at `from` or behind, wherever they begin and whatever their offsets.
    pub(super) fn count_good(&self, from: u64) -> Result<u64, StorageError> {
        let (size, any) = (self.size(), Offset::ZERO..Offset::MAX);
        let (mut position, mut count) = (from, 0);
        loop {
            // Where one ends, the next one is likely to begin.
            let at = self.header_at(position)?.map_or(Offset::ZERO, |header| header.base_offset());
            position += match self.check_batch(position, size, at)? {
                Ok((header, _)) => length(header.size()),
                Err(_) => match self.next_good(position, size, &any)? {
                    Some((at, header)) => at - position + length(header.size()),
                    None => return Ok(count),
                },
            };
            count += 1;
        }
    }
}
