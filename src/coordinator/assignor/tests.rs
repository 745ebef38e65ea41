//! What Kafka's own classes gave for these groups, and groups at the edge.

use std::sync::Arc;

use super::*;
use crate::base::TopicId;
use crate::base::TopicName;

/// Topics `t0`, `t1` and so on with these numbers of partitions.
fn topics(partitions: &[u32]) -> GroupSpecBuilder {
    let builder = GroupSpec::builder();
    partitions
        .iter()
        .enumerate()
        .fold(builder, |builder, (number, count)| builder.topic(&format!("t{number}"), *count))
}

/// Such topics, and members that are subscribed to all of them.
fn alike(partitions: &[u32], members: &[&str]) -> GroupSpecBuilder {
    let names: Vec<_> = (0..partitions.len()).map(|number| format!("t{number}")).collect();
    members.iter().fold(topics(partitions), |builder, id| builder.member(id, &names))
}

/// C0 to C2, of which each is subscribed to one topic more than the one before.
fn in_steps() -> GroupSpecBuilder {
    topics(&[1, 2, 3])
        .member("C0", ["t0"])
        .member("C1", ["t0", "t1"])
        .member("C2", ["t0", "t1", "t2"])
}

fn all() -> [Arc<dyn Assignor>; 5] {
    BUILT_IN.map(|name| built_in(name).unwrap())
}

/// The assignment of a valid group, which has come about without a mistake.
fn assigned(assignor: &dyn Assignor, group: GroupSpecBuilder) -> String {
    let group = group.build().unwrap();
    let assignment = assignor.assign(&group);
    assert_eq!(assignment.check(&group), Ok(()));
    assignment.to_string()
}

#[test]
fn range_gives_runs_of_each_topic() {
    let group = alike(&[3, 3], &["C0", "C1"]);
    assert_eq!(assigned(&RangeAssignor, group), "C0: t0-0 t0-1 t1-0 t1-1; C1: t0-2 t1-2");
}

#[test]
fn range_gives_one_more_to_the_first() {
    let group = alike(&[10], &["A", "B", "C", "D"]);
    assert_eq!(
        assigned(&RangeAssignor, group),
        "A: t0-0 t0-1 t0-2; B: t0-3 t0-4 t0-5; C: t0-6 t0-7; D: t0-8 t0-9"
    );
}

#[test]
fn round_robin_and_fresh_sticky_go_round_the_members() {
    for assignor in [&RoundRobinAssignor as &dyn Assignor, &StickyAssignor] {
        let group = alike(&[3, 3], &["C0", "C1"]);
        assert_eq!(assigned(assignor, group), "C0: t0-0 t0-2 t1-1; C1: t0-1 t1-0 t1-2");
    }
}

#[test]
fn fresh_sticky_goes_on_with_the_first_once_all_have_the_least() {
    let group = alike(&[10], &["A", "B", "C", "D"]);
    assert_eq!(
        assigned(&StickyAssignor, group),
        "A: t0-0 t0-4 t0-8; B: t0-1 t0-5 t0-9; C: t0-2 t0-6; D: t0-3 t0-7"
    );
}

#[test]
fn range_and_round_robin_leave_much_to_who_is_subscribed_to_most() {
    for assignor in [&RangeAssignor as &dyn Assignor, &RoundRobinAssignor] {
        let expected = "C0: t0-0; C1: t1-0; C2: t1-1 t2-0 t2-1 t2-2";
        assert_eq!(assigned(assignor, in_steps()), expected, "{assignor:?}");
    }
}

#[test]
fn sticky_and_uniform_relieve_who_is_subscribed_to_most() {
    for assignor in [&StickyAssignor as &dyn Assignor, &UniformAssignor] {
        let expected = "C0: t0-0; C1: t1-0 t1-1; C2: t2-0 t2-1 t2-2";
        assert_eq!(assigned(assignor, in_steps()), expected, "{assignor:?}");
    }
}

#[test]
fn four_topics_of_two_partitions_go_round_three_members() {
    for assignor in [&RoundRobinAssignor as &dyn Assignor, &StickyAssignor] {
        let group = alike(&[2, 2, 2, 2], &["C0", "C1", "C2"]);
        let expected = "C0: t0-0 t1-1 t3-0; C1: t0-1 t2-0 t3-1; C2: t1-0 t2-1";
        assert_eq!(assigned(assignor, group), expected, "{assignor:?}");
    }
}

/// The group of the test before, when C1 has left.
fn without_the_second() -> GroupSpecBuilder {
    alike(&[2, 2, 2, 2], &["C0", "C2"])
        .previous("C0", [("t0", 0), ("t1", 1), ("t3", 0)])
        .previous("C1", [("t0", 1), ("t2", 0), ("t3", 1)])
        .previous("C2", [("t1", 0), ("t2", 1)])
}

#[test]
fn sticky_moves_only_what_the_member_that_left_had() {
    assert_eq!(
        assigned(&StickyAssignor, without_the_second()),
        "C0: t0-0 t0-1 t1-1 t3-0; C2: t1-0 t2-0 t2-1 t3-1"
    );
}

#[test]
fn round_robin_moves_what_it_likes_when_a_member_leaves() {
    assert_eq!(
        assigned(&RoundRobinAssignor, without_the_second()),
        "C0: t0-0 t1-0 t2-0 t3-0; C2: t0-1 t1-1 t2-1 t3-1"
    );
}

/// What is to go to C3 is withheld by the group until the others have given it up: two rounds, one goal.
#[test]
fn cooperative_sticky_takes_the_last_topic_from_both_when_a_third_joins() {
    let group = alike(&[2, 2, 2, 2], &["C0", "C2", "C3"])
        .previous("C0", [("t0", 0), ("t1", 0), ("t2", 0), ("t3", 0)])
        .previous("C2", [("t0", 1), ("t1", 1), ("t2", 1), ("t3", 1)]);
    let first = "C0: t0-0 t1-0 t2-0; C2: t0-1 t1-1 t2-1; C3: t3-0 t3-1";
    assert_eq!(assigned(&CooperativeStickyAssignor, group), first);

    let next = alike(&[2, 2, 2, 2], &["C0", "C2", "C3"])
        .previous("C0", [("t0", 0), ("t1", 0), ("t2", 0)])
        .previous("C2", [("t0", 1), ("t1", 1), ("t2", 1)]);
    assert_eq!(assigned(&CooperativeStickyAssignor, next), first);
}

#[test]
fn fresh_uniform_fills_one_member_after_the_other() {
    let group = alike(&[3, 4], &["A", "B", "C"]);
    let expected = "A: t0-0 t0-1 t0-2; B: t1-0 t1-1; C: t1-2 t1-3";
    assert_eq!(assigned(&UniformAssignor, group), expected);
}

#[test]
fn uniform_leaves_the_extra_one_where_it_is() {
    let group = alike(&[5], &["A", "B"])
        .previous("A", [("t0", 0), ("t0", 1)])
        .previous("B", [("t0", 2), ("t0", 3), ("t0", 4)]);
    assert_eq!(assigned(&UniformAssignor, group), "A: t0-0 t0-1; B: t0-2 t0-3 t0-4");
}

#[test]
fn sticky_takes_high_numbers_of_all_topics_first() {
    let group =
        alike(&[3, 1], &["A", "B"]).previous("A", [("t0", 0), ("t0", 1), ("t0", 2), ("t1", 0)]);
    assert_eq!(assigned(&StickyAssignor, group), "A: t0-0 t1-0; B: t0-1 t0-2");
}

#[test]
fn differing_subscriptions_move_single_partitions_from_the_loaded() {
    let group = topics(&[4, 4])
        .member("A", ["t0", "t1"])
        .member("B", ["t1"])
        .previous("A", [("t0", 0), ("t0", 1), ("t0", 2), ("t0", 3), ("t1", 0), ("t1", 1)])
        .previous("B", [("t1", 2), ("t1", 3)]);
    let expected = "A: t0-0 t0-1 t0-2 t0-3; B: t1-0 t1-1 t1-2 t1-3";
    assert_eq!(assigned(&StickyAssignor, group), expected);
}

/// t0-1 goes to A first, because B has as many. Then what there is of t1 makes A the one that has more.
#[test]
fn new_partitions_are_moved_rather_than_those_that_have_a_reader() {
    let group = topics(&[2, 6, 1])
        .member("A", ["t0", "t1"])
        .member("B", ["t0", "t2"])
        .member("C", ["t1"])
        .member("D", ["t1"])
        .previous("A", [("t0", 0)])
        .previous("B", [("t2", 0)]);
    let expected = "A: t0-0 t1-4; B: t0-1 t2-0; C: t1-0 t1-2 t1-5; D: t1-1 t1-3";
    assert_eq!(assigned(&StickyAssignor, group), expected);
}

/// B gives A two of t0, and then C two of t1. Now it can take one from A: one that it had.
#[test]
fn a_partition_that_was_taken_goes_back_before_another_moves() {
    let numbers = |topic, numbers: [u32; 5]| numbers.map(|number| (topic, number));
    let group = topics(&[11, 9])
        .member("A", ["t0"])
        .member("B", ["t0", "t1"])
        .member("C", ["t1"])
        .previous("A", numbers("t0", [0, 2, 4, 6, 8]))
        .previous("A", [("t0", 10)])
        .previous("B", numbers("t0", [1, 3, 5, 7, 9]))
        .previous("B", numbers("t1", [0, 2, 4, 6, 8]))
        .previous("C", [1, 3, 5, 7].map(|number| ("t1", number)));
    let expected = "A: t0-0 t0-2 t0-3 t0-4 t0-6 t0-8 t0-10; \
        B: t0-1 t0-5 t0-7 t0-9 t1-4 t1-6 t1-8; C: t1-0 t1-1 t1-2 t1-3 t1-5 t1-7";
    assert_eq!(assigned(&StickyAssignor, group), expected);
}

#[test]
fn static_members_come_first_and_by_their_instances() {
    let group = alike(&[3], &["a"])
        .static_member("z", "i1", ["t0"])
        .static_member("b", "i2", ["t0"])
        .build()
        .unwrap();
    let ids: Vec<_> = group.members().map(|member| member.id()).collect();
    assert_eq!(ids, ["z", "b", "a"]);
    assert_eq!(RangeAssignor.assign(&group).to_string(), "z: t0-0; b: t0-1; a: t0-2");
}

#[test]
fn a_group_without_members_leaves_everything_unread() {
    for assignor in all() {
        let group = topics(&[3, 0]).previous("A", [("t0", 1)]).build().unwrap();
        let assignment = assignor.assign(&group);
        assert_eq!(assignment.owners(), [None; 3], "{assignor:?}");
        assert_eq!(assignment.to_string(), "");
    }
}

#[test]
fn topics_without_partitions_give_nobody_anything() {
    for assignor in all() {
        assert_eq!(assigned(&*assignor, alike(&[0, 0], &["A", "B"])), "A: -; B: -");
        let none = GroupSpec::builder().member("A", ["t0"]).member("B", ["t1"]);
        assert_eq!(assigned(&*assignor, none), "A: -; B: -");
    }
}

#[test]
fn topics_that_nobody_is_subscribed_to_stay_unread() {
    for assignor in all() {
        let group = topics(&[2, 2]).member("A", ["t1"]).previous("A", [("t0", 0)]);
        assert_eq!(assigned(&*assignor, group), "A: t1-0 t1-1", "{assignor:?}");
        let different = topics(&[2, 2, 2]).member("A", ["t1"]).member("B", ["t2"]);
        let expected = "A: t1-0 t1-1; B: t2-0 t2-1";
        assert_eq!(assigned(&*assignor, different), expected, "{assignor:?}");
    }
}

#[test]
fn members_in_excess_of_partitions_have_nothing() {
    for assignor in all() {
        let group = alike(&[2], &["A", "B", "C"]);
        assert_eq!(assigned(&*assignor, group), "A: t0-0; B: t0-1; C: -", "{assignor:?}");
    }
}

#[test]
fn topics_that_are_gone_or_have_shrunk_are_forgotten() {
    for assignor in all() {
        let group = alike(&[2], &["A", "B"])
            .previous("A", [("t0", 0), ("t0", 7), ("gone", 0), ("gone", 1)])
            .previous("B", [("t0", 1), ("t0", 2)]);
        assert_eq!(assigned(&*assignor, group), "A: t0-0; B: t0-1", "{assignor:?}");
    }
}

#[test]
fn previous_owners_that_make_no_sense_are_forgotten() {
    let name = TopicName::new("t0").unwrap();
    let topic = TopicSpec { id: TopicId::from_bytes([1; 16]), name, partitions: 3 };
    let member = MemberSpec {
        id: "A".into(),
        instance_id: None,
        rack: None,
        subscription: Arc::new([0, 7]),
    };
    let group = GroupSpec::new(vec![topic], vec![member], vec![Some(0), Some(1), Some(9), Some(0)]);
    assert_eq!(group.previous_owners(), [Some(0), None, None]);
    for assignor in all() {
        assert_eq!(assignor.assign(&group).owners(), [Some(0); 3], "{assignor:?}");
    }
}

#[test]
fn groups_tell_what_they_are_made_of() {
    let group = in_steps()
        .static_member("C1", "till-1", ["t0", "t1", "unknown"])
        .rack("C0", "r1")
        .previous("C2", [("t0", 0), ("t2", 1), ("t2", 9)])
        .previous("C1", [("t2", 0)])
        .build()
        .unwrap();
    let [c0, c1, c2] = ["C0", "C1", "C2"].map(|id| group.member(id).unwrap());
    assert_eq!((c0.instance_id(), c0.rack()), (None, Some("r1")));
    assert_eq!((c1.instance_id(), c1.rack()), (Some("till-1"), None));
    let t1 = group.topic("t1").unwrap();
    assert_eq!((t1.name().as_str(), t1.partition_count()), ("t1", 2));
    assert!(c1.is_subscribed_to(t1) && !c0.is_subscribed_to(t1));
    let subscribers: Vec<_> = t1.subscribers().map(|member| member.id()).collect();
    assert_eq!(subscribers, ["C1", "C2"]);
    let names: Vec<_> = c1.topics().map(|topic| topic.name().as_str()).collect();
    assert_eq!(names, ["t0", "t1"]);
    let previous = |member: GroupMember<'_>| {
        member.previous().map(|partition| partition.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(previous(c2), ["t0-0", "t2-1"]);
    assert!(previous(c1).is_empty(), "it is not subscribed to t2");
    assert!(
        group.topic("t3").is_none() && group.member("C3").is_none() && t1.partition(2).is_none()
    );
}

#[test]
fn a_partition_has_the_owner_that_it_was_given_last() {
    let group = alike(&[1], &["A", "B"]).build().unwrap();
    let mut assignment = GroupAssignment::empty(&group);
    let partition = group.topic("t0").unwrap().partition(0).unwrap();
    assert!(assignment.owner(partition).is_none());
    for member in group.members() {
        assignment.give(partition, member);
    }
    assert_eq!(assignment.owner(partition).unwrap().id(), "B");
    assert_eq!(assignment.to_string(), "A: -; B: t0-0");
}

#[test]
fn giving_to_a_member_that_is_not_subscribed_is_a_mistake() {
    let group = topics(&[1, 1]).member("A", ["t0"]).member("B", ["t1"]).build().unwrap();
    let mut assignment = GroupAssignment::empty(&group);
    let partition = group.topic("t1").unwrap().partition(0).unwrap();
    assignment.give(partition, group.member("A").unwrap());
    assert_eq!(assignment.owners(), [None, None]);
    let mistake = assignment.check(&group).unwrap_err();
    assert_eq!(mistake.to_string(), "t1-0 was given to A, which is not subscribed to its topic");
}

#[test]
fn an_assignment_for_another_group_is_a_mistake() {
    let [group, other] = [(); 2].map(|()| alike(&[1], &["A"]).build().unwrap());
    let of_other = StickyAssignor.assign(&other);
    assert_eq!(of_other.check(&group), Err(AssignmentError::OtherGroup));

    let mut mixed = GroupAssignment::empty(&group);
    let partition = other.topic("t0").unwrap().partition(0).unwrap();
    mixed.give(partition, group.member("A").unwrap());
    assert_eq!(mixed.owners(), [None]);
    assert_eq!(mixed.check(&group), Err(AssignmentError::OtherGroup));
}

#[test]
fn names_that_no_topic_can_have_are_refused() {
    assert!(GroupSpec::builder().topic("a/b", 1).build().is_err());
}
