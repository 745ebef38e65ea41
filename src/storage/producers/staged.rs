//! What batches that are not written yet will change.

use std::collections::BTreeMap;

#[cfg(test)]
use crate::base::Offset;
use crate::base::ProducerId;
use crate::storage::producers::batch::{AppendOrigin, Content, ProducerBatch};
use crate::storage::producers::state::{ProducerState, SeenBatch};
use crate::storage::producers::{ProducerError, Producers, TransactionStep};

/// What batches that were accepted, but not written yet, will change. Dropped, they have changed nothing (F1).
#[derive(Debug, Default)]
pub(crate) struct Staged {
    pub(super) states: BTreeMap<ProducerId, ProducerState>,
    pub(super) steps: Vec<TransactionStep>,
}

/// What becomes of a batch.
#[derive(Debug)]
pub(crate) enum Verdict {
    Accepted(Accepted),
    /// It is in the log already, or among those staged.
    Duplicate(SeenBatch),
}

/// A batch that may follow, and what it will change.
#[derive(Debug)]
pub(crate) struct Accepted {
    id: ProducerId,
    state: ProducerState,
    step: Option<TransactionStep>,
}

impl Staged {
    /// Judges a batch that is to follow the staged ones. Changes nothing.
    pub(crate) fn judge(
        &self,
        known: &Producers,
        batch: &ProducerBatch,
        origin: AppendOrigin,
    ) -> Result<Verdict, ProducerError> {
        let current = self.states.get(&batch.id).or_else(|| known.get(batch.id));
        if origin == AppendOrigin::Client
            && let Some(seen) = current.and_then(|current| current.find_duplicate(batch))
        {
            return Ok(Verdict::Duplicate(*seen));
        }
        let state = ProducerState::after(current, batch, origin)?;
        let step = transaction_step(current, &state, batch);
        Ok(Verdict::Accepted(Accepted { id: batch.id, state, step }))
    }

    /// Takes note of a batch that was judged after all that are staged.
    pub(crate) fn add(&mut self, accepted: Accepted) {
        self.states.insert(accepted.id, accepted.state);
        self.steps.extend(accepted.step);
    }
}

/// What the batch that led from one state to the other does to a transaction.
pub(super) fn transaction_step(
    before: Option<&ProducerState>,
    after: &ProducerState,
    batch: &ProducerBatch,
) -> Option<TransactionStep> {
    let producer = batch.id;
    match (before.and_then(|before| before.transaction), after.transaction, batch.content) {
        (None, Some(first), _) => Some(TransactionStep::Begins { producer, first }),
        // A marker without records before it concerns no reader.
        (Some(first), None, Content::Marker(marker)) => {
            let (marker, kind) = (batch.first, marker.kind);
            Some(TransactionStep::Ends { producer, first, marker, kind })
        }
        _ => None,
    }
}

impl Verdict {
    /// Where the batch is to be found, if it is in the log already.
    #[cfg(test)]
    pub(super) fn duplicate_at(&self) -> Option<Offset> {
        match self {
            Self::Accepted(_) => None,
            Self::Duplicate(seen) => Some(seen.base_offset()),
        }
    }
}
