//! The high watermark, and those who wait for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::{BrokerId, Bug, Offset, is_planted};
use crate::replica::office::Standing;
use crate::replica::queue::{Completion, Written};
use crate::replica::write::Answer;
use crate::replica::{ProduceError, Replica};

impl Replica {
    /// Raises the high watermark to where all replicas in sync have come. A follower's is its leader's.
    pub(super) fn advance(&self) {
        let raised = match &*self.standing.lock() {
            // Under the lock: who leaves office raises it no more.
            Standing::Leading(in_sync) => {
                let own = self.own_end();
                let high = match in_sync.has_followers() {
                    false => Some(own),
                    true => in_sync.high_watermark(own, self.log.end(), self.runtime.now()),
                };
                let raised = high.is_some_and(|high| self.raise_high_watermark(high));
                raised.then(|| in_sync.read())
            }
            Standing::Following(_) => None,
        };
        if let Some(read) = raised {
            self.watchers.notify();
            self.spread_news(&read);
        }
    }

    /// Has the followers hear of the high watermark: those that consumers read at once, the others soon. Those get it with
    /// what is written next, if anything is: to wake them each time would cost producers more than it is worth.
    fn spread_news(&self, read: &[BrokerId]) {
        let followers = self.followers.load();
        if followers.is_empty() {
            return;
        }
        followers.iter().filter(|f| read.contains(&f.broker())).for_each(|f| f.wake());
        if !self.has_news.swap(true, Ordering::AcqRel)
            && let Some(me) = self.me.upgrade()
            && !self.peers.has_news(&me)
        {
            self.has_news.store(false, Ordering::Release);
        }
    }

    /// For whoever was asked to tell the followers of news.
    pub(crate) fn tell_followers(&self) {
        // Before they look: who raises it from now on asks again.
        self.has_news.swap(false, Ordering::AcqRel);
        self.wake_followers();
    }

    /// Returns whether it rose. Who waits for that is to be notified.
    pub(super) fn raise_high_watermark(&self, to: Offset) -> bool {
        let raised = self.high_watermark.raise(to);
        if raised {
            self.log.note_high_watermark(to);
        }
        raised
    }

    /// Answers the batches that have got what they wait for.
    pub(super) fn acknowledge(&self) {
        let high_watermark = self.high_watermark();
        // Whoever raised it may not have come to this: a marker that is acknowledged is seen to decide its transaction.
        self.log.note_high_watermark(high_watermark);
        let own = self.own_end();
        let replicated = if is_planted(Bug::AckedByLeader) { own } else { high_watermark };
        let done = self.waiting.lock().take_below(replicated, own);
        self.answer(done.into_iter().map(|done| (done.completion, Ok(done.appended))).collect());
    }

    pub(super) fn fail_waiting(&self, error: &ProduceError) {
        let error = self.blame_disk(error.clone());
        let failed = self.waiting.lock().take_all();
        let answer = |failed: Written| match error {
            ProduceError::LeaderLost => failed.given_back(),
            _ => (failed.completion, Err(error.clone().into())),
        };
        self.answer(failed.into_iter().map(answer).collect());
        self.watchers.notify();
    }

    /// Notes what became of batches, then tells who waits for them.
    pub(super) fn answer(&self, answers: Vec<Answer>) {
        let count = answers.len();
        if count == 0 {
            return;
        }
        let note = |(completion, result): (Arc<dyn Completion>, _)| {
            Arc::clone(&completion).complete(result);
            completion
        };
        let noted = answers.into_iter().map(note).collect::<Vec<_>>();
        // Not before what they have brought is counted.
        if self.unanswered.fetch_sub(count, Ordering::SeqCst) == count {
            self.role_left.notify(usize::MAX);
        }
        for completion in noted {
            // A waker's: the others are to hear of their batches all the same.
            if catch_unwind(AssertUnwindSafe(|| completion.tell())).is_err() {
                log::error!("who was told of a batch of {} has panicked", self.partition());
            }
        }
    }
}
