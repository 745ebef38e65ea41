//! The one error of the public API.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::base::{ConfigError, ErrorKind, InvalidTopicName, Offset};
use crate::cluster::ClusterError;
use crate::coordinator::GroupError;
use crate::record::BatchError;
use crate::replica::{ProduceError, Replica};
use crate::storage::{AppendError, LossError, ProducerError, ReadError, StorageError};

/// The result of a call that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. The message says what to do; [`kind`](Error::kind) is for programs.
///
/// Cheap to clone: one failed write may be the answer to many records.
///
/// ```
/// use brooklet::{Cluster, ErrorKind};
///
/// let cluster = Cluster::in_memory()?;
/// let error = cluster.topic("emial").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::UnknownTopicOrPartition);
/// assert_eq!(error.kafka_code(), Some(3));
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    outcome: Outcome,
    unreadable: Option<Range<Offset>>,
    cause: Box<dyn std::error::Error + Send + Sync>,
}

/// What is known about the record of a failed send.
///
/// ```
/// use brooklet::{Cluster, Delivery, NewTopic, Outcome, Record};
///
/// let cluster = Cluster::in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email"))?;
/// let producer = cluster.producer().build()?;
/// match producer.send(Record::to(&email).value("welcome")).and_then(Delivery::wait) {
///     Ok(metadata) => println!("sent to {metadata}"),
///     Err(error) if error.outcome() == Outcome::NotWritten => println!("send it again: {error}"),
///     Err(error) => println!("it may be there, look before sending it again: {error}"),
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// It is not in the log and never will be: sending it again makes no duplicate.
    NotWritten,
    /// It may be in the log, now or after the next open: sending it again may make a duplicate.
    Unknown,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::with_outcome(kind, Outcome::NotWritten, message.into())
    }

    fn with_outcome(
        kind: ErrorKind,
        outcome: Outcome,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Inner { kind, outcome, unreadable: None, cause: cause.into() }))
    }

    /// `message` ends with that of `cause`.
    pub(crate) fn caused(
        kind: ErrorKind,
        message: String,
        cause: Box<dyn std::error::Error + Send + Sync>,
    ) -> Self {
        Self::with_outcome(kind, Outcome::NotWritten, Caused { message, cause })
    }

    /// Of a read in the log of `leader`.
    pub(crate) fn of_read(leader: &Replica, error: ReadError) -> Self {
        let ReadError::Corrupt { offset, source } = &error else { return error.into() };
        let offsets = leader.log().unreadable(*offset);
        let (partition, from, to) = (leader.partition(), offsets.start, offsets.end);
        let message = format!(
            "the records of {partition} at offsets {from} to {to} are corrupt: {source}; seek to {to} to go on"
        );
        let (kind, outcome) = (read_kind(&error), Outcome::NotWritten);
        Self(Arc::new(Inner { kind, outcome, unreadable: Some(offsets), cause: message.into() }))
    }

    pub(crate) fn timed_out(message: &str) -> Self {
        Self::with_outcome(ErrorKind::TimedOut, Outcome::Unknown, message)
    }

    /// The same error, of what may have been written all the same.
    pub(crate) fn unknown(self) -> Self {
        Self::with_outcome(self.kind(), Outcome::Unknown, self)
    }

    pub(crate) fn closed() -> Self {
        ClusterError::Closed.into()
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// For a failed send: whether the record can still be, or get, in the log.
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// Whether the same call may succeed later without the caller changing anything. This says nothing of duplicates: a
    /// send is repeated safely only if its [`outcome`](Self::outcome) is [`NotWritten`](Outcome::NotWritten).
    pub fn is_retriable(&self) -> bool {
        // A partition that ran out of these when it synced is offline.
        let ran_out = matches!(self.kind(), ErrorKind::StorageFull | ErrorKind::OutOfMemory);
        let is_offline = ran_out && self.outcome() == Outcome::Unknown;
        self.kind().is_retriable() && !is_offline
    }

    /// Whether another has taken the caller's place: a later incarnation of a producer or a coordinator.
    pub fn is_fenced(&self) -> bool {
        self.0.kind.is_fenced()
    }

    /// Whether it is about who leads a partition: another broker may take what this one did not.
    pub(super) fn is_of_leader(&self) -> bool {
        matches!(self.kind(), ErrorKind::NotLeaderOrFollower | ErrorKind::LeaderNotAvailable)
    }

    /// For a read that met what is damaged: the offsets that cannot be read. Reading can go on at their end.
    pub fn unreadable_offsets(&self) -> Option<Range<Offset>> {
        self.0.unreadable.clone()
    }

    /// Kafka's error code, if Kafka has this error.
    pub fn kafka_code(&self) -> Option<i16> {
        self.0.kind.kafka_code()
    }
}

/// A message of ours about somebody else's error.
#[derive(Debug)]
struct Caused {
    message: String,
    cause: Box<dyn std::error::Error + Send + Sync>,
}

impl fmt::Display for Caused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Caused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.source()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.cause.fmt(f)
    }
}

/// The kind, then the message and those of its causes: what `main` prints of an error that it returns.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind())?;
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The message is the cause's own, so the chain goes on behind it.
        self.0.cause.source()
    }
}

fn storage_kind(error: &StorageError) -> ErrorKind {
    match error {
        e if e.is_full() => ErrorKind::StorageFull,
        e if e.is_read_only() => ErrorKind::ReadOnly,
        e if e.is_out_of_memory() => ErrorKind::OutOfMemory,
        StorageError::TornTail { .. } => ErrorKind::TornTail,
        _ => ErrorKind::Storage,
    }
}

fn batch_kind(error: &BatchError) -> ErrorKind {
    match error {
        BatchError::UnsupportedMagic(_) => ErrorKind::UnsupportedVersion,
        BatchError::CodecNotBuilt(_) | BatchError::InvalidLevel { .. } => {
            ErrorKind::UnsupportedCompressionType
        }
        BatchError::TooLarge { .. } => ErrorKind::MessageTooLarge,
        BatchError::OutOfMemory => ErrorKind::OutOfMemory,
        _ => ErrorKind::CorruptMessage,
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        Self::with_outcome(storage_kind(&error), Outcome::NotWritten, error)
    }
}

impl From<BatchError> for Error {
    fn from(error: BatchError) -> Self {
        Self::with_outcome(batch_kind(&error), Outcome::NotWritten, error)
    }
}

impl From<InvalidTopicName> for Error {
    fn from(error: InvalidTopicName) -> Self {
        Self::with_outcome(ErrorKind::InvalidTopic, Outcome::NotWritten, error)
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::with_outcome(ErrorKind::InvalidConfig, Outcome::NotWritten, error)
    }
}

impl From<ClusterError> for Error {
    fn from(error: ClusterError) -> Self {
        let kind = match &error {
            ClusterError::AlreadyOpen { .. } => ErrorKind::AlreadyOpen,
            ClusterError::NotAStore { .. }
            | ClusterError::NoStore { .. }
            | ClusterError::OtherBroker { .. }
            | ClusterError::OtherCluster { .. } => ErrorKind::NotAStore,
            ClusterError::UnknownBroker(_) | ClusterError::NoController => {
                ErrorKind::BrokerNotAvailable
            }
            ClusterError::DuplicateBroker(_)
            | ClusterError::BrokerIsChanging(_)
            | ClusterError::HasReplicas { .. } => ErrorKind::InvalidState,
            ClusterError::NoReplica { .. } | ClusterError::AlterIsr(_) => {
                ErrorKind::NotLeaderOrFollower
            }
            ClusterError::LeaderNotAvailable(..) => ErrorKind::LeaderNotAvailable,
            ClusterError::MetadataIncomplete { .. } | ClusterError::ReplicasLost { .. } => {
                ErrorKind::MetadataIncomplete
            }
            ClusterError::MetadataDiverged { .. } => ErrorKind::MetadataDiverged,
            ClusterError::NewerFormat { .. } => ErrorKind::UnsupportedVersion,
            ClusterError::TopicExists(_) => ErrorKind::TopicAlreadyExists,
            ClusterError::TopicCollides { .. }
            | ClusterError::InvalidTopicName(_)
            | ClusterError::InternalTopic(_) => ErrorKind::InvalidTopic,
            ClusterError::UnknownTopic(_) | ClusterError::UnknownPartition { .. } => {
                ErrorKind::UnknownTopicOrPartition
            }
            ClusterError::InvalidPartitions { .. } | ClusterError::NotMorePartitions { .. } => {
                ErrorKind::InvalidPartitions
            }
            ClusterError::InvalidReplicationFactor { .. } => ErrorKind::InvalidReplicationFactor,
            ClusterError::InvalidReplicaAssignment(_) => ErrorKind::InvalidReplicaAssignment,
            ClusterError::ElectionNotNeeded => ErrorKind::ElectionNotNeeded,
            ClusterError::PreferredLeaderNotAvailable => ErrorKind::PreferredLeaderNotAvailable,
            ClusterError::NoReassignmentInProgress => ErrorKind::NoReassignmentInProgress,
            ClusterError::NotDeletable(_) => ErrorKind::PolicyViolation,
            ClusterError::TopicDeletionDisabled(_) => ErrorKind::TopicDeletionDisabled,
            ClusterError::Config(_) => ErrorKind::InvalidConfig,
            ClusterError::TopicDeleted(_) => ErrorKind::TopicDeleted,
            ClusterError::Closed => ErrorKind::Closed,
            ClusterError::NotRecorded(cause) => produce_kind(cause),
            ClusterError::Read(error) => read_kind(error),
            ClusterError::Storage(error) => storage_kind(error),
        };
        let outcome = match &error {
            ClusterError::NotRecorded(cause) => produce_outcome(cause),
            _ => Outcome::NotWritten,
        };
        Self::with_outcome(kind, outcome, error)
    }
}

impl From<GroupError> for Error {
    fn from(error: GroupError) -> Self {
        match (error.kind(), error) {
            (Some(kind), error) => Self::with_outcome(kind, Outcome::NotWritten, error),
            (None, GroupError::Cluster(error)) => error.into(),
            (None, GroupError::NotWritten(error)) => error.into(),
            (None, error) => {
                Self::with_outcome(ErrorKind::InvalidState, Outcome::NotWritten, error)
            }
        }
    }
}

fn produce_kind(error: &ProduceError) -> ErrorKind {
    match error {
        ProduceError::Append(error) => append_kind(error),
        ProduceError::Sync(e) => storage_kind(e),
        ProduceError::Encode(error) => batch_kind(error),
        ProduceError::NotEnoughReplicas { .. } => ErrorKind::NotEnoughReplicas,
        ProduceError::NotEnoughReplicasAfterAppend { .. } => {
            ErrorKind::NotEnoughReplicasAfterAppend
        }
        ProduceError::NotLeader | ProduceError::LeaderLost => ErrorKind::NotLeaderOrFollower,
        ProduceError::Deleted => ErrorKind::TopicDeleted,
        ProduceError::Unreplicated | ProduceError::Closed => ErrorKind::Closed,
    }
}

fn append_kind(error: &AppendError) -> ErrorKind {
    match error {
        AppendError::BatchTooLarge { .. } => ErrorKind::MessageTooLarge,
        AppendError::Producer(error) => producer_kind(error),
        AppendError::Invalid(error) => invalid_kind(error),
        AppendError::InvalidTimestamp { .. } => ErrorKind::InvalidTimestamp,
        AppendError::UnexpectedOffset { .. } | AppendError::EarlierEpoch { .. } => {
            ErrorKind::InvalidRecord
        }
        AppendError::OffsetsExhausted => ErrorKind::InvalidState,
        AppendError::NotWritten(e) | AppendError::Unknown(e) => storage_kind(e),
    }
}

/// Of a batch that was to be written. One that was read is corrupt, whatever is wrong with it.
fn invalid_kind(error: &BatchError) -> ErrorKind {
    match error {
        BatchError::Crc { .. } => ErrorKind::CorruptMessage,
        BatchError::InvalidTimestamp { .. } => ErrorKind::InvalidTimestamp,
        BatchError::UnknownCodec(_) | BatchError::CodecNotBuilt(_) => {
            ErrorKind::UnsupportedCompressionType
        }
        BatchError::TooLarge { .. } => ErrorKind::MessageTooLarge,
        BatchError::OutOfMemory => ErrorKind::OutOfMemory,
        _ => ErrorKind::InvalidRecord,
    }
}

fn producer_kind(error: &ProducerError) -> ErrorKind {
    match error {
        ProducerError::InvalidEpoch { .. } => ErrorKind::InvalidProducerEpoch,
        ProducerError::OutOfOrderSequence { .. } => ErrorKind::OutOfOrderSequenceNumber,
        ProducerError::InvalidTransactionState { .. }
        | ProducerError::UnknownTransaction { .. } => ErrorKind::InvalidTxnState,
        ProducerError::CoordinatorFenced { .. } => ErrorKind::TransactionCoordinatorFenced,
    }
}

impl From<ProduceError> for Error {
    fn from(error: ProduceError) -> Self {
        Self::with_outcome(produce_kind(&error), produce_outcome(&error), error)
    }
}

fn produce_outcome(error: &ProduceError) -> Outcome {
    match error {
        ProduceError::Append(AppendError::Unknown(_))
        | ProduceError::Sync(_)
        | ProduceError::NotEnoughReplicasAfterAppend { .. }
        | ProduceError::LeaderLost
        | ProduceError::Unreplicated => Outcome::Unknown,
        ProduceError::Append(_)
        | ProduceError::Encode(_)
        | ProduceError::NotEnoughReplicas { .. }
        | ProduceError::NotLeader
        | ProduceError::Deleted
        | ProduceError::Closed => Outcome::NotWritten,
    }
}

impl From<LossError> for Error {
    fn from(error: LossError) -> Self {
        let kind = match &error {
            LossError::NotDamaged { .. } | LossError::Beyond(_) => ErrorKind::InvalidState,
            LossError::Storage(error) => storage_kind(error),
        };
        Self::with_outcome(kind, Outcome::NotWritten, error)
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        Self::with_outcome(read_kind(&error), Outcome::NotWritten, error)
    }
}

fn read_kind(error: &ReadError) -> ErrorKind {
    match error {
        ReadError::OutOfRange { .. } => ErrorKind::OffsetOutOfRange,
        ReadError::Corrupt { source, .. } => batch_kind(source),
        ReadError::Storage(error) => storage_kind(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_about_replicas_have_kafkas_codes() {
        let kafka = [
            (ClusterError::InvalidReplicaAssignment("why".to_owned()), 39, false),
            (ClusterError::PreferredLeaderNotAvailable, 80, true),
            (ClusterError::ElectionNotNeeded, 84, false),
            (ClusterError::NoReassignmentInProgress, 85, false),
        ];
        for (cause, code, is_retriable) in kafka {
            let error = Error::from(cause);
            assert_eq!((error.kafka_code(), error.is_retriable()), (Some(code), is_retriable));
            assert_eq!(error.outcome(), Outcome::NotWritten, "{error}");
        }
    }
}
