//! Errors of the disk: what is answered, and what is left behind.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::env::{CallKind, Disk, Fault};

/// A log on a disk that can fail, with 3 records in it.
fn faulty(segment_bytes: u32) -> (Disk, Place, Log) {
    let disk = Disk::new();
    let place = Place::on(disk.file_system(), segment_bytes, 100);
    let log = place.open();
    append(&log, vec![batch(1, 3, 10)]);
    log.sync().unwrap();
    (disk, place, log)
}

/// Fails the next `times` calls of this kind but `pass`.
pub(super) fn fail(disk: &Disk, kind: CallKind, pass: u64, times: u64, error: io::ErrorKind) {
    disk.fail(Fault::new(error).on(kind).after(pass).times(times));
}

/// Reopens as after a crash, with the disk healed.
fn count_after_crash(disk: &Disk, place: &Place, log: &Log) -> usize {
    disk.heal();
    let (log, _) = place.recover(log.flushed().value());
    assert!(!log.is_offline());
    read_all(&log).len()
}

#[test]
fn a_failed_write_is_cut_back_and_the_log_goes_on() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::Other] {
        let (disk, place, log) = faulty(1 << 20);
        fail(&disk, CallKind::Write, 0, 1, kind);
        let results = log.append_as_client(vec![batch(2, 3, 10), batch(2, 3, 10)], epoch(1));
        assert_eq!(results.len(), 2);
        for result in results {
            let Err(AppendError::NotWritten(error)) = result else { panic!("{result:?}") };
            assert_eq!(error.is_full(), kind != io::ErrorKind::Other);
        }
        assert_eq!((log.end(), log.is_offline()), (offset(3), false));
        assert_eq!(place.read("00000000000000000000.log").unwrap().len() as u64, log.size().1);
        append(&log, vec![batch(3, 3, 10)]);
        assert_eq!(
            read_all(&log).iter().filter_map(|r| r.timestamp).collect::<Vec<_>>(),
            [1, 1, 1, 3, 3, 3]
        );
        log.sync().unwrap();
        assert_eq!(count_after_crash(&disk, &place, &log), 6);
    }
}

#[test]
fn a_write_that_cannot_be_cut_back_takes_the_log_offline() {
    for call in [CallKind::SetLength, CallKind::Sync] {
        let (disk, place, log) = faulty(1 << 20);
        fail(&disk, CallKind::Write, 0, 1, io::ErrorKind::StorageFull);
        fail(&disk, call, 0, 1, io::ErrorKind::Other);
        let results = log.append_as_client(vec![batch(2, 3, 10), batch(2, 3, 10)], epoch(1));
        assert!(results.iter().all(|r| matches!(r, Err(AppendError::Unknown(_)))), "{results:?}");
        assert!(log.is_offline());
        let results = log.append_as_client(vec![batch(2, 3, 10)], epoch(1));
        assert!(matches!(
            &results[..],
            [Err(AppendError::NotWritten(StorageError::Offline { .. }))]
        ));
        assert_eq!(read_all(&log).len(), 3);
        assert_eq!(count_after_crash(&disk, &place, &log), 3);
    }
}

/// R4: the second sync would succeed, and say nothing about the first one's bytes.
#[test]
fn a_failed_sync_is_for_ever() {
    for (call, pass) in
        [(CallKind::Sync, 0), (CallKind::Sync, 1), (CallKind::SyncDir, 0), (CallKind::SyncDir, 1)]
    {
        let (disk, place, log) = faulty(400);
        append(&log, (0..4).map(|_| batch(2, 3, 10)).collect());
        let flushed = log.flushed();
        fail(&disk, call, pass, 1, io::ErrorKind::StorageFull);
        if log.sync().is_ok() {
            // The one call that may fail for want of space is that of an index.
            assert_eq!((call, pass), (CallKind::Sync, 1));
            continue;
        }
        disk.heal();
        assert!(log.is_offline());
        for _ in 0..2 {
            log.sync().unwrap_err();
            let results = log.append_as_client(vec![batch(2, 3, 10)], epoch(1));
            assert!(matches!(&results[..], [Err(AppendError::NotWritten(_))]));
        }
        log.close().unwrap_err();
        assert_eq!(log.flushed(), flushed);
        assert_eq!(read_all(&log).len(), 15);
        assert_eq!(count_after_crash(&disk, &place, &log), 15);
    }
}

/// A full disk costs an index, never the log.
#[test]
fn an_index_that_cannot_be_saved_is_made_again() {
    for (call, kind) in [
        (CallKind::Write, io::ErrorKind::StorageFull),
        (CallKind::Sync, io::ErrorKind::StorageFull),
    ] {
        let (disk, place, log) = faulty(400);
        append(&log, (0..4).map(|i| batch(2 + i, 3, 10)).collect());
        // The first sync of all is the log's.
        fail(&disk, call, u64::from(call == CallKind::Sync), 1, kind);
        log.sync().unwrap();
        disk.heal();
        append(&log, vec![batch(9, 3, 10)]);
        log.close().unwrap();
        let files = place.image();
        let log = place.open();
        for (time, first) in [(1, 0), (2, 3), (5, 12), (9, 15)] {
            let time = Timestamp::from_millis(time).unwrap();
            let found = log.find_timestamp(time, log.end(), &Limits::default()).unwrap();
            assert_eq!(found.unwrap().offset, offset(first));
        }
        log.close().unwrap();
        assert_eq!(place.image(), files);
        for name in place.names("index") {
            place.remove(&name);
        }
        place.recover(0).0.close().unwrap();
        assert_eq!(place.image(), files, "indexes that were saved late equal rebuilt ones");
    }
}

/// A13, and in the middle of one call: what came before the error is in, what comes after it is not tried.
#[test]
fn a_failed_roll_fails_the_rest_of_the_call() {
    for call in [CallKind::Create, CallKind::Remove, CallKind::Write] {
        let (disk, place, log) = faulty(400);
        // Batches of 130 bytes: the first two go to the first segment. Then a snapshot is written.
        let passed = if call == CallKind::Write { 2 } else { 0 };
        fail(&disk, call, passed, 1, io::ErrorKind::StorageFull);
        let mut batches: Vec<_> = (0..6).map(|_| batch(2, 3, 10)).collect();
        batches.insert(1, batch(2, 1, 500));
        let results = log.append_as_client(batches, epoch(1));
        let ok = results.iter().map(|result| result.is_ok()).collect::<Vec<_>>();
        assert!(matches!(results[1], Err(AppendError::BatchTooLarge { .. })));
        let written = ok.iter().filter(|ok| **ok).count();
        assert!(ok[0] && !ok[6] && written == 2, "{call:?} {ok:?}");
        for result in &results[3..] {
            assert!(matches!(result, Err(AppendError::NotWritten(e)) if e.is_full()), "{result:?}");
        }
        assert_eq!(log.end().value(), 3 + 3 * written as i64);
        disk.heal();
        append(&log, (0..3).map(|_| batch(7, 3, 10)).collect());
        let all = read_all(&log);
        assert!(all.iter().enumerate().all(|(i, record)| record.offset == i as i64));
        log.sync().unwrap();
        assert_eq!(count_after_crash(&disk, &place, &log), all.len());
    }
}

#[test]
fn the_first_append_can_be_tried_again() {
    for (call, pass) in [(CallKind::Write, 0), (CallKind::Create, 0), (CallKind::Write, 1)] {
        let disk = Disk::new();
        let place = Place::on(disk.file_system(), 1000, 100);
        let log = place.open();
        fail(&disk, call, pass, 1, io::ErrorKind::StorageFull);
        let results = log.append_as_client(vec![batch(1, 1, 1)], epoch(1));
        assert!(matches!(&results[..], [Err(AppendError::NotWritten(_))]), "{results:?}");
        append(&log, vec![batch(1, 1, 1)]);
        assert_eq!(read_all(&log).len(), 1);
        log.close().unwrap();
        assert_eq!(read_all(&place.open()).len(), 1);
    }
}

/// Whatever goes wrong in a truncation, nothing is appended to files that may be gone, and what recovery finds is a
/// prefix of the log.
#[test]
fn a_failed_truncation_takes_the_log_offline() {
    let mut failures = 0;
    for call in
        [CallKind::Write, CallKind::Sync, CallKind::Rename, CallKind::Remove, CallKind::SyncDir]
    {
        for pass in 0..8 {
            let (disk, place, log) = faulty(400);
            append(&log, (0..9).map(|_| batch(2, 3, 10)).collect());
            fail(&disk, call, pass, 1, io::ErrorKind::Other);
            if log.truncate_to(offset(5)).is_ok() {
                continue;
            }
            failures += 1;
            assert!(log.is_offline());
            disk.heal();
            log.truncate_to(offset(5)).unwrap_err();
            let (log, _) = place.recover(3);
            assert!(log.end() >= offset(3) && log.end() <= offset(30));
            assert_eq!(read_all(&log).len() as i64, log.end().value());
        }
    }
    assert!(failures > 8, "{failures}");
}

/// A10: a crash at any point of a recovery is recovered from as if it had been the first.
#[test]
fn a_crash_inside_recovery_changes_nothing() {
    let disk = Disk::new();
    let place = Place::on(disk.file_system(), 300, 100);
    let log = place.open();
    append(&log, (0..12).map(|i| batch(1000 + i, 3, 10)).collect());
    log.close().unwrap();
    let logs = place.names(".log");
    place.names("index").iter().for_each(|name| place.remove(name));
    place.names(".digest").iter().for_each(|name| place.remove(name));
    place.edit(&logs[3], |log| log.truncate(log.len() - 10));
    let image = place.image();
    let recovered = {
        place.recover(3).0.close().unwrap();
        place.image()
    };
    let mut crashes = 0;
    loop {
        place.restore(&image);
        let changes = AtomicUsize::new(0);
        disk.on_call(move |call| {
            let is_over =
                call.kind.is_change() && changes.fetch_add(1, Ordering::Relaxed) >= crashes;
            if is_over { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
        });
        let shutdown = Shutdown::Unclean { recovery_point: offset(3) };
        let survived = place.try_open(shutdown).is_ok();
        disk.heal();
        let (log, _) = place.recover(3);
        log.close().unwrap();
        assert_eq!(place.image(), recovered, "crash after {crashes} changes");
        if survived {
            break;
        }
        crashes += 1;
    }
    assert!(crashes > 10, "{crashes}");
}

/// A13: after the first error there are only errors, whoever appends.
#[test]
fn no_append_succeeds_after_the_first_error() {
    let (disk, _place, log) = faulty(1 << 20);
    let failed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for i in 0..200 {
                    let offline = log.is_offline();
                    let result = log.append_as_client(vec![batch(i, 1, 10)], epoch(1)).remove(0);
                    failed.fetch_add(usize::from(result.is_err()), Ordering::Relaxed);
                    assert!(!offline || result.is_err());
                }
            });
        }
        scope.spawn(|| {
            while log.end() < offset(100) {}
            fail(&disk, CallKind::Sync, 0, 1, io::ErrorKind::Other);
            log.sync().unwrap_err();
        });
    });
    assert_eq!(log.end().value() as usize, 3 + 800 - failed.into_inner());
}

#[test]
fn an_idle_checkpoint_syncs_nothing() {
    let (disk, _place, log) = faulty(1 << 20);
    log.checkpoint().unwrap();
    disk.fail(Fault::new(io::ErrorKind::Other).on(CallKind::Sync).for_good());
    assert_eq!(log.checkpoint().unwrap(), offset(3));
}

/// A1: a log that a crash left before its first sync: its name is not durable, whoever finds it there.
#[test]
fn recovery_makes_names_durable() {
    for pass in 0..2 {
        let disk = Disk::new();
        let place = Place::on(disk.file_system(), 1000, 100);
        append(&place.open(), vec![batch(1, 1, 1)]);
        fail(&disk, CallKind::SyncDir, pass, 1, io::ErrorKind::Other);
        place.try_open(Shutdown::Unclean { recovery_point: Offset::ZERO }).unwrap_err();
        assert_eq!(read_all(&place.recover(0).0).len(), 1);
    }
}
