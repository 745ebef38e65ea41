//! The operating system's files.

// This file is the crate's one door to `std::fs`.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;

use crate::base::ReadMode;
use crate::env::descriptors::{Descriptors, Evict};
use crate::env::fs::{Entry, EntryKind, File, FileLock, FileSystem, OpenFile};
use crate::env::mmap;
use crate::env::read_buffers::ReadBuffers;
use crate::env::sync::Mutex;

/// Descriptors that one store keeps open, at most, beside those with unsynced writes.
const MAX_DESCRIPTORS: usize = 48;

/// The file system of the operating system.
#[derive(Debug)]
pub(crate) struct OsFs {
    map: bool,
    descriptors: Arc<Descriptors>,
    buffers: Arc<ReadBuffers>,
    /// Removed with everything in it when the last file is closed.
    temporary: Option<tempfile::TempDir>,
}

impl OsFs {
    pub(crate) fn new(mode: ReadMode) -> Self {
        let map = match mode {
            ReadMode::Map => true,
            ReadMode::Pread => false,
            // On Windows a mapped file can be neither deleted nor renamed; 32 bits run out of addresses.
            ReadMode::Auto => cfg!(all(unix, target_pointer_width = "64")),
        };
        Self {
            map,
            descriptors: Arc::new(Descriptors::new(MAX_DESCRIPTORS)),
            buffers: Arc::default(),
            temporary: None,
        }
    }

    /// Removes `dir` when the file system is dropped.
    pub(crate) fn removing_at_end(mut self, dir: tempfile::TempDir) -> Self {
        self.temporary = Some(dir);
        self
    }
}

impl FileSystem for OsFs {
    fn is_durable(&self) -> bool {
        true
    }

    fn open(&self, path: &Path, how: OpenFile) -> io::Result<Arc<dyn File>> {
        let file = Arc::new(open_descriptor(path, how)?);
        let handle = Arc::new_cyclic(|me| OsFile {
            me: Weak::clone(me),
            path: path.to_owned(),
            how,
            map: self.map && how.is_mapped(),
            used: AtomicBool::new(true),
            slot: Mutex::new(Slot { file: Some(file), ..Slot::default() }),
            descriptors: Arc::clone(&self.descriptors),
            buffers: Arc::clone(&self.buffers),
        });
        handle.note_opened();
        Ok(handle)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path)
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        if !fs::symlink_metadata(dir)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let kind = match entry.file_type()? {
                t if t.is_file() => EntryKind::File,
                t if t.is_dir() => EntryKind::Directory,
                _ => EntryKind::Other,
            };
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(Entry { name, kind });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // Windows has no such call: NTFS journals names by itself.
        if cfg!(unix) { fs::File::open(path)?.sync_all() } else { Ok(()) }
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        // Closing any descriptor of a file drops this process's `fcntl` locks on it. So a second owner within the
        // process must be found before the file is opened.
        let Some(owned) = Owned::claim(path)? else { return Ok(None) };
        let file = open_descriptor(path, OpenFile::Write)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(e)) => return Err(e),
        }
        // `flock` and `fcntl` locks do not see each other; Kafka takes the latter.
        #[cfg(unix)]
        match rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => return Ok(None),
            Err(e) => return Err(e.into()),
        }
        Ok(Some(Box::new(OsLock { _file: file, _owned: owned })))
    }
}

fn open_descriptor(path: &Path, how: OpenFile) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    match how {
        OpenFile::Read => {}
        OpenFile::WriteMapped => _ = options.write(true),
        OpenFile::Write => _ = options.write(true).create(true).truncate(false),
        OpenFile::CreateMapped => _ = options.write(true).create_new(true),
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    }
    options.open(path)
}

/// A file that opens its descriptor when it is needed.
#[derive(Debug)]
struct OsFile {
    me: Weak<Self>,
    path: PathBuf,
    how: OpenFile,
    map: bool,
    used: AtomicBool,
    slot: Mutex<Slot>,
    descriptors: Arc<Descriptors>,
    buffers: Arc<ReadBuffers>,
}

#[derive(Debug, Default)]
struct Slot {
    file: Option<Arc<fs::File>>,
    /// The file's bytes from 0 on, as many as there were when it was mapped.
    map: Option<Bytes>,
    /// Writes under way.
    writing: u32,
    /// Counts writes, to tell whether a sync covered the last one.
    writes: u64,
    unsynced: bool,
}

impl OsFile {
    /// Not to be called with the slot locked: room may be made by other files, or this one.
    fn note_opened(&self) {
        self.descriptors.opened(Weak::clone(&self.me) as Weak<dyn Evict>);
    }

    /// Runs `with` on the open descriptor, opening it again first if it was given back.
    fn descriptor(&self, with: impl FnOnce(&mut Slot)) -> io::Result<Arc<fs::File>> {
        self.used.store(true, Ordering::Relaxed);
        let mut slot = self.slot.lock();
        if let Some(file) = slot.file.clone() {
            with(&mut slot);
            return Ok(file);
        }
        // The file exists by now, whatever it was opened for.
        let how = if self.how == OpenFile::Read { OpenFile::Read } else { OpenFile::WriteMapped };
        let file = Arc::new(open_descriptor(&self.path, how)?);
        slot.file = Some(Arc::clone(&file));
        with(&mut slot);
        drop(slot);
        self.note_opened();
        Ok(file)
    }

    fn read_mapped(&self, position: usize, length: usize) -> io::Result<Bytes> {
        let end = position.checked_add(length).ok_or(io::ErrorKind::InvalidInput)?;
        if let Some(map) = &self.slot.lock().map
            && end <= map.len()
        {
            self.used.store(true, Ordering::Relaxed);
            return Ok(map.slice(position..end));
        }
        let file = self.descriptor(|_| {})?;
        let file_length =
            usize::try_from(file.metadata()?.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if end > file_length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let map = mmap::map(&file, file_length)?;
        let slice = map.slice(position..end);
        self.slot.lock().map = Some(map);
        Ok(slice)
    }
}

impl File for OsFile {
    fn read(&self, position: u64, length: usize) -> io::Result<Bytes> {
        if length == 0 {
            return Ok(Bytes::new());
        }
        if self.map {
            let position = usize::try_from(position).map_err(|_| io::ErrorKind::InvalidInput)?;
            return self.read_mapped(position, length);
        }
        let file = self.descriptor(|_| {})?;
        let mut buffer = self.buffers.take(length)?;
        read_exact_at(&file, buffer.as_mut(), position)?;
        Ok(Bytes::from_owner(buffer))
    }

    fn write(&self, position: u64, parts: &[Bytes]) -> io::Result<()> {
        let file = self.descriptor(|slot| {
            slot.writing += 1;
            slot.writes += 1;
            slot.unsynced = true;
        })?;
        let result = write_all_at(&file, position, parts);
        self.slot.lock().writing -= 1;
        result
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.descriptor(|_| {})?.metadata()?.len())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let file = self.descriptor(|slot| {
            slot.map = None;
            slot.writes += 1;
            slot.unsynced = true;
        })?;
        file.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        let mut writes = 0;
        let mut writing = 0;
        let file = self.descriptor(|slot| (writes, writing) = (slot.writes, slot.writing))?;
        file.sync_data()?;
        let mut slot = self.slot.lock();
        if slot.writes == writes && writing == 0 {
            slot.unsynced = false;
        }
        Ok(())
    }
}

impl Evict for OsFile {
    fn evict(&self) -> bool {
        let mut slot = self.slot.lock();
        if slot.unsynced || self.used.swap(false, Ordering::Relaxed) {
            return false;
        }
        slot.file = None;
        slot.map = None;
        true
    }
}

#[cfg(unix)]
fn read_exact_at(file: &fs::File, buffer: &mut [u8], position: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, position)
}

#[cfg(unix)]
fn write_all_at(file: &fs::File, mut position: u64, parts: &[Bytes]) -> io::Result<()> {
    // The kernel takes at most IOV_MAX (1,024 on Linux) slices a call, and may write fewer bytes than it was given.
    const MAX_SLICES: usize = 512;
    for group in parts.chunks(MAX_SLICES) {
        let mut slices = group.iter().map(|part| io::IoSlice::new(part)).collect::<Vec<_>>();
        let mut slices = slices.as_mut_slice();
        io::IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match rustix::io::pwritev(file, slices, position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    position += u64::try_from(written).unwrap_or(u64::MAX);
                    io::IoSlice::advance_slices(&mut slices, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    Ok(())
}

#[cfg(windows)]
fn read_exact_at(file: &fs::File, mut buffer: &mut [u8], mut position: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !buffer.is_empty() {
        match file.seek_read(buffer, position) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                position += u64::try_from(read).unwrap_or(u64::MAX);
                buffer = buffer.get_mut(read..).unwrap_or_default();
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(windows)]
fn write_all_at(file: &fs::File, mut position: u64, parts: &[Bytes]) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    for part in parts {
        let mut rest = part.as_ref();
        while !rest.is_empty() {
            match file.seek_write(rest, position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    position += u64::try_from(written).unwrap_or(u64::MAX);
                    rest = rest.get(written..).unwrap_or_default();
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}

/// An open lock file, with both kinds of lock on it.
#[derive(Debug)]
struct OsLock {
    // Closed before the registry forgets the path.
    _file: fs::File,
    _owned: Owned,
}

impl FileLock for OsLock {}

/// Directories that this process owns.
static OWNED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

#[derive(Debug)]
struct Owned(PathBuf);

impl Owned {
    /// `None` if this process owns the directory of `lock_file` already.
    fn claim(lock_file: &Path) -> io::Result<Option<Self>> {
        let dir = fs::canonicalize(lock_file.parent().unwrap_or(Path::new(".")))?;
        let free = OWNED.lock().insert(dir.clone());
        // Not made for nothing: dropping it would give the other owner's claim back.
        Ok(free.then(|| Self(dir)))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        OWNED.lock().remove(&self.0);
    }
}

#[cfg(test)]
mod tests;
