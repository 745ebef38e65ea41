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
    Commit, Committer, NextOffset, RebalanceEvent, Revocation, Settings,
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

/// What is called with partitions that are about to go.
type Hook = Box<dyn FnMut(&Revocation<'_>) + Send>;

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
    /// What it has and cannot read yet: nobody leads.
    unopened: Vec<(TopicId, PartitionId)>,
    /// What it is to give up: in the next poll.
    revoking: Assignment,
    /// What it has given up, and what the coordinator has not taken from it yet.
    released: Assignment,
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
    hook: Option<Hook>,
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

/// What a consumer reads by.
pub(super) type Fetchers = BTreeMap<TopicPartition, Fetcher>;

impl Membership {
    pub(super) fn join(
        (core, groups): (&Arc<Running>, &Arc<GroupCoordinator>),
        committer: &Arc<Committer>,
        settings: &Settings,
        join: Join,
        arrived: &Arc<Event>,
        fetchers: &mut Fetchers,
    ) -> Result<Self> {
        // Who waits looks at it as often.
        let interval = settings.auto_commit.map(|interval| interval.max(LEAST_INTERVAL));
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
            revoking: Assignment::default(),
            released: Assignment::default(),
            revocation: 0,
            is_settled: false,
            events: Vec::new(),
            resubscribes: false,
            ask_at: None,
            ended: None,
            hook: None,
            auto_commit,
        };
        let told = membership.enter()?;
        membership.follow(told, fetchers, settings)?;
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

    /// It has something to give up, which polls do.
    pub(super) fn has_to_poll(&self) -> bool {
        !self.revoking.is_empty()
    }

    pub(super) fn assignment(&self) -> impl Iterator<Item = &TopicPartition> {
        self.partitions.values()
    }

    pub(super) fn set_hook(&mut self, hook: impl FnMut(&Revocation<'_>) + Send + 'static) {
        self.hook = Some(Box::new(hook));
    }

    /// What has happened, for the poll that returns now.
    pub(super) fn take_events(&mut self) -> Vec<RebalanceEvent> {
        std::mem::take(&mut self.events)
    }

    /// A poll begins: what an earlier one has announced comes into effect.
    pub(super) fn poll_begins(
        &mut self,
        fetchers: &mut Fetchers,
        settings: &Settings,
    ) -> Result<()> {
        self.check()?;
        // Unless nobody has been told: that it was found out while waiting for partitions is not enough.
        if self.has_to_poll() && !self.events.iter().any(RebalanceEvent::is_revocation) {
            self.release(fetchers, settings)?;
        }
        self.look(fetchers, settings)
    }

    /// There is something that no poll has told yet.
    pub(super) fn has_news(&self) -> bool {
        !self.events.is_empty()
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
    pub(super) fn look(&mut self, fetchers: &mut Fetchers, settings: &Settings) -> Result<()> {
        self.check()?;
        // Whatever there is by now earlier polls have returned.
        self.commit_if_due(fetchers);
        let version = self.core.metadata_version();
        let now = self.core.runtime().now();
        let is_due = self.ask_at.is_some_and(|at| at <= now);
        if !is_due && version == self.seen && !self.handle.is_summoned() {
            return Ok(());
        }
        (self.seen, self.ask_at) = (version, None);
        self.open_the_rest(fetchers, settings)?;
        self.handle.answer_summons();
        let told = self.ask();
        self.heard(told, fetchers, settings)
    }

    /// When to look again without being told to.
    pub(super) fn look_again(&self) -> Option<Moment> {
        let auto_commit = self.auto_commit.as_ref().and_then(|auto| auto.next);
        [self.ask_at, auto_commit].into_iter().flatten().min()
    }

    fn heard(
        &mut self,
        told: Result<Told, GroupError>,
        fetchers: &mut Fetchers,
        settings: &Settings,
    ) -> Result<()> {
        match told {
            Ok(told) => self.follow(told, fetchers, settings),
            Err(error) if error.is_passing() => {
                // It goes on with what it has.
                log::debug!("{:?}: {error}", self.handle);
                self.ask_at = self.core.runtime().now().after(TRY_AGAIN);
                Ok(())
            }
            Err(error @ GroupError::UnknownMemberId { .. }) => {
                log::info!("{error}: it joins again");
                self.lose(fetchers);
                self.rejoin(fetchers, settings)
            }
            Err(error) => {
                let error = Error::from(error);
                if error.is_fenced() {
                    self.lose(fetchers);
                    self.ended = Some(error.clone());
                } else {
                    // What it was summoned for it does not know yet.
                    self.ask_at = self.core.runtime().now().after(TRY_LATER);
                }
                Err(error)
            }
        }
    }

    /// It is no member any more: others may have what it had.
    fn lose(&mut self, fetchers: &mut Fetchers) {
        fetchers.clear();
        let lost = std::mem::take(&mut self.partitions).into_values().collect::<Vec<_>>();
        if !lost.is_empty() {
            self.events.push(RebalanceEvent::Lost(sorted(lost)));
        }
        self.unopened.clear();
        (self.revoking, self.released) = (Assignment::default(), Assignment::default());
        self.revocation = 0;
        self.is_settled = false;
    }

    fn rejoin(&mut self, fetchers: &mut Fetchers, settings: &Settings) -> Result<()> {
        let group = self.committer.group();
        self.handle = self.groups.new_member(group, &self.join.client_id, &self.arrived)?;
        match self.groups.join(&self.handle, &self.join) {
            Ok(told) => self.follow(told, fetchers, settings),
            Err(error) if error.is_passing() => {
                self.ask_at = self.core.runtime().now().after(TRY_AGAIN);
                Ok(())
            }
            Err(error) => {
                let error = Error::from(error);
                self.ended = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Reads other topics.
    pub(super) fn resubscribe(
        &mut self,
        subscription: crate::coordinator::Subscription,
        fetchers: &mut Fetchers,
        settings: &Settings,
    ) -> Result<()> {
        self.check()?;
        let before = std::mem::replace(&mut self.join.subscription, subscription);
        self.resubscribes = true;
        let told = self.ask();
        if told.as_ref().is_err_and(|error| !error.is_passing()) {
            self.join.subscription = before;
            self.resubscribes = false;
        }
        self.heard(told, fetchers, settings)
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
        let released = (!self.released.is_empty()).then_some(self.revocation);
        self.groups.heartbeat(&self.handle, released)
    }

    /// Does what the coordinator has said.
    fn follow(&mut self, told: Told, fetchers: &mut Fetchers, settings: &Settings) -> Result<()> {
        let Told { epoch, assigned, revoking, revocation, is_settled } = told;
        (self.epoch, self.is_settled) = (epoch, is_settled);
        // As long as commits are under way, the coordinator does not take what was given up.
        let is_known = !revoking.is_empty() && revocation == self.revocation;
        if !is_known || self.released.is_empty() {
            self.released = Assignment::default();
            (self.revoking, self.revocation) = (revoking, revocation);
            let is_new = !is_known;
            if is_new && !self.revoking.is_empty() && self.announce(fetchers, settings)? {
                // It has asked again since then: what it was told before is not to be done any more.
                return Ok(());
            }
        }
        let known = self.partitions.keys().copied().collect::<Assignment>();
        self.add(&assigned.difference(&known), fetchers, settings)
    }

    /// Stops reading what is to go, and says so. Returns whether it was given up at once.
    fn announce(&mut self, fetchers: &mut Fetchers, settings: &Settings) -> Result<bool> {
        let going = self.revoking.iter().filter_map(|place| self.partitions.get(&place).cloned());
        let going = sorted(going.collect());
        for partition in &going {
            if let Some(fetcher) = fetchers.get_mut(partition) {
                fetcher.stop();
            }
        }
        if !going.is_empty() {
            self.events.push(RebalanceEvent::Revoked(going.clone()));
        }
        if let Some(hook) = &mut self.hook {
            hook(&Revocation {
                partitions: &going,
                positions: positions(fetchers, &going),
                committer: &self.committer,
                handle: &self.handle,
            });
            return self.release(fetchers, settings).map(|()| true);
        }
        if going.is_empty() {
            return self.release(fetchers, settings).map(|()| true);
        }
        Ok(false)
    }

    /// Gives up what was announced.
    fn release(&mut self, fetchers: &mut Fetchers, settings: &Settings) -> Result<()> {
        if self.auto_commit.is_some() {
            let going = self.revoking.iter().filter_map(|p| self.partitions.get(&p).cloned());
            let going = sorted(going.collect());
            let positions = positions(fetchers, &going);
            self.auto_commit(positions);
        }
        self.released = std::mem::take(&mut self.revoking);
        for place in self.released.iter() {
            if let Some(partition) = self.partitions.remove(&place) {
                fetchers.remove(&partition);
            }
            self.unopened.retain(|unopened| *unopened != place);
        }
        self.handle.answer_summons();
        let told = self.ask();
        self.heard(told, fetchers, settings)
    }

    /// Begins to read partitions, where the group has left off.
    fn add(
        &mut self,
        added: &Assignment,
        fetchers: &mut Fetchers,
        settings: &Settings,
    ) -> Result<()> {
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
        self.open_the_rest(fetchers, settings)
    }

    /// Opens what could not be opened before.
    fn open_the_rest(&mut self, fetchers: &mut Fetchers, settings: &Settings) -> Result<()> {
        if self.unopened.is_empty() {
            return Ok(());
        }
        let unopened = std::mem::take(&mut self.unopened);
        let wanted = unopened.iter().filter_map(|place| self.partitions.get(place)).cloned();
        let wanted = wanted.collect::<Vec<_>>();
        let mut committed = match self.groups.decided(self.committer.group(), &wanted) {
            Ok(Some(committed)) => committed,
            Ok(None) => {
                self.unopened = unopened;
                self.ask_at = self.core.runtime().now().after(TRY_AGAIN / 10);
                return Ok(());
            }
            Err(error) => {
                self.unopened = unopened;
                self.ask_at = self.core.runtime().now().after(TRY_AGAIN);
                return if error.is_passing() { Ok(()) } else { Err(error.into()) };
            }
        };
        let mut unopened = unopened.into_iter();
        let mut failed = Ok(());
        for (id, partition) in unopened.by_ref() {
            let Some(topic) = self.core.topic_by_id(id) else { continue };
            let topic = Topic::new(Arc::clone(&self.core), topic);
            let partition = Partition::new(topic, partition);
            let name = partition.topic_partition().clone();
            let from = committed.remove(&name).map(|from| NextOffset::of(&name, from));
            match Fetcher::new(partition, &self.arrived, self.core.runtime(), settings, from) {
                Ok(fetcher) => _ = fetchers.insert(name, fetcher),
                Err(error) if error.is_retriable() || error.is_of_leader() => {
                    self.unopened.push((id, name.partition));
                    self.ask_at = self.core.runtime().now().after(TRY_AGAIN);
                }
                // The next answer will say that it is gone.
                Err(error) if error.kind() == ErrorKind::TopicDeleted => {}
                Err(error) => {
                    self.unopened.push((id, name.partition));
                    self.ask_at = self.core.runtime().now().after(TRY_AGAIN);
                    failed = Err(error);
                    break;
                }
            }
        }
        self.unopened.extend(unopened);
        failed
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

    /// Commits without anybody waiting for it.
    fn auto_commit(&mut self, positions: Vec<(TopicPartition, NextOffset)>) {
        let Some(auto) = &mut self.auto_commit else { return };
        if let Some(Err(error)) = auto.last.take().and_then(|mut last| last.result()) {
            log::warn!("{:?}: offsets were not committed: {error}", self.handle);
        }
        match self.committer.commit(Some(&self.handle), positions) {
            Ok(mut commit) => {
                commit.have_written();
                auto.last = Some(commit);
            }
            Err(error) => log::warn!("{:?}: offsets are not committed: {error}", self.handle),
        }
    }

    /// Commits all that polls have returned, before the member leaves and waits for nobody.
    pub(super) fn commit_at_end(&mut self, fetchers: &Fetchers) {
        if self.auto_commit.is_some() {
            let all = fetchers.keys().cloned().collect::<Vec<_>>();
            self.auto_commit(positions(fetchers, &all));
        }
    }

    /// The same, for who waits.
    pub(super) fn last_commit(&self, fetchers: &Fetchers) -> Result<Option<Commit>> {
        if self.auto_commit.is_none() {
            return Ok(None);
        }
        let all = fetchers.keys().cloned().collect::<Vec<_>>();
        self.committer.commit(Some(&self.handle), positions(fetchers, &all)).map(Some)
    }

    /// Leaves the group, when what it has committed is decided. A static member keeps its place for a while, unless it goes
    /// `for_good`.
    pub(super) fn leave(&mut self, for_good: bool, fetchers: &mut Fetchers) {
        fetchers.clear();
        self.groups.leave(&self.handle, for_good);
        self.partitions.clear();
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
