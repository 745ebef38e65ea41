//! A group as its records say, and what becomes of it when another broker, or another process, reads them.

use std::collections::BTreeSet;

use crate::coordinator::group::{Changes, Group, GroupProtocol, World};
use crate::coordinator::ids::MemberId;
use crate::coordinator::records::CoordinatorRecord;

/// Members of which the log knows, whether they live or not.
#[derive(Debug, Default)]
pub(super) struct Logged(BTreeSet<MemberId>);

impl Logged {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Group {
    /// Takes in a record of the log, in the log's order.
    pub(in crate::coordinator) fn replay(&mut self, record: CoordinatorRecord) {
        match record {
            CoordinatorRecord::Offset { .. } => self.applied(record),
            CoordinatorRecord::ClassicGroup { value: Some(value), .. } => {
                self.protocol =
                    (!value.protocol_type.as_str().is_empty()).then_some(GroupProtocol::Classic);
                self.epoch = self.epoch.max(value.generation);
                self.recorded_generation = value.generation;
                self.empty_since = value.state_changed_at.filter(|_| value.members.is_empty());
                self.logged = Logged(value.members.into_iter().map(|member| member.id).collect());
            }
            CoordinatorRecord::GroupEpoch { value: Some(value), .. } => {
                self.protocol = Some(GroupProtocol::Consumer);
                self.epoch = self.epoch.max(value.epoch);
            }
            CoordinatorRecord::ClassicGroup { value: None, .. }
            | CoordinatorRecord::GroupEpoch { value: None, .. } => {
                self.protocol = None;
                self.empty_since = None;
                self.logged = Logged::default();
            }
            CoordinatorRecord::Member { member, value, .. } => match value {
                Some(_) => _ = self.logged.0.insert(member),
                None => _ = self.logged.0.remove(&member),
            },
            // What members have, those that live know best.
            CoordinatorRecord::TargetEpoch { .. }
            | CoordinatorRecord::TargetAssignment { .. }
            | CoordinatorRecord::CurrentAssignment { .. } => {}
        }
    }

    /// The log was read. Members that live are those that `before`, as it was in memory until now, has; others that the
    /// log knows of are of an earlier process, and gone.
    pub(in crate::coordinator) fn adopt(
        &mut self,
        before: Option<Self>,
        world: &World<'_>,
        changes: &mut Changes,
    ) {
        let logged = std::mem::take(&mut self.logged.0);
        if let Some(before) = before {
            self.protocol = before.protocol.or(self.protocol);
            self.epoch = self.epoch.max(before.epoch);
            self.empty_since = self.empty_since.or(before.empty_since);
            self.members = before.members;
            self.members.values_mut().for_each(|member| member.is_heard_from(world.now));
            self.instances = before.instances;
            self.fenced = before.fenced;
            self.target = before.target;
            self.claims = before.claims;
            self.assign_at = before.assign_at;
            self.seen = before.seen;
        }
        // Whose commits were under way has been told that they failed, or is about to be.
        for id in logged.iter().filter(|id| !self.members.contains_key(*id)) {
            self.record_gone(id, changes);
        }
        if self.has_members() {
            self.empty_since = None;
            self.record_all(changes);
        } else if !logged.is_empty() {
            self.empty_since = Some(world.wall_clock);
            self.begin_epoch(world, changes);
            self.record_generation(changes);
        }
    }

    /// What the log may have lost with the broker that led it. Who has what is as it was.
    fn record_all(&mut self, changes: &mut Changes) {
        self.record_epoch(changes);
        let all = self.members.keys().cloned().collect::<BTreeSet<_>>();
        for id in &all {
            self.record_member(id, changes);
        }
        self.record_target(&all, changes);
        for id in &all {
            self.record_current(id, changes);
        }
    }
}
