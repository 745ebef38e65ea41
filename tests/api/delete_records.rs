use super::*;
use brooklet::{AlterConfig, AutoOffsetReset, ErrorKind, Offset};

fn low(topic: &Topic) -> i64 {
    topic.partition(0).unwrap().watermarks().unwrap().low.value()
}

/// G8: what was deleted does not come back, and offsets go on where they were.
#[test]
fn deleted_records_stay_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::open(dir.path()).unwrap();
    let email = cluster.create_topic(NewTopic::new("email").config("segment.bytes", 300)).unwrap();
    send_all(&producer(&cluster), &email, numbers(0..100));
    let partition = email.partition(0).unwrap();
    let before = partition.size_bytes().unwrap();
    assert_eq!(partition.delete_records(Offset::from(60)).unwrap(), Offset::from(60));
    assert!(partition.size_bytes().unwrap() < before);
    assert_eq!(partition.delete_records(Offset::from(30)).unwrap(), Offset::from(60));
    drop(partition);
    cluster.close().unwrap();

    let cluster = Cluster::open(dir.path()).unwrap();
    let email = cluster.topic("email").unwrap();
    assert_eq!(low(&email), 60);
    assert_eq!(receive(&mut consumer(&cluster, &email), 40), numbers(60..100));
    assert_eq!(email.partition(0).unwrap().delete_all_records().unwrap(), Offset::from(100));
    drop(email);
    cluster.close().unwrap();

    let cluster = Cluster::open(dir.path()).unwrap();
    let email = cluster.topic("email").unwrap();
    assert_eq!(low(&email), 100);
    let sent = producer(&cluster).send(Record::to(&email).value("later")).unwrap();
    assert_eq!(sent.wait().unwrap().offset, Some(Offset::from(100)));
    assert_eq!(receive(&mut consumer(&cluster, &email), 1), ["later"]);
}

#[test]
fn a_topic_of_the_same_name_has_nothing_deleted() {
    let cluster = Cluster::in_memory().unwrap();
    for _ in 0..2 {
        let email = topic(&cluster, 1);
        send_all(&producer(&cluster), &email, ["x"]);
        assert_eq!(low(&email), 0);
        email.partition(0).unwrap().delete_all_records().unwrap();
        cluster.delete_topic("email").unwrap();
    }
}

#[test]
fn more_than_there_is_is_not_deleted() {
    let cluster = Cluster::in_memory().unwrap();
    let email = topic(&cluster, 1);
    send_all(&producer(&cluster), &email, ["x"]);
    let error = email.partition(0).unwrap().delete_records(Offset::from(2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
    assert_eq!(low(&email), 0);
}

#[test]
fn records_of_a_topic_that_is_compacted_alone_are_not_deleted() {
    let cluster = Cluster::in_memory().unwrap();
    let newest = NewTopic::new("newest").config("cleanup.policy", "compact");
    let newest = cluster.create_topic(newest).unwrap();
    send_all(&producer(&cluster), &newest, ["x"]);
    let error = newest.partition(0).unwrap().delete_all_records().unwrap_err();
    assert_eq!((error.kind(), error.kafka_code()), (ErrorKind::PolicyViolation, Some(44)));
    newest.alter_config(AlterConfig::new().set("cleanup.policy", "compact,delete")).unwrap();
    newest.partition(0).unwrap().delete_all_records().unwrap();
    assert_eq!(low(&newest), 1);
}

#[test]
fn consumers_of_what_was_deleted_go_on_as_they_are_configured() {
    for reset in [AutoOffsetReset::Earliest, AutoOffsetReset::None] {
        let cluster = Cluster::in_memory().unwrap();
        let email = topic(&cluster, 1);
        let mut consumer = cluster.consumer().auto_offset_reset(reset).build().unwrap();
        consumer.assign(email.partitions()).unwrap();
        let partition = email.partition(0).unwrap();
        consumer.seek(&partition, Offset::ZERO).unwrap();
        send_all(&producer(&cluster), &email, ["a", "b", "c"]);
        partition.delete_records(Offset::from(2)).unwrap();
        let polled = consumer.poll(Duration::from_secs(5));
        match reset {
            AutoOffsetReset::None => {
                assert_eq!(polled.unwrap_err().kind(), ErrorKind::OffsetOutOfRange);
            }
            _ => {
                let offsets = polled.unwrap().iter().map(|r| r.offset()).collect::<Vec<_>>();
                assert_eq!(offsets, [Offset::from(2)]);
            }
        }
    }
}
