//! Reading all of a log to find what has rotted, before somebody needs it.
//!
//! Every batch is read and checked: its checksum, that it follows the one before, its leader epoch; then the headers
//! against the segment's digest, and the indexes against the batches. Nothing is locked meanwhile, and nothing changed
//! but indexes that are wrong: those are made anew.

use std::ops::{AddAssign, Range};
use std::sync::Arc;

use crate::base::{Offset, TopicPartition};
use crate::storage::damage::{Damage, Piece, Pieces};
use crate::storage::digest::Digest;
use crate::storage::log::Log;
use crate::storage::segment::Segment;
use crate::storage::{StorageError, names};

/// What reading all of a log, or of several, came to: see [`Cluster::scrub`](crate::Cluster::scrub).
///
/// ```
/// use brooklet::{Cluster, NewTopic};
///
/// let cluster = Cluster::in_memory()?;
/// cluster.create_topic(NewTopic::new("email"))?;
/// for damage in cluster.scrub()?.damages {
///     println!("{damage}");
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct ScrubReport {
    /// Batches that are what was written.
    pub batches: u64,
    /// Bytes of log that were read.
    pub bytes: u64,
    /// Segments of which an index was wrong, and was made anew: nothing is lost by that.
    pub indexes_rebuilt: u64,
    /// What is damaged, in the order of partitions and offsets. Empty if all is well.
    pub damages: Vec<Damage>,
    /// What was damaged, and is what was written again: another replica had it.
    pub repaired: Vec<Damage>,
}

impl AddAssign for ScrubReport {
    fn add_assign(&mut self, other: Self) {
        self.batches += other.batches;
        self.bytes += other.bytes;
        self.indexes_rebuilt += other.indexes_rebuilt;
        self.damages.extend(other.damages);
        self.repaired.extend(other.repaired);
    }
}

impl Log {
    /// Reads all of the log and reports what is damaged.
    pub(crate) fn scrub(&self) -> Result<ScrubReport, StorageError> {
        let mut scrub = LogScrub::default();
        while scrub.step(self, u64::MAX)? > 0 {}
        Ok(scrub.report)
    }
}

/// A log that is being read, a little at a time.
#[derive(Debug, Default)]
pub(crate) struct LogScrub {
    /// What was found in the segments that were read.
    pub(crate) report: ScrubReport,
    /// Base of the last segment that was begun.
    last: Option<Offset>,
    current: Option<Scrub>,
}

impl LogScrub {
    /// Reads about `bytes` more, a batch at least. Returns how many they were: none at the end of the log.
    pub(crate) fn step(&mut self, log: &Log, bytes: u64) -> Result<u64, StorageError> {
        loop {
            let Some(mut scrub) = self.current.take() else {
                let segments = log.segments.load_full();
                let at = segments.partition_point(|segment| Some(segment.base()) <= self.last);
                let Some(segment) = segments.get(at) else { return Ok(0) };
                self.last = Some(segment.base());
                let next = segments.get(at + 1).map(|next| next.base());
                self.current = Some(Scrub::begin(log, segment, next)?);
                continue;
            };
            let read = scrub.go_on(bytes)?;
            if read > 0 {
                self.current = Some(scrub);
                return Ok(read);
            }
            let report = scrub.end()?;
            // Deleted or written anew meanwhile: what was read is not the log any more.
            if log.segments.load().iter().any(|segment| Arc::ptr_eq(segment, &report.0)) {
                self.report += report.1;
            }
        }
    }
}

/// One segment being read.
#[derive(Debug)]
struct Scrub {
    partition: TopicPartition,
    segment: Arc<Segment>,
    /// Where the one behind it begins; if there is none, all below `durable` is to be there.
    next: Option<Offset>,
    durable: Offset,
    /// Entries that were not met yet, the next one last.
    index: Vec<(Offset, u64)>,
    is_index_wrong: bool,
    digest: Option<Digest>,
    /// The digest, before all that it speaks of was read.
    unmet: Option<Digest>,
    headers: Digest,
    pieces: Pieces,
    report: ScrubReport,
}

impl Scrub {
    fn begin(
        log: &Log,
        segment: &Arc<Segment>,
        next: Option<Offset>,
    ) -> Result<Self, StorageError> {
        let durable = log.flushed();
        // The index before the size: it has no entry beyond.
        let mut index = segment.with_index(|index| index.entries())?;
        let saved = segment.saved_index()?.map(|saved| saved.entries());
        let is_index_wrong = saved.is_some_and(|saved| !index.starts_with(&saved));
        index.reverse();
        let digest = segment.digest();
        let end = next.unwrap_or_else(|| log.end());
        let pieces = Pieces::new(Arc::clone(segment), end);
        // After the size: a batch is published when its epoch is known.
        let epochs = log.whole_epochs();
        Ok(Self {
            partition: log.partition.clone(),
            segment: Arc::clone(segment),
            next,
            durable,
            index,
            is_index_wrong,
            digest,
            unmet: digest.filter(|digest| digest.length > 0),
            headers: Digest::empty(segment.base()),
            pieces: pieces.with_epochs(epochs),
            report: ScrubReport::default(),
        })
    }

    /// Reads about `bytes` more. Returns how many they were.
    fn go_on(&mut self, bytes: u64) -> Result<u64, StorageError> {
        let from = self.pieces.position;
        while self.pieces.position - from < bytes
            && let Some(piece) = self.pieces.next()?
        {
            let (position, header, bytes) = match piece {
                Piece::Good(position, header, bytes) => (position, header, bytes),
                Piece::Bad(bytes, offsets, reason) => {
                    self.note(offsets, bytes.start, reason);
                    continue;
                }
            };
            if self.report.damages.is_empty() {
                self.headers.add(&bytes, &header);
                let length = self.headers.length;
                if let Some(digest) = self.unmet.take_if(|digest| digest.length <= length)
                    && digest != self.headers
                {
                    self.note_other();
                }
            }
            if self.index.last().is_some_and(|entry| entry.1 <= position) {
                let is_met = self.index.pop() == Some((header.last_offset(), position));
                self.is_index_wrong |= !is_met;
            }
            self.report.batches += 1;
        }
        Ok(self.pieces.position - from)
    }

    /// What was found, and in what.
    fn end(mut self) -> Result<(Arc<Segment>, ScrubReport), StorageError> {
        let (size, offset, durable) = (self.pieces.size, self.pieces.offset, self.durable);
        self.report.bytes += size;
        let is_good = self.report.damages.is_empty();
        let expected = self.digest.map_or(self.segment.base(), |digest| digest.next);
        let is_whole = match self.next {
            Some(next) => self.segment.layout().follows(next, offset),
            None => offset >= durable,
        };
        if is_good && self.unmet.is_some() && offset >= expected {
            self.note_other();
        } else if !is_whole || offset < expected {
            let behind = self.next.unwrap_or(durable).max(expected);
            let (offsets, reason) = match behind < offset {
                true => (behind..offset, "it overlaps the next segment"),
                false => (offset..behind, "what comes next is missing"),
            };
            self.note(offsets, size, reason.to_owned());
        } else if is_good && (self.is_index_wrong || !self.index.is_empty()) {
            log::warn!("making the indexes of {} anew", self.segment.path(names::LOG).display());
            self.segment.rebuild_index()?;
            self.report.indexes_rebuilt += 1;
        }
        Ok((self.segment, self.report))
    }

    /// Takes note that the headers are not those of the digest.
    fn note_other(&mut self) {
        let reason = "its batch headers are not those of its digest".to_owned();
        self.note(self.segment.base()..self.headers.next, 0, reason);
    }

    fn note(&mut self, offsets: Range<Offset>, position: u64, reason: String) {
        let damage = Damage::new(&self.partition, &self.segment, offsets, position, reason);
        self.report.damages.push(damage);
    }
}
