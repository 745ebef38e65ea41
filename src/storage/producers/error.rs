//! Why a producer's batch is refused.

use crate::base::{Offset, ProducerEpoch, ProducerId};

/// Why a batch does not go with what is known of its producer. Nothing of it was written.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ProducerError {
    /// A later incarnation of the producer has written here: this one is fenced.
    #[error("producer {id} is in epoch {current} by now, the batch is of epoch {epoch}")]
    InvalidEpoch { id: ProducerId, epoch: ProducerEpoch, current: ProducerEpoch },
    /// Batches are missing before this one, or it overlaps one that is in the log.
    #[error("the batch of producer {id} has sequence {found}, the next one is {expected}")]
    OutOfOrderSequence { id: ProducerId, found: i32, expected: i32 },
    /// A batch outside of transactions, while the producer has one open.
    #[error(
        "producer {id} has a transaction open since offset {since}, the batch is not part of it"
    )]
    InvalidTransactionState { id: ProducerId, since: Offset },
    /// A batch of a transaction that no coordinator has been asked about: it might never end.
    #[error("the batch of producer {id} is of a transaction that no coordinator knows of")]
    UnknownTransaction { id: ProducerId },
    /// A later coordinator has ended a transaction of the producer here.
    #[error(
        "the marker for producer {id} is of coordinator epoch {epoch}, which {current} has replaced"
    )]
    CoordinatorFenced { id: ProducerId, epoch: i32, current: i32 },
}
