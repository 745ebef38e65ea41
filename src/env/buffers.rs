//! Buffers that are used again.
//!
//! A producer at full speed fills hundreds of megabytes of batches a second. Memory fresh from the allocator costs
//! a page fault per 4 KiB, as much as the copy into it; a buffer that comes back warm costs nothing.

use bytes::Bytes;
use bytes::BytesMut;

use crate::env::sync::Mutex;

/// A bounded stack of empty buffers.
#[derive(Debug)]
pub(crate) struct BufferPool {
    buffers: Mutex<Pooled>,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Pooled {
    buffers: Vec<BytesMut>,
    bytes: usize,
}

impl BufferPool {
    /// A pool that keeps at most `max_bytes` of capacity for later.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { buffers: Mutex::default(), max_bytes }
    }

    /// An empty buffer; the one most recently put back, which is the likeliest to be in the processor's cache.
    pub(crate) fn take(&self) -> Option<BytesMut> {
        let mut pooled = self.buffers.lock();
        let buffer = pooled.buffers.pop()?;
        pooled.bytes = pooled.bytes.saturating_sub(buffer.capacity());
        Some(buffer)
    }

    /// Keeps `buffer` for later, unless the pool is full.
    pub(crate) fn put(&self, mut buffer: BytesMut) {
        buffer.clear();
        let mut pooled = self.buffers.lock();
        if buffer.capacity() > 0 && pooled.bytes.saturating_add(buffer.capacity()) <= self.max_bytes
        {
            pooled.bytes = pooled.bytes.saturating_add(buffer.capacity());
            pooled.buffers.push(buffer);
        }
    }

    /// Keeps the buffer behind `bytes` if nobody else reads it.
    pub(crate) fn reclaim(&self, bytes: Bytes) {
        if let Ok(buffer) = bytes.try_into_mut() {
            self.put(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_once_its_last_reader_is_gone() {
        let pool = BufferPool::new(1 << 20);
        let mut buffer = BytesMut::with_capacity(4096);
        buffer.extend_from_slice(b"batch");
        let bytes = buffer.freeze();
        pool.reclaim(bytes.clone());
        assert!(pool.take().is_none(), "still read elsewhere");
        pool.reclaim(bytes);
        let again = pool.take().unwrap();
        assert!(again.is_empty() && again.capacity() >= 4096);
    }

    #[test]
    fn the_pool_is_bounded() {
        let pool = BufferPool::new(10_000);
        for _ in 0..5 {
            pool.put(BytesMut::with_capacity(4096));
        }
        assert_eq!(std::iter::from_fn(|| pool.take()).count(), 2);
    }
}
