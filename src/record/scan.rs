//! Finding where a batch ends, from its first bytes alone.
//!
//! A `.log` file is batches one after another and nothing else. The length of a batch is not covered by its
//! checksum: a [`Frame::Complete`] is only a claim until the batch's own checksum has been verified.

use bytes::Buf;

use super::header::LOG_OVERHEAD;
use crate::base::{Bug, is_planted};

/// Bytes in which length and magic lie: 8 of base offset, 4 of length, 4 of leader epoch, 1 of magic.
const PREFIX: usize = 17;

/// What lies at a position where a batch should begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Frame {
    /// A batch of this many bytes, header included, all of them there.
    Complete(usize),
    /// A batch was begun, and its end is missing: what a crash leaves at the end of a log.
    Torn,
    /// Nothing: the log ends here.
    End,
    /// No batch begins like this. What follows cannot be found either.
    Corrupt,
}

impl Frame {
    /// Number of bytes that [`peek`](Self::peek) looks at.
    pub const PEEK_LENGTH: usize = PREFIX;

    /// Looks at the position where `first` lies, with `remaining` bytes from there to the end of the log.
    ///
    /// `first` must hold at least [`PEEK_LENGTH`](Self::PEEK_LENGTH) bytes, or all that remain.
    pub fn peek(first: &[u8], remaining: u64) -> Self {
        if remaining == 0 {
            return Self::End;
        }
        let Some(mut fields) = first.get(8..PREFIX) else { return Self::Torn };
        let length = fields.get_i32();
        let _leader_epoch = fields.get_i32();
        let magic = fields.get_i8();
        // 14 bytes are the least that any format had; whether this format's 49 are there is the header's check.
        let length = match usize::try_from(length) {
            Ok(length @ 14..) if (0..=2).contains(&magic) => length,
            _ => return Self::Corrupt,
        };
        let size = LOG_OVERHEAD + length;
        // A size beyond 64 bits cannot be, and would be more than remains in any case.
        let believed = is_planted(Bug::LengthsBelieved);
        if believed || u64::try_from(size).is_ok_and(|size| size <= remaining) {
            Self::Complete(size)
        } else {
            Self::Torn
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(length: i32, magic: i8) -> Vec<u8> {
        let mut bytes = vec![0; 8];
        bytes.extend(length.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(magic.to_be_bytes());
        bytes
    }

    #[test]
    fn a_batch_that_fits_is_complete() {
        assert_eq!(Frame::peek(&prefix(49, 2), 61), Frame::Complete(61));
        assert_eq!(Frame::peek(&prefix(49, 2), 1 << 40), Frame::Complete(61));
        assert_eq!(Frame::peek(&prefix(14, 0), 26), Frame::Complete(26));
    }

    #[test]
    fn a_batch_that_does_not_fit_is_torn() {
        assert_eq!(Frame::peek(&prefix(49, 2), 60), Frame::Torn);
        assert_eq!(Frame::peek(&prefix(i32::MAX, 2), 1 << 30), Frame::Torn);
        for length in 1..PREFIX {
            assert_eq!(Frame::peek(&vec![0xff; length], 1), Frame::Torn);
        }
    }

    #[test]
    fn nothing_is_the_end() {
        assert_eq!(Frame::peek(&[], 0), Frame::End);
    }

    #[test]
    fn impossible_lengths_and_magics_are_corrupt() {
        for (length, magic) in [(13, 2), (0, 2), (-1, 2), (i32::MIN, 2), (49, 3), (49, -1)] {
            assert_eq!(Frame::peek(&prefix(length, magic), 1000), Frame::Corrupt);
        }
    }
}
