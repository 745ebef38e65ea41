//! Locks, events and the atomics of cells, in one place so that a simulation can schedule them.
//!
//! Locks here do not poison: a panic of a caller's thread must not make a log unusable for the others.

use std::sync::OnceLock;

pub(crate) use event_listener::{Event, EventListener, Listener};
#[cfg(not(any(test, feature = "sim")))]
pub(crate) use parking_lot::{Mutex, RwLock};
#[cfg(any(test, feature = "sim"))]
pub(crate) use scheduled::{AtomicBool, AtomicI64, Mutex, RwLock};
#[cfg(not(any(test, feature = "sim")))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicI64};
pub(crate) use std::sync::atomic::{Ordering, fence};

/// A value that is made when it is first asked for. As `OnceLock`, but that others run while it is made: whoever makes
/// it may have to wait for them.
#[derive(Debug)]
pub(crate) struct OnceMade<T> {
    value: OnceLock<T>,
    making: Mutex<()>,
}

impl<T> OnceMade<T> {
    pub(crate) const fn new() -> Self {
        Self { value: OnceLock::new(), making: Mutex::new(()) }
    }

    pub(crate) fn get_or_make(&self, make: impl FnOnce() -> T) -> &T {
        if let Some(made) = self.value.get() {
            return made;
        }
        let _one = self.making.lock();
        self.value.get_or_init(make)
    }
}

/// Locks that let other threads of a simulation run while they are taken: whoever holds one may be waiting for its
/// turn. Atomics that let them run before they are looked at, and after they have changed. Outside a simulation they are
/// what they wrap.
#[cfg(any(test, feature = "sim"))]
mod scheduled {
    use std::sync::atomic::{self, Ordering};

    use parking_lot::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

    use crate::env::baton;

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T: ?Sized>(parking_lot::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(parking_lot::Mutex::new(value))
        }
    }

    impl<T: ?Sized> Mutex<T> {
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            baton::point("lock");
            self.0.try_lock().unwrap_or_else(|| {
                baton::retry("lock", || self.0.try_lock()).unwrap_or_else(|| self.0.lock())
            })
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct RwLock<T: ?Sized>(parking_lot::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(parking_lot::RwLock::new(value))
        }
    }

    impl<T: ?Sized> RwLock<T> {
        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            baton::point("read lock");
            self.0.try_read().unwrap_or_else(|| {
                baton::retry("read lock", || self.0.try_read()).unwrap_or_else(|| self.0.read())
            })
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            baton::point("write lock");
            self.0.try_write().unwrap_or_else(|| {
                baton::retry("write lock", || self.0.try_write()).unwrap_or_else(|| self.0.write())
            })
        }
    }

    #[derive(Debug)]
    pub(crate) struct AtomicBool(atomic::AtomicBool);

    impl AtomicBool {
        pub(crate) const fn new(value: bool) -> Self {
            Self(atomic::AtomicBool::new(value))
        }

        pub(crate) fn load(&self, order: Ordering) -> bool {
            baton::point("load");
            self.0.load(order)
        }

        pub(crate) fn store(&self, value: bool, order: Ordering) {
            self.0.store(value, order);
            baton::point("store");
        }

        pub(crate) fn compare_exchange(
            &self,
            current: bool,
            new: bool,
            success: Ordering,
            failure: Ordering,
        ) -> Result<bool, bool> {
            baton::point("exchange");
            self.0.compare_exchange(current, new, success, failure)
        }
    }

    #[derive(Debug)]
    pub(crate) struct AtomicI64(atomic::AtomicI64);

    impl AtomicI64 {
        pub(crate) const fn new(value: i64) -> Self {
            Self(atomic::AtomicI64::new(value))
        }

        pub(crate) fn load(&self, order: Ordering) -> i64 {
            baton::point("load");
            self.0.load(order)
        }

        pub(crate) fn store(&self, value: i64, order: Ordering) {
            self.0.store(value, order);
            baton::point("store");
        }

        pub(crate) fn fetch_max(&self, value: i64, order: Ordering) -> i64 {
            let before = self.0.fetch_max(value, order);
            baton::point("store");
            before
        }
    }
}
