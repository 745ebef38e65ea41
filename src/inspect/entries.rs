//! Files of entries that all have the same size.

use bytes::Bytes;

use crate::base::{ErrorKind, Offset};
use crate::client::{Error, Result};
use crate::inspect::source::{Pieces, Source, length};

/// Entries of `size` bytes each, from `start` to the end of the file.
#[derive(Debug)]
pub(super) struct Entries<'a> {
    source: &'a Source,
    pieces: Pieces<'a>,
    position: u64,
    size: usize,
    number: usize,
}

impl<'a> Entries<'a> {
    pub(super) fn new(source: &'a Source, start: u64, size: usize) -> Self {
        Self { source, pieces: source.pieces(), position: start, size, number: 0 }
    }
}

impl Iterator for Entries<'_> {
    /// Number and bytes of an entry. Bytes that are left over at the end are an error, as is a failure of the disk,
    /// after which there is nothing.
    type Item = (usize, Result<Bytes>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.position >= self.source.length() {
            return None;
        }
        let entry = self.pieces.read(self.position, self.size);
        self.position = match entry {
            Ok(_) => self.position.saturating_add(length(self.size)),
            Err(_) => u64::MAX,
        };
        let entry = entry.and_then(|entry| match self.size - entry.len() {
            0 => Ok(entry),
            _ => Err(self
                .source
                .corrupt(format_args!("{} bytes are left over at the end", entry.len()))),
        });
        let number = self.number;
        self.number += 1;
        Some((number, entry))
    }
}

/// Up to the zeros of a file that was preallocated: an entry behind the first whose offset is that of the segment.
pub(super) fn until_padding<T>(
    base: Offset,
    offset: fn(&T) -> Offset,
    entries: impl Iterator<Item = Result<T>>,
) -> impl Iterator<Item = Result<T>> {
    let mut is_first = true;
    entries.take_while(move |entry| {
        let is_padding = entry.as_ref().is_ok_and(|entry| offset(entry) == base);
        std::mem::take(&mut is_first) || !is_padding
    })
}

/// What an entry that cannot be used means for those who check it: nothing, unless the disk failed.
pub(super) fn passed_on<T>(error: Error) -> Option<Result<T>> {
    (error.kind() != ErrorKind::CorruptMessage).then_some(Err(error))
}

/// The offset that an entry means by a relative one, `None` if it would be negative.
pub(super) fn offset(base: Offset, relative: i32) -> Option<Offset> {
    base.value().checked_add(relative.into()).and_then(Offset::new)
}

/// The last whole entry of an index.
pub(super) fn last_entry(source: &Source, size: usize) -> Result<Option<Bytes>> {
    let count = source.length() / length(size);
    let Some(last) = count.checked_sub(1) else { return Ok(None) };
    source.pieces().read(last * length(size), size).map(Some)
}

pub(super) fn check_last_offset(source: &Source, base: Offset, relative: i32) -> Result<()> {
    if relative >= 0 {
        return Ok(());
    }
    let last = i128::from(base.value()) + i128::from(relative);
    Err(source.corrupt(format_args!("the last offset is {last}, below the base offset {base}")))
}

pub(super) fn check_whole_entries(source: &Source, size: usize) -> Result<()> {
    if source.length().is_multiple_of(length(size)) {
        return Ok(());
    }
    let bytes = source.length();
    Err(source.corrupt(format_args!("{bytes} bytes are no multiple of an entry's {size}")))
}
