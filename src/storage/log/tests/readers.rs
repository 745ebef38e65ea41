//! Readers against a writer.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::*;

const RECORDS: i64 = 30_000;

/// The value of the record at `offset`.
fn value_at(offset: i64) -> Vec<u8> {
    let size = usize::try_from(offset % 50).unwrap();
    let mut value = offset.to_be_bytes().to_vec();
    value.extend(vec![b'x'; size]);
    value
}

fn next_batch(from: i64) -> EncodedBatch {
    let count = from % 7 + 1;
    encoded(&(from..from + count).map(|offset| (offset, value_at(offset))).collect::<Vec<_>>())
}

/// D1: no gap, no wrong value and no error, whatever the writer is at.
fn readers_see_what_was_written(place: &Place) {
    let log = place.open();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..3 {
            let (log, done) = (&log, &done);
            scope.spawn(move || {
                let mut next = 0;
                loop {
                    let finished = done.load(Ordering::Acquire);
                    let end = log.end();
                    let fetched = log.read(offset(next), 100 << (3 * reader), end).unwrap();
                    for record in seen(&fetched.batches) {
                        assert_eq!(record.offset, next);
                        assert_eq!(record.value, value_at(next));
                        next += 1;
                    }
                    if fetched.batches.is_empty() {
                        assert_eq!(next, end.value(), "nothing was there to be read");
                        if finished {
                            return;
                        }
                    }
                }
            });
        }
        let (log, done) = (&log, &done);
        scope.spawn(move || {
            while !done.load(Ordering::Acquire) {
                let end = log.end().value();
                if end > 0 {
                    let time = Timestamp::from_millis(end / 2).unwrap();
                    let found = log.find_timestamp(time, offset(end), &Limits::default()).unwrap();
                    assert_eq!(found.unwrap().offset.value(), end / 2);
                }
                log.sync().unwrap();
                log.checkpoint().unwrap();
            }
        });
        let mut next = 0;
        while next < RECORDS {
            let mut batches = Vec::new();
            for _ in 0..next % 5 + 1 {
                batches.push(next_batch(next));
                next += next % 7 + 1;
            }
            append(log, batches);
        }
        done.store(true, Ordering::Release);
    });
    let end = log.end();
    log.close().unwrap();
    assert_eq!(place.open().end(), end);
    let found = place.image();
    place.names("index").iter().for_each(|name| place.remove(name));
    place.recover(0).0.close().unwrap();
    assert_eq!(place.image(), found, "the indexes equal rebuilt ones");
}

#[test]
fn readers_of_memory_see_no_gap() {
    let mut place = Place::in_memory(20_000, 500);
    readers_see_what_was_written(&place);
    place = Place::in_memory(20_000, 500);
    place.cache_bytes = 10_000;
    readers_see_what_was_written(&place);
}

#[test]
fn readers_of_files_see_no_gap() {
    for mode in [ReadMode::Map, ReadMode::Pread] {
        readers_see_what_was_written(&Place::on_disk(mode, 100_000, 500));
    }
}

/// D4: what lies below a watermark that truncations respect can be read at any moment, and a sync that a truncation
/// overtakes does not speak for what was written since.
fn truncations_disturb_nobody(place: &Place) {
    let log = place.open();
    let (done, watermark) = (AtomicBool::new(false), AtomicI64::new(0));
    std::thread::scope(|scope| {
        for max_bytes in [1, 10_000] {
            let (log, done, watermark) = (&log, &done, &watermark);
            scope.spawn(move || {
                let mut next = 0;
                while !done.load(Ordering::Acquire) {
                    let upto = watermark.load(Ordering::Acquire);
                    let fetched = log.read(offset(next), max_bytes, offset(upto)).unwrap();
                    for record in seen(&fetched.batches) {
                        assert_eq!(record.offset, next);
                        assert_eq!(record.timestamp, Some(next), "a record that was cut");
                        next += 1;
                    }
                    assert!(next <= upto);
                }
            });
        }
        let (log_, done_) = (&log, &done);
        scope.spawn(move || {
            while !done_.load(Ordering::Acquire) {
                log_.sync().unwrap();
            }
        });
        for round in 0..300 {
            let from = log.end().value();
            append(
                &log,
                (0..round % 7 + 1).map(|i| encoded(&[(from + i, vec![b'k'; 60])])).collect(),
            );
            let kept = log.end();
            watermark.store(kept.value() - round % 3, Ordering::Release);
            // Other records at the offsets to be cut.
            append(&log, (0..round % 5).map(|_| batch(9_999_999, 1, 70)).collect());
            log.truncate_to(kept).unwrap();
            assert!(log.flushed() <= log.end());
            assert_eq!(log.end(), kept);
        }
        done.store(true, Ordering::Release);
    });
    let end = log.end();
    assert!(read_all(&log).iter().all(|record| record.timestamp == Some(record.offset)));
    assert_eq!(place.recover(log.flushed().value()).0.end(), end);
}

#[test]
fn truncations_disturb_no_reader_and_no_sync() {
    truncations_disturb_nobody(&Place::in_memory(700, 100));
    for mode in [ReadMode::Map, ReadMode::Pread] {
        truncations_disturb_nobody(&Place::on_disk(mode, 5_000, 100));
    }
}

/// A11: what readers of a segment that was cut off still hold has no name, so letting go of it takes nothing away.
#[test]
fn what_takes_the_place_of_a_cut_segment_stays() {
    let places = [ReadMode::Map, ReadMode::Pread].map(|mode| Place::on_disk(mode, 300, 100));
    for place in places.into_iter().chain([Place::in_memory(300, 100)]) {
        let log = place.open();
        append(&log, (0..20).map(|n| batch(n, 1, 50)).collect());
        log.sync().unwrap();
        let held = log.segments.load_full();
        let slices = log.read(offset(0), 1 << 20, log.end()).unwrap();
        log.truncate_to(offset(3)).unwrap();
        append(&log, (3..20).map(|n| batch(100 + n, 1, 50)).collect());
        log.sync().unwrap();
        let (names, records) = (place.names(""), read_all(&log));
        assert!(records[3..].iter().all(|record| record.timestamp > Some(100)));
        drop((held, slices));
        log.checkpoint().unwrap();
        assert_eq!(place.names(".log").len(), log.size().0);
        assert!(names.iter().all(|name| place.names("").contains(name)), "of {names:?}");
        assert_eq!(read_all(&log), records);
        assert_eq!(read_all(&place.recover(0).0), records);
    }
}
