//! Topic names and the partitions they name.
//!
//! # Invariants
//! - A [`TopicName`] is safe as a part of a file name: 1 to 249 characters of `[A-Za-z0-9._-]`, not `.` or `..`.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use super::PartitionId;

/// Longest topic name that Kafka accepts, in bytes.
const MAX_LENGTH: usize = 249;

/// A valid topic name. Cheap to clone.
///
/// ```
/// use brooklet::TopicName;
///
/// let name = TopicName::new("email.sent")?;
/// assert_eq!(name.as_str(), "email.sent");
/// assert!(TopicName::new("email/sent").is_err());
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Checks `name` by Kafka's rules.
    ///
    /// # Errors
    /// [`InvalidTopicName`] if it is empty, longer than 249 bytes, `.` or `..`, or has a character outside
    /// `[A-Za-z0-9._-]`.
    pub fn new(name: &str) -> Result<Self, InvalidTopicName> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let reason = if name.is_empty() {
            Some("is empty")
        } else if name == "." || name == ".." {
            Some("is a directory of its own")
        } else if name.len() > MAX_LENGTH {
            Some("is longer than 249 bytes")
        } else if !name.bytes().all(legal) {
            Some("has a character outside [A-Za-z0-9._-]")
        } else {
            None
        };
        match reason {
            None => Ok(Self(name.into())),
            Some(reason) => {
                // A hostile name is quoted and cut, so that it cannot garble a log.
                let shown = name.chars().take(64).collect::<String>();
                Err(InvalidTopicName { name: shown, reason })
            }
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the topic belongs to the cluster itself (`__consumer_offsets` and the like).
    pub fn is_internal(&self) -> bool {
        self.0.starts_with("__")
    }

    /// The name with `.` as `_`: two topics must not have the same (Kafka's metric names collide).
    pub(crate) fn collision_key(&self) -> String {
        self.0.replace('.', "_")
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for TopicName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for TopicName {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for TopicName {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

/// A topic name that Kafka's rules forbid.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("topic name {name:?} {reason}")]
pub struct InvalidTopicName {
    name: String,
    reason: &'static str,
}

/// One partition of one topic, by name.
///
/// ```
/// use brooklet::{PartitionId, TopicName, TopicPartition};
///
/// let partition = TopicPartition::new(TopicName::new("email")?, PartitionId::ZERO);
/// assert_eq!(partition.to_string(), "email-0");
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition's index within the topic.
    pub partition: PartitionId,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    pub fn new(topic: TopicName, partition: PartitionId) -> Self {
        Self { topic, partition }
    }

    /// Name of the partition's directory, `topic-partition`.
    pub(crate) fn directory_name(&self) -> String {
        self.to_string()
    }

    /// The partition whose directory has this name: the topic ends at the last `-`.
    pub(crate) fn parse_directory_name(name: &str) -> Option<Self> {
        let (topic, partition) = name.rsplit_once('-')?;
        // "+1" and "01" parse as numbers but are not what this crate or Kafka writes.
        let canonical = partition == "0" || !partition.starts_with(['0', '+']);
        let partition = partition.parse().ok().and_then(PartitionId::new).filter(|_| canonical)?;
        Some(Self::new(TopicName::new(topic).ok()?, partition))
    }
}

impl AsRef<TopicPartition> for TopicPartition {
    fn as_ref(&self) -> &TopicPartition {
        self
    }
}

/// `topic-partition`, as in Kafka's logs and directory names.
impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rules() {
        for good in ["a", "A.b_c-9", "...", "__consumer_offsets", &"x".repeat(249)] {
            assert!(TopicName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a\0", "é", "a\\b", &"x".repeat(250)] {
            assert!(TopicName::new(bad).is_err(), "{bad:?}");
        }
    }

    /// H4: no one-byte name escapes the rule, whatever the byte.
    #[test]
    fn single_characters_are_legal_only_inside_the_set() {
        for c in (0..=255u8).map(char::from) {
            let legal = c.is_ascii_alphanumeric() || c == '_' || c == '-';
            assert_eq!(TopicName::new(&c.to_string()).is_ok(), legal, "{c:?}");
        }
    }

    #[test]
    fn directory_names_split_at_the_last_dash() {
        let parsed = TopicPartition::parse_directory_name("a-b-12").unwrap();
        assert_eq!((parsed.topic.as_str(), parsed.partition.value()), ("a-b", 12));
        assert_eq!(parsed.directory_name(), "a-b-12");
        for bad in ["a", "a-", "-1", "a-01", "a-+1", "a-1.swap", "a-99999999999"] {
            assert_eq!(TopicPartition::parse_directory_name(bad), None, "{bad}");
        }
    }
}
