//! Elections, one rule at a time.

use super::*;

fn id(id: i32) -> BrokerId {
    BrokerId::new(id).unwrap()
}

fn ids(list: &[i32]) -> Vec<BrokerId> {
    list.iter().copied().map(id).collect()
}

/// Replicas 1, 2 and 3, all in sync, led by 1.
fn partition() -> PartitionImage {
    PartitionImage::new(ids(&[1, 2, 3]), &ids(&[1, 2, 3])).unwrap()
}

fn with(isr: &[i32], leader: Option<i32>) -> PartitionImage {
    PartitionImage { isr: ids(isr), leader: leader.map(id), ..partition() }
}

fn alive(list: &'static [i32]) -> impl Fn(BrokerId) -> bool {
    |broker| list.contains(&broker.value())
}

/// In sync, leader, leader epoch, partition epoch.
fn state(partition: &PartitionImage) -> (Vec<i32>, Option<i32>, i32, i32) {
    let isr = partition.isr.iter().map(|id| id.value()).collect();
    let leader = partition.leader.map(BrokerId::value);
    (isr, leader, partition.leader_epoch.value(), partition.partition_epoch)
}

#[test]
fn a_leader_that_is_alive_stays() {
    assert_eq!(elect(&with(&[1, 2, 3], Some(2)), alive(&[1, 2, 3]), true), None);
}

#[test]
fn the_first_replica_that_is_alive_and_in_sync_is_elected() {
    let elected = elect(&with(&[1, 3], Some(1)), alive(&[2, 3]), true).unwrap();
    assert_eq!(state(&elected), (vec![1, 3], Some(3), 1, 1));
    assert!(!elected.recovering);
}

#[test]
fn without_anybody_in_sync_nobody_leads() {
    let offline = elect(&with(&[1], Some(1)), alive(&[2, 3]), false).unwrap();
    assert_eq!(state(&offline), (vec![1], None, 1, 1));
    assert_eq!(elect(&offline, alive(&[2, 3]), false), None, "once is enough");
}

#[test]
fn an_unclean_election_takes_the_first_that_is_alive_and_nobody_else_is_in_sync() {
    let lost = elect(&with(&[1], Some(1)), alive(&[2, 3]), true).unwrap();
    assert_eq!(state(&lost), (vec![2], Some(2), 1, 1));
    assert!(lost.recovering);
    let nobody = elect(&with(&[1], Some(1)), alive(&[]), true).unwrap();
    assert_eq!(state(&nobody), (vec![1], None, 1, 1));
    assert!(!nobody.recovering);
}

#[test]
fn a_leader_that_recovers_goes_on_doing_so_after_a_restart() {
    let lost = elect(&with(&[1], Some(1)), alive(&[2]), true).unwrap();
    let stopped = without_broker(&lost, id(2), alive(&[2]), false).unwrap();
    let back = broker_back(&stopped, alive(&[1, 2]), false).unwrap();
    assert_eq!(state(&back), (vec![2], Some(2), 3, 3));
    assert!(back.recovering);
}

#[test]
fn a_broker_that_stops_hands_its_leadership_over() {
    let moved = without_broker(&partition(), id(1), alive(&[1, 2, 3]), false).unwrap();
    assert_eq!(state(&moved), (vec![2, 3], Some(2), 1, 1));
}

#[test]
fn a_follower_that_stops_leaves_those_in_sync_under_the_same_leader() {
    let shrunk = without_broker(&partition(), id(3), alive(&[1, 2]), false).unwrap();
    assert_eq!(state(&shrunk), (vec![1, 2], Some(1), 0, 1));
    assert_eq!(without_broker(&shrunk, id(3), alive(&[1, 2]), false), None);
    assert_eq!(without_broker(&shrunk, id(9), alive(&[1, 2]), false), None);
}

#[test]
fn the_last_one_in_sync_stays_so_when_it_stops() {
    let offline = without_broker(&with(&[2], Some(2)), id(2), alive(&[1, 3]), false).unwrap();
    assert_eq!(state(&offline), (vec![2], None, 1, 1));
    let unclean = without_broker(&with(&[2], Some(2)), id(2), alive(&[1, 2, 3]), true).unwrap();
    assert_eq!(state(&unclean), (vec![1], Some(1), 1, 1));
    assert!(unclean.recovering);
}

#[test]
fn only_one_that_was_in_sync_brings_a_partition_back() {
    let offline = with(&[2], None);
    assert_eq!(broker_back(&offline, alive(&[1, 3]), false), None);
    let back = broker_back(&offline, alive(&[1, 2]), false).unwrap();
    assert_eq!(state(&back), (vec![2], Some(2), 1, 1));
    let unclean = broker_back(&offline, alive(&[1, 3]), true).unwrap();
    assert_eq!(state(&unclean), (vec![1], Some(1), 1, 1));
}

#[test]
fn a_broker_that_comes_back_takes_no_leadership() {
    assert_eq!(broker_back(&with(&[2, 1], Some(2)), alive(&[1, 2]), true), None);
}

#[test]
fn the_preferred_leader_is_elected_if_it_can_be() {
    let elected = elect_preferred(&with(&[1, 2], Some(2)), alive(&[1, 2])).unwrap();
    assert_eq!(state(&elected), (vec![1, 2], Some(1), 1, 1));
    let offline = elect_preferred(&with(&[1], None), alive(&[1])).unwrap();
    assert_eq!(state(&offline), (vec![1], Some(1), 1, 1));
}

#[test]
fn a_preferred_election_says_why_there_was_none() {
    let needless = elect_preferred(&partition(), alive(&[1, 2, 3]));
    assert!(matches!(needless, Err(ClusterError::ElectionNotNeeded)));
    let dead = elect_preferred(&with(&[1, 2], Some(2)), alive(&[2]));
    assert!(matches!(dead, Err(ClusterError::PreferredLeaderNotAvailable)));
    let behind = elect_preferred(&with(&[2, 3], Some(2)), alive(&[1, 2]));
    assert!(matches!(behind, Err(ClusterError::PreferredLeaderNotAvailable)));
}

fn alter(partition: &PartitionImage, isr: &[i32]) -> Result<Option<PartitionImage>, AlterIsrError> {
    let (leader_epoch, epoch) = (partition.leader_epoch, partition.partition_epoch);
    alter_isr(partition, leader_epoch, epoch, &ids(isr), alive(&[1, 2]))
}

#[test]
fn the_leader_alters_who_is_in_sync_under_its_epoch() {
    let shrunk = alter(&partition(), &[1]).unwrap().unwrap();
    assert_eq!(state(&shrunk), (vec![1], Some(1), 0, 1));
    let grown = alter(&shrunk, &[2, 1]).unwrap().unwrap();
    assert_eq!(state(&grown), (vec![1, 2], Some(1), 0, 2));
    assert_eq!(alter(&grown, &[1, 2]), Ok(None), "nothing changes");
}

#[test]
fn a_leader_that_has_recovered_says_so_by_an_alteration() {
    let recovering = PartitionImage { recovering: true, ..with(&[1], Some(1)) };
    for isr in [&[1][..], &[1, 2]] {
        let recovered = alter(&recovering, isr).unwrap().unwrap();
        assert!(!recovered.recovering);
        assert_eq!(state(&recovered), (isr.to_vec(), Some(1), 0, 1));
    }
}

#[test]
fn stale_alterations_are_refused() {
    let moved = without_broker(&partition(), id(1), alive(&[2, 3]), false).unwrap();
    for epoch in [0, 2] {
        let asked = LeaderEpoch::new(epoch).unwrap();
        let error = alter_isr(&moved, asked, 1, &ids(&[2]), alive(&[2])).unwrap_err();
        let current = moved.leader_epoch;
        assert_eq!(error, AlterIsrError::FencedLeaderEpoch { asked, current });
    }
    for asked in [0, 2] {
        let error =
            alter_isr(&moved, moved.leader_epoch, asked, &ids(&[2]), alive(&[2])).unwrap_err();
        assert_eq!(error, AlterIsrError::InvalidUpdateVersion { asked, current: 1 });
    }
}

#[test]
fn impossible_alterations_are_refused() {
    assert_eq!(alter(&partition(), &[1, 4]), Err(AlterIsrError::UnknownReplica(id(4))));
    assert_eq!(alter(&partition(), &[2]), Err(AlterIsrError::WithoutLeader));
    assert_eq!(alter(&partition(), &[]), Err(AlterIsrError::WithoutLeader));
    assert_eq!(alter(&with(&[1], None), &[1]), Err(AlterIsrError::WithoutLeader));
    assert_eq!(alter(&partition(), &[1, 3]), Err(AlterIsrError::IneligibleReplica(id(3))));
}

#[test]
fn the_longest_log_may_be_that_of_one_that_is_not_in_sync() {
    let of_one_in_sync = elect_longest(&with(&[1, 3], Some(1)), id(3)).unwrap();
    assert_eq!(state(&of_one_in_sync), (vec![1, 3], Some(3), 1, 1));
    let of_another = elect_longest(&with(&[1], None), id(2)).unwrap();
    assert_eq!(state(&of_another), (vec![1, 2], Some(2), 1, 1));
    // Beside one that was elected uncleanly nobody may be in sync, before the leader says so.
    let recovering = PartitionImage { recovering: true, ..with(&[1], Some(1)) };
    let of_another = elect_longest(&recovering, id(2)).unwrap();
    assert_eq!(state(&of_another), (vec![2], Some(2), 1, 1));
    assert_eq!(elect_longest(&partition(), id(4)), None, "it has no replica");
}
