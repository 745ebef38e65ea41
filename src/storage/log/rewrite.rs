//! Writing segments anew in which something is damaged, so that a log can be written again.
//!
//! What is damaged is copied to quarantine, and other batches take the place of its offsets: a log has no holes.
//!
//! # Invariants
//! - Nothing that is good goes, and the offsets of what stays are what they were.
//! - The new files and the copies are durable before anything changes. Then the indexes and the digest of a segment go,
//!   before the file that they speak of: a crash leaves the old file, or the new one, and neither with what was derived
//!   from the other. The transaction index speaks of offsets, and stays.
//!
//! # Elsewhere
//! What takes the place of what goes: empty batches (`accept_loss`), or those of another replica (`repair`).

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::{Offset, Timestamp};
use crate::env::OpenFile;
use crate::record::Batch;
use crate::storage::damage::{Damage, Piece, Pieces};
use crate::storage::log::{Damaged, Log, OpenLog, Writer};
use crate::storage::producers::Known;
use crate::storage::quarantine::for_each_chunk;
use crate::storage::recovery::{self, Shutdown};
use crate::storage::segment::{MAX_SEGMENT_BYTES, Segment, length, remove_file};
use crate::storage::{StorageError, names};

/// Suffix of a segment's file that is being written.
const NEW: &str = ".log.tmp";

/// What is put where damaged batches of a segment were, or should have been, with these offsets.
pub(super) type Instead<'a> =
    &'a dyn Fn(&Segment, &Range<Offset>) -> Result<Vec<Batch>, StorageError>;

/// A segment that has to be written anew.
struct Rewrite {
    segment: Arc<Segment>,
    parts: Vec<Part>,
}

/// What becomes of the bytes of a segment.
enum Part {
    Stays(Range<u64>),
    /// With the offsets that they had, or should have had.
    Goes(Range<u64>, Range<Offset>),
}

impl Log {
    /// Puts something else in the place of `lost`, which was found in segments that are among `seen`. What is `left` keeps
    /// a log offline that is. `false`, and nothing happened, if one of those segments is gone or another by now.
    pub(super) fn rewrite(
        &self,
        seen: &[Arc<Segment>],
        lost: &[Damage],
        left: Option<Damage>,
        instead: Instead<'_>,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let _flushing = self.flushing.lock();
        let mut writer = self.writer.lock();
        let mut damaged = self.damaged.lock();
        if self.is_offline() && damaged.is_none() {
            return Err(StorageError::Offline { partition: self.partition.clone() });
        }
        let segments = self.segments.load_full();
        let is_lost_in =
            |segment: &Segment| lost.iter().any(|d| d.file == segment.path(names::LOG));
        let is_there = |old: &&Arc<Segment>| segments.iter().any(|s| Arc::ptr_eq(s, old));
        if !seen.iter().filter(|old| is_lost_in(old)).all(|old| is_there(&old)) {
            return Ok(false);
        }
        let durable = damaged.as_ref().map_or(self.flushed(), |damaged| damaged.durable);
        let rewrites = self.plan(damaged.is_some(), lost)?;
        self.prepare(&rewrites, instead, now)?;
        let left = left.filter(|_| damaged.is_some());
        // A recovery cuts at what is bad above this point: not before that is accepted too.
        let point = if left.is_some() { self.end() } else { durable };
        let done = self.replace(&rewrites).and_then(|()| self.reload(&mut writer, point, now));
        let found = done.inspect_err(|error| {
            log::error!("{} is offline: {error}", self.partition);
            *damaged = None;
            self.offline.store(true, Ordering::Release);
        })?;
        *damaged = found.or(left).map(|damage| Damaged { damage: Arc::new(damage), durable });
        self.offline.store(damaged.is_some(), Ordering::Release);
        for segment in self.segments.load().iter() {
            if rewrites.iter().any(|rewrite| rewrite.segment.base() == segment.base()) {
                segment.renew_digest(self.digest_owner(), self.flushed());
            }
        }
        Ok(true)
    }

    /// The segments in which something is `lost`.
    fn plan(&self, is_damaged: bool, lost: &[Damage]) -> Result<Vec<Rewrite>, StorageError> {
        let segments = self.segments.load_full();
        let ends = segments.iter().skip(1).map(|next| next.base()).chain([self.end()]);
        let epochs = (!is_damaged).then(|| self.epochs.load_full());
        let mut rewrites = Vec::new();
        for (segment, end) in segments.iter().zip(ends) {
            let mut rewrite = Rewrite { segment: Arc::clone(segment), parts: Vec::new() };
            let mut pieces = Pieces::new(Arc::clone(segment), end).with_epochs(epochs.clone());
            while let Some(piece) = pieces.next()? {
                let (bytes, offsets) = match piece {
                    Piece::Good(position, header, _) => (
                        position..position + length(header.size()),
                        header.base_offset()..header.next_offset(),
                    ),
                    Piece::Bad(bytes, offsets, _) => (bytes, offsets),
                };
                rewrite.add(bytes, offsets, lost);
            }
            // Where segments overlap, the later one has the offsets.
            if let Some(Part::Goes(_, offsets)) = rewrite.parts.last_mut() {
                offsets.end = offsets.end.min(end);
            }
            if pieces.offset < end {
                rewrite.add(pieces.size..pieces.size, pieces.offset..end, lost);
            }
            if rewrite.parts.iter().any(|part| matches!(part, Part::Goes(..))) {
                rewrites.push(rewrite);
            }
        }
        Ok(rewrites)
    }

    /// Writes the copies and the new files, and changes nothing that is there.
    fn prepare(
        &self,
        rewrites: &[Rewrite],
        instead: Instead<'_>,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let write = |rewrite: &Rewrite| {
            for part in &rewrite.parts {
                if let Part::Goes(bytes, offsets) = part {
                    let range = bytes.clone();
                    self.quarantine.set_aside(&rewrite.segment, range, offsets.start, now)?;
                }
            }
            rewrite.write(instead)
        };
        rewrites.iter().try_for_each(write).inspect_err(|_| {
            for rewrite in rewrites {
                if let Err(error) = remove_file(&*self.fs, &rewrite.path()) {
                    log::warn!("left over: {error}");
                }
            }
        })
    }

    fn replace(&self, rewrites: &[Rewrite]) -> Result<(), StorageError> {
        let sync_dir = || self.fs.sync_dir(&self.dir).map_err(StorageError::io("sync", &self.dir));
        for Rewrite { segment, .. } in rewrites {
            self.reset_digest(segment)?;
            for suffix in [names::OFFSET_INDEX, names::TIME_INDEX] {
                remove_file(&*self.fs, &segment.path(suffix))?;
            }
        }
        sync_dir()?;
        for rewrite in rewrites {
            let path = rewrite.segment.path(names::LOG);
            let renamed = self.fs.rename(&rewrite.path(), &path);
            renamed.map_err(StorageError::io("replace", &path))?;
        }
        sync_dir()
    }

    /// Opens the files anew. What lies below `point` is not cut. Returns what is damaged all the same.
    fn reload(
        &self,
        writer: &mut Writer,
        point: Offset,
        now: Timestamp,
    ) -> Result<Option<Damage>, StorageError> {
        let how = OpenLog {
            fs: Arc::clone(&self.fs),
            root: Arc::clone(&self.root),
            partition: self.partition.clone(),
            topic_id: self.topic_id,
            config: **self.config.load(),
            cache: Arc::clone(&self.cache),
            quarantine: Arc::clone(&self.quarantine),
            start: Some(self.start()),
            deleted: self.start(),
            closed_at: Vec::new(),
            examine: false,
            shutdown: Shutdown::Unclean { recovery_point: point },
            now,
            seed: self.seed,
        };
        // Of the leader in office the files may not tell.
        let begun = self.epochs.load().without_record(self.end());
        let mut found = recovery::load(&how, &self.dir)?;
        let (known, transactions) = Known::load(&how, &self.dir, &mut found)?;
        let mut epochs = found.epochs;
        epochs.begin_at(self.start());
        if let Some(begun) = begun {
            epochs.begin(begun, found.end);
        }
        *writer = Writer::new(known);
        self.epochs.store(Arc::new(epochs));
        self.segments.store(Arc::new(found.segments));
        self.tail.clear();
        self.undecided.set(transactions);
        self.end.set(found.end);
        self.flushed.set(found.end);
        Ok(found.report.damage)
    }
}

impl Rewrite {
    /// Adds a part, which goes if it is `lost` as a whole.
    fn add(&mut self, bytes: Range<u64>, offsets: Range<Offset>, lost: &[Damage]) {
        let is_lost = lost.iter().any(|damage| {
            damage.offsets.start <= offsets.start && offsets.end <= damage.offsets.end
        });
        match self.parts.last_mut() {
            Some(Part::Goes(before, those)) if is_lost => {
                (before.end, those.end) = (bytes.end, offsets.end);
            }
            Some(Part::Stays(before)) if !is_lost => before.end = bytes.end,
            _ if is_lost => self.parts.push(Part::Goes(bytes, offsets)),
            _ => self.parts.push(Part::Stays(bytes)),
        }
    }

    fn path(&self) -> PathBuf {
        self.segment.path(NEW)
    }

    /// Writes what the segment is to be, durably, beside it.
    fn write(&self, instead: Instead<'_>) -> Result<(), StorageError> {
        let (fs, path) = (self.segment.file_system(), self.path());
        let error = || StorageError::io("write", &path);
        let file = fs.open(&path, OpenFile::Write).map_err(error())?;
        file.set_len(0).map_err(error())?;
        let mut size = 0;
        for part in &self.parts {
            match part {
                Part::Stays(bytes) => {
                    let shift = size;
                    for_each_chunk(&self.segment, bytes.clone(), |at, chunk| {
                        size = shift + at - bytes.start + length(chunk.len());
                        file.write(shift + at - bytes.start, &[chunk]).map_err(error())
                    })?;
                }
                Part::Goes(_, offsets) if offsets.is_empty() => {}
                Part::Goes(_, offsets) => {
                    for batch in instead(&self.segment, offsets)? {
                        let written = length(batch.bytes().len());
                        file.write(size, &[batch.into_bytes()]).map_err(error())?;
                        size += written;
                    }
                }
            }
        }
        if size > u64::from(MAX_SEGMENT_BYTES) {
            let log = self.segment.path(names::LOG);
            return Err(StorageError::damaged(&log, "it has no room for what is lost"));
        }
        file.sync().map_err(error())
    }
}
