//! Members that go by a name of their own through all their lives (KIP-345).

use std::time::Duration;

use brooklet::sim::Clock;
use brooklet::{Cluster, Consumer, ConsumerGroup, ErrorKind, GroupProtocol, NewTopic};

use super::{cluster, events, numbers, settle, wait};

fn join(group: &ConsumerGroup, protocol: GroupProtocol, name: &str) -> brooklet::Result<Consumer> {
    group.consumer().group_protocol(protocol).group_instance_id(name).join("email")
}

#[test]
fn a_static_member_that_is_back_in_time_has_what_it_had_and_nobody_notices() {
    for protocol in [GroupProtocol::Consumer, GroupProtocol::Classic] {
        let cluster = cluster("email", 4);
        let group = cluster.consumer_group("mailer");
        let mut left = join(&group, protocol, "left").unwrap();
        let mut right = join(&group, protocol, "right").unwrap();
        settle(&mut [&mut left, &mut right]);
        events(&mut right);
        let (had, before) = (numbers(&left), group.describe().unwrap());
        assert_eq!(before.members.len(), 2);
        drop(left);
        let away = group.members().unwrap().into_iter().filter(|member| member.is_away);
        assert_eq!(away.filter_map(|member| member.instance_id).collect::<Vec<_>>(), ["left"]);
        let left = join(&group, protocol, "left").unwrap();
        assert_eq!(numbers(&left), had, "{protocol}");
        assert_eq!(group.describe().unwrap().epoch, before.epoch, "{protocol}");
        assert_eq!(left.group_metadata().unwrap().instance_id.as_deref(), Some("left"));
        assert!(events(&mut right).is_empty(), "{protocol}");
    }
}

#[test]
fn a_static_member_that_is_away_for_too_long_is_removed() {
    for protocol in [GroupProtocol::Consumer, GroupProtocol::Classic] {
        let clock = Clock::new();
        let cluster = Cluster::builder().clock(&clock).in_memory().unwrap();
        cluster.create_topic(NewTopic::new("email").partitions(4)).unwrap();
        let group = cluster.consumer_group("mailer");
        let left = join(&group, protocol, "left").unwrap();
        let mut right = join(&group, protocol, "right").unwrap();
        drop(left);
        clock.advance(Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(group.members().unwrap().len(), 2, "the session is of 45 seconds");
        clock.advance(Duration::from_secs(16));
        wait("the other has everything", || {
            right.poll(Duration::ZERO).unwrap();
            numbers(&right) == [0, 1, 2, 3]
        });
        assert_eq!(group.members().unwrap().len(), 1);
    }
}

/// A program that is restarted while nobody leads used to find its own place in use.
#[test]
fn a_static_member_that_left_while_nobody_led_has_its_place() {
    for protocol in [GroupProtocol::Consumer, GroupProtocol::Classic] {
        let cluster = Cluster::builder()
            .brokers(2)
            .config("offsets.topic.replication.factor", 1)
            .in_memory()
            .unwrap();
        let email = NewTopic::new("email").partitions(2).replication_factor(2);
        cluster.create_topic(email).unwrap();
        let group = cluster.consumer_group("mailer");
        let first = join(&group, protocol, "left").unwrap();
        let epoch = group.describe().unwrap().epoch;
        let coordinator = group.describe().unwrap().coordinator.unwrap();
        let broker = cluster.broker(coordinator.value()).unwrap();
        broker.stop().unwrap();
        drop(first);
        broker.start().unwrap();
        let mut second = join(&group, protocol, "left").unwrap();
        assert_eq!(numbers(&second), [0, 1], "{protocol}");
        assert_eq!(group.describe().unwrap().epoch, epoch, "{protocol}");
        second.commit().unwrap().wait().unwrap();
        // It does not come back when nobody thinks of it any more.
        broker.stop().unwrap();
        second.unsubscribe();
        broker.start().unwrap();
        wait("it is gone for good", || group.members().is_ok_and(|members| members.is_empty()));
    }
}

#[test]
fn a_static_member_that_unsubscribes_is_gone_at_once() {
    let cluster = cluster("email", 2);
    let group = cluster.consumer_group("mailer");
    let mut consumer = join(&group, GroupProtocol::Consumer, "left").unwrap();
    consumer.unsubscribe();
    assert!(group.members().unwrap().is_empty());
}

#[test]
fn a_second_holder_of_a_name_is_refused() {
    let cluster = cluster("email", 2);
    let group = cluster.consumer_group("mailer");
    let mut first = join(&group, GroupProtocol::Consumer, "left").unwrap();
    let error = join(&group, GroupProtocol::Consumer, "left").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnreleasedInstanceId, "{error}");
    first.poll(Duration::ZERO).unwrap();
    first.commit().unwrap().wait().unwrap();
}

#[test]
fn in_the_classic_protocol_a_second_holder_of_a_name_comes_in_the_place_of_the_first() {
    let cluster = cluster("email", 2);
    let group = cluster.consumer_group("mailer");
    let mut first = join(&group, GroupProtocol::Classic, "left").unwrap();
    first.poll(Duration::ZERO).unwrap();
    let mut second = join(&group, GroupProtocol::Classic, "left").unwrap();
    assert_eq!(numbers(&second), [0, 1]);
    let error = first.commit().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FencedInstanceId, "{error}");
    // For good: the two would take turns otherwise.
    for _ in 0..2 {
        let error = first.poll(Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FencedInstanceId, "{error}");
        assert!(error.is_fenced());
    }
    assert!(first.assignment().is_empty());
    drop(first);
    second.poll(Duration::ZERO).unwrap();
    second.commit().unwrap().wait().unwrap();
    assert_eq!(group.members().unwrap().len(), 1);
}

#[test]
fn a_static_member_may_be_back_in_a_full_group() {
    let cluster = Cluster::builder().config("group.consumer.max.size", 1).in_memory().unwrap();
    cluster.create_topic(NewTopic::new("email")).unwrap();
    let group = cluster.consumer_group("mailer");
    drop(join(&group, GroupProtocol::Consumer, "left").unwrap());
    let error = join(&group, GroupProtocol::Consumer, "right").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::GroupMaxSizeReached, "{error}");
    assert_eq!(numbers(&join(&group, GroupProtocol::Consumer, "left").unwrap()), [0]);
}
