//! Snapshots of what is known of producers: when they are written, which are kept, and that nothing depends on them.

use std::collections::BTreeSet;

use super::faults::fail;
use super::*;
use crate::env::{CallKind, Disk};

const A: (i64, i16) = (1, 0);

fn offsets(place: &Place, suffix: &str) -> Vec<i64> {
    place.names(suffix).iter().map(|name| name[..20].parse().unwrap()).collect()
}

/// The log of a producer, in segments of three batches.
fn filled(place: &Place, batches: i32) -> Log {
    let log = place.open();
    for sequence in 0..batches {
        append(&log, vec![sent_by(A, sequence, 1, false)]);
    }
    log
}

#[test]
fn a_snapshot_is_written_at_each_roll_and_at_the_end() {
    let place = Place::in_memory(300, 100);
    let log = filled(&place, 8);
    assert_eq!(offsets(&place, ".log"), [0, 3, 6]);
    assert_eq!(offsets(&place, ".snapshot"), [3, 6]);
    log.close().unwrap();
    assert_eq!(offsets(&place, ".snapshot"), [3, 6, 8]);
    // The one at the end makes place for the next end.
    let log = place.open();
    append(&log, vec![sent_by(A, 8, 1, false), sent_by(A, 9, 1, false)]);
    assert_eq!(offsets(&place, ".snapshot"), [3, 6, 8, 9]);
    log.sync().unwrap();
    assert_eq!(offsets(&place, ".snapshot"), [3, 6, 9]);
    drop(log);
    place.recover(0);
    assert_eq!(offsets(&place, ".snapshot"), [3, 6, 9, 10]);
}

#[test]
fn snapshots_that_nobody_would_begin_with_are_removed() {
    let place = Place::in_memory(300, 100);
    filled(&place, 8).close().unwrap();
    let good = place.read("00000000000000000003.snapshot").unwrap();
    let image = place.image();
    for shutdown in [Shutdown::Clean, Shutdown::Unclean { recovery_point: offset(8) }] {
        for stray in [0, 1, 4, 7, 9, 1000] {
            place.restore(&image);
            place.write(&format!("{stray:020}.snapshot"), &good);
            place.write("0000000000000000000x.snapshot", b"not ours");
            let log = place.try_open(shutdown).unwrap().0;
            place.remove("0000000000000000000x.snapshot");
            assert_eq!(offsets(&place, ".snapshot"), [3, 6, 8], "{stray}");
            assert_eq!(log.snapshot(), image["00000000000000000008.snapshot"]);
        }
    }
}

/// A truncation leaves none that speaks of what is gone, whatever takes its place.
#[test]
fn a_truncation_removes_the_snapshots_behind_it() {
    for to in 0..9 {
        let place = Place::in_memory(300, 100);
        filled(&place, 8).close().unwrap();
        let log = place.open();
        log.truncate_to(offset(to)).unwrap();
        assert!(offsets(&place, ".snapshot").iter().all(|at| *at <= to.min(8)), "{to}");
        let other = (1, 7);
        append(&log, (0..6).map(|sequence| sent_by(other, sequence, 1, false)).collect());
        let expected = log.snapshot();
        drop(log);
        assert_eq!(place.recover(0).0.snapshot(), expected);
        let copy = place.copy();
        copy.names(".snapshot").iter().for_each(|name| copy.remove(name));
        assert_eq!(copy.recover(0).0.snapshot(), expected, "{to}");
    }
}

/// After a clean shutdown what is known comes from the snapshot at the end: the batches are not looked at.
#[test]
fn a_clean_open_goes_through_no_batches() {
    let place = Place::in_memory(1 << 20, 1 << 20);
    let log = filled(&place, 50);
    log.close().unwrap();
    let expected = log.snapshot();
    // As if others had written them; the checksum is not looked at either.
    place.edit("00000000000000000000.log", |log| log[50] ^= 1);
    assert_eq!(place.open().snapshot(), expected);
    place.remove("00000000000000000050.snapshot");
    assert_ne!(place.open().snapshot(), expected);
}

/// A3, F9: any snapshot may be missing, empty or garbled, also several.
#[test]
fn without_snapshots_the_batches_tell_the_same() {
    let place = Place::in_memory(300, 100);
    let log = filled(&place, 8);
    log.close().unwrap();
    let (image, expected) = (place.image(), log.snapshot());
    let names = place.names(".snapshot");
    for harm in 0..4 {
        for which in 1..1 << names.len() {
            for shutdown in [Shutdown::Clean, Shutdown::Unclean { recovery_point: offset(8) }] {
                place.restore(&image);
                let harmed = names.iter().enumerate().filter(|(at, _)| which >> at & 1 == 1);
                for (_, name) in harmed {
                    match harm {
                        0 => place.remove(name),
                        1 => place.write(name, b""),
                        2 => place.edit(name, |content| content[20] ^= 1),
                        _ => place.edit(name, |content| content.truncate(40)),
                    }
                }
                let log = place.try_open(shutdown).unwrap().0;
                assert_eq!(log.snapshot(), expected, "harm {harm} to {which:b}");
                log.close().unwrap();
                let left = offsets(&place, ".snapshot").into_iter().collect::<BTreeSet<_>>();
                assert!(left.contains(&8) && left.is_subset(&BTreeSet::from([3, 6, 8])));
                let newest = "00000000000000000008.snapshot";
                assert_eq!(place.read(newest), image.get(newest).cloned());
            }
        }
    }
}

/// A sync first writes a snapshot if the last one is too far behind, so that a recovery has little to go through.
#[test]
fn the_flush_point_does_not_leave_the_last_snapshot_far_behind() {
    const MIB: i64 = 1 << 20;
    let place = Place::in_memory(90 * MIB as u32, 4096);
    let mut log = place.open();
    let mut last = 0;
    // A batch is a little less than 1 MiB.
    for sequence in 0..230 {
        append(&log, vec![batch(1, 1, MIB as usize - 200), sent_by(A, sequence, 1, false)]);
        if sequence % 7 == 0 {
            let flushed = log.sync().unwrap().value();
            let snapshots = offsets(&place, ".snapshot");
            last = snapshots.last().copied().unwrap_or(0);
            assert!((flushed - last) / 2 <= 64, "{flushed}: {snapshots:?}");
            let bases = offsets(&place, ".log");
            let between = snapshots.iter().filter(|at| !bases.contains(at)).count();
            assert!(between <= 1, "{snapshots:?} of {bases:?}");
        }
        if sequence == 120 {
            log.sync().unwrap();
            let expected = log.snapshot();
            log = place.recover(log.flushed().value()).0;
            assert_eq!(log.snapshot(), expected);
        }
    }
    assert!(last > 0);
}

/// A full disk costs a snapshot, not an append and not a sync.
#[test]
fn a_snapshot_that_cannot_be_written_is_done_without() {
    for (call, pass) in [(CallKind::Write, 1), (CallKind::Sync, 1)] {
        let disk = Disk::new();
        let place = Place::on(disk.file_system(), 300, 100);
        let log = filled(&place, 3);
        if call == CallKind::Write {
            log.sync().unwrap();
            fail(&disk, call, 0, 1, std::io::ErrorKind::StorageFull);
            append(&log, vec![sent_by(A, 3, 1, false)]);
            assert_eq!(offsets(&place, ".snapshot"), [3], "what the failed write left");
        } else {
            append(&log, vec![sent_by(A, 3, 1, false)]);
            // Two logs, the indexes of one, the snapshot.
            fail(&disk, call, pass + 3, 1, std::io::ErrorKind::StorageFull);
            log.sync().unwrap();
        }
        disk.heal();
        let expected = log.snapshot();
        assert!(!log.is_offline());
        assert_eq!(place.recover(0).0.snapshot(), expected);
        log.close().unwrap();
        assert_eq!(place.open().snapshot(), expected);
    }
}

#[test]
fn a_log_that_was_never_written_to_has_no_snapshot() {
    let place = Place::in_memory(300, 100);
    place.open().close().unwrap();
    assert!(place.fs.list(&place.dir()).is_err());
    place.write("00000000000000000036.log", b"");
    place.recover(0).0.close().unwrap();
    assert_eq!(offsets(&place, ".snapshot"), [0i64; 0]);
}
