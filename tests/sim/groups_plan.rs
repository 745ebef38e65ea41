//! What the seeds of the groups' part of suite T3 stand for: clusters, groups, and what happens to them.

use std::time::Duration;

use brooklet::GroupProtocol;

use crate::replication_plan::Dice;

/// What becomes of a cluster and its groups.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) brokers: i32,
    pub(crate) topics: Vec<TopicPlan>,
    pub(crate) offsets_partitions: u32,
    pub(crate) offsets_segment_bytes: u64,
    /// A crash is one of the machine: what was not synced may be lost.
    pub(crate) loses_power: bool,
    pub(crate) max_lag: Duration,
    pub(crate) broker_timeout: Duration,
    /// How long static members may be away.
    pub(crate) session_timeout: Duration,
    pub(crate) initial_delay: Duration,
    pub(crate) senders: Vec<Sender>,
    pub(crate) groups: Vec<GroupPlan>,
    pub(crate) acts: Vec<(Duration, Act)>,
}

#[derive(Clone, Debug)]
pub(crate) struct TopicPlan {
    pub(crate) name: String,
    pub(crate) partitions: u32,
    pub(crate) replicas: u16,
    /// It is deleted and created anew. What is seen of it cannot be told apart by its name.
    pub(crate) is_passing: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) name: String,
    pub(crate) records: u64,
    pub(crate) pause: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct GroupPlan {
    pub(crate) name: String,
    pub(crate) protocol: GroupProtocol,
    pub(crate) members: Vec<MemberPlan>,
}

#[derive(Clone, Debug)]
pub(crate) struct MemberPlan {
    pub(crate) name: String,
    pub(crate) is_static: bool,
    pub(crate) assignors: String,
    pub(crate) reads: Reads,
    pub(crate) commits: Commits,
    pub(crate) has_hook: bool,
    pub(crate) streams: bool,
    pub(crate) max_poll_records: usize,
    pub(crate) max_poll_interval: Duration,
    pub(crate) patience: Duration,
    pub(crate) pause: Duration,
    /// One poll in so many is the last for a while.
    pub(crate) leaves: u64,
    /// After one poll in so many it does not poll for too long.
    pub(crate) stalls: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Reads {
    Names(Vec<String>),
    Pattern(String),
}

/// How a member commits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Commits {
    Auto(Duration),
    Waited,
    Awaited,
    /// Several are under way.
    Kept,
    Dropped,
    /// Up to one of the records.
    Through,
    /// As it comes.
    Mixed,
}

/// What an operator, or fate, does.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Crash(Vec<i32>),
    Stop(i32),
    Start(i32),
    Disconnect(i32, i32),
    Reconnect(i32, i32),
    Pause(i32),
    SlowDown(i32, Duration),
    Resume(i32),
    /// Of the topic that groups are kept in, too.
    ElectPreferred,
    AddPartition(usize),
    Recreate(usize),
    RemoveMember(usize),
    Rest,
}

/// Kinds of acts that a seed may be without.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Crashes,
    Stops,
    Links,
    Delays,
    Elections,
    Partitions,
    Topics,
    Members,
}

const KINDS: [Kind; 8] = [
    Kind::Crashes,
    Kind::Stops,
    Kind::Links,
    Kind::Delays,
    Kind::Elections,
    Kind::Partitions,
    Kind::Topics,
    Kind::Members,
];

impl Plan {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut dice = Dice(seed ^ 0x0067_726F_7570_7300);
        let brokers = dice.between(1, 3) as i32;
        let topics = (0..dice.between(1, 3)).map(|at| {
            let is_passing = at > 0 && dice.one_in(3);
            let name = if is_passing { format!("passing-{at}") } else { format!("topic-{at}") };
            let partitions = dice.between(1, 4) as u32;
            let replicas = dice.between(1, brokers as u64) as u16;
            TopicPlan { name, partitions, replicas, is_passing }
        });
        let topics = topics.collect::<Vec<_>>();
        let senders = (0..dice.between(1, 2)).map(|at| Sender {
            name: format!("sender-{at}"),
            records: dice.between(20, 120),
            pause: dice.millis(0, 30),
        });
        let senders = senders.collect();
        let groups = (0..dice.between(1, 2)).map(|at| group(at, &topics, &mut dice)).collect();
        let mut plan = Self {
            brokers,
            topics,
            offsets_partitions: dice.between(1, 3) as u32,
            offsets_segment_bytes: dice.of(&[2_000, 100_000]),
            loses_power: !dice.one_in(4),
            max_lag: dice.millis(100, 3_000),
            broker_timeout: dice.millis(100, 2_000),
            session_timeout: dice.millis(200, 3_000),
            initial_delay: dice.of(&[Duration::ZERO, Duration::ZERO, Duration::from_millis(300)]),
            senders,
            groups,
            acts: Vec::new(),
        };
        let kinds = KINDS.into_iter().filter(|_| dice.one_in(3)).collect::<Vec<_>>();
        let kinds = if kinds.is_empty() { vec![Kind::Stops] } else { kinds };
        plan.acts = (0..dice.between(3, 16))
            .map(|_| (dice.millis(0, 400), plan.act(&kinds, &mut dice)))
            .collect();
        plan
    }

    fn act(&self, kinds: &[Kind], dice: &mut Dice) -> Act {
        let all = (1..=self.brokers).collect::<Vec<_>>();
        let id = dice.of(&all);
        let does = !dice.one_in(3);
        match dice.of(kinds) {
            Kind::Crashes if !does => Act::Start(id),
            Kind::Crashes if dice.one_in(5) => Act::Crash(all),
            Kind::Crashes => Act::Crash(vec![id]),
            Kind::Stops if does => Act::Stop(id),
            Kind::Stops => Act::Start(id),
            Kind::Links if self.brokers == 1 => Act::Rest,
            Kind::Links => {
                let other = id % self.brokers + 1;
                if does { Act::Disconnect(id, other) } else { Act::Reconnect(id, other) }
            }
            Kind::Delays if !does => Act::Resume(id),
            Kind::Delays if dice.one_in(2) => Act::Pause(id),
            Kind::Delays => Act::SlowDown(id, dice.millis(1, 500)),
            Kind::Elections => Act::ElectPreferred,
            Kind::Partitions => Act::AddPartition(dice.roll() as usize % self.topics.len()),
            Kind::Topics => {
                let mut passing = (0..self.topics.len()).filter(|at| self.topics[*at].is_passing);
                passing.next_back().map_or(Act::Rest, Act::Recreate)
            }
            Kind::Members => Act::RemoveMember(dice.roll() as usize % self.groups.len()),
        }
    }
}

fn group(number: u64, topics: &[TopicPlan], dice: &mut Dice) -> GroupPlan {
    let protocol = dice.of(&[GroupProtocol::Consumer, GroupProtocol::Classic]);
    let all = ["uniform", "range", "roundrobin", "sticky", "cooperative-sticky"];
    let common = dice.of(&all);
    let members = (0..dice.between(1, 4)).map(|at| {
        let other = dice.of(&all);
        let assignors = match protocol {
            GroupProtocol::Consumer if dice.one_in(4) => String::new(),
            GroupProtocol::Consumer => other.to_owned(),
            _ if other == common => common.to_owned(),
            _ if dice.one_in(2) => format!("{other},{common}"),
            _ => format!("{common},{other}"),
        };
        let names = topics.iter().map(|topic| topic.name.clone());
        let reads = match dice.roll() % 4 {
            0 => Reads::Pattern("(topic|passing)-.*".to_owned()),
            1 => Reads::Names(names.take(1).collect()),
            _ => Reads::Names(names.collect()),
        };
        let commits = match dice.roll() % 8 {
            0 | 1 => Commits::Auto(dice.millis(0, 300)),
            2 => Commits::Waited,
            3 => Commits::Awaited,
            4 => Commits::Kept,
            5 => Commits::Dropped,
            6 => Commits::Through,
            _ => Commits::Mixed,
        };
        MemberPlan {
            name: format!("member-{number}-{at}"),
            is_static: dice.one_in(4),
            assignors,
            reads,
            commits,
            has_hook: dice.one_in(3),
            streams: dice.one_in(4),
            max_poll_records: dice.of(&[1, 3, 10, 500]),
            max_poll_interval: dice.of(&[300, 1_000, 300_000].map(Duration::from_millis)),
            patience: dice.millis(0, 200),
            pause: dice.millis(1, 30),
            leaves: dice.of(&[0, 10, 50]),
            stalls: dice.of(&[0, 0, 30]),
        }
    });
    let members = members.collect();
    // The coordinators of these are on different partitions.
    GroupPlan { name: format!("group-{number}"), protocol, members }
}
