//! What a follower does with what its leader gives it.
//!
//! # Invariants
//! - The log is cut by leader epochs, never by the high watermark (KIP-101, KIP-279).
//! - The high watermark follows that of the leader, and only once what it covers is in the log (C5).

use std::ops::Range;
use std::sync::atomic::Ordering;

use crate::base::{Bug, FlushPolicy, LeaderEpoch, Offset, is_planted};
use crate::env::Moment;
use crate::record::Batch;
use crate::replica::in_sync::FollowerEnd;
use crate::replica::queue::Office;
use crate::replica::roles::WriterRole;
use crate::replica::{FetchRequest, FollowError, Replica, Served};
use crate::storage::{Damage, EpochEnd, Repaired, StorageError};

/// Bytes read at once of what is to be repaired.
const REPAIR_BYTES: usize = 1 << 20;

/// What came of a step of a follower.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Followed {
    /// It has come to here. There may be more.
    Copied(FollowerEnd),
    /// It had all that there is.
    UpToDate,
    /// Its log was cut, or begun anew: it is to ask again.
    Cut,
}

impl Replica {
    /// What to ask the leader for, if the replica follows one: as this life of its broker.
    pub(crate) fn fetch_request(&self, incarnation: u64) -> Option<FetchRequest> {
        let epoch = match &*self.queue.lock() {
            queue if queue.ended.is_some() || queue.closing => return None,
            queue => match queue.office {
                Office::Follower { epoch } => epoch,
                Office::Leader { .. } => return None,
            },
        };
        if self.log.is_offline() {
            return None;
        }
        let said = self.follower_end(epoch, incarnation);
        let is_cut = is_planted(Bug::CutOnce) && self.is_verified(epoch);
        let last_epoch = self.log.latest_epoch().filter(|_| !is_cut);
        let (start, is_read) = (self.log.start(), self.watchers.are_some());
        let request = FetchRequest { said, last_epoch, start, is_read };
        // Of one moment: else it could be taken for a log that has no epochs.
        (self.log.end() == said.position).then_some(request)
    }

    fn follower_end(&self, epoch: LeaderEpoch, incarnation: u64) -> FollowerEnd {
        let end = match is_planted(Bug::FollowersUnsynced) {
            true => self.log.end(),
            false => self.own_end(),
        };
        let position = self.log.end();
        let fitness = self.fitness.get();
        let end = end.min(position);
        FollowerEnd { broker: self.broker(), incarnation, epoch, position, end, fitness }
    }

    /// How far the replica has come, in the term in which that is known to be a part of the leader's log (C14).
    pub(crate) fn as_follower(&self, incarnation: u64) -> Option<FollowerEnd> {
        // Before the log is looked at: what is cut off in a later term never counts in it.
        let epoch = match is_planted(Bug::UnverifiedCounts) {
            true => self.led_by().1,
            false => LeaderEpoch::new(self.verified.load(Ordering::SeqCst))?,
        };
        Some(self.follower_end(epoch, incarnation))
    }

    /// Whether the log is known to be a part of the leader's of that term.
    fn is_verified(&self, epoch: LeaderEpoch) -> bool {
        self.verified.load(Ordering::SeqCst) == epoch.value()
    }

    /// Whether the log was found damaged, so that it has to be repaired before it can follow.
    pub(crate) fn is_damaged(&self) -> bool {
        self.log.is_offline() && self.log.is_damaged() && self.ended().is_none()
    }

    /// Puts what `other` has in the place of what is damaged here, byte for byte (rule R6). Returns what that was, and
    /// what is damaged still.
    pub(crate) fn repair_from(&self, other: &Self) -> Result<Repaired, StorageError> {
        // Of one epoch and offset there is one batch, whoever has it: the log sees to it that the epochs fit.
        self.repair_if(other, &|_| true)
    }

    /// As [`Replica::repair_from`], where `is_known` says of the damaged offsets that `other` has there what was here.
    pub(crate) fn repair_if(
        &self,
        other: &Self,
        is_known: &dyn Fn(&Range<Offset>) -> bool,
    ) -> Result<Repaired, StorageError> {
        let source = |range: Range<Offset>| {
            if !is_known(&range) {
                return None;
            }
            let mut batches = Vec::new();
            let mut next = range.start;
            while next < range.end {
                let read = other.log.read(next, REPAIR_BYTES, range.end);
                let fetched = read.inspect_err(|e| log::warn!("{}: {e}", self.partition())).ok()?;
                next = fetched.batches.last()?.header().next_offset();
                batches.extend(fetched.batches);
            }
            Some(batches)
        };
        let repaired = self.log.repair(&source, self.runtime.wall_clock())?;
        for damage in &repaired.repaired {
            log::warn!("repaired from broker {}: {damage}", other.broker());
        }
        // What was torn behind the durable part of a damaged log is cut by now.
        if self.log.end() < self.high_watermark() {
            self.high_watermark.set(self.log.end());
        }
        self.advance();
        self.acknowledge();
        Ok(repaired)
    }

    /// Reading has come upon a batch that is not what was written: what others have is put in its place. Returns where that
    /// was done.
    pub(crate) fn heal(&self) -> Vec<Damage> {
        self.peers.heal(self)
    }

    /// Does what the leader's answer asks for.
    pub(crate) fn follow(
        &self,
        request: &FetchRequest,
        served: Served,
    ) -> Result<Followed, FollowError> {
        let FollowerEnd { epoch, position, incarnation, .. } = request.said;
        let role = self.take_to_follow(epoch)?;
        if self.log.end() != position {
            return Err(FollowError::Stale);
        }
        let began = self.runtime.now();
        let done = self.take_served(position, served, epoch);
        self.last_write.note(began, self.runtime.now());
        drop(role);
        match &done {
            Ok(Done::Copied) => self.fitness.set(true),
            // That the answer is too late says nothing of the disk.
            Ok(_) | Err(FollowError::Stale) => {}
            Err(_) => self.fitness.set(false),
        }
        // A term that begins meanwhile was left to whoever has the role.
        self.drive();
        Ok(match done? {
            Done::Copied => {
                self.schedule_copied(began);
                Followed::Copied(self.follower_end(epoch, incarnation))
            }
            Done::Nothing => Followed::UpToDate,
            Done::Cut => Followed::Cut,
        })
    }

    fn take_to_follow(&self, epoch: LeaderEpoch) -> Result<WriterRole<'_>, FollowError> {
        let mut queue = self.queue.lock();
        let is_free = !queue.writing && queue.ended.is_none();
        if !is_free || queue.office != (Office::Follower { epoch }) {
            return Err(FollowError::Stale);
        }
        queue.writing = true;
        Ok(WriterRole(self))
    }

    fn take_served(
        &self,
        position: Offset,
        served: Served,
        epoch: LeaderEpoch,
    ) -> Result<Done, FollowError> {
        if is_planted(Bug::CutToWatermark) && !self.is_verified(epoch) {
            self.verified.store(epoch.value(), Ordering::SeqCst);
            self.cut_to(self.high_watermark())?;
            return Ok(Done::Cut);
        }
        match served {
            Served::Batches { fetched, high_watermark, start } => {
                // Of a leader that was one no longer, and has copied them itself from the next.
                let is_later = |batch: &Batch| batch.header().leader_epoch() > Some(epoch);
                if fetched.batches.iter().any(is_later) {
                    return Err(FollowError::Stale);
                }
                self.verified.store(epoch.value(), Ordering::SeqCst);
                let copied = !fetched.batches.is_empty();
                if copied {
                    self.log.append_as_follower(fetched, self.runtime.wall_clock())?;
                }
                self.take_high_watermark(high_watermark, epoch);
                if start > self.log.start() && start <= self.log.end() {
                    self.log.raise_start(start);
                    self.log.remove_below_start()?;
                }
                Ok(if copied { Done::Copied } else { Done::Nothing })
            }
            Served::Diverging(theirs) => {
                self.cut_to(self.common_end(theirs))?;
                if is_planted(Bug::CutOnce) {
                    self.verified.store(epoch.value(), Ordering::SeqCst);
                }
                Ok(Done::Cut)
            }
            Served::Elsewhere { start, end } if position < start => {
                log::warn!(
                    "{}: the leader has offsets {start} to {end}, and not {position}: begun anew",
                    self.partition()
                );
                self.log.start_over_at(start)?;
                self.high_watermark.set(start);
                Ok(Done::Cut)
            }
            Served::Elsewhere { end, .. } => {
                self.cut_to(end.min(position))?;
                Ok(Done::Cut)
            }
        }
    }

    /// Where the log and the leader's are the same up to, as far as one answer tells (KIP-279).
    fn common_end(&self, theirs: EpochEnd) -> Offset {
        let end = self.log.end();
        match self.log.end_of_epoch(theirs.epoch) {
            None => theirs.end.min(end),
            Some(ours) if ours.epoch != theirs.epoch => ours.end.min(end),
            Some(ours) => ours.end.min(theirs.end).min(end),
        }
    }

    fn cut_to(&self, end: Offset) -> Result<(), FollowError> {
        let high_watermark = self.high_watermark();
        if end < high_watermark {
            log::warn!(
                "{} on broker {} is cut to {end}, below its high watermark {high_watermark}: \
                 an unclean election, or acknowledged records that were not synced",
                self.partition(),
                self.broker()
            );
        }
        self.syncer.truncating(self.partition(), end)?;
        self.log.truncate_to(end)?;
        if self.log.end() < high_watermark {
            self.high_watermark.set(self.log.end());
        }
        Ok(())
    }

    /// The leader's high watermark, for as much of it as is here.
    fn take_high_watermark(&self, high_watermark: Offset, epoch: LeaderEpoch) {
        let ahead = is_planted(Bug::WatermarkAhead);
        let known = if ahead { high_watermark } else { high_watermark.min(self.log.end()) };
        let raised = {
            let standing = self.standing.lock();
            standing.state().leader_epoch == epoch && self.raise_high_watermark(known)
        };
        if raised {
            self.watchers.notify();
        }
    }

    /// Has what was copied synced, as the policy asks.
    fn schedule_copied(&self, began: Moment) {
        if let FlushPolicy::Interval { .. } = self.policy() {
            self.note_unsynced(began);
        }
        self.schedule();
    }

    /// A follower that cannot sync is in sync no more.
    pub(super) fn tell_of_failure(&self) {
        let is_follower = matches!(self.queue.lock().office, Office::Follower { .. });
        if is_follower && self.ended().is_none() {
            self.fitness.set(false);
            self.peers.failed(self);
        }
    }

    /// Whether nobody was told yet that its disk has failed it.
    pub(crate) fn is_failure_news(&self) -> bool {
        self.fitness.is_news()
    }

    /// A sync has made more of a follower's log count.
    pub(super) fn tell_leader(&self) {
        let is_follower = matches!(self.queue.lock().office, Office::Follower { .. });
        if is_follower && self.policy() == FlushPolicy::OnAck {
            self.peers.synced(self);
        }
    }
}

enum Done {
    Copied,
    Nothing,
    Cut,
}
