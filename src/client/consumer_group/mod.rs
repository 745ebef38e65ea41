//! A group, seen from outside: who is in it, how far it has come, and what can be done about that.

mod description;
mod lag;
mod reset;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::{ErrorKind, TopicPartition};
use crate::client::{Consumer, ConsumerBuilder, Error, NextOffset, Result};
use crate::cluster::Running;
use crate::coordinator::{GroupCoordinator, GroupId, Subscription};

pub use description::{GroupDescription, GroupListing, MemberDescription};
pub use lag::{GroupLag, Lag, PartitionLag};
pub use reset::{OffsetReset, OffsetsTo, PlannedOffset};

/// A group of consumers: each partition of what they read is one member's, and how far the group has come is remembered.
/// A handle, cheap to clone. There need not be such a group yet: it begins with its first member, or its first commit.
///
/// ```
/// use brooklet::{Cluster, NewTopic, Record};
/// use std::time::Duration;
///
/// let cluster = Cluster::in_memory()?;
/// cluster.create_topic(NewTopic::new("email").partitions(3))?;
/// cluster.producer().build()?.send(Record::to("email").value("welcome"))?.wait()?;
///
/// let group = cluster.consumer_group("mailer");
/// let mut consumer = group.join(["email"])?; // a member; dropped, it has left
/// for record in &consumer.poll(Duration::from_secs(1))? {
///     println!("{:?}", record.value());
/// }
/// consumer.commit()?.wait()?; // all that polls have returned
/// println!("{}", group.lag()?); // 0 records, 0 bytes, 0 s behind
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConsumerGroup {
    core: Arc<Running>,
    groups: Arc<GroupCoordinator>,
    id: String,
}

impl ConsumerGroup {
    pub(super) fn new(core: Arc<Running>, groups: Arc<GroupCoordinator>, id: String) -> Self {
        Self { core, groups, id }
    }

    /// The group's name (`group.id`).
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The name, if it is one.
    fn group_id(&self) -> Result<GroupId> {
        let id = GroupId::new(&self.id).filter(|id| !id.as_str().is_empty());
        id.ok_or_else(|| {
            let message = "the name of a group has 1 to 32,767 bytes";
            Error::new(ErrorKind::InvalidGroupId, message)
        })
    }

    /// A consumer of the group, to be configured and to [join](ConsumerBuilder::join).
    pub fn consumer(&self) -> ConsumerBuilder {
        ConsumerBuilder::new(Arc::clone(&self.core), Arc::clone(&self.groups)).group(&self.id)
    }

    /// A new member of the group, with the default settings, that reads these topics: names, or a
    /// [pattern](Subscription::pattern). It returns with the partitions that are free, perhaps none, and waits for no other
    /// member; see [`Consumer::wait_assigned`].
    ///
    /// # Errors
    /// Those of [`Consumer::subscribe`].
    pub fn join(&self, to: impl Into<Subscription>) -> Result<Consumer> {
        self.consumer().join(to)
    }

    /// What the group is about, and who is in it. One that there is not is [`Dead`](crate::GroupState::Dead).
    ///
    /// # Errors
    /// [`CoordinatorNotAvailable`](ErrorKind::CoordinatorNotAvailable) and
    /// [`CoordinatorLoadInProgress`](ErrorKind::CoordinatorLoadInProgress) at the moment, as with all that asks about a
    /// group.
    pub fn describe(&self) -> Result<GroupDescription> {
        let described = self.groups.describe(&self.group_id()?)?;
        Ok(GroupDescription::of(self.id.clone(), described))
    }

    /// The members, by their ids.
    ///
    /// # Errors
    /// Those of [`describe`](Self::describe).
    pub fn members(&self) -> Result<Vec<MemberDescription>> {
        Ok(self.describe()?.members)
    }

    /// Which member has which partition at the moment.
    ///
    /// # Errors
    /// Those of [`describe`](Self::describe).
    pub fn assignment(&self) -> Result<BTreeMap<TopicPartition, String>> {
        let members = self.members()?.into_iter();
        let owned = members.flat_map(|member| {
            let id = member.id;
            member.assigned.into_iter().map(move |partition| (partition, id.clone()))
        });
        Ok(owned.collect())
    }

    /// All that the group has committed.
    ///
    /// # Errors
    /// Those of [`describe`](Self::describe).
    pub fn committed_offsets(&self) -> Result<BTreeMap<TopicPartition, NextOffset>> {
        let committed = self.groups.all_committed(&self.group_id()?)?.into_iter();
        let found = |(at, committed)| {
            let next = NextOffset::of(&at, committed);
            (at, next)
        };
        Ok(committed.map(found).collect())
    }

    /// How far the group is behind, in what it has committed and in what its members read.
    ///
    /// # Errors
    /// Those of [`describe`](Self::describe), and [`LeaderNotAvailable`](ErrorKind::LeaderNotAvailable) if nobody leads one
    /// of the partitions.
    pub fn lag(&self) -> Result<GroupLag> {
        GroupLag::of(&self.core, &self.committed_offsets()?, &self.assignment()?)
    }

    /// Has the group go on somewhere else. Nothing is done before [`OffsetReset::apply`]; [`OffsetReset::plan`] tells what
    /// would be.
    pub fn reset_offsets(&self, to: OffsetsTo) -> OffsetReset {
        OffsetReset::new(self.clone(), to)
    }

    /// Forgets what was committed for some partitions: who reads them next begins as `auto.offset.reset` says.
    ///
    /// # Errors
    /// [`GroupSubscribedToTopic`](ErrorKind::GroupSubscribedToTopic) if a member reads one of the topics: nothing was
    /// forgotten; [`GroupIdNotFound`](ErrorKind::GroupIdNotFound); those of [`describe`](Self::describe);
    /// [`NotLeaderOrFollower`](ErrorKind::NotLeaderOrFollower) if the coordinator moves meanwhile, and what writing can fail
    /// with.
    pub fn delete_offsets(
        &self,
        partitions: impl IntoIterator<Item = impl AsRef<TopicPartition>>,
    ) -> Result<()> {
        let partitions = partitions.into_iter().map(|p| p.as_ref().clone()).collect::<Vec<_>>();
        Ok(self.groups.delete_offsets(&self.group_id()?, &partitions)?.wait()?)
    }

    /// Deletes the group, and what it has committed.
    ///
    /// ```
    /// use brooklet::{Cluster, ErrorKind, NewTopic};
    ///
    /// let cluster = Cluster::in_memory()?;
    /// cluster.create_topic(NewTopic::new("email"))?;
    /// let group = cluster.consumer_group("mailer");
    /// let consumer = group.join("email")?;
    /// assert_eq!(group.delete().unwrap_err().kind(), ErrorKind::NonEmptyGroup);
    /// drop(consumer);
    /// group.delete()?;
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`NonEmptyGroup`](ErrorKind::NonEmptyGroup) if it has members, and otherwise those of
    /// [`delete_offsets`](Self::delete_offsets).
    pub fn delete(&self) -> Result<()> {
        Ok(self.groups.delete_group(&self.group_id()?)?.wait()?)
    }

    /// Removes a member, static or not, as if it had not polled for too long: its next poll says so, and joins again
    /// (Kafka's `removeMembersFromConsumerGroup`).
    ///
    /// # Errors
    /// [`UnknownMemberId`](ErrorKind::UnknownMemberId) if it is no member.
    pub fn remove_member(&self, id: &str) -> Result<()> {
        Ok(self.groups.remove_member(&self.group_id()?, id)?)
    }
}
