//! Room for records, which are as large as their senders make them: that there is none is an error.
//!
//! What collections do by themselves when memory runs out ends the process. Used wherever the size comes from outside;
//! what is small by itself does not ask.

use std::io::{self, Write};

use bytes::{Bytes, BytesMut};

use super::error::BatchError;

/// An empty buffer with room for `size` bytes.
///
/// # Errors
/// [`BatchError::OutOfMemory`].
pub fn buffer(size: usize) -> Result<BytesMut, BatchError> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(|_| BatchError::OutOfMemory)?;
    let empty = |_| BytesMut::new();
    // Nobody else has a part in it, so that nothing is copied.
    Ok(Bytes::from(bytes).try_into_mut().unwrap_or_else(empty))
}

/// Makes room for `count` more bytes in `buf`.
#[inline]
pub(super) fn reserve(buf: &mut BytesMut, count: usize) -> Result<(), BatchError> {
    if count <= buf.capacity() - buf.len() { Ok(()) } else { grow(buf, count) }
}

#[cold]
fn grow(buf: &mut BytesMut, count: usize) -> Result<(), BatchError> {
    let needed = buf.len().saturating_add(count);
    // Twice as large, or filling it step by step would copy it at each.
    let twice = needed.max(buf.capacity().saturating_mul(2));
    let mut larger = buffer(twice).or_else(|_| buffer(needed))?;
    larger.extend_from_slice(buf);
    *buf = larger;
    Ok(())
}

/// A copy of `bytes`.
pub(super) fn copy(bytes: &[u8]) -> Result<BytesMut, BatchError> {
    let mut copy = buffer(bytes.len())?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

/// Bytes that a codec writes.
#[derive(Debug)]
pub(super) struct Output(Vec<u8>);

impl Output {
    /// With room for `size` bytes, as a guess.
    pub(super) fn with_room(size: usize) -> io::Result<Self> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size)?;
        Ok(Self(bytes))
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_reserve(bytes.len())?;
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_that_cannot_be_had_is_an_error() {
        let needed = isize::MAX.cast_unsigned();
        assert_eq!(buffer(needed).unwrap_err(), BatchError::OutOfMemory);
        let mut small = BytesMut::from(&b"abc"[..]);
        let error = reserve(&mut small, needed - 3).unwrap_err();
        assert_eq!(error, BatchError::OutOfMemory);
        assert_eq!(small, b"abc"[..]);
    }

    #[test]
    fn a_buffer_grows_by_half_at_least_and_keeps_its_bytes() {
        let mut buf = buffer(100).unwrap();
        assert!(buf.is_empty() && buf.capacity() >= 100);
        buf.extend_from_slice(&[7; 100]);
        reserve(&mut buf, 1).unwrap();
        assert!(buf.capacity() >= 200);
        assert_eq!(buf, [7; 100][..]);
        assert_eq!(copy(&buf).unwrap(), buf);
    }
}
