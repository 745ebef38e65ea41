//! Any bytes, and what is found in those that are not as they should be.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::source::Source;
use super::*;
use crate::base::{ErrorKind, Offset, Timestamp};
use crate::env::File;

macro_rules! golden {
    ($name:literal) => {
        include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/golden/partition-dir/golden-0/",
            $name
        ))
    };
}

const LOG: &[u8] = golden!("00000000000000000000.log");
const INDEX: &[u8] = golden!("00000000000000000000.index");
const TIMES: &[u8] = golden!("00000000000000000000.timeindex");
const TRANSACTIONS: &[u8] = golden!("00000000000000000000.txnindex");
const SNAPSHOT: &[u8] = golden!("00000000000000000047.snapshot");

/// A file in memory that counts the bytes read from it.
#[derive(Debug)]
struct Counted {
    bytes: Bytes,
    read: Arc<AtomicU64>,
}

impl File for Counted {
    fn read(&self, position: u64, length: usize) -> io::Result<Bytes> {
        self.read.fetch_add(length as u64, Ordering::Relaxed);
        let start = usize::try_from(position).unwrap();
        if start + length > self.bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(self.bytes.slice(start..start + length))
    }

    fn write(&self, _: u64, _: &[Bytes]) -> io::Result<()> {
        unreachable!("nothing is written")
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        unreachable!("nothing is cut")
    }

    fn sync(&self) -> io::Result<()> {
        unreachable!("nothing is synced")
    }
}

fn counted(bytes: &[u8]) -> (Source, Arc<AtomicU64>) {
    let read = Arc::default();
    let file = Counted { bytes: Bytes::copy_from_slice(bytes), read: Arc::clone(&read) };
    (Source::new(Path::new("00000000000000000000.x"), Arc::new(file)).unwrap(), read)
}

fn source(bytes: &[u8]) -> Source {
    counted(bytes).0
}

fn log(bytes: &[u8]) -> LogFile {
    LogFile::new(source(bytes))
}

fn offset_index(bytes: &[u8]) -> OffsetIndex {
    OffsetIndex::new(source(bytes)).unwrap()
}

fn time_index(bytes: &[u8]) -> TimeIndex {
    TimeIndex::new(source(bytes)).unwrap()
}

fn offset_entries(entries: &[(i32, i32)]) -> OffsetIndex {
    let bytes = entries.iter().flat_map(|(o, p)| [o.to_be_bytes(), p.to_be_bytes()]).flatten();
    offset_index(&bytes.collect::<Vec<_>>())
}

fn time_entries(entries: &[(i64, i32)]) -> TimeIndex {
    let mut bytes = Vec::new();
    for (timestamp, offset) in entries {
        bytes.extend(timestamp.to_be_bytes());
        bytes.extend(offset.to_be_bytes());
    }
    time_index(&bytes)
}

fn offset(value: i64) -> Offset {
    Offset::new(value).unwrap()
}

/// `original`, cut, with bytes changed, and with others put in or behind it.
fn damaged(original: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    let length = original.len();
    let changes = vec((0..length, any::<u8>()), 0..6);
    (changes, 0..=length, vec(any::<u8>(), 0..100), 0..=length).prop_map(
        move |(changes, at, inserted, end)| {
            let mut bytes = original.to_vec();
            for (place, byte) in changes {
                bytes[place] = byte;
            }
            bytes.truncate(end);
            bytes.splice(at.min(end)..at.min(end), inserted);
            bytes
        },
    )
}

proptest! {
    /// Every byte of the file belongs to one batch or one bad place, in order, and reading comes to an end.
    #[test]
    fn any_log_is_read_to_its_end(bytes in prop_oneof![damaged(LOG), vec(any::<u8>(), 0..2000)]) {
        let log = log(&bytes);
        let mut position = 0;
        let mut was_last = false;
        for batch in log.batches() {
            prop_assert!(!was_last);
            let size = match batch {
                Ok(batch) => {
                    prop_assert_eq!(batch.position(), position);
                    if let Ok(records) = batch.records() {
                        for record in &records {
                            let _ = (record.sequence(), record.control());
                            prop_assert!(record.offset() <= batch.last_offset());
                            prop_assert_eq!(record.headers().iter().count(), record.headers().len());
                        }
                    }
                    batch.size_bytes() as u64
                }
                Err(bad) => {
                    prop_assert_eq!(bad.position(), position);
                    was_last = bad.is_last();
                    bad.size_bytes()
                }
            };
            position += size;
        }
        prop_assert_eq!(position, bytes.len() as u64);
    }

    #[test]
    fn any_index_is_read_and_compared_to_its_end(
        offsets in prop_oneof![damaged(INDEX), vec(any::<u8>(), 0..500)],
        times in prop_oneof![damaged(TIMES), vec(any::<u8>(), 0..500)],
        bytes in prop_oneof![Just(LOG.to_vec()), damaged(LOG)],
    ) {
        let log = log(&bytes);
        let index = offset_index(&offsets);
        prop_assert!(index.entries().count() <= offsets.len().div_ceil(8));
        let found = index.verify(&log).collect::<Result<Vec<_>, _>>().unwrap();
        prop_assert!(found.len() <= offsets.len() / 8);
        let _ = index.sanity_check();
        let time_index = time_index(&times);
        prop_assert!(time_index.entries().count() <= times.len().div_ceil(12));
        let found = time_index.verify(&index, &log).collect::<Result<Vec<_>, _>>().unwrap();
        prop_assert!(found.len() <= times.len() / 12 * 2);
        let _ = time_index.sanity_check();
    }

    #[test]
    fn any_text_can_be_looked_at_as_a_digest(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(SegmentDigest::new(source(&bytes)).is_err());
    }

    #[test]
    fn any_producer_state_is_read_to_its_end(
        transactions in prop_oneof![damaged(TRANSACTIONS), vec(any::<u8>(), 0..500)],
        snapshot in prop_oneof![damaged(SNAPSHOT), vec(any::<u8>(), 0..500)],
    ) {
        let index = TransactionIndex::new(source(&transactions));
        prop_assert_eq!(index.entries().count(), transactions.len().div_ceil(34));
        if let Ok(snapshot) = ProducerSnapshot::new(source(&snapshot)) {
            prop_assert!(snapshot.entries().all(|entry| entry.is_ok()));
        }
    }
}

/// A7: a damaged snapshot is told from a whole one, wherever the damage is.
#[test]
fn every_changed_byte_of_a_snapshot_is_noticed() {
    assert_eq!(ProducerSnapshot::new(source(SNAPSHOT)).unwrap().entries().count(), 3);
    for place in 0..SNAPSHOT.len() {
        let mut bytes = SNAPSHOT.to_vec();
        bytes[place] ^= 1;
        let error = ProducerSnapshot::new(source(&bytes)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CorruptMessage, "byte {place}");
    }
    for length in 0..SNAPSHOT.len() {
        assert!(ProducerSnapshot::new(source(&SNAPSHOT[..length])).is_err(), "{length} bytes");
    }
}

#[test]
fn a_damaged_batch_is_passed_over_if_its_length_is_good() {
    let mut bytes = LOG.to_vec();
    // The first batch: its checksum is wrong. The second one, at 283: no such codec.
    bytes[100] ^= 1;
    bytes[283 + 22] = 7;
    // The fourth: no such length.
    bytes[283 * 3 + 8] = 0xff;
    let found = log(&bytes).batches().collect::<Vec<_>>();
    assert!(!found[0].as_ref().unwrap().is_valid());
    let bad = found[1].as_ref().unwrap_err();
    assert_eq!((bad.position(), bad.size_bytes(), bad.is_last()), (283, 283, false));
    assert!(found[2].as_ref().unwrap().is_valid());
    let bad = found[3].as_ref().unwrap_err();
    assert_eq!((bad.position(), bad.is_last()), (849, true));
    assert_eq!(bad.size_bytes(), LOG.len() as u64 - 849);
    assert_eq!(found.len(), 4);
}

#[test]
fn a_batch_above_the_limit_is_passed_over_unread() {
    let (source, read) = counted(LOG);
    let log = LogFile::new(source).max_batch_bytes(100);
    let (good, bad): (Vec<_>, Vec<_>) = log.batches().partition(Result::is_ok);
    assert_eq!((good.len(), bad.len()), (6, 20));
    assert!(read.load(Ordering::Relaxed) <= LOG.len() as u64);
}

#[test]
fn the_padding_of_a_preallocated_index_ends_it() {
    let padded = [INDEX, &[0; 800]].concat();
    assert_eq!(offset_index(&padded).entries().count(), INDEX.len() / 8);
    assert_eq!(offset_index(&padded).verify(&log(LOG)).count(), 0);
    assert_eq!(offset_index(&padded).entry_count(), padded.len() as u64 / 8);
    let padded = [TIMES, &[0; 1200]].concat();
    assert_eq!(time_index(&padded).entries().count(), TIMES.len() / 12);
    assert_eq!(time_index(&padded).verify(&offset_index(INDEX), &log(LOG)).count(), 0);
}

#[test]
fn offset_entries_that_do_not_fit_are_found() {
    let index = offset_entries(&[(5, 566), (9, 1133), (12, 1700), (20, 1 << 30), (21, 2840)]);
    let log = log(LOG);
    let found = index.verify(&log).map(|found| {
        let OffsetMismatch { entry, found } = found.unwrap();
        (entry.offset.value(), found.map(Offset::value))
    });
    assert_eq!(found.collect::<Vec<_>>(), [(9, None), (12, Some(13)), (20, None)]);
}

#[test]
fn time_entries_that_do_not_fit_are_found() {
    const T: i64 = 1_700_000_000_000;
    let index = time_entries(&[
        (T + 25, 5),
        (T + 46, 9),
        (T + 50, 10),
        (T + 85, 17),
        (T + 80, 13),
        (T + 85, 17),
        (T + 999, 99),
    ]);
    let mut found = Vec::new();
    for mismatch in index.verify(&offset_index(INDEX), &log(LOG)) {
        found.push(match mismatch.unwrap() {
            TimeMismatch::Timestamp { entry, found } => {
                ("timestamp", entry.offset.value(), found.map(Timestamp::as_millis))
            }
            TimeMismatch::NotFound { entry, found } => {
                ("not found", entry.offset.value(), found.map(Offset::value))
            }
            TimeMismatch::TimestampOutOfOrder { entry, previous } => {
                ("time", entry.offset.value(), Some(previous.timestamp.as_millis()))
            }
            TimeMismatch::OffsetOutOfOrder { entry, previous } => {
                ("offset", entry.offset.value(), Some(previous.value()))
            }
            TimeMismatch::Unreadable { entry, .. } => ("unreadable", entry.offset.value(), None),
        });
    }
    let expected = [
        ("timestamp", 9, Some(T + 45)),
        ("not found", 10, Some(11)),
        ("offset", 13, Some(17)),
        ("not found", 99, None),
    ];
    assert_eq!(found, expected);
    // The same batch twice, the second time with a timestamp that is not larger: both are wrong.
    let index = time_entries(&[(T + 25, 5), (T + 24, 5)]);
    let found = index.verify(&offset_index(INDEX), &log(LOG)).collect::<Result<Vec<_>, _>>();
    let found = found.unwrap();
    assert!(matches!(
        found[..],
        [TimeMismatch::Timestamp { .. }, TimeMismatch::TimestampOutOfOrder { .. }]
    ));
}

#[test]
fn a_time_entry_of_an_unreadable_batch_says_so() {
    let mut bytes = LOG.to_vec();
    // The record count of the batch at 566, whose last offset is 5.
    bytes[566 + 60] = 1;
    let times = time_index(TIMES);
    let found = times.verify(&offset_index(INDEX), &log(&bytes)).collect::<Result<Vec<_>, _>>();
    assert!(matches!(found.unwrap()[..], [TimeMismatch::Unreadable { .. }]));
}

/// Indexes that lead back and forth cost one walk over the log, not one for each entry.
#[test]
fn hostile_indexes_cost_one_walk() {
    let many = LOG.repeat(20);
    let times = (0..5000).map(|n| (n, if n % 2 == 0 { 1 } else { 46 })).collect::<Vec<_>>();
    let offsets =
        (0..5000).map(|n| (n % 47, if n % 2 == 0 { 5120 } else { 0 })).collect::<Vec<_>>();
    let (source, read) = counted(&many);
    let log = LogFile::new(source);
    let found = time_entries(&times).verify(&offset_entries(&offsets), &log).count();
    assert!(found >= 4998);
    assert!(read.load(Ordering::Relaxed) <= 4 * many.len() as u64, "{read:?} bytes were read");
}

#[test]
fn indexes_that_kafka_would_rebuild_fail_the_sanity_check() {
    for good in [INDEX, &[]] {
        offset_index(good).sanity_check().unwrap();
    }
    for good in [TIMES, &[]] {
        time_index(good).sanity_check().unwrap();
    }
    let errors = [
        (offset_index(&INDEX[..7]).sanity_check(), "multiple"),
        (offset_entries(&[(5, 566), (-1, 700)]).sanity_check(), "below the base offset"),
        (time_index(&TIMES[..23]).sanity_check(), "multiple"),
        (time_entries(&[(7, 5), (6, 9)]).sanity_check(), "below the first"),
        (time_entries(&[(7, 5), (8, -9)]).sanity_check(), "below the base offset"),
    ];
    for (result, part) in errors {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CorruptMessage);
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn entries_that_make_no_sense_are_errors_at_their_place() {
    let index = offset_entries(&[(-1, 0), (5, -1), (9, 1132)]);
    let entries = index.entries().collect::<Vec<_>>();
    assert!(entries[0].is_err() && entries[1].is_err());
    assert_eq!(entries[2].as_ref().unwrap().offset, offset(9));
    assert_eq!(index.verify(&log(LOG)).count(), 0);

    let times = time_entries(&[(-1, 5), (1_700_000_000_045, 9)]);
    let entries = times.entries().collect::<Vec<_>>();
    assert!(entries[0].is_err() && entries[1].is_ok());
    assert_eq!(times.verify(&offset_index(INDEX), &log(LOG)).count(), 0);

    let cut = &[TRANSACTIONS, &TRANSACTIONS[..33]].concat();
    let entries = TransactionIndex::new(source(cut)).entries().collect::<Vec<_>>();
    assert!(entries[0].is_ok() && entries[1].is_err());
    assert_eq!(entries.len(), 2);
}

/// As in `00000000000000000123.timeindex.swap`.
#[test]
fn the_base_offset_is_read_from_the_name() {
    let named = |name: &str| {
        let file = Arc::new(Counted { bytes: Bytes::new(), read: Arc::default() });
        Source::new(Path::new(name), file).unwrap()
    };
    for (name, base) in [
        ("00000000000000000123.log", Some(123)),
        ("d-0/00000000000000000123.timeindex.swap", Some(123)),
        ("9223372036854775807.index", Some(i64::MAX)),
        ("9223372036854775808.index", None),
        ("-1.index", None),
        ("+1.index", None),
        (".index", None),
        ("x.index", None),
    ] {
        assert_eq!(named(name).base_offset().map(Offset::value), base, "{name}");
        assert_eq!(OffsetIndex::new(named(name)).is_ok(), base.is_some());
    }
}
