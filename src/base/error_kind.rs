//! What went wrong, in Kafka's terms.

/// What went wrong. Kinds that Kafka has carry its error code, see [`ErrorKind::kafka_code`].
///
/// ```
/// use brooklet::{Cluster, ErrorKind};
///
/// let cluster = Cluster::in_memory()?;
/// let error = cluster.topic("email").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::UnknownTopicOrPartition);
/// assert_eq!(error.kafka_code(), Some(3));
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The store is in use: by another process, or by another handle of this process.
    AlreadyOpen,
    /// A batch on disk or from the caller does not match its checksum or its own lengths, or a file that was to be
    /// looked at is not what its name says.
    CorruptMessage,
    /// The cluster was closed.
    Closed,
    /// The coordinator of a group has just moved, and is about to read what the group has recorded.
    CoordinatorLoadInProgress,
    /// The group has no coordinator: nobody leads its partition of `__consumer_offsets`, or that cannot be read.
    CoordinatorNotAvailable,
    /// The leader that was to be elected leads already.
    ElectionNotNeeded,
    /// Another member has come with the same `group.instance.id`: this one is fenced.
    FencedInstanceId,
    /// There is no group of this name.
    GroupIdNotFound,
    /// The group has as many members as it may have (`group.consumer.max.size`, `group.max.size`).
    GroupMaxSizeReached,
    /// Members of the group are subscribed to the topic: its committed offsets are not deleted.
    GroupSubscribedToTopic,
    /// Members of the group use the other `group.protocol`, or have no assignor in common with this one.
    InconsistentGroupProtocol,
    /// A setting is unknown, has a value outside its range or one that is not supported, or settings contradict each
    /// other.
    InvalidConfig,
    /// A group needs a name, and a consumer one to join or to commit (`group.id`).
    InvalidGroupId,
    /// A topic needs at least one partition, at most 100,000, and can only get more.
    InvalidPartitions,
    /// A later incarnation of the producer has written to the partition: this one is fenced.
    InvalidProducerEpoch,
    /// A batch from the caller that breaks a rule of the format, or of who may write what.
    InvalidRecord,
    /// Replicas on brokers that do not exist, twice on one broker, or not the same number for each partition; or a
    /// reassignment that cannot be given up, because no replica to go back to is in sync.
    InvalidReplicaAssignment,
    /// A topic needs a replica, and can have as many as brokers are running.
    InvalidReplicationFactor,
    /// A pattern for topics that is no regular expression.
    InvalidRegularExpression,
    /// `session.timeout.ms` is not between `group.min.session.timeout.ms` and `group.max.session.timeout.ms`.
    InvalidSessionTimeout,
    /// A call that makes no sense in the present state, such as seeking an unassigned partition.
    InvalidState,
    /// A timestamp in a batch from the caller that the topic does not take.
    InvalidTimestamp,
    /// A topic name that Kafka's rules forbid, or that differs from another topic's only in `.` and `_`.
    InvalidTopic,
    /// A batch that does not go with what is known of its producer's transaction.
    InvalidTxnState,
    /// Nobody leads the partition at the moment: no replica that is in sync runs.
    LeaderNotAvailable,
    /// A record or batch larger than `max.request.size`, `buffer.memory` or the topic's `max.message.bytes` or
    /// `segment.bytes` allows.
    MessageTooLarge,
    /// The group has members, which do not let it be deleted or its offsets be reset.
    NonEmptyGroup,
    /// The replicas of the partition are not being reassigned.
    NoReassignmentInProgress,
    /// Stores are missing that may know of later changes of the cluster's metadata.
    MetadataIncomplete,
    /// Stores that were opened separately, after a loss was accepted, do not go together any more.
    MetadataDiverged,
    /// Too few replicas are in sync for `acks=all` (`min.insync.replicas`). Nothing was written.
    NotEnoughReplicas,
    /// As [`NotEnoughReplicas`](Self::NotEnoughReplicas), but the leader has written it: it may stay.
    NotEnoughReplicasAfterAppend,
    /// The broker does not lead the partition, or stopped doing so before all replicas in sync had the batch.
    NotLeaderOrFollower,
    /// The directory holds something, but no store of this crate; or nothing, where none is to be made.
    NotAStore,
    /// A note with a committed offset that is longer than `offset.metadata.max.bytes`.
    OffsetMetadataTooLarge,
    /// A broker that has just begun to lead does not know yet where the partition ends.
    OffsetNotAvailable,
    /// An offset below the log start or above the high watermark; or no position to begin at, without
    /// `auto.offset.reset`.
    OffsetOutOfRange,
    /// There is no memory for a batch that is to be filled, compressed or read. It may do later, or for less: smaller
    /// batches, or fewer at a time.
    OutOfMemory,
    /// Batches of the producer are missing before this one, or it overlaps one that is in the log.
    OutOfOrderSequenceNumber,
    /// The topic's `cleanup.policy` does not allow it: records of a topic that is compacted alone are not deleted by offset.
    PolicyViolation,
    /// The first replica of the partition is not alive or not in sync, so that it cannot lead.
    PreferredLeaderNotAvailable,
    /// A broker that is not there, or does not run; or none that knows all of the metadata does.
    BrokerNotAvailable,
    /// The send buffer is full (`buffer.memory`) and the call may not wait.
    BufferFull,
    /// The directory or a file in it cannot be written.
    ReadOnly,
    /// A key or value could not be turned into bytes, or bytes into a key or value.
    Serialization,
    /// Reading or writing a file failed, or a file is damaged. A partition is offline, until the cluster is opened again,
    /// if its sync failed or a failed write could not be taken back; otherwise it goes on.
    Storage,
    /// The disk is full, or a quota or file-size limit was met. Where [`Error::outcome`](crate::Error::outcome) is
    /// [`NotWritten`](crate::Outcome::NotWritten) a later retry may work.
    StorageFull,
    /// A commit for a partition that belongs to another member by now, or is about to be given to one.
    StaleMemberEpoch,
    /// Time ran out. For a send [`Error::outcome`](crate::Error::outcome) says whether it may still succeed.
    TimedOut,
    /// A topic of this name exists.
    TopicAlreadyExists,
    /// Topics are not deleted here (`delete.topic.enable`).
    TopicDeletionDisabled,
    /// The topic behind this handle was deleted.
    TopicDeleted,
    /// Bytes behind the last good batch of a partition, which an open with `brooklet.strict.open` does not cut. Nothing
    /// was changed.
    TornTail,
    /// A transaction's marker of a coordinator that another has replaced.
    TransactionCoordinatorFenced,
    /// Whoever asks is no member of the group any more: it has left, or was removed since it did not poll for longer than
    /// `max.poll.interval.ms`; or it never was one, and the group has members.
    UnknownMemberId,
    /// Another member has this `group.instance.id`, and has not left.
    UnreleasedInstanceId,
    /// There is no assignor of this name.
    UnsupportedAssignor,
    /// No such topic, or the topic has no such partition.
    UnknownTopicOrPartition,
    /// The codec was left out of this build, or cannot do what was asked.
    UnsupportedCompressionType,
    /// The store was written by a newer version of this crate, or a batch by an older one of Kafka.
    UnsupportedVersion,
}

impl ErrorKind {
    /// Kafka's error code for this kind, `None` for kinds that Kafka does not have.
    pub const fn kafka_code(self) -> Option<i16> {
        Some(match self {
            Self::OffsetOutOfRange => 1,
            Self::CorruptMessage => 2,
            Self::UnknownTopicOrPartition => 3,
            Self::LeaderNotAvailable => 5,
            Self::NotLeaderOrFollower => 6,
            Self::TimedOut => 7,
            Self::BrokerNotAvailable => 8,
            Self::MessageTooLarge => 10,
            Self::OffsetMetadataTooLarge => 12,
            Self::CoordinatorLoadInProgress => 14,
            Self::CoordinatorNotAvailable => 15,
            Self::InvalidTopic => 17,
            Self::NotEnoughReplicas => 19,
            Self::NotEnoughReplicasAfterAppend => 20,
            Self::InconsistentGroupProtocol => 23,
            Self::InvalidGroupId => 24,
            Self::UnknownMemberId => 25,
            Self::InvalidSessionTimeout => 26,
            Self::InvalidTimestamp => 32,
            Self::UnsupportedVersion => 35,
            Self::TopicAlreadyExists => 36,
            Self::InvalidPartitions => 37,
            Self::InvalidReplicationFactor => 38,
            Self::InvalidReplicaAssignment => 39,
            Self::InvalidConfig => 40,
            Self::PolicyViolation => 44,
            Self::OutOfOrderSequenceNumber => 45,
            Self::InvalidProducerEpoch => 47,
            Self::InvalidTxnState => 48,
            Self::TransactionCoordinatorFenced => 52,
            Self::Storage | Self::StorageFull | Self::ReadOnly => 56,
            Self::NonEmptyGroup => 68,
            Self::GroupIdNotFound => 69,
            Self::TopicDeletionDisabled => 73,
            Self::UnsupportedCompressionType => 76,
            Self::OffsetNotAvailable => 78,
            Self::PreferredLeaderNotAvailable => 80,
            Self::GroupMaxSizeReached => 81,
            Self::FencedInstanceId => 82,
            Self::ElectionNotNeeded => 84,
            Self::NoReassignmentInProgress => 85,
            Self::GroupSubscribedToTopic => 86,
            Self::InvalidRecord => 87,
            Self::TopicDeleted => 100,
            Self::UnreleasedInstanceId => 111,
            Self::UnsupportedAssignor => 112,
            Self::StaleMemberEpoch => 113,
            Self::InvalidRegularExpression => 128,
            Self::AlreadyOpen
            | Self::BufferFull
            | Self::Closed
            | Self::InvalidState
            | Self::MetadataDiverged
            | Self::MetadataIncomplete
            | Self::NotAStore
            | Self::OutOfMemory
            | Self::Serialization
            | Self::TornTail => return None,
        })
    }

    /// Whether the same call may succeed later without the caller changing anything.
    pub const fn is_retriable(self) -> bool {
        matches!(
            self,
            Self::AlreadyOpen
                | Self::BrokerNotAvailable
                | Self::BufferFull
                | Self::CoordinatorLoadInProgress
                | Self::CoordinatorNotAvailable
                | Self::LeaderNotAvailable
                | Self::NotEnoughReplicas
                | Self::NotEnoughReplicasAfterAppend
                | Self::NotLeaderOrFollower
                | Self::OffsetNotAvailable
                | Self::OutOfMemory
                | Self::PreferredLeaderNotAvailable
                | Self::StorageFull
                | Self::TimedOut
        )
    }

    /// Whether another has taken the place of whoever made the call: it must not go on.
    pub const fn is_fenced(self) -> bool {
        matches!(
            self,
            Self::FencedInstanceId
                | Self::InvalidProducerEpoch
                | Self::StaleMemberEpoch
                | Self::TransactionCoordinatorFenced
                | Self::UnknownMemberId
        )
    }
}
