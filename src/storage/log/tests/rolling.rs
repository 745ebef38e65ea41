//! Segments that are rolled by age.

use std::time::Duration;

use super::*;

const HOUR: i64 = 3_600_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

/// A log whose segments last an hour, and holds batches of these timestamps, each appended at that time by the clock.
fn log(config: impl FnOnce(&mut LogConfig), batches: &[(i64, i64)]) -> (Place, Log) {
    let mut place = Place::in_memory(1 << 20, 4096);
    place.config.segment_age = Duration::from_millis(HOUR as u64);
    place.config.timestamp_after_max = Duration::MAX;
    config(&mut place.config);
    let log = place.open();
    batches.iter().for_each(|&(timestamp, now)| append_one(&log, timestamp, now));
    (place, log)
}

fn append_one(log: &Log, timestamp: i64, now: i64) {
    log.append_at(vec![batch(timestamp, 1, 10)], epoch(1), at(now)).remove(0).unwrap();
}

fn bases(log: &Log) -> Vec<i64> {
    log.segments.load().iter().map(|segment| segment.base().value()).collect()
}

#[test]
fn a_segment_is_rolled_by_the_times_of_its_records() {
    // Not by the clock, which says that a day passes between any two.
    let times = [0, HOUR, HOUR + 1, HOUR + 2, 2 * HOUR + 1, 2 * HOUR + 2];
    let batches = times.iter().zip(0..).map(|(&time, day)| (time, day * 24 * HOUR));
    let (_, log) = log(|_| {}, &batches.collect::<Vec<_>>());
    assert_eq!(bases(&log), [0, 2, 5]);
}

#[test]
fn batches_that_come_together_are_rolled_as_if_they_came_one_by_one() {
    let (_, log) = log(|_| {}, &[]);
    let times = [0, HOUR + 1, HOUR + 2, 3 * HOUR];
    let batches = times.iter().map(|&time| batch(time, 2, 10)).collect();
    log.append_at(batches, epoch(1), at(0)).into_iter().for_each(|result| _ = result.unwrap());
    assert_eq!(bases(&log), [0, 2, 6]);
}

#[test]
fn records_without_a_time_are_as_old_as_the_clock_says() {
    let (_, log) = log(|_| {}, &[(-1, 0), (-1, HOUR), (-1, HOUR + 1), (5, HOUR + 2)]);
    assert_eq!(bases(&log), [0, 2]);
}

/// E13: neither records from the future nor a clock that goes back roll for ever, or never again.
#[test]
fn clocks_that_jump_roll_once() {
    let years = 10 * 365 * 24 * HOUR;
    let now = 2 * years;
    let (_, log) = log(
        |_| {},
        &[
            (now, now),
            (now + years, now + years),
            (now, now),
            (now - years, now - years),
            (now, now),
            (now + years, now + years),
            (now + years + HOUR + 1, now),
            (now, now),
        ],
    );
    assert_eq!(bases(&log), [0, 1, 6]);
}

#[test]
fn a_log_that_is_opened_again_goes_on_with_the_age_of_its_segment() {
    for clean in [true, false] {
        let (place, log) = log(|_| {}, &[(1, 1), (HOUR, HOUR)]);
        if clean {
            log.close().unwrap();
        }
        drop(log);
        let log = if clean { place.open() } else { place.recover(0).0 };
        append_one(&log, HOUR + 1, 0);
        assert_eq!(bases(&log), [0]);
        append_one(&log, HOUR + 2, 0);
        assert_eq!(bases(&log), [0, 3]);
    }
}

#[test]
fn compacted_logs_are_rolled_in_time_to_be_compacted() {
    let compact = |config: &mut LogConfig| {
        config.compact = true;
        config.max_compaction_lag = Duration::from_millis(10);
    };
    let (_, log) = log(compact, &[(0, 0), (10, 0), (11, 0)]);
    assert_eq!(bases(&log), [0, 2]);
}

#[test]
fn jitter_rolls_sooner_and_never_later() {
    let jitter =
        |config: &mut LogConfig| config.segment_jitter = Duration::from_millis(HOUR as u64);
    let minutes = (0..600).map(|minute| (minute * HOUR / 60, 0)).collect::<Vec<_>>();
    let (_, with) = log(jitter, &minutes);
    let (_, without) = log(|_| {}, &minutes);
    let lengths = bases(&with).windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>();
    assert!(lengths.iter().all(|length| (1..=61).contains(length)), "{lengths:?}");
    assert!(lengths.windows(2).any(|pair| pair[0] != pair[1]), "{lengths:?}");
    assert!(lengths.len() > bases(&without).len());
}

#[test]
fn a_truncated_log_goes_by_the_segment_that_is_left() {
    let (_, log) = log(|_| {}, &[(0, 0), (10 * HOUR, 0)]);
    log.truncate_to(offset(1)).unwrap();
    append_one(&log, HOUR, 0);
    assert_eq!(bases(&log), [0]);
    append_one(&log, HOUR + 1, 0);
    assert_eq!(bases(&log), [0, 2]);
}
