//! The world outside: files, time, threads and waiting, each behind a trait so that it can be simulated.
//!
//! Nothing above this layer opens a file, reads a clock, starts a thread or blocks in any other way than through
//! [`FileSystem`] and [`Runtime`].

#[cfg(any(test, feature = "sim"))]
mod baton;
mod buffers;
#[cfg(any(test, feature = "sim"))]
mod clock;
mod descriptors;
#[cfg(any(test, feature = "sim"))]
mod disk;
mod extents;
mod fs;
mod mem_fs;
#[allow(unsafe_code)]
mod mmap;
mod moment;
mod os_fs;
mod published;
mod read_buffers;
mod role;
mod runtime;
mod threads;

pub(crate) mod sync;

#[cfg(any(test, feature = "sim"))]
pub(crate) use baton::{Baton, Failure, Handle};
pub(crate) use buffers::BufferPool;
#[cfg(any(test, feature = "sim"))]
pub use clock::Clock;
#[cfg(any(test, feature = "sim"))]
pub use disk::{CallKind, Disk, DiskCall, Fault, Journal, PowerCut};
pub(crate) use fs::{
    Entry, EntryKind, File, FileLock, FileSystem, OpenFile, read_file, replace_file,
};
pub(crate) use mem_fs::MemFs;
pub(crate) use moment::Moment;
pub(crate) use os_fs::OsFs;
pub(crate) use published::Published;
pub(crate) use role::Role;
pub(crate) use runtime::{Next, Runtime, Task};
pub(crate) use threads::Threads;
#[cfg(test)]
pub(crate) use threads::pause;

/// The runtime of the calling thread: that of the simulation in which it runs, or threads, on `clock` if there is one.
#[cfg(any(test, feature = "sim"))]
pub(crate) fn runtime(clock: Option<&Clock>) -> std::sync::Arc<dyn Runtime> {
    match (baton::current_run(), clock) {
        (Some(run), _) => std::sync::Arc::new(run),
        (None, Some(clock)) => clock.runtime(),
        (None, None) => std::sync::Arc::new(Threads::new()),
    }
}

/// Threads.
#[cfg(not(any(test, feature = "sim")))]
pub(crate) fn runtime() -> std::sync::Arc<dyn Runtime> {
    std::sync::Arc::new(Threads::new())
}
