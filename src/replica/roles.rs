//! Those who are at work on a replica: what they leave behind on every way out, a panic's too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::Acks;
use crate::env::Moment;
use crate::replica::queue::Completion;
use crate::replica::{ProduceError, Replica};
use crate::storage::AppendError;

/// When something was last done and how long it took.
#[derive(Debug, Default)]
pub(super) struct LastStep {
    pub(super) ended_nanos: AtomicU64,
    pub(super) took_nanos: AtomicU64,
}

impl LastStep {
    pub(super) fn note(&self, began: Moment, ended: Moment) {
        self.ended_nanos.store(nanos(ended.as_duration()), Ordering::Relaxed);
        self.took_nanos.store(nanos(ended.since(began)), Ordering::Relaxed);
    }

    pub(super) fn took(&self) -> Duration {
        Duration::from_nanos(self.took_nanos.load(Ordering::Relaxed))
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Those whose batches are being written. If it comes to a panic they are told, and nothing is appended behind what
/// may have been left half done.
pub(super) struct Asked<'a> {
    pub(super) replica: &'a Replica,
    pub(super) completions: Vec<(Acks, Arc<dyn Completion>)>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if self.completions.is_empty() {
            return;
        }
        self.replica.log.take_offline();
        let error = ProduceError::from(AppendError::Unknown(self.replica.log.offline_error()));
        let lost = self.completions.drain(..).map(|(_, completion)| completion);
        self.replica
            .answer(lost.map(|completion| (completion, Err(error.clone().into()))).collect());
    }
}

/// Given back on every way out, a panic's too: otherwise all later producers would wait for ever.
pub(super) struct WriterRole<'a>(pub(super) &'a Replica);

impl Drop for WriterRole<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.writing = false;
        let is_ending = queue.closing || queue.ended.is_some();
        drop(queue);
        if is_ending {
            self.0.role_left.notify(usize::MAX);
        }
    }
}

/// As [`WriterRole`].
pub(super) struct SyncerRole<'a> {
    pub(super) replica: &'a Replica,
    pub(super) panicked: bool,
}

impl Drop for SyncerRole<'_> {
    fn drop(&mut self) {
        let Self { replica, panicked } = *self;
        if panicked {
            replica.log.take_offline();
        }
        replica.syncing.leave();
        replica.role_left.notify(usize::MAX);
        if panicked {
            replica.fail_waiting(&ProduceError::Sync(replica.log.offline_error()));
        }
    }
}
