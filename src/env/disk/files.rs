//! A [`Disk`] as a file system.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::env::disk::journal::Operation;
use crate::env::disk::state::Inode;
use crate::env::disk::{CallKind, Disk};
use crate::env::fs::{Entry, EntryKind, File, FileLock, FileSystem, OpenFile};

/// A disk as it is seen from one power cut to the next.
#[derive(Debug)]
pub(super) struct DiskFs {
    pub(super) disk: Disk,
    pub(super) generation: u64,
}

impl DiskFs {
    fn change(&self, kind: CallKind, path: &Path, operation: Operation) -> io::Result<()> {
        self.disk.call(self.generation, kind, path, |inner| inner.perform(operation).map(drop))
    }

    fn find(&self, path: &Path) -> io::Result<Inode> {
        self.disk.shared.inner.lock().state.find(path)
    }
}

impl FileSystem for DiskFs {
    fn is_durable(&self) -> bool {
        true
    }

    fn again(&self) -> Option<Arc<dyn FileSystem>> {
        Some(self.disk.file_system())
    }

    fn open(&self, path: &Path, how: OpenFile) -> io::Result<Arc<dyn File>> {
        let creates = match how {
            OpenFile::Read | OpenFile::WriteMapped => false,
            OpenFile::CreateMapped => true,
            OpenFile::Write => self.find(path).is_err(),
        };
        let kind = if creates { CallKind::Create } else { CallKind::Open };
        let inode = self.disk.call(self.generation, kind, path, |inner| {
            if creates {
                let created = inner.perform(Operation::CreateFile(path.to_owned()))?;
                return created.ok_or_else(|| io::ErrorKind::NotFound.into());
            }
            let found = inner.state.find(path)?;
            inner.state.file(found).map(|_| found)
        })?;
        let (disk, generation) = (self.disk.clone(), self.generation);
        Ok(Arc::new(DiskFile { disk, generation, inode, path: path.to_owned() }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.change(CallKind::CreateDir, path, Operation::CreateDir(path.to_owned()))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.call(self.generation, CallKind::List, dir, |inner| inner.state.list(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(CallKind::Rename, from, Operation::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let operation = Operation::Remove(path.to_owned(), EntryKind::File);
        self.change(CallKind::Remove, path, operation)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let operation = Operation::Remove(path.to_owned(), EntryKind::Directory);
        self.change(CallKind::Remove, path, operation)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let inode = self.find(path)?;
        sync(&self.disk, self.generation, CallKind::SyncDir, path, inode)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        self.disk.call(self.generation, CallKind::Lock, path, |inner| {
            if inner.state.find(path).is_err() {
                inner.perform(Operation::CreateFile(path.to_owned()))?;
            }
            if !inner.locked.insert(path.to_owned()) {
                return Ok(None);
            }
            let (disk, generation) = (self.disk.clone(), self.generation);
            Ok(Some(Box::new(DiskLock { disk, generation, path: path.to_owned() }) as _))
        })
    }
}

/// A sync covers what was pending when it began.
fn sync(disk: &Disk, generation: u64, kind: CallKind, path: &Path, inode: Inode) -> io::Result<()> {
    let pending = disk.shared.inner.lock().state.pending(inode)?;
    let done = disk.call(generation, kind, path, |inner| {
        inner.perform(Operation::Sync(inode, pending)).map(drop)
    });
    if done.is_err() {
        let mut inner = disk.shared.inner.lock();
        if inner.check(generation).is_ok() {
            inner.perform(Operation::FailSync(inode))?;
        }
    }
    done
}

#[derive(Debug)]
struct DiskLock {
    disk: Disk,
    generation: u64,
    path: PathBuf,
}

impl FileLock for DiskLock {}

impl Drop for DiskLock {
    fn drop(&mut self) {
        let mut inner = self.disk.shared.inner.lock();
        if inner.generation == self.generation {
            inner.locked.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct DiskFile {
    disk: Disk,
    generation: u64,
    inode: Inode,
    path: PathBuf,
}

impl File for DiskFile {
    fn read(&self, position: u64, length: usize) -> io::Result<Bytes> {
        self.disk.call(self.generation, CallKind::Read, &self.path, |inner| {
            inner.state.file(self.inode)?.current.read(position, length)
        })
    }

    fn write(&self, position: u64, parts: &[Bytes]) -> io::Result<()> {
        let write = |inner: &mut crate::env::disk::Inner, parts: &[Bytes]| {
            let mut position = position;
            for part in parts {
                let end = position.checked_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
                let end = end.ok_or(io::ErrorKind::FileTooLarge)?;
                inner.check_room(self.inode, end)?;
                inner.perform(Operation::Write(self.inode, position, part.clone()))?;
                position = end;
            }
            Ok(())
        };
        let kind = CallKind::Write;
        let done = self.disk.call(self.generation, kind, &self.path, |inner| write(inner, parts));
        if done.is_err() {
            // A failed write may have written a part.
            let mut inner = self.disk.shared.inner.lock();
            if inner.check(self.generation).is_ok()
                && let Some(first) = parts.first()
            {
                let half = first.slice(..first.len() / 2);
                // On a full disk not even that.
                let _part = write(&mut inner, &[half]);
            }
        }
        done
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.call(self.generation, CallKind::Length, &self.path, |inner| {
            Ok(inner.state.file(self.inode)?.current.len())
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk.call(self.generation, CallKind::SetLength, &self.path, |inner| {
            inner.check_room(self.inode, length)?;
            inner.perform(Operation::SetLength(self.inode, length)).map(drop)
        })
    }

    fn sync(&self) -> io::Result<()> {
        sync(&self.disk, self.generation, CallKind::Sync, &self.path, self.inode)
    }
}
