//! Snappy in the framing of xerial's `SnappyOutputStream`, which is what Kafka means by snappy.
//!
//! # Bytes
//! ```text
//! magic 82 "SNAPPY" 00, version: i32 (1), lowest compatible version: i32 (1)
//! then, to the end: length: i32, one raw snappy block of that length, from at most 32768 bytes
//! ```
//! Big-endian, no checksums. Where the bytes do not begin with the magic they are one raw block, as some clients
//! other than Java's wrote it. Where a block should begin there may be another header: streams one after another.

use std::io::{self, Write};

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::{Failure, Output, grow};

const MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
const VERSION: [u8; 4] = [0, 0, 0, 1];
const BLOCK_SIZE: usize = 32 << 10;

/// No snappy tag makes more than 64 bytes out of less than 3, so no block grows by more than this.
const MAX_RATIO: usize = 64;

pub(super) fn compress(_level: Option<i32>, records: &[u8]) -> io::Result<Vec<u8>> {
    let mut block = Output::with_room(records.len() / 2)?;
    block.write_all(MAGIC)?;
    block.write_all(&VERSION)?;
    block.write_all(&VERSION)?;
    let mut encoder = Encoder::new();
    let mut scratch = vec![0; max_compress_len(BLOCK_SIZE)];
    for chunk in records.chunks(BLOCK_SIZE) {
        let length = encoder.compress(chunk, &mut scratch)?;
        let length_field = u32::try_from(length).map_err(io::Error::other)?;
        block.write_all(&length_field.to_be_bytes())?;
        block.write_all(scratch.get(..length).unwrap_or_default())?;
    }
    Ok(block.into_bytes())
}

pub(super) fn decompress(block: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    let mut output = Vec::new();
    let mut decoder = Decoder::new();
    let Some(mut rest) = after_header(block)? else {
        append_block(&mut decoder, block, &mut output, limit)?;
        return Ok(output);
    };
    while !rest.is_empty() {
        if let Some(after) = after_header(rest)? {
            rest = after;
            continue;
        }
        let (length, after) =
            rest.split_first_chunk().ok_or(Failure::Malformed("block length is cut off"))?;
        let length = usize::try_from(i32::from_be_bytes(*length))
            .map_err(|_| Failure::Malformed("block length is negative"))?;
        let (raw, after) =
            after.split_at_checked(length).ok_or(Failure::Malformed("block is cut off"))?;
        append_block(&mut decoder, raw, &mut output, limit)?;
        rest = after;
    }
    Ok(output)
}

/// What follows the stream header at the front of `bytes`, `None` if there is no such header.
fn after_header(bytes: &[u8]) -> Result<Option<&[u8]>, Failure> {
    let Some(versions) = bytes.strip_prefix(MAGIC) else { return Ok(None) };
    let (_version, rest) =
        versions.split_first_chunk::<4>().ok_or(Failure::Malformed("header is cut off"))?;
    let (compatible, rest) =
        rest.split_first_chunk().ok_or(Failure::Malformed("header is cut off"))?;
    if i32::from_be_bytes(*compatible) > 1 {
        return Err(Failure::Malformed("stream is of a later version"));
    }
    Ok(Some(rest))
}

fn append_block(
    decoder: &mut Decoder,
    raw: &[u8],
    output: &mut Vec<u8>,
    limit: usize,
) -> Result<(), Failure> {
    let library = |error: snap::Error| Failure::Library(error.to_string());
    // Each block says how long it will be: believed only as far as its own length makes that possible.
    let length = decompress_len(raw).map_err(library)?;
    if length > limit - output.len() {
        return Err(Failure::TooLarge);
    }
    if length > raw.len().saturating_mul(MAX_RATIO) {
        return Err(Failure::Malformed("block declares more than it can hold"));
    }
    let written = decoder.decompress(raw, grow(output, length)?).map_err(library)?;
    if written == length {
        Ok(())
    } else {
        Err(Failure::Malformed("block is shorter than declared"))
    }
}
