//! Locks and events, in one place so that a simulation can schedule them.
//!
//! Locks here do not poison: a panic of a caller's thread must not make a log unusable for the others.

pub(crate) use event_listener::{Event, EventListener, Listener};
#[cfg(not(any(test, feature = "sim")))]
pub(crate) use parking_lot::{Mutex, RwLock};
#[cfg(any(test, feature = "sim"))]
pub(crate) use scheduled::{Mutex, RwLock};

/// Locks that let other threads of a simulation run while they are taken: whoever holds one may be waiting for its
/// turn. Outside a simulation they are what they wrap.
#[cfg(any(test, feature = "sim"))]
mod scheduled {
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
}
