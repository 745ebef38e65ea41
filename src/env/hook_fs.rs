//! A file system in memory that tests can look into: any change may be made to fail, to wait or to panic.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::env::fs::{Entry, EntryKind, File, FileLock, FileSystem, OpenFile, read_file};
use crate::env::mem_fs::MemFs;
use crate::env::sync::RwLock;

/// A change that is about to be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Call {
    Write,
    Sync,
    SetLen,
    Rename,
    Remove,
    SyncDir,
}

type Hook = Arc<dyn Fn(Call, &Path) -> io::Result<()> + Send + Sync>;

/// Calls a hook before each change. To the layers above it is a disk, which any number of owners may open.
#[derive(Clone)]
pub(crate) struct HookFs {
    inner: Arc<MemFs>,
    hook: Arc<RwLock<Hook>>,
}

impl HookFs {
    pub(crate) fn new() -> Self {
        let hook: Hook = Arc::new(|_, _| Ok(()));
        Self { inner: Arc::default(), hook: Arc::new(RwLock::new(hook)) }
    }

    pub(crate) fn hook(
        &self,
        hook: impl Fn(Call, &Path) -> io::Result<()> + Send + Sync + 'static,
    ) {
        *self.hook.write() = Arc::new(hook);
    }

    pub(crate) fn unhook(&self) {
        self.hook(|_, _| Ok(()));
    }

    /// Makes every `call` on a path that contains `part` tell the receiver that it has come, and wait until the
    /// sender is dropped.
    pub(crate) fn hold(
        &self,
        call: Call,
        part: &'static str,
    ) -> (crossbeam_channel::Receiver<()>, crossbeam_channel::Sender<()>) {
        let (arrived, arrivals) = crossbeam_channel::unbounded();
        let (go, gate) = crossbeam_channel::bounded::<()>(0);
        self.hook(move |c, path| {
            if c == call && path.to_string_lossy().contains(part) {
                let _ = arrived.send(());
                let _ = gate.recv();
            }
            Ok(())
        });
        (arrivals, go)
    }

    /// What a crash of the process would leave behind now.
    pub(crate) fn image(&self, root: &Path) -> Self {
        let image = Self::new();
        copy(&self.inner, &image.inner, root);
        image
    }

    fn meet(&self, call: Call, path: &Path) -> io::Result<()> {
        let hook = Arc::clone(&self.hook.read());
        hook(call, path)
    }
}

fn copy(from: &MemFs, to: &MemFs, dir: &Path) {
    to.create_dir(dir).unwrap();
    for entry in from.list(dir).unwrap() {
        let path = dir.join(&entry.name);
        if entry.kind == EntryKind::Directory {
            copy(from, to, &path);
        } else {
            let content = read_file(from, &path).unwrap().unwrap();
            to.open(&path, OpenFile::Write).unwrap().write(0, &[content]).unwrap();
        }
    }
}

impl fmt::Debug for HookFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookFs").finish_non_exhaustive()
    }
}

impl FileSystem for HookFs {
    fn is_durable(&self) -> bool {
        true
    }

    fn open(&self, path: &Path, how: OpenFile) -> io::Result<Arc<dyn File>> {
        let inner = self.inner.open(path, how)?;
        Ok(Arc::new(HookFile { inner, path: path.into(), fs: self.clone() }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.inner.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.meet(Call::Rename, from)?;
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.meet(Call::Remove, path)?;
        self.inner.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.meet(Call::Remove, path)?;
        self.inner.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.meet(Call::SyncDir, path)
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        Ok(Some(Box::new(NoLock)))
    }
}

#[derive(Debug)]
struct NoLock;

impl FileLock for NoLock {}

#[derive(Debug)]
struct HookFile {
    inner: Arc<dyn File>,
    path: Box<Path>,
    fs: HookFs,
}

impl File for HookFile {
    fn read(&self, position: u64, length: usize) -> io::Result<Bytes> {
        self.inner.read(position, length)
    }

    fn write(&self, position: u64, parts: &[Bytes]) -> io::Result<()> {
        self.fs.meet(Call::Write, &self.path)?;
        self.inner.write(position, parts)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.fs.meet(Call::SetLen, &self.path)?;
        self.inner.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.fs.meet(Call::Sync, &self.path)
    }
}
