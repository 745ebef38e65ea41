//! One encoded batch: its header, and the bytes it was read from.

use bytes::Bytes;

use super::compression;
use super::control::ControlRecord;
use super::crc::crc32c;
use super::decoded::DecodedBatch;
use super::error::BatchError;
use super::header::{BatchHeader, CRC_START, HEADER_LENGTH};
use crate::base::{Bug, Compression, is_planted};

/// How much memory a batch from outside may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Most bytes that the records of one compressed batch may take when decompressed. Default: 64 MiB.
    pub max_decompressed_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_decompressed_bytes: 64 << 20 }
    }
}

/// One encoded batch. Cheap to clone: the bytes are shared.
#[derive(Clone, Debug)]
pub struct Batch {
    header: BatchHeader,
    bytes: Bytes,
}

impl Batch {
    /// The first batch in `bytes`; what follows it is left out. Nothing is copied.
    ///
    /// Looks at the header alone. [`verify_crc`](Self::verify_crc) tells damage, [`decode`](Self::decode) bad
    /// records.
    ///
    /// # Errors
    /// Those of [`BatchHeader::parse`]; [`BatchError::Truncated`] if `bytes` ends before the batch.
    pub fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(&bytes)?;
        let (needed, available) = (header.size(), bytes.len());
        if available < needed {
            return Err(BatchError::Truncated { needed, available });
        }
        Ok(Self { header, bytes: bytes.slice(..needed) })
    }

    /// A batch of a header and the bytes that were written to match it.
    pub(super) fn from_parts(header: BatchHeader, bytes: Bytes) -> Self {
        debug_assert_eq!(BatchHeader::parse(&bytes), Ok(header));
        debug_assert_eq!(header.size(), bytes.len());
        Self { header, bytes }
    }

    /// The header.
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The bytes of the batch, header included, and no others.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes of the batch, given away.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Checks bytes 21.. against the checksum in the header.
    ///
    /// # Errors
    /// [`BatchError::Crc`] if they are not what was written.
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let computed = crc32c(self.bytes.get(CRC_START..).unwrap_or_default());
        let stored = self.header.crc;
        if stored == computed || is_planted(Bug::ChecksumsFit) {
            Ok(())
        } else {
            Err(BatchError::Crc { stored, computed })
        }
    }

    /// What a control batch says; `None` for other batches, and for one that compaction has emptied.
    ///
    /// # Errors
    /// [`BatchError::InvalidRecord`] if its record is none, or no control record.
    pub fn control_record(&self) -> Result<Option<ControlRecord>, BatchError> {
        control_record(&self.header, &self.bytes)
    }

    /// Decompresses the records if they are compressed, and checks each of them, so that iterating over the
    /// result cannot fail. Records that are not compressed stay where they are.
    ///
    /// Does not verify the checksum: a batch that fails here with a good checksum was written badly.
    ///
    /// # Errors
    /// [`BatchError::InvalidRecord`] for the first record that breaks a rule,
    /// [`BatchError::TooLarge`] past the limit, [`BatchError::Decompress`], [`BatchError::CodecNotBuilt`].
    pub fn decode(&self, limits: &Limits) -> Result<DecodedBatch, BatchError> {
        let body = self.bytes.slice(HEADER_LENGTH.min(self.bytes.len())..);
        let body = match self.header.compression() {
            Compression::None => body,
            codec => compression::decompress(codec, &body, limits.max_decompressed_bytes)?,
        };
        DecodedBatch::check(self.header, body)
    }
}

/// The control record in `bytes`, the batch of `header`.
pub(super) fn control_record(
    header: &BatchHeader,
    bytes: &[u8],
) -> Result<Option<ControlRecord>, BatchError> {
    if !header.is_control() {
        return Ok(None);
    }
    ControlRecord::of_body(bytes.get(HEADER_LENGTH..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Bytes {
        let mut bytes = [0; HEADER_LENGTH];
        bytes[8..12].copy_from_slice(&49i32.to_be_bytes());
        bytes[16] = 2;
        let crc = crc32c(&bytes[CRC_START..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        Bytes::copy_from_slice(&bytes)
    }

    #[test]
    fn what_follows_the_batch_is_left_out() {
        let mut bytes = example().to_vec();
        bytes.extend(b"next batch");
        let batch = Batch::parse(Bytes::from(bytes)).unwrap();
        assert_eq!(batch.bytes(), &example());
        assert_eq!(batch.verify_crc(), Ok(()));
    }

    #[test]
    fn an_empty_batch_decodes_to_no_records() {
        let batch = Batch::parse(example()).unwrap();
        let decoded = batch.decode(&Limits::default()).unwrap();
        assert_eq!(decoded.iter().count(), 0);
    }

    #[test]
    fn a_declared_length_past_the_end_is_truncated() {
        let mut bytes = example().to_vec();
        bytes[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
        let needed = usize::try_from(i32::MAX).unwrap() + 12;
        let error = Batch::parse(Bytes::from(bytes)).unwrap_err();
        assert_eq!(error, BatchError::Truncated { needed, available: HEADER_LENGTH });
    }
}
