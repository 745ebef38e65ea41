//! What an assignor is told of a group: topics, members, subscriptions, and who had what.
//!
//! The partitions of all topics stand in one row, topic after topic; the place of one in it is its *slot*. Members and
//! topics are numbers inside, so that nobody compares names or looks into a map for each partition.
//!
//! # Invariants
//! - Topics ascend by name, members in the order of [`MemberSpec::order`].
//! - A previous owner is in the group, and subscribed to the topic.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;
use std::ptr;
use std::sync::Arc;

use super::GroupSpecBuilder;
use crate::base::PartitionId;
use crate::base::TopicId;
use crate::base::TopicName;
use crate::base::TopicPartition;

/// A topic that members of the group are subscribed to.
#[derive(Clone, Debug)]
pub(crate) struct TopicSpec {
    pub(crate) id: TopicId,
    pub(crate) name: TopicName,
    pub(crate) partitions: u32,
}

/// A member of the group.
#[derive(Clone, Debug)]
pub(crate) struct MemberSpec {
    pub(crate) id: Arc<str>,
    /// Of a static member (`group.instance.id`).
    pub(crate) instance_id: Option<Arc<str>>,
    /// Kafka's `client.rack`.
    pub(crate) rack: Option<Arc<str>>,
    /// Numbers of topics, ascending. Equal ones are best the same allocation: that is quicker to compare.
    pub(crate) subscription: Arc<[u32]>,
}

impl MemberSpec {
    /// Kafka's order: static members by instance id, then the others by member id.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        let of_instances = match (&self.instance_id, &other.instance_id) {
            (Some(own), Some(other)) => own.cmp(other),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        of_instances.then_with(|| self.id.cmp(&other.id))
    }
}

/// A group as an [`Assignor`](super::Assignor) sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GroupSpec(Arc<Group>);

#[derive(Debug)]
struct Group {
    topics: Arc<[TopicSpec]>,
    /// The first slot of each topic, and the number of all slots.
    bases: Vec<usize>,
    members: Vec<MemberSpec>,
    /// By slot.
    previous: Vec<Option<u32>>,
    subscribers: Subscribers,
}

#[derive(Debug)]
enum Subscribers {
    /// All members have this subscription.
    Everybody { topics: Arc<[u32]>, members: Vec<u32> },
    /// By topic.
    Some(Vec<Vec<u32>>),
}

impl GroupSpec {
    /// Describes a group that does not exist, to try assignors on.
    pub fn builder() -> GroupSpecBuilder {
        GroupSpecBuilder::default()
    }

    /// `topics` ascend by name, `members` by [`MemberSpec::order`]. `previous` is by slot, the owner before as a number
    /// of `members`; owners that are not there or not subscribed any more are forgotten.
    pub(crate) fn new(
        topics: impl Into<Arc<[TopicSpec]>>,
        members: Vec<MemberSpec>,
        mut previous: Vec<Option<u32>>,
    ) -> Self {
        let topics = topics.into();
        debug_assert!(topics.is_sorted_by(|a, b| a.name < b.name), "topics are not in order");
        debug_assert!(members.is_sorted_by(|a, b| a.order(b).is_lt()), "members are not in order");
        let mut bases = Vec::with_capacity(topics.len() + 1);
        let mut slots = 0;
        bases.push(slots);
        for topic in topics.iter() {
            slots += topic.partitions as usize;
            bases.push(slots);
        }
        previous.resize(slots, None);
        let subscribers = Subscribers::of(&members, topics.len());
        let mut group = Group { topics, bases, members, previous: Vec::new(), subscribers };
        group.forget_those_not_subscribed(&mut previous);
        group.previous = previous;
        Self(Arc::new(group))
    }

    /// The topics, in order of their names. They include all that a member is subscribed to, and that exist.
    pub fn topics(&self) -> impl Iterator<Item = GroupTopic<'_>> + Clone {
        (0..).zip(self.0.topics.iter()).map(|(index, topic)| GroupTopic::new(&self.0, index, topic))
    }

    /// The topic of this name, if it exists and is one of the group's.
    pub fn topic(&self, name: &str) -> Option<GroupTopic<'_>> {
        let place = self.0.topics.binary_search_by(|topic| topic.name.as_str().cmp(name)).ok()?;
        self.0.topic(u32::try_from(place).ok()?)
    }

    /// The members in Kafka's order: static ones by instance id, then the others by member id.
    pub fn members(&self) -> impl Iterator<Item = GroupMember<'_>> + Clone {
        let members = (0..).zip(&self.0.members);
        members.map(|(index, member)| GroupMember { group: &self.0, index, member })
    }

    /// The member of this id.
    pub fn member(&self, id: &str) -> Option<GroupMember<'_>> {
        self.members().find(|member| member.id() == id)
    }

    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn member_count(&self) -> usize {
        self.0.members.len()
    }

    pub(super) fn slot_count(&self) -> usize {
        self.0.previous.len()
    }

    /// The subscription that all members have, if they have the same.
    pub(super) fn common_subscription(&self) -> Option<&[u32]> {
        match &self.0.subscribers {
            Subscribers::Everybody { topics, .. } => Some(topics),
            Subscribers::Some(_) => None,
        }
    }

    /// Numbers of all topics.
    pub(super) fn topic_indexes(&self) -> impl Iterator<Item = u32> + use<> {
        (0..).take(self.0.topics.len())
    }

    /// Members that are subscribed to the topic, ascending.
    pub(super) fn subscriber_indexes(&self, topic: u32) -> &[u32] {
        self.0.subscribers(topic)
    }

    /// The slots of the topic.
    pub(super) fn slots(&self, topic: u32) -> Range<usize> {
        self.0.slots(topic)
    }

    /// Who had what, by slot.
    pub(in crate::coordinator) fn previous_owners(&self) -> &[Option<u32>] {
        &self.0.previous
    }

    /// Who had the partitions of the topic.
    pub(super) fn previous_owners_of(&self, topic: u32) -> &[Option<u32>] {
        self.0.previous.get(self.slots(topic)).unwrap_or_default()
    }

    /// The slot of a partition of this group, which is `None` for one of another.
    pub(super) fn slot(&self, partition: GroupPartition<'_>) -> Option<usize> {
        ptr::eq(partition.topic.group, &*self.0).then(|| partition.slot())
    }

    /// The number of a member of this group, which is `None` for one of another.
    pub(super) fn index(&self, member: GroupMember<'_>) -> Option<u32> {
        ptr::eq(member.group, &*self.0).then_some(member.index)
    }

    pub(super) fn member_at(&self, index: u32) -> Option<GroupMember<'_>> {
        self.0.member(index)
    }
}

impl Subscribers {
    fn of(members: &[MemberSpec], topics: usize) -> Self {
        let first = members.first().map(|member| Arc::clone(&member.subscription));
        let first = first.unwrap_or_else(|| Arc::new([]));
        let is_same = |other: &MemberSpec| {
            Arc::ptr_eq(&other.subscription, &first) || other.subscription == first
        };
        if members.iter().all(is_same) {
            let members = (0..).zip(members).map(|(index, _)| index).collect();
            return Self::Everybody { topics: first, members };
        }
        let mut by_topic = vec![Vec::new(); topics];
        for (index, member) in (0..).zip(members) {
            for topic in member.subscription.iter() {
                if let Some(subscribers) = by_topic.get_mut(*topic as usize) {
                    subscribers.push(index);
                }
            }
        }
        Self::Some(by_topic)
    }
}

impl Group {
    fn topic(&self, index: u32) -> Option<GroupTopic<'_>> {
        let topic = self.topics.get(index as usize)?;
        Some(GroupTopic::new(self, index, topic))
    }

    fn member(&self, index: u32) -> Option<GroupMember<'_>> {
        let member = self.members.get(index as usize)?;
        Some(GroupMember { group: self, index, member })
    }

    fn slots(&self, topic: u32) -> Range<usize> {
        match self.bases.get(topic as usize..) {
            Some([base, end, ..]) => *base..*end,
            _ => 0..0,
        }
    }

    fn subscribers(&self, topic: u32) -> &[u32] {
        match &self.subscribers {
            Subscribers::Everybody { topics, members } => match topics.binary_search(&topic) {
                Ok(_) => members,
                Err(_) => &[],
            },
            Subscribers::Some(by_topic) => {
                by_topic.get(topic as usize).map(Vec::as_slice).unwrap_or_default()
            }
        }
    }

    fn forget_those_not_subscribed(&self, previous: &mut [Option<u32>]) {
        for topic in (0..).take(self.topics.len()) {
            let subscribers = self.subscribers(topic);
            // Of all members, or of none: then there is nothing to look for.
            let all = subscribers.len() == self.members.len();
            let is_subscribed = |member: u32| {
                if all {
                    (member as usize) < subscribers.len()
                } else {
                    subscribers.binary_search(&member).is_ok()
                }
            };
            for owner in previous.get_mut(self.slots(topic)).unwrap_or_default() {
                *owner = owner.filter(|member| is_subscribed(*member));
            }
        }
    }
}

/// A topic of a [`GroupSpec`].
#[derive(Clone, Copy)]
pub struct GroupTopic<'a> {
    group: &'a Group,
    index: u32,
    topic: &'a TopicSpec,
}

impl<'a> GroupTopic<'a> {
    fn new(group: &'a Group, index: u32, topic: &'a TopicSpec) -> Self {
        Self { group, index, topic }
    }

    /// The topic's name.
    pub fn name(&self) -> &'a TopicName {
        &self.topic.name
    }

    /// The topic's id.
    pub fn id(&self) -> TopicId {
        self.topic.id
    }

    /// How many partitions it has.
    pub fn partition_count(&self) -> u32 {
        self.topic.partitions
    }

    /// Its partitions, from 0.
    pub fn partitions(&self) -> impl Iterator<Item = GroupPartition<'a>> + Clone + use<'a> {
        let topic = *self;
        (0..topic.topic.partitions).map(move |partition| GroupPartition { topic, partition })
    }

    /// The partition of this number, if it exists.
    pub fn partition(&self, partition: u32) -> Option<GroupPartition<'a>> {
        (partition < self.topic.partitions).then_some(GroupPartition { topic: *self, partition })
    }

    /// The members that are subscribed to it, in the order of members.
    pub fn subscribers(&self) -> impl Iterator<Item = GroupMember<'a>> + Clone + use<'a> {
        let group = self.group;
        group.subscribers(self.index).iter().filter_map(|member| group.member(*member))
    }
}

impl fmt::Debug for GroupTopic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.topic.fmt(f)
    }
}

/// A partition of a topic of a [`GroupSpec`]. Displayed as `topic-partition`.
#[derive(Clone, Copy)]
pub struct GroupPartition<'a> {
    topic: GroupTopic<'a>,
    partition: u32,
}

impl<'a> GroupPartition<'a> {
    /// The topic that it is of.
    pub fn topic(&self) -> GroupTopic<'a> {
        self.topic
    }

    /// Its number within the topic.
    pub fn number(&self) -> u32 {
        self.partition
    }

    /// Its name outside of this group.
    pub fn to_topic_partition(&self) -> TopicPartition {
        let partition = i32::try_from(self.partition).ok().and_then(PartitionId::new);
        TopicPartition::new(self.topic.name().clone(), partition.unwrap_or(PartitionId::ZERO))
    }

    /// Who was to read it by the previous assignment, if that member is still there and still subscribed.
    pub fn previous_owner(&self) -> Option<GroupMember<'a>> {
        let group = self.topic.group;
        group.previous.get(self.slot()).copied().flatten().and_then(|owner| group.member(owner))
    }

    fn slot(&self) -> usize {
        self.topic.group.slots(self.topic.index).start + self.partition as usize
    }
}

impl fmt::Debug for GroupPartition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for GroupPartition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic.name(), self.partition)
    }
}

/// A member of a [`GroupSpec`].
#[derive(Clone, Copy)]
pub struct GroupMember<'a> {
    group: &'a Group,
    index: u32,
    member: &'a MemberSpec,
}

impl<'a> GroupMember<'a> {
    /// The member's id.
    pub fn id(&self) -> &'a str {
        &self.member.id
    }

    /// The id of a static member (`group.instance.id`).
    pub fn instance_id(&self) -> Option<&'a str> {
        self.member.instance_id.as_deref()
    }

    /// Where it runs (`client.rack`).
    pub fn rack(&self) -> Option<&'a str> {
        self.member.rack.as_deref()
    }

    /// The topics that it is subscribed to and that exist, in order of their names.
    pub fn topics(&self) -> impl Iterator<Item = GroupTopic<'a>> + Clone + use<'a> {
        let group = self.group;
        self.member.subscription.iter().filter_map(|topic| group.topic(*topic))
    }

    /// Whether it may be given partitions of `topic`.
    pub fn is_subscribed_to(&self, topic: GroupTopic<'_>) -> bool {
        ptr::eq(self.group, topic.group)
            && self.member.subscription.binary_search(&topic.index).is_ok()
    }

    /// What it was to read by the previous assignment, without partitions that are gone and topics that it is not
    /// subscribed to any more.
    ///
    /// Goes through all of its topics: who wants to know of all members asks each partition for its
    /// [`previous_owner`](GroupPartition::previous_owner).
    pub fn previous(&self) -> impl Iterator<Item = GroupPartition<'a>> + Clone + use<'a> {
        let index = self.index;
        self.topics().flat_map(|topic| topic.partitions()).filter(move |partition| {
            partition.previous_owner().is_some_and(|owner| owner.index == index)
        })
    }
}

impl fmt::Debug for GroupMember<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.member.fmt(f)
    }
}
