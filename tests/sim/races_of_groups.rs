//! Members of groups, and those who commit, in each other's way: programs of [`races`](crate::races).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brooklet::sim::{Disk, Sim};
use brooklet::{
    Cluster, Commit, Consumer, ConsumerGroup, ErrorKind, FlushPolicy, GroupProtocol, NewTopic,
    NextOffset, Offset, Records, Timestamp, Topic, TopicPartition,
};

use crate::races::{PATIENCE, wait_a_little};

/// How often old offsets are looked for.
const CHECKS: Duration = Duration::from_millis(50);

fn open(disk: &Disk, policy: FlushPolicy) -> Cluster {
    let builder = Cluster::builder()
        .flush_policy(policy)
        .config("offsets.topic.num.partitions", 1)
        .config("offsets.retention.minutes", 1)
        .config("offsets.retention.check.interval.ms", CHECKS.as_millis());
    builder.open_on(disk).unwrap()
}

fn create(cluster: &Cluster, partitions: u32) -> Topic {
    cluster.create_topic(NewTopic::new("t").partitions(partitions)).unwrap()
}

/// What is committed, by partition.
type Offsets = BTreeMap<TopicPartition, Offset>;

fn committed(group: &ConsumerGroup) -> Offsets {
    let all = group.committed_offsets().unwrap().into_iter();
    all.map(|(at, next)| (at, next.offset())).collect()
}

/// G4. Goal: a commit that is acknowledged while old offsets are forgotten is not forgotten with them, and everybody who
/// waits is answered. Method: all that a group has committed is too old at once, and commits come at about the moment at
/// which that is found out, in a group that never had members, or has none any more.
pub(crate) fn commit_forget(sim: &Sim, policy: FlushPolicy) {
    const LAST: u32 = 3;
    let disk = Disk::new();
    let cluster = open(&disk, policy);
    let topic = create(&cluster, 3);
    let group = cluster.consumer_group("mailer");
    let began = sim.elapsed();
    let protocols = [None, Some(GroupProtocol::Consumer), Some(GroupProtocol::Classic)];
    if let Some(protocol) = protocols[sim.random() as usize % protocols.len()] {
        drop(group.consumer().group_protocol(protocol).join("t").unwrap());
    }
    let mut consumer = group.consumer().build().unwrap();
    let first = topic.partitions().into_iter().map(|at| (at, NextOffset::at(Offset::from(1))));
    consumer.commit_offsets(first).unwrap().wait().unwrap();
    let later = sim.wall_clock().as_millis() + 60_000;
    sim.set_wall_clock(Timestamp::from_millis(later).unwrap());
    // The time of the checks counts from when there was a topic for offsets: between these two.
    let span = sim.elapsed() - began;
    let committers = topic.partitions().into_iter().take(2).map(|at| {
        let (sim, mut consumer) = (sim.clone(), group.consumer().build().unwrap());
        sim.clone().spawn(&format!("committer of {at}"), move || {
            sim.sleep(CHECKS - span.mul_f64((sim.random() % 1_000) as f64 / 1_000.0));
            for offset in 2..=LAST {
                let next = NextOffset::at(Offset::from(offset));
                let commit = consumer.commit_offsets([(&at, next.clone())]).unwrap();
                if offset < LAST && sim.random().is_multiple_of(2) {
                    // It goes on all the same.
                    continue;
                }
                commit.wait().unwrap();
                assert_eq!(consumer.committed(&at).unwrap(), Some(next), "of {at}");
            }
        })
    });
    committers.collect::<Vec<_>>().into_iter().for_each(brooklet::sim::Joining::join);
    assert!(sim.elapsed() < PATIENCE, "somebody was forgotten for a while");
    sim.sleep(2 * CHECKS);
    let kept = topic.partitions().into_iter().take(2);
    let kept = kept.map(|at| (at.topic_partition().clone(), Offset::from(LAST)));
    let kept = kept.collect::<Offsets>();
    assert_eq!(committed(&group), kept);
    drop((consumer, group, topic));
    cluster.close().unwrap();
    let cluster = open(&disk, policy);
    assert_eq!(committed(&cluster.consumer_group("mailer")), kept, "opened anew");
    cluster.close().unwrap();
}

/// G4, G5, G6. Goal: while members come and go, no acknowledged commit is lost or taken back, by nobody's commit: where a
/// member begins is behind all that was acknowledged, and who has lost a partition commits nothing more for it that
/// another could be reading past. Method: members that commit in every way, also for what they have given up, and
/// somebody who looks on.
pub(crate) fn commit_rebalance(sim: &Sim, policy: FlushPolicy) {
    const MEMBERS: usize = 2;
    let disk = Disk::new();
    let cluster = open(&disk, policy);
    let topic = create(&cluster, 2);
    let producer = cluster.producer().build().unwrap();
    for number in 0..12 {
        let record = brooklet::Record::to(&topic).partition(number % 2).value("welcome");
        drop(producer.send(record).unwrap());
    }
    producer.flush().unwrap();
    let group = cluster.consumer_group("mailer");
    let (told, left) = (Arc::new(Told::default()), Arc::new(AtomicUsize::new(0)));
    let members = (0..MEMBERS).map(|number| {
        let (sim, group, told) = (sim.clone(), group.clone(), Arc::clone(&told));
        let left = Arc::clone(&left);
        sim.clone().spawn(&format!("member {number}"), move || {
            for _ in 0..2 {
                sim.sleep(Duration::from_nanos(sim.random() % 60_000));
                Member::join(&sim, &group, &told).live();
            }
            left.fetch_add(1, Ordering::Relaxed);
        })
    });
    let members = members.collect::<Vec<_>>();
    let mut before = Offsets::new();
    while left.load(Ordering::Relaxed) < MEMBERS {
        before = told.look(&group, &before);
        wait_a_little(sim);
    }
    members.into_iter().for_each(brooklet::sim::Joining::join);
    let last = told.look(&group, &before);
    let member = group.join("t").unwrap();
    assert_eq!(member.assignment().len(), 2, "somebody has not left");
    for (at, next) in &last {
        assert_eq!(member.position(at).unwrap(), *next, "{at}");
    }
    drop((member, producer, topic, group));
    cluster.close().unwrap();
    let cluster = open(&disk, policy);
    assert_eq!(committed(&cluster.consumer_group("mailer")), last, "opened anew");
    cluster.close().unwrap();
}

/// What was acknowledged.
#[derive(Default)]
struct Told(Mutex<Offsets>);

impl Told {
    fn all(&self) -> Offsets {
        self.0.lock().unwrap().clone()
    }

    /// Waits for a commit, and looks whether it counts.
    fn wait(
        &self,
        group: &ConsumerGroup,
        offsets: &Offsets,
        commit: Commit,
    ) -> brooklet::Result<()> {
        commit.wait()?;
        for (at, offset) in offsets {
            let mut told = self.0.lock().unwrap();
            let highest = told.entry(at.clone()).or_insert(*offset);
            *highest = *offset.max(highest);
        }
        self.look(group, offsets);
        Ok(())
    }

    /// Returns what is committed: no less than before, and all that was acknowledged.
    fn look(&self, group: &ConsumerGroup, before: &Offsets) -> Offsets {
        let told = self.all();
        let found = committed(group);
        for (at, offset) in before.iter().chain(&told) {
            assert!(
                found.get(at) >= Some(offset),
                "{at}: {offset} was committed, and now {found:?}"
            );
        }
        found
    }
}

/// A member that polls a few times, commits in between, and leaves or is removed.
struct Member<'a> {
    sim: &'a Sim,
    group: &'a ConsumerGroup,
    told: &'a Told,
    consumer: Consumer,
    /// What it has begun to read.
    reads: BTreeSet<TopicPartition>,
    /// Where it was last in all partitions that it has, or had.
    positions: Offsets,
    /// On their way.
    commits: Vec<(Offsets, Commit)>,
}

impl<'a> Member<'a> {
    fn join(sim: &'a Sim, group: &'a ConsumerGroup, told: &'a Told) -> Self {
        let consumer = group.consumer().max_poll_records(1).join("t").unwrap();
        let (reads, positions, commits) = Default::default();
        Self { sim, group, told, consumer, reads, positions, commits }
    }

    fn live(mut self) {
        for _ in 0..5 {
            let patience = Duration::from_micros(self.sim.random() % 30);
            let records = self.consumer.poll(patience).unwrap();
            self.check_begun(&records);
            self.positions.extend(self.consumer.positions());
            self.commit();
            self.commit_what_is_gone();
            if self.sim.random().is_multiple_of(8) {
                let id = self.consumer.group_metadata().unwrap().member_id;
                // It may have been done already.
                let _removed = self.group.remove_member(&id);
            }
        }
        if self.sim.random().is_multiple_of(2) {
            self.wait();
        }
        let Self { group, told, consumer, commits, .. } = self;
        drop(consumer);
        for (offsets, commit) in commits {
            told.wait(group, &offsets, commit).unwrap();
        }
    }

    /// What it was given it reads from behind all that others were told is committed.
    fn check_begun(&mut self, records: &Records) {
        let told = self.told.all();
        for event in records.rebalances() {
            event.partitions().iter().for_each(|at| _ = self.reads.remove(at));
        }
        for (at, position) in self.consumer.positions() {
            if self.reads.insert(at.clone()) {
                let first = records.iter().find(|record| *record.topic_partition() == at);
                let begun = first.map_or(position, |record| record.offset());
                let least = told.get(&at).copied().unwrap_or_default();
                assert!(begun >= least, "{at} is read from {begun}, and {least} was committed");
            }
        }
    }

    fn commit(&mut self) {
        let positions = self.consumer.positions();
        let how = self.sim.random() % 3;
        if how > 0 {
            match self.consumer.commit() {
                Ok(commit) => self.commits.push((positions, commit)),
                // It was removed.
                Err(error) => assert_eq!(error.kind(), ErrorKind::UnknownMemberId, "{error:?}"),
            }
        }
        if how > 1 {
            self.wait();
        }
    }

    fn wait(&mut self) {
        for (offsets, commit) in std::mem::take(&mut self.commits) {
            self.told.wait(self.group, &offsets, commit).unwrap();
        }
    }

    /// Who comes too late is refused.
    fn commit_what_is_gone(&mut self) {
        let assigned = self.consumer.assignment();
        for (at, offset) in self.positions.clone() {
            if assigned.contains(&at) || self.sim.random().is_multiple_of(2) {
                continue;
            }
            match self.consumer.commit_offsets([(&at, NextOffset::at(offset))]) {
                // It is not too late as long as others of its commits are under way.
                Ok(commit) => {
                    let offsets = Offsets::from([(at, offset)]);
                    self.told.wait(self.group, &offsets, commit).unwrap();
                }
                Err(error) => {
                    let kind = error.kind();
                    let is_late =
                        matches!(kind, ErrorKind::StaleMemberEpoch | ErrorKind::UnknownMemberId);
                    assert!(is_late, "{at}: {error:?}");
                }
            }
        }
    }
}
