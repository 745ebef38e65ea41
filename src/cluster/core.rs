//! A running cluster: its broker, its controller, and the way to a partition's leader.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::{Bug, ConfigEntry, Offset, PartitionId, TopicId, TopicName, is_planted};
use crate::cluster::controller::{Change, Controller};
use crate::cluster::store::{OpenStore, Store};
use crate::cluster::topic_config::{ConfigChange, TopicConfig};
use crate::cluster::{BrokerConfig, ClusterError, CreateTopic, ProducerIds, TopicImage};
use crate::env::{FileSystem, Runtime};
use crate::replica::Replica;
use crate::storage::{ReadError, StorageError};

/// Name of the metadata log's topic.
const METADATA_TOPIC: &str = "__brooklet_metadata";

/// The metadata topic's id: the same in every cluster.
const METADATA_ID: TopicId = TopicId::from_bytes(*b"brookletmetadata");

/// What a cluster is opened with.
#[derive(Debug)]
pub(crate) struct OpenCluster {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) root: PathBuf,
    /// Whether an empty or missing directory becomes a store.
    pub(crate) create_if_missing: bool,
    pub(crate) config: BrokerConfig,
    pub(crate) runtime: Arc<dyn Runtime>,
}

/// A running cluster.
#[derive(Debug)]
pub(crate) struct Core {
    runtime: Arc<dyn Runtime>,
    store: Arc<Store>,
    controller: Controller,
    config: Arc<BrokerConfig>,
    closed: AtomicBool,
}

impl Core {
    pub(crate) fn open(how: OpenCluster) -> Result<Arc<Self>, ClusterError> {
        let OpenCluster { fs, root, create_if_missing, config, runtime } = how;
        let config = Arc::new(config);
        let store = Arc::new(Store::open(OpenStore {
            fs,
            root,
            create_if_missing,
            config: Arc::clone(&config),
            runtime: Arc::clone(&runtime),
        })?);
        let metadata = store.open_metadata(&metadata_topic()?)?;
        let controller = Controller::open(
            metadata,
            Arc::clone(&store),
            Arc::clone(&config),
            Arc::clone(&runtime),
        )?;
        controller.with_image(|image| store.load(image))?;
        if let Some(rate) = config.scrub_rate {
            store.scrub_in_background(rate, controller.published());
        }
        Ok(Arc::new(Self { runtime, store, controller, config, closed: AtomicBool::new(false) }))
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

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn check_open(&self) -> Result<(), ClusterError> {
        if self.is_closed() { Err(ClusterError::Closed) } else { Ok(()) }
    }

    pub(crate) fn create_topic(
        &self,
        create: CreateTopic,
    ) -> Result<Arc<TopicImage>, ClusterError> {
        self.check_open()?;
        self.controller.submit(Change::CreateTopic(create))
    }

    /// Creates topics, each of which may fail for itself.
    pub(crate) fn create_topics(
        &self,
        create: impl IntoIterator<Item = CreateTopic>,
    ) -> Result<Vec<Result<Arc<TopicImage>, ClusterError>>, ClusterError> {
        self.check_open()?;
        Ok(self.controller.submit_all(create.into_iter().map(Change::CreateTopic)))
    }

    pub(crate) fn delete_topic(&self, id: TopicId, name: &TopicName) -> Result<(), ClusterError> {
        self.check_open()?;
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
        self.store
            .alter_topic(|| self.controller.with_image(|image| image.by_id(topic.id).cloned()));
        Ok(())
    }

    /// Gives a topic more partitions: so many in all.
    pub(crate) fn add_partitions(
        &self,
        topic: &TopicImage,
        partitions: u32,
    ) -> Result<(), ClusterError> {
        self.check_open()?;
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

    /// All topics, by name.
    pub(crate) fn topics(&self) -> Result<Vec<Arc<TopicImage>>, ClusterError> {
        self.check_open()?;
        Ok(self.controller.with_image(|image| image.topics().cloned().collect()))
    }

    /// The leader of a partition of `topic`.
    pub(crate) fn leader(
        &self,
        topic: &TopicImage,
        partition: PartitionId,
    ) -> Result<Arc<Replica>, ClusterError> {
        self.current(topic)?;
        self.store.replica(topic, partition, || {
            self.controller.with_image(|image| {
                let current = image.by_id(topic.id)?;
                Some((Arc::clone(current), image.leader_epoch(current)))
            })
        })
    }

    /// Syncs every partition. The first error of one does not keep the others from it.
    pub(crate) fn sync(&self) -> Result<(), ClusterError> {
        self.check_open()?;
        let mut first_error = None;
        for replica in self.store.replicas() {
            // One that was deleted meanwhile is no failure.
            if let Err(error) = replica.flush()
                && replica.ended().is_none()
            {
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Writes and syncs everything and releases the directory. Later calls find the cluster closed.
    pub(crate) fn close(&self) -> Result<(), StorageError> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        // Changes under way first: whoever makes one renames directories.
        self.controller.close();
        self.store.close(self.controller.log())
    }
}

/// The last handle is gone.
impl Drop for Core {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            log::error!("the cluster was not closed cleanly: {error}");
        }
    }
}

pub(super) fn metadata_topic() -> Result<TopicImage, ClusterError> {
    Ok(TopicImage::internal(METADATA_ID, TopicName::new(METADATA_TOPIC)?, TopicConfig::internal()?))
}
