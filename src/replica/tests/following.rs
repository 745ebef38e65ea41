//! What followers cut and copy, and what of it counts, one rule at a time.

use super::group::Group;
use super::*;
use crate::replica::{Followed, Served};

/// All three have `values`, and know so.
fn group(values: &[&str]) -> Group {
    let group = Group::new(1);
    let sent = values.iter().map(|value| group.send(value, Acks::All)).collect::<Vec<_>>();
    group.settle();
    group.settle();
    assert!(sent.iter().all(|asker| asker.answer().unwrap().is_ok()));
    group
}

/// Broker `at` leads a term of its own, in which nobody copies what it writes.
fn alone(group: &mut Group, at: usize, values: &[&str]) {
    group.lead(at);
    for value in values {
        group.send(value, Acks::All);
    }
    group.sync(at);
}

fn assert_equal(group: &Group, expected: &[(i32, &str)]) {
    let expected =
        expected.iter().map(|(epoch, value)| (*epoch, (*value).to_owned())).collect::<Vec<_>>();
    for at in 0..3 {
        assert_eq!(group.log(at), expected, "on broker {at}");
    }
}

/// C2, KIP-279: one answer does not tell where two logs part if each has terms that the other lacks.
#[test]
fn a_follower_asks_until_its_log_is_a_part_of_its_leaders() {
    let mut group = group(&["a"]);
    alone(&mut group, 1, &["b1"]);
    alone(&mut group, 0, &["a2"]);
    alone(&mut group, 1, &["b3"]);
    alone(&mut group, 0, &["a4", "a5"]);
    group.settle();
    assert_equal(&group, &[(0, "a"), (2, "a2"), (4, "a4"), (4, "a5")]);
}

/// C2, KIP-279: where the leader does not know a term, where the one before it ends says nothing.
#[test]
fn a_term_that_the_leader_does_not_know_is_cut() {
    let mut group = group(&["a"]);
    group.send("a0", Acks::All);
    alone(&mut group, 1, &["b1"]);
    alone(&mut group, 0, &[]);
    group.settle();
    assert_equal(&group, &[(0, "a"), (0, "a0")]);
}

/// C1, KIP-101: a follower that has not heard yet what is committed keeps it all the same.
#[test]
fn what_is_committed_survives_two_changes_of_the_leader() {
    let mut group = group(&[]);
    let sent = group.send("a", Acks::All);
    for at in [0, 1, 2] {
        group.step(at);
        group.sync(at);
    }
    sent.answer().unwrap().unwrap();
    assert_eq!(group.replica(1).high_watermark(), Offset::ZERO, "it has not heard");
    group.lead(0);
    group.step(1);
    group.lead(1);
    group.settle();
    assert_equal(&group, &[(0, "a")]);
}

/// C14: where a follower asks from counts only once its log is known to be a part of the leader's.
#[test]
fn a_fetch_that_diverges_counts_for_nothing() {
    let mut group = group(&["a"]);
    alone(&mut group, 1, &["b1", "b2"]);
    alone(&mut group, 0, &["a2"]);
    group.step(2);
    group.sync(2);
    let (_, served) = group.ask(1, 1 << 20).unwrap();
    assert!(matches!(served, Served::Diverging(_)), "{served:?}");
    assert_eq!(group.replica(0).high_watermark(), Offset::from(1));
    group.settle();
    assert_eq!(group.replica(0).high_watermark(), Offset::from(2));
}

/// C14: a sync that comes to its end in the next term covers what may have to be cut there.
#[test]
fn what_was_synced_before_the_leader_has_served_counts_for_nothing() {
    let mut group = group(&["a"]);
    alone(&mut group, 1, &["b1", "b2"]);
    alone(&mut group, 0, &["a2"]);
    group.step(2);
    group.sync(2);
    group.sync(1);
    assert_eq!(group.replica(0).high_watermark(), Offset::from(1));
}

/// C3, KAFKA-7415: followers get on with a leader that has nothing to write.
#[test]
fn a_term_has_begun_before_its_first_record() {
    let mut group = group(&["a"]);
    group.send("a0", Acks::All);
    alone(&mut group, 1, &["b1"]);
    alone(&mut group, 0, &[]);
    for steps in 1.. {
        assert!(steps < 10, "it cuts nothing, again and again");
        if group.step(1) != Some(Followed::Cut) {
            break;
        }
    }
    assert_eq!(group.log(0), group.log(1));
}

/// C5: what a follower lets be read, it has.
#[test]
fn a_followers_high_watermark_is_not_above_its_end() {
    let mut group = group(&["a"]);
    group.set_isr(&[0, 1]);
    group.tell_all();
    for value in ["b", "c"] {
        group.send(value, Acks::All);
        group.step(1);
        group.sync(0);
        group.sync(1);
    }
    assert_eq!(group.replica(0).high_watermark(), Offset::from(3));
    for has in [2, 3] {
        let (request, served) = group.ask(2, 1).unwrap();
        group.take(2, &request, served).unwrap();
        assert_eq!(group.replica(2).high_watermark(), Offset::from(has));
        assert_eq!(group.replica(2).log().end(), Offset::from(has));
    }
}

#[test]
fn acks_all_is_answered_when_all_in_sync_have_synced() {
    let group = group(&["a"]);
    let sent = [Acks::All, Acks::Leader].map(|acks| group.send("b", acks));
    group.sync(0);
    sent[1].answer().unwrap().unwrap();
    for at in [1, 2] {
        group.step(at);
        // They have it, in memory.
        group.step(at);
        assert!(sent[0].answer().is_none());
    }
    group.sync(1);
    assert!(sent[0].answer().is_none());
    group.sync(2);
    sent[0].answer().unwrap().unwrap();
}

/// `min.insync.replicas` is looked at again when a batch was written: meanwhile others may have been lost.
#[test]
fn acks_all_is_refused_if_too_few_are_in_sync_by_now() {
    let mut group = Group::new(2);
    let sent = group.send("a", Acks::All);
    group.set_isr(&[0]);
    group.tell_all();
    group.sync(0);
    let answer = sent.answer().unwrap();
    assert!(
        matches!(answer, Err(ProduceError::NotEnoughReplicasAfterAppend { in_sync: 1, needed: 2 })),
        "{answer:?}"
    );
    assert_eq!(group.replica(0).high_watermark(), Offset::ZERO);
    let refused = group.send("b", Acks::All).answer().unwrap();
    assert!(matches!(refused, Err(ProduceError::NotEnoughReplicas { .. })), "{refused:?}");
}

/// Two settings that are made one after the other may be heard of in the other order. The earlier one used to count then.
#[test]
fn the_latest_min_insync_replicas_counts_in_whatever_order_it_is_heard_of() {
    let group = Group::new(1);
    for (config_epoch, min_isr) in [(2, 3), (1, 1)] {
        let settings = PartitionState { config_epoch, min_isr, ..group.state.clone() };
        group.replica(0).assume(settings);
    }
    assert_eq!(group.replica(0).state().min_isr, 3);
}
