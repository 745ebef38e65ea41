use super::*;
use brooklet::{ErrorKind, Offset, Outcome, Partition, Timestamp};

/// Batches that Kafka and its clients encoded.
fn golden(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/golden/");
    std::fs::read(format!("{folder}{name}.bin")).unwrap()
}

fn values(partition: &Partition, from: Offset) -> Vec<Vec<u8>> {
    let records = partition.read(from, 1 << 20).unwrap();
    records.iter().map(|record| record.value().unwrap_or_default().to_vec()).collect()
}

#[test]
fn batches_of_other_clients_are_appended_as_they_are() {
    for cluster in clusters() {
        let partition = topic(&cluster, 1).partition(0).unwrap();
        let first = partition.append(golden("ex1")).unwrap().wait().unwrap();
        assert_eq!((first.base_offset, first.last_offset), (Offset::ZERO, Offset::from(1)));
        assert_eq!(first.max_timestamp.unwrap().as_millis(), 1_700_000_000_500);
        let next = partition.append(golden("none-kp")).unwrap().wait_timeout(LONG).unwrap();
        assert_eq!(next.base_offset, Offset::from(2));
        assert_eq!(values(&partition, Offset::ZERO)[..2], [b"hello", b"world"]);
        assert_eq!(partition.watermarks().unwrap().high, next.last_offset.next());
    }
}

#[test]
fn a_batch_that_is_sent_again_is_not_appended_again() {
    for cluster in clusters() {
        let partition = topic(&cluster, 1).partition(0).unwrap();
        partition.append(golden("ex1")).unwrap().wait().unwrap();
        let deliveries = (0..3).map(|_| partition.append(golden("ex2")).unwrap());
        for delivery in deliveries.collect::<Vec<_>>() {
            let metadata = futures_executor::block_on(delivery).unwrap();
            assert_eq!(metadata.base_offset, Offset::from(2));
        }
        assert_eq!(values(&partition, Offset::ZERO).len(), 3);
    }
}

/// The kinds that the checks of a broker have, and that nothing is written.
#[test]
fn bytes_that_are_no_batch_of_a_producer_are_refused() {
    let cluster = Cluster::in_memory().unwrap();
    let partition = topic(&cluster, 1).partition(0).unwrap();
    let edited = |at: usize, byte: u8| {
        let mut batch = golden("ex1");
        batch[at] = byte;
        batch
    };
    let two = [golden("ex1"), golden("ex1")].concat();
    for (batch, kind, code) in [
        (Vec::new(), ErrorKind::InvalidRecord, 87),
        (two, ErrorKind::InvalidRecord, 87),
        (edited(7, 1), ErrorKind::InvalidRecord, 87),
        (edited(16, 1), ErrorKind::InvalidRecord, 87),
        (edited(80, 0xff), ErrorKind::CorruptMessage, 2),
        // A marker.
        (golden("ex3"), ErrorKind::InvalidRecord, 87),
        #[cfg(feature = "lz4")]
        (golden("lz4-txn-kp"), ErrorKind::InvalidTxnState, 48),
        #[cfg(not(feature = "lz4"))]
        (golden("lz4-txn-kp"), ErrorKind::UnsupportedCompressionType, 76),
    ] {
        let error = partition.append(batch).unwrap_err();
        assert_eq!((error.kind(), error.kafka_code()), (kind, Some(code)), "{error:?}");
        assert_eq!(error.outcome(), Outcome::NotWritten);
    }
    assert_eq!(partition.watermarks().unwrap().high, Offset::ZERO);
}

#[test]
fn a_batch_larger_than_the_topic_takes_is_refused() {
    let cluster = Cluster::in_memory().unwrap();
    let small = NewTopic::new("small").config("max.message.bytes", 92);
    let partition = cluster.create_topic(small).unwrap().partition(0).unwrap();
    let error = partition.append(golden("ex1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MessageTooLarge);
    partition.append(golden("ex2")).unwrap().wait().unwrap();
}

/// Written just now: who has been idle for a day is forgotten.
fn dated_now(mut batch: Vec<u8>) -> Vec<u8> {
    let now = Timestamp::from(std::time::SystemTime::now()).as_millis().to_be_bytes();
    batch[27..35].copy_from_slice(&now);
    batch[35..43].copy_from_slice(&now);
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &batch[21..]);
    batch[17..21].copy_from_slice(&u32::try_from(crc).unwrap().to_be_bytes());
    batch
}

#[test]
fn what_is_known_of_producers_survives_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let batch = dated_now(golden("ex2"));
    for _ in 0..3 {
        let cluster = Cluster::open(dir.path().join("data")).unwrap();
        let email = cluster.topic("email").unwrap_or_else(|_| topic(&cluster, 1));
        let partition = email.partition(0).unwrap();
        let metadata = partition.append(batch.clone()).unwrap().wait().unwrap();
        assert_eq!(metadata.base_offset, Offset::ZERO);
        // Of the same producer, and begins where the other does, but is longer.
        let overlap = golden("none-idempotent-kp");
        let error = partition.append(overlap).unwrap().wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfOrderSequenceNumber);
        assert_eq!((error.kafka_code(), error.is_fenced()), (Some(45), false));
        cluster.close().unwrap();
    }
}
