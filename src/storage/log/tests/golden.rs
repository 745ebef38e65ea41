//! A directory that Kafka wrote.

use super::*;
use crate::base::Compression;

const FILES: [(&str, &[u8]); 7] = {
    macro_rules! golden {
        ($($name:literal),*) => {
            [$(($name, include_bytes!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/fixtures/golden/partition-dir/golden-0/",
                $name
            )) as &[u8])),*]
        };
    }
    golden![
        "00000000000000000000.index",
        "00000000000000000000.log",
        "00000000000000000000.timeindex",
        "00000000000000000000.txnindex",
        "00000000000000000047.snapshot",
        "leader-epoch-checkpoint",
        "partition.metadata"
    ]
};

const CONTENTS: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/golden/partition-dir/contents.txt"
));

fn golden(place: &Place) {
    FILES.iter().for_each(|(name, content)| place.write(name, content));
}

/// Offset, timestamp and beginning of the value of each record of `contents.txt`; no value for control records.
fn contents() -> Vec<(i64, i64, Option<String>)> {
    let field = |line: &str, name: &str| {
        let (_, rest) = line.split_once(name)?;
        Some(rest.split([' ', '\n']).next()?.to_owned())
    };
    let records = CONTENTS.lines().filter(|line| line.trim_start().starts_with('|'));
    records
        .map(|line| {
            let number = |name| field(line, name).unwrap().parse().unwrap();
            let value = field(line, "value=\"")
                .map(|value| value.split(['"', '.']).next().unwrap().to_owned());
            (number("offset="), number(" ts="), value)
        })
        .collect()
}

fn assert_reads_as_contents_say(log: &Log) {
    assert_eq!((log.start(), log.end()), (Offset::ZERO, offset(47)));
    let expected = contents();
    assert_eq!(expected.len(), 47);
    for max_bytes in [1, 300, 1000, 1 << 20] {
        let all = read_from(log, Offset::ZERO, max_bytes).unwrap();
        assert_eq!(all.len(), 47);
        for (record, (offset, timestamp, value)) in all.iter().zip(&expected) {
            assert_eq!((record.offset, record.timestamp), (*offset, Some(*timestamp)));
            if let Some(value) = value {
                assert!(record.value.starts_with(value.as_bytes()), "{offset}");
            }
        }
    }
    for (offset, timestamp, _) in expected {
        let timestamp = Timestamp::from_millis(timestamp).unwrap();
        let found = log.find_timestamp(timestamp, log.end(), &Limits::default()).unwrap().unwrap();
        assert_eq!((found.offset.value(), found.timestamp), (offset, timestamp));
    }
}

#[test]
fn kafkas_directory_opens_and_reads_as_kafka_says() {
    let on_disk = [ReadMode::Map, ReadMode::Pread].map(|mode| Place::on_disk(mode, 1 << 20, 400));
    for place in [Place::in_memory(1 << 20, 400)].into_iter().chain(on_disk) {
        golden(&place);
        let image = place.image();
        let (log, report) = place.try_open(Shutdown::Clean).unwrap();
        assert_eq!(report, Recovered::default());
        assert_reads_as_contents_say(&log);
        log.close().unwrap();
        assert_eq!(place.image(), image, "closing writes what Kafka wrote");
        let (log, report) = place.recover(47);
        assert_eq!(report.cut_bytes, 0);
        assert_reads_as_contents_say(&log);
        log.close().unwrap();
        assert_eq!(place.image(), image);
    }
}

#[test]
fn recovery_makes_kafkas_files_byte_for_byte() {
    let place = Place::in_memory(1 << 20, 400);
    golden(&place);
    let image = place.image();
    for suffix in ["index", "snapshot", "leader-epoch-checkpoint"] {
        place.names(suffix).iter().for_each(|name| place.remove(name));
    }
    assert_eq!(place.names(""), ["00000000000000000000.log", "partition.metadata"]);
    place.edit("00000000000000000000.log", |log| log.extend([0x77; 77]));
    let (log, report) = place.recover(0);
    assert_eq!(report.cut_bytes, 77);
    assert_reads_as_contents_say(&log);
    log.note_high_watermark(log.end());
    assert_eq!(log.last_stable(log.end()), offset(42), "of the transaction that is open");
    let fetched = log.read_committed(Offset::ZERO, 1 << 20, offset(42)).unwrap();
    assert_eq!(fetched.aborted.iter().map(|t| t.first.value()).collect::<Vec<_>>(), [40]);
    log.checkpoint().unwrap();
    place.names(".quarantine").iter().for_each(|name| place.remove(name));
    assert_eq!(place.image(), image);
}

/// An index interval other than the one the files were written with is no reason to write them anew.
#[test]
fn another_index_interval_leaves_the_files_alone() {
    let place = Place::in_memory(1 << 20, 4096);
    golden(&place);
    let image = place.image();
    let log = place.open();
    assert_reads_as_contents_say(&log);
    log.close().unwrap();
    assert_eq!(place.image(), image);
    let log = place.open();
    log.append_as_client(vec![batch(1_800_000_000_000, 1, 10)], epoch(5));
    log.close().unwrap();
    assert_eq!(place.open().end(), offset(48));
}

#[test]
fn kafkas_codecs_are_read() {
    let place = Place::in_memory(1 << 20, 400);
    golden(&place);
    let log = place.open();
    let batches = log.read(offset(42), 1 << 20, log.end()).unwrap().batches;
    assert_ne!(batches[0].header().compression(), Compression::None);
}
