//! One segment: a run of batches in a `.log` file, and its indexes.
//!
//! # Invariants
//! - `size` counts published bytes: all of them are in the file, and none below it changes any more. It is stored
//!   after the bytes were written (D1), and readers ask for nothing beyond it.
//! - The active segment's index is always in memory. A sealed one's is read when it is first needed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::base::{Offset, Timestamp};
use crate::env::sync::RwLock;
use crate::env::{File, FileSystem, OpenFile};
use crate::env::read_file;
use crate::record::{BatchHeader, Frame, HEADER_LENGTH};
use crate::storage::StorageError;
use crate::storage::index::SegmentIndex;
use crate::storage::names;

/// A position in a `.log` file that no batch of the segment can be beyond: files are below 2 GiB.
pub(super) const MAX_SEGMENT_BYTES: u32 = i32::MAX.unsigned_abs();

/// A run of batches, from the one at `base` on.
#[derive(Debug)]
pub(super) struct Segment {
    base: Offset,
    fs: Arc<dyn FileSystem>,
    dir: Arc<Path>,
    log: Arc<dyn File>,
    size: AtomicU64,
    index: RwLock<Indexed>,
}

/// The index, and how much of it is in its files.
#[derive(Debug, Default)]
struct Indexed {
    index: Option<SegmentIndex>,
    saved: (usize, usize),
}

impl Segment {
    /// Creates the files of a new, empty segment. Leftovers of the same name are overwritten.
    pub(super) fn create(fs: &Arc<dyn FileSystem>, dir: &Arc<Path>, base: Offset) -> Result<Self, StorageError> {
        for suffix in names::SEGMENT_SUFFIXES {
            let path = dir.join(names::segment_file(base, suffix));
            match fs.remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StorageError::io("remove", &path)(e));
                }
                _ => {}
            }
        }
        let path = dir.join(names::segment_file(base, names::LOG));
        let log = fs.open(&path, OpenFile::CreateMapped).map_err(StorageError::io("create", &path))?;
        Ok(Self::new(fs, dir, base, log, 0, Some(SegmentIndex::new(base))))
    }

    /// Opens the files of a segment that exists. Reads nothing but the length.
    pub(super) fn open(fs: &Arc<dyn FileSystem>, dir: &Arc<Path>, base: Offset) -> Result<Self, StorageError> {
        let path = dir.join(names::segment_file(base, names::LOG));
        let log = fs.open(&path, OpenFile::WriteMapped).map_err(StorageError::io("open", &path))?;
        let size = log.len().map_err(StorageError::io("measure", &path))?;
        if size > u64::from(MAX_SEGMENT_BYTES) {
            return Err(StorageError::damaged(&path, "it is larger than 2 GiB"));
        }
        Ok(Self::new(fs, dir, base, log, size, None))
    }

    fn new(
        fs: &Arc<dyn FileSystem>,
        dir: &Arc<Path>,
        base: Offset,
        log: Arc<dyn File>,
        size: u64,
        index: Option<SegmentIndex>,
    ) -> Self {
        let index = RwLock::new(Indexed { index, saved: (0, 0) });
        Self { base, fs: Arc::clone(fs), dir: Arc::clone(dir), log, size: AtomicU64::new(size), index }
    }

    pub(super) fn base(&self) -> Offset {
        self.base
    }

    /// Published bytes.
    pub(super) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub(super) fn path(&self, suffix: &str) -> PathBuf {
        self.dir.join(names::segment_file(self.base, suffix))
    }

    /// Writes batches behind the published ones, without publishing them. After an error the file may hold a part
    /// of them: see [`Segment::cut_back`].
    pub(super) fn write(&self, batches: &[Bytes]) -> Result<(), StorageError> {
        let result = self.log.write(self.size(), batches);
        result.map_err(StorageError::io("write to", &self.path(names::LOG)))
    }

    /// Removes what an unsuccessful [`Segment::write`] left behind the published bytes.
    pub(super) fn cut_back(&self) -> Result<(), StorageError> {
        let path = self.path(names::LOG);
        self.log.set_len(self.size()).map_err(StorageError::io("cut", &path))?;
        self.log.sync().map_err(StorageError::io("sync", &path))
    }

    /// Publishes one batch that was written at the published end.
    pub(super) fn publish(&self, batch: &BatchHeader, interval: u32) -> bool {
        let size = self.size.load(Ordering::Relaxed);
        let position = u32::try_from(size).unwrap_or(u32::MAX);
        let mut indexed = self.index.write();
        let fits = indexed.index.as_mut().is_some_and(|index| index.observe(batch, position, interval));
        drop(indexed);
        self.size.store(size.saturating_add(length(batch.size())), Ordering::Release);
        fits
    }

    /// Cuts the file to `size`, durably. Only bytes that nobody has been shown may go.
    pub(super) fn truncate(&self, size: u64) -> Result<(), StorageError> {
        self.size.store(size, Ordering::Release);
        self.cut_back()
    }

    /// The `length` published bytes at `position`.
    pub(super) fn read(&self, position: u64, length: usize) -> Result<Bytes, StorageError> {
        let read = || self.log.read(position, length);
        // One more try: some devices report an error once.
        let result = read().or_else(|_| read());
        result.map_err(StorageError::io("read", &self.path(names::LOG)))
    }

    /// Writes bytes that are there already once more, so that a later sync covers them.
    pub(super) fn rewrite(&self, from: u64) -> Result<(), StorageError> {
        const CHUNK: u64 = 1 << 20;
        let (mut position, end) = (from, self.size());
        while position < end {
            let length = usize::try_from(CHUNK.min(end - position)).unwrap_or(usize::MAX);
            let chunk = Bytes::copy_from_slice(&self.read(position, length)?);
            position += self::length(chunk.len());
            let result = self.log.write(position - self::length(chunk.len()), &[chunk]);
            result.map_err(StorageError::io("rewrite", &self.path(names::LOG)))?;
        }
        Ok(())
    }

    /// Forces the log file's bytes and length to the disk.
    pub(super) fn sync_log(&self) -> Result<(), StorageError> {
        self.log.sync().map_err(StorageError::io("sync", &self.path(names::LOG)))
    }

    /// Whether the offset of `batch` cannot be told relative to this segment's base.
    pub(super) fn is_out_of_reach(&self, last_offset: Offset) -> bool {
        last_offset.distance_from(self.base).is_none_or(|d| d > u64::from(MAX_SEGMENT_BYTES))
    }

    /// Whether an index file would exceed `max_bytes` with one more entry.
    pub(super) fn is_index_full(&self, max_bytes: u32) -> bool {
        self.index.read().index.as_ref().is_some_and(|index| index.is_full(max_bytes))
    }

    /// The header at `position` and the batch's size, `None` if no whole batch begins there.
    pub(super) fn header_at(&self, position: u64) -> Result<Option<BatchHeader>, StorageError> {
        let remaining = self.size().saturating_sub(position);
        if remaining < length(HEADER_LENGTH) {
            return Ok(None);
        }
        let bytes = self.read(position, HEADER_LENGTH)?;
        let whole = matches!(Frame::peek(&bytes, remaining), Frame::Complete(_));
        Ok(BatchHeader::parse(&bytes).ok().filter(|_| whole))
    }

    /// Where to begin looking for `offset`: the position of a batch at or before it. An index entry is believed only
    /// if the batch that it points to has its offset.
    pub(super) fn position_before(&self, offset: Offset) -> Result<u64, StorageError> {
        let Some((entry_offset, entry)) = self.with_index(|index| index.lookup(offset))? else { return Ok(0) };
        let position = u64::from(entry.position);
        match self.header_at(position)? {
            Some(header) if header.last_offset() == entry_offset => Ok(position),
            _ => {
                log::warn!("{} does not fit its log: not used", self.path(names::OFFSET_INDEX).display());
                Ok(0)
            }
        }
    }

    /// An offset at or before the first batch with a timestamp of at least `timestamp`.
    pub(super) fn offset_before_time(&self, timestamp: Timestamp) -> Result<Offset, StorageError> {
        self.with_index(|index| index.lookup_time(timestamp))
    }

    /// The largest timestamp of any record in the segment.
    pub(super) fn largest_timestamp(&self) -> Result<Option<Timestamp>, StorageError> {
        self.with_index(SegmentIndex::largest_timestamp)
    }

    /// Reads the index if it is not in memory yet, and looks at it.
    pub(super) fn with_index<T>(&self, look: impl FnOnce(&SegmentIndex) -> T) -> Result<T, StorageError> {
        if let Some(index) = &self.index.read().index {
            return Ok(look(index));
        }
        let loaded = self.load_index()?;
        let mut indexed = self.index.write();
        if indexed.index.is_none() {
            indexed.saved = loaded.counts();
        }
        Ok(look(indexed.index.get_or_insert(loaded)))
    }

    /// The index in the files, rebuilt from the log if they are missing or unusable.
    fn load_index(&self) -> Result<SegmentIndex, StorageError> {
        if let Some(index) = self.saved_index()? {
            return Ok(index);
        }
        log::warn!("rebuilding the indexes of {}", self.path(names::LOG).display());
        // Kafka's default interval: how dense the entries were meant to be is not known here.
        let mut index = self.walk(4096)?;
        index.seal();
        Ok(index)
    }

    /// The index that the batches in the log lead to.
    fn walk(&self, interval: u32) -> Result<SegmentIndex, StorageError> {
        let mut index = SegmentIndex::new(self.base);
        let mut position = 0;
        while let Some(header) = self.header_at(position)? {
            if !index.observe(&header, u32::try_from(position).unwrap_or(u32::MAX), interval) {
                break;
            }
            position += length(header.size());
        }
        Ok(index)
    }

    /// Makes a new index from the log, of which nothing is in the files yet.
    pub(super) fn rebuild_index(&self, interval: u32) -> Result<(), StorageError> {
        let index = self.walk(interval)?;
        self.set_index(index, (0, 0));
        Ok(())
    }

    /// The index in the files, if both are there and usable.
    pub(super) fn saved_index(&self) -> Result<Option<SegmentIndex>, StorageError> {
        let read = |suffix| {
            let path = self.path(suffix);
            read_file(&*self.fs, &path).map_err(StorageError::io("read", &path))
        };
        let (Some(offsets), Some(times)) = (read(names::OFFSET_INDEX)?, read(names::TIME_INDEX)?) else {
            return Ok(None);
        };
        Ok(SegmentIndex::decode(self.base, offsets, times, self.size()))
    }

    /// Takes `index` as the segment's; `saved` tells how many of its entries are in the files as they are.
    pub(super) fn set_index(&self, index: SegmentIndex, saved: (usize, usize)) {
        *self.index.write() = Indexed { index: Some(index), saved };
    }

    /// Adds the closing entry to the time index: no batch will follow, for now.
    pub(super) fn seal(&self) {
        if let Some(index) = &mut self.index.write().index {
            index.seal();
        }
    }

    /// Writes index entries that are not in the files yet; `sync` forces them to the disk.
    pub(super) fn save_index(&self, sync: bool) -> Result<(), StorageError> {
        let mut indexed = self.index.write();
        let (saved_offsets, saved_times) = indexed.saved;
        let Some(index) = &indexed.index else { return Ok(()) };
        let counts = index.counts();
        let files = [
            (names::OFFSET_INDEX, saved_offsets * 8, index.offset_bytes(saved_offsets)),
            (names::TIME_INDEX, saved_times * 12, index.time_bytes(saved_times)),
        ];
        for (suffix, position, bytes) in files {
            let path = self.path(suffix);
            let save = || {
                let file = self.fs.open(&path, OpenFile::Write)?;
                let position = length(position);
                file.write(position, std::slice::from_ref(&bytes))?;
                let end = position + length(bytes.len());
                if file.len()? != end {
                    file.set_len(end)?;
                }
                if sync { file.sync() } else { Ok(()) }
            };
            save().map_err(StorageError::io("write", &path))?;
        }
        indexed.saved = counts;
        Ok(())
    }
}

/// A length in memory as a length in a file.
pub(super) fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
