//! Read-only memory maps: the only unsafe code of the crate.

use std::fs::File;
use std::io;

use bytes::Bytes;
use memmap2::MmapOptions;

/// Maps the first `length` bytes of `file`, to read. The map lives for as long as any slice of the result.
pub(super) fn map(file: &File, length: usize) -> io::Result<Bytes> {
    // SAFETY: a map is sound as long as nobody changes or cuts away bytes that are looked at through it.
    // - Changes: the crate never writes below a file's published end, except over bytes that recovery found, before
    //   the log is shared; and slices are only made of published bytes (`storage` passes no other range to `read`).
    //   The map itself is read-only, so nothing is written through it.
    // - Cuts: `storage` never makes a file shorter than the bytes it has exposed.
    // - Other processes: the store's directory is locked against every program that honours `flock` or `fcntl`
    //   locks. One that does not can still cut a file, which ends this process by SIGBUS: documented at
    //   `ReadMode`, whose `Pread` avoids maps.
    let map = unsafe { MmapOptions::new().len(length).map(file)? };
    Ok(Bytes::from_owner(map))
}
