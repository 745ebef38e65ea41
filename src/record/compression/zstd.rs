//! zstd: one frame, written as a stream, so without content size; no checksum, no dictionary.

use std::io::Write;

use zstd::stream::read::Decoder;
use zstd::stream::write::Encoder;

use super::{Failure, read_to_limit};

/// Largest window that a frame may ask for: 2^27 bytes, which is all that levels up to 22 use.
const MAX_WINDOW_LOG: u32 = 27;

pub(super) fn compress(level: Option<i32>, records: &[u8]) -> Result<Vec<u8>, String> {
    let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
    let compress = || {
        let mut encoder = Encoder::new(Vec::with_capacity(records.len() / 2), level)?;
        encoder.write_all(records)?;
        encoder.finish()
    };
    compress().map_err(|error: std::io::Error| error.to_string())
}

/// Reads one frame, or several one after another, as Java does.
pub(super) fn decompress(block: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    let failure = |error: std::io::Error| Failure::Library(error.to_string());
    let mut decoder = Decoder::with_buffer(block).map_err(failure)?;
    decoder.window_log_max(MAX_WINDOW_LOG).map_err(failure)?;
    read_to_limit(decoder, limit)
}
