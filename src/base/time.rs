//! Wall-clock time as Kafka stores it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment in milliseconds since 1970-01-01T00:00:00Z, never before it.
///
/// ```
/// use brooklet::Timestamp;
/// use std::time::{Duration, SystemTime};
///
/// let an_hour_ago = Timestamp::from(SystemTime::now() - Duration::from_secs(3600));
/// assert!(an_hour_ago > Timestamp::from_millis(1_700_000_000_000).unwrap());
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// `None` if `millis` is negative: Kafka has no timestamps before 1970.
    pub const fn from_millis(millis: i64) -> Option<Self> {
        if millis >= 0 { Some(Self(millis)) } else { None }
    }

    /// Milliseconds since 1970-01-01T00:00:00Z, never negative.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Time passed since `earlier`; zero if `earlier` is later.
    pub fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// The moment in whole milliseconds; moments before 1970 become 1970.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_millis(timestamp.0.unsigned_abs())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_time_round_trips_in_milliseconds() {
        let t = Timestamp::from_millis(1_700_000_000_123).unwrap();
        assert_eq!(Timestamp::from(SystemTime::from(t)), t);
    }

    #[test]
    fn moments_before_1970_become_1970() {
        assert_eq!(Timestamp::from(UNIX_EPOCH - Duration::from_secs(1)), Timestamp::EPOCH);
        assert_eq!(Timestamp::from_millis(-1), None);
    }
}
