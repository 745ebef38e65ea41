//! Placement, as Kafka's own functions printed it, and what holds of every placement.

use proptest::prelude::*;

use super::*;

fn id(id: i32) -> BrokerId {
    BrokerId::new(id).unwrap()
}

fn place(broker: i32, rack: Option<&str>) -> Place {
    Place { broker: id(broker), rack: rack.map(str::to_owned) }
}

fn without_racks(ids: impl IntoIterator<Item = i32>) -> Vec<Place> {
    ids.into_iter().map(|id| place(id, None)).collect()
}

/// The brokers of Kafka's example of racks.
fn in_racks() -> Vec<Place> {
    let racks = ["r1", "r3", "r3", "r2", "r2", "r1"];
    (0..).zip(racks).map(|(id, rack)| place(id, Some(rack))).collect()
}

fn numbers(assigned: Result<Vec<Vec<BrokerId>>, ClusterError>) -> Vec<Vec<i32>> {
    let list = |replicas: Vec<BrokerId>| replicas.into_iter().map(BrokerId::value).collect();
    assigned.unwrap().into_iter().map(list).collect()
}

#[test]
fn ten_partitions_on_five_brokers_are_placed_as_kafka_does() {
    let expected = [
        [0, 1, 2],
        [1, 2, 3],
        [2, 3, 4],
        [3, 4, 0],
        [4, 0, 1],
        [0, 2, 3],
        [1, 3, 4],
        [2, 4, 0],
        [3, 0, 1],
        [4, 1, 2],
    ];
    assert_eq!(numbers(assign(&without_racks(0..5), 0..10, 3, 0, 0)), expected);
}

#[test]
fn brokers_in_racks_are_placed_as_kafka_does() {
    let expected = [[0, 3, 1], [3, 1, 5], [1, 5, 4], [5, 4, 2], [4, 2, 0], [2, 0, 3], [0, 4, 2]];
    assert_eq!(numbers(assign(&in_racks(), 0..7, 3, 0, 0)), expected);
    let mut reversed = in_racks();
    reversed.reverse();
    assert_eq!(numbers(assign(&reversed, 0..7, 3, 0, 0)), expected);
}

#[test]
fn topics_begin_at_another_broker_and_with_another_shift() {
    let brokers = without_racks([3, 1, 2]);
    let email = [[2, 3, 1], [3, 1, 2], [1, 2, 3]];
    assert_eq!(numbers(assign(&brokers, 0..3, 3, 1, 0)), email);
    let slack = [[2, 1], [3, 2], [1, 3]];
    assert_eq!(numbers(assign(&brokers, 0..3, 2, 1, 1)), slack);
}

#[test]
fn start_goes_round_the_brokers_and_shift_with_each_round() {
    let places: Vec<_> = (0..8).map(|topics| start_and_shift(topics, 3)).collect();
    assert_eq!(places, [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (0, 0), (1, 0)]);
    for topics in [0, 1, 2, u64::MAX] {
        assert_eq!(start_and_shift(topics, 1), (0, 0));
        assert_eq!(start_and_shift(topics, 0), (0, 0));
    }
    assert_eq!(start_and_shift(5, 2), (1, 0));
}

#[test]
fn one_rack_missing_means_no_racks() {
    let mut some = in_racks();
    some[3].rack = None;
    let none = without_racks(0..6);
    assert_eq!(numbers(assign(&some, 0..20, 3, 2, 1)), numbers(assign(&none, 0..20, 3, 2, 1)),);
}

#[test]
fn a_rack_may_hold_more_than_one_replica_once_every_rack_has_one() {
    let brokers = [place(0, Some("a")), place(1, Some("a")), place(2, Some("b"))];
    let expected = [[0, 2, 1], [2, 1, 0], [1, 2, 0]];
    assert_eq!(numbers(assign(&brokers, 0..3, 3, 0, 0)), expected);
}

#[test]
fn more_replicas_than_brokers_or_none_are_refused() {
    for factor in [0, 4] {
        let error = assign(&without_racks(1..=3), 0..1, factor, 0, 0).unwrap_err();
        assert!(
            matches!(error, ClusterError::InvalidReplicationFactor { replicas, brokers: 3 } if replicas == factor),
            "{error}"
        );
    }
    assert!(assign(&[], 0..1, 1, 0, 0).is_err());
    assert_eq!(numbers(assign(&without_racks([7]), 0..2, 1, 9, 9)), [[7], [7]]);
}

/// As Kafka's `addPartitions`: its start is also its shift, and partition numbers go on.
#[test]
fn partitions_added_later_begin_where_partition_0_does() {
    let brokers = without_racks(1..=3);
    let more = assign_more(&brokers, 3..6, &[id(2), id(3), id(1)]);
    assert_eq!(numbers(more), [[2, 3, 1], [3, 1, 2], [1, 2, 3]]);
    let two = assign_more(&brokers, 1..3, &[id(2), id(1)]);
    assert_eq!(numbers(two), [[3, 2], [1, 3]]);
}

#[test]
fn a_broker_of_partition_0_that_is_gone_is_replaced_by_the_next_one() {
    let gone = |first| numbers(assign_more(&without_racks([1, 3, 5]), 3..4, &[id(first)]));
    assert_eq!([gone(2), gone(3), gone(6)], [[[3]], [[3]], [[1]]]);
    assert!(assign_more(&without_racks([1]), 1..2, &[id(1), id(2)]).is_err());
    assert!(assign_more(&without_racks([1]), 1..2, &[]).is_err());
}

#[test]
fn a_chosen_assignment_is_checked() {
    let brokers = without_racks(1..=3);
    let check = |lists: &[&[i32]]| {
        let lists: Vec<Vec<_>> =
            lists.iter().map(|list| list.iter().copied().map(id).collect()).collect();
        match check_manual(&lists, &brokers) {
            Ok(()) => None,
            Err(ClusterError::InvalidReplicaAssignment(why)) => Some(why),
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(check(&[&[1, 2], &[3, 1]]), None);
    let refused: [(&[&[i32]], &str); 5] = [
        (&[], "there is no partition in it"),
        (&[&[1], &[]], "list 1 has no replica"),
        (&[&[1, 2], &[3]], "list 1 has 1 replicas, others 2"),
        (&[&[1, 2, 1]], "list 0 has a broker twice"),
        (&[&[1, 2], &[2, 4]], "there is no broker 4, which is in list 1"),
    ];
    for (lists, why) in refused {
        assert_eq!(check(lists).as_deref(), Some(why));
    }
}

/// How often each of `brokers` is among `ids`.
fn counts(brokers: &[Place], ids: &[BrokerId]) -> Vec<usize> {
    let count = |place: &Place| ids.iter().filter(|id| **id == place.broker).count();
    brokers.iter().map(count).collect()
}

prop_compose! {
    /// Up to nine brokers, in racks by these numbers, or without.
    fn any_brokers()(racks in prop::collection::vec(0u8..4, 1..10), aware: bool) -> Vec<Place> {
        let places = (1..).zip(racks);
        places.map(|(id, rack)| place(id * 10, aware.then(|| rack.to_string()).as_deref())).collect()
    }
}

proptest! {
    #[test]
    fn replicas_are_distinct_brokers_in_as_many_racks_as_there_can_be(
        brokers in any_brokers(), from in 0u32..50, factor in 1u16..10,
        start in 0usize..50, shift: usize,
    ) {
        prop_assume!(usize::from(factor) <= brokers.len());
        let rack = |id: &BrokerId| brokers.iter().find(|b| b.broker == *id).unwrap().rack.clone();
        let racks: BTreeSet<_> = brokers.iter().map(|place| &place.rack).collect();
        let assigned = assign(&brokers, from..from + 40, factor, start, shift).unwrap();
        prop_assert_eq!(assigned.len(), 40);
        for replicas in &assigned {
            prop_assert_eq!(replicas.len(), usize::from(factor));
            let used: BTreeSet<_> = replicas.iter().map(rack).collect();
            prop_assert_eq!(used.len(), racks.len().min(usize::from(factor)));
        }
        prop_assert!(check_manual(&assigned, &brokers).is_ok());
    }

    #[test]
    fn brokers_lead_as_many_partitions_or_one_more(
        brokers in any_brokers(), from in 0u32..50, count in 1u32..50, start in 0usize..50,
    ) {
        let assigned = assign(&brokers, from..from + count, 1, start, 0).unwrap();
        let leads = counts(&brokers, &assigned.concat());
        prop_assert!(leads.iter().max().unwrap() - leads.iter().min().unwrap() <= 1);
    }

    /// The shift is the same throughout a round. With racks of different sizes this cannot hold.
    #[test]
    fn without_racks_a_round_of_partitions_gives_all_brokers_as_many_replicas(
        n in 1u16..9, factor in 1u16..9, round in 0u32..9, start in 0usize..9, shift in 0usize..99,
    ) {
        prop_assume!(factor <= n);
        let brokers = without_racks((0..n).map(i32::from));
        let partitions = round * u32::from(n)..(round + 1) * u32::from(n);
        let assigned = assign(&brokers, partitions, factor, start, shift).unwrap();
        let each = usize::from(factor);
        prop_assert!(counts(&brokers, &assigned.concat()).iter().all(|count| *count == each));
    }
}
