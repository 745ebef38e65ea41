//! What recovery cuts is kept aside.

use std::io;

use super::damage::filled;
use super::*;
use crate::env::{CallKind, Disk, Fault, PowerCut};
use crate::storage::unseal;

const FIRST: &str = "00000000000000000000.log";

/// The files, by name: what they say, and the bytes that were cut.
fn kept(place: &Place) -> Vec<(String, String, Vec<u8>)> {
    let names = place.names(".quarantine").into_iter();
    names
        .map(|name| {
            let content = place.read(&name).unwrap();
            let end = content.windows(6).position(|at| at == b"crc32=").unwrap() + 15;
            let text = unseal(&content[..end]).unwrap().to_owned();
            assert!(name.contains(&format!("-{:08x}.", crc32fast::hash(&content[end..]))));
            let length = text.split_once("length=").unwrap().1;
            let length = length.lines().next().unwrap().parse::<usize>().unwrap();
            let mut bytes = content[end..].to_vec();
            bytes.resize(length.min(bytes.len() + 64), 0);
            (name, text, bytes)
        })
        .collect()
}

/// A24: there is a copy before the cut.
#[test]
fn bytes_that_are_cut_are_kept() {
    for tail in [vec![0xa5; 77], vec![7, 0, 0, 9, 0, 0, 0]] {
        let place = Place::in_memory(1 << 20, 100);
        let size = filled(&place);
        place.edit(FIRST, |log| log.extend(&tail));
        let (log, report) = place.recover(20);
        assert_eq!(log.end(), offset(36));
        assert_eq!(report.cut_bytes, tail.len() as u64);
        assert_eq!(report.quarantined_bytes, report.cut_bytes);
        let [(name, text, bytes)] = &kept(&place)[..] else { panic!("{:?}", kept(&place)) };
        assert!(name.starts_with("00000000000000000036-"), "{name}");
        assert_eq!(bytes, &tail);
        let expected =
            format!("version=1\nfile={FIRST}\nposition={size}\nlength={}\ntime=0\n", tail.len());
        assert_eq!(text, &expected);
    }
}

#[test]
fn zeros_and_whole_logs_leave_nothing_behind() {
    for tail in [vec![], vec![0; 5000]] {
        let place = Place::in_memory(1 << 20, 100);
        filled(&place);
        place.edit(FIRST, |log| log.extend(&tail));
        let (log, report) = place.recover(20);
        assert_eq!((report.cut_bytes, report.quarantined_bytes), (tail.len() as u64, 0));
        log.truncate_to(offset(10)).unwrap();
        drop(log);
        assert_eq!(place.recover(9).0.end(), offset(9));
        assert_eq!(kept(&place), [], "a truncation keeps nothing");
    }
}

#[test]
fn segments_that_are_removed_are_kept_too() {
    let place = Place::in_memory(300, 100);
    filled(&place);
    let logs = place.names(".log");
    place.edit(&logs[2], |log| log[80] ^= 1);
    let lost = logs[2..].iter().map(|name| place.read(name).unwrap()).collect::<Vec<_>>();
    let (_, report) = place.recover_undigested(0);
    assert_eq!(report.quarantined_bytes, report.cut_bytes);
    assert_eq!(kept(&place).into_iter().map(|(.., bytes)| bytes).collect::<Vec<_>>(), lost);
}

#[test]
fn the_same_bytes_are_kept_once() {
    let place = Place::in_memory(1 << 20, 100);
    filled(&place);
    for _ in 0..3 {
        place.edit(FIRST, |log| log.extend([1; 50]));
        assert_eq!(place.recover(36).1.quarantined_bytes, 50);
        assert_eq!(kept(&place).len(), 1);
    }
}

#[test]
fn a_store_keeps_no_more_than_its_bound_and_drops_the_oldest_first() {
    let place = Place { quarantine_bytes: 2000, ..Place::in_memory(1 << 20, 100) };
    filled(&place);
    let round = |time: i64, byte: u8, length: usize| {
        place.edit(FIRST, |log| log.extend(vec![byte; length]));
        let recovery_point = offset(36);
        place.try_open_at(Shutdown::Unclean { recovery_point }, time).unwrap().1.quarantined_bytes
    };
    let left = || kept(&place).into_iter().map(|(.., bytes)| bytes[0]).collect::<BTreeSet<_>>();
    assert_eq!((round(3, 1, 700), round(2, 2, 700)), (700, 700));
    assert_eq!(left(), BTreeSet::from([1, 2]));
    assert_eq!(round(4, 3, 700), 700);
    assert_eq!(left(), BTreeSet::from([1, 3]), "the clock was turned back");
    assert_eq!(round(5, 4, 9000), 2000 - 512, "the beginning of what is too much");
    assert_eq!(left(), BTreeSet::from([4]));
    // One of which it cannot be told when it was made goes before the others.
    let name = place.names(".quarantine").remove(0);
    place.edit(&name, |file| file[10] ^= 1);
    assert_eq!((round(1, 5, 300), round(6, 6, 300)), (300, 300));
    assert_eq!(left(), BTreeSet::from([5, 6]));
}

/// That a log can be opened is worth more.
#[test]
fn on_a_full_disk_nothing_is_kept_and_the_log_opens() {
    for kind in [CallKind::Create, CallKind::Write, CallKind::Sync, CallKind::Rename] {
        let disk = Disk::new();
        let place = Place::on(disk.file_system(), 1 << 20, 100);
        filled(&place);
        place.edit(FIRST, |log| log.extend([1; 50]));
        disk.fail(Fault::new(io::ErrorKind::StorageFull).on(kind).at("quarantine").for_good());
        let (log, report) = place.recover(36);
        assert_eq!((report.cut_bytes, report.quarantined_bytes), (50, 0));
        assert!(!disk.failures().is_empty(), "{kind:?}");
        assert_eq!(place.names("quarantine"), Vec::<String>::new());
        assert_eq!(place.names("tmp"), Vec::<String>::new());
        assert_eq!((log.end(), log.is_offline()), (offset(36), false));
    }
}

/// Any other error leaves the log as it was, to be tried again.
#[test]
fn what_cannot_be_kept_is_not_cut() {
    let disk = Disk::new();
    let place = Place::on(disk.file_system(), 1 << 20, 100);
    filled(&place);
    place.edit(FIRST, |log| log.extend([1; 50]));
    let before = place.read(FIRST);
    for kind in [CallKind::Write, CallKind::Sync, CallKind::Rename] {
        disk.fail(Fault::new(io::ErrorKind::Other).on(kind).at("quarantine").times(1));
        place.try_open(Shutdown::Unclean { recovery_point: offset(36) }).unwrap_err();
        assert_eq!(place.read(FIRST), before);
    }
    assert_eq!(place.recover(36).1.quarantined_bytes, 50);
    assert_eq!(place.names("tmp"), Vec::<String>::new());
}

/// A24: whatever a power cut leaves of a recovery, the bytes are in the log or beside it.
#[test]
fn at_every_moment_of_a_recovery_the_bytes_are_in_the_log_or_beside_it() {
    let disk = Disk::new();
    let place = Place::on(disk.file_system(), 300, 100);
    filled(&place);
    let logs = place.names(".log");
    place.names(".digest").iter().for_each(|name| place.remove(name));
    place.edit(&logs[2], |log| log[80] ^= 1);
    let lost = logs[2..].iter().map(|name| place.read(name).unwrap()).collect::<Vec<_>>();
    let disk = settled(&disk);
    let place = Place { fs: disk.file_system(), ..place };
    disk.record();
    drop(place.recover(0));
    let mut journal = disk.journal();
    loop {
        for cut in [PowerCut::LosesAll, PowerCut::KeepsAll, PowerCut::Mixes(1), PowerCut::Mixes(2)]
        {
            let place = Place { fs: journal.image(cut).file_system(), ..place.clone() };
            for again in [false, true] {
                for (name, bytes) in logs[2..].iter().zip(&lost) {
                    let aside = kept(&place).iter().any(|(.., kept)| kept == bytes);
                    assert!(aside || place.read(name).as_ref() == Some(bytes), "{cut:?}");
                }
                if !again {
                    drop(place.recover(0));
                }
            }
        }
        if !journal.step() {
            break;
        }
    }
    assert!(journal.done() > 10);
}

/// The same files, all of them durable.
pub(super) fn settled(disk: &Disk) -> Disk {
    let fs = disk.file_system();
    for (path, _) in disk.files() {
        fs.open(&path, OpenFile::Read).unwrap().sync().unwrap();
        path.ancestors().skip(1).for_each(|dir| fs.sync_dir(dir).unwrap());
    }
    disk.image(PowerCut::LosesAll)
}
