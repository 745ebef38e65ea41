//! Topics: how they are asked for, and what they are.

use std::fmt;
use std::sync::Arc;

use crate::base::{BrokerId, ConfigEntry, ErrorKind, TopicId, TopicName};
use crate::client::{Partition, PartitionDescription, Result};
use crate::cluster::{ClusterError, ConfigChange, CreateTopic, Running, TopicImage};
use crate::storage::ScrubReport;

/// A topic to be created by [`Cluster::create_topic`](crate::Cluster::create_topic).
///
/// ```
/// use brooklet::NewTopic;
///
/// let flights = NewTopic::new("flights").partitions(6).config("retention.ms", "-1");
/// ```
#[derive(Clone, Debug)]
#[must_use = "a new topic does nothing until it is created"]
pub struct NewTopic {
    name: String,
    partitions: Option<u32>,
    replication_factor: Option<u16>,
    assignment: Option<Vec<Vec<BrokerId>>>,
    config: Vec<(String, String)>,
}

impl NewTopic {
    /// A topic of this name.
    pub fn new(name: impl Into<String>) -> Self {
        let (partitions, replication_factor, assignment) = (None, None, None);
        Self { name: name.into(), partitions, replication_factor, assignment, config: Vec::new() }
    }

    /// Number of partitions, 1 to 100,000. Default: the cluster's `num.partitions`, 1 unless it was set.
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// Number of replicas of each partition, each on another broker: 1 to as many as are running. Default: the cluster's
    /// `default.replication.factor`, 1 unless it was set. They are placed by Kafka's classic algorithm, which beginning
    /// with the first topic goes round the brokers.
    pub fn replication_factor(mut self, replicas: u16) -> Self {
        self.replication_factor = Some(replicas);
        self
    }

    /// The brokers of each partition, the preferred leader first, instead of a number of partitions and of replicas.
    /// Creating the topic fails with [`InvalidReplicaAssignment`](crate::ErrorKind::InvalidReplicaAssignment) if a broker is
    /// unknown, not running or named twice, or not all partitions have as many.
    ///
    /// ```
    /// use brooklet::{Cluster, NewTopic};
    ///
    /// let cluster = Cluster::builder().brokers(3).in_memory()?;
    /// let [one, two, three] = [1, 2, 3].map(|id| cluster.broker(id).unwrap().id());
    /// let email = cluster.create_topic(NewTopic::new("email").assignment([[one, two], [three, one]]))?;
    /// assert_eq!(email.partition(1)?.describe()?.leader, Some(three));
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    pub fn assignment<P>(mut self, partitions: impl IntoIterator<Item = P>) -> Self
    where
        P: IntoIterator<Item = BrokerId>,
    {
        let partitions = partitions.into_iter().map(|brokers| brokers.into_iter().collect());
        self.assignment = Some(partitions.collect());
        self
    }

    /// Overrides a topic setting, by Kafka's name and in Kafka's units: `retention.ms`, `segment.bytes` and so on.
    /// Creating the topic fails if the name is unknown or the value out of range. All settings, and which of them
    /// have an effect: `docs/configuration.md`.
    pub fn config(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.config.push((name.into(), value.to_string()));
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn into_create(self) -> CreateTopic {
        let Self { name, partitions, replication_factor, assignment, config } = self;
        let is_internal = false;
        CreateTopic { name, partitions, replication_factor, assignment, config, is_internal }
    }
}

/// Changes of a topic's settings, for [`Topic::alter_config`]. All of them are made, or none.
///
/// ```
/// use brooklet::{AlterConfig, Cluster, NewTopic};
///
/// let cluster = Cluster::in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email").config("flush.ms", 100))?;
/// email.alter_config(AlterConfig::new().set("segment.bytes", 64 << 20).delete("flush.ms"))?;
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "changes do nothing until they are made"]
pub struct AlterConfig {
    changes: Vec<(String, ConfigChange)>,
}

impl AlterConfig {
    /// No changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Overrides a setting, by Kafka's name and in Kafka's units.
    pub fn set(self, name: impl Into<String>, value: impl ToString) -> Self {
        self.with(name, ConfigChange::Set(value.to_string()))
    }

    /// Ends an override: the broker's value, or the default, applies again.
    pub fn delete(self, name: impl Into<String>) -> Self {
        self.with(name, ConfigChange::Delete)
    }

    /// Adds values to a list, `cleanup.policy` for one.
    pub fn append(self, name: impl Into<String>, values: impl ToString) -> Self {
        self.with(name, ConfigChange::Append(values.to_string()))
    }

    /// Takes values from a list.
    pub fn subtract(self, name: impl Into<String>, values: impl ToString) -> Self {
        self.with(name, ConfigChange::Subtract(values.to_string()))
    }

    fn with(mut self, name: impl Into<String>, change: ConfigChange) -> Self {
        self.changes.push((name.into(), change));
        self
    }
}

/// A topic. A handle, cheap to clone.
///
/// It stands for one life of the topic: after a deletion its calls fail with
/// [`TopicDeleted`](crate::ErrorKind::TopicDeleted), even if a topic of the same name is created again.
///
/// ```
/// use brooklet::{Cluster, NewTopic};
///
/// let cluster = Cluster::in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email").partitions(2))?;
/// for partition in email.partitions() {
///     println!("{partition}: {:?}", partition.watermarks()?);
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Topic {
    core: Arc<Running>,
    image: Arc<TopicImage>,
}

impl Topic {
    pub(super) fn new(core: Arc<Running>, image: Arc<TopicImage>) -> Self {
        Self { core, image }
    }

    pub(super) fn core(&self) -> &Arc<Running> {
        &self.core
    }

    pub(super) fn image(&self) -> &Arc<TopicImage> {
        &self.image
    }

    /// The topic's name.
    pub fn name(&self) -> &TopicName {
        &self.image.name
    }

    /// Identifies this life of the topic.
    pub fn id(&self) -> TopicId {
        self.image.id
    }

    /// Number of partitions, as it is now. After a deletion: as it was when the handle was made.
    pub fn partition_count(&self) -> u32 {
        self.current().partition_count()
    }

    /// What the topic is now, or what was last known of it.
    fn current(&self) -> Arc<TopicImage> {
        self.core.current(&self.image).unwrap_or_else(|_| Arc::clone(&self.image))
    }

    /// One partition.
    ///
    /// # Errors
    /// [`UnknownTopicOrPartition`](crate::ErrorKind::UnknownTopicOrPartition) if there are not so many.
    pub fn partition(&self, index: u32) -> Result<Partition> {
        let id = partition_id(&self.current(), index)?;
        Ok(Partition::new(self.clone(), id))
    }

    /// All partitions, in order.
    pub fn partitions(&self) -> Vec<Partition> {
        self.current().partition_ids().map(|id| Partition::new(self.clone(), id)).collect()
    }

    /// What the topic is made of.
    pub fn describe(&self) -> Result<TopicDescription> {
        let image = self.core.current(&self.image)?;
        let mut bytes = 0;
        for id in image.partition_ids() {
            match Partition::new(self.clone(), id).size_bytes() {
                Ok(size) => bytes += size,
                // What nobody can read at the moment takes up space, but nobody knows how much.
                Err(error) if error.kind() == ErrorKind::LeaderNotAvailable => {}
                Err(error) => return Err(error),
            }
        }
        let partitions = image.partitions();
        Ok(TopicDescription {
            name: image.name.clone(),
            id: image.id,
            partitions: partitions.map(|(id, p)| PartitionDescription::of(id, p)).collect(),
            config: image.config.overrides().collect(),
            size_bytes: bytes,
        })
    }

    /// Every setting of the topic, in the order of names, with its value and where it comes from: the topic itself,
    /// the broker, or the default.
    ///
    /// ```
    /// use brooklet::{Cluster, ConfigSource, NewTopic};
    ///
    /// let cluster = Cluster::builder().config("log.segment.bytes", 1 << 20).in_memory()?;
    /// let email = cluster.create_topic(NewTopic::new("email").config("flush.ms", 100))?;
    /// for setting in email.describe_config()? {
    ///     if setting.source != ConfigSource::Default {
    ///         println!("{}={:?} ({:?})", setting.name, setting.value, setting.source);
    ///     }
    /// }
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    pub fn describe_config(&self) -> Result<Vec<ConfigEntry>> {
        Ok(self.core.describe_topic(&self.image)?)
    }

    /// Changes settings of the topic, all or none. They are durable when the call returns, and open logs keep to them
    /// from then on: a segment that is too large by a new `segment.bytes` is rolled with the next append, another
    /// flush policy also holds for what was written before. `index.interval.bytes` holds from the next segment on.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for an unknown setting, a value out of range, or settings
    /// that contradict each other; [`TopicDeleted`](crate::ErrorKind::TopicDeleted).
    pub fn alter_config(&self, changes: AlterConfig) -> Result<()> {
        Ok(self.core.alter_topic(&self.image, changes.changes)?)
    }

    /// Gives the topic more partitions, `total` in all. They are there when the call returns, for all handles, and
    /// producers use them from their next record on: a key may then go to another partition than before.
    ///
    /// ```
    /// use brooklet::{Cluster, NewTopic};
    ///
    /// let cluster = Cluster::in_memory()?;
    /// let email = cluster.create_topic(NewTopic::new("email").partitions(2))?;
    /// email.increase_partitions_to(6)?;
    /// assert_eq!(email.partition_count(), 6);
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidPartitions`](crate::ErrorKind::InvalidPartitions) if it has as many or more, or if it is more than
    /// 100,000; [`InvalidTopic`](crate::ErrorKind::InvalidTopic) if it is the cluster's own: groups would look for what they
    /// have committed in other partitions; [`TopicDeleted`](crate::ErrorKind::TopicDeleted).
    pub fn increase_partitions_to(&self, total: u32) -> Result<()> {
        Ok(self.core.add_partitions(&self.image, total)?)
    }

    /// Reads all of the topic's partitions, and reports every part that differs from what was written.
    ///
    /// # Errors
    /// [`Storage`](crate::ErrorKind::Storage) if a file cannot be read at all.
    pub fn scrub(&self) -> Result<ScrubReport> {
        let mut report = ScrubReport::default();
        for partition in self.partitions() {
            report += partition.scrub()?;
        }
        Ok(report)
    }

    /// Makes everything written to the topic so far durable, whatever the flush policy.
    pub fn sync(&self) -> Result<()> {
        self.partitions().iter().try_for_each(Partition::sync)
    }
}

pub(super) fn partition_id(
    topic: &TopicImage,
    index: u32,
) -> Result<crate::base::PartitionId, ClusterError> {
    topic.partition_id(index).ok_or_else(|| ClusterError::UnknownPartition {
        topic: topic.name.clone(),
        partition: index,
        count: topic.partition_count(),
    })
}

/// The name.
impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.image.name.fmt(f)
    }
}

/// A description of a topic, from [`Topic::describe`].
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TopicDescription {
    /// The topic's name.
    pub name: TopicName,
    /// Identifies this life of the topic.
    pub id: TopicId,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionDescription>,
    /// Settings that the topic overrides, by name.
    pub config: Vec<(&'static str, String)>,
    /// Bytes in the logs of the leaders.
    pub size_bytes: u64,
}
