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

/// A member of a group.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) wants: JoinRequest,
    /// `None` while a static member is away.
    pub(super) handle: Option<Arc<MemberHandle>>,
    pub(super) away_since: Option<Moment>,
    /// Of the target to which it has come.
    pub(super) epoch: i32,
    pub(super) previous_epoch: i32,
    /// What it reads.
    pub(super) assigned: Assignment,
    /// What it has to give up, and has not.
    pub(super) revoking: Assignment,
    /// What it is to have.
    pub(super) target: Assignment,
    /// Commits of its that are not in the log for good.
    pub(super) commits: usize,
    /// It has given up what it had to, as soon as its commits are done.
    pub(super) has_released: bool,
    /// It goes, as soon as its commits are done.
    pub(super) is_leaving: bool,
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
            target: Assignment::default(),
            commits: 0,
            has_released: false,
            is_leaving: false,
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

    /// When it is removed if it does not poll, or come back, before.
    pub(super) fn expires_at(&self) -> Option<Moment> {
        match (&self.handle, self.away_since) {
            (Some(handle), _) => handle.polled_at().after(self.wants.max_poll_interval),
            (None, Some(since)) => since.after(self.wants.session_timeout),
            (None, None) => None,
        }
    }

    /// When to look at it next: who waits in a poll at `now` may not come back to the next.
    pub(super) fn look_at(&self, now: Moment) -> Option<Moment> {
        let limit = self.handle.as_ref().and_then(|_| now.after(self.wants.max_poll_interval));
        [self.expires_at(), limit].into_iter().flatten().min()
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
