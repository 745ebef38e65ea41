//! Reading all of a log to find what has rotted, before somebody needs it.
//!
//! Every batch is read and checked: its checksum, that it follows the one before, its leader epoch; then the headers
//! against the segment's digest, and the indexes against the batches. Nothing is locked meanwhile, and nothing changed
//! but indexes that are wrong: those are made anew.

use std::ops::{AddAssign, Range};
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::{Offset, TopicPartition};
use crate::record::{Batch, BatchHeader, Frame, HEADER_LENGTH};
use crate::storage::digest::Digest;
use crate::storage::epochs::LeaderEpochs;
use crate::storage::log::Log;
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
        let epochs = self.writer.lock().epochs.clone();
        let durable = self.flushed();
        let mut report = ScrubReport::default();
        for (segment, next) in segments.iter().zip(ends) {
            let mut scrub = Scrub { log: self, segment, epochs: &epochs, report: &mut report };
            scrub.run(next, durable)?;
        }
        Ok(report)
    }
}

/// One segment being read.
struct Scrub<'a> {
    log: &'a Log,
    segment: &'a Arc<Segment>,
    epochs: &'a LeaderEpochs,
    report: &'a mut ScrubReport,
}

impl Scrub<'_> {
    /// Reads the segment. The one behind it begins at `next`; if there is none, all below `durable` is to be there.
    fn run(&mut self, next: Option<Offset>, durable: Offset) -> Result<(), StorageError> {
        let segment = self.segment;
        // The index before the size: it has no entry beyond.
        let mut index = segment.with_index(|index| index.entries())?;
        let saved = segment.saved_index()?.map(|saved| saved.entries());
        let size = segment.size();
        let end = next.unwrap_or_else(|| self.log.end());
        let digest = segment.digest();
        let mut unmet = digest.filter(|digest| digest.length > 0);
        let (before, mut headers) = (self.report.damages.len(), Digest::empty(segment.base()));
        let (mut position, mut offset) = (0, segment.base());
        let mut wrong = saved.is_some_and(|saved| !index.starts_with(&saved));
        index.reverse();
        while position < size {
            let (header, bytes) = match self.batch(position, size, offset)? {
                Ok(good) => good,
                Err(reason) => {
                    let behind = self.next_good(position + 1, size, offset..end)?;
                    let (to, resume) = behind.unwrap_or((size, end.max(offset)));
                    self.note(offset..resume, position, reason);
                    (position, offset) = (to, resume);
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
            position += length(header.size());
            offset = header.next_offset();
        }
        self.report.bytes += size;
        if self.report.damages.len() > before {
            return Ok(());
        }
        let expected = digest.map_or(segment.base(), |digest| digest.next);
        let is_whole = match next {
            Some(next) => segment.layout().follows(next, offset),
            None => offset >= durable,
        };
        if unmet.is_some() && offset >= expected {
            self.note_other(&headers);
        } else if !is_whole || offset < expected {
            let behind = next.unwrap_or(durable).max(expected);
            self.note(offset..behind, size, "what comes next is missing".to_owned());
        } else if wrong || !index.is_empty() {
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
        let (partition, file) = (self.log.partition.clone(), self.segment.path(names::LOG));
        self.report.damages.push(Damage { partition, offsets, file, position, reason });
    }

    /// The batch at `position`, which is to begin at `expected`: its header, as it is in the file too. Or what is wrong
    /// with it.
    fn batch(
        &self,
        position: u64,
        size: u64,
        expected: Offset,
    ) -> Result<Result<(BatchHeader, bytes::Bytes), String>, StorageError> {
        if size - position < length(HEADER_LENGTH) {
            return Ok(Err("a batch is cut short".to_owned()));
        }
        let bytes = self.segment.read(position, HEADER_LENGTH)?;
        let whole = match Frame::peek(&bytes, size - position) {
            Frame::Complete(whole) => whole,
            Frame::Corrupt => return Ok(Err("no batch begins there".to_owned())),
            Frame::Torn | Frame::End => return Ok(Err("a batch is cut short".to_owned())),
        };
        let batch = match Batch::parse(self.segment.read(position, whole)?) {
            Ok(batch) => batch,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let header = *batch.header();
        if let Err(error) = batch.verify_crc() {
            return Ok(Err(error.to_string()));
        }
        if !self.segment.layout().follows(header.base_offset(), expected) {
            let found = header.base_offset();
            return Ok(Err(format!("it begins at offset {found}, where {expected} comes next")));
        }
        let epoch = self.epochs.at(header.base_offset());
        if header.leader_epoch() != epoch && header.leader_epoch().is_some() {
            return Ok(Err("it has another leader epoch than its leader".to_owned()));
        }
        Ok(Ok((header, bytes)))
    }

    /// Where the next good batch begins, at `from` or behind, and its first offset: one of those behind the first of
    /// `offsets`.
    fn next_good(
        &self,
        from: u64,
        size: u64,
        offsets: Range<Offset>,
    ) -> Result<Option<(u64, Offset)>, StorageError> {
        let mut position = from;
        while position + length(HEADER_LENGTH) <= size {
            let window = (size - position).min(SEARCH_BYTES);
            let bytes = self.segment.read(position, usize::try_from(window).unwrap_or_default())?;
            for (at, header) in bytes.windows(HEADER_LENGTH).enumerate() {
                let Ok(header) = BatchHeader::parse(header) else { continue };
                let (base, place) = (header.base_offset(), position + length(at));
                let possible = base > offsets.start
                    && header.next_offset() <= offsets.end
                    && place + length(header.size()) <= size;
                if possible && self.batch(place, size, base)?.is_ok() {
                    return Ok(Some((place, base)));
                }
            }
            position += window.saturating_sub(length(HEADER_LENGTH) - 1).max(1);
        }
        Ok(None)
    }
}
