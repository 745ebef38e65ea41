//! Why a coordinator refuses something.

use crate::base::{ErrorKind, InvalidTopicName, PartitionId, TopicName, TopicPartition};
use crate::cluster::ClusterError;
use crate::replica::ProduceError;

/// Why a coordinator refuses something. Nothing has changed then.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum GroupError {
    #[error("a group needs a name, of 1 to 32,767 bytes")]
    InvalidGroupId,
    #[error("{setting} has {size} bytes, more than the 32,767 that a record of a group can hold")]
    TooLong { setting: &'static str, size: usize },
    #[error("there is no group {0}")]
    GroupIdNotFound(String),
    #[error("group {group} still has {members} members: stop them first")]
    NonEmptyGroup { group: String, members: usize },
    #[error("group {group} has {max} members, as many as it may have ({setting})")]
    GroupMaxSizeReached { group: String, max: usize, setting: &'static str },
    #[error(
        "group {group} is of the other protocol: all its members have to have the same group.protocol"
    )]
    OtherProtocol { group: String },
    #[error(
        "no assignor in partition.assignment.strategy ({strategies}) is one of all members of {group}"
    )]
    NoCommonStrategy { group: String, strategies: String },
    #[error("there is no assignor {name}; there are {known}")]
    UnsupportedAssignor { name: String, known: String },
    #[error("session.timeout.ms of {timeout_ms} is not between {min_ms} and {max_ms}")]
    InvalidSessionTimeout { timeout_ms: u128, min_ms: u128, max_ms: u128 },
    #[error("{member} is no member of {group}: it left, or was removed since it did not poll")]
    UnknownMemberId { group: String, member: String },
    #[error("the instance {instance} of {group} lives on in another member")]
    FencedInstanceId { group: String, instance: String },
    #[error("the instance {instance} of {group} is in use: its holder has not left")]
    UnreleasedInstanceId { group: String, instance: String },
    #[error(
        "{topic}-{partition} is another member's of {group} by now, or about to be one's: nothing was committed"
    )]
    NotOwner { group: String, topic: TopicName, partition: PartitionId },
    #[error("{group} has members, so that only they commit for it")]
    NotAMember { group: String },
    #[error(
        "the note with the offset of {topic}-{partition} has {size} bytes, more than {max} (offset.metadata.max.bytes)"
    )]
    OffsetMetadataTooLarge { topic: TopicName, partition: PartitionId, size: usize, max: usize },
    #[error("{group} is subscribed to {topic}: its offsets there cannot be deleted")]
    SubscribedToTopic { group: String, topic: TopicName },
    #[error("the pattern {pattern:?} is no regular expression: {reason}")]
    InvalidPattern { pattern: String, reason: String },
    #[error(
        "an assignor decides by what it is given: it cannot ask the group's coordinator, which waits for it"
    )]
    AskedByAssignor,
    #[error(transparent)]
    InvalidTopicName(#[from] InvalidTopicName),
    #[error(
        "{partition} is led by another broker now, which does not know its groups yet: try again"
    )]
    LoadInProgress { partition: TopicPartition },
    #[error("the group's part of __consumer_offsets cannot be read: {reason}")]
    Unreadable { reason: String },
    #[error("the group has no coordinator at the moment: {0}")]
    NotAvailable(#[source] ClusterError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("not committed: {0}")]
    NotWritten(#[source] ProduceError),
}

impl GroupError {
    /// Kafka's name for it; `None` where the cause has one.
    pub(crate) fn kind(&self) -> Option<ErrorKind> {
        Some(match self {
            Self::InvalidGroupId => ErrorKind::InvalidGroupId,
            Self::TooLong { .. } => ErrorKind::InvalidConfig,
            Self::GroupIdNotFound(_) => ErrorKind::GroupIdNotFound,
            Self::NonEmptyGroup { .. } => ErrorKind::NonEmptyGroup,
            Self::GroupMaxSizeReached { .. } => ErrorKind::GroupMaxSizeReached,
            Self::OtherProtocol { .. } | Self::NoCommonStrategy { .. } => {
                ErrorKind::InconsistentGroupProtocol
            }
            Self::UnsupportedAssignor { .. } => ErrorKind::UnsupportedAssignor,
            Self::InvalidSessionTimeout { .. } => ErrorKind::InvalidSessionTimeout,
            Self::UnknownMemberId { .. } | Self::NotAMember { .. } => ErrorKind::UnknownMemberId,
            Self::FencedInstanceId { .. } => ErrorKind::FencedInstanceId,
            Self::UnreleasedInstanceId { .. } => ErrorKind::UnreleasedInstanceId,
            Self::NotOwner { .. } => ErrorKind::StaleMemberEpoch,
            Self::OffsetMetadataTooLarge { .. } => ErrorKind::OffsetMetadataTooLarge,
            Self::SubscribedToTopic { .. } => ErrorKind::GroupSubscribedToTopic,
            Self::InvalidPattern { .. } => ErrorKind::InvalidRegularExpression,
            Self::AskedByAssignor => ErrorKind::InvalidState,
            Self::InvalidTopicName(_) => ErrorKind::InvalidTopic,
            Self::LoadInProgress { .. } => ErrorKind::CoordinatorLoadInProgress,
            Self::Unreadable { .. } | Self::NotAvailable(_) => ErrorKind::CoordinatorNotAvailable,
            Self::Cluster(_) | Self::NotWritten(_) => return None,
        })
    }

    /// Whether the same may work in a moment, when the group's coordinator is elsewhere, has read all, or has the replicas
    /// that it needs.
    pub(crate) fn is_passing(&self) -> bool {
        use ProduceError::{NotEnoughReplicas, NotEnoughReplicasAfterAppend};
        match self {
            Self::LoadInProgress { .. } | Self::NotAvailable(_) => true,
            Self::NotWritten(NotEnoughReplicas { .. } | NotEnoughReplicasAfterAppend { .. }) => {
                true
            }
            Self::NotWritten(error) => error.is_of_leader(),
            _ => false,
        }
    }
}
