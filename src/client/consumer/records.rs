//! Records on their way out.

use std::fmt;

use bytes::Bytes;

use crate::base::{
    LeaderEpoch, Offset, PartitionId, Timestamp, TopicId, TopicName, TopicPartition,
};
use crate::client::{Destination, RebalanceEvent, Record, Result};
use crate::record::{DecodedBatch, HeaderIter, Limits, RecordView};
use crate::storage::{Fetched, ReadError};

/// What a poll returned: records of one or several partitions.
///
/// Holds whole batches, not copies: iterating hands out slices of them.
///
/// ```
/// use brooklet::{Cluster, NewTopic, Record};
/// use std::time::Duration;
///
/// let cluster = Cluster::in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email"))?;
/// cluster.producer().build()?.send(Record::to(&email).value("welcome"))?.wait()?;
/// let mut consumer = cluster.consumer().build()?;
/// consumer.assign(email.partitions())?;
///
/// let records = consumer.poll(Duration::from_secs(1))?;
/// assert_eq!(records.len(), 1);
/// for record in &records {
///     println!("{}@{}: {:?}", record.topic_partition(), record.offset(), record.value());
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Records {
    chunks: Vec<Chunk>,
    count: usize,
    rebalances: Vec<RebalanceEvent>,
}

/// Consecutive records of one batch.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    topic: TopicId,
    partition: TopicPartition,
    batch: DecodedBatch,
    at: usize,
    count: usize,
}

impl Chunk {
    pub(super) fn new(
        (topic, partition): (TopicId, TopicPartition),
        batch: DecodedBatch,
        at: usize,
        count: usize,
    ) -> Self {
        Self { topic, partition, batch, at, count }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }
}

impl Records {
    pub(super) fn push(&mut self, chunk: Chunk) {
        self.count += chunk.count;
        self.chunks.push(chunk);
    }

    /// Checks and decodes batches, leaving out what lies before `from`. A bad batch ends it, and is an error if it is
    /// the first.
    pub(in crate::client) fn decode(
        (topic, partition): (TopicId, TopicPartition),
        fetched: &Fetched,
        from: Offset,
    ) -> Result<Self, ReadError> {
        let mut records = Self::default();
        for batch in &fetched.batches {
            let offset = batch.header().base_offset();
            let checked = if fetched.trusted { Ok(()) } else { batch.verify_crc() };
            let batch = match checked.and_then(|()| batch.decode(&Limits::default())) {
                Ok(batch) => batch,
                Err(_) if !records.is_empty() => break,
                Err(source) => return Err(ReadError::Corrupt { offset, source }),
            };
            if batch.header().is_control() {
                continue;
            }
            let (mut at, mut count) = (0, batch.iter().len());
            while let Some((record, next)) = batch.read_at(at) {
                if record.offset >= from {
                    break;
                }
                (at, count) = (next, count.saturating_sub(1));
            }
            if count > 0 {
                records.push(Chunk::new((topic, partition.clone()), batch, at, count));
            }
        }
        Ok(records)
    }

    pub(super) fn set_rebalances(&mut self, rebalances: Vec<RebalanceEvent>) {
        self.rebalances = rebalances;
    }

    /// What has happened to the partitions of a member of a group since the poll before, in order. A poll that returns some
    /// may return no records.
    pub fn rebalances(&self) -> &[RebalanceEvent] {
        &self.rebalances
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Keeps the records for which `keep` is true, in their order.
    pub fn retain(&mut self, mut keep: impl FnMut(&ConsumerRecord<'_>) -> bool) {
        let rebalances = std::mem::take(&mut self.rebalances);
        let mut kept = Self { rebalances, ..Self::default() };
        for chunk in &self.chunks {
            // Those that follow each other are a chunk again.
            let mut run: Option<Chunk> = None;
            let mut at = chunk.at;
            for _ in 0..chunk.count {
                let Some((view, next)) = chunk.batch.read_at(at) else { break };
                if keep(&ConsumerRecord { chunk, view }) {
                    run.get_or_insert_with(|| Chunk { at, count: 0, ..chunk.clone() }).count += 1;
                } else if let Some(run) = run.take() {
                    kept.push(run);
                }
                at = next;
            }
            if let Some(run) = run {
                kept.push(run);
            }
        }
        *self = kept;
    }

    /// The records, partition by partition, each in the order of their offsets.
    pub fn iter(&self) -> RecordsIter<'_> {
        RecordsIter {
            chunks: self.chunks.iter(),
            current: None,
            remaining: 0,
            at: 0,
            left: self.count,
        }
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = ConsumerRecord<'a>;
    type IntoIter = RecordsIter<'a>;

    fn into_iter(self) -> RecordsIter<'a> {
        self.iter()
    }
}

/// Iterates over [`Records`].
#[derive(Clone, Debug)]
pub struct RecordsIter<'a> {
    chunks: std::slice::Iter<'a, Chunk>,
    current: Option<&'a Chunk>,
    remaining: usize,
    at: usize,
    left: usize,
}

impl<'a> Iterator for RecordsIter<'a> {
    type Item = ConsumerRecord<'a>;

    #[inline]
    fn next(&mut self) -> Option<ConsumerRecord<'a>> {
        while self.remaining == 0 {
            let chunk = self.chunks.next()?;
            (self.current, self.remaining, self.at) = (Some(chunk), chunk.count, chunk.at);
        }
        let chunk = self.current?;
        let (view, next) = chunk.batch.read_at(self.at)?;
        self.at = next;
        self.remaining -= 1;
        self.left -= 1;
        Some(ConsumerRecord { chunk, view })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for RecordsIter<'_> {}

/// One record, borrowed from the [`Records`] that it came with.
///
/// ```
/// use brooklet::ConsumerRecord;
///
/// /// To be kept, or sent to another thread: the bytes share the batch's memory.
/// fn order(record: ConsumerRecord<'_>) -> Option<(String, bytes::Bytes)> {
///     let id = std::str::from_utf8(record.key()?).ok()?;
///     Some((id.to_owned(), record.value_bytes()?))
/// }
/// ```
#[derive(Clone, Copy)]
pub struct ConsumerRecord<'a> {
    chunk: &'a Chunk,
    view: RecordView<'a>,
}

impl<'a> ConsumerRecord<'a> {
    /// The topic.
    pub fn topic(&self) -> &'a TopicName {
        &self.chunk.partition.topic
    }

    /// The life of the topic that it is of: there may be another of the same name by now.
    pub(in crate::client) fn topic_id(&self) -> TopicId {
        self.chunk.topic
    }

    /// The partition's index within the topic.
    pub fn partition(&self) -> PartitionId {
        self.chunk.partition.partition
    }

    /// Topic and partition.
    pub fn topic_partition(&self) -> &'a TopicPartition {
        &self.chunk.partition
    }

    /// The record's position in its partition.
    #[inline]
    pub fn offset(&self) -> Offset {
        self.view.offset
    }

    /// In which term of its leader it was written.
    pub fn leader_epoch(&self) -> Option<LeaderEpoch> {
        self.chunk.batch.header().leader_epoch()
    }

    /// The record's timestamp. `None` if it was written without one, which only other implementations do.
    #[inline]
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.view.timestamp
    }

    /// The key; `None` is not the same as an empty one.
    #[inline]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.view.key
    }

    /// The value; `None` is not the same as an empty one: it is a tombstone in a compacted topic.
    #[inline]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.view.value
    }

    /// The headers.
    pub fn headers(&self) -> Headers<'a> {
        Headers::new(self.view.headers)
    }

    /// A record for another topic, with the key, value, timestamp and headers of this one.
    pub fn forward_to(&self, destination: impl Into<Destination<'a>>) -> Record<'a> {
        let mut record = Record::to(destination);
        record.timestamp = self.timestamp();
        record.key = self.key();
        record.value = self.value();
        record.headers = self.headers().iter().collect();
        record
    }

    /// The key, to be kept: no copy, but it keeps the whole batch in memory.
    pub fn key_bytes(&self) -> Option<Bytes> {
        self.view.key.map(|key| self.chunk.batch.body().slice_ref(key))
    }

    /// The value, to be kept: no copy, but it keeps the whole batch in memory.
    pub fn value_bytes(&self) -> Option<Bytes> {
        self.view.value.map(|value| self.chunk.batch.body().slice_ref(value))
    }
}

impl fmt::Debug for ConsumerRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text =
            |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        f.debug_struct("ConsumerRecord")
            .field("partition", &format_args!("{}", self.chunk.partition))
            .field("offset", &self.view.offset.value())
            .field("timestamp", &self.view.timestamp.map(Timestamp::as_millis))
            .field("key", &text(self.view.key))
            .field("value", &text(self.view.value))
            .field("headers", &self.view.headers.len())
            .finish()
    }
}

/// The headers of a record, in the order in which they were added. Names may repeat.
///
/// ```
/// use brooklet::{Cluster, NewTopic, Offset, Record};
///
/// let cluster = Cluster::in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email"))?;
/// let welcome = Record::to(&email).value("welcome").header("trace", "4bf92f").null_header("test");
/// cluster.producer().build()?.send(welcome)?.wait()?;
///
/// for record in &email.partition(0)?.read(Offset::ZERO, 1 << 20)? {
///     let headers = record.headers();
///     assert_eq!(headers.get("trace"), Some(Some(&b"4bf92f"[..])));
///     assert_eq!(headers.get("test"), Some(None));
///     assert_eq!(headers.get("none"), None);
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a>(crate::record::Headers<'a>);

impl<'a> Headers<'a> {
    pub(crate) fn new(headers: crate::record::Headers<'a>) -> Self {
        Self(headers)
    }

    /// Number of headers, repeated names included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values, in order. A value of `None` is null, which is not the same as empty.
    pub fn iter(&self) -> HeadersIter<'a> {
        HeadersIter(self.0.iter())
    }

    /// The last header of this name, as in Kafka. The outer `None`: there is no such header. The inner one: its
    /// value is null.
    pub fn get(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.0.get(name)
    }
}

impl<'a> IntoIterator for Headers<'a> {
    type Item = (&'a str, Option<&'a [u8]>);
    type IntoIter = HeadersIter<'a>;

    fn into_iter(self) -> HeadersIter<'a> {
        self.iter()
    }
}

/// Iterates over [`Headers`].
#[derive(Clone, Debug)]
pub struct HeadersIter<'a>(HeaderIter<'a>);

impl<'a> Iterator for HeadersIter<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for HeadersIter<'_> {}
