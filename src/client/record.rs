//! Records on their way in.

use std::fmt;

use crate::base::{Offset, PartitionId, Timestamp, TopicName};
use crate::client::Topic;
use crate::record::RecordFields;

/// A record to send. Borrows its parts: they are encoded in place, and copied once.
///
/// ```
/// use brooklet::{Cluster, NewTopic, Record};
///
/// let cluster = Cluster::in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email").partitions(3))?;
/// let producer = cluster.producer().build()?;
///
/// let welcome = Record::to(&email).key("user-7").value("welcome").header("trace", "4bf92f");
/// let metadata = producer.send(welcome)?.wait()?;
/// assert_eq!(metadata.offset.map(|offset| offset.value()), Some(0));
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a record does nothing until it is sent"]
pub struct Record<'a> {
    pub(super) destination: Destination<'a>,
    pub(super) partition: Option<u32>,
    pub(super) timestamp: Option<Timestamp>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

/// Where a record goes: a topic, by handle or by name.
#[derive(Clone, Copy, Debug)]
pub enum Destination<'a> {
    /// The topic behind a handle. If it was deleted, sending fails, even if there is a new one of its name.
    Topic(&'a Topic),
    /// The topic that has this name when the record is sent.
    Name(&'a str),
}

impl<'a> Destination<'a> {
    pub(super) fn name(self) -> &'a str {
        match self {
            Self::Topic(topic) => topic.name().as_str(),
            Self::Name(name) => name,
        }
    }
}

impl<'a> From<&'a Topic> for Destination<'a> {
    fn from(topic: &'a Topic) -> Self {
        Self::Topic(topic)
    }
}

impl<'a> From<&'a str> for Destination<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

impl<'a> From<&'a String> for Destination<'a> {
    fn from(name: &'a String) -> Self {
        Self::Name(name)
    }
}

impl<'a> From<&'a TopicName> for Destination<'a> {
    fn from(name: &'a TopicName) -> Self {
        Self::Name(name.as_str())
    }
}

impl<'a> Record<'a> {
    /// A record for a topic, given as handle or name, with neither key nor value.
    #[inline]
    pub fn to(destination: impl Into<Destination<'a>>) -> Self {
        Self {
            destination: destination.into(),
            partition: None,
            timestamp: None,
            key: None,
            value: None,
            headers: Vec::new(),
        }
    }

    /// Sets the key. Records with the same key go to the same partition, and stay in order.
    #[inline]
    pub fn key<K: AsRef<[u8]> + ?Sized>(mut self, key: &'a K) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    /// Sets the value. Without one the record is a tombstone: in a compacted topic, its key is deleted.
    #[inline]
    pub fn value<V: AsRef<[u8]> + ?Sized>(mut self, value: &'a V) -> Self {
        self.value = Some(value.as_ref());
        self
    }

    /// Adds a header. Names may repeat.
    pub fn header<V: AsRef<[u8]> + ?Sized>(mut self, name: &'a str, value: &'a V) -> Self {
        self.headers.push((name, Some(value.as_ref())));
        self
    }

    /// Adds a header whose value is null, which differs from an empty one.
    pub fn null_header(mut self, name: &'a str) -> Self {
        self.headers.push((name, None));
        self
    }

    /// Chooses the partition, whatever the key.
    #[inline]
    pub fn partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets the timestamp, say the time at which the event happened. Default: the time of the send.
    #[inline]
    pub fn timestamp(mut self, timestamp: impl Into<Timestamp>) -> Self {
        self.timestamp = Some(timestamp.into());
        self
    }

    pub(super) fn fields(&self) -> RecordFields<'_> {
        RecordFields {
            timestamp: self.timestamp,
            key: self.key,
            value: self.value,
            headers: &self.headers,
        }
    }
}

/// Where a record went.
///
/// ```
/// use brooklet::{Cluster, NewTopic, Record};
///
/// let cluster = Cluster::in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email"))?;
/// let producer = cluster.producer().build()?;
/// let question = producer.send(Record::to(&email).value("where is my order?"))?.wait()?;
/// println!("{question}"); // email-0@0
/// // The answer goes where the question went.
/// let answer = Record::to(&email).partition(question.partition.into()).value("on its way");
/// producer.send(answer)?.wait()?;
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RecordMetadata {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionId,
    /// The record's position in the partition. `None` with `acks=0`, where the answer comes before it is known.
    pub offset: Option<Offset>,
    /// The record's timestamp: its own, or that of its append where the topic's `message.timestamp.type` is
    /// `LogAppendTime`. With `acks=0` always its own.
    pub timestamp: Timestamp,
}

/// `email-2@17`: topic, partition and offset.
impl fmt::Display for RecordMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}@", self.topic, self.partition)?;
        match self.offset {
            Some(offset) => offset.fmt(f),
            None => f.write_str("?"),
        }
    }
}
