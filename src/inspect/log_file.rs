//! A `.log` file: batches one after another.

use std::fmt;
use std::path::Path;

use bytes::Bytes;

use crate::base::Offset;
use crate::client::{Error, Result};
use crate::inspect::Batch;
use crate::inspect::source::{Pieces, Source, length};
use crate::record::{self, BatchError, BatchHeader, Frame, HEADER_LENGTH, Limits};

/// A segment's `.log` file, opened to look at its batches.
///
/// Batches that cannot be read are passed over as far as it is known where the next one begins:
///
/// ```
/// use brooklet::inspect::LogFile;
///
/// # let dir = "tests/fixtures/golden/partition-dir/golden-0";
/// let log = LogFile::open(format!("{dir}/00000000000000000000.log"))?;
/// for batch in log.batches() {
///     match batch {
///         Ok(batch) if batch.is_valid() => println!("{}: {}", batch.position(), batch.base_offset()),
///         Ok(batch) => println!("{}: the checksum is wrong", batch.position()),
///         Err(bad) => println!("{}: no batch in {} bytes: {bad}", bad.position(), bad.size_bytes()),
///     }
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Debug)]
pub struct LogFile {
    source: Source,
    limits: Limits,
}

impl LogFile {
    /// Opens a file of batches, whatever its name.
    ///
    /// # Errors
    /// [`Storage`](crate::ErrorKind::Storage) or [`ReadOnly`](crate::ErrorKind::ReadOnly) if it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::new(Source::open(path.as_ref())?))
    }

    pub(super) fn new(source: Source) -> Self {
        Self { source, limits: Limits::default() }
    }

    /// Most bytes that one batch may take in memory, as it is in the file and decompressed. Larger ones are errors.
    /// Default: 64 MiB.
    #[must_use]
    pub fn max_batch_bytes(mut self, bytes: usize) -> Self {
        self.limits = Limits { max_decompressed_bytes: bytes };
        self
    }

    /// The path that the file was opened by.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// The base offset in the file's name, `None` if it has another name.
    pub fn base_offset(&self) -> Option<Offset> {
        self.source.base_offset()
    }

    /// Length of the file in bytes when it was opened. What is appended later is not looked at.
    pub fn size_bytes(&self) -> u64 {
        self.source.length()
    }

    /// The batches, from the front of the file on.
    pub fn batches(&self) -> Batches<'_> {
        self.batches_from(0)
    }

    /// The batches from `position` on, where one begins.
    pub fn batches_from(&self, position: u64) -> Batches<'_> {
        Batches { log: self, pieces: self.source.pieces(), position: Some(position) }
    }

    pub(super) fn walk(&self) -> Walk<'_> {
        Walk { batches: self.batches(), position: 0 }
    }
}

/// Iterates over the batches of a [`LogFile`], and over the places where one should be and is not.
///
/// ```
/// use brooklet::inspect::LogFile;
///
/// # let dir = "tests/fixtures/golden/partition-dir/golden-0";
/// let log = LogFile::open(format!("{dir}/00000000000000000000.log"))?;
/// // Up to the first batch that cannot be read:
/// let batches = log.batches().collect::<Result<Vec<_>, _>>()?;
/// assert_eq!(batches.len(), 26);
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Debug)]
pub struct Batches<'a> {
    log: &'a LogFile,
    pieces: Pieces<'a>,
    /// `None` once it is not known where a batch could begin.
    position: Option<u64>,
}

impl Iterator for Batches<'_> {
    type Item = Result<Batch, BadBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let position = self.position.take()?;
        let remaining = self.log.size_bytes().saturating_sub(position);
        let last = |error| Some(Err(BadBatch { position, size: remaining, is_last: true, error }));
        let header = match self.pieces.read(position, HEADER_LENGTH) {
            Ok(header) => header,
            Err(error) => return last(error),
        };
        let size = match Frame::peek(&header, remaining) {
            Frame::End => return None,
            Frame::Torn => return last(self.log.bad(position, &torn(&header, remaining))),
            Frame::Corrupt => return last(self.log.bad(position, &"no batch begins like this")),
            Frame::Complete(size) => size,
        };
        self.position = Some(position.saturating_add(length(size)));
        if size > self.log.limits.max_decompressed_bytes {
            let limit = self.log.limits.max_decompressed_bytes;
            let error = self.log.bad(position, &format_args!("{size} bytes are more than {limit}"));
            return Some(Err(BadBatch { position, size: length(size), is_last: false, error }));
        }
        match self.pieces.read(position, size) {
            Ok(bytes) => Some(match record::Batch::parse(bytes) {
                Ok(encoded) => Ok(Batch::new(position, encoded, self.log.limits)),
                Err(error) => {
                    let error = self.log.bad(position, &error);
                    Err(BadBatch { position, size: length(size), is_last: false, error })
                }
            }),
            Err(error) => {
                self.position = None;
                last(error)
            }
        }
    }
}

fn torn(header: &[u8], remaining: u64) -> BatchError {
    let needed = BatchHeader::parse(header).map_or(HEADER_LENGTH, |header| header.size());
    BatchError::Truncated { needed, available: usize::try_from(remaining).unwrap_or(usize::MAX) }
}

impl LogFile {
    fn bad(&self, position: u64, what: &dyn fmt::Display) -> Error {
        self.source.corrupt(format_args!("position {position}: {what}"))
    }
}

/// Bytes of a `.log` file where a batch should be, and none can be read.
///
/// ```
/// use brooklet::inspect::LogFile;
///
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("00000000000000000000.log");
/// # let golden = "tests/fixtures/golden/partition-dir/golden-0/00000000000000000000.log";
/// # std::fs::write(&path, &std::fs::read(golden).unwrap()[..300]).unwrap();
/// // The first batch takes 283 bytes, and a crash left 17 of the second.
/// let log = LogFile::open(&path)?;
/// let bad = log.batches().find_map(|batch| batch.err()).unwrap();
/// assert_eq!((bad.position(), bad.size_bytes(), bad.is_last()), (283, 17, true));
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BadBatch {
    position: u64,
    size: u64,
    is_last: bool,
    error: Error,
}

impl BadBatch {
    /// Where in the file it begins.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How many bytes are passed over: those of the batch, or all that there are if [`is_last`](Self::is_last).
    pub fn size_bytes(&self) -> u64 {
        self.size
    }

    /// Whether it is not known where the next batch would begin: the batch is cut off, its length makes no sense, or
    /// the disk failed.
    pub fn is_last(&self) -> bool {
        self.is_last
    }

    /// What is wrong: of kind [`CorruptMessage`](crate::ErrorKind::CorruptMessage), unless the disk failed.
    pub fn error(&self) -> &Error {
        &self.error
    }
}

impl fmt::Display for BadBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for BadBatch {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl From<BadBatch> for Error {
    fn from(bad: BadBatch) -> Self {
        bad.error
    }
}

/// Goes from header to header, without a look at the records.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    batches: Batches<'a>,
    position: u64,
}

impl Walk<'_> {
    /// Goes on at `position`, where a batch begins, if that is ahead.
    pub(super) fn skip_to(&mut self, position: u64) {
        self.position = self.position.max(position);
    }

    /// The next batch that ends with `offset` or a later one, and its position. It is found again by the next call.
    pub(super) fn find(&mut self, offset: Offset) -> Result<Option<(u64, BatchHeader)>> {
        while let Some((header, size)) = self.header_at(self.position)? {
            if let Some(header) = header.filter(|header| header.last_offset() >= offset) {
                return Ok(Some((self.position, header)));
            }
            self.position = self.position.saturating_add(size);
        }
        Ok(None)
    }

    /// Header and size of the batch at `position`. No header: it makes no sense. Nothing: no whole batch is there.
    pub(super) fn header_at(
        &mut self,
        position: u64,
    ) -> Result<Option<(Option<BatchHeader>, u64)>> {
        let bytes = self.batches.pieces.read(position, HEADER_LENGTH)?;
        let remaining = self.batches.log.size_bytes().saturating_sub(position);
        let Frame::Complete(size) = Frame::peek(&bytes, remaining) else { return Ok(None) };
        Ok(Some((BatchHeader::parse(&bytes).ok(), length(size))))
    }

    /// The header of the batch at `position` and its bytes, if it makes sense.
    pub(super) fn whole_header_at(
        &mut self,
        position: u64,
    ) -> Result<Option<(Bytes, BatchHeader)>> {
        let found = self.header_at(position)?.and_then(|(header, _)| header);
        let Some(header) = found else { return Ok(None) };
        Ok(Some((self.batches.pieces.read(position, HEADER_LENGTH)?, header)))
    }

    /// The whole batch at `position`.
    pub(super) fn batch_at(&mut self, position: u64) -> Option<Result<Batch, BadBatch>> {
        self.batches.position = Some(position);
        self.batches.next()
    }
}
