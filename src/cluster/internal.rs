//! Topics of the cluster itself.
//!
//! They are created when they are first needed: with as many replicas as the settings ask for, or as there are brokers.
//! The others follow as brokers come.

use std::sync::Arc;

use crate::base::{BrokerId, Config, ConfigError, PartitionId, ReadConfig, TopicId, TopicName};
use crate::cluster::change::{Change, CreateTopic};
use crate::cluster::metadata::{PartitionImage, TopicImage, without};
use crate::cluster::{ClusterError, Core};

/// A topic of the cluster itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum InternalTopic {
    /// What groups have committed, and who is in them.
    ConsumerOffsets,
}

impl InternalTopic {
    const ALL: [Self; 1] = [Self::ConsumerOffsets];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ConsumerOffsets => "__consumer_offsets",
        }
    }

    fn replication_factor(self, settings: &Config) -> Result<u16, ConfigError> {
        settings.number(match self {
            Self::ConsumerOffsets => "offsets.topic.replication.factor",
        })
    }

    fn create(self, settings: &Config) -> Result<CreateTopic, ConfigError> {
        let (partitions, segment_bytes) = match self {
            Self::ConsumerOffsets => {
                ("offsets.topic.num.partitions", "offsets.topic.segment.bytes")
            }
        };
        let segment_bytes = settings.number::<u32>(segment_bytes)?.to_string();
        Ok(CreateTopic {
            name: self.name().to_owned(),
            partitions: Some(settings.number(partitions)?),
            replication_factor: Some(self.replication_factor(settings)?),
            config: vec![
                ("cleanup.policy".to_owned(), "compact".to_owned()),
                ("segment.bytes".to_owned(), segment_bytes),
            ],
            is_internal: true,
            ..CreateTopic::default()
        })
    }
}

impl Core {
    /// A topic of the cluster itself, if it was needed before.
    pub(crate) fn internal_topic(&self, which: InternalTopic) -> Option<Arc<TopicImage>> {
        self.controller().with_image(|image| image.topic(which.name()).cloned())
    }

    /// A topic of the cluster itself.
    pub(crate) fn internal_topic_or_create(
        &self,
        which: InternalTopic,
    ) -> Result<Arc<TopicImage>, ClusterError> {
        if let Some(topic) = self.internal_topic(which) {
            return Ok(topic);
        }
        let create = which.create(&self.config().settings)?;
        self.create_if_missing(create)
    }

    /// Has the cluster's own topics get the replicas for which there were not enough brokers.
    pub(super) fn grow_internal_topics(&self) {
        let growth = InternalTopic::ALL.into_iter().flat_map(|which| self.growth(which));
        let growth = growth.collect::<Vec<_>>();
        let change =
            |(topic, partition, target): &(Arc<TopicImage>, PartitionId, Vec<BrokerId>)| {
                Change::Reassign(topic.id, topic.name.clone(), *partition, Some(target.clone()))
            };
        // All at once: they are recorded together.
        let grown = self.controller().submit_all(growth.iter().map(change));
        for ((topic, partition, target), grown) in growth.iter().zip(grown) {
            match grown {
                Ok(_) => {
                    log::info!("{}-{partition} is to have the replicas {target:?}", topic.name);
                    self.begin_to_move(topic, *partition);
                }
                Err(error) => {
                    log::warn!("{}-{partition} gets no more replicas: {error}", topic.name);
                }
            }
        }
    }

    /// The partitions of a topic that could have more replicas, and which.
    fn growth(&self, which: InternalTopic) -> Vec<(Arc<TopicImage>, PartitionId, Vec<BrokerId>)> {
        let Some(topic) = self.internal_topic(which) else { return Vec::new() };
        let alive = self.brokers().alive();
        let factor = which.replication_factor(&self.config().settings).unwrap_or(1);
        let grown = |partition: &PartitionImage, index: usize| {
            let missing = usize::from(factor).saturating_sub(partition.replicas.len());
            let mut others = without(&alive, &partition.replicas);
            if missing == 0 || others.is_empty() || partition.is_reassigning() {
                return None;
            }
            // So that not all of them go to the same broker.
            let turn = index % others.len();
            others.rotate_left(turn);
            others.truncate(missing);
            Some([&partition.replicas[..], &others].concat())
        };
        let partitions = topic.partitions().enumerate();
        let grown =
            partitions.filter_map(|(index, (id, partition))| Some((id, grown(partition, index)?)));
        grown.map(|(id, target)| (Arc::clone(&topic), id, target)).collect()
    }
}

/// Whether applications may write to a topic of this name, or delete from it.
///
/// # Errors
/// [`ClusterError::InternalTopic`] if it is the cluster's own.
pub(crate) fn not_internal(name: &TopicName) -> Result<(), ClusterError> {
    if name.is_internal() { Err(ClusterError::InternalTopic(name.clone())) } else { Ok(()) }
}

/// What who deals with many topics has to know of each.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct KnownTopic {
    pub(crate) id: TopicId,
    pub(crate) name: TopicName,
    pub(crate) partitions: u32,
}

impl Core {
    /// Every topic as it is now, in the order of names.
    pub(crate) fn known_topics(&self) -> Vec<KnownTopic> {
        let known = |topic: &Arc<TopicImage>| KnownTopic {
            id: topic.id,
            name: topic.name.clone(),
            partitions: topic.partition_count(),
        };
        self.controller().with_image(|image| image.topics().map(known).collect())
    }
}
