//! Which partition has its turn when.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::{ErrorKind, Offset};
use crate::client::{AutoOffsetReset, Cluster, Consumer, NewTopic, Record, Topic};

/// A topic with `count` records in each of 3 partitions.
fn filled(cluster: &Cluster, count: usize) -> Topic {
    let email = cluster.create_topic(NewTopic::new("email").partitions(3)).unwrap();
    let producer = cluster.producer().build().unwrap();
    for _ in 0..count {
        for partition in 0..3 {
            producer.send(Record::to(&email).partition(partition).value("v")).unwrap();
        }
    }
    producer.flush().unwrap();
    email
}

/// The partitions of the records of one poll.
fn polled(consumer: &mut Consumer) -> Result<BTreeSet<i32>, ErrorKind> {
    let records = consumer.poll(Duration::ZERO).map_err(|error| error.kind())?;
    Ok(records.iter().map(|record| record.partition().value()).collect())
}

#[test]
fn a_partition_with_very_much_to_read_lets_the_others_have_their_turn() {
    let cluster = Cluster::in_memory().unwrap();
    let email = filled(&cluster, 100);
    let mut consumer = cluster.consumer().max_poll_records(10).build().unwrap();
    consumer.assign(email.partitions()).unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        seen.extend(polled(&mut consumer).unwrap());
    }
    assert_eq!(seen.len(), 3);
}

#[test]
fn a_partition_that_fails_is_reported_and_does_not_hold_up_the_others() {
    let cluster = Cluster::in_memory().unwrap();
    let email = filled(&cluster, 100);
    let consumer = cluster.consumer().max_poll_records(10);
    let mut consumer = consumer.auto_offset_reset(AutoOffsetReset::None).build().unwrap();
    consumer.assign(email.partitions()).unwrap();
    consumer.seek_all(Offset::ZERO).unwrap();
    let bad = consumer.assignment().swap_remove(1);
    consumer.seek(&bad, Offset::from(1_000)).unwrap();
    let polls = (0..6).map(|_| polled(&mut consumer)).collect::<Vec<_>>();
    let errors = polls.iter().filter(|poll| **poll == Err(ErrorKind::OffsetOutOfRange)).count();
    assert!((1..=3).contains(&errors), "{polls:?}");
    let seen = polls.into_iter().flatten().flatten().collect::<BTreeSet<_>>();
    assert_eq!(seen, BTreeSet::from([0, 2]));
}
