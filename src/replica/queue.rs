//! Batches on their way to the log, and batches on their way to an acknowledgement.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::base::{Acks, Offset};
use crate::record::EncodedBatch;
use crate::replica::ProduceError;
use crate::storage::{AppendOrigin, Appended};

/// A closed batch, and who wants to know what became of it.
pub(crate) struct Append {
    pub(crate) batch: EncodedBatch,
    pub(crate) origin: AppendOrigin,
    pub(crate) acks: Acks,
    pub(crate) completion: Arc<dyn Completion>,
}

/// A batch that was not acknowledged.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) error: ProduceError,
    /// The batch, if nothing of it was written: it can be tried again.
    pub(crate) batch: Option<EncodedBatch>,
}

impl From<ProduceError> for Refusal {
    fn from(error: ProduceError) -> Self {
        Self { error, batch: None }
    }
}

/// Told, once, what became of a batch. Called without any lock or role of the replica held.
pub(crate) trait Completion: Send + Sync {
    /// The batch is acknowledged as its `acks` ask, or has failed. What waited for that may be queued now. Runs no code
    /// of the application.
    fn complete(self: Arc<Self>, result: Result<Appended, Refusal>);

    /// After that: tells whoever waits. This may do anything, even close the replica.
    fn tell(&self) {}

    /// Wakes one caller who blocks on this batch and is able to do the next sync. `false` if there is none.
    fn hand_over(&self) -> bool;
}

impl fmt::Debug for Append {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Append")
            .field("size", &self.batch.size())
            .field("acks", &self.acks)
            .finish()
    }
}

/// Closed batches in the order in which they will be written.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) pending: Vec<Append>,
    /// Somebody has the writer's role.
    pub(super) writing: bool,
    /// The replica is being closed: what was accepted is taken, and nothing new.
    pub(super) closing: bool,
    /// No more batches are taken, for this reason.
    pub(super) ended: Option<ProduceError>,
}

/// Batches that were written but are not acknowledged yet, in the order of their offsets.
#[derive(Default)]
pub(super) struct Waiting(VecDeque<(Appended, Arc<dyn Completion>)>);

impl Waiting {
    pub(super) fn push(&mut self, appended: Appended, completion: Arc<dyn Completion>) {
        let mut at = self.0.len();
        if self.0.back().is_some_and(|(last, _)| last.next > appended.next) {
            // The second copy of a batch waits together with the first.
            at = self.0.partition_point(|(before, _)| before.next <= appended.next);
        }
        self.0.insert(at, (appended, completion));
    }

    /// Takes those that lie below `high_watermark` as a whole.
    pub(super) fn take_below(
        &mut self,
        high_watermark: Offset,
    ) -> Vec<(Appended, Arc<dyn Completion>)> {
        let done = self.0.partition_point(|(appended, _)| appended.next <= high_watermark);
        self.0.drain(..done).collect()
    }

    pub(super) fn take_all(&mut self) -> Vec<(Appended, Arc<dyn Completion>)> {
        self.0.drain(..).collect()
    }

    pub(super) fn completions(&self) -> Vec<Arc<dyn Completion>> {
        self.0.iter().map(|(_, completion)| Arc::clone(completion)).collect()
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(appended, _)| appended)).finish()
    }
}
