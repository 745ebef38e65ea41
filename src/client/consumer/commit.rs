//! Committing offsets for a group.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::base::{LeaderEpoch, Offset, PartitionId, TopicId, TopicName, TopicPartition};
use crate::client::consumer::stream::Alarm;
use crate::client::{ConsumerRecord, Error, Result, Topic};
use crate::cluster::Running;
use crate::coordinator::{self, Committed, GroupCoordinator, GroupError, GroupId};
use crate::coordinator::{CommitWatch, MemberHandle, PendingCommit};
use crate::env::Moment;
use crate::env::sync::{Event, EventListener, Mutex};
use crate::replica::ProduceError;

/// Time between two tries, while the group has no coordinator (`retry.backoff.ms`).
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// Where a group goes on reading a partition: the offset *after* the last record that was dealt with, and a note to go
/// with it (Kafka's `OffsetAndMetadata`).
///
/// ```
/// use brooklet::{Cluster, NewTopic, NextOffset, Record};
/// use std::time::Duration;
///
/// let cluster = Cluster::in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email"))?;
/// cluster.producer().build()?.send(Record::to(&email).value("welcome"))?.wait()?;
///
/// let mut consumer = cluster.consumer_group("mailer").join("email")?;
/// let records = consumer.poll(Duration::from_secs(1))?;
/// let last = records.iter().last().unwrap();
/// let next = NextOffset::after(&last).metadata("by the night shift");
/// consumer.commit_offsets([(last.topic_partition().clone(), next)])?.wait()?;
/// assert_eq!(consumer.committed(email.partition(0)?)?.unwrap().offset().value(), 1);
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct NextOffset {
    /// The topic in which it was found: of the same name there may be another by now.
    topic: Option<(TopicName, TopicId)>,
    offset: Offset,
    leader_epoch: Option<LeaderEpoch>,
    metadata: String,
}

impl NextOffset {
    /// The record at `offset` is the next to be read, or the first behind it.
    pub fn at(offset: Offset) -> Self {
        Self { topic: None, offset, leader_epoch: None, metadata: String::new() }
    }

    /// `record` was dealt with, and all before it. If its topic is deleted, it is not for another of the same name.
    pub fn after(record: &ConsumerRecord<'_>) -> Self {
        let next = record.offset().value().saturating_add(1);
        let offset = Offset::new(next).unwrap_or(record.offset());
        let topic = Some((record.topic().clone(), record.topic_id()));
        Self { topic, leader_epoch: record.leader_epoch(), ..Self::at(offset) }
    }

    /// A note for whoever looks at what was committed, of up to `offset.metadata.max.bytes` (4,096) bytes.
    pub fn metadata(mut self, metadata: impl Into<String>) -> Self {
        self.metadata = metadata.into();
        self
    }

    /// The offset of the next record.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// In which term of its leader the last record before it was written, if that is known. It tells a consumer that goes
    /// on there whether the log is still the one that was read (KIP-320).
    pub fn leader_epoch(&self) -> Option<LeaderEpoch> {
        self.leader_epoch
    }

    /// The note; empty for none.
    pub fn note(&self) -> &str {
        &self.metadata
    }

    pub(in crate::client) fn with_epoch(mut self, leader_epoch: Option<LeaderEpoch>) -> Self {
        self.leader_epoch = leader_epoch;
        self
    }

    /// As an offset of the topic with this id, unless it is known to be of one of this name.
    pub(in crate::client) fn in_topic(mut self, name: &TopicName, id: TopicId) -> Self {
        if self.topic_named(name).is_none() {
            self.topic = Some((name.clone(), id));
        }
        self
    }

    /// As an offset of the topic in which another was found.
    pub(super) fn in_topic_of(self, other: &Self) -> Self {
        match &other.topic {
            Some((name, id)) => self.in_topic(name, *id),
            None => self,
        }
    }

    /// The topic of this name in which it was found, if it was.
    fn topic_named(&self, name: &TopicName) -> Option<TopicId> {
        self.topic.as_ref().filter(|(of, _)| of == name).map(|(_, id)| *id)
    }

    /// Whether it may be of this topic, and is not known to be of another that had its name.
    pub(in crate::client) fn may_be_of(&self, topic: &Topic) -> bool {
        self.topic_named(topic.name()).is_none_or(|id| id == topic.id())
    }

    /// What was committed for a partition.
    pub(in crate::client) fn of(partition: &TopicPartition, committed: Committed) -> Self {
        Self {
            topic: committed.topic.map(|id| (partition.topic.clone(), id)),
            offset: committed.offset,
            leader_epoch: committed.leader_epoch,
            metadata: committed.metadata.to_string(),
        }
    }

    /// Whether it is the same, of the same topic.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self == other && self.topic == other.topic
    }
}

/// Offset, term and note; not where they were found.
impl PartialEq for NextOffset {
    fn eq(&self, other: &Self) -> bool {
        (self.offset, self.leader_epoch, &self.metadata)
            == (other.offset, other.leader_epoch, &other.metadata)
    }
}

impl Eq for NextOffset {}

/// The offset.
impl fmt::Display for NextOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.offset.fmt(f)
    }
}

/// Commits for one consumer, in the order in which it asks.
#[derive(Debug)]
pub(in crate::client) struct Committer {
    core: Arc<Running>,
    groups: Arc<GroupCoordinator>,
    group: GroupId,
    /// How long a commit is tried.
    timeout: Duration,
    /// The number of the last one, which begin with 1.
    last: AtomicU64,
    /// Held while one is handed over, within the lock of the group: what is tried again is not to come behind a later one.
    order: Mutex<Orders>,
}

/// The commits of each partition that there is, of a topic in one of its lives.
#[derive(Debug, Default)]
struct Orders {
    of: BTreeMap<(TopicId, PartitionId), Order>,
    /// The version of the metadata in which those of topics that are no more were left out.
    seen: u64,
}

impl Orders {
    fn leave_out_deleted(&mut self, core: &Running) {
        let version = core.metadata_version();
        if self.seen != version {
            self.seen = version;
            self.of.retain(|(topic, _), _| core.topic_by_id(*topic).is_some());
        }
    }
}

/// Where it is ordered.
fn place(commit: &coordinator::Commit) -> (TopicId, PartitionId) {
    (commit.topic, commit.partition.partition)
}

/// The commits of a partition.
#[derive(Debug, Default)]
struct Order {
    /// The last that is in the log for good.
    written: u64,
    /// The last before the partition was given up.
    given_up: u64,
    /// Those that are on their way.
    pending: Vec<(u64, CommitWatch)>,
}

impl Order {
    fn settle(&mut self) {
        let Self { written, pending, .. } = self;
        pending.retain(|(number, watch)| {
            if watch.is_written() == Some(true) {
                *written = (*written).max(*number);
            }
            watch.is_written().is_none()
        });
    }
}

impl Committer {
    pub(in crate::client) fn new(
        core: &Arc<Running>,
        groups: &Arc<GroupCoordinator>,
        group: GroupId,
        timeout: Duration,
    ) -> Arc<Self> {
        let (core, groups) = (Arc::clone(core), Arc::clone(groups));
        let (last, order) = (AtomicU64::new(0), Mutex::default());
        Arc::new(Self { core, groups, group, timeout, last, order })
    }

    pub(in crate::client) fn group(&self) -> &GroupId {
        &self.group
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(in crate::client) fn commit(
        self: &Arc<Self>,
        by: Option<&Arc<MemberHandle>>,
        offsets: impl IntoIterator<Item = (TopicPartition, NextOffset)>,
    ) -> Result<Commit> {
        let offsets = offsets.into_iter().map(|(partition, next)| self.of_topic(partition, next));
        let offsets = offsets.collect::<Result<Vec<_>>>()?;
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let mut commit = Commit {
            deadline: self.core.runtime().now().after(self.timeout),
            committer: Arc::clone(self),
            number,
            by: by.cloned(),
            offsets,
            put_off: None,
            is_doubtful: false,
            state: State::Later(None),
        };
        commit.hand_over()?;
        Ok(commit)
    }

    /// Who names a topic means the one that has the name now: tried again later, it is not for the next.
    fn of_topic(&self, at: TopicPartition, next: NextOffset) -> Result<coordinator::Commit> {
        let topic = match next.topic_named(&at.topic) {
            Some(id) => id,
            None => self.core.topic(at.topic.as_str())?.id,
        };
        let NextOffset { offset, leader_epoch, metadata, .. } = next;
        Ok(coordinator::Commit { topic, partition: at, offset, leader_epoch, metadata })
    }

    /// These partitions go to others: what no coordinator has taken by now is not to be committed for them when they are back.
    pub(super) fn give_up(&self, partitions: impl IntoIterator<Item = (TopicId, PartitionId)>) {
        let mut all = self.order.lock();
        let last = self.last.load(Ordering::Relaxed);
        for place in partitions {
            all.of.entry(place).or_default().given_up = last;
        }
    }
}

/// A commit on its way: [`wait`](Self::wait) for it, `.await` it on any runtime, or drop it: it goes on in any case, but
/// nobody tries again if the group's coordinator moves meanwhile. It is tried again for `default.api.timeout.ms` from when it
/// began, as long as the member is one, and has not given up any of its partitions.
///
/// ```
/// use brooklet::{Cluster, NewTopic};
/// use std::time::Duration;
///
/// let cluster = Cluster::in_memory()?;
/// cluster.create_topic(NewTopic::new("email"))?;
/// let mut consumer = cluster.consumer_group("mailer").join("email")?;
/// consumer.poll(Duration::ZERO)?;
/// consumer.commit()?.wait()?;
/// futures_executor::block_on(async {
///     consumer.poll(Duration::ZERO)?;
///     consumer.commit()?.await
/// })?;
/// # Ok::<(), brooklet::Error>(())
/// ```
#[must_use = "whether it succeeded is known to who waits for it"]
pub struct Commit {
    committer: Arc<Committer>,
    number: u64,
    by: Option<Arc<MemberHandle>>,
    offsets: Vec<coordinator::Commit>,
    deadline: Option<Moment>,
    /// Why it is to be tried again.
    put_off: Option<GroupError>,
    /// A try that has failed may be in the log all the same.
    is_doubtful: bool,
    state: State,
}

enum State {
    /// On its way into the log.
    Pending(PendingCommit),
    /// To be handed over when the group has a coordinator again. Who awaits it has an alarm set for the next try.
    Later(Option<(Arc<Event>, EventListener)>),
    /// Done, or replaced as a whole by later ones.
    Done,
}

impl Commit {
    /// Gives it to the coordinator, if there is one at the moment.
    fn hand_over(&mut self) -> Result<()> {
        self.try_to_hand_over().map_err(|error| self.failed(error))
    }

    fn try_to_hand_over(&mut self) -> Result<(), GroupError> {
        if let Some(error) = self.put_off.take() {
            if self.is_over() {
                return Err(error);
            }
            // There may be no coordinator to ask, and no need to.
            let committer = Arc::clone(&self.committer);
            if !self.is_due(&mut committer.order.lock())? {
                return Ok(());
            }
        }
        let committer = Arc::clone(&self.committer);
        let (group, by) = (&committer.group, self.by.clone());
        // With the group's lock held, which the log's order comes from; whoever is woken by it is so without.
        let handed = committer.groups.commit(group, by.as_ref(), |hand_over| {
            let mut all = committer.order.lock();
            if !self.is_due(&mut all)? {
                return Ok(None);
            }
            let pending = hand_over(self.offsets.clone())?;
            for commit in &self.offsets {
                let order = all.of.entry(place(commit)).or_default();
                order.pending.push((self.number, pending.watch()));
            }
            Ok(Some(pending))
        });
        match handed {
            Ok(Some(pending)) => self.state = State::Pending(pending),
            Ok(None) => {}
            Err(error) if error.is_passing() && !self.is_over() => self.put_off(error),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Leaves out what later ones have committed. Returns whether there is something to be handed over: `false` if it is
    /// done, or waits for what becomes of a later one.
    fn is_due(&mut self, all: &mut Orders) -> Result<bool, GroupError> {
        all.leave_out_deleted(&self.committer.core);
        let mut is_overtaken = false;
        self.offsets.retain(|commit| {
            let Some(order) = all.of.get_mut(&place(commit)) else { return true };
            order.settle();
            is_overtaken |= order.pending.iter().any(|(number, _)| *number > self.number);
            order.written < self.number
        });
        if self.offsets.is_empty() {
            self.state = State::Done;
            return Ok(false);
        }
        let is_given_up = |commit: &&coordinator::Commit| {
            all.of.get(&place(commit)).is_some_and(|order| self.number <= order.given_up)
        };
        if let Some(commit) = self.offsets.iter().find(is_given_up) {
            let (group, partition) = (self.committer.group.to_string(), commit.partition.clone());
            let TopicPartition { topic, partition } = partition;
            return Err(GroupError::NotOwner { group, topic, partition });
        }
        if is_overtaken {
            // If the later one gets there, this one need not.
            self.state = State::Later(None);
        }
        Ok(!is_overtaken)
    }

    /// What it fails with in the end.
    fn failed(&self, error: GroupError) -> Error {
        let error = Error::from(error);
        if self.is_doubtful { error.unknown() } else { error }
    }

    fn put_off(&mut self, why: GroupError) {
        self.put_off = Some(why);
        self.state = State::Later(None);
    }

    /// It is with the coordinator, or done.
    pub(super) fn is_taken(&self) -> bool {
        !matches!(self.state, State::Later(_))
    }

    fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= self.committer.core.runtime().now())
    }

    /// What a result comes to: `None` if it is to be tried again.
    fn ended(&mut self, result: Result<(), ProduceError>) -> Option<Result<()>> {
        use ProduceError::{NotEnoughReplicas, NotLeader};
        let Err(error) = result else { return Some(Ok(())) };
        let is_written = !matches!(error, NotLeader | NotEnoughReplicas { .. });
        let error = GroupError::NotWritten(error);
        if error.is_passing() && !self.is_over() {
            self.is_doubtful |= is_written;
            self.put_off(error);
            return None;
        }
        Some(Err(self.failed(error)))
    }

    /// Blocks until the offsets are committed. The calling thread writes and syncs them itself if nobody else is at it.
    ///
    /// # Errors
    /// By [`kind`](Error::kind): [`UnknownMemberId`](crate::ErrorKind::UnknownMemberId) and
    /// [`FencedInstanceId`](crate::ErrorKind::FencedInstanceId) if the consumer is no member any more;
    /// [`StaleMemberEpoch`](crate::ErrorKind::StaleMemberEpoch) if a partition is another member's by now, or about to be
    /// given to one, or was given up before a coordinator had the commit;
    /// [`CoordinatorNotAvailable`](crate::ErrorKind::CoordinatorNotAvailable) and
    /// [`NotEnoughReplicas`](crate::ErrorKind::NotEnoughReplicas) after `default.api.timeout.ms`, and what writing can fail
    /// with. [`Error::outcome`] tells whether they may be committed all the same.
    pub fn wait(mut self) -> Result<()> {
        loop {
            match &mut self.state {
                State::Done => return Ok(()),
                State::Pending(pending) => {
                    let result = pending.wait();
                    if let Some(result) = self.ended(result) {
                        return result;
                    }
                }
                State::Later(_) => {
                    self.hand_over()?;
                    if matches!(self.state, State::Later(_)) {
                        self.pause(None);
                    }
                }
            }
        }
    }

    /// Blocks until the offsets are committed, for at most `timeout`. The calling thread does no file I/O, which might take
    /// longer.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), and [`TimedOut`](crate::ErrorKind::TimedOut): it is still on its way, and one may wait
    /// again.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<()> {
        let runtime = Arc::clone(self.committer.core.runtime());
        let until = runtime.now().after(timeout);
        let timed_out = || Error::timed_out("the offsets are not committed yet");
        loop {
            match &mut self.state {
                State::Done => return Ok(()),
                State::Pending(pending) => {
                    let result = pending.wait_until(until).ok_or_else(timed_out)?;
                    if let Some(result) = self.ended(result) {
                        return result;
                    }
                }
                State::Later(_) => {
                    self.hand_over()?;
                    if matches!(self.state, State::Later(_)) {
                        self.pause(until);
                        if until.is_some_and(|until| until <= runtime.now()) {
                            return Err(timed_out());
                        }
                    }
                }
            }
        }
    }

    /// Waits until it is time to try again.
    fn pause(&self, until: Option<Moment>) {
        let runtime = self.committer.core.runtime();
        let next = runtime.now().after(TRY_AGAIN);
        let next = [next, until].into_iter().flatten().min();
        runtime.park(Event::new().listen(), next);
    }

    /// What has become of it by now, if it is decided.
    pub(super) fn result(&mut self) -> Option<Result<()>> {
        match &mut self.state {
            State::Done => Some(Ok(())),
            State::Pending(pending) => {
                let result = pending.result()?;
                self.ended(result)
            }
            State::Later(_) => {
                let handed = self.hand_over();
                handed.err().map(Err)
            }
        }
    }

    /// Has the background write it.
    pub(super) fn have_written(&mut self) {
        if let State::Pending(pending) = &mut self.state {
            pending.have_written();
        }
    }
}

impl Future for Commit {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                State::Done => return Poll::Ready(Ok(())),
                State::Pending(pending) => {
                    let Poll::Ready(result) = Pin::new(pending).poll(cx) else {
                        return Poll::Pending;
                    };
                    if let Some(result) = this.ended(result) {
                        return Poll::Ready(result);
                    }
                }
                State::Later(None) => {
                    if let Err(error) = this.hand_over() {
                        return Poll::Ready(Err(error));
                    }
                    if let State::Later(alarm) = &mut this.state {
                        let event = Arc::new(Event::new());
                        let listener = event.listen();
                        let core = &this.committer.core;
                        let at = core.runtime().now().after(TRY_AGAIN);
                        core.alarms().submit(Arc::new(Alarm(Arc::clone(&event))), at);
                        *alarm = Some((event, listener));
                    }
                }
                State::Later(Some((_, listener))) => match Pin::new(listener).poll(cx) {
                    Poll::Ready(()) => this.state = State::Later(None),
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offsets = self.offsets.iter().map(|commit| (&commit.partition, commit.offset));
        write!(f, "Commit of {} ", self.committer.group)?;
        f.debug_map().entries(offsets).finish()
    }
}

#[cfg(test)]
mod tests {
    use crate::client::{Cluster, NewTopic};

    #[test]
    fn nothing_is_kept_of_commits_for_topics_that_are_no_more() {
        let cluster = Cluster::in_memory().unwrap();
        let mut consumer = cluster.consumer_group("mailer").consumer().build().unwrap();
        for n in 0..5 {
            let topic = cluster.create_topic(NewTopic::new(format!("email-{n}"))).unwrap();
            consumer.assign(topic.partitions()).unwrap();
            consumer.commit().unwrap().wait().unwrap();
            cluster.delete_topic(&format!("email-{n}")).unwrap();
        }
        assert_eq!(consumer.committer().unwrap().order.lock().of.len(), 1);
    }
}
