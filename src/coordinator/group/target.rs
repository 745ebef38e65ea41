//! Who is to have what.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::base::{PartitionId, Timestamp, TopicId, TopicName};
use crate::cluster::KnownTopic;
use crate::coordinator::GroupConfig;
use crate::coordinator::assignor::{Assignor, Decision, GroupSpec, MemberSpec, TopicSpec};
use crate::coordinator::group::{Changes, Group};
use crate::coordinator::ids::MemberId;
use crate::coordinator::records::{CoordinatorRecord, GroupEpochValue};
use crate::coordinator::subscription::Subscribed;
use crate::env::Moment;

/// What a group can see of the rest.
#[derive(Clone, Copy, Debug)]
pub(in crate::coordinator) struct World<'a> {
    /// All topics, in the order of names.
    pub(in crate::coordinator) topics: &'a [KnownTopic],
    /// Of the metadata, when they were like that.
    pub(in crate::coordinator) version: u64,
    pub(in crate::coordinator) config: &'a GroupConfig,
    pub(in crate::coordinator) now: Moment,
    pub(in crate::coordinator) wall_clock: Timestamp,
}

impl World<'_> {
    pub(in crate::coordinator) fn topic(&self, name: &TopicName) -> Option<&KnownTopic> {
        let at = self.topics.binary_search_by(|known| known.name.cmp(name)).ok()?;
        self.topics.get(at)
    }
}

/// Who is to have what, as an assignor has decided.
#[derive(Debug, Default)]
pub(super) struct Target {
    /// The group epoch for which it was decided.
    pub(super) epoch: i32,
    /// The name of who decided.
    pub(super) assignor: String,
    /// Everybody gives up everything first.
    pub(super) is_eager: bool,
    /// And has done so.
    pub(super) is_free: bool,
    /// The topics that members are subscribed to, in the order of names; all their partitions in a row are the slots.
    topics: Vec<TopicSpec>,
    /// Where those of each topic are.
    slots: BTreeMap<TopicId, Range<usize>>,
    /// Members by number.
    members: Vec<MemberId>,
    /// The number of the owner of each slot.
    owners: Vec<Option<u32>>,
}

impl Target {
    /// Who is to have a partition.
    pub(super) fn owner(&self, topic: TopicId, partition: PartitionId) -> Option<&MemberId> {
        let of_topic = self.owners.get(self.slots.get(&topic)?.clone())?;
        let owner = of_topic.get(usize::try_from(partition.value()).ok()?).copied().flatten()?;
        self.members.get(usize::try_from(owner).ok()?)
    }

    /// The topics for which it was decided.
    pub(super) fn topics(&self) -> impl Iterator<Item = &TopicSpec> {
        self.topics.iter()
    }

    /// A member goes on under another id.
    pub(super) fn rename(&mut self, from: &MemberId, to: &MemberId) {
        self.members.iter_mut().filter(|member| *member == from).for_each(|m| *m = to.clone());
    }

    /// What it says, for these topics and members.
    fn carried_over(&self, topics: &[TopicSpec], members: &[MemberId]) -> Vec<Option<u32>> {
        let numbers = members.iter().zip(0u32..).collect::<FxHashMap<_, _>>();
        let numbers = self.members.iter().map(|member| numbers.get(member).copied());
        let numbers = numbers.collect::<Vec<_>>();
        let renumbered = |owner: &Option<u32>| *numbers.get(usize::try_from((*owner)?).ok()?)?;
        let mut owners = Vec::with_capacity(self.owners.len());
        for topic in topics {
            let count = usize::try_from(topic.partitions).unwrap_or(usize::MAX);
            let end = owners.len().saturating_add(count);
            let known = self.slots.get(&topic.id).and_then(|slots| self.owners.get(slots.clone()));
            owners.extend(known.unwrap_or_default().iter().map(renumbered));
            // A topic that has grown; or one that has shrunk, which there is not.
            owners.resize(end, None);
        }
        owners
    }
}

impl Group {
    /// Decides anew who is to have what, in a new epoch. Members that are concerned are summoned.
    pub(super) fn begin_epoch(&mut self, world: &World<'_>, changes: &mut Changes) {
        self.epoch = self.epoch.saturating_add(1);
        self.record_epoch(changes);
        if self.assign_at.is_none() {
            self.retarget(world, changes);
        }
    }

    pub(super) fn record_epoch(&self, changes: &mut Changes) {
        if !self.is_classic() {
            let value = Some(GroupEpochValue { epoch: self.epoch, metadata_hash: 0 });
            changes.record(CoordinatorRecord::GroupEpoch { group: self.id.clone(), value });
        }
    }

    /// The topics that members want and that there are, and for each member the numbers of its own.
    fn subscriptions(&self, world: &World<'_>) -> (Vec<TopicSpec>, Vec<Arc<[u32]>>) {
        // Most members of a group want the same.
        let mut distinct = Vec::<&Subscribed>::new();
        let kinds = self.members.values().map(|member| {
            let wanted = &member.wants.subscribed;
            distinct.iter().position(|known| *known == wanted).unwrap_or_else(|| {
                distinct.push(wanted);
                distinct.len() - 1
            })
        });
        let kinds = kinds.collect::<Vec<_>>();
        let topics =
            world.topics.iter().filter(|known| distinct.iter().any(|s| s.contains(&known.name)));
        let topics = topics.map(|known| TopicSpec {
            id: known.id,
            name: known.name.clone(),
            partitions: known.partitions,
        });
        let topics = topics.collect::<Vec<_>>();
        let numbers = |subscribed: &&Subscribed| {
            let wanted =
                topics.iter().zip(0u32..).filter(|(topic, _)| subscribed.contains(&topic.name));
            wanted.map(|(_, number)| number).collect::<Arc<[u32]>>()
        };
        let numbers = distinct.iter().map(numbers).collect::<Vec<_>>();
        let of_members = kinds.iter().filter_map(|kind| numbers.get(*kind).cloned()).collect();
        (topics, of_members)
    }

    /// The group as assignors see it, its members by number, and who was to have what, by slot.
    fn spec(
        &self,
        topics: &[TopicSpec],
        subscriptions: Vec<Arc<[u32]>>,
    ) -> (GroupSpec, Vec<MemberId>, Vec<Option<u32>>) {
        let spec = |((id, member), subscription): ((&MemberId, &super::Member), _)| MemberSpec {
            id: id.to_shared(),
            instance_id: member.wants.instance.as_ref().map(|instance| instance.to_shared()),
            rack: member.wants.rack.as_ref().map(|rack| rack.to_shared()),
            subscription,
        };
        let specs = self.members.iter().zip(subscriptions).map(spec);
        let mut specs = specs.zip(self.members.keys().cloned()).collect::<Vec<_>>();
        specs.sort_by(|(a, _), (b, _)| a.order(b));
        let (specs, ids): (Vec<_>, Vec<_>) = specs.into_iter().unzip();
        let previous = self.target.carried_over(topics, &ids);
        (GroupSpec::new(topics, specs, previous.clone()), ids, previous)
    }

    /// Has the assignor decide. What it decides wrongly is left as it was.
    fn retarget(&mut self, world: &World<'_>, changes: &mut Changes) {
        self.seen = world.version;
        let (topics, subscriptions) = self.subscriptions(world);
        let (spec, members, before) = self.spec(&topics, subscriptions);
        let assignor = self.choose_assignor(world.config);
        let Decision { owners, is_cooperative } = Decision::of(&*assignor, &spec);
        let mut base = 0;
        let slots = topics.iter().map(|topic| {
            let from = base;
            base += usize::try_from(topic.partitions).unwrap_or(0);
            (topic.id, from..base)
        });
        let slots = slots.collect();
        let gone = self.gone_topics(&topics);
        let mut changed = self.change_targets(&topics, &members, (&before, &owners));
        changed.extend(self.forget_topics(&gone));
        let is_eager = self.is_classic() && !is_cooperative;
        if self.target.is_eager && !is_eager {
            // Who was waiting for all the others waits for nobody any more.
            changed.extend(self.members.keys().cloned());
        }
        self.target = Target {
            epoch: self.epoch,
            assignor: assignor.name().to_owned(),
            is_eager,
            is_free: false,
            topics,
            slots,
            members,
            owners,
        };
        self.record_target(&changed, changes);
        self.target_changed(&changed, changes);
    }

    /// Topics of the target before that are no more, or that nobody wants any more.
    fn gone_topics(&self, topics: &[TopicSpec]) -> BTreeSet<TopicId> {
        let there = topics.iter().map(|topic| topic.id).collect::<BTreeSet<_>>();
        self.target.slots.keys().filter(|id| !there.contains(id)).copied().collect()
    }

    fn forget_topics(&mut self, gone: &BTreeSet<TopicId>) -> BTreeSet<MemberId> {
        let mut changed = BTreeSet::new();
        if gone.is_empty() {
            return changed;
        }
        for (id, member) in &mut self.members {
            let kept = member.target.iter().filter(|(topic, _)| !gone.contains(topic)).collect();
            if member.target != kept {
                member.target = kept;
                changed.insert(id.clone());
            }
        }
        changed
    }

    /// Moves what has another owner than before from one member's target to the other's. Returns whose have changed.
    fn change_targets(
        &mut self,
        topics: &[TopicSpec],
        members: &[MemberId],
        (before, after): (&[Option<u32>], &[Option<u32>]),
    ) -> BTreeSet<MemberId> {
        let member = |number: &Option<u32>| members.get(usize::try_from((*number)?).ok()?);
        let mut changed = BTreeSet::new();
        let mut slots = before.iter().zip(after);
        for topic in topics {
            for (number, (before, after)) in (0..topic.partitions).zip(slots.by_ref()) {
                if before == after {
                    continue;
                }
                let partition = i32::try_from(number).ok().and_then(PartitionId::new);
                let Some(partition) = partition else { continue };
                if let Some(id) = member(before)
                    && let Some(member) = self.members.get_mut(id)
                {
                    member.target.remove(topic.id, partition);
                    changed.insert(id.clone());
                }
                if let Some(id) = member(after)
                    && let Some(member) = self.members.get_mut(id)
                {
                    member.target.insert(topic.id, partition);
                    changed.insert(id.clone());
                }
            }
        }
        changed
    }

    pub(super) fn record_target(&self, changed: &BTreeSet<MemberId>, changes: &mut Changes) {
        if self.is_classic() {
            return;
        }
        for id in changed {
            if let Some(member) = self.members.get(id) {
                changes.record(CoordinatorRecord::TargetAssignment {
                    group: self.id.clone(),
                    member: id.clone(),
                    value: Some(member.target.clone()),
                });
            }
        }
        let value = Some(self.target.epoch);
        changes.record(CoordinatorRecord::TargetEpoch { group: self.id.clone(), value });
    }

    /// In the consumer protocol the one that most members ask for; in the classic one that which most of them prefer, of
    /// those that all have.
    fn choose_assignor(&self, config: &GroupConfig) -> Arc<dyn Assignor> {
        let common = |name: &str| {
            !self.is_classic()
                || self
                    .members
                    .values()
                    .all(|m| m.wants.assignors.iter().any(|n| n.as_str() == name))
        };
        let mut votes = BTreeMap::<&str, usize>::new();
        for member in self.members.values() {
            let first =
                member.wants.assignors.iter().map(|name| name.as_str()).find(|name| common(name));
            if let Some(name) = first {
                *votes.entry(name).or_default() += 1;
            }
        }
        // Of several the first in the alphabet: it is to be the same one each time.
        let chosen = votes.iter().rev().max_by_key(|(_, votes)| **votes);
        chosen
            .and_then(|(name, _)| config.assignor(name))
            .unwrap_or_else(|| config.default_assignor())
    }

    /// Has the group decide anew if topics that its members want have come, gone or grown.
    pub(in crate::coordinator) fn refresh(&mut self, world: &World<'_>, changes: &mut Changes) {
        if self.members.is_empty() || self.assign_at.is_some() || self.seen == world.version {
            return;
        }
        self.seen = world.version;
        let (topics, _) = self.subscriptions(world);
        let known = |topic: &TopicSpec| (topic.id, topic.partitions);
        if !topics.iter().map(known).eq(self.target.topics().map(known)) {
            self.begin_epoch(world, changes);
        }
    }
}
