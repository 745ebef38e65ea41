//! The public API, as applications use it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and looks at real files and clocks"
)]

#[path = "accept_loss.rs"]
mod accept_loss;
#[path = "batches.rs"]
mod batches;
#[path = "clock.rs"]
mod clock;
#[path = "config.rs"]
mod config;
#[path = "consumer.rs"]
mod consumer;
#[path = "delete_records.rs"]
mod delete_records;
#[path = "errors.rs"]
mod errors;
#[path = "groups/mod.rs"]
mod groups;
#[path = "groups_large.rs"]
mod groups_large;
#[path = "history.rs"]
mod history;
#[path = "inspect.rs"]
mod inspect;
#[path = "interceptors.rs"]
mod interceptors;
#[path = "open_report.rs"]
mod open_report;
#[path = "persistence.rs"]
mod persistence;
#[path = "producer.rs"]
mod producer;
#[path = "rack.rs"]
mod rack;
#[path = "replication.rs"]
mod replication;
#[path = "times.rs"]
mod times;
#[path = "topics.rs"]
mod topics;
#[path = "typed.rs"]
mod typed;

use std::time::Duration;

use brooklet::{
    Cluster, Consumer, FlushPolicy, NewTopic, Producer, ReadMode, Record, Records, Topic,
};

/// Long enough for anything that is going to happen.
const LONG: Duration = Duration::from_secs(30);

/// A cluster of each kind: every test that does not care for the difference runs on all of them.
fn clusters() -> Vec<Cluster> {
    vec![
        Cluster::in_memory().unwrap(),
        Cluster::temp().unwrap(),
        Cluster::builder().read_mode(ReadMode::Pread).temp().unwrap(),
        Cluster::builder().flush_policy(FlushPolicy::Os).temp().unwrap(),
        Cluster::builder()
            .flush_policy(FlushPolicy::Interval {
                time: Duration::from_millis(5),
                messages: Some(10),
            })
            .temp()
            .unwrap(),
    ]
}

fn topic(cluster: &Cluster, partitions: u32) -> Topic {
    cluster.create_topic(NewTopic::new("email").partitions(partitions)).unwrap()
}

fn producer(cluster: &Cluster) -> Producer {
    cluster.producer().build().unwrap()
}

fn consumer(cluster: &Cluster, topic: &Topic) -> Consumer {
    let mut consumer = cluster.consumer().build().unwrap();
    consumer.assign(topic.partitions()).unwrap();
    consumer
}

/// Sends `values` to `topic` and waits until they are acknowledged.
fn send_all<V: AsRef<[u8]>>(
    producer: &Producer,
    topic: &Topic,
    values: impl IntoIterator<Item = V>,
) {
    for value in values {
        producer.send(Record::to(topic).value(&value)).unwrap();
    }
    producer.flush().unwrap();
}

/// Polls until `count` records have come, and returns their values as text.
fn receive(consumer: &mut Consumer, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        let records = consumer.poll(LONG).unwrap();
        assert!(!records.is_empty(), "{} of {count} records came", values.len());
        values.extend(texts(&records));
    }
    values
}

fn texts(records: &Records) -> Vec<String> {
    records.iter().map(|r| String::from_utf8(r.value().unwrap().to_vec()).unwrap()).collect()
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}
