//! Followers whose leader begins later than they end.

use super::*;
use crate::env::{CallKind, Disk, Fault, PowerCut};

fn fetched(bases: &[u32]) -> Fetched {
    let batches = bases.iter().map(|base| batch_at(*base, 10)).collect();
    Fetched { batches, ..Fetched::default() }
}

/// What the store says is known of a log's start is no more than that nothing of it was deleted.
fn reopen(place: &Place, shutdown: Shutdown) -> Log {
    let how = OpenLog { start: Some(Offset::ZERO), ..place.how_to_open(shutdown, 0) };
    let (log, found) = Log::open(how).unwrap();
    assert!(!log.is_offline(), "{found:?}");
    log
}

fn unclean(recovery_point: i64) -> Shutdown {
    Shutdown::Unclean { recovery_point: offset(recovery_point) }
}

fn bounds(log: &Log) -> (i64, i64) {
    assert!(log.flushed() >= log.start());
    (log.start().value(), log.end().value())
}

#[test]
fn nothing_is_left_of_a_log_that_starts_over() {
    let mut place = Place::in_memory(300, 100);
    place.cache_bytes = 1 << 20;
    let log = place.open();
    append(&log, (0..9).map(|n| sent_by((1, 0), n, 1, true)).collect());
    log.sync().unwrap();
    log.checkpoint().unwrap();
    log.start_over_at(offset(1000)).unwrap();
    assert_eq!(
        (bounds(&log), log.flushed(), log.latest_epoch()),
        ((1000, 1000), offset(1000), None)
    );
    assert_eq!(log.snapshot(), Place::in_memory(1, 1).open().snapshot());
    assert_eq!(log.last_stable(offset(1000)), offset(1000));
    let mut names = place.names("");
    names.sort();
    let base = "00000000000000001000";
    assert_eq!(
        names,
        [format!("{base}.digest"), format!("{base}.log"), "partition.metadata".into()]
    );
    for at in [0, 8, 999, 1001] {
        let read = log.read(offset(at), 1, offset(2000));
        assert!(matches!(read, Err(ReadError::OutOfRange { .. })), "{at}: {read:?}");
    }
    // Again, and too late.
    log.start_over_at(offset(1000)).unwrap();
    log.append_as_follower(fetched(&[1000, 1010]), NOW).unwrap();
    log.start_over_at(offset(1005)).unwrap();
    assert_eq!(bounds(&log), (1000, 1020));
}

/// It begins where it was told to, also when the recovery point on disk is of the time before.
#[test]
fn a_log_that_has_started_over_opens_there() {
    let place = Place::in_memory(300, 100);
    let log = place.open();
    append(&log, (0..9).map(|_| batch(1, 1, 50)).collect());
    log.close().unwrap();
    let log = place.open();
    log.start_over_at(offset(1000)).unwrap();
    for shutdown in [Shutdown::Clean, unclean(9), unclean(0), unclean(1000)] {
        assert_eq!(bounds(&reopen(&place.copy(), shutdown)), (1000, 1000), "{shutdown:?}");
    }
    log.append_as_follower(fetched(&[1000, 1010]), NOW).unwrap();
    log.sync().unwrap();
    let check = |end: i64| {
        for point in [9, 0, 1000, end] {
            let log = reopen(&place.copy(), unclean(point));
            assert_eq!((bounds(&log), log.latest_epoch()), ((1000, end), Some(epoch(0))));
            assert!(log.scrub().unwrap().damages.is_empty());
        }
    };
    check(1020);
    log.truncate_to(offset(1015)).unwrap();
    check(1010);
    log.append_as_follower(fetched(&[1010, 1020]), NOW).unwrap();
    log.sync().unwrap();
    log.checkpoint().unwrap();
    check(1030);
    log.close().unwrap();
    assert_eq!(bounds(&reopen(&place, Shutdown::Clean)), (1000, 1030));
}

/// A partition that is new to this store, and whose leader begins later.
#[test]
fn a_log_without_files_can_start_over() {
    let place = Place::in_memory(300, 100);
    place.open().start_over_at(offset(1000)).unwrap();
    assert_eq!(bounds(&reopen(&place, unclean(0))), (1000, 1000));
    let other = Place::in_memory(300, 100);
    other.open().append_as_follower(fetched(&[500]), NOW).unwrap();
    assert_eq!(bounds(&reopen(&other, unclean(0))), (500, 510));
}

/// C13: the leader's records were deleted up to the middle of a batch, which is the first one that a follower gets.
#[test]
fn a_first_batch_may_begin_below_the_start() {
    let disk = Disk::new();
    let place = Place::on(disk.file_system(), 300, 100);
    let log = place.open();
    append(&log, vec![batch(1, 9, 5)]);
    log.start_over_at(offset(1000)).unwrap();
    for bases in [&[900, 1000][..], &[990], &[1001, 1002]] {
        let refused = log.append_as_follower(fetched(bases), NOW);
        assert!(matches!(refused, Err(AppendError::UnexpectedOffset { .. })), "{bases:?}");
    }
    log.append_as_follower(fetched(&[995, 1005, 1015, 1025]), NOW).unwrap();
    assert_eq!(bounds(&log), (1000, 1035), "starts only rise");
    assert!(matches!(log.read(offset(999), 1, log.end()), Err(ReadError::OutOfRange { .. })));
    assert_eq!(seen(&log.read(offset(1000), 1, log.end()).unwrap().batches)[0].offset, 995);
    assert!(log.scrub().unwrap().damages.is_empty());
    // The batch goes, and comes again.
    log.truncate_to(offset(1003)).unwrap();
    assert_eq!(bounds(&log), (1000, 1000));
    log.append_as_follower(fetched(&[995]), NOW).unwrap();
    log.append_as_follower(fetched(&[1005]), NOW).unwrap();
    assert_eq!(bounds(&log), (1000, 1015));
    log.sync().unwrap();
    let deleted = Place { deleted: offset(1000), ..place.clone() };
    for point in [0, 9, 1000, 1005, 1015] {
        assert_eq!(bounds(&reopen(&deleted, unclean(point))), (1000, 1015), "{point}");
    }
    assert_eq!(
        bounds(&reopen(&place, unclean(1000))),
        (995, 1015),
        "who knows the start has to tell"
    );
}

/// A power cut leaves the old log or the new one, and nothing that was synced is lost.
#[test]
fn a_power_cut_while_starting_over_leaves_a_log_that_opens() {
    let disk = Disk::new();
    let place = Place::on(disk.file_system(), 300, 100);
    place.fs.sync_dir(Path::new("/")).unwrap();
    place.fs.sync_dir(&place.root).unwrap();
    let log = place.open();
    append(&log, (0..9).map(|_| batch(1, 1, 50)).collect());
    log.sync().unwrap();
    let point = log.checkpoint().unwrap().value();
    assert_eq!(point, 9);
    disk.record();
    log.start_over_at(offset(1000)).unwrap();
    let started = disk.recorded();
    log.append_as_follower(fetched(&[995, 1005]), NOW).unwrap();
    log.sync().unwrap();
    let synced = disk.recorded();
    let mut journal = disk.journal();
    let mut states = 0;
    loop {
        let single =
            (0..journal.unsynced()).flat_map(|at| [PowerCut::LosesOne(at), PowerCut::KeepsOne(at)]);
        let seed = journal.done() as u64 * 8;
        let cuts = [PowerCut::LosesAll, PowerCut::KeepsAll].into_iter().chain(single);
        for cut in cuts.chain((seed..seed + 8).map(PowerCut::Mixes)) {
            let image = journal.image(cut);
            let place = Place { fs: image.file_system(), ..place.clone() };
            let log = reopen(&place, unclean(point));
            let (done, found) = (journal.done(), bounds(&log));
            match found {
                (0, 9) => assert!(done < started, "{cut:?} after {done}"),
                (1000, 1000) | (995, 1005) => assert!(done < synced, "{cut:?} after {done}"),
                (995, 1015) => {}
                other => panic!("{other:?} {cut:?} after {done}"),
            }
            // It can go on, however often.
            drop(log);
            assert_eq!(bounds(&reopen(&place, unclean(point))), found);
            let log = reopen(&place, unclean(point));
            log.start_over_at(offset(2000)).unwrap();
            log.append_as_follower(fetched(&[2000]), NOW).unwrap();
            log.sync().unwrap();
            let place = Place { fs: image.image(PowerCut::LosesAll).file_system(), ..place };
            assert_eq!(bounds(&reopen(&place, unclean(point))), (2000, 2010));
            states += 1;
        }
        if !journal.step() {
            break;
        }
    }
    assert!(states > 200, "{states}");
}

/// A first batch that is not written, on a full disk, leaves no segment that a recovery would begin with.
#[test]
fn a_failed_first_batch_leaves_no_beginning() {
    let disk = Disk::new();
    let place = Place::on(disk.file_system(), 300, 100);
    let log = place.open();
    log.append_as_follower(fetched(&[0]), NOW).unwrap();
    log.truncate_to(Offset::ZERO).unwrap();
    let full = Fault::new(std::io::ErrorKind::StorageFull).on(CallKind::Write);
    for at in ["500.log", "500.digest"] {
        disk.fail(full.clone().at(at).times(1));
        let failed = log.append_as_follower(fetched(&[500]), NOW);
        assert!(matches!(failed, Err(AppendError::NotWritten(_))), "{at}: {failed:?}");
        assert_eq!(place.names(".log"), ["00000000000000000000.log"], "{at}");
        assert_eq!(bounds(&log), (0, 0));
    }
    assert_eq!(disk.failures().len(), 2);
    log.append_as_follower(fetched(&[0]), NOW).unwrap();
    log.sync().unwrap();
    assert_eq!(bounds(&reopen(&place, unclean(0))), (0, 10));
}
