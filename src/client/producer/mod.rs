//! Sending records.

mod accumulator;
mod delivery;
mod memory;
mod partitioner;
mod pending;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::base::{Acks, Compression, Config, ConfigError, Draft, ErrorKind, ReadConfig, Scope};
use crate::base::{TopicId, TopicName};
use crate::client::record::Destination;
use crate::client::topic::partition_id;
use crate::client::{Error, Record, Result, Topic, properties};
use crate::cluster::{Core, TopicImage};
use crate::record::check_codec;

use accumulator::{Accumulator, NoRoom, Patience};
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
    draft: Draft,
}

#[derive(Clone, Debug, PartialEq)]
struct Settings {
    client_id: String,
    acks: Acks,
    compression: Compression,
    level: Option<i32>,
    batch_size: usize,
    linger: Duration,
    buffer_memory: usize,
    max_block: Duration,
    max_in_flight: usize,
    max_request_size: usize,
    ignore_keys: bool,
}

impl Settings {
    fn read(config: &Config) -> Result<Self, ConfigError> {
        let compression = config.parsed("compression.type", Compression::parse)?;
        let level = match compression {
            Compression::Gzip => config.optional("compression.gzip.level")?,
            Compression::Zstd => Some(config.number("compression.zstd.level")?),
            Compression::None | Compression::Snappy | Compression::Lz4 => None,
        };
        Ok(Self {
            client_id: config.text("client.id")?,
            acks: config.parsed("acks", Acks::parse)?,
            compression,
            level,
            batch_size: config.number("batch.size")?,
            linger: config.duration("linger.ms")?,
            buffer_memory: config.number("buffer.memory")?,
            max_block: config.duration("max.block.ms")?,
            max_in_flight: config.number("max.in.flight.requests.per.connection")?,
            max_request_size: config.number("max.request.size")?,
            ignore_keys: config.bool("partitioner.ignore.keys")?,
        })
    }
}

impl ProducerBuilder {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, draft: Draft::new(Scope::Producer) }
    }

    /// Sets a setting by Kafka's name and in Kafka's units: `config("linger.ms", 5)`. All settings:
    /// `docs/configuration.md`.
    ///
    /// A name that has no meaning within one process, such as `bootstrap.servers`, is accepted and ignored, and a
    /// warning logged. A mistake is an error of [`build`](Self::build).
    pub fn config(mut self, name: impl AsRef<str>, value: impl ToString) -> Self {
        self.draft.set_text(name.as_ref(), &value.to_string());
        self
    }

    /// Sets all that the text of a `.properties` file says.
    pub fn properties(mut self, text: impl AsRef<str>) -> Self {
        self.draft.properties("properties", text.as_ref());
        self
    }

    /// Sets all that such a file says. It is read at once, as UTF-8.
    pub fn properties_file(mut self, path: impl AsRef<Path>) -> Self {
        properties::load(&mut self.draft, path.as_ref());
        self
    }

    /// A name that tells producers apart (`client.id`). Default: none.
    pub fn client_id(mut self, id: impl AsRef<str>) -> Self {
        self.draft.set("client.id", id.as_ref());
        self
    }

    /// When a send counts as done (`acks`). Default: [`Acks::All`].
    pub fn acks(mut self, acks: Acks) -> Self {
        self.draft.set("acks", acks.to_string().as_str());
        self
    }

    /// Codec of the batches (`compression.type`). Default: none.
    pub fn compression(mut self, codec: Compression) -> Self {
        self.draft.set("compression.type", codec.to_string().as_str());
        self
    }

    /// Level of gzip (`compression.gzip.level`), 1 to 9, or -1 for the library's default, which is the default.
    pub fn compression_gzip_level(mut self, level: i32) -> Self {
        self.draft.set("compression.gzip.level", level);
        self
    }

    /// Level of Zstandard (`compression.zstd.level`), -131072 to 22. Default: 3.
    pub fn compression_zstd_level(mut self, level: i32) -> Self {
        self.draft.set("compression.zstd.level", level);
        self
    }

    /// Size in bytes at which a batch is full (`batch.size`), up to 2³¹ − 1. Default: 16384; 0 gives each record a
    /// batch of its own. Without [`linger`](Self::linger), batches grow past it while the log is busy, up to 256 KiB.
    pub fn batch_size(mut self, bytes: usize) -> Self {
        self.draft.set("batch.size", bytes);
        self
    }

    /// How long a batch waits for more records before it is written (`linger.ms`). Default: zero. A full batch, a
    /// caller who waits for it, and [`flush`](Producer::flush) end the waiting.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.draft.set("linger.ms", linger);
        self
    }

    /// Bytes that records may take up between send and acknowledgement (`buffer.memory`), 1 or more.
    /// Default: 32 MiB.
    pub fn buffer_memory(mut self, bytes: usize) -> Self {
        self.draft.set("buffer.memory", bytes);
        self
    }

    /// How long a send waits for room in the buffer (`max.block.ms`). Default: 60 s.
    pub fn max_block(mut self, limit: Duration) -> Self {
        self.draft.set("max.block.ms", limit);
        self
    }

    /// A send whose record does not fit into the open batch waits while so many batches of the partition are on
    /// their way (`max.in.flight.requests.per.connection`), 1 to 5. Default: 5.
    pub fn max_in_flight(mut self, batches: u32) -> Self {
        self.draft.set("max.in.flight.requests.per.connection", batches);
        self
    }

    /// Largest record in bytes, with what the format adds and before compression (`max.request.size`), 1 to 2³¹ − 1.
    /// Default: 1 MiB.
    pub fn max_request_size(mut self, bytes: usize) -> Self {
        self.draft.set("max.request.size", bytes);
        self
    }

    /// Whether records with a key are spread over the partitions like those without (`partitioner.ignore.keys`).
    /// Default: no, equal keys go to the same partition.
    pub fn partitioner_ignore_keys(mut self, ignore: bool) -> Self {
        self.draft.set("partitioner.ignore.keys", ignore);
        self
    }

    /// The producer.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for an unknown setting or a value out of range;
    /// [`UnsupportedCompressionType`](ErrorKind::UnsupportedCompressionType) if the codec was left out of this build;
    /// [`Closed`](ErrorKind::Closed).
    pub fn build(self) -> Result<Producer> {
        let Self { core, draft } = self;
        if core.is_closed() {
            return Err(Error::closed());
        }
        for notice in draft.notices() {
            log::warn!("{notice}");
        }
        let settings = Settings::read(&draft.finish()?)?;
        check_codec(settings.compression, settings.level)?;
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
    /// One for each partition. When the topic gets more they are taken over: a partition never has two.
    accumulators: Vec<Arc<Slot>>,
    sticky: Sticky,
    /// The version of the metadata in which the topic was last seen to be like this.
    seen_in: AtomicU64,
}

type Slot = OnceLock<Arc<Accumulator>>;

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

    /// The name that was given to the producer (`client.id`), empty if none was.
    pub fn client_id(&self) -> &str {
        &self.inner.settings.client_id
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
                Ok(appended) => {
                    if record.partition.is_none() && self.key_of(record).is_none() {
                        let batch_size = self.inner.settings.batch_size;
                        route.sticky.sent(appended.bytes, appended.first, batch_size);
                    }
                    return Ok(Delivery::new(appended));
                }
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
        let version = self.inner.core.metadata_version();
        let known = match destination {
            Destination::Topic(topic) => self.inner.by_id.load().get(&topic.image().id).cloned(),
            Destination::Name(name) => self.inner.by_name.load().get(name).cloned(),
        };
        match known {
            Some(route) if route.seen_in.load(Ordering::Relaxed) == version => Ok(route),
            Some(route) => Ok(self.look_again(route, version)),
            None => match destination {
                Destination::Topic(topic) => self.add_route(topic),
                Destination::Name(name) => {
                    let image = self.inner.core.topic_or_create(name)?;
                    self.add_route(&Topic::new(Arc::clone(&self.inner.core), image))
                }
            },
        }
    }

    /// The metadata has changed since the route was last looked at: there may be more partitions.
    #[cold]
    fn look_again(&self, route: Arc<Route>, version: u64) -> Arc<Route> {
        match self.inner.core.current(&route.image) {
            Ok(image) if image.partitions > route.image.partitions => {
                self.inner.put_route(&image, version).unwrap_or(route)
            }
            Ok(_) => {
                route.seen_in.store(version, Ordering::Relaxed);
                route
            }
            // Deleted: the partition will say so.
            Err(_) => route,
        }
    }

    fn add_route(&self, topic: &Topic) -> Result<Arc<Route>> {
        if !Arc::ptr_eq(topic.core(), &self.inner.core) {
            let message = "the topic belongs to another cluster than the producer";
            return Err(Error::new(ErrorKind::InvalidState, message));
        }
        let version = self.inner.core.metadata_version();
        // Fails if the topic was deleted meanwhile.
        let image = self.inner.core.current(topic.image())?;
        if let Some(first) = image.partition_ids().next() {
            self.inner.core.leader(&image, first)?;
        }
        self.inner.put_route(&image, version)
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
        let index = match (record.partition, self.key_of(record)) {
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

    /// The key, if it is to choose the partition.
    #[inline]
    fn key_of<'r>(&self, record: &Record<'r>) -> Option<&'r [u8]> {
        record.key.filter(|_| !self.inner.settings.ignore_keys)
    }

    fn add_accumulator<'r>(
        &self,
        route: &Route,
        index: u32,
        slot: &'r Slot,
    ) -> Result<&'r Arc<Accumulator>> {
        let replica = self.inner.core.leader(&route.image, partition_id(&route.image, index)?)?;
        let accumulator =
            Accumulator::new(&self.inner.core, replica, &self.inner.settings, &self.inner.memory);
        Ok(slot.get_or_init(|| accumulator))
    }
}

impl Route {
    /// A way to the topic `image`, with the accumulators of its first partitions where there are some.
    fn new(image: Arc<TopicImage>, accumulators: &[Arc<Slot>], version: u64) -> Arc<Self> {
        let mut known = accumulators.iter().cloned();
        let slots = image.partition_ids().map(|_| known.next().unwrap_or_default()).collect();
        let (sticky, seen_in) = (Sticky::new(image.partitions), AtomicU64::new(version));
        Arc::new(Self { accumulators: slots, sticky, seen_in, image })
    }
}

impl Inner {
    /// The route to the topic `image`: the one there is, if it knows of as many partitions. Entered under the topic's
    /// name too, if that is still its own.
    fn put_route(&self, image: &Arc<TopicImage>, version: u64) -> Result<Arc<Route>> {
        self.by_id.rcu(|routes| {
            let mut routes = HashMap::clone(routes);
            let known = routes.get(&image.id);
            if known.is_none_or(|known| known.image.partitions < image.partitions) {
                let accumulators = known.map_or(&[][..], |known| &known.accumulators);
                routes.insert(image.id, Route::new(Arc::clone(image), accumulators, version));
            }
            routes
        });
        let route = self.by_id.load().get(&image.id).cloned();
        let route = route.unwrap_or_else(|| Route::new(Arc::clone(image), &[], version));
        if self.core.topic(image.name.as_str())?.id == image.id {
            self.by_name.rcu(|routes| {
                let mut routes = HashMap::clone(routes);
                routes.insert(image.name.clone(), Arc::clone(&route));
                routes
            });
        }
        Ok(route)
    }

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
