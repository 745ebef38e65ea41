//! Where a group begins that has nothing to go on with (G6).

use std::time::Duration;

use brooklet::sim::Clock;
use brooklet::{AutoOffsetReset, Cluster, Consumer, ErrorKind, NewTopic, NextOffset, Offset};

use super::{cluster, counted, send, values};

const HOUR: Duration = Duration::from_secs(3600);

fn member(cluster: &Cluster, reset: AutoOffsetReset) -> Consumer {
    let group = cluster.consumer_group("mailer");
    group.consumer().auto_offset_reset(reset).join("email").unwrap()
}

/// Three records, and the group has committed an offset far behind them.
fn committed_beyond_the_end() -> Cluster {
    let cluster = cluster("email", 1);
    send(&cluster, "email", counted(0..3));
    let email = cluster.topic("email").unwrap().partition(0).unwrap();
    let mut consumer = member(&cluster, AutoOffsetReset::Earliest);
    let next = NextOffset::at(Offset::from(100));
    consumer.commit_offsets([(&email, next)]).unwrap().wait().unwrap();
    cluster
}

#[test]
fn a_new_group_begins_where_its_setting_says() {
    let all = cluster("email", 1);
    send(&all, "email", counted(0..2));
    assert_eq!(values(&mut member(&all, AutoOffsetReset::Earliest), 2), ["0", "1"]);
    let mut latest = member(&all, AutoOffsetReset::Latest);
    send(&all, "email", counted(2..3));
    assert_eq!(values(&mut latest, 1), ["2"]);
}

#[test]
fn a_member_begins_nowhere_until_it_is_told_where() {
    let cluster = cluster("email", 1);
    send(&cluster, "email", counted(0..2));
    let email = cluster.topic("email").unwrap().partition(0).unwrap();
    let mut consumer = member(&cluster, AutoOffsetReset::None);
    assert_eq!(consumer.poll(Duration::ZERO).unwrap().rebalances().len(), 1, "that comes first");
    for _ in 0..2 {
        let error = consumer.poll(Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{error}");
    }
    consumer.commit().unwrap().wait().unwrap();
    assert_eq!(consumer.committed(&email).unwrap(), None, "it has no position");
    consumer.seek(&email, Offset::from(1)).unwrap();
    assert_eq!(values(&mut consumer, 1), ["1"]);
}

#[test]
fn a_new_group_begins_with_the_records_of_the_last_time() {
    let clock = Clock::new();
    let cluster = Cluster::builder().clock(&clock).in_memory().unwrap();
    cluster.create_topic(NewTopic::new("email")).unwrap();
    send(&cluster, "email", counted(0..2));
    clock.advance(2 * HOUR);
    send(&cluster, "email", counted(2..4));
    assert_eq!(values(&mut member(&cluster, AutoOffsetReset::ByDuration(HOUR)), 2), ["2", "3"]);
}

#[test]
fn a_committed_offset_beyond_the_end_is_reset() {
    let cluster = committed_beyond_the_end();
    assert_eq!(values(&mut member(&cluster, AutoOffsetReset::Earliest), 3), ["0", "1", "2"]);
    let mut latest = member(&cluster, AutoOffsetReset::Latest);
    assert!(latest.poll(Duration::ZERO).unwrap().is_empty());
    send(&cluster, "email", counted(3..4));
    assert_eq!(values(&mut latest, 1), ["3"]);
}

#[test]
fn a_committed_offset_beyond_the_end_is_an_error_where_nothing_is_reset() {
    let cluster = committed_beyond_the_end();
    let email = cluster.topic("email").unwrap().partition(0).unwrap();
    let mut consumer = member(&cluster, AutoOffsetReset::None);
    assert_eq!(consumer.poll(Duration::ZERO).unwrap().rebalances().len(), 1, "that comes first");
    let error = consumer.poll(Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{error}");
    assert!(error.to_string().contains("not 100"), "{error}");
    consumer.seek(&email, Offset::from(2)).unwrap();
    assert_eq!(values(&mut consumer, 1), ["2"]);
}

#[test]
fn a_committed_offset_before_the_first_record_is_reset() {
    let cluster = cluster("email", 1);
    send(&cluster, "email", counted(0..4));
    let email = cluster.topic("email").unwrap().partition(0).unwrap();
    let mut consumer = member(&cluster, AutoOffsetReset::Latest);
    let next = NextOffset::at(Offset::from(1));
    consumer.commit_offsets([(&email, next)]).unwrap().wait().unwrap();
    drop(consumer);
    email.delete_records(Offset::from(3)).unwrap();
    assert_eq!(cluster.consumer_group("mailer").lag().unwrap().total().records, 1);
    assert_eq!(values(&mut member(&cluster, AutoOffsetReset::Earliest), 1), ["3"]);
}
