//! `brooklet dump-log`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use brooklet::{Cluster, NewTopic, Record};

use super::{Ended, brooklet, golden};

const SEGMENT: &str = "00000000000000000000";

fn dump(files: &[&Path], options: &[&str]) -> Ended {
    let files = files.iter().map(|path| path.to_str().unwrap()).collect::<Vec<_>>().join(",");
    brooklet(["dump-log", "--files", &files].into_iter().chain(options.iter().copied()))
}

fn golden_file(name: &str) -> PathBuf {
    golden().join("golden-0").join(name)
}

fn segment_file(suffix: &str) -> PathBuf {
    golden_file(&format!("{SEGMENT}.{suffix}"))
}

/// The lines behind `Dumping FILE`.
fn dump_golden(file: &Path, options: &[&str]) -> Vec<String> {
    let ended = dump(&[file], options);
    let lines = ended.lines();
    assert_eq!(lines[0], format!("Dumping {}", file.display()));
    lines[1..].iter().map(|line| (*line).to_owned()).collect()
}

/// What Kafka's own classes read from the directory.
fn contents() -> Vec<String> {
    let text = fs::read_to_string(golden().join("contents.txt")).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The fields `name=value` and `name: value` of a line.
fn fields(line: &str, separator: &str) -> BTreeMap<String, String> {
    let plain = line.replace(['(', ')', ',', '|'], " ");
    let mut fields = BTreeMap::new();
    let mut rest = plain.as_str();
    while let Some((before, after)) = rest.split_once(separator) {
        let name = before.rsplit(' ').next().unwrap().to_owned();
        let value = after.split(' ').next().unwrap().to_owned();
        fields.insert(name, value);
        rest = after;
    }
    fields
}

#[test]
fn every_batch_is_as_kafka_read_it() {
    let lines = dump_golden(&segment_file("log"), &[]);
    assert_eq!(lines[0], "Log starting offset: 0");
    let mut position = 0;
    let mut found = Vec::new();
    for line in &lines[1..] {
        // The position is all that `contents.txt` does not have.
        let (before, after) = line.split_once(" position: ").unwrap();
        let (number, after) = after.split_once(' ').unwrap();
        assert_eq!(number, position.to_string());
        position += fields(line, ": ")["size"].parse::<u64>().unwrap();
        found.push(format!("{before} {after}"));
    }
    let contents = contents();
    let expected = contents.iter().filter(|line| line.starts_with("baseOffset")).cloned();
    assert_eq!(found, expected.collect::<Vec<_>>());
    assert_eq!(found.len(), 26);
    assert_eq!(position, fs::metadata(segment_file("log")).unwrap().len());
}

#[cfg(all(feature = "lz4", feature = "zstd"))]
#[test]
fn every_record_is_as_kafka_read_it() {
    let lines = dump_golden(&segment_file("log"), &["--print-data-log"]);
    let lines = lines.iter().filter(|line| line.starts_with('|')).collect::<Vec<_>>();
    let contents = contents();
    let expected = contents.iter().filter(|line| line.trim_start().starts_with('|'));
    let expected = expected.collect::<Vec<_>>();
    assert_eq!((lines.len(), expected.len()), (47, 47));
    for (line, expected) in lines.into_iter().zip(expected) {
        let (found, kafka) = (fields(line, ": "), fields(expected, "="));
        assert_eq!(found["offset"], kafka["offset"], "{line}");
        assert_eq!(found["CreateTime"], kafka["ts"], "{line}");
        if let Some((_, marker)) = expected.split_once("control ") {
            let kind = marker.split(' ').next().unwrap();
            assert_eq!(found["endTxnMarker"], kind, "{line}");
            assert_eq!(found["coordinatorEpoch"], kafka["coordinatorEpoch"], "{line}");
            assert!(!found.contains_key("key") && !found.contains_key("payload"), "{line}");
            continue;
        }
        assert_eq!(found["sequence"], kafka["seq"], "{line}");
        match kafka["key"].as_str() {
            "null" => assert_eq!((found["keySize"].as_str(), found.get("key")), ("-1", None)),
            key => assert_eq!(found["key"], key.trim_matches('"'), "{line}"),
        }
        // Long values are cut there: `"aaaa...(100)`.
        let (value, size) = match kafka["value"].split_once("...") {
            None => (kafka["value"].trim_matches('"').to_owned(), None),
            Some((start, _)) => (start.trim_matches('"').to_owned(), Some("100")),
        };
        assert!(found["payload"].starts_with(&value), "{line}");
        let size = size.map_or(value.len().to_string(), str::to_owned);
        assert_eq!(found["valueSize"], size, "{line}");
        assert_eq!(found["payload"].len().to_string(), size, "{line}");
        let headers = if expected.contains("headers=[h=") { "[h]" } else { "[]" };
        assert_eq!(found["headerKeys"], headers, "{line}");
    }
}

#[test]
fn records_without_their_contents_are_printed_by_deep_iteration() {
    let log = segment_file("log");
    let deep = dump(&[&log], &["--deep-iteration"]);
    assert!(deep.out.contains(
        "\n| offset: 1 CreateTime: 1700000000005 keySize: 2 valueSize: 100 sequence: -1 headerKeys: []\n"
    ));
    let marker = "\n| offset: 43 CreateTime: 1700000000310 keySize: 4 valueSize: 6 sequence: -1 \
                  headerKeys: [] endTxnMarker: ABORT coordinatorEpoch: 7\n";
    assert!(deep.out.contains(marker), "{}", deep.out);
    let alone = dump(&[&log], &["--print-data-log", "--skip-record-metadata"]);
    assert!(alone.out.contains("\n| key: t1 payload: x\n| key: t2 payload: y\n"));
}

#[test]
fn every_index_entry_is_as_kafka_read_it() {
    let contents = contents();
    let expected = contents.iter().filter(|line| line.starts_with("idx ")).map(|line| {
        let entry = fields(line, "=");
        format!("offset: {} position: {}", entry["offset"], entry["position"])
    });
    let expected = expected.collect::<Vec<_>>();
    assert_eq!(expected.len(), 11);
    assert_eq!(dump_golden(&segment_file("index"), &[]), expected);

    let expected = contents.iter().filter_map(|line| {
        let (timestamp, offset) = line.strip_prefix("tidx ")?.split_once(' ')?;
        Some(format!("timestamp: {timestamp} offset: {offset}"))
    });
    let expected = expected.collect::<Vec<_>>();
    assert_eq!(expected.len(), 11);
    // The batches in question are not compressed, so this needs no codec.
    assert_eq!(dump_golden(&segment_file("timeindex"), &[]), expected);
}

#[test]
fn transactions_and_producers_are_as_kafka_read_them() {
    let contents = contents();
    let expected = contents.iter().filter(|line| line.starts_with("AbortedTxn")).map(|line| {
        let entry = fields(line, "=");
        let field = |name| format!("{name}: {}", entry[name]);
        let names = ["version", "producerId", "firstOffset", "lastOffset", "lastStableOffset"];
        names.map(field).join(" ")
    });
    assert_eq!(dump_golden(&segment_file("txnindex"), &[]), expected.collect::<Vec<_>>());

    let found = dump_golden(&golden_file("00000000000000000047.snapshot"), &[]);
    let expected = contents.iter().filter(|line| line.starts_with("ProducerStateEntry"));
    let expected = expected.map(|line| line.replace(['[', ']'], " ")).collect::<Vec<_>>();
    assert_eq!((found.len(), expected.len()), (3, 3));
    for (line, expected) in found.iter().zip(expected) {
        let (found, kafka) = (fields(&line.replace(['[', ']'], " "), ": "), fields(&expected, "="));
        for (ours, theirs) in [
            ("producerId", "producerId"),
            ("producerEpoch", "producerEpoch"),
            ("coordinatorEpoch", "coordinatorEpoch"),
            ("currentTxnFirstOffset", "currentTxnFirstOffset"),
            ("lastTimestamp", "lastTimestamp"),
            ("firstSequence", "firstSeq"),
            ("lastSequence", "lastSeq"),
            ("lastOffset", "lastOffset"),
            ("timestamp", "timestamp"),
        ] {
            assert_eq!(found[ours], kafka[theirs], "{line}: {ours}");
        }
        let number = |name| kafka[name].parse::<i64>().unwrap();
        let delta = number("lastOffset") - number("firstOffset");
        assert_eq!(found["offsetDelta"], delta.to_string());
    }
    assert!(found[1].contains("currentTxnFirstOffset: OptionalLong[42] "));
}

#[test]
fn the_small_text_files_are_printed_too() {
    let epochs = golden_file("leader-epoch-checkpoint");
    assert_eq!(dump_golden(&epochs, &[]), ["epoch: 3 startOffset: 0", "epoch: 4 startOffset: 43"]);
    let metadata = golden_file("partition.metadata");
    assert_eq!(dump_golden(&metadata, &[]), ["topicId: ASNFZ4mrze8RIjNEVWZ3iA"]);
    let points = golden().join("recovery-point-offset-checkpoint");
    assert_eq!(dump_golden(&points, &[]), ["topic: golden partition: 0 offset: 47"]);
}

#[test]
fn good_indexes_pass_silently() {
    let (index, times) = (segment_file("index"), segment_file("timeindex"));
    assert_eq!(dump_golden(&index, &["--verify-index-only"]), Vec::<String>::new());
    assert_eq!(dump_golden(&times, &["--verify-index-only"]), Vec::<String>::new());
    for file in [index, times] {
        let passed = format!("{} passed sanity check.", file.display());
        assert_eq!(dump_golden(&file, &["--index-sanity-check"]), [passed]);
    }
}

#[test]
fn max_bytes_ends_the_reading() {
    // Two batches of 283 bytes each, and a part of the third.
    let lines = dump_golden(&segment_file("log"), &["--max-bytes", "800"]);
    assert_eq!(lines.len(), 3);
    assert!(lines[2].starts_with("baseOffset: 2 "));
}

/// A directory with a copy of the files, and a change in one of them.
fn damaged(suffix: &str, change: impl FnOnce(&mut Vec<u8>)) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    for copied in ["log", "index", "timeindex", "txnindex"] {
        let name = format!("{SEGMENT}.{copied}");
        fs::copy(segment_file(copied), dir.path().join(name)).unwrap();
    }
    let path = dir.path().join(format!("{SEGMENT}.{suffix}"));
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    (dir, path)
}

#[test]
fn a_wrong_checksum_is_told_and_the_rest_is_read() {
    let (_dir, path) = damaged("log", |log| log[100] ^= 1);
    let ended = dump(&[&path], &[]);
    assert_eq!(ended.code, Some(1));
    let batches = ended.out.lines().filter(|line| line.starts_with("baseOffset")).count();
    assert_eq!(batches, 26);
    assert_eq!(ended.out.matches("isvalid: false").count(), 1);
}

#[test]
fn bytes_that_are_no_batch_are_counted() {
    let (_dir, path) = damaged("log", |log| log.extend([7; 77]));
    let ended = dump(&[&path], &[]);
    assert_eq!(ended.code, Some(1));
    let tail = format!("Found 77 invalid bytes at the end of {SEGMENT}.log\n");
    assert!(ended.out.ends_with(&tail), "{}", ended.out);
    assert!(ended.err.contains("position 6195"), "{}", ended.err);
    // A batch that is cut off ends the file as well.
    let (_dir, path) = damaged("log", |log| log.truncate(300));
    let ended = dump(&[&path], &["--print-data-log"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.out.ends_with(&format!("Found 17 invalid bytes at the end of {SEGMENT}.log\n")));
}

#[test]
fn a_batch_with_an_impossible_header_is_passed_over() {
    let (_dir, path) = damaged("log", |log| log[283 + 22] = 7);
    let ended = dump(&[&path], &[]);
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.out.lines().filter(|line| line.starts_with("baseOffset")).count(), 25);
    assert!(ended.err.contains("position 283: batch has unknown codec 7"), "{}", ended.err);
}

#[test]
fn records_that_cannot_be_read_are_told_and_the_rest_is_read() {
    // The record count of the first batch.
    let (_dir, path) = damaged("log", |log| log[60] = 1);
    let ended = dump(&[&path], &["--deep-iteration", "--max-bytes", "600"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("position 0: "), "{}", ended.err);
    assert!(ended.out.contains("\n| offset: 2 "), "{}", ended.out);
}

#[test]
fn index_entries_that_do_not_fit_are_mismatches() {
    let (_dir, path) = damaged("index", |index| index[7] = 0x37);
    let mismatch =
        format!("Mismatches in :{}\n  Index offset: 5, log offset: -1\n", path.display());
    for options in [&[][..], &["--verify-index-only"]] {
        let ended = dump(&[&path], options);
        assert_eq!((ended.code, &ended.err), (Some(1), &mismatch), "{options:?}");
        let entries = ended.out.lines().filter(|line| line.starts_with("offset: ")).count();
        assert_eq!(entries, if options.is_empty() { 11 } else { 0 });
    }
    // Another batch than the entry says.
    let (_dir, path) = damaged("index", |index| index[3] = 4);
    let ended = dump(&[&path], &["--verify-index-only"]);
    assert!(ended.err.contains("  Index offset: 4, log offset: 5\n"), "{}", ended.err);
}

#[test]
fn time_index_entries_that_do_not_fit_are_told_by_kind() {
    let (_dir, path) = damaged("timeindex", |times| {
        // The timestamp of the first entry, and the offset of the third.
        times[7] += 1;
        times[24 + 11] = 12;
        // The last but one is not above the one before it.
        let earlier = times[96..104].to_vec();
        times[108..116].copy_from_slice(&earlier);
    });
    let ended = dump(&[&path], &["--verify-index-only"]);
    assert_eq!(ended.code, Some(1));
    let path = path.display();
    let expected = format!(
        "Found timestamp mismatch in :{path}\n  \
         Index timestamp: 1700000000026, log timestamp: 1700000000025\n  \
         Index timestamp: 1700000000185, log timestamp: 1700000000301\n\
         Found out of order timestamp in :{path}\n  \
         Index timestamp: 1700000000185, Previously indexed timestamp: 1700000000185\n\
         The following indexed offsets are not found in the log.\n\
         Indexed offset: 12, found log offset: 13\n"
    );
    assert_eq!(ended.err, expected);
}

#[test]
fn indexes_that_kafka_would_rebuild_fail_the_sanity_check() {
    for (suffix, size) in [("index", 8), ("timeindex", 12)] {
        let (_dir, path) = damaged(suffix, |index| index.push(0));
        let ended = dump(&[&path], &["--index-sanity-check"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.err.contains(&format!("no multiple of an entry's {size}")), "{}", ended.err);
        assert!(!ended.out.contains("passed"));
    }
}

/// As Kafka does with an index that was never filled.
#[test]
fn an_empty_index_is_said_to_be_empty() {
    let (_dir, path) = damaged("index", Vec::clear);
    let empty = format!("{} is empty.", path.display());
    for options in [&[][..], &["--index-sanity-check"], &["--verify-index-only"]] {
        assert_eq!(dump_golden(&path, options), [empty.as_str()]);
    }
}

#[test]
fn a_preallocated_index_ends_with_its_padding() {
    let (_dir, path) = damaged("index", |index| index.extend([0; 800]));
    assert_eq!(dump_golden(&path, &[]).len(), 11);
    let (_dir, path) = damaged("timeindex", |times| times.extend([0; 1200]));
    assert_eq!(dump_golden(&path, &[]).len(), 11);
}

#[test]
fn a_snapshot_with_a_wrong_checksum_is_not_printed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("00000000000000000047.snapshot");
    let mut bytes = fs::read(golden_file("00000000000000000047.snapshot")).unwrap();
    bytes[20] ^= 1;
    fs::write(&path, bytes).unwrap();
    let ended = dump(&[&path], &[]);
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.out, format!("Dumping {}\n", path.display()));
    assert!(ended.err.contains("CRC-32C"), "{}", ended.err);
}

/// As compaction leaves them: no damage.
#[test]
fn gaps_between_offsets_are_told_and_are_no_error() {
    let (_dir, path) = damaged("log", |log| drop(log.drain(283..849)));
    let shallow = dump(&[&path], &[]);
    assert_eq!((shallow.code, shallow.err.as_str()), (Some(0), ""));
    let deep = dump(&[&path], &["--deep-iteration", "--max-bytes", "1000"]);
    let expected = format!("Non-consecutive offsets in {}\n  1 is followed by 6\n", path.display());
    assert_eq!((deep.code, deep.err), (Some(0), expected));
}

#[test]
fn one_bad_file_does_not_keep_the_others_from_being_read() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join(format!("{SEGMENT}.log"));
    let unknown = dir.path().join("notes.txt");
    let good = segment_file("txnindex");
    let ended = dump(&[&missing, &unknown, &good], &[]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains(&format!("Error: cannot open {}: ", missing.display())));
    assert!(ended.err.contains(&format!("Ignoring unknown file {}", unknown.display())));
    assert!(ended.out.contains("producerId: 4000"), "{}", ended.out);
}

#[test]
fn an_index_without_its_log_is_an_error() {
    let (dir, path) = damaged("index", |_| {});
    let log = dir.path().join(format!("{SEGMENT}.log"));
    fs::remove_file(&log).unwrap();
    let ended = dump(&[&path], &[]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains(&format!("cannot open {}", log.display())), "{}", ended.err);
}

#[test]
fn files_may_be_separated_by_commas_or_spaces() {
    let [a, b, c] = ["log", "index", "timeindex"].map(|s| segment_file(s).display().to_string());
    let together = format!("{a},{b}");
    let ended = brooklet(["dump-log", "--files", &together, &c]);
    assert_eq!(ended.lines().iter().filter(|line| line.starts_with("Dumping ")).count(), 3);
}

/// Also of a store that is open.
#[test]
fn what_brooklet_wrote_is_printed_without_complaint() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::open(dir.path()).unwrap();
    let new = NewTopic::new("email").config("index.interval.bytes", 100);
    let email = cluster.create_topic(new).unwrap();
    let producer = cluster.producer().build().unwrap();
    for n in 0..50 {
        let value = format!("value {n}");
        producer.send(Record::to(&email).key("k").value(&value)).unwrap().wait().unwrap();
    }
    let log = dir.path().join(format!("email-0/{SEGMENT}.log"));
    let open = dump(&[&log], &["--print-data-log"]);
    assert_eq!(open.lines().iter().filter(|line| line.starts_with('|')).count(), 50);
    assert!(open.out.contains(" key: k payload: value 49\n"));
    drop((email, producer));
    cluster.close().unwrap();

    let mut files = Vec::new();
    for folder in [dir.path().to_owned(), dir.path().join("email-0")] {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.extend(entries.filter(|path| path.is_file()));
    }
    let known = |path: &&PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        path.extension().is_some_and(|e| e == "metadata")
            || name.ends_with("checkpoint") && !name.starts_with("brooklet")
            || name.starts_with("0000")
    };
    let files = files.iter().filter(known).map(PathBuf::as_path).collect::<Vec<_>>();
    assert!(files.len() >= 7, "{files:?}");
    let closed = dump(&files, &["--deep-iteration"]);
    assert_eq!((closed.code, closed.err.as_str()), (Some(0), ""), "{closed:?}");

    // A bit of the leader epoch, which the checksum of the batch leaves out.
    let mut bytes = fs::read(&log).unwrap();
    bytes[15] ^= 1;
    fs::write(&log, bytes).unwrap();
    let digest = log.with_extension("digest");
    let changed = dump(&[&log, &digest], &[]);
    assert_eq!(changed.code, Some(1));
    assert_eq!(changed.out.matches("isvalid: true").count(), 50);
    assert_eq!(changed.err, format!("Error: {} does not fit its log\n", digest.display()));
}
