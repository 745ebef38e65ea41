//! Batches on their way to the log, and batches on their way to an acknowledgement.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::base::{Acks, LeaderEpoch, Offset};
use crate::record::{Batch, EncodedBatch};
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
    /// The batch, if it can be tried again: nothing of it was written, or its producer's numbers tell a second copy.
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
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) pending: Vec<Append>,
    /// Somebody has the writer's role: writes what is pending, or what comes from the leader.
    pub(super) writing: bool,
    /// The replica is being closed: what was accepted is taken, and nothing new.
    pub(super) closing: bool,
    /// No more batches are taken, for this reason.
    pub(super) ended: Option<ProduceError>,
    pub(super) office: Office,
}

/// Who may write the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Office {
    /// The producers. Whoever writes first begins the epoch, which is when it is `entered`.
    Leader { epoch: LeaderEpoch, entered: bool },
    /// Whoever copies from the leader.
    Follower { epoch: LeaderEpoch },
}

impl Queue {
    pub(super) fn new(office: Office) -> Self {
        Self { pending: Vec::new(), writing: false, closing: false, ended: None, office }
    }

    /// Why nothing is taken, if nothing is.
    pub(super) fn refusal(&self) -> Option<ProduceError> {
        match self.office {
            _ if self.ended.is_some() => self.ended.clone(),
            Office::Follower { .. } => Some(ProduceError::NotLeader),
            Office::Leader { .. } => None,
        }
    }
}

impl Office {
    pub(super) fn epoch(self) -> LeaderEpoch {
        match self {
            Self::Leader { epoch, .. } | Self::Follower { epoch } => epoch,
        }
    }
}

/// Batches that were written but are not acknowledged yet, in the order of their offsets.
#[derive(Default)]
pub(super) struct Waiting {
    /// Of the term in which they were written; `None` once it is over, and they were taken.
    pub(super) epoch: Option<LeaderEpoch>,
    /// Until all replicas in sync have them.
    all: VecDeque<Written>,
    /// Until the leader has them for good.
    leader: VecDeque<Written>,
}

/// A batch that was written.
pub(super) struct Written {
    pub(super) appended: Appended,
    pub(super) completion: Arc<dyn Completion>,
    /// To be tried again elsewhere, if there is another replica.
    pub(super) batch: Option<Batch>,
}

impl Waiting {
    pub(super) fn push(&mut self, acks: Acks, written: Written) {
        let queue = if acks == Acks::All { &mut self.all } else { &mut self.leader };
        let next = written.appended.next;
        let mut at = queue.len();
        if queue.back().is_some_and(|last| last.appended.next > next) {
            // The second copy of a batch waits together with the first.
            at = queue.partition_point(|before| before.appended.next <= next);
        }
        queue.insert(at, written);
    }

    /// Takes those that lie as a whole below what they wait for.
    pub(super) fn take_below(&mut self, high_watermark: Offset, durable: Offset) -> Vec<Written> {
        let mut done = take(&mut self.all, high_watermark).collect::<Vec<_>>();
        done.extend(take(&mut self.leader, durable));
        done
    }

    /// Takes those that wait for other replicas.
    pub(super) fn take_replicated(&mut self) -> Vec<Written> {
        self.all.drain(..).collect()
    }

    pub(super) fn take_all(&mut self) -> Vec<Written> {
        self.all.drain(..).chain(self.leader.drain(..)).collect()
    }

    pub(super) fn completions(&self) -> Vec<Arc<dyn Completion>> {
        let all = self.leader.iter().chain(&self.all);
        all.map(|written| Arc::clone(&written.completion)).collect()
    }
}

fn take(queue: &mut VecDeque<Written>, below: Offset) -> impl Iterator<Item = Written> + '_ {
    let done = queue.partition_point(|written| written.appended.next <= below);
    queue.drain(..done)
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offsets = |queue: &VecDeque<Written>| {
            queue.iter().map(|written| written.appended.base).collect::<Vec<_>>()
        };
        f.debug_struct("Waiting")
            .field("epoch", &self.epoch)
            .field("all", &offsets(&self.all))
            .field("leader", &offsets(&self.leader))
            .finish()
    }
}
