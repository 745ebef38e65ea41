//! Bytes that are about to be cut from a log, kept aside (A24).
//!
//! # On disk
//! `<offset>-<crc>.quarantine` in the partition's directory, by the offset at which they would have gone on and the
//! CRC-32 (IEEE) of the bytes: a sealed text of our own (`version=1`, `file=` the file they were in, `position=` in it,
//! `length=` how many were to be cut there, `time=` in milliseconds), then the bytes. Zeros at their end are left out;
//! nothing but zeros makes no file. What is beyond the bound of a store is left out too.
//!
//! # Invariants
//! - The file is durable before the bytes are cut. The same bytes have the same name: who recovers again after a crash
//!   finds it there.
//! - Nobody reads the bytes but people.
//!
//! # Locks
//! `kept` is held across file calls. No reader and no append takes it.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::base::{Offset, Timestamp, TopicPartition};
use crate::env::sync::Mutex;
use crate::env::{EntryKind, FileSystem, OpenFile};
use crate::storage::segment::{Segment, length, remove_file};
use crate::storage::{StorageError, names, seal, unseal};

/// Bytes copied at a time.
const CHUNK: u64 = 1 << 20;

/// The text in front of the bytes is shorter.
const MAX_TEXT: usize = 512;

/// What a store keeps aside, in the directories of its partitions.
#[derive(Debug)]
pub(crate) struct Quarantine {
    fs: Arc<dyn FileSystem>,
    root: Arc<Path>,
    /// Bytes of files that are kept. The oldest go first.
    max_bytes: u64,
    /// `None` until something is to be kept: after a clean shutdown nobody needs to look.
    kept: Mutex<Option<BTreeSet<Kept>>>,
    dropped_bytes: AtomicU64,
}

/// A file, in the order in which they go: one whose text is damaged first.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Kept {
    time: Option<i64>,
    path: PathBuf,
    size: u64,
}

impl Quarantine {
    pub(crate) fn new(fs: Arc<dyn FileSystem>, root: Arc<Path>, max_bytes: u64) -> Self {
        Self { fs, root, max_bytes, kept: Mutex::default(), dropped_bytes: AtomicU64::new(0) }
    }

    /// Bytes of older files that were removed to make room.
    pub(crate) fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes.load(Ordering::Relaxed)
    }

    /// Copies the bytes of `segment` at `range`, where the batch at `offset` would be, and makes the copy durable.
    /// Returns how many bytes are kept; on a full disk none: that a log can be used is worth more.
    pub(super) fn set_aside(
        &self,
        segment: &Segment,
        range: Range<u64>,
        offset: Offset,
        now: Timestamp,
    ) -> Result<u64, StorageError> {
        let most = self.max_bytes.saturating_sub(length(MAX_TEXT));
        let end = range.end.min(range.start.saturating_add(most));
        let (used, crc) = without_zeros(segment, range.start..end)?;
        if used == range.start {
            return Ok(0);
        }
        // The zeros too: `length` tells of them.
        let bytes = end - range.start;
        let path =
            segment.dir().join(format!("{:020}-{crc:08x}{}", offset.value(), names::QUARANTINE));
        let mut kept = self.kept.lock();
        let kept = match &mut *kept {
            Some(kept) => kept,
            unknown => unknown.insert(self.find()?),
        };
        if kept.iter().any(|kept| kept.path == path) {
            // Its name may not be durable yet.
            self.sync_dir(segment.dir())?;
            return Ok(bytes);
        }
        let text = seal(&format!(
            "version=1\nfile={}\nposition={}\nlength={}\ntime={}\n",
            names::segment_file(segment.base(), names::LOG),
            range.start,
            range.end - range.start,
            now.as_millis()
        ));
        let size = length(text.len()) + used - range.start;
        self.make_room(kept, size)?;
        let temporary = path.with_extension("quarantine.tmp");
        let keep = || {
            copy(segment, range.start..used, text.into(), &temporary)?;
            self.fs.rename(&temporary, &path).map_err(StorageError::io("rename", &temporary))?;
            self.sync_dir(segment.dir())
        };
        match keep() {
            Err(error) if error.is_full() => {
                log::warn!("bytes that are cut are not kept: {error}");
                remove_file(&*self.fs, &temporary)?;
                return Ok(0);
            }
            result => result?,
        }
        log::warn!(
            "{bytes} bytes of {} are kept in {}",
            segment.path(names::LOG).display(),
            path.display()
        );
        kept.insert(Kept { time: Some(now.as_millis()), path, size });
        Ok(bytes)
    }

    /// Removes the oldest files until `size` bytes more are within the bound.
    fn make_room(&self, kept: &mut BTreeSet<Kept>, size: u64) -> Result<(), StorageError> {
        let mut total = kept.iter().map(|kept| kept.size).sum::<u64>();
        while total.saturating_add(size) > self.max_bytes {
            let Some(oldest) = kept.pop_first() else { return Ok(()) };
            total -= oldest.size;
            match self.fs.remove_file(&oldest.path) {
                Ok(()) => {
                    let (path, most) = (oldest.path.display(), self.max_bytes);
                    log::warn!("removed {path}: a store keeps {most} bytes aside at most");
                    self.dropped_bytes.fetch_add(oldest.size, Ordering::Relaxed);
                }
                // It went with its topic.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(StorageError::io("remove", &oldest.path)(e)),
            }
        }
        Ok(())
    }

    /// What is there.
    fn find(&self) -> Result<BTreeSet<Kept>, StorageError> {
        let list = |dir: &Path| self.fs.list(dir).map_err(StorageError::io("list", dir));
        let mut found = BTreeSet::new();
        for entry in list(&self.root)? {
            let is_partition = TopicPartition::parse_directory_name(&entry.name).is_some();
            if entry.kind != EntryKind::Directory || !is_partition {
                continue;
            }
            let dir = self.root.join(entry.name);
            for entry in list(&dir)? {
                if entry.kind == EntryKind::File && entry.name.ends_with(names::QUARANTINE) {
                    let path = dir.join(entry.name);
                    let look = || {
                        let file = self.fs.open(&path, OpenFile::Read)?;
                        let size = file.len()?;
                        let text = usize::try_from(size).unwrap_or(MAX_TEXT).min(MAX_TEXT);
                        Ok((time(&file.read(0, text)?), size))
                    };
                    let (time, size) = look().map_err(StorageError::io("read", &path))?;
                    found.insert(Kept { time, path, size });
                }
            }
        }
        Ok(found)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), StorageError> {
        self.fs.sync_dir(dir).map_err(StorageError::io("sync", dir))
    }
}

/// Where the bytes in `range` end without the zeros behind them, and their checksum up to there.
fn without_zeros(segment: &Segment, range: Range<u64>) -> Result<(u64, u32), StorageError> {
    let mut found = (range.start, 0);
    let mut hasher = crc32fast::Hasher::new();
    for_each_chunk(segment, range, |at, chunk| {
        if let Some(last) = chunk.iter().rposition(|byte| *byte != 0) {
            let mut upto = hasher.clone();
            upto.update(chunk.get(..=last).unwrap_or_default());
            found = (at + length(last) + 1, upto.finalize());
        }
        hasher.update(&chunk);
        Ok(())
    })?;
    Ok(found)
}

/// Writes `text` and the bytes in `range` to the file at `to`, and syncs it.
fn copy(segment: &Segment, range: Range<u64>, text: Bytes, to: &Path) -> Result<(), StorageError> {
    let file =
        segment.file_system().open(to, OpenFile::Write).map_err(StorageError::io("create", to))?;
    file.set_len(0).map_err(StorageError::io("write", to))?;
    let (start, shift) = (range.start, length(text.len()));
    file.write(0, &[text]).map_err(StorageError::io("write", to))?;
    for_each_chunk(segment, range, |at, chunk| {
        // Not a slice of a map: one page of the file must not be read while another is written.
        let chunk = Bytes::copy_from_slice(&chunk);
        file.write(shift + at - start, &[chunk]).map_err(StorageError::io("write", to))
    })?;
    file.sync().map_err(StorageError::io("sync", to))
}

/// Reads the bytes in `range` piece by piece.
pub(super) fn for_each_chunk(
    segment: &Segment,
    range: Range<u64>,
    mut look: impl FnMut(u64, Bytes) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let mut position = range.start;
    while position < range.end {
        let wanted = usize::try_from(CHUNK.min(range.end - position)).unwrap_or(usize::MAX);
        let chunk = segment.read(position, wanted)?;
        let read = length(chunk.len());
        look(position, chunk)?;
        position += read;
    }
    Ok(())
}

/// When the bytes were kept, by the beginning of a file. `None` if its text is damaged.
fn time(start: &[u8]) -> Option<i64> {
    let checksum = start.windows(6).position(|window| window == b"crc32=")?;
    let text = unseal(start.get(..checksum + 15)?)?;
    text.lines().find_map(|line| line.strip_prefix("time="))?.parse().ok()
}
