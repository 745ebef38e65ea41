//! Whatever happens to a group, a partition has one reader at most; and when nothing happens any more, it has one.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Join { topics: usize, instance: Option<u8>, assignors: usize },
    Leave { who: usize, for_good: bool },
    Resubscribe { who: usize, topics: usize },
    Ask { who: usize },
    Release { who: usize },
    Commit { who: usize },
    CommitEnds { which: usize },
    Pass { seconds: u64 },
    Remove { who: usize },
    Grow { topic: usize },
    Drop { topic: usize },
    Create { topic: usize },
    Move { compacted: bool },
    Rest,
}

const TOPICS: [&str; 3] = ["t0", "t1", "t2"];
const SUBSCRIPTIONS: [&[&str]; 5] = [&["t0"], &["t0", "t1"], &["t0", "t1", "t2"], &["t2"], &[]];

fn any_step() -> impl Strategy<Value = Step> {
    let topics = || 0..SUBSCRIPTIONS.len();
    prop_oneof![
        6 => (topics(), proptest::option::weighted(0.4, 0..3u8), 0..3usize)
            .prop_map(|(topics, instance, assignors)| Step::Join { topics, instance, assignors }),
        2 => (any::<usize>(), any::<bool>())
            .prop_map(|(who, for_good)| Step::Leave { who, for_good }),
        1 => (any::<usize>(), topics())
            .prop_map(|(who, topics)| Step::Resubscribe { who, topics }),
        8 => any::<usize>().prop_map(|who| Step::Ask { who }),
        5 => any::<usize>().prop_map(|who| Step::Release { who }),
        4 => any::<usize>().prop_map(|who| Step::Commit { who }),
        4 => any::<usize>().prop_map(|which| Step::CommitEnds { which }),
        1 => prop_oneof![1..10u64, 40..60u64, 290..310u64].prop_map(|seconds| Step::Pass { seconds }),
        1 => any::<usize>().prop_map(|who| Step::Remove { who }),
        1 => (0..3usize).prop_map(|topic| Step::Grow { topic }),
        1 => (0..3usize).prop_map(|topic| Step::Drop { topic }),
        1 => (0..3usize).prop_map(|topic| Step::Create { topic }),
        1 => any::<bool>().prop_map(|compacted| Step::Move { compacted }),
        1 => Just(Step::Rest),
    ]
}

/// What the members of a run ask for, the first before the others.
#[derive(Clone, Copy, Debug)]
struct Kind {
    protocol: GroupProtocol,
    assignors: [&'static [&'static str]; 3],
    delay: &'static str,
}

fn any_kind() -> impl Strategy<Value = Kind> {
    let of = |protocol, assignors, delay| Just(Kind { protocol, assignors, delay });
    let (consumer, classic) = (GroupProtocol::Consumer, GroupProtocol::Classic);
    prop_oneof![
        of(consumer, [&[], &["uniform"], &["range"]], "0"),
        of(consumer, [&["range"], &["range"], &[]], "3000"),
        of(classic, [&["range"], &["range", "sticky"], &["roundrobin", "range"]], "0"),
        of(classic, [&["sticky"], &["sticky"], &["roundrobin", "sticky"]], "3000"),
        of(
            classic,
            [&["cooperative-sticky"], &["cooperative-sticky"], &["cooperative-sticky"]],
            "0"
        ),
        of(
            classic,
            [
                &["range", "cooperative-sticky"],
                &["cooperative-sticky", "range"],
                &["cooperative-sticky"]
            ],
            "0"
        ),
    ]
}

/// A commit that is on its way, of a member that read these partitions.
struct UnderWay {
    handle: Arc<MemberHandle>,
    read: Assignment,
}

struct Run {
    lab: Lab,
    kind: Kind,
    clients: Vec<Client>,
    under_way: Vec<UnderWay>,
    epoch: i32,
}

fn pick(of: usize, which: usize) -> Option<usize> {
    which.checked_rem(of)
}

impl Run {
    fn new(kind: Kind) -> Self {
        let settings = [("group.initial.rebalance.delay.ms", kind.delay)];
        let lab = Lab::with(&[("t0", 3), ("t1", 2), ("t2", 5)], &settings);
        Self { lab, kind, clients: Vec::new(), under_way: Vec::new(), epoch: 0 }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Join { topics, instance, assignors } => {
                let mut wants = consumer(SUBSCRIPTIONS[topics]).by(self.kind.assignors[assignors]);
                wants.protocol = self.kind.protocol;
                if let Some(instance) = instance {
                    wants = wants.of_instance(&format!("i{instance}"));
                }
                match self.lab.try_join(wants) {
                    Ok(client) => self.clients.push(client),
                    Err(GroupError::UnreleasedInstanceId { .. }) => {}
                    Err(GroupError::NoCommonStrategy { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            Step::Leave { who, for_good } => {
                let Some(who) = pick(self.clients.len(), who) else { return };
                let client = self.clients.swap_remove(who);
                self.lab.leave(&client, for_good);
                // Whoever leaves is dropped, which is to leave again.
                self.lab.leave(&client, false);
            }
            Step::Resubscribe { who, topics } => {
                let Some(who) = pick(self.clients.len(), who) else { return };
                let subscribed = consumer(SUBSCRIPTIONS[topics]).subscribed;
                let client = &mut self.clients[who];
                let told = self.lab.act(|group, world, changes| {
                    group.resubscribe(&client.handle, subscribed, world, changes)
                });
                match told {
                    Ok(told) => client.hear(told),
                    Err(_) => _ = self.clients.swap_remove(who),
                }
            }
            Step::Ask { who } => {
                let Some(who) = pick(self.clients.len(), who) else { return };
                if self.lab.heartbeat(&mut self.clients[who]).is_err() {
                    self.clients.swap_remove(who);
                }
            }
            Step::Release { who } => {
                let Some(who) = pick(self.clients.len(), who) else { return };
                if self.lab.release(&mut self.clients[who]).is_err() {
                    self.clients.swap_remove(who);
                }
            }
            Step::Commit { who } => {
                let Some(who) = pick(self.clients.len(), who) else { return };
                let client = &self.clients[who];
                if self.lab.group.member(&client.handle).is_ok() {
                    self.lab.commit_begins(client);
                    let (handle, read) = (Arc::clone(&client.handle), client.has.clone());
                    self.under_way.push(UnderWay { handle, read });
                }
            }
            Step::CommitEnds { which } => {
                let Some(which) = pick(self.under_way.len(), which) else { return };
                self.commit_ends(which);
            }
            Step::Pass { seconds } => {
                self.lab.pass(Duration::from_secs(seconds));
                self.lab.tick();
            }
            Step::Remove { who } => {
                let Some(who) = pick(self.clients.len(), who) else { return };
                let id = self.clients[who].handle.member().clone();
                self.lab.act(|group, world, changes| group.remove(&id, world, changes));
            }
            Step::Grow { topic } => self.lab.change_topics(|topics| {
                if let Some(topic) = topics.iter_mut().find(|t| t.name == name(TOPICS[topic])) {
                    topic.partitions += 2;
                }
            }),
            Step::Drop { topic } => {
                self.lab.change_topics(|topics| topics.retain(|t| t.name != name(TOPICS[topic])));
            }
            Step::Create { topic } => {
                if self.lab.topics.iter().all(|t| t.name != name(TOPICS[topic])) {
                    self.lab.create(TOPICS[topic], 4);
                }
            }
            Step::Move { compacted } => self.coordinator_moves(compacted),
            Step::Rest => self.rest(),
        }
    }

    fn commit_ends(&mut self, which: usize) {
        let UnderWay { handle, .. } = self.under_way.swap_remove(which);
        self.lab.act(|group, world, changes| group.commit_ends(&handle, world, changes));
    }

    fn coordinator_moves(&mut self, compacted: bool) {
        if !self.lab.group.has_members() {
            return;
        }
        let held = |group: &Group| {
            let members = group.members.iter();
            let held = members.map(|(id, m)| (id.clone(), m.assigned.clone(), m.revoking.clone()));
            held.collect::<Vec<_>>()
        };
        let before = held(&self.lab.group);
        let again = replaying::replayed(&self.lab.records, compacted);
        let group = std::mem::replace(&mut self.lab.group, again);
        self.lab.act(|again, world, changes| again.adopt(Some(group), world, changes));
        assert_eq!(held(&self.lab.group), before, "nothing moves");
    }

    /// Whether it is a member still, as far as the group knows.
    fn is_member(&self, client: &Client) -> bool {
        self.lab.group.member(&client.handle).is_ok()
    }

    fn check(&mut self) {
        let group = &self.lab.group;
        let mut seen = BTreeSet::new();
        for (id, member) in &group.members {
            for (topic, p) in member.assigned.iter().chain(member.revoking.iter()) {
                assert!(seen.insert((topic, p)), "{topic} {p} is with two");
                assert_eq!(group.claims.owner(topic, p), Some(id), "{topic} {p}");
            }
            assert!(member.epoch <= group.target.epoch, "{id}");
        }
        for topic in &self.lab.topics {
            for p in (0..topic.partitions).map(|p| number(i32::try_from(p).unwrap())) {
                let is_claimed = group.claims.owner(topic.id, p).is_some();
                assert_eq!(is_claimed, seen.contains(&(topic.id, p)), "{}-{p}", topic.name);
            }
        }
        assert!(group.target.epoch <= group.epoch);
        assert!(self.epoch <= group.epoch || !group.has_members(), "epochs rise");
        self.epoch = group.epoch;

        // As they see it themselves.
        let mut read = BTreeSet::new();
        for client in self.clients.iter().filter(|client| self.is_member(client)) {
            let member = group.member(&client.handle).unwrap();
            for (topic, p) in client.has.iter() {
                assert!(read.insert((topic, p)), "{topic} {p} is read by two");
                let is_its =
                    member.assigned.contains(topic, p) || member.revoking.contains(topic, p);
                assert!(is_its, "{topic} {p} is read by {:?}, who does not have it", client.handle);
            }
            assert!(client.told.epoch <= member.epoch, "{:?}", client.handle);
        }
        // A member that is there keeps what it has, or had, until its commits are done.
        for UnderWay { handle, read } in &self.under_way {
            if !group.has_member(handle.member()) {
                continue;
            }
            for client in self.clients.iter().filter(|c| !Arc::ptr_eq(&c.handle, handle)) {
                if self.is_member(client) {
                    let both = read.iter().find(|&(topic, p)| client.has.contains(topic, p));
                    assert_eq!(both, None, "{:?} goes on before {handle:?}", client.handle);
                }
            }
        }
    }

    /// Only who is summoned asks. In the end there is nothing to ask for.
    fn rest(&mut self) {
        while !self.under_way.is_empty() {
            self.commit_ends(0);
        }
        if let Some(at) = self.lab.group.assign_at {
            self.lab.now = self.lab.now.max(at);
            self.lab.tick();
        }
        // The coordinator finds out by itself.
        self.lab.act(Group::refresh);
        for _ in 0..4 * self.clients.len() + 8 {
            self.clients
                .retain_mut(|client| !client.is_summoned() || self.lab.heartbeat(client).is_ok());
            self.clients.retain_mut(|client| self.lab.release(client).is_ok());
            self.check();
        }
        self.clients.retain(|client| self.lab.group.member(&client.handle).is_ok());
        assert!(!self.clients.iter().any(Client::is_summoned), "it comes to rest");
        let group = &self.lab.group;
        if group.has_members() {
            assert!(group.is_stable(), "{group:?}");
            for topic in self.lab.topics.iter().filter(|t| group.is_subscribed_to(&t.name)) {
                for p in (0..topic.partitions).map(|p| number(i32::try_from(p).unwrap())) {
                    assert!(group.claims.owner(topic.id, p).is_some(), "{}-{p}", topic.name);
                }
            }
        }
        for client in &mut self.clients {
            assert!(client.told.is_settled, "{:?} knows that it has all", client.handle);
            let before = Told { epoch: 0, ..client.told.clone() };
            self.lab.heartbeat(client).unwrap();
            let now = Told { epoch: 0, ..client.told.clone() };
            assert_eq!(now, before, "{:?} had to know, and was not summoned", client.handle);
            assert_eq!(client.has, client.told.assigned);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_partition_has_one_reader(kind in any_kind(), steps in vec(any_step(), 1..60)) {
        let mut run = Run::new(kind);
        for step in &steps {
            run.step(step);
            run.check();
        }
        run.rest();
    }
}

/// Who waits until all have given up what they had was forgotten when the next assignor did not ask for that.
#[test]
fn who_has_waited_for_all_is_told_that_nobody_waits_any_more() {
    let mut run = Run::new(Kind {
        protocol: GroupProtocol::Classic,
        assignors: [
            &["range", "cooperative-sticky"],
            &["cooperative-sticky", "range"],
            &["cooperative-sticky"],
        ],
        delay: "0",
    });
    let join = |topics, assignors| Step::Join { topics, instance: None, assignors };
    let leave = |who| Step::Leave { who, for_good: false };
    let before = [join(4, 0), Step::Commit { who: 0 }, join(3, 2), join(0, 0)];
    let leaves = [leave(1_405_530_613_168_882_554), leave(16_120_741_876_857_492_743)];
    for step in before.into_iter().chain(leaves).chain([join(0, 0), join(0, 1), join(1, 1)]) {
        run.step(&step);
        run.check();
    }
    run.rest();
}
