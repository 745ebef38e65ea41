//! What groups have done without being asked: members that do not come back are removed, old offsets forgotten.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::base::Backoff;
use crate::cluster::{Core, Drive, InternalTopic, MetadataListener};
use crate::coordinator::coordinator::GroupCoordinator;
use crate::coordinator::error::GroupError;
use crate::coordinator::group::{Changes, World};
use crate::coordinator::handle::MemberHandle;
use crate::coordinator::shard::Groups;
use crate::coordinator::wall_clock::WallClock;
use crate::env::Moment;
use crate::env::sync::Mutex;

/// Times between tries of what could not be done, since a group had no coordinator, or one that could not read its log:
/// each try may read all of it.
const TRY_AGAIN: Backoff =
    Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(1) };

/// The end of time, at which background work is asked to be done with.
const END: Moment = Moment::since_start(Duration::MAX);

/// What was asked for and is not done yet.
#[derive(Debug, Default)]
pub(super) struct Housekeeping {
    /// Nanoseconds of the moment of the next look at members, less than one for none.
    alarm: AtomicU64,
    /// Looks in a row that were not at all members.
    failed: AtomicU32,
    /// Topics have changed since groups were last told.
    refreshing: AtomicBool,
    /// And some could not be told, who are to be told later.
    refreshing_later: AtomicBool,
    /// Old offsets are looked for.
    looks_after_offsets: AtomicBool,
}

impl GroupCoordinator {
    /// Sees to it that members of a group which do not poll, or do not come back, are removed in time: it was just looked
    /// at, and is to be again at `next_tick`.
    pub(super) fn set_alarm(&self, next_tick: Option<Moment>) {
        if let Some(at) = next_tick {
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
        let mut next = None;
        let is_done = self.ask_all(|groups, world, changes| {
            groups.iter_mut().for_each(|group| group.tick(world, changes));
            let of_shard = groups.iter().filter_map(|(_, group)| group.next_tick(world.now)).min();
            next = [next, of_shard].into_iter().flatten().min();
        })?;
        let failed = &self.housekeeping.failed;
        if is_done {
            failed.store(0, Ordering::Relaxed);
            return next;
        }
        [next, self.again(failed)].into_iter().flatten().min()
    }

    /// Asks every shard. Returns whether all that have members could be asked; `None` if there is nobody to ask.
    fn ask_all(&self, mut ask: impl FnMut(&mut Groups, &World<'_>, &mut Changes)) -> Option<bool> {
        let core = self.core().ok()?;
        let topic = core.internal_topic(InternalTopic::ConsumerOffsets)?;
        let mut is_done = true;
        for shard in self.shards() {
            let asked = self.ask(&core, &topic, &shard, |groups, world, changes| {
                ask(groups, world, changes);
                Ok(())
            });
            if let Err(error) = asked {
                log::debug!("groups in {} are looked at later: {error}", shard.partition);
                is_done &= !shard.groups.lock().have_members();
            }
        }
        Some(is_done)
    }

    /// When to try again what has failed once more.
    fn again(&self, failed: &AtomicU32) -> Option<Moment> {
        let core = self.core().ok()?;
        let before = failed.fetch_add(1, Ordering::Relaxed);
        // As of now: to try may have taken long.
        core.runtime().now().after(TRY_AGAIN.after(before, core.runtime().random()))
    }

    /// A member that could not leave, since its group has no coordinator at the moment, does so as soon as there is one.
    pub(super) fn leave_later(&self, handle: &Arc<MemberHandle>, why: &GroupError) {
        log::debug!("{handle:?} leaves later: {why}");
        let leave = Leave {
            coordinator: Weak::clone(&self.me),
            handle: Arc::clone(handle),
            failed: AtomicU32::new(0),
        };
        // When the cluster is closed nobody will look for it any more.
        if let Some(at) = self.again(&leave.failed) {
            self.worker.submit(Arc::new(leave), Some(at));
        }
    }

    /// How long offsets are kept that nobody needs.
    pub(crate) fn offsets_retention(&self) -> Duration {
        self.config.offsets_retention
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
            let refresh = Refresh {
                coordinator: Weak::clone(&self.me),
                is_later: AtomicBool::new(false),
                failed: AtomicU32::new(0),
            };
            self.worker.submit(Arc::new(refresh), None);
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
        coordinator.set_alarm(coordinator.tick());
        None
    }
}

struct Refresh {
    coordinator: Weak<GroupCoordinator>,
    /// It is tried again.
    is_later: AtomicBool,
    failed: AtomicU32,
}

impl Drive for Refresh {
    fn drive(&self, now: Moment) -> Option<Moment> {
        let coordinator = self.coordinator.upgrade().filter(|_| now != END)?;
        let Housekeeping { refreshing, refreshing_later, .. } = &coordinator.housekeeping;
        let is_later = self.is_later.load(Ordering::Relaxed);
        // Before the look at the topics: who changes them from now on asks again.
        let asked = if is_later { refreshing_later } else { refreshing };
        asked.store(false, Ordering::Release);
        let is_done = coordinator.ask_all(|groups, world, changes| {
            groups.iter_mut().for_each(|group| group.refresh(world, changes));
        })?;
        // One is enough, of however many changes.
        if is_done || refreshing_later.swap(true, Ordering::AcqRel) {
            return None;
        }
        self.is_later.store(true, Ordering::Relaxed);
        coordinator.again(&self.failed)
    }
}

struct Leave {
    coordinator: Weak<GroupCoordinator>,
    handle: Arc<MemberHandle>,
    failed: AtomicU32,
}

impl Drive for Leave {
    fn drive(&self, now: Moment) -> Option<Moment> {
        let coordinator = self.coordinator.upgrade().filter(|_| now != END)?;
        let error = coordinator.let_go(&self.handle).err()?;
        log::debug!("{:?} leaves later: {error}", self.handle);
        coordinator.again(&self.failed)
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
