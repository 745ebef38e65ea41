//! Reassignments step by step, and everything that can happen to a partition in any order.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::cluster::election::{
    AlterIsrError, alter_isr, broker_back, elect, elect_preferred, without_broker,
};

fn id(id: i32) -> BrokerId {
    BrokerId::new(id).unwrap()
}

fn ids(list: &[i32]) -> Vec<BrokerId> {
    list.iter().copied().map(id).collect()
}

fn numbers(list: &[BrokerId]) -> Vec<i32> {
    list.iter().map(|id| id.value()).collect()
}

/// Replicas 1, 2 and 3, all in sync, led by 1.
fn partition() -> PartitionImage {
    PartitionImage::new(ids(&[1, 2, 3]), &ids(&[1, 2, 3])).unwrap()
}

fn alive(list: &'static [i32]) -> impl Fn(BrokerId) -> bool {
    |broker| list.contains(&broker.value())
}

const ALL: &[i32] = &[1, 2, 3, 4, 5, 6];

/// What its leader makes of those in sync.
fn in_sync(partition: &PartitionImage, isr: &[i32]) -> PartitionImage {
    let (leader_epoch, epoch) = (partition.leader_epoch, partition.partition_epoch);
    alter_isr(partition, leader_epoch, epoch, &ids(isr), alive(ALL)).unwrap().unwrap()
}

/// Replicas, in sync, adding, removing.
fn lists(partition: &PartitionImage) -> [Vec<i32>; 4] {
    let PartitionImage { replicas, isr, adding, removing, .. } = partition;
    [replicas, isr, adding, removing].map(|list| numbers(list))
}

/// Leader, leader epoch, partition epoch.
fn led(partition: &PartitionImage) -> (Option<i32>, i32, i32) {
    let leader = partition.leader.map(BrokerId::value);
    (leader, partition.leader_epoch.value(), partition.partition_epoch)
}

#[test]
fn those_that_come_and_go_catch_up_together() {
    let moving = begin(&partition(), &ids(&[4, 3, 5])).unwrap();
    assert_eq!(lists(&moving), [vec![4, 3, 5, 1, 2], vec![3, 1, 2], vec![4, 5], vec![1, 2]]);
    assert_eq!(led(&moving), (Some(1), 0, 1));
    assert_eq!(begin(&moving, &ids(&[4, 3, 5])), None, "it is on its way");
    assert_eq!(begin(&partition(), &ids(&[1, 2, 3])), None, "it is there");
}

#[test]
fn it_ends_when_all_of_the_target_is_in_sync() {
    let moving = begin(&partition(), &ids(&[4, 3, 5])).unwrap();
    assert_eq!(advance(&moving, alive(ALL)), None);
    let nearly = in_sync(&moving, &[1, 2, 3, 4]);
    assert_eq!(advance(&nearly, alive(ALL)), None);
    let caught_up = in_sync(&nearly, &[1, 3, 4, 5]);
    let done = advance(&caught_up, alive(ALL)).unwrap();
    assert_eq!(lists(&done), [vec![4, 3, 5], vec![4, 3, 5], vec![], vec![]]);
    assert_eq!(led(&done), (Some(4), 1, 4), "its leader was removed");
    assert_eq!(advance(&done, alive(ALL)), None);
}

#[test]
fn a_leader_of_the_target_stays_and_those_removed_are_fenced_by_a_new_epoch() {
    let fewer = begin(&partition(), &ids(&[2, 1])).unwrap();
    assert_eq!(lists(&fewer), [vec![2, 1, 3], vec![2, 1, 3], vec![], vec![3]]);
    let done = advance(&fewer, alive(ALL)).unwrap();
    assert_eq!(lists(&done), [vec![2, 1], vec![2, 1], vec![], vec![]]);
    assert_eq!(led(&done), (Some(1), 1, 2));
}

#[test]
fn replicas_that_are_added_alone_leave_the_leaders_epoch() {
    let more = in_sync(&begin(&partition(), &ids(&[1, 2, 3, 4])).unwrap(), &[1, 2, 3, 4]);
    let done = advance(&more, alive(ALL)).unwrap();
    assert_eq!(lists(&done), [vec![1, 2, 3, 4], vec![1, 2, 3, 4], vec![], vec![]]);
    assert_eq!(led(&done), (Some(1), 0, 3));
}

#[test]
fn another_order_is_no_reassignment_but_another_preferred_leader() {
    let turned = begin(&partition(), &ids(&[3, 1, 2])).unwrap();
    assert_eq!(lists(&turned), [vec![3, 1, 2], vec![3, 1, 2], vec![], vec![]]);
    assert!(!turned.is_reassigning() && advance(&turned, alive(ALL)).is_none());
    let elected = elect_preferred(&turned, alive(ALL)).unwrap();
    assert_eq!(led(&elected), (Some(3), 1, 2));
}

#[test]
fn a_target_that_is_not_alive_is_waited_for() {
    let moving = begin(&partition(), &ids(&[4, 5])).unwrap();
    let (epoch, dead_4) = (moving.partition_epoch, alive(&[1, 2, 3, 5]));
    let refused = alter_isr(&moving, moving.leader_epoch, epoch, &ids(&[1, 4]), dead_4);
    assert_eq!(refused, Err(AlterIsrError::IneligibleReplica(id(4))));
    assert_eq!(advance(&in_sync(&moving, &[1, 5]), alive(&[1, 2, 3, 5])), None);
    // Whose failure is not yet known to those who keep the list.
    let caught_up = in_sync(&moving, &[1, 4, 5]);
    let done = advance(&caught_up, alive(&[1, 2, 3, 5])).unwrap();
    assert_eq!(led(&done), (Some(5), 1, 3));
    assert_eq!(advance(&caught_up, alive(&[1, 2, 3])), None, "it would have no leader");
}

#[test]
fn a_partition_that_nobody_leads_may_arrive_without_a_leader() {
    let moving = begin(&partition(), &ids(&[4])).unwrap();
    let only = without_broker(&in_sync(&moving, &[1, 4]), id(1), alive(&[4]), false).unwrap();
    let offline = without_broker(&only, id(4), alive(&[2]), false).unwrap();
    let done = advance(&offline, alive(&[2])).unwrap();
    assert_eq!(lists(&done), [vec![4], vec![4], vec![], vec![]]);
    assert_eq!(led(&done).0, None);
    assert_eq!(led(&broker_back(&done, alive(&[4]), false).unwrap()).0, Some(4));
}

#[test]
fn a_cancellation_goes_back() {
    let moving = in_sync(&begin(&partition(), &ids(&[4, 3])).unwrap(), &[1, 2, 4]);
    let back = cancel(&moving, alive(ALL)).unwrap();
    assert_eq!(lists(&back), [vec![3, 1, 2], vec![1, 2], vec![], vec![]]);
    assert_eq!(led(&back), (Some(1), 1, 3), "what 4 fetches is fenced");
}

#[test]
fn nothing_under_way_is_nothing_to_cancel() {
    let error = cancel(&partition(), alive(ALL)).unwrap_err();
    assert!(matches!(error, ClusterError::NoReassignmentInProgress), "{error}");
}

#[test]
fn a_leader_that_came_hands_over_when_it_goes_again() {
    let moving = in_sync(&begin(&partition(), &ids(&[4, 3])).unwrap(), &[1, 2, 4]);
    let led_by_4 = elect_preferred(&moving, alive(ALL)).unwrap();
    assert_eq!(led(&led_by_4).0, Some(4));
    let back = cancel(&led_by_4, alive(&[2, 3, 4])).unwrap();
    assert_eq!(led(&back), (Some(2), 2, 4), "3 is not in sync, 1 not alive");
}

#[test]
fn a_cancellation_that_would_lose_records_is_refused() {
    let moving = in_sync(&begin(&partition(), &ids(&[4, 3])).unwrap(), &[1, 4]);
    let only_4 = without_broker(&moving, id(1), alive(&[2, 3, 4]), false).unwrap();
    let error = cancel(&only_4, alive(&[2, 3, 4])).unwrap_err();
    assert!(matches!(error, ClusterError::InvalidReplicaAssignment(_)), "{error}");
}

#[test]
fn one_that_replaces_another_keeps_what_was_before_both() {
    let first = in_sync(&begin(&partition(), &ids(&[1, 2, 4])).unwrap(), &[1, 2, 4]);
    let second = begin(&first, &ids(&[1, 2, 5])).unwrap();
    assert_eq!(lists(&second), [vec![1, 2, 5, 4, 3], vec![1, 2, 4], vec![5, 4], vec![4, 3]]);
    let back = cancel(&second, alive(ALL)).unwrap();
    assert_eq!(lists(&back), [vec![1, 2, 3], vec![1, 2], vec![], vec![]]);
    let done = advance(&in_sync(&second, &[1, 2, 4, 5]), alive(ALL)).unwrap();
    assert_eq!(lists(&done), [vec![1, 2, 5], vec![1, 2, 5], vec![], vec![]]);
}

#[test]
fn one_that_replaces_another_may_want_what_was_abandoned() {
    let first = begin(&partition(), &ids(&[1, 2, 4])).unwrap();
    let second = begin(&first, &ids(&[1, 2, 5])).unwrap();
    let third = begin(&second, &ids(&[4, 2])).unwrap();
    assert_eq!(lists(&third), [vec![4, 2, 1, 5, 3], vec![2, 1, 3], vec![4, 5], vec![1, 5, 3]]);
    assert_eq!(lists(&cancel(&third, alive(ALL)).unwrap())[0], [2, 1, 3]);
    let homeward = begin(&third, &ids(&[1, 2, 3])).unwrap();
    assert_eq!(
        lists(&advance(&homeward, alive(ALL)).unwrap()),
        [vec![1, 2, 3], vec![1, 2, 3], vec![], vec![]]
    );
}

/// The one that is in sync survives though nobody wants it any more.
#[test]
fn an_abandoned_replica_that_alone_is_in_sync_is_kept() {
    let moving = in_sync(&begin(&partition(), &ids(&[4])).unwrap(), &[1, 4]);
    let only_4 = without_broker(&moving, id(1), alive(&[4, 5]), false).unwrap();
    let other = begin(&only_4, &ids(&[5])).unwrap();
    assert_eq!((numbers(&other.isr), led(&other).0), (vec![4], Some(4)));
    let done = advance(&in_sync(&other, &[4, 5]), alive(&[4, 5])).unwrap();
    assert_eq!(lists(&done), [vec![5], vec![5], vec![], vec![]]);
}

/// Something that happens to a partition.
#[derive(Clone, Debug)]
enum Event {
    Dies(i32),
    ComesBack(i32),
    InSync(Vec<i32>),
    Elect { unclean: bool },
    Preferred,
    Begin(Vec<i32>),
    Advance,
    Cancel,
}

fn any_event() -> impl Strategy<Value = Event> {
    let some = || prop::collection::btree_set(1..=6, 1..4).prop_map(Vec::from_iter);
    prop_oneof![
        3 => (1..=6).prop_map(Event::Dies),
        4 => (1..=6).prop_map(Event::ComesBack),
        4 => prop::collection::btree_set(1..=6, 1..7).prop_map(|ids| Event::InSync(Vec::from_iter(ids))),
        1 => any::<bool>().prop_map(|unclean| Event::Elect { unclean }),
        1 => Just(Event::Preferred),
        2 => some().prop_shuffle().prop_map(Event::Begin),
        3 => Just(Event::Advance),
        1 => Just(Event::Cancel),
    ]
}

/// What `event` makes of `before`, and the set of brokers that are `alive`.
fn apply(
    event: &Event,
    before: &PartitionImage,
    alive: &mut BTreeSet<i32>,
) -> Option<PartitionImage> {
    match event {
        Event::Dies(broker) => alive.remove(broker),
        Event::ComesBack(broker) => alive.insert(*broker),
        _ => false,
    };
    let is_alive = |broker: BrokerId| alive.contains(&broker.value());
    match event {
        Event::Dies(broker) => without_broker(before, id(*broker), is_alive, false),
        Event::ComesBack(_) => broker_back(before, is_alive, false),
        Event::InSync(wanted) => {
            // As a leader would: itself, and those of the others that can be.
            let leader = before.leader?;
            let wanted = ids(wanted);
            let can = |id: &BrokerId| *id == leader || wanted.contains(id) && is_alive(*id);
            let isr: Vec<_> = before.replicas.iter().copied().filter(can).collect();
            let (leader_epoch, epoch) = (before.leader_epoch, before.partition_epoch);
            alter_isr(before, leader_epoch, epoch, &isr, is_alive).unwrap()
        }
        Event::Elect { unclean } => elect(before, is_alive, *unclean),
        Event::Preferred => elect_preferred(before, is_alive).ok(),
        Event::Begin(target) => begin(before, &ids(target)),
        Event::Advance => advance(before, is_alive),
        Event::Cancel => cancel(before, is_alive).ok(),
    }
}

proptest! {
    /// Whatever happens, in whatever order: the partition is valid, a leader is alive and was in sync, epochs rise as
    /// they should, and without an unclean election the list of those in sync is never replaced as a whole.
    #[test]
    fn no_event_breaks_a_partition(events in prop::collection::vec(any_event(), 1..60)) {
        let mut now = partition();
        let mut alive = BTreeSet::from_iter(1..=6);
        for event in events {
            let Some(next) = apply(&event, &now, &mut alive) else {
                prop_assert!(now.leader.is_none_or(|id| alive.contains(&id.value())));
                continue;
            };
            prop_assert!(next.is_valid(), "{event:?}: {next:?}");
            prop_assert_eq!(next.partition_epoch, now.partition_epoch + 1);
            let rise = next.leader_epoch.value() - now.leader_epoch.value();
            prop_assert!((0..=1).contains(&rise));
            prop_assert!(rise == 1 || next.leader == now.leader);
            prop_assert!(next.leader.is_none_or(|id| alive.contains(&id.value())));
            let unclean = matches!(event, Event::Elect { unclean: true }) && next.recovering;
            if !unclean {
                prop_assert!(!common(&now.isr, &next.isr).is_empty(), "{event:?}: {now:?} to {next:?}");
                prop_assert!(next.leader.is_none_or(|id| now.isr.contains(&id)), "{event:?}");
            }
            let able = next.isr.iter().any(|id| alive.contains(&id.value()));
            prop_assert!(next.leader.is_some() || !able, "{event:?}: nobody leads {next:?}");
            now = next;
        }
    }
}
