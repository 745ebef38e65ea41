//! A running cluster: its brokers, its controller, and the way to a partition's leader.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::base::{BrokerId, is_planted};
use crate::base::{Bug, ConfigEntry, Offset, PartitionId, TopicId, TopicName};
use crate::cluster::brokers::Brokers;
use crate::cluster::change::{Change, CreateTopic, ElectionKind};
use crate::cluster::controller::Controller;
use crate::cluster::internal::not_internal;
use crate::cluster::keeper::Unfit;
use crate::cluster::metadata::{PartitionImage, TopicImage};
use crate::cluster::metadata_log::METADATA_ID;
use crate::cluster::network::Network;
use crate::cluster::sender::Sender;
use crate::cluster::store::Store;
use crate::cluster::topic_config::{ConfigChange, TopicConfig};
use crate::cluster::{BrokerConfig, ClusterError, ProducerIds};
use crate::env::sync::Mutex;
use crate::env::{BufferPool, Moment, Runtime};
use crate::replica::Replica;
use crate::storage::{ReadError, StorageError};

/// Name of the metadata log's topic.
const METADATA_TOPIC: &str = "__brooklet_metadata";

/// How long closing waits for background work.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A running cluster.
#[derive(Debug)]
pub(crate) struct Core {
    pub(super) me: Weak<Self>,
    /// The id that all stores of the cluster carry.
    pub(super) id: TopicId,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) brokers: Arc<Brokers>,
    pub(super) network: Arc<Network>,
    pub(super) controller: Controller,
    pub(super) config: Arc<BrokerConfig>,
    /// For what has to be done in time, and touches no files.
    pub(super) alarms: Arc<Sender>,
    /// For what the cluster does by itself.
    pub(super) keeper: Arc<Sender>,
    pub(super) pool: Arc<BufferPool>,
    /// Background work of those above.
    pub(super) others: Mutex<Vec<Arc<Sender>>>,
    pub(super) closed: AtomicBool,
}

impl Core {
    pub(crate) fn id(&self) -> TopicId {
        self.id
    }

    pub(crate) fn config(&self) -> &BrokerConfig {
        &self.config
    }

    pub(crate) fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.runtime
    }

    pub(crate) fn producer_ids(&self) -> &Arc<ProducerIds> {
        self.controller.producer_ids()
    }

    pub(crate) fn brokers(&self) -> &Brokers {
        &self.brokers
    }

    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    pub(crate) fn controller(&self) -> &Controller {
        &self.controller
    }

    pub(crate) fn alarms(&self) -> &Arc<Sender> {
        &self.alarms
    }

    pub(crate) fn keeper(&self) -> &Arc<Sender> {
        &self.keeper
    }

    /// Ends `sender` when the cluster is closed.
    pub(crate) fn closes(&self, sender: &Arc<Sender>) {
        self.others.lock().push(Arc::clone(sender));
    }

    pub(crate) fn pool(&self) -> &Arc<BufferPool> {
        &self.pool
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn check_open(&self) -> Result<(), ClusterError> {
        if self.is_closed() { Err(ClusterError::Closed) } else { Ok(()) }
    }

    pub(crate) fn create_topic(
        &self,
        create: CreateTopic,
    ) -> Result<Arc<TopicImage>, ClusterError> {
        self.check_open()?;
        self.controller.submit(Change::CreateTopic(create)).and_then(topic)
    }

    /// Creates topics, each of which may fail for itself.
    pub(crate) fn create_topics(
        &self,
        create: impl IntoIterator<Item = CreateTopic>,
    ) -> Result<Vec<Result<Arc<TopicImage>, ClusterError>>, ClusterError> {
        self.check_open()?;
        let created = self.controller.submit_all(create.into_iter().map(Change::CreateTopic));
        Ok(created.into_iter().map(|created| created.and_then(topic)).collect())
    }

    pub(crate) fn delete_topic(&self, id: TopicId, name: &TopicName) -> Result<(), ClusterError> {
        self.check_open()?;
        not_internal(name)?;
        if !self.config.delete_topics {
            return Err(ClusterError::TopicDeletionDisabled(name.clone()));
        }
        self.controller.submit(Change::DeleteTopic(id, name.clone())).map(drop)
    }

    /// Changes settings of a topic, all or none.
    pub(crate) fn alter_topic(
        &self,
        topic: &TopicImage,
        changes: Vec<(String, ConfigChange)>,
    ) -> Result<(), ClusterError> {
        self.check_open()?;
        let change = Change::AlterConfig(topic.id, topic.name.clone(), changes);
        self.controller.submit(change)?;
        // Not by the controller: those who are answered may do anything, even ask it for a change.
        for store in self.brokers.stores() {
            store
                .alter_topic(|| self.controller.with_image(|image| image.by_id(topic.id).cloned()));
        }
        Ok(())
    }

    /// Gives a topic more partitions: so many in all.
    pub(crate) fn add_partitions(
        &self,
        topic: &TopicImage,
        partitions: u32,
    ) -> Result<(), ClusterError> {
        self.check_open()?;
        not_internal(&topic.name)?;
        let change = Change::AddPartitions(topic.id, topic.name.clone(), partitions);
        self.controller.submit(change).map(drop)
    }

    /// Deletes the records of a partition below `before`, or all that are committed. Returns where it begins then.
    pub(crate) fn delete_records(
        &self,
        topic: &TopicImage,
        partition: PartitionId,
        before: Option<Offset>,
    ) -> Result<Offset, ClusterError> {
        not_internal(&topic.name)?;
        if !self.current(topic)?.config.log.delete {
            return Err(ClusterError::NotDeletable(topic.name.clone()));
        }
        let replica = self.leader(topic, partition)?;
        let (log, high) = (replica.log(), replica.high_watermark());
        let before = before.unwrap_or(high);
        if before > high {
            let start = log.start();
            return Err(ReadError::OutOfRange { offset: before, start, end: high }.into());
        }
        if before <= log.start() {
            return Ok(log.start());
        }
        // A crash must not take back more than was deleted: the log would begin behind its end.
        if log.flushed() < before {
            replica.flush()?;
        }
        if is_planted(Bug::DeletedBeforeRecorded) {
            log.raise_start(before);
        }
        let change = Change::DeleteRecords(topic.id, topic.name.clone(), partition, before);
        self.controller.submit(change)?;
        log.raise_start(before);
        if let Err(error) = replica.remove_below_start() {
            // They are deleted all the same.
            log::warn!("files of deleted records of {} are left: {error}", replica.partition());
        }
        Ok(log.start())
    }

    /// Rises with every change of the metadata: what was looked up before may be different now.
    #[inline]
    pub(crate) fn metadata_version(&self) -> u64 {
        self.controller.version()
    }

    /// The topic as it is now.
    ///
    /// # Errors
    /// It was deleted, or the cluster closed.
    pub(crate) fn current(&self, topic: &TopicImage) -> Result<Arc<TopicImage>, ClusterError> {
        self.check_open()?;
        let current = self.controller.with_image(|image| image.by_id(topic.id).cloned());
        current.ok_or_else(|| ClusterError::TopicDeleted(topic.name.clone()))
    }

    /// The topic of this name, created if there is none and `auto.create.topics.enable` says so.
    pub(crate) fn topic_or_create(&self, name: &str) -> Result<Arc<TopicImage>, ClusterError> {
        match self.topic(name) {
            Err(ClusterError::UnknownTopic(_)) if self.config.auto_create_topics => {
                let name = name.to_owned();
                self.create_if_missing(CreateTopic { name, ..CreateTopic::default() })
            }
            found => found,
        }
    }

    /// The topic of that name, whatever it is like, or a new one.
    pub(crate) fn create_if_missing(
        &self,
        create: CreateTopic,
    ) -> Result<Arc<TopicImage>, ClusterError> {
        let name = create.name.clone();
        match self.topic(&name) {
            Err(ClusterError::UnknownTopic(_)) => match self.create_topic(create) {
                // Somebody else was faster.
                Err(ClusterError::TopicExists(_)) => self.topic(&name),
                created => created,
            },
            found => found,
        }
    }

    /// Every setting of a topic.
    pub(crate) fn describe_topic(
        &self,
        topic: &TopicImage,
    ) -> Result<Vec<ConfigEntry>, ClusterError> {
        Ok(self.current(topic)?.config.describe(&self.config)?)
    }

    /// The topic of this name.
    pub(crate) fn topic(&self, name: &str) -> Result<Arc<TopicImage>, ClusterError> {
        self.check_open()?;
        let topic = self.controller.with_image(|image| image.topic(name).cloned());
        topic.ok_or_else(|| ClusterError::UnknownTopic(name.chars().take(256).collect()))
    }

    /// The topic of this id, as long as it is there.
    pub(crate) fn topic_by_id(&self, id: TopicId) -> Option<Arc<TopicImage>> {
        self.controller.with_image(|image| image.by_id(id).cloned())
    }

    /// All topics, by name.
    pub(crate) fn topics(&self) -> Result<Vec<Arc<TopicImage>>, ClusterError> {
        self.check_open()?;
        Ok(self.controller.with_image(|image| image.topics().cloned().collect()))
    }

    /// Elects another leader of a partition.
    pub(crate) fn elect_leader(
        &self,
        topic: &TopicImage,
        partition: PartitionId,
        kind: ElectionKind,
    ) -> Result<(), ClusterError> {
        self.check_open()?;
        let change = Change::Elect(kind, topic.id, topic.name.clone(), partition);
        self.controller.submit(change).map(drop)
    }

    /// Begins to move a partition, or gives that up.
    pub(crate) fn reassign(
        &self,
        topic: &TopicImage,
        partition: PartitionId,
        target: Option<Vec<BrokerId>>,
    ) -> Result<(), ClusterError> {
        self.check_open()?;
        let change = Change::Reassign(topic.id, topic.name.clone(), partition, target);
        self.controller.submit(change)?;
        self.begin_to_move(topic, partition);
        Ok(())
    }

    /// Has those that are to get a partition begin to copy.
    pub(super) fn begin_to_move(&self, topic: &TopicImage, partition: PartitionId) {
        match self.leader(topic, partition) {
            Ok(leader) => leader.wake_followers(),
            Err(error) => log::info!("{}-{partition} waits to be moved: {error}", topic.name),
        }
    }

    /// What is known of a partition.
    pub(crate) fn partition(
        &self,
        topic: &TopicImage,
        partition: PartitionId,
    ) -> Result<Arc<PartitionImage>, ClusterError> {
        let topic = self.current(topic)?;
        topic.partition(partition).cloned().ok_or_else(|| ClusterError::UnknownPartition {
            topic: topic.name.clone(),
            partition: partition.into(),
            count: topic.partition_count(),
        })
    }

    /// The leader of a partition of `topic`.
    pub(crate) fn leader(
        &self,
        topic: &TopicImage,
        partition: PartitionId,
    ) -> Result<Arc<Replica>, ClusterError> {
        self.leader_and_sender(topic, partition).map(|(leader, _)| leader)
    }

    /// The leader of a partition of `topic`, and the sender of its broker.
    pub(crate) fn leader_and_sender(
        &self,
        topic: &TopicImage,
        partition: PartitionId,
    ) -> Result<(Arc<Replica>, Arc<Sender>), ClusterError> {
        let known = self.partition(topic, partition)?;
        let broker = known.leader.and_then(|leader| self.brokers.get(leader));
        let led = broker.and_then(|broker| Some((broker.settled_store()?, broker)));
        let (store, broker) =
            led.ok_or_else(|| ClusterError::LeaderNotAvailable(topic.name.clone(), partition))?;
        match self.replica_in(&store, topic, partition) {
            Err(error @ ClusterError::Storage(_)) if known.isr.len() > 1 => {
                // Others have what it should have: one of them is to lead.
                log::error!("{}-{partition} on broker {}: {error}", topic.name, broker.id);
                let place = (topic.id, partition);
                self.keeper.submit(Arc::new(Unfit::new(&self.me, place, broker.id)), None);
                Err(ClusterError::LeaderNotAvailable(topic.name.clone(), partition))
            }
            // It is the broker that ends: another is to lead.
            Err(ClusterError::Closed) if !self.is_closed() => {
                Err(ClusterError::LeaderNotAvailable(topic.name.clone(), partition))
            }
            replica => Ok((replica?, Arc::clone(broker.sender()))),
        }
    }

    /// Has the replica on that broker know what is published of a partition.
    pub(crate) fn let_know(&self, topic: &TopicImage, partition: PartitionId, broker: BrokerId) {
        if let Some(store) = self.brokers.store(broker) {
            store.assume(topic.id, partition, || {
                self.controller.with_image(|image| image.by_id(topic.id).cloned())
            });
        }
    }

    /// The replica of a partition of `topic` on a broker that runs.
    pub(crate) fn replica(
        &self,
        topic: &TopicImage,
        partition: PartitionId,
        broker: BrokerId,
    ) -> Result<Arc<Replica>, ClusterError> {
        self.check_open()?;
        let store = self.brokers.get(broker).and_then(|broker| broker.settled_store());
        let store = store.ok_or(ClusterError::UnknownBroker(broker))?;
        match self.replica_in(&store, topic, partition) {
            Err(ClusterError::Closed) if !self.is_closed() => {
                Err(ClusterError::UnknownBroker(broker))
            }
            replica => replica,
        }
    }

    pub(super) fn replica_in(
        &self,
        store: &Store,
        topic: &TopicImage,
        partition: PartitionId,
    ) -> Result<Arc<Replica>, ClusterError> {
        let current = || self.controller.with_image(|image| image.by_id(topic.id).cloned());
        store.replica(topic, partition, current)
    }

    /// Syncs every partition. The first error of one does not keep the others from it.
    pub(crate) fn sync(&self) -> Result<(), ClusterError> {
        self.check_open()?;
        let mut first_error = None;
        for replica in self.brokers.stores().iter().flat_map(|store| store.replicas()) {
            // One that was deleted meanwhile is no failure.
            if let Err(error) = replica.flush()
                && replica.ended().is_none()
            {
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Leaves a cluster that could not be opened as a whole: nothing in it is closed.
    pub(super) fn abandon(&self) {
        self.closed.store(true, Ordering::Release);
        self.controller.close();
        self.end_background();
        self.brokers.stores().iter().for_each(|store| store.abandon());
    }

    fn end_background(&self) {
        let deadline = self.runtime.now().after(CLOSE_TIMEOUT);
        let deadline = deadline.unwrap_or(Moment::since_start(Duration::MAX));
        // What was accepted is written.
        let others = std::mem::take(&mut *self.others.lock());
        others.iter().for_each(|sender| sender.close(deadline));
        self.brokers.senders().iter().for_each(|sender| sender.close(deadline));
        self.keeper.close(deadline);
        self.alarms.close(deadline);
    }

    /// As [`Core::close`], with nobody to tell of errors.
    pub(super) fn close_unless_closed(&self) {
        if let Err(error) = self.close() {
            log::error!("the cluster was not closed cleanly: {error}");
        }
    }

    /// Writes and syncs everything and releases the directories. Later calls find the cluster closed.
    pub(crate) fn close(&self) -> Result<(), StorageError> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        // Changes under way first: whoever makes one renames directories.
        self.controller.close();
        let stores = self.brokers.stores();
        if stores.len() > 1 {
            // As long as the others can still copy.
            stores.iter().for_each(|store| store.settle());
        }
        self.end_background();
        let mut result = Ok(());
        for store in stores {
            result = result.and(store.close());
        }
        result
    }
}

/// One that no application has come to have, since opening it did not get that far.
impl Drop for Core {
    fn drop(&mut self) {
        self.close_unless_closed();
    }
}

/// A change of a topic comes to one.
fn topic(changed: Option<Arc<TopicImage>>) -> Result<Arc<TopicImage>, ClusterError> {
    changed.ok_or(ClusterError::NoController)
}

pub(super) fn metadata_topic(broker: BrokerId) -> Result<TopicImage, ClusterError> {
    let partition = PartitionImage::new(vec![broker], &[broker]);
    let partition = partition.ok_or(ClusterError::UnknownBroker(broker))?;
    let (name, config) = (TopicName::new(METADATA_TOPIC)?, TopicConfig::internal()?);
    Ok(TopicImage::internal(METADATA_ID, name, config, partition))
}
