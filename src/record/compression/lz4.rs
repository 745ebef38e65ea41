//! LZ4 frames, as Kafka writes and reads them.
//!
//! # Bytes
//! ```text
//! magic 04 22 4d 18
//! flags: 01 in bits 7-6, 5 independent blocks, 4 block checksums, 3 content size, 2 content checksum, 0 dictionary
//! descriptor: log of the largest block in bits 6-4 (4 to 7: 64 KiB, 256 KiB, 1 MiB, 4 MiB)
//! content size: u64, if flagged
//! header checksum: second byte of xxHash32 of all since the magic
//! then blocks: size: u32 with bit 31 for "stored", data, xxHash32 of the data if flagged
//! end mark: 0u32; xxHash32 of the content, if flagged
//! ```
//! Little-endian. Written: independent blocks of 64 KiB, no checksums, no size, so the header never changes.
//!
//! # Reading
//! Linked blocks, dictionaries and reserved bits are refused. Block checksums are verified; content size and
//! content checksum are skipped, and so is what follows the end mark, as Kafka does: the batch has a checksum of
//! its own, and its record count tells a wrong length.

#![expect(clippy::little_endian_bytes, reason = "LZ4 frames are little-endian")]

use std::io::{self, Write};

use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};

use super::xxhash::xxh32;
use super::{Failure, Output, grow};

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const HEADER: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
const BLOCK_SIZE: usize = 64 << 10;
const STORED: u32 = 1 << 31;
const END_MARK: u32 = 0;

/// No byte of a block stands for more than this many bytes of output.
const MAX_RATIO: usize = 255;

const FIXED_FLAGS_MASK: u8 = 0b1110_0011;
/// Version 01, independent blocks, no dictionary, reserved bit 0.
const FIXED_FLAGS: u8 = 0b0110_0000;
const BLOCK_CHECKSUMS: u8 = 0b0001_0000;
const CONTENT_SIZE: u8 = 0b0000_1000;
const CONTENT_CHECKSUM: u8 = 0b0000_0100;

pub(super) fn compress(_level: Option<i32>, records: &[u8]) -> io::Result<Vec<u8>> {
    let mut block = Output::with_room(records.len() / 2)?;
    block.write_all(&HEADER)?;
    let mut table = CompressTable::large();
    let mut scratch = vec![0; get_maximum_output_size(BLOCK_SIZE)];
    for chunk in records.chunks(BLOCK_SIZE) {
        let length =
            compress_into_with_table(chunk, &mut scratch, &mut table).map_err(io::Error::other)?;
        let (data, flag) = match scratch.get(..length) {
            Some(data) if length < chunk.len() => (data, 0),
            _ => (chunk, STORED),
        };
        let size = u32::try_from(data.len()).map_err(io::Error::other)?;
        block.write_all(&(size | flag).to_le_bytes())?;
        block.write_all(data)?;
    }
    block.write_all(&END_MARK.to_le_bytes())?;
    Ok(block.into_bytes())
}

pub(super) fn decompress(block: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    let mut rest = block;
    let frame = Frame::take(&mut rest)?;
    let mut output = Vec::new();
    loop {
        let size = u32::from_le_bytes(take(&mut rest)?);
        if size == END_MARK {
            break;
        }
        let length = (size & !STORED) as usize;
        if length > frame.max_block_size {
            return Err(Failure::Malformed("block is larger than the frame allows"));
        }
        let (data, after) = rest.split_at_checked(length).ok_or(CUT_OFF)?;
        rest = after;
        if frame.block_checksums && u32::from_le_bytes(take(&mut rest)?) != xxh32(data) {
            return Err(Failure::Malformed("block does not match its checksum"));
        }
        append_block(&mut output, data, size & STORED != 0, frame.max_block_size, limit)?;
    }
    if frame.content_checksum {
        take::<4>(&mut rest)?;
    }
    Ok(output)
}

fn append_block(
    output: &mut Vec<u8>,
    data: &[u8],
    is_stored: bool,
    max_block_size: usize,
    limit: usize,
) -> Result<(), Failure> {
    let room = limit - output.len();
    if is_stored {
        if data.len() > room {
            return Err(Failure::TooLarge);
        }
        grow(output, data.len())?.copy_from_slice(data);
        return Ok(());
    }
    // The block does not say how long it will be. What it cannot fill is cut off again.
    let start = output.len();
    let most = max_block_size.min(data.len().saturating_mul(MAX_RATIO));
    let target = grow(output, most.min(room))?;
    match decompress_into(data, target) {
        Ok(length) => {
            output.truncate(start + length);
            Ok(())
        }
        // Only the limit has made the target too small for a block that is in order.
        Err(lz4_flex::block::DecompressError::OutputTooSmall { .. }) if room < most => {
            Err(Failure::TooLarge)
        }
        Err(error) => Err(Failure::Library(error.to_string())),
    }
}

/// The header of a frame.
struct Frame {
    max_block_size: usize,
    block_checksums: bool,
    content_checksum: bool,
}

impl Frame {
    fn take(rest: &mut &[u8]) -> Result<Self, Failure> {
        if take(rest)? != MAGIC {
            return Err(Failure::Malformed("frame has another magic"));
        }
        let descriptor = *rest;
        let [flags, block_descriptor] = take(rest)?;
        if flags & FIXED_FLAGS_MASK != FIXED_FLAGS {
            return Err(Failure::Malformed(
                "version, linked blocks or dictionary are not supported",
            ));
        }
        let max_block_size = match block_descriptor {
            0x40 => 64 << 10,
            0x50 => 256 << 10,
            0x60 => 1 << 20,
            0x70 => 4 << 20,
            _ => return Err(Failure::Malformed("block size is unknown")),
        };
        if flags & CONTENT_SIZE != 0 {
            take::<8>(rest)?;
        }
        let hashed = descriptor.get(..descriptor.len() - rest.len()).unwrap_or_default();
        let [checksum] = take(rest)?;
        if checksum != xxh32(hashed).to_le_bytes()[1] {
            return Err(Failure::Malformed("header does not match its checksum"));
        }
        Ok(Self {
            max_block_size,
            block_checksums: flags & BLOCK_CHECKSUMS != 0,
            content_checksum: flags & CONTENT_CHECKSUM != 0,
        })
    }
}

const CUT_OFF: Failure = Failure::Malformed("frame is cut off");

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Failure> {
    let (field, after) = rest.split_first_chunk::<N>().ok_or(CUT_OFF)?;
    *rest = after;
    Ok(*field)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of one stored block "abc" with these flags, and the fields that they ask for.
    fn frame(flags: u8) -> Vec<u8> {
        let mut header = vec![flags, 0x40];
        if flags & CONTENT_SIZE != 0 {
            header.extend(3u64.to_le_bytes());
        }
        let mut frame = MAGIC.to_vec();
        frame.extend(&header);
        frame.push(xxh32(&header).to_le_bytes()[1]);
        frame.extend((STORED | 3).to_le_bytes());
        frame.extend(b"abc");
        if flags & BLOCK_CHECKSUMS != 0 {
            frame.extend(xxh32(b"abc").to_le_bytes());
        }
        frame.extend(END_MARK.to_le_bytes());
        if flags & CONTENT_CHECKSUM != 0 {
            frame.extend([0xee; 4]);
        }
        frame
    }

    fn read(frame: &[u8]) -> Option<Vec<u8>> {
        decompress(frame, 100).ok()
    }

    #[test]
    fn only_the_optional_flags_may_vary() {
        for flags in 0..=255 {
            let expected = (flags & FIXED_FLAGS_MASK == FIXED_FLAGS).then(|| b"abc".to_vec());
            assert_eq!(read(&frame(flags)), expected, "{flags:#04x}");
        }
    }

    #[test]
    fn every_cut_is_refused() {
        for flags in [FIXED_FLAGS, FIXED_FLAGS | BLOCK_CHECKSUMS | CONTENT_SIZE | CONTENT_CHECKSUM]
        {
            let whole = frame(flags);
            for length in 0..whole.len() {
                assert_eq!(read(&whole[..length]), None, "{flags:#04x} cut at {length}");
            }
        }
    }

    #[test]
    fn checksums_of_header_and_blocks_are_verified() {
        let whole = frame(FIXED_FLAGS | BLOCK_CHECKSUMS);
        for at in 0..18 {
            let mut frame = whole.clone();
            frame[at] ^= 1;
            assert_eq!(read(&frame), None, "byte {at}");
        }
    }

    #[test]
    fn bytes_that_do_not_shrink_are_stored() {
        let random: Vec<u8> =
            (0..100u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        let block = compress(None, &random).unwrap();
        assert_eq!(block[..7], HEADER);
        assert_eq!(block[7..11], (STORED | 100).to_le_bytes());
        assert_eq!(read(&block), Some(random));
    }
}
