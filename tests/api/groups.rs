//! Consumer groups: members, how partitions move, committed offsets.

use std::collections::BTreeMap;
use std::time::Duration;

use brooklet::{
    Cluster, Consumer, ConsumerGroup, ErrorKind, GroupProtocol, GroupState, NewTopic, NextOffset,
    Offset, OffsetsTo, RebalanceEvent, Record, Subscription, TopicPartition,
};

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

/// Lets members poll in turn until all have what they are to have.
fn settle(members: &mut [&mut Consumer]) {
    for _ in 0..100 {
        for member in members.iter_mut() {
            member.poll(Duration::ZERO).unwrap();
        }
        let mut settled = members.iter_mut().map(|m| m.wait_assigned(Duration::ZERO).unwrap());
        if settled.all(|settled| settled) {
            return;
        }
    }
    panic!("they do not settle");
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
        values
            .extend(records.iter().map(|r| String::from_utf8(r.value().unwrap().into()).unwrap()));
    }
    values
}

/// The picture of every book about Kafka.
#[test]
fn a_second_member_gets_a_share_and_the_first_has_all_again_when_it_leaves() {
    let cluster = cluster("library-events", 3);
    let group = cluster.consumer_group("library");
    let mut first = group.join(["library-events"]).unwrap();
    assert_eq!(numbers(&first), [0, 1, 2]);
    let mut second = group.join(["library-events"]).unwrap();
    settle(&mut [&mut first, &mut second]);
    assert_eq!((numbers(&first).len(), numbers(&second).len()), (2, 1));
    drop(second);
    settle(&mut [&mut first]);
    assert_eq!(numbers(&first), [0, 1, 2]);
}

#[test]
fn what_is_revoked_is_the_members_until_its_next_poll() {
    let cluster = cluster("email", 2);
    let group = cluster.consumer_group("mailer");
    let mut first = group.join("email").unwrap();
    let events = first.poll(Duration::ZERO).unwrap().rebalances().to_vec();
    assert_eq!(events.len(), 1, "{events:?}");
    let mut second = group.join("email").unwrap();
    assert!(numbers(&second).is_empty());
    let events = first.poll(LONG).unwrap().rebalances().to_vec();
    let [RebalanceEvent::Revoked(going)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(going.len(), 1);
    assert_eq!(numbers(&first), [0, 1], "until the next poll");
    assert!(second.poll(Duration::ZERO).unwrap().rebalances().is_empty());
    first.poll(Duration::ZERO).unwrap();
    assert_eq!(numbers(&first).len(), 1);
    assert!(second.wait_assigned(LONG).unwrap());
    let events = second.poll(Duration::ZERO).unwrap().rebalances().to_vec();
    assert_eq!(events, [RebalanceEvent::Assigned(going.clone())]);
}

#[test]
fn a_group_goes_on_where_it_has_committed() {
    let cluster = cluster("email", 1);
    send(&cluster, "email", (0..10).map(|n| n.to_string()));
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.consumer().max_poll_records(4).join("email").unwrap();
    assert_eq!(values(&mut consumer, 4), ["0", "1", "2", "3"]);
    consumer.commit().unwrap().wait().unwrap();
    assert_eq!(values(&mut consumer, 4), ["4", "5", "6", "7"]);
    drop(consumer);
    let mut consumer = group.join("email").unwrap();
    assert_eq!(values(&mut consumer, 6), ["4", "5", "6", "7", "8", "9"]);
}

#[test]
fn one_record_is_committed_with_all_before_it() {
    let cluster = cluster("email", 1);
    send(&cluster, "email", (0..5).map(|n| n.to_string()));
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.join("email").unwrap();
    let records = consumer.poll(LONG).unwrap();
    let third = records.iter().nth(2).unwrap();
    consumer.commit_through(&third).unwrap().wait().unwrap();
    let partition = cluster.topic("email").unwrap().partition(0).unwrap();
    assert_eq!(consumer.committed(&partition).unwrap().unwrap().offset(), Offset::from(3));
    assert_eq!(group.lag().unwrap().total().records, 2);
}

#[test]
fn offsets_outlive_the_process_and_members_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let at = NextOffset::at(Offset::from(1)).metadata("night shift");
    let partition = {
        let cluster = Cluster::open(dir.path()).unwrap();
        let email = cluster.create_topic(NewTopic::new("email")).unwrap();
        send(&cluster, "email", ["welcome".to_owned()]);
        let mut consumer = cluster.consumer_group("mailer").join("email").unwrap();
        let partition = email.partition(0).unwrap().topic_partition().clone();
        consumer.commit_offsets([(&partition, at.clone())]).unwrap().wait().unwrap();
        std::mem::forget(consumer);
        cluster.close().unwrap();
        partition
    };
    let cluster = Cluster::open(dir.path()).unwrap();
    let group = cluster.consumer_group("mailer");
    let described = group.describe().unwrap();
    assert_eq!((described.state, described.members.len()), (GroupState::Empty, 0));
    assert_eq!(group.committed_offsets().unwrap(), BTreeMap::from([(partition, at)]));
    let again = group.join("email").unwrap();
    assert!(again.group_metadata().unwrap().epoch > described.epoch);
}

#[test]
fn there_are_more_members_than_partitions() {
    let cluster = cluster("email", 2);
    let group = cluster.consumer_group("mailer");
    let mut members = (0..4).map(|_| group.join("email").unwrap()).collect::<Vec<_>>();
    settle(&mut members.iter_mut().collect::<Vec<_>>());
    let mut shares = members.iter().map(|m| numbers(m).len()).collect::<Vec<_>>();
    shares.sort();
    assert_eq!(shares, [0, 0, 1, 1]);
}

#[test]
fn eager_members_give_up_everything_before_anybody_gets_anything() {
    let cluster = cluster("email", 4);
    let group = cluster.consumer_group("mailer");
    let join = || {
        group
            .consumer()
            .group_protocol(GroupProtocol::Classic)
            .assignor("range")
            .join("email")
            .unwrap()
    };
    let mut first = join();
    assert_eq!(numbers(&first), [0, 1, 2, 3]);
    let mut second = join();
    assert!(numbers(&second).is_empty());
    let events = first.poll(LONG).unwrap().rebalances().to_vec();
    let all =
        |events: &[RebalanceEvent]| events.iter().map(|e| e.partitions().len()).collect::<Vec<_>>();
    // The first assignment, and its end.
    assert_eq!(all(&events), [4, 4], "{events:?}");
    assert_eq!(group.describe().unwrap().state, GroupState::PreparingRebalance);
    first.poll(Duration::ZERO).unwrap();
    assert!(second.wait_assigned(LONG).unwrap());
    settle(&mut [&mut first, &mut second]);
    assert_eq!((numbers(&first), numbers(&second)), (vec![0, 1], vec![2, 3]));
    assert_eq!(group.describe().unwrap().state, GroupState::Stable);
}

#[test]
fn a_topic_that_grows_is_shared_anew() {
    let cluster = cluster("email", 1);
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.join("email").unwrap();
    assert_eq!(numbers(&consumer), [0]);
    cluster.topic("email").unwrap().increase_partitions_to(3).unwrap();
    settle(&mut [&mut consumer]);
    assert_eq!(numbers(&consumer), [0, 1, 2]);
}

#[test]
fn a_topic_that_is_made_anew_is_another_to_its_group() {
    let cluster = cluster("email", 1);
    send(&cluster, "email", ["old".to_owned()]);
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.join("email").unwrap();
    assert_eq!(values(&mut consumer, 1), ["old"]);
    consumer.commit().unwrap().wait().unwrap();
    cluster.delete_topic("email").unwrap();
    settle(&mut [&mut consumer]);
    assert!(numbers(&consumer).is_empty());
    assert!(group.committed_offsets().unwrap().is_empty());
    cluster.create_topic(NewTopic::new("email")).unwrap();
    send(&cluster, "email", ["new".to_owned()]);
    assert_eq!(values(&mut consumer, 1), ["new"]);
}

#[test]
fn a_pattern_takes_in_topics_that_come_later() {
    let cluster = cluster("audit-eu", 1);
    let group = cluster.consumer_group("auditors");
    let mut consumer = group.join(Subscription::pattern("audit-.*")).unwrap();
    cluster.create_topic(NewTopic::new("audit-us")).unwrap();
    cluster.create_topic(NewTopic::new("email")).unwrap();
    settle(&mut [&mut consumer]);
    let topics = consumer.assignment().iter().map(|at| at.topic.to_string()).collect::<Vec<_>>();
    assert_eq!(topics, ["audit-eu", "audit-us"]);
}

#[test]
fn who_is_removed_finds_out_and_joins_again() {
    let cluster = cluster("email", 1);
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.join("email").unwrap();
    consumer.poll(Duration::ZERO).unwrap();
    let id = consumer.group_metadata().unwrap().member_id;
    group.remove_member(&id).unwrap();
    let error = consumer.commit().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownMemberId, "{error}");
    let events = consumer.poll(Duration::ZERO).unwrap().rebalances().to_vec();
    let kinds = events.iter().map(|e| e.to_string()).collect::<Vec<_>>();
    assert_eq!(kinds, ["lost email-0", "assigned email-0"]);
    consumer.commit().unwrap().wait().unwrap();
}

/// They used to go in the poll that said so.
#[test]
fn what_is_revoked_while_waiting_is_the_members_until_a_poll_has_said_so() {
    let cluster = cluster("email", 2);
    let group = cluster.consumer_group("mailer");
    let mut first = group.join("email").unwrap();
    first.poll(Duration::ZERO).unwrap();
    let mut second = group.join("email").unwrap();
    assert!(!first.wait_assigned(LONG).unwrap(), "it has to give up one");
    let events = first.poll(Duration::ZERO).unwrap().rebalances().to_vec();
    assert!(matches!(&events[..], [RebalanceEvent::Revoked(going)] if going.len() == 1));
    assert!(!second.wait_assigned(Duration::ZERO).unwrap());
    first.commit().unwrap().wait().unwrap();
    first.poll(Duration::ZERO).unwrap();
    assert!(second.wait_assigned(LONG).unwrap());
    assert_eq!(numbers(&second).len(), 1);
}

/// It used to be taken for one of the new topic, whose first records were passed over.
#[test]
fn a_commit_for_a_topic_that_is_no_more_is_none_for_the_next_of_its_name() {
    let cluster = cluster("email", 1);
    send(&cluster, "email", ["old".to_owned()]);
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.join("email").unwrap();
    let records = consumer.poll(LONG).unwrap();
    cluster.delete_topic("email").unwrap();
    consumer.commit().unwrap().wait().unwrap();
    cluster.create_topic(NewTopic::new("email")).unwrap();
    send(&cluster, "email", ["new".to_owned()]);
    consumer.commit().unwrap().wait().unwrap();
    consumer.commit_through(&records.iter().next().unwrap()).unwrap().wait().unwrap();
    assert!(group.committed_offsets().unwrap().is_empty());
    assert_eq!(values(&mut consumer, 1), ["new"]);
}

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

fn _unused(_: ConsumerGroup, _: TopicPartition) {}
