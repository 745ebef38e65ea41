//! A `.timeindex` file: from time to offset.

use std::path::Path;

use bytes::Buf;

use crate::base::{Offset, Timestamp};
use crate::client::{Error, Result};
use crate::inspect::entries::{self, Entries};
use crate::inspect::source::{Source, length};
use crate::inspect::time_check::TimeCheck;
use crate::inspect::{LogFile, OffsetIndex};

const ENTRY: usize = 12;

/// A segment's `.timeindex` file.
///
/// ```
/// use brooklet::inspect::{LogFile, OffsetIndex, TimeIndex};
///
/// # let dir = "tests/fixtures/golden/partition-dir/golden-0";
/// let times = TimeIndex::open(format!("{dir}/00000000000000000000.timeindex"))?;
/// times.sanity_check()?;
/// let first = times.entries().next().unwrap()?;
/// assert_eq!((first.timestamp.as_millis(), first.offset.value()), (1_700_000_000_025, 5));
///
/// let offsets = OffsetIndex::open(format!("{dir}/00000000000000000000.index"))?;
/// let log = LogFile::open(format!("{dir}/00000000000000000000.log"))?;
/// assert_eq!(times.verify(&offsets, &log).count(), 0);
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Debug)]
pub struct TimeIndex {
    source: Source,
    base: Offset,
}

/// One entry of a [`TimeIndex`]: in the batch that ends with `offset`, the largest timestamp so far is `timestamp`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct TimeEntry {
    /// The largest timestamp up to there.
    pub timestamp: Timestamp,
    /// The last offset of the batch that first had it.
    pub offset: Offset,
}

/// What is wrong with an entry of a [`TimeIndex`], as [`TimeIndex::verify`] finds it.
///
/// ```
/// use brooklet::inspect::{LogFile, OffsetIndex, TimeIndex, TimeMismatch};
///
/// # let dir = "tests/fixtures/golden/partition-dir/golden-0";
/// # let [times, offsets, log] = ["timeindex", "index", "log"].map(|s| format!("{dir}/00000000000000000000.{s}"));
/// # let (times, log) = (TimeIndex::open(times)?, LogFile::open(log)?);
/// # let offsets = OffsetIndex::open(offsets)?;
/// for mismatch in times.verify(&offsets, &log) {
///     match mismatch? {
///         TimeMismatch::Timestamp { entry, found } => println!("{entry:?}, the batch has {found:?}"),
///         other => println!("{other:?}"),
///     }
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TimeMismatch {
    /// No batch ends with the entry's offset.
    NotFound {
        /// The entry.
        entry: TimeEntry,
        /// Last offset of the first batch that ends behind it, `None` if none does.
        found: Option<Offset>,
    },
    /// The largest timestamp of a record in the batch is another one.
    Timestamp {
        /// The entry.
        entry: TimeEntry,
        /// The largest timestamp there, `None` if there is none.
        found: Option<Timestamp>,
    },
    /// The timestamp is not larger than the one before.
    TimestampOutOfOrder {
        /// The entry.
        entry: TimeEntry,
        /// The entry before it.
        previous: TimeEntry,
    },
    /// The offset is below one before. The entry is not compared with the log.
    OffsetOutOfOrder {
        /// The entry.
        entry: TimeEntry,
        /// The largest offset before it.
        previous: Offset,
    },
    /// The batch is there, and its records cannot be read.
    Unreadable {
        /// The entry.
        entry: TimeEntry,
        /// Why not.
        error: Error,
    },
}

impl TimeIndex {
    /// Opens the index of the segment that the file's name tells.
    ///
    /// # Errors
    /// As [`OffsetIndex::open`].
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
    /// An item is an error as in [`OffsetIndex::entries`].
    pub fn entries(&self) -> impl Iterator<Item = Result<TimeEntry>> + use<'_> {
        let entries = Entries::new(&self.source, 0, ENTRY);
        let entries = entries.map(|(number, bytes)| self.decode(number, &bytes?));
        entries::until_padding(self.base, |entry: &TimeEntry| entry.offset, entries)
    }

    fn decode(&self, number: usize, mut bytes: &[u8]) -> Result<TimeEntry> {
        let (timestamp, relative) = (bytes.get_i64(), bytes.get_i32());
        let entry = Timestamp::from_millis(timestamp).and_then(|timestamp| {
            Some(TimeEntry { timestamp, offset: entries::offset(self.base, relative)? })
        });
        entry.ok_or_else(|| {
            let what = format_args!("entry {number} ({timestamp}, {relative}) makes no sense");
            self.source.corrupt(what)
        })
    }

    /// What Kafka checks of an index to decide whether it has to be rebuilt: that it consists of whole entries, that
    /// the last one's timestamp is not below the first one's, and its offset not below the base offset. The log is not
    /// looked at.
    ///
    /// # Errors
    /// [`CorruptMessage`](crate::ErrorKind::CorruptMessage) if it is not so.
    pub fn sanity_check(&self) -> Result<()> {
        if let Some(last) = entries::last_entry(&self.source, ENTRY)? {
            let mut last = &last[..];
            let (timestamp, relative) = (last.get_i64(), last.get_i32());
            let first = (&self.source.pieces().read(0, ENTRY)?[..]).get_i64();
            if timestamp < first {
                let what =
                    format_args!("the last timestamp {timestamp} is below the first {first}");
                return Err(self.source.corrupt(what));
            }
            entries::check_last_offset(&self.source, self.base, relative)?;
        }
        entries::check_whole_entries(&self.source, ENTRY)
    }

    /// What is wrong with the entries: by themselves, and beside `log`, in which `offsets` tells where to look. Entries
    /// that make no sense are left out, see [`entries`](Self::entries).
    ///
    /// # Errors
    /// An item is an error if the disk failed.
    pub fn verify(
        &self,
        offsets: &OffsetIndex,
        log: &LogFile,
    ) -> impl Iterator<Item = Result<TimeMismatch>> {
        TimeCheck::new(self.entries(), offsets.entries(), log)
    }
}
