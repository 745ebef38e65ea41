//! A group as others see it.

use std::collections::BTreeSet;
use std::fmt;

use crate::base::TopicPartition;
use crate::coordinator::group::Group;

/// How the members of a group come to their partitions (`group.protocol`).
///
/// ```
/// use brooklet::{Cluster, GroupProtocol, NewTopic};
///
/// let cluster = Cluster::in_memory()?;
/// cluster.create_topic(NewTopic::new("email"))?;
/// let group = cluster.consumer_group("mailer");
/// // Everybody stops when somebody comes or goes, as with Kafka's first consumers.
/// let consumer = group.consumer().group_protocol(GroupProtocol::Classic).join(["email"])?;
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum GroupProtocol {
    /// Each member goes from what it has to what it is to have, without waiting for members that are not concerned
    /// (KIP-848). The default, while Kafka's is the other one.
    #[default]
    Consumer,
    /// A rebalance is for all members at once. With `range`, `roundrobin` and `sticky`
    /// (`partition.assignment.strategy`) each gives up everything before any gets something; with `cooperative-sticky` only
    /// what others are to have.
    Classic,
}

impl GroupProtocol {
    /// As the setting says it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "consumer" => Some(Self::Consumer),
            "classic" => Some(Self::Classic),
            _ => None,
        }
    }
}

/// As the setting says it.
impl fmt::Display for GroupProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Consumer => "consumer",
            Self::Classic => "classic",
        })
    }
}

/// What a group is about, see [`GroupDescription`](crate::GroupDescription). Displayed as by Kafka's tools.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum GroupState {
    /// It has no members. It may have offsets.
    Empty,
    /// It waits for more members before anybody gets anything (`group.initial.rebalance.delay.ms`).
    Assigning,
    /// Members are on their way to what they are to have.
    Reconciling,
    /// In the classic protocol: members give up what they have.
    PreparingRebalance,
    /// In the classic protocol: members take what they are to have.
    CompletingRebalance,
    /// All members have what they are to have.
    Stable,
    /// There is no such group.
    Dead,
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        })
    }
}

/// A group.
#[derive(Clone, Debug)]
pub(in crate::coordinator) struct DescribedGroup {
    pub(in crate::coordinator) state: GroupState,
    pub(in crate::coordinator) protocol: Option<GroupProtocol>,
    pub(in crate::coordinator) epoch: i32,
    pub(in crate::coordinator) assignor: Option<String>,
    pub(in crate::coordinator) members: Vec<DescribedMember>,
}

/// A member of it.
#[derive(Clone, Debug)]
pub(crate) struct DescribedMember {
    pub(crate) id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) subscribed: String,
    pub(crate) epoch: i32,
    pub(crate) is_away: bool,
    pub(crate) assigned: BTreeSet<TopicPartition>,
    pub(crate) target: BTreeSet<TopicPartition>,
}

impl Group {
    pub(in crate::coordinator) fn state(&self) -> GroupState {
        match () {
            () if self.is_dead() => GroupState::Dead,
            () if !self.has_members() => GroupState::Empty,
            () if self.assign_at.is_some() => GroupState::Assigning,
            () if self.is_stable() => GroupState::Stable,
            () if !self.is_classic() => GroupState::Reconciling,
            () if self.all_are_ready() => GroupState::CompletingRebalance,
            () => GroupState::PreparingRebalance,
        }
    }

    pub(in crate::coordinator) fn describe(&self) -> DescribedGroup {
        let members = self.members.iter().map(|(id, member)| DescribedMember {
            id: id.to_string(),
            instance_id: member.wants.instance.as_ref().map(ToString::to_string),
            client_id: member.wants.client_id.to_string(),
            subscribed: member.wants.subscribed.to_string(),
            epoch: member.epoch,
            is_away: member.handle.is_none(),
            assigned: self.named(&member.assigned),
            target: self.named(&member.target),
        });
        DescribedGroup {
            state: self.state(),
            protocol: self.protocol,
            epoch: self.epoch,
            assignor: self.has_members().then(|| self.target.assignor.clone()),
            members: members.collect(),
        }
    }
}
