//! Files as the layers above see them.
//!
//! # Invariants
//! - Every durable effect is asked for by name: [`File::sync`] for a file's bytes and length,
//!   [`FileSystem::sync_dir`] for the names in a directory. Anything else may be lost by a power cut, in any order.
//! - A [`Bytes`] that [`File::read`] returned stays valid for as long as it lives, whatever happens to the file,
//!   provided that the file is not made shorter than the bytes read: a rule that `storage` keeps.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::base::{Bug, is_planted};

/// A place to keep files: the operating system's, or memory.
pub(crate) trait FileSystem: Send + Sync + fmt::Debug {
    /// Whether anything outlives the process.
    fn is_durable(&self) -> bool;

    /// The same place for whoever opens it once more, if that makes a difference: after a power cut, what was open
    /// before is of no use.
    fn again(&self) -> Option<Arc<dyn FileSystem>> {
        None
    }

    /// Opens a file. Symbolic links are not followed.
    fn open(&self, path: &Path, how: OpenFile) -> io::Result<Arc<dyn File>>;

    /// Creates a directory, and its parents where they are missing. No error if it exists.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The path without symbolic links in it: the one place where they are followed.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    /// What a directory holds, sorted by name. A symbolic link to a directory is none. Entries whose names are not UTF-8 are none of ours: left out.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;

    /// Renames a file or directory, over an existing file if there is one.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable: files created, renamed and removed.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Locks `path`, a file in the directory that is to be owned, against every other process and against every
    /// other lock in this one. `None` if it is taken.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>>;
}

/// Held while a directory is owned; dropped, the directory is free.
pub(crate) trait FileLock: Send + Sync + fmt::Debug {}

/// One open file. Calls may come from any thread.
pub(crate) trait File: Send + Sync + fmt::Debug {
    /// The `length` bytes at `position`. `UnexpectedEof` if the file ends before.
    fn read(&self, position: u64, length: usize) -> io::Result<Bytes>;

    /// Writes all of `parts`, one after another, at `position`. After an error any part of them may be there.
    fn write(&self, position: u64, parts: &[Bytes]) -> io::Result<()>;

    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Cuts the file, or extends it with zeros.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Makes bytes and length durable.
    fn sync(&self) -> io::Result<()>;
}

/// How to open a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OpenFile {
    /// An existing file, to read.
    Read,
    /// A file to read and write, created empty if it is missing.
    Write,
    /// An existing file to read and write, whose reads may be served from a memory map.
    WriteMapped,
    /// A new file to read and write, whose reads may be served from a memory map; an error if it exists.
    CreateMapped,
}

impl OpenFile {
    /// Whether reads may be slices of a memory map.
    pub(crate) fn is_mapped(self) -> bool {
        matches!(self, Self::WriteMapped | Self::CreateMapped)
    }
}

/// One name in a directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) kind: EntryKind,
}

/// What a name in a directory stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EntryKind {
    File,
    Directory,
    /// A symbolic link, device or socket: nothing of ours.
    Other,
}

/// The whole content of a file, `None` if there is none of this name.
pub(crate) fn read_file(fs: &dyn FileSystem, path: &Path) -> io::Result<Option<Bytes>> {
    let file = match fs.open(path, OpenFile::Read) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let length = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    file.read(0, length).map(Some)
}

/// Replaces the content of `dir/name` so that a crash leaves the old content or the new, never a mixture: written
/// to `name.tmp`, synced, renamed, and the directory synced.
pub(crate) fn replace_file(
    fs: &dyn FileSystem,
    dir: &Path,
    name: &str,
    content: Bytes,
) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.tmp"));
    let file = fs.open(&temporary, OpenFile::Write)?;
    file.set_len(0)?;
    file.write(0, &[content])?;
    if !is_planted(Bug::TemporaryNotSynced) {
        file.sync()?;
    }
    drop(file);
    fs.rename(&temporary, &dir.join(name))?;
    fs.sync_dir(dir)
}
