//! Consumer groups: how long it takes to join, to share partitions anew, and to commit.
//!
//! `cargo bench --bench groups` prints a median for each, `-- NAME` only those whose name contains that.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a benchmark fails by panicking"
)]
#![allow(clippy::disallowed_methods, reason = "threads and clocks are real here, not simulated")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use brooklet::{
    Cluster, Consumer, ConsumerGroup, FlushPolicy, NewTopic, NextOffset, Offset, RebalanceEvent,
    Record,
};

const WAIT: Duration = Duration::from_secs(10);

type Bench = fn(FlushPolicy) -> Vec<(&'static str, Figure)>;

enum Figure {
    Took(Vec<Duration>),
    PerSecond(Vec<u128>),
}

fn main() {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let both: &[_] = &[("os", FlushPolicy::Os), ("on-ack", FlushPolicy::OnAck)];
    let os = &both[..1];
    let benches: [(&str, Bench, _); 5] = [
        ("idle", idle_group, both),
        ("leave", one_leaves, os),
        ("blocked", one_leaves_the_blocked, os),
        ("large", large_group, os),
        ("commit", commits, both),
    ];
    for (name, bench, policies) in benches {
        for (policy, flush) in policies.iter().filter(|_| name.contains(&wanted)) {
            for (what, figure) in bench(*flush) {
                println!("{policy:<7} {what:<52} {}", figure.median());
            }
        }
    }
}

impl Figure {
    fn median(self) -> String {
        match self {
            Self::Took(took) => format!("{:.3?} (of {})", middle(took.clone()), took.len()),
            Self::PerSecond(rates) => format!("{}/s (of {})", middle(rates.clone()), rates.len()),
        }
    }
}

fn middle<T: Copy + Ord>(mut all: Vec<T>) -> T {
    all.sort();
    all[all.len() / 2]
}

fn timed(run: impl FnOnce()) -> Duration {
    let began = Instant::now();
    run();
    began.elapsed()
}

/// A group with this many partitions to read, whose offsets have a place already.
fn group(policy: FlushPolicy, partitions: u32) -> (Cluster, ConsumerGroup) {
    let cluster = Cluster::builder().flush_policy(policy).temp().unwrap();
    cluster.create_topic(NewTopic::new("t").partitions(partitions)).unwrap();
    let group = cluster.consumer_group("g");
    drop(group.join("t").unwrap());
    (cluster, group)
}

fn join(group: &ConsumerGroup, count: usize) -> Vec<Consumer> {
    (0..count).map(|_| group.join("t").unwrap()).collect()
}

/// Has one thread poll for all in turn until each has what it is to have. Returns how many rounds that took.
fn settle(members: &mut [Consumer]) -> usize {
    for round in 1..100 {
        members.iter_mut().for_each(|member| drop(member.poll(Duration::ZERO).unwrap()));
        if members.iter_mut().all(|member| member.wait_assigned(Duration::ZERO).unwrap()) {
            return round;
        }
    }
    panic!("they do not settle");
}

fn partitions_of(members: &[Consumer]) -> usize {
    members.iter().map(|member| member.assignment().len()).sum()
}

/// A member comes to a group without members, and reads a record that was sent once it was there.
fn idle_group(policy: FlushPolicy) -> Vec<(&'static str, Figure)> {
    let (cluster, group) = group(policy, 3);
    let (topic, producer) = (cluster.topic("t").unwrap(), cluster.producer().build().unwrap());
    let (mut joined, mut read) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        let began = Instant::now();
        let mut member = group.join("t").unwrap();
        joined.push(began.elapsed());
        read.push(timed(|| {
            producer.send(Record::to(&topic).value("welcome")).unwrap();
            while member.poll(WAIT).unwrap().is_empty() {}
        }));
        member.commit().unwrap().wait().unwrap();
    }
    vec![
        ("join a group without members, 3 partitions", Figure::Took(joined)),
        ("from send to poll, just joined", Figure::Took(read)),
    ]
}

fn one_leaves(policy: FlushPolicy) -> Vec<(&'static str, Figure)> {
    let (_cluster, group) = group(policy, 1_000);
    let mut members = join(&group, 100);
    settle(&mut members);
    let took = (0..20).map(|_| {
        let took = timed(|| {
            drop(members.pop().unwrap());
            settle(&mut members);
        });
        assert_eq!(partitions_of(&members), 1_000);
        members.push(group.join("t").unwrap());
        settle(&mut members);
        took
    });
    vec![("1 of 100 leaves, 1,000 partitions, one thread", Figure::Took(took.collect()))]
}

fn one_leaves_the_blocked(policy: FlushPolicy) -> Vec<(&'static str, Figure)> {
    let (_cluster, group) = group(policy, 1_000);
    let is_over = Arc::new(AtomicBool::new(false));
    let (changed, changes) = mpsc::channel();
    let threads = join(&group, 99).into_iter().map(|mut member| {
        let (is_over, changed) = (Arc::clone(&is_over), changed.clone());
        let wakeup = member.wakeup();
        let thread = thread::spawn(move || {
            while !is_over.load(Ordering::SeqCst) {
                for event in member.poll(WAIT).unwrap().rebalances() {
                    let count = i64::try_from(event.partitions().len()).unwrap();
                    let is_more = matches!(event, RebalanceEvent::Assigned(_));
                    changed.send(if is_more { count } else { -count }).unwrap();
                }
            }
        });
        (thread, wakeup)
    });
    let threads = threads.collect::<Vec<_>>();
    let mut held = 0;
    let took = (0..20).map(|_| {
        let mut member = group.join("t").unwrap();
        while !member.wait_assigned(Duration::from_millis(1)).unwrap() || held != 990 {
            held += changes.try_iter().sum::<i64>();
        }
        timed(|| {
            drop(member);
            while held < 1_000 {
                held += changes.recv().unwrap();
            }
        })
    });
    let took = took.collect();
    is_over.store(true, Ordering::SeqCst);
    threads.iter().for_each(|(_, wakeup)| wakeup.wake());
    threads.into_iter().for_each(|(thread, _)| thread.join().unwrap());
    vec![("1 of 100 leaves, 1,000 partitions, a thread each", Figure::Took(took))]
}

fn large_group(policy: FlushPolicy) -> Vec<(&'static str, Figure)> {
    let (_cluster, group) = group(policy, 10_000);
    let (mut all, mut joined, mut one) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        let began = Instant::now();
        let mut members = join(&group, 1_000);
        joined.push(began.elapsed());
        settle(&mut members);
        all.push(began.elapsed());
        assert!(members.iter().all(|member| member.assignment().len() == 10));
        for _ in 0..5 {
            drop(members.pop().unwrap());
            settle(&mut members);
            one.push(timed(|| members.push(group.join("t").unwrap())));
            settle(&mut members);
        }
        group_leaves(members);
    }
    vec![
        ("1,000 members, 10,000 partitions: all have joined", Figure::Took(joined)),
        ("the same: and all have their partitions", Figure::Took(all)),
        ("the same: the last one joins", Figure::Took(one)),
    ]
}

/// The last first: partitions go to members that are about to go themselves as seldom as can be.
fn group_leaves(mut members: Vec<Consumer>) {
    while members.pop().is_some() {}
}

fn commits(policy: FlushPolicy) -> Vec<(&'static str, Figure)> {
    let rate = |partitions| Figure::PerSecond((0..3).map(|_| commit(policy, partitions)).collect());
    vec![
        ("8 members commit 100 partitions at a time", rate(100)),
        ("8 members commit one partition at a time", rate(1)),
    ]
}

/// Offsets of partitions that members of a group commit in a second, `count` at a time.
fn commit(policy: FlushPolicy, count: usize) -> u128 {
    const MEMBERS: usize = 8;
    const TIME: Duration = Duration::from_secs(1);
    let (_cluster, group) = group(policy, 800);
    let mut members = join(&group, MEMBERS);
    settle(&mut members);
    let barrier = Barrier::new(MEMBERS);
    let began = Instant::now();
    let committed = thread::scope(|scope| {
        let barrier = &barrier;
        let threads = members.iter_mut().map(|member| {
            scope.spawn(move || {
                let partitions = member.assignment();
                barrier.wait();
                let began = Instant::now();
                let mut times = 0usize;
                while began.elapsed() < TIME {
                    let next = NextOffset::at(Offset::from(u32::try_from(times).unwrap()));
                    let offsets = partitions.iter().take(count).map(|at| (at, next.clone()));
                    member.commit_offsets(offsets).unwrap().wait().unwrap();
                    times += 1;
                }
                times * count
            })
        });
        let threads = threads.collect::<Vec<_>>();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    committed as u128 * 1_000 / began.elapsed().as_millis()
}
