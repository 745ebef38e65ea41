//! What is committed, by whom, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use brooklet::sim::Clock;
use brooklet::{
    BrokerId, Cluster, ErrorKind, GroupState, NewTopic, NextOffset, Offset, PartitionId, TopicName,
    TopicPartition,
};
use futures_util::{FutureExt, StreamExt};

use super::{LONG, cluster, counted, numbers, send, settle, values, wait};

/// The committed offset of each partition.
fn committed(cluster: &Cluster, group: &str) -> Vec<i64> {
    let offsets = cluster.consumer_group(group).committed_offsets().unwrap();
    offsets.into_values().map(|next| next.offset().value()).collect()
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
fn offsets_are_committed_with_a_note_that_is_not_too_long() {
    let cluster = cluster("email", 2);
    let email = cluster.topic("email").unwrap();
    let [one, two] = [0, 1].map(|n| email.partition(n).unwrap());
    let mut consumer = cluster.consumer_group("mailer").join("email").unwrap();
    let next = |offset: u32| NextOffset::at(Offset::from(offset));
    let note = "x".repeat(4096);
    let offsets = [(&one, next(7).metadata(&note)), (&two, next(9))];
    consumer.commit_offsets(offsets).unwrap().wait().unwrap();
    assert_eq!(consumer.committed(&one).unwrap().unwrap().note(), note);
    let offsets = [(&one, next(8)), (&two, next(10).metadata(note + "x"))];
    let error = consumer.commit_offsets(offsets).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OffsetMetadataTooLarge, "{error}");
    assert_eq!(committed(&cluster, "mailer"), [7, 9], "nothing of it");
}

#[test]
fn a_commit_is_waited_for_awaited_or_left_alone() {
    let cluster = cluster("email", 1);
    send(&cluster, "email", counted(0..4));
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.consumer().max_poll_records(1).join("email").unwrap();
    values(&mut consumer, 1);
    let mut commit = consumer.commit().unwrap();
    commit.wait_timeout(LONG).unwrap();
    // Once more: it is done.
    commit.wait_timeout(Duration::ZERO).unwrap();
    commit.wait().unwrap();
    assert_eq!(committed(&cluster, "mailer"), [1]);
    values(&mut consumer, 1);
    futures_executor::block_on(consumer.commit().unwrap()).unwrap();
    assert_eq!(committed(&cluster, "mailer"), [2]);
    values(&mut consumer, 1);
    drop(consumer.commit().unwrap());
    wait("it arrives all the same", || committed(&cluster, "mailer") == [3]);
    // A member that goes takes nothing back.
    values(&mut consumer, 1);
    drop(consumer.commit().unwrap());
    drop(consumer);
    wait("it arrives all the same", || committed(&cluster, "mailer") == [4]);
    wait("it has left", || group.describe().unwrap().state == GroupState::Empty);
}

#[test]
fn a_commit_that_takes_too_long_is_still_on_its_way() {
    let clock = Clock::new();
    let cluster = Cluster::builder().brokers(3).clock(&clock).in_memory().unwrap();
    let all = [1, 2, 3].map(|id| BrokerId::new(id).unwrap());
    cluster.create_topic(NewTopic::new("email").assignment([all.to_vec()])).unwrap();
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.consumer().no_eviction().join("email").unwrap();
    consumer.commit().unwrap().wait().unwrap();
    // Nobody but the coordinator copies anything.
    let coordinator = group.describe().unwrap().coordinator.unwrap();
    for broker in cluster.brokers().iter().filter(|broker| broker.id() != coordinator) {
        broker.pause();
    }
    let email = cluster.topic("email").unwrap().partition(0).unwrap();
    let next = NextOffset::at(Offset::from(7));
    let mut commit = consumer.commit_offsets([(&email, next)]).unwrap();
    let error = commit.wait_timeout(Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    assert_eq!(committed(&cluster, "mailer"), [0], "it does not count before all have it");
    wait("the others are out of sync", || {
        clock.advance(Duration::from_secs(40));
        std::thread::sleep(Duration::from_millis(5));
        commit.wait_timeout(Duration::ZERO).is_ok()
    });
    assert_eq!(committed(&cluster, "mailer"), [7]);
}

/// G5, the first half: who ends between a poll and the next has nothing of it committed.
#[test]
fn what_a_poll_returns_is_committed_by_a_later_one() {
    let clock = Clock::new();
    let cluster = Cluster::builder().clock(&clock).in_memory().unwrap();
    cluster.create_topic(NewTopic::new("email")).unwrap();
    send(&cluster, "email", counted(0..10));
    let group = cluster.consumer_group("mailer");
    let consumer = group.consumer().enable_auto_commit(true).max_poll_records(2);
    let mut consumer = consumer.join("email").unwrap();
    assert_eq!(values(&mut consumer, 2), ["0", "1"]);
    clock.advance(Duration::from_secs(6));
    assert!(committed(&cluster, "mailer").is_empty(), "before the next poll");
    assert_eq!(values(&mut consumer, 2), ["2", "3"]);
    wait("the first poll's are committed", || committed(&cluster, "mailer") == [2]);
    assert_eq!(values(&mut consumer, 2), ["4", "5"]);
    assert_eq!(committed(&cluster, "mailer"), [2], "auto.commit.interval.ms is 5 seconds");
    // A member that is forgotten, as if its process had ended, has committed no more.
    std::mem::forget(consumer);
    assert_eq!(committed(&cluster, "mailer"), [2]);
}

#[test]
fn a_poll_that_waits_commits_when_it_is_time() {
    let clock = Clock::new();
    let cluster = Cluster::builder().clock(&clock).in_memory().unwrap();
    cluster.create_topic(NewTopic::new("email")).unwrap();
    send(&cluster, "email", counted(0..3));
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.consumer().enable_auto_commit(true).join("email").unwrap();
    assert_eq!(values(&mut consumer, 3), ["0", "1", "2"]);
    let mut stream = consumer.stream();
    assert!(stream.next().now_or_never().is_none());
    clock.advance(Duration::from_secs(6));
    assert!(stream.next().now_or_never().is_none(), "it waits for the same item");
    wait("it is committed", || committed(&cluster, "mailer") == [3]);
}

/// How many records there are about groups.
fn recorded(cluster: &Cluster) -> i64 {
    let partitions = cluster.topic("__consumer_offsets").unwrap().partitions();
    partitions.iter().map(|partition| partition.watermarks().unwrap().high.value()).sum()
}

#[test]
fn who_reads_nothing_new_commits_nothing_again() {
    let clock = Clock::new();
    let cluster = Cluster::builder().clock(&clock).in_memory().unwrap();
    cluster.create_topic(NewTopic::new("email")).unwrap();
    send(&cluster, "email", counted(0..3));
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.consumer().enable_auto_commit(true).join("email").unwrap();
    values(&mut consumer, 3);
    let mut poll_later = || {
        clock.advance(Duration::from_secs(6));
        consumer.poll(Duration::ZERO).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    };
    poll_later();
    wait("it is committed", || committed(&cluster, "mailer") == [3]);
    let before = recorded(&cluster);
    (0..20).for_each(|_| poll_later());
    assert_eq!(recorded(&cluster), before);
    send(&cluster, "email", counted(3..4));
    assert_eq!(values(&mut consumer, 1), ["3"]);
    clock.advance(Duration::from_secs(6));
    consumer.poll(Duration::ZERO).unwrap();
    wait("that is committed", || committed(&cluster, "mailer") == [4]);
    assert_eq!(recorded(&cluster), before + 1);
}

/// In the consumer protocol the time for which they are kept counts from the commit.
#[test]
fn what_a_member_has_read_is_kept_when_it_is_removed_however_long_nothing_came() {
    let clock = Clock::new();
    let cluster = Cluster::builder().clock(&clock).in_memory().unwrap();
    cluster.create_topic(NewTopic::new("email")).unwrap();
    send(&cluster, "email", counted(0..3));
    let group = cluster.consumer_group("mailer");
    let consumer = group.consumer().enable_auto_commit(true).no_eviction();
    let mut consumer = consumer.join("email").unwrap();
    values(&mut consumer, 3);
    for _ in 0..30 {
        clock.advance(Duration::from_secs(24 * 60 * 60));
        consumer.poll(Duration::ZERO).unwrap();
    }
    group.remove_member(&consumer.group_metadata().unwrap().member_id).unwrap();
    std::mem::forget(consumer);
    // offsets.retention.check.interval.ms is ten minutes, offsets.retention.minutes a week.
    for _ in 0..20 {
        clock.advance(Duration::from_secs(11 * 60));
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(committed(&cluster, "mailer"), [3]);
    }
    clock.advance(Duration::from_secs(7 * 24 * 60 * 60));
    wait("it is forgotten", || committed(&cluster, "mailer").is_empty());
}

/// G5, the other half: whoever ends in order has all committed that polls have returned.
#[test]
fn what_polls_have_returned_is_committed_at_the_end() {
    let cluster = cluster("email", 1);
    send(&cluster, "email", counted(0..6));
    let group = cluster.consumer_group("mailer");
    let join = || {
        let consumer = group.consumer().enable_auto_commit(true).max_poll_records(2);
        consumer.join("email").unwrap()
    };
    let mut consumer = join();
    assert_eq!(values(&mut consumer, 2), ["0", "1"]);
    consumer.close().unwrap();
    assert_eq!(committed(&cluster, "mailer"), [2]);
    let mut consumer = join();
    assert_eq!(values(&mut consumer, 2), ["2", "3"]);
    drop(consumer);
    // Whoever comes next begins behind it, even if it is on its way.
    let mut consumer = join();
    assert_eq!(values(&mut consumer, 2), ["4", "5"]);
    consumer.unsubscribe();
    wait("unsubscribing ends it, too", || committed(&cluster, "mailer") == [6]);
}

/// It was logged, and nobody was told.
#[test]
fn what_is_not_committed_at_the_end_is_an_error() {
    let cluster = cluster("email", 1);
    send(&cluster, "email", counted(0..2));
    let group = cluster.consumer_group("mailer");
    let join = || group.consumer().enable_auto_commit(true).join("email").unwrap();
    for wants in [Some(ErrorKind::UnknownMemberId), None] {
        let mut consumer = join();
        assert_eq!(values(&mut consumer, 2), ["0", "1"]);
        if wants.is_some() {
            group.remove_member(&consumer.group_metadata().unwrap().member_id).unwrap();
        }
        assert_eq!(consumer.close().err().map(|error| error.kind()), wants);
        assert!(group.members().unwrap().is_empty());
    }
    assert_eq!(committed(&cluster, "mailer"), [2]);
}

#[test]
fn what_goes_to_others_is_committed_before() {
    let cluster = cluster("email", 2);
    send(&cluster, "email", counted(0..8));
    let group = cluster.consumer_group("mailer");
    let join = || group.consumer().enable_auto_commit(true).join("email").unwrap();
    let mut first = join();
    assert_eq!(values(&mut first, 8).len(), 8);
    let mut second = join();
    settle(&mut [&mut first, &mut second]);
    let [gone] = &second.assignment()[..] else { panic!("{second:?}") };
    assert_eq!(second.position(gone).unwrap(), Offset::from(4));
    assert_eq!(committed(&cluster, "mailer"), [4], "the other is not due");
}

#[test]
fn nobody_commits_what_belongs_to_another_member() {
    let cluster = cluster("email", 2);
    let email = cluster.topic("email").unwrap();
    let group = cluster.consumer_group("mailer");
    let (mut first, mut second) = (group.join("email").unwrap(), group.join("email").unwrap());
    settle(&mut [&mut first, &mut second]);
    let others = email.partition(numbers(&second)[0]).unwrap();
    let offsets = [(&others, NextOffset::at(Offset::from(1)))];
    let error = first.commit_offsets(offsets.clone()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StaleMemberEpoch, "{error}");
    assert!(error.is_fenced());
    second.commit_offsets(offsets).unwrap().wait().unwrap();
    // What nobody has may be committed by any of them.
    cluster.create_topic(NewTopic::new("sms")).unwrap();
    let sms = cluster.topic("sms").unwrap().partition(0).unwrap();
    first.commit_offsets([(&sms, NextOffset::at(Offset::ZERO))]).unwrap().wait().unwrap();
    assert_eq!(committed(&cluster, "mailer"), [1, 0]);
}

/// They used to be taken, and to count for whatever came to have the name.
#[test]
fn offsets_of_partitions_that_there_are_not_are_refused() {
    let cluster = cluster("email", 2);
    let group = cluster.consumer_group("mailer");
    let next = || NextOffset::at(Offset::from(5));
    let place = |topic, partition| {
        let topic = TopicName::new(topic).unwrap();
        TopicPartition::new(topic, PartitionId::new(partition).unwrap())
    };
    let mut member = group.join("email").unwrap();
    let mut simple = cluster.consumer_group("simple").consumer().build().unwrap();
    for unknown in [place("email", 2), place("email", 999), place("sms", 0)] {
        for consumer in [&mut member, &mut simple] {
            // Nothing of it, though the other is there.
            let offsets = [(place("email", 0), next()), (unknown.clone(), next())];
            let error = consumer.commit_offsets(offsets).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnknownTopicOrPartition, "{unknown}: {error}");
        }
    }
    assert_eq!([committed(&cluster, "mailer"), committed(&cluster, "simple")], [[0i64; 0]; 2]);
    assert_eq!(cluster.consumer_groups().unwrap().len(), 1, "only that of the member");
    // As soon as they are there they can be committed.
    cluster.topic("email").unwrap().increase_partitions_to(3).unwrap();
    cluster.create_topic(NewTopic::new("sms")).unwrap();
    wait("the member has the third", || {
        member.poll(Duration::ZERO).unwrap();
        numbers(&member) == [0, 1, 2]
    });
    for consumer in [&mut member, &mut simple] {
        let offsets = [place("email", 2), place("sms", 0)].map(|at| (at, next()));
        consumer.commit_offsets(offsets).unwrap().wait().unwrap();
    }
    assert_eq!([committed(&cluster, "mailer"), committed(&cluster, "simple")], [[5, 5]; 2]);
}

#[test]
fn consumers_without_subscription_commit_as_long_as_the_group_has_no_members() {
    let cluster = cluster("email", 1);
    let email = cluster.topic("email").unwrap();
    send(&cluster, "email", counted(0..4));
    let group = cluster.consumer_group("mailer");
    let simple = || {
        let mut consumer = group.consumer().max_poll_records(2).build().unwrap();
        consumer.assign(email.partitions()).unwrap();
        consumer
    };
    let mut consumer = simple();
    assert_eq!(values(&mut consumer, 2), ["0", "1"]);
    consumer.commit().unwrap().wait().unwrap();
    let mut consumer = simple();
    assert_eq!(values(&mut consumer, 2), ["2", "3"]);
    let member = group.join("email").unwrap();
    let error = consumer.commit().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownMemberId, "{error}");
    assert!(error.is_fenced());
    drop(member);
    consumer.commit().unwrap().wait().unwrap();
    assert_eq!(committed(&cluster, "mailer"), [4]);
    let mut nameless = cluster.consumer().build().unwrap();
    nameless.assign(email.partitions()).unwrap();
    let error = nameless.commit().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidGroupId, "{error}");
}

#[test]
fn of_commits_that_are_under_way_the_last_counts() {
    let cluster = cluster("email", 1);
    let email = cluster.topic("email").unwrap().partition(0).unwrap();
    let mut consumer = cluster.consumer_group("mailer").join("email").unwrap();
    let commits = (1..=100u32)
        .map(|n| consumer.commit_offsets([(&email, NextOffset::at(Offset::from(n)))]).unwrap());
    let commits = commits.collect::<Vec<_>>();
    commits.into_iter().rev().for_each(|commit| commit.wait().unwrap());
    assert_eq!(committed(&cluster, "mailer"), [100]);
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
