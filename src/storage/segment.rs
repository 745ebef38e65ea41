//! One segment: a run of batches in a `.log` file, and its indexes.
//!
//! # Invariants
//! - `size` counts published bytes: all of them are in the file, and none below it changes any more. It is stored
//!   after the bytes were written (D1), and readers ask for nothing beyond it.
//! - The active segment's index is always in memory. A sealed one's is read when it is first needed.
//! - In the files, the time index is never behind the offset index: it is written and synced first. So whatever a
//!   crash leaves of them, they are no use at all, or as far as the last offset entry goes.
//!
//! # Locks
//! `saved` before `index`; `digest` is a leaf. Files are written and synced under `saved` alone: neither readers nor appends wait.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;

use crate::base::{Bug, Offset, is_planted};
use crate::env::read_file;
use crate::env::sync::{Mutex, RwLock};
use crate::env::{File, FileSystem, OpenFile};
use crate::record::{BatchHeader, Frame, HEADER_LENGTH};
use crate::storage::digest::Digest;
use crate::storage::index::{EntryCounts, SegmentIndex};
use crate::storage::names;
use crate::storage::txn_index::TransactionIndex;
use crate::storage::{Layout, StorageError};

/// A position in a `.log` file that no batch of the segment can be beyond: files are below 2 GiB.
pub(super) const MAX_SEGMENT_BYTES: u32 = i32::MAX.unsigned_abs();

/// A run of batches, from the one at `base` on.
#[derive(Debug)]
pub(super) struct Segment {
    base: Offset,
    layout: Layout,
    fs: Arc<dyn FileSystem>,
    dir: Arc<Path>,
    log: Arc<dyn File>,
    size: AtomicU64,
    /// `None` until it is needed.
    index: RwLock<Option<SegmentIndex>>,
    /// How many of the index's entries its files begin with. `None` if the files are missing or of no use.
    saved: Mutex<Option<EntryCounts>>,
    transactions: TransactionIndex,
    /// What the digest file says.
    digest: Mutex<Option<Digest>>,
    /// The file is the one that the digest speaks of.
    is_own: AtomicBool,
    /// Size at open.
    opened: u64,
}

/// An index as far as it is known, and where to go on.
#[derive(Debug)]
pub(super) struct Resumed {
    pub(super) index: SegmentIndex,
    /// Position and base offset of the first batch that is to be observed.
    pub(super) position: u64,
    pub(super) offset: Offset,
}

impl Segment {
    /// Creates the files of a new, empty segment. Leftovers of the same name are overwritten.
    pub(super) fn create(
        fs: &Arc<dyn FileSystem>,
        dir: &Arc<Path>,
        base: Offset,
        layout: Layout,
    ) -> Result<Self, StorageError> {
        remove_files(&**fs, dir, base)?;
        let path = dir.join(names::segment_file(base, names::LOG));
        let log =
            fs.open(&path, OpenFile::CreateMapped).map_err(StorageError::io("create", &path))?;
        let segment = Self::new(fs, dir, base, layout, log, 0);
        segment.set_index(SegmentIndex::new(base), None);
        Ok(segment)
    }

    /// Opens the files of a segment that exists. Reads nothing but the length.
    pub(super) fn open(
        fs: &Arc<dyn FileSystem>,
        dir: &Arc<Path>,
        base: Offset,
        layout: Layout,
    ) -> Result<Self, StorageError> {
        let path = dir.join(names::segment_file(base, names::LOG));
        let log = fs.open(&path, OpenFile::WriteMapped).map_err(StorageError::io("open", &path))?;
        let size = log.len().map_err(StorageError::io("measure", &path))?;
        if size > u64::from(MAX_SEGMENT_BYTES) {
            return Err(StorageError::damaged(&path, "it is larger than 2 GiB"));
        }
        Ok(Self::new(fs, dir, base, layout, log, size))
    }

    fn new(
        fs: &Arc<dyn FileSystem>,
        dir: &Arc<Path>,
        base: Offset,
        layout: Layout,
        log: Arc<dyn File>,
        size: u64,
    ) -> Self {
        Self {
            base,
            layout,
            fs: Arc::clone(fs),
            dir: Arc::clone(dir),
            log,
            size: AtomicU64::new(size),
            index: RwLock::default(),
            saved: Mutex::default(),
            transactions: TransactionIndex::default(),
            digest: Mutex::default(),
            is_own: AtomicBool::new(false),
            opened: size,
        }
    }

    /// Removes the segment's files.
    pub(super) fn remove(&self) -> Result<(), StorageError> {
        remove_files(&*self.fs, &self.dir, self.base)
    }

    pub(super) fn base(&self) -> Offset {
        self.base
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn file_system(&self) -> &dyn FileSystem {
        &*self.fs
    }

    /// What is known of its first bytes.
    pub(super) fn digest(&self) -> Option<Digest> {
        *self.digest.lock()
    }

    pub(super) fn set_digest(&self, digest: Option<Digest>) {
        *self.digest.lock() = digest;
    }

    /// Whether anything was appended since it was opened.
    pub(super) fn was_written(&self) -> bool {
        self.size() > self.opened
    }

    /// Before its first use for reading: an error if the file was replaced by another.
    pub(super) fn check_is_own(&self) -> Result<(), StorageError> {
        if self.is_own.load(Ordering::Relaxed) {
            return Ok(());
        }
        if let Some(digest) = self.digest()
            && !digest.is_of(self)?
        {
            return Err(StorageError::damaged(
                &self.path(names::LOG),
                "it was replaced by another",
            ));
        }
        self.is_own.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The transactions that markers of this segment have aborted. Set when the log was opened.
    pub(super) fn transactions(&self) -> &TransactionIndex {
        &self.transactions
    }

    /// With this transaction index, which is saved.
    pub(super) fn with_transactions(mut self, transactions: TransactionIndex) -> Self {
        self.transactions = transactions;
        self
    }

    /// Makes the transaction index durable.
    pub(super) fn save_transactions(&self) -> Result<(), StorageError> {
        let name = names::segment_file(self.base, names::TXN_INDEX);
        self.transactions.save(&*self.fs, &self.dir, &name)
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
        if is_planted(Bug::CutNotSynced) {
            return Ok(());
        }
        self.log.sync().map_err(StorageError::io("sync", &path))
    }

    /// Publishes one batch that was written at the published end. `false`, and nothing happened, if the index is not
    /// in memory or cannot hold the batch's offset.
    #[must_use]
    pub(super) fn publish(&self, batch: &BatchHeader) -> bool {
        // Under the lock, so that who finds an entry finds its batch published.
        let mut index = self.index.write();
        let size = self.size.load(Ordering::Relaxed);
        let Ok(position) = u32::try_from(size) else { return false };
        let fits = index
            .as_mut()
            .is_some_and(|index| index.observe(batch, position, self.layout.interval));
        if fits {
            self.size.store(size.saturating_add(length(batch.size())), Ordering::Release);
        }
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

    /// Whether an index file would exceed `max_bytes` with one more entry.
    pub(super) fn is_index_full(&self, max_bytes: u32) -> bool {
        self.index.read().as_ref().is_some_and(|index| index.is_full(max_bytes))
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
    /// if the batch that it points to has its offset; otherwise the index is made anew.
    pub(super) fn position_before(&self, offset: Offset) -> Result<u64, StorageError> {
        if let Some(position) = self.indexed_position(offset)? {
            return Ok(position);
        }
        log::warn!("{} does not fit its log", self.path(names::OFFSET_INDEX).display());
        self.rebuild_index()?;
        // Still not: it is the log that is damaged. Who walks there from the beginning will find out where.
        Ok(self.indexed_position(offset)?.unwrap_or(0))
    }

    /// `None` if the index points to where no batch with that offset is.
    fn indexed_position(&self, offset: Offset) -> Result<Option<u64>, StorageError> {
        let Some((entry_offset, entry)) = self.with_index(|index| index.lookup(offset))? else {
            return Ok(Some(0));
        };
        let position = u64::from(entry.position);
        let header = self.header_at(position)?;
        let believed = is_planted(Bug::IndexBelieved);
        Ok(header.filter(|h| believed || h.last_offset() == entry_offset).map(|_| position))
    }

    /// Looks at the index, which is read first if it is not in memory.
    pub(super) fn with_index<T>(
        &self,
        look: impl FnOnce(&SegmentIndex) -> T,
    ) -> Result<T, StorageError> {
        if let Some(index) = &*self.index.read() {
            return Ok(look(index));
        }
        let mut saved = self.saved.lock();
        if let Some(index) = &*self.index.read() {
            return Ok(look(index));
        }
        let on_disk = self.saved_index()?;
        if on_disk.is_none() {
            log::warn!("making the indexes of {} anew", self.path(names::LOG).display());
        }
        let mut found = self.resume(on_disk.clone(), Offset::MAX)?;
        self.walk(&mut found)?;
        found.index.seal();
        *saved = on_disk.and_then(|on_disk| found.index.saved_in(&on_disk));
        let result = look(&found.index);
        *self.index.write() = Some(found.index);
        Ok(result)
    }

    /// The index in the files, if both are there and usable. It may lack entries at the end.
    pub(super) fn saved_index(&self) -> Result<Option<SegmentIndex>, StorageError> {
        let read = |suffix| {
            let path = self.path(suffix);
            read_file(&*self.fs, &path).map_err(StorageError::io("read", &path))
        };
        let (Some(offsets), Some(times)) = (read(names::OFFSET_INDEX)?, read(names::TIME_INDEX)?)
        else {
            return Ok(None);
        };
        Ok(SegmentIndex::decode(self.base, offsets, times, self.size()))
    }

    /// What `saved` tells of batches that end before `before`, if the last of them is where it says.
    pub(super) fn resume(
        &self,
        saved: Option<SegmentIndex>,
        before: Offset,
    ) -> Result<Resumed, StorageError> {
        if let Some(mut index) = saved
            && let Some((offset, entry)) = index.rewind(before)
        {
            let position = u64::from(entry.position);
            let header = self.header_at(position)?.filter(|header| header.last_offset() == offset);
            if let Some(header) = header.filter(|header| index.agrees_with(header)) {
                return Ok(Resumed { index, position, offset: header.base_offset() });
            }
            log::warn!("{} does not fit its log", self.path(names::OFFSET_INDEX).display());
        }
        Ok(Resumed { index: SegmentIndex::new(self.base), position: 0, offset: self.base })
    }

    /// Goes on from header to header, up to the end or to bytes that are none.
    fn walk(&self, resumed: &mut Resumed) -> Result<(), StorageError> {
        while let Some(header) = self.header_at(resumed.position)? {
            let position = u32::try_from(resumed.position).unwrap_or(u32::MAX);
            let follows = self.layout.follows(header.base_offset(), resumed.offset);
            if !follows || !resumed.index.observe(&header, position, self.layout.interval) {
                break;
            }
            resumed.position += length(header.size());
            resumed.offset = header.next_offset();
        }
        Ok(())
    }

    /// Position and offset behind the last batch, as far as headers tell.
    pub(super) fn end(&self) -> Result<(u64, Offset), StorageError> {
        let mut position = self.position_before(Offset::MAX)?;
        let mut end = (position == 0).then_some(self.base);
        while let Some(header) = self.header_at(position)? {
            if end.is_some_and(|end| !self.layout.follows(header.base_offset(), end)) {
                break;
            }
            end = Some(header.next_offset());
            position += length(header.size());
        }
        Ok((position, end.unwrap_or(self.base)))
    }

    /// Makes the index from the log alone, unless the log is damaged, and the old one is the better one.
    pub(super) fn rebuild_index(&self) -> Result<(), StorageError> {
        let mut saved = self.saved.lock();
        // Held during the walk: a batch that was published meanwhile would be missing.
        let mut index = self.index.write();
        let mut rebuilt = self.resume(None, Offset::MAX)?;
        self.walk(&mut rebuilt)?;
        if rebuilt.position == self.size() {
            (*index, *saved) = (Some(rebuilt.index), None);
        }
        Ok(())
    }

    /// Takes `index` as the segment's, of which `saved` entries are in the files as they are.
    pub(super) fn set_index(&self, index: SegmentIndex, saved: Option<EntryCounts>) {
        let mut held = self.saved.lock();
        *self.index.write() = Some(index);
        *held = saved;
    }

    /// Adds the closing entry to the time index, if it is in memory: no batch will follow.
    pub(super) fn seal(&self) {
        if let Some(index) = &mut *self.index.write() {
            index.seal();
        }
    }

    /// Makes the segment the active one: its index is in memory, and open at the end.
    pub(super) fn unseal(&self) -> Result<(), StorageError> {
        self.with_index(|_| ())?;
        let mut saved = self.saved.lock();
        if let Some(index) = &mut *self.index.write() {
            index.unseal();
            let times = index.counts().times;
            *saved = saved.map(|saved| EntryCounts { times: saved.times.min(times), ..saved });
        }
        Ok(())
    }

    /// Whether recovery would have to read more than `bytes` of what the index in its files does not cover.
    pub(super) fn is_index_behind(&self, bytes: u64) -> bool {
        let saved = self.saved.lock().unwrap_or_default();
        let index = self.index.read();
        let Some(index) = &*index else { return false };
        let covered = u64::from(index.last_position(saved.offsets));
        index.counts().offsets > saved.offsets && self.size().saturating_sub(covered) > bytes
    }

    /// Writes index entries that are not in the files yet, and syncs the files.
    pub(super) fn save_index(&self) -> Result<(), StorageError> {
        let mut saved = self.saved.lock();
        let from = saved.unwrap_or_default();
        let (counts, offsets, times) = match &*self.index.read() {
            Some(index) if *saved != Some(index.counts()) => {
                (index.counts(), index.offset_bytes(from.offsets), index.time_bytes(from.times))
            }
            _ => return Ok(()),
        };
        // Until all is done, the files are of no use.
        if saved.take().is_none() {
            self.empty_offset_index()?;
        }
        self.write_index_file(names::TIME_INDEX, from.times_length(), times)?;
        self.write_index_file(names::OFFSET_INDEX, from.offsets_length(), offsets)?;
        *saved = Some(counts);
        Ok(())
    }

    /// Old entries must not be found together with a new time index.
    fn empty_offset_index(&self) -> Result<(), StorageError> {
        let path = self.path(names::OFFSET_INDEX);
        let old = read_file(&*self.fs, &path).map_err(StorageError::io("read", &path))?;
        match old {
            Some(old) if !old.is_empty() => {
                self.write_index_file(names::OFFSET_INDEX, 0, Bytes::new())
            }
            _ => Ok(()),
        }
    }

    fn write_index_file(
        &self,
        suffix: &str,
        position: usize,
        bytes: Bytes,
    ) -> Result<(), StorageError> {
        let path = self.path(suffix);
        let write = || {
            let file = self.fs.open(&path, OpenFile::Write)?;
            let end = length(position) + length(bytes.len());
            file.write(length(position), &[bytes])?;
            if file.len()? != end {
                file.set_len(end)?;
            }
            file.sync()
        };
        write().map_err(StorageError::io("write", &path))
    }
}

/// Removes the files of the segment at `base`, as many as there are; the log last, so that a crash in between leaves
/// no index without one.
fn remove_files(fs: &dyn FileSystem, dir: &Path, base: Offset) -> Result<(), StorageError> {
    for suffix in names::SEGMENT_SUFFIXES.iter().rev() {
        remove_file(fs, &dir.join(names::segment_file(base, suffix)))?;
    }
    Ok(())
}

/// Removes a file if it is there.
pub(super) fn remove_file(fs: &dyn FileSystem, path: &Path) -> Result<(), StorageError> {
    match fs.remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(StorageError::io("remove", path)(e))
        }
        _ => Ok(()),
    }
}

/// A length in memory as a length in a file.
pub(super) fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
