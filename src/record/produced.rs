//! Batches that producers have encoded themselves: bytes from outside, of which everything is checked.

use bytes::Bytes;

use super::batch::{Batch, Limits};
use super::decoded::DecodedBatch;
use super::encoded::EncodedBatch;
use super::error::BatchError;
use super::header::{BatchHeader, LOG_OVERHEAD, NONE, TimestampType};
use super::memory;
use super::view::RawRecord;

/// Bytes that are one batch by their length, and nothing more is known of them.
#[derive(Debug)]
pub struct ProducedBatch(Batch);

impl ProducedBatch {
    /// Checks that `bytes` are exactly one batch of format v2, with the offset that producers give their batches.
    ///
    /// # Errors
    /// [`BatchError::NotProduced`] if not, and those of [`BatchHeader::parse`].
    pub fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        let length = bytes.get(LOG_OVERHEAD - 4..LOG_OVERHEAD).and_then(|b| b.first_chunk());
        let claimed = length.and_then(|b| usize::try_from(i32::from_be_bytes(*b)).ok());
        if claimed.and_then(|length| length.checked_add(LOG_OVERHEAD)) != Some(bytes.len()) {
            return Err(not_produced("the bytes are not exactly one batch"));
        }
        let batch = Batch::parse(bytes)?;
        if batch.header().base_offset.value() != 0 {
            return Err(not_produced("its base offset is not 0"));
        }
        Ok(Self(batch))
    }

    /// The header, of which nothing is checked but that its fields are possible together.
    pub const fn header(&self) -> &BatchHeader {
        self.0.header()
    }

    /// Checks all that a broker checks, each record included, and returns the batch as a leader may stamp it. A largest
    /// timestamp that the header has wrong is put right.
    ///
    /// # Errors
    /// [`BatchError::Crc`], [`BatchError::NotProduced`], [`BatchError::InvalidTimestamp`], and those of
    /// [`Batch::decode`].
    pub fn check(self, limits: &Limits) -> Result<EncodedBatch, BatchError> {
        let Self(batch) = self;
        batch.verify_crc()?;
        check_header(batch.header())?;
        let max_timestamp = max_timestamp(&batch.decode(limits)?)?;
        let header = *batch.header();
        let bytes = batch.into_bytes();
        // Nobody else holds them by now, unless the caller does.
        let bytes = bytes.try_into_mut().or_else(|shared| memory::copy(&shared))?;
        let mut checked = EncodedBatch::from_parts(header, bytes);
        if header.max_timestamp != max_timestamp {
            checked.set_max_timestamp(max_timestamp);
        }
        Ok(checked)
    }
}

fn check_header(header: &BatchHeader) -> Result<(), BatchError> {
    let has_producer = header.producer_id >= 0;
    let has_sequence = header.producer().is_some_and(|producer| producer.base_sequence.is_some());
    let rules = [
        (header.record_count > 0, "it has no records"),
        (
            header.last_offset_delta.checked_add(1) == Some(header.record_count),
            "it has not as many records as offsets",
        ),
        (!header.is_control(), "it is a control batch"),
        (!has_producer || has_sequence, "it has a producer, but no sequence"),
        (has_producer || !header.is_transactional(), "it is of a transaction, but of no producer"),
        (header.delete_horizon().is_none(), "it has a delete horizon"),
    ];
    if let Some((_, reason)) = rules.iter().find(|(holds, _)| !holds) {
        return Err(not_produced(reason));
    }
    match header.timestamp_type() {
        TimestampType::CreateTime => Ok(()),
        TimestampType::LogAppendTime => Err(BatchError::InvalidTimestamp {
            index: 0,
            reason: "only a leader gives records the time at which they are appended",
        }),
    }
}

/// The largest timestamp of a record, as the header has it.
fn max_timestamp(batch: &DecodedBatch) -> Result<i64, BatchError> {
    let base = batch.header().base_timestamp;
    let mut max = i64::from(NONE);
    let mut rest = &batch.body()[..];
    for index in 0..batch.header().record_count {
        // It was decoded just now.
        let Ok(record) = RawRecord::take(&mut rest) else { break };
        let timestamp = base.wrapping_add(record.timestamp_delta);
        if timestamp < NONE.into() {
            let reason = "it is before 1970";
            return Err(BatchError::InvalidTimestamp { index, reason });
        }
        max = max.max(timestamp);
    }
    Ok(max)
}

const fn not_produced(reason: &'static str) -> BatchError {
    BatchError::NotProduced { reason }
}

#[cfg(test)]
mod tests {
    use super::super::builder::{BatchBuilder, CloseOptions, RecordFields};
    use super::super::crc::crc32c;
    use super::super::header::BatchProducer;
    use bytes::BytesMut;

    use super::*;
    use crate::base::{Compression, ProducerEpoch, ProducerId, Timestamp};

    fn produced(compression: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new(BytesMut::new());
        for millis in [5, 9, 7] {
            let timestamp = Timestamp::from_millis(millis);
            builder
                .append(&RecordFields { timestamp, value: Some(b"v"), ..RecordFields::default() })
                .unwrap();
        }
        let producer = BatchProducer {
            id: ProducerId::ZERO,
            epoch: ProducerEpoch::ZERO,
            base_sequence: Some(3),
        };
        let options =
            CloseOptions { compression, producer: Some(producer), ..CloseOptions::default() };
        builder.close(&options).unwrap().bytes().to_vec()
    }

    fn check(bytes: &[u8]) -> Result<EncodedBatch, BatchError> {
        ProducedBatch::parse(Bytes::copy_from_slice(bytes))?.check(&Limits::default())
    }

    /// With these bytes at that place, and a checksum to match.
    fn edited(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut batch = produced(Compression::None);
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        let crc = crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        batch
    }

    #[test]
    fn what_a_producer_sends_is_taken_as_it_is() {
        let bytes = produced(Compression::None);
        assert_eq!(check(&bytes).unwrap().bytes(), bytes);
        // The leader has nothing to say yet.
        assert_eq!(check(&edited(12, &[0xff; 4])).unwrap().header().leader_epoch(), None);
    }

    #[cfg(feature = "lz4")]
    #[test]
    fn compressed_batches_are_looked_into() {
        let bytes = produced(Compression::Lz4);
        assert_eq!(check(&bytes).unwrap().bytes(), bytes);
        let mut broken = bytes;
        // The size of the first block, behind the frame's header.
        broken[61 + 7] ^= 0x40;
        let crc = crc32c(&broken[21..]);
        broken[17..21].copy_from_slice(&crc.to_be_bytes());
        assert!(check(&broken).is_err());
    }

    #[test]
    fn a_wrong_largest_timestamp_is_put_right() {
        for wrong in [-1i64, 0, 8, 10, i64::MAX] {
            let checked = check(&edited(35, &wrong.to_be_bytes())).unwrap();
            assert_eq!(checked.bytes(), produced(Compression::None));
        }
    }

    #[test]
    fn whatever_is_not_exactly_one_batch_is_refused() {
        let good = produced(Compression::None);
        let two = [good.clone(), good.clone()].concat();
        for bytes in [&good[..good.len() - 1], &two, &good[..11], &good[..0], &[0; 12], &[0; 61]] {
            let error = ProducedBatch::parse(Bytes::copy_from_slice(bytes)).unwrap_err();
            let is_named = matches!(
                error,
                BatchError::NotProduced { .. }
                    | BatchError::UnsupportedMagic(0)
                    | BatchError::Truncated { .. }
            );
            assert!(is_named, "{error}");
        }
    }

    #[test]
    fn every_rule_is_checked() {
        let not_produced = |bytes: &[u8]| match check(bytes) {
            Err(BatchError::NotProduced { reason }) => reason,
            other => panic!("{other:?}"),
        };
        let negative = [0xff; 8];
        for (at, bytes, reason) in [
            (0, &1i64.to_be_bytes()[..], "its base offset is not 0"),
            (57, &[0; 4], "it has no records"),
            (23, &3i32.to_be_bytes(), "it has not as many records as offsets"),
            (22, &[0x30], "it is a control batch"),
            (53, &negative[..4], "it has a producer, but no sequence"),
            (51, &negative[..2], "it has a producer, but no sequence"),
            (22, &[0x40], "it has a delete horizon"),
        ] {
            assert_eq!(not_produced(&edited(at, bytes)), reason);
        }
        let mut nobodys = edited(22, &[0x10]);
        nobodys[43..57].fill(0xff);
        let crc = crc32c(&nobodys[21..]);
        nobodys[17..21].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(not_produced(&nobodys), "it is of a transaction, but of no producer");
        for bytes in [edited(22, &[0x08]), edited(27, &(-7i64).to_be_bytes())] {
            assert!(matches!(check(&bytes), Err(BatchError::InvalidTimestamp { .. })));
        }
        assert!(matches!(check(&edited(61, &[0x7e])), Err(BatchError::InvalidRecord { .. })));
        assert!(matches!(check(&edited(22, &[7])), Err(BatchError::UnknownCodec(7))));
        assert!(matches!(check(&edited(16, &[1])), Err(BatchError::UnsupportedMagic(1))));
        let mut rotten = produced(Compression::None);
        rotten[70] ^= 1;
        assert!(matches!(check(&rotten), Err(BatchError::Crc { .. })));
    }
}
