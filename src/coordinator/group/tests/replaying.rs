//! What a group's records say to who reads them.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::coordinator::records::{ClassicAssignment, Decoded};

/// The group that these records make, after compaction or without.
pub(super) fn replayed(records: &[CoordinatorRecord], compacted: bool) -> Group {
    let mut last = BTreeMap::<Bytes, usize>::new();
    for (at, record) in records.iter().enumerate() {
        last.insert(record.encode_key(), at);
    }
    let mut group = Group::new(GroupId::new("mailer").unwrap());
    for (at, record) in records.iter().enumerate() {
        if !compacted || last.get(&record.encode_key()) == Some(&at) {
            // By way of their bytes.
            let (key, value) = (record.encode_key(), record.encode_value());
            let decoded = CoordinatorRecord::decode(&key, value.as_deref()).unwrap();
            let Decoded::Record(record) = decoded else { panic!("{decoded:?}") };
            group.replay(record);
        }
    }
    group
}

/// As [`replayed`], with all tombstones gone as well.
fn replayed_long_after(records: &[CoordinatorRecord]) -> Group {
    let mut last = BTreeMap::<Bytes, usize>::new();
    for (at, record) in records.iter().enumerate() {
        last.insert(record.encode_key(), at);
    }
    let kept = last.into_values().collect::<std::collections::BTreeSet<_>>();
    let kept = kept.into_iter().map(|at| records[at].clone());
    let kept = kept.filter(|record| record.encode_value().is_some()).collect::<Vec<_>>();
    replayed(&kept, false)
}

fn with_offsets(lab: &mut Lab) {
    for (partition, offset) in [(0, 5), (1, 7), (0, 9)] {
        offsets::commit(lab, None, "email", partition, offset).unwrap();
    }
}

/// Comes to rest with two members, of which one steps out of the group.
fn lived(lab: &mut Lab, wants: &JoinRequest) {
    let mut first = lab.join(wants.clone());
    let mut second = lab.join(wants.clone().of_instance("i"));
    lab.settle(&mut [&mut first, &mut second]);
    lab.leave(&second, false);
    let mut third = lab.join(wants.clone());
    lab.settle(&mut [&mut first, &mut third]);
}

#[test]
fn another_process_finds_offsets_and_epochs_and_no_members() {
    for wants in [
        consumer(&["email"]),
        classic(&["email"], &["range"]),
        classic(&["email"], &["cooperative-sticky"]),
    ] {
        let mut lab = Lab::new(&[("email", 6)]);
        with_offsets(&mut lab);
        lived(&mut lab, &wants);
        let recorded = match wants.protocol {
            GroupProtocol::Consumer => lab.group.epoch,
            GroupProtocol::Classic => lab.group.recorded_generation,
        };
        let offsets = lab.all_committed();
        for mut again in [
            replayed(&lab.records, false),
            replayed(&lab.records, true),
            replayed_long_after(&lab.records),
        ] {
            assert!(!again.logged.is_empty());
            let mut lab = Lab::new(&[("email", 6)]);
            std::mem::swap(&mut lab.group, &mut again);
            lab.act(|group, world, changes| group.adopt(None, world, changes));
            assert!(!lab.group.has_members());
            assert_eq!(lab.state(), GroupState::Empty);
            assert_eq!(lab.group.protocol(), Some(wants.protocol));
            assert!(lab.group.epoch > recorded, "{} after {recorded}", lab.group.epoch);
            assert_eq!(lab.all_committed(), offsets);
            // What it has recorded of that is known to the next.
            let next = replayed(&lab.records, false);
            assert!(next.logged.is_empty());
            assert_eq!(next.epoch, lab.group.epoch);
        }
    }
}

#[test]
fn a_new_coordinator_interrupts_nobody() {
    for wants in [consumer(&["email"]), classic(&["email"], &["range"])] {
        let mut lab = Lab::new(&[("email", 6)]);
        let mut clients = [lab.join(wants.clone()), lab.join(wants.clone())];
        let [first, second] = &mut clients;
        lab.settle(&mut [&mut *first, &mut *second]);
        let (has, epoch) = (lab.has(first), lab.group.epoch);
        let mut before = replayed(&lab.records, false);
        std::mem::swap(&mut lab.group, &mut before);
        lab.act(|group, world, changes| group.adopt(Some(before), world, changes));
        assert_eq!(lab.group.epoch, epoch);
        assert_eq!(lab.state(), GroupState::Stable);
        assert!(!first.is_summoned() && !second.is_summoned());
        lab.heartbeat(first).unwrap();
        assert_eq!(lab.has(first), has);
        assert!(first.told.is_settled);
    }
}

/// Nobody could have heard it.
#[test]
fn who_is_to_answer_has_all_its_time_with_a_new_coordinator() {
    let mut lab = Lab::new(&[("email", 2)]);
    let first = lab.join(consumer(&["email"]));
    first.handle.waits();
    let _second = lab.join(consumer(&["email"]));
    assert!(first.is_summoned());
    lab.pass(Duration::from_secs(1_000));
    let before = std::mem::replace(&mut lab.group, Group::new(GroupId::new("mailer").unwrap()));
    lab.act(|group, world, changes| group.adopt(Some(before), world, changes));
    for is_there in [true, true, true, false] {
        lab.tick();
        assert_eq!(lab.group.has_member(first.handle.member()), is_there);
        lab.pass(Duration::from_secs(100));
    }
}

#[test]
fn what_the_log_has_lost_a_new_coordinator_records_again() {
    let mut lab = Lab::new(&[("email", 6)]);
    let mut client = lab.join(consumer(&["email"]));
    lab.settle(&mut [&mut client]);
    let epoch = lab.group.epoch;
    let before = std::mem::replace(&mut lab.group, Group::new(GroupId::new("mailer").unwrap()));
    lab.records.clear();
    lab.act(|group, world, changes| group.adopt(Some(before), world, changes));
    let again = replayed(&lab.records, true);
    assert_eq!((again.epoch, again.protocol()), (epoch, Some(GroupProtocol::Consumer)));
    assert!(!again.logged.is_empty());
}

#[test]
fn an_empty_group_may_be_of_the_other_protocol_next() {
    let mut lab = Lab::new(&[("email", 2)]);
    with_offsets(&mut lab);
    let offsets = lab.all_committed();
    let mut epoch = 0;
    let kinds = [consumer(&["email"]), classic(&["email"], &["range"]), consumer(&["email"])];
    for wants in kinds.iter().cycle().take(6) {
        let mut client = lab.join(wants.clone());
        lab.settle(&mut [&mut client]);
        assert_eq!(lab.has(&client), "email-0 email-1");
        lab.leave(&client, true);
        assert!(lab.group.epoch > epoch);
        epoch = lab.group.epoch;
        for again in [
            replayed(&lab.records, false),
            replayed(&lab.records, true),
            replayed_long_after(&lab.records),
        ] {
            assert_eq!(again.protocol(), Some(wants.protocol));
            assert_eq!(again.epoch, epoch);
            assert!(again.logged.is_empty());
            assert_eq!(again.all_committed(&lab.world()), offsets);
        }
    }
}

#[test]
fn a_generation_of_a_classic_group_is_recorded_when_it_is_stable() {
    let mut lab = Lab::new(&[("email", 4)]);
    let mut first = lab.join(classic(&["email"], &["range", "sticky"]));
    let mut second = lab.join(classic(&["email"], &["range"]).of_instance("i"));
    let of_groups = |lab: &Lab| {
        let values = lab.records.iter().filter_map(|record| match record {
            CoordinatorRecord::ClassicGroup { value, .. } => value.clone(),
            _ => panic!("{record:?}"),
        });
        values.collect::<Vec<_>>()
    };
    assert_eq!(of_groups(&lab).len(), 1, "the first was alone");
    lab.settle(&mut [&mut first, &mut second]);
    let all = of_groups(&lab);
    let [_, value] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(value.protocol_type.as_str(), "consumer");
    assert_eq!(value.generation, lab.group.epoch);
    assert_eq!(value.protocol.as_ref().map(ShortText::as_str), Some("range"));
    assert_eq!(value.leader, Some(member_id("c001")));
    let [_, member] = value.members.as_slice() else { panic!("{value:?}") };
    assert_eq!(member.instance, InstanceId::new("i"));
    assert_eq!(member.session_timeout, Duration::from_secs(45));
    assert_eq!(member.rebalance_timeout, Duration::from_secs(300));
    // A range of the static member, which comes first.
    let assignment = ClassicAssignment::decode(&member.assignment).unwrap();
    let partitions = [0, 1].map(|p| TopicPartition::new(name("email"), number(p)));
    assert_eq!(assignment.partitions, partitions.into());
    lab.leave(&first, true);
    lab.leave(&second, true);
    let last = of_groups(&lab).pop().unwrap();
    assert_eq!((last.protocol, last.members.len()), (None, 0));
    assert_eq!(last.state_changed_at, Some(wall_clock(lab.now)));
}

#[test]
fn a_log_with_offsets_only_is_a_simple_group() {
    let mut lab = Lab::new(&[("email", 2)]);
    with_offsets(&mut lab);
    let again = replayed(&lab.records, true);
    assert_eq!((again.protocol(), again.state()), (None, GroupState::Empty));
    lab.group = again;
    assert_eq!(lab.committed("email", 0), Some(9));
}
