//! A file system in memory. Keeps nothing past the process.
//!
//! Bytes written are kept as they came, by reference: a batch exists once, whoever reads it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use bytes::Bytes;

use crate::env::extents::Extents;
use crate::env::fs::{Entry, EntryKind, File, FileLock, FileSystem, OpenFile};
use crate::env::sync::{Mutex, RwLock};

/// Files in memory.
#[derive(Debug, Default)]
pub(crate) struct MemFs {
    nodes: Mutex<BTreeMap<PathBuf, Node>>,
}

#[derive(Clone, Debug)]
enum Node {
    Directory,
    File(Arc<MemFile>),
    /// A lock file, and whether somebody holds it.
    Locked(Weak<Held>),
}

impl FileSystem for MemFs {
    fn is_durable(&self) -> bool {
        false
    }

    fn open(&self, path: &Path, how: OpenFile) -> io::Result<Arc<dyn File>> {
        let mut nodes = self.nodes.lock();
        match nodes.get(path) {
            Some(Node::File(_)) if how == OpenFile::CreateMapped => {
                Err(io::ErrorKind::AlreadyExists.into())
            }
            Some(Node::File(file)) => Ok(Arc::clone(file) as Arc<dyn File>),
            Some(Node::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            Some(Node::Locked(_)) => Err(io::ErrorKind::PermissionDenied.into()),
            None if matches!(how, OpenFile::Read | OpenFile::WriteMapped) => {
                Err(io::ErrorKind::NotFound.into())
            }
            None => {
                if !path.parent().is_some_and(|parent| nodes.contains_key(parent)) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let file = Arc::new(MemFile::default());
                nodes.insert(path.to_owned(), Node::File(Arc::clone(&file)));
                Ok(file)
            }
        }
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut nodes = self.nodes.lock();
        for ancestor in path.ancestors() {
            match nodes.get(ancestor) {
                None => _ = nodes.insert(ancestor.to_owned(), Node::Directory),
                Some(Node::Directory) => break,
                Some(_) => return Err(io::ErrorKind::NotADirectory.into()),
            }
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let nodes = self.nodes.lock();
        if !matches!(nodes.get(dir), Some(Node::Directory)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let children = nodes.range(dir.to_owned()..).take_while(|(path, _)| path.starts_with(dir));
        Ok(children
            .filter(|(path, _)| path.parent() == Some(dir))
            .filter_map(|(path, node)| {
                let kind = match node {
                    Node::Directory => EntryKind::Directory,
                    Node::File(_) | Node::Locked(_) => EntryKind::File,
                };
                Some(Entry { name: path.file_name()?.to_str()?.to_owned(), kind })
            })
            .collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut nodes = self.nodes.lock();
        if !nodes.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let moved = nodes
            .range(from.to_owned()..)
            .map(|(path, _)| path.clone())
            .take_while(|path| path.starts_with(from))
            .collect::<Vec<_>>();
        for path in moved {
            let rest = path.strip_prefix(from).map_err(|_| io::ErrorKind::InvalidInput)?;
            let target = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            if let Some(node) = nodes.remove(&path) {
                nodes.insert(target, node);
            }
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut nodes = self.nodes.lock();
        match nodes.get(path) {
            Some(Node::File(_)) => _ = nodes.remove(path),
            Some(_) => return Err(io::ErrorKind::IsADirectory.into()),
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        if !self.list(path)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.nodes.lock().remove(path);
        Ok(())
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        let mut nodes = self.nodes.lock();
        let lock = match nodes.get(path) {
            Some(Node::Locked(held)) if held.strong_count() > 0 => return Ok(None),
            _ => Arc::new(Held),
        };
        nodes.insert(path.to_owned(), Node::Locked(Arc::downgrade(&lock)));
        Ok(Some(Box::new(MemLock(lock))))
    }
}

/// What there is for as long as a lock is held.
#[derive(Debug)]
struct Held;

#[derive(Debug)]
struct MemLock(#[expect(dead_code, reason = "whoever holds it holds the lock")] Arc<Held>);

impl FileLock for MemLock {}

/// A file as a run of extents.
#[derive(Debug, Default)]
struct MemFile(RwLock<Extents>);

impl File for MemFile {
    fn read(&self, position: u64, length: usize) -> io::Result<Bytes> {
        self.0.read().read(position, length)
    }

    fn write(&self, mut position: u64, parts: &[Bytes]) -> io::Result<()> {
        let mut extents = self.0.write();
        for part in parts {
            position = extents.write(position, part)?;
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.read().len())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.write().set_len(length);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file() -> (MemFs, Arc<dyn File>) {
        let fs = MemFs::default();
        fs.create_dir(Path::new("/d")).unwrap();
        let file = fs.open(Path::new("/d/f"), OpenFile::Write).unwrap();
        (fs, file)
    }

    proptest! {
        /// A file in memory holds what a `Vec` would, whatever was written over whatever.
        #[test]
        fn writes_and_cuts_match_a_vec(
            ops in prop::collection::vec((any::<bool>(), 0usize..64, prop::collection::vec(any::<u8>(), 0..32)), 0..40)
        ) {
            let (_fs, file) = file();
            let mut model: Vec<u8> = Vec::new();
            for (cut, position, content) in ops {
                if cut {
                    file.set_len(position as u64).unwrap();
                    model.resize(position, 0);
                } else {
                    file.write(position as u64, &[content.clone().into()]).unwrap();
                    if !content.is_empty() {
                        model.resize(model.len().max(position + content.len()), 0);
                        model[position..position + content.len()].copy_from_slice(&content);
                    }
                }
                prop_assert_eq!(file.len().unwrap(), model.len() as u64);
                prop_assert_eq!(&file.read(0, model.len()).unwrap()[..], &model[..]);
                let middle = model.len() / 2;
                prop_assert_eq!(&file.read(middle as u64, model.len() - middle).unwrap()[..], &model[middle..]);
            }
        }
    }

    #[test]
    fn reading_past_the_end_is_an_error() {
        let (_fs, file) = file();
        file.write(0, &["abc".into()]).unwrap();
        assert_eq!(file.read(1, 3).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_renamed_directory_takes_its_files_along() {
        let (fs, file) = file();
        file.write(0, &["abc".into()]).unwrap();
        fs.rename(Path::new("/d"), Path::new("/e")).unwrap();
        assert!(fs.list(Path::new("/d")).is_err());
        assert_eq!(fs.list(Path::new("/e")).unwrap()[0].name, "f");
    }
}
