//! What a member and the coordinator of its group share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::coordinator::ids::{GroupId, MemberId};
use crate::env::Moment;
use crate::env::sync::Event;

/// In the place of a moment: there is none.
const NONE: u64 = u64::MAX;

/// One life of a member: from when it joins until it leaves, or is removed. As long as it exists the member lives:
/// within one process nobody has to send heartbeats.
pub(crate) struct MemberHandle {
    group: GroupId,
    member: MemberId,
    /// The coordinator has something to tell.
    summoned: AtomicBool,
    /// Notified then.
    arrived: Arc<Event>,
    /// Nanoseconds of the moment of the last poll; [`NONE`] while it waits in one.
    polled_at: AtomicU64,
    /// Nanoseconds of the moment at which the coordinator wanted it to ask, [`NONE`] if it has asked since then.
    wanted_at: AtomicU64,
}

impl MemberHandle {
    /// For a consumer that waits for `arrived`, and polls now.
    pub(crate) fn new(
        group: GroupId,
        member: MemberId,
        arrived: &Arc<Event>,
        now: Moment,
    ) -> Arc<Self> {
        let handle = Self {
            group,
            member,
            summoned: AtomicBool::new(false),
            arrived: Arc::clone(arrived),
            polled_at: AtomicU64::new(0),
            wanted_at: AtomicU64::new(NONE),
        };
        handle.polled(now);
        Arc::new(handle)
    }

    pub(crate) fn group(&self) -> &GroupId {
        &self.group
    }

    pub(crate) fn member(&self) -> &MemberId {
        &self.member
    }

    /// Takes note that the member is at it.
    pub(crate) fn polled(&self, now: Moment) {
        self.polled_at.store(nanos(now), Ordering::Relaxed);
    }

    /// The member waits in a poll: for however long that is, it is at it.
    pub(crate) fn waits(&self) {
        self.polled_at.store(NONE, Ordering::Relaxed);
    }

    /// When the member was last at it; `None` while it is.
    pub(super) fn polled_at(&self) -> Option<Moment> {
        moment(self.polled_at.load(Ordering::Relaxed))
    }

    /// The member is to ask, from `now` on. With the lock of its group held, as the two that follow.
    pub(super) fn is_wanted(&self, now: Moment) {
        if self.wanted_at().is_none() {
            self.wanted_at.store(nanos(now), Ordering::Relaxed);
        }
    }

    /// The member has asked.
    pub(super) fn has_asked(&self) {
        self.wanted_at.store(NONE, Ordering::Relaxed);
    }

    /// Since when the member is to ask; `None` if it has.
    pub(super) fn wanted_at(&self) -> Option<Moment> {
        moment(self.wanted_at.load(Ordering::Relaxed))
    }

    /// Whether the coordinator has something to tell: the member is to ask.
    pub(crate) fn is_summoned(&self) -> bool {
        self.summoned.load(Ordering::Acquire)
    }

    /// The member is about to ask: whoever summons it from now on has it ask again.
    pub(crate) fn answer_summons(&self) {
        self.summoned.swap(false, Ordering::AcqRel);
    }

    /// Has the member ask. Its waker is run: with no lock held.
    pub(super) fn summon(&self) {
        self.summoned.store(true, Ordering::Release);
        self.arrived.notify(usize::MAX);
    }
}

fn nanos(moment: Moment) -> u64 {
    u64::try_from(moment.as_duration().as_nanos()).unwrap_or(NONE - 1)
}

fn moment(nanos: u64) -> Option<Moment> {
    (nanos != NONE).then(|| Moment::since_start(Duration::from_nanos(nanos)))
}

impl fmt::Debug for MemberHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.member, self.group)
    }
}
