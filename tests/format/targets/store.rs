//! One file of a store is anything. Derived files change nothing that is read; the others are told by an error.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::OnceLock;

use brooklet::sim::record::{
    Batch, BatchBuilder, CloseOptions, EncodedBatch, Limits, RecordFields,
};
use brooklet::sim::{Disk, PowerCut};
use brooklet::{
    Cluster, Error, ErrorKind, NewTopic, Offset, Partition, Record, Timestamp, TimestampedOffset,
};
use bytes::{Bytes, BytesMut};

use super::batches::with_crc;
use super::split_choice;

const CLEAN_MARKER: &str = ".kafka_cleanshutdown";
const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
const METADATA_LOG: &str = "__brooklet_metadata-0/00000000000000000000.log";
const LOG: &str = "a-0/00000000000000000000.log";

const INDEXES: [&str; 4] = [
    "a-0/00000000000000000000.index",
    "a-0/00000000000000000000.timeindex",
    "__brooklet_metadata-0/00000000000000000000.index",
    "__brooklet_metadata-0/00000000000000000000.timeindex",
];

/// Files of which nothing that is read depends.
const DERIVED: [&str; 5] = [
    "a-0/leader-epoch-checkpoint",
    "log-start-offset-checkpoint",
    "replication-offset-checkpoint",
    "__brooklet_metadata-0/leader-epoch-checkpoint",
    CLEAN_MARKER,
];

/// Files that say what should be there: if they lie, it is found missing.
const TELLING: [&str; 3] =
    [RECOVERY_POINTS, "a-0/partition.metadata", "__brooklet_metadata-0/partition.metadata"];

const IDENTITY: [&str; 2] = ["brooklet.store", "meta.properties"];

/// What a program sees of a partition, or why not.
type Seen = Result<Content, ErrorKind>;

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Content {
    records: Vec<(Option<Timestamp>, Vec<u8>)>,
    /// What is found by the time of the last record, and by the earliest.
    by_time: Vec<Option<TimestampedOffset>>,
}

/// A small store that was closed cleanly, with several segments and index entries.
pub(super) fn store() -> Disk {
    static STORE: OnceLock<Disk> = OnceLock::new();
    let disk = STORE.get_or_init(|| {
        let disk = Disk::new();
        let cluster = Cluster::builder().open_on(&disk).unwrap();
        let small = |name| NewTopic::new(name).config("index.interval.bytes", 60);
        let a = cluster.create_topic(small("a").config("segment.bytes", 900)).unwrap();
        let b = cluster.create_topic(small("b.c").partitions(2)).unwrap();
        let producer = cluster.producer().build().unwrap();
        for number in 0..24 {
            let (topic, partition) = if number % 3 == 0 { (&b, number % 2) } else { (&a, 0) };
            // Times do not always rise.
            let time = Timestamp::from_millis(1_700_000_000_000 + i64::from(number ^ 5)).unwrap();
            let value = format!("number {number}");
            let record = Record::to(topic).partition(partition).timestamp(time).value(&value);
            producer.send(record).unwrap().wait().unwrap();
        }
        cluster.close().unwrap();
        disk
    });
    disk.image(PowerCut::KeepsAll)
}

/// What is in the store as it was written.
fn written() -> &'static BTreeMap<String, Seen> {
    static WRITTEN: OnceLock<BTreeMap<String, Seen>> = OnceLock::new();
    WRITTEN.get_or_init(|| look(&Cluster::builder().open_on(&store()).unwrap()))
}

/// The store with one file replaced; by `choice` it was not closed cleanly, or lost its recovery points too.
fn store_with(path: &str, content: &[u8], choice: u8) -> Disk {
    let disk = store();
    if choice & 1 != 0 {
        disk.remove(CLEAN_MARKER).unwrap();
        if choice & 2 != 0 {
            disk.remove(RECOVERY_POINTS).unwrap();
        }
    }
    disk.write(path, content).unwrap();
    disk
}

pub(super) fn index_files(input: &[u8]) {
    let (choice, content) = split_choice(input);
    let path = INDEXES[usize::from(choice >> 2) % INDEXES.len()];
    assert_unchanged(&store_with(path, content, choice));
}

pub(super) fn checkpoints(input: &[u8]) {
    let (choice, content) = split_choice(input);
    let which = usize::from(choice >> 2) % (DERIVED.len() + TELLING.len());
    match DERIVED.get(which) {
        Some(path) => assert_unchanged(&store_with(path, content, choice)),
        None => {
            let path = TELLING[which - DERIVED.len()];
            assert_nothing_else(&store_with(path, content, choice));
        }
    }
}

pub(super) fn identity(input: &[u8]) {
    let (choice, content) = split_choice(input);
    let path = IDENTITY[usize::from(choice >> 2 & 1)];
    let mut content = content.to_vec();
    if choice & 8 != 0 {
        // With a checksum that fits.
        content.extend_from_slice(format!("crc32={:08x}\n", crc32fast::hash(&content)).as_bytes());
    }
    let disk = store_with(path, &content, choice);
    if choice & 4 == 0 {
        assert_nothing_else(&disk);
    } else {
        assert_unchanged(&disk);
    }
}

/// Records behind those of the metadata log: each begins with its length.
pub(super) fn metadata(input: &[u8]) {
    let (choice, mut rest) = split_choice(input);
    let mut log = BytesMut::from(&store().read(METADATA_LOG).unwrap()[..]);
    let mut builder = BatchBuilder::new(BytesMut::new());
    while let Some((length, after)) = rest.split_first() {
        let (value, after) = after.split_at(usize::from(*length).min(after.len()));
        let record = RecordFields { value: Some(value), ..RecordFields::default() };
        builder.append(&record).unwrap();
        rest = after;
    }
    if !builder.is_empty() {
        let batch = builder.close(&CloseOptions::default()).unwrap().freeze();
        log.extend_from_slice(&at_the_end_of(&log, &batch));
    }
    let disk = store_with(METADATA_LOG, &log, choice);
    let Some(cluster) = open(&disk) else { return };
    for (partition, seen) in look(&cluster) {
        // Topics may have gone, and others come: but these records are nowhere else.
        if let (Ok(seen), Some(Ok(written))) = (&seen, written().get(&partition)) {
            assert!(seen.records.is_empty() || seen == written, "{partition}");
        }
    }
    close(cluster);
    if let Some(again) = open(&disk) {
        close(again);
    }
}

/// Anything in place of a segment's log.
pub(super) fn log_file(input: &[u8]) {
    let (choice, content) = split_choice(input);
    let content = if choice & 4 == 0 {
        Bytes::copy_from_slice(content)
    } else {
        with_fitting_checksums(content)
    };
    let disk = store_with(LOG, &content, choice);
    let Some(cluster) = open(&disk) else { panic!("one log cannot keep a store from opening") };
    let seen = look(&cluster);
    for (partition, written) in written().iter().filter(|(name, _)| *name != "a-0") {
        assert_eq!(seen.get(partition), Some(written), "{partition} has not changed");
    }
    close(cluster);
}

fn assert_unchanged(disk: &Disk) {
    for _ in 0..2 {
        let cluster = Cluster::builder().open_on(disk).unwrap();
        assert_eq!(&look(&cluster), written());
        cluster.close().unwrap();
    }
}

/// What is read is what was written; some may have become an error.
fn assert_nothing_else(disk: &Disk) {
    for _ in 0..2 {
        let Some(cluster) = open(disk) else { return };
        for (partition, seen) in look(&cluster) {
            let written = written().get(&partition);
            assert!(seen.is_err() || Some(&seen) == written, "{partition}: {seen:?}");
        }
        close(cluster);
    }
}

/// A store that may not open: then with an error that says why.
pub(super) fn open(disk: &Disk) -> Option<Cluster> {
    match Cluster::builder().open_on(disk) {
        Ok(cluster) => Some(cluster),
        Err(error) => {
            assert_typed(&error);
            None
        }
    }
}

pub(super) fn close(cluster: Cluster) {
    if let Err(error) = cluster.close() {
        assert_typed(&error);
    }
}

/// What damage may lead to.
pub(super) fn assert_typed(error: &Error) {
    const DAMAGE: [ErrorKind; 11] = [
        ErrorKind::BrokerNotAvailable,
        ErrorKind::CorruptMessage,
        ErrorKind::InvalidConfig,
        ErrorKind::LeaderNotAvailable,
        ErrorKind::MessageTooLarge,
        ErrorKind::MetadataIncomplete,
        ErrorKind::NotAStore,
        ErrorKind::OffsetOutOfRange,
        ErrorKind::Storage,
        ErrorKind::UnsupportedCompressionType,
        ErrorKind::UnsupportedVersion,
    ];
    assert!(DAMAGE.contains(&error.kind()), "{error:?}");
}

/// Every partition of every topic.
pub(super) fn look(cluster: &Cluster) -> BTreeMap<String, Seen> {
    let mut seen = BTreeMap::new();
    for name in cluster.topics().unwrap() {
        let topic = cluster.topic(name.as_str()).unwrap();
        // Whoever writes hostile metadata may have asked for very many.
        for partition in 0..topic.partition_count().min(100) {
            let partition = topic.partition(partition).unwrap();
            let records = read(&partition).map_err(|error| {
                assert_typed(&error);
                error.kind()
            });
            seen.insert(partition.to_string(), records);
        }
    }
    seen
}

fn read(partition: &Partition) -> Result<Content, Error> {
    let marks = partition.watermarks()?;
    let (mut content, mut next) = (Content::default(), marks.low);
    while next < marks.high {
        let records = partition.read(next, 200)?;
        // Nothing more that is whole; or what is left was compacted away.
        if records.is_empty() {
            break;
        }
        for record in &records {
            assert!(record.offset() >= next, "offsets rise");
            next = record.offset().checked_add(1).unwrap_or(Offset::MAX);
            let value = record.value().unwrap_or_default().to_vec();
            content.records.push((record.timestamp(), value));
        }
    }
    let mut times = content.records.iter().filter_map(|(time, _)| *time);
    for time in times.clone().min().into_iter().chain(times.next_back()) {
        content.by_time.push(partition.offset_for_timestamp(time)?);
    }
    Ok(content)
}

/// A batch with the offsets that come after those of `log`.
fn at_the_end_of(log: &[u8], batch: &Batch) -> Bytes {
    let mut rest = Bytes::copy_from_slice(log);
    let mut last = None;
    while let Ok(found) = Batch::parse(rest.clone()) {
        let _before = rest.split_to(found.bytes().len());
        last = Some(found);
    }
    let last = last.unwrap();
    let mut batch = EncodedBatch::copy_from(batch).unwrap();
    batch.stamp(last.header().next_offset(), last.header().leader_epoch().unwrap());
    batch.freeze().into_bytes()
}

fn with_fitting_checksums(log: &[u8]) -> Bytes {
    let mut rest = Bytes::copy_from_slice(log);
    let mut fixed = BytesMut::new();
    while let Ok(batch) = Batch::parse(rest.clone()) {
        let whole = rest.split_to(batch.bytes().len());
        fixed.extend_from_slice(&with_crc(BytesMut::from(&whole[..])));
    }
    fixed.extend_from_slice(&rest);
    fixed.freeze()
}

fn files(paths: &[&str], choice: impl Fn(usize) -> u8) -> Vec<Vec<u8>> {
    let store = store();
    let content = |path: &str| store.read(path).unwrap_or_default();
    let file = |(number, path): (usize, &&str)| {
        [0u8, 1, 3].map(|how| [&[choice(number) | how], &content(path)[..]].concat())
    };
    paths.iter().enumerate().flat_map(file).collect()
}

pub(super) fn indexes() -> Vec<Vec<u8>> {
    files(&INDEXES, |number| (number as u8) << 2)
}

pub(super) fn checkpoint_files() -> Vec<Vec<u8>> {
    let mut seeds = files(&[&DERIVED[..], &TELLING].concat(), |number| (number as u8) << 2);
    let mut points = String::from("0\n3\n");
    for (partition, offset) in [("a 0", 1), ("a 0", 99), ("b.c 1", 1)] {
        let _ = writeln!(points, "{partition} {offset}");
    }
    seeds.extend([20, 21, 4, 5].map(|choice| [&[choice], points.as_bytes()].concat()));
    // Very many entries of nothing.
    let lines = (1 << 19) + 1;
    seeds.push(format!("\u{1}0\n{lines}\n{}", "\n".repeat(lines)).into_bytes());
    seeds
}

pub(super) fn identity_files() -> Vec<Vec<u8>> {
    let mut seeds = files(&IDENTITY, |number| (number as u8) << 2);
    for seed in files(&IDENTITY[1..], |_| 8) {
        seeds.push(seed);
    }
    seeds
}

pub(super) fn log_files() -> Vec<Vec<u8>> {
    [0, 4].iter().flat_map(|choice| files(&[LOG], |_| *choice)).collect()
}

/// The records of the store's own metadata, and some that contradict them.
pub(super) fn metadata_records() -> Vec<Vec<u8>> {
    let mut log = store().read(METADATA_LOG).unwrap();
    let mut values = Vec::new();
    while let Ok(batch) = Batch::parse(log.clone()) {
        let _before = log.split_to(batch.bytes().len());
        let decoded = batch.decode(&Limits::default()).unwrap();
        values.extend(decoded.iter().filter_map(|record| record.value.map(<[u8]>::to_vec)));
    }
    let framed = |value: &Vec<u8>| [&[value.len() as u8], &value[..]].concat();
    let mut seeds: Vec<Vec<u8>> = values.iter().map(framed).collect();
    // Deleted, and created again under other names and with other numbers of partitions.
    for value in values.iter().filter(|value| value[1] == 1) {
        let deleted = [&[0, 2, 0, 0], &value[4..20]].concat();
        seeds.push([framed(&deleted), framed(value)].concat());
        let mut other = value.clone();
        other[24] = b'x';
        seeds.push(framed(&other));
        seeds.push([framed(&deleted), framed(&other)].concat());
    }
    seeds.iter().flat_map(|seed| [0u8, 1, 3].map(|how| [&[how], &seed[..]].concat())).collect()
}
