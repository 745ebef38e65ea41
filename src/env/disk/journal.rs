//! What was done to a disk, so that it can be done again, as far as one likes.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;

use crate::env::disk::state::{DiskState, Inode};
use crate::env::disk::{Disk, PowerCut};
use crate::env::fs::EntryKind;

/// A change of a disk.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    CreateFile(PathBuf),
    CreateDir(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf, EntryKind),
    Write(Inode, u64, Bytes),
    SetLength(Inode, u64),
    /// Covers so many of the pending changes.
    Sync(Inode, usize),
    FailSync(Inode),
    CutPower(PowerCut),
}

impl Operation {
    /// Does it. Returns the file that was created.
    pub(super) fn perform(&self, state: &mut DiskState) -> io::Result<Option<Inode>> {
        match self {
            Self::CreateFile(path) => return state.create_file(path).map(Some),
            Self::CreateDir(path) => state.create_dir(path)?,
            Self::Rename(from, to) => state.rename(from, to)?,
            Self::Remove(path, kind) => state.remove(path, *kind)?,
            Self::Write(file, position, bytes) => state.write(*file, *position, bytes).map(drop)?,
            Self::SetLength(file, length) => state.set_len(*file, *length)?,
            Self::Sync(inode, count) => state.sync(*inode, *count)?,
            Self::FailSync(inode) => state.fail_sync(*inode)?,
            Self::CutPower(cut) => *state = state.after(*cut),
        }
        Ok(None)
    }
}

/// Everything that was done to a [`Disk`] since [`Disk::record`], to be done again step by step: so that every
/// moment can be looked at at which the power could have been cut.
///
/// ```
/// use brooklet::sim::{Disk, PowerCut};
/// use brooklet::{Cluster, NewTopic, Record};
///
/// let disk = Disk::new();
/// disk.record();
/// let cluster = Cluster::builder().open_on(&disk)?;
/// cluster.create_topic(NewTopic::new("email"))?;
/// let created = disk.recorded();
/// drop(cluster);
///
/// let mut journal = disk.journal();
/// while journal.step() {
///     for lost in 0..journal.unsynced() {
///         let cluster = Cluster::builder().open_on(&journal.image(PowerCut::LosesOne(lost)))?;
///         assert!(journal.done() < created || cluster.topic("email").is_ok());
///     }
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Journal {
    state: DiskState,
    operations: Vec<Operation>,
    /// How many of them `state` has seen.
    done: usize,
}

impl Journal {
    pub(super) fn beginning_with(state: DiskState) -> Self {
        Self { state, operations: Vec::new(), done: 0 }
    }

    pub(super) fn push(&mut self, operation: Operation) {
        self.operations.push(operation);
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Number of changes that were done again.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Does the next change again. `false` if there is none.
    pub fn step(&mut self) -> bool {
        let Some(operation) = self.operations.get(self.done) else { return false };
        self.done += 1;
        // It went well the first time, on the same state.
        operation.perform(&mut self.state).is_ok()
    }

    /// Number of changes that no sync has covered at this point: what a power cut may take.
    pub fn unsynced(&self) -> usize {
        self.state.unsynced()
    }

    /// The disk that a power cut at this point leaves.
    pub fn image(&self, cut: PowerCut) -> Disk {
        Disk::with_state(self.state.after(cut))
    }
}
