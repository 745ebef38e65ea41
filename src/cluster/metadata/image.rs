//! The state that the metadata records add up to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::{BrokerId, LeaderEpoch, Offset, PartitionId, TopicId, TopicName};
use crate::cluster::metadata::{Assignment, MetadataRecord, PartitionImage, is_distinct};
use crate::cluster::{BrokerConfig, TopicConfig};

/// Kafka counts partitions with 31 bits; this is where a mistake is likelier than a need.
pub(crate) const MAX_PARTITIONS: u32 = 100_000;

/// A topic as the metadata describes it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TopicImage {
    pub(crate) id: TopicId,
    pub(crate) name: TopicName,
    pub(crate) config: TopicConfig,
    /// Counts the changes of `config`.
    pub(crate) config_epoch: u32,
    partitions: Vec<Arc<PartitionImage>>,
    /// Where partitions begin of which records were deleted.
    starts: BTreeMap<PartitionId, Offset>,
}

impl TopicImage {
    /// A topic of the cluster itself, with one partition.
    pub(crate) fn internal(
        id: TopicId,
        name: TopicName,
        config: TopicConfig,
        partition: PartitionImage,
    ) -> Self {
        let partitions = vec![Arc::new(partition)];
        Self { id, name, config, config_epoch: 0, partitions, starts: BTreeMap::new() }
    }

    pub(crate) fn partition_count(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)
    }

    /// Who has the partition, and who leads it.
    pub(crate) fn partition(&self, id: PartitionId) -> Option<&Arc<PartitionImage>> {
        self.partitions.get(usize::try_from(id.value()).ok()?)
    }

    /// Every partition of the topic, with its number.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = (PartitionId, &Arc<PartitionImage>)> {
        self.partition_ids().zip(&self.partitions)
    }

    /// Below this offset of a partition all records were deleted.
    pub(crate) fn start(&self, partition: PartitionId) -> Offset {
        self.starts.get(&partition).copied().unwrap_or_default()
    }

    /// Every partition of the topic.
    pub(crate) fn partition_ids(&self) -> impl Iterator<Item = PartitionId> + use<> {
        (0..self.partition_count()).filter_map(|p| i32::try_from(p).ok().and_then(PartitionId::new))
    }

    /// The partition of this number, if there is one.
    pub(crate) fn partition_id(&self, index: u32) -> Option<PartitionId> {
        let id = i32::try_from(index).ok().and_then(PartitionId::new);
        id.filter(|_| index < self.partition_count())
    }

    fn has(&self, partition: PartitionId) -> bool {
        self.partition(partition).is_some()
    }
}

/// A broker as the metadata describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct BrokerImage {
    /// The directory in which its replicas are.
    pub(crate) directory: TopicId,
    pub(crate) rack: Option<String>,
}

/// All that the metadata log says.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    topics: BTreeMap<TopicName, Arc<TopicImage>>,
    names: BTreeMap<TopicId, TopicName>,
    /// Names by [`TopicName::collision_key`].
    keys: BTreeMap<String, TopicName>,
    /// Topics that were deleted: what is left of their directories may go.
    deleted: BTreeSet<TopicId>,
    /// What they were called.
    former_names: BTreeSet<TopicName>,
    /// How many topics of applications were ever created.
    created: u64,
    brokers: BTreeMap<BrokerId, BrokerImage>,
    controller_epoch: i32,
    incarnation: i32,
    /// Who has to have each record of the metadata log.
    members: Vec<BrokerId>,
    /// The random id of each controller's term.
    terms: BTreeMap<i32, [u8; 16]>,
    /// What topics fall back on.
    broker: Arc<BrokerConfig>,
}

impl Image {
    /// That of an empty log.
    pub(crate) fn new(broker: Arc<BrokerConfig>) -> Self {
        Self {
            topics: BTreeMap::new(),
            names: BTreeMap::new(),
            keys: BTreeMap::new(),
            deleted: BTreeSet::new(),
            former_names: BTreeSet::new(),
            created: 0,
            brokers: BTreeMap::new(),
            controller_epoch: 0,
            incarnation: 0,
            members: Vec::new(),
            terms: BTreeMap::new(),
            broker,
        }
    }

    /// Applies a record. `Err` says why it contradicts what came before: the log is damaged.
    pub(crate) fn apply(&mut self, record: &MetadataRecord) -> Result<(), String> {
        match record {
            MetadataRecord::Epoch { epoch, id, incarnation, members, .. } => {
                if *epoch <= self.controller_epoch || *incarnation < self.incarnation {
                    let (before, been) = (self.controller_epoch, self.incarnation);
                    return Err(format!(
                        "controller epoch {epoch} of incarnation {incarnation} after {before} of {been}"
                    ));
                }
                if *incarnation > self.incarnation {
                    self.topics.values_mut().for_each(|topic| Arc::make_mut(topic).begin_epoch());
                }
                self.controller_epoch = *epoch;
                self.incarnation = *incarnation;
                self.terms.insert(*epoch, *id);
                self.set_members(members)?;
            }
            MetadataRecord::MembersChanged { members } => self.set_members(members)?,
            MetadataRecord::BrokerRegistered { broker, directory, rack } => {
                let rack = Some(rack.clone()).filter(|rack| !rack.is_empty());
                self.brokers.insert(*broker, BrokerImage { directory: *directory, rack });
            }
            MetadataRecord::BrokerRemoved { broker } => {
                self.brokers.remove(broker).ok_or("a broker was removed that does not exist")?;
            }
            MetadataRecord::TopicCreated { id, name, assignment, config } => {
                let name = TopicName::new(name).map_err(|e| e.to_string())?;
                if self.deleted.contains(id) || self.names.contains_key(id) {
                    return Err("the id of a topic was used twice".to_owned());
                }
                if self.topics.contains_key(name.as_str()) {
                    return Err("a topic was created twice".to_owned());
                }
                let topic = TopicImage {
                    id: *id,
                    name: name.clone(),
                    config: self.config(config)?,
                    config_epoch: 0,
                    partitions: new_partitions(assignment, 0)?,
                    starts: BTreeMap::new(),
                };
                // Where the topics of applications are placed is not to depend on the cluster's own.
                self.created += u64::from(!name.is_internal());
                self.keys.insert(name.collision_key(), name.clone());
                self.names.insert(*id, name.clone());
                self.topics.insert(name, Arc::new(topic));
            }
            MetadataRecord::TopicDeleted { id } => {
                let name = self.names.remove(id);
                let name = name.ok_or("a topic was deleted that does not exist")?;
                self.topics.remove(&name);
                self.keys.remove(&name.collision_key());
                self.deleted.insert(*id);
                self.former_names.insert(name);
            }
            MetadataRecord::TopicConfigured { id, config } => {
                let config = self.config(config)?;
                let topic = self.topic_mut(*id)?;
                topic.config = config;
                topic.config_epoch = topic.config_epoch.saturating_add(1);
            }
            MetadataRecord::PartitionsAdded { id, assignment } => {
                let topic = self.topic_mut(*id)?;
                topic.partitions.extend(new_partitions(assignment, topic.partitions.len())?);
            }
            MetadataRecord::PartitionChanged { id, partition, to } => {
                let topic = self.topic_mut(*id)?;
                let index = usize::try_from(partition.value()).ok();
                let known = index.and_then(|index| topic.partitions.get_mut(index));
                let known = known.ok_or("a partition was changed that does not exist")?;
                if to.partition_epoch <= known.partition_epoch {
                    let (from, to) = (known.partition_epoch, to.partition_epoch);
                    return Err(format!("a partition's epoch went from {from} to {to}"));
                }
                *known = Arc::new(to.clone());
            }
            MetadataRecord::RecordsDeleted { id, partition, before } => {
                let topic = self.topic_mut(*id)?;
                if !topic.has(*partition) {
                    return Err("records were deleted of no partition".to_owned());
                }
                let start = topic.starts.entry(*partition).or_default();
                *start = (*before).max(*start);
            }
        }
        Ok(())
    }

    fn config(&self, overrides: &[(String, String)]) -> Result<TopicConfig, String> {
        TopicConfig::recorded(overrides, &self.broker).map_err(|e| e.to_string())
    }

    /// A topic that is to be changed. Who looks at it as it was goes on doing so.
    fn topic_mut(&mut self, id: TopicId) -> Result<&mut TopicImage, String> {
        let topic = self.names.get(&id).and_then(|name| self.topics.get_mut(name));
        topic.map(Arc::make_mut).ok_or("a topic was changed that does not exist".to_owned())
    }

    /// The topic of this id, if it was not deleted.
    pub(crate) fn by_id(&self, id: TopicId) -> Option<&Arc<TopicImage>> {
        self.names.get(&id).and_then(|name| self.topics.get(name))
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

    /// Whether a topic of this name was deleted. There may be another by now.
    pub(crate) fn was_deleted(&self, name: &TopicName) -> bool {
        self.former_names.contains(name)
    }

    pub(crate) fn controller_epoch(&self) -> i32 {
        self.controller_epoch
    }

    /// Counts how often the cluster was opened.
    pub(crate) fn incarnation(&self) -> i32 {
        self.incarnation
    }

    /// Who has to have each record of the metadata log.
    pub(crate) fn members(&self) -> &[BrokerId] {
        &self.members
    }

    /// The random ids of the controllers' terms.
    pub(crate) fn terms(&self) -> &BTreeMap<i32, [u8; 16]> {
        &self.terms
    }

    /// How many topics were ever created.
    pub(crate) fn topics_created(&self) -> u64 {
        self.created
    }

    /// All brokers, by id, whether or not they run.
    pub(crate) fn brokers(&self) -> &BTreeMap<BrokerId, BrokerImage> {
        &self.brokers
    }

    fn set_members(&mut self, members: &[BrokerId]) -> Result<(), String> {
        if members.is_empty() || !is_distinct(members) {
            return Err("the metadata log has no members, or one twice".to_owned());
        }
        self.members = members.to_vec();
        Ok(())
    }
}

impl TopicImage {
    /// The cluster was opened anew: whoever leads, does so in another term.
    fn begin_epoch(&mut self) {
        for partition in &mut self.partitions {
            let partition = Arc::make_mut(partition);
            let epoch = LeaderEpoch::new(partition.leader_epoch.value().saturating_add(1));
            partition.leader_epoch = epoch.unwrap_or(partition.leader_epoch);
            partition.partition_epoch = partition.partition_epoch.saturating_add(1);
        }
    }
}

/// The partitions of an assignment, if they can come behind so many.
fn new_partitions(
    assignment: &Assignment,
    before: usize,
) -> Result<Vec<Arc<PartitionImage>>, String> {
    let images = assignment.images().ok_or("a partition has no replica that is alive")?;
    let count = u32::try_from(before.saturating_add(images.len())).unwrap_or(u32::MAX);
    if images.is_empty() || count > MAX_PARTITIONS {
        return Err("a topic has an impossible number of partitions".to_owned());
    }
    Ok(images.into_iter().map(Arc::new).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Config, Scope};

    const ONE: BrokerId = BrokerId::ZERO;

    fn empty() -> Image {
        Image::new(Arc::new(BrokerConfig::new(Config::new(Scope::Broker)).unwrap()))
    }

    fn epoch(epoch: i32, incarnation: i32) -> MetadataRecord {
        let (broker, members) = (ONE, vec![ONE]);
        MetadataRecord::Epoch { epoch, broker, id: [0; 16], incarnation, members }
    }

    fn created(name: &str, id: u8) -> MetadataRecord {
        with_partitions(name, id, vec![vec![ONE]; 2])
    }

    fn with_partitions(name: &str, id: u8, partitions: Vec<Vec<BrokerId>>) -> MetadataRecord {
        let id = TopicId::from_bytes([id; 16]);
        let assignment = Assignment { partitions, live: vec![ONE] };
        MetadataRecord::TopicCreated { id, name: name.to_owned(), assignment, config: Vec::new() }
    }

    #[test]
    fn leader_epochs_rise_each_time_the_cluster_is_opened_and_with_no_other_controller() {
        let mut image = empty();
        for record in [epoch(1, 1), created("a", 1), epoch(2, 2), epoch(3, 2), epoch(4, 3)] {
            image.apply(&record).unwrap();
        }
        let topic = Arc::clone(image.topic("a").unwrap());
        for (_, partition) in topic.partitions() {
            assert_eq!((partition.leader_epoch.value(), partition.partition_epoch), (2, 2));
        }
    }

    #[test]
    fn a_name_is_free_again_after_deletion_but_the_id_stays_deleted() {
        let mut image = empty();
        for record in
            [created("a.b", 1), MetadataRecord::TopicDeleted { id: TopicId::from_bytes([1; 16]) }]
        {
            image.apply(&record).unwrap();
        }
        assert!(image.topic("a.b").is_none() && image.is_deleted(TopicId::from_bytes([1; 16])));
        assert_eq!(image.colliding(&TopicName::new("a_b").unwrap()), None);
        image.apply(&created("a_b", 2)).unwrap();
        assert!(image.apply(&created("c", 1)).is_err(), "its id is that of a deleted topic");
        assert_eq!(image.topics_created(), 2);
    }

    #[test]
    fn contradictions_are_errors() {
        let mut image = empty();
        image.apply(&epoch(2, 1)).unwrap();
        assert!(image.apply(&epoch(2, 1)).is_err());
        assert!(image.apply(&epoch(3, 0)).is_err());
        image.apply(&created("a", 1)).unwrap();
        assert!(image.apply(&created("a", 2)).is_err());
        assert!(image.apply(&created("b", 1)).is_err(), "its id is that of a");
        for partitions in [0, 100_001] {
            let impossible = with_partitions("b", 3, vec![vec![ONE]; partitions]);
            assert!(image.apply(&impossible).is_err(), "{partitions} partitions");
        }
        assert!(image.apply(&with_partitions("b", 3, vec![vec![]])).is_err(), "no replica");
        let id = TopicId::from_bytes([1; 16]);
        let to = PartitionImage::new(vec![ONE], &[ONE]).unwrap();
        let old = MetadataRecord::PartitionChanged { id, partition: PartitionId::ZERO, to };
        assert!(image.apply(&old).is_err(), "its epoch is no later");
        let members = vec![ONE, ONE];
        assert!(image.apply(&MetadataRecord::MembersChanged { members }).is_err());
        let unknown = TopicId::from_bytes([9; 16]);
        assert!(image.apply(&MetadataRecord::TopicDeleted { id: unknown }).is_err());
    }
}
