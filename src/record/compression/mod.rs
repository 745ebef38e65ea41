//! Codecs: a batch's records as one compressed block, framed as Kafka frames it.
//!
//! Every codec but "none" is a cargo feature. A build without it still knows its name, and answers
//! [`BatchError::CodecNotBuilt`].
//!
//! # Invariants
//! - Decompressing stops at the caller's limit, and has not allocated much more than it has written by then:
//!   lengths that the bytes declare reserve nothing.

#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "lz4")]
mod lz4;
#[cfg(not(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd")))]
mod missing;
#[cfg(feature = "snappy")]
mod snappy;
#[cfg(feature = "lz4")]
mod xxhash;
#[cfg(feature = "zstd")]
mod zstd;

#[cfg(not(feature = "gzip"))]
use missing as gzip;
#[cfg(not(feature = "lz4"))]
use missing as lz4;
#[cfg(not(feature = "snappy"))]
use missing as snappy;
#[cfg(not(feature = "zstd"))]
use missing as zstd;

use std::io::{self, Write};

use bytes::Bytes;

use super::error::BatchError;
use super::memory::Output;
use crate::base::Compression;

/// Why a codec could not decompress.
#[cfg_attr(not(feature = "lz4"), allow(dead_code, reason = "some codecs have no use for some"))]
enum Failure {
    /// The output takes more than the limit.
    TooLarge,
    /// The bytes are not in the codec's format.
    Malformed(&'static str),
    /// The codec's library says so.
    Library(String),
    /// There is no room for the output.
    OutOfMemory,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::OutOfMemory => Self::OutOfMemory,
            _ => Self::Library(error.to_string()),
        }
    }
}

/// Whether this build can write `codec` at `level`, `None` being the codec's default.
///
/// Levels: gzip 1 to 9 (default 6), zstd -131072 to 22 (default 3), lz4 9 alone, which is Kafka's default; "none"
/// and snappy have no levels. Batches of any level can be read.
///
/// # Errors
/// [`BatchError::CodecNotBuilt`] or [`BatchError::InvalidLevel`].
pub fn check_codec(codec: Compression, level: Option<i32>) -> Result<(), BatchError> {
    let (is_built, levels) = match codec {
        Compression::None => (true, None),
        Compression::Gzip => (cfg!(feature = "gzip"), Some(1..=9)),
        Compression::Snappy => (cfg!(feature = "snappy"), None),
        Compression::Lz4 => (cfg!(feature = "lz4"), Some(9..=9)),
        Compression::Zstd => (cfg!(feature = "zstd"), Some(-131_072..=22)),
    };
    match level {
        _ if !is_built => Err(BatchError::CodecNotBuilt(codec)),
        Some(level) if !levels.is_some_and(|levels| levels.contains(&level)) => {
            Err(BatchError::InvalidLevel { codec, level })
        }
        _ => Ok(()),
    }
}

/// `records` compressed by `codec` at `level`, `None` being the codec's default.
///
/// # Errors
/// Those of [`check_codec`]; [`BatchError::OutOfMemory`]; [`BatchError::Compress`] if the codec fails.
pub fn compress(
    codec: Compression,
    level: Option<i32>,
    records: &[u8],
) -> Result<Vec<u8>, BatchError> {
    check_codec(codec, level)?;
    let compressed: io::Result<Vec<u8>> = match codec {
        Compression::None => Output::with_room(records.len()).and_then(|mut copy| {
            copy.write_all(records)?;
            Ok(copy.into_bytes())
        }),
        Compression::Gzip => gzip::compress(level, records),
        Compression::Snappy => snappy::compress(level, records),
        Compression::Lz4 => lz4::compress(level, records),
        Compression::Zstd => zstd::compress(level, records),
    };
    compressed.map_err(|error| match error.kind() {
        io::ErrorKind::OutOfMemory => BatchError::OutOfMemory,
        _ => BatchError::Compress { codec, reason: error.to_string() },
    })
}

/// What `block` holds, compressed by `codec`. "None" copies nothing.
///
/// # Errors
/// [`BatchError::TooLarge`] as soon as there are more than `limit` bytes; [`BatchError::Decompress`] if `block` is
/// not in the codec's format, or ends early; [`BatchError::OutOfMemory`]; [`BatchError::CodecNotBuilt`].
pub fn decompress(codec: Compression, block: &Bytes, limit: usize) -> Result<Bytes, BatchError> {
    check_codec(codec, None)?;
    let decompressed: Result<Vec<u8>, Failure> = match codec {
        Compression::None => return Ok(block.clone()),
        Compression::Gzip => gzip::decompress(block, limit),
        Compression::Snappy => snappy::decompress(block, limit),
        Compression::Lz4 => lz4::decompress(block, limit),
        Compression::Zstd => zstd::decompress(block, limit),
    };
    match decompressed {
        Ok(records) => Ok(records.into()),
        Err(Failure::TooLarge) => Err(BatchError::TooLarge { limit }),
        Err(Failure::Malformed(reason)) => {
            Err(BatchError::Decompress { codec, reason: reason.to_owned() })
        }
        Err(Failure::Library(reason)) => Err(BatchError::Decompress { codec, reason }),
        Err(Failure::OutOfMemory) => Err(BatchError::OutOfMemory),
    }
}

/// Reads `stream` to its end, unless that is more than `limit` bytes away.
#[cfg(any(feature = "gzip", feature = "zstd"))]
fn read_to_limit(stream: impl io::Read, limit: usize) -> Result<Vec<u8>, Failure> {
    use std::io::Read;

    let mut output = Vec::new();
    // One byte more than the limit tells a stream that is too long from one that just fits. The vector grows
    // as it fills, and reports want of memory instead of aborting.
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    stream.take(most).read_to_end(&mut output)?;
    if output.len() > limit { Err(Failure::TooLarge) } else { Ok(output) }
}

/// Makes room for `count` more bytes of output, and returns it, zeroed.
#[cfg(any(feature = "snappy", feature = "lz4"))]
fn grow(output: &mut Vec<u8>, count: usize) -> Result<&mut [u8], Failure> {
    let start = output.len();
    output.try_reserve(count).map_err(io::Error::from)?;
    output.resize(start + count, 0);
    Ok(output.get_mut(start..).unwrap_or_default())
}

#[cfg(test)]
mod tests;
