//! Damage that another replica's batches make good.

use std::cell::RefCell;
use std::ops::Range;

use super::damage::assert_read_only;
use super::*;
use crate::env::{CallKind, Disk, Fault, PowerCut};
use crate::storage::{EpochEnd, Repaired};

const FIRST: &str = "00000000000000000000.log";

type Image = BTreeMap<String, Vec<u8>>;

fn offsets(range: Range<i64>) -> Range<Offset> {
    offset(range.start)..offset(range.end)
}

/// What a leader has in these offsets.
fn from_log(leader: &Log, wanted: Range<Offset>) -> Option<Vec<Batch>> {
    let mut found = Vec::new();
    let mut next = wanted.start;
    while next < wanted.end {
        let batch = leader.read(next, 1, leader.end()).ok()?.batches.into_iter().next()?;
        next = batch.header().next_offset();
        found.push(batch);
    }
    Some(found)
}

/// A leader's log of 36 records and four epochs, and a follower's copy of it, closed.
fn leader_and_copy(segment_bytes: u32) -> (Log, Place) {
    let place = Place::in_memory(segment_bytes, 100);
    let leader = place.open();
    for at in 0..12 {
        leader.append_as_client(vec![batch(at, 3, 10)], epoch(at as i32 / 3)).remove(0).unwrap();
    }
    let copy = Place::in_memory(segment_bytes, 100);
    let follower = copy.open();
    while follower.end() < leader.end() {
        let fetched = leader.read(follower.end(), 200, leader.end()).unwrap();
        follower.append_as_follower(fetched, NOW).unwrap();
    }
    follower.close().unwrap();
    (leader, copy)
}

/// All files but what was kept aside.
fn image(place: &Place) -> Image {
    let mut image = place.image();
    image.retain(|name, _| !name.ends_with(".quarantine"));
    image
}

/// As it was closed: the store knows where it ended.
fn reopen(place: &Place) -> Log {
    let how = place.how_to_open(Shutdown::Clean, 0);
    Log::open(OpenLog { closed_at: vec![offset(36)], ..how }).unwrap().0
}

fn assert_same(place: &Place, before: &Image, context: &str) {
    let after = image(place);
    assert!(after.keys().eq(before.keys()), "{context}: {:?}", after.keys());
    for (name, content) in before {
        assert_eq!(after.get(name), Some(content), "{context}: {name}");
    }
}

fn repair(log: &Log, leader: &Log) -> Repaired {
    log.repair(&|wanted| from_log(leader, wanted), Timestamp::EPOCH).unwrap()
}

fn ranges(damages: &[crate::storage::Damage]) -> Vec<Range<Offset>> {
    damages.iter().map(|damage| damage.offsets.clone()).collect()
}

/// R6, A18, A19, H5: whichever bit flips, in whatever state the log is found, all files are what they were afterwards.
#[test]
fn a_flipped_bit_is_repaired_byte_for_byte() {
    for segment_bytes in [300, 1 << 20] {
        let (leader, copy) = leader_and_copy(segment_bytes);
        let before = image(&copy);
        let size = leader.read(Offset::ZERO, 1, leader.end()).unwrap().batches[0].bytes().len();
        let mut repairs = 0;
        for name in copy.names(".log") {
            for byte in 0..before[&name].len() {
                for how in 0..3 {
                    copy.restore(&before);
                    copy.edit(&name, |log| log[byte] ^= 1 << (byte % 8));
                    if how == 2 {
                        // The epochs are told by the file and by the batches: one of both has to be good.
                        if (12..16).contains(&(byte % size)) {
                            continue;
                        }
                        copy.remove("leader-epoch-checkpoint");
                    }
                    let log = if how == 0 { reopen(&copy) } else { copy.recover(36).0 };
                    let context = format!("{name} at {byte}, {how}");
                    let Repaired { repaired, left } = repair(&log, &leader);
                    assert_eq!((repaired.len(), &left[..]), (1, &[][..]), "{context}");
                    assert!(!copy.names(".quarantine").is_empty(), "{context}");
                    assert!(!log.is_offline(), "{context}");
                    assert_eq!(log.scrub().unwrap().damages, [], "{context}");
                    log.close().unwrap();
                    assert_same(&copy, &before, &context);
                    repairs += 1;
                }
            }
        }
        assert!(repairs > 1000, "{repairs}");
    }
}

/// What is missing is asked for like what is bad: the end of a file, all of it, a file that is gone.
#[test]
fn what_is_missing_is_repaired_too() {
    for segment_bytes in [300, 1 << 20] {
        let (leader, copy) = leader_and_copy(segment_bytes);
        let before = image(&copy);
        let last = copy.names(".log").pop().unwrap();
        for left in [60, 0] {
            copy.restore(&before);
            copy.edit(&last, |log| log.truncate(left));
            let log = copy.recover(36).0;
            assert_read_only(&log);
            let Repaired { repaired, left } = repair(&log, &leader);
            assert_eq!((repaired.len(), left.len()), (1, 0));
            append(&log, vec![batch(5, 2, 10)]);
            log.truncate_to(offset(36)).unwrap();
            log.close().unwrap();
            assert_eq!(image(&copy)[&last], before[&last]);
        }
    }
    let (leader, copy) = leader_and_copy(300);
    let names = copy.names(".log");
    copy.remove(&names[2]);
    let log = copy.recover(36).0;
    assert_read_only(&log);
    assert_eq!(repair(&log, &leader).left, []);
    assert_eq!(read_all(&log), read_all(&leader));
    // Bytes that are no batch, behind the end of a log that was closed.
    let (leader, copy) = leader_and_copy(1 << 20);
    let before = image(&copy);
    copy.edit(FIRST, |log| log.extend([0xa5; 100]));
    let log = copy.open();
    assert_read_only(&log);
    assert_eq!(ranges(&repair(&log, &leader).repaired), [offsets(36..36)]);
    log.close().unwrap();
    assert_same(&copy, &before, "");
}

/// A source that has something else than what is missing is not believed, and nothing is changed.
#[test]
fn a_source_that_is_damaged_too_repairs_nothing() {
    let (leader, copy) = leader_and_copy(1 << 20);
    let size = copy.read(FIRST).unwrap().len() / 12;
    copy.edit(FIRST, |log| log[6 * size + 70] ^= 1);
    copy.remove("leader-epoch-checkpoint");
    let log = copy.recover(36).0;
    assert_read_only(&log);
    let before = copy.image();
    let with = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = from_log(&leader, offsets(18..21)).unwrap()[0].bytes().to_vec();
        edit(&mut bytes);
        vec![Batch::parse(bytes.into()).unwrap()]
    };
    let good = with(&|_| {});
    let next = from_log(&leader, offsets(21..24)).unwrap();
    let wrong = [
        None,
        Some(Vec::new()),
        Some(with(&|bytes| bytes[70] ^= 1)),
        Some(with(&|bytes| bytes[7] += 1)),
        // Another leader epoch than those before it, or behind it, may have.
        Some(with(&|bytes| bytes[15] = 0)),
        Some(with(&|bytes| bytes[15] = 3)),
        Some(next.clone()),
        Some([good.clone(), next].concat()),
        Some([good.clone(), good.clone()].concat()),
        Some(vec![batch_at(18, 2)]),
        Some(vec![batch_at(18, 3)]),
    ];
    for (at, answer) in wrong.into_iter().enumerate() {
        let asked = RefCell::new(Vec::new());
        let source = |wanted| {
            asked.borrow_mut().push(wanted);
            answer.clone()
        };
        let Repaired { repaired, left } = log.repair(&source, Timestamp::EPOCH).unwrap();
        assert_eq!((repaired.len(), ranges(&left)), (0, vec![offsets(18..21)]), "{at}");
        assert_eq!(asked.into_inner(), [offsets(18..21)]);
        assert_read_only(&log);
        assert_eq!(copy.image(), before, "{at}");
    }
    assert_eq!(repair(&log, &leader).left, []);
}

/// Where all batches are good, but not those of the digest, they have to be afterwards.
#[test]
fn a_segment_that_was_replaced_is_repaired_by_its_digest() {
    let (leader, copy) = leader_and_copy(1 << 20);
    let before = image(&copy);
    let other = Place::in_memory(1 << 20, 100);
    let log = other.open();
    append(&log, (0..12).map(|_| batch(77, 3, 10)).collect());
    log.close().unwrap();
    copy.write(FIRST, &other.read(FIRST).unwrap());
    let follower = copy.recover(36).0;
    assert_read_only(&follower);
    assert_eq!(ranges(&repair(&follower, &log).left), [offsets(0..36)]);
    assert_read_only(&follower);
    assert_eq!(repair(&follower, &leader).left, []);
    follower.close().unwrap();
    assert_same(&copy, &before, "");
}

/// What can be repaired is, and stays so; the rest keeps the log from being written.
#[test]
fn a_repair_in_part_is_kept() {
    for segment_bytes in [300, 1 << 20] {
        let (leader, copy) = leader_and_copy(segment_bytes);
        let before = image(&copy);
        let last = copy.names(".log").pop().unwrap();
        copy.edit(FIRST, |log| log[70] ^= 1);
        copy.edit(&last, |log| log.truncate(log.len() - 1));
        let log = copy.recover(36).0;
        let half = |wanted: Range<Offset>| {
            from_log(&leader, wanted)
                .filter(|batches| batches[0].header().base_offset() < offset(9))
        };
        let Repaired { repaired, left } = log.repair(&half, Timestamp::EPOCH).unwrap();
        assert_eq!(
            (ranges(&repaired), ranges(&left)),
            (vec![offsets(0..3)], vec![offsets(33..36)])
        );
        assert_read_only(&log);
        assert!(log.offline_error().to_string().contains("at offsets 33..36"));
        assert_eq!(read_from(&log, Offset::ZERO, 1).unwrap_err().to_string(), {
            log.read(offset(33), 1, log.end()).unwrap_err().to_string()
        });
        drop(log);
        let log = copy.recover(36).0;
        assert_eq!(ranges(&repair(&log, &leader).repaired), [offsets(33..36)]);
        append(&log, vec![batch(5, 2, 10)]);
        log.truncate_to(offset(36)).unwrap();
        log.close().unwrap();
        let after = image(&copy);
        copy.names(".log").iter().for_each(|name| assert_eq!(after[name], before[name]));
    }
}

/// A log in use is written to before and after, and its readers keep what they have.
#[test]
fn a_log_in_use_goes_on_while_it_is_repaired() {
    for segment_bytes in [300, 1 << 20] {
        let (leader, copy) = leader_and_copy(segment_bytes);
        copy.edit(FIRST, |log| log[70] ^= 1);
        let log = copy.open();
        log.append_as_client(vec![batch(5, 2, 10)], epoch(7)).remove(0).unwrap();
        log.begin_epoch(epoch(9));
        let read = log.read(offset(3), 1, log.end()).unwrap().batches;
        assert_eq!(ranges(&repair(&log, &leader).repaired), [offsets(0..3)]);
        assert_eq!(log.flushed(), offset(38));
        // C3: the leader in office is known, though it has not written.
        let end = |epoch, end| Some(EpochEnd { epoch, end: offset(end) });
        assert_eq!(log.end_of_epoch(epoch(8)), end(epoch(7), 38));
        assert_eq!(log.end_of_epoch(epoch(9)), end(epoch(9), 38));
        log.append_as_client(vec![batch(5, 1, 10)], epoch(9)).remove(0).unwrap();
        let found = read_all(&log);
        assert_eq!(found[..36], read_all(&leader)[..]);
        assert_eq!(found.len(), 39);
        assert_eq!(seen(&read)[0].offset, 3);
        assert_eq!(repair(&log, &leader), Repaired::default());
        log.close().unwrap();
        assert_eq!(read_all(&copy.open()), found);
    }
}

/// Whatever fails before the first change leaves the log as it was, to be tried again.
#[test]
fn a_repair_that_fails_changes_nothing() {
    for kind in [CallKind::Create, CallKind::Write, CallKind::Sync] {
        let (leader, copy) = leader_and_copy(300);
        let disk = Disk::new();
        let place = Place::on(disk.file_system(), 300, 100);
        place.restore(&copy.image());
        place.edit(FIRST, |log| log[70] ^= 1);
        let before = place.image();
        let log = place.open();
        disk.fail(Fault::new(std::io::ErrorKind::Other).on(kind).at(".log.tmp").times(1));
        log.repair(&|wanted| from_log(&leader, wanted), Timestamp::EPOCH).unwrap_err();
        assert_eq!((image(&place), log.is_offline()), (before, false));
        assert_eq!(ranges(&repair(&log, &leader).repaired), [offsets(0..3)]);
    }
}

/// R2, R3: whatever a power cut leaves, what is good is there, and the rest can be repaired again.
#[test]
fn a_power_cut_during_a_repair_costs_nothing() {
    for segment_bytes in [300, 1 << 20] {
        let (leader, copy) = leader_and_copy(segment_bytes);
        let before = image(&copy);
        let disk = Disk::new();
        let place = Place::on(disk.file_system(), segment_bytes, 100);
        place.restore(&before);
        let last = place.names(".log").pop().unwrap();
        place.edit(FIRST, |log| log[70] ^= 1);
        place.edit(&last, |log| log.truncate(log.len() - 1));
        let disk = quarantine::settled(&disk);
        let place = Place { fs: disk.file_system(), ..place };
        disk.record();
        let log = place.recover(36).0;
        assert_eq!(repair(&log, &leader).left, []);
        drop(log);
        let mut journal = disk.journal();
        let mut states = 0;
        loop {
            let single = (0..journal.unsynced())
                .flat_map(|at| [PowerCut::LosesOne(at), PowerCut::KeepsOne(at)]);
            let seed = journal.done() as u64 * 4;
            let cuts = [PowerCut::LosesAll, PowerCut::KeepsAll].into_iter().chain(single);
            for cut in cuts.chain((seed..seed + 4).map(PowerCut::Mixes)) {
                let place = Place { fs: journal.image(cut).file_system(), ..place.clone() };
                let context = format!("{cut:?} after {} changes", journal.done());
                let log = place.recover(36).0;
                for at in (3..33).step_by(3) {
                    let read = log.read(offset(at), 1, log.end()).unwrap();
                    assert_eq!(seen(&read.batches)[0].offset, at, "{context}");
                }
                let Repaired { repaired, left } = repair(&log, &leader);
                assert!(repaired.len() <= 2 && left.is_empty(), "{context}");
                log.close().unwrap();
                let after = image(&place);
                place.names(".log").iter().for_each(|name| {
                    assert_eq!(after[name], before[name], "{context}");
                });
                states += 1;
            }
            if !journal.step() {
                // The call had returned: nothing is to be repaired again.
                let place = Place { fs: journal.image(PowerCut::LosesAll).file_system(), ..place };
                assert_eq!(repair(&place.recover(36).0, &leader), Repaired::default());
                break;
            }
        }
        assert!(states > 100, "{states}");
    }
}
