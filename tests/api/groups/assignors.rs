//! Who decides which member reads what.

use std::sync::Arc;

use brooklet::{Assignor, Cluster, ErrorKind, GroupAssignment, GroupProtocol, GroupSpec, NewTopic};
use parking_lot::Mutex;

use super::{cluster, numbers, settle};

#[test]
fn every_assignor_shares_out_everything_in_both_protocols() {
    for protocol in [GroupProtocol::Consumer, GroupProtocol::Classic] {
        for name in ["uniform", "range", "roundrobin", "sticky", "cooperative-sticky"] {
            let cluster = cluster("email", 7);
            let group = cluster.consumer_group("mailer");
            let join =
                || group.consumer().group_protocol(protocol).assignor(name).join("email").unwrap();
            let mut members = [join(), join(), join()];
            settle(&mut members.iter_mut().collect::<Vec<_>>());
            let mut shares = members.iter().map(|m| numbers(m).len()).collect::<Vec<_>>();
            shares.sort();
            assert_eq!(shares, [2, 2, 3], "{protocol} {name}");
            let mut all = members.iter().flat_map(numbers).collect::<Vec<_>>();
            all.sort();
            assert_eq!(all, [0, 1, 2, 3, 4, 5, 6], "{protocol} {name}");
            assert_eq!(group.describe().unwrap().assignor.as_deref(), Some(name), "{protocol}");
        }
    }
}

#[test]
fn an_assignor_that_there_is_not_is_an_error() {
    let cluster = cluster("email", 1);
    let group = cluster.consumer_group("mailer");
    let error = group.consumer().assignor("fair").join("email").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedAssignor, "{error}");
    assert!(error.to_string().contains("uniform"), "{error}");
    assert!(cluster.consumer_groups().unwrap().is_empty());
}

#[test]
fn members_of_a_classic_group_have_an_assignor_in_common() {
    let cluster = cluster("email", 2);
    let group = cluster.consumer_group("mailer");
    let join = |names: &str| {
        let consumer = group.consumer().group_protocol(GroupProtocol::Classic);
        consumer.config("partition.assignment.strategy", names).join("email")
    };
    let mut first = join("range,sticky").unwrap();
    let error = join("roundrobin").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InconsistentGroupProtocol, "{error}");
    let mut second = join("roundrobin,sticky").unwrap();
    settle(&mut [&mut first, &mut second]);
    assert_eq!(group.describe().unwrap().assignor.as_deref(), Some("sticky"));
}

/// Gives everything to one member, as long as it is there.
#[derive(Debug)]
struct OneReads;

impl Assignor for OneReads {
    fn name(&self) -> &str {
        "one-reads"
    }

    fn assign(&self, group: &GroupSpec) -> GroupAssignment {
        let mut assignment = GroupAssignment::empty(group);
        for topic in group.topics() {
            let before = topic.partitions().find_map(|partition| partition.previous_owner());
            if let Some(reader) = before.or_else(|| topic.subscribers().next()) {
                topic.partitions().for_each(|partition| assignment.give(partition, reader));
            }
        }
        assignment
    }
}

#[test]
fn an_application_brings_in_an_assignor_of_its_own() {
    let cluster = Cluster::builder().assignor(OneReads).in_memory().unwrap();
    cluster.create_topic(NewTopic::new("email").partitions(4)).unwrap();
    for protocol in [GroupProtocol::Consumer, GroupProtocol::Classic] {
        let group = cluster.consumer_group(protocol.to_string());
        let join = || {
            let consumer = group.consumer().group_protocol(protocol).assignor("one-reads");
            consumer.join("email").unwrap()
        };
        let (mut first, mut second) = (join(), join());
        settle(&mut [&mut first, &mut second]);
        assert_eq!((numbers(&first).len(), numbers(&second).len()), (4, 0), "{protocol}");
        drop(first);
        settle(&mut [&mut second]);
        assert_eq!(numbers(&second).len(), 4, "{protocol}");
    }
}

/// Gives nothing to anybody but by a panic, or asks for what it must not ask.
#[derive(Debug)]
struct Unruly {
    cluster: Arc<Mutex<Option<Cluster>>>,
    asked: Arc<Mutex<Option<ErrorKind>>>,
}

impl Assignor for Unruly {
    fn name(&self) -> &str {
        "unruly"
    }

    fn assign(&self, group: &GroupSpec) -> GroupAssignment {
        let asked = self.cluster.lock().clone().unwrap();
        let asked = asked.consumer_group("mailer").describe();
        *self.asked.lock() = asked.err().map(|error| error.kind());
        if group.members().count() != 2 {
            return OneReads.assign(group);
        }
        panic!("two members are one too many");
    }
}

#[test]
fn an_assignor_that_panics_or_asks_the_coordinator_changes_nothing() {
    let (cell, asked) = (Arc::default(), Arc::default());
    let unruly = Unruly { cluster: Arc::clone(&cell), asked: Arc::clone(&asked) };
    let cluster = Cluster::builder().assignor(unruly).in_memory().unwrap();
    *cell.lock() = Some(cluster.clone());
    cluster.create_topic(NewTopic::new("email").partitions(4)).unwrap();
    let group = cluster.consumer_group("mailer");
    for protocol in [GroupProtocol::Consumer, GroupProtocol::Classic] {
        let join = || {
            let consumer = group.consumer().group_protocol(protocol).assignor("unruly");
            consumer.join("email").unwrap()
        };
        let mut first = join();
        settle(&mut [&mut first]);
        assert_eq!(asked.lock().take(), Some(ErrorKind::InvalidState), "{protocol}");
        let mut second = join();
        settle(&mut [&mut first, &mut second]);
        assert_eq!((numbers(&first).len(), numbers(&second).len()), (4, 0), "{protocol}");
        first.commit().unwrap().wait().unwrap();
        let mut third = join();
        settle(&mut [&mut first, &mut second, &mut third]);
        drop((first, second));
        settle(&mut [&mut third]);
        assert_eq!(numbers(&third).len(), 4, "{protocol}");
    }
    // They hold on to each other.
    *cell.lock() = None;
}
