//! Consumer groups: members, how partitions move, committed offsets.

mod admin;
mod assignors;
mod brokers;
mod commits;
mod internal;
mod made_anew;
mod members;
mod rebalances;
mod resets;
mod static_members;
mod streams;
mod stuck;
mod unreadable;

use std::thread;
use std::time::{Duration, Instant};

use brooklet::{Cluster, Consumer, NewTopic, RebalanceEvent, Record, Records};

/// Long enough for anything that is going to happen.
const LONG: Duration = Duration::from_secs(20);

fn cluster(topic: &str, partitions: u32) -> Cluster {
    let cluster = Cluster::in_memory().unwrap();
    cluster.create_topic(NewTopic::new(topic).partitions(partitions)).unwrap();
    cluster
}

/// Sends `values` to partition 0, 1, ... of a topic in turn.
fn send(cluster: &Cluster, topic: &str, values: impl IntoIterator<Item = String>) {
    let topic = cluster.topic(topic).unwrap();
    let producer = cluster.producer().build().unwrap();
    for (n, value) in (0..).zip(values) {
        let partition = n % topic.partition_count();
        producer
            .send(Record::to(&topic).partition(partition).value(&*value))
            .unwrap()
            .wait()
            .unwrap();
    }
}

/// Lets members poll in turn until all have what they are to have: who gives something up may have to wait for a commit.
fn settle(members: &mut [&mut Consumer]) {
    wait("they settle", || {
        for member in members.iter_mut() {
            member.poll(Duration::ZERO).unwrap();
        }
        let mut settled = members.iter_mut().map(|m| m.wait_assigned(Duration::ZERO).unwrap());
        settled.all(|settled| settled)
    });
}

fn numbers(consumer: &Consumer) -> Vec<u32> {
    consumer.assignment().iter().map(|at| at.partition.into()).collect()
}

/// The values that a member gets, until there are `count`.
fn values(consumer: &mut Consumer, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        let records = consumer.poll(LONG).unwrap();
        assert!(!records.is_empty() || !records.rebalances().is_empty(), "nothing came");
        values.extend(texts(&records));
    }
    values
}

fn texts(records: &Records) -> Vec<String> {
    records.iter().map(|r| String::from_utf8(r.value().unwrap().into()).unwrap()).collect()
}

/// What a poll that does not wait tells of rebalances.
fn events(consumer: &mut Consumer) -> Vec<String> {
    let records = consumer.poll(Duration::ZERO).unwrap();
    records.rebalances().iter().map(RebalanceEvent::to_string).collect()
}

fn counted(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|n| n.to_string())
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONG, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}
