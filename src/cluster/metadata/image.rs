//! The state that the metadata records add up to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::{LeaderEpoch, PartitionId, TopicId, TopicName};
use crate::cluster::TopicConfig;
use crate::cluster::metadata::MetadataRecord;

/// Kafka counts partitions with 31 bits; this is where a mistake is likelier than a need.
pub(crate) const MAX_PARTITIONS: u32 = 100_000;

/// A topic as the metadata describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TopicImage {
    pub(crate) id: TopicId,
    pub(crate) name: TopicName,
    pub(crate) partitions: u32,
    pub(crate) config: TopicConfig,
    /// Controller epochs before the topic was created: leader epochs count from there.
    created_in: i32,
}

impl TopicImage {
    /// A topic of the cluster itself, with one partition.
    pub(crate) fn internal(id: TopicId, name: TopicName, config: TopicConfig) -> Self {
        Self { id, name, partitions: 1, config, created_in: 0 }
    }

    /// Every partition of the topic.
    pub(crate) fn partition_ids(&self) -> impl Iterator<Item = PartitionId> + use<> {
        (0..self.partitions).filter_map(|p| i32::try_from(p).ok().and_then(PartitionId::new))
    }

    /// The partition of this number, if there is one.
    pub(crate) fn partition_id(&self, index: u32) -> Option<PartitionId> {
        i32::try_from(index).ok().filter(|_| index < self.partitions).and_then(PartitionId::new)
    }
}

/// All that the metadata log says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    topics: BTreeMap<TopicName, Arc<TopicImage>>,
    /// Names by [`TopicName::collision_key`].
    keys: BTreeMap<String, TopicName>,
    /// Topics that were deleted: what is left of their directories may go.
    deleted: BTreeSet<TopicId>,
    controller_epoch: i32,
}

impl Image {
    /// Applies a record. `Err` says why it contradicts what came before: the log is damaged.
    pub(crate) fn apply(&mut self, record: &MetadataRecord) -> Result<(), String> {
        match record {
            MetadataRecord::Epoch { epoch, .. } => {
                if *epoch <= self.controller_epoch {
                    return Err(format!(
                        "controller epoch {epoch} after {}",
                        self.controller_epoch
                    ));
                }
                self.controller_epoch = *epoch;
            }
            MetadataRecord::TopicCreated { id, name, partitions, config } => {
                let name = TopicName::new(name).map_err(|e| e.to_string())?;
                // Who listed more of them than can have been created would be at it for long.
                let partitions = u32::try_from(*partitions)
                    .ok()
                    .filter(|partitions| (1..=MAX_PARTITIONS).contains(partitions))
                    .ok_or("a topic has an impossible number of partitions")?;
                let has_id = |topic: &Arc<TopicImage>| topic.id == *id;
                if self.topics.contains_key(&name)
                    || self.topics.values().any(has_id)
                    || self.deleted.contains(id)
                {
                    return Err("a topic was created twice".to_owned());
                }
                let settings = config.iter().map(|(k, v)| (k.as_str(), v.as_str()));
                let config = TopicConfig::parse(settings).map_err(|e| e.to_string())?;
                let created_in = self.controller_epoch;
                let topic =
                    TopicImage { id: *id, name: name.clone(), partitions, config, created_in };
                self.keys.insert(name.collision_key(), name.clone());
                self.topics.insert(name, Arc::new(topic));
            }
            MetadataRecord::TopicDeleted { id } => {
                let name = self.topics.values().find(|t| t.id == *id).map(|t| t.name.clone());
                let name = name.ok_or("a topic was deleted that does not exist")?;
                self.topics.remove(&name);
                self.keys.remove(&name.collision_key());
                self.deleted.insert(*id);
            }
        }
        Ok(())
    }

    pub(crate) fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics.get(name)
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.topics.values()
    }

    /// The topic whose name differs from `name` in `.` and `_` at most.
    pub(crate) fn colliding(&self, name: &TopicName) -> Option<&TopicName> {
        self.keys.get(&name.collision_key())
    }

    pub(crate) fn is_deleted(&self, id: TopicId) -> bool {
        self.deleted.contains(&id)
    }

    pub(crate) fn controller_epoch(&self) -> i32 {
        self.controller_epoch
    }

    /// The epoch of the leaders of `topic`'s partitions: there is a new one with each controller.
    pub(crate) fn leader_epoch(&self, topic: &TopicImage) -> LeaderEpoch {
        let epochs = self.controller_epoch.saturating_sub(topic.created_in);
        LeaderEpoch::new(epochs).unwrap_or(LeaderEpoch::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::BrokerId;

    fn epoch(epoch: i32) -> MetadataRecord {
        MetadataRecord::Epoch { epoch, broker: BrokerId::ZERO, id: [0; 16] }
    }

    fn created(name: &str, id: u8) -> MetadataRecord {
        with_partitions(name, id, 2)
    }

    fn with_partitions(name: &str, id: u8, partitions: i32) -> MetadataRecord {
        let id = TopicId::from_bytes([id; 16]);
        MetadataRecord::TopicCreated { id, name: name.to_owned(), partitions, config: Vec::new() }
    }

    #[test]
    fn leader_epochs_rise_with_each_controller() {
        let mut image = Image::default();
        for record in [epoch(1), created("a", 1), epoch(2), epoch(3)] {
            image.apply(&record).unwrap();
        }
        let topic = Arc::clone(image.topic("a").unwrap());
        assert_eq!(image.leader_epoch(&topic).value(), 2);
    }

    #[test]
    fn a_name_is_free_again_after_deletion_but_the_id_stays_deleted() {
        let mut image = Image::default();
        for record in
            [created("a.b", 1), MetadataRecord::TopicDeleted { id: TopicId::from_bytes([1; 16]) }]
        {
            image.apply(&record).unwrap();
        }
        assert!(image.topic("a.b").is_none() && image.is_deleted(TopicId::from_bytes([1; 16])));
        assert_eq!(image.colliding(&TopicName::new("a_b").unwrap()), None);
        image.apply(&created("a_b", 2)).unwrap();
        assert!(image.apply(&created("c", 1)).is_err(), "its id is that of a deleted topic");
    }

    #[test]
    fn contradictions_are_errors() {
        let mut image = Image::default();
        image.apply(&epoch(2)).unwrap();
        assert!(image.apply(&epoch(2)).is_err());
        image.apply(&created("a", 1)).unwrap();
        assert!(image.apply(&created("a", 2)).is_err());
        assert!(image.apply(&created("b", 1)).is_err(), "its id is that of a");
        for partitions in [i32::MIN, -1, 0, 100_001, i32::MAX] {
            let impossible = with_partitions("b", 3, partitions);
            assert!(image.apply(&impossible).is_err(), "{partitions} partitions");
        }
        assert!(
            image
                .apply(&MetadataRecord::TopicDeleted { id: TopicId::from_bytes([9; 16]) })
                .is_err()
        );
    }
}
