//! The cluster as applications see it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::base::{BrokerId, ErrorKind, FlushPolicy, ReadMode, TopicName};
use crate::client::{ConsumerBuilder, Error, NewTopic, ProducerBuilder, Result, Topic};
use crate::cluster::{Core, OpenCluster};
use crate::env;
use crate::env::{FileSystem, MemFs, OsFs};

/// A cluster in this process: one broker and its topics.
///
/// A handle, cheap to clone. The cluster closes when [`close`](Cluster::close) is called, or when the last handle of
/// any kind is gone: `Cluster`, [`Topic`], [`Partition`](crate::Partition), [`Producer`](crate::Producer),
/// [`Consumer`](crate::Consumer).
///
/// ```
/// use brooklet::{Cluster, NewTopic};
///
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("data");
/// let cluster = Cluster::open(&path)?;
/// cluster.create_topic(NewTopic::new("email").partitions(3))?;
/// cluster.close()?;
///
/// let cluster = Cluster::open(&path)?;
/// assert_eq!(cluster.topic("email")?.partition_count(), 3);
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Cluster {
    core: Arc<Core>,
}

impl Cluster {
    /// Opens the store in a directory, or makes one in a directory that is empty or missing.
    ///
    /// After a clean shutdown this reads next to nothing. Otherwise what was not known to be on disk is checked, and
    /// each log is cut behind its last whole batch.
    ///
    /// # Errors
    /// By [`kind`](Error::kind): [`AlreadyOpen`](crate::ErrorKind::AlreadyOpen) if it is in use, here or by another
    /// process; [`NotAStore`](crate::ErrorKind::NotAStore) if the directory holds something else;
    /// [`UnsupportedVersion`](crate::ErrorKind::UnsupportedVersion) if a newer version wrote it;
    /// [`ReadOnly`](crate::ErrorKind::ReadOnly) or [`Storage`](crate::ErrorKind::Storage) if files cannot be
    /// written or read. Nothing has been changed then.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::builder().open(path)
    }

    /// A cluster in memory. Nothing of it is left when it is closed.
    pub fn in_memory() -> Result<Self> {
        Self::builder().in_memory()
    }

    /// A cluster in a new temporary directory, which is removed with the last handle.
    pub fn temp() -> Result<Self> {
        Self::builder().temp()
    }

    /// A cluster with other settings than the defaults.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    /// Creates a topic. It is durable when the call returns.
    ///
    /// # Errors
    /// By [`kind`](Error::kind): [`TopicAlreadyExists`](crate::ErrorKind::TopicAlreadyExists);
    /// [`InvalidTopic`](crate::ErrorKind::InvalidTopic) for a name that Kafka's rules forbid or that differs from an
    /// existing one only in `.` and `_`; [`InvalidPartitions`](crate::ErrorKind::InvalidPartitions);
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for an unknown setting or a value out of range.
    pub fn create_topic(&self, topic: NewTopic) -> Result<Topic> {
        let image = self.core.create_topic(topic.into_create())?;
        Ok(Topic::new(Arc::clone(&self.core), image))
    }

    /// The topic of this name.
    ///
    /// # Errors
    /// [`UnknownTopicOrPartition`](crate::ErrorKind::UnknownTopicOrPartition) if there is none.
    pub fn topic(&self, name: &str) -> Result<Topic> {
        Ok(Topic::new(Arc::clone(&self.core), self.core.topic(name)?))
    }

    /// The names of all topics, in alphabetical order.
    pub fn topics(&self) -> Result<Vec<TopicName>> {
        Ok(self.core.topics()?.iter().map(|topic| topic.name.clone()).collect())
    }

    /// Deletes a topic and its records. It stays deleted when the call has returned, whatever happens then. Handles
    /// of it say [`TopicDeleted`](crate::ErrorKind::TopicDeleted) from now on.
    ///
    /// # Errors
    /// [`UnknownTopicOrPartition`](crate::ErrorKind::UnknownTopicOrPartition) if there is no topic of this name.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        let topic = self.core.topic(name)?;
        Ok(self.core.delete_topic(topic.id, &topic.name)?)
    }

    /// A producer, to be configured and built.
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder::new(Arc::clone(&self.core))
    }

    /// A consumer, to be configured and built.
    pub fn consumer(&self) -> ConsumerBuilder {
        ConsumerBuilder::new(Arc::clone(&self.core))
    }

    /// Makes everything written so far durable, whatever the flush policy.
    pub fn sync(&self) -> Result<()> {
        Ok(self.core.sync()?)
    }

    /// Writes and syncs what was sent, and gives the directory free. All other handles find the cluster closed.
    ///
    /// Dropping the last handle does the same, but can only log the errors that this returns.
    ///
    /// # Errors
    /// [`Storage`](crate::ErrorKind::Storage) if something could not be written or synced. The cluster is closed
    /// nevertheless, and will recover at its next open.
    pub fn close(self) -> Result<()> {
        Ok(self.core.close()?)
    }
}

/// Settings of a [`Cluster`].
///
/// ```
/// use brooklet::{Cluster, FlushPolicy};
///
/// let cluster = Cluster::builder().flush_policy(FlushPolicy::Os).temp()?;
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it opens a cluster"]
pub struct ClusterBuilder {
    policy: FlushPolicy,
    read_mode: ReadMode,
}

impl ClusterBuilder {
    /// When written bytes are forced to the disk (`brooklet.flush.policy`). Default: [`FlushPolicy::OnAck`]. Topics
    /// with `flush.ms` or `flush.messages` keep to these.
    pub fn flush_policy(mut self, policy: FlushPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// How files are read (`brooklet.read.mode`). Default: [`ReadMode::Auto`].
    pub fn read_mode(mut self, mode: ReadMode) -> Self {
        self.read_mode = mode;
        self
    }

    /// Opens the store in a directory, see [`Cluster::open`].
    pub fn open(self, path: impl Into<PathBuf>) -> Result<Cluster> {
        let fs = Arc::new(OsFs::new(self.read_mode));
        self.open_store(fs, path.into())
    }

    /// A cluster in memory, see [`Cluster::in_memory`].
    pub fn in_memory(self) -> Result<Cluster> {
        self.open_store(Arc::new(MemFs::default()), PathBuf::from("/memory"))
    }

    /// A cluster in a temporary directory, see [`Cluster::temp`].
    pub fn temp(self) -> Result<Cluster> {
        let dir = tempfile::Builder::new().prefix("brooklet-").tempdir().map_err(|e| {
            Error::new(ErrorKind::Storage, format!("cannot create a temporary directory: {e}"))
        })?;
        let path = dir.path().to_owned();
        let fs = OsFs::new(self.read_mode).removing_at_end(dir);
        self.open_store(Arc::new(fs), path)
    }

    /// Opens the store on a simulated disk, or makes one on an empty disk.
    #[cfg(any(test, feature = "sim"))]
    pub fn open_on(self, disk: &env::Disk) -> Result<Cluster> {
        self.open_store(disk.file_system(), PathBuf::from("/"))
    }

    pub(super) fn open_store(self, fs: Arc<dyn FileSystem>, root: PathBuf) -> Result<Cluster> {
        let runtime = env::runtime();
        let broker = BrokerId::new(1).unwrap_or(BrokerId::ZERO);
        let core = Core::open(OpenCluster { fs, root, broker, policy: self.policy, runtime })?;
        Ok(Cluster { core })
    }
}
