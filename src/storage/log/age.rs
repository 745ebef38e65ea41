//! Time in a log: how old the active segment is, and the time at which batches are appended.
//!
//! # Invariants
//! - No clock is read: `now` comes with each append. A clock that goes back makes nothing older, and nothing fails.
//! - Append times do not go back, whatever the clock does, also not when the log is opened again.

use std::time::Duration;

use crate::base::{Offset, Timestamp};
use crate::record::{BatchHeader, TimestampType};
use crate::storage::log::append::Appended;
use crate::storage::log::run::Run;
use crate::storage::log::{Log, Writer};
use crate::storage::segment::{Segment, length};
use crate::storage::{LogConfig, StorageError};

/// From when on a segment grows older.
#[derive(Clone, Copy, Debug)]
pub(super) enum Began {
    /// By its records: the largest timestamp of its first batch.
    Record(Timestamp),
    /// By the clock, since that batch has none.
    Clock(Timestamp),
}

impl Began {
    /// With a first batch of this timestamp, written at `now`.
    pub(super) fn with(first: Option<Timestamp>, now: Timestamp) -> Self {
        first.map_or(Self::Clock(now), Self::Record)
    }

    /// How old the segment is when a batch of this timestamp comes at `now`.
    fn age(self, next: Option<Timestamp>, now: Timestamp) -> Duration {
        match self {
            Self::Record(first) => next.map_or(Duration::ZERO, |next| next.duration_since(first)),
            Self::Clock(began) => now.duration_since(began),
        }
    }
}

impl LogConfig {
    /// The age at which the segment that begins at `base` is rolled.
    fn roll_age(&self, seed: u64, base: Offset) -> Duration {
        let age = if self.compact {
            self.segment_age.min(self.max_compaction_lag)
        } else {
            self.segment_age
        };
        age.saturating_sub(jitter(seed, base, self.segment_jitter.min(self.segment_age)))
    }
}

/// What is taken from the age of the segment at `base`: less than `most`, and another part of it for each segment.
fn jitter(seed: u64, base: Offset, most: Duration) -> Duration {
    let bits = (seed ^ base.value().unsigned_abs()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    // The high bits depend on all others.
    Duration::from_millis((bits ^ (bits >> 32)).checked_rem(most).unwrap_or(0))
}

impl Log {
    /// Whether the segment that the batches of `run` go to is too old for one that will be at `coming`.
    pub(super) fn is_too_old(&self, writer: &mut Writer, run: &Run, coming: Appended) -> bool {
        let active = self.segments.load().last().cloned();
        let base = active.as_ref().map_or(self.end(), |active| active.base());
        let now = run.now();
        let began = match (active.filter(|active| active.size() > 0), run.first()) {
            (Some(active), _) => *writer.began.get_or_insert_with(|| began(&active, now)),
            (None, Some(first)) => Began::with(first.max_timestamp(), now),
            (None, None) => return false,
        };
        began.age(coming.timestamp, now) > self.config.load().roll_age(self.seed, base)
    }

    /// The time that records appended at `now` are given, `None` if they keep their own.
    pub(super) fn append_time(&self, writer: &mut Writer, now: Timestamp) -> Option<Timestamp> {
        if !self.config.load().log_append_time {
            return None;
        }
        let last = *writer.append_time.get_or_insert_with(|| self.last_append_time());
        writer.append_time = Some(last.max(now));
        writer.append_time
    }

    /// The append time of the last batch, if it has one.
    fn last_append_time(&self) -> Timestamp {
        let segments = self.segments.load();
        let last = segments.iter().rev().find(|segment| segment.size() > 0);
        let header = last.map(|last| last_header(last)).transpose().unwrap_or_else(|error| {
            log::warn!("append times of {} may go back: {error}", self.partition);
            None
        });
        let header =
            header.flatten().filter(|h| h.timestamp_type() == TimestampType::LogAppendTime);
        header.and_then(|header| header.max_timestamp()).unwrap_or(Timestamp::EPOCH)
    }
}

/// From when on a segment that was found grows older. By the clock it is as new as its log is here, as in Kafka.
fn began(segment: &Segment, now: Timestamp) -> Began {
    let first = segment.header_at(0).unwrap_or_else(|error| {
        log::warn!("how old a segment is cannot be told: {error}");
        None
    });
    Began::with(first.and_then(|first| first.max_timestamp()), now)
}

fn last_header(segment: &Segment) -> Result<Option<BatchHeader>, StorageError> {
    let mut position = segment.position_before(Offset::MAX)?;
    let mut last = None;
    while let Some(header) = segment.header_at(position)? {
        position += length(header.size());
        last = Some(header);
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_below_its_limit_and_differs_by_segment() {
        let most = Duration::from_secs(100);
        let drawn = (0..100).map(|base| jitter(7, Offset::from(base), most)).collect::<Vec<_>>();
        assert!(drawn.iter().all(|jitter| *jitter < most));
        assert!(drawn.iter().any(|jitter| *jitter > most / 2));
        assert!(drawn.iter().any(|jitter| *jitter < most / 2));
        assert_eq!(jitter(7, Offset::ZERO, Duration::ZERO), Duration::ZERO);
    }
}
