//! Logs of which the beginning was deleted.

use super::*;

/// A log of ten records in five segments.
fn log() -> (Place, Log) {
    let mut place = Place::in_memory(1 << 20, 0);
    // One batch each.
    place.config.segment_bytes = 120;
    let log = place.open();
    (0..5).for_each(|_| append(&log, vec![batch(5, 2, 10)]));
    (place, log)
}

fn offsets(log: &Log) -> Vec<i64> {
    read_all(log).iter().map(|record| record.offset).filter(|o| *o >= log.start().value()).collect()
}

#[test]
fn what_was_deleted_is_out_of_range_and_what_was_not_is_there() {
    let (place, log) = log();
    for (before, files) in [(1, 5), (2, 4), (7, 2), (10, 1)] {
        log.raise_start(offset(before));
        log.remove_below_start().unwrap();
        assert_eq!(log.start(), offset(before));
        let below = log.read(offset(before - 1), 1, log.end());
        assert!(matches!(below, Err(ReadError::OutOfRange { .. })), "{below:?}");
        assert_eq!(offsets(&log), (before..10).collect::<Vec<_>>());
        assert_eq!(place.names(".log").len(), files);
        assert_eq!(place.names(names::DELETED), [""; 0]);
    }
    append(&log, vec![batch(5, 2, 10)]);
    assert_eq!(offsets(&log), [10, 11]);
}

#[test]
fn a_start_never_goes_back_nor_beyond_the_end() {
    let (_, log) = log();
    for (before, start) in [(7, 7), (3, 7), (100, 10)] {
        log.raise_start(offset(before));
        assert_eq!(log.start(), offset(start));
    }
}

/// The files may be as they were before, or any of those that were being removed may be gone (G8).
#[test]
fn what_was_deleted_stays_so_whatever_is_left_of_its_files() {
    for (left, clean) in (0..16).flat_map(|left| [(left, false), (left, true)]) {
        let (mut place, log) = log();
        if clean {
            log.close().unwrap();
        } else {
            log.sync().unwrap();
        }
        drop(log);
        for (at, name) in place.names(".log").iter().take(4).enumerate() {
            if left & (1 << at) != 0 {
                place.remove(name);
            }
        }
        place.deleted = offset(8);
        let log = if clean { place.open() } else { place.recover(0).0 };
        assert!(!log.is_offline(), "{left:b}");
        assert_eq!((log.start(), log.end()), (offset(8), offset(10)));
        assert_eq!(offsets(&log), [8, 9], "{left:b}");
        assert_eq!(place.names(".log").len(), 1);
        append(&log, vec![batch(5, 1, 10)]);
        assert_eq!(offsets(&log), [8, 9, 10]);
    }
}

#[test]
fn producers_are_known_when_their_batches_are_deleted() {
    for clean in [true, false] {
        let (mut place, log) = log();
        let send = |log: &Log, sequence| {
            log.append_as_client(vec![sent_by((7, 0), sequence, 2, false)], epoch(1)).remove(0)
        };
        send(&log, 0).unwrap();
        append(&log, vec![batch(5, 2, 10)]);
        append(&log, vec![batch(5, 2, 10)]);
        log.raise_start(offset(13));
        log.remove_below_start().unwrap();
        place.deleted = offset(13);
        // Everything was synced before the records went.
        if clean {
            log.close().unwrap();
        }
        drop(log);
        let log = if clean { place.open() } else { place.recover(14).0 };
        assert_eq!(send(&log, 0).unwrap().base, offset(10), "it is a copy");
        assert_eq!(send(&log, 2).unwrap().base, offset(16));
    }
}

/// Which leaders wrote them is not known any more.
#[test]
fn a_scrub_finds_nothing_wrong_with_what_was_deleted() {
    let place = Place::in_memory(1 << 20, 100);
    damage::filled(&place);
    let log = place.open();
    log.raise_start(offset(10));
    assert_eq!(log.scrub().unwrap().damages, []);
}
