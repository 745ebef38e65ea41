//! Followers that have what their leader has not.

use super::*;
use crate::storage::EpochEnd;

const A: (i64, i16) = (1, 0);

/// What a follower does that is told to fetch from `leader`: as many truncations as it takes, then one fetch. Returns
/// whether it has copied anything.
fn fetch(leader: &Log, follower: &Log, max_bytes: usize) -> bool {
    while let Some(latest) = follower.latest_epoch() {
        let EpochEnd { epoch, end } = leader.end_of_epoch(latest).unwrap();
        if epoch == latest && end >= follower.end() {
            break;
        }
        // Kafka's rule: as far as both can have the same.
        let cut = match follower.end_of_epoch(epoch) {
            Some(own) => own.end.min(end),
            None => end,
        };
        let before = (follower.end(), follower.latest_epoch());
        follower.truncate_to(cut.min(follower.end())).unwrap();
        assert_ne!((follower.end(), follower.latest_epoch()), before, "it has to get somewhere");
    }
    let fetched = leader.read(follower.end(), max_bytes, leader.end()).unwrap();
    let has_some = !fetched.batches.is_empty();
    follower.append_as_follower(fetched, NOW).unwrap();
    has_some
}

fn batches(log: &Log) -> Vec<Vec<u8>> {
    let mut next = log.start();
    let mut all = Vec::new();
    while next < log.end() {
        for batch in log.read(next, 4096, log.end()).unwrap().batches {
            next = batch.header().next_offset();
            all.push(batch.bytes().to_vec());
        }
    }
    all
}

/// C2, KIP-279: whatever elections follow one another, with writes or without, and whatever each replica has copied
/// before the next, all of them have the last leader's log in the end, also when they are opened again in between.
#[test]
fn logs_that_have_diverged_meet_again() {
    let mut cuts = 0;
    for seed in 0..400 {
        let mut random = fastrand::Rng::with_seed(seed);
        let places = [(); 3].map(|()| Place::in_memory(400, 100));
        let mut logs = places.each_ref().map(Place::open);
        let mut leader = 0;
        for term in (0..24).step_by(2) {
            leader = random.usize(..3);
            logs[leader].begin_epoch(epoch(term));
            for _ in 0..random.usize(..4) {
                let batch = batch(random.i64(0..1000), random.usize(1..4), 20);
                logs[leader].append_as_client(vec![batch], epoch(term)).remove(0).unwrap();
            }
            for follower in (0..3).filter(|at| *at != leader) {
                for _ in 0..random.usize(..3) {
                    let before = logs[follower].end();
                    fetch(&logs[leader], &logs[follower], 1);
                    cuts += usize::from(logs[follower].end() < before);
                }
            }
            if random.u8(..4) == 0 {
                let at = random.usize(..3);
                let end = logs[at].close().unwrap();
                let reopen = if random.bool() { 0 } else { random.i64(0..=end.value()) };
                logs[at] = places[at].recover_undigested(reopen).0;
                if at == leader {
                    logs[at].begin_epoch(epoch(term + 1));
                }
            }
        }
        logs[leader].begin_epoch(epoch(30));
        for follower in (0..3).filter(|at| *at != leader) {
            while fetch(&logs[leader], &logs[follower], 300) {}
            assert_eq!(batches(&logs[follower]), batches(&logs[leader]), "seed {seed}");
            assert_eq!(logs[follower].scrub().unwrap().damages, [], "seed {seed}");
            let last = (0..30).rev().find(|e| {
                logs[leader].end_of_epoch(epoch(*e)).is_some_and(|end| end.epoch == epoch(*e))
            });
            assert_eq!(logs[follower].latest_epoch(), last.map(epoch), "seed {seed}");
        }
    }
    assert!(cuts > 100, "{cuts}");
}

/// C9: of a log that was cut as a whole, and rolled since, nothing of before is known, in memory or on disk.
#[test]
fn a_full_truncation_leaves_nothing_stale() {
    let source = Place { cache_bytes: 1 << 20, ..Place::in_memory(400, 100) };
    let other = source.open();
    for n in 0..8 {
        append(&other, vec![sent_by((2, 0), n, 1, false)]);
    }
    let place = Place { cache_bytes: 1 << 20, ..Place::in_memory(400, 100) };
    let log = place.open();
    append(&log, (0..8).map(|n| sent_by(A, n, 1, true)).collect());
    log.append_as_coordinator(marker(A, MarkerKind::Abort, 1)).unwrap();
    append(&log, vec![sent_by(A, 8, 1, true)]);
    log.sync().unwrap();
    log.checkpoint().unwrap();
    log.truncate_to(Offset::ZERO).unwrap();
    assert_eq!((log.end(), log.flushed(), log.latest_epoch()), (Offset::ZERO, Offset::ZERO, None));
    assert_eq!(log.last_stable(offset(100)), offset(100), "no transaction is open");
    assert_eq!(log.aborted(Offset::ZERO, offset(100)), []);
    assert_eq!(log.sync().unwrap(), Offset::ZERO);
    assert_eq!(place.recover(0).0.end(), Offset::ZERO);
    while log.end() < other.end() {
        let fetched = other.read(log.end(), 200, other.end()).unwrap();
        log.append_as_follower(fetched, NOW).unwrap();
    }
    assert!(log.size().0 > 1);
    log.sync().unwrap();
    log.checkpoint().unwrap();
    for log in [log, place.recover(0).0, place.recover(8).0] {
        assert_eq!(batches(&log), batches(&other));
        assert_eq!(log.snapshot(), other.snapshot());
        assert_eq!(
            (log.last_stable(offset(8)), log.aborted(Offset::ZERO, offset(8))),
            (offset(8), vec![])
        );
        assert_eq!(log.latest_epoch(), Some(epoch(1)));
    }
}

/// C12: a truncation within a transaction, or of its marker, leaves it open where it began; one of all of it leaves none.
#[test]
fn the_first_unstable_offset_is_right_after_a_truncation() {
    for segment_bytes in [200, 1 << 20] {
        let place = Place::in_memory(segment_bytes, 100);
        let log = place.open();
        append(&log, vec![batch(1, 2, 10)]);
        append(&log, (0..4).map(|n| sent_by(A, n, 1, true)).collect());
        log.append_as_coordinator(marker(A, MarkerKind::Commit, 1)).unwrap();
        log.note_high_watermark(log.end());
        assert_eq!(log.last_stable(log.end()), offset(7));
        for (to, unstable) in [(6, 2), (5, 2), (3, 2), (2, 2), (1, 0)] {
            log.truncate_to(offset(to)).unwrap();
            assert_eq!(log.last_stable(log.end()), offset(unstable), "{to}");
            assert_eq!(log.last_stable(offset(100)), offset(if to > 2 { 2 } else { 100 }), "{to}");
            let log = place.recover(0).0;
            assert_eq!(log.last_stable(log.end()), offset(unstable), "{to}");
        }
        append(&log, vec![batch(1, 2, 10), sent_by(A, 0, 1, true)]);
        assert_eq!(log.last_stable(log.end()), offset(2));
        log.append_as_coordinator(marker(A, MarkerKind::Abort, 1)).unwrap();
        log.note_high_watermark(log.end());
        assert_eq!(log.last_stable(log.end()), offset(4));
    }
}
