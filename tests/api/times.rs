use std::time::SystemTime;

use super::*;
use brooklet::{ErrorKind, Outcome, Timestamp};

const YEAR: i64 = 365 * 24 * 3_600_000;

fn now() -> i64 {
    Timestamp::from(SystemTime::now()).as_millis()
}

fn send_at(cluster: &Cluster, topic: &Topic, millis: i64) -> brooklet::Result<Timestamp> {
    let timestamp = Timestamp::from_millis(millis).unwrap();
    let record = Record::to(topic).value("x").timestamp(timestamp);
    producer(cluster).send(record)?.wait().map(|metadata| metadata.timestamp)
}

#[test]
fn records_of_a_topic_of_append_times_have_the_time_of_their_append() {
    let cluster = Cluster::in_memory().unwrap();
    let append_time = NewTopic::new("email").config("message.timestamp.type", "LogAppendTime");
    let email = cluster.create_topic(append_time).unwrap();
    let before = now();
    let times = [0, now() + YEAR].map(|sent| send_at(&cluster, &email, sent).unwrap());
    let after = now();
    assert!(times.iter().all(|time| (before..=after).contains(&time.as_millis())), "{times:?}");
    let mut consumer = consumer(&cluster, &email);
    let mut read = Vec::new();
    while read.len() < 2 {
        let records = consumer.poll(Duration::from_secs(5)).unwrap();
        read.extend(records.iter().map(|record| record.timestamp().unwrap()));
    }
    assert_eq!(read, times);
}

#[test]
fn records_outside_of_the_window_of_their_topic_are_refused() {
    let cluster = Cluster::in_memory().unwrap();
    let window = NewTopic::new("email").config("message.timestamp.before.max.ms", 60_000);
    let email = cluster.create_topic(window).unwrap();
    for refused in [now() - YEAR, now() + YEAR] {
        let error = send_at(&cluster, &email, refused).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidTimestamp);
        assert_eq!(error.outcome(), Outcome::NotWritten);
        assert_eq!(error.kafka_code(), Some(32));
    }
    send_at(&cluster, &email, now()).unwrap();
}
