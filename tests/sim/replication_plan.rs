//! What the seeds of suite T3 stand for: clusters, clients, and what happens to them.

use std::time::Duration;

use brooklet::{Acks, FlushPolicy};

/// What becomes of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) brokers: i32,
    pub(crate) topics: Vec<TopicPlan>,
    pub(crate) segment_bytes: u64,
    pub(crate) policy: FlushPolicy,
    /// A crash is one of the machine: what was not synced may be lost.
    pub(crate) loses_power: bool,
    pub(crate) max_lag: Duration,
    pub(crate) session_timeout: Duration,
    pub(crate) senders: Vec<Sender>,
    pub(crate) readers: u64,
    /// Brokers and readers stand in so many racks, and readers read what is in theirs.
    pub(crate) racks: u64,
    pub(crate) acts: Vec<Timed>,
    /// In the end all lose power at once, rather than being closed.
    pub(crate) ends_without_power: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct TopicPlan {
    pub(crate) name: String,
    pub(crate) partitions: u32,
    pub(crate) replicas: u16,
    pub(crate) min_isr: u16,
}

#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) name: String,
    pub(crate) acks: Acks,
    pub(crate) idempotent: bool,
    pub(crate) linger: Duration,
    pub(crate) in_flight: u32,
    pub(crate) patience: Duration,
    pub(crate) records: u64,
    pub(crate) pause: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct Timed {
    pub(crate) after: Duration,
    pub(crate) what: Act,
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
    /// The next syncs, or writes, of a disk fail.
    FailDisk {
        id: i32,
        of_sync: bool,
        after: u64,
        times: u64,
    },
    FillDisk(i32),
    /// A disk works again, and its broker is started anew.
    MendDisk(i32),
    ElectPreferred,
    AddPartition(usize),
    Reassign {
        topic: usize,
        brokers: Vec<i32>,
    },
    /// The wall clock of all is set forward, or back.
    MoveClock {
        minutes: i64,
    },
    /// A topic that is written, read, and deleted.
    PassingTopic(u16),
}

impl Timed {
    /// Whether the broker's disk may have failed by it.
    pub(crate) fn is_of_disk(&self, of: i32) -> bool {
        matches!(self.what, Act::FailDisk { id, .. } | Act::FillDisk(id) if id == of)
    }
}

/// Kinds of acts that a seed may be without.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Crashes,
    Stops,
    Links,
    Delays,
    Disks,
    Elections,
    Partitions,
    Moves,
    Topics,
}

const KINDS: [Kind; 9] = [
    Kind::Crashes,
    Kind::Stops,
    Kind::Links,
    Kind::Delays,
    Kind::Disks,
    Kind::Elections,
    Kind::Partitions,
    Kind::Moves,
    Kind::Topics,
];

/// Draws numbers: the plan is made before the simulation runs.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.roll() % (high - low + 1)
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.roll().is_multiple_of(n)
    }

    pub(crate) fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    pub(crate) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.roll() as usize % all.len()]
    }
}

impl Plan {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let brokers = dice.between(2, 5) as i32;
        let topics = (0..dice.between(1, 3)).map(|at| {
            let replicas = dice.between(1, brokers as u64) as u16;
            TopicPlan {
                name: format!("topic-{at}"),
                partitions: dice.between(1, 3) as u32,
                replicas,
                min_isr: dice.between(1, u64::from(replicas)) as u16,
            }
        });
        let topics = topics.collect();
        let interval = FlushPolicy::Interval { time: dice.millis(1, 50), messages: Some(20) };
        let policy = match dice.roll() % 6 {
            0 => interval,
            1 => FlushPolicy::Os,
            _ => FlushPolicy::OnAck,
        };
        let senders = (0..dice.between(1, 3)).map(|at| {
            let acks = dice.of(&[Acks::All, Acks::All, Acks::All, Acks::Leader, Acks::None]);
            Sender {
                name: format!("sender-{at}"),
                acks,
                idempotent: acks == Acks::All && !dice.one_in(4),
                linger: dice.millis(0, 5),
                in_flight: dice.between(1, 5) as u32,
                patience: dice.millis(100, 20_000),
                records: dice.between(20, 80),
                pause: dice.millis(0, 30),
            }
        });
        let senders = senders.collect();
        let mut plan = Self {
            brokers,
            topics,
            segment_bytes: dice.of(&[600, 2_000, 100_000]),
            policy,
            loses_power: policy == FlushPolicy::OnAck && !dice.one_in(4),
            max_lag: dice.millis(100, 5_000),
            session_timeout: dice.millis(100, 2_000),
            senders,
            readers: dice.between(1, 2),
            racks: 0,
            acts: Vec::new(),
            ends_without_power: false,
        };
        let kinds = KINDS.into_iter().filter(|_| dice.one_in(3)).collect::<Vec<_>>();
        let kinds = if kinds.is_empty() { vec![Kind::Crashes] } else { kinds };
        plan.acts = (0..dice.between(3, 16))
            .map(|_| Timed { after: dice.millis(0, 300), what: plan.act(&kinds, &mut dice) })
            .collect();
        plan.racks = dice.between(0, 3);
        if dice.one_in(3) {
            for _ in 0..dice.between(1, 4) {
                let minutes = dice.between(0, 40) as i64 - 20;
                let jump = Timed { after: dice.millis(0, 300), what: Act::MoveClock { minutes } };
                plan.acts.insert(dice.roll() as usize % (plan.acts.len() + 1), jump);
            }
        }
        plan.ends_without_power = plan.loses_power && dice.one_in(2);
        plan
    }

    /// Where a broker or a reader stands.
    pub(crate) fn rack(&self, number: u64) -> Option<String> {
        (self.racks > 0).then(|| format!("rack-{}", number % self.racks))
    }

    fn act(&self, kinds: &[Kind], dice: &mut Dice) -> Act {
        let all = (1..=self.brokers).collect::<Vec<_>>();
        let id = dice.of(&all);
        let does = !dice.one_in(3);
        match dice.of(kinds) {
            Kind::Crashes if !does => Act::Start(id),
            Kind::Crashes if dice.one_in(4) => {
                Act::Crash(all.into_iter().filter(|_| dice.one_in(2)).collect())
            }
            Kind::Crashes => Act::Crash(vec![id]),
            Kind::Stops if does => Act::Stop(id),
            Kind::Stops => Act::Start(id),
            Kind::Links => {
                let other = id % self.brokers + 1;
                if does { Act::Disconnect(id, other) } else { Act::Reconnect(id, other) }
            }
            Kind::Delays if !does => Act::Resume(id),
            Kind::Delays if dice.one_in(2) => Act::Pause(id),
            Kind::Delays => Act::SlowDown(id, dice.millis(1, 500)),
            Kind::Disks if !does => Act::MendDisk(id),
            Kind::Disks if dice.one_in(5) => Act::FillDisk(id),
            Kind::Disks => {
                let (of_sync, after, times) =
                    (dice.one_in(2), dice.between(0, 20), dice.between(1, 3));
                // Some fail until they are mended.
                let times = if after.is_multiple_of(4) { u64::MAX } else { times };
                Act::FailDisk { id, of_sync, after, times }
            }
            Kind::Elections => Act::ElectPreferred,
            Kind::Partitions => Act::AddPartition(dice.roll() as usize % self.topics.len()),
            Kind::Moves => {
                let mut brokers = all;
                for at in (1..brokers.len()).rev() {
                    brokers.swap(at, dice.roll() as usize % (at + 1));
                }
                brokers.truncate(dice.between(1, brokers.len() as u64) as usize);
                Act::Reassign { topic: dice.roll() as usize % self.topics.len(), brokers }
            }
            Kind::Topics => Act::PassingTopic(dice.between(1, self.brokers as u64) as u16),
        }
    }
}
