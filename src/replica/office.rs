//! Taking and leaving office: what the controller says of the partition, and what that makes of the replica.
//!
//! # Invariants
//! - A replica never goes back to an earlier state of its partition, in whatever order it hears of them.
//! - An epoch begins where the log ends once nobody writes for the term before: with the writer's role.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::{BrokerId, Bug, LeaderEpoch, Offset, is_planted};
use crate::env::Moment;
use crate::replica::in_sync::InSync;
use crate::replica::queue::{Append, Office, Refusal, Written};
use crate::replica::{PartitionState, ProduceError, Replica, ReplicaView};

/// Time between two looks at a follower that stays behind.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What a replica knows of its partition.
#[derive(Debug)]
pub(super) enum Standing {
    /// It has begun to lead.
    Leading(InSync),
    /// It follows, or is about to lead.
    Following(PartitionState),
}

impl Standing {
    pub(super) fn state(&self) -> &PartitionState {
        match self {
            Self::Leading(in_sync) => &in_sync.state,
            Self::Following(state) => state,
        }
    }
}

impl Replica {
    /// What is known of the partition.
    pub(crate) fn state(&self) -> PartitionState {
        self.standing.lock().state().clone()
    }

    /// Who leads the partition, and in which term.
    pub(crate) fn led_by(&self) -> (Option<BrokerId>, LeaderEpoch) {
        let standing = self.standing.lock();
        let state = standing.state();
        (state.leader, state.leader_epoch)
    }

    /// Whether the replica is the one that producers write to.
    pub(crate) fn is_leader(&self) -> bool {
        let queue = self.queue.lock();
        queue.ended.is_none() && matches!(queue.office, Office::Leader { .. })
    }

    /// The controller has changed the partition. Who waits for an acknowledgement that this leader will not give is told.
    pub(crate) fn assume(&self, state: PartitionState) {
        let others_in_sync = {
            let mut standing = self.standing.lock();
            let known = standing.state();
            if state.partition_epoch < known.partition_epoch
                || state.leader_epoch < known.leader_epoch
                || state.config_epoch < known.config_epoch
            {
                return;
            }
            let others_in_sync = state.isr != known.isr;
            match &mut *standing {
                Standing::Leading(in_sync) if state.leader_epoch == in_sync.state.leader_epoch => {
                    in_sync.update(state.clone(), self.runtime.now());
                }
                standing => *standing = Standing::Following(state.clone()),
            }
            others_in_sync
        };
        let is_new_term = self.change_office(&state);
        if is_new_term || others_in_sync {
            // Consumers may have to read another replica.
            self.watchers.notify();
        }
        if is_new_term {
            // Whoever was about to sync it may be with the next leader by now.
            self.schedule();
        }
        // Enters the office, if nobody is at the log who will.
        self.drive();
        self.renew_followers();
        self.give_up_if_too_few();
        self.advance();
        self.acknowledge();
        // What the leader asked for may have been refused because of this change.
        self.propose_if_outdated();
    }

    /// Returns whether another term has begun.
    fn change_office(&self, state: &PartitionState) -> bool {
        let epoch = state.leader_epoch;
        // Before the office: who enters it must not find his term taken back.
        let given_back = {
            let mut waiting = self.waiting.lock();
            match waiting.epoch.is_some_and(|known| known < epoch) {
                true => {
                    waiting.epoch = None;
                    waiting.take_all()
                }
                false => Vec::new(),
            }
        };
        // As long as nobody cuts the log.
        let given_back = self.with_batches(given_back);
        let (is_new_term, refused) = self.take_office(state);
        let answers = given_back.into_iter().map(Written::given_back);
        self.answer(answers.chain(refused.into_iter().map(Append::given_back)).collect());
        is_new_term
    }

    /// Returns whether another term has begun, and what is not to be written in it.
    fn take_office(&self, state: &PartitionState) -> (bool, Vec<Append>) {
        let epoch = state.leader_epoch;
        let refused = {
            let mut queue = self.queue.lock();
            if epoch <= queue.office.epoch() {
                return (false, Vec::new());
            }
            // Before anybody enters the new one, who finds them anew.
            self.followers.store(Arc::default());
            queue.office = match state.leader == Some(self.broker()) {
                true => Office::Leader { epoch, entered: false },
                false => Office::Follower { epoch },
            };
            match queue.office {
                // They have not been written, and may be in the new term.
                Office::Leader { .. } => Vec::new(),
                Office::Follower { .. } => std::mem::take(&mut queue.pending),
            }
        };
        (true, refused)
    }

    /// Begins to lead, with the writer's role held.
    pub(super) fn enter(&self, epoch: LeaderEpoch) {
        if !is_planted(Bug::EpochNotBegun) {
            self.log.begin_epoch(epoch);
        }
        {
            let mut standing = self.standing.lock();
            let is_it = standing.state().leader_epoch == epoch;
            if let Standing::Following(state) = &*standing
                && is_it
            {
                let (end, now) = (self.log.end(), self.runtime.now());
                *standing = Standing::Leading(InSync::new(self.broker(), state.clone(), end, now));
            }
            // Under the lock: who ends the term takes this back afterwards.
            if is_it {
                self.waiting.lock().epoch = Some(epoch);
            }
        }
        {
            let mut queue = self.queue.lock();
            if let Office::Leader { epoch: current, entered } = &mut queue.office
                && *current == epoch
            {
                *entered = true;
            }
        }
        self.renew_followers();
    }

    /// Finds the ways to the followers anew, if the replicas have changed.
    fn renew_followers(&self) {
        let brokers = self.with_in_sync(|in_sync| in_sync.followers().collect::<Vec<_>>());
        let brokers = brokers.unwrap_or_default();
        if brokers.len() == self.followers.load().len()
            && self.followers.load().iter().zip(&brokers).all(|(f, broker)| f.broker() == *broker)
        {
            return;
        }
        let way = |broker: BrokerId| self.peers.follower(self, broker);
        self.followers.store(Arc::new(brokers.into_iter().map(way).collect()));
        self.wake_followers();
    }

    /// Has the followers look whether there is something for them.
    pub(crate) fn wake_followers(&self) {
        self.followers.load().iter().for_each(|follower| follower.wake());
    }

    /// Has the follower on that broker look whether there is something for it.
    pub(crate) fn wake_follower(&self, broker: BrokerId) {
        self.followers.load().iter().filter(|f| f.broker() == broker).for_each(|f| f.wake());
    }

    /// The followers where a consumer can go on at `offset`; none while this does not lead.
    pub(crate) fn followers_with(&self, offset: Offset) -> Vec<ReplicaView> {
        self.with_in_sync(|in_sync| in_sync.with_offset(offset)).unwrap_or_default()
    }

    /// Too few are in sync by now for those who wait for them: they are told, and may try again.
    fn give_up_if_too_few(&self) {
        let too_few = self.with_in_sync(|in_sync| in_sync.too_few()).flatten();
        let Some((in_sync, needed)) = too_few else { return };
        let given_up = self.waiting.lock().take_replicated();
        let give_up = |written: Written| {
            let error = ProduceError::NotEnoughReplicasAfterAppend { in_sync, needed };
            let (completion, refusal) = written.given_back();
            (completion, refusal.map_err(|refusal| Refusal { error, ..refusal }))
        };
        self.answer(given_up.into_iter().map(give_up).collect());
    }

    /// The in-sync set that the controller is to be asked for, with the incarnations of its members, if it is to be
    /// another than `state` says.
    pub(crate) fn propose_isr(&self) -> Option<(PartitionState, Vec<(BrokerId, u64)>)> {
        let (end, now) = (self.log.end(), self.runtime.now());
        self.with_in_sync(|in_sync| {
            // It rises under this lock alone.
            let isr = in_sync.propose(self.high_watermark(), end, now)?;
            Some((in_sync.state.clone(), isr))
        })
        .flatten()
    }

    /// The controller did not do what it was asked for.
    pub(crate) fn proposal_failed(&self) {
        self.with_in_sync(InSync::proposal_failed);
    }

    /// A broker has ended; it will come back as a later incarnation, if at all.
    pub(crate) fn forget_follower(&self, broker: BrokerId, next_incarnation: u64) {
        self.with_in_sync(|in_sync| in_sync.forget(broker, next_incarnation));
    }

    /// Has somebody look at followers that are behind, in time.
    pub(super) fn watch_lag(&self) {
        if self.followers.load().is_empty() || self.lag_is_watched.load(Ordering::SeqCst) {
            return;
        }
        let (end, now) = (self.log.end(), self.runtime.now());
        if let Some(at) = self.with_in_sync(|in_sync| in_sync.next_look(end, now)).flatten()
            && !self.lag_is_watched.swap(true, Ordering::SeqCst)
            && let Some(me) = self.me.upgrade()
            && !self.peers.watch_lag(&me, at)
        {
            self.lag_is_watched.store(false, Ordering::SeqCst);
        }
    }

    /// Looks whether followers have been behind for too long. Returns when to look again.
    pub(crate) fn look_at_lag(&self, now: Moment) -> Option<Moment> {
        self.propose_if_outdated();
        self.wait_no_longer();
        // Before the last look: who writes from now on has it watched again.
        self.lag_is_watched.store(false, Ordering::SeqCst);
        let end = self.log.end();
        let next = self.with_in_sync(|in_sync| in_sync.next_look(end, now)).flatten()?;
        if self.lag_is_watched.swap(true, Ordering::SeqCst) {
            return None;
        }
        // One whose removal is under way, or was refused, is not looked at without a pause.
        next.max(now.after(LOOK_AGAIN)?).into()
    }

    /// Acknowledges what nobody has to be waited for any more: those that had nearly caught up may have been behind for
    /// too long by now.
    pub(crate) fn wait_no_longer(&self) {
        self.advance();
        self.acknowledge();
    }

    pub(super) fn propose_if_outdated(&self) {
        if self.isr_is_outdated()
            && let Some(me) = self.me.upgrade()
            && !self.isr_is_asked.swap(true, Ordering::SeqCst)
            && !self.peers.isr_is_outdated(&me)
        {
            self.isr_is_asked.store(false, Ordering::SeqCst);
        }
    }

    /// Whoever asked for another in-sync set has nothing more to ask for. Returns whether that is no longer so.
    pub(crate) fn isr_was_asked_for(&self) -> bool {
        self.isr_is_asked.store(false, Ordering::SeqCst);
        // What came up meanwhile was left to him.
        self.isr_is_outdated() && !self.isr_is_asked.swap(true, Ordering::SeqCst)
    }

    fn isr_is_outdated(&self) -> bool {
        let (end, now) = (self.log.end(), self.runtime.now());
        let outdated =
            self.with_in_sync(|in_sync| in_sync.wants_change(self.high_watermark(), end, now));
        outdated == Some(true)
    }

    /// What a failure of the disk is put down to: if another replica can take over, or has, the producer is to go there.
    pub(super) fn blame_disk(&self, error: ProduceError) -> ProduceError {
        if !error.is_of_disk() {
            return error;
        }
        let can_move = self.with_in_sync(|in_sync| in_sync.state.isr.len() > 1);
        match can_move {
            Some(true) => {}
            Some(false) => return error,
            // Somebody else has said so.
            None => return error.elsewhere(),
        }
        log::warn!("{} on broker {}: {error}", self.partition(), self.broker());
        self.fitness.set(false);
        self.peers.failed(self);
        error.elsewhere()
    }
}
