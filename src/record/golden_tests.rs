//! Bytes written by Kafka's own classes and by its Python clients, in `tests/fixtures/golden`.

#![allow(clippy::disallowed_methods, reason = "fixtures are read from the real disk")]

use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::property_tests::assert_walks_to_the_end;
use super::*;
use crate::base::Compression;
use crate::base::LeaderEpoch;
use crate::base::Offset;
use crate::base::ProducerEpoch;
use crate::base::ProducerId;
use crate::base::Timestamp;

fn golden() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/golden"))
}

/// A reference file: name without suffix, bytes, and what other implementations read in it.
struct Golden {
    name: String,
    bytes: Bytes,
    json: Value,
}

/// The reference files whose codec is in this build, by name.
fn goldens() -> Vec<Golden> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "bin") {
            continue;
        }
        let bytes = Bytes::from(std::fs::read(&path).unwrap());
        let json = std::fs::read(path.with_extension("json")).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        found.push(Golden { name, bytes, json: serde_json::from_slice(&json).unwrap() });
    }
    assert_eq!(found.len(), 31, "a reference file was lost");
    found.retain(|golden| {
        let codec = BatchHeader::parse(&golden.bytes).unwrap().compression();
        check_codec(codec, None).is_ok()
    });
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn named(name: &str) -> Batch {
    let golden = goldens().into_iter().find(|golden| golden.name == name).unwrap();
    Batch::parse(golden.bytes).unwrap()
}

fn decode(bytes: &Bytes) -> Result<DecodedBatch, BatchError> {
    let batch = Batch::parse(bytes.clone())?;
    batch.verify_crc()?;
    batch.decode(&Limits::default())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A field of the JSON where -1 stands for none.
fn present(value: &Value) -> Option<i64> {
    value.as_i64().filter(|&value| value >= 0)
}

#[test]
fn headers_are_what_others_read() {
    for Golden { name, bytes, json } in goldens() {
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!(json["size"], header.size(), "{name}");
        assert_eq!(json["sha256"], hex(&Sha256::digest(&bytes)), "{name}");
        let Some(fields) = json.get("header") else { continue };
        let time = |value| present(value).and_then(Timestamp::from_millis);
        let attributes = fields["attributes"].as_u64().unwrap();
        assert_eq!(fields["base_offset"], header.base_offset().value(), "{name}");
        assert_eq!(fields["batch_length"], header.size() - LOG_OVERHEAD, "{name}");
        let epoch = header.leader_epoch().map(|epoch| epoch.value().into());
        assert_eq!(present(&fields["partition_leader_epoch"]), epoch, "{name}");
        assert_eq!(fields["crc"], format!("{:08x}", header.crc()), "{name}");
        assert_eq!(json["compression"], header.compression().to_string(), "{name}");
        assert_eq!(attributes & 0x10 != 0, header.is_transactional(), "{name}");
        assert_eq!(attributes & 0x20 != 0, header.is_control(), "{name}");
        assert_eq!(header.timestamp_type(), TimestampType::CreateTime, "{name}");
        assert_eq!(fields["last_offset_delta"], header.last_offset_delta(), "{name}");
        let base = time(&fields["base_timestamp"]);
        let has_horizon = attributes & 0x40 != 0;
        assert_eq!(header.base_timestamp(), base.filter(|_| !has_horizon), "{name}");
        assert_eq!(header.delete_horizon(), base.filter(|_| has_horizon), "{name}");
        assert_eq!(header.max_timestamp(), time(&fields["max_timestamp"]), "{name}");
        let producer = header.producer();
        let id = producer.map(|producer| producer.id.value());
        let epoch = producer.map(|producer| producer.epoch.value().into());
        let sequence = producer.and_then(|producer| producer.base_sequence).map(i64::from);
        assert_eq!(present(&fields["producer_id"]), id, "{name}");
        assert_eq!(present(&fields["producer_epoch"]), epoch, "{name}");
        assert_eq!(present(&fields["base_sequence"]), sequence, "{name}");
        assert_eq!(fields["record_count"], header.record_count(), "{name}");
    }
}

#[test]
fn records_are_what_others_read() {
    for Golden { name, bytes, json } in goldens() {
        let decoded = decode(&bytes).unwrap();
        let Some(expected) = json["records"].as_array() else { continue };
        assert_eq!(decoded.iter().len(), expected.len(), "{name}");
        assert_eq!(decoded.iter().count(), expected.len(), "{name}");
        for (record, expected) in decoded.iter().zip(expected) {
            assert_eq!(expected["offset"], record.offset.value(), "{name}");
            let timestamp = record.timestamp.map(Timestamp::as_millis);
            assert_eq!(present(&expected["timestamp"]), timestamp, "{name}");
            assert_eq!(expected["key_hex"].as_str(), record.key.map(hex).as_deref(), "{name}");
            let length = record.value.map(|value| i64::try_from(value.len()).unwrap());
            assert_eq!(present(&expected["value_len"]), length, "{name}");
            if let Some(sha256) = expected["value_sha256"].as_str() {
                assert_eq!(sha256, hex(&Sha256::digest(record.value.unwrap())), "{name}");
            } else {
                assert_eq!(
                    expected["value_hex"].as_str(),
                    record.value.map(hex).as_deref(),
                    "{name}"
                );
            }
            let headers: Vec<_> = record
                .headers
                .iter()
                .map(|(key, value)| serde_json::json!([key, value.map(hex)]))
                .collect();
            assert_eq!(expected["headers"], Value::from(headers), "{name}");
        }
    }
}

/// Reading by position, as a consumer does that stops and goes on, gives what iterating gives.
#[test]
fn records_read_by_position_are_those_iterated() {
    for Golden { name, bytes, .. } in goldens() {
        let decoded = decode(&bytes).unwrap();
        let mut position = 0;
        for record in &decoded {
            let (read, next) = decoded.read_at(position).unwrap();
            assert_eq!(format!("{read:?}"), format!("{record:?}"), "{name}");
            position = next;
        }
        assert_eq!(position, decoded.body().len(), "{name}");
        assert!(decoded.read_at(position).is_none(), "{name}");
    }
}

/// Builds the batch anew from what was read in it.
fn rebuilt(original: &Batch) -> Bytes {
    let decoded = original.decode(&Limits::default()).unwrap();
    let mut builder = BatchBuilder::new(BytesMut::new());
    for record in &decoded {
        let headers: Vec<_> = record.headers.iter().collect();
        let RecordView { timestamp, key, value, .. } = record;
        builder.append(&RecordFields { timestamp, key, value, headers: &headers }).unwrap();
    }
    let header = original.header();
    let options = CloseOptions {
        compression: header.compression(),
        level: None,
        producer: header.producer(),
        transactional: header.is_transactional(),
    };
    let mut batch = builder.close(&options).unwrap();
    if let Some(epoch) = header.leader_epoch() {
        batch.stamp(header.base_offset(), epoch);
    }
    batch.freeze().bytes().clone()
}

#[test]
fn uncompressed_batches_are_written_byte_for_byte() {
    for name in
        ["ex1", "ex2", "none-aio", "none-kafka", "none-kp", "none-idempotent-kp", "clean-before"]
    {
        let original = named(name);
        assert_eq!(rebuilt(&original), original.bytes(), "{name}");
    }
}

/// Compressed bytes depend on the version of the codec's library; what is in them does not.
#[test]
fn compressed_batches_hold_the_same_records_when_written_again() {
    for Golden { name, bytes, .. } in goldens() {
        let original = Batch::parse(bytes).unwrap();
        if original.header().compression() != Compression::None {
            let body = |bytes: &Bytes| decode(bytes).unwrap().body().clone();
            let rebuilt = rebuilt(&original);
            assert!(body(&rebuilt) == body(original.bytes()), "{name}");
            // The same framing: what Kafka itself writes begins with the same bytes.
            if name.ends_with("-kafka") {
                assert_eq!(rebuilt[61..67], original.bytes()[61..67], "{name}");
            }
        }
    }
}

#[test]
fn the_commit_marker_is_written_byte_for_byte() {
    let marker = TransactionMarker { kind: MarkerKind::Commit, coordinator_epoch: 7 };
    let (id, epoch) = (ProducerId::new(1000).unwrap(), ProducerEpoch::new(5).unwrap());
    let now = Timestamp::from_millis(1_700_000_001_000).unwrap();
    let mut batch = marker.to_batch(id, epoch, now).unwrap();
    batch.stamp(Offset::from(3), LeaderEpoch::new(9).unwrap());
    assert_eq!(batch.bytes(), &named("ex3").bytes()[..]);
    let decoded = batch.freeze().decode(&Limits::default()).unwrap();
    let record = decoded.iter().next().unwrap();
    assert_eq!(ControlRecord::parse(&record), Ok(ControlRecord::Marker(marker)));
}

#[test]
fn cleaned_batches_are_written_byte_for_byte() {
    let before = named("clean-before");
    let records = before.decode(&Limits::default()).unwrap();
    let horizon = Timestamp::from_millis(1_700_087_400_000);

    let mut rewriter = BatchRewriter::new(BytesMut::new(), before.header(), horizon);
    for record in records.iter().filter(|record| [101, 102].contains(&record.offset.value())) {
        rewriter.keep(&record).unwrap();
    }
    let after = rewriter.close(Compression::None, None).unwrap();
    assert_eq!(after.bytes(), &named("clean-after").bytes()[..]);

    for horizon in [None, horizon] {
        let rewriter = BatchRewriter::new(BytesMut::new(), before.header(), horizon);
        let empty = rewriter.close(Compression::None, None).unwrap();
        assert_eq!(empty.bytes(), &named("clean-empty").bytes()[..]);
    }
}

#[test]
fn a_rewriter_refuses_records_out_of_order_or_of_other_batches() {
    let before = named("clean-before");
    let records = before.decode(&Limits::default()).unwrap();
    let records: Vec<_> = records.iter().collect();
    let mut rewriter = BatchRewriter::new(BytesMut::new(), before.header(), None);
    rewriter.keep(&records[1]).unwrap();
    for offset in [101, 100, 99, 104] {
        let foreign = RecordView { offset: Offset::from(offset), ..records[0] };
        assert!(
            matches!(rewriter.keep(&foreign), Err(BatchError::InvalidRecord { .. })),
            "{offset}"
        );
    }
    rewriter.keep(&records[3]).unwrap();
    assert_eq!(rewriter.record_count(), 2);
}

#[test]
fn every_cut_is_an_error() {
    for Golden { name, bytes, .. } in goldens() {
        for length in 0..bytes.len() {
            let error = decode(&bytes.slice(..length)).unwrap_err();
            assert!(
                matches!(error, BatchError::Truncated { .. }),
                "{name} cut at {length}: {error}"
            );
        }
    }
}

/// Goal: a flipped bit is told, or does not matter to the batch itself. Method: flip each bit of each
/// file. Bytes 0..8 (base offset) and 12..16 (leader epoch) are not covered by the checksum (H5): there,
/// and only there, a batch may be accepted, with the records that it had, moved to the altered offsets. Whether
/// offsets and epochs fit their neighbours is for `storage` to check.
#[test]
fn every_flipped_bit_is_an_error_or_outside_the_checksum() {
    for Golden { name, bytes, .. } in goldens() {
        let original = decode(&bytes).unwrap();
        // One buffer for all flips: a copy for each of two million would take the test's time.
        let mut flipped = BytesMut::from(&bytes[..]);
        for bit in 0..bytes.len() * 8 {
            flipped[bit / 8] ^= 0x80 >> (bit % 8);
            let frozen = flipped.freeze();
            let result = decode(&frozen);
            flipped = frozen.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
            flipped[bit / 8] ^= 0x80 >> (bit % 8);
            let Ok(decoded) = result else { continue };
            let place = bit / 8;
            assert!(place < 8 || (12..16).contains(&place), "{name}: bit {bit} was not noticed");
            assert_eq!(decoded.body(), original.body(), "{name}: bit {bit}");
            let expected = BatchHeader {
                base_offset: decoded.header().base_offset(),
                leader_epoch: decoded.header().leader_epoch,
                ..*original.header()
            };
            assert_eq!(decoded.header(), &expected, "{name}: bit {bit}");
        }
    }
}

/// Goal: whatever passes the checksum, nothing panics. Method: flip bits behind the checksum and write the
/// checksum that matches.
#[test]
fn a_flipped_bit_with_a_matching_checksum_does_not_panic() {
    let (mut accepted, mut refused) = (0, 0);
    for Golden { bytes, .. } in goldens().into_iter().filter(|golden| golden.bytes.len() < 2000) {
        for bit in 21 * 8..bytes.len() * 8 {
            let mut flipped = BytesMut::from(&bytes[..]);
            flipped[bit / 8] ^= 0x80 >> (bit % 8);
            let crc = crc32c(&flipped[21..]);
            flipped[17..21].copy_from_slice(&crc.to_be_bytes());
            match decode(&flipped.freeze()) {
                Ok(decoded) => {
                    assert_walks_to_the_end(&decoded);
                    accepted += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(accepted > 1000 && refused > 1000, "{accepted} accepted, {refused} refused");
}

/// One line of `contents.txt` about a batch, `baseOffset: 0 lastOffset: 1 ...`, by name.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let (_, after) = line.split_once(&format!("{name}: ")).unwrap();
    after.split(' ').next().unwrap()
}

#[test]
fn a_partitions_log_holds_the_batches_that_kafka_lists() {
    let directory = golden().join("partition-dir");
    let log = std::fs::read(directory.join("golden-0/00000000000000000000.log")).unwrap();
    let mut log = Bytes::from(log);
    let contents = std::fs::read_to_string(directory.join("contents.txt")).unwrap();
    let batches: Vec<_> = contents.lines().filter(|line| line.starts_with("baseOffset")).collect();
    let records: Vec<_> = contents.lines().filter(|line| line.starts_with("  | ")).collect();
    assert_eq!((batches.len(), records.len()), (26, 47));
    let mut records = records.into_iter();
    for line in batches {
        let size = match Frame::peek(&log, u64::try_from(log.len()).unwrap()) {
            Frame::Complete(size) => size,
            other => panic!("{other:?} before {line}"),
        };
        let bytes = log.split_to(size);
        let batch = Batch::parse(bytes.clone()).unwrap();
        let header = batch.header();
        assert_eq!(batch.bytes(), &bytes);
        assert_eq!(field(line, "size"), size.to_string());
        assert_eq!(field(line, "crc"), header.crc().to_string());
        assert_eq!(field(line, "baseOffset"), header.base_offset().to_string());
        assert_eq!(field(line, "lastOffset"), header.last_offset().to_string());
        assert_eq!(field(line, "count"), header.record_count().to_string());
        assert_eq!(field(line, "isControl"), header.is_control().to_string());
        assert_eq!(field(line, "isTransactional"), header.is_transactional().to_string());
        let sequence = header.last_sequence().unwrap_or(-1);
        assert_eq!(field(line, "lastSequence"), sequence.to_string());
        let lines: Vec<_> = records.by_ref().take(header.record_count() as usize).collect();
        if check_codec(header.compression(), None).is_err() {
            continue;
        }
        for (record, line) in decode(&bytes).unwrap().iter().zip(lines) {
            assert!(line.contains(&format!("offset={} ", record.offset)), "{line}");
            let timestamp = record.timestamp.unwrap().as_millis();
            assert!(format!("{line} ").contains(&format!("ts={timestamp} ")), "{line}");
            if header.is_control() {
                let parsed = ControlRecord::parse(&record).unwrap();
                let ControlRecord::Marker(marker) = parsed else { panic!("{parsed:?}") };
                let kind = format!("{:?}", marker.kind).to_uppercase();
                let expected =
                    format!("control {kind} coordinatorEpoch={}", marker.coordinator_epoch);
                assert!(line.contains(&expected), "{line}");
            }
        }
    }
    assert_eq!(Frame::peek(&log, 0), Frame::End);
    assert!(log.is_empty() && records.next().is_none());
}
