//! All groups of a cluster.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crate::base::{BrokerId, Offset, PartitionId, TopicName, TopicPartition};
use crate::cluster::{ClusterError, Core, InternalTopic, KnownTopic, Sender, TopicImage};
use crate::coordinator::assignor::is_deciding;
use crate::coordinator::commit::{Outcome, PendingCommit, Settled};
use crate::coordinator::config::GroupConfig;
use crate::coordinator::error::GroupError;
use crate::coordinator::group::{
    Changes, Commit, Committed, DescribedMember, GroupProtocol, GroupState, Told, World,
};
use crate::coordinator::handle::MemberHandle;
use crate::coordinator::ids::{GroupId, MemberId, partition_of_group};
use crate::coordinator::join::Join;
use crate::coordinator::shard::{Batching, Groups, Shard, Term};
use crate::env::sync::{Event, Mutex};
use crate::replica::ProduceError;

/// Finds the coordinator of a group, which is the leader of its partition of `__consumer_offsets`, and asks it.
///
/// Everything here returns at once, but that a new coordinator reads its log first.
#[derive(Debug)]
pub(crate) struct GroupCoordinator {
    pub(super) me: Weak<Self>,
    pub(super) core: Weak<Core>,
    pub(super) config: GroupConfig,
    shards: Mutex<BTreeMap<PartitionId, Arc<Shard>>>,
    /// All topics, and the version of the metadata in which they were looked up.
    topics: Mutex<(u64, Arc<[KnownTopic]>)>,
    /// Numbers for members.
    members: AtomicU64,
    /// For what nobody asks for.
    pub(super) worker: Arc<Sender>,
    pub(super) housekeeping: super::housekeeping::Housekeeping,
}

/// A group as it is now.
#[derive(Clone, Debug)]
pub(crate) struct Description {
    pub(crate) state: GroupState,
    pub(crate) protocol: Option<GroupProtocol>,
    pub(crate) epoch: i32,
    pub(crate) assignor: Option<String>,
    pub(crate) coordinator: Option<BrokerId>,
    pub(crate) members: Vec<DescribedMember>,
}

/// A group in a list.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub(crate) group: String,
    pub(crate) state: GroupState,
    pub(crate) protocol: Option<GroupProtocol>,
}

/// The topic in which groups are kept, and whether it is made if there is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Missing {
    Create,
    Leave,
}

impl GroupCoordinator {
    /// Of the groups of `core`, which it tells when topics change.
    pub(crate) fn new(core: &Arc<Core>, config: GroupConfig) -> Arc<Self> {
        let worker = Sender::new("brooklet-groups", Arc::clone(core.runtime()));
        let coordinator = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            core: Arc::downgrade(core),
            config,
            shards: Mutex::default(),
            topics: Mutex::new((0, Arc::default())),
            members: AtomicU64::new(0),
            worker: Arc::new(worker),
            housekeeping: super::housekeeping::Housekeeping::default(),
        });
        core.controller().listen(Arc::clone(&coordinator) as _);
        core.closes(&coordinator.worker);
        if core.internal_topic(InternalTopic::ConsumerOffsets).is_some() {
            coordinator.look_after_offsets(core);
        }
        coordinator
    }

    pub(super) fn core(&self) -> Result<Arc<Core>, GroupError> {
        let core = self.core.upgrade().ok_or(ClusterError::Closed)?;
        core.check_open()?;
        Ok(core)
    }

    /// All topics, and the version of the metadata in which they were like that.
    fn topics(&self, core: &Core) -> (u64, Arc<[KnownTopic]>) {
        // Before the look at the topics: they may be newer, which does no harm.
        let version = core.metadata_version();
        {
            let known = self.topics.lock();
            if known.0 == version && !known.1.is_empty() {
                return known.clone();
            }
        }
        let topics = (version, Arc::from(core.known_topics()));
        *self.topics.lock() = topics.clone();
        topics
    }

    fn offsets_topic(
        &self,
        core: &Core,
        missing: Missing,
    ) -> Result<Option<Arc<TopicImage>>, GroupError> {
        if let Some(topic) = core.internal_topic(InternalTopic::ConsumerOffsets) {
            return Ok(Some(topic));
        }
        if missing == Missing::Leave {
            return Ok(None);
        }
        let topic = core.internal_topic_or_create(InternalTopic::ConsumerOffsets);
        let topic = topic.map_err(not_available)?;
        self.look_after_offsets(core);
        Ok(Some(topic))
    }

    pub(super) fn shard(&self, partition: PartitionId) -> Arc<Shard> {
        let mut shards = self.shards.lock();
        Arc::clone(shards.entry(partition).or_insert_with(|| Shard::new(partition)))
    }

    /// Those that were asked for something.
    pub(super) fn shards(&self) -> Vec<Arc<Shard>> {
        self.shards.lock().values().cloned().collect()
    }

    /// Runs `ask` on the groups of a shard, with its lock held, and sees to what comes of it.
    pub(super) fn ask<T>(
        &self,
        core: &Core,
        topic: &TopicImage,
        shard: &Shard,
        ask: impl FnOnce(&mut Groups, &World<'_>, &mut Changes) -> Result<T, GroupError>,
    ) -> Result<T, GroupError> {
        if is_deciding() {
            return Err(GroupError::AskedByAssignor);
        }
        let term = term(core, topic, shard.partition)?;
        match self.load(core, shard, &term) {
            // Another replica in sync may have what this one has lost. With no lock held: that may answer batches.
            Err(GroupError::Unreadable { .. }) if !term.leader.heal().is_empty() => {
                log::warn!("{} was damaged, and is repaired", term.leader.partition());
                self.load(core, shard, &term)?;
            }
            loaded => loaded?,
        }
        let (changes, has_records, asked) = {
            let mut groups = shard.groups.lock();
            // What comes in the order of the log is to be of the order in which this was reached; and no group is to see
            // topics that are older than those that it has seen.
            let (now, wall_clock) = (core.runtime().now(), core.runtime().wall_clock());
            let (version, topics) = self.topics(core);
            let world = World { topics: &topics, version, config: &self.config, now, wall_clock };
            let mut changes = Changes::at(now, wall_clock);
            let asked = match groups.term() == Some(&term) {
                true => ask(&mut groups, &world, &mut changes),
                // It has moved on meanwhile.
                false => Err(loading(&term)),
            };
            let how = Batching { compression: self.config.compression, now: wall_clock };
            let has_records = groups.append(&changes.records, &how);
            (changes, has_records, asked)
        };
        // With no lock held: whoever has no thread writes them himself, and wakers are not ours.
        if has_records {
            term.have_written();
        }
        changes.summoned.iter().for_each(|member| member.summon());
        asked
    }

    /// Has a shard read the log of a new term.
    fn load(&self, core: &Core, shard: &Shard, term: &Term) -> Result<(), GroupError> {
        let mut groups = shard.groups.lock();
        if groups.term() == Some(term) {
            return Ok(());
        }
        let (now, wall_clock) = (core.runtime().now(), core.runtime().wall_clock());
        let (version, topics) = self.topics(core);
        let world = World { topics: &topics, version, config: &self.config, now, wall_clock };
        let mut changes = Changes::at(now, wall_clock);
        let entered = groups.enter(term, &world, &mut changes);
        let how = Batching { compression: self.config.compression, now: wall_clock };
        let has_records = groups.append(&changes.records, &how);
        let outcomes = groups.take_told();
        drop(groups);
        if has_records {
            term.have_written();
        }
        changes.summoned.iter().for_each(|member| member.summon());
        outcomes.iter().for_each(|outcome| outcome.notify());
        entered
    }

    /// As [`ask`](Self::ask), of the shard of a group. `None` if nobody has ever been in a group.
    fn ask_for<T>(
        &self,
        group: &GroupId,
        missing: Missing,
        ask: impl FnOnce(&mut Groups, &World<'_>, &mut Changes) -> Result<T, GroupError>,
    ) -> Result<Option<T>, GroupError> {
        let core = self.core()?;
        let Some(topic) = self.offsets_topic(&core, missing)? else { return Ok(None) };
        let partition = partition_of_group(group.as_str(), topic.partition_count());
        self.ask(&core, &topic, &self.shard(partition), ask).map(Some)
    }

    /// A member that waits for `arrived`, of a group that it is to join.
    pub(crate) fn new_member(
        &self,
        group: &GroupId,
        client_id: &str,
        arrived: &Arc<Event>,
    ) -> Result<Arc<MemberHandle>, GroupError> {
        let core = self.core()?;
        let number = self.members.fetch_add(1, Ordering::Relaxed) + 1;
        // Members do not outlive the process: a number tells them apart.
        let id = match client_id {
            "" => MemberId::numbered(&format!("consumer-{group}"), number),
            client_id => MemberId::numbered(client_id, number),
        };
        Ok(MemberHandle::new(group.clone(), id, arrived, core.runtime().now()))
    }

    /// Makes `handle` a member of its group. Returns what it has to begin with.
    pub(crate) fn join(&self, handle: &Arc<MemberHandle>, join: &Join) -> Result<Told, GroupError> {
        let group = handle.group();
        if group.as_str().is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        let wants = join.request(&self.config)?;
        let joined = self.ask_for(group, Missing::Create, |groups, world, changes| {
            let existed = groups.get(group).is_some();
            let joined = groups.get_or_create(group);
            let told = joined.join(handle, wants, world, changes);
            let next_tick = joined.next_tick(world.now);
            if told.is_err() && !existed {
                groups.forget(group);
            }
            Ok((told?, next_tick))
        })?;
        let (told, next_tick) = joined.unwrap_or_default();
        self.set_alarm(next_tick);
        Ok(told)
    }

    /// What is new for a member, that may have given up what it was told to: all of the revocation `released`.
    pub(crate) fn heartbeat(
        &self,
        handle: &Arc<MemberHandle>,
        released: Option<u64>,
    ) -> Result<Told, GroupError> {
        let group = handle.group();
        let told = self.ask_for(group, Missing::Create, |groups, world, changes| {
            let group = groups.get_mut(group).ok_or_else(|| unknown(handle))?;
            // Before it finds out from the topics that it reads.
            group.refresh(world, changes);
            group.heartbeat(handle, released, changes)
        })?;
        Ok(told.unwrap_or_default())
    }

    /// A member wants other topics.
    pub(crate) fn resubscribe(
        &self,
        handle: &Arc<MemberHandle>,
        join: &Join,
    ) -> Result<Told, GroupError> {
        let (group, subscribed) = (handle.group(), join.subscription.check(join.with_internal)?);
        let told = self.ask_for(group, Missing::Create, |groups, world, changes| {
            let group = groups.get_mut(group).ok_or_else(|| unknown(handle))?;
            group.resubscribe(handle, subscribed, world, changes)
        })?;
        Ok(told.unwrap_or_default())
    }

    /// A member goes; a static one may come back unless it goes `for_good`.
    pub(crate) fn leave(&self, handle: &Arc<MemberHandle>, for_good: bool) {
        if handle.leaves(for_good)
            && let Err(error) = self.let_go(handle)
        {
            self.leave_later(handle, &error);
        }
    }

    /// Tells the group of a member that it has left.
    pub(super) fn let_go(&self, handle: &Arc<MemberHandle>) -> Result<(), GroupError> {
        let group = handle.group();
        let next_tick = self.ask_for(group, Missing::Leave, |groups, world, changes| {
            let Some(group) = groups.get_mut(group) else { return Ok(None) };
            group.leave(handle, world, changes);
            Ok(group.next_tick(world.now))
        })?;
        self.set_alarm(next_tick.flatten());
        Ok(())
    }

    /// Removes a member by its id, as if it had left.
    pub(crate) fn remove_member(&self, group: &GroupId, member: &str) -> Result<(), GroupError> {
        let unknown =
            || GroupError::UnknownMemberId { group: group.to_string(), member: member.to_owned() };
        let id = MemberId::new(member).ok_or_else(unknown)?;
        let removed = self.ask_for(group, Missing::Leave, |groups, world, changes| {
            let group = groups.get_mut(group).filter(|group| group.has_member(&id));
            let group = group.ok_or_else(unknown)?;
            group.remove(&id, world, changes);
            Ok(())
        })?;
        removed.ok_or_else(unknown)
    }

    /// Commits offsets, for a member, or for a group without members: what `decide` hands over, once at most. It is called with
    /// the group's lock held, so that what it notes of several commits is in the order of the log.
    pub(crate) fn commit<T>(
        &self,
        group: &GroupId,
        by: Option<&Arc<MemberHandle>>,
        decide: impl FnOnce(
            &mut dyn FnMut(Vec<Commit>) -> Result<PendingCommit, GroupError>,
        ) -> Result<T, GroupError>,
    ) -> Result<T, GroupError> {
        let core = self.core()?;
        let topic = self.offsets_topic(&core, Missing::Create)?.ok_or_else(|| not_found(group))?;
        let shard = self.shard(partition_of_group(group.as_str(), topic.partition_count()));
        self.ask(&core, &topic, &shard, |groups, world, changes| {
            decide(&mut |commits| {
                let (of, at) = ((&*core, &*topic), (&shard, &mut *groups));
                self.record(of, at, by, (world, &mut *changes), |groups, world, own| {
                    let existed = groups.get(group).is_some();
                    let committed = groups.get_or_create(group).commit(by, commits, world, own);
                    // It was refused, or is all of topics that are no more.
                    if own.records.is_empty() && !existed {
                        groups.forget(group);
                    }
                    committed
                })
            })
        })
    }

    /// Forgets the offsets of some partitions.
    pub(crate) fn delete_offsets(
        &self,
        group: &GroupId,
        partitions: &[TopicPartition],
    ) -> Result<PendingCommit, GroupError> {
        self.write(group, |groups, _, changes| {
            let deleted = groups.delete_offsets(group, partitions, changes);
            deleted.unwrap_or_else(|| Err(not_found(group)))
        })
    }

    /// Deletes a group without members, and its offsets.
    pub(crate) fn delete_group(&self, group: &GroupId) -> Result<PendingCommit, GroupError> {
        self.write(group, |groups, _, changes| {
            groups.delete(group, changes).unwrap_or_else(|| Err(not_found(group)))
        })
    }

    /// Records what `ask` wants recorded, in such a way that it can be waited for.
    fn write(
        &self,
        group: &GroupId,
        ask: impl FnOnce(&mut Groups, &World<'_>, &mut Changes) -> Result<(), GroupError>,
    ) -> Result<PendingCommit, GroupError> {
        let core = self.core()?;
        let topic = self.offsets_topic(&core, Missing::Leave)?.ok_or_else(|| not_found(group))?;
        let shard = self.shard(partition_of_group(group.as_str(), topic.partition_count()));
        self.write_in(&core, &topic, &shard, ask)
    }

    fn write_in(
        &self,
        core: &Core,
        topic: &TopicImage,
        shard: &Arc<Shard>,
        ask: impl FnOnce(&mut Groups, &World<'_>, &mut Changes) -> Result<(), GroupError>,
    ) -> Result<PendingCommit, GroupError> {
        self.ask(core, topic, shard, |groups, world, changes| {
            self.record((core, topic), (shard, groups), None, (world, changes), ask)
        })
    }

    /// The same, with the lock of the shard held.
    fn record(
        &self,
        (core, topic): (&Core, &TopicImage),
        (shard, groups): (&Arc<Shard>, &mut Groups),
        by: Option<&Arc<MemberHandle>>,
        (world, changes): (&World<'_>, &mut Changes),
        ask: impl FnOnce(&mut Groups, &World<'_>, &mut Changes) -> Result<(), GroupError>,
    ) -> Result<PendingCommit, GroupError> {
        let (outcome, runtime) = (Outcome::new(&self.me, shard), Arc::clone(core.runtime()));
        let mut own = Changes::at(world.now, world.wall_clock);
        let asked = ask(groups, world, &mut own);
        changes.summoned.append(&mut own.summoned);
        asked?;
        let partition = || TopicPartition::new(topic.name.clone(), shard.partition);
        let term = groups.term().cloned();
        let term = term.ok_or_else(|| GroupError::LoadInProgress { partition: partition() })?;
        if own.records.is_empty() {
            return Ok(PendingCommit::done(outcome, term, runtime));
        }
        // What a new coordinator has to record comes before it.
        let how = Batching { compression: self.config.compression, now: world.wall_clock };
        groups.append(&std::mem::take(&mut changes.records), &how);
        groups.commit(own.records, by, &outcome, &how)?;
        Ok(PendingCommit::new(outcome, term, runtime))
    }

    /// Records are in the log for good, or have failed. Returns who is to be told, and who to ask.
    pub(super) fn settle(
        &self,
        shard: &Shard,
        ticket: u64,
        result: Result<Offset, ProduceError>,
    ) -> Settled {
        // Dropped last: it may be the last handle of the cluster.
        let core = self.core.upgrade();
        let Some(core) = core else { return Settled::default() };
        let mut groups = shard.groups.lock();
        let (version, topics) = self.topics(&core);
        let (now, wall_clock) = (core.runtime().now(), core.runtime().wall_clock());
        let world = World { topics: &topics, version, config: &self.config, now, wall_clock };
        let mut changes = Changes::at(now, wall_clock);
        let outcomes = groups.settle(ticket, result, &world, &mut changes);
        let how = Batching { compression: self.config.compression, now: wall_clock };
        let has_records = groups.append(&changes.records, &how);
        let unwritten = groups.term().cloned().filter(|_| has_records);
        Settled { outcomes, unwritten, summoned: changes.summoned }
    }

    /// What was committed for these partitions, as far as something was.
    pub(crate) fn committed(
        &self,
        group: &GroupId,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Committed>, GroupError> {
        let found = self.ask_for(group, Missing::Leave, |groups, world, _| {
            Ok(groups.committed(group, partitions, world))
        })?;
        Ok(found.unwrap_or_default())
    }

    /// The same for a member that is about to read there. `None` as long as commits for one of them are on their way: they
    /// may be of who has had it before.
    pub(crate) fn decided(
        &self,
        group: &GroupId,
        partitions: &[TopicPartition],
    ) -> Result<Option<BTreeMap<TopicPartition, Committed>>, GroupError> {
        let found = self.ask_for(group, Missing::Leave, |groups, world, _| {
            let is_pending = groups.has_pending(group, partitions);
            Ok((!is_pending).then(|| groups.committed(group, partitions, world)))
        })?;
        Ok(found.unwrap_or_else(|| Some(BTreeMap::new())))
    }

    /// All that a group has committed.
    pub(crate) fn all_committed(
        &self,
        group: &GroupId,
    ) -> Result<BTreeMap<TopicPartition, Committed>, GroupError> {
        let found = self.ask_for(group, Missing::Leave, |groups, world, _| {
            Ok(groups.get(group).map(|group| group.all_committed(world)).unwrap_or_default())
        })?;
        Ok(found.unwrap_or_default())
    }

    /// A group as it is now. There may be none.
    pub(crate) fn describe(&self, group: &GroupId) -> Result<Description, GroupError> {
        let found = self.ask_for(group, Missing::Leave, |groups, _, _| {
            let coordinator = groups.term().map(|term| term.leader.broker());
            Ok((groups.get(group).map(|group| group.describe()), coordinator))
        })?;
        let (described, coordinator) = found.unwrap_or((None, None));
        Ok(match described {
            Some(group) => Description {
                state: group.state,
                protocol: group.protocol,
                epoch: group.epoch,
                assignor: group.assignor,
                coordinator,
                members: group.members,
            },
            None => Description {
                state: GroupState::Dead,
                protocol: None,
                epoch: 0,
                assignor: None,
                coordinator,
                members: Vec::new(),
            },
        })
    }

    /// All groups, by name.
    pub(crate) fn list(&self) -> Result<Vec<Listing>, GroupError> {
        let core = self.core()?;
        let mut all = Vec::new();
        let Some(topic) = self.offsets_topic(&core, Missing::Leave)? else { return Ok(all) };
        for partition in topic.partition_ids() {
            let listed = self.ask(&core, &topic, &self.shard(partition), |groups, _, _| {
                let listing = |(id, group): (&GroupId, &super::group::Group)| Listing {
                    group: id.to_string(),
                    state: group.state(),
                    protocol: group.protocol(),
                };
                let all = groups.iter().filter(|(_, group)| !group.is_dead());
                Ok(all.map(listing).collect::<Vec<_>>())
            });
            all.append(&mut listed?);
        }
        all.sort_by(|a, b| a.group.cmp(&b.group));
        Ok(all)
    }

    /// Forgets what groups have committed for a topic that is no more, and returns when that is in the log for good. It
    /// counts for nobody as it is: one of the same name is another.
    pub(crate) fn forget_topic(&self, name: &TopicName) -> Result<(), GroupError> {
        let written =
            self.write_in_all(|groups, world, changes| groups.forget_topic(name, world, changes))?;
        // All are on their way before one is waited for.
        let done = written.into_iter().map(|commit| commit?.wait().map_err(GroupError::NotWritten));
        // The first error of one does not keep the others from it.
        done.collect::<Vec<_>>().into_iter().collect()
    }

    /// Records what `ask` wants recorded in each shard.
    pub(super) fn write_in_all(
        &self,
        ask: impl Fn(&mut Groups, &World<'_>, &mut Changes),
    ) -> Result<Vec<Result<PendingCommit, GroupError>>, GroupError> {
        let core = self.core()?;
        let Some(topic) = self.offsets_topic(&core, Missing::Leave)? else { return Ok(Vec::new()) };
        let written = topic.partition_ids().map(|partition| {
            let shard = self.shard(partition);
            self.write_in(&core, &topic, &shard, |groups, world, changes| {
                ask(groups, world, changes);
                Ok(())
            })
        });
        Ok(written.collect())
    }
}

/// Who leads a partition of `__consumer_offsets`.
fn term(core: &Core, topic: &TopicImage, partition: PartitionId) -> Result<Term, GroupError> {
    let led = core.leader_and_sender(topic, partition);
    let (leader, sender) = led.map_err(not_available)?;
    let (_, epoch) = leader.led_by();
    Ok(Term { leader, epoch, sender })
}

fn loading(term: &Term) -> GroupError {
    GroupError::LoadInProgress { partition: term.leader.partition().clone() }
}

/// A cluster that is closed stays so; anything else may be otherwise in a moment.
fn not_available(error: ClusterError) -> GroupError {
    match error {
        ClusterError::Closed => GroupError::Cluster(error),
        error => GroupError::NotAvailable(error),
    }
}

fn unknown(handle: &MemberHandle) -> GroupError {
    let (group, member) = (handle.group().to_string(), handle.member().to_string());
    GroupError::UnknownMemberId { group, member }
}

fn not_found(group: &GroupId) -> GroupError {
    GroupError::GroupIdNotFound(group.to_string())
}
