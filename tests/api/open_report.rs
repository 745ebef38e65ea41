//! What is told of an open: `Cluster::open_report`, and `brooklet.strict.open`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use brooklet::{Cluster, ErrorKind, Offset, OpenReport, PartitionReport, Record};

use super::{producer, send_all, topic};

const FIRST: &str = "email-0/00000000000000000000";

/// A store with ten batches in `email-0`.
fn filled() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::open(dir.path()).unwrap();
    let email = topic(&cluster, 1);
    for value in 0..10 {
        send_all(&producer(&cluster), &email, [format!("value {value}")]);
    }
    cluster.close().unwrap();
    dir
}

/// As if the process had been killed just before its end.
fn unclean(dir: &Path) {
    std::fs::remove_file(dir.join(".kafka_cleanshutdown")).unwrap();
}

fn edit(file: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut content = std::fs::read(file).unwrap();
    edit(&mut content);
    std::fs::write(file, content).unwrap();
}

fn log(dir: &Path) -> PathBuf {
    dir.join(format!("{FIRST}.log"))
}

/// All files, and what they hold.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut all = BTreeMap::new();
    for path in entries {
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => _ = all.insert(path.clone(), std::fs::read(&path).unwrap()),
        }
    }
    all
}

fn of_email(report: &OpenReport) -> &PartitionReport {
    let email = report.partitions.iter().find(|found| found.partition.to_string() == "email-0");
    email.unwrap_or_else(|| panic!("{report}"))
}

/// Values of `email-0` in `offsets`.
fn read(cluster: &Cluster, offsets: std::ops::Range<u32>) -> Vec<String> {
    let partition = cluster.topic("email").unwrap().partition(0).unwrap();
    let read_one = |at| {
        let records = partition.read(Offset::from(at), 1).unwrap();
        let record = records.iter().next().unwrap();
        String::from_utf8(record.value().unwrap().to_vec()).unwrap()
    };
    offsets.map(read_one).collect()
}

fn values(offsets: std::ops::Range<u32>) -> Vec<String> {
    offsets.map(|value| format!("value {value}")).collect()
}

#[test]
fn of_a_new_store_and_of_one_that_was_closed_there_is_nothing_to_tell() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let cluster = Cluster::open(dir.path()).unwrap();
        let report = cluster.open_report();
        assert_eq!((report.clean, &report.partitions[..]), (true, &[][..]), "{report}");
        cluster.close().unwrap();
    }
    let memory = Cluster::in_memory().unwrap().open_report();
    assert!(memory.clean && memory.partitions.is_empty());
    assert_eq!(
        memory.to_string(),
        "the store was closed: 0 bytes read, 0 cut, 0 of them kept aside"
    );
}

#[test]
fn of_a_torn_tail_the_report_tells_what_was_cut_and_what_is_kept() {
    let dir = filled();
    unclean(dir.path());
    edit(&log(dir.path()), |log| log.extend([0xa5; 70]));
    let report = Cluster::open(dir.path()).unwrap().open_report();
    assert!(!report.clean);
    let email = of_email(&report);
    assert_eq!((email.cut_bytes, email.cut_batches, email.quarantined_bytes), (70, 0, 70));
    assert!(email.scanned_bytes > 70, "{email:?}");
    assert_eq!((&email.damage, &email.failure), (&None, &None));
    assert_eq!((report.cut_bytes(), report.quarantined_bytes()), (70, 70));
    let metadata = &report.partitions[0];
    assert_eq!(metadata.partition.to_string(), "__brooklet_metadata-0");
    assert_eq!(report.scanned_bytes(), metadata.scanned_bytes + email.scanned_bytes);
    assert!(report.to_string().contains("email-0: 70 bytes cut, 0 whole batches in them"));
}

/// Batches behind a torn one are counted: they may have been acknowledged.
#[test]
fn whole_batches_that_are_cut_are_counted() {
    let dir = filled();
    unclean(dir.path());
    let content = std::fs::read(log(dir.path())).unwrap();
    edit(&log(dir.path()), |log| {
        log.extend([0xa5; 70]);
        log.extend(&content);
    });
    let report = Cluster::open(dir.path()).unwrap().open_report();
    assert_eq!(of_email(&report).cut_batches, 10);
}

#[test]
fn of_damage_the_report_tells_the_offsets_and_the_place() {
    let dir = filled();
    unclean(dir.path());
    let size = std::fs::metadata(log(dir.path())).unwrap().len();
    edit(&log(dir.path()), |log| *log.last_mut().unwrap() ^= 1);
    let cluster = Cluster::open(dir.path()).unwrap();
    let report = cluster.open_report();
    let damage = of_email(&report).damage.as_ref().unwrap();
    assert_eq!(damage.offsets, Offset::from(9)..Offset::from(10));
    assert_eq!((&damage.file, damage.position), (&log(dir.path()), size / 10 * 9));
    assert_eq!(report.cut_bytes(), 0);
    assert!(report.to_string().contains(&damage.to_string()), "{report}");
    assert_eq!(read(&cluster, 0..9), values(0..9));
}

#[test]
fn files_that_were_made_anew_are_named() {
    let dir = filled();
    unclean(dir.path());
    let index = dir.path().join(format!("{FIRST}.index"));
    let epochs = dir.path().join("email-0/leader-epoch-checkpoint");
    [&index, &epochs].iter().for_each(|path| std::fs::remove_file(path).unwrap());
    let report = Cluster::open(dir.path()).unwrap().open_report();
    let rebuilt = &of_email(&report).files_rebuilt;
    assert!(rebuilt.contains(&index) && rebuilt.contains(&epochs), "{rebuilt:?}");
    assert!(!rebuilt.contains(&log(dir.path())));
}

#[test]
fn of_a_partition_that_cannot_be_opened_the_report_tells_why() {
    let dir = filled();
    unclean(dir.path());
    edit(&dir.path().join("email-0/partition.metadata"), |text| {
        let id = text.windows(10).position(|at| at == b"topic_id: ").unwrap() + 10;
        text[id] = if text[id] == b'A' { b'B' } else { b'A' };
    });
    let report = Cluster::open(dir.path()).unwrap().open_report();
    let failure = of_email(&report).failure.as_ref().unwrap();
    assert!(failure.contains("belongs to topic"), "{failure}");
}

/// After a clean shutdown nobody looks at a partition before it is used.
#[test]
fn partitions_that_are_opened_later_are_told_of_later() {
    let dir = filled();
    edit(&log(dir.path()), |log| log.truncate(log.len() / 2));
    let cluster = Cluster::open(dir.path()).unwrap();
    assert_eq!(cluster.open_report().partitions, []);
    assert_eq!(read(&cluster, 0..5), values(0..5));
    let report = cluster.open_report();
    assert!(report.clean);
    let damage = of_email(&report).damage.as_ref().unwrap();
    assert_eq!(damage.offsets, Offset::from(5)..Offset::from(10));
}

/// Whatever is missing at the end of a log that was closed, the rest can be read, and nothing is changed.
#[test]
fn a_log_that_is_shorter_than_it_was_closed_can_be_read() {
    for (digest, cut) in [(true, 1), (false, 1), (true, 3), (false, 3)] {
        for strict in [false, true] {
            let dir = filled();
            if !digest {
                std::fs::remove_file(dir.path().join(format!("{FIRST}.digest"))).unwrap();
            }
            edit(&log(dir.path()), |log| log.truncate(log.len() / 10 * (10 - cut)));
            let before = files(&dir.path().join("email-0"));
            let cluster = Cluster::builder().strict_open(strict).open_at(dir.path()).unwrap();
            let good = 10 - u32::try_from(cut).unwrap();
            assert_eq!(read(&cluster, 0..good), values(0..good));
            let report = cluster.open_report();
            let damage = of_email(&report).damage.as_ref().unwrap();
            assert_eq!(damage.offsets, Offset::from(good)..Offset::from(10));
            let email = cluster.topic("email").unwrap();
            let missing = email.partition(0).unwrap().read(Offset::from(good), 1).unwrap_err();
            assert_eq!(missing.kind(), ErrorKind::CorruptMessage);
            let sent = producer(&cluster).send(Record::to(&email).value("x")).unwrap().wait();
            assert_eq!(sent.unwrap_err().kind(), ErrorKind::Storage);
            drop((cluster, email));
            assert_eq!(files(&dir.path().join("email-0")), before);
        }
    }
}

/// A torn write and records that have rotted look the same: who would rather decide is asked, before anything is done.
#[test]
fn a_strict_open_refuses_to_cut_and_changes_nothing() {
    for (name, tail) in [(FIRST, vec![0xa5; 70]), (FIRST, vec![0; 10]), (METADATA, vec![1; 70])] {
        let dir = filled();
        unclean(dir.path());
        edit(&dir.path().join(format!("{name}.log")), |log| log.extend(&tail));
        let before = files(dir.path());
        for _ in 0..2 {
            let error = Cluster::builder().strict_open(true).open_at(dir.path()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TornTail, "{error}");
            assert!(error.to_string().contains(&format!("{} bytes", tail.len())), "{error}");
            assert!(files(dir.path()) == before, "files were changed");
        }
        let cluster = Cluster::open(dir.path()).unwrap();
        assert_eq!(read(&cluster, 0..10), values(0..10));
        assert_eq!(cluster.open_report().cut_bytes(), tail.len() as u64);
    }
}

const METADATA: &str = "__brooklet_metadata-0/00000000000000000000";

#[test]
fn a_strict_open_of_what_is_whole_is_as_any_other() {
    let dir = filled();
    let strict = || Cluster::builder().strict_open(true).open_at(dir.path()).unwrap();
    for is_clean in [true, false] {
        if !is_clean {
            unclean(dir.path());
        }
        let cluster = strict();
        assert_eq!(cluster.open_report().clean, is_clean);
        assert_eq!(read(&cluster, 0..10), values(0..10));
        let email = cluster.topic("email").unwrap();
        producer(&cluster).send(Record::to(&email).value("x")).unwrap().wait().unwrap();
        drop(email);
        cluster.close().unwrap();
    }
    let new = tempfile::tempdir().unwrap();
    Cluster::builder().strict_open(true).open_at(new.path()).unwrap().close().unwrap();
}
