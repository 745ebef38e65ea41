//! What can go wrong with a cluster as a whole.

use std::path::PathBuf;

use crate::base::{BrokerId, ConfigError, InvalidTopicName, PartitionId};
use crate::base::{TopicName, TopicPartition};
use crate::cluster::election::AlterIsrError;
use crate::replica::ProduceError;
use crate::storage::{ReadError, StorageError};

/// Why a cluster, a topic or a partition is not to be had.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    #[error("{} is in use by another process or another handle: close that one first", path.display())]
    AlreadyOpen { path: PathBuf },
    #[error("{} is not a brooklet store: {reason}. Nothing was written; choose an empty or a new directory", path.display())]
    NotAStore { path: PathBuf, reason: String },
    #[error("there is no brooklet store in {}", path.display())]
    NoStore { path: PathBuf },
    #[error("{} has format version {version}; this build reads up to {supported}: use a newer brooklet", path.display())]
    NewerFormat { path: PathBuf, version: u32, supported: u32 },
    #[error("{} is broker {found}, not {expected}: its directory was moved or the id changed", path.display())]
    OtherBroker { path: PathBuf, found: i32, expected: i32 },
    #[error("{} belongs to another cluster than the other stores", path.display())]
    OtherCluster { path: PathBuf },
    #[error("two directories are those of broker {0}: give each broker an id of its own")]
    DuplicateBroker(BrokerId),
    #[error("no broker {0}")]
    UnknownBroker(BrokerId),
    #[error("broker {0} is being started or stopped by somebody else")]
    BrokerIsChanging(BrokerId),
    #[error("broker {broker} has replicas of {topic} and others perhaps: move them first")]
    HasReplicas { broker: BrokerId, topic: TopicName },
    #[error(
        "broker {broker} has another directory than it had, and nobody else has all records of {topic}, and of others perhaps: give it that directory back, or open the cluster accepting the loss"
    )]
    ReplicasLost { broker: BrokerId, topic: TopicName },
    #[error("broker {broker} has no replica of {partition}")]
    NoReplica { broker: BrokerId, partition: TopicPartition },
    #[error(
        "the stores of brokers {} are missing, which may know of later changes: open all stores together, or accept that loss",
        ids(missing)
    )]
    MetadataIncomplete { missing: Vec<BrokerId> },
    #[error(
        "the stores of brokers {one} and {other} have gone on separately, after a loss was accepted: leave one of them out"
    )]
    MetadataDiverged { one: BrokerId, other: BrokerId },
    #[error(
        "no broker that knows all of the metadata is running: start those that were stopped last"
    )]
    NoController,
    #[error("nobody leads {0}-{1} at the moment: no replica in sync is running")]
    LeaderNotAvailable(TopicName, PartitionId),
    #[error(transparent)]
    AlterIsr(#[from] AlterIsrError),
    #[error("topic {0} exists")]
    TopicExists(TopicName),
    #[error(
        "topic {name} differs from the existing topic {existing} only in '.' and '_', which Kafka forbids"
    )]
    TopicCollides { name: TopicName, existing: TopicName },
    #[error(transparent)]
    InvalidTopicName(#[from] InvalidTopicName),
    #[error("topic names that begin with \"__\" are the cluster's own: {0}")]
    InternalTopic(TopicName),
    #[error("no topic {0:?}: create it first with Cluster::create_topic")]
    UnknownTopic(String),
    #[error("topic {topic} has partitions 0..{count}, not {partition}")]
    UnknownPartition { topic: TopicName, partition: u32, count: u32 },
    #[error("{partitions} partitions asked for: 1..={max} are possible")]
    InvalidPartitions { partitions: u32, max: u32 },
    #[error("topic {topic} has {has} partitions: it can get more, but not {partitions}")]
    NotMorePartitions { topic: TopicName, partitions: u32, has: u32 },
    #[error(
        "replication factor {replicas} asked for: 1..={brokers} are possible, one for each broker"
    )]
    InvalidReplicationFactor { replicas: u16, brokers: u16 },
    #[error("replicas cannot be assigned so: {0}")]
    InvalidReplicaAssignment(String),
    #[error("the preferred leader leads already")]
    ElectionNotNeeded,
    #[error("the preferred leader is not alive or not in sync")]
    PreferredLeaderNotAvailable,
    #[error("the replicas of the partition are not being reassigned")]
    NoReassignmentInProgress,
    #[error("topic {0} is not deleted: delete.topic.enable=false")]
    TopicDeletionDisabled(TopicName),
    #[error(
        "records of {0} are not deleted by offset: it is compacted alone; cleanup.policy=compact,delete allows it"
    )]
    NotDeletable(TopicName),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("topic {0} was deleted")]
    TopicDeleted(TopicName),
    #[error("the cluster is closed")]
    Closed,
    #[error("the change was not recorded in the metadata log")]
    NotRecorded(#[source] ProduceError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

fn ids(brokers: &[BrokerId]) -> String {
    brokers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
