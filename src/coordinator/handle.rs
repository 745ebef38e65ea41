//! What a member and the coordinator of its group share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crate::coordinator::ids::{GroupId, MemberId};
use crate::env::Moment;
use crate::env::sync::Event;

/// In the place of a moment: there is none.
const NONE: u64 = u64::MAX;

/// How a member has left: not at all, to come back perhaps, for good.
const LIVES: u8 = 0;
const AWAY: u8 = 1;
const FOR_GOOD: u8 = 2;

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
    /// Whether the coordinator knows or not: there may be none at the moment.
    left: AtomicU8,
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
            left: AtomicU8::new(LIVES),
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

    /// The member leaves. Returns whether the coordinator has to be told: what goes for good does not come back by leaving
    /// once more.
    pub(super) fn leaves(&self, for_good: bool) -> bool {
        let how = if for_good { FOR_GOOD } else { AWAY };
        self.left.fetch_max(how, Ordering::AcqRel) < how
    }

    pub(super) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire) != LIVES
    }

    pub(super) fn has_left_for_good(&self) -> bool {
        self.left.load(Ordering::Acquire) == FOR_GOOD
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
