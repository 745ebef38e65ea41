//! Going on somewhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{ErrorKind, IsolationLevel, Offset, Timestamp, TopicId, TopicPartition};
use crate::client::consumer::Committer;
use crate::client::{Commit, ConsumerGroup, Error, NextOffset, Partition, Result, Topic};
use crate::record::Limits;

/// How long [`OffsetReset::apply`] is tried, as with a consumer's `default.api.timeout.ms`.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where a group is to go on, for [`ConsumerGroup::reset_offsets`]. What would be outside of a partition becomes its
/// beginning or its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum OffsetsTo {
    /// At the first record there is.
    Earliest,
    /// Behind the last record.
    Latest,
    /// At this offset.
    Offset(Offset),
    /// At the first record with at least this timestamp; behind the last if there is none.
    Timestamp(Timestamp),
    /// At the first record of this last time; behind the last if there is none.
    Ago(Duration),
    /// So many records further on than it is, or, with a negative number, back. Partitions without a committed offset stay
    /// without.
    ShiftBy(i64),
}

/// What a group's offsets would become, see [`ConsumerGroup::reset_offsets`].
///
/// ```
/// use brooklet::{Cluster, NewTopic, OffsetsTo, Record};
///
/// let cluster = Cluster::in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email"))?;
/// cluster.producer().build()?.send(Record::to(&email).value("welcome"))?.wait()?;
///
/// let group = cluster.consumer_group("mailer");
/// let reset = group.reset_offsets(OffsetsTo::Latest).topic("email");
/// for planned in reset.plan()? {
///     println!("{planned}"); // email-0: none -> 1
/// }
/// reset.apply()?;
/// assert_eq!(group.lag()?.total().records, 0);
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is reset before it is applied"]
pub struct OffsetReset {
    group: ConsumerGroup,
    to: OffsetsTo,
    topics: Vec<String>,
    partitions: Vec<Partition>,
}

/// What becomes of the offset of one partition. Displayed as a line.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PlannedOffset {
    /// The partition.
    pub partition: TopicPartition,
    /// What is committed, if anything is.
    pub before: Option<Offset>,
    /// What will be.
    pub after: Offset,
}

impl fmt::Display for PlannedOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.before.map_or("none".to_owned(), |before| before.to_string());
        write!(f, "{}: {before} -> {}", self.partition, self.after)
    }
}

impl OffsetReset {
    pub(super) fn new(group: ConsumerGroup, to: OffsetsTo) -> Self {
        Self { group, to, topics: Vec::new(), partitions: Vec::new() }
    }

    /// In all partitions of this topic, and in those that are named too. Without any name: in all partitions of all topics for which
    /// the group has committed something.
    pub fn topic(mut self, name: impl Into<String>) -> Self {
        self.topics.push(name.into());
        self
    }

    /// In this partition, and in those that are named too.
    pub fn partition(mut self, partition: Partition) -> Self {
        self.partitions.push(partition);
        self
    }

    /// What would be done: a dry run.
    ///
    /// # Errors
    /// [`UnknownTopicOrPartition`](ErrorKind::UnknownTopicOrPartition) for a name that no topic has;
    /// [`LeaderNotAvailable`](ErrorKind::LeaderNotAvailable); those of [`ConsumerGroup::describe`].
    pub fn plan(&self) -> Result<Vec<PlannedOffset>> {
        Ok(self.planned()?.into_iter().map(|(_, planned)| planned).collect())
    }

    /// What would be done, and in which topics.
    fn planned(&self) -> Result<Vec<(TopicId, PlannedOffset)>> {
        let committed = self.group.committed_offsets()?;
        let mut planned = Vec::new();
        for (at, partition) in self.chosen(&committed)? {
            // The topic may have been made anew since then.
            let before = committed.get(&at).filter(|next| next.may_be_of(partition.topic()));
            let before = before.map(NextOffset::offset);
            if let Some(after) = self.after(&partition, before)? {
                let topic = partition.topic().id();
                planned.push((topic, PlannedOffset { partition: at, before, after }));
            }
        }
        Ok(planned)
    }

    /// Does it, and returns what was done.
    ///
    /// # Errors
    /// Those of [`plan`](Self::plan); [`NonEmptyGroup`](ErrorKind::NonEmptyGroup) if the group has members: they would go on
    /// where they are, and commit that; those of [`Commit::wait`].
    pub fn apply(&self) -> Result<Vec<PlannedOffset>> {
        let members = self.group.members()?.len();
        if members > 0 {
            let message = format!(
                "{} has {members} members, who would go on where they are: stop them first",
                self.group.id
            );
            return Err(Error::new(ErrorKind::NonEmptyGroup, message));
        }
        let planned = self.planned()?;
        let offsets = planned.iter().map(|(topic, p)| {
            let next = NextOffset::at(p.after).in_topic(&p.partition.topic, *topic);
            (p.partition.clone(), next)
        });
        let ConsumerGroup { core, groups, .. } = &self.group;
        let committer = Committer::new(core, groups, self.group.group_id()?, TIMEOUT);
        committer.commit(None, offsets).and_then(Commit::wait)?;
        Ok(planned.into_iter().map(|(_, planned)| planned).collect())
    }

    fn chosen(
        &self,
        committed: &BTreeMap<TopicPartition, NextOffset>,
    ) -> Result<BTreeMap<TopicPartition, Partition>> {
        let core = &self.group.core;
        let mut chosen = BTreeMap::new();
        let named =
            self.topics.iter().map(|name| core.topic(name)).collect::<Result<Vec<_>, _>>()?;
        let all = if self.topics.is_empty() && self.partitions.is_empty() {
            let names = committed.keys().map(|at| &at.topic).collect::<BTreeSet<_>>();
            // What was deleted has nothing to go on with.
            names.into_iter().filter_map(|name| core.topic(name.as_str()).ok()).collect()
        } else {
            named
        };
        let partitions = all.into_iter().flat_map(|topic| {
            Topic::new(Arc::clone(core), topic).partitions().into_iter().collect::<Vec<_>>()
        });
        for partition in partitions.chain(self.partitions.iter().cloned()) {
            chosen.insert(partition.topic_partition().clone(), partition);
        }
        Ok(chosen)
    }

    fn after(&self, partition: &Partition, before: Option<Offset>) -> Result<Option<Offset>> {
        let leader = partition.leader()?;
        let (start, end) =
            (leader.log().start(), partition.end(&leader, IsolationLevel::ReadUncommitted)?);
        let find = |from: Timestamp| {
            let limits = Limits::default();
            let found = leader.find_timestamp(from, IsolationLevel::ReadUncommitted, &limits)?;
            Ok::<_, Error>(found.map_or(end, |found| found.offset))
        };
        let wanted = match self.to {
            OffsetsTo::Earliest => start,
            OffsetsTo::Latest => end,
            OffsetsTo::Offset(offset) => offset,
            OffsetsTo::Timestamp(from) => find(from)?,
            OffsetsTo::Ago(time) => {
                let time = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
                let from = self.group.core.runtime().wall_clock().as_millis().saturating_sub(time);
                find(Timestamp::from_millis(from.max(0)).unwrap_or(Timestamp::EPOCH))?
            }
            OffsetsTo::ShiftBy(by) => {
                let Some(before) = before else { return Ok(None) };
                Offset::new(before.value().saturating_add(by).max(0)).unwrap_or(start)
            }
        };
        Ok(Some(wanted.clamp(start, end.max(start))))
    }
}
