//! Why bytes are no batch, or records cannot become one.

use crate::base::Compression;

/// Why bytes could not be read as a batch, or records not be written as one.
///
/// Reading and writing are pure: after an error nothing has changed, and the same bytes fail again, unless it was for
/// want of memory.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The batch goes on after the last byte given. At the end of a log this is a torn write.
    #[error("batch needs {needed} bytes, {available} are there")]
    Truncated {
        /// Bytes that the header, or the whole batch, takes.
        needed: usize,
        /// Bytes that were given.
        available: usize,
    },
    /// Not format v2: 0 and 1 were written before Kafka 0.11, anything else is corruption.
    #[error("batch has magic {0}, only 2 is supported")]
    UnsupportedMagic(i8),
    /// A header field has a value that no writer produces.
    #[error("batch header: {reason}")]
    InvalidHeader {
        /// What is wrong with which field.
        reason: &'static str,
    },
    /// The batch is not what its writer wrote.
    #[error("batch has CRC-32C {computed:08x}, its header says {stored:08x}")]
    Crc {
        /// The checksum in the header.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// The batch's base offset, which no checksum covers, is not the one that comes next in its log.
    #[error("the batch is not where its base offset says")]
    Misplaced,
    /// The codec number in the attributes is 5, 6 or 7.
    #[error("batch has unknown codec {0}")]
    UnknownCodec(u8),
    /// The codec exists, but this build was made without its cargo feature.
    #[error("codec {0} was left out of this build, enable the feature of that name")]
    CodecNotBuilt(Compression),
    /// The codec does not have this level. Check early by [`check_codec`](super::check_codec).
    #[error("codec {codec} has no level {level}")]
    InvalidLevel {
        /// The codec.
        codec: Compression,
        /// The level asked for.
        level: i32,
    },
    /// Memory ran out. It may do later, or for less: smaller batches, or fewer at a time.
    #[error("no memory for the batch")]
    OutOfMemory,
    /// The codec's library failed to compress.
    #[error("compressing with {codec} failed: {reason}")]
    Compress {
        /// The codec.
        codec: Compression,
        /// What the codec said.
        reason: String,
    },
    /// The compressed bytes are not in the codec's format, or end early.
    #[error("decompressing {codec} failed: {reason}")]
    Decompress {
        /// The codec.
        codec: Compression,
        /// What is wrong with the bytes.
        reason: String,
    },
    /// The records take more than `limit` bytes: decompressed, or in the batch being built.
    #[error("records take more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// A record breaks a rule of the format.
    #[error("record {index} of the batch: {reason}")]
    InvalidRecord {
        /// Place of the record in its batch, from 0.
        index: u32,
        /// The rule.
        reason: &'static str,
    },
    /// A batch that is well-formed, but that no producer may send.
    #[error("no producer sends such a batch: {reason}")]
    NotProduced {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A timestamp that no producer may send.
    #[error("timestamp of record {index} of the batch: {reason}")]
    InvalidTimestamp {
        /// Place of the record in its batch, from 0.
        index: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A batch of no records cannot be written.
    #[error("batch has no records")]
    Empty,
}
