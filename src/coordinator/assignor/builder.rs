//! Groups out of nothing, for tests of assignors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{GroupSpec, MemberSpec, TopicSpec};
use crate::base::InvalidTopicName;
use crate::base::TopicId;
use crate::base::TopicName;

/// Describes a group to try an assignor on. The order of calls does not matter.
///
/// ```
/// use brooklet::{Assignor, GroupSpec, StickyAssignor};
///
/// let group = GroupSpec::builder()
///     .topic("email", 4)
///     .member("a", ["email"])
///     .member("b", ["email"])
///     .previous("a", [("email", 2), ("email", 3)])
///     .build()?;
/// assert_eq!(StickyAssignor.assign(&group).to_string(), "a: email-2 email-3; b: email-0 email-1");
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct GroupSpecBuilder {
    topics: BTreeMap<String, u32>,
    members: BTreeMap<String, Member>,
    racks: BTreeMap<String, String>,
    /// The owner of a topic's partition.
    previous: BTreeMap<(String, u32), String>,
}

#[derive(Clone, Debug)]
struct Member {
    instance_id: Option<String>,
    topics: BTreeSet<String>,
}

impl GroupSpecBuilder {
    /// A topic that exists, with this many partitions. Its id is made up.
    pub fn topic(mut self, name: &str, partitions: u32) -> Self {
        self.topics.insert(name.to_owned(), partitions);
        self
    }

    /// A member that is subscribed to `topics`. Those that do not exist are left out.
    pub fn member<S: AsRef<str>>(mut self, id: &str, topics: impl IntoIterator<Item = S>) -> Self {
        self.add_member(id, None, topics);
        self
    }

    /// A member that comes back as the same one (`group.instance.id`).
    pub fn static_member<S: AsRef<str>>(
        mut self,
        id: &str,
        instance_id: &str,
        topics: impl IntoIterator<Item = S>,
    ) -> Self {
        self.add_member(id, Some(instance_id.to_owned()), topics);
        self
    }

    /// Where the member runs (`client.rack`).
    pub fn rack(mut self, member: &str, rack: &str) -> Self {
        self.racks.insert(member.to_owned(), rack.to_owned());
        self
    }

    /// What the member had. It may have left since, topics may be gone or have fewer partitions; of two members that
    /// had the same partition, the one that is named later counts.
    pub fn previous<S: AsRef<str>>(
        mut self,
        member: &str,
        partitions: impl IntoIterator<Item = (S, u32)>,
    ) -> Self {
        for (topic, partition) in partitions {
            self.previous.insert((topic.as_ref().to_owned(), partition), member.to_owned());
        }
        self
    }

    /// The group.
    ///
    /// # Errors
    /// If the name of a topic is not one.
    pub fn build(self) -> Result<GroupSpec, InvalidTopicName> {
        let (mut topics, mut previous) = (Vec::new(), Vec::new());
        let members = self.members_in_order();
        let number_of = |id: &str| {
            let place = members.iter().position(|member| &*member.id == id)?;
            u32::try_from(place).ok()
        };
        for (number, (name, partitions)) in (1..).zip(&self.topics) {
            let id = TopicId::from_bytes(u128::to_be_bytes(number));
            topics.push(TopicSpec { id, name: TopicName::new(name)?, partitions: *partitions });
            let owner = |partition| self.previous.get(&(name.clone(), partition));
            previous.extend((0..*partitions).map(|partition| number_of(owner(partition)?)));
        }
        Ok(GroupSpec::new(topics, members, previous))
    }

    fn add_member<S: AsRef<str>>(
        &mut self,
        id: &str,
        instance_id: Option<String>,
        topics: impl IntoIterator<Item = S>,
    ) {
        let topics = topics.into_iter().map(|topic| topic.as_ref().to_owned()).collect();
        self.members.insert(id.to_owned(), Member { instance_id, topics });
    }

    fn members_in_order(&self) -> Vec<MemberSpec> {
        let members = self.members.iter().map(|(id, member)| {
            let topics = (0..).zip(self.topics.keys());
            let subscribed = topics.filter(|(_, topic)| member.topics.contains(*topic));
            MemberSpec {
                id: id.as_str().into(),
                instance_id: member.instance_id.as_deref().map(Arc::from),
                rack: self.racks.get(id).map(|rack| rack.as_str().into()),
                subscription: subscribed.map(|(number, _)| number).collect(),
            }
        });
        let mut members: Vec<_> = members.collect();
        members.sort_by(MemberSpec::order);
        members
    }
}
