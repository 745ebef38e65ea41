//! Groups seen from outside.

use std::time::Duration;

use brooklet::sim::Clock;
use brooklet::{
    Cluster, ErrorKind, GroupProtocol, GroupState, Lag, NewTopic, NextOffset, Offset, OffsetsTo,
    Timestamp,
};

use super::{cluster, counted, send, settle, values, wait};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn offsets_are_reset_after_a_look() {
    let cluster = cluster("email", 2);
    send(&cluster, "email", (0..10).map(|n| n.to_string()));
    let group = cluster.consumer_group("mailer");
    let reset = group.reset_offsets(OffsetsTo::Offset(Offset::from(3))).topic("email");
    let planned = reset.plan().unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(planned, ["email-0: none -> 3", "email-1: none -> 3"]);
    assert!(group.committed_offsets().unwrap().is_empty(), "only planned");
    reset.apply().unwrap();
    let after = |to| {
        let applied = group.reset_offsets(to).apply().unwrap();
        applied.iter().map(|planned| planned.after.value()).collect::<Vec<_>>()
    };
    assert_eq!(after(OffsetsTo::ShiftBy(-1)), [2, 2]);
    assert_eq!(after(OffsetsTo::ShiftBy(100)), [5, 5]);
    assert_eq!(after(OffsetsTo::Earliest), [0, 0]);
    assert_eq!(after(OffsetsTo::Latest), [5, 5]);
    assert_eq!(after(OffsetsTo::Ago(Duration::from_secs(3600))), [0, 0]);
    let member = group.join("email").unwrap();
    let error = group.reset_offsets(OffsetsTo::Earliest).apply().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NonEmptyGroup);
    drop(member);
}

#[test]
fn groups_are_listed_and_described() {
    let cluster = cluster("email", 3);
    assert!(cluster.consumer_groups().unwrap().is_empty());
    let nobody = cluster.consumer_group("nobody").describe().unwrap();
    assert_eq!((nobody.state, nobody.members.len()), (GroupState::Dead, 0));
    let group = cluster.consumer_group("mailer");
    let mut left = group.consumer().client_id("left").join("email").unwrap();
    let mut right = group.consumer().client_id("right").join("email").unwrap();
    assert_eq!(group.describe().unwrap().state, GroupState::Reconciling);
    settle(&mut [&mut left, &mut right]);
    let described = group.describe().unwrap();
    assert_eq!((&*described.id, described.state), ("mailer", GroupState::Stable));
    assert_eq!(described.protocol, Some(GroupProtocol::Consumer));
    assert_eq!(described.assignor.as_deref(), Some("uniform"));
    assert_eq!(described.coordinator.unwrap(), cluster.brokers()[0].id());
    for (member, consumer) in described.members.iter().zip([&left, &right]) {
        assert_eq!(member.client_id, consumer.client_id());
        assert_eq!(member.assigned, consumer.assignment());
        assert_eq!((&member.target, member.epoch), (&member.assigned, described.epoch));
        assert_eq!(member.id, consumer.group_metadata().unwrap().member_id);
        assert!(!member.is_away);
    }
    assert_eq!(group.assignment().unwrap().len(), 3);
    cluster.consumer_group("texter").join("email").unwrap().commit().unwrap().wait().unwrap();
    let listed = cluster.consumer_groups().unwrap();
    let listed = listed.iter().map(|group| format!("{group} {}", group.state)).collect::<Vec<_>>();
    assert_eq!(listed, ["mailer Stable", "texter Empty"]);
}

#[test]
fn offsets_of_topics_that_members_read_are_not_deleted() {
    let cluster = cluster("email", 2);
    cluster.create_topic(NewTopic::new("sms")).unwrap();
    send(&cluster, "email", counted(0..2));
    let [email, sms] = ["email", "sms"].map(|name| cluster.topic(name).unwrap());
    let group = cluster.consumer_group("mailer");
    let error = group.delete_offsets(email.partitions()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::GroupIdNotFound, "{error}");
    let mut member = group.join("email").unwrap();
    values(&mut member, 2);
    member.commit().unwrap().wait().unwrap();
    let next = NextOffset::at(Offset::ZERO);
    let sms = sms.partition(0).unwrap();
    member.commit_offsets([(&sms, next)]).unwrap().wait().unwrap();
    let error = group
        .delete_offsets([sms.topic_partition(), email.partition(0).unwrap().topic_partition()]);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::GroupSubscribedToTopic);
    assert_eq!(group.committed_offsets().unwrap().len(), 3, "nothing of it");
    group.delete_offsets([&sms]).unwrap();
    drop(member);
    group.delete_offsets([email.partition(1).unwrap()]).unwrap();
    let left = group.committed_offsets().unwrap().into_keys().map(|at| at.to_string());
    assert_eq!(left.collect::<Vec<_>>(), ["email-0"]);
    // Whoever reads it next begins as if nothing had been committed.
    assert_eq!(values(&mut group.join("email").unwrap(), 1), ["1"]);
}

#[test]
fn a_group_that_is_deleted_begins_anew() {
    let cluster = cluster("email", 1);
    send(&cluster, "email", counted(0..2));
    let group = cluster.consumer_group("mailer");
    assert_eq!(group.delete().unwrap_err().kind(), ErrorKind::GroupIdNotFound);
    let mut member = group.join("email").unwrap();
    values(&mut member, 2);
    member.commit().unwrap().wait().unwrap();
    assert_eq!(group.delete().unwrap_err().kind(), ErrorKind::NonEmptyGroup);
    drop(member);
    group.delete().unwrap();
    assert_eq!(group.describe().unwrap().state, GroupState::Dead);
    assert!(cluster.consumer_groups().unwrap().is_empty());
    assert_eq!(values(&mut group.join("email").unwrap(), 2), ["0", "1"]);
}

#[test]
fn a_group_is_behind_by_records_bytes_and_time() {
    let clock = Clock::new();
    let cluster = Cluster::builder().clock(&clock).in_memory().unwrap();
    let email = cluster.create_topic(NewTopic::new("email").partitions(2)).unwrap();
    let group = cluster.consumer_group("mailer");
    assert_eq!(group.lag().unwrap().total(), Lag::default(), "it reads nothing");
    let mut member = group.consumer().no_eviction().join("email").unwrap();
    send(&cluster, "email", counted(0..1));
    clock.advance(HOUR);
    send(&cluster, "email", counted(0..5));
    let lag = group.lag().unwrap();
    let total = lag.total();
    assert_eq!(total.records, 6);
    let bytes = email.partitions().into_iter().map(|p| p.size_bytes().unwrap()).sum::<u64>();
    assert_eq!(total.bytes, bytes);
    let ages = lag.partitions.values().map(|p| p.lag.age.as_secs() / 3600).collect::<Vec<_>>();
    assert_eq!((ages, total.age.as_secs() / 3600), (vec![1, 0], 1));
    let first = lag.partitions.values().next().unwrap();
    assert_eq!((first.committed.clone(), first.end), (None, Offset::from(4)));
    assert_eq!(first.member, Some(member.group_metadata().unwrap().member_id));
    values(&mut member, 6);
    member.commit().unwrap().wait().unwrap();
    let lag = group.lag().unwrap();
    assert_eq!((lag.partitions.len(), lag.total()), (2, Lag::default()));
    assert_eq!(lag.to_string(), "0 records, 0 bytes, 0 s behind");
}

/// Retention of one hour, looked at every ten minutes.
fn forgetful(clock: &Clock) -> Cluster {
    let cluster = Cluster::builder()
        .config("offsets.retention.minutes", 60)
        .config("offsets.retention.check.interval.ms", 600_000)
        .clock(clock)
        .in_memory()
        .unwrap();
    cluster.create_topic(NewTopic::new("email")).unwrap();
    cluster
}

#[test]
fn offsets_that_nobody_needs_are_forgotten_with_their_group() {
    let clock = Clock::new();
    let cluster = forgetful(&clock);
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.consumer().build().unwrap();
    let email = cluster.topic("email").unwrap().partition(0).unwrap();
    consumer.commit_offsets([(&email, NextOffset::at(Offset::ZERO))]).unwrap().wait().unwrap();
    clock.advance(HOUR / 2);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(group.committed_offsets().unwrap().len(), 1);
    wait("it is forgotten", || {
        clock.advance(HOUR / 2);
        std::thread::sleep(Duration::from_millis(5));
        cluster.consumer_groups().unwrap().is_empty()
    });
    assert!(group.committed_offsets().unwrap().is_empty());
}

/// RELIABILITY 2: not in the round in which nobody knows how old they are.
#[test]
fn offsets_outlive_that_the_clock_is_set() {
    let clock = Clock::new();
    let today = clock.wall_clock();
    clock.set_wall_clock(Timestamp::from_millis(1_000).unwrap());
    let cluster = forgetful(&clock);
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.consumer().build().unwrap();
    let email = cluster.topic("email").unwrap().partition(0).unwrap();
    consumer.commit_offsets([(&email, NextOffset::at(Offset::ZERO))]).unwrap().wait().unwrap();
    clock.set_wall_clock(today);
    clock.advance(HOUR / 6);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(group.committed_offsets().unwrap().len(), 1);
    wait("it is forgotten", || {
        clock.advance(HOUR / 6);
        std::thread::sleep(Duration::from_millis(5));
        group.committed_offsets().unwrap().is_empty()
    });
}

#[test]
fn offsets_of_what_members_read_are_kept_however_old_they_are() {
    let clock = Clock::new();
    let cluster = forgetful(&clock);
    let group = cluster.consumer_group("mailer");
    let mut member = group.consumer().no_eviction().join("email").unwrap();
    member.commit().unwrap().wait().unwrap();
    for _ in 0..5 {
        clock.advance(HOUR);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(group.committed_offsets().unwrap().len(), 1);
    drop(member);
    wait("it is forgotten", || {
        clock.advance(HOUR);
        std::thread::sleep(Duration::from_millis(5));
        group.committed_offsets().unwrap().is_empty()
    });
}

/// KIP-211: a classic group that was at it for long is not forgotten as soon as its last member has left.
#[test]
fn in_the_classic_protocol_the_time_counts_from_when_the_last_member_left() {
    let clock = Clock::new();
    let cluster = forgetful(&clock);
    let group = cluster.consumer_group("mailer");
    let consumer = group.consumer().no_eviction().group_protocol(GroupProtocol::Classic);
    let mut member = consumer.join("email").unwrap();
    member.commit().unwrap().wait().unwrap();
    clock.advance(5 * HOUR);
    drop(member);
    clock.advance(HOUR / 2);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(group.committed_offsets().unwrap().len(), 1);
    wait("it is forgotten", || {
        clock.advance(HOUR / 2);
        std::thread::sleep(Duration::from_millis(5));
        group.committed_offsets().unwrap().is_empty()
    });
}
