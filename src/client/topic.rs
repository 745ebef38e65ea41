//! Topics: how they are asked for, and what they are.

use std::fmt;
use std::sync::Arc;

use crate::base::{TopicId, TopicName};
use crate::client::{Partition, Result};
use crate::cluster::{ClusterError, Core, CreateTopic, TopicImage};

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
    partitions: u32,
    config: Vec<(String, String)>,
}

impl NewTopic {
    /// A topic of this name with one partition.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), partitions: 1, config: Vec::new() }
    }

    /// Number of partitions, 1 to 100,000. Default: 1.
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = partitions;
        self
    }

    /// Overrides a topic setting, by Kafka's name and in Kafka's units: `retention.ms`, `segment.bytes` and so on.
    /// Creating the topic fails if the name is unknown or the value out of range.
    pub fn config(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.config.push((name.into(), value.to_string()));
        self
    }

    pub(super) fn into_create(self) -> CreateTopic {
        CreateTopic { name: self.name, partitions: self.partitions, config: self.config }
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
    core: Arc<Core>,
    image: Arc<TopicImage>,
}

impl Topic {
    pub(super) fn new(core: Arc<Core>, image: Arc<TopicImage>) -> Self {
        Self { core, image }
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(super) fn image(&self) -> &Arc<TopicImage> {
        &self.image
    }

    /// The topic's name.
    pub fn name(&self) -> &TopicName {
        &self.image.name
    }

    /// Number of partitions.
    pub fn partition_count(&self) -> u32 {
        self.image.partitions
    }

    /// One partition.
    ///
    /// # Errors
    /// [`UnknownTopicOrPartition`](crate::ErrorKind::UnknownTopicOrPartition) if there are not so many.
    pub fn partition(&self, index: u32) -> Result<Partition> {
        let id = partition_id(&self.image, index)?;
        Ok(Partition::new(self.clone(), id))
    }

    /// All partitions, in order.
    pub fn partitions(&self) -> Vec<Partition> {
        self.image.partition_ids().map(|id| Partition::new(self.clone(), id)).collect()
    }

    /// What the topic is made of.
    pub fn describe(&self) -> Result<TopicDescription> {
        let mut bytes = 0;
        for partition in self.partitions() {
            bytes += partition.size_bytes()?;
        }
        Ok(TopicDescription {
            name: self.image.name.clone(),
            id: self.image.id,
            partitions: self.image.partitions,
            config: self.image.config.iter().collect(),
            size_bytes: bytes,
        })
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
        count: topic.partitions,
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
    /// Number of partitions.
    pub partitions: u32,
    /// Settings that differ from their defaults, by name.
    pub config: Vec<(&'static str, String)>,
    /// Bytes in the topic's logs.
    pub size_bytes: u64,
}
