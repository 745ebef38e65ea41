//! The content of a file in memory: a run of pieces, kept as they were written, by reference.

use std::collections::BTreeMap;
use std::io;

use bytes::{Bytes, BytesMut};

/// Non-overlapping pieces by position; what no piece covers reads as zeros.
#[derive(Clone, Debug, Default)]
pub(super) struct Extents {
    pieces: BTreeMap<u64, Bytes>,
    length: u64,
}

impl Extents {
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// Puts `part` at `position`, over what is there, and returns the position behind it.
    pub(super) fn write(&mut self, position: u64, part: &Bytes) -> io::Result<u64> {
        let end = position.checked_add(length_of(part)).ok_or(io::ErrorKind::FileTooLarge)?;
        if !part.is_empty() {
            self.clear(position, end);
            self.pieces.insert(position, part.clone());
            self.length = self.length.max(end);
        }
        Ok(end)
    }

    /// Cuts the content, or extends it with zeros.
    pub(super) fn set_len(&mut self, length: u64) {
        self.clear(length, u64::MAX);
        self.length = length;
    }

    /// Frees `from..to` of pieces.
    fn clear(&mut self, from: u64, to: u64) {
        let overlapping = self
            .pieces
            .range(..to)
            .rev()
            .take_while(|(start, piece)| *start + length_of(piece) > from)
            .map(|(start, _)| *start)
            .collect::<Vec<_>>();
        for start in overlapping {
            let Some(piece) = self.pieces.remove(&start) else { continue };
            if start < from {
                self.pieces.insert(start, piece.slice(..index(from - start)));
            }
            if start + length_of(&piece) > to {
                self.pieces.insert(to, piece.slice(index(to - start)..));
            }
        }
    }

    pub(super) fn read(&self, position: u64, length: usize) -> io::Result<Bytes> {
        let end = position.checked_add(u64::try_from(length).unwrap_or(u64::MAX));
        let end = end.filter(|end| *end <= self.length).ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut pieces = self.pieces.range(..end).rev();
        // Nearly every read lies within one piece: a reference, no copy.
        if let Some((start, piece)) = pieces.next()
            && *start <= position
            && start + length_of(piece) >= end
        {
            return Ok(piece.slice(index(position - start)..index(end - start)));
        }
        let mut buffer = BytesMut::zeroed(length);
        let overlapping = self.pieces.range(..end).rev();
        for (start, piece) in overlapping.take_while(|(s, p)| **s + length_of(p) > position) {
            let (from, to) = ((*start).max(position), (start + length_of(piece)).min(end));
            let source = piece.slice(index(from - start)..index(to - start));
            if let Some(target) = buffer.get_mut(index(from - position)..index(to - position)) {
                target.copy_from_slice(&source);
            }
        }
        Ok(buffer.freeze())
    }
}

pub(super) fn length_of(piece: &Bytes) -> u64 {
    u64::try_from(piece.len()).unwrap_or(u64::MAX)
}

/// A length within one piece, which is in memory, so it fits.
fn index(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
