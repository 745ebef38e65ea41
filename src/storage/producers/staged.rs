//! What batches that are not written yet will change.

use std::collections::BTreeMap;

use crate::base::ProducerId;
use crate::storage::producers::batch::{AppendOrigin, ProducerBatch};
use crate::storage::producers::state::{ProducerState, SeenBatch};
use crate::storage::producers::transactions::TransactionStep;
use crate::storage::producers::{ProducerError, Producers};

/// What batches that were accepted, but not written yet, will change. Dropped, they have changed nothing (F1).
#[derive(Debug, Default)]
pub(crate) struct Staged {
    pub(super) states: BTreeMap<ProducerId, ProducerState>,
    pub(super) steps: Vec<TransactionStep>,
}

impl Staged {
    /// Judges a batch that is to follow the staged ones, and those that `known` speaks of. Returns the batch that it is
    /// another copy of, if it is.
    pub(crate) fn judge(
        &self,
        known: &Producers,
        batch: &ProducerBatch,
        origin: AppendOrigin,
    ) -> Result<Option<SeenBatch>, ProducerError> {
        let Some(current) = self.states.get(&batch.id).or_else(|| known.get(batch.id)) else {
            return Ok(None);
        };
        if origin == AppendOrigin::Client
            && let Some(seen) = current.find_duplicate(batch)
        {
            return Ok(Some(*seen));
        }
        current.check(batch, origin)?;
        Ok(None)
    }

    /// Takes note of a batch that was judged after all that are staged, and accepted.
    pub(crate) fn add(&mut self, known: &Producers, batch: &ProducerBatch) {
        let current = || known.get(batch.id).cloned();
        let state = self
            .states
            .entry(batch.id)
            .or_insert_with(|| current().unwrap_or_else(|| ProducerState::new(batch.epoch)));
        self.steps.extend(state.note(batch));
    }
}
