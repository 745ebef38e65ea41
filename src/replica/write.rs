//! The leader writes: batches are combined, whoever brings them.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use crate::base::{Acks, FlushPolicy, LeaderEpoch, Offset};
use crate::base::{Bug, is_planted};
use crate::env::Moment;
use crate::record::{Batch, EncodedBatch};
use crate::replica::queue::{Append, Completion, Office, Refusal, Written};
use crate::replica::roles::{Asked, WriterRole, nanos};
use crate::replica::{ProduceError, Replica};
use crate::storage::{Appended, Refused};

/// A waiting caller does the work of writing and syncing itself unless the last sync took this long: on a slow disk
/// it is to wait like everybody else, so that `wait` can be interrupted by nothing but its own batch.
const SLOW_STEP: Duration = Duration::from_millis(10);

/// Who syncs what was written, and copies it to the followers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Syncing {
    /// The caller, right away.
    Caller,
    /// The store's syncer, as the policy asks.
    Scheduler,
}

/// A batch that was not queued, and why.
#[derive(Debug)]
pub(crate) struct Unqueued {
    pub(crate) error: ProduceError,
    pub(crate) batch: EncodedBatch,
}

/// A result for whoever asked.
pub(super) type Answer = (Arc<dyn Completion>, Result<Appended, Refusal>);

impl Replica {
    /// Queues a batch behind those queued before. It is written when somebody drives the replica.
    ///
    /// # Errors
    /// Why the replica takes nothing new; nobody else is told.
    pub(crate) fn enqueue(&self, append: Append) -> Result<(), Box<Unqueued>> {
        match self.takes_new() {
            Ok(()) => self.enqueue_accepted(append),
            Err(error) => Err(Box::new(Unqueued { error, batch: append.batch })),
        }
    }

    /// As [`Replica::enqueue`], for records that were accepted while the replica took new ones.
    ///
    /// # Errors
    /// Why the replica takes nothing; nobody else is told.
    pub(crate) fn enqueue_accepted(&self, append: Append) -> Result<(), Box<Unqueued>> {
        let mut queue = self.queue.lock();
        match queue.refusal() {
            Some(error) => Err(Box::new(Unqueued { error, batch: append.batch })),
            None => {
                self.unanswered.fetch_add(1, Ordering::SeqCst);
                queue.pending.push(append);
                Ok(())
            }
        }
    }

    /// Whether records that nobody has accepted yet have a chance.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn takes_new(&self) -> Result<(), ProduceError> {
        let queue = self.queue.lock();
        match queue.refusal() {
            Some(error) => Err(error),
            None if queue.closing => Err(ProduceError::Closed),
            None => Ok(()),
        }
    }

    /// Writes what is queued, unless somebody else is at it, who then takes it along.
    pub(crate) fn drive(&self) {
        self.write_queued(Syncing::Scheduler);
    }

    /// As [`Replica::drive`], and syncs and replicates too if acknowledgements need it: for a caller who blocks on a
    /// batch.
    pub(crate) fn help(&self) {
        let slow = self.last_sync.took() > SLOW_STEP || self.last_write.took() > SLOW_STEP;
        if slow {
            self.write_queued(Syncing::Scheduler);
            // The syncer's role may just have been handed to this caller.
            self.schedule();
            return;
        }
        self.write_queued(Syncing::Caller);
        // Their syncs go on while this caller is at its own.
        self.followers.load().iter().for_each(|follower| follower.help());
        match self.policy() {
            FlushPolicy::OnAck if self.log.flushed() < self.log.end() => self.sync(),
            FlushPolicy::OnAck => {}
            _ => self.schedule(),
        }
    }

    /// Whether the last write was so long ago that a caller may well do the next one itself: at least four times as
    /// long as it took.
    pub(crate) fn is_idle(&self, now: Moment) -> bool {
        let ended = self.last_write.ended_nanos.load(Ordering::Relaxed);
        let took = self.last_write.took_nanos.load(Ordering::Relaxed);
        nanos(now.as_duration()) >= ended.saturating_add(took.saturating_mul(4))
    }

    fn write_queued(&self, syncing: Syncing) {
        loop {
            let (appends, epoch, entered, is_followed) = {
                let mut queue = self.queue.lock();
                let Office::Leader { epoch, entered } = queue.office else { return };
                if queue.writing || (queue.pending.is_empty() && entered) {
                    return;
                }
                queue.writing = true;
                // As it is in this term: who leaves office forgets the followers.
                let is_followed = !self.followers.load().is_empty();
                (std::mem::take(&mut queue.pending), epoch, entered, is_followed)
            };
            let role = WriterRole(self);
            let began = self.runtime.now();
            if !entered {
                self.enter(epoch);
            }
            let has_written = !appends.is_empty();
            let answers = self.write(appends, epoch, is_followed || !entered);
            if has_written {
                self.last_write.note(began, self.runtime.now());
            }
            drop(role);
            self.answer(answers);
            if has_written || !entered {
                self.written(began, syncing);
            }
            if is_planted(Bug::QueueLeft) {
                return;
            }
        }
    }

    /// Appends, and returns those that need not wait for more, with their results.
    fn write(&self, appends: Vec<Append>, epoch: LeaderEpoch, is_followed: bool) -> Vec<Answer> {
        let (appends, mut answers) = self.refuse_unless_enough(appends);
        if appends.is_empty() {
            return answers;
        }
        let (batches, asked): (Vec<_>, Vec<_>) =
            appends.into_iter().map(|a| ((a.batch, a.origin), (a.acks, a.completion))).unzip();
        let mut asked = Asked { replica: self, completions: asked };
        let before = self.log.end();
        let results = self.log.append(batches, epoch, self.runtime.wall_clock());
        let copies = match is_followed {
            true => self.copies(before, &results),
            false => results.iter().map(|_| None).collect(),
        };
        let (mut refused, mut out_of_office) = (Vec::new(), Vec::new());
        {
            let mut waiting = self.waiting.lock();
            let is_in_office = waiting.epoch == Some(epoch);
            let asked = asked.completions.drain(..);
            for ((result, batch), (acks, completion)) in results.into_iter().zip(copies).zip(asked)
            {
                match (result, acks) {
                    (Ok(appended), Acks::None) => answers.push((completion, Ok(appended))),
                    (Ok(appended), _) => {
                        let written = Written { appended, completion, batch };
                        match is_in_office {
                            true => waiting.push(acks, written),
                            false => out_of_office.push(written),
                        }
                    }
                    (Err(error), _) => refused.push((completion, error)),
                }
            }
        }
        let given_back = self.with_batches(out_of_office);
        answers.extend(given_back.into_iter().map(Written::given_back));
        let refused = refused.into_iter();
        answers.extend(refused.map(|(completion, why)| (completion, Err(self.blame_refused(why)))));
        answers
    }

    /// Those that may be written, and the answers for the others: too few replicas are in sync for them.
    fn refuse_unless_enough(&self, appends: Vec<Append>) -> (Vec<Append>, Vec<Answer>) {
        let too_few = self.with_in_sync(|in_sync| in_sync.too_few()).flatten();
        let Some((in_sync, needed)) = too_few else { return (appends, Vec::new()) };
        let (refused, taken): (Vec<_>, Vec<_>) =
            appends.into_iter().partition(|append| append.acks == Acks::All);
        let refuse = |append: Append| {
            let error = ProduceError::NotEnoughReplicas { in_sync, needed };
            (append.completion, Err(Refusal { error, batch: Some(append.batch) }))
        };
        (taken, refused.into_iter().map(refuse).collect())
    }

    /// The batches behind the results, for partitions with other replicas: whoever leads next may have to be given them once
    /// more. Those that were written just now are in the log's cache.
    fn copies(&self, before: Offset, results: &[Result<Appended, Refused>]) -> Vec<Option<Batch>> {
        let read = |from, max_bytes| {
            let read = self.log.read(from, max_bytes, self.log.end());
            read.inspect_err(|e| log::warn!("{}: {e}", self.partition())).unwrap_or_default()
        };
        let mut new = read(before, usize::MAX).batches.into_iter().peekable();
        let copy = |result: &Result<Appended, Refused>| {
            let base = result.as_ref().ok()?.base;
            if base < before {
                // It was sent once more.
                return read(base, 1).batches.into_iter().next();
            }
            let is_it = |batch: &Batch| batch.header().base_offset() == base;
            new.next_if(is_it)
        };
        results.iter().map(copy).collect()
    }

    /// Those that were written while there were no other replicas, with their batches: whoever leads next may have to be
    /// given them.
    pub(super) fn with_batches(&self, mut written: Vec<Written>) -> Vec<Written> {
        for written in written.iter_mut().filter(|written| written.batch.is_none()) {
            let read = self.log.read(written.appended.base, 1, self.log.end());
            let read = read.inspect_err(|e| log::warn!("{}: {e}", self.partition()));
            written.batch = read.unwrap_or_default().batches.into_iter().next();
        }
        written
    }

    /// What the policy asks to be done with bytes that were just written, and what the followers are to know.
    pub(super) fn written(&self, began: Moment, syncing: Syncing) {
        // With its like where the policy is changed.
        fence(Ordering::SeqCst);
        match self.policy() {
            FlushPolicy::OnAck if syncing == Syncing::Caller => {}
            FlushPolicy::OnAck => self.schedule(),
            FlushPolicy::Interval { .. } => {
                self.note_unsynced(began);
                self.schedule();
            }
            FlushPolicy::Os => {}
        }
        self.advance();
        // The watermark may have passed the new batches before they were noted as waiting.
        self.acknowledge();
        if syncing == Syncing::Scheduler {
            self.wake_followers();
        }
        self.watch_lag();
    }

    /// From then on there are bytes that no sync has covered.
    pub(super) fn note_unsynced(&self, began: Moment) {
        // Zero stands for "nothing unsynced".
        let since = nanos(began.as_duration()).max(1);
        let (set, failed) = (Ordering::AcqRel, Ordering::Acquire);
        let _ = self.unsynced_since.compare_exchange(0, since, set, failed);
    }

    fn blame_refused(&self, refused: Refused) -> Refusal {
        let error = self.blame(refused.error.into());
        Refusal { error: self.blame_disk(error), batch: refused.batch }
    }

    /// What a failure is put down to: a log that is nobody's any more fails for no other reason.
    pub(super) fn blame(&self, error: ProduceError) -> ProduceError {
        match self.queue.lock().ended {
            Some(ProduceError::Deleted) => ProduceError::Deleted,
            Some(ProduceError::NotLeader) if error.is_of_disk() => error.elsewhere(),
            _ => error,
        }
    }
}

impl Append {
    /// For a batch that was not written, and will not be by this leader.
    pub(super) fn given_back(self) -> Answer {
        let refusal = Refusal { error: ProduceError::NotLeader, batch: Some(self.batch) };
        (self.completion, Err(refusal))
    }
}

impl Written {
    /// For a batch that was written, but will not be acknowledged by this leader.
    pub(super) fn given_back(self) -> Answer {
        let batch = self.batch.and_then(EncodedBatch::thaw);
        (self.completion, Err(Refusal { error: ProduceError::LeaderLost, batch }))
    }
}
