//! Whether the wall clock was set: what is counted by it is not as old as it seems then, or older.

use std::time::Duration;

use crate::base::Timestamp;
use crate::env::{Moment, Runtime};

/// By as much it may go otherwise than time does.
const TOLERANCE: Duration = Duration::from_secs(60 * 60);

/// What the wall clock shows at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct WallClock {
    pub(super) at: Moment,
    pub(super) shows: Timestamp,
}

impl WallClock {
    pub(super) fn of(runtime: &dyn Runtime) -> Self {
        Self { at: runtime.now(), shows: runtime.wall_clock() }
    }

    /// By how many milliseconds it was set forward, or back, until `later`, if by more than an hour.
    pub(super) fn jump_until(self, later: Self) -> Option<i64> {
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let shown = later.shows.as_millis().saturating_sub(self.shows.as_millis());
        let by = shown.saturating_sub(millis(later.at.since(self.at)));
        (by.saturating_abs() > millis(TOLERANCE)).then_some(by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: u64, shows: i64) -> WallClock {
        let at = Moment::since_start(Duration::from_secs(seconds));
        WallClock { at, shows: Timestamp::from_millis(shows * 1000).unwrap() }
    }

    #[test]
    fn only_what_differs_by_more_than_an_hour_is_a_jump() {
        let began = after(10, 1_000_000);
        for (later, jump) in [
            (after(10, 1_000_000), None),
            (after(7_210, 1_007_200), None),
            (after(10, 1_003_600), None),
            (after(10, 1_003_601), Some(3_601_000)),
            (after(700_010, 1_000_000), Some(-700_000_000)),
            // That it stands still is one, too.
            (after(3_611, 1_000_000), Some(-3_601_000)),
            (after(3_610, 1_000_000), None),
            (after(610, 1_764_000_600), Some(1_763_000_000_000)),
            (after(610, 0), Some(-1_000_600_000)),
        ] {
            assert_eq!(began.jump_until(later), jump, "{later:?}");
        }
    }
}
