//! How long to wait before something is tried again.

use std::time::Duration;

/// Times between attempts, as Kafka has them (KIP-580): twice as long each time, up to a bound, and 20 % more or less, so
/// that not all who have failed together come again together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Backoff {
    /// Between the first two attempts (`retry.backoff.ms`).
    pub(crate) first: Duration,
    /// The longest, give or take (`retry.backoff.max.ms`).
    pub(crate) longest: Duration,
}

impl Backoff {
    /// The time until the next attempt, when one has failed and `before` others had failed before it.
    pub(crate) fn after(&self, before: u32, random: u64) -> Duration {
        let time = self.first.saturating_mul(2u32.saturating_pow(before.min(20)));
        let percent = u32::try_from(random % 41).unwrap_or(20) + 80;
        time.min(self.longest).saturating_mul(percent) / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_twice_the_one_before_up_to_the_longest() {
        let backoff =
            Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(1) };
        let millis = |before, random| backoff.after(before, random).as_millis();
        // 20 is in the middle.
        assert_eq!(
            [0, 1, 2, 3, 4, u32::MAX].map(|n| millis(n, 20)),
            [100, 200, 400, 800, 1000, 1000]
        );
        assert_eq!([0, 40, 41].map(|random| millis(0, random)), [80, 120, 80]);
    }
}
