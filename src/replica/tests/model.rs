//! Three replicas that are led by one after another, crash, and hear late of each other, against what a log is to be.
//!
//! Method: a seed draws who does the next step. A message may be taken much later than it was sent, or never, or twice.
//! After each step: what was acknowledged is on the disk of everybody in sync, and what could be read once is still
//! there. In the end nothing is lost or late any more, and all replicas become the same.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::group::{Group, MAX_LAG, id, index, records};
use super::*;
use crate::replica::{FetchRequest, Followed, FollowerEnd, Served};

type Proposal = (usize, PartitionState, Vec<(BrokerId, u64)>);

struct Model {
    group: Group,
    random: Rng,
    /// Under way: what followers were given, and what they say of themselves.
    served: Vec<(usize, FetchRequest, Served)>,
    said: Vec<(usize, FollowerEnd)>,
    /// In-sync sets that leaders have asked for: the leader, what it knew, whom it wants.
    asked: Vec<Proposal>,
    sent: Vec<(String, Arc<Asker>)>,
    /// What was acknowledged, or could be read from a leader.
    committed: BTreeMap<i64, (i32, String)>,
    acknowledged: usize,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let group = Group::new(random.usize(1..=2));
        Self {
            group,
            random,
            served: Vec::new(),
            said: Vec::new(),
            asked: Vec::new(),
            sent: Vec::new(),
            committed: BTreeMap::new(),
            acknowledged: 0,
        }
    }

    fn step(&mut self) {
        let at = self.random.usize(0..3);
        match self.random.u8(0..100) {
            0..20 => self.send(),
            20..40 => self.ask(at),
            40..55 => self.take(),
            55..68 => self.group.replica_if_alive(at).into_iter().for_each(Replica::sync),
            68..75 => self.say(at),
            75..83 => self.hear(),
            83..88 => self.group.tell(at),
            88..91 => self.propose(at),
            91..94 => self.record(),
            94..96 => self.elect(),
            96..98 => self.crash_or_restart(at),
            _ => self.group.clock.advance(MAX_LAG / 3),
        }
    }

    fn send(&mut self) {
        if self.group.state.leader.is_some() {
            let value = format!("value {}", self.sent.len());
            let asker = self.group.send(&value, Acks::All);
            self.sent.push((value, asker));
        }
    }

    fn ask(&mut self, at: usize) {
        let max_bytes = if self.random.bool() { 1 } else { 1 << 20 };
        if let Some((request, served)) = self.group.ask(at, max_bytes) {
            self.served.push((at, request, served));
        }
    }

    fn take(&mut self) {
        if self.served.is_empty() {
            return;
        }
        let (at, request, served) = self.served.swap_remove(self.random.usize(..self.served.len()));
        let is_of_life = request.said.incarnation == self.group.members[at].incarnation;
        if !is_of_life || !self.group.members[at].is_alive {
            return;
        }
        if let Some(Followed::Copied(said)) = self.group.take(at, &request, served) {
            self.said.push((at, said));
        }
    }

    fn say(&mut self, at: usize) {
        self.said.extend(self.group.said(at).map(|said| (at, said)));
    }

    fn hear(&mut self) {
        if self.said.is_empty() {
            return;
        }
        let picked = self.random.usize(..self.said.len());
        let (at, said) = self.said[picked];
        if self.random.bool() {
            self.said.swap_remove(picked);
        }
        if let Some(leader) = self.group.leader_of(at) {
            let _is_late = leader.heard(&said);
        }
    }

    fn propose(&mut self, at: usize) {
        let asked = self.group.replica_if_alive(at).and_then(Replica::propose_isr);
        self.asked.extend(asked.map(|(state, isr)| (at, state, isr)));
    }

    /// The controller decides upon what a leader has asked for.
    fn record(&mut self) {
        if self.asked.is_empty() {
            return;
        }
        let (at, known, isr) = self.asked.swap_remove(self.random.usize(..self.asked.len()));
        let group = &mut self.group;
        let is_eligible = |(broker, incarnation): &(BrokerId, u64)| {
            let member = &group.members[index(*broker)];
            member.is_alive && (*incarnation == 0 || *incarnation == member.incarnation)
        };
        if known.partition_epoch == group.state.partition_epoch && isr.iter().all(is_eligible) {
            group.set_isr(&isr.iter().map(|(broker, _)| index(*broker)).collect::<Vec<_>>());
        } else if let Some(leader) = group.replica_if_alive(at) {
            leader.proposal_failed();
        }
    }

    fn elect(&mut self) {
        let able = self.group.able();
        if !able.is_empty() {
            let leader = able[self.random.usize(..able.len())];
            self.group.elect(Some(leader));
        }
    }

    fn crash_or_restart(&mut self, at: usize) {
        let group = &mut self.group;
        if group.members[at].is_alive {
            group.crash(at);
            let others = group.state.isr.iter().copied().filter(|broker| *broker != id(at));
            let others = others.map(index).collect::<Vec<_>>();
            if !others.is_empty() {
                group.set_isr(&others);
            }
            if group.state.leader == Some(id(at)) {
                let next = group.able().first().copied();
                group.elect(next);
            }
        } else {
            if group.state.leader.is_none() && group.state.isr.contains(&id(at)) {
                group.elect(Some(id(at)));
            }
            group.restart(at);
        }
    }

    fn check(&mut self) {
        for at in 0..3 {
            let Some(replica) = self.group.replica_if_alive(at) else { continue };
            let (high, end) = (replica.high_watermark(), replica.log().end());
            assert!(high <= end, "broker {at}: high watermark {high}, end {end}");
            // A follower's are those of a leader, as it has heard.
            for (offset, record) in (0..).zip(records(replica, high)) {
                let known = self.committed.entry(offset).or_insert_with(|| record.clone());
                assert_eq!(*known, record, "broker {at}, offset {offset}");
            }
        }
        for (value, asker) in &self.sent {
            if let Some(Ok(appended)) = asker.answer() {
                let known = self.committed.get(&appended.base.value());
                assert_eq!(known.map(|(_, value)| value), Some(value), "it is acknowledged");
            }
        }
        for broker in &self.group.state.isr {
            let replica = self.group.replica(index(*broker));
            if !self.group.members[index(*broker)].is_alive {
                continue;
            }
            let durable = records(replica, replica.log().flushed());
            for (offset, record) in &self.committed {
                let found = durable.get(usize::try_from(*offset).unwrap());
                assert_eq!(found, Some(record), "broker {broker} is in sync, offset {offset}");
            }
        }
    }

    /// Nothing is late any more.
    fn recover(&mut self) {
        self.served.clear();
        self.said.clear();
        for at in (0..3).filter(|at| !self.group.members[*at].is_alive).collect::<Vec<_>>() {
            self.crash_or_restart(at);
        }
        while let Some((at, ..)) = self.asked.pop() {
            self.group.replica_if_alive(at).into_iter().for_each(Replica::proposal_failed);
        }
        self.group.tell_all();
        for _ in 0..4 {
            self.group.settle();
            (0..3).for_each(|at| self.propose(at));
            self.record();
            self.group.tell_all();
            self.check();
        }
        assert_eq!(self.group.state.isr.len(), 3, "{:?}", self.group.state);
        let leader = self.group.state.leader.unwrap();
        let log = self.group.log(index(leader));
        for at in 0..3 {
            assert_eq!(self.group.log(at), log, "broker {at}, and its leader {leader}");
            let high = self.group.replica(at).high_watermark();
            assert_eq!(usize::try_from(high.value()).unwrap(), log.len());
        }
        for (value, asker) in &self.sent {
            self.acknowledged += usize::from(asker.answer().expect("an answer").is_ok());
            let copies = log.iter().filter(|(_, logged)| logged == value).count();
            assert!(copies <= 1, "{value} is there {copies} times");
        }
    }
}

/// C1, C2, C4, C5, C6, C8, C14: whatever comes late, nothing that was acknowledged or read is lost.
#[test]
fn what_is_committed_stays_whoever_leads() {
    let mut acknowledged = 0;
    for seed in 0..500 {
        let mut model = Model::new(seed);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..400 {
                model.step();
                model.check();
            }
            model.recover();
        }));
        if let Err(panic) = run {
            println!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
        acknowledged += model.acknowledged;
    }
    assert!(acknowledged > 2_000, "{acknowledged}");
}
