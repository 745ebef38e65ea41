//! A `.snapshot` file: what a log knew of its producers.

use std::path::Path;

use bytes::Buf;

use crate::base::{Offset, ProducerEpoch, ProducerId, Timestamp};
use crate::client::Result;
use crate::inspect::entries::Entries;
use crate::inspect::source::{Source, length};
use crate::record::{Crc32c, previous_sequence};
use crate::storage::SnapshotEntry;

const VERSION: i16 = 1;
const HEADER: usize = 10;
const ENTRY: usize = SnapshotEntry::SIZE;

/// First byte that the checksum covers.
const CRC_START: u64 = 6;

/// Bytes of which the checksum is computed at once.
const CHUNK: usize = 64 << 10;

/// A `.snapshot` file: the producers that a log knew at the offset that the file is named by.
///
/// ```
/// use brooklet::inspect::ProducerSnapshot;
///
/// # let dir = "tests/fixtures/golden/partition-dir/golden-0";
/// let snapshot = ProducerSnapshot::open(format!("{dir}/00000000000000000047.snapshot"))?;
/// for producer in snapshot.entries() {
///     let producer = producer?;
///     println!("{}: {:?}", producer.producer_id, producer.last_batch);
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Debug)]
pub struct ProducerSnapshot {
    source: Source,
}

/// One entry of a [`ProducerSnapshot`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct ProducerEntry {
    /// Who it is about.
    pub producer_id: ProducerId,
    /// The incarnation that wrote last.
    pub producer_epoch: ProducerEpoch,
    /// Epoch of the coordinator that ended its last transaction, `None` if none has ended.
    pub coordinator_epoch: Option<i32>,
    /// First offset of the transaction that is open.
    pub current_transaction_first_offset: Option<Offset>,
    /// Timestamp of what it wrote last, the marker of a transaction included.
    pub last_timestamp: Option<Timestamp>,
    /// Its last batch with records, `None` if there are only markers.
    pub last_batch: Option<ProducerBatch>,
}

/// The last batch of the producer in a [`ProducerEntry`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct ProducerBatch {
    /// Sequence number of the batch's first offset.
    pub first_sequence: i32,
    /// Sequence number of the batch's last offset.
    pub last_sequence: i32,
    /// Its last offset.
    pub last_offset: Offset,
    /// The last offset minus the first.
    pub offset_delta: u32,
}

impl ProducerSnapshot {
    /// Opens a snapshot, whatever its name, and checks it as a whole.
    ///
    /// # Errors
    /// [`CorruptMessage`](crate::ErrorKind::CorruptMessage) if its version is not 1, its checksum is wrong, or it has
    /// not as many entries as it says; [`Storage`](crate::ErrorKind::Storage) or
    /// [`ReadOnly`](crate::ErrorKind::ReadOnly) if it cannot be opened or read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::new(Source::open(path.as_ref())?)
    }

    pub(super) fn new(source: Source) -> Result<Self> {
        let header = source.pieces().read(0, HEADER)?;
        if header.len() < HEADER {
            return Err(source.corrupt("it is too short for a snapshot"));
        }
        let mut header = &header[..];
        let (version, stored, count) = (header.get_i16(), header.get_u32(), header.get_i32());
        if version != VERSION {
            return Err(source.corrupt(format_args!("it has version {version}, not {VERSION}")));
        }
        let computed = checksum(&source)?;
        if stored != computed {
            let what = format_args!("it has CRC-32C {computed:08x}, its header says {stored:08x}");
            return Err(source.corrupt(what));
        }
        let entries = source.length().saturating_sub(length(HEADER));
        let declared = u64::try_from(count).ok().map(|count| count * length(ENTRY));
        if declared != Some(entries) {
            let what =
                format_args!("{entries} bytes are not the {count} entries that it should have");
            return Err(source.corrupt(what));
        }
        Ok(Self { source })
    }

    /// The path that the file was opened by.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// The offset up to which the log was looked at, from the file's name; `None` if it has another name.
    pub fn offset(&self) -> Option<Offset> {
        self.source.base_offset()
    }

    /// The producers.
    ///
    /// # Errors
    /// An item is an error of kind [`CorruptMessage`](crate::ErrorKind::CorruptMessage) if its fields make no sense,
    /// of another kind if the disk failed.
    pub fn entries(&self) -> impl Iterator<Item = Result<ProducerEntry>> {
        let entries = Entries::new(&self.source, length(HEADER), ENTRY);
        entries.map(|(number, bytes)| {
            SnapshotEntry::take(&mut bytes?)
                .map(ProducerEntry::from)
                .ok_or_else(|| self.source.corrupt(format_args!("entry {number} makes no sense")))
        })
    }
}

fn checksum(source: &Source) -> Result<u32> {
    let mut crc = Crc32c::new();
    let mut pieces = source.pieces();
    let mut position = CRC_START;
    while position < source.length() {
        let chunk = pieces.read(position, CHUNK)?;
        crc.update(&chunk);
        position += length(chunk.len());
    }
    Ok(crc.finish())
}

impl From<SnapshotEntry> for ProducerEntry {
    fn from(entry: SnapshotEntry) -> Self {
        let last_batch = entry.last_sequence.zip(entry.last_offset);
        Self {
            producer_id: entry.producer,
            producer_epoch: entry.epoch,
            coordinator_epoch: entry.coordinator_epoch,
            current_transaction_first_offset: entry.transaction,
            last_timestamp: entry.last_timestamp,
            last_batch: last_batch.map(|(last_sequence, last_offset)| ProducerBatch {
                first_sequence: previous_sequence(last_sequence, entry.offset_delta),
                last_sequence,
                last_offset,
                offset_delta: entry.offset_delta,
            }),
        }
    }
}
