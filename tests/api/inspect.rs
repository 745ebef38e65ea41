//! Files of a log, looked at without a cluster.

use std::fs;
use std::path::{Path, PathBuf};

use brooklet::inspect::{
    self, LogFile, OffsetIndex, ProducerSnapshot, SegmentDigest, TimeIndex, TimestampType,
    TransactionIndex,
};
use brooklet::{Cluster, Compression, ErrorKind, NewTopic, Offset, Record, Timestamp};

use super::{producer, send_all, topic};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/golden/partition-dir/golden-0")
        .join(name)
}

fn segment(partition: &Path, suffix: &str) -> PathBuf {
    partition.join(format!("00000000000000000000.{suffix}"))
}

#[test]
fn what_was_sent_is_found_in_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::open(dir.path()).unwrap();
    let new = NewTopic::new("email").config("index.interval.bytes", 100);
    let email = cluster.create_topic(new).unwrap();
    let id = email.describe().unwrap().id;
    let sender = producer(&cluster);
    let at = |n: i64| Timestamp::from_millis(1_700_000_000_000 + n).unwrap();
    for n in 0..50 {
        let value = format!("value {n}");
        let record = Record::to(&email).key("k").value(&value).header("h", "v").timestamp(at(n));
        sender.send(record).unwrap().wait().unwrap();
    }
    drop(sender);
    cluster.close().unwrap();

    let partition = dir.path().join("email-0");
    let log = LogFile::open(segment(&partition, "log")).unwrap();
    assert_eq!(log.base_offset(), Some(Offset::ZERO));
    let mut n = 0;
    for batch in log.batches() {
        let batch = batch.unwrap();
        assert!(batch.is_valid() && !batch.is_control() && !batch.is_transactional());
        assert_eq!(batch.timestamp_type(), TimestampType::CreateTime);
        assert_eq!(batch.bytes().len(), batch.size_bytes());
        for record in &batch.records().unwrap() {
            assert_eq!(record.offset().value(), n);
            assert_eq!(record.timestamp(), Some(at(n)));
            assert_eq!(record.key(), Some(&b"k"[..]));
            assert_eq!(record.value(), Some(format!("value {n}").as_bytes()));
            assert_eq!(record.headers().get("h"), Some(Some(&b"v"[..])));
            let sequence = i32::try_from(n).ok();
            assert_eq!((record.sequence(), record.control().unwrap()), (sequence, None));
            n += 1;
        }
    }
    assert_eq!(n, 50);

    let offsets = OffsetIndex::open(segment(&partition, "index")).unwrap();
    assert!(offsets.entry_count() > 0);
    assert_eq!(offsets.verify(&log).count(), 0);
    let times = TimeIndex::open(segment(&partition, "timeindex")).unwrap();
    assert!(times.entry_count() > 0);
    assert_eq!(times.verify(&offsets, &log).count(), 0);

    let digest = SegmentDigest::open(segment(&partition, "digest")).unwrap();
    assert_eq!((digest.topic_id(), digest.partition().value()), (id, 0));
    assert_eq!(digest.base_offset(), Offset::ZERO);
    assert_eq!(digest.size_bytes(), log.size_bytes());
    assert_eq!((digest.batch_count(), digest.next_offset()), (50, Offset::from(50)));
    assert!(digest.verify(&log).unwrap());

    let epochs = inspect::read_leader_epochs(partition.join("leader-epoch-checkpoint")).unwrap();
    assert_eq!(epochs.iter().map(|(_, start)| *start).collect::<Vec<_>>(), [Offset::ZERO]);
    assert_eq!(inspect::read_topic_id(partition.join("partition.metadata")).unwrap(), id);
    let points = dir.path().join("recovery-point-offset-checkpoint");
    let points = inspect::read_offsets(points).unwrap();
    let email = points.iter().find(|(partition, _)| partition.topic == "email").unwrap();
    assert_eq!(*email.1, Offset::from(50));
}

#[test]
fn files_in_use_are_looked_at_as_they_were_when_opened() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::open(dir.path()).unwrap();
    let email = topic(&cluster, 1);
    let sender = producer(&cluster);
    send_all(&sender, &email, ["a"]);
    let log = LogFile::open(segment(&dir.path().join("email-0"), "log")).unwrap();
    send_all(&sender, &email, ["b", "c"]);
    let records = log.batches().map(|batch| batch.unwrap().record_count()).sum::<u32>();
    assert_eq!(records, 1);
}

#[test]
fn the_files_of_kafka_hold_what_kafka_says() {
    let log = LogFile::open(golden("00000000000000000000.log")).unwrap();
    let batches = log.batches().collect::<Result<Vec<_>, _>>().unwrap();
    let of_transaction = batches.iter().find(|batch| batch.is_transactional()).unwrap();
    assert_eq!(of_transaction.producer_id().unwrap().value(), 4000);
    assert_eq!(of_transaction.producer_epoch().unwrap().value(), 1);
    assert_eq!(
        (of_transaction.base_sequence(), of_transaction.last_sequence()),
        (Some(0), Some(1))
    );
    assert_eq!(of_transaction.leader_epoch().unwrap().value(), 3);
    assert_eq!(batches[21].compression(), Compression::Lz4);
    assert!(batches.iter().all(|batch| batch.delete_horizon().is_none()));

    let index = TransactionIndex::open(golden("00000000000000000000.txnindex")).unwrap();
    let aborted = index.entries().map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(aborted.len(), 1);
    assert_eq!(aborted[0].producer_id.value(), 4000);
    assert_eq!(aborted[0].last_stable_offset, Offset::from(42));

    let snapshot = ProducerSnapshot::open(golden("00000000000000000047.snapshot")).unwrap();
    assert_eq!(snapshot.offset(), Some(Offset::from(47)));
    let producers = snapshot.entries().map(Result::unwrap).collect::<Vec<_>>();
    let batch = producers[0].last_batch.unwrap();
    assert_eq!((batch.first_sequence, batch.last_sequence, batch.offset_delta), (2, 2, 0));
    assert_eq!(producers[0].coordinator_epoch, Some(7));
    assert_eq!(producers[1].current_transaction_first_offset, Some(Offset::from(42)));
}

#[test]
fn what_is_no_such_file_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("00000000000000000000.log");
    let error = LogFile::open(&missing).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(error.to_string().contains("00000000000000000000.log"), "{error}");
    assert_eq!(inspect::read_offsets(&missing).unwrap_err().kind(), ErrorKind::Storage);

    let nameless = dir.path().join("some.index");
    fs::write(&nameless, b"").unwrap();
    assert_eq!(OffsetIndex::open(&nameless).unwrap_err().kind(), ErrorKind::InvalidState);

    for bad in [&b"1\n0\n"[..], b"0\n2\n0 0\n", b"0\n2\n1 0\n0 5\n", b"0\n1\nx\n", b"\xff"] {
        let path = dir.path().join("checkpoint");
        fs::write(&path, bad).unwrap();
        let error = inspect::read_leader_epochs(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CorruptMessage, "{bad:?}");
    }
    let path = dir.path().join("partition.metadata");
    fs::write(&path, "version: 0\n").unwrap();
    assert_eq!(inspect::read_topic_id(&path).unwrap_err().kind(), ErrorKind::CorruptMessage);
}

/// Who names a file by a link means what it leads to; within a store links are not followed.
#[cfg(unix)]
#[test]
fn links_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("00000000000000000000.log");
    std::os::unix::fs::symlink(golden("00000000000000000000.log"), &link).unwrap();
    assert_eq!(LogFile::open(&link).unwrap().batches().count(), 26);
    let link = dir.path().join("offsets");
    let target = golden("../recovery-point-offset-checkpoint");
    std::os::unix::fs::symlink(target, &link).unwrap();
    assert_eq!(inspect::read_offsets(&link).unwrap().len(), 1);
}

#[cfg(unix)]
#[test]
fn a_directory_is_no_log() {
    let dir = tempfile::tempdir().unwrap();
    let found = LogFile::open(dir.path()).map(|log| log.batches().all(|batch| batch.is_err()));
    assert!(found.unwrap_or(true));
}
