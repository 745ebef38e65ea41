//! Indexes: what they hold, and that nothing depends on them.

use super::*;

fn find(log: &Log, timestamp: i64) -> Option<i64> {
    let timestamp = Timestamp::from_millis(timestamp).unwrap();
    let found = log.find_timestamp(timestamp, log.end(), &Limits::default()).unwrap();
    found.map(|found| found.offset.value())
}

/// The live index of each segment equals one made from its log alone.
pub(super) fn assert_live_indexes_equal_rebuilt_ones(log: &Log, place: &Place) {
    let segments = log.segments.load_full();
    for (at, segment) in segments.iter().enumerate() {
        let sealed = at + 1 < segments.len();
        let live = segment.with_index(Clone::clone).unwrap();
        let again = crate::storage::segment::Segment::open(
            &place.fs,
            &log.dir,
            segment.base(),
            place.config.layout(),
        )
        .unwrap();
        again.rebuild_index().unwrap();
        if sealed {
            again.seal();
        }
        assert_eq!(live, again.with_index(Clone::clone).unwrap(), "segment {}", segment.base());
    }
}

/// B9: the record, not the end of its batch.
#[test]
fn a_timestamp_finds_the_first_record_within_its_batch() {
    let place = Place::in_memory(1 << 20, 0);
    let log = place.open();
    let records =
        |times: &[i64]| encoded(&times.iter().map(|t| (*t, vec![0; 20])).collect::<Vec<_>>());
    append(&log, vec![records(&[10, 20, 15]), records(&[100, 90, 80]), records(&[70, 120, 110])]);
    for sealed in [false, true] {
        if sealed {
            log.close().unwrap();
        }
        let found = [5, 10, 11, 16, 20, 21, 90, 100, 101, 120, 121].map(|time| find(&log, time));
        let expected = [0, 0, 1, 1, 1, 3, 3, 3, 7, 7].map(Some);
        assert_eq!(found[..10], expected);
        assert_eq!(found[10], None);
    }
}

#[test]
fn a_timestamp_is_found_whatever_the_order_of_times() {
    let place = Place::in_memory(400, 100);
    let log = place.open();
    let times = [50, 10, 99, 3, 40, 98, 97, 120, 1, 60];
    for time in times {
        append(&log, vec![batch(time, 2, 20)]);
    }
    for reopened in 0..3 {
        let log = if reopened == 0 { place.recover(0).0 } else { place.open() };
        for time in 0..122 {
            let expected = times.iter().position(|t| *t >= time).map(|at| at as i64 * 2);
            assert_eq!(find(&log, time), expected, "{time}");
        }
        log.close().unwrap();
    }
}

/// B6.
#[test]
fn reopening_does_not_change_where_entries_are_made() {
    let place = Place::in_memory(2000, 300);
    for round in 0..20 {
        let log = if round % 3 == 0 { place.recover(0).0 } else { place.open() };
        append(&log, (0..3).map(|i| batch(round * 10 + i, 2, 30)).collect());
        assert_live_indexes_equal_rebuilt_ones(&log, &place);
        log.close().unwrap();
    }
    let image = place.image();
    place.names("index").iter().for_each(|name| place.remove(name));
    place.recover(0).0.close().unwrap();
    assert_eq!(place.image(), image);
}

/// A segment can be sealed when all of its bytes have been synced already: its indexes have not.
#[test]
fn a_segment_sealed_after_a_sync_gets_its_indexes() {
    let place = Place::in_memory(400, 100);
    let log = place.open();
    for i in 0..10 {
        append(&log, vec![batch(100 - i, 3, 10)]);
        log.sync().unwrap();
    }
    log.close().unwrap();
    assert_eq!(place.names(".index").len(), place.names(".log").len());
    let image = place.image();
    place.names("index").iter().for_each(|name| place.remove(name));
    place.recover(0).0.close().unwrap();
    assert_eq!(place.image(), image);
}

#[test]
fn a_missing_index_is_made_again_and_saved() {
    let place = Place::in_memory(500, 100);
    let log = place.open();
    append(&log, (0..20).map(|i| batch(i, 3, 10)).collect());
    log.close().unwrap();
    let image = place.image();
    let missing = ["index", "00.index", "6.index", ".timeindex"];
    for suffix in missing {
        place.names(suffix).iter().for_each(|name| place.remove(name));
        let log = place.open();
        assert_eq!(read_all(&log).len(), 60);
        assert_eq!(find(&log, 17), Some(51));
        log.close().unwrap();
        // Indexes are read when they are needed, and saved if they were made anew.
        for segment in log.segments.load().iter() {
            segment.with_index(|_| ()).unwrap();
        }
        log.close().unwrap();
        assert_eq!(place.image(), image, "without {suffix}");
    }
}

/// G4: files cut at any length, emptied, or taken from elsewhere. (A time index that lost entries is found out by the
/// timestamp of the last batch indexed, so not if a batch before that one has a larger one.)
#[test]
fn damaged_index_files_change_nothing() {
    for (suffix, factor) in [(".index", 37), (".timeindex", 2)] {
        let place = Place::in_memory(700, 100);
        let log = place.open();
        append(&log, (0..20).map(|i| batch((i * factor) % 50, 3, 10)).collect());
        let expected = (0..55).map(|time| find(&log, time)).collect::<Vec<_>>();
        log.close().unwrap();
        let image = place.image();
        for name in place.names(suffix) {
            for cut in 0..image[&name].len() {
                place.restore(&image);
                place.edit(&name, |bytes| bytes.truncate(cut));
                let log = if cut % 2 == 0 { place.open() } else { place.recover(60).0 };
                let found = (0..55).map(|time| find(&log, time)).collect::<Vec<_>>();
                assert_eq!(found, expected, "{name} cut to {cut}");
                assert_eq!(read_all(&log).len(), 60);
                log.close().unwrap();
                assert_eq!(place.image(), image);
            }
            for other in place.names(suffix) {
                place.restore(&image);
                place.write(&name, &image[&other]);
                let log = place.open();
                for at in 0..60 {
                    let first = seen(&log.read(offset(at), 1, log.end()).unwrap().batches);
                    assert_eq!(first[0].offset, at / 3 * 3);
                }
            }
        }
    }
}

/// A26.
#[test]
fn reopening_again_and_again_changes_no_file() {
    for segment_bytes in [300, 1 << 20] {
        let place = Place::in_memory(segment_bytes, 100);
        let log = place.open();
        append(&log, (0..20).map(|i| batch(i % 7, 3, 10)).collect());
        log.close().unwrap();
        let image = place.image();
        for round in 0..5 {
            let log = if round % 2 == 0 { place.open() } else { place.recover(60).0 };
            read_all(&log);
            find(&log, 3);
            log.close().unwrap();
            assert_eq!(place.image(), image);
        }
    }
}

/// R5: what lies above a recovery point is found from there, not from the beginning.
#[test]
fn a_checkpoint_bounds_what_recovery_reads() {
    let place = Place::in_memory(1 << 30, 4096);
    let log = place.open();
    for i in 0..60 {
        append(&log, vec![batch(i, 1, 100_000)]);
        log.sync().unwrap();
        log.checkpoint().unwrap();
    }
    let point = log.checkpoint().unwrap();
    append(&log, vec![batch(99, 1, 10)]);
    let expected = read_all(&log);
    drop(log);
    let (log, report) = place.recover(point.value());
    assert!(report.scanned_bytes < 3 << 20, "{report:?}");
    assert_eq!(read_all(&log), expected);
    assert_live_indexes_equal_rebuilt_ones(&log, &place);
}

/// A22: of an entry in the middle, nobody has looked at the batch when the file was read.
#[test]
fn an_entry_that_points_to_another_batch_is_not_believed() {
    let place = Place::in_memory(1 << 20, 300);
    let log = place.open();
    for i in 0..20 {
        append(&log, vec![batch(1000 + i, 3, 30)]);
    }
    let written = read_all(&log);
    log.close().unwrap();
    let image = place.image();
    let name = "00000000000000000000.index";
    let entries = image[name].len() / 8;
    assert!(entries > 3);
    // All but the last one, which is looked at.
    for entry in 0..entries - 1 {
        place.restore(&image);
        // The batch ends where the one before it does, it says: that one would be passed by.
        place.edit(name, |index| index[entry * 8 + 3] -= 3);
        let log = place.open();
        for from in 0..60 {
            let read = read_from(&log, offset(from), 1).unwrap();
            let from = usize::try_from(from).unwrap();
            assert_eq!(read, written[from / 3 * 3..], "entry {entry}, from {from}");
        }
    }
}
