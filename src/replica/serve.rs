//! What a leader gives to its followers.
//!
//! # Invariants
//! - A fetch that diverges, or is of another term or an earlier life, counts for nothing (C14).

use crate::base::{BrokerId, Bug, LeaderEpoch, Offset, is_planted};
use crate::replica::in_sync::FollowerEnd;
use crate::replica::queue::Office;
use crate::replica::{FetchError, Replica};
use crate::storage::{EpochEnd, Fetched};

/// What a follower asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FetchRequest {
    /// Who asks, and from where on.
    pub(crate) said: FollowerEnd,
    /// The epoch of its latest batch.
    pub(crate) last_epoch: Option<LeaderEpoch>,
    /// Where its log begins.
    pub(crate) start: Offset,
    /// Consumers read it.
    pub(crate) is_read: bool,
}

/// What it gets.
#[derive(Debug)]
pub(crate) enum Served {
    /// Batches from where it asked on, perhaps none.
    Batches { fetched: Fetched, high_watermark: Offset, start: Offset },
    /// Its log ends with batches that the leader does not have: where their epoch, or the one before it, ended.
    Diverging(EpochEnd),
    /// The leader has nothing there: its log is elsewhere.
    Elsewhere { start: Offset, end: Offset },
}

impl Replica {
    /// Serves a follower, and takes note of how far it has come.
    pub(crate) fn serve(
        &self,
        request: &FetchRequest,
        max_bytes: usize,
    ) -> Result<Served, FetchError> {
        let FetchRequest { said, last_epoch, .. } = request;
        let office = self.queue.lock().office;
        match office {
            Office::Leader { epoch, entered: true } if epoch == said.epoch => {}
            _ => return Err(FetchError::NotLeader),
        }
        if is_planted(Bug::DivergingIsHeard) {
            self.heard(said)?;
        }
        let (start, end) = (self.log.start(), self.log.end());
        if said.position < start {
            return Ok(Served::Elsewhere { start, end });
        }
        if let Some(last) = last_epoch {
            let known_by_all = is_planted(Bug::EpochsUnknownPass);
            match self.log.end_of_epoch(*last) {
                None => return Ok(Served::Elsewhere { start, end }),
                Some(known)
                    if (known.epoch < *last && !known_by_all) || known.end < said.position =>
                {
                    return Ok(Served::Diverging(known));
                }
                Some(_) => {}
            }
        }
        if said.position > end {
            return Ok(Served::Elsewhere { start, end });
        }
        self.heard(said)?;
        // Before the high watermark is looked at: who raises it from then on finds a follower that is read.
        self.with_in_sync(|in_sync| in_sync.asked(said.broker, request.start, request.is_read));
        let fetched = self.log.read(said.position, max_bytes, self.log.end())?;
        Ok(Served::Batches { fetched, high_watermark: self.high_watermark(), start })
    }

    /// A follower that was served has come so far.
    pub(crate) fn heard(&self, said: &FollowerEnd) -> Result<(), FetchError> {
        if self.is_halted() {
            return Err(FetchError::NotLeader);
        }
        let (end, now) = (self.log.end(), self.runtime.now());
        let heard = self.with_in_sync(|in_sync| in_sync.heard(said, end, now));
        match heard {
            Some(true) => {}
            Some(false) => return Err(FetchError::UnknownFollower),
            None => return Err(FetchError::NotLeader),
        }
        self.advance();
        self.acknowledge();
        self.propose_if_outdated();
        Ok(())
    }

    /// Whether the follower on that broker has all that the leader has.
    pub(crate) fn has_all(&self, broker: BrokerId) -> bool {
        let end = self.log.end();
        let known = self.with_in_sync(|in_sync| in_sync.follower(broker).and_then(|f| f.end));
        known.flatten() == Some(end)
    }
}
