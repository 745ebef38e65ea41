//! Sending records.

mod accumulator;
mod builder;
mod delivery;
mod flight;
mod memory;
mod partitioner;
mod pending;
mod ready;
mod way;

#[cfg(test)]
mod ending_tests;
#[cfg(test)]
mod flight_tests;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use crate::base::{ErrorKind, ProducerId, TopicId, TopicName};
use crate::client::interceptor::{Interceptors, ProducerInterceptor};
use crate::client::record::Destination;
use crate::client::topic::partition_id;
use crate::client::{Error, Partition, Record, RecordBuf, Result, Topic};
use crate::cluster::{Running, TopicImage, not_internal};

use accumulator::{Accumulator, NoRoom, Patience};
use builder::Settings;
use memory::Memory;
use partitioner::{Custom, Sticky};
use way::Way;

pub use builder::ProducerBuilder;
pub use delivery::Delivery;
pub use partitioner::Partitioner;
pub use ready::Ready;

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
    core: Arc<Running>,
    settings: Arc<Settings>,
    interceptors: Arc<Interceptors<dyn ProducerInterceptor>>,
    partitioner: Custom,
    memory: Arc<Memory>,
    /// Names the producer in its batches, if it is idempotent.
    id: Option<ProducerId>,
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
///
/// ```
/// use brooklet::{Cluster, ErrorKind, NewTopic, Record};
///
/// let cluster = Cluster::in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email"))?;
/// let producer = cluster.producer().build()?;
/// match producer.try_send(Record::to(&email).value("welcome")) {
///     Ok(delivery) => println!("{}", delivery.wait()?),
///     Err(full) if full.error.kind() == ErrorKind::BufferFull => println!("later: {:?}", full.record),
///     Err(refused) => return Err(refused.into()),
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct TrySendError<'a> {
    /// The record, as it was.
    pub record: Record<'a>,
    /// Why: [`BufferFull`](ErrorKind::BufferFull), or what [`Producer::send`] would have said.
    pub error: Error,
}

/// The error alone.
impl From<TrySendError<'_>> for Error {
    fn from(refused: TrySendError<'_>) -> Self {
        refused.error
    }
}

impl Producer {
    fn new(
        core: Arc<Running>,
        settings: Settings,
        interceptors: Interceptors<dyn ProducerInterceptor>,
        partitioner: Custom,
    ) -> Self {
        let memory = Arc::new(Memory::new(settings.buffer_memory));
        let inner = Inner {
            id: settings.idempotent.then(|| core.producer_ids().next()),
            core,
            settings: Arc::new(settings),
            interceptors: Arc::new(interceptors),
            partitioner,
            memory,
            by_id: ArcSwap::default(),
            by_name: ArcSwap::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Queues a record and returns a handle to its acknowledgement, which may be waited for, awaited, or dropped.
    ///
    /// Whoever fills a batch writes it to its file, without syncing it. Waits while the buffer is full, or as many batches
    /// of the partition are on their way as may be ([`max_in_flight`](ProducerBuilder::max_in_flight)), for at most
    /// [`max_block`](ProducerBuilder::max_block). In a task use [`try_send`](Producer::try_send).
    ///
    /// # Errors
    /// By [`kind`](Error::kind): [`UnknownTopicOrPartition`](ErrorKind::UnknownTopicOrPartition), or what kept its topic
    /// from being created (`auto.create.topics.enable`); [`TopicDeleted`](ErrorKind::TopicDeleted);
    /// [`MessageTooLarge`](ErrorKind::MessageTooLarge); [`TimedOut`](ErrorKind::TimedOut) if no room came free;
    /// [`InvalidState`](ErrorKind::InvalidState) for a topic of another cluster; [`Storage`](ErrorKind::Storage) if the
    /// partition cannot be opened; [`Closed`](ErrorKind::Closed). Nothing was queued.
    #[inline]
    pub fn send<'a>(&self, record: impl Into<Record<'a>>) -> Result<Delivery> {
        let record = record.into();
        if self.inner.interceptors.is_empty() {
            self.send_record(&record)
        } else {
            self.intercept(record, |record| self.send_record(record))
        }
    }

    /// As [`send`](Producer::send), but neither waits nor writes: a record that there is no room for comes back. Only
    /// the first record to a partition opens its files, and one that creates its topic
    /// (`auto.create.topics.enable`) waits for that.
    ///
    /// # Errors
    /// [`BufferFull`](ErrorKind::BufferFull) if there is no room, and those of [`send`](Producer::send).
    pub fn try_send<'a>(
        &self,
        record: impl Into<Record<'a>>,
    ) -> Result<Delivery, TrySendError<'a>> {
        let record = record.into();
        let sent = if self.inner.interceptors.is_empty() {
            self.try_send_record(&record)
        } else {
            self.intercept(record.clone(), |record| self.try_send_record(record))
        };
        sent.map_err(|error| TrySendError { record, error })
    }

    /// Resolves when a record that [`try_send`](Self::try_send) had no room for may be tried again: at once if none
    /// was refused, else when one that was sent before comes to its end.
    ///
    /// ```
    /// use brooklet::{Cluster, ErrorKind, NewTopic, Producer, Record};
    ///
    /// async fn send(producer: &Producer, mut record: Record<'_>) -> Result<(), brooklet::Error> {
    ///     loop {
    ///         match producer.try_send(record) {
    ///             Ok(delivery) => return delivery.await.map(drop),
    ///             Err(full) if full.error.kind() == ErrorKind::BufferFull => record = full.record,
    ///             Err(failed) => return Err(failed.into()),
    ///         }
    ///         producer.ready().await;
    ///     }
    /// }
    ///
    /// let cluster = Cluster::in_memory()?;
    /// let email = cluster.create_topic(NewTopic::new("email"))?;
    /// let producer = cluster.producer().build()?;
    /// futures_executor::block_on(send(&producer, Record::to(&email).value("welcome")))?;
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    pub fn ready(&self) -> Ready {
        Ready::new(&self.inner.memory)
    }

    /// The partitions that records to a topic can go to, in order (Kafka's `partitionsFor`).
    ///
    /// # Errors
    /// [`UnknownTopicOrPartition`](ErrorKind::UnknownTopicOrPartition) if there is no topic of this name;
    /// [`Closed`](ErrorKind::Closed).
    pub fn partitions_for(&self, topic: &str) -> Result<Vec<Partition>> {
        let image = self.inner.core.topic(topic)?;
        Ok(Topic::new(Arc::clone(&self.inner.core), image).partitions())
    }

    /// Sends a record as the interceptors leave it.
    fn intercept(
        &self,
        record: Record<'_>,
        send: impl FnOnce(&Record<'_>) -> Result<Delivery>,
    ) -> Result<Delivery> {
        let interceptors = &self.inner.interceptors;
        let mut record = RecordBuf::from(record);
        interceptors.on_send(&mut record);
        let sent = send(&Record::from(&record));
        match &sent {
            Ok(delivery) => delivery.watch(),
            Err(error) => interceptors.on_acknowledgement(record.topic(), Err(error)),
        }
        sent
    }

    #[inline]
    fn send_record(&self, record: &Record<'_>) -> Result<Delivery> {
        match self.append(record, Patience::MayBlock) {
            Ok(delivery) => Ok(delivery),
            Err(Refused::Failed(error)) => Err(error),
            Err(Refused::NoRoom) => self.send_when_room(record),
        }
    }

    #[inline]
    fn try_send_record(&self, record: &Record<'_>) -> Result<Delivery> {
        let first = self.append(record, Patience::NoBlocking);
        let sent = first.or_else(|refused| match refused {
            Refused::NoRoom => {
                self.inner.memory.note_full();
                let again = self.append(record, Patience::NoBlocking);
                if !matches!(again, Err(Refused::NoRoom)) {
                    self.inner.memory.note_room();
                }
                again
            }
            refused => Err(refused),
        });
        sent.map_err(|refused| match refused {
            Refused::Failed(error) => error,
            Refused::NoRoom => {
                let message = "the send buffer is full (buffer.memory): wait for earlier records, then try again";
                Error::new(ErrorKind::BufferFull, message)
            }
        })
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
                        route.sticky.sent(appended.bytes, appended.place(), appended.limit);
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
            Ok(image) if image.partition_count() > route.image.partition_count() => {
                self.inner.put_route(&image, version)
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
        not_internal(&topic.image().name)?;
        let version = self.inner.core.metadata_version();
        // Fails if the topic was deleted meanwhile. No partition is opened: others than the record's may be damaged.
        let image = self.inner.core.current(topic.image())?;
        Ok(self.inner.put_route(&image, version))
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
        let partitions = route.image.partition_count();
        let index = match (record.partition, &self.inner.partitioner.0, self.key_of(record)) {
            (Some(partition), ..) => partition,
            (None, Some(custom), _) => {
                custom.partition(&route.image.name, record.key, record.value, partitions)
            }
            (None, None, Some(key)) => partitioner::of_key(key, partitions),
            (None, None, None) => route.sticky.current(),
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
        let way = Way::new(&self.inner.core, &route.image, partition_id(&route.image, index)?)?;
        let accumulator = Accumulator::new(&self.inner, way);
        Ok(slot.get_or_init(|| accumulator))
    }
}

impl Route {
    /// A way to the topic `image`, with the accumulators of its first partitions where there are some.
    fn new(
        image: Arc<TopicImage>,
        accumulators: &[Arc<Slot>],
        version: u64,
        seed: u64,
    ) -> Arc<Self> {
        let mut known = accumulators.iter().cloned();
        let slots = image.partition_ids().map(|_| known.next().unwrap_or_default()).collect();
        let sticky = Sticky::new(image.partition_count(), seed);
        let seen_in = AtomicU64::new(version);
        Arc::new(Self { accumulators: slots, sticky, seen_in, image })
    }
}

impl Inner {
    /// The route to the topic `image`: the one there is, if it knows of as many partitions. Entered under the topic's
    /// name too, if that is still its own.
    fn put_route(&self, image: &Arc<TopicImage>, version: u64) -> Arc<Route> {
        let seed = self.core.runtime().random();
        self.by_id.rcu(|routes| {
            let mut routes = HashMap::clone(routes);
            let known = routes.get(&image.id);
            if known.is_none_or(|known| known.image.partition_count() < image.partition_count()) {
                let accumulators = known.map_or(&[][..], |known| &known.accumulators);
                routes.insert(image.id, Route::new(Arc::clone(image), accumulators, version, seed));
            }
            routes
        });
        let route = self.by_id.load().get(&image.id).cloned();
        let route = route.unwrap_or_else(|| Route::new(Arc::clone(image), &[], version, seed));
        // If the name has no owner by now, the partition will say so.
        if self.core.topic(image.name.as_str()).is_ok_and(|topic| topic.id == image.id) {
            self.by_name.rcu(|routes| {
                let mut routes = HashMap::clone(routes);
                routes.insert(image.name.clone(), Arc::clone(&route));
                routes
            });
        }
        route
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
        for accumulator in self.accumulators() {
            accumulator.write();
            accumulator.entrust();
        }
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
