//! A file that is read from front to back, a piece at a time.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::base::{ErrorKind, Offset, ReadMode};
use crate::client::{Error, Result};
use crate::env::{File, FileSystem, OpenFile, OsFs};
use crate::storage::StorageError;

/// Bytes that are read at once from front to back, unless more are asked for.
const PIECE: usize = 256 << 10;

/// Bytes that are read at once after a jump.
const SMALL_PIECE: usize = 4 << 10;

/// A file, as long as it was when it was opened: what is appended meanwhile is not seen.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    file: Arc<dyn File>,
    length: u64,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self> {
        // A map would make the disk's errors signals, and they are what is looked for here.
        Self::open_on(&OsFs::new(ReadMode::Pread), path)
    }

    pub(super) fn open_on(fs: &dyn FileSystem, path: &Path) -> Result<Self> {
        let open = || Self::new(path, fs.open(&fs.resolve(path)?, OpenFile::Read)?);
        Ok(open().map_err(StorageError::io("open", path))?)
    }

    pub(super) fn new(path: &Path, file: Arc<dyn File>) -> io::Result<Self> {
        let length = file.len()?;
        Ok(Self { path: path.to_owned(), file, length })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The offset that the file is named by: the digits before the first `.`.
    pub(super) fn base_offset(&self) -> Option<Offset> {
        let digits = self.path.file_name()?.to_str()?.split('.').next()?;
        let all_digits = digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse().ok().filter(|_| all_digits).and_then(Offset::new)
    }

    pub(super) fn expect_base_offset(&self) -> Result<Offset> {
        self.base_offset().ok_or_else(|| {
            let path = self.path.display();
            let message = format!("{path}: the name does not begin with a segment's base offset");
            Error::new(ErrorKind::InvalidState, message)
        })
    }

    pub(super) fn pieces(&self) -> Pieces<'_> {
        Pieces { source: self, position: 0, bytes: Bytes::new() }
    }

    pub(super) fn corrupt(&self, what: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::CorruptMessage, format!("{}: {what}", self.path.display()))
    }
}

/// Reads a file by positions that mostly rise, with few calls to the disk.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    source: &'a Source,
    position: u64,
    bytes: Bytes,
}

impl Pieces<'_> {
    /// The `length` bytes at `position`, or as many of them as there are.
    pub(super) fn read(&mut self, position: u64, length: usize) -> Result<Bytes> {
        let available = self.source.length.saturating_sub(position);
        let available = usize::try_from(available).unwrap_or(usize::MAX);
        let length = length.min(available);
        if length == 0 {
            return Ok(Bytes::new());
        }
        if let Some(bytes) = self.held(position, length) {
            return Ok(bytes);
        }
        let end = self.position.saturating_add(self::length(self.bytes.len()));
        let goes_on = (self.position..=end).contains(&position);
        let piece = if goes_on { PIECE } else { SMALL_PIECE };
        // Given back first, so that there are never two.
        self.bytes = Bytes::new();
        let read = self.source.file.read(position, length.max(piece).min(available));
        self.bytes = read.map_err(StorageError::io("read", &self.source.path))?;
        self.position = position;
        Ok(self.bytes.slice(..length))
    }

    fn held(&self, position: u64, length: usize) -> Option<Bytes> {
        let start = usize::try_from(position.checked_sub(self.position)?).ok()?;
        let end = start.checked_add(length)?;
        (end <= self.bytes.len()).then(|| self.bytes.slice(start..end))
    }
}

/// A length in memory as a length in a file.
pub(super) fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
