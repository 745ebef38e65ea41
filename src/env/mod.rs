//! The world outside: files, time, threads and waiting, each behind a trait so that it can be simulated.
//!
//! Nothing above this layer opens a file, reads a clock, starts a thread or blocks in any other way than through
//! [`FileSystem`] and [`Runtime`].

mod buffers;
mod descriptors;
mod fs;
#[cfg(test)]
mod hook_fs;
mod mem_fs;
#[allow(unsafe_code)]
mod mmap;
mod os_fs;
mod read_buffers;
mod runtime;
mod threads;

pub(crate) mod sync;

pub(crate) use buffers::BufferPool;
pub(crate) use fs::{
    Entry, EntryKind, File, FileLock, FileSystem, OpenFile, read_file, replace_file,
};
#[cfg(test)]
pub(crate) use hook_fs::{Call, HookFs};
pub(crate) use mem_fs::MemFs;
pub(crate) use os_fs::OsFs;
pub(crate) use runtime::{Moment, Next, Runtime, Task};
pub(crate) use threads::Threads;
#[cfg(test)]
pub(crate) use threads::pause;
