//! Names of the files in a partition's directory.
//!
//! A segment's files are named by its base offset, 20 decimal digits, and a suffix for what they hold.

use crate::base::Offset;

pub(super) const LOG: &str = ".log";
pub(super) const OFFSET_INDEX: &str = ".index";
pub(super) const TIME_INDEX: &str = ".timeindex";
pub(super) const TXN_INDEX: &str = ".txnindex";
pub(super) const DIGEST: &str = ".digest";
/// Bytes that were cut from a log.
pub(super) const QUARANTINE: &str = ".quarantine";
pub(super) const SNAPSHOT: &str = ".snapshot";
pub(super) const LEADER_EPOCHS: &str = "leader-epoch-checkpoint";
/// Behind the name of a file that is about to be removed.
pub(super) const DELETED: &str = ".deleted";
pub(super) const PARTITION_METADATA: &str = "partition.metadata";

/// Every file that belongs to one segment. A snapshot speaks of all that came before.
pub(super) const SEGMENT_SUFFIXES: [&str; 5] = [LOG, OFFSET_INDEX, TIME_INDEX, TXN_INDEX, DIGEST];

pub(super) fn segment_file(base: Offset, suffix: &str) -> String {
    format!("{:020}{suffix}", base.value())
}

/// The offset in the name of a file with this suffix, if it is one.
pub(super) fn parse_name(name: &str, suffix: &str) -> Option<Offset> {
    let digits = name.strip_suffix(suffix)?;
    let all_digits = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| all_digits).and_then(Offset::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let name = segment_file(Offset::from(123), LOG);
        assert_eq!(name, "00000000000000000123.log");
        assert_eq!(parse_name(&name, LOG), Some(Offset::from(123)));
        assert_eq!(parse_name(&segment_file(Offset::MAX, SNAPSHOT), SNAPSHOT), Some(Offset::MAX));
    }

    #[test]
    fn other_names_are_no_segments() {
        for name in [
            "123.log",
            "00000000000000000123.log.deleted",
            "0000000000000000012x.log",
            "99999999999999999999.log",
            "00000000000000000123.index",
        ] {
            assert_eq!(parse_name(name, LOG), None, "{name}");
        }
    }
}
