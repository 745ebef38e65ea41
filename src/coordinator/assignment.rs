//! Sets of partitions, by topic.
//!
//! # Invariants
//! - The partitions of a topic are sorted, each is there once, and a topic without any is not there: two assignments
//!   are equal if they have the same partitions.

use std::collections::BTreeMap;

use crate::base::PartitionId;
use crate::base::TopicId;

/// The partitions that a member has, is to have, or is to give back.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Assignment {
    topics: BTreeMap<TopicId, Vec<PartitionId>>,
}

impl Assignment {
    /// Number of partitions.
    pub(crate) fn len(&self) -> usize {
        self.topics.values().map(Vec::len).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// All partitions, by topic and number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TopicId, PartitionId)> {
        self.topics
            .iter()
            .flat_map(|(&topic, partitions)| partitions.iter().map(move |&p| (topic, p)))
    }

    /// The topics of which there are partitions, with these.
    pub(crate) fn topics(&self) -> impl ExactSizeIterator<Item = (TopicId, &[PartitionId])> {
        self.topics.iter().map(|(&topic, partitions)| (topic, partitions.as_slice()))
    }

    /// The partitions of `topic`, sorted; none if it is not there.
    pub(crate) fn of_topic(&self, topic: TopicId) -> &[PartitionId] {
        self.topics.get(&topic).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn contains(&self, topic: TopicId, partition: PartitionId) -> bool {
        self.of_topic(topic).binary_search(&partition).is_ok()
    }

    /// Whether it was not there.
    pub(crate) fn insert(&mut self, topic: TopicId, partition: PartitionId) -> bool {
        let partitions = self.topics.entry(topic).or_default();
        let Err(place) = partitions.binary_search(&partition) else { return false };
        partitions.insert(place, partition);
        true
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, topic: TopicId, partition: PartitionId) -> bool {
        let Some(partitions) = self.topics.get_mut(&topic) else { return false };
        let Ok(place) = partitions.binary_search(&partition) else { return false };
        partitions.remove(place);
        if partitions.is_empty() {
            self.topics.remove(&topic);
        }
        true
    }

    /// What is here and not in `other`.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        self.iter().filter(|&(topic, partition)| !other.contains(topic, partition)).collect()
    }
}

impl FromIterator<(TopicId, PartitionId)> for Assignment {
    fn from_iter<I: IntoIterator<Item = (TopicId, PartitionId)>>(pairs: I) -> Self {
        let mut topics = BTreeMap::<_, Vec<_>>::new();
        for (topic, partition) in pairs {
            topics.entry(topic).or_default().push(partition);
        }
        // Sorted once, not at each insertion: hostile records may have very many, in any order.
        for partitions in topics.values_mut() {
            partitions.sort_unstable();
            partitions.dedup();
        }
        Self { topics }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    type Pair = (TopicId, PartitionId);

    /// Few topics and partitions, so that sets have some in common.
    fn any_pair() -> impl Strategy<Value = Pair> {
        (0..4u8, 0..6i32)
            .prop_map(|(topic, p)| (TopicId::from_bytes([topic; 16]), PartitionId::new(p).unwrap()))
    }

    fn check(assignment: &Assignment, model: &BTreeSet<Pair>) {
        assert_eq!(
            assignment.iter().collect::<Vec<_>>(),
            model.iter().copied().collect::<Vec<_>>()
        );
        assert_eq!(assignment.len(), model.len());
        assert_eq!(assignment.is_empty(), model.is_empty());
        assert_eq!(*assignment, model.iter().copied().collect());
        let by_topic = assignment.topics().map(|(topic, partitions)| {
            assert_eq!(partitions, assignment.of_topic(topic));
            assert!(!partitions.is_empty());
            partitions.len()
        });
        assert_eq!(by_topic.sum::<usize>(), model.len());
    }

    proptest! {
        #[test]
        fn changes_are_those_of_a_set(changes in vec((any::<bool>(), any_pair()), 0..60)) {
            let (mut assignment, mut model) = (Assignment::default(), BTreeSet::new());
            for (insert, (topic, partition)) in changes {
                let pair = (topic, partition);
                prop_assert_eq!(assignment.contains(topic, partition), model.contains(&pair));
                if insert {
                    prop_assert_eq!(assignment.insert(topic, partition), model.insert(pair));
                } else {
                    prop_assert_eq!(assignment.remove(topic, partition), model.remove(&pair));
                }
                check(&assignment, &model);
            }
        }

        #[test]
        fn differences_are_those_of_sets(a in vec(any_pair(), 0..20), b in vec(any_pair(), 0..20)) {
            let [(a, set_a), (b, set_b)] = [a, b].map(|pairs| {
                (Assignment::from_iter(pairs.clone()), BTreeSet::from_iter(pairs))
            });
            check(&a, &set_a);
            check(&a.difference(&b), &set_a.difference(&set_b).copied().collect());
        }
    }
}
