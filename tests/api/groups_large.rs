//! A group of very many members.

use std::collections::BTreeSet;
use std::time::Duration;

use brooklet::{Cluster, Consumer, NewTopic};

const MEMBERS: usize = 1_000;
const PARTITIONS: u32 = 10_000;

/// Lets members poll in turn until all have what they are to have.
fn settle(members: &mut [Consumer]) {
    for _ in 0..10 {
        members.iter_mut().for_each(|member| drop(member.poll(Duration::ZERO).unwrap()));
        if members.iter_mut().all(|member| member.wait_assigned(Duration::ZERO).unwrap()) {
            return;
        }
    }
    panic!("they do not settle");
}

/// How much each member has, if no two have the same and nothing is left.
fn shares(members: &[Consumer]) -> Vec<usize> {
    let mut owned = BTreeSet::new();
    let shares = members.iter().map(|member| {
        let assignment = member.assignment();
        let share = assignment.len();
        assignment.into_iter().for_each(|at| assert!(owned.insert(at.partition), "{at} twice"));
        share
    });
    let shares = shares.collect();
    assert_eq!(owned.len(), PARTITIONS as usize);
    shares
}

#[test]
fn a_thousand_members_share_ten_thousand_partitions() {
    let cluster = Cluster::in_memory().unwrap();
    cluster.create_topic(NewTopic::new("readings").partitions(PARTITIONS)).unwrap();
    let group = cluster.consumer_group("meters");
    let mut members = (0..MEMBERS).map(|_| group.join("readings").unwrap()).collect::<Vec<_>>();
    settle(&mut members);
    assert_eq!(shares(&members), [10; MEMBERS]);

    drop(members.swap_remove(MEMBERS / 2));
    settle(&mut members);
    let shares = shares(&members);
    assert!(shares.iter().all(|share| (10..=11).contains(share)), "{shares:?}");

    // The last first: nobody gets what is to go on to others at once.
    while members.pop().is_some() {}
    assert!(group.members().unwrap().is_empty());
}
