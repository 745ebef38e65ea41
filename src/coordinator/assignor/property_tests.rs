//! What holds for any group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::*;

/// A group as it was described, to be changed and described again.
#[derive(Clone, Debug)]
struct Described {
    /// Partitions by topic.
    topics: BTreeMap<String, u32>,
    /// Subscriptions by member; static ones are those whose id ends with `s`.
    members: BTreeMap<String, BTreeSet<String>>,
    previous: BTreeMap<(String, u32), String>,
}

impl Described {
    fn build(&self) -> GroupSpec {
        self.build_with(self.members.iter())
    }

    /// With members that join in this order.
    fn build_with<'a>(
        &self,
        members: impl Iterator<Item = (&'a String, &'a BTreeSet<String>)>,
    ) -> GroupSpec {
        let mut builder = GroupSpec::builder();
        for (topic, partitions) in &self.topics {
            builder = builder.topic(topic, *partitions);
        }
        for (id, topics) in members {
            builder = match id.strip_suffix('s') {
                Some(instance) => builder.static_member(id, instance, topics),
                None => builder.member(id, topics),
            };
        }
        for ((topic, partition), member) in &self.previous {
            builder = builder.previous(member, [(topic, *partition)]);
        }
        builder.build().unwrap()
    }

    /// The same group, to which this was assigned.
    fn after(&self, assignment: &GroupAssignment) -> Self {
        Self { previous: owners(&self.build(), assignment), ..self.clone() }
    }

    fn without(&self, member: &str) -> Self {
        let mut rest = self.clone();
        rest.members.remove(member);
        rest
    }

    fn with(&self, member: &str) -> Self {
        let topics = self.topics.keys().cloned().collect();
        let mut more = self.clone();
        more.members.insert(member.to_owned(), topics);
        more
    }
}

/// Owners by topic and partition.
fn owners(group: &GroupSpec, assignment: &GroupAssignment) -> BTreeMap<(String, u32), String> {
    let mut owners = BTreeMap::new();
    let group = group.clone();
    for (partition, owner) in
        group.topics().flat_map(|topic| topic.partitions()).zip(assignment.owners())
    {
        if let Some(owner) = owner {
            let topic = partition.topic().name().to_string();
            let member = group.member_at(*owner).unwrap().id().to_owned();
            owners.insert((topic, partition.number()), member);
        }
    }
    owners
}

/// How many partitions each member has.
fn loads(group: &GroupSpec, assignment: &GroupAssignment) -> Vec<usize> {
    let mut loads = vec![0; group.member_count()];
    assignment.owners().iter().flatten().for_each(|owner| loads[*owner as usize] += 1);
    loads
}

fn difference(loads: &[usize]) -> usize {
    loads.iter().max().unwrap_or(&0) - loads.iter().min().unwrap_or(&0)
}

/// How many partitions have another owner than before, or none.
fn moved(before: &Described, after: &BTreeMap<(String, u32), String>) -> usize {
    before.previous.iter().filter(|(partition, owner)| after.get(partition) != Some(owner)).count()
}

fn any_topics() -> impl Strategy<Value = BTreeMap<String, u32>> {
    btree_map("t[0-9]", 0..12u32, 0..6)
}

fn any_previous() -> impl Strategy<Value = BTreeMap<(String, u32), String>> {
    btree_map(("t[0-9]", 0..12u32), "[A-J]s?", 0..40)
}

/// Members with the same subscription; what they had is anything.
fn any_alike() -> impl Strategy<Value = Described> {
    (any_topics(), btree_set("[A-J]s?", 0..9), any_previous()).prop_map(
        |(topics, ids, previous)| {
            let subscription: BTreeSet<_> = topics.keys().cloned().collect();
            let members = ids.into_iter().map(|id| (id, subscription.clone())).collect();
            Described { topics, members, previous }
        },
    )
}

/// Members with subscriptions of their own.
fn any_different() -> impl Strategy<Value = Described> {
    let members = btree_map("[A-J]s?", btree_set("t[0-9]", 0..6), 0..9);
    (any_topics(), members, any_previous()).prop_map(|(topics, members, previous)| Described {
        topics,
        members,
        previous,
    })
}

fn any_group() -> impl Strategy<Value = Described> {
    prop_oneof![any_alike(), any_different()]
}

fn of_names(names: &'static [&str]) -> impl Strategy<Value = Arc<dyn Assignor>> {
    prop::sample::select(names).prop_map(|name| built_in(name).unwrap())
}

fn any_assignor() -> impl Strategy<Value = Arc<dyn Assignor>> {
    of_names(&BUILT_IN)
}

/// Those that look at who had what.
fn any_sticky() -> impl Strategy<Value = Arc<dyn Assignor>> {
    of_names(&["uniform", "sticky", "cooperative-sticky"])
}

proptest! {
    #[test]
    fn what_has_subscribers_is_read_by_one_of_them(
        described in any_group(),
        assignor in any_assignor(),
    ) {
        let group = described.build();
        let assignment = assignor.assign(&group);
        prop_assert_eq!(assignment.check(&group), Ok(()));
        prop_assert_eq!(assignment.owners().len(), group.slot_count());
        for partition in group.topics().flat_map(|topic| topic.partitions()) {
            let has_subscribers = partition.topic().subscribers().next().is_some();
            let owner = assignment.owner(partition);
            prop_assert_eq!(owner.is_some(), has_subscribers, "{}", partition);
            // `assignment` has a group of its own, of which these are parts.
            let owner = owner.and_then(|owner| group.member(owner.id()));
            prop_assert!(owner.is_none_or(|owner| owner.is_subscribed_to(partition.topic())));
        }
    }

    #[test]
    fn members_with_the_same_subscription_have_equally_many_or_one_more(
        described in any_alike(),
        assignor in of_names(&["uniform", "roundrobin", "sticky", "cooperative-sticky"]),
    ) {
        let group = described.build();
        let loads = loads(&group, &assignor.assign(&group));
        prop_assert!(difference(&loads) <= 1, "{:?}", loads);
    }

    /// No partition can go to a subscriber that would then still have fewer than the owner had.
    #[test]
    fn no_single_move_makes_a_sticky_assignment_more_even(
        described in any_different(),
        assignor in any_sticky(),
    ) {
        let group = described.build();
        let assignment = assignor.assign(&group);
        let loads = loads(&group, &assignment);
        let load = |member: GroupMember<'_>| loads[group.index(member).unwrap() as usize];
        for partition in group.topics().flat_map(|topic| topic.partitions()) {
            let Some(owner) = assignment.owner(partition) else { continue };
            let owner = group.member(owner.id()).unwrap();
            for other in partition.topic().subscribers() {
                prop_assert!(load(owner) <= load(other) + 1, "{partition} {assignment}");
            }
        }
    }

    /// By the score that Kafka uses to decide whether to undo its moves: there is nothing to be undone.
    #[test]
    fn a_sticky_assignment_is_no_less_even_than_the_one_before(
        described in any_different(),
        assignor in any_sticky(),
    ) {
        let score = |loads: &[usize]| -> usize {
            loads.iter().flat_map(|a| loads.iter().map(|b| a.abs_diff(*b))).sum()
        };
        let before = RoundRobinAssignor.assign(&described.build());
        let group = described.after(&before).build();
        let after = assignor.assign(&group);
        prop_assert!(score(&loads(&group, &after)) <= score(&loads(&group, &before)));
    }

    #[test]
    fn the_same_group_gets_the_same_assignment_in_whatever_order_members_join(
        described in any_group(),
        assignor in any_assignor(),
    ) {
        let assignment = assignor.assign(&described.build());
        let again = assignor.assign(&described.build());
        prop_assert_eq!(assignment.owners(), again.owners());
        let backwards = assignor.assign(&described.build_with(described.members.iter().rev()));
        prop_assert_eq!(assignment.owners(), backwards.owners());
    }

    #[test]
    fn a_group_that_has_not_changed_keeps_everything(
        described in any_group(),
        assignor in any_assignor(),
    ) {
        let assigned = described.after(&assignor.assign(&described.build()));
        let group = assigned.build();
        prop_assert_eq!(owners(&group, &assignor.assign(&group)), assigned.previous);
    }

    #[test]
    fn who_stays_loses_nothing_when_others_leave(
        described in any_alike(),
        assignor in any_sticky(),
        leaving in vec("[A-J]s?", 1..4),
    ) {
        let before = described.after(&assignor.assign(&described.build()));
        let rest = leaving.iter().fold(before.clone(), |rest, member| rest.without(member));
        let group = rest.build();
        let after = owners(&group, &assignor.assign(&group));
        let of_leaving = before.previous.values().filter(|owner| !rest.members.contains_key(*owner));
        prop_assert_eq!(moved(&before, &after), of_leaving.count());
    }

    /// It gets no fewer than it has to have, and nothing else moves.
    #[test]
    fn only_what_goes_to_a_new_member_moves(
        described in any_alike(),
        assignor in any_sticky(),
        joining in "[A-J]s?",
    ) {
        let old = described.without(&joining);
        if old.members.is_empty() {
            return Ok(());
        }
        let before = old.after(&assignor.assign(&old.build()));
        let more = before.with(&joining);
        let group = more.build();
        let assignment = assignor.assign(&group);
        let after = owners(&group, &assignment);
        let to_new = after.values().filter(|owner| **owner == joining).count();
        prop_assert_eq!(moved(&before, &after), to_new);
        prop_assert_eq!(to_new, group.slot_count() / group.member_count());
    }
}
