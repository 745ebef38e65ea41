//! One batch of a `.log` file, and its records.

use crate::base::{Compression, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use crate::client::{Headers, Result};
use crate::record::{
    self, BatchHeader, ControlRecord, DecodedBatch, Limits, MarkerKind, RecordIter, RecordView,
    TimestampType, next_sequence,
};

/// A batch as it lies in a `.log` file.
///
/// Its header made sense; whether the bytes are those that were written is told by [`is_valid`](Batch::is_valid).
///
/// ```
/// use brooklet::inspect::LogFile;
///
/// # let dir = "tests/fixtures/golden/partition-dir/golden-0";
/// let log = LogFile::open(format!("{dir}/00000000000000000000.log"))?;
/// let batch = log.batches().next().unwrap()?;
/// assert!(batch.is_valid());
/// assert_eq!((batch.base_offset().value(), batch.last_offset().value()), (0, 1));
/// assert_eq!(batch.producer_id(), None);
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Batch {
    position: u64,
    encoded: record::Batch,
    limits: Limits,
}

impl Batch {
    pub(super) fn new(position: u64, encoded: record::Batch, limits: Limits) -> Self {
        Self { position, encoded, limits }
    }

    fn header(&self) -> &BatchHeader {
        self.encoded.header()
    }

    /// Where in the file it begins.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes that it takes in the file, header included.
    pub fn size_bytes(&self) -> usize {
        self.header().size()
    }

    /// The bytes, header included.
    pub fn bytes(&self) -> &[u8] {
        self.encoded.bytes()
    }

    /// Version of the format: 2. Others cannot be read.
    pub fn magic(&self) -> u8 {
        2
    }

    /// The offset from which the records' offsets count. After compaction no record may have it.
    pub fn base_offset(&self) -> Offset {
        self.header().base_offset()
    }

    /// The last offset that the batch takes. After compaction no record may have it.
    pub fn last_offset(&self) -> Offset {
        self.header().last_offset()
    }

    /// Number of records: after compaction perhaps fewer than offsets, even none.
    pub fn record_count(&self) -> u32 {
        self.header().record_count()
    }

    /// Epoch of the leader that appended it, `None` before a leader has.
    pub fn leader_epoch(&self) -> Option<LeaderEpoch> {
        self.header().leader_epoch()
    }

    /// How the records are compressed.
    pub fn compression(&self) -> Compression {
        self.header().compression()
    }

    /// What the timestamps mean.
    pub fn timestamp_type(&self) -> TimestampType {
        self.header().timestamp_type()
    }

    /// The largest timestamp of a record, or the append time of all.
    pub fn max_timestamp(&self) -> Option<Timestamp> {
        self.header().max_timestamp()
    }

    /// The idempotent or transactional producer that wrote it.
    pub fn producer_id(&self) -> Option<ProducerId> {
        self.header().producer().map(|producer| producer.id)
    }

    /// The incarnation of the producer.
    pub fn producer_epoch(&self) -> Option<ProducerEpoch> {
        self.header().producer().map(|producer| producer.epoch)
    }

    /// Sequence number of the first offset. `None` without a producer, and in control batches.
    pub fn base_sequence(&self) -> Option<i32> {
        self.header().producer()?.base_sequence
    }

    /// Sequence number of the last offset: they wrap from `i32::MAX` to 0.
    pub fn last_sequence(&self) -> Option<i32> {
        self.header().last_sequence()
    }

    /// Whether it belongs to a transaction: as its data, or as the marker that ends it.
    pub fn is_transactional(&self) -> bool {
        self.header().is_transactional()
    }

    /// Whether it holds a [`Control`] record and nothing for applications.
    pub fn is_control(&self) -> bool {
        self.header().is_control()
    }

    /// When compaction may drop its tombstones or marker, `None` until it has set a time for it.
    pub fn delete_horizon(&self) -> Option<Timestamp> {
        self.header().delete_horizon()
    }

    /// The CRC-32C that the header says bytes 21 to the end have.
    pub fn crc(&self) -> u32 {
        self.header().crc()
    }

    /// Whether they have it. Offset, length and leader epoch lie before them: nothing guards these.
    pub fn is_valid(&self) -> bool {
        self.encoded.verify_crc().is_ok()
    }

    /// The records, decompressed and checked. The checksum is not looked at: also records of a damaged batch are
    /// returned, if they can be read at all.
    ///
    /// # Errors
    /// [`CorruptMessage`](crate::ErrorKind::CorruptMessage) if one of them cannot be read,
    /// [`UnsupportedCompressionType`](crate::ErrorKind::UnsupportedCompressionType) if this build lacks the codec,
    /// [`MessageTooLarge`](crate::ErrorKind::MessageTooLarge) past
    /// [`max_batch_bytes`](crate::inspect::LogFile::max_batch_bytes).
    pub fn records(&self) -> Result<BatchRecords> {
        Ok(BatchRecords { batch: self.encoded.decode(&self.limits)? })
    }
}

/// The records of a [`Batch`].
///
/// ```
/// use brooklet::inspect::LogFile;
///
/// # let dir = "tests/fixtures/golden/partition-dir/golden-0";
/// # if !cfg!(feature = "lz4") { return Ok::<(), brooklet::Error>(()); }
/// let log = LogFile::open(format!("{dir}/00000000000000000000.log"))?;
/// for batch in log.batches() {
///     for record in &batch?.records()? {
///         println!("{}: {:?} = {:?}", record.offset(), record.key(), record.value());
///     }
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BatchRecords {
    batch: DecodedBatch,
}

impl BatchRecords {
    /// The records, by rising offset.
    pub fn iter(&self) -> BatchRecordsIter<'_> {
        BatchRecordsIter { header: self.batch.header(), views: self.batch.iter() }
    }
}

impl<'a> IntoIterator for &'a BatchRecords {
    type Item = BatchRecord<'a>;
    type IntoIter = BatchRecordsIter<'a>;

    fn into_iter(self) -> BatchRecordsIter<'a> {
        self.iter()
    }
}

/// Iterates over [`BatchRecords`].
#[derive(Clone, Debug)]
pub struct BatchRecordsIter<'a> {
    header: &'a BatchHeader,
    views: RecordIter<'a>,
}

impl<'a> Iterator for BatchRecordsIter<'a> {
    type Item = BatchRecord<'a>;

    fn next(&mut self) -> Option<BatchRecord<'a>> {
        Some(BatchRecord { header: self.header, view: self.views.next()? })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.views.size_hint()
    }
}

impl ExactSizeIterator for BatchRecordsIter<'_> {}

/// One record of a [`Batch`], borrowed from its [`BatchRecords`].
///
/// ```
/// use brooklet::inspect::{Control, LogFile};
///
/// # let dir = "tests/fixtures/golden/partition-dir/golden-0";
/// # if !cfg!(feature = "lz4") { return Ok::<(), brooklet::Error>(()); }
/// let log = LogFile::open(format!("{dir}/00000000000000000000.log"))?;
/// let mut aborted = 0;
/// for batch in log.batches() {
///     for record in &batch?.records()? {
///         aborted += u32::from(matches!(record.control()?, Some(Control::Abort { .. })));
///     }
/// }
/// assert_eq!(aborted, 1);
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BatchRecord<'a> {
    header: &'a BatchHeader,
    view: RecordView<'a>,
}

impl<'a> BatchRecord<'a> {
    /// The record's position in its partition.
    pub fn offset(&self) -> Offset {
        self.view.offset
    }

    /// Its timestamp, by the [`timestamp_type`](Batch::timestamp_type) of its batch. `None` if it has none.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.view.timestamp
    }

    /// Its sequence number, `None` if its batch has none.
    pub fn sequence(&self) -> Option<i32> {
        let base = self.header.producer()?.base_sequence?;
        let delta = self.view.offset.distance_from(self.header.base_offset())?;
        Some(next_sequence(base, u32::try_from(delta).ok()?))
    }

    /// The key; `None` is not the same as an empty one.
    pub fn key(&self) -> Option<&'a [u8]> {
        self.view.key
    }

    /// The value; `None` is not the same as an empty one.
    pub fn value(&self) -> Option<&'a [u8]> {
        self.view.value
    }

    /// The headers.
    pub fn headers(&self) -> Headers<'a> {
        Headers::new(self.view.headers)
    }

    /// What it says if its batch [`is_control`](Batch::is_control), `None` for other records.
    ///
    /// # Errors
    /// [`CorruptMessage`](crate::ErrorKind::CorruptMessage) if its key or value is too short for that.
    pub fn control(&self) -> Result<Option<Control>> {
        if !self.header.is_control() {
            return Ok(None);
        }
        Ok(Some(match ControlRecord::parse(&self.view)? {
            ControlRecord::Marker(marker) => {
                let coordinator_epoch = marker.coordinator_epoch;
                match marker.kind {
                    MarkerKind::Abort => Control::Abort { coordinator_epoch },
                    MarkerKind::Commit => Control::Commit { coordinator_epoch },
                }
            }
            ControlRecord::Other(number) => Control::Other(number),
        }))
    }
}

/// What a control record says.
///
/// ```
/// use brooklet::inspect::{Control, LogFile};
///
/// # let dir = "tests/fixtures/golden/partition-dir/golden-0";
/// let log = LogFile::open(format!("{dir}/00000000000000000000.log"))?;
/// for batch in log.batches().flatten().filter(|batch| batch.is_control()) {
///     for record in &batch.records()? {
///         println!("producer {:?}: {:?}", batch.producer_id(), record.control()?);
///     }
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Control {
    /// The producer's transaction ends here, and its records must not be read.
    Abort {
        /// Epoch of the coordinator that decided it.
        coordinator_epoch: i32,
    },
    /// The producer's transaction ends here, and its records may be read.
    Commit {
        /// Epoch of the coordinator that decided it.
        coordinator_epoch: i32,
    },
    /// A type that readers of partitions ignore, as its number: those of Kafka's own metadata log.
    Other(i16),
}
