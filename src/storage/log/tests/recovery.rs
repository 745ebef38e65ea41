//! Opening a log that was not closed.

use super::*;

const FIRST: &str = "00000000000000000000.log";

/// 12 batches of 3 records, some 130 bytes each.
fn filled(place: &Place) -> Log {
    let log = place.open();
    for i in 0..12 {
        append(&log, vec![batch(1000 + i, 3, 10)]);
    }
    log
}

fn drop_indexes(place: &Place) {
    for suffix in [".index", ".timeindex"] {
        place.names(suffix).iter().for_each(|name| place.remove(name));
    }
}

/// The log's files equal those that it would have if it had been closed in this state.
fn assert_indexes_equal_rebuilt_ones(place: &Place) {
    let found = place.image();
    drop_indexes(place);
    let (log, _) = place.recover(0);
    log.close().unwrap();
    for (name, content) in &found {
        if name.ends_with("index") {
            assert_eq!(Some(content), place.read(name).as_ref(), "{name}");
        }
    }
}

#[test]
fn a_torn_tail_is_cut_at_every_length_of_the_last_batch() {
    let place = Place::in_memory(1 << 20, 200);
    let log = filled(&place);
    let before_last = log.read(offset(33), 1, log.end()).unwrap().batches[0].bytes().len();
    log.close().unwrap();
    let image = place.image();
    let full = image[FIRST].len();
    for missing in 1..=before_last {
        for indexed in [true, false] {
            place.restore(&image);
            if !indexed {
                drop_indexes(&place);
            }
            place.edit(FIRST, |log| log.truncate(full - missing));
            let (log, report) = place.recover_undigested(0);
            assert_eq!(log.end(), offset(33));
            assert_eq!(report.cut_bytes, (before_last - missing) as u64);
            assert_eq!(read_all(&log).len(), 33);
            assert!(!log.is_offline());
            append(&log, vec![batch(5, 2, 10)]);
            assert_eq!(read_all(&log).len(), 35);
            log.close().unwrap();
            assert_indexes_equal_rebuilt_ones(&place);
        }
    }
}

#[test]
fn garbage_behind_the_last_batch_is_cut() {
    for garbage in [vec![0xa5; 77], vec![0; 77], vec![0; 5000], vec![0xff; 61], vec![1]] {
        for point in [0, 20, 36] {
            let place = Place::in_memory(1 << 20, 200);
            filled(&place).close().unwrap();
            let clean = place.image();
            place.edit(FIRST, |log| log.extend(&garbage));
            let (log, report) = place.recover(point);
            assert_eq!((log.end(), report.cut_bytes), (offset(36), garbage.len() as u64));
            assert!(report.scanned_bytes > 0);
            log.close().unwrap();
            place.names(".quarantine").iter().for_each(|name| place.remove(name));
            assert_eq!(place.image(), clean);
        }
    }
}

#[test]
fn a_bad_batch_above_the_recovery_point_ends_the_log() {
    let place = Place::in_memory(1 << 20, 200);
    filled(&place).close().unwrap();
    let image = place.image();
    let size = image[FIRST].len() / 12;
    for at in 0..12 {
        // Some byte under the checksum, some of the header that is not.
        for byte in [70, 30, 21, 11, 16] {
            place.restore(&image);
            place.edit(FIRST, |log| log[at * size + byte] ^= 0x40);
            let (log, _) = place.recover_undigested(at as i64 * 3);
            assert_eq!(log.end(), offset(at as i64 * 3), "batch {at}, byte {byte}");
            assert!(!log.is_offline());
            assert_eq!(read_all(&log).len(), at * 3);
        }
    }
}

#[test]
fn segments_behind_a_bad_batch_are_removed() {
    let place = Place::in_memory(300, 100);
    filled(&place).close().unwrap();
    let logs = place.names(".log");
    assert!(logs.len() > 4);
    place.edit(&logs[2], |log| log[80] ^= 1);
    let (log, report) = place.recover_undigested(0);
    assert!(report.cut_bytes > 0);
    assert_eq!(place.names(".log"), logs[..3]);
    let end = log.end();
    assert_eq!(end.value(), logs[2][..20].parse::<i64>().unwrap());
    append(&log, (0..6).map(|_| batch(9, 3, 10)).collect());
    log.close().unwrap();
    assert_indexes_equal_rebuilt_ones(&place);
    assert_eq!(read_all(&place.open()).len() as i64, end.value() + 18);
}

#[test]
fn what_comes_behind_a_missing_segment_is_removed() {
    let place = Place::in_memory(300, 100);
    filled(&place).close().unwrap();
    let logs = place.names(".log");
    place.remove(&logs[2]);
    let (log, _) = place.recover_undigested(0);
    assert_eq!(place.names(".log"), logs[..2]);
    assert_eq!(log.end().value(), logs[2][..20].parse::<i64>().unwrap());
    assert_eq!(read_all(&log).len() as i64, log.end().value());
}

/// A15: overlapping segments are an answer, not a panic.
#[test]
fn an_overlapping_segment_is_removed() {
    let place = Place::in_memory(1 << 20, 100);
    filled(&place).close().unwrap();
    let content = place.read(FIRST).unwrap();
    place.write("00000000000000000009.log", &content);
    let (log, _) = place.recover_undigested(0);
    assert_eq!(log.end(), offset(36));
    assert_eq!(place.names(".log"), [FIRST]);
}

/// A12, A16: a crash between the creation of a segment and its first batch.
#[test]
fn an_empty_active_segment_needs_no_indexes() {
    for (unclean, remove) in [(true, true), (true, false), (false, true), (false, false)] {
        let place = Place::in_memory(300, 100);
        filled(&place).close().unwrap();
        place.write("00000000000000000036.log", b"");
        if !remove {
            place.write("00000000000000000036.index", b"");
            place.write("00000000000000000036.timeindex", b"");
        }
        let log = if unclean { place.recover(36).0 } else { place.open() };
        assert_eq!(log.end(), offset(36));
        append(&log, vec![batch(1, 3, 10)]);
        assert_eq!(read_all(&log).len(), 39);
        log.close().unwrap();
        assert_eq!(read_all(&place.open()).len(), 39);
    }
}

#[test]
fn a_log_whose_only_segment_is_empty_begins_at_its_name() {
    let place = Place::in_memory(300, 100);
    place.write("00000000000000000036.log", b"");
    for log in [place.open(), place.recover(0).0, place.recover(36).0] {
        assert_eq!((log.start(), log.end()), (offset(36), offset(36)));
    }
}

/// A23: log and index reach the disk in any order.
#[test]
fn an_index_that_is_ahead_of_its_log_is_not_used() {
    let place = Place::in_memory(1 << 20, 100);
    let log = filled(&place);
    let early = {
        log.close().unwrap();
        place.image()
    };
    append(&log, (0..5).map(|i| batch(2000 + i, 3, 10)).collect());
    log.close().unwrap();
    let late = place.image();
    for (log_of, index_of, times_of) in [
        (&early, &late, &late),
        (&early, &late, &early),
        (&late, &early, &late),
        (&late, &early, &early),
    ] {
        for point in [0, 12, 36] {
            place.restore(log_of);
            place.write(&FIRST.replace("log", "index"), &index_of[&FIRST.replace("log", "index")]);
            let times = FIRST.replace("log", "timeindex");
            place.write(&times, &times_of[&times]);
            let (log, _) = place.recover(point);
            let count = if std::ptr::eq(log_of, &early) { 36 } else { 51 };
            assert_eq!(read_all(&log).len(), count);
            log.close().unwrap();
            assert_eq!(&place.image(), log_of);
        }
    }
}

/// A24: zeros are no entries.
#[test]
fn zero_filled_index_pages_are_not_used() {
    let place = Place::in_memory(1 << 20, 100);
    filled(&place).close().unwrap();
    let image = place.image();
    for suffix in ["index", "timeindex"] {
        let name = FIRST.replace("log", suffix);
        let length = image[&name].len();
        for (from, to) in
            [(0, length), (0, 12), (length / 2, length), (length - 12, length), (0, 24)]
        {
            for clean in [true, false] {
                place.restore(&image);
                place.edit(&name, |bytes| bytes[from..to].fill(0));
                let log = if clean { place.open() } else { place.recover(36).0 };
                let all = read_all(&log);
                assert_eq!(all.len(), 36);
                for record in [0, 10, 35] {
                    let time = Timestamp::from_millis(all[record].timestamp.unwrap()).unwrap();
                    let found = log.find_timestamp(time, log.end(), &Limits::default()).unwrap();
                    assert_eq!(found.unwrap().offset.value(), (record / 3 * 3) as i64);
                }
                log.close().unwrap();
                assert_eq!(place.image(), image, "{suffix} {from}..{to} clean {clean}");
            }
        }
    }
}

/// A8: nothing is read after a clean shutdown, and what is suspect after another.
#[test]
fn the_report_tells_what_was_scanned() {
    let place = Place::in_memory(1 << 20, 300);
    filled(&place).close().unwrap();
    let size = place.read(FIRST).unwrap().len() as u64;
    let (_, report) = place.try_open(Shutdown::Clean).unwrap();
    assert_eq!(report, Recovered::default());
    let (_, report) = place.recover(0);
    assert_eq!(report, Recovered { scanned_bytes: size, ..Recovered::default() });
    let (_, report) = place.recover(36);
    assert!((1..700).contains(&report.scanned_bytes), "{report:?}");
}

#[test]
fn a_log_that_was_never_written_to_leaves_no_trace() {
    let place = Place::in_memory(1000, 100);
    place.open().close().unwrap();
    assert_eq!(place.recover(0).0.end(), Offset::ZERO);
    assert!(place.fs.list(&place.dir()).is_err());
}

#[test]
fn leftovers_are_removed_and_other_files_are_not() {
    let place = Place::in_memory(1 << 20, 100);
    filled(&place).close().unwrap();
    for name in ["00000000000000000000.log.tmp", "a.deleted"] {
        place.write(name, b"x");
    }
    place.write("notes", b"y");
    place.recover(0);
    assert_eq!(place.names("tmp").len() + place.names("deleted").len(), 0);
    assert_eq!(place.names("notes").len(), 1);
}

/// C7, and the epochs are rebuilt from the batches.
#[test]
fn epochs_are_found_again_without_their_file() {
    for garbled in [None, Some(&b""[..]), Some(b"0\n1\n"), Some(b"\0\0\0\0")] {
        let place = Place::in_memory(300, 100);
        let log = place.open();
        for e in [0, 0, 3, 4] {
            log.append_as_client(vec![batch(1, 2, 50)], epoch(e));
        }
        log.close().unwrap();
        let name = "leader-epoch-checkpoint";
        let file = place.read(name).unwrap();
        assert_eq!(file, b"0\n3\n0 0\n3 4\n4 6\n");
        for clean in [true, false] {
            match garbled {
                None => place.remove(name),
                Some(content) => place.write(name, content),
            }
            let log = if clean { place.open() } else { place.recover(8).0 };
            log.close().unwrap();
            assert_eq!(place.read(name).unwrap(), file);
        }
    }
}
