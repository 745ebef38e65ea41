//! A running cluster: its broker, its controller, and the way to a partition's leader.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::{BrokerId, FlushPolicy, LeaderEpoch, PartitionId, TopicId, TopicName};
use crate::cluster::controller::{Change, Controller};
use crate::cluster::store::{OpenStore, Store};
use crate::cluster::{ClusterError, CreateTopic, TopicConfig, TopicImage};
use crate::env::{FileSystem, Runtime};
use crate::replica::Replica;
use crate::storage::StorageError;

/// Name of the metadata log's topic.
const METADATA_TOPIC: &str = "__brooklet_metadata";

/// The metadata topic's id: the same in every cluster.
const METADATA_ID: TopicId = TopicId::from_bytes(*b"brookletmetadata");

/// What a cluster is opened with.
#[derive(Debug)]
pub(crate) struct OpenCluster {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) root: PathBuf,
    pub(crate) broker: BrokerId,
    pub(crate) policy: FlushPolicy,
    pub(crate) runtime: Arc<dyn Runtime>,
}

/// A running cluster.
#[derive(Debug)]
pub(crate) struct Core {
    runtime: Arc<dyn Runtime>,
    store: Arc<Store>,
    controller: Controller,
    closed: AtomicBool,
}

impl Core {
    pub(crate) fn open(how: OpenCluster) -> Result<Arc<Self>, ClusterError> {
        let OpenCluster { fs, root, broker, policy, runtime } = how;
        let how = OpenStore { fs, root, broker, policy, runtime: Arc::clone(&runtime) };
        let store = Arc::new(Store::open(how)?);
        let metadata = store.open_metadata(&metadata_topic()?)?;
        let controller =
            Controller::open(metadata, Arc::clone(&store), broker, Arc::clone(&runtime))?;
        let image = controller.with_image(Clone::clone);
        store.load(&image)?;
        Ok(Arc::new(Self { runtime, store, controller, closed: AtomicBool::new(false) }))
    }

    pub(crate) fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.runtime
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

    pub(crate) fn delete_topic(&self, id: TopicId, name: &TopicName) -> Result<(), ClusterError> {
        self.check_open()?;
        self.controller.submit(Change::DeleteTopic(id, name.clone())).map(drop)
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
        let epoch = self.leader_epoch(topic)?;
        self.store.replica(topic, partition, epoch)
    }

    /// The epoch of the leaders of a topic's partitions. Fails if the topic was deleted.
    pub(crate) fn leader_epoch(&self, topic: &TopicImage) -> Result<LeaderEpoch, ClusterError> {
        self.check_open()?;
        let epoch = self.controller.with_image(|image| {
            let current = image.topic(topic.name.as_str()).filter(|current| current.id == topic.id);
            current.map(|current| image.leader_epoch(current))
        });
        epoch.ok_or_else(|| ClusterError::TopicDeleted(topic.name.clone()))
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

    /// Writes and syncs everything and gives the directory free. Later calls find the cluster closed.
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

fn metadata_topic() -> Result<TopicImage, ClusterError> {
    Ok(TopicImage::internal(METADATA_ID, TopicName::new(METADATA_TOPIC)?, TopicConfig::default()))
}
