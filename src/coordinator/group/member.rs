//! A member of a group.

use std::sync::Arc;
use std::time::Duration;

use crate::coordinator::assignment::Assignment;
use crate::coordinator::group::GroupProtocol;
use crate::coordinator::handle::MemberHandle;
use crate::coordinator::ids::{InstanceId, ShortText};
use crate::coordinator::records::MemberValue;
use crate::coordinator::subscription::Subscribed;
use crate::env::Moment;

/// What somebody who wants to be a member says.
#[derive(Clone, Debug)]
pub(in crate::coordinator) struct JoinRequest {
    pub(in crate::coordinator) protocol: GroupProtocol,
    pub(in crate::coordinator) subscribed: Subscribed,
    pub(in crate::coordinator) instance: Option<InstanceId>,
    pub(in crate::coordinator) client_id: ShortText,
    pub(in crate::coordinator) rack: Option<ShortText>,
    /// By name, the preferred first. None: whatever the group has.
    pub(in crate::coordinator) assignors: Vec<ShortText>,
    /// Longest between two polls.
    pub(in crate::coordinator) max_poll_interval: Duration,
    /// How long a static member may be away.
    pub(in crate::coordinator) session_timeout: Duration,
}

/// How a member goes, as soon as its commits are done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Going {
    /// A static one, that may come back.
    Away,
    ForGood,
    /// Another has its place already, and waits for what it has.
    Succeeded,
}

/// A member of a group.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) wants: JoinRequest,
    /// `None` while a static member is away.
    pub(super) handle: Option<Arc<MemberHandle>>,
    /// Since when a static member is away, or about to be.
    pub(super) away_since: Option<Moment>,
    /// Of the target to which it has come.
    pub(super) epoch: i32,
    pub(super) previous_epoch: i32,
    /// What it reads.
    pub(super) assigned: Assignment,
    /// What it has to give up, and has not.
    pub(super) revoking: Assignment,
    /// Tells what it has to give up from what it had to before.
    pub(super) revocation: u64,
    /// Since when it has had to give up what it was last told to.
    pub(super) revoking_since: Option<Moment>,
    /// What it is to have.
    pub(super) target: Assignment,
    /// Commits of its that are not in the log for good.
    pub(super) commits: usize,
    /// It has given up what it had to, as soon as its commits are done.
    pub(super) has_released: bool,
    pub(super) going: Option<Going>,
    /// It was told that it has all that it is to have.
    pub(super) knows_settled: bool,
}

impl Member {
    pub(super) fn new(wants: JoinRequest, handle: Arc<MemberHandle>) -> Self {
        Self {
            wants,
            handle: Some(handle),
            away_since: None,
            epoch: 0,
            previous_epoch: -1,
            assigned: Assignment::default(),
            revoking: Assignment::default(),
            revocation: 0,
            revoking_since: None,
            target: Assignment::default(),
            commits: 0,
            has_released: false,
            going: None,
            knows_settled: false,
        }
    }

    pub(super) fn is(&self, handle: &Arc<MemberHandle>) -> bool {
        self.handle.as_ref().is_some_and(|own| Arc::ptr_eq(own, handle))
    }

    /// Has all that it is to have, and nothing else.
    pub(super) fn is_settled(&self) -> bool {
        self.revoking.is_empty() && self.assigned == self.target
    }

    pub(super) fn comes_to(&mut self, epoch: i32) {
        if self.epoch != epoch {
            (self.previous_epoch, self.epoch) = (self.epoch, epoch);
        }
    }

    /// When it is removed if it does not poll, answer, give up what it has to, or come back, before.
    pub(super) fn expires_at(&self) -> Option<Moment> {
        match (&self.handle, self.away_since) {
            (_, Some(since)) => since.after(self.wants.session_timeout),
            (Some(handle), None) => {
                // Who waits in a poll is at it, unless it does not answer: nobody may have its task run any more.
                let idle_since = handle.polled_at().or_else(|| handle.wanted_at());
                let owes = !self.revoking.is_empty() && !self.has_released;
                let owes_since = self.revoking_since.filter(|_| owes);
                let since = [idle_since, owes_since].into_iter().flatten().min();
                since?.after(self.wants.max_poll_interval)
            }
            (None, None) => None,
        }
    }

    /// When to look whether it is to be removed: of a member that waits in a poll, as if it had stopped to wait by `now`.
    pub(super) fn look_at(&self, now: Moment) -> Option<Moment> {
        let waits = |handle: &Arc<MemberHandle>| handle.polled_at().is_none();
        let is_there = self.away_since.is_none();
        let stops_now = is_there && self.handle.as_ref().is_some_and(waits);
        let if_stopped = if stops_now { now.after(self.wants.max_poll_interval) } else { None };
        [if_stopped, self.expires_at()].into_iter().flatten().min()
    }

    /// There was nobody whom it could answer until now.
    pub(super) fn is_heard_from(&mut self, now: Moment) {
        if let Some(handle) = self.handle.as_ref().filter(|handle| handle.wanted_at().is_some()) {
            handle.has_asked();
            handle.is_wanted(now);
        }
        self.revoking_since = self.revoking_since.map(|_| now);
    }

    pub(super) fn record(&self) -> MemberValue {
        MemberValue {
            instance: self.wants.instance.clone(),
            rack: self.wants.rack.clone(),
            client_id: self.wants.client_id.clone(),
            client_host: ShortText::default(),
            topics: self.wants.subscribed.names.clone(),
            topic_regex: self.wants.subscribed.pattern().cloned(),
            rebalance_timeout: whole_millis(self.wants.max_poll_interval),
            assignor: self.wants.assignors.first().cloned(),
        }
    }
}

/// As much of it as Kafka's records can hold.
pub(super) fn whole_millis(duration: Duration) -> Duration {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(millis.min(u64::from(i32::MAX.unsigned_abs())))
}
