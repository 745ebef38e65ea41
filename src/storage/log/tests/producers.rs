//! Batches that are sent again, transactions, and what errors leave of both.

use std::io;

use super::faults::fail;
use super::*;
use crate::env::{CallKind, Disk, Fault};
use crate::storage::ProducerError;

const A: (i64, i16) = (1, 0);
const B: (i64, i16) = (2, 0);

fn appended(result: &Result<Appended, AppendError>) -> (i64, i64) {
    let appended = result.as_ref().unwrap();
    (appended.base.value(), appended.next.value())
}

fn is_out_of_order(result: &Result<Appended, AppendError>) -> bool {
    matches!(result, Err(AppendError::Producer(ProducerError::OutOfOrderSequence { .. })))
}

fn stable(log: &Log) -> i64 {
    log.last_stable(log.end()).value()
}

#[test]
fn a_batch_that_is_sent_again_is_answered_with_its_old_offsets() {
    let place = Place::in_memory(400, 100);
    let log = place.open();
    // The second copy may come in the same call.
    let again = || [sent_by(A, 0, 2, false), sent_by(A, 2, 3, false), sent_by(A, 0, 2, false)];
    for _ in 0..2 {
        let results = log.append_as_client(again().into(), epoch(1));
        assert_eq!(results.iter().map(appended).collect::<Vec<_>>(), [(0, 2), (2, 5), (0, 2)]);
    }
    append(&log, (0..9).map(|i| sent_by(B, i, 1, false)).collect());
    assert!(place.names(".log").len() > 1);
    assert_eq!(appended(&log.append_as_client(again().into(), epoch(1))[1]), (2, 5));
    assert_eq!(log.end(), offset(14));
    log.close().unwrap();
    // A snapshot keeps the last batch of each.
    for log in [place.open(), place.recover(14).0] {
        let results = log.append_as_client(
            vec![sent_by(A, 2, 3, false), sent_by(B, 8, 1, false), sent_by(A, 0, 2, false)],
            epoch(1),
        );
        assert_eq!((appended(&results[0]), appended(&results[1])), ((2, 5), (13, 14)));
        assert!(is_out_of_order(&results[2]));
        assert_eq!(log.end(), offset(14));
    }
}

/// The answer has the timestamp that the first copy was written with.
#[test]
fn the_second_copy_of_a_batch_changes_nothing() {
    let place = Place::in_memory(1 << 20, 100);
    let log = place.open();
    append(&log, vec![sent_by(A, 0, 2, false)]);
    let before = (place.image(), log.snapshot());
    let again = log.append_as_client(vec![sent_by(A, 0, 2, false)], epoch(7));
    assert_eq!(again[0].as_ref().unwrap().timestamp, None);
    assert_eq!((place.image(), log.snapshot()), before);
    log.close().unwrap();
    assert_eq!(place.read("leader-epoch-checkpoint").unwrap(), b"0\n1\n1 0\n");
}

fn faulty() -> (Disk, Place, Log) {
    let disk = Disk::new();
    let place = Place::on(disk.file_system(), 400, 100);
    let log = place.open();
    append(&log, vec![sent_by(A, 0, 1, false), sent_by(B, 0, 1, true)]);
    log.sync().unwrap();
    (disk, place, log)
}

/// F1: what was not written was not seen, whichever call of an append failed.
#[test]
fn a_failed_append_changes_nothing_of_its_producers() {
    for (call, pass) in [(CallKind::Write, 0), (CallKind::Create, 0), (CallKind::Write, 2)] {
        let (disk, place, log) = faulty();
        fail(&disk, call, pass, 1, io::ErrorKind::StorageFull);
        let batches = || {
            let mut batches = vec![
                sent_by(A, 1, 1, false),
                sent_by(A, 0, 1, false),
                sent_by(A, 1, 1, false),
                marker(B, MarkerKind::Abort, 0),
            ];
            batches.extend((2..9).map(|i| sent_by(A, i, 1, false)));
            let origins = |batch: EncodedBatch| match batch.header().is_control() {
                true => (batch, AppendOrigin::Coordinator),
                false => (batch, AppendOrigin::Client),
            };
            batches.into_iter().map(origins).collect::<Vec<_>>()
        };
        let results = log.append(batches(), epoch(1), NOW).into_iter();
        let results = results.map(|r| r.map_err(|refused| refused.error)).collect::<Vec<_>>();
        let written = results.iter().filter(|result| result.is_ok()).count();
        assert!(written < results.len(), "{call:?}");
        assert_eq!(appended(&results[1]), (0, 1), "it was there before");
        for result in &results {
            match result {
                Ok(appended) => assert!(appended.next <= log.end()),
                Err(error) => assert!(matches!(error, AppendError::NotWritten(_)), "{error}"),
            }
        }
        disk.heal();
        let (recovered, _) = place.copy().recover(0);
        assert_eq!(recovered.snapshot(), log.snapshot(), "{call:?} {pass}");
        // The producer goes on where it was, whether its batches were written or not.
        let next = log.end();
        let rest = (1..10).map(|i| sent_by(A, i, 1, false)).collect();
        let results = log.append_as_client(rest, epoch(1));
        let bases = results.iter().map(|result| appended(result).0).collect::<Vec<_>>();
        assert!(bases.is_sorted() && bases.last() >= Some(&next.value()), "{bases:?}");
        assert_eq!(read_all(&log).iter().filter(|record| record.value.len() == 20).count(), 11);
    }
}

/// Whether a batch that may be on disk was sent again or not: it may be on disk.
#[test]
fn what_a_failed_sync_left_in_doubt_stays_in_doubt() {
    let (disk, _place, log) = faulty();
    append(&log, vec![sent_by(A, 1, 1, false)]);
    fail(&disk, CallKind::Sync, 0, 1, io::ErrorKind::Other);
    log.sync().unwrap_err();
    let results =
        log.append_as_client(vec![sent_by(A, 1, 1, false), sent_by(A, 2, 1, false)], epoch(1));
    assert!(matches!(results[0], Err(AppendError::Unknown(_))));
    assert!(matches!(results[1], Err(AppendError::NotWritten(_))));
}

#[test]
fn readers_of_committed_records_wait_for_the_oldest_transaction() {
    let place = Place::in_memory(400, 100);
    let log = place.open();
    append(&log, vec![batch(1, 2, 10), sent_by(A, 0, 2, true), sent_by(B, 0, 1, true)]);
    assert_eq!(stable(&log), 2);
    assert_eq!(log.last_stable(offset(1)), offset(1), "never above the high watermark");
    let fetched = log.read_committed(Offset::ZERO, 1 << 20, offset(2)).unwrap();
    assert_eq!(fetched.batches.len(), 1);
    log.append_as_coordinator(marker(A, MarkerKind::Commit, 0)).unwrap();
    log.note_high_watermark(offset(5));
    assert_eq!(stable(&log), 2, "another leader may not have the marker");
    log.note_high_watermark(offset(6));
    assert_eq!(stable(&log), 4);
    log.append_as_coordinator(marker(B, MarkerKind::Abort, 0)).unwrap();
    log.note_high_watermark(log.end());
    assert_eq!(stable(&log), 7);
    for (from, upto, aborted) in [(0, 7, 1), (0, 4, 0), (4, 5, 1), (5, 7, 1)] {
        let fetched = log.read_committed(offset(from), 1 << 20, offset(upto)).unwrap();
        assert_eq!(fetched.aborted.len(), aborted, "{from} to {upto}");
    }
}

/// C12.
#[test]
fn a_truncation_inside_a_transaction_opens_it_again() {
    for segment_bytes in [120, 300, 1 << 20] {
        let place = Place::in_memory(segment_bytes, 100);
        let log = place.open();
        append(&log, vec![batch(1, 3, 10), sent_by(A, 0, 1, true), sent_by(A, 1, 1, true)]);
        log.append_as_coordinator(marker(A, MarkerKind::Abort, 0)).unwrap();
        append(&log, vec![sent_by(B, 0, 1, true)]);
        log.note_high_watermark(log.end());
        log.sync().unwrap();
        log.checkpoint().unwrap();
        assert_eq!((stable(&log), place.names(".txnindex").len()), (6, 1));
        for (to, stable_at) in [(7, 6), (6, 6), (5, 3), (4, 3), (3, 3)] {
            log.truncate_to(offset(to)).unwrap();
            assert_eq!(log.end(), offset(to));
            log.note_high_watermark(log.end());
            assert_eq!(stable(&log), stable_at, "cut to {to}");
            assert_eq!(place.names(".txnindex").len(), usize::from(to > 5));
            let (recovered, _) = place.copy().recover(0);
            recovered.note_high_watermark(recovered.end());
            assert_eq!(recovered.snapshot(), log.snapshot());
            assert_eq!(stable(&recovered), stable_at);
        }
        // Other batches at the same offsets, and another end of the transaction.
        append(&log, vec![sent_by(A, 0, 1, true)]);
        log.append_as_coordinator(marker(A, MarkerKind::Commit, 0)).unwrap();
        log.note_high_watermark(log.end());
        let fetched = log.read_committed(offset(3), 1 << 20, offset(stable(&log))).unwrap();
        assert_eq!((stable(&log), fetched.aborted.len()), (5, 0));
    }
}

/// Three transactions that were aborted and one that is open, over several segments.
fn with_transactions(place: &Place) -> Log {
    let log = place.open();
    for round in 0..3 {
        append(&log, vec![sent_by(A, round * 2, 2, true), batch(round.into(), 1, 30)]);
        append(&log, vec![sent_by(B, round, 1, true)]);
        log.append_as_coordinator(marker(A, MarkerKind::Abort, round)).unwrap();
        log.append_as_coordinator(marker(B, MarkerKind::Commit, round)).unwrap();
    }
    append(&log, vec![sent_by(B, 3, 1, true), batch(9, 1, 30)]);
    log.note_high_watermark(log.end());
    log
}

fn aborted(log: &Log) -> Vec<(i64, i64, i64, i64)> {
    let fetched = log.aborted(Offset::ZERO, log.end());
    let numbers = |t: &crate::storage::AbortedTransaction| {
        (t.producer.value(), t.first.value(), t.last.value(), t.last_stable.value())
    };
    fetched.iter().map(numbers).collect()
}

/// B7: a transaction index that cannot be written costs no append and no offset, but no recovery point goes past it.
#[test]
fn a_failed_transaction_index_is_written_later() {
    for (call, part, kind) in [
        (CallKind::Write, "txnindex", io::ErrorKind::StorageFull),
        (CallKind::Write, "txnindex", io::ErrorKind::Other),
        (CallKind::Sync, "txnindex", io::ErrorKind::Other),
        (CallKind::SyncDir, "", io::ErrorKind::Other),
    ] {
        let disk = Disk::new();
        let place = Place::on(disk.file_system(), 300, 100);
        append(&place.open(), vec![batch(0, 1, 200)]);
        let (log, _) = place.recover(0);
        log.checkpoint().unwrap();
        drop(log);
        let log = with_transactions(&place);
        let (expected, end) = (aborted(&log), log.end());
        assert_eq!(expected, [(1, 1, 5, 4), (1, 7, 11, 10), (1, 13, 17, 16)]);
        log.sync().unwrap();
        disk.fail(Fault::new(kind).on(call).at(part).for_good());
        log.checkpoint().unwrap_err();
        log.checkpoint().unwrap_err();
        let results = log.append_as_client(vec![batch(7, 1, 10)], epoch(1));
        assert_eq!(appended(&results[0]).0, end.value());
        log.close().unwrap_err();
        // A crash at this moment.
        let copy = place.copy();
        assert_eq!(aborted(&copy.recover(1).0), expected, "{call:?}");
        disk.heal();
        if call == CallKind::SyncDir {
            assert!(log.is_offline(), "closing has to sync the directory too");
            continue;
        }
        assert_eq!(log.checkpoint().unwrap(), end.next());
        let copy = place.copy();
        assert_eq!(aborted(&copy.recover(end.value() + 1).0), expected, "{call:?}");
        log.close().unwrap();
        assert_eq!(aborted(&place.open()), expected, "{call:?}");
    }
}

#[test]
fn a_garbled_transaction_index_is_made_anew() {
    let place = Place::in_memory(300, 100);
    let log = with_transactions(&place);
    let expected = aborted(&log);
    let end = log.end().value();
    log.close().unwrap();
    let image = place.image();
    assert!(place.names(".txnindex").len() > 1);
    for name in place.names(".txnindex") {
        for harm in 0..5 {
            for point in [None, Some(0), Some(7), Some(end)] {
                place.restore(&image);
                place.edit(&name, |content| match harm {
                    0 => _ = content.pop(),
                    1 => content.push(0),
                    2 => content.fill(0),
                    3 => content[25] = 0xee,
                    _ => content.extend([0xff; 34]),
                });
                let log = match point {
                    None => place.open(),
                    Some(point) => place.recover(point).0,
                };
                assert_eq!(aborted(&log), expected, "{name} at {point:?}");
                log.close().unwrap();
                assert_eq!(place.image(), image, "{name} at {point:?}");
            }
        }
    }
}

/// An entry must not outlive its marker, nor a marker above the recovery point lack its entry.
#[test]
fn recovery_makes_the_transaction_index_fit_the_log() {
    let place = Place::in_memory(1 << 20, 100);
    let log = with_transactions(&place);
    log.close().unwrap();
    let (image, expected) = (place.image(), aborted(&log));
    let name = "00000000000000000000.log";
    let mut ends = Vec::new();
    let mut position = 0;
    while let Some(header) = log.segments.load()[0].header_at(position).unwrap() {
        position += header.size() as u64;
        ends.push((header.next_offset().value(), position as usize));
    }
    for (end, size) in ends {
        for (point, saved) in [(0, true), (end, true), (0, false)] {
            place.restore(&image);
            place.edit(name, |log| log.truncate(size + 20));
            place.remove("00000000000000000000.digest");
            if !saved {
                place.remove("00000000000000000000.txnindex");
            }
            let log = place.recover(point).0;
            assert_eq!(log.end(), offset(end));
            let left = expected.iter().filter(|t| t.2 < end).copied().collect::<Vec<_>>();
            assert_eq!(aborted(&log), left, "cut to {end}, from {point}");
            let on_disk = place.read("00000000000000000000.txnindex").unwrap_or_default();
            assert_eq!(on_disk.len(), left.len() * 34);
        }
    }
}

/// A record that only looks like a marker ends nothing.
#[test]
fn control_batches_that_are_no_markers_end_no_transaction() {
    let place = Place::in_memory(1 << 20, 100);
    let log = place.open();
    append(&log, vec![sent_by(A, 0, 1, true)]);
    let mut bytes = marker(A, MarkerKind::Abort, 0).bytes().to_vec();
    // The type in the record's key, and another that KRaft has.
    bytes[69] = 3;
    let crc = crate::record::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    let other = EncodedBatch::copy_from(&Batch::parse(bytes.clone().into()).unwrap()).unwrap();
    log.append_as_coordinator(other).unwrap();
    assert_eq!(stable(&log), 0);
    let mut bytes = marker(A, MarkerKind::Abort, 0).bytes().to_vec();
    bytes[61] = 0x7e;
    let broken = EncodedBatch::copy_from(&Batch::parse(bytes.into()).unwrap()).unwrap();
    assert!(matches!(log.append_as_coordinator(broken), Err(AppendError::Invalid(_))));
    assert_eq!(log.end(), offset(2));
    log.close().unwrap();
    assert_eq!(stable(&place.recover(0).0), 0);
}

/// F2: a producer that is idle is forgotten when it is looked for, and when a snapshot is read.
#[test]
fn idle_producers_expire() {
    let mut place = Place::in_memory(1 << 20, 100);
    place.config.producer_id_expiration = std::time::Duration::from_secs(1);
    let log = place.open();
    append(&log, vec![sent_by(A, 0, 1, false), sent_by(B, 0, 1, true)]);
    let again = |log: &Log| log.append_as_client(vec![sent_by(A, 1, 1, false)], epoch(1)).remove(0);
    log.close().unwrap();
    let expired = place.try_open_at(Shutdown::Clean, 1000).unwrap().0;
    let known = place.try_open_at(Shutdown::Clean, 999).unwrap().0;
    assert_eq!((known.snapshot().len(), expired.snapshot().len()), (10 + 2 * 46, 10 + 46));
    known.expire_producers(Timestamp::from_millis(1000).unwrap());
    assert_eq!(known.snapshot(), expired.snapshot(), "but not the one in a transaction");
    assert_eq!(appended(&again(&known)), (2, 3));
}

/// The rules that a broker has for batches from outside; those of the format are `record`'s.
#[test]
fn batches_from_outside_are_checked_against_the_logs_settings() {
    let mut place = Place::in_memory(1 << 20, 100);
    place.config.max_message_bytes = 200;
    let log = place.open();
    let check = |bytes: &[u8]| log.check_produced(bytes.to_vec().into(), &Limits::default());
    let good = sent_by(A, 0, 2, false);
    let checked = check(good.bytes()).unwrap();
    assert_eq!(checked.bytes(), good.bytes());
    assert!(log.append_as_client(vec![checked], epoch(1))[0].is_ok());
    let mut large = sent_by(A, 2, 20, false).bytes().to_vec();
    // The checksum of a batch that is too large is not looked at.
    large[70] ^= 1;
    let too_large = check(&large);
    assert!(matches!(too_large, Err(AppendError::BatchTooLarge { limit: 200, .. })));
    let transactional = check(sent_by(A, 2, 1, true).bytes());
    let unknown =
        |error| matches!(error, AppendError::Producer(ProducerError::UnknownTransaction { .. }));
    assert!(transactional.is_err_and(unknown));
    let control = check(marker(A, MarkerKind::Commit, 0).bytes());
    assert!(matches!(control, Err(AppendError::Invalid(_))));
}
