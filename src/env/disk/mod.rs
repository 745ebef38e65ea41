//! A disk in memory that fails on request, and forgets at a power cut what was not synced.

mod crash;
mod files;
mod journal;
mod state;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::env::baton;
use crate::env::fs::{EntryKind, FileSystem};
use state::{DiskState, Inode};

pub use crash::PowerCut;
use files::DiskFs;
pub use journal::Journal;
use journal::Operation;

/// A disk in memory that fails on request, and forgets at a power cut what was not synced.
///
/// A handle: clones are the same disk. It outlives the clusters on it, so that they can be opened again.
///
/// ```
/// use brooklet::sim::{Disk, PowerCut};
/// use brooklet::{Cluster, FlushPolicy, NewTopic, Record};
///
/// let disk = Disk::new();
/// let cluster = Cluster::builder().open_on(&disk)?;
/// let email = cluster.create_topic(NewTopic::new("email"))?;
/// cluster.producer().build()?.send(Record::to(&email).value("welcome"))?.wait()?;
///
/// disk.cut_power(PowerCut::LosesAll);
/// drop((email, cluster));
///
/// let cluster = Cluster::builder().open_on(&disk)?;
/// assert_eq!(cluster.topic("email")?.partition(0)?.watermarks()?.high.value(), 1);
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Disk {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    // A real lock: it is held for moments, and never at a point where others may run.
    inner: parking_lot::Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    state: DiskState,
    /// Counts power cuts: what was opened before is of no use after.
    generation: u64,
    locked: BTreeSet<PathBuf>,
    calls: u64,
    faults: Vec<(Fault, u64)>,
    /// Calls that a fault has met.
    failures: Vec<(CallKind, PathBuf)>,
    hook: Option<Hook>,
    capacity: Option<u64>,
    journal: Option<Journal>,
}

type Hook = Arc<dyn Fn(&DiskCall<'_>) -> io::Result<()> + Send + Sync>;

/// What a program asks of a disk.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum CallKind {
    /// Opens a file that exists.
    Open,
    /// Creates a file.
    Create,
    /// Creates a directory.
    CreateDir,
    /// Lists a directory.
    List,
    /// Renames a file or directory.
    Rename,
    /// Removes a file or directory.
    Remove,
    /// Makes the names in a directory durable.
    SyncDir,
    /// Reads a file.
    Read,
    /// Writes to a file.
    Write,
    /// Asks for a file's length.
    Length,
    /// Changes a file's length.
    SetLength,
    /// Makes a file's content durable.
    Sync,
    /// Locks the directory.
    Lock,
}

impl CallKind {
    /// Whether the call can change what is on the disk, or make it durable.
    pub const fn is_change(self) -> bool {
        !matches!(self, Self::Open | Self::List | Self::Read | Self::Length | Self::Lock)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::CreateDir => "create_dir",
            Self::List => "list",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::SyncDir => "sync_dir",
            Self::Read => "read",
            Self::Write => "write",
            Self::Length => "length",
            Self::SetLength => "set_length",
            Self::Sync => "sync",
            Self::Lock => "lock",
        }
    }
}

/// A call that is about to be done.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DiskCall<'a> {
    /// Number of calls to this disk before it.
    pub index: u64,
    /// What is asked.
    pub kind: CallKind,
    /// Of which file or directory.
    pub path: &'a Path,
}

/// Calls that are to fail, and how. See [`Disk::fail`].
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use = "a fault does nothing until it is given to Disk::fail"]
pub struct Fault {
    error: io::ErrorKind,
    kind: Option<CallKind>,
    path: Option<String>,
    skip: u64,
    times: u64,
}

impl Fault {
    /// The next call of any kind fails with this error. A write that fails has been done in half.
    pub fn new(error: io::ErrorKind) -> Self {
        Self { error, kind: None, path: None, skip: 0, times: 1 }
    }

    /// Concerns calls of this kind only.
    pub fn on(mut self, kind: CallKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Concerns paths that contain this text only.
    pub fn at(mut self, part_of_path: impl Into<String>) -> Self {
        self.path = Some(part_of_path.into());
        self
    }

    /// Lets so many calls pass first. Default: 0.
    pub fn after(mut self, calls: u64) -> Self {
        self.skip = calls;
        self
    }

    /// So many calls fail, then no more. Default: 1.
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// All calls fail, until [`Disk::heal`].
    pub fn for_good(self) -> Self {
        self.times(u64::MAX)
    }

    fn concerns(&self, call: &DiskCall<'_>) -> bool {
        self.kind.is_none_or(|kind| kind == call.kind)
            && self.path.as_ref().is_none_or(|part| call.path.to_string_lossy().contains(part))
    }
}

impl Disk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    fn with_state(state: DiskState) -> Self {
        let disk = Self::default();
        disk.shared.inner.lock().state = state;
        disk
    }

    /// Makes calls fail, in addition to what was asked before.
    pub fn fail(&self, fault: Fault) {
        self.shared.inner.lock().faults.push((fault, 0));
    }

    /// Takes back all that was asked by [`fail`](Self::fail), [`on_call`](Self::on_call) and
    /// [`set_capacity`](Self::set_capacity).
    pub fn heal(&self) {
        let mut inner = self.shared.inner.lock();
        inner.faults.clear();
        inner.capacity = None;
        // Dropped without the lock: it may hold anything.
        let hook = inner.hook.take();
        drop(inner);
        drop(hook);
    }

    /// Calls `hook` before each call to the disk; an error is the call's result. It may wait, or panic. It replaces
    /// the one before.
    pub fn on_call(&self, hook: impl Fn(&DiskCall<'_>) -> io::Result<()> + Send + Sync + 'static) {
        let before = self.shared.inner.lock().hook.replace(Arc::new(hook));
        drop(before);
    }

    /// Makes every such call on a path that contains `part` tell the receiver that it has come, and wait until the
    /// sender is dropped.
    #[cfg(test)]
    pub(crate) fn hold(
        &self,
        kind: CallKind,
        part: &'static str,
    ) -> (crossbeam_channel::Receiver<()>, crossbeam_channel::Sender<()>) {
        let (arrived, arrivals) = crossbeam_channel::unbounded();
        let (go, gate) = crossbeam_channel::bounded::<()>(0);
        self.on_call(move |call| {
            if call.kind == kind && call.path.to_string_lossy().contains(part) {
                let _ = arrived.send(());
                let _ = gate.recv();
            }
            Ok(())
        });
        (arrivals, go)
    }

    /// Lets files take up so many bytes together: writes beyond fail with
    /// [`StorageFull`](io::ErrorKind::StorageFull). Default: `None`, no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.shared.inner.lock().capacity = bytes;
    }

    /// Number of calls so far, those that failed included.
    pub fn calls(&self) -> u64 {
        self.shared.inner.lock().calls
    }

    /// The calls that were made to fail by [`fail`](Self::fail) so far, in order.
    pub fn failures(&self) -> Vec<(CallKind, PathBuf)> {
        self.shared.inner.lock().failures.clone()
    }

    /// Number of changes that no sync has covered: what a power cut may take.
    pub fn unsynced(&self) -> usize {
        self.shared.inner.lock().state.unsynced()
    }

    /// Cuts the power, and gives it back at once. What was open is of no use any more: its calls fail. So a cluster
    /// on the disk is lost; it can be dropped, and another opened.
    pub fn cut_power(&self, cut: PowerCut) {
        let mut inner = self.shared.inner.lock();
        // It never fails, and is a part of the journal.
        let _nothing_created = inner.perform(Operation::CutPower(cut));
        inner.generation += 1;
        inner.locked.clear();
    }

    /// Another disk with the content that this one would have after a power cut.
    pub fn image(&self, cut: PowerCut) -> Self {
        Self::with_state(self.shared.inner.lock().state.after(cut))
    }

    /// Overwrites bytes of a file behind its owner's back, as rot does.
    ///
    /// # Errors
    /// [`NotFound`](io::ErrorKind::NotFound).
    pub fn damage(&self, path: impl AsRef<Path>, position: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.shared.inner.lock();
        let inode = inner.state.find(&absolute(path.as_ref()))?;
        inner.state.damage(inode, position, &Bytes::copy_from_slice(bytes))
    }

    /// The content of a file, as programs see it.
    ///
    /// # Errors
    /// [`NotFound`](io::ErrorKind::NotFound).
    pub fn read(&self, path: impl AsRef<Path>) -> io::Result<Bytes> {
        let inner = self.shared.inner.lock();
        let file = inner.state.file(inner.state.find(&absolute(path.as_ref()))?)?;
        file.current.read(0, usize::try_from(file.current.len()).unwrap_or(usize::MAX))
    }

    /// Replaces a file, durably and behind its owner's back; it is created if it is missing.
    ///
    /// # Errors
    /// [`NotFound`](io::ErrorKind::NotFound) if its directory is missing.
    pub fn write(&self, path: impl AsRef<Path>, content: &[u8]) -> io::Result<()> {
        let path = absolute(path.as_ref());
        let mut inner = self.shared.inner.lock();
        let state = &mut inner.state;
        let inode = match state.find(&path) {
            Ok(inode) => inode,
            Err(_) => {
                let inode = state.create_file(&path)?;
                state.sync_names_on(&path)?;
                inode
            }
        };
        state.set_len(inode, 0)?;
        state.write(inode, 0, &Bytes::copy_from_slice(content))?;
        let pending = state.pending(inode)?;
        state.sync(inode, pending)
    }

    /// Creates a directory, and its parents where they are missing, durably and behind everybody's back.
    ///
    /// # Errors
    /// [`NotADirectory`](io::ErrorKind::NotADirectory) if a file is in the way.
    pub fn create_dir(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = absolute(path.as_ref());
        let mut inner = self.shared.inner.lock();
        inner.state.create_dir(&path)?;
        inner.state.sync_names_on(&path)
    }

    /// Removes a file behind its owner's back.
    ///
    /// # Errors
    /// [`NotFound`](io::ErrorKind::NotFound).
    pub fn remove(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = absolute(path.as_ref());
        self.shared.inner.lock().state.remove(&path, EntryKind::File)
    }

    /// Every file and its length, in the order of paths.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let inner = self.shared.inner.lock();
        inner.state.files()
    }

    /// A number that differs, almost certainly, if the content of two disks does.
    pub fn fingerprint(&self) -> u64 {
        self.shared.inner.lock().state.fingerprint()
    }

    /// The disk as whoever opens a cluster now sees it.
    pub(crate) fn file_system(&self) -> Arc<dyn FileSystem> {
        let generation = self.shared.inner.lock().generation;
        Arc::new(DiskFs { disk: self.clone(), generation })
    }

    /// Keeps a [`Journal`] from now on.
    pub fn record(&self) {
        let mut inner = self.shared.inner.lock();
        inner.journal = Some(Journal::beginning_with(inner.state.clone()));
    }

    /// What was done since [`record`](Self::record); empty if it was not called.
    pub fn journal(&self) -> Journal {
        let inner = self.shared.inner.lock();
        let empty = || Journal::beginning_with(inner.state.clone());
        inner.journal.clone().unwrap_or_else(empty)
    }

    /// Number of changes in the [`journal`](Self::journal).
    pub fn recorded(&self) -> usize {
        self.shared.inner.lock().journal.as_ref().map_or(0, Journal::len)
    }

    /// Does what a call asks, unless it is to fail.
    fn call<T>(
        &self,
        generation: u64,
        kind: CallKind,
        path: &Path,
        perform: impl FnOnce(&mut Inner) -> io::Result<T>,
    ) -> io::Result<T> {
        baton::point_with(kind.name(), || path.to_string_lossy().into_owned());
        self.admit(generation, kind, path)?;
        let result = {
            let mut inner = self.shared.inner.lock();
            inner.check(generation)?;
            perform(&mut inner)
        };
        if kind.is_change() {
            baton::point(kind.name());
        }
        result
    }

    /// Counts a call, and lets it fail if it is to.
    fn admit(&self, generation: u64, kind: CallKind, path: &Path) -> io::Result<()> {
        let (index, hook) = {
            let mut inner = self.shared.inner.lock();
            inner.check(generation)?;
            let index = inner.calls;
            inner.calls += 1;
            (index, inner.hook.clone())
        };
        let call = DiskCall { index, kind, path };
        if let Some(hook) = hook {
            hook(&call)?;
        }
        let mut inner = self.shared.inner.lock();
        let mut error = None;
        for (fault, met) in inner.faults.iter_mut().filter(|(fault, _)| fault.concerns(&call)) {
            *met += 1;
            if *met > fault.skip && *met - fault.skip <= fault.times {
                error.get_or_insert(fault.error);
            }
        }
        let Some(error) = error else { return Ok(()) };
        inner.failures.push((kind, path.to_owned()));
        Err(error.into())
    }
}

impl Inner {
    fn check(&self, generation: u64) -> io::Result<()> {
        if self.generation == generation {
            Ok(())
        } else {
            Err(io::Error::other("the power was cut"))
        }
    }

    /// Changes the disk, and notes that.
    fn perform(&mut self, operation: Operation) -> io::Result<Option<Inode>> {
        let done = operation.perform(&mut self.state)?;
        if let Some(journal) = &mut self.journal {
            journal.push(operation);
        }
        Ok(done)
    }

    fn check_room(&self, file: Inode, end: u64) -> io::Result<()> {
        let Some(capacity) = self.capacity else { return Ok(()) };
        let grows = end.saturating_sub(self.state.file(file)?.current.len());
        if grows > 0 && self.state.used().saturating_add(grows) > capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

/// Paths on a disk begin at its root.
fn absolute(path: &Path) -> PathBuf {
    Path::new("/").join(path)
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.shared.inner.lock();
        f.debug_struct("Disk")
            .field("calls", &inner.calls)
            .field("unsynced", &inner.state.unsynced())
            .finish_non_exhaustive()
    }
}
