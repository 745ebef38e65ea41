//! Rot: every file of a store with a bit flipped, cut short, zeroed or exchanged (suite T8): bugs A7, A18, A19, A24,
//! A29, H5.
//!
//! Method: a store is written and closed, or left as a crash of the process leaves it. Then a copy is damaged in one
//! place, opened, and read to the end, errors being passed by. Allowed is the same data, or a typed error where the damage
//! is; never other data, a shorter log without an error, or a panic.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;

use brooklet::sim::{Disk, PowerCut};
use brooklet::{Cluster, Error, ErrorKind, NewTopic, Offset, Partition, Record, Timestamp};

use crate::report::{Report, full, seeds};

/// Records of each topic.
pub(crate) const VALUES: i64 = 24;

/// A record as it was written.
pub(crate) type Content = BTreeMap<String, Vec<(Offset, i64, Vec<u8>)>>;

/// A store with two topics, some segments each.
fn store(clean: bool) -> (Disk, Content) {
    let disk = Disk::new();
    let cluster = Cluster::builder().open_on(&disk).unwrap();
    let content = write(&cluster, 1);
    if clean {
        cluster.close().unwrap();
        return (disk, content);
    }
    // Long enough for the recovery points to be written.
    #[allow(clippy::disallowed_methods, reason = "the store runs on real threads here")]
    thread::sleep(std::time::Duration::from_millis(1_500));
    (disk.image(PowerCut::LosesAll), content)
}

/// Creates two topics, some segments each, the first with so many replicas, the second with one less.
pub(crate) fn write(cluster: &Cluster, replicas: u16) -> Content {
    let mut content = Content::new();
    for (name, replicas) in [("email", replicas), ("sms", replicas.saturating_sub(1).max(1))] {
        let topic = NewTopic::new(name)
            .replication_factor(replicas)
            .config("segment.bytes", 700)
            .config("index.interval.bytes", 100);
        let topic = cluster.create_topic(topic).unwrap();
        let producer = cluster.producer().build().unwrap();
        let mut records = Vec::new();
        for number in 0..VALUES {
            let (time, value) = (1_000 + number, format!("{name} {number:20}"));
            let record =
                Record::to(&topic).value(&value).timestamp(Timestamp::from_millis(time).unwrap());
            let metadata = producer.send(record).unwrap().wait().unwrap();
            records.push((metadata.offset.unwrap(), time, value.into_bytes()));
        }
        content.insert(name.to_owned(), records);
    }
    content
}

/// Whether the file can be made again from others, so that no damage to it may be noticed.
fn is_derived(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy();
    // Who a directory and a store belong to is written down, not derived.
    let identities = ["partition.metadata", "brooklet.store", "meta.properties"];
    !name.ends_with(".log") && !identities.contains(&&*name)
}

/// Reads a partition from its beginning, passing by what cannot be read. Returns the number of errors.
pub(crate) fn read(
    partition: &Partition,
    expected: &[(Offset, i64, Vec<u8>)],
) -> Result<u64, Error> {
    let marks = partition.watermarks()?;
    let (mut next, mut errors, mut seen) = (marks.low, 0, 0);
    while next < marks.high {
        match partition.read(next, 1 << 20) {
            Ok(records) => {
                assert!(!records.is_empty(), "{partition} ends at {next}, before {}", marks.high);
                for record in &records {
                    let found = (
                        record.offset(),
                        record.timestamp().unwrap().as_millis(),
                        record.value().unwrap().to_vec(),
                    );
                    let at = usize::try_from(record.offset().value()).unwrap();
                    assert_eq!(Some(&found), expected.get(at), "{partition} has other data");
                    assert!(record.offset() >= next, "{partition} goes back");
                    next = record.offset().next();
                    seen += 1;
                }
            }
            Err(error) => {
                check_kind(&error);
                errors += 1;
                assert!(errors < 1_000, "{partition} has no way past {next}: {error}");
                next = next.next();
            }
        }
    }
    let lost = expected.len() as u64 - seen;
    assert!(lost == 0 || errors > 0, "{partition} has lost {lost} records without an error");
    Ok(errors)
}

pub(crate) fn check_kind(error: &Error) {
    use ErrorKind::{CorruptMessage, NotAStore, Storage, UnsupportedVersion};
    let kinds = [CorruptMessage, NotAStore, Storage, UnsupportedVersion];
    assert!(kinds.contains(&error.kind()), "{error:?}");
}

/// Opens a damaged store and reads it. Returns the number of errors. Where a `log` of a topic is damaged, a scrub must
/// find that, wherever the damage is.
fn examine(disk: &Disk, content: &Content, log: bool) -> u64 {
    let cluster = match Cluster::builder().open_on(disk) {
        Ok(cluster) => cluster,
        Err(error) => {
            check_kind(&error);
            return 1;
        }
    };
    let mut errors = 0;
    for (name, expected) in content {
        let partition = cluster.topic(name).and_then(|topic| topic.partition(0));
        match partition.and_then(|partition| read(&partition, expected)) {
            Ok(found) => errors += found,
            Err(error) => {
                check_kind(&error);
                errors += 1;
            }
        }
    }
    match cluster.scrub() {
        Ok(report) => assert!(!log || !report.damages.is_empty(), "a scrub finds nothing"),
        Err(error) => check_kind(&error),
    }
    // What is damaged cannot be closed well; it must not hang or panic.
    let _closed = cluster.close();
    errors
}

/// Says where it was when it did not come to its end.
pub(crate) struct Place(pub(crate) String);

impl Drop for Place {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("{}", self.0);
        }
    }
}

fn damage_and_examine(
    store: &(Disk, Content),
    path: &Path,
    what: String,
    damage: impl FnOnce(&Disk, &mut Vec<u8>),
) -> u64 {
    let (disk, content) = store;
    let disk = disk.image(PowerCut::KeepsAll);
    let mut bytes = disk.read(path).unwrap().to_vec();
    damage(&disk, &mut bytes);
    disk.write(path, &bytes).unwrap();
    let place = Place(format!("{}: {what}", path.display()));
    let is_log = path.extension().is_some_and(|ending| ending == "log");
    let is_changed = store.0.read(path).ok() != disk.read(path).ok();
    let errors = examine(
        &disk,
        content,
        is_log && is_changed && !path.starts_with("/__brooklet_metadata-0"),
    );
    assert!(errors == 0 || !is_derived(path), "{errors} errors though the file is derived");
    drop(place);
    errors
}

/// Goal: no damaged bit, in whatever file, becomes other data, or a loss that nobody is told of.
#[test]
fn a_flipped_bit_is_an_error_or_nothing() {
    let mut report = Report::new("T8");
    let (mut told, mut unnoticed) = (0u64, 0u64);
    for (clean, seed) in [true, false].into_iter().flat_map(|c| seeds(1).map(move |s| (c, s))) {
        report.seeds += 1;
        let store = store(clean);
        for (path, length) in store.0.files() {
            for position in 0..length {
                let bits =
                    if full() { 0..8 } else { (position + seed) % 8..(position + seed) % 8 + 1 };
                for bit in bits {
                    let what = format!("bit {bit} of byte {position}, clean {clean}");
                    let errors = damage_and_examine(&store, &path, what, |_, bytes| {
                        bytes[position as usize] ^= 1 << bit;
                    });
                    report.faults += 1;
                    report.states += 1;
                    report.records_checked += 2 * VALUES as u64;
                    *(if errors > 0 { &mut told } else { &mut unnoticed }) += 1;
                }
            }
        }
    }
    report.say(format_args!("told={told} unnoticed={unnoticed}"));
    assert!(report.faults >= 8 << 10, "{} flips are too few", report.faults);
}

/// Goal: as before, for damage that takes more than a bit.
#[test]
fn files_cut_zeroed_exchanged_or_of_another_time_are_an_error_or_nothing() {
    let mut report = Report::new("T8");
    for clean in [true, false] {
        let store = store(clean);
        let files = store.0.files();
        for (path, length) in &files {
            let step = if full() { 1 } else { 7 };
            for to in (0..*length).step_by(step) {
                let what = format!("cut to {to} of {length}, clean {clean}");
                damage_and_examine(&store, path, what, |_, bytes| bytes.truncate(to as usize));
                report.faults += 1;
            }
            for block in 0..length.div_ceil(512) {
                let what = format!("block {block} zeroed, clean {clean}");
                damage_and_examine(&store, path, what, |_, bytes| {
                    bytes.iter_mut().skip(512 * block as usize).take(512).for_each(|b| *b = 0);
                });
                report.faults += 1;
            }
            let others: Vec<&PathBuf> = files
                .iter()
                .map(|(other, _)| other)
                .filter(|other| *other != path && other.extension() == path.extension())
                .collect();
            for other in others {
                let what = format!("replaced by {}, clean {clean}", other.display());
                damage_and_examine(&store, path, what, |disk, bytes| {
                    *bytes = disk.read(other).unwrap().to_vec();
                });
                report.faults += 1;
            }
        }
    }
    report.states = report.faults;
    report.records_checked = report.states * 2 * VALUES as u64;
    report.say("");
}
