//! How a replica ends: with its topic, its broker, or for a while.

use std::sync::atomic::Ordering;

use crate::env::Moment;
use crate::replica::queue::{Append, Written};
use crate::replica::write::Answer;
use crate::replica::{ProduceError, Replica};
use crate::storage::StorageError;

/// Batches that were not acknowledged, whose senders do not know yet.
#[must_use]
pub(crate) struct Unanswered(Vec<Answer>);

impl Replica {
    /// Why the replica is no more, if it is not.
    pub(crate) fn ended(&self) -> Option<ProduceError> {
        self.queue.lock().ended.clone()
    }

    /// The topic is deleted: what is not acknowledged has failed. When this returns, nobody touches the log's files
    /// any more, except to read.
    pub(crate) fn delete(&self) {
        let refused = {
            let mut queue = self.queue.lock();
            queue.ended.get_or_insert(ProduceError::Deleted);
            std::mem::take(&mut queue.pending)
        };
        let refuse = |append: Append| (append.completion, Err(ProduceError::Deleted.into()));
        self.answer(refused.into_iter().map(refuse).collect());
        // An append or a sync that begins now finds the log offline; one may be under way.
        self.log.take_offline();
        self.quiesce();
        self.fail_waiting(&ProduceError::Deleted);
    }

    /// The broker is no more, as if it had lost its power: nothing is written any more. What is not acknowledged is given
    /// back, to be tried with the next leader.
    pub(crate) fn abandon(&self) {
        let unanswered = self.halt();
        self.give_back(unanswered);
    }

    /// As [`Replica::abandon`], but that nobody is told: whoever waits for an answer gets none from this replica. To be
    /// given back once somebody else leads.
    pub(crate) fn halt(&self) -> Unanswered {
        let refused = {
            let mut queue = self.queue.lock();
            queue.ended.get_or_insert(ProduceError::NotLeader);
            std::mem::take(&mut queue.pending)
        };
        self.log.take_offline();
        self.quiesce();
        let given_back = {
            let mut waiting = self.waiting.lock();
            waiting.epoch = None;
            waiting.take_all()
        };
        let given_back = self.with_batches(given_back);
        let answers = given_back.into_iter().map(Written::given_back);
        Unanswered(answers.chain(refused.into_iter().map(Append::given_back)).collect())
    }

    pub(crate) fn give_back(&self, unanswered: Unanswered) {
        self.answer(unanswered.0);
        self.watchers.notify();
    }

    /// Whether it ended with its broker: nobody hears of it any more.
    pub(super) fn is_halted(&self) -> bool {
        matches!(self.queue.lock().ended, Some(ProduceError::NotLeader))
    }

    /// Takes no more batches, writes and syncs those that were queued, and leaves the log so that the next open finds
    /// it complete. Those that other replicas lack at `deadline` are not acknowledged.
    pub(crate) fn close(&self, deadline: Moment) -> Result<(), StorageError> {
        self.queue.lock().closing = true;
        let settled = self.settle(deadline);
        self.queue.lock().ended.get_or_insert(ProduceError::Closed);
        self.watchers.notify();
        self.quiesce();
        let flushed = settled.and_then(|()| self.flush());
        // Those that the last answers have brought: the others are not going to copy them.
        self.fail_waiting(&ProduceError::Unreplicated);
        flushed?;
        self.log.close().map(drop)
    }

    /// Writes, syncs and replicates until everything is answered: each answer may bring what waited for it.
    pub(crate) fn settle(&self, deadline: Moment) -> Result<(), StorageError> {
        loop {
            let listener = self.role_left.listen();
            self.flush()?;
            self.followers.load().iter().for_each(|follower| follower.help());
            if self.unanswered.load(Ordering::SeqCst) == 0 {
                return Ok(());
            }
            let deadline = (!self.followers.load().is_empty()).then_some(deadline);
            if !self.runtime.park(listener, deadline) {
                let unreplicated = self.waiting.lock().take_replicated();
                let give_up =
                    |written: Written| (written.completion, Err(ProduceError::Unreplicated.into()));
                self.answer(unreplicated.into_iter().map(give_up).collect());
                return Ok(());
            }
        }
    }

    /// Waits until everything queued is written, and nobody writes or syncs. For a replica that takes no more.
    fn quiesce(&self) {
        loop {
            let listener = self.role_left.listen();
            self.drive();
            let is_written = {
                let queue = self.queue.lock();
                !queue.writing && queue.pending.is_empty()
            };
            if is_written && !self.syncing.is_taken() {
                return;
            }
            self.runtime.park(listener, None);
        }
    }
}
