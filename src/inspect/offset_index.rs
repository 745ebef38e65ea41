//! An `.index` file: from offset to position.

use std::path::Path;

use bytes::Buf;

use crate::base::Offset;
use crate::client::Result;
use crate::inspect::LogFile;
use crate::inspect::entries::{self, Entries};
use crate::inspect::source::{Source, length};

const ENTRY: usize = 8;

/// A segment's `.index` file.
///
/// ```
/// use brooklet::inspect::{LogFile, OffsetIndex};
///
/// # let dir = "tests/fixtures/golden/partition-dir/golden-0";
/// let index = OffsetIndex::open(format!("{dir}/00000000000000000000.index"))?;
/// for entry in index.entries() {
///     let entry = entry?;
///     println!("{} at {}", entry.offset, entry.position);
/// }
/// let log = LogFile::open(format!("{dir}/00000000000000000000.log"))?;
/// assert_eq!(index.verify(&log).count(), 0);
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Debug)]
pub struct OffsetIndex {
    source: Source,
    base: Offset,
}

/// One entry of an [`OffsetIndex`]: the batch at `position` ends with `offset`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct OffsetEntry {
    /// The last offset of a batch.
    pub offset: Offset,
    /// Where it begins in the `.log` file.
    pub position: u64,
}

/// An entry of an [`OffsetIndex`] that does not fit its log.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct OffsetMismatch {
    /// The entry.
    pub entry: OffsetEntry,
    /// The last offset of the batch that is there, `None` if none is.
    pub found: Option<Offset>,
}

impl OffsetIndex {
    /// Opens the index of the segment that the file's name tells.
    ///
    /// # Errors
    /// [`InvalidState`](crate::ErrorKind::InvalidState) if the name does not begin with a base offset;
    /// [`Storage`](crate::ErrorKind::Storage) or [`ReadOnly`](crate::ErrorKind::ReadOnly) if the file cannot be
    /// opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::new(Source::open(path.as_ref())?)
    }

    pub(super) fn new(source: Source) -> Result<Self> {
        let base = source.expect_base_offset()?;
        Ok(Self { source, base })
    }

    /// The path that the file was opened by.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// The base offset in the file's name: the entries' offsets count from it.
    pub fn base_offset(&self) -> Offset {
        self.base
    }

    /// Number of whole entries, the padding of a file that was preallocated included.
    pub fn entry_count(&self) -> u64 {
        self.source.length() / length(ENTRY)
    }

    /// The entries, up to the padding: an entry behind the first whose offset is the base offset.
    ///
    /// # Errors
    /// An item is an error of kind [`CorruptMessage`](crate::ErrorKind::CorruptMessage) if its fields are negative, and
    /// the last one if the file ends with a part of an entry; of another kind if the disk failed.
    pub fn entries(&self) -> impl Iterator<Item = Result<OffsetEntry>> + use<'_> {
        let entries = Entries::new(&self.source, 0, ENTRY);
        let entries = entries.map(|(number, bytes)| self.decode(number, &bytes?));
        entries::until_padding(self.base, |entry: &OffsetEntry| entry.offset, entries)
    }

    fn decode(&self, number: usize, mut bytes: &[u8]) -> Result<OffsetEntry> {
        let (relative, position) = (bytes.get_i32(), bytes.get_i32());
        let entry = entries::offset(self.base, relative)
            .and_then(|offset| Some(OffsetEntry { offset, position: position.try_into().ok()? }));
        entry.ok_or_else(|| {
            let what = format_args!("entry {number} ({relative}, {position}) makes no sense");
            self.source.corrupt(what)
        })
    }

    /// What Kafka checks of an index to decide whether it has to be rebuilt: that it consists of whole entries, and
    /// that the last one's offset is not below the base offset. The log is not looked at.
    ///
    /// # Errors
    /// [`CorruptMessage`](crate::ErrorKind::CorruptMessage) if it is not so.
    pub fn sanity_check(&self) -> Result<()> {
        if let Some(last) = entries::last_entry(&self.source, ENTRY)? {
            entries::check_last_offset(&self.source, self.base, (&last[..]).get_i32())?;
        }
        entries::check_whole_entries(&self.source, ENTRY)
    }

    /// The entries that do not fit `log`: the batch at their position does not end with their offset, or none is
    /// there. Entries that make no sense by themselves are left out, see [`entries`](Self::entries).
    ///
    /// # Errors
    /// An item is an error if the disk failed.
    pub fn verify(&self, log: &LogFile) -> impl Iterator<Item = Result<OffsetMismatch>> {
        let mut walk = log.walk();
        self.entries().filter_map(move |entry| {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return entries::passed_on(error),
            };
            match walk.header_at(entry.position) {
                Ok(found) => {
                    let found = found.and_then(|(header, _)| Some(header?.last_offset()));
                    let fits = found == Some(entry.offset);
                    (!fits).then_some(Ok(OffsetMismatch { entry, found }))
                }
                Err(error) => Some(Err(error)),
            }
        })
    }
}
