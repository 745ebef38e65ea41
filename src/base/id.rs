//! Ids as types: a partition cannot be passed where a broker is meant.
//!
//! Every id is a non-negative number, as in Kafka, where -1 stands for "none"; here absence is an `Option`.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name($int);

        impl $name {
            /// The first one.
            pub const ZERO: Self = Self(0);

            /// `None` if `value` is negative.
            pub const fn new(value: $int) -> Option<Self> {
                if value >= 0 { Some(Self(value)) } else { None }
            }

            /// The number itself, never negative.
            pub const fn value(self) -> $int {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// Index of a partition within its topic, from 0.
    PartitionId(i32)
}

/// `Record::to(&topic).partition(metadata.partition.into())`.
impl From<PartitionId> for u32 {
    fn from(partition: PartitionId) -> Self {
        partition.0.cast_unsigned()
    }
}

id! {
    /// Number of a broker within its cluster (Kafka's `node.id`).
    BrokerId(i32)
}
id! {
    /// Counts the leaders that a partition has had; written into every batch by the leader that appended it.
    LeaderEpoch(i32)
}
id! {
    /// Names a producer to the brokers, so that its retries are recognised (KIP-98).
    ProducerId(i64)
}
id! {
    /// Tells incarnations of one [`ProducerId`] apart: a lower epoch is fenced (KIP-98).
    ProducerEpoch(i16)
}

/// Identifies one life of a topic: a topic deleted and created again under its name has another id (KIP-516).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TopicId([u8; 16]);

impl TopicId {
    /// Characters of the text form.
    pub(crate) const TEXT_LENGTH: usize = 22;

    /// An id from its 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the id.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Parses the text form that [`Display`](fmt::Display) writes: 22 characters of URL-safe base64.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bits = 0u128;
        let mut characters = 0;
        for c in text.bytes() {
            let digit = ALPHABET.iter().position(|&a| a == c)?;
            characters += 1;
            // 22 digits carry 132 bits: the last digit holds two bits of the id and four zero bits.
            if characters == Self::TEXT_LENGTH {
                if digit & 0xf != 0 {
                    return None;
                }
                bits = (bits << 2) | u128::try_from(digit >> 4).ok()?;
            } else {
                bits = (bits << 6) | u128::try_from(digit).ok()?;
            }
        }
        (characters == Self::TEXT_LENGTH).then(|| Self(bits.to_be_bytes()))
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// 22 characters of URL-safe base64 without padding, as in Kafka's `partition.metadata`.
impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        let mut text = String::with_capacity(Self::TEXT_LENGTH);
        for digit in 0..22u32 {
            let six = if digit == 21 { bits << 4 } else { bits >> (122 - 6 * digit) } & 0x3f;
            let index = usize::try_from(six).unwrap_or_default();
            text.extend(ALPHABET.get(index).map(|&b| char::from(b)));
        }
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_id_prints_and_parses_as_kafka_writes_it() {
        let bytes = [
            1, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
            0x88,
        ];
        let id = TopicId::from_bytes(bytes);
        assert_eq!(id.to_string(), "ASNFZ4mrze8RIjNEVWZ3iA");
        assert_eq!(TopicId::parse("ASNFZ4mrze8RIjNEVWZ3iA"), Some(id));
    }

    #[test]
    fn topic_id_refuses_other_text() {
        for text in [
            "",
            "ASNFZ4mrze8RIjNEVWZ3i",
            "ASNFZ4mrze8RIjNEVWZ3iAA",
            "ASNFZ4mrze8RIjNEVWZ3i=",
            "ASNFZ4mrze8RIjNEVWZ3iB",
        ] {
            assert_eq!(TopicId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn negative_ids_do_not_exist() {
        assert_eq!(PartitionId::new(-1), None);
        assert_eq!(ProducerId::new(-1), None);
        assert_eq!(BrokerId::new(7).map(BrokerId::value), Some(7));
    }
}
