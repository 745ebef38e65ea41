//! Commits, and how long they are kept.

use super::*;
use crate::base::Offset;
use crate::cluster::ClusterError;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A commit that is in the log at once.
pub(super) fn commit(
    lab: &mut Lab,
    by: Option<&Client>,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<(), GroupError> {
    let id = lab.topic(topic);
    commit_in(lab, by, (id, topic), partition, offset)
}

/// The same for the topic with an id, which may be another than the one that has the name now.
fn commit_in(
    lab: &mut Lab,
    by: Option<&Client>,
    (id, topic): (TopicId, &str),
    partition: i32,
    offset: i64,
) -> Result<(), GroupError> {
    let commit = Commit {
        topic: id,
        partition: place(topic, partition),
        offset: Offset::new(offset).unwrap(),
        leader_epoch: None,
        metadata: String::new(),
    };
    let before = lab.records.len();
    let by = by.map(|client| &client.handle);
    lab.act(|group, world, changes| group.commit(by, vec![commit], world, changes))?;
    apply(lab, before);
    Ok(())
}

fn place(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(name(topic), number(partition))
}

/// Commits on their way that do not say for which topics they are.
fn pending<const N: usize>(places: [TopicPartition; N]) -> Pending {
    places.map(|place| (place, None)).into()
}

/// Has what was recorded since then count.
fn apply(lab: &mut Lab, before: usize) {
    let records = lab.records[before..].to_vec();
    records.into_iter().for_each(|record| lab.group.applied(record));
}

fn expire(lab: &mut Lab, pending: &Pending) {
    let before = lab.records.len();
    lab.act(|group, world, changes| group.expire_offsets(pending, world, changes));
    apply(lab, before);
}

/// The partitions that have offsets after so many days.
fn after_days(lab: &mut Lab, days: u32) -> String {
    lab.pass(DAY * days);
    expire(lab, &Pending::default());
    let left = lab.all_committed().into_keys().map(|partition| partition.to_string());
    left.collect::<Vec<_>>().join(" ")
}

fn two_topics() -> Lab {
    Lab::new(&[("email", 2), ("sms", 2)])
}

#[test]
fn offsets_of_a_simple_group_are_kept_for_days_after_the_commit() {
    let mut lab = two_topics();
    commit(&mut lab, None, "email", 0, 5).unwrap();
    assert_eq!(after_days(&mut lab, 4), "email-0");
    commit(&mut lab, None, "email", 1, 5).unwrap();
    assert_eq!(after_days(&mut lab, 3), "email-1");
    assert_eq!(lab.state(), GroupState::Empty);
    assert_eq!(after_days(&mut lab, 4), "");
    assert_eq!(lab.state(), GroupState::Dead);
}

#[test]
fn offsets_of_a_classic_group_are_kept_for_days_after_the_last_member() {
    let mut lab = two_topics();
    let client = lab.join(classic(&["email"], &["range"]));
    commit(&mut lab, Some(&client), "email", 0, 5).unwrap();
    assert_eq!(after_days(&mut lab, 8), "email-0", "a member is subscribed");
    lab.leave(&client, true);
    assert_eq!(after_days(&mut lab, 6), "email-0");
    assert_eq!(after_days(&mut lab, 1), "");
    assert_eq!(lab.state(), GroupState::Dead);
    assert!(replaying::replayed(&lab.records, true).is_dead());
}

#[test]
fn offsets_of_topics_that_no_member_reads_are_forgotten() {
    for wants in [consumer(&["email"]), classic(&["email"], &["range"])] {
        let mut lab = two_topics();
        let client = lab.join(wants);
        commit(&mut lab, Some(&client), "email", 0, 5).unwrap();
        commit(&mut lab, Some(&client), "sms", 0, 5).unwrap();
        assert_eq!(after_days(&mut lab, 6), "email-0 sms-0");
        assert_eq!(after_days(&mut lab, 1), "email-0");
    }
}

/// G1.
#[test]
fn no_offset_is_forgotten_while_a_classic_group_rebalances() {
    let mut lab = two_topics();
    let mut first = lab.join(classic(&["email", "sms"], &["range"]));
    commit(&mut lab, Some(&first), "sms", 0, 5).unwrap();
    let subscribed = consumer(&["email"]).subscribed;
    let mut second = lab.join(classic(&["email"], &["range"]));
    lab.act(|group, world, changes| {
        group.resubscribe(&first.handle, subscribed, world, changes).unwrap();
    });
    assert_eq!(lab.state(), GroupState::PreparingRebalance);
    assert_eq!(after_days(&mut lab, 30), "sms-0");
    lab.heartbeat(&mut first).unwrap();
    lab.settle(&mut [&mut first, &mut second]);
    assert_eq!(lab.state(), GroupState::Stable);
    assert_eq!(after_days(&mut lab, 0), "");
}

#[test]
fn offsets_of_a_consumer_group_without_members_are_kept_for_days_after_the_commit() {
    let mut lab = two_topics();
    let client = lab.join(consumer(&["email"]));
    commit(&mut lab, Some(&client), "email", 0, 5).unwrap();
    assert_eq!(after_days(&mut lab, 6), "email-0");
    lab.leave(&client, true);
    assert_eq!(after_days(&mut lab, 1), "");
    assert_eq!(lab.state(), GroupState::Dead);
    assert!(replaying::replayed(&lab.records, true).is_dead());
}

#[test]
fn an_offset_with_a_time_of_its_own_is_kept_until_then() {
    let mut lab = two_topics();
    commit(&mut lab, None, "email", 0, 5).unwrap();
    let mut record = lab.records.pop().unwrap();
    if let CoordinatorRecord::Offset { value: Some(value), .. } = &mut record {
        value.expires_at = Some(wall_clock(lab.now.after(DAY * 30).unwrap()));
    }
    lab.group.applied(record);
    assert_eq!(after_days(&mut lab, 29), "email-0");
    assert_eq!(after_days(&mut lab, 1), "");
}

#[test]
fn an_offset_that_is_about_to_be_replaced_is_not_forgotten() {
    let mut lab = two_topics();
    commit(&mut lab, None, "email", 0, 5).unwrap();
    lab.pass(DAY * 8);
    // One more is on its way: the tombstone would come behind it.
    expire(&mut lab, &pending([place("email", 0)]));
    assert!(lab.committed("email", 0).is_some());
    expire(&mut lab, &pending([place("email", 1)]));
    assert!(lab.committed("email", 0).is_none());
    assert_eq!(lab.records.len(), 2, "the group is to have an offset in a moment");
}

#[test]
fn what_is_deleted_is_deleted_on_its_way_too() {
    let mut lab = two_topics();
    commit(&mut lab, None, "email", 0, 5).unwrap();
    let pending = pending([place("email", 1), place("sms", 0)]);
    let mut deleted = |delete: &dyn Fn(&mut Group, &mut Changes)| {
        let before = lab.records.len();
        lab.act(|group, _, changes| delete(group, changes));
        let deleted = lab.records.split_off(before).into_iter().map(|record| match record {
            CoordinatorRecord::Offset { topic, partition, value: None, .. } => {
                format!("{topic}-{partition}")
            }
            _ => panic!("{record:?}"),
        });
        deleted.collect::<Vec<_>>().join(" ")
    };
    let some = [place("email", 1), place("sms", 1)];
    let of_some = deleted(&|group, changes| {
        group.delete_offsets(&some, &pending, changes).unwrap();
    });
    assert_eq!(of_some, "email-1");
    let all = deleted(&|group, changes| group.delete(&pending, changes).unwrap());
    assert_eq!(all, "email-0 email-1 sms-0");
}

/// Whatever has become of the topic in between, and whether it was forgotten or not.
#[test]
fn an_offset_is_for_the_topic_that_it_was_committed_for_and_for_no_other_of_its_name() {
    let mut lab = two_topics();
    commit(&mut lab, None, "email", 0, 5).unwrap();
    commit(&mut lab, None, "email", 1, 5).unwrap();
    commit(&mut lab, None, "sms", 0, 5).unwrap();
    let old = lab.topic("email");
    lab.change_topics(|topics| topics.retain(|topic| topic.id != old));
    let left = |lab: &Lab| lab.all_committed().into_keys().map(|at| at.to_string());
    assert_eq!(left(&lab).collect::<Vec<_>>(), ["sms-0"]);
    lab.create("email", 2);
    assert_eq!(left(&lab).collect::<Vec<_>>(), ["sms-0"]);
    // What comes late is nobody's.
    let records = lab.records.len();
    commit_in(&mut lab, None, (old, "email"), 0, 7).unwrap();
    assert_eq!((lab.committed("email", 0), lab.records.len()), (None, records));
    commit(&mut lab, None, "email", 0, 1).unwrap();
    assert_eq!(lab.committed("email", 0), Some(1));
    // So it is for whoever reads the log.
    lab.group = replaying::replayed(&lab.records, true);
    assert_eq!((lab.committed("email", 0), lab.committed("email", 1)), (Some(1), None));
    // And what is left goes, however young it is.
    expire(&mut lab, &Pending::default());
    let again = replaying::replayed(&lab.records, true);
    let kept = again.offsets.iter().map(|(topic, partition, _)| format!("{topic}-{partition}"));
    assert_eq!(kept.collect::<Vec<_>>(), ["email-0", "sms-0"]);
}

#[test]
fn what_is_forgotten_with_a_topic_is_not_what_was_committed_for_the_next_of_its_name() {
    let mut lab = Lab::new(&[("email", 4)]);
    let old = lab.topic("email");
    for partition in 0..3 {
        commit(&mut lab, None, "email", partition, 5).unwrap();
    }
    lab.change_topics(Vec::clear);
    lab.create("email", 4);
    let new = lab.topic("email");
    commit(&mut lab, None, "email", 1, 1).unwrap();
    let places = [(2, new), (3, old)].map(|(p, id)| (place("email", p), Some(id)));
    let pending = Pending::from(places);
    let before = lab.records.len();
    lab.act(|group, world, changes| {
        group.forget_topic(&name("email"), &pending, world, changes);
    });
    let forgotten = lab.records[before..].iter().map(|record| match record {
        CoordinatorRecord::Offset { partition, value: None, .. } => partition.value(),
        _ => panic!("{record:?}"),
    });
    assert_eq!(forgotten.collect::<Vec<_>>(), [0, 3]);
}

/// As of another implementation. That there is a topic of the name is all that can be asked for.
#[test]
fn an_offset_without_a_topic_goes_by_the_name() {
    let mut lab = two_topics();
    commit(&mut lab, None, "email", 0, 5).unwrap();
    let mut record = lab.records.pop().unwrap();
    if let CoordinatorRecord::Offset { value: Some(value), .. } = &mut record {
        value.topic = None;
    }
    lab.group.applied(record);
    assert_eq!(lab.committed("email", 0), Some(5));
    lab.change_topics(Vec::clear);
    assert_eq!(lab.committed("email", 0), None);
    expire(&mut lab, &Pending::default());
    assert_eq!(lab.state(), GroupState::Dead);
}

#[test]
fn nothing_is_committed_for_a_partition_that_there_is_not() {
    let mut lab = two_topics();
    let client = lab.join(consumer(&["email"]));
    for (by, partition) in [(Some(&client), 2), (Some(&client), i32::MAX), (None, 2)] {
        if by.is_none() {
            lab.leave(&client, true);
        }
        let refused = commit(&mut lab, by, "email", partition, 5).unwrap_err();
        assert!(
            matches!(refused, GroupError::Cluster(ClusterError::UnknownPartition { .. })),
            "{refused}"
        );
    }
    assert!(lab.all_committed().is_empty());
}

#[test]
fn a_group_with_members_is_not_deleted_and_keeps_what_they_read() {
    let mut lab = two_topics();
    let client = lab.join(consumer(&["email"]));
    commit(&mut lab, Some(&client), "email", 0, 5).unwrap();
    let none = Pending::default();
    let deleted = lab.act(|group, _, changes| group.delete(&none, changes));
    assert_eq!(kind(deleted), Some(ErrorKind::NonEmptyGroup));
    let some = [place("email", 0)];
    let deleted = lab.act(|group, _, changes| group.delete_offsets(&some, &none, changes));
    assert_eq!(kind(deleted), Some(ErrorKind::GroupSubscribedToTopic));
}

#[test]
fn only_who_has_a_partition_commits_there() {
    let mut lab = two_topics();
    let mut first = lab.join(consumer(&["email"]));
    let mut second = lab.join(consumer(&["email"]));
    let refused = commit(&mut lab, Some(&second), "email", 1, 5);
    assert_eq!(kind(refused), Some(ErrorKind::StaleMemberEpoch));
    lab.heartbeat(&mut first).unwrap();
    assert_eq!(lab.show(&first.told.revoking), "email-1");
    commit(&mut lab, Some(&first), "email", 1, 5).unwrap();
    lab.settle(&mut [&mut first, &mut second]);
    let refused = commit(&mut lab, Some(&first), "email", 1, 6);
    assert_eq!(kind(refused), Some(ErrorKind::StaleMemberEpoch));
    commit(&mut lab, Some(&second), "email", 1, 7).unwrap();
    let refused = commit(&mut lab, None, "email", 1, 8);
    assert_eq!(kind(refused), Some(ErrorKind::UnknownMemberId));
    lab.leave(&second, true);
    let refused = commit(&mut lab, Some(&second), "email", 1, 9);
    assert_eq!(kind(refused), Some(ErrorKind::UnknownMemberId));
    assert_eq!(lab.committed("email", 1), Some(7));
}

/// Whoever had it last might take back what others have committed since, or what is read already.
#[test]
fn nobody_commits_for_what_somebody_is_about_to_be_given() {
    let mut lab = two_topics();
    let mut first = lab.join(consumer(&["email"]));
    let mut second = lab.join(consumer(&["email"]));
    lab.heartbeat(&mut first).unwrap();
    lab.release(&mut first).unwrap();
    assert_eq!((lab.has(&first), lab.has(&second)), ("email-0".into(), "".into()));
    for client in [&first, &second] {
        let refused = commit(&mut lab, Some(client), "email", 1, 5);
        assert_eq!(kind(refused), Some(ErrorKind::StaleMemberEpoch));
    }
    lab.heartbeat(&mut second).unwrap();
    commit(&mut lab, Some(&second), "email", 1, 5).unwrap();
    // Nobody is to read these.
    commit(&mut lab, Some(&first), "sms", 0, 5).unwrap();
}

/// It may have had it before, and not know what others have committed since.
#[test]
fn a_member_commits_for_what_it_was_told_that_it_has() {
    let mut lab = two_topics();
    let mut first = lab.join(consumer(&["email"]));
    let second = lab.join(consumer(&["email"]));
    lab.commit_begins(&first);
    lab.heartbeat(&mut first).unwrap();
    lab.release(&mut first).unwrap();
    lab.leave(&second, true);
    lab.commit_ends(&first);
    let refused = commit(&mut lab, Some(&first), "email", 1, 5);
    assert_eq!(kind(refused), Some(ErrorKind::StaleMemberEpoch));
    lab.settle(&mut [&mut first]);
    assert_eq!(lab.has(&first), "email-0 email-1");
    commit(&mut lab, Some(&first), "email", 1, 5).unwrap();
}

#[test]
fn a_partition_goes_when_the_commits_of_who_had_it_are_done() {
    for wants in [consumer(&["email"]), classic(&["email"], &["range"])] {
        let mut lab = two_topics();
        let mut first = lab.join(wants.clone());
        let mut second = lab.join(wants);
        lab.commit_begins(&first);
        lab.commit_begins(&first);
        lab.settle(&mut [&mut first, &mut second]);
        assert_eq!(lab.has(&second), "");
        lab.commit_ends(&first);
        lab.settle(&mut [&mut first, &mut second]);
        assert_eq!(lab.has(&second), "");
        lab.commit_ends(&first);
        lab.settle(&mut [&mut first, &mut second]);
        assert_eq!((lab.has(&first), lab.has(&second)), ("email-0".into(), "email-1".into()));
    }
}

#[test]
fn who_leaves_does_so_when_its_commits_are_done() {
    let mut lab = two_topics();
    let mut first = lab.join(consumer(&["email"]));
    let mut second = lab.join(consumer(&["email"]));
    lab.settle(&mut [&mut first, &mut second]);
    lab.commit_begins(&first);
    lab.leave(&first, true);
    // As when the consumer is dropped.
    lab.leave(&first, false);
    lab.settle(&mut [&mut second]);
    assert_eq!(lab.has(&second), "email-1");
    lab.commit_ends(&first);
    lab.settle(&mut [&mut second]);
    assert_eq!(lab.has(&second), "email-0 email-1");
}

/// There is one more revocation when the first is through: that one has not been given up.
#[test]
fn what_was_given_up_is_told_from_what_is_to_be_given_up_next() {
    let mut lab = Lab::new(&[("email", 6)]);
    let mut first = lab.join(consumer(&["email"]));
    let mut second = lab.join(consumer(&["email"]));
    lab.commit_begins(&first);
    lab.settle(&mut [&mut first, &mut second]);
    assert_eq!(lab.has(&first).split(' ').count(), 3);
    let mut third = lab.join(consumer(&["email"]));
    lab.commit_ends(&first);
    assert!(first.is_summoned());
    lab.heartbeat(&mut first).unwrap();
    // It reads what it is to give up, and nobody else does.
    assert_eq!((first.told.revoking.len(), first.has.len()), (1, 3));
    lab.heartbeat(&mut third).unwrap();
    assert!(first.told.revoking.iter().all(|(topic, p)| !third.has.contains(topic, p)));
    lab.settle(&mut [&mut first, &mut second, &mut third]);
    assert_eq!([first.has.len(), second.has.len(), third.has.len()], [2, 2, 2]);
}
