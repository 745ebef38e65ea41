//! Batches that have their offsets already: what a follower copies.

use super::*;
use crate::env::{CallKind, Disk};

const A: (i64, i16) = (1, 0);
const B: (i64, i16) = (2, 3);

/// A leader's log with transactions, of several epochs and segments.
fn leader(place: &Place) -> Log {
    let log = place.open();
    for round in 0..6 {
        let batches = vec![
            sent_by(A, round * 2, 2, true),
            batch(round.into(), 3, 20),
            sent_by(B, round, 1, false),
        ];
        for result in log.append_as_client(batches, epoch(round / 2)) {
            result.unwrap();
        }
        let kind = if round % 2 == 0 { MarkerKind::Abort } else { MarkerKind::Commit };
        if round < 5 {
            log.append_as_coordinator(marker(A, kind, round)).unwrap();
        }
    }
    log
}

/// Copies from where the follower ends to where the leader does.
fn follow(leader: &Log, follower: &Log, max_bytes: usize) {
    while follower.end() < leader.end() {
        let from = follower.end().max(leader.start());
        let fetched = leader.read(from, max_bytes, leader.end()).unwrap();
        follower.append_as_follower(fetched, NOW).unwrap();
    }
}

fn bytes(log: &Log) -> Vec<u8> {
    let mut next = log.start();
    let mut all = Vec::new();
    while next < log.end() {
        let fetched = log.read(next, 1, log.end()).unwrap();
        all.extend_from_slice(fetched.batches[0].bytes());
        next = fetched.batches[0].header().next_offset();
    }
    all
}

fn assert_equal(leader: &Log, follower: &Log) {
    assert_eq!(bytes(follower), bytes(leader));
    assert_eq!(follower.snapshot(), leader.snapshot());
    [leader, follower].iter().for_each(|log| log.note_high_watermark(log.end()));
    assert_eq!(follower.last_stable(follower.end()), leader.last_stable(leader.end()));
    let all = |log: &Log| log.aborted(Offset::ZERO, log.end());
    assert_eq!(all(follower), all(leader));
}

#[test]
fn a_follower_knows_what_its_leader_does() {
    for (segment_bytes, cache_bytes) in [(300, 0), (1 << 20, 1 << 20), (500, 700)] {
        let mut place = Place::in_memory(400, 100);
        place.cache_bytes = cache_bytes;
        let leader = leader(&place);
        for max_bytes in [1, 500, 1 << 20] {
            let copy = Place::in_memory(segment_bytes, 100);
            let follower = copy.open();
            follow(&leader, &follower, max_bytes);
            assert_equal(&leader, &follower);
            follower.close().unwrap();
            leader.close().unwrap();
            let epochs = "leader-epoch-checkpoint";
            assert_eq!(copy.read(epochs), place.read(epochs));
            assert_equal(&leader, &copy.open());
            assert_equal(&leader, &copy.recover(0).0);
        }
    }
}

/// C15: what a follower has forgotten of producers by a truncation is no reason to refuse their batches.
#[test]
fn a_follower_that_was_cut_copies_again() {
    let leader = leader(&Place::in_memory(400, 100));
    let place = Place::in_memory(300, 100);
    let follower = place.open();
    follow(&leader, &follower, 1 << 20);
    for to in 0..leader.end().value() {
        follower.truncate_to(offset(to)).unwrap();
        follow(&leader, &follower, 400);
        assert_equal(&leader, &follower);
    }
}

/// B8: nothing is written of batches that do not follow one another.
#[test]
fn batches_that_do_not_follow_are_refused() {
    let mut place = Place::in_memory(1 << 20, 100);
    place.config.compact = true;
    let log = place.open();
    let fetched = |bases: &[u32]| Fetched {
        batches: bases.iter().map(|base| batch_at(*base, 3)).collect(),
        ..Fetched::default()
    };
    log.append_as_follower(fetched(&[0, 3]), NOW).unwrap();
    let before = place.image();
    for (bases, found, expected) in [
        (&[5][..], 5, 6),
        (&[0], 0, 6),
        (&[3, 6], 3, 6),
        (&[6, 8], 8, 9),
        (&[6, 6], 6, 9),
        (&[9, 6], 6, 12),
        (&[6, 9, 3], 3, 12),
    ] {
        match log.append_as_follower(fetched(bases), NOW) {
            Err(AppendError::UnexpectedOffset { base, expected: next }) => {
                assert_eq!((base, next), (offset(found), offset(expected)), "{bases:?}");
            }
            other => panic!("{bases:?}: {other:?}"),
        }
    }
    let mut rotten = batch_at(6, 3).bytes().to_vec();
    rotten[70] ^= 1;
    let batches = vec![Batch::parse(rotten.into()).unwrap()];
    let refused = log.append_as_follower(Fetched { batches, ..Fetched::default() }, NOW);
    assert!(matches!(refused, Err(AppendError::Invalid(_))));
    assert_eq!((place.image(), log.end()), (before, offset(6)));
    log.append_as_follower(fetched(&[]), NOW).unwrap();
    // Where the leader has compacted, offsets are missing.
    log.append_as_follower(fetched(&[10, 20]), NOW).unwrap();
    for log in [log, place.recover(23).0, place.recover(0).0] {
        assert_eq!(log.end(), offset(23));
        let first =
            |from| log.read(offset(from), 1, log.end()).unwrap().batches[0].header().base_offset();
        assert_eq!([6, 10, 13, 22].map(first), [10, 10, 20, 20].map(offset));
    }
}

/// A fetch goes to each segment in one write, and what the leader has in memory is not copied, and not checked again.
#[test]
fn trusted_batches_are_written_and_kept_as_they_are() {
    let disk = Disk::new();
    let place = Place { cache_bytes: 1 << 20, ..Place::on(disk.file_system(), 1000, 100) };
    let log = place.open();
    let mut batches = (0..10).map(|n| batch_at(n * 3, 3)).collect::<Vec<_>>();
    let mut rotten = batches[4].bytes().to_vec();
    rotten[70] ^= 1;
    batches[4] = Batch::parse(rotten.into()).unwrap();
    let size = batches.iter().map(|batch| batch.bytes().len()).sum::<usize>();
    let writes = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&writes);
    disk.on_call(move |call| {
        let of_log = call.kind == CallKind::Write && call.path.extension() == Some("log".as_ref());
        counted.fetch_add(of_log.into(), std::sync::atomic::Ordering::Relaxed);
        Ok(())
    });
    let fetched = Fetched { batches: batches.clone(), trusted: true, ..Fetched::default() };
    log.append_as_follower(fetched, NOW).unwrap();
    let segments = log.size().0;
    assert_eq!((segments, log.size().1), (size.div_ceil(1000), size as u64));
    assert_eq!(writes.load(std::sync::atomic::Ordering::Relaxed), segments);
    let kept = log.read(Offset::ZERO, 1 << 20, log.end()).unwrap();
    assert!(kept.trusted);
    for (kept, given) in kept.batches.iter().zip(&batches) {
        assert_eq!(kept.bytes().as_ptr(), given.bytes().as_ptr());
    }
    // What comes from the leader's file does not stay in memory.
    let fetched = Fetched { batches: vec![batch_at(30, 3)], ..Fetched::default() };
    log.append_as_follower(fetched, NOW).unwrap();
    assert!(!log.read(offset(30), 1, log.end()).unwrap().trusted);
}

#[test]
fn a_followers_log_begins_where_its_leaders_did() {
    let place = Place::in_memory(300, 100);
    let log = place.open();
    let batches = vec![batch_at(1000, 3), batch_at(1003, 3), batch_at(1006, 3), batch_at(1009, 3)];
    log.append_as_follower(Fetched { batches, trusted: true, ..Fetched::default() }, NOW).unwrap();
    log.close().unwrap();
    for log in [log, place.open(), place.recover(0).0] {
        assert_eq!((log.start(), log.end()), (offset(1000), offset(1012)));
        assert!(matches!(log.read(offset(999), 1, log.end()), Err(ReadError::OutOfRange { .. })));
    }
}

/// A segment that was begun for a batch that was not written stays behind, and gives way to another.
#[test]
fn a_failed_first_copy_leaves_a_log_that_can_go_on() {
    let disk = Disk::new();
    let place = Place::on(disk.file_system(), 300, 100);
    let log = place.open();
    let fetched = |base| Fetched { batches: vec![batch_at(base, 3)], ..Fetched::default() };
    faults::fail(&disk, CallKind::Write, 1, 1, std::io::ErrorKind::StorageFull);
    let failed = log.append_as_follower(fetched(1000), NOW);
    assert!(matches!(failed, Err(AppendError::NotWritten(_))));
    assert_eq!((log.start(), log.end()), (Offset::ZERO, Offset::ZERO));
    log.append_as_follower(fetched(500), NOW).unwrap();
    assert_eq!(place.names(".log"), ["00000000000000000500.log"]);
    for log in [log, place.recover(0).0] {
        assert_eq!((log.start(), log.end()), (offset(500), offset(503)));
    }
}
