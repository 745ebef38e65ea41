//! Groups and members, described.

use std::fmt;

use crate::base::{BrokerId, TopicPartition};
use crate::coordinator::{DescribedMember, Description, GroupProtocol, GroupState, Listing};

/// A description of a group, from [`ConsumerGroup::describe`](crate::ConsumerGroup::describe).
///
/// ```
/// use brooklet::{Cluster, GroupState, NewTopic};
///
/// let cluster = Cluster::in_memory()?;
/// cluster.create_topic(NewTopic::new("email").partitions(2))?;
/// let group = cluster.consumer_group("mailer");
/// let consumer = group.join("email")?;
/// let description = group.describe()?;
/// assert_eq!((description.state, description.members.len()), (GroupState::Stable, 1));
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct GroupDescription {
    /// The group's name.
    pub id: String,
    /// What it is about.
    pub state: GroupState,
    /// How its members come to their partitions; `None` if it has never had any.
    pub protocol: Option<GroupProtocol>,
    /// Counts how often it was decided anew who is to have what; the generation, in the classic protocol.
    pub epoch: i32,
    /// Who decided last; `None` without members.
    pub assignor: Option<String>,
    /// The broker that is its coordinator; `None` if nobody has ever been in a group.
    pub coordinator: Option<BrokerId>,
    /// The members, by id.
    pub members: Vec<MemberDescription>,
}

impl GroupDescription {
    pub(super) fn of(id: String, described: Description) -> Self {
        let Description { state, protocol, epoch, assignor, coordinator, members } = described;
        let members = members.into_iter().map(MemberDescription::of).collect();
        Self { id, state, protocol, epoch, assignor, coordinator, members }
    }
}

/// A member of a group.
///
/// ```
/// use brooklet::{Cluster, NewTopic};
///
/// let cluster = Cluster::in_memory()?;
/// cluster.create_topic(NewTopic::new("email"))?;
/// let group = cluster.consumer_group("mailer");
/// let consumer = group.consumer().client_id("left").join("email")?;
/// for member in group.members()? {
///     println!("{} has {} partitions", member.client_id, member.assigned.len());
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct MemberDescription {
    /// Names this life of the member.
    pub id: String,
    /// `group.instance.id`, of a static member.
    pub instance_id: Option<String>,
    /// `client.id`.
    pub client_id: String,
    /// The topics that it wants, with a comma between them; its pattern comes last.
    pub subscription: String,
    /// The epoch of the assignment to which it has come.
    pub epoch: i32,
    /// It is static, and not there at the moment.
    pub is_away: bool,
    /// What it has, in order.
    pub assigned: Vec<TopicPartition>,
    /// What it is to have, in order.
    pub target: Vec<TopicPartition>,
}

impl MemberDescription {
    fn of(described: DescribedMember) -> Self {
        Self {
            id: described.id,
            instance_id: described.instance_id,
            client_id: described.client_id,
            subscription: described.subscribed,
            epoch: described.epoch,
            is_away: described.is_away,
            assigned: described.assigned.into_iter().collect(),
            target: described.target.into_iter().collect(),
        }
    }
}

/// A group in the list of [`Cluster::consumer_groups`](crate::Cluster::consumer_groups). Displayed as its name.
///
/// ```
/// use brooklet::{Cluster, NewTopic};
///
/// let cluster = Cluster::in_memory()?;
/// cluster.create_topic(NewTopic::new("email"))?;
/// let consumer = cluster.consumer_group("mailer").join("email")?;
/// for group in cluster.consumer_groups()? {
///     println!("{group}: {}", group.state); // mailer: Stable
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct GroupListing {
    /// The group's name.
    pub id: String,
    /// What it is about.
    pub state: GroupState,
    /// How its members come to their partitions; `None` if it has never had any.
    pub protocol: Option<GroupProtocol>,
}

impl GroupListing {
    pub(in crate::client) fn of(listing: Listing) -> Self {
        Self { id: listing.group, state: listing.state, protocol: listing.protocol }
    }
}

impl fmt::Display for GroupListing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}
