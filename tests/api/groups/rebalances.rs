//! How partitions go from one member to another.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use brooklet::sim::Simulation;
use brooklet::{
    Cluster, ErrorKind, GroupProtocol, GroupState, NewTopic, Offset, RebalanceEvent, Record,
    Revocation,
};

use super::{LONG, cluster, counted, events, numbers, send, settle, texts, values, wait};

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

/// Each partition is read without a gap by whoever keeps it, whatever others do.
#[test]
fn a_partition_that_stays_is_read_without_a_gap_while_others_come_and_go() {
    let cluster = cluster("email", 6);
    let email = cluster.topic("email").unwrap();
    let group = cluster.consumer_group("mailer");
    let mut member = group.consumer().max_poll_records(7).join("email").unwrap();
    let stop = member.wakeup();
    let reading = thread::spawn(move || {
        let mut read = vec![Vec::new(); 6];
        let mut moved = BTreeSet::new();
        loop {
            let records = member.poll(LONG).unwrap();
            if records.is_empty() && records.rebalances().is_empty() {
                return (read, moved);
            }
            for event in records.rebalances() {
                if !matches!(event, RebalanceEvent::Assigned(_)) {
                    moved.extend(event.partitions().iter().map(|at| u32::from(at.partition)));
                }
            }
            for record in &records {
                let partition = usize::try_from(record.partition().value()).unwrap();
                read[partition].push(record.offset().value());
            }
        }
    });
    let producer = cluster.producer().build().unwrap();
    let mut members = Vec::new();
    for round in 0..40 {
        for n in 0..60u32 {
            let record = Record::to(&email).partition(n % 6).value("v");
            drop(producer.send(record).unwrap());
        }
        match round % 4 {
            0 | 1 => members.push(group.join("email").unwrap()),
            _ => drop(members.pop()),
        }
        for member in &mut members {
            member.poll(Duration::ZERO).unwrap();
        }
    }
    drop(members);
    producer.flush().unwrap();
    // What is there comes first.
    stop.wake();
    let (read, moved) = reading.join().unwrap();
    let kept = (0..6u32).filter(|partition| !moved.contains(partition)).collect::<Vec<_>>();
    assert!(!kept.is_empty(), "{moved:?}");
    for partition in kept {
        let read = &read[partition as usize];
        assert_eq!(*read, (0..400).collect::<Vec<_>>(), "email-{partition}");
    }
}

#[test]
fn what_the_hook_commits_is_where_the_next_owner_begins() {
    for protocol in [GroupProtocol::Consumer, GroupProtocol::Classic] {
        let cluster = cluster("email", 2);
        send(&cluster, "email", counted(0..20));
        let group = cluster.consumer_group("mailer");
        let join = || {
            let consumer = group.consumer().group_protocol(protocol).max_poll_records(3);
            consumer.assignor("cooperative-sticky").join("email").unwrap()
        };
        let mut first = join();
        let mut read = values(&mut first, 6);
        let (told, hears) = std::sync::mpsc::channel();
        first.on_revoke(move |revocation: &Revocation<'_>| {
            revocation.commit().unwrap().wait().unwrap();
            told.send(revocation.partitions().to_vec()).unwrap();
        });
        let mut second = join();
        // The partition goes within one poll.
        let records = first.poll(Duration::ZERO).unwrap();
        assert_eq!(records.rebalances().len(), 1);
        read.extend(texts(&records));
        let gone = hears.try_recv().unwrap();
        assert_eq!(gone.len(), 1);
        assert!(second.wait_assigned(LONG).unwrap());
        assert_eq!(second.assignment(), gone);
        for _ in 0..10 {
            read.extend(texts(&first.poll(Duration::ZERO).unwrap()));
            read.extend(texts(&second.poll(Duration::ZERO).unwrap()));
        }
        read.sort_by_key(|value| value.parse::<u32>().unwrap());
        assert_eq!(read, counted(0..20).collect::<Vec<_>>(), "once, {protocol}");
    }
}

#[test]
fn what_is_about_to_go_is_not_read_any_more_and_can_be_committed() {
    let cluster = cluster("email", 2);
    send(&cluster, "email", counted(0..20));
    let group = cluster.consumer_group("mailer");
    let mut first = group.consumer().max_poll_records(2).join("email").unwrap();
    first.poll(LONG).unwrap();
    let mut second = group.join("email").unwrap();
    let records = first.poll(Duration::ZERO).unwrap();
    let [RebalanceEvent::Revoked(going)] = records.rebalances() else { panic!("{records:?}") };
    assert!(records.iter().all(|record| *record.topic_partition() != going[0]));
    let position = first.positions()[&going[0]];
    first.commit().unwrap().wait().unwrap();
    first.poll(Duration::ZERO).unwrap();
    assert!(second.wait_assigned(LONG).unwrap());
    assert_eq!(second.position(&going[0]).unwrap(), position);
    let error = first.position(&going[0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
}

#[test]
fn a_member_that_only_waits_for_partitions_gives_up_nothing_before_it_is_told() {
    let cluster = cluster("email", 2);
    let group = cluster.consumer_group("mailer");
    let mut first = group.join("email").unwrap();
    first.poll(Duration::ZERO).unwrap();
    let mut second = group.join("email").unwrap();
    for _ in 0..3 {
        // Longer would be in vain: it would wait for itself.
        assert!(!first.wait_assigned(Duration::ZERO).unwrap());
        assert_eq!(numbers(&first), [0, 1]);
    }
    assert!(events(&mut first)[0].starts_with("revoked"));
    assert_eq!(numbers(&first), [0, 1]);
    first.poll(Duration::ZERO).unwrap();
    assert!(first.wait_assigned(LONG).unwrap());
    assert!(second.wait_assigned(LONG).unwrap());
}

/// Each of them has to poll before the other can have anything: nobody waits for anybody in here.
#[test]
fn two_members_live_in_one_thread() {
    let cluster = cluster("email", 4);
    send(&cluster, "email", counted(0..40));
    let group = cluster.consumer_group("mailer");
    let mut members = [group.join("email").unwrap(), group.join("email").unwrap()];
    let mut read = BTreeSet::new();
    while read.len() < 40 || members.iter().any(|member| member.assignment().len() != 2) {
        for member in &mut members {
            let records = member.poll(Duration::ZERO).unwrap();
            read.extend(texts(&records));
            member.commit().unwrap().wait().unwrap();
        }
    }
    assert_eq!(group.lag().unwrap().total().records, 0);
}

#[test]
fn a_group_may_wait_for_more_members_before_anybody_gets_anything() {
    let clock = brooklet::sim::Clock::new();
    let delay = ("group.initial.rebalance.delay.ms", 3000);
    let cluster = Cluster::builder().config(delay.0, delay.1).clock(&clock).in_memory().unwrap();
    cluster.create_topic(NewTopic::new("email").partitions(2)).unwrap();
    let group = cluster.consumer_group("mailer");
    let mut members = [group.join("email").unwrap(), group.join("email").unwrap()];
    assert_eq!(group.describe().unwrap().state, GroupState::Assigning);
    assert!(events(&mut members[0]).is_empty());
    clock.advance(Duration::from_secs(4));
    for member in &mut members {
        wait("it has its share", || {
            member.poll(Duration::ZERO).unwrap();
            numbers(member).len() == 1
        });
    }
}

#[test]
fn positions_and_pauses_are_of_one_life_of_an_assignment() {
    let cluster = cluster("email", 1);
    send(&cluster, "email", counted(0..4));
    let email = cluster.topic("email").unwrap().partition(0).unwrap();
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.join("email").unwrap();
    consumer.seek(&email, Offset::from(2)).unwrap();
    assert_eq!(values(&mut consumer, 2), ["2", "3"]);
    consumer.pause([&email]).unwrap();
    let id = consumer.group_metadata().unwrap().member_id;
    group.remove_member(&id).unwrap();
    // It begins anew: nothing was committed.
    assert_eq!(values(&mut consumer, 4), ["0", "1", "2", "3"]);
    assert!(consumer.paused().is_empty());
}

/// They used to go in the poll that said so.
#[test]
fn what_is_revoked_while_waiting_is_the_members_until_a_poll_has_said_so() {
    let cluster = cluster("email", 2);
    let group = cluster.consumer_group("mailer");
    let mut first = group.join("email").unwrap();
    first.poll(Duration::ZERO).unwrap();
    let mut second = group.join("email").unwrap();
    assert!(!first.wait_assigned(Duration::ZERO).unwrap(), "it has to give up one");
    let events = first.poll(Duration::ZERO).unwrap().rebalances().to_vec();
    assert!(matches!(&events[..], [RebalanceEvent::Revoked(going)] if going.len() == 1));
    assert!(!second.wait_assigned(Duration::ZERO).unwrap());
    first.commit().unwrap().wait().unwrap();
    first.poll(Duration::ZERO).unwrap();
    assert!(second.wait_assigned(LONG).unwrap());
    assert_eq!(numbers(&second).len(), 1);
}

/// It came back at once, again and again, for who had not asked for a poll.
#[test]
fn who_waits_for_partitions_and_has_to_give_some_up_waits_until_time_is_over() {
    Simulation::new(1).run(|sim| {
        let cluster = cluster("email", 2);
        let group = cluster.consumer_group("mailer");
        let mut first = group.join("email").unwrap();
        first.poll(Duration::ZERO).unwrap();
        let _second = group.join("email").unwrap();
        let before = sim.elapsed();
        assert!(!first.wait_assigned(Duration::from_secs(7)).unwrap());
        assert!(sim.elapsed() - before >= Duration::from_secs(7));
        assert_eq!(numbers(&first), [0, 1]);
    });
}

/// It was forgotten unless the consumer was subscribed, and with its subscription.
#[test]
fn a_hook_is_the_consumers_whatever_it_is_subscribed_to() {
    let cluster = cluster("email", 2);
    let email = cluster.topic("email").unwrap();
    let group = cluster.consumer_group("mailer");
    let mut first = group.consumer().build().unwrap();
    let (told, hears) = std::sync::mpsc::channel();
    first.on_revoke(move |revocation| told.send(revocation.partitions().len()).unwrap());
    for _ in 0..2 {
        first.subscribe(&email).unwrap();
        first.poll(Duration::ZERO).unwrap();
        let mut second = group.join(&email).unwrap();
        first.poll(Duration::ZERO).unwrap();
        assert_eq!(hears.try_recv(), Ok(1));
        assert!(second.wait_assigned(LONG).unwrap());
        first.unsubscribe();
    }
}
