//! A consumer as a member of a group: what it has, and how it follows what its coordinator says.
//!
//! # Invariants
//! - Partitions that are to be given up are the member's until the poll after the one that said so, or until the hook for
//!   that has run: no other member reads them before.
//! - What was committed by then is committed before another begins to read there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{ErrorKind, PartitionId, TopicId, TopicPartition};
use crate::client::consumer::fetcher::Fetcher;
use crate::client::consumer::{
    Commit, Committer, Hook, NextOffset, RebalanceEvent, Revocation, Settings,
};
use crate::client::{Error, Partition, Result, Topic};
use crate::cluster::Running;
use crate::coordinator::{Assignment, GroupCoordinator, GroupError, Join, MemberHandle, Told};
use crate::env::Moment;
use crate::env::sync::Event;

/// Time between two tries of what is not possible at the moment (`retry.backoff.ms`).
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// The same where each try may take long (`retry.backoff.max.ms`).
const TRY_LATER: Duration = Duration::from_secs(1);

/// Least time between two commits that nobody asks for.
const LEAST_INTERVAL: Duration = Duration::from_millis(1);

/// What a consumer reads by.
pub(super) type Fetchers = BTreeMap<TopicPartition, Fetcher>;

/// What a consumer reads, and how.
pub(super) struct Reading<'a> {
    pub(super) fetchers: &'a mut Fetchers,
    pub(super) settings: &'a Settings,
    pub(super) hook: &'a mut Option<Hook>,
}

/// A consumer's place in its group.
pub(super) struct Membership {
    core: Arc<Running>,
    groups: Arc<GroupCoordinator>,
    committer: Arc<Committer>,
    join: Join,
    handle: Arc<MemberHandle>,
    arrived: Arc<Event>,
    epoch: i32,
    /// What it has, with those that it is about to give up.
    partitions: BTreeMap<(TopicId, PartitionId), TopicPartition>,
    /// What it has and cannot read yet: nobody leads, or it cannot be opened.
    unopened: Vec<(TopicId, PartitionId)>,
    /// Why not, if that is for the application to know and it was not told yet.
    failure: Option<Error>,
    /// A poll has told something else in its place.
    is_failure_due: bool,
    /// What it is to give up: in the next poll.
    revoking: Assignment,
    /// What it has given up, and what the coordinator has not taken from it yet.
    released: Assignment,
    /// What is to be committed of it first, and no coordinator has taken yet.
    uncommitted: Vec<(TopicPartition, NextOffset)>,
    /// The number of the revocation that was announced last.
    revocation: u64,
    is_settled: bool,
    /// For the next poll that returns.
    events: Vec<RebalanceEvent>,
    /// The version of the metadata when it last asked.
    seen: u64,
    /// It reads other topics than its coordinator knows of.
    resubscribes: bool,
    /// When to ask again, since nobody answered.
    ask_at: Option<Moment>,
    /// Why it is no member any more, and will not be again by itself.
    ended: Option<Error>,
    auto_commit: Option<AutoCommit>,
}

/// Commits that nobody asks for.
struct AutoCommit {
    interval: Duration,
    next: Option<Moment>,
    /// The last one, to be reported if it fails.
    last: Option<Commit>,
    /// What was due last: the same need not be committed again for a while.
    due: Vec<(TopicPartition, NextOffset)>,
    /// When that was committed.
    committed_at: Moment,
}

impl Membership {
    pub(super) fn join(
        (core, groups): (&Arc<Running>, &Arc<GroupCoordinator>),
        committer: &Arc<Committer>,
        join: Join,
        arrived: &Arc<Event>,
        reading: &mut Reading<'_>,
    ) -> Result<Self> {
        // Who waits looks at it as often.
        let interval = reading.settings.auto_commit.map(|interval| interval.max(LEAST_INTERVAL));
        let auto_commit = interval.map(|interval| AutoCommit {
            interval,
            next: core.runtime().now().after(interval),
            last: None,
            due: Vec::new(),
            committed_at: core.runtime().now(),
        });
        let handle = groups.new_member(committer.group(), &join.client_id, arrived)?;
        let mut membership = Self {
            core: Arc::clone(core),
            groups: Arc::clone(groups),
            committer: Arc::clone(committer),
            seen: core.metadata_version(),
            join,
            handle,
            arrived: Arc::clone(arrived),
            epoch: 0,
            partitions: BTreeMap::new(),
            unopened: Vec::new(),
            failure: None,
            is_failure_due: false,
            revoking: Assignment::default(),
            released: Assignment::default(),
            uncommitted: Vec::new(),
            revocation: 0,
            is_settled: false,
            events: Vec::new(),
            resubscribes: false,
            ask_at: None,
            ended: None,
            auto_commit,
        };
        let told = membership.enter()?;
        membership.follow(told, reading)?;
        Ok(membership)
    }

    /// Joins the group, as soon as it has a coordinator.
    fn enter(&self) -> Result<Told> {
        let runtime = self.core.runtime();
        let deadline = runtime.now().after(self.committer.timeout());
        loop {
            match self.groups.join(&self.handle, &self.join) {
                Ok(told) => return Ok(told),
                Err(error) if !error.is_passing() => return Err(error.into()),
                Err(error) if deadline.is_some_and(|deadline| deadline <= runtime.now()) => {
                    return Err(error.into());
                }
                Err(_) => {
                    _ = runtime.park(Event::new().listen(), runtime.now().after(TRY_AGAIN / 10))
                }
            }
        }
    }

    pub(super) fn handle(&self) -> &Arc<MemberHandle> {
        &self.handle
    }

    pub(super) fn epoch(&self) -> i32 {
        self.epoch
    }

    pub(super) fn instance_id(&self) -> Option<&str> {
        self.join.instance_id.as_deref()
    }

    /// It has all that it is to have.
    pub(super) fn is_settled(&self) -> bool {
        self.is_settled && self.revoking.is_empty() && self.unopened.is_empty()
    }

    pub(super) fn assignment(&self) -> impl Iterator<Item = &TopicPartition> {
        self.partitions.values()
    }

    /// What has happened, for the poll that returns now.
    pub(super) fn take_events(&mut self) -> Vec<RebalanceEvent> {
        std::mem::take(&mut self.events)
    }

    /// A poll begins: what an earlier one has announced comes into effect.
    pub(super) fn poll_begins(&mut self, reading: &mut Reading<'_>) -> Result<()> {
        self.check()?;
        // Unless nobody has been told: that it was found out while waiting for partitions is not enough.
        let is_told = !self.events.iter().any(RebalanceEvent::is_revocation);
        if is_told && !self.revoking.is_empty() {
            self.release(reading)?;
        }
        self.look(reading)
    }

    /// There is something that no poll has told yet.
    pub(super) fn has_news(&self) -> bool {
        !self.events.is_empty()
    }

    /// Why a partition cannot be read, if a poll has told something else in its place.
    pub(super) fn overdue_failure(&mut self) -> Option<Error> {
        if self.is_failure_due { self.failure() } else { None }
    }

    pub(super) fn failure(&mut self) -> Option<Error> {
        self.is_failure_due = false;
        self.failure.take()
    }

    /// The next poll tells it before anything else: neither keeps the other from being told.
    pub(super) fn put_failure_off(&mut self) {
        self.is_failure_due = self.failure.is_some();
    }

    /// The member waits in a poll from now on: for however long that is, it is at it.
    pub(super) fn waits(&self) {
        self.handle.waits();
    }

    /// The application has the word.
    pub(super) fn poll_ends(&self) {
        self.handle.polled(self.core.runtime().now());
    }

    fn check(&self) -> Result<()> {
        self.ended.clone().map_or(Ok(()), Err)
    }

    /// Asks the coordinator, if there may be something new.
    pub(super) fn look(&mut self, reading: &mut Reading<'_>) -> Result<()> {
        self.check()?;
        // Whatever there is by now earlier polls have returned.
        self.commit_if_due(reading.fetchers);
        let version = self.core.metadata_version();
        let now = self.core.runtime().now();
        let is_due = self.ask_at.is_some_and(|at| at <= now);
        if !is_due && version == self.seen && !self.handle.is_summoned() {
            return Ok(());
        }
        (self.seen, self.ask_at) = (version, None);
        self.handle.answer_summons();
        let told = self.ask();
        self.heard(told, reading)
    }

    /// When to look again without being told to.
    pub(super) fn look_again(&self) -> Option<Moment> {
        let auto_commit = self.auto_commit.as_ref().and_then(|auto| auto.next);
        [self.ask_at, auto_commit].into_iter().flatten().min()
    }

    fn heard(&mut self, told: Result<Told, GroupError>, reading: &mut Reading<'_>) -> Result<()> {
        match told {
            Ok(told) => self.follow(told, reading),
            Err(error) if error.is_passing() => {
                // It goes on with what it has.
                log::debug!("{:?}: {error}", self.handle);
                self.ask_later();
                Ok(())
            }
            Err(error @ GroupError::UnknownMemberId { .. }) => {
                log::info!("{error}: it joins again");
                self.lose(reading.fetchers);
                self.rejoin(reading)
            }
            Err(error) => {
                let error = self.refused(error);
                if self.ended.is_some() {
                    self.lose(reading.fetchers);
                }
                Err(error)
            }
        }
    }

    fn ask_later(&mut self) {
        self.ask_at = self.core.runtime().now().after(TRY_AGAIN);
    }

    /// It is the application's to know. Unless another has its place, the same may work later.
    fn refused(&mut self, error: GroupError) -> Error {
        let error = Error::from(error);
        if error.is_fenced() {
            self.ended = Some(error.clone());
        } else {
            self.ask_at = self.core.runtime().now().after(TRY_LATER);
        }
        error
    }

    /// It is no member any more: others may have what it had.
    fn lose(&mut self, fetchers: &mut Fetchers) {
        fetchers.clear();
        let lost = std::mem::take(&mut self.partitions).into_values().collect::<Vec<_>>();
        if !lost.is_empty() {
            self.events.push(RebalanceEvent::Lost(sorted(lost)));
        }
        self.unopened.clear();
        self.failure = None;
        (self.revoking, self.released) = (Assignment::default(), Assignment::default());
        self.uncommitted.clear();
        self.revocation = 0;
        self.is_settled = false;
    }

    fn rejoin(&mut self, reading: &mut Reading<'_>) -> Result<()> {
        let group = self.committer.group();
        self.handle = self.groups.new_member(group, &self.join.client_id, &self.arrived)?;
        match self.groups.join(&self.handle, &self.join) {
            Ok(told) => {
                self.resubscribes = false;
                self.follow(told, reading)
            }
            Err(error) if error.is_passing() => {
                self.ask_later();
                Ok(())
            }
            Err(error) => Err(self.refused(error)),
        }
    }

    /// Reads other topics.
    pub(super) fn resubscribe(
        &mut self,
        subscription: crate::coordinator::Subscription,
        reading: &mut Reading<'_>,
    ) -> Result<()> {
        self.check()?;
        let before = std::mem::replace(&mut self.join.subscription, subscription);
        self.resubscribes = true;
        let told = self.ask();
        // Who is no member any more joins with it.
        let is_kept = |error: &GroupError| {
            error.is_passing() || matches!(error, GroupError::UnknownMemberId { .. })
        };
        if told.as_ref().is_err_and(|error| !is_kept(error)) {
            self.join.subscription = before;
            self.resubscribes = false;
        }
        self.heard(told, reading)
    }

    /// Asks the coordinator what is new, and tells it what that does not know yet.
    fn ask(&mut self) -> Result<Told, GroupError> {
        if self.resubscribes {
            let told = self.groups.resubscribe(&self.handle, &self.join)?;
            self.resubscribes = false;
            if self.released.is_empty() {
                return Ok(told);
            }
        }
        let is_given_up = !self.released.is_empty() && self.commit_released();
        self.groups.heartbeat(&self.handle, is_given_up.then_some(self.revocation))
    }

    /// Has what was given up committed before others have it. Returns whether that is with the coordinator.
    fn commit_released(&mut self) -> bool {
        let uncommitted = std::mem::take(&mut self.uncommitted);
        if uncommitted.is_empty() || self.auto_commit(uncommitted.clone()) {
            return true;
        }
        self.uncommitted = uncommitted;
        self.ask_later();
        false
    }

    /// Does what the coordinator has said.
    fn follow(&mut self, told: Told, reading: &mut Reading<'_>) -> Result<()> {
        let Told { epoch, assigned, revoking, revocation, is_settled } = told;
        (self.epoch, self.is_settled) = (epoch, is_settled);
        // As long as commits are under way, the coordinator does not take what was given up.
        let is_known = !revoking.is_empty() && revocation == self.revocation;
        if !is_known || self.released.is_empty() {
            self.released = Assignment::default();
            self.uncommitted.clear();
            (self.revoking, self.revocation) = (revoking, revocation);
            let is_new = !is_known;
            if is_new && !self.revoking.is_empty() && self.announce(reading)? {
                // It has asked again since then: what it was told before is not to be done any more.
                return Ok(());
            }
        }
        let known = self.partitions.keys().copied().collect::<Assignment>();
        self.add(&assigned.difference(&known), reading);
        Ok(())
    }

    /// Stops reading what is to go, and says so. Returns whether it was given up at once.
    fn announce(&mut self, reading: &mut Reading<'_>) -> Result<bool> {
        let going = self.going();
        for partition in &going {
            if let Some(fetcher) = reading.fetchers.get_mut(partition) {
                fetcher.stop();
            }
        }
        if !going.is_empty() {
            self.events.push(RebalanceEvent::Revoked(going.clone()));
        }
        if let Some(Hook(hook)) = reading.hook {
            hook(&Revocation {
                partitions: &going,
                positions: positions(reading.fetchers, &going),
                committer: &self.committer,
                handle: &self.handle,
            });
            return self.release(reading).map(|()| true);
        }
        if going.is_empty() {
            return self.release(reading).map(|()| true);
        }
        Ok(false)
    }

    /// What it has and is to give up.
    fn going(&self) -> Vec<TopicPartition> {
        let going = self.revoking.iter().filter_map(|place| self.partitions.get(&place).cloned());
        sorted(going.collect())
    }

    /// Gives up what was announced.
    fn release(&mut self, reading: &mut Reading<'_>) -> Result<()> {
        let going = self.going();
        self.committer.give_up(self.revoking.iter());
        if self.auto_commit.is_some() {
            self.uncommitted = positions(reading.fetchers, &going);
        }
        self.released = std::mem::take(&mut self.revoking);
        for place in self.released.iter() {
            if let Some(partition) = self.partitions.remove(&place) {
                reading.fetchers.remove(&partition);
            }
            self.unopened.retain(|unopened| *unopened != place);
        }
        self.handle.answer_summons();
        let told = self.ask();
        self.heard(told, reading)
    }

    /// Begins to read partitions, where the group has left off.
    fn add(&mut self, added: &Assignment, reading: &mut Reading<'_>) {
        let mut names = Vec::with_capacity(added.len());
        for (id, partitions) in added.topics() {
            let Some(topic) = self.core.topic_by_id(id) else { continue };
            for partition in partitions {
                let name = TopicPartition::new(topic.name.clone(), *partition);
                names.push(name.clone());
                self.partitions.insert((id, *partition), name);
                self.unopened.push((id, *partition));
            }
        }
        if !names.is_empty() {
            self.events.push(RebalanceEvent::Assigned(sorted(names)));
        }
        self.open_the_rest(reading);
    }

    /// Opens what could not be opened before. Whatever comes of it, the member goes on with the others.
    fn open_the_rest(&mut self, reading: &mut Reading<'_>) {
        self.failure = None;
        if self.unopened.is_empty() {
            return;
        }
        let unopened = std::mem::take(&mut self.unopened);
        let wanted = unopened.iter().filter_map(|place| self.partitions.get(place)).cloned();
        let wanted = wanted.collect::<Vec<_>>();
        let mut committed = match self.groups.decided(self.committer.group(), &wanted) {
            Ok(Some(committed)) => committed,
            Ok(None) => {
                self.unopened = unopened;
                self.ask_at = self.core.runtime().now().after(TRY_AGAIN / 10);
                return;
            }
            Err(error) => {
                self.unopened = unopened;
                self.failure = (!error.is_passing()).then(|| error.into());
                self.ask_later();
                return;
            }
        };
        for (id, partition) in unopened {
            let Some(topic) = self.core.topic_by_id(id) else { continue };
            let topic = Topic::new(Arc::clone(&self.core), topic);
            let partition = Partition::new(topic, partition);
            let name = partition.topic_partition().clone();
            let from = committed.remove(&name).map(|from| NextOffset::of(&name, from));
            let (runtime, settings) = (self.core.runtime(), reading.settings);
            match Fetcher::new(partition, &self.arrived, runtime, settings, from) {
                Ok(fetcher) => _ = reading.fetchers.insert(name, fetcher),
                // The next answer will say that it is gone.
                Err(error) if error.kind() == ErrorKind::TopicDeleted => {}
                Err(error) => {
                    self.unopened.push((id, name.partition));
                    self.ask_later();
                    if !error.is_retriable() {
                        self.failure.get_or_insert(error);
                    }
                }
            }
        }
    }

    fn commit_if_due(&mut self, fetchers: &Fetchers) {
        let now = self.core.runtime().now();
        let Some(auto) = &mut self.auto_commit else { return };
        if auto.next.is_none_or(|next| now < next) {
            return;
        }
        auto.next = now.after(auto.interval);
        let all = fetchers.keys().cloned().collect::<Vec<_>>();
        let due = positions(fetchers, &all);
        let is_under_way = auto.last.as_mut().is_some_and(|last| {
            let is_lost = matches!(last.result(), Some(Err(_)));
            // It may have been handed over just now.
            last.have_written();
            !is_lost
        });
        let is_same = |((at, next), (before_at, before)): (&(_, NextOffset), &(_, NextOffset))| {
            at == before_at && next.is_same(before)
        };
        let is_known = due.len() == auto.due.len() && due.iter().zip(&auto.due).all(is_same);
        // The time for which they are kept may count from the commit, and is not to be over when the member ends.
        let is_recent = now.since(auto.committed_at) < self.groups.offsets_retention() / 2;
        if is_known && ((is_under_way && is_recent) || due.is_empty()) {
            return;
        }
        auto.due.clone_from(&due);
        auto.committed_at = now;
        self.auto_commit(due);
    }

    /// Commits without anybody waiting for it. Returns whether that is with the coordinator, or refused.
    fn auto_commit(&mut self, positions: Vec<(TopicPartition, NextOffset)>) -> bool {
        let Some(auto) = &mut self.auto_commit else { return true };
        if let Some(Err(error)) = auto.last.take().and_then(|mut last| last.result()) {
            log::warn!("{:?}: offsets were not committed: {error}", self.handle);
        }
        match self.committer.commit(Some(&self.handle), positions) {
            Ok(mut commit) => {
                commit.have_written();
                let is_taken = commit.is_taken();
                auto.last = Some(commit);
                is_taken
            }
            Err(error) => {
                log::warn!("{:?}: offsets are not committed: {error}", self.handle);
                true
            }
        }
    }

    /// Commits, before it leaves, what polls have returned, if it does that by itself.
    pub(super) fn last_commit(&mut self, fetchers: &Fetchers) -> Result<Option<Commit>> {
        if self.auto_commit.is_none() {
            return Ok(None);
        }
        let all = fetchers.keys().cloned().collect::<Vec<_>>();
        let mut last = positions(fetchers, &all);
        last.append(&mut self.uncommitted);
        self.committer.commit(Some(&self.handle), last).map(Some)
    }

    /// Leaves the group, when what it has committed is decided. A static member keeps its place for a while, unless it goes `for_good`.
    pub(super) fn leave(&mut self, for_good: bool, fetchers: &mut Fetchers) {
        fetchers.clear();
        self.partitions.clear();
        self.groups.leave(&self.handle, for_good);
    }
}

/// Dropped, a member leaves: it waits for nobody.
impl Drop for Membership {
    fn drop(&mut self) {
        self.groups.leave(&self.handle, false);
    }
}

/// Behind the last record that polls have returned, of those of these partitions that are read.
pub(super) fn positions(
    fetchers: &Fetchers,
    of: &[TopicPartition],
) -> Vec<(TopicPartition, NextOffset)> {
    let position = |partition: &TopicPartition| {
        Some((partition.clone(), fetchers.get(partition)?.next_offset()?))
    };
    of.iter().filter_map(position).collect()
}

fn sorted(mut partitions: Vec<TopicPartition>) -> Vec<TopicPartition> {
    partitions.sort();
    partitions
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at epoch {}", self.handle, self.epoch)
    }
}
