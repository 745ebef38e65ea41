//! Stands in for a codec that was left out of this build. `check_codec` keeps callers away from it.

use std::io;

use super::Failure;

const REASON: &str = "codec was left out of this build";

pub(super) fn compress(_level: Option<i32>, _records: &[u8]) -> io::Result<Vec<u8>> {
    Err(io::Error::other(REASON))
}

pub(super) fn decompress(_block: &[u8], _limit: usize) -> Result<Vec<u8>, Failure> {
    Err(Failure::Malformed(REASON))
}
