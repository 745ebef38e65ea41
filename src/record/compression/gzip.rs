//! gzip: one RFC 1952 member without name or time.

use std::io::{self, Write};

use flate2::Compression as Level;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::{Failure, Output, read_to_limit};

/// Where the header hints at the level. Java always writes 0 there, and so do we.
const EXTRA_FLAGS: usize = 8;

pub(super) fn compress(level: Option<i32>, records: &[u8]) -> io::Result<Vec<u8>> {
    let level =
        level.and_then(|level| u32::try_from(level).ok()).map_or(Level::default(), Level::new);
    let mut encoder = GzEncoder::new(Output::with_room(records.len() / 2)?, level);
    encoder.write_all(records)?;
    let mut block = encoder.finish()?.into_bytes();
    if let Some(flags) = block.get_mut(EXTRA_FLAGS) {
        *flags = 0;
    }
    Ok(block)
}

/// Reads one member, or several one after another, as Java does.
pub(super) fn decompress(block: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    read_to_limit(MultiGzDecoder::new(block), limit)
}
