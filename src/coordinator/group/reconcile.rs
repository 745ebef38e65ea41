//! How a member comes from what it has to what it is to have.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::{Bug, is_planted};
use crate::coordinator::assignment::Assignment;
use crate::coordinator::error::GroupError;
use crate::coordinator::group::member::Member;
use crate::coordinator::group::{Changes, Group};
use crate::coordinator::handle::MemberHandle;
use crate::coordinator::ids::MemberId;
use crate::coordinator::records::{CoordinatorRecord, CurrentValue, MemberState};

/// What a member is told when it asks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Told {
    /// To which it has come.
    pub(crate) epoch: i32,
    /// What it reads from now on.
    pub(crate) assigned: Assignment,
    /// What it is to give up, and to say so then.
    pub(crate) revoking: Assignment,
    /// Which revocation that is: what has to be given up next has another number.
    pub(crate) revocation: u64,
    /// Nothing more is to come: it has all that it is to have.
    pub(crate) is_settled: bool,
}

impl Group {
    /// The member behind `handle`, if it is one still.
    pub(super) fn member(&self, handle: &Arc<MemberHandle>) -> Result<&Member, GroupError> {
        let member = self.members.get(handle.member()).filter(|member| member.is(handle));
        member.ok_or_else(|| self.unknown(handle))
    }

    fn unknown(&self, handle: &Arc<MemberHandle>) -> GroupError {
        let group = self.id.to_string();
        match self.fenced.get(handle.member()) {
            Some(instance) => {
                GroupError::FencedInstanceId { group, instance: instance.to_string() }
            }
            None => GroupError::UnknownMemberId { group, member: handle.member().to_string() },
        }
    }

    /// A member asks what is new. `released` is the revocation of which it has given up everything: there may be another
    /// one since.
    pub(in crate::coordinator) fn heartbeat(
        &mut self,
        handle: &Arc<MemberHandle>,
        released: Option<u64>,
        changes: &mut Changes,
    ) -> Result<Told, GroupError> {
        self.member(handle)?;
        let id = handle.member();
        if let Some(member) = self.members.get_mut(id) {
            member.has_released |=
                !member.revoking.is_empty() && released == Some(member.revocation);
        }
        self.reconcile(id, changes);
        Ok(self.told(id, changes))
    }

    /// What a member is told that asks.
    pub(super) fn told(&mut self, id: &MemberId, changes: &mut Changes) -> Told {
        // It hears all that there is by now.
        changes.summoned.retain(|summoned| summoned.member() != id);
        let (epoch, waits) = (self.target.epoch, self.assign_at.is_some());
        let Some(member) = self.members.get_mut(id) else { return Told::default() };
        member.handle.iter().for_each(|handle| handle.has_asked());
        member.knows_settled = !waits && member.epoch == epoch && member.is_settled();
        Told {
            epoch: member.epoch,
            assigned: member.assigned.clone(),
            revoking: member.revoking.clone(),
            revocation: member.revocation,
            is_settled: member.knows_settled,
        }
    }

    /// Takes a member as far towards its target as it can go by now, and gives it what it is to have, of which it is told.
    pub(super) fn reconcile(&mut self, id: &MemberId, changes: &mut Changes) {
        self.advance(id, true, changes);
    }

    /// The same, and gives it something only if it `asks`: as long as it has not been told, it may commit what it knew
    /// when it had the same before, and others have had it since.
    pub(super) fn advance(&mut self, id: &MemberId, asks: bool, changes: &mut Changes) {
        let (epoch, is_eager) = (self.target.epoch, self.target.is_eager);
        let Some(member) = self.members.get_mut(id) else { return };
        let before = (member.epoch, member.assigned.len(), member.revoking.len());
        let was_ready = member.is_ready(epoch);
        if member.has_released && member.commits == 0 {
            member.has_released = false;
            let released = std::mem::take(&mut member.revoking);
            self.free(&released, id, changes);
        }
        let Some(member) = self.members.get_mut(id) else { return };
        if member.revoking.is_empty() {
            let surplus = match is_eager && member.epoch != epoch {
                true => std::mem::take(&mut member.assigned),
                false => member.take_surplus(),
            };
            if member.handle.is_some() && !surplus.is_empty() {
                member.revoking = surplus.clone();
                member.revocation += 1;
                member.revoking_since = Some(changes.now);
                if is_planted(Bug::FreedBeforeGivenUp) {
                    self.free(&surplus, id, changes);
                }
            } else {
                member.comes_to(epoch);
                // Who is away reads nothing: it has given that up.
                self.free(&surplus, id, changes);
                if asks {
                    self.claim_missing(id);
                }
            }
        }
        let Some(member) = self.members.get(id) else { return };
        if before != (member.epoch, member.assigned.len(), member.revoking.len()) {
            let is_the_last = is_eager && !was_ready && member.is_ready(epoch);
            self.record_current(id, changes);
            if is_the_last {
                self.summon_if_all_are_ready(changes);
            }
        }
    }

    /// Gives a member what it is to have and nobody else has any more.
    fn claim_missing(&mut self, id: &MemberId) {
        if self.target.is_eager && !self.target.is_free {
            if !self.all_are_ready() {
                return;
            }
            self.target.is_free = true;
        }
        let Some(member) = self.members.get_mut(id) else { return };
        for (topic, partition) in member.target.difference(&member.assigned).iter() {
            if self.claims.owner(topic, partition).is_none() {
                self.claims.claim(topic, partition, id);
                member.assigned.insert(topic, partition);
            }
        }
    }

    /// Whether nobody has anything of an earlier epoch any more.
    pub(super) fn all_are_ready(&self) -> bool {
        let epoch = self.target.epoch;
        self.members.values().all(|member| member.is_ready(epoch))
    }

    pub(super) fn summon_if_all_are_ready(&mut self, changes: &mut Changes) {
        if self.all_are_ready() {
            let waiting = self.members.iter().filter(|(_, member)| !member.is_settled());
            let waiting = waiting.map(|(id, _)| id.clone()).collect();
            self.have_ask(waiting, changes);
        }
    }

    /// Takes partitions from a member. Those who are to have them are summoned.
    pub(super) fn free(&mut self, freed: &Assignment, from: &MemberId, changes: &mut Changes) {
        let mut next = BTreeSet::new();
        for (topic, partition) in freed.iter() {
            self.claims.give_up(topic, partition, from);
            let owner = self.target.owner(topic, partition).filter(|owner| *owner != from);
            next.extend(owner.cloned());
        }
        self.have_ask(next, changes);
    }

    /// Summons members. Who is away is seen to without being asked.
    fn have_ask(&mut self, members: BTreeSet<MemberId>, changes: &mut Changes) {
        for id in members {
            match self.members.get(&id) {
                Some(Member { handle: Some(handle), .. }) => changes.summon(Some(handle)),
                Some(_) => self.reconcile(&id, changes),
                None => {}
            }
        }
    }

    /// There is a new target, which for some is other than it was.
    pub(super) fn target_changed(&mut self, changed: &BTreeSet<MemberId>, changes: &mut Changes) {
        let (epoch, is_eager) = (self.target.epoch, self.target.is_eager);
        let mut away = Vec::new();
        for (id, member) in &mut self.members {
            let has_nothing = member.assigned.is_empty() && member.revoking.is_empty();
            if member.handle.is_none() {
                away.push(id.clone());
            } else if (is_eager && has_nothing) || (!is_eager && member.is_settled()) {
                // It has nothing to do, and may have to know that.
                member.comes_to(epoch);
                if member.knows_settled != member.is_settled() {
                    changes.summon(member.handle.as_ref());
                }
            } else if is_eager || changed.contains(id) {
                changes.summon(member.handle.as_ref());
            }
        }
        // Who is away reads nothing: what others are to have is free at once.
        away.iter().for_each(|id| self.reconcile(id, changes));
        if is_eager {
            self.summon_if_all_are_ready(changes);
        }
    }

    pub(super) fn record_current(&mut self, id: &MemberId, changes: &mut Changes) {
        if self.is_classic() {
            self.record_generation(changes);
            return;
        }
        let Some(member) = self.members.get(id) else { return };
        let state = match () {
            () if !member.revoking.is_empty() => MemberState::Unrevoked,
            () if member.is_settled() => MemberState::Stable,
            () => MemberState::Unreleased,
        };
        let value = Some(CurrentValue {
            epoch: if member.handle.is_some() { member.epoch } else { AWAY },
            previous_epoch: member.previous_epoch,
            state,
            assigned: member.assigned.clone(),
            revoking: member.revoking.clone(),
        });
        let (group, member) = (self.id.clone(), id.clone());
        changes.record(CoordinatorRecord::CurrentAssignment { group, member, value });
    }
}

/// Epoch of a static member that is away, in the log.
const AWAY: i32 = -2;

impl Member {
    /// Has nothing of an epoch before this one.
    fn is_ready(&self, epoch: i32) -> bool {
        self.epoch == epoch && self.revoking.is_empty()
    }

    /// What it has and is not to have.
    fn take_surplus(&mut self) -> Assignment {
        let surplus = self.assigned.difference(&self.target);
        if !surplus.is_empty() {
            // All at once: it may be nearly all of very many.
            self.assigned = self.assigned.difference(&surplus);
        }
        surplus
    }
}
