//! Buffers for positioned reads, used again.
//!
//! Memory fresh from the allocator costs a page fault per 4 KiB and has to be zeroed; a buffer that the last reader has
//! just let go of is still in the processor's cache.

use std::io;
use std::sync::Arc;

use crate::env::sync::Mutex;

/// Smaller reads are served from fresh memory: the allocator has it at hand.
const SMALLEST: usize = 32 << 10;

/// Larger buffers are not kept.
const LARGEST: usize = 4 << 20;

/// How many buffers are kept, at most.
const KEPT: usize = 4;

/// Buffers that nobody reads at the moment.
#[derive(Debug, Default)]
pub(super) struct ReadBuffers {
    free: Mutex<Vec<Vec<u8>>>,
}

impl ReadBuffers {
    /// A buffer of `length` bytes, of any content.
    pub(super) fn take(self: &Arc<Self>, length: usize) -> io::Result<ReadBuffer> {
        let kept = if length >= SMALLEST { self.free.lock().pop() } else { None };
        let mut bytes = kept.unwrap_or_default();
        if bytes.len() < length {
            let more = length - bytes.len();
            bytes.try_reserve_exact(more).map_err(|_| io::ErrorKind::OutOfMemory)?;
            bytes.resize(length, 0);
        }
        Ok(ReadBuffer { bytes, length, home: Arc::clone(self) })
    }
}

/// A buffer in use. Dropped, it can be used again.
#[derive(Debug)]
pub(super) struct ReadBuffer {
    /// At least `length` of them.
    bytes: Vec<u8>,
    length: usize,
    home: Arc<ReadBuffers>,
}

impl AsRef<[u8]> for ReadBuffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl AsMut<[u8]> for ReadBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.length).unwrap_or_default()
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        if (SMALLEST..=LARGEST).contains(&self.bytes.len()) {
            let mut free = self.home.free.lock();
            if free.len() < KEPT {
                free.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_once_it_is_dropped() {
        let buffers = Arc::new(ReadBuffers::default());
        let mut first = buffers.take(SMALLEST + 10).unwrap();
        first.as_mut().fill(7);
        let address = first.as_ref().as_ptr();
        let second = buffers.take(SMALLEST).unwrap();
        assert_ne!(second.as_ref().as_ptr(), address, "still in use");
        drop(first);
        let third = buffers.take(SMALLEST).unwrap();
        assert_eq!((third.as_ref().as_ptr(), third.as_ref().len()), (address, SMALLEST));
    }

    #[test]
    fn small_and_huge_buffers_are_not_kept() {
        let buffers = Arc::new(ReadBuffers::default());
        for length in [1, SMALLEST - 1, LARGEST + 1] {
            drop(buffers.take(length).unwrap());
            assert!(buffers.free.lock().is_empty(), "{length}");
        }
    }
}
