//! Members come and go.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::coordinator::error::GroupError;
use crate::coordinator::group::member::{Going, Member};
use crate::coordinator::group::{Changes, Group, GroupProtocol, JoinRequest, Told, World};
use crate::coordinator::handle::MemberHandle;
use crate::coordinator::ids::MemberId;
use crate::coordinator::records::CoordinatorRecord;
use crate::coordinator::subscription::Subscribed;
use crate::env::Moment;

impl Group {
    /// Somebody wants to be a member.
    pub(in crate::coordinator) fn join(
        &mut self,
        handle: &Arc<MemberHandle>,
        wants: JoinRequest,
        world: &World<'_>,
        changes: &mut Changes,
    ) -> Result<Told, GroupError> {
        self.check_join(&wants, world)?;
        self.let_go_before(&wants, world, changes);
        let holder = wants.instance.as_ref().and_then(|instance| self.instances.get(instance));
        if let Some(holder) = holder.cloned() {
            self.take_over(&holder, handle, wants, world, changes)?;
        } else {
            self.add(handle, wants, world, changes);
        }
        self.reconcile(handle.member(), changes);
        Ok(self.told(handle.member(), changes))
    }

    /// A static member that has left while there was no coordinator to hear of it, has so before it is back.
    fn let_go_before(&mut self, wants: &JoinRequest, world: &World<'_>, changes: &mut Changes) {
        let holder = wants.instance.as_ref().and_then(|instance| self.instances.get(instance));
        let holder = holder.and_then(|holder| self.members.get(holder)?.handle.clone());
        if let Some(holder) = holder.filter(|holder| holder.has_left()) {
            self.leave(&holder, world, changes);
        }
    }

    fn check_join(&self, wants: &JoinRequest, world: &World<'_>) -> Result<(), GroupError> {
        let group = || self.id.to_string();
        let config = world.config;
        if self.has_members() && self.protocol != Some(wants.protocol) {
            return Err(GroupError::OtherProtocol { group: group() });
        }
        for name in &wants.assignors {
            if config.assignor(name.as_str()).is_none() {
                let (name, known) = (name.to_string(), config.assignor_names());
                return Err(GroupError::UnsupportedAssignor { name, known });
            }
        }
        let is_back = wants.instance.as_ref().is_some_and(|id| self.instances.contains_key(id));
        let (max, setting) = config.max_size(wants.protocol);
        if self.members.len() >= max && !is_back {
            return Err(GroupError::GroupMaxSizeReached { group: group(), max, setting });
        }
        if wants.protocol == GroupProtocol::Classic {
            let (timeout, range) = (wants.session_timeout, &config.session_timeouts);
            if !range.contains(&timeout) {
                return Err(GroupError::InvalidSessionTimeout {
                    timeout_ms: timeout.as_millis(),
                    min_ms: range.start().as_millis(),
                    max_ms: range.end().as_millis(),
                });
            }
            let is_common = |name| self.members.values().all(|m| m.wants.assignors.contains(name));
            if !wants.assignors.iter().any(is_common) {
                let names = wants.assignors.iter().map(|name| name.as_str()).collect::<Vec<_>>();
                let strategies = names.join(",");
                return Err(GroupError::NoCommonStrategy { group: group(), strategies });
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        handle: &Arc<MemberHandle>,
        wants: JoinRequest,
        world: &World<'_>,
        changes: &mut Changes,
    ) {
        if !self.has_members() {
            self.begin_life(wants.protocol, world, changes);
        }
        let id = handle.member().clone();
        if let Some(instance) = &wants.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.members.insert(id.clone(), Member::new(wants, Arc::clone(handle)));
        self.record_member(&id, changes);
        self.begin_epoch(world, changes);
    }

    /// The first member since long, or ever.
    fn begin_life(&mut self, protocol: GroupProtocol, world: &World<'_>, changes: &mut Changes) {
        if self.protocol.is_some_and(|before| before != protocol) {
            self.end(changes);
        }
        self.protocol = Some(protocol);
        self.empty_since = None;
        let delay = world.config.initial_delay;
        self.assign_at = if delay.is_zero() { None } else { world.now.after(delay) };
    }

    /// A static member is back, or another of the same name comes in its place.
    fn take_over(
        &mut self,
        holder: &MemberId,
        handle: &Arc<MemberHandle>,
        wants: JoinRequest,
        world: &World<'_>,
        changes: &mut Changes,
    ) -> Result<(), GroupError> {
        let instance = wants.instance.clone();
        let instance_name = || instance.as_ref().map(ToString::to_string).unwrap_or_default();
        let held = self.members.get(holder).filter(|member| member.handle.is_some());
        if held.is_some_and(|member| member.going.is_some()) {
            self.succeed(holder, handle, wants, world, changes);
            return Ok(());
        }
        if held.is_some() && wants.protocol == GroupProtocol::Consumer {
            let (group, instance) = (self.id.to_string(), instance_name());
            return Err(GroupError::UnreleasedInstanceId { group, instance });
        }
        let Some(mut member) = self.members.remove(holder) else { return Ok(()) };
        let id = handle.member().clone();
        if let Some(fenced) = &member.handle {
            changes.summon(Some(fenced));
            if let Some(instance) = &instance {
                self.fenced.insert(holder.clone(), instance.clone());
            }
            // It may not know yet, and whoever has its place is not to wait for it.
            let given_up = std::mem::take(&mut member.revoking);
            self.free(&given_up, holder, changes);
        }
        // Of its earlier life: whoever has its place is not told when they are done.
        (member.commits, member.has_released) = (0, false);
        for (topic, partition) in member.assigned.iter() {
            self.claims.pass_on(topic, partition, &id);
        }
        self.target.rename(holder, &id);
        self.record_gone(holder, changes);
        let wants_the_same = member.wants.subscribed == wants.subscribed
            && member.wants.assignors == wants.assignors;
        member.wants = wants;
        member.handle = Some(Arc::clone(handle));
        member.away_since = None;
        self.members.insert(id.clone(), member);
        if let Some(instance) = instance {
            self.instances.insert(instance, id.clone());
        }
        self.record_member(&id, changes);
        self.record_target(&BTreeSet::from([id.clone()]), changes);
        if wants_the_same {
            self.record_current(&id, changes);
        } else {
            self.begin_epoch(world, changes);
        }
        Ok(())
    }

    /// A static member is back before its commits of before are done. It has its place at once, and what it had as soon as
    /// they are: it is to go on behind them.
    fn succeed(
        &mut self,
        holder: &MemberId,
        handle: &Arc<MemberHandle>,
        wants: JoinRequest,
        world: &World<'_>,
        changes: &mut Changes,
    ) {
        let id = handle.member().clone();
        let Some(before) = self.members.get_mut(holder) else { return };
        let wants_the_same = before.wants.subscribed == wants.subscribed
            && before.wants.assignors == wants.assignors;
        let instance = before.wants.instance.take();
        before.wants.subscribed = Subscribed::default();
        before.going = Some(Going::Succeeded);
        let mut member = Member::new(wants, Arc::clone(handle));
        member.target = std::mem::take(&mut before.target);
        (member.epoch, member.previous_epoch) = (before.epoch, before.previous_epoch);
        self.target.rename(holder, &id);
        self.members.insert(id.clone(), member);
        if let Some(instance) = instance {
            self.instances.insert(instance, id.clone());
        }
        self.record_member(&id, changes);
        self.record_target(&BTreeSet::from([id.clone()]), changes);
        self.record_current(&id, changes);
        if !wants_the_same {
            self.begin_epoch(world, changes);
        }
    }

    /// A member wants other topics.
    pub(in crate::coordinator) fn resubscribe(
        &mut self,
        handle: &Arc<MemberHandle>,
        subscribed: Subscribed,
        world: &World<'_>,
        changes: &mut Changes,
    ) -> Result<Told, GroupError> {
        self.member(handle)?;
        let id = handle.member();
        if let Some(member) = self.members.get_mut(id)
            && member.wants.subscribed != subscribed
        {
            member.wants.subscribed = subscribed;
            self.record_member(id, changes);
            self.begin_epoch(world, changes);
        }
        self.reconcile(id, changes);
        Ok(self.told(id, changes))
    }

    /// A member goes. A static one may come back, unless it goes for good.
    pub(in crate::coordinator) fn leave(
        &mut self,
        handle: &Arc<MemberHandle>,
        world: &World<'_>,
        changes: &mut Changes,
    ) {
        let id = handle.member();
        if self.member(handle).is_err() {
            self.fenced.remove(id);
            return;
        }
        let Some(member) = self.members.get_mut(id) else { return };
        if member.going.is_none() {
            member.going = Some(Going::ForGood);
            if member.wants.instance.is_some() && !handle.has_left_for_good() {
                (member.going, member.away_since) = (Some(Going::Away), Some(world.now));
            }
        }
        if member.commits == 0 {
            self.go(id, world, changes);
        }
    }

    /// The commits of a member that goes are done.
    fn go(&mut self, id: &MemberId, world: &World<'_>, changes: &mut Changes) {
        match self.members.get(id).and_then(|member| member.going) {
            Some(Going::Away) => self.step_out(id, changes),
            Some(Going::ForGood) => self.remove(id, world, changes),
            Some(Going::Succeeded) => {
                self.take_out(id, changes);
                // It may have been the last for whom others waited.
                if self.target.is_eager {
                    self.summon_if_all_are_ready(changes);
                }
                self.record_generation(changes);
            }
            None => {}
        }
    }

    fn step_out(&mut self, id: &MemberId, changes: &mut Changes) {
        let Some(member) = self.members.get_mut(id) else { return };
        (member.handle, member.going, member.has_released) = (None, None, false);
        // It reads nothing any more.
        let given_up = std::mem::take(&mut member.revoking);
        self.free(&given_up, id, changes);
        self.reconcile(id, changes);
        self.record_current(id, changes);
    }

    /// Removes a member. If it lives, it will find out.
    pub(in crate::coordinator) fn remove(
        &mut self,
        id: &MemberId,
        world: &World<'_>,
        changes: &mut Changes,
    ) {
        self.remove_all(std::slice::from_ref(id), world, changes);
    }

    /// Removes those of these members that there are, in one epoch.
    fn remove_all(&mut self, ids: &[MemberId], world: &World<'_>, changes: &mut Changes) {
        let before = self.members.len();
        ids.iter().for_each(|id| self.take_out(id, changes));
        if self.members.len() == before {
            return;
        }
        if self.members.is_empty() {
            self.empty_since = Some(world.wall_clock);
            self.assign_at = None;
            self.fenced.clear();
        }
        self.begin_epoch(world, changes);
        self.record_generation(changes);
    }

    fn take_out(&mut self, id: &MemberId, changes: &mut Changes) {
        let Some(member) = self.members.remove(id) else { return };
        changes.summon(member.handle.as_ref());
        if let Some(instance) = &member.wants.instance {
            self.instances.remove(instance);
        }
        self.free(&member.assigned, id, changes);
        self.free(&member.revoking, id, changes);
        self.record_gone(id, changes);
    }

    /// Does what was to be done by now: removes members that have not polled for too long, or not come back, and makes the
    /// first target of a group that has waited for members.
    pub(in crate::coordinator) fn tick(&mut self, world: &World<'_>, changes: &mut Changes) {
        let expired = self
            .members
            .iter()
            .filter(|(_, member)| member.expires_at().is_some_and(|at| at <= world.now));
        let expired = expired.map(|(id, _)| id.clone()).collect::<Vec<_>>();
        for id in &expired {
            log::warn!(
                "{id} is no member of {} any more: it has not polled for longer than max.poll.interval.ms, or not come back within session.timeout.ms",
                self.id
            );
        }
        let has_waited = self.assign_at.is_some_and(|at| at <= world.now);
        if has_waited {
            self.assign_at = None;
        }
        if !expired.is_empty() {
            self.remove_all(&expired, world, changes);
        } else if has_waited {
            self.begin_epoch(world, changes);
        }
    }

    /// When there may be something to do next.
    pub(in crate::coordinator) fn next_tick(&self, now: Moment) -> Option<Moment> {
        let expiries = self.members.values().filter_map(|member| member.look_at(now));
        expiries.chain(self.assign_at).min()
    }

    /// A member begins a commit: what it gives up, or leaves behind, is not given to others before that is done.
    pub(in crate::coordinator) fn commit_begins(&mut self, handle: &Arc<MemberHandle>) {
        if self.member(handle).is_ok()
            && let Some(member) = self.members.get_mut(handle.member())
        {
            member.commits += 1;
        }
    }

    pub(in crate::coordinator) fn commit_ends(
        &mut self,
        handle: &Arc<MemberHandle>,
        world: &World<'_>,
        changes: &mut Changes,
    ) {
        let id = handle.member();
        let Some(member) = self.members.get_mut(id).filter(|member| member.is(handle)) else {
            return;
        };
        member.commits = member.commits.saturating_sub(1);
        if member.commits > 0 {
            return;
        }
        if member.going.is_some() {
            self.go(id, world, changes);
        } else if member.has_released {
            self.advance(id, false, changes);
            // It was told what was so before.
            changes.summon(Some(handle));
        }
    }

    pub(super) fn record_member(&self, id: &MemberId, changes: &mut Changes) {
        if self.is_classic() {
            return;
        }
        if let Some(member) = self.members.get(id) {
            let (group, value) = (self.id.clone(), Some(member.record()));
            changes.record(CoordinatorRecord::Member { group, member: id.clone(), value });
        }
    }

    pub(super) fn record_gone(&self, id: &MemberId, changes: &mut Changes) {
        if self.is_classic() {
            return;
        }
        let (group, member) = (self.id.clone(), id.clone());
        changes.record(CoordinatorRecord::CurrentAssignment {
            group: group.clone(),
            member: member.clone(),
            value: None,
        });
        changes.record(CoordinatorRecord::TargetAssignment {
            group: group.clone(),
            member: member.clone(),
            value: None,
        });
        changes.record(CoordinatorRecord::Member { group, member, value: None });
    }

    /// The group is no more, or no more of its protocol.
    pub(super) fn end(&mut self, changes: &mut Changes) {
        let group = || self.id.clone();
        match self.protocol.take() {
            Some(GroupProtocol::Classic) => {
                changes.record(CoordinatorRecord::ClassicGroup { group: group(), value: None });
            }
            Some(GroupProtocol::Consumer) => {
                changes.record(CoordinatorRecord::TargetEpoch { group: group(), value: None });
                changes.record(CoordinatorRecord::GroupEpoch { group: group(), value: None });
            }
            None => {}
        }
    }
}
