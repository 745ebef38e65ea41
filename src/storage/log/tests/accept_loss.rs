//! Losses that are accepted: what is damaged goes, what is good stays, and the log takes appends again.

#![allow(clippy::single_range_in_vec_init, reason = "a list of what was lost, be it one")]

use std::ops::Range;

use super::damage::{assert_read_only, filled};
use super::*;
use crate::env::{CallKind, Disk, Fault, PowerCut};
use crate::storage::LossError;
use crate::storage::segment::length;

const FIRST: &str = "00000000000000000000.log";

fn offsets(range: Range<i64>) -> Range<Offset> {
    offset(range.start)..offset(range.end)
}

fn accept(log: &Log, range: Range<i64>) -> Result<Vec<Range<Offset>>, LossError> {
    let lost = log.accept_loss(&offsets(range), Timestamp::EPOCH)?;
    Ok(lost.into_iter().map(|damage| damage.offsets).collect())
}

/// The offsets that can be read, by reads as they come: over what is missing they go on.
fn readable(log: &Log) -> Vec<i64> {
    read_all(log).into_iter().map(|seen| seen.offset).collect()
}

fn all_but(lost: &[Range<i64>]) -> Vec<i64> {
    (0..36).filter(|at| !lost.iter().any(|lost| lost.contains(at))).collect()
}

/// The log goes on, and is the same after each kind of shutdown.
fn assert_usable(place: &Place, log: Log, lost: &[Range<i64>]) {
    assert!(!log.is_offline());
    assert_eq!(log.end(), offset(36));
    assert_eq!(readable(&log), all_but(lost));
    assert_eq!(log.scrub().unwrap().damages, []);
    append(&log, vec![batch(5, 2, 10)]);
    log.sync().unwrap();
    let expected = [all_but(lost), vec![36, 37]].concat();
    assert_eq!(readable(&log), expected);
    drop(log);
    for (recovery_point, bare) in [(36, false), (0, false), (0, true)] {
        let place = place.copy();
        if bare {
            for suffix in [".digest", "index", ".snapshot", "leader-epoch-checkpoint"] {
                place.names(suffix).iter().for_each(|name| place.remove(name));
            }
        }
        let (log, report) = place.recover(recovery_point);
        assert_eq!((report.damage, report.cut_bytes), (None, 0));
        assert_eq!(readable(&log), expected);
        log.close().unwrap();
        let (log, report) = place.try_open(Shutdown::Clean).unwrap();
        assert_eq!(report, Recovered::default());
        assert_eq!(readable(&log), expected);
    }
}

/// A18, A19: one flipped bit, whichever it is, costs one batch.
#[test]
fn a_damaged_batch_is_given_up_and_the_others_stay() {
    for segment_bytes in [300, 1 << 20] {
        let place = Place::in_memory(segment_bytes, 100);
        filled(&place);
        let image = place.image();
        // The attributes, the body, the base offset, the length: short and long.
        for byte in [22, 70, 6, 11, 9] {
            for name in place.names(".log") {
                place.restore(&image);
                place.edit(&name, |log| log[byte] ^= 0x10);
                place.remove("leader-epoch-checkpoint");
                let base = name[..20].parse::<i64>().unwrap();
                let log = place.recover(36).0;
                assert_read_only(&log);
                assert_eq!(log.unreadable(offset(base)), offsets(base..base + 3));
                let lost = base..base + 3;
                assert_eq!(accept(&log, lost.clone()).unwrap(), [offsets(lost.clone())]);
                let [kept] = &place.names(".quarantine")[..] else { panic!() };
                assert!(kept.starts_with(&name[..20]), "{kept}");
                assert_usable(&place, log, &[lost]);
            }
        }
    }
}

/// What is read from the beginning of a damaged log to its end, when each error is followed by a seek behind it.
#[test]
fn the_error_of_a_reader_says_where_to_go_on() {
    for segment_bytes in [300, 1 << 20] {
        let place = Place::in_memory(segment_bytes, 100);
        filled(&place);
        let size = place.read(FIRST).unwrap().len();
        let last = place.names(".log").pop().unwrap();
        place.edit(FIRST, |log| log[70] ^= 1);
        place.edit(&last, |log| log.truncate(log.len() - 1));
        let log = place.recover(36).0;
        let (mut at, mut found, mut lost) = (Offset::ZERO, Vec::new(), Vec::new());
        while at < log.end() {
            match log.read(at, 1, log.end()) {
                Ok(read) if read.batches[0].verify_crc().is_ok() => {
                    found.extend(seen(&read.batches).into_iter().map(|seen| seen.offset));
                    at = read.batches.last().unwrap().header().next_offset();
                }
                Ok(_) | Err(ReadError::Corrupt { .. }) => {
                    lost.push(log.unreadable(at));
                    at = log.unreadable(at).end;
                }
                Err(error) => panic!("{error} at {at} of {size}"),
            }
        }
        assert_eq!(lost, [offsets(0..3), offsets(33..36)]);
        assert_eq!(found, all_but(&[0..3, 33..36]));
    }
}

#[test]
fn what_is_missing_is_given_up_too() {
    for segment_bytes in [300, 1 << 20] {
        let place = Place::in_memory(segment_bytes, 100);
        filled(&place);
        let last = place.names(".log").pop().unwrap();
        // The end of the log: a batch and a half; all of the last file.
        for left in [60, 0] {
            let place = place.copy();
            place.edit(&last, |log| log.truncate(left));
            let first = last[..20].parse::<i64>().unwrap();
            for clean in [false, true] {
                let place = place.copy();
                let log = match clean {
                    true => {
                        let how = place.how_to_open(Shutdown::Clean, 0);
                        Log::open(OpenLog { closed_at: vec![offset(36)], ..how }).unwrap().0
                    }
                    false => place.recover(36).0,
                };
                assert_read_only(&log);
                assert_eq!(accept(&log, first..36).unwrap(), [offsets(first..36)]);
                assert_usable(&place, log, &[first..36]);
            }
        }
    }
    let place = Place::in_memory(300, 100);
    filled(&place);
    let names = place.names(".log");
    place.remove(&names[2]);
    let log = place.recover(36).0;
    assert_read_only(&log);
    let [from, to] = [2, 3].map(|at: usize| names[at][..20].parse::<i64>().unwrap());
    assert_eq!(accept(&log, 0..36).unwrap(), [offsets(from..to)]);
    assert_usable(&place, log, &[from..to]);
}

/// Bytes behind the end of a log that was closed.
#[test]
fn bytes_that_are_no_batch_of_the_log_are_given_up() {
    let place = Place::in_memory(1 << 20, 100);
    filled(&place);
    place.edit(FIRST, |log| log.extend([0xa5; 100]));
    let log = place.open();
    assert_read_only(&log);
    assert_eq!(accept(&log, 36..36).unwrap(), [offsets(36..36)]);
    assert_usable(&place, log, &[]);
}

/// A segment that is not the one that was written, though all its batches are good.
#[test]
fn a_segment_that_was_replaced_is_given_up_as_a_whole() {
    let place = Place::in_memory(1 << 20, 100);
    filled(&place);
    let other = Place::in_memory(1 << 20, 100);
    let log = other.open();
    append(&log, (0..12).map(|_| batch(77, 3, 10)).collect());
    log.close().unwrap();
    place.write(FIRST, &other.read(FIRST).unwrap());
    let log = place.recover(36).0;
    assert_read_only(&log);
    assert_eq!(accept(&log, 0..36).unwrap(), [offsets(0..36)]);
    assert_usable(&place, log, &[0..36]);
}

#[test]
fn nothing_is_given_up_that_was_not_named() {
    let place = Place::in_memory(1 << 20, 100);
    let size = filled(&place) / 12;
    [4, 8].iter().for_each(|at| place.edit(FIRST, |log| log[at * size + 70] ^= 1));
    place.remove("leader-epoch-checkpoint");
    let image = place.image();
    let log = place.recover(36).0;
    for range in [0..0, 0..12, 15..24, 27..36, 36..36, 99..100] {
        let error = accept(&log, range.clone()).unwrap_err();
        assert!(matches!(error, LossError::NotDamaged { .. }), "{range:?}: {error}");
    }
    for range in [0..13, 13..15, 12..14, 0..25, 12..26, 26..36] {
        let error = accept(&log, range.clone()).unwrap_err();
        assert!(matches!(error, LossError::Beyond(_)), "{range:?}: {error}");
    }
    assert_eq!(place.image(), image);
    assert_read_only(&log);
    // One after the other: the log takes no appends while anything is left.
    assert_eq!(accept(&log, 24..36).unwrap(), [offsets(24..27)]);
    assert_read_only(&log);
    let error = log.offline_error().to_string();
    assert!(error.contains("at offsets 12..15"), "{error}");
    assert_eq!(accept(&log, 0..24).unwrap(), [offsets(12..15)]);
    assert_usable(&place, log, &[12..15, 24..27]);
}

/// What was not accepted stays as it is, above the recovery point too, where a recovery would cut it.
#[test]
fn nothing_is_cut_while_damage_is_left() {
    let place = Place::in_memory(1 << 20, 100);
    let size = filled(&place) / 12;
    [4, 8].iter().for_each(|at| place.edit(FIRST, |log| log[at * size + 70] ^= 1));
    place.remove("leader-epoch-checkpoint");
    let log = place.recover_undigested(20).0;
    assert_read_only(&log);
    assert_eq!(accept(&log, 12..15).unwrap(), [offsets(12..15)]);
    assert_read_only(&log);
    assert_eq!(log.end(), offset(36));
    assert_eq!(read_from(&log, offset(27), 4096).unwrap().len(), 9);
    assert_eq!(accept(&log, 24..27).unwrap(), [offsets(24..27)]);
    assert_usable(&place, log, &[12..15, 24..27]);
}

/// After a clean shutdown nobody looks at the middle of a log: damage is found while it is in use.
#[test]
fn a_log_in_use_goes_on_while_a_loss_is_accepted() {
    for segment_bytes in [300, 1 << 20] {
        let place = Place { cache_bytes: 1 << 20, ..Place::in_memory(segment_bytes, 100) };
        filled(&place);
        place.edit(FIRST, |log| log[70] ^= 1);
        let log = place.open();
        append(&log, vec![batch(5, 2, 10)]);
        let read = log.read(offset(3), 1, log.end()).unwrap().batches;
        assert_eq!(accept(&log, 0..36).unwrap(), [offsets(0..3)]);
        assert_eq!(log.flushed(), offset(38));
        append(&log, vec![batch(5, 1, 10)]);
        assert_eq!(readable(&log), (3..39).collect::<Vec<_>>());
        assert_eq!(seen(&read)[0].offset, 3);
        log.close().unwrap();
        assert_eq!(readable(&place.open()), (3..39).collect::<Vec<_>>());
    }
}

#[test]
fn a_log_whose_sync_failed_is_not_brought_back() {
    let disk = Disk::new();
    let place = Place::on(disk.file_system(), 1 << 20, 100);
    filled(&place);
    place.edit(FIRST, |log| log[70] ^= 1);
    let log = place.open();
    append(&log, vec![batch(5, 2, 10)]);
    disk.fail(Fault::new(std::io::ErrorKind::Other).on(CallKind::Sync).times(1));
    log.sync().unwrap_err();
    let error = accept(&log, 0..36).unwrap_err();
    assert!(matches!(error, LossError::Storage(StorageError::Offline { .. })), "{error}");
    assert!(log.is_offline());
}

/// Whatever fails before the first change leaves the log as it was, to be tried again.
#[test]
fn a_loss_that_cannot_be_accepted_changes_nothing() {
    for kind in [CallKind::Create, CallKind::Write, CallKind::Sync] {
        for full in [true, false] {
            let disk = Disk::new();
            let place = Place::on(disk.file_system(), 300, 100);
            filled(&place);
            place.edit(FIRST, |log| log[70] ^= 1);
            let before = place.image();
            let log = place.open();
            let error =
                if full { std::io::ErrorKind::StorageFull } else { std::io::ErrorKind::Other };
            disk.fail(Fault::new(error).on(kind).at(".log.tmp").times(1));
            accept(&log, 0..36).unwrap_err();
            assert_eq!(disk.failures().len(), 1);
            let mut after = place.image();
            after.retain(|name, _| !name.ends_with(".quarantine"));
            assert_eq!(after, before);
            assert!(!log.is_offline());
            assert_eq!(accept(&log, 0..36).unwrap(), [offsets(0..3)]);
            assert_usable(&place, log, &[0..3]);
        }
    }
}

/// R2, R3: whatever a power cut leaves, what is good is there, and what was lost is in the log, or beside it. When the
/// call has returned, the log is whole.
#[test]
fn a_power_cut_while_a_loss_is_accepted_costs_nothing_more() {
    for segment_bytes in [300, 1 << 20] {
        let disk = Disk::new();
        let place = Place::on(disk.file_system(), segment_bytes, 100);
        filled(&place);
        let last = place.names(".log").pop().unwrap();
        place.edit(FIRST, |log| log[70] ^= 1);
        place.edit(&last, |log| log.truncate(log.len() - 1));
        let lost = place.read(FIRST).unwrap();
        let disk = quarantine::settled(&disk);
        let place = Place { fs: disk.file_system(), ..place };
        disk.record();
        let log = place.recover(36).0;
        assert_read_only(&log);
        accept(&log, 0..36).unwrap();
        drop(log);
        let mut journal = disk.journal();
        let mut states = 0;
        loop {
            let single = (0..journal.unsynced())
                .flat_map(|at| [PowerCut::LosesOne(at), PowerCut::KeepsOne(at)]);
            let seed = length(journal.done()) * 4;
            let cuts = [PowerCut::LosesAll, PowerCut::KeepsAll].into_iter().chain(single);
            for cut in cuts.chain((seed..seed + 4).map(PowerCut::Mixes)) {
                let place = Place { fs: journal.image(cut).file_system(), ..place.clone() };
                let context = format!("{cut:?} after {} changes", journal.done());
                let log = place.recover(36).0;
                for at in (3..33).step_by(3) {
                    let read = log.read(offset(at), 1, log.end()).unwrap();
                    assert_eq!(seen(&read.batches)[0].offset, at, "{context}");
                }
                let is_in_log = place.read(FIRST).unwrap().starts_with(&lost[..61]);
                assert!(is_in_log || !place.names(".quarantine").is_empty(), "{context}");
                // Again, unless it was done.
                match accept(&log, 0..36) {
                    Ok(given_up) => assert!(given_up.len() <= 2, "{context}"),
                    Err(error) => {
                        assert!(
                            matches!(error, LossError::NotDamaged { .. }),
                            "{context}: {error}"
                        );
                    }
                }
                assert_usable(&place, log, &[0..3, 33..36]);
                states += 1;
            }
            if !journal.step() {
                // All is durable by now.
                let image = journal.image(PowerCut::LosesAll);
                let place = Place { fs: image.file_system(), ..place.clone() };
                let (log, report) = place.recover(36);
                assert_eq!(report.damage, None);
                assert_usable(&place, log, &[0..3, 33..36]);
                break;
            }
        }
        assert!(states > 100, "{states}");
    }
}
