//! What is on a simulated disk: as programs see it, and as a power cut would leave it.
//!
//! # Model
//! - A file has *durable* content, and changes that no sync has covered: writes, and changes of its length. A
//!   directory has durable names, and changes to them that no sync has covered. A sync of a file covers its content, not its
//!   name; a sync of a directory covers names, not content.
//! - A sync that failed covers nothing, and no later sync covers what it was to cover: the kernel marks pages clean
//!   whether or not they were written.
//! - What was not covered survives a crash or does not, item by item (see `crash`).
//!
//! # Invariants
//! - What programs see is the durable content with all pending changes on top, in order.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::env::extents::Extents;
use crate::env::fs::{Entry, EntryKind};

/// Number of a file or directory on its disk; names come and go.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Inode(usize);

const ROOT: Inode = Inode(0);

/// Files and directories. Cheap to clone: content is shared.
#[derive(Clone, Debug)]
pub(super) struct DiskState {
    nodes: Vec<Arc<Node>>,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    Directory(Directory),
    File(FileContent),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    pub(super) current: BTreeMap<String, Inode>,
    pub(super) durable: BTreeMap<String, Inode>,
    pub(super) pending: Vec<NameChange>,
}

/// A change of a directory's names, all or nothing.
#[derive(Clone, Debug)]
pub(super) struct NameChange {
    removed: Option<String>,
    set: Option<(String, Inode)>,
    /// No sync will cover it any more.
    pub(super) lost: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct FileContent {
    pub(super) current: Extents,
    pub(super) durable: Extents,
    pub(super) pending: Vec<Change>,
}

/// A change of a file's content that no sync has covered.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) kind: ChangeKind,
    /// What the file's length was after it.
    pub(super) length: u64,
    /// No sync will cover it any more.
    pub(super) lost: bool,
}

#[derive(Clone, Debug)]
pub(super) enum ChangeKind {
    Write { position: u64, bytes: Bytes },
    Length,
}

impl NameChange {
    pub(super) fn apply(&self, names: &mut BTreeMap<String, Inode>) {
        if let Some(name) = &self.removed {
            names.remove(name);
        }
        if let Some((name, inode)) = &self.set {
            names.insert(name.clone(), *inode);
        }
    }
}

impl Change {
    fn apply(&self, content: &mut Extents) -> io::Result<()> {
        match &self.kind {
            ChangeKind::Write { position, bytes } => content.write(*position, bytes).map(drop),
            ChangeKind::Length => {
                content.set_len(self.length);
                Ok(())
            }
        }
    }
}

impl Default for DiskState {
    fn default() -> Self {
        Self { nodes: vec![Arc::new(Node::Directory(Directory::default()))] }
    }
}

impl DiskState {
    pub(super) fn nodes(&self) -> impl Iterator<Item = (Inode, &Node)> {
        self.nodes.iter().enumerate().map(|(number, node)| (Inode(number), &**node))
    }

    /// A disk with these nodes, in the order of their numbers.
    pub(super) fn from_nodes(nodes: impl IntoIterator<Item = Node>) -> Self {
        Self { nodes: nodes.into_iter().map(Arc::new).collect() }
    }

    fn node(&self, inode: Inode) -> io::Result<&Node> {
        self.nodes.get(inode.0).map(|node| &**node).ok_or(io::ErrorKind::NotFound.into())
    }

    fn node_mut(&mut self, inode: Inode) -> io::Result<&mut Node> {
        self.nodes.get_mut(inode.0).map(Arc::make_mut).ok_or(io::ErrorKind::NotFound.into())
    }

    pub(super) fn file(&self, inode: Inode) -> io::Result<&FileContent> {
        match self.node(inode)? {
            Node::File(file) => Ok(file),
            Node::Directory(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn file_mut(&mut self, inode: Inode) -> io::Result<&mut FileContent> {
        match self.node_mut(inode)? {
            Node::File(file) => Ok(file),
            Node::Directory(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn directory(&self, inode: Inode) -> io::Result<&Directory> {
        match self.node(inode)? {
            Node::Directory(directory) => Ok(directory),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// What `path` stands for.
    pub(super) fn find(&self, path: &Path) -> io::Result<Inode> {
        let mut at = ROOT;
        for name in names(path)? {
            let found = self.directory(at)?.current.get(name).copied();
            at = found.ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    /// The directory that `path` is in, and its name there.
    fn parent<'p>(&self, path: &'p Path) -> io::Result<(Inode, &'p str)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let name = name.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
        Ok((self.find(parent)?, name))
    }

    fn change_names(&mut self, directory: Inode, change: NameChange) -> io::Result<()> {
        match self.node_mut(directory)? {
            Node::Directory(directory) => {
                change.apply(&mut directory.current);
                directory.pending.push(change);
                Ok(())
            }
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn create(&mut self, directory: Inode, name: &str, node: Node) -> io::Result<Inode> {
        let inode = Inode(self.nodes.len());
        let set = Some((name.to_owned(), inode));
        self.change_names(directory, NameChange { removed: None, set, lost: false })?;
        self.nodes.push(Arc::new(node));
        Ok(inode)
    }

    /// Creates an empty file.
    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<Inode> {
        let (parent, name) = self.parent(path)?;
        if self.directory(parent)?.current.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.create(parent, name, Node::File(FileContent::default()))
    }

    /// Creates a directory, and its parents where they are missing.
    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        let mut at = ROOT;
        for name in names(path)? {
            at = match self.directory(at)?.current.get(name) {
                Some(inode) => *inode,
                None => self.create(at, name, Node::Directory(Directory::default()))?,
            };
        }
        self.directory(at).map(drop)
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let directory = self.directory(self.find(path)?)?;
        let entry = |(name, inode): (&String, &Inode)| {
            let kind = match self.node(*inode)? {
                Node::Directory(_) => EntryKind::Directory,
                Node::File(_) => EntryKind::File,
            };
            Ok(Entry { name: name.clone(), kind })
        };
        directory.current.iter().map(entry).collect()
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.find(from)?;
        let (old_parent, old_name) = self.parent(from)?;
        let (new_parent, new_name) = self.parent(to)?;
        if let Ok(target) = self.find(to)
            && matches!(self.node(target)?, Node::Directory(d) if !d.current.is_empty())
        {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (removed, set) = (Some(old_name.to_owned()), Some((new_name.to_owned(), inode)));
        if old_parent == new_parent {
            return self.change_names(old_parent, NameChange { removed, set, lost: false });
        }
        self.change_names(new_parent, NameChange { removed: None, set, lost: false })?;
        self.change_names(old_parent, NameChange { removed, set: None, lost: false })
    }

    /// Removes a name of a file, or of an empty directory.
    pub(super) fn remove(&mut self, path: &Path, kind: EntryKind) -> io::Result<()> {
        match (self.node(self.find(path)?)?, kind) {
            (Node::File(_), EntryKind::File) => {}
            (Node::Directory(d), EntryKind::Directory) if d.current.is_empty() => {}
            (Node::Directory(_), EntryKind::Directory) => {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            (Node::Directory(_), _) => return Err(io::ErrorKind::IsADirectory.into()),
            (Node::File(_), _) => return Err(io::ErrorKind::NotADirectory.into()),
        }
        let (parent, name) = self.parent(path)?;
        let removed = Some(name.to_owned());
        self.change_names(parent, NameChange { removed, set: None, lost: false })
    }

    pub(super) fn write(&mut self, inode: Inode, position: u64, bytes: &Bytes) -> io::Result<u64> {
        let file = self.file_mut(inode)?;
        let end = file.current.write(position, bytes)?;
        if !bytes.is_empty() {
            let kind = ChangeKind::Write { position, bytes: bytes.clone() };
            file.pending.push(Change { kind, length: file.current.len(), lost: false });
        }
        Ok(end)
    }

    pub(super) fn set_len(&mut self, inode: Inode, length: u64) -> io::Result<()> {
        let file = self.file_mut(inode)?;
        if file.current.len() != length {
            file.current.set_len(length);
            file.pending.push(Change { kind: ChangeKind::Length, length, lost: false });
        }
        Ok(())
    }

    /// How many changes of the file or directory a sync that begins now will cover.
    pub(super) fn pending(&self, inode: Inode) -> io::Result<usize> {
        Ok(match self.node(inode)? {
            Node::File(file) => file.pending.len(),
            Node::Directory(directory) => directory.pending.len(),
        })
    }

    /// Makes the first `count` pending changes durable, but for those that were lost.
    pub(super) fn sync(&mut self, inode: Inode, count: usize) -> io::Result<()> {
        match self.node_mut(inode)? {
            Node::File(file) => {
                let later = file.pending.split_off(count.min(file.pending.len()));
                for change in std::mem::replace(&mut file.pending, later) {
                    if !change.lost {
                        change.apply(&mut file.durable)?;
                    }
                }
            }
            Node::Directory(directory) => {
                let later = directory.pending.split_off(count.min(directory.pending.len()));
                for change in std::mem::replace(&mut directory.pending, later) {
                    if !change.lost {
                        change.apply(&mut directory.durable);
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes the names durable that lead to `path`.
    pub(super) fn sync_names_on(&mut self, path: &Path) -> io::Result<()> {
        for dir in path.ancestors().skip(1) {
            let inode = self.find(dir)?;
            let pending = self.pending(inode)?;
            self.sync(inode, pending)?;
        }
        Ok(())
    }

    /// A sync failed: no later one covers what it was to cover.
    pub(super) fn fail_sync(&mut self, inode: Inode) -> io::Result<()> {
        match self.node_mut(inode)? {
            Node::File(file) => file.pending.iter_mut().for_each(|change| change.lost = true),
            // Names are journaled: a failed sync of a directory loses nothing that was not lost anyway.
            Node::Directory(_) => {}
        }
        Ok(())
    }

    /// Changes bytes behind everybody's back, on the disk too.
    pub(super) fn damage(&mut self, inode: Inode, position: u64, bytes: &Bytes) -> io::Result<()> {
        let file = self.file_mut(inode)?;
        file.current.write(position, bytes)?;
        file.durable.write(position, bytes)?;
        Ok(())
    }

    /// Bytes that files with a name take up.
    pub(super) fn used(&self) -> u64 {
        self.files().iter().map(|(_, length)| length).sum()
    }

    /// Every file and its length, by path.
    pub(super) fn files(&self) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        let mut open = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, inode)) = open.pop() {
            match self.node(inode) {
                Ok(Node::Directory(directory)) => {
                    open.extend(directory.current.iter().map(|(name, i)| (path.join(name), *i)));
                }
                Ok(Node::File(file)) => found.push((path, file.current.len())),
                Err(_) => {}
            }
        }
        found.sort();
        found
    }

    /// Shows everything that has a name, in the order of names; a directory comes before what is in it.
    pub(super) fn visit(&self, look: &mut impl FnMut(&str, &Node)) {
        let mut found = vec![("", ROOT)];
        while let Some((name, inode)) = found.pop() {
            let Ok(node) = self.node(inode) else { continue };
            look(name, node);
            if let Node::Directory(directory) = node {
                found.extend(directory.current.iter().rev().map(|(name, i)| (name.as_str(), *i)));
            }
        }
    }
}

fn names(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir => {}
            Component::Normal(name) => {
                names.push(name.to_str().ok_or(io::ErrorKind::InvalidFilename)?);
            }
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    Ok(names)
}
