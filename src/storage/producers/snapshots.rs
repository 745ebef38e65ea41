//! The `.snapshot` files of one log.
//!
//! # Invariants
//! - A snapshot is a cache: any may be missing, empty or garbled (A3, F9). That costs a walk over batch headers.
//! - None speaks of batches that are not in the log: those above its end go before more is appended.
//! - There is one at the base of each segment that was rolled to, and at most one behind the last base.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::Offset;
use crate::env::{Entry, EntryKind, File, FileSystem, OpenFile, read_file};
use crate::storage::StorageError;
use crate::storage::names;
use crate::storage::producers::{Producers, snapshot};
use crate::storage::segment::{Segment, remove_file};

/// Bytes of log that a recovery may have to walk through again, at most, to know the producers at a flush point.
const INTERVAL_BYTES: u64 = 64 << 20;

/// Which snapshots a log has.
#[derive(Debug)]
pub(crate) struct Snapshots {
    fs: Arc<dyn FileSystem>,
    dir: Arc<Path>,
    offsets: BTreeSet<Offset>,
    /// The newest that is known to be good.
    newest: Option<Offset>,
    /// The last one, if it is not at the base of a segment: the next one takes its place.
    passing: Option<Offset>,
    /// Files that could not be read, or whose place was taken.
    obsolete: BTreeSet<Offset>,
    /// The newest, if no sync has covered it.
    unsynced: Option<UnsyncedSnapshot>,
    /// Bytes of log behind the newest.
    behind: u64,
}

/// A snapshot that was written, and is not known to be on disk.
#[derive(Debug)]
pub(crate) struct UnsyncedSnapshot {
    path: PathBuf,
    file: Arc<dyn File>,
}

impl UnsyncedSnapshot {
    /// Makes the file durable; its name is the caller's business. On a full disk the file stays as it is, which its
    /// checksum will tell.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        match self.file.sync().map_err(StorageError::io("sync", &self.path)) {
            Err(error) if error.is_full() => {
                log::warn!("a snapshot was not saved: {error}");
                Ok(())
            }
            result => result,
        }
    }
}

impl Snapshots {
    /// Those among the files of a directory.
    pub(super) fn among(entries: &[Entry], fs: &Arc<dyn FileSystem>, dir: &Arc<Path>) -> Self {
        let files = entries.iter().filter(|entry| entry.kind == EntryKind::File);
        let offsets = files.filter_map(|entry| names::parse_name(&entry.name, names::SNAPSHOT));
        Self {
            fs: Arc::clone(fs),
            dir: Arc::clone(dir),
            offsets: offsets.collect(),
            newest: None,
            passing: None,
            obsolete: BTreeSet::new(),
            unsynced: None,
            behind: 0,
        }
    }

    fn path(&self, offset: Offset) -> PathBuf {
        self.dir.join(names::segment_file(offset, names::SNAPSHOT))
    }

    /// The newest readable one at or below `upto`, and its offset. Bytes are counted from there on. None from before
    /// `start`, where the log begins: between the two, batches are missing.
    pub(super) fn load(&mut self, start: Offset, upto: Offset) -> Option<(Offset, Producers)> {
        self.behind = 0;
        let usable = start.min(upto)..=upto;
        while let Some(offset) = self.offsets.range(usable.clone()).next_back().copied() {
            match self.read(offset) {
                Ok(producers) => {
                    self.newest = Some(offset);
                    return Some((offset, producers));
                }
                Err(reason) => {
                    log::warn!("{} is of no use: {reason}", self.path(offset).display());
                    self.offsets.remove(&offset);
                    self.obsolete.insert(offset);
                }
            }
        }
        self.newest = None;
        None
    }

    fn read(&self, offset: Offset) -> Result<Producers, String> {
        let content = read_file(&*self.fs, &self.path(offset)).map_err(|e| e.to_string())?;
        let content = content.ok_or("it is gone")?;
        snapshot::decode(content, offset).map_err(str::to_owned)
    }

    /// Removes those that speak of more than a log holds that ends at `end`, with a last segment at `base`. `true` if
    /// there may be fewer files now: the directory is to be synced before more is appended.
    pub(crate) fn truncate(
        &mut self,
        base: Option<Offset>,
        end: Offset,
    ) -> Result<bool, StorageError> {
        let mut removed = self.offsets.split_off(&end.next());
        removed.append(&mut self.obsolete);
        removed.iter().try_for_each(|offset| remove_file(&*self.fs, &self.path(*offset)))?;
        self.offsets.retain(|offset| !removed.contains(offset));
        self.passing = self.offsets.last().copied().filter(|last| Some(*last) > base);
        self.unsynced = self.unsynced.take().filter(|_| removed.is_empty());
        Ok(!removed.is_empty())
    }

    /// Removes them all.
    pub(super) fn clear(&mut self) -> Result<(), StorageError> {
        self.obsolete.append(&mut self.offsets);
        (self.newest, self.passing, self.unsynced, self.behind) = (None, None, None, 0);
        let removed = std::mem::take(&mut self.obsolete);
        removed.iter().try_for_each(|offset| remove_file(&*self.fs, &self.path(*offset)))
    }

    /// Removes those that nobody would begin with: unreadable, at or below the log's start, neither at the base of a
    /// segment nor behind all of them.
    pub(super) fn tidy(&mut self, segments: &[Arc<Segment>]) {
        let bases = segments.iter().map(|segment| segment.base()).collect::<BTreeSet<_>>();
        let last = self.offsets.last().copied();
        self.passing = last.filter(|last| Some(last) > bases.last());
        let is_of_use = |offset: &Offset| {
            Some(offset) > bases.first()
                && (bases.contains(offset) || Some(*offset) == self.passing)
        };
        let (kept, rest): (BTreeSet<_>, BTreeSet<_>) =
            self.offsets.iter().partition(|offset| is_of_use(offset));
        self.offsets = kept;
        self.obsolete.extend(rest);
        self.remove_obsolete();
    }

    /// Takes note of bytes of log that the newest snapshot does not know of.
    pub(crate) fn note(&mut self, bytes: u64) {
        self.behind = self.behind.saturating_add(bytes);
    }

    /// Whether a snapshot should be taken before the flush point moves on.
    pub(crate) fn is_due(&self) -> bool {
        self.behind > INTERVAL_BYTES
    }

    /// Writes what is known at `end`, the end of a log whose last segment begins at `base`, unless there is a snapshot of
    /// it. `true` if there is a new file, which the next sync is to cover. One that cannot be written costs a longer
    /// walk.
    pub(crate) fn take(&mut self, base: Offset, end: Offset, producers: &Producers) -> bool {
        if self.newest >= Some(end) {
            self.passing = self.passing.filter(|passing| *passing > base);
            return false;
        }
        let path = self.path(end);
        let write = || {
            let file = self.fs.open(&path, OpenFile::Write)?;
            file.set_len(0)?;
            file.write(0, &[producers.encode()])?;
            Ok(file)
        };
        match write().map_err(StorageError::io("write", &path)) {
            Ok(file) => {
                self.offsets.insert(end);
                self.newest = Some(end);
                self.obsolete.extend(self.passing.take());
                // There may have been one of this name that could not be read.
                self.obsolete.remove(&end);
                self.passing = Some(end).filter(|end| *end > base);
                (self.unsynced, self.behind) = (Some(UnsyncedSnapshot { path, file }), 0);
                true
            }
            Err(error) => {
                log::warn!("a snapshot was not saved: {error}");
                false
            }
        }
    }

    /// The one that the next sync is to cover.
    pub(crate) fn take_unsynced(&mut self) -> Option<UnsyncedSnapshot> {
        self.unsynced.take()
    }

    /// A sync has covered the one that was unsynced before: those whose place it took can go, unless there is another
    /// by now.
    pub(crate) fn synced(&mut self) {
        if self.unsynced.is_none() {
            self.remove_obsolete();
        }
    }

    /// One that cannot be removed does no harm.
    fn remove_obsolete(&mut self) {
        for offset in std::mem::take(&mut self.obsolete) {
            self.offsets.remove(&offset);
            if let Err(error) = remove_file(&*self.fs, &self.path(offset)) {
                log::warn!("an old snapshot is left: {error}");
            }
        }
    }
}
