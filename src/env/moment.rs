//! Moments of the monotonic clock.

use std::time::Duration;

/// A moment of a [`Runtime`](crate::env::Runtime)'s monotonic clock: time since the runtime began.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Moment(Duration);

impl Moment {
    pub(crate) const fn since_start(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    pub(crate) const fn as_duration(self) -> Duration {
        self.0
    }

    /// `duration` later; `None` where that is past the end of time, which as a deadline means never.
    pub(crate) fn after(self, duration: Duration) -> Option<Self> {
        self.0.checked_add(duration).map(Self)
    }

    /// Time since `earlier`, zero if it is later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
