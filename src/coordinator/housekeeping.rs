//! What groups have done without being asked: members that do not come back are removed, old offsets forgotten.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::cluster::{Core, Drive, InternalTopic, MetadataListener};
use crate::coordinator::coordinator::GroupCoordinator;
use crate::coordinator::error::GroupError;
use crate::coordinator::handle::MemberHandle;
use crate::coordinator::ids::GroupId;
use crate::coordinator::wall_clock::WallClock;
use crate::env::Moment;
use crate::env::sync::Mutex;

/// Time between two tries of what could not be done, since the group had no coordinator.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// The end of time, at which background work is asked to be done with.
const END: Moment = Moment::since_start(Duration::MAX);

/// What was asked for and is not done yet.
#[derive(Debug, Default)]
pub(super) struct Housekeeping {
    /// Nanoseconds of the moment of the next look at members, less than one for none.
    alarm: AtomicU64,
    /// Topics have changed since groups were last told.
    refreshing: AtomicBool,
    /// Old offsets are looked for.
    looks_after_offsets: AtomicBool,
}

impl GroupCoordinator {
    /// Sees to it that members of `group` which do not poll, or do not come back, are removed in time.
    pub(super) fn set_alarm(&self, group: &GroupId) {
        if let Ok(Some(Some(at))) = self.next_tick(group) {
            self.wake_at(at);
        }
    }

    fn wake_at(&self, at: Moment) {
        let nanos = u64::try_from(at.as_duration().as_nanos()).unwrap_or(u64::MAX).max(1);
        let alarm = &self.housekeeping.alarm;
        let is_sooner = |set: u64| (set == 0 || nanos < set).then_some(nanos);
        if alarm.fetch_update(Ordering::AcqRel, Ordering::Acquire, is_sooner).is_ok() {
            self.worker.submit(Arc::new(Tick(Weak::clone(&self.me))), Some(at));
        }
    }

    /// Looks at all members. Returns when to look again.
    fn tick(&self) -> Option<Moment> {
        let core = self.core().ok()?;
        let topic = core.internal_topic(InternalTopic::ConsumerOffsets)?;
        let mut next = None;
        for shard in self.shards() {
            let ticked = self.ask(&core, &topic, &shard, |groups, world, changes| {
                groups.iter_mut().for_each(|group| group.tick(world, changes));
                Ok(groups.iter().filter_map(|(_, group)| group.next_tick(world.now)).min())
            });
            let of_shard = match ticked {
                Ok(of_shard) => of_shard,
                Err(error) if error.is_passing() => core.runtime().now().after(TRY_AGAIN),
                Err(_) => None,
            };
            next = [next, of_shard].into_iter().flatten().min();
        }
        next
    }

    /// A member that could not leave, since its group has no coordinator at the moment, does so as soon as there is one.
    pub(super) fn leave_later(&self, handle: &Arc<MemberHandle>, why: &GroupError) {
        log::debug!("{handle:?} leaves later: {why}");
        let handle = Arc::clone(handle);
        let at = self.core.upgrade().and_then(|core| core.runtime().now().after(TRY_AGAIN));
        let leave = Leave { coordinator: Weak::clone(&self.me), handle };
        self.worker.submit(Arc::new(leave), at);
    }

    /// Has offsets forgotten that are too old, every now and then.
    pub(super) fn look_after_offsets(&self, core: &Core) {
        if !self.housekeeping.looks_after_offsets.swap(true, Ordering::AcqRel) {
            let at = core.runtime().now().after(self.config.retention_check_interval);
            let wall_clock = Mutex::new(WallClock::of(&**core.runtime()));
            let retention = Retention { coordinator: Weak::clone(&self.me), wall_clock };
            self.worker.submit(Arc::new(retention), at);
        }
    }

    /// Forgets offsets that are too old, in all groups, unless the wall clock has been set since `before`: then nobody knows
    /// how old they are. Waits for nobody: members are looked after by the same thread.
    pub(super) fn expire_offsets(&self, before: WallClock) -> Result<(), GroupError> {
        let written = self.write_in_all(|groups, world, changes| {
            let now = WallClock { at: world.now, shows: world.wall_clock };
            if before.jump_until(now).is_none() {
                groups.expire_offsets(world, changes);
            }
        })?;
        written.into_iter().try_for_each(|commit| commit.map(drop))
    }
}

/// Topics have come, gone or grown: groups that read them decide anew.
impl MetadataListener for GroupCoordinator {
    fn metadata_changed(&self) {
        if self.shards().is_empty() {
            return;
        }
        if !self.housekeeping.refreshing.swap(true, Ordering::AcqRel) {
            self.worker.submit(Arc::new(Refresh(Weak::clone(&self.me))), None);
        }
    }
}

struct Tick(Weak<GroupCoordinator>);

impl Drive for Tick {
    fn drive(&self, now: Moment) -> Option<Moment> {
        let coordinator = self.0.upgrade().filter(|_| now != END)?;
        let alarm = &coordinator.housekeeping.alarm;
        let nanos = u64::try_from(now.as_duration().as_nanos()).unwrap_or(u64::MAX);
        // Unless another, for an earlier moment, has been here before.
        if alarm.load(Ordering::Acquire) > nanos {
            return None;
        }
        alarm.store(0, Ordering::Release);
        if let Some(next) = coordinator.tick() {
            coordinator.wake_at(next);
        }
        None
    }
}

struct Refresh(Weak<GroupCoordinator>);

impl Drive for Refresh {
    fn drive(&self, now: Moment) -> Option<Moment> {
        let coordinator = self.0.upgrade().filter(|_| now != END)?;
        // Before the look at the topics: who changes them from now on asks again.
        coordinator.housekeeping.refreshing.store(false, Ordering::Release);
        let core = coordinator.core().ok()?;
        let topic = core.internal_topic(InternalTopic::ConsumerOffsets)?;
        let mut is_done = true;
        for shard in coordinator.shards() {
            let refreshed = coordinator.ask(&core, &topic, &shard, |groups, world, changes| {
                groups.iter_mut().for_each(|group| group.refresh(world, changes));
                Ok(())
            });
            is_done &= !refreshed.is_err_and(|error| error.is_passing());
        }
        if is_done { None } else { now.after(TRY_AGAIN) }
    }
}

struct Leave {
    coordinator: Weak<GroupCoordinator>,
    handle: Arc<MemberHandle>,
}

impl Drive for Leave {
    fn drive(&self, now: Moment) -> Option<Moment> {
        let coordinator = self.coordinator.upgrade().filter(|_| now != END)?;
        coordinator.let_go(&self.handle);
        None
    }
}

struct Retention {
    coordinator: Weak<GroupCoordinator>,
    /// When it was last at it.
    wall_clock: Mutex<WallClock>,
}

impl Drive for Retention {
    fn drive(&self, now: Moment) -> Option<Moment> {
        let coordinator = self.coordinator.upgrade().filter(|_| now != END)?;
        let shows = WallClock::of(&**coordinator.core().ok()?.runtime());
        let before = std::mem::replace(&mut *self.wall_clock.lock(), shows);
        if let Some(by) = before.jump_until(shows) {
            log::warn!("the wall clock was set by {by} ms: no offsets of groups are forgotten now");
        } else if let Err(error) = coordinator.expire_offsets(before) {
            log::warn!("old offsets of groups are not forgotten yet: {error}");
        }
        now.after(coordinator.config.retention_check_interval)
    }
}
