//! Changes of the metadata: what is asked for, and the records that it comes to.
//!
//! Pure but for who is alive: that is looked at when a change is prepared.

use crate::base::{BrokerId, LeaderEpoch, Offset, PartitionId, TopicId, TopicName};
use crate::cluster::brokers::Brokers;
use crate::cluster::election::AlterIsrError;
use crate::cluster::metadata::{
    Assignment, Image, MAX_PARTITIONS, MetadataRecord, PartitionImage, TopicImage, without,
};
use crate::cluster::metadata_log::Quorum;
use crate::cluster::placement::{self, Place};
use crate::cluster::topic_config::{ConfigChange, TopicConfig};
use crate::cluster::{BrokerConfig, ClusterError, election, reassignment};

/// A topic to be created.
#[derive(Clone, Debug, Default)]
pub(crate) struct CreateTopic {
    pub(crate) name: String,
    /// `None` for the broker's `num.partitions`.
    pub(crate) partitions: Option<u32>,
    /// `None` for the broker's `default.replication.factor`.
    pub(crate) replication_factor: Option<u16>,
    /// The brokers of each partition, instead of those two.
    pub(crate) assignment: Option<Vec<Vec<BrokerId>>>,
    pub(crate) config: Vec<(String, String)>,
    /// The cluster's own. Its name is one that applications cannot give.
    pub(crate) is_internal: bool,
}

/// A change of the metadata.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    CreateTopic(CreateTopic),
    DeleteTopic(TopicId, TopicName),
    AlterConfig(TopicId, TopicName, Vec<(String, ConfigChange)>),
    /// How many partitions there are to be.
    AddPartitions(TopicId, TopicName, u32),
    /// Below which offset of a partition there are to be no records.
    DeleteRecords(TopicId, TopicName, PartitionId, Offset),
    RegisterBroker {
        broker: BrokerId,
        directory: TopicId,
        rack: Option<String>,
    },
    RemoveBroker(BrokerId),
    /// A broker stops, or has crashed: whatever it leads is led by others from now on.
    BrokerLost(BrokerId),
    /// A broker runs again.
    BrokerBack(BrokerId),
    /// The leader of a partition wants these to be in sync, each in its present life.
    AlterIsr(AlterIsr),
    /// The controller wants these to have each record of the metadata log.
    AlterMembers(AlterMembers),
    /// There was a controller in this epoch of whom the metadata does not know: the present one is to be a later one.
    OutliveController(i32),
    /// A replica cannot be written, as long as the partition is as it was in this epoch.
    ReplicaFailed {
        id: TopicId,
        partition: PartitionId,
        broker: BrokerId,
        epoch: LeaderEpoch,
    },
    /// The leader of a partition is to be the first of its replicas, or, if none in sync is alive, any that is.
    Elect(ElectionKind, TopicId, TopicName, PartitionId),
    /// The broker has the longest log, after all were left in the middle of things: all that those in sync have.
    /// Unless the partition has changed since it had this epoch.
    ElectLongest(TopicId, PartitionId, BrokerId, i32),
    /// Something was written in this term, of which the metadata does not know: the next is a later one.
    Outlive(TopicId, PartitionId, LeaderEpoch),
    /// A replica is out of sync, whoever leads: its log is damaged.
    ReplicaUnfit(TopicId, PartitionId, BrokerId),
    /// The brokers on which a partition is to be; `None` gives up a move under way.
    Reassign(TopicId, TopicName, PartitionId, Option<Vec<BrokerId>>),
}

/// Other replicas in sync, as a leader asks for them.
#[derive(Clone, Debug)]
pub(crate) struct AlterIsr {
    pub(crate) id: TopicId,
    pub(crate) partition: PartitionId,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) partition_epoch: i32,
    /// With the incarnations in which they were heard of; 0 for the leader.
    pub(crate) isr: Vec<(BrokerId, u64)>,
}

/// Other members of the metadata log, as its leader asks for them.
#[derive(Clone, Debug)]
pub(crate) struct AlterMembers {
    /// The term of the controller that asks.
    pub(crate) epoch: LeaderEpoch,
    /// What it knew of them: the partition's epoch of the metadata log.
    pub(crate) version: i32,
    /// With the incarnations in which they were heard of; 0 for the leader.
    pub(crate) members: Vec<(BrokerId, u64)>,
}

/// Which leader is to be elected.
///
/// ```
/// use brooklet::{Cluster, ElectionKind, ErrorKind, NewTopic};
///
/// let cluster = Cluster::in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email"))?;
/// let error = email.partition(0)?.elect_leader(ElectionKind::Preferred).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::ElectionNotNeeded);
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ElectionKind {
    /// The first of the partition's replicas, if it is alive and in sync.
    Preferred,
    /// Where no replica in sync is alive, the first that is: acknowledged records that only the others have are lost.
    Unclean,
}

/// What changes are prepared with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) brokers: &'a Brokers,
    pub(super) config: &'a BrokerConfig,
    /// A random id, for a topic.
    pub(super) id: TopicId,
    /// Whether a broker may come with another directory than it had, though others lack what was in that.
    pub(super) accept_loss: bool,
    /// Who is the controller, and who has to have each record.
    pub(super) quorum: &'a Quorum,
}

/// The records that a change comes to, and the topic that it is about.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) topic: Option<TopicId>,
    pub(super) records: Vec<MetadataRecord>,
}

impl Prepared {
    fn of(topic: TopicId, record: MetadataRecord) -> Self {
        Self { topic: Some(topic), records: vec![record] }
    }

    fn one(record: MetadataRecord) -> Self {
        Self { topic: None, records: vec![record] }
    }
}

impl Surroundings<'_> {
    /// Checks a change against what there is.
    pub(super) fn prepare(&self, change: &Change, image: &Image) -> Result<Prepared, ClusterError> {
        let existing = |id: &TopicId, name: &TopicName| {
            image.by_id(*id).ok_or_else(|| ClusterError::TopicDeleted(name.clone()))
        };
        Ok(match change {
            Change::CreateTopic(create) => Prepared::of(self.id, self.new_topic(create, image)?),
            Change::DeleteTopic(id, name) => {
                existing(id, name)?;
                Prepared::of(*id, MetadataRecord::TopicDeleted { id: *id })
            }
            Change::AlterConfig(id, name, changes) => {
                let altered = existing(id, name)?.config.alter(changes, self.config)?;
                let config = altered.to_record();
                Prepared::of(*id, MetadataRecord::TopicConfigured { id: *id, config })
            }
            Change::AddPartitions(id, name, partitions) => {
                let record = self.more_partitions(existing(id, name)?, *partitions, image)?;
                Prepared::of(*id, record)
            }
            Change::DeleteRecords(id, name, partition, before) => {
                existing(id, name)?;
                let (id, partition, before) = (*id, *partition, *before);
                Prepared::of(id, MetadataRecord::RecordsDeleted { id, partition, before })
            }
            Change::RegisterBroker { broker, directory, rack } => {
                self.register(*broker, *directory, rack.as_deref(), image)?
            }
            Change::RemoveBroker(broker) => self.remove(*broker, image)?,
            Change::BrokerLost(broker) => {
                let is_alive = |id| id != *broker && self.brokers.is_alive(id);
                self.each_partition(image, *broker, |topic, partition| {
                    let unclean = topic.config.unclean;
                    election::without_broker(partition, *broker, is_alive, unclean)
                })
            }
            Change::BrokerBack(broker) => {
                self.each_partition(image, *broker, |topic, partition| {
                    let is_alive = |id| self.brokers.is_alive(id);
                    match partition.leader == Some(*broker) {
                        // Nobody could record that it had ended: it leads again, and not in the term that it had.
                        true => election::next_term(partition),
                        false => election::broker_back(partition, is_alive, topic.config.unclean),
                    }
                })
            }
            Change::AlterIsr(asked) => self.alter_isr(asked, image)?,
            Change::AlterMembers(asked) => self.alter_members(asked)?,
            // To begin a term is a record already.
            Change::OutliveController(_) => Prepared::default(),
            Change::ReplicaFailed { id, partition, broker, epoch } => {
                let Some(topic) = image.by_id(*id) else { return Ok(Prepared::default()) };
                let is_alive = |id| self.brokers.is_alive(id);
                self.partition(topic, *partition, |known| {
                    // Unless it was heard of before.
                    (known.leader_epoch == *epoch)
                        .then(|| election::without_broker(known, *broker, is_alive, false))
                        .flatten()
                        .filter(|next| next.isr != known.isr)
                })
            }
            Change::Elect(kind, id, name, partition) => {
                self.elect(*kind, existing(id, name)?, *partition)?
            }
            Change::ElectLongest(id, partition, broker, epoch) => {
                let Some(topic) = image.by_id(*id) else { return Ok(Prepared::default()) };
                let is_alive = self.brokers.is_alive(*broker);
                self.partition(topic, *partition, |known| {
                    let is_able = known.partition_epoch == *epoch && is_alive;
                    is_able.then(|| election::elect_longest(known, *broker)).flatten()
                })
            }
            Change::Outlive(id, partition, epoch) => {
                let Some(topic) = image.by_id(*id) else { return Ok(Prepared::default()) };
                self.partition(topic, *partition, |known| known.outlive(*epoch))
            }
            Change::ReplicaUnfit(id, partition, broker) => {
                let Some(topic) = image.by_id(*id) else { return Ok(Prepared::default()) };
                let is_alive = |id| self.brokers.is_alive(id);
                self.partition(topic, *partition, |known| {
                    election::without_broker(known, *broker, is_alive, false)
                        .filter(|next| next.isr != known.isr)
                })
            }
            Change::Reassign(id, name, partition, target) => {
                self.reassign(existing(id, name)?, *partition, target.as_deref(), image)?
            }
        })
    }

    /// The brokers that can take replicas.
    fn places(&self, image: &Image) -> Vec<Place> {
        let alive = image.brokers().iter().filter(|(id, _)| self.brokers.is_alive(**id));
        alive.map(|(id, known)| Place { broker: *id, rack: known.rack.clone() }).collect()
    }

    /// The record of a new topic, if there can be one.
    fn new_topic(
        &self,
        create: &CreateTopic,
        image: &Image,
    ) -> Result<MetadataRecord, ClusterError> {
        let name = TopicName::new(&create.name)?;
        if name.is_internal() != create.is_internal {
            return Err(ClusterError::InternalTopic(name));
        }
        let places = self.places(image);
        let partitions = match &create.assignment {
            Some(assignment) => {
                checked_partitions(u32::try_from(assignment.len()).unwrap_or(u32::MAX))?;
                placement::check_manual(assignment, &places)?;
                assignment.clone()
            }
            None => {
                let count =
                    checked_partitions(create.partitions.unwrap_or(self.config.partitions))?;
                let mut factor =
                    create.replication_factor.unwrap_or(self.config.replication_factor);
                if create.is_internal {
                    // More follow as brokers come.
                    factor = factor.min(u16::try_from(places.len()).unwrap_or(u16::MAX)).max(1);
                }
                let (start, shift) =
                    placement::start_and_shift(image.topics_created(), places.len());
                placement::assign(&places, 0..count, factor, start, shift)?
            }
        };
        if image.topic(name.as_str()).is_some() {
            return Err(ClusterError::TopicExists(name));
        }
        if let Some(existing) = image.colliding(&name) {
            return Err(ClusterError::TopicCollides { name, existing: existing.clone() });
        }
        let config = TopicConfig::create(&create.config, self.config)?.to_record();
        let assignment = Assignment { partitions, live: self.brokers.alive() };
        Ok(MetadataRecord::TopicCreated { id: self.id, name: name.to_string(), assignment, config })
    }

    fn more_partitions(
        &self,
        topic: &TopicImage,
        partitions: u32,
        image: &Image,
    ) -> Result<MetadataRecord, ClusterError> {
        let has = topic.partition_count();
        if partitions <= has {
            return Err(ClusterError::NotMorePartitions {
                topic: topic.name.clone(),
                partitions,
                has,
            });
        }
        let partitions = checked_partitions(partitions)?;
        let first = topic.partition(PartitionId::ZERO);
        let first = first.map_or(&[][..], |partition| &partition.replicas);
        let added = placement::assign_more(&self.places(image), has..partitions, first)?;
        let assignment = Assignment { partitions: added, live: self.brokers.alive() };
        Ok(MetadataRecord::PartitionsAdded { id: topic.id, assignment })
    }

    /// A broker takes part. If its directory is another one than it was, its replicas are gone.
    fn register(
        &self,
        broker: BrokerId,
        directory: TopicId,
        rack: Option<&str>,
        image: &Image,
    ) -> Result<Prepared, ClusterError> {
        let known = image.brokers().get(&broker);
        let is_known = known
            .is_some_and(|known| known.directory == directory && known.rack.as_deref() == rack);
        if is_known {
            return Ok(Prepared::default());
        }
        let is_other = known.is_some_and(|known| known.directory != directory);
        if is_other && !self.accept_loss {
            // With an empty log it would lead, and have the others cut what they have.
            let is_alone = |topic: &&std::sync::Arc<TopicImage>| {
                topic.partitions().any(|(_, partition)| partition.isr == [broker])
            };
            if let Some(topic) = image.topics().find(is_alone) {
                return Err(ClusterError::ReplicasLost { broker, topic: topic.name.clone() });
            }
        }
        let mut prepared = match known.filter(|known| known.directory != directory) {
            Some(_) => self.each_partition(image, broker, |topic, partition| {
                let is_alive = |id| id != broker && self.brokers.is_alive(id);
                election::without_broker(partition, broker, is_alive, topic.config.unclean)
            }),
            None => Prepared::default(),
        };
        let rack = rack.unwrap_or_default().to_owned();
        prepared.records.push(MetadataRecord::BrokerRegistered { broker, directory, rack });
        Ok(prepared)
    }

    fn remove(&self, broker: BrokerId, image: &Image) -> Result<Prepared, ClusterError> {
        let has_replica = |topic: &&std::sync::Arc<TopicImage>| {
            topic.partitions().any(|(_, partition)| partition.replicas.contains(&broker))
        };
        if let Some(topic) = image.topics().find(has_replica) {
            return Err(ClusterError::HasReplicas { broker, topic: topic.name.clone() });
        }
        Ok(Prepared::one(MetadataRecord::BrokerRemoved { broker }))
    }

    fn alter_isr(&self, asked: &AlterIsr, image: &Image) -> Result<Prepared, ClusterError> {
        let Some(topic) = image.by_id(asked.id) else { return Ok(Prepared::default()) };
        let Some(known) = topic.partition(asked.partition) else { return Ok(Prepared::default()) };
        let isr = asked.isr.iter().map(|(broker, _)| *broker).collect::<Vec<_>>();
        let is_eligible = |id| self.is_present(&asked.isr, id) || known.isr.contains(&id);
        let AlterIsr { leader_epoch, partition_epoch, .. } = *asked;
        let altered = election::alter_isr(known, leader_epoch, partition_epoch, &isr, is_eligible)?;
        Ok(self.partition(topic, asked.partition, |_| altered))
    }

    /// Whether a broker is alive, in the life that is listed.
    fn is_present(&self, listed: &[(BrokerId, u64)], id: BrokerId) -> bool {
        let incarnation = self.brokers.get(id).map(|broker| broker.incarnation());
        let is_it = |(broker, heard): &(BrokerId, u64)| {
            *broker == id && (*heard == 0 || Some(*heard) == incarnation)
        };
        self.brokers.is_alive(id) && listed.iter().any(is_it)
    }

    fn alter_members(&self, asked: &AlterMembers) -> Result<Prepared, ClusterError> {
        let Quorum { members: counted, version, .. } = self.quorum;
        let controller = self.quorum.controller.ok_or(ClusterError::NoController)?;
        // One that was the controller may still be asking.
        let current = LeaderEpoch::new(self.quorum.epoch).unwrap_or(LeaderEpoch::ZERO);
        if asked.epoch != current {
            let asked = asked.epoch;
            return Err(AlterIsrError::FencedLeaderEpoch { asked, current }.into());
        }
        if asked.version != *version {
            let (asked, current) = (asked.version, *version);
            return Err(AlterIsrError::InvalidUpdateVersion { asked, current }.into());
        }
        let wanted = &asked.members;
        let members = wanted.iter().map(|(broker, _)| *broker);
        let is_able = |id: &BrokerId| self.is_present(wanted, *id) || counted.contains(id);
        let members = members.filter(is_able).collect::<Vec<_>>();
        if !members.contains(&controller) {
            return Err(AlterIsrError::WithoutLeader.into());
        }
        if members == *counted {
            return Ok(Prepared::default());
        }
        Ok(Prepared::one(MetadataRecord::MembersChanged { members }))
    }

    fn elect(
        &self,
        kind: ElectionKind,
        topic: &TopicImage,
        partition: PartitionId,
    ) -> Result<Prepared, ClusterError> {
        let Some(known) = topic.partition(partition) else { return Ok(Prepared::default()) };
        let is_alive = |id| self.brokers.is_alive(id);
        let elected = match kind {
            ElectionKind::Preferred => election::elect_preferred(known, is_alive)?,
            ElectionKind::Unclean if known.leader.is_some_and(is_alive) => {
                return Err(ClusterError::ElectionNotNeeded);
            }
            ElectionKind::Unclean => election::elect(known, is_alive, true)
                .filter(|next| next.leader.is_some())
                .ok_or_else(|| ClusterError::LeaderNotAvailable(topic.name.clone(), partition))?,
        };
        Ok(self.partition(topic, partition, |_| Some(elected)))
    }

    fn reassign(
        &self,
        topic: &TopicImage,
        partition: PartitionId,
        target: Option<&[BrokerId]>,
        image: &Image,
    ) -> Result<Prepared, ClusterError> {
        let Some(known) = topic.partition(partition) else { return Ok(Prepared::default()) };
        let changed = match target {
            Some(target) => {
                let places = self.places(image);
                // Those that have a replica may be away for the moment.
                let of_old = without(&known.replicas, &self.brokers.alive());
                let of_old = of_old.into_iter().map(|broker| Place { broker, rack: None });
                let places = places.into_iter().chain(of_old).collect::<Vec<_>>();
                placement::check_manual(&[target.to_vec()], &places)?;
                reassignment::begin(known, target)
            }
            None => Some(reassignment::cancel(known, |id| self.brokers.is_alive(id))?),
        };
        Ok(self.partition(topic, partition, |_| changed))
    }

    /// What `change` makes of every partition that has a replica on `broker`.
    fn each_partition(
        &self,
        image: &Image,
        broker: BrokerId,
        change: impl Fn(&TopicImage, &PartitionImage) -> Option<PartitionImage>,
    ) -> Prepared {
        let mut records = Vec::new();
        for topic in image.topics() {
            for (id, partition) in topic.partitions() {
                if partition.replicas.contains(&broker) {
                    let changed = |known: &PartitionImage| change(topic, known);
                    records.extend(self.partition(topic, id, changed).records);
                }
            }
        }
        Prepared { topic: None, records }
    }

    /// The record of what `change` makes of a partition, and of what follows: a move that is complete ends.
    fn partition(
        &self,
        topic: &TopicImage,
        partition: PartitionId,
        change: impl FnOnce(&PartitionImage) -> Option<PartitionImage>,
    ) -> Prepared {
        let changed = topic.partition(partition).and_then(|known| change(known));
        let Some(changed) = changed else { return Prepared::default() };
        let advanced = reassignment::advance(&changed, |id| self.brokers.is_alive(id));
        let (id, to) = (topic.id, advanced.unwrap_or(changed));
        Prepared::of(id, MetadataRecord::PartitionChanged { id, partition, to })
    }
}

fn checked_partitions(partitions: u32) -> Result<u32, ClusterError> {
    Some(partitions)
        .filter(|partitions| (1..=MAX_PARTITIONS).contains(partitions))
        .ok_or(ClusterError::InvalidPartitions { partitions, max: MAX_PARTITIONS })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::{Config, Scope};

    /// What comes of asking, in the third term of broker 2 as the controller.
    fn ask(epoch: i32, version: i32, members: &[i32]) -> Result<Vec<MetadataRecord>, ClusterError> {
        let [one, two] = [1, 2].map(|id| BrokerId::new(id).unwrap());
        let members_now = vec![one, two];
        let quorum = Quorum { controller: Some(two), epoch: 3, members: members_now, version: 7 };
        let (brokers, config) =
            (Brokers::default(), BrokerConfig::new(Config::new(Scope::Broker)).unwrap());
        let surroundings = Surroundings {
            brokers: &brokers,
            config: &config,
            id: TopicId::from_bytes([1; 16]),
            accept_loss: false,
            quorum: &quorum,
        };
        let members = members.iter().map(|id| (BrokerId::new(*id).unwrap(), 0)).collect();
        let epoch = LeaderEpoch::new(epoch).unwrap();
        let change = Change::AlterMembers(AlterMembers { epoch, version, members });
        let image = Image::new(Arc::new(config.clone()));
        surroundings.prepare(&change, &image).map(|prepared| prepared.records)
    }

    #[test]
    fn only_the_controller_says_who_has_to_have_the_metadata() {
        for (epoch, version, members, why) in [
            (2, 7, [2], "it was one before"),
            (3, 6, [2], "a member was lost meanwhile"),
            (3, 7, [1], "it has to be among them"),
        ] {
            assert!(
                matches!(ask(epoch, version, &members), Err(ClusterError::AlterIsr(_))),
                "{why}"
            );
        }
        let members = vec![BrokerId::new(2).unwrap()];
        assert_eq!(ask(3, 7, &[2]).unwrap(), [MetadataRecord::MembersChanged { members }]);
        assert_eq!(ask(3, 7, &[1, 2]).unwrap(), [], "nothing changes");
    }
}
