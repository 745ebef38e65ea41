//! How far the followers of a leader have come, and what that makes of the high watermark and the in-sync replicas.
//!
//! Pure: offsets and time come with each call. The rules are Kafka's (KIP-497, KIP-966), with one addition: a follower
//! counts as far as its leader's flush policy asks, under `on-ack` as far as it has synced.
//!
//! # Invariants
//! - What a follower of an earlier life, or of another epoch, has said is not counted (C14).
//! - The high watermark is never above what every member of the in-sync set has; one that is about to join counts.

use std::collections::BTreeMap;

use crate::base::{BrokerId, Bug, LeaderEpoch, Offset, is_planted};
use crate::env::Moment;
use crate::replica::PartitionState;
use crate::replica::fitness::Fitness;

/// What a leader knows of its followers.
#[derive(Clone, Debug)]
pub(super) struct InSync {
    pub(super) state: PartitionState,
    me: BrokerId,
    /// Where the leader's epoch began: a follower that has less may lack what was committed before (C8).
    epoch_start: Offset,
    followers: BTreeMap<BrokerId, Progress>,
    /// A change of the in-sync set that the controller has been asked for.
    proposed: Option<Vec<BrokerId>>,
}

/// How far a follower has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// Which life of its broker said so.
    incarnation: u64,
    /// Where it goes on copying.
    pub(super) position: Offset,
    /// What it has, as durably as the policy asks; `None` before it was heard of.
    pub(super) end: Option<Offset>,
    /// Whether its disk takes what is written.
    fitness: Fitness,
    /// When it last had all that the leader had.
    pub(super) caught_up: Option<Moment>,
    /// Where the leader ended when the follower was last heard of, and when that was.
    leader_end: Offset,
    heard: Moment,
    /// Where its log began when it last asked for more.
    start: Offset,
    /// Consumers read it: it is to hear at once of a high watermark that has risen.
    is_read: bool,
}

/// A follower, as a consumer that could read it sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ReplicaView {
    pub(crate) broker: BrokerId,
    pub(crate) log_end: Offset,
    /// When it last had all that the leader had.
    pub(crate) caught_up: Option<Moment>,
}

/// What a follower says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FollowerEnd {
    pub(crate) broker: BrokerId,
    /// Counts the lives of its broker.
    pub(crate) incarnation: u64,
    /// The term that it follows in.
    pub(crate) epoch: LeaderEpoch,
    /// Where it goes on copying.
    pub(crate) position: Offset,
    /// What it has, as durably as the policy asks.
    pub(crate) end: Offset,
    /// Whether it could write what it got last: else it may have all that there is, and still be out of sync.
    pub(crate) fitness: Fitness,
}

impl InSync {
    /// Of a leader that took office at `now`, with a log that ends at `end`.
    pub(super) fn new(me: BrokerId, state: PartitionState, end: Offset, now: Moment) -> Self {
        let others = state.replicas.iter().filter(|broker| **broker != me);
        let progress = |broker: &BrokerId| Progress {
            incarnation: 0,
            position: Offset::ZERO,
            end: None,
            fitness: Fitness::default(),
            // Those in sync have time to show it.
            caught_up: state.isr.contains(broker).then_some(now),
            leader_end: Offset::ZERO,
            heard: now,
            start: Offset::ZERO,
            is_read: false,
        };
        let followers = others.map(|broker| (*broker, progress(broker))).collect();
        Self { state, me, epoch_start: end, followers, proposed: None }
    }

    /// The controller has changed the partition, but not its leader.
    pub(super) fn update(&mut self, state: PartitionState, now: Moment) {
        let before = std::mem::take(&mut self.followers);
        let fresh = Self::new(self.me, state, self.epoch_start, now);
        self.followers = fresh.followers;
        for (broker, mut progress) in before {
            if self.state.isr.contains(&broker) && !fresh.state.isr.contains(&broker) {
                // Whatever was the reason: nobody waits for it before it has all again.
                progress.caught_up = None;
            }
            if let Some(known) = self.followers.get_mut(&broker) {
                *known = progress;
            }
        }
        // What was asked for is still on its way if nothing has been changed since.
        if fresh.state.partition_epoch > self.state.partition_epoch {
            self.proposed = None;
        }
        self.state = fresh.state;
    }

    pub(super) fn follower(&self, broker: BrokerId) -> Option<&Progress> {
        self.followers.get(&broker)
    }

    pub(super) fn has_followers(&self) -> bool {
        !self.followers.is_empty()
    }

    /// The in-sync set, and who is about to join it: those that a commit has to wait for.
    fn counted(&self) -> impl Iterator<Item = BrokerId> + '_ {
        let is_joining =
            |b: &&BrokerId| !self.state.isr.contains(b) && !is_planted(Bug::JoinersNotCounted);
        let joining = self.proposed.iter().flatten().filter(is_joining);
        let is_leaving = |b: &&BrokerId| {
            is_planted(Bug::LeaversNotCounted)
                && self.proposed.as_ref().is_some_and(|proposed| !proposed.contains(b))
        };
        self.state.isr.iter().filter(move |b| !is_leaving(b)).chain(joining).copied()
    }

    fn is_enough(&self) -> bool {
        self.counted().count() >= self.state.needed()
    }

    /// Whether a high watermark covers all that may have been below that of the leader before (KIP-207). One replica is no
    /// exception: it may have followed until now, and have heard less than it has.
    pub(super) fn covers_earlier(&self, high: Offset) -> bool {
        high >= self.epoch_start
    }

    /// Behind all that may have been below the high watermark of this leader, which is at `high`, or of the one before.
    pub(super) fn behind_earlier(&self, high: Offset) -> Offset {
        if self.covers_earlier(high) { high } else { self.epoch_start }
    }

    /// How many are in sync and how many are needed for `acks=all`, if they are too few.
    pub(super) fn too_few(&self) -> Option<(usize, usize)> {
        (!self.is_enough()).then(|| (self.state.isr.len(), self.state.needed()))
    }

    pub(super) fn followers(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.followers.keys().copied()
    }

    /// A follower has come to `said`, while the leader ended at `end`. `false` if it is not to be believed.
    pub(super) fn heard(&mut self, said: &FollowerEnd, end: Offset, now: Moment) -> bool {
        let is_of_term = said.epoch == self.state.leader_epoch || is_planted(Bug::OlderTermsCount);
        let Some(known) = self.followers.get_mut(&said.broker).filter(|_| is_of_term) else {
            return false;
        };
        if said.incarnation < known.incarnation && !is_planted(Bug::OlderLivesCount) {
            return false;
        }
        if said.end >= end {
            known.caught_up = known.caught_up.max(Some(now));
        } else if known.end.is_some() && said.end >= known.leader_end {
            // It has all that the leader had when it was last heard of.
            known.caught_up = known.caught_up.max(Some(known.heard));
        }
        // In one life and term it only grows, in whatever order this is heard.
        let is_same_life = said.incarnation == known.incarnation;
        if !is_same_life {
            (known.position, known.end) = (Offset::ZERO, None);
            known.fitness = Fitness::default();
        }
        known.position = known.position.max(said.position);
        known.end = known.end.max(Some(said.end));
        known.incarnation = said.incarnation;
        known.fitness = known.fitness.max(said.fitness);
        known.leader_end = known.leader_end.max(end);
        known.heard = now;
        true
    }

    /// A follower that was heard has asked for more.
    pub(super) fn asked(&mut self, broker: BrokerId, start: Offset, is_read: bool) {
        if let Some(known) = self.followers.get_mut(&broker) {
            (known.start, known.is_read) = (start, is_read);
        }
    }

    /// Followers that consumers read.
    pub(super) fn read(&self) -> Vec<BrokerId> {
        let read = self.followers.iter().filter(|(_, progress)| progress.is_read);
        read.map(|(broker, _)| *broker).collect()
    }

    /// The followers in sync where a consumer can go on at `offset` (KIP-392): from others it could fall behind for ever.
    pub(super) fn with_offset(&self, offset: Offset) -> Vec<ReplicaView> {
        let has_it = |progress: &Progress| {
            let is_known = progress.end.is_some() && progress.fitness.is_fit();
            is_known && progress.start <= offset && offset <= progress.position
        };
        let in_sync = self.followers.iter().filter(|(broker, _)| self.state.isr.contains(broker));
        let views = in_sync.filter(|(_, progress)| has_it(progress)).map(|(broker, progress)| {
            let Progress { position: log_end, caught_up, .. } = *progress;
            ReplicaView { broker: *broker, log_end, caught_up }
        });
        views.collect()
    }

    /// The broker has ended, and will begin again as a later incarnation: what is still said of this one is too late.
    pub(super) fn forget(&mut self, broker: BrokerId, next_incarnation: u64) {
        if let Some(known) = self.followers.get_mut(&broker) {
            (known.incarnation, known.fitness) = (next_incarnation, Fitness::default());
            (known.end, known.caught_up) = (None, None);
            known.position = Offset::ZERO;
            known.is_read = false;
        }
    }

    /// Up to where all have it who have to, if the leader itself has it up to `own` and ends at `end`. `None` while that
    /// is not known, or there are too few of them.
    pub(super) fn high_watermark(&self, own: Offset, end: Offset, now: Moment) -> Option<Offset> {
        if !self.is_enough() && !is_planted(Bug::MinIsrAtFirst) {
            return None;
        }
        let mut high = own;
        for broker in self.counted().filter(|broker| *broker != self.me) {
            high = high.min(self.followers.get(&broker)?.end?);
        }
        // Those that have nearly caught up are waited for: else they never would, while the leader is written.
        for (broker, progress) in &self.followers {
            let is_near = self.is_caught_up(progress, end, now) && self.may_join(progress);
            if is_near && !self.counted().any(|counted| counted == *broker) {
                high = high.min(progress.end?);
            }
        }
        Some(high)
    }

    fn is_caught_up(&self, progress: &Progress, end: Offset, now: Moment) -> bool {
        let in_time = |since| now.since(since) <= self.state.max_lag;
        progress.end == Some(end) || progress.caught_up.is_some_and(in_time)
    }

    fn may_join(&self, progress: &Progress) -> bool {
        let start = if is_planted(Bug::JoinsBelowEpoch) { Offset::ZERO } else { self.epoch_start };
        progress.fitness.is_fit() && progress.end.is_some_and(|end| end >= start)
    }

    /// The in-sync set that the controller is to be asked for, if it is to be another one. It counts as asked for from
    /// now on.
    pub(super) fn propose(
        &mut self,
        high: Offset,
        end: Offset,
        now: Moment,
    ) -> Option<Vec<(BrokerId, u64)>> {
        if self.proposed.is_some() {
            return None;
        }
        let isr = self.wanted(high, end, now);
        if isr == self.state.isr {
            return None;
        }
        let incarnation = |broker| self.followers.get(broker).map_or(0, |p| p.incarnation);
        let proposal = isr.iter().map(|broker| (*broker, incarnation(broker))).collect();
        self.proposed = Some(isr);
        Some(proposal)
    }

    /// Whether [`propose`](Self::propose) would return something.
    pub(super) fn wants_change(&self, high: Offset, end: Offset, now: Moment) -> bool {
        self.proposed.is_none() && self.wanted(high, end, now) != self.state.isr
    }

    fn wanted(&self, high: Offset, end: Offset, now: Moment) -> Vec<BrokerId> {
        let high = if is_planted(Bug::JoinsBelowWatermark) { Offset::ZERO } else { high };
        let is_wanted = |broker: &&BrokerId| {
            let Some(progress) = self.followers.get(broker) else { return **broker == self.me };
            match self.state.isr.contains(broker) {
                true => self.is_caught_up(progress, end, now),
                false => self.may_join(progress) && progress.end.is_some_and(|end| end >= high),
            }
        };
        self.state.replicas.iter().filter(is_wanted).copied().collect()
    }

    /// The controller did not do as it was asked.
    pub(super) fn proposal_failed(&mut self) {
        self.proposed = None;
    }

    /// When the first that is waited for and behind will have been so for too long: a member of the in-sync set, or one
    /// that has nearly caught up.
    pub(super) fn next_look(&self, end: Offset, now: Moment) -> Option<Moment> {
        let behind = self.followers.iter().filter(|(broker, progress)| {
            let is_near = || self.is_caught_up(progress, end, now) && self.may_join(progress);
            progress.end != Some(end) && (self.state.isr.contains(broker) || is_near())
        });
        let too_long = |progress: &Progress| progress.caught_up?.after(self.state.max_lag);
        behind.filter_map(|(_, progress)| too_long(progress)).min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ME: BrokerId = BrokerId::ZERO;
    const LAG: Duration = Duration::from_secs(10);

    fn id(id: i32) -> BrokerId {
        BrokerId::new(id).unwrap()
    }

    fn at(seconds: u64) -> Moment {
        Moment::since_start(Duration::from_secs(seconds))
    }

    fn offset(offset: u32) -> Offset {
        Offset::from(offset)
    }

    /// Of brokers 0, 1 and 2, led by the first in epoch 5.
    fn state(isr: &[i32], min_isr: usize) -> PartitionState {
        PartitionState {
            replicas: [0, 1, 2].map(id).to_vec(),
            isr: isr.iter().copied().map(id).collect(),
            leader: Some(ME),
            leader_epoch: LeaderEpoch::new(5).unwrap(),
            partition_epoch: 9,
            min_isr,
            config_epoch: 0,
            max_lag: LAG,
        }
    }

    /// A leader that took office at the beginning, at offset 10.
    fn leader(isr: &[i32]) -> InSync {
        InSync::new(ME, state(isr, 1), offset(10), at(0))
    }

    fn said(broker: i32, end: u32) -> FollowerEnd {
        FollowerEnd {
            broker: id(broker),
            incarnation: 1,
            epoch: LeaderEpoch::new(5).unwrap(),
            position: offset(end),
            end: offset(end),
            fitness: Fitness::default(),
        }
    }

    fn high(in_sync: &InSync, end: u32, now: u64) -> Option<Offset> {
        in_sync.high_watermark(offset(end), offset(end), at(now))
    }

    fn proposed(in_sync: &mut InSync, high: u32, end: u32, now: u64) -> Option<Vec<i32>> {
        let isr = in_sync.propose(offset(high), offset(end), at(now))?;
        Some(isr.into_iter().map(|(broker, _)| broker.value()).collect())
    }

    #[test]
    fn the_high_watermark_is_what_every_replica_in_sync_has() {
        let mut leader = leader(&[0, 1, 2]);
        assert_eq!(high(&leader, 20, 1), None, "nothing is known of the others yet");
        assert!(leader.heard(&said(1, 15), offset(20), at(1)));
        assert_eq!(high(&leader, 20, 1), None);
        assert!(leader.heard(&said(2, 18), offset(20), at(1)));
        assert_eq!(high(&leader, 20, 1), Some(offset(15)));
        assert_eq!(leader.high_watermark(offset(12), offset(20), at(1)), Some(offset(12)));
    }

    /// KIP-392: where a consumer may go on.
    /// It has followed until now, and the others are no replicas any more.
    #[test]
    fn a_leader_without_followers_knows_where_it_ends_when_its_watermark_is_there() {
        let alone = PartitionState { replicas: vec![id(1)], ..state(&[1], 1) };
        let leader = InSync::new(id(1), alone, offset(10), at(0));
        assert!(!leader.covers_earlier(offset(9)));
        assert_eq!(leader.behind_earlier(offset(9)), offset(10));
        assert!(leader.covers_earlier(offset(10)));
    }

    #[test]
    fn a_follower_in_sync_that_has_the_offset_can_be_read() {
        let mut leader = leader(&[0, 1]);
        let with = |leader: &InSync, offset_: u32| {
            let views = leader.with_offset(offset(offset_)).into_iter();
            views.map(|view| (view.broker.value(), view.log_end)).collect::<Vec<_>>()
        };
        assert_eq!(with(&leader, 10), [], "nothing is known of them yet");
        for broker in [1, 2] {
            assert!(leader.heard(&said(broker, 20), offset(20), at(1)));
            leader.asked(id(broker), offset(5), false);
        }
        let has_it = [(1, offset(20))];
        assert_eq!(with(&leader, 5), has_it, "broker 2 is not in sync");
        assert_eq!(with(&leader, 20), has_it, "also where it ends");
        assert_eq!((with(&leader, 4), with(&leader, 21)), (vec![], vec![]));
        assert!(leader.heard(
            &FollowerEnd { fitness: Fitness::FIRST[1], ..said(1, 20) },
            offset(20),
            at(2)
        ));
        assert_eq!(with(&leader, 5), [], "its disk has failed");
    }

    #[test]
    fn followers_that_are_read_are_known_until_their_life_ends() {
        let mut leader = leader(&[0, 1, 2]);
        assert!(leader.heard(&said(1, 20), offset(20), at(1)));
        assert_eq!(leader.read(), []);
        leader.asked(id(1), offset(0), true);
        assert_eq!(leader.read(), [id(1)]);
        leader.forget(id(1), 2);
        assert_eq!(leader.read(), []);
    }

    #[test]
    fn with_too_few_in_sync_it_stays_where_it_is() {
        let mut leader = InSync::new(ME, state(&[0], 2), offset(10), at(0));
        assert_eq!(high(&leader, 20, 1), None);
        assert_eq!(leader.too_few(), Some((1, 2)));
        leader.update(PartitionState { partition_epoch: 10, ..state(&[0, 1], 2) }, at(1));
        assert_eq!(leader.too_few(), None);
        // As many as there are is enough.
        let alone = PartitionState { replicas: vec![ME], ..state(&[0], 2) };
        assert_eq!(InSync::new(ME, alone, offset(10), at(0)).too_few(), None);
    }

    /// C14: what is said in another term or an earlier life counts for nothing.
    #[test]
    fn followers_of_another_term_or_life_are_not_heard() {
        let mut leader = leader(&[0, 1]);
        let earlier = FollowerEnd { epoch: LeaderEpoch::new(4).unwrap(), ..said(1, 20) };
        assert!(!leader.heard(&earlier, offset(20), at(1)));
        assert!(!leader.heard(&said(7, 20), offset(20), at(1)), "it has no replica");
        assert!(leader.heard(&said(1, 12), offset(20), at(1)));
        leader.forget(id(1), 2);
        assert!(!leader.heard(&said(1, 20), offset(20), at(2)), "that life is over");
        assert_eq!(high(&leader, 20, 2), None);
        assert!(leader.heard(&FollowerEnd { incarnation: 2, ..said(1, 11) }, offset(20), at(3)));
        assert_eq!(high(&leader, 20, 3), Some(offset(11)), "the new one has less");
    }

    #[test]
    fn what_is_heard_in_another_order_takes_nothing_back() {
        let mut leader = leader(&[0, 1]);
        assert!(leader.heard(&said(1, 20), offset(20), at(1)));
        assert!(leader.heard(&said(1, 15), offset(20), at(1)));
        assert_eq!(high(&leader, 20, 1), Some(offset(20)));
    }

    #[test]
    fn a_follower_is_out_of_sync_when_it_has_lagged_for_too_long() {
        let mut leader = leader(&[0, 1, 2]);
        for broker in [1, 2] {
            assert!(leader.heard(&said(broker, 20), offset(20), at(1)));
        }
        // From here on broker 2 gets nothing more.
        assert!(leader.heard(&said(1, 30), offset(30), at(8)));
        assert_eq!(proposed(&mut leader, 20, 30, 11), None, "ten seconds are not too long");
        assert_eq!(leader.next_look(offset(30), at(8)), Some(at(11)));
        assert_eq!(proposed(&mut leader, 20, 30, 12), Some(vec![0, 1]));
        // Until it is recorded, it is waited for.
        assert_eq!(high(&leader, 30, 12), Some(offset(20)));
        leader.update(PartitionState { partition_epoch: 10, ..state(&[0, 1], 1) }, at(12));
        assert_eq!(high(&leader, 30, 12), Some(offset(30)));
    }

    #[test]
    fn a_follower_that_has_all_is_in_sync_however_long_ago_it_was_heard_of() {
        let mut leader = leader(&[0, 1]);
        assert!(leader.heard(&said(1, 20), offset(20), at(1)));
        assert_eq!(proposed(&mut leader, 20, 20, 1_000), None);
        assert_eq!(leader.next_look(offset(20), at(1_000)), None);
    }

    #[test]
    fn one_that_is_about_to_join_is_waited_for() {
        let mut leader = leader(&[0, 1]);
        for broker in [1, 2] {
            assert!(leader.heard(&said(broker, 20), offset(20), at(1)));
        }
        assert_eq!(proposed(&mut leader, 20, 20, 1), Some(vec![0, 1, 2]));
        assert_eq!(proposed(&mut leader, 20, 20, 1), None, "one thing is asked for at a time");
        assert!(leader.heard(&said(1, 30), offset(30), at(50)));
        assert_eq!(high(&leader, 30, 50), Some(offset(20)));
        // Told again of what it knows, it has still asked for it.
        leader.update(state(&[0, 1], 1), at(50));
        assert_eq!(high(&leader, 30, 50), Some(offset(20)));
        leader.proposal_failed();
        assert_eq!(high(&leader, 30, 50), Some(offset(30)));
    }

    /// C8: one that has not reached where the leader's epoch began may lack what was committed before.
    #[test]
    fn nobody_joins_before_it_has_reached_the_leaders_epoch() {
        let mut leader = leader(&[0]);
        assert!(leader.heard(&said(1, 9), offset(20), at(1)));
        assert_eq!(proposed(&mut leader, 5, 20, 1), None);
        assert!(leader.heard(&said(1, 10), offset(20), at(1)));
        assert_eq!(proposed(&mut leader, 11, 20, 1), None, "nor below the high watermark");
        assert_eq!(proposed(&mut leader, 10, 20, 1), Some(vec![0, 1]));
    }

    #[test]
    fn one_whose_disk_takes_nothing_does_not_join() {
        let mut leader = leader(&[0]);
        let [fit, unfit, again] = Fitness::FIRST;
        for fitness in [unfit, fit] {
            // That it was fit is heard late.
            assert!(leader.heard(&FollowerEnd { fitness, ..said(1, 20) }, offset(20), at(1)));
            assert_eq!(proposed(&mut leader, 20, 20, 1), None);
        }
        let mut others = leader.clone();
        let fitness = again;
        assert!(leader.heard(&FollowerEnd { fitness, ..said(1, 20) }, offset(20), at(2)));
        assert_eq!(proposed(&mut leader, 20, 20, 2), Some(vec![0, 1]));
        // So it is in a new life.
        others.forget(id(1), 2);
        let reborn = FollowerEnd { incarnation: 2, ..said(1, 20) };
        assert!(others.heard(&reborn, offset(20), at(2)));
        assert_eq!(proposed(&mut others, 20, 20, 2), Some(vec![0, 1]));
    }

    #[test]
    fn one_that_was_put_out_is_not_waited_for_before_it_has_all_again() {
        let mut leader = leader(&[0, 1]);
        assert!(leader.heard(&said(1, 20), offset(25), at(1)));
        leader.update(PartitionState { partition_epoch: 10, ..state(&[0], 1) }, at(1));
        assert!(leader.heard(&said(1, 20), offset(30), at(2)));
        assert_eq!(high(&leader, 30, 2), Some(offset(30)));
    }
}
