//! Records that own what they have to.

use std::borrow::Cow;

use crate::base::Timestamp;
use crate::client::Record;
use crate::client::record::Destination;

/// A record to send whose parts are borrowed where they can be and owned where they must be: what a
/// [typed topic](crate::TypedTopic) encodes, and what a [`ProducerInterceptor`](crate::ProducerInterceptor) may change.
///
/// ```
/// use brooklet::{Cluster, NewTopic, Record, RecordBuf};
///
/// let cluster = Cluster::in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email"))?;
///
/// let mut record = RecordBuf::from(Record::to(&email).key("ann"));
/// record.value = Some(format!("you have {} invoices", 3).into_bytes().into());
/// cluster.producer().build()?.send(&record.header("trace", "4bf92f"))?.wait()?;
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use = "a record does nothing until it is sent"]
pub struct RecordBuf<'a> {
    pub(super) destination: Destination<'a>,
    /// The partition, if it does not depend on the key.
    pub partition: Option<u32>,
    /// The timestamp, if it is not to be the time of the send.
    pub timestamp: Option<Timestamp>,
    /// The key.
    pub key: Option<Cow<'a, [u8]>>,
    /// The value. Without one the record is a tombstone.
    pub value: Option<Cow<'a, [u8]>>,
    /// Names and values. Names may repeat.
    #[expect(clippy::type_complexity, reason = "a name would only hide what it is made of")]
    pub headers: Vec<(Cow<'a, str>, Option<Cow<'a, [u8]>>)>,
}

impl<'a> RecordBuf<'a> {
    pub(super) fn new(
        destination: Destination<'a>,
        key: Option<Cow<'a, [u8]>>,
        value: Option<Cow<'a, [u8]>>,
    ) -> Self {
        Self { destination, partition: None, timestamp: None, key, value, headers: Vec::new() }
    }

    /// Name of the topic that it goes to.
    pub fn topic(&self) -> &str {
        self.destination.name()
    }

    /// Adds a header. Names may repeat.
    pub fn header<V: AsRef<[u8]> + ?Sized>(mut self, name: &'a str, value: &'a V) -> Self {
        self.headers.push((name.into(), Some(value.as_ref().into())));
        self
    }

    /// Adds a header whose value is null, which differs from an empty one.
    pub fn null_header(mut self, name: &'a str) -> Self {
        self.headers.push((name.into(), None));
        self
    }

    /// Chooses the partition, whatever the key.
    pub fn partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets the timestamp, say the time at which the event happened. Default: the time of the send.
    pub fn timestamp(mut self, timestamp: impl Into<Timestamp>) -> Self {
        self.timestamp = Some(timestamp.into());
        self
    }
}

/// Borrows what the record borrows.
impl<'a> From<Record<'a>> for RecordBuf<'a> {
    fn from(record: Record<'a>) -> Self {
        let Record { destination, partition, timestamp, key, value, headers } = record;
        let header =
            |(name, value): (&'a str, Option<&'a [u8]>)| (name.into(), value.map(Cow::from));
        Self {
            destination,
            partition,
            timestamp,
            key: key.map(Cow::from),
            value: value.map(Cow::from),
            headers: headers.into_iter().map(header).collect(),
        }
    }
}

/// The record as [`Producer::send`](crate::Producer::send) takes it.
impl<'a> From<&'a RecordBuf<'_>> for Record<'a> {
    fn from(record: &'a RecordBuf<'_>) -> Self {
        Self {
            destination: record.destination,
            partition: record.partition,
            timestamp: record.timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: record
                .headers
                .iter()
                .map(|(name, value)| (&**name, value.as_deref()))
                .collect(),
        }
    }
}
