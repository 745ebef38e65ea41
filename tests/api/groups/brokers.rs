//! Groups and the brokers that keep them.

use std::thread;
use std::time::Duration;

use brooklet::sim::{Clock, Disk, Simulation};
use brooklet::{
    Broker, Cluster, ClusterBuilder, Consumer, ConsumerGroup, ErrorKind, NewTopic, NextOffset,
    Offset, Outcome,
};

use super::{counted, events, numbers, send, settle, values, wait};

fn three() -> Cluster {
    let cluster = Cluster::builder().brokers(3).in_memory().unwrap();
    let email = NewTopic::new("email").partitions(2).replication_factor(3);
    cluster.create_topic(email).unwrap();
    cluster
}

#[test]
fn commits_go_on_when_the_coordinator_crashes_and_nothing_is_forgotten() {
    let cluster = three();
    let group = cluster.consumer_group("mailer");
    let mut members = [group.join("email").unwrap(), group.join("email").unwrap()];
    let [first, second] = &mut members;
    settle(&mut [first, second]);
    let had = members.each_ref().map(numbers);
    let ids = members.each_ref().map(|m| m.group_metadata().unwrap().member_id);
    for round in 1..=3u32 {
        let before = group.describe().unwrap();
        let broker = cluster.broker(before.coordinator.unwrap().value()).unwrap();
        let commits = members.each_mut().map(|member| {
            let offsets = member.assignment().into_iter();
            let next = NextOffset::at(Offset::from(round)).metadata(round.to_string());
            member.commit_offsets(offsets.map(|at| (at, next.clone()))).unwrap()
        });
        broker.crash().unwrap();
        commits.into_iter().for_each(|commit| commit.wait().unwrap());
        wait("the group has a coordinator", || group.describe().is_ok());
        let after = group.describe().unwrap();
        assert_ne!(after.coordinator, before.coordinator);
        let offsets = group.committed_offsets().unwrap();
        let offsets = offsets.values().map(|next| (next.offset(), next.note())).collect::<Vec<_>>();
        let note = round.to_string();
        assert_eq!(offsets, [(Offset::from(round), &*note); 2]);
        for (member, (had, id)) in members.iter_mut().zip(had.iter().zip(&ids)) {
            let told = member.poll(Duration::ZERO).unwrap().rebalances().to_vec();
            assert!(round == 1 || told.is_empty(), "{told:?}");
            assert_eq!((&numbers(member), &member.group_metadata().unwrap().member_id), (had, id));
        }
        broker.start().unwrap();
        let in_sync = || {
            let offsets = cluster.topic("__consumer_offsets").unwrap().describe().unwrap();
            offsets.partitions.iter().all(|partition| partition.isr.len() == 3)
        };
        wait("the broker is in sync", in_sync);
    }
}

/// The brokers that do not coordinate the group.
fn others(cluster: &Cluster, group: &ConsumerGroup) -> Vec<Broker> {
    let coordinator = group.describe().unwrap().coordinator.unwrap();
    cluster.brokers().into_iter().filter(|broker| broker.id() != coordinator).collect()
}

#[test]
fn who_leaves_is_succeeded_when_its_commits_are_decided() {
    let cluster = three();
    send(&cluster, "email", counted(0..2));
    let group = cluster.consumer_group("mailer");
    let mut first = group.consumer().enable_auto_commit(true).join("email").unwrap();
    values(&mut first, 2);
    let others = others(&cluster, &group);
    others.iter().for_each(Broker::pause);
    drop(first);
    let mut second = group.join("email").unwrap();
    for _ in 0..20 {
        second.poll(Duration::from_millis(1)).unwrap();
        assert!(numbers(&second).is_empty(), "it is not known where it begins");
    }
    others.iter().for_each(Broker::resume);
    settle(&mut [&mut second]);
    assert_eq!(numbers(&second), [0, 1]);
    assert!(second.positions().into_values().all(|offset| offset == Offset::from(1)));
}

/// It used to leave while its commit was under way: that could not be tried again then.
#[test]
fn who_closes_while_the_coordinator_crashes_has_committed() {
    let cluster = three();
    send(&cluster, "email", counted(0..2));
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.consumer().enable_auto_commit(true).join("email").unwrap();
    values(&mut consumer, 2);
    let others = others(&cluster, &group);
    let coordinator = cluster.broker(group.describe().unwrap().coordinator.unwrap().value());
    others.iter().for_each(Broker::pause);
    let closing = thread::spawn(move || consumer.close());
    thread::sleep(Duration::from_millis(50));
    coordinator.unwrap().crash().unwrap();
    others.iter().for_each(Broker::resume);
    closing.join().unwrap().unwrap();
    let offsets = group.committed_offsets().unwrap();
    assert!(offsets.len() == 2 && offsets.values().all(|next| next.offset() == Offset::from(1)));
    wait("it has left", || group.describe().is_ok_and(|group| group.members.is_empty()));
}

/// The first try may be in the log, whatever the next is refused for.
#[test]
fn a_commit_that_its_coordinator_took_with_it_is_not_said_to_have_failed() {
    let cluster = three();
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.join("email").unwrap();
    consumer.poll(Duration::ZERO).unwrap();
    let others = others(&cluster, &group);
    let coordinator = cluster.broker(group.describe().unwrap().coordinator.unwrap().value());
    others.iter().for_each(Broker::pause);
    let mut commit = consumer.commit().unwrap();
    let error = commit.wait_timeout(Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    coordinator.unwrap().crash().unwrap();
    others.iter().for_each(Broker::resume);
    wait("the group has a coordinator", || group.describe().is_ok());
    group.remove_member(&consumer.group_metadata().unwrap().member_id).unwrap();
    let error = commit.wait().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::UnknownMemberId, Outcome::Unknown));
}

/// Nobody can say anything for a group while no replica of its partition lives: its members read on.
#[test]
fn without_a_coordinator_members_read_on_and_commits_wait() {
    let cluster = Cluster::builder()
        .brokers(3)
        .config("offsets.topic.replication.factor", 1)
        .in_memory()
        .unwrap();
    let email = NewTopic::new("email").partitions(2).replication_factor(3);
    cluster.create_topic(email).unwrap();
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.join("email").unwrap();
    consumer.poll(Duration::ZERO).unwrap();
    consumer.commit().unwrap().wait().unwrap();
    let broker = cluster.broker(group.describe().unwrap().coordinator.unwrap().value()).unwrap();
    broker.stop().unwrap();
    assert_eq!(group.describe().unwrap_err().kind(), ErrorKind::CoordinatorNotAvailable);
    send(&cluster, "email", counted(0..2));
    let mut read = values(&mut consumer, 2);
    read.sort();
    assert_eq!(read, ["0", "1"]);
    let mut commit = consumer.commit().unwrap();
    assert_eq!(commit.wait_timeout(Duration::ZERO).unwrap_err().kind(), ErrorKind::TimedOut);
    let waiting = thread::spawn(move || commit.wait());
    broker.start().unwrap();
    waiting.join().unwrap().unwrap();
    assert_eq!(group.lag().unwrap().total().records, 0);
}

#[test]
fn who_subscribes_to_others_without_a_coordinator_is_heard_when_there_is_one() {
    let cluster = Cluster::builder()
        .brokers(3)
        .config("offsets.topic.replication.factor", 1)
        .in_memory()
        .unwrap();
    for name in ["email", "sms"] {
        cluster.create_topic(NewTopic::new(name).replication_factor(3)).unwrap();
    }
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.join("email").unwrap();
    let broker = cluster.broker(group.describe().unwrap().coordinator.unwrap().value()).unwrap();
    broker.stop().unwrap();
    consumer.subscribe("sms").unwrap();
    consumer.poll(Duration::ZERO).unwrap();
    let topics = |consumer: &Consumer| {
        consumer.assignment().iter().map(|at| at.topic.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(topics(&consumer), ["email"]);
    broker.start().unwrap();
    wait("it is heard", || {
        consumer.poll(Duration::ZERO).unwrap();
        topics(&consumer) == ["sms"]
    });
}

/// It has answered its summons, and nobody was to summon it once more.
#[test]
fn who_could_not_be_told_what_is_new_asks_again() {
    let disks = [Disk::new(), Disk::new()];
    let cluster = Cluster::builder()
        .broker_on(1, &disks[0])
        .broker_on(2, &disks[1])
        .config("offsets.topic.replication.factor", 1)
        .config("offsets.topic.num.partitions", 1)
        .open()
        .unwrap();
    let email = NewTopic::new("email").partitions(2).replication_factor(2);
    let email = cluster.create_topic(email).unwrap();
    let group = cluster.consumer_group("mailer");
    let mut first = group.join("email").unwrap();
    let mut second = group.join("email").unwrap();
    let coordinator = group.describe().unwrap().coordinator.unwrap();
    let disk = &disks[usize::try_from(coordinator.value()).unwrap() - 1];
    let broker = cluster.broker(coordinator.value()).unwrap();
    // Somewhere in the first batch, for which nobody has waited.
    let (log, place) = ("/__consumer_offsets-0/00000000000000000000.log", 70);
    wait("it is written", || disk.read(log).is_ok_and(|bytes| bytes.len() > place));
    broker.stop().unwrap();
    let byte = disk.read(log).unwrap()[place];
    disk.damage(log, place as u64, &[!byte]).unwrap();
    broker.start().unwrap();
    wait("all are in sync", || {
        email.describe().unwrap().partitions.iter().all(|partition| partition.isr.len() == 2)
    });
    // Until nothing more changes: it would have to ask for that.
    thread::sleep(Duration::from_millis(200));
    let error = first.poll(Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CoordinatorNotAvailable, "{error}");
    disk.damage(log, place as u64, &[byte]).unwrap();
    settle(&mut [&mut first, &mut second]);
    assert_eq!((numbers(&first).len(), numbers(&second).len()), (1, 1));
}

#[test]
fn the_topic_of_groups_gets_replicas_as_brokers_come() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::builder().broker(1, dir.path().join("1")).open().unwrap();
    cluster.create_topic(NewTopic::new("email")).unwrap();
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.join("email").unwrap();
    consumer.commit().unwrap().wait().unwrap();
    let replicas = || {
        let offsets = cluster.topic("__consumer_offsets").unwrap().describe().unwrap();
        let in_sync = offsets.partitions.iter().map(|partition| partition.isr.len());
        (offsets.partitions.len(), in_sync.min().unwrap(), in_sync_max(&offsets))
    };
    assert_eq!(replicas(), (50, 1, 1));
    cluster.add_broker(2, dir.path().join("2")).unwrap();
    wait("two replicas", || replicas() == (50, 2, 2));
    cluster.add_broker(3, dir.path().join("3")).unwrap();
    wait("three replicas", || replicas() == (50, 3, 3));
    consumer.commit().unwrap().wait().unwrap();
    let leader = group.describe().unwrap().coordinator.unwrap();
    cluster.broker(leader.value()).unwrap().stop().unwrap();
    wait("another coordinator", || group.describe().is_ok());
    assert_eq!(group.committed_offsets().unwrap().len(), 1);
}

/// Of a member that has left, the next coordinator takes no commits.
#[test]
fn a_member_that_is_closed_leaves_when_its_last_commit_is_done() {
    for seed in 0..4 {
        Simulation::new(seed).run(|sim| {
            let cluster = three();
            send(&cluster, "email", counted(0..4));
            let group = cluster.consumer_group("mailer");
            let consumer = group.consumer().enable_auto_commit(true);
            let mut consumer = consumer.join("email").unwrap();
            values(&mut consumer, 4);
            let before = group.describe().unwrap().coordinator.unwrap();
            // Nobody but the coordinator gets the commit.
            let others = cluster.brokers().into_iter().filter(|broker| broker.id() != before);
            let others = others.collect::<Vec<_>>();
            others.iter().for_each(Broker::pause);
            let closing = sim.spawn("closing", move || consumer.close());
            sim.sleep(Duration::from_millis(100));
            cluster.broker(before.value()).unwrap().crash().unwrap();
            others.iter().for_each(Broker::resume);
            closing.join().unwrap();
            while group.describe().is_err() {
                sim.sleep(Duration::from_millis(10));
            }
            let committed = group.committed_offsets().unwrap().into_values();
            let committed = committed.map(|next| next.offset()).collect::<Vec<_>>();
            assert_eq!(committed, [Offset::from(2), Offset::from(2)]);
            assert!(group.members().unwrap().is_empty());
        });
    }
}

/// One whose coordinator can be stopped, and its broker.
fn with_one_coordinator(builder: ClusterBuilder) -> (Cluster, Broker) {
    let builder = builder.brokers(3).config("offsets.topic.replication.factor", 1);
    let cluster = builder.in_memory().unwrap();
    let email = NewTopic::new("email").partitions(2).replication_factor(3);
    cluster.create_topic(email).unwrap();
    drop(cluster.consumer_group("mailer").join("email").unwrap());
    let described = cluster.consumer_group("mailer").describe().unwrap();
    let broker = cluster.broker(described.coordinator.unwrap().value()).unwrap();
    (cluster, broker)
}

/// They went before the commit did, which was not due for long.
#[test]
fn what_goes_to_others_is_committed_before_even_if_the_group_had_no_coordinator() {
    let (cluster, broker) = with_one_coordinator(Cluster::builder());
    send(&cluster, "email", counted(0..8));
    let group = cluster.consumer_group("mailer");
    let hour = Duration::from_secs(3600);
    let join = || {
        let consumer = group.consumer().enable_auto_commit(true).auto_commit_interval(hour);
        consumer.join("email").unwrap()
    };
    let mut first = join();
    assert_eq!(values(&mut first, 8).len(), 8);
    let mut second = join();
    assert!(events(&mut first)[0].starts_with("revoked"));
    broker.stop().unwrap();
    first.poll(Duration::ZERO).unwrap();
    assert_eq!(numbers(&first).len(), 1, "it has given up the other");
    broker.start().unwrap();
    settle(&mut [&mut first, &mut second]);
    let [gone] = &second.assignment()[..] else { panic!("{second:?}") };
    let committed = group.committed_offsets().unwrap().into_iter();
    let committed = committed.map(|(at, next)| (at, next.offset())).collect::<Vec<_>>();
    assert_eq!(committed, [(gone.clone(), Offset::from(4))]);
}

/// It took back what the member between had committed.
#[test]
fn a_commit_that_nobody_has_taken_ends_with_the_assignment() {
    let (cluster, broker) = with_one_coordinator(Cluster::builder());
    let group = cluster.consumer_group("mailer");
    let mut first = group.join("email").unwrap();
    settle(&mut [&mut first]);
    let next = |offset: u32| NextOffset::at(Offset::from(offset));
    let all = first.assignment();
    broker.stop().unwrap();
    let mut early = all.iter().map(|at| first.commit_offsets([(at, next(10))]).unwrap());
    let early = [early.next().unwrap(), early.next().unwrap()];
    broker.start().unwrap();
    let mut second = group.join("email").unwrap();
    settle(&mut [&mut first, &mut second]);
    let gone = second.assignment().remove(0);
    second.commit_offsets([(&gone, next(20))]).unwrap().wait().unwrap();
    drop(second);
    settle(&mut [&mut first]);
    assert_eq!(first.assignment(), all);
    for (at, commit) in all.iter().zip(early) {
        let committed = commit.wait();
        if *at == gone {
            assert_eq!(committed.unwrap_err().kind(), ErrorKind::StaleMemberEpoch);
            assert_eq!(first.committed(at).unwrap().unwrap().offset(), Offset::from(20));
        } else {
            committed.unwrap();
            assert_eq!(first.committed(at).unwrap().unwrap().offset(), Offset::from(10));
        }
    }
    first.commit_offsets([(&gone, next(21))]).unwrap().wait().unwrap();
}

#[test]
fn a_commit_that_nobody_has_taken_in_time_is_not_tried_again() {
    let clock = Clock::new();
    let (cluster, broker) = with_one_coordinator(Cluster::builder().clock(&clock));
    let group = cluster.consumer_group("mailer");
    let consumer = group.consumer().default_api_timeout(Duration::from_secs(5));
    let mut consumer = consumer.join("email").unwrap();
    consumer.poll(Duration::ZERO).unwrap();
    broker.stop().unwrap();
    let commit = consumer.commit().unwrap();
    clock.advance(Duration::from_secs(6));
    broker.start().unwrap();
    let error = commit.wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CoordinatorNotAvailable, "{error}");
    assert!(group.committed_offsets().unwrap().is_empty());
    consumer.commit().unwrap().wait().unwrap();
}

#[test]
fn a_commit_waits_for_replicas_to_be_in_sync() {
    let cluster = Cluster::builder()
        .brokers(2)
        .config("min.insync.replicas", 2)
        .config("offsets.topic.replication.factor", 2)
        .in_memory()
        .unwrap();
    cluster.create_topic(NewTopic::new("email").replication_factor(2)).unwrap();
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.join("email").unwrap();
    consumer.commit().unwrap().wait().unwrap();
    let coordinator = group.describe().unwrap().coordinator;
    let mut others = cluster.brokers().into_iter().filter(|b| Some(b.id()) != coordinator);
    let other = others.next().unwrap();
    other.stop().unwrap();
    let email = cluster.topic("email").unwrap().partition(0).unwrap();
    let next = NextOffset::at(Offset::from(7));
    let mut commit = consumer.commit_offsets([(&email, next)]).unwrap();
    for _ in 0..3 {
        let error = commit.wait_timeout(Duration::from_millis(30)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    }
    other.start().unwrap();
    commit.wait().unwrap();
    assert_eq!(consumer.committed(&email).unwrap().unwrap().offset(), Offset::from(7));
}

fn in_sync_max(topic: &brooklet::TopicDescription) -> usize {
    topic.partitions.iter().map(|partition| partition.isr.len()).max().unwrap_or(0)
}
