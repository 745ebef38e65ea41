//! Reading all of a log to find what has rotted, before somebody needs it.
//!
//! Every batch is read and checked: its checksum, that it follows the one before, its leader epoch; then the headers
//! against the segment's digest, and the indexes against the batches. Nothing is locked meanwhile, and nothing changed
//! but indexes that are wrong: those are made anew.

use std::ops::{AddAssign, Range};
use std::sync::Arc;

use crate::base::Offset;
use crate::storage::damage::{Damage, Piece, Pieces};
use crate::storage::digest::Digest;
use crate::storage::epochs::LeaderEpochs;
use crate::storage::log::Log;
use crate::storage::segment::Segment;
use crate::storage::{StorageError, names};

/// What reading all of a log, or of several, came to: see [`Cluster::scrub`](crate::Cluster::scrub).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct ScrubReport {
    /// Batches that are what was written.
    pub batches: u64,
    /// Bytes of log that were read.
    pub bytes: u64,
    /// Segments of which an index was wrong, and was made anew: nothing is lost by that.
    pub indexes_rebuilt: u64,
    /// What was found, in the order of partitions and offsets. Empty if all is well.
    pub damages: Vec<Damage>,
}

impl AddAssign for ScrubReport {
    fn add_assign(&mut self, other: Self) {
        self.batches += other.batches;
        self.bytes += other.bytes;
        self.indexes_rebuilt += other.indexes_rebuilt;
        self.damages.extend(other.damages);
    }
}

impl Log {
    /// Reads all of the log and reports what is damaged.
    pub(crate) fn scrub(&self) -> Result<ScrubReport, StorageError> {
        let segments = self.segments.load_full();
        let ends = segments.iter().skip(1).map(|next| Some(next.base())).chain([None]);
        // Of a log that was damaged when it was opened not all of them are known.
        let is_whole = self.damaged.lock().is_none();
        let epochs = is_whole.then(|| self.writer.lock().epochs.clone());
        let durable = self.flushed();
        let mut report = ScrubReport::default();
        for (segment, next) in segments.iter().zip(ends) {
            let mut scrub =
                Scrub { log: self, segment, epochs: epochs.as_ref(), report: &mut report };
            scrub.run(next, durable)?;
        }
        Ok(report)
    }
}

/// One segment being read.
struct Scrub<'a> {
    log: &'a Log,
    segment: &'a Arc<Segment>,
    epochs: Option<&'a LeaderEpochs>,
    report: &'a mut ScrubReport,
}

impl Scrub<'_> {
    /// Reads the segment. The one behind it begins at `next`; if there is none, all below `durable` is to be there.
    fn run(&mut self, next: Option<Offset>, durable: Offset) -> Result<(), StorageError> {
        let segment = self.segment;
        // The index before the size: it has no entry beyond.
        let mut index = segment.with_index(|index| index.entries())?;
        let saved = segment.saved_index()?.map(|saved| saved.entries());
        let end = next.unwrap_or_else(|| self.log.end());
        let mut pieces = Pieces::new(segment, end, self.epochs);
        let digest = segment.digest();
        let mut unmet = digest.filter(|digest| digest.length > 0);
        let (before, mut headers) = (self.report.damages.len(), Digest::empty(segment.base()));
        let mut wrong = saved.is_some_and(|saved| !index.starts_with(&saved));
        index.reverse();
        while let Some(piece) = pieces.next()? {
            let (position, header, bytes) = match piece {
                Piece::Good(position, header, bytes) => (position, header, bytes),
                Piece::Bad(bytes, offsets, reason) => {
                    self.note(offsets, bytes.start, reason);
                    continue;
                }
            };
            if self.report.damages.len() == before {
                headers.add(&bytes, &header);
                if let Some(digest) = unmet.take_if(|digest| digest.length <= headers.length)
                    && digest != headers
                {
                    self.note_other(&headers);
                }
            }
            if index.last().is_some_and(|entry| entry.1 <= position) {
                wrong |= index.pop() != Some((header.last_offset(), position));
            }
            self.report.batches += 1;
        }
        let Pieces { size, offset, .. } = pieces;
        self.report.bytes += size;
        let is_good = self.report.damages.len() == before;
        let expected = digest.map_or(segment.base(), |digest| digest.next);
        let is_whole = match next {
            Some(next) => segment.layout().follows(next, offset),
            None => offset >= durable,
        };
        if is_good && unmet.is_some() && offset >= expected {
            self.note_other(&headers);
        } else if !is_whole || offset < expected {
            let behind = next.unwrap_or(durable).max(expected);
            let (offsets, reason) = match behind < offset {
                true => (behind..offset, "it overlaps the next segment"),
                false => (offset..behind, "what comes next is missing"),
            };
            self.note(offsets, size, reason.to_owned());
        } else if is_good && (wrong || !index.is_empty()) {
            log::warn!("making the indexes of {} anew", segment.path(names::LOG).display());
            segment.rebuild_index()?;
            self.report.indexes_rebuilt += 1;
        }
        Ok(())
    }

    /// Takes note that the headers are not those of the digest.
    fn note_other(&mut self, headers: &Digest) {
        let reason = "its batch headers are not those of its digest".to_owned();
        self.note(self.segment.base()..headers.next, 0, reason);
    }

    fn note(&mut self, offsets: Range<Offset>, position: u64, reason: String) {
        let Self { log, segment, .. } = self;
        let damage = Damage::new(&log.partition, segment, offsets, position, reason);
        self.report.damages.push(damage);
    }
}
