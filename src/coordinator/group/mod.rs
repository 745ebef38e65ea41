//! One group: its members, who is to read which partition, who does, and how far all have come.
//!
//! A state machine without clocks, threads or files. What it is asked for comes with a [`World`]; what comes of it goes
//! into [`Changes`]: records for the log, and members that are to ask what is new.
//!
//! # How partitions move (KIP-848)
//! 1. Members, subscriptions or topics change: the *group epoch* rises, and the assignor says who is to have what, the
//!    *target*.
//! 2. Each member that is concerned is summoned. When it asks, it is told to give up what others are to have, and
//!    nothing else ([`reconcile`](Group::reconcile)).
//! 3. When it has given that up, it comes to the target epoch and gets what is free by then. The others are summoned
//!    when the rest is.
//!
//! Nobody waits for anybody who is not concerned. Groups of the classic protocol whose assignor is not cooperative do:
//! there each member gives up all, and gets nothing before every other has done so.
//!
//! # Invariants
//! - A partition is with one member at most: with who was given it, until that one says that it has given it up, leaves
//!   or is removed. Offsets that a member has committed by then are committed before somebody else is given it.
//! - Epochs rise. What a member has, it has in the epoch in which it was told so.

mod changes;
mod claims;
mod classic;
mod describe;
mod member;
mod membership;
mod offsets;
mod reconcile;
mod replay;
mod retention;
mod target;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::base::Timestamp;
use crate::coordinator::ids::{GroupId, InstanceId, MemberId};
use crate::env::Moment;

use claims::Claims;
use member::Member;
use target::Target;

pub(super) use changes::Changes;
pub(crate) use describe::DescribedMember;
pub use describe::{GroupProtocol, GroupState};
pub(super) use member::JoinRequest;
pub(crate) use offsets::Commit;
pub(crate) use offsets::Committed;
pub(super) use offsets::Pending;
pub(crate) use reconcile::Told;
pub(super) use target::World;

/// A group.
#[derive(Debug)]
pub(super) struct Group {
    id: GroupId,
    /// Of its members, or of the last that it had. `None` for a group that has never had any.
    protocol: Option<GroupProtocol>,
    /// Rises whenever who is to have what is decided anew.
    epoch: i32,
    members: BTreeMap<MemberId, Member>,
    instances: BTreeMap<InstanceId, MemberId>,
    /// Members whose instance lives on in another, and who may not know yet.
    fenced: BTreeMap<MemberId, InstanceId>,
    target: Target,
    /// The version of the metadata in which it was decided.
    seen: u64,
    /// When the first target of a new group is to be, if it waits for more members.
    assign_at: Option<Moment>,
    claims: Claims,
    offsets: offsets::Offsets,
    /// Since when it has had no members.
    empty_since: Option<Timestamp>,
    /// The epoch of the last record of a classic group.
    recorded_generation: i32,
    /// Members of which the log knows.
    logged: replay::Logged,
}

impl Group {
    pub(super) fn new(id: GroupId) -> Self {
        Self {
            id,
            protocol: None,
            epoch: 0,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            fenced: BTreeMap::new(),
            target: Target::default(),
            seen: 0,
            assign_at: None,
            claims: Claims::default(),
            offsets: offsets::Offsets::default(),
            empty_since: None,
            recorded_generation: 0,
            logged: replay::Logged::default(),
        }
    }

    pub(super) fn has_members(&self) -> bool {
        !self.members.is_empty()
    }

    pub(super) fn has_member(&self, id: &MemberId) -> bool {
        self.members.contains_key(id)
    }

    pub(super) fn protocol(&self) -> Option<GroupProtocol> {
        self.protocol
    }

    fn is_classic(&self) -> bool {
        self.protocol == Some(GroupProtocol::Classic)
    }
}
