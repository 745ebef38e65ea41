//! The cluster as applications see it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::base::{BrokerId, ConfigEntry, ErrorKind, TopicName};
use crate::client::{Broker, ClusterBuilder, ClusterDescription, ConsumerBuilder, ConsumerGroup};
use crate::client::{Error, GroupListing, NewTopic, ProducerBuilder, Result, Topic};
use crate::cluster::{BrokerPlace, ClusterError, ClusterEvents, OpenReport, Running};
use crate::coordinator::GroupCoordinator;
use crate::env::{FileSystem, OsFs};
use crate::storage::ScrubReport;

/// A cluster in this process: its brokers and its topics.
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
    core: Arc<Running>,
    groups: Arc<GroupCoordinator>,
}

impl Cluster {
    pub(super) fn new(core: Arc<Running>, groups: Arc<GroupCoordinator>) -> Self {
        Self { core, groups }
    }

    /// Opens the store in a directory, or makes one in a directory that is empty or missing.
    ///
    /// After a clean shutdown this reads next to nothing. Otherwise what was not known to be on disk is checked, and
    /// each log is cut behind its last whole batch.
    ///
    /// # Errors
    /// By [`kind`](crate::Error::kind): [`AlreadyOpen`](crate::ErrorKind::AlreadyOpen) if it is in use, here or by another
    /// process; [`NotAStore`](crate::ErrorKind::NotAStore) if the directory holds something else;
    /// [`UnsupportedVersion`](crate::ErrorKind::UnsupportedVersion) if a newer version wrote it;
    /// [`ReadOnly`](crate::ErrorKind::ReadOnly) or [`Storage`](crate::ErrorKind::Storage) if files cannot be
    /// written or read. Nothing has been changed then.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::builder().open_at(path)
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
        ClusterBuilder::new()
    }

    /// Creates a topic. It is durable when the call returns.
    ///
    /// # Errors
    /// By [`kind`](crate::Error::kind): [`TopicAlreadyExists`](crate::ErrorKind::TopicAlreadyExists);
    /// [`InvalidTopic`](crate::ErrorKind::InvalidTopic) for a name that Kafka's rules forbid or that differs from an
    /// existing one only in `.` and `_`; [`InvalidPartitions`](crate::ErrorKind::InvalidPartitions);
    /// [`InvalidReplicationFactor`](crate::ErrorKind::InvalidReplicationFactor);
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for an unknown setting or a value out of range.
    pub fn create_topic(&self, topic: NewTopic) -> Result<Topic> {
        let image = self.core.create_topic(topic.into_create())?;
        Ok(Topic::new(Arc::clone(&self.core), image))
    }

    /// The topic of this name, whatever it is like; where there is none it is created, as by
    /// [`create_topic`](Self::create_topic). What programs begin with that may be run again.
    ///
    /// # Errors
    /// Those of [`create_topic`](Self::create_topic), but that it exists.
    pub fn create_topic_if_missing(&self, topic: NewTopic) -> Result<Topic> {
        let image = self.core.create_if_missing(topic.into_create())?;
        Ok(Topic::new(Arc::clone(&self.core), image))
    }

    /// Creates topics, many of them with one write to the disk. Each is created, or not, for itself; the results are
    /// in the order of the topics, with the errors of [`create_topic`](Self::create_topic).
    ///
    /// ```
    /// use brooklet::{Cluster, NewTopic};
    ///
    /// let cluster = Cluster::in_memory()?;
    /// let topics = ["slack", "sms", "email"].map(NewTopic::new);
    /// let topics = cluster.create_topics(topics)?.into_iter().collect::<brooklet::Result<Vec<_>>>()?;
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) if none of them was tried.
    pub fn create_topics(
        &self,
        topics: impl IntoIterator<Item = NewTopic>,
    ) -> Result<Vec<Result<Topic>>> {
        let created = self.core.create_topics(topics.into_iter().map(NewTopic::into_create))?;
        let topic = |image| Topic::new(Arc::clone(&self.core), image);
        Ok(created.into_iter().map(|created| Ok(topic(created?))).collect())
    }

    /// The topic of this name. Where `auto.create.topics.enable` is set, it is created if there is none.
    ///
    /// # Errors
    /// [`UnknownTopicOrPartition`](crate::ErrorKind::UnknownTopicOrPartition) if there is none; where one would be
    /// created, the errors of [`create_topic`](Self::create_topic).
    pub fn topic(&self, name: &str) -> Result<Topic> {
        Ok(Topic::new(Arc::clone(&self.core), self.core.topic_or_create(name)?))
    }

    /// The names of all topics, in alphabetical order.
    pub fn topics(&self) -> Result<Vec<TopicName>> {
        Ok(self.core.topics()?.iter().map(|topic| topic.name.clone()).collect())
    }

    /// Deletes a topic and its records. It stays deleted when the call has returned, whatever happens then. Handles
    /// of it say [`TopicDeleted`](crate::ErrorKind::TopicDeleted) from now on.
    ///
    /// # Errors
    /// [`UnknownTopicOrPartition`](crate::ErrorKind::UnknownTopicOrPartition) if there is no topic of this name;
    /// [`TopicDeletionDisabled`](crate::ErrorKind::TopicDeletionDisabled) by `delete.topic.enable`;
    /// [`InvalidTopic`](crate::ErrorKind::InvalidTopic) for one of the cluster itself.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        let topic = self.core.topic(name)?;
        self.core.delete_topic(topic.id, &topic.name)?;
        if let Err(error) = self.groups.forget_topic(&topic.name) {
            // They count for no other topic, and go when offsets are next looked at that are too old.
            log::info!("offsets of the deleted topic {} are left: {error}", topic.name);
        }
        Ok(())
    }

    /// Every setting of the broker, in the order of names, with its value and whether it was set.
    pub fn describe_config(&self) -> Result<Vec<ConfigEntry>> {
        Ok(self.core.config().settings.describe()?)
    }

    /// A broker, to be stopped, started and asked.
    ///
    /// # Errors
    /// [`BrokerNotAvailable`](crate::ErrorKind::BrokerNotAvailable) if the cluster has no broker of this number.
    pub fn broker(&self, id: i32) -> Result<Broker> {
        let id = BrokerId::new(id)
            .ok_or_else(|| Error::new(ErrorKind::BrokerNotAvailable, format!("no broker {id}")))?;
        Ok(Broker::new(Arc::clone(&self.core), self.core.broker(id)?))
    }

    /// All brokers, running or not, in the order of their numbers.
    pub fn brokers(&self) -> Vec<Broker> {
        let brokers = self.core.brokers().all().into_iter();
        brokers.map(|broker| Broker::new(Arc::clone(&self.core), broker)).collect()
    }

    /// Adds a broker, with its store in a directory: one that it had before, or a new one. Topics that are created from
    /// now on may have replicas there; those that exist get some by [`Partition::reassign`](crate::Partition::reassign).
    ///
    /// ```
    /// use brooklet::Cluster;
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let disk = |n: i32| dir.path().join(n.to_string());
    /// let cluster = Cluster::builder().broker(1, disk(1)).open()?;
    /// let second = cluster.add_broker(2, disk(2))?;
    /// assert!(second.is_running());
    /// cluster.remove_broker(2)?;
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidState`](crate::ErrorKind::InvalidState) if there is a broker of this number, and those of
    /// [`Cluster::open`].
    pub fn add_broker(&self, id: i32, path: impl Into<PathBuf>) -> Result<Broker> {
        let fs = Arc::new(OsFs::new(self.core.config().read_mode));
        self.add_broker_in(id, fs, path.into())
    }

    /// Adds a broker, with its store on a simulated disk.
    #[cfg(any(test, feature = "sim"))]
    pub fn add_broker_on(&self, id: i32, disk: &crate::env::Disk) -> Result<Broker> {
        self.add_broker_in(id, disk.file_system(), PathBuf::from("/"))
    }

    fn add_broker_in(&self, id: i32, fs: Arc<dyn FileSystem>, root: PathBuf) -> Result<Broker> {
        let id = BrokerId::new(id).ok_or_else(|| {
            let message = format!("a broker cannot have the number {id}");
            Error::new(ErrorKind::InvalidConfig, message)
        })?;
        let rack = self.core.config().rack.clone();
        let broker = self.core.add_broker(Some(id), BrokerPlace { fs, root, rack })?;
        Ok(Broker::new(Arc::clone(&self.core), broker))
    }

    /// Stops a broker that has no replicas of topics any more, and forgets it. Its directory stays as it is.
    ///
    /// # Errors
    /// [`InvalidState`](crate::ErrorKind::InvalidState) if it has replicas: move them first, by
    /// [`Partition::reassign`](crate::Partition::reassign).
    pub fn remove_broker(&self, id: i32) -> Result<()> {
        let broker = self.broker(id)?;
        Ok(self.core.remove_broker(broker.id())?)
    }

    /// The controller and the brokers, as they are now.
    ///
    /// ```
    /// use brooklet::Cluster;
    ///
    /// let cluster = Cluster::builder().brokers(3).in_memory()?;
    /// let description = cluster.describe()?;
    /// assert_eq!((description.brokers.len(), description.controller), (3, description.brokers.first().map(|b| b.id)));
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed).
    pub fn describe(&self) -> Result<ClusterDescription> {
        ClusterDescription::of(&self.core)
    }

    /// What happens in the cluster from now on: other leaders, other replicas in sync, another controller, brokers that
    /// start and stop.
    ///
    /// ```
    /// use brooklet::{Cluster, ClusterEvent, NewTopic};
    ///
    /// let cluster = Cluster::builder().brokers(2).in_memory()?;
    /// cluster.create_topic(NewTopic::new("email").replication_factor(2))?;
    /// let events = cluster.events();
    /// cluster.broker(1)?.stop()?;
    /// for event in events {
    ///     println!("{event}");
    /// }
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    pub fn events(&self) -> ClusterEvents {
        self.core.controller().events().listen()
    }

    /// A producer, to be configured and built.
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder::new(Arc::clone(&self.core))
    }

    /// A consumer, to be configured and built.
    pub fn consumer(&self) -> ConsumerBuilder {
        ConsumerBuilder::new(Arc::clone(&self.core), Arc::clone(&self.groups))
    }

    /// A group of consumers, whether there is one of this name or not.
    pub fn consumer_group(&self, id: impl Into<String>) -> ConsumerGroup {
        ConsumerGroup::new(Arc::clone(&self.core), Arc::clone(&self.groups), id.into())
    }

    /// All groups that have members or committed offsets, by name.
    ///
    /// # Errors
    /// [`CoordinatorNotAvailable`](crate::ErrorKind::CoordinatorNotAvailable) if nobody leads a partition of
    /// `__consumer_offsets`.
    pub fn consumer_groups(&self) -> Result<Vec<GroupListing>> {
        Ok(self.groups.list()?.into_iter().map(GroupListing::of).collect())
    }

    /// Reads the logs of all topics, and reports every part that differs from what was written: rot that nobody has met yet. Each batch is
    /// checked by its checksum and its neighbours, each segment by its digest. Takes as long as reading all of it does;
    /// what else happens meanwhile goes on.
    ///
    /// ```
    /// use brooklet::{Cluster, NewTopic, Record};
    ///
    /// let cluster = Cluster::in_memory()?;
    /// cluster.create_topic(NewTopic::new("email"))?;
    /// cluster.producer().build()?.send(Record::to("email").value("welcome"))?.wait()?;
    ///
    /// let report = cluster.scrub()?;
    /// assert_eq!(report.batches, 1);
    /// assert!(report.damages.is_empty());
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Storage`](crate::ErrorKind::Storage) if a file cannot be read at all.
    pub fn scrub(&self) -> Result<ScrubReport> {
        let mut report = ScrubReport::default();
        for name in self.topics()? {
            match self.core.topic(name.as_str()) {
                Ok(topic) => report += Topic::new(Arc::clone(&self.core), topic).scrub()?,
                Err(ClusterError::UnknownTopic(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(report)
    }

    /// What was found when the cluster was opened: whether it had been closed, and what was read, cut, kept aside, made
    /// anew or is damaged. After a clean shutdown partitions are opened when they are first used, and tell from then on.
    pub fn open_report(&self) -> OpenReport {
        self.core.brokers().stores().iter().map(|store| store.open_report()).sum()
    }

    /// What the scrub in the background ([`ClusterBuilder::scrub_bytes_per_second`]) found when it last read each
    /// partition. Damage is logged when it is found, too.
    pub fn background_scrub(&self) -> ScrubReport {
        let mut report = ScrubReport::default();
        self.core.brokers().stores().iter().for_each(|store| report += store.background_scrub());
        report
    }

    /// Makes everything written so far durable, whatever the flush policy.
    pub fn sync(&self) -> Result<()> {
        Ok(self.core.sync()?)
    }

    /// Writes and syncs what was sent, and releases the directory. All other handles find the cluster closed.
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
