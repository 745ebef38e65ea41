//! The high watermark of a leader with followers: never above what all in sync have, never left behind, never back.

use loom::sync::Arc;
use loom::thread;
use std::time::Duration;

use super::PartitionState;
use super::fitness::Fitness;
use super::in_sync::{FollowerEnd, InSync};
use crate::base::{BrokerId, LeaderEpoch, Offset};
use crate::env::sync::Mutex;
use crate::env::{Moment, Published};

const NOW: Moment = Moment::since_start(Duration::ZERO);
const LATER: Moment = Moment::since_start(Duration::from_secs(60));

fn broker(id: i32) -> BrokerId {
    BrokerId::new(id).unwrap()
}

fn state(isr: &[i32]) -> PartitionState {
    PartitionState {
        replicas: [0, 1, 2].map(broker).to_vec(),
        isr: isr.iter().map(|id| broker(*id)).collect(),
        leader: Some(broker(0)),
        leader_epoch: LeaderEpoch::ZERO,
        partition_epoch: isr.len() as i32,
        min_isr: 1,
        config_epoch: 0,
        max_lag: Duration::from_secs(1),
    }
}

/// Broker 0, which leads; what is not about followers is left out of what a replica does.
struct Leader {
    end: Published,
    high_watermark: Published,
    in_sync: Mutex<InSync>,
}

impl Leader {
    /// Its log was empty when its term began, and has `end` records.
    fn new(isr: &[i32], end: u32) -> Arc<Self> {
        Arc::new(Self {
            end: Published::new(Offset::from(end)),
            high_watermark: Published::new(Offset::ZERO),
            in_sync: Mutex::new(InSync::new(broker(0), state(isr), Offset::ZERO, NOW)),
        })
    }

    fn advance(&self, now: Moment) {
        let in_sync = self.in_sync.lock();
        let end = self.end.get();
        if let Some(high) = in_sync.high_watermark(end, end, now) {
            self.high_watermark.raise(high);
        }
    }

    fn write(&self) {
        self.end.set(Offset::from(1));
        self.advance(NOW);
    }

    fn hear(&self, id: i32, end: u32, now: Moment) {
        let end = Offset::from(end);
        let said = FollowerEnd {
            broker: broker(id),
            incarnation: 1,
            epoch: LeaderEpoch::ZERO,
            position: end,
            end,
            fitness: Fitness::default(),
        };
        assert!(self.in_sync.lock().heard(&said, self.end.get(), now));
        self.advance(now);
    }

    fn change(&self, isr: &[i32], now: Moment) {
        self.in_sync.lock().update(state(isr), now);
        self.advance(now);
    }

    /// The in-sync set that is asked for, `high` being looked at when it is.
    fn propose(&self, high: impl FnOnce(&Published) -> Offset, now: Moment) -> bool {
        let mut in_sync = self.in_sync.lock();
        let high = high(&self.high_watermark);
        let proposal = in_sync.propose(high, self.end.get(), now);
        proposal.is_some_and(|isr| isr.iter().any(|(id, _)| *id == broker(2)))
    }
}

/// C5, D2: the last of those who move it finds it where it is to be, whoever that is. Who sees it sees that all have it.
#[test]
fn the_high_watermark_is_what_all_in_sync_have_and_not_left_behind() {
    loom::model(|| {
        let leader = Leader::new(&[0, 1, 2], 0);
        leader.write();
        let followers = [1, 2].map(|id| {
            let leader = Arc::clone(&leader);
            thread::spawn(move || leader.hear(id, 1, NOW))
        });
        let first = leader.high_watermark.get();
        let second = leader.high_watermark.get();
        assert!(first <= second);
        if first > Offset::ZERO {
            let in_sync = leader.in_sync.lock();
            let end = |id| in_sync.follower(broker(id)).unwrap().end;
            assert!([1, 2].iter().all(|id| end(*id) == Some(Offset::from(1))));
        }
        followers.into_iter().for_each(|follower| follower.join().unwrap());
        assert_eq!(leader.high_watermark.get(), Offset::from(1));
    });
}

/// A follower that is waited for leaves while the other brings what is missing, and the leader writes.
#[test]
fn the_high_watermark_is_not_left_behind_by_who_leaves() {
    loom::model(|| {
        let leader = Leader::new(&[0, 1, 2], 0);
        let (writes, leaves) = (Arc::clone(&leader), Arc::clone(&leader));
        let writes = thread::spawn(move || writes.write());
        let leaves = thread::spawn(move || leaves.change(&[0, 1], LATER));
        leader.hear(1, 1, LATER);
        writes.join().unwrap();
        leaves.join().unwrap();
        assert_eq!(leader.high_watermark.get(), Offset::from(1));
    });
}

/// C8: a follower that has nothing is to join, while one that is in sync brings what is missing. It joins only if the high
/// watermark then waits for it.
fn joins_and_brings(high: fn(&Leader) -> bool) {
    loom::model(move || {
        let leader = Leader::new(&[0, 1], 1);
        // Long ago, so that nobody waits for it before it is asked for.
        leader.hear(2, 0, NOW);
        let brings = Arc::clone(&leader);
        let brings = thread::spawn(move || brings.hear(1, 1, LATER));
        let joins = high(&leader);
        brings.join().unwrap();
        let is_committed = leader.high_watermark.get() > Offset::ZERO;
        assert!(joins != is_committed, "joins: {joins}, committed: {is_committed}");
    });
}

#[test]
fn who_joins_has_all_that_is_committed() {
    joins_and_brings(|leader| leader.propose(Published::get, LATER));
}

/// The model would notice.
#[test]
#[should_panic(expected = "joins: true, committed: true")]
fn who_joins_by_an_earlier_look_may_lack_what_is_committed() {
    joins_and_brings(|leader| {
        let earlier = leader.high_watermark.get();
        leader.propose(|_| earlier, LATER)
    });
}
