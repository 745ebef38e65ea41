//! Names of groups and their members, and where a group is kept.
//!
//! # Invariants
//! - What is a text here fits Kafka's strings, so that writing a record cannot fail.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::base::PartitionId;

/// Most bytes of a string in Kafka's records, the largest `i16`.
pub(crate) const MAX_TEXT_BYTES: usize = 32_767;

macro_rules! text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub(crate) struct $name(Arc<str>);

        #[allow(dead_code, reason = "not each of them is asked for everything")]
        impl $name {
            /// `None` if `text` has more than 32,767 bytes.
            pub(crate) fn new(text: &str) -> Option<Self> {
                (text.len() <= MAX_TEXT_BYTES).then(|| Self(text.into()))
            }

            pub(crate) fn as_str(&self) -> &str {
                &self.0
            }

            /// The same text, not copied.
            pub(crate) fn to_shared(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text! {
    /// Name of a group. The empty one is that of consumers which only commit offsets; it has no members.
    GroupId
}
text! {
    /// Names one life of a member of a group.
    MemberId
}
text! {
    /// Names a static member through all its lives (`group.instance.id`).
    InstanceId
}
text! {
    /// Any other text of a record: the name of a client, a protocol or a rack, metadata of a commit. Empty by default.
    ShortText
}

impl MemberId {
    /// `name` with a number, by which one is told from others. A very long name is not all of it.
    pub(crate) fn numbered(name: &str, number: u64) -> Self {
        let number = format!("-{number}");
        let mut end = name.len().min(MAX_TEXT_BYTES.saturating_sub(number.len()));
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        let name = name.get(..end).unwrap_or_default();
        Self(format!("{name}{number}").into())
    }
}

impl Default for ShortText {
    fn default() -> Self {
        Self(Arc::from(""))
    }
}

/// The partition of `__consumer_offsets`, which has `partitions`, that keeps `group_id`. The hash is Java's.
pub(crate) fn partition_of_group(group_id: &str, partitions: u32) -> PartitionId {
    let add = |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    let hash = group_id.encode_utf16().fold(0, add);
    // The smallest number has no absolute value; Kafka takes 0 for it.
    let hash = hash.checked_abs().unwrap_or(0).cast_unsigned();
    hash.checked_rem(partitions)
        .and_then(|partition| PartitionId::new(partition.cast_signed()))
        .unwrap_or(PartitionId::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_kept_where_kafka_keeps_them() {
        for (group, partition) in [
            ("", 0),
            ("abc", 4),
            ("kafka", 10),
            ("naïve", 25),
            ("my-group", 12),
            ("test-group", 12),
            ("foobar", 13),
            ("user-42", 6),
        ] {
            assert_eq!(partition_of_group(group, 50).value(), partition, "{group}");
        }
    }

    #[test]
    fn the_hash_is_javas() {
        for (group, hash) in [
            ("abc", 96_354),
            ("kafka", 101_807_910),
            ("naïve", 104_710_475),
            ("my-group", 1_906_497_762),
            ("test-group", 627_841_412),
            ("foobar", 1_268_878_963),
            ("user-42", 147_182_656),
            // Two code units: 0xd83d * 31 + 0xde00.
            ("\u{1f600}", 1_772_899),
            // The hash is the smallest number.
            ("polygenelubricants", 0),
        ] {
            assert_eq!(partition_of_group(group, 1 << 31).value(), hash, "{group}");
        }
    }

    #[test]
    fn no_number_of_partitions_fails() {
        assert_eq!(partition_of_group("kafka", 0), PartitionId::ZERO);
        assert_eq!(partition_of_group("kafka", 1), PartitionId::ZERO);
        assert_eq!(partition_of_group("kafka", u32::MAX).value(), 101_807_910);
    }

    #[test]
    fn texts_fit_kafkas_strings() {
        assert_eq!(GroupId::new("").as_ref().map(GroupId::as_str), Some(""));
        assert!(MemberId::new(&"x".repeat(MAX_TEXT_BYTES)).is_some());
        assert_eq!(MemberId::new(&"x".repeat(MAX_TEXT_BYTES + 1)), None);
        assert_eq!(ShortText::default().to_string(), "");
    }

    #[test]
    fn numbers_tell_members_apart_however_long_their_names_are() {
        assert_eq!(MemberId::numbered("left", 7).as_str(), "left-7");
        let number = u64::MAX.to_string();
        for name in ["", "x", "\u{1f600}", "naïve"].map(|name| name.repeat(MAX_TEXT_BYTES)) {
            let id = MemberId::numbered(&name, u64::MAX);
            assert!(id.as_str().ends_with(&number) && id.as_str().len() <= MAX_TEXT_BYTES);
        }
    }
}
