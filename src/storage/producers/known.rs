//! The producers of a log.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::{ProducerId, Timestamp};
use crate::storage::producers::batch::ProducerBatch;
use crate::storage::producers::snapshot;
use crate::storage::producers::staged::Staged;
use crate::storage::producers::state::{ProducerState, SeenBatch};
use crate::storage::producers::transactions::{TransactionStep, Transactions};

/// What a log knows of those who write to it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Producers(BTreeMap<ProducerId, ProducerState>);

impl Producers {
    pub(super) fn new(states: BTreeMap<ProducerId, ProducerState>) -> Self {
        Self(states)
    }

    pub(super) fn get(&self, id: ProducerId) -> Option<&ProducerState> {
        self.0.get(&id)
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (ProducerId, &ProducerState)> {
        self.0.iter().map(|(id, state)| (*id, state))
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = ProducerId> {
        self.0.keys().copied()
    }

    /// The batch in the log that `batch` is another copy of.
    pub(crate) fn find_duplicate(&self, batch: &ProducerBatch) -> Option<SeenBatch> {
        self.0.get(&batch.id)?.find_duplicate(batch).copied()
    }

    /// Notes a batch that is in the log.
    pub(crate) fn replay(&mut self, batch: &ProducerBatch) -> Option<TransactionStep> {
        let state = self.0.entry(batch.id);
        state.or_insert_with(|| ProducerState::new(batch.epoch)).note(batch)
    }

    /// Makes what was staged so: it was written. Returns what became of transactions, in order.
    pub(crate) fn commit(&mut self, staged: Staged) -> Vec<TransactionStep> {
        self.0.extend(staged.states);
        staged.steps
    }

    /// Forgets producers whose last record is at least `idle` old, unless they have a transaction open (F2).
    pub(crate) fn expire(&mut self, now: Timestamp, idle: Duration) {
        self.0.retain(|_, state| {
            // Who writes without timestamps counts as idle since 1970, as in Kafka.
            let last = state.last_timestamp.unwrap_or(Timestamp::EPOCH);
            state.transaction.is_some() || now.duration_since(last) < idle
        });
    }

    /// The transactions that have no marker.
    pub(crate) fn transactions(&self) -> Transactions {
        let ongoing = self.0.iter().filter_map(|(id, state)| Some((state.transaction?, *id)));
        Transactions::ongoing(ongoing)
    }

    /// The content of a `.snapshot` file.
    pub(crate) fn encode(&self) -> bytes::Bytes {
        snapshot::encode(self)
    }
}
