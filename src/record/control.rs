//! Control records: how the end of a transaction is written into a log.
//!
//! # Bytes
//! Key: `version: i16` (0), `type: i16`. Value of an abort (type 0) or commit (type 1): `version: i16` (0),
//! `coordinator_epoch: i32`. A later version may only append fields, so any is read as version 0.
//!
//! A marker is a batch of one control record, 78 bytes, which takes one offset of the log.

use bytes::{Buf, BufMut, BytesMut};

use super::builder::{BatchBuilder, RecordFields};
use super::encoded::EncodedBatch;
use super::error::BatchError;
use super::header::{Attributes, BatchProducer};
use super::view::{RawRecord, RecordView};
use crate::base::ProducerEpoch;
use crate::base::ProducerId;
use crate::base::Timestamp;

const VERSION: i16 = 0;
const ABORT: i16 = 0;
const COMMIT: i16 = 1;

/// How a transaction ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum MarkerKind {
    /// Its records must not be read.
    Abort,
    /// Its records may be read.
    Commit,
}

/// Ends a producer's transaction in one partition.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TransactionMarker {
    /// How the transaction ended.
    pub kind: MarkerKind,
    /// Epoch of the coordinator that decided it, so that one that was replaced is told apart.
    pub coordinator_epoch: i32,
}

/// What the one record of a control batch says.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ControlRecord {
    /// A transaction ends here.
    Marker(TransactionMarker),
    /// A type that readers of partitions have to ignore, as its number.
    Other(i16),
}

impl ControlRecord {
    /// Reads the first record of a control batch's body, `None` if compaction has left none. Control batches are never
    /// compressed.
    ///
    /// # Errors
    /// [`BatchError::InvalidRecord`] if it is no record, and those of [`parse`](Self::parse).
    pub(super) fn of_body(mut body: &[u8]) -> Result<Option<Self>, BatchError> {
        if body.is_empty() {
            return Ok(None);
        }
        let raw = RawRecord::take(&mut body)
            .map_err(|reason| BatchError::InvalidRecord { index: 0, reason })?;
        Self::read(raw.key, raw.value).map(Some)
    }

    /// Reads a record of a batch that [`is_control`](super::BatchHeader::is_control).
    ///
    /// # Errors
    /// [`BatchError::InvalidRecord`] if key or value are missing or short, or a version is negative.
    pub fn parse(record: &RecordView<'_>) -> Result<Self, BatchError> {
        Self::read(record.key, record.value)
    }

    fn read(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Self, BatchError> {
        let mut key = key.unwrap_or_default();
        check(&mut key, 4, "control record has no whole key")?;
        let kind = match key.get_i16() {
            ABORT => MarkerKind::Abort,
            COMMIT => MarkerKind::Commit,
            other => return Ok(Self::Other(other)),
        };
        let mut value = value.unwrap_or_default();
        check(&mut value, 6, "transaction marker has no whole value")?;
        Ok(Self::Marker(TransactionMarker { kind, coordinator_epoch: value.get_i32() }))
    }
}

/// Checks that `field` has `size` bytes, and takes the version off its front.
fn check(field: &mut &[u8], size: usize, short: &'static str) -> Result<(), BatchError> {
    let invalid = |reason| Err(BatchError::InvalidRecord { index: 0, reason });
    if field.len() < size {
        return invalid(short);
    }
    if field.get_i16() < VERSION {
        return invalid("control record has a negative version");
    }
    Ok(())
}

impl TransactionMarker {
    /// The batch that ends the transaction of producer `id` in its epoch `epoch`, written at `now`.
    ///
    /// # Errors
    /// None occurs: the batch is neither large nor compressed.
    pub fn to_batch(
        self,
        id: ProducerId,
        epoch: ProducerEpoch,
        now: Timestamp,
    ) -> Result<EncodedBatch, BatchError> {
        let mut key = [0; 4];
        let mut fields = key.as_mut_slice();
        fields.put_i16(VERSION);
        fields.put_i16(match self.kind {
            MarkerKind::Abort => ABORT,
            MarkerKind::Commit => COMMIT,
        });
        let mut value = [0; 6];
        let mut fields = value.as_mut_slice();
        fields.put_i16(VERSION);
        fields.put_i32(self.coordinator_epoch);

        let mut builder = BatchBuilder::new(BytesMut::with_capacity(78));
        builder.append(&RecordFields {
            timestamp: Some(now),
            key: Some(&key),
            value: Some(&value),
            headers: &[],
        })?;
        let attributes = Attributes { transactional: true, control: true, ..Attributes::default() };
        let producer = BatchProducer { id, epoch, base_sequence: None };
        builder.close_with(attributes, None, Some(producer))
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::Limits;
    use super::super::view::Headers;
    use super::*;
    use crate::base::Offset;

    fn record<'a>(key: &'a [u8], value: &'a [u8]) -> RecordView<'a> {
        RecordView {
            offset: Offset::ZERO,
            timestamp: None,
            key: Some(key),
            value: Some(value),
            headers: Headers::default(),
        }
    }

    #[test]
    fn markers_are_read_as_they_were_written() {
        for kind in [MarkerKind::Abort, MarkerKind::Commit] {
            let marker = TransactionMarker { kind, coordinator_epoch: 7 };
            let id = ProducerId::ZERO;
            let batch =
                marker.to_batch(id, ProducerEpoch::ZERO, Timestamp::EPOCH).unwrap().freeze();
            assert_eq!(batch.bytes().len(), 78);
            assert!(batch.header().is_control() && batch.header().is_transactional());
            let decoded = batch.decode(&Limits::default()).unwrap();
            let record = decoded.iter().next().unwrap();
            assert_eq!(ControlRecord::parse(&record), Ok(ControlRecord::Marker(marker)));
            assert_eq!(batch.control_record(), Ok(Some(ControlRecord::Marker(marker))));
        }
    }

    #[test]
    fn bodies_that_are_no_control_record_are_refused() {
        assert_eq!(ControlRecord::of_body(b""), Ok(None));
        for body in [&b"\x01"[..], b"\x02\0", b"\xff\xff\xff\xff\xff\xff"] {
            assert!(ControlRecord::of_body(body).is_err(), "{body:?}");
        }
    }

    #[test]
    fn unknown_types_are_told_by_their_number() {
        assert_eq!(ControlRecord::parse(&record(b"\0\0\0\x02", b"")), Ok(ControlRecord::Other(2)));
    }

    #[test]
    fn later_versions_are_read_as_the_first() {
        let later = record(b"\0\x05\0\x01more", b"\0\x09\0\0\0\x03more");
        let marker = TransactionMarker { kind: MarkerKind::Commit, coordinator_epoch: 3 };
        assert_eq!(ControlRecord::parse(&later), Ok(ControlRecord::Marker(marker)));
    }

    #[test]
    fn short_or_negative_control_records_are_refused() {
        for (key, value) in [
            (&b""[..], &b"\0\0\0\0\0\x03"[..]),
            (b"\0\0\0", b"\0\0\0\0\0\x03"),
            (b"\xff\xff\0\x01", b"\0\0\0\0\0\x03"),
            (b"\0\0\0\x01", b"\0\0\0\0\0"),
            (b"\0\0\0\x01", b"\x80\0\0\0\0\x03"),
        ] {
            assert!(ControlRecord::parse(&record(key, value)).is_err(), "{key:?} {value:?}");
        }
    }
}
