//! What a consumer can do as a member of a group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{ErrorKind, Offset, TopicPartition};
use crate::client::consumer::membership::{Membership, Reading, positions};
use crate::client::consumer::{Commit, Committer, Hook, NextOffset, Revocation};
use crate::client::{Consumer, ConsumerRecord, Error, Result, Topic};
use crate::coordinator::Subscription;

/// A consumer's place in its group, from [`Consumer::group_metadata`].
///
/// ```
/// use brooklet::{Cluster, NewTopic};
///
/// let cluster = Cluster::in_memory()?;
/// cluster.create_topic(NewTopic::new("email"))?;
/// let consumer = cluster.consumer_group("mailer").join("email")?;
/// let place = consumer.group_metadata()?;
/// println!("{} in {}, epoch {}", place.member_id, place.group_id, place.epoch);
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct GroupMetadata {
    /// The group.
    pub group_id: String,
    /// The member. It has another id when it has been removed and has joined again.
    pub member_id: String,
    /// The epoch of the group's assignment to which it has come; in the classic protocol the generation.
    pub epoch: i32,
    /// `group.instance.id`, of a static member.
    pub instance_id: Option<String>,
}

impl Consumer {
    /// Reads topics as a member of the group that `group.id` names: which of their partitions, the group decides. A member
    /// that was subscribed before reads these topics instead.
    ///
    /// Returns when the member has what is free for it. What others have to give up first comes with later polls; see
    /// [`wait_assigned`](Self::wait_assigned).
    ///
    /// # Errors
    /// By [`kind`](Error::kind): [`UnknownTopicOrPartition`](ErrorKind::UnknownTopicOrPartition) for a name that no topic
    /// has (patterns may wait for topics to come); [`InvalidGroupId`](ErrorKind::InvalidGroupId) without a group;
    /// [`InvalidState`](ErrorKind::InvalidState) if partitions were assigned by hand;
    /// [`GroupMaxSizeReached`](ErrorKind::GroupMaxSizeReached);
    /// [`InconsistentGroupProtocol`](ErrorKind::InconsistentGroupProtocol) and
    /// [`UnsupportedAssignor`](ErrorKind::UnsupportedAssignor); [`UnreleasedInstanceId`](ErrorKind::UnreleasedInstanceId)
    /// and [`InvalidSessionTimeout`](ErrorKind::InvalidSessionTimeout);
    /// [`InvalidRegularExpression`](ErrorKind::InvalidRegularExpression);
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for a `client.id`, `group.instance.id` or `client.rack` of more than 32,767
    /// bytes;
    /// [`CoordinatorNotAvailable`](ErrorKind::CoordinatorNotAvailable) after `default.api.timeout.ms`.
    pub fn subscribe(&mut self, to: impl Into<Subscription>) -> Result<()> {
        let subscription = to.into();
        let committer = Arc::clone(self.committer()?);
        self.check_topics(&subscription)?;
        let Self { membership, fetchers, settings, hook, .. } = self;
        let mut reading = Reading { fetchers, settings, hook };
        if let Some(membership) = membership {
            return membership.resubscribe(subscription, &mut reading);
        }
        if !reading.fetchers.is_empty() {
            let message = "partitions were assigned by hand: a consumer does one or the other";
            return Err(Error::new(ErrorKind::InvalidState, message));
        }
        let joined = Membership::join(
            (&self.core, &self.groups),
            &committer,
            settings.join(subscription),
            &self.arrived,
            &mut reading,
        )?;
        *membership = Some(joined);
        Ok(())
    }

    /// Who subscribes to a name that nobody has is likely to have mistyped it.
    fn check_topics(&self, subscription: &Subscription) -> Result<()> {
        for name in subscription.topics() {
            match self.settings.create_topics {
                true => self.core.topic_or_create(name)?,
                false => self.core.topic(name)?,
            };
        }
        Ok(())
    }

    /// Leaves the group, for good even if it is a static member. What polls have returned is committed before, if
    /// `enable.auto.commit` is set. It waits for nobody, and can only log what [`close`](Self::close) returns.
    pub fn unsubscribe(&mut self) {
        self.leave(true);
    }

    /// Ends the consumer. With `enable.auto.commit` all that polls have returned is committed, and this waits for it; then
    /// the consumer leaves its group, where a static member keeps its place for `session.timeout.ms`. Dropping a consumer
    /// does the same without waiting, and can only log what this returns.
    ///
    /// # Errors
    /// Those of [`Commit::wait`]: it has left all the same.
    pub fn close(mut self) -> Result<()> {
        let Some(mut membership) = self.membership.take() else { return Ok(()) };
        // As a member: should the coordinator move meanwhile, the next one takes commits of members only.
        let commit = membership.last_commit(&self.fetchers);
        let committed = commit.and_then(|commit| commit.map_or(Ok(()), Commit::wait));
        membership.leave(false, &mut self.fetchers);
        committed
    }

    pub(super) fn leave(&mut self, for_good: bool) {
        let Some(mut membership) = self.membership.take() else { return };
        let commit = membership.last_commit(&self.fetchers);
        match commit.map(|commit| commit.is_none_or(|commit| commit.is_taken())) {
            Ok(true) => {}
            Ok(false) => {
                log::warn!("{membership:?}: offsets are not committed: there is no coordinator");
            }
            Err(error) => log::warn!("{membership:?}: offsets are not committed: {error}"),
        }
        membership.leave(for_good, &mut self.fetchers);
    }

    /// Waits until the member has all partitions that it is to have, for at most `timeout`. Returns whether it has: where
    /// there are more members than partitions that may be none. Others have to poll meanwhile, if they have something to give
    /// up. If the member itself has, and no [hook](Self::on_revoke) for that, it waits in vain: two polls give it up, the
    /// first of which says so. Events are kept for the next poll.
    ///
    /// ```
    /// use brooklet::{Cluster, NewTopic};
    /// use std::time::Duration;
    ///
    /// let cluster = Cluster::in_memory()?;
    /// cluster.create_topic(NewTopic::new("email").partitions(2))?;
    /// let group = cluster.consumer_group("mailer");
    /// let mut first = group.join("email")?;
    /// let mut second = group.join("email")?;
    /// assert!(second.assignment().is_empty()); // both partitions are the first's
    /// first.poll(Duration::ZERO)?; // is told that one of them goes
    /// first.poll(Duration::ZERO)?; // and gives it up
    /// assert!(second.wait_assigned(Duration::from_secs(10))?);
    /// assert_eq!(second.assignment().len(), 1);
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidState`](ErrorKind::InvalidState) if it is not subscribed, and those of [`poll`](Consumer::poll).
    pub fn wait_assigned(&mut self, timeout: Duration) -> Result<bool> {
        let is_settled = self.wait_until_settled(timeout);
        self.poll_ends();
        is_settled
    }

    fn wait_until_settled(&mut self, timeout: Duration) -> Result<bool> {
        let runtime = Arc::clone(self.core.runtime());
        let deadline = runtime.now().after(timeout);
        let mut begins = true;
        loop {
            let listener = self.arrived.listen();
            self.follow_group(begins)?;
            begins = false;
            let Some(membership) = &mut self.membership else {
                let message = "not subscribed to any topic: call Consumer::subscribe first";
                return Err(Error::new(ErrorKind::InvalidState, message));
            };
            if let Some(error) = membership.failure() {
                return Err(error);
            }
            let is_over = deadline.is_some_and(|deadline| deadline <= runtime.now());
            if membership.is_settled() || is_over {
                return Ok(membership.is_settled());
            }
            let until = [membership.look_again(), deadline];
            membership.waits();
            runtime.park(listener, until.into_iter().flatten().min());
        }
    }

    /// Calls `hook` with partitions that are about to go to other members, in a poll: when it has returned, they go. Without
    /// a hook they go in the poll after the one that has [told](crate::Records::rebalances) so. It is the consumer's, whatever
    /// that is [subscribed](Self::subscribe) to, then or later.
    pub fn on_revoke(&mut self, hook: impl FnMut(&Revocation<'_>) + Send + 'static) {
        self.hook = Some(Hook(Box::new(hook)));
    }

    /// The group, and the consumer's place in it.
    ///
    /// # Errors
    /// [`InvalidState`](ErrorKind::InvalidState) if it is not subscribed.
    pub fn group_metadata(&self) -> Result<GroupMetadata> {
        let membership = self.membership.as_ref().ok_or_else(|| {
            let message = "no member of a group: call Consumer::subscribe first";
            Error::new(ErrorKind::InvalidState, message)
        })?;
        let handle = membership.handle();
        Ok(GroupMetadata {
            group_id: handle.group().to_string(),
            member_id: handle.member().to_string(),
            epoch: membership.epoch(),
            instance_id: membership.instance_id().map(str::to_owned),
        })
    }

    /// Commits, for the group, all records that polls have returned so far. The commit is on its way when the call returns;
    /// what comes of it is for who waits.
    ///
    /// # Errors
    /// By [`kind`](Error::kind): [`InvalidGroupId`](ErrorKind::InvalidGroupId) without a group, and those of
    /// [`Commit::wait`] that are known at once.
    pub fn commit(&mut self) -> Result<Commit> {
        let all = self.fetchers.keys().cloned().collect::<Vec<_>>();
        self.commit_offsets(positions(&self.fetchers, &all))
    }

    /// Commits `record`, and all before it in its partition.
    ///
    /// ```
    /// use brooklet::{Cluster, NewTopic, Record};
    /// use std::time::Duration;
    ///
    /// let cluster = Cluster::in_memory()?;
    /// cluster.create_topic(NewTopic::new("email"))?;
    /// cluster.producer().build()?.send(Record::to("email").value("welcome"))?.wait()?;
    /// let mut consumer = cluster.consumer_group("mailer").join("email")?;
    /// for record in &consumer.poll(Duration::from_secs(1))? {
    ///     println!("dealt with {:?}", record.value());
    ///     consumer.commit_through(&record)?.wait()?;
    /// }
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`commit`](Self::commit).
    pub fn commit_through(&mut self, record: &ConsumerRecord<'_>) -> Result<Commit> {
        self.commit_offsets([(record.topic_partition(), NextOffset::after(record))])
    }

    /// Commits these offsets, of whatever partitions. Those of a topic that was deleted since they were found
    /// ([`NextOffset::after`]) are nobody's any more, and left out.
    ///
    /// # Errors
    /// Those of [`commit`](Self::commit); [`OffsetMetadataTooLarge`](ErrorKind::OffsetMetadataTooLarge);
    /// [`UnknownTopicOrPartition`](ErrorKind::UnknownTopicOrPartition) if there is no such partition. Nothing is committed
    /// then.
    pub fn commit_offsets(
        &mut self,
        offsets: impl IntoIterator<Item = (impl AsRef<TopicPartition>, NextOffset)>,
    ) -> Result<Commit> {
        let fetchers = &self.fetchers;
        let offsets = offsets.into_iter().map(|(at, next)| {
            let at = at.as_ref();
            let next = match fetchers.get(at) {
                Some(fetcher) => next.in_topic(&at.topic, fetcher.topic()),
                None => next,
            };
            (at.clone(), next)
        });
        let handle = self.membership.as_ref().map(Membership::handle);
        self.committer()?.commit(handle, offsets)
    }

    /// What the group has committed for a partition, `None` if nothing.
    ///
    /// # Errors
    /// [`InvalidGroupId`](ErrorKind::InvalidGroupId) without a group;
    /// [`CoordinatorNotAvailable`](ErrorKind::CoordinatorNotAvailable) and
    /// [`CoordinatorLoadInProgress`](ErrorKind::CoordinatorLoadInProgress) at the moment.
    pub fn committed(&self, partition: impl AsRef<TopicPartition>) -> Result<Option<NextOffset>> {
        let partitions = [partition.as_ref().clone()];
        let committed = self.groups.committed(self.committer()?.group(), &partitions)?;
        Ok(committed.into_iter().next().map(|(at, committed)| NextOffset::of(&at, committed)))
    }

    /// The positions of all assigned partitions that have one: what [`commit`](Self::commit) would commit.
    pub fn positions(&self) -> BTreeMap<TopicPartition, Offset> {
        let position = |(partition, fetcher): (&TopicPartition, &super::Fetcher)| {
            Some((partition.clone(), fetcher.next_offset()?.offset()))
        };
        self.fetchers.iter().filter_map(position).collect()
    }

    pub(super) fn committer(&self) -> Result<&Arc<Committer>> {
        self.committer.as_ref().ok_or_else(|| {
            let message =
                "the consumer has no group: name one by group.id, or Cluster::consumer_group";
            Error::new(ErrorKind::InvalidGroupId, message)
        })
    }

    /// Hears what is new in the group. `begins` if a poll does.
    pub(super) fn follow_group(&mut self, begins: bool) -> Result<()> {
        let Self { membership, fetchers, settings, hook, .. } = self;
        let mut reading = Reading { fetchers, settings, hook };
        match membership {
            Some(membership) if begins => membership.poll_begins(&mut reading),
            Some(membership) => membership.look(&mut reading),
            None => Ok(()),
        }
    }

    /// The member waits, in a poll.
    pub(super) fn waits(&self) {
        if let Some(membership) = &self.membership {
            membership.waits();
        }
    }

    /// The poll is over, and the application has the word.
    pub(super) fn poll_ends(&self) {
        if let Some(membership) = &self.membership {
            membership.poll_ends();
        }
    }
}

/// The topic of this name.
impl From<&Topic> for Subscription {
    fn from(topic: &Topic) -> Self {
        Self::names([topic.name().as_str()])
    }
}
