//! A `.txnindex` file: the transactions that were aborted in a segment.

use std::path::Path;

use crate::base::{Offset, ProducerId};
use crate::client::Result;
use crate::inspect::entries::Entries;
use crate::inspect::source::Source;
use crate::storage;

/// A segment's `.txnindex` file.
///
/// ```
/// use brooklet::inspect::TransactionIndex;
///
/// # let dir = "tests/fixtures/golden/partition-dir/golden-0";
/// let index = TransactionIndex::open(format!("{dir}/00000000000000000000.txnindex"))?;
/// for transaction in index.entries() {
///     let transaction = transaction?;
///     println!("{}: {}", transaction.producer_id, transaction.first_offset);
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Debug)]
pub struct TransactionIndex {
    source: Source,
}

/// One entry of a [`TransactionIndex`]: a transaction whose records must not be read.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct AbortedTransaction {
    /// Who wrote the records.
    pub producer_id: ProducerId,
    /// Offset of the first record.
    pub first_offset: Offset,
    /// Offset of the marker that ended the transaction.
    pub last_offset: Offset,
    /// The last stable offset when the marker was written: all that began before it had ended.
    pub last_stable_offset: Offset,
}

impl TransactionIndex {
    /// Opens an index, whatever its name.
    ///
    /// # Errors
    /// [`Storage`](crate::ErrorKind::Storage) or [`ReadOnly`](crate::ErrorKind::ReadOnly) if it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::new(Source::open(path.as_ref())?))
    }

    pub(super) fn new(source: Source) -> Self {
        Self { source }
    }

    /// The path that the file was opened by.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// The entries, in the order of the markers.
    ///
    /// # Errors
    /// An item is an error of kind [`CorruptMessage`](crate::ErrorKind::CorruptMessage) if its version is not 0 or its
    /// fields are negative, and the last one if the file ends with a part of an entry; of another kind if the disk
    /// failed.
    pub fn entries(&self) -> impl Iterator<Item = Result<AbortedTransaction>> {
        let entries = Entries::new(&self.source, 0, storage::AbortedTransaction::SIZE);
        entries.map(|(number, bytes)| {
            let entry = storage::AbortedTransaction::take(&mut bytes?);
            let entry = entry.ok_or_else(|| {
                self.source.corrupt(format_args!("entry {number} makes no sense"))
            })?;
            Ok(AbortedTransaction {
                producer_id: entry.producer,
                first_offset: entry.first,
                last_offset: entry.last,
                last_stable_offset: entry.last_stable,
            })
        })
    }
}
