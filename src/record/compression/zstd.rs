//! zstd: one frame, written as a stream, so without content size; no checksum, no dictionary.

use std::io::{self, Write};

use zstd::stream::read::Decoder;
use zstd::stream::write::Encoder;

use super::{Failure, Output, read_to_limit};

/// Largest window that a frame may ask for: 2^27 bytes, which is all that levels up to 22 use.
const MAX_WINDOW_LOG: u32 = 27;

pub(super) fn compress(level: Option<i32>, records: &[u8]) -> io::Result<Vec<u8>> {
    let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
    let compress = || {
        let mut encoder = Encoder::new(Output::with_room(records.len() / 2)?, level)?;
        encoder.write_all(records)?;
        encoder.finish()
    };
    compress().map(Output::into_bytes).map_err(known)
}

/// zstd has the words for want of memory, but not the kind.
fn known(error: io::Error) -> io::Error {
    if error.to_string().contains("not enough memory") {
        io::ErrorKind::OutOfMemory.into()
    } else {
        error
    }
}

/// Reads one frame, or several one after another, as Java does.
pub(super) fn decompress(block: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    let mut decoder = Decoder::with_buffer(block).map_err(known)?;
    decoder.window_log_max(MAX_WINDOW_LOG)?;
    read_to_limit(decoder, limit)
}
