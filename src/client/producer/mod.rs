//! Sending records.

mod accumulator;
mod delivery;
mod memory;
mod partitioner;
mod pending;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::base::{Acks, Compression, ErrorKind, TopicId, TopicName};
use crate::client::record::Destination;
use crate::client::topic::partition_id;
use crate::client::{Error, Record, Result, Topic};
use crate::cluster::{ConfigError, Core, TopicImage};
use crate::record::check_codec;

use accumulator::{Accumulator, Appended, NoRoom, Patience};
use memory::Memory;
use partitioner::Sticky;

pub use delivery::Delivery;

/// Settings of a [`Producer`], under Kafka's names.
///
/// ```
/// use brooklet::{Acks, Cluster};
/// use std::time::Duration;
///
/// let cluster = Cluster::in_memory()?;
/// let producer = cluster
///     .producer()
///     .acks(Acks::All)
///     .batch_size(64 << 10)
///     .linger(Duration::from_millis(5))
///     .build()?;
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct ProducerBuilder {
    core: Arc<Core>,
    settings: Settings,
}

#[derive(Clone, Debug)]
struct Settings {
    acks: Acks,
    compression: Compression,
    level: Option<i32>,
    batch_size: usize,
    linger: Duration,
    buffer_memory: usize,
    max_block: Duration,
    max_request_size: usize,
}

impl ProducerBuilder {
    pub(super) fn new(core: Arc<Core>) -> Self {
        let settings = Settings {
            acks: Acks::All,
            compression: Compression::None,
            level: None,
            batch_size: 16 << 10,
            linger: Duration::ZERO,
            buffer_memory: 32 << 20,
            max_block: Duration::from_secs(60),
            max_request_size: 1 << 20,
        };
        Self { core, settings }
    }

    /// When a send counts as done (`acks`). Default: [`Acks::All`].
    pub fn acks(mut self, acks: Acks) -> Self {
        self.settings.acks = acks;
        self
    }

    /// Codec of the batches (`compression.type`). Default: none.
    pub fn compression(mut self, codec: Compression) -> Self {
        self.settings.compression = codec;
        self
    }

    /// Level of the codec (`compression.gzip.level`, 1 to 9; `compression.zstd.level`, -131072 to 22). Default: the
    /// codec's own.
    pub fn compression_level(mut self, level: i32) -> Self {
        self.settings.level = Some(level);
        self
    }

    /// Size in bytes at which a batch is full (`batch.size`). Default: 16384; 0 gives each record a batch of its own.
    /// Without [`linger`](Self::linger), batches grow past it while the log is busy, up to 256 KiB.
    pub fn batch_size(mut self, bytes: usize) -> Self {
        self.settings.batch_size = bytes;
        self
    }

    /// How long a batch waits for more records before it is written (`linger.ms`). Default: zero. A full batch, a
    /// caller who waits for it, and [`flush`](Producer::flush) end the waiting.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.settings.linger = linger;
        self
    }

    /// Bytes that records may take up between send and acknowledgement (`buffer.memory`). Default: 32 MiB.
    pub fn buffer_memory(mut self, bytes: usize) -> Self {
        self.settings.buffer_memory = bytes;
        self
    }

    /// How long a send waits for room in the buffer (`max.block.ms`). Default: 60 s.
    pub fn max_block(mut self, limit: Duration) -> Self {
        self.settings.max_block = limit;
        self
    }

    /// Largest record in bytes, with what the format adds and before compression (`max.request.size`).
    /// Default: 1 MiB.
    pub fn max_request_size(mut self, bytes: usize) -> Self {
        self.settings.max_request_size = bytes;
        self
    }

    /// The producer.
    ///
    /// # Errors
    /// [`UnsupportedCompressionType`](ErrorKind::UnsupportedCompressionType) if the codec was left out of this build
    /// or has no such level; [`InvalidConfig`](ErrorKind::InvalidConfig) if `buffer.memory` or `max.request.size` is
    /// zero; [`Closed`](ErrorKind::Closed).
    pub fn build(self) -> Result<Producer> {
        let Self { core, settings } = self;
        if core.is_closed() {
            return Err(Error::closed());
        }
        check_codec(settings.compression, settings.level)?;
        for (name, value) in [
            ("buffer.memory", settings.buffer_memory),
            ("max.request.size", settings.max_request_size),
        ] {
            if value == 0 {
                return Err(ConfigError::out_of_range(name, value, "1 or more").into());
            }
        }
        let memory = Arc::new(Memory::new(settings.buffer_memory));
        let inner = Inner {
            core,
            settings: Arc::new(settings),
            memory,
            by_id: ArcSwap::default(),
            by_name: ArcSwap::default(),
        };
        Ok(Producer { inner: Arc::new(inner) })
    }
}

/// Sends records to topics. A handle, cheap to clone; clones share their batches, so use one from many threads.
///
/// [`send`](Producer::send) puts the record into a batch and returns at once; the order of sends is the order in the
/// partition. What was sent is written within a fraction of a millisecond, or after [`linger`](ProducerBuilder::linger), whether or
/// not anybody waits for it.
///
/// ```
/// use brooklet::{Cluster, NewTopic, Record};
///
/// let cluster = Cluster::in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email").partitions(3))?;
/// let producer = cluster.producer().build()?;
/// for user in ["ann", "bob", "eve"] {
///     producer.send(Record::to(&email).key(user).value("welcome"))?;
/// }
/// producer.flush()?;
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Producer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    core: Arc<Core>,
    settings: Arc<Settings>,
    memory: Arc<Memory>,
    by_id: ArcSwap<HashMap<TopicId, Arc<Route>, rustc_hash::FxBuildHasher>>,
    by_name: ArcSwap<HashMap<TopicName, Arc<Route>>>,
}

/// The way to a topic's partitions.
#[derive(Debug)]
struct Route {
    image: Arc<TopicImage>,
    accumulators: Vec<OnceLock<Arc<Accumulator>>>,
    sticky: Sticky,
}

/// A record that [`Producer::try_send`] could not take, and why.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct TrySendError<'a> {
    /// The record, as it was.
    pub record: Record<'a>,
    /// Why: [`BufferFull`](ErrorKind::BufferFull), or what [`Producer::send`] would have said.
    pub error: Error,
}

impl Producer {
    /// Queues a record and returns a handle to its acknowledgement, which may be waited for, awaited, or dropped.
    ///
    /// Who fills a batch writes it to its file, without syncing it. Waits while the buffer is full or five batches of
    /// the partition are on their way, for at most [`max_block`](ProducerBuilder::max_block).
    ///
    /// # Errors
    /// By [`kind`](Error::kind): [`UnknownTopicOrPartition`](ErrorKind::UnknownTopicOrPartition),
    /// [`TopicDeleted`](ErrorKind::TopicDeleted), [`MessageTooLarge`](ErrorKind::MessageTooLarge),
    /// [`TimedOut`](ErrorKind::TimedOut) if no room came free, [`Closed`](ErrorKind::Closed). Nothing was queued.
    #[inline]
    pub fn send(&self, record: Record<'_>) -> Result<Delivery> {
        match self.append(&record, Patience::MayBlock) {
            Ok(delivery) => Ok(delivery),
            Err(Refused::Failed(error)) => Err(error),
            Err(Refused::NoRoom) => self.send_when_room(&record),
        }
    }

    /// As [`send`](Producer::send), but neither waits nor writes: a record that there is no room for comes back. Only
    /// the first record to a partition opens its files.
    pub fn try_send<'a>(&self, record: Record<'a>) -> Result<Delivery, TrySendError<'a>> {
        match self.append(&record, Patience::NoBlocking) {
            Ok(delivery) => Ok(delivery),
            Err(Refused::Failed(error)) => Err(TrySendError { record, error }),
            Err(Refused::NoRoom) => {
                let message = "the send buffer is full (buffer.memory): wait for earlier records, then try again";
                Err(TrySendError { record, error: Error::new(ErrorKind::BufferFull, message) })
            }
        }
    }

    /// Writes everything sent before the call, and waits until it is acknowledged.
    ///
    /// # Errors
    /// The first failure of a record since the last flush, also of records whose delivery was dropped.
    pub fn flush(&self) -> Result<()> {
        let accumulators = self.inner.accumulators();
        for accumulator in &accumulators {
            accumulator.write();
        }
        let pending = accumulators.iter().flat_map(|a| a.unfinished()).collect::<Vec<_>>();
        for batch in pending {
            // Its failure is remembered by the memory, with those of batches that were over before.
            let _ = batch.wait();
        }
        self.inner.memory.take_failure().map_or(Ok(()), Err)
    }

    fn send_when_room(&self, record: &Record<'_>) -> Result<Delivery> {
        let runtime = self.inner.core.runtime();
        let deadline = runtime.now().after(self.inner.settings.max_block);
        loop {
            let listener = self.inner.memory.freed();
            match self.append(record, Patience::MayBlock) {
                Ok(delivery) => return Ok(delivery),
                Err(Refused::Failed(error)) => return Err(error),
                Err(Refused::NoRoom) => {}
            }
            if !runtime.park(listener, deadline) {
                let message = "no room in the send buffer (buffer.memory) within max.block.ms: nothing was sent";
                return Err(Error::new(ErrorKind::TimedOut, message));
            }
        }
    }

    #[inline]
    fn append(&self, record: &Record<'_>, patience: Patience) -> Result<Delivery, Refused> {
        // A topic may be deleted and created again between two records; the second look finds the new one.
        for is_last in [false, true] {
            let route = self.route(record.destination)?;
            let accumulator = match self.accumulator(&route, record) {
                Ok(accumulator) => accumulator,
                Err(_) if !is_last && self.is_outdated(&route, record.destination) => {
                    self.forget(&route);
                    continue;
                }
                Err(error) => return Err(Refused::Failed(error)),
            };
            match accumulator.append(&record.fields(), patience) {
                Ok(appended) => return Ok(deliver(accumulator, &route, record, appended)),
                Err(NoRoom::Yet) => return Err(Refused::NoRoom),
                Err(NoRoom::Memory) => {
                    // What lingers in it would do so without need.
                    self.inner.accumulators().iter().for_each(|other| other.expedite(patience));
                    return Err(Refused::NoRoom);
                }
                Err(NoRoom::Ever(error)) => return Err(Refused::Failed(error)),
                Err(NoRoom::Ended(error)) => {
                    self.forget(&route);
                    if is_last
                        || error.kind() != ErrorKind::TopicDeleted
                        || matches!(record.destination, Destination::Topic(_))
                    {
                        return Err(Refused::Failed(error));
                    }
                }
            }
        }
        Err(Refused::NoRoom)
    }

    #[inline]
    fn route(&self, destination: Destination<'_>) -> Result<Arc<Route>> {
        match destination {
            Destination::Topic(topic) => match self.inner.by_id.load().get(&topic.image().id) {
                Some(route) => Ok(Arc::clone(route)),
                None => self.add_route(topic),
            },
            Destination::Name(name) => match self.inner.by_name.load().get(name) {
                Some(route) => Ok(Arc::clone(route)),
                None => {
                    let image = self.inner.core.topic(name)?;
                    self.add_route(&Topic::new(Arc::clone(&self.inner.core), image))
                }
            },
        }
    }

    fn add_route(&self, topic: &Topic) -> Result<Arc<Route>> {
        if !Arc::ptr_eq(topic.core(), &self.inner.core) {
            let message = "the topic belongs to another cluster than the producer";
            return Err(Error::new(ErrorKind::InvalidState, message));
        }
        let image = Arc::clone(topic.image());
        // Fails if the topic was deleted meanwhile. No partition is opened: others than the record's may be damaged.
        self.inner.core.leader_epoch(&image)?;
        let accumulators = image.partition_ids().map(|_| OnceLock::new()).collect();
        let sticky = Sticky::new(image.partitions, self.inner.core.runtime().random());
        let route = Arc::new(Route { sticky, accumulators, image });
        self.inner.by_id.rcu(|routes| {
            let mut routes = HashMap::clone(routes);
            routes.entry(route.image.id).or_insert_with(|| Arc::clone(&route));
            routes
        });
        let route = self.inner.by_id.load().get(&route.image.id).cloned().unwrap_or(route);
        // A handle may be older than the name's present owner.
        if self.inner.core.topic(route.image.name.as_str())?.id == route.image.id {
            self.inner.by_name.rcu(|routes| {
                let mut routes = HashMap::clone(routes);
                routes.insert(route.image.name.clone(), Arc::clone(&route));
                routes
            });
        }
        Ok(route)
    }

    /// Whether the name that a record goes to no longer has the owner that it had when the route was found.
    fn is_outdated(&self, route: &Route, destination: Destination<'_>) -> bool {
        let Destination::Name(name) = destination else { return false };
        self.inner.core.topic(name).ok().is_none_or(|topic| topic.id != route.image.id)
    }

    fn forget(&self, route: &Route) {
        self.inner.by_id.rcu(|routes| {
            let mut routes = HashMap::clone(routes);
            routes.remove(&route.image.id);
            routes
        });
        self.inner.by_name.rcu(|routes| {
            let mut routes = HashMap::clone(routes);
            routes.retain(|_, other| other.image.id != route.image.id);
            routes
        });
    }

    #[inline]
    fn accumulator<'r>(
        &self,
        route: &'r Route,
        record: &Record<'_>,
    ) -> Result<&'r Arc<Accumulator>> {
        let index = match (record.partition, record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partitioner::of_key(key, route.image.partitions),
            (None, None) => route.sticky.current(),
        };
        let slot = usize::try_from(index).ok().and_then(|index| route.accumulators.get(index));
        match slot.map(|slot| (slot.get(), slot)) {
            Some((Some(accumulator), _)) => Ok(accumulator),
            Some((None, slot)) => self.add_accumulator(route, index, slot),
            None => Err(partition_id(&route.image, index)
                .map(|_| Error::closed())
                .unwrap_or_else(Error::from)),
        }
    }

    fn add_accumulator<'r>(
        &self,
        route: &Route,
        index: u32,
        slot: &'r OnceLock<Arc<Accumulator>>,
    ) -> Result<&'r Arc<Accumulator>> {
        let replica = self.inner.core.leader(&route.image, partition_id(&route.image, index)?)?;
        let accumulator =
            Accumulator::new(&self.inner.core, replica, &self.inner.settings, &self.inner.memory);
        Ok(slot.get_or_init(|| accumulator))
    }
}

impl Inner {
    /// All accumulators, in an order that does not depend on a hash.
    fn accumulators(&self) -> Vec<Arc<Accumulator>> {
        let routes = self.by_id.load_full();
        let slots = routes.values().flat_map(|route| &route.accumulators);
        let mut accumulators = slots.filter_map(|slot| slot.get().cloned()).collect::<Vec<_>>();
        accumulators.sort_by_key(|accumulator| accumulator.key());
        accumulators
    }
}

/// The last clone is gone; what was sent is written, whether or not it still was to linger.
impl Drop for Inner {
    fn drop(&mut self) {
        self.accumulators().iter().for_each(|accumulator| accumulator.write());
    }
}

/// What came of trying to append a record.
enum Refused {
    NoRoom,
    Failed(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

#[inline]
fn deliver(
    accumulator: &Arc<Accumulator>,
    route: &Route,
    record: &Record<'_>,
    appended: Appended,
) -> Delivery {
    if record.partition.is_none() && record.key.is_none() {
        route.sticky.sent(appended.bytes, appended.first, accumulator.batch_size());
    }
    Delivery::new(appended)
}
