//! A topic, the types of its keys and values, and their encodings.

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;

use crate::base::ErrorKind;
use crate::client::consumer::{ConsumerRecord, Records, RecordsIter};
use crate::client::record::Destination;
use crate::client::typed::{Deserializer, Plain, Serializer};
use crate::client::{Error, RecordBuf, Result, Topic};

/// A topic whose keys are of type `K` and whose values are of type `V`, encoded by `KS` and `VS`. A handle, made by
/// [`Topic::typed`]: it writes records, and reads those that a consumer has polled.
///
/// ```
/// use brooklet::{Cluster, NewTopic};
/// use std::time::Duration;
///
/// let cluster = Cluster::in_memory()?;
/// let visits = cluster.create_topic(NewTopic::new("visits"))?.typed::<String, u64>();
///
/// let producer = cluster.producer().build()?;
/// producer.send(&visits.record("ann", &7)?)?;
/// producer.send(&visits.record("bob", &12)?.header("trace", "4bf92f"))?;
///
/// let mut consumer = cluster.consumer().build()?;
/// consumer.assign(visits.topic().partitions())?;
/// for visit in visits.read(&consumer.poll(Duration::from_secs(1))?) {
///     let visit = visit?;
///     println!("{} came {} times", visit.key, visit.value);
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
pub struct TypedTopic<K, V, KS = Plain, VS = Plain> {
    topic: Topic,
    keys: KS,
    values: VS,
    types: PhantomData<fn() -> (K, V)>,
}

impl Topic {
    /// The topic with types for its keys and values, in their [plain](Plain) encodings. Others are chosen by
    /// [`keys`](TypedTopic::keys) and [`values`](TypedTopic::values); a topic whose records have no keys has keys of
    /// type `()`; where keys or values may be null, the type is an `Option`.
    pub fn typed<K, V>(&self) -> TypedTopic<K, V> {
        TypedTopic { topic: self.clone(), keys: Plain, values: Plain, types: PhantomData }
    }
}

impl<K, V, KS, VS> TypedTopic<K, V, KS, VS> {
    /// Encodes keys otherwise.
    pub fn keys<S>(self, keys: S) -> TypedTopic<K, V, S, VS> {
        let Self { topic, values, types, .. } = self;
        TypedTopic { topic, keys, values, types }
    }

    /// Encodes values otherwise.
    pub fn values<S>(self, values: S) -> TypedTopic<K, V, KS, S> {
        let Self { topic, keys, types, .. } = self;
        TypedTopic { topic, keys, values, types }
    }

    /// The topic.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// A record with this key and value, to be sent. The key may be borrowed, as a `&str` for a `String`.
    ///
    /// # Errors
    /// [`Serialization`](ErrorKind::Serialization) if one of them cannot be written, with the reason as
    /// [`source`](std::error::Error::source).
    pub fn record<'a, Q, W>(&'a self, key: &'a Q, value: &'a W) -> Result<RecordBuf<'a>>
    where
        Q: ?Sized,
        W: ?Sized,
        K: Borrow<Q>,
        V: Borrow<W>,
        KS: Serializer<Q>,
        VS: Serializer<W>,
    {
        let mut record = self.tombstone(key)?;
        let value = self.values.serialize(value);
        record.value = value.map_err(|cause| self.not_written(RecordPart::Value, cause))?;
        Ok(record)
    }

    /// A record that deletes a key of a compacted topic: one whose value is null.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub fn tombstone<'a, Q>(&'a self, key: &'a Q) -> Result<RecordBuf<'a>>
    where
        Q: ?Sized,
        K: Borrow<Q>,
        KS: Serializer<Q>,
    {
        let key = self.keys.serialize(key);
        let key = key.map_err(|cause| self.not_written(RecordPart::Key, cause))?;
        Ok(RecordBuf::new(Destination::Topic(&self.topic), key, None))
    }

    fn not_written(
        &self,
        part: RecordPart,
        cause: Box<dyn std::error::Error + Send + Sync>,
    ) -> Error {
        let message = format!("the {part} cannot be written to {}: {cause}", self.topic);
        Error::caused(ErrorKind::Serialization, message, cause)
    }

    /// The records of this topic among those that were polled, decoded one by one. One that cannot be decoded does not
    /// end the reading: it comes as a [`DecodeError`], with the record as it is.
    pub fn read<'a>(&'a self, records: &'a Records) -> TypedRecords<'a, K, V, KS, VS> {
        TypedRecords { topic: self, records: records.iter() }
    }

    /// Decodes one record, of whatever topic.
    ///
    /// # Errors
    /// Its key or value cannot be read. If neither can, the error is the key's.
    pub fn decode<'r>(
        &self,
        record: ConsumerRecord<'r>,
    ) -> Result<TypedRecord<'r, K, V>, DecodeError<'r>>
    where
        KS: Deserializer<K>,
        VS: Deserializer<V>,
    {
        let refused = |part| move |cause| DecodeError { part, record, cause };
        let key = self.keys.deserialize(record.key()).map_err(refused(RecordPart::Key))?;
        let value = self.values.deserialize(record.value()).map_err(refused(RecordPart::Value))?;
        Ok(TypedRecord { key, value, record })
    }
}

impl<K, V, KS: Clone, VS: Clone> Clone for TypedTopic<K, V, KS, VS> {
    fn clone(&self) -> Self {
        let (keys, values) = (self.keys.clone(), self.values.clone());
        Self { topic: self.topic.clone(), keys, values, types: PhantomData }
    }
}

impl<K, V, KS, VS> fmt::Debug for TypedTopic<K, V, KS, VS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedTopic")
            .field("topic", self.topic.name())
            .field("key", &std::any::type_name::<K>())
            .field("value", &std::any::type_name::<V>())
            .finish_non_exhaustive()
    }
}

/// A record whose key and value were decoded.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TypedRecord<'r, K, V> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// The record as it came: place, timestamp, headers, and the bytes.
    pub record: ConsumerRecord<'r>,
}

/// The part of a record that could not be decoded.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RecordPart {
    /// The key.
    Key,
    /// The value.
    Value,
}

impl fmt::Display for RecordPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "key",
            Self::Value => "value",
        })
    }
}

/// A record that is not what its topic should hold, to be skipped, repaired or put aside:
///
/// ```
/// use brooklet::{Cluster, NewTopic, Record};
/// use std::time::Duration;
///
/// let cluster = Cluster::in_memory()?;
/// let visits = cluster.create_topic(NewTopic::new("visits"))?.typed::<String, u64>();
/// let dead_letters = cluster.create_topic(NewTopic::new("visits.dead"))?;
/// let producer = cluster.producer().build()?;
/// producer.send(Record::to(visits.topic()).key("ann").value("seven"))?.wait()?;
///
/// let mut consumer = cluster.consumer().build()?;
/// consumer.assign(visits.topic().partitions())?;
/// for visit in visits.read(&consumer.poll(Duration::from_secs(1))?) {
///     match visit {
///         Ok(visit) => println!("{} came {} times", visit.key, visit.value),
///         Err(error) => {
///             let why = error.to_string();
///             assert_eq!(why, "the value of visits-0@0 cannot be read: it has 5 bytes, not 8");
///             let parked = error.record().forward_to(&dead_letters).header("error", &why);
///             producer.send(parked)?.wait()?;
///         }
///     }
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Debug)]
pub struct DecodeError<'r> {
    part: RecordPart,
    record: ConsumerRecord<'r>,
    cause: Box<dyn std::error::Error + Send + Sync>,
}

impl<'r> DecodeError<'r> {
    /// Which part of the record could not be decoded.
    pub fn part(&self) -> RecordPart {
        self.part
    }

    /// The record as it came: place, timestamp, headers, and the bytes.
    pub fn record(&self) -> ConsumerRecord<'r> {
        self.record
    }
}

impl fmt::Display for DecodeError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (partition, offset) = (self.record.topic_partition(), self.record.offset());
        write!(f, "the {} of {partition}@{offset} cannot be read: {}", self.part, self.cause)
    }
}

impl std::error::Error for DecodeError<'_> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The message ends with the cause's own, so the chain goes on behind it.
        self.cause.source()
    }
}

/// For applications that give up: kind [`Serialization`](ErrorKind::Serialization), without the record.
impl From<DecodeError<'_>> for Error {
    fn from(error: DecodeError<'_>) -> Self {
        let message = error.to_string();
        Self::caused(ErrorKind::Serialization, message, error.cause)
    }
}

/// Iterates over the records of a typed topic, see [`TypedTopic::read`].
pub struct TypedRecords<'a, K, V, KS, VS> {
    topic: &'a TypedTopic<K, V, KS, VS>,
    records: RecordsIter<'a>,
}

impl<'a, K, V, KS, VS> Iterator for TypedRecords<'a, K, V, KS, VS>
where
    KS: Deserializer<K>,
    VS: Deserializer<V>,
{
    type Item = Result<TypedRecord<'a, K, V>, DecodeError<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.topic.topic.name();
        let record = self.records.find(|record| record.topic() == name)?;
        Some(self.topic.decode(record))
    }
}

impl<K, V, KS, VS> fmt::Debug for TypedRecords<'_, K, V, KS, VS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedRecords").field("topic", self.topic).finish_non_exhaustive()
    }
}
