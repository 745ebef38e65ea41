//! Telling the batches of aborted transactions from others.

use std::collections::{BTreeSet, VecDeque};

use crate::base::ProducerId;
use crate::record::{Batch, BatchError, ControlRecord, MarkerKind};
use crate::storage::AbortedTransaction;

/// Which batches of one fetch are not to be seen. Asked for each of them, in order.
#[derive(Debug, Default)]
pub(super) struct AbortedBatches {
    /// Transactions that no batch was of yet, by their first offset.
    to_come: VecDeque<AbortedTransaction>,
    /// Whose transactional batches are hidden, up to the marker.
    producers: BTreeSet<ProducerId>,
}

impl AbortedBatches {
    pub(super) fn new(mut aborted: Vec<AbortedTransaction>) -> Self {
        aborted.sort_by_key(|transaction| transaction.first);
        Self { to_come: aborted.into(), producers: BTreeSet::new() }
    }

    /// Whether `batch` is of an aborted transaction.
    ///
    /// # Errors
    /// Its control record is none.
    pub(super) fn hide(&mut self, batch: &Batch) -> Result<bool, BatchError> {
        let header = batch.header();
        let Some(producer) = header.producer().filter(|_| header.is_transactional()) else {
            return Ok(false);
        };
        while let Some(begun) = self.to_come.front().filter(|t| t.first <= header.last_offset()) {
            self.producers.insert(begun.producer);
            self.to_come.pop_front();
        }
        match batch.control_record()? {
            Some(ControlRecord::Marker(marker)) if marker.kind == MarkerKind::Abort => {
                self.producers.remove(&producer.id);
                Ok(false)
            }
            Some(_) => Ok(false),
            None => Ok(self.producers.contains(&producer.id)),
        }
    }
}
