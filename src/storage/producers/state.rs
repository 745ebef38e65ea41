//! What a log knows of one producer, and which of its batches may follow.
//!
//! # Invariants
//! - All remembered batches are of the state's epoch.
//! - A transaction is open from its first batch in this log to its marker here.

use crate::base::{Offset, ProducerEpoch, Timestamp};
use crate::record::{TransactionMarker, next_sequence, previous_sequence};
use crate::storage::producers::ProducerError;
use crate::storage::producers::batch::{AppendOrigin, Content, ProducerBatch, Sequences};
use crate::storage::producers::transactions::TransactionStep;

/// Batches of a producer that are recognised when they are sent again: as many as a client has on their way at most.
const REMEMBERED: usize = 5;

/// A batch that is in the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SeenBatch {
    pub(super) sequences: Sequences,
    pub(super) last_offset: Offset,
    pub(super) offset_delta: u32,
    pub(super) timestamp: Option<Timestamp>,
}

impl SeenBatch {
    /// The batch that ends with `last_sequence` and `last_offset`. `None` if it would begin below offset 0.
    pub(super) fn ending(
        last_sequence: i32,
        last_offset: Offset,
        offset_delta: u32,
        timestamp: Option<Timestamp>,
    ) -> Option<Self> {
        Offset::new(last_offset.value() - i64::from(offset_delta))?;
        let first = previous_sequence(last_sequence, offset_delta);
        let sequences = Sequences { first, last: last_sequence };
        Some(Self { sequences, last_offset, offset_delta, timestamp })
    }

    /// Offset of its first record.
    pub(crate) fn base_offset(&self) -> Offset {
        Offset::new(self.last_offset.value() - i64::from(self.offset_delta)).unwrap_or_default()
    }

    /// Offset after its last record.
    pub(crate) fn next_offset(&self) -> Offset {
        self.last_offset.next()
    }

    /// Its largest timestamp.
    pub(crate) fn timestamp(&self) -> Option<Timestamp> {
        self.timestamp
    }
}

/// What a log knows of one producer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ProducerState {
    pub(super) epoch: ProducerEpoch,
    /// The last batches, the latest last; those that are missing come first.
    pub(super) batches: [Option<SeenBatch>; REMEMBERED],
    /// Of the last batch, or marker.
    pub(super) last_timestamp: Option<Timestamp>,
    pub(super) coordinator_epoch: Option<i32>,
    /// First offset of the open transaction.
    pub(super) transaction: Option<Offset>,
}

impl ProducerState {
    pub(super) fn new(epoch: ProducerEpoch) -> Self {
        Self {
            epoch,
            batches: [None; REMEMBERED],
            last_timestamp: None,
            coordinator_epoch: None,
            transaction: None,
        }
    }

    /// The latest batch that is remembered.
    pub(super) fn last_batch(&self) -> Option<&SeenBatch> {
        self.batches.last()?.as_ref()
    }

    /// The batch in the log that `batch` is another copy of.
    pub(super) fn find_duplicate(&self, batch: &ProducerBatch) -> Option<&SeenBatch> {
        let Content::Data { sequences: Some(sequences), .. } = batch.content else { return None };
        let mut remembered = self.batches.iter().flatten();
        remembered.find(|seen| batch.epoch == self.epoch && seen.sequences == sequences)
    }

    /// Checks whether `batch` may follow, which is no duplicate.
    pub(super) fn check(
        &self,
        batch: &ProducerBatch,
        origin: AppendOrigin,
    ) -> Result<(), ProducerError> {
        let (id, epoch) = (batch.id, batch.epoch);
        if epoch < self.epoch {
            return Err(ProducerError::InvalidEpoch { id, epoch, current: self.epoch });
        }
        match batch.content {
            Content::Data { sequences, transactional } => {
                if let Some(Sequences { first: found, .. }) = sequences
                    && origin == AppendOrigin::Client
                {
                    let expected = self.next_sequence(epoch);
                    if found != expected {
                        return Err(ProducerError::OutOfOrderSequence { id, found, expected });
                    }
                }
                match self.transaction {
                    Some(since) if !transactional => {
                        Err(ProducerError::InvalidTransactionState { id, since })
                    }
                    _ => Ok(()),
                }
            }
            Content::Marker(marker) => {
                let epoch = marker.coordinator_epoch;
                match self.coordinator_epoch {
                    Some(current) if epoch < current => {
                        Err(ProducerError::CoordinatorFenced { id, epoch, current })
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// The sequence number with which a batch of `epoch` has to begin.
    fn next_sequence(&self, epoch: ProducerEpoch) -> i32 {
        match self.last_batch() {
            Some(last) if epoch == self.epoch => next_sequence(last.sequences.last, 1),
            // An epoch that is new here begins anew.
            _ => 0,
        }
    }

    /// Notes a batch that follows. Returns what it does to a transaction.
    pub(super) fn note(&mut self, batch: &ProducerBatch) -> Option<TransactionStep> {
        if batch.epoch != self.epoch {
            self.epoch = batch.epoch;
            self.batches = [None; REMEMBERED];
        }
        self.last_timestamp = batch.timestamp;
        let (producer, first) = (batch.id, batch.first);
        match batch.content {
            Content::Data { sequences, transactional } => {
                if let Some(sequences) = sequences {
                    self.remember(sequences, batch);
                }
                let begins = transactional && self.transaction.is_none();
                begins.then(|| {
                    self.transaction = Some(first);
                    TransactionStep::Begins { producer, first }
                })
            }
            Content::Marker(TransactionMarker { kind, coordinator_epoch }) => {
                self.coordinator_epoch = Some(coordinator_epoch);
                // Without records before it a marker concerns no reader.
                let first = self.transaction.take()?;
                Some(TransactionStep::Ends { producer, first, marker: batch.first, kind })
            }
        }
    }

    fn remember(&mut self, sequences: Sequences, batch: &ProducerBatch) {
        let delta = batch.last.distance_from(batch.first).and_then(|d| u32::try_from(d).ok());
        let seen = SeenBatch {
            sequences,
            last_offset: batch.last,
            offset_delta: delta.unwrap_or_default(),
            timestamp: batch.timestamp,
        };
        self.batches.rotate_left(1);
        if let Some(last) = self.batches.last_mut() {
            *last = Some(seen);
        }
    }
}
