//! Which partition a record goes to, if the caller does not say.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::base::TopicName;
use crate::record::{murmur2, to_positive};

/// Chooses partitions in place of Kafka's default (`partitioner.class`): a function, or a type of its own. Set by
/// [`ProducerBuilder::partitioner`](crate::ProducerBuilder::partitioner).
///
/// ```
/// use brooklet::{Cluster, NewTopic, Partitioner, Record, TopicName};
///
/// /// What is urgent has a partition to itself.
/// struct UrgentFirst;
///
/// impl Partitioner for UrgentFirst {
///     fn partition(&self, _: &TopicName, key: Option<&[u8]>, _: Option<&[u8]>, partitions: u32) -> u32 {
///         if key == Some(b"urgent") { 0 } else { partitions - 1 }
///     }
/// }
///
/// let cluster = Cluster::in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email").partitions(3))?;
/// let producer = cluster.producer().partitioner(UrgentFirst).build()?;
/// let metadata = producer.send(Record::to(&email).key("later").value("newsletter"))?.wait()?;
/// assert_eq!(metadata.partition.value(), 2);
/// # Ok::<(), brooklet::Error>(())
/// ```
pub trait Partitioner: Send + Sync {
    /// The partition, below `partitions`, for a record that names none. Called by the sending thread; a partition
    /// that does not exist is an error of the send.
    fn partition(
        &self,
        topic: &TopicName,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        partitions: u32,
    ) -> u32;
}

impl<F> Partitioner for F
where
    F: Fn(&TopicName, Option<&[u8]>, Option<&[u8]>, u32) -> u32 + Send + Sync,
{
    fn partition(
        &self,
        topic: &TopicName,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        partitions: u32,
    ) -> u32 {
        self(topic, key, value, partitions)
    }
}

/// The application's partitioner, if it has one.
#[derive(Clone, Default)]
pub(super) struct Custom(pub(super) Option<Arc<dyn Partitioner>>);

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "custom" } else { "default" })
    }
}

/// The partition of a key: Kafka's default partitioner, so that keys stay where they are in a move to Kafka.
#[inline]
pub(super) fn of_key(key: &[u8], partitions: u32) -> u32 {
    to_positive(murmur2(key)).checked_rem(partitions).unwrap_or(0)
}

/// Where a record is in its batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// It began it, and there is room for more.
    First,
    Between,
    /// It filled it.
    Last,
}

/// Kafka's uniform sticky partitioner (KIP-794): keyless records stay with one partition for about a batch, then go
/// on to a random one, so that batches fill.
#[derive(Debug)]
pub(super) struct Sticky {
    partitions: u32,
    current: AtomicU32,
    bytes: AtomicUsize,
    /// Of the next random choice.
    seed: AtomicU64,
}

impl Sticky {
    pub(super) fn new(partitions: u32, seed: u64) -> Self {
        let sticky = Self {
            partitions,
            current: AtomicU32::new(0),
            bytes: AtomicUsize::new(0),
            seed: AtomicU64::new(seed),
        };
        sticky.choose();
        sticky
    }

    fn choose(&self) {
        if self.partitions > 1 {
            let mut rng = fastrand::Rng::with_seed(self.seed.fetch_add(1, Ordering::Relaxed));
            self.current.store(rng.u32(..self.partitions), Ordering::Relaxed);
        }
    }

    /// The partition for the next keyless record.
    #[inline]
    pub(super) fn current(&self) -> u32 {
        self.current.load(Ordering::Relaxed)
    }

    /// Counts a record of `bytes`. The next one goes elsewhere if this one has filled a batch; or if enough were sent,
    /// and it began one, so that the one before is on its way. Two threads that count at once may switch early or
    /// late, which harms nobody.
    #[inline]
    pub(super) fn sent(&self, bytes: usize, place: Place, batch_size: usize) {
        if self.partitions <= 1 {
            return;
        }
        let bytes = self.bytes.load(Ordering::Relaxed).saturating_add(bytes);
        let ends = match place {
            Place::Last => true,
            Place::First => bytes >= batch_size,
            Place::Between => bytes >= batch_size.saturating_mul(2),
        };
        if ends {
            self.bytes.store(0, Ordering::Relaxed);
            self.choose();
        } else {
            self.bytes.store(bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_kafka_puts_them() {
        for (key, of_6, of_12) in
            [("", 3, 9), ("21", 0, 0), ("kafka", 4, 4), ("foobar", 0, 6), ("naïve", 3, 9)]
        {
            assert_eq!(of_key(key.as_bytes(), 6), of_6, "{key}");
            assert_eq!(of_key(key.as_bytes(), 12), of_12, "{key}");
        }
    }

    #[test]
    fn keyless_records_stay_for_a_batch_and_reach_every_partition() {
        let sticky = Sticky::new(4, 7);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1_000 {
            let partition = sticky.current();
            seen.insert(partition);
            for _ in 0..15 {
                sticky.sent(100, Place::Between, 1_000);
                assert_eq!(sticky.current(), partition, "under two batches' worth");
            }
            sticky.sent(600, Place::Between, 1_000);
        }
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn no_batch_is_begun_where_no_second_record_will_come() {
        let sticky = Sticky::new(1_000_000, 7);
        let partition = sticky.current();
        sticky.sent(400, Place::First, 1_000);
        sticky.sent(400, Place::Between, 1_000);
        assert_eq!(sticky.current(), partition);
        sticky.sent(150, Place::Last, 1_000);
        assert_ne!(sticky.current(), partition, "it was full by then");
    }
}
