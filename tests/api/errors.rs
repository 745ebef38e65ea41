//! Bad input: each a clear typed error, nothing written, nothing lost, no panic.

use super::*;
use brooklet::{Compression, ErrorKind, Offset, Outcome};
use std::path::Path;

fn kind<T: std::fmt::Debug>(result: brooklet::Result<T>) -> ErrorKind {
    let error = result.unwrap_err();
    assert!(!error.to_string().is_empty());
    error.kind()
}

#[test]
fn bad_topics_are_refused() {
    for cluster in clusters() {
        topic(&cluster, 1);
        let create = |topic| kind(cluster.create_topic(topic));
        for name in
            ["", ".", "..", "a/b", "a b", "naïve", "a\0b", "../../etc/passwd", &"x".repeat(250)]
        {
            assert_eq!(create(NewTopic::new(name)), ErrorKind::InvalidTopic, "{name:?}");
        }
        assert_eq!(create(NewTopic::new("__consumer_offsets")), ErrorKind::InvalidTopic);
        assert_eq!(create(NewTopic::new("email")), ErrorKind::TopicAlreadyExists);
        assert_eq!(create(NewTopic::new("x").partitions(0)), ErrorKind::InvalidPartitions);
        assert_eq!(create(NewTopic::new("x").partitions(u32::MAX)), ErrorKind::InvalidPartitions);
        assert_eq!(create(NewTopic::new("x").config("colour", "red")), ErrorKind::InvalidConfig);
        assert_eq!(
            create(NewTopic::new("x").config("segment.bytes", "13")),
            ErrorKind::InvalidConfig
        );
        cluster.create_topic(NewTopic::new("a.b")).unwrap();
        assert_eq!(create(NewTopic::new("a_b")), ErrorKind::InvalidTopic);
        assert_eq!(cluster.topics().unwrap().len(), 2);
    }
}

#[test]
fn unknown_topics_and_partitions_are_refused() {
    for cluster in clusters() {
        let email = topic(&cluster, 3);
        let producer = producer(&cluster);
        assert_eq!(kind(cluster.topic("emial")), ErrorKind::UnknownTopicOrPartition);
        assert_eq!(kind(cluster.delete_topic("emial")), ErrorKind::UnknownTopicOrPartition);
        assert_eq!(kind(email.partition(3)), ErrorKind::UnknownTopicOrPartition);
        assert_eq!(kind(producer.send(Record::to("emial"))), ErrorKind::UnknownTopicOrPartition);
        assert_eq!(
            kind(producer.send(Record::to(&email).partition(3))),
            ErrorKind::UnknownTopicOrPartition
        );
        let message =
            producer.send(Record::to(&email).partition(u32::MAX)).unwrap_err().to_string();
        assert_eq!(message, "topic email has partitions 0..3, not 4294967295");
    }
}

#[test]
fn oversized_records_are_refused_and_harm_nobody() {
    for cluster in clusters() {
        let email = cluster
            .create_topic(NewTopic::new("email").config("max.message.bytes", 2_000))
            .unwrap();
        let producer = cluster.producer().max_request_size(4_000).build().unwrap();
        let too_large_for_producer = producer.send(Record::to(&email).value(&[0; 5_000]));
        assert_eq!(kind(too_large_for_producer), ErrorKind::MessageTooLarge);
        let before = producer.send(Record::to(&email).value("before")).unwrap();
        let too_large_for_topic = producer.send(Record::to(&email).value(&[0; 3_000])).unwrap();
        let after = producer.send(Record::to(&email).value("after")).unwrap();
        before.wait().unwrap();
        let error = too_large_for_topic.wait().unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::MessageTooLarge, Outcome::NotWritten)
        );
        assert_eq!(after.wait().unwrap().offset, Some(Offset::from(1)));
        assert_eq!(
            producer.flush().unwrap_err().kind(),
            ErrorKind::MessageTooLarge,
            "flush reports it once"
        );
        producer.flush().unwrap();
        assert_eq!(receive(&mut consumer(&cluster, &email), 2), ["before", "after"]);
    }
}

#[test]
fn offsets_out_of_range_are_refused() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        send_all(&producer(&cluster), &email, ["a"]);
        let partition = email.partition(0).unwrap();
        assert!(partition.read(Offset::from(1), 100).unwrap().is_empty());
        assert_eq!(kind(partition.read(Offset::from(2), 100)), ErrorKind::OffsetOutOfRange);
        assert_eq!(kind(partition.read(Offset::MAX, 100)), ErrorKind::OffsetOutOfRange);
    }
}

#[test]
fn consumers_say_what_is_missing() {
    for cluster in clusters() {
        let email = topic(&cluster, 2);
        let mut consumer = cluster.consumer().build().unwrap();
        assert_eq!(kind(consumer.poll(LONG)), ErrorKind::InvalidState);
        consumer.assign([email.partition(0).unwrap()]).unwrap();
        let other = email.partition(1).unwrap();
        assert_eq!(kind(consumer.seek(&other, Offset::ZERO)), ErrorKind::InvalidState);
        assert_eq!(kind(consumer.position(&other)), ErrorKind::InvalidState);
        assert_eq!(kind(consumer.pause([&other])), ErrorKind::InvalidState);
        assert_eq!(kind(cluster.consumer().max_poll_records(0).build()), ErrorKind::InvalidConfig);
    }
}

#[test]
fn bad_producer_settings_are_refused() {
    let cluster = Cluster::in_memory().unwrap();
    assert_eq!(kind(cluster.producer().buffer_memory(0).build()), ErrorKind::InvalidConfig);
    assert_eq!(kind(cluster.producer().max_request_size(0).build()), ErrorKind::InvalidConfig);
    assert_eq!(kind(cluster.producer().max_in_flight(6).build()), ErrorKind::InvalidConfig);
    let impossible = cluster.producer().compression(Compression::Zstd).compression_zstd_level(99);
    assert_eq!(kind(impossible.build()), ErrorKind::InvalidConfig);
    #[cfg(not(feature = "zstd"))]
    assert_eq!(
        kind(cluster.producer().compression(Compression::Zstd).build()),
        ErrorKind::UnsupportedCompressionType
    );
}

#[test]
fn a_closed_cluster_says_so_to_every_handle() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        let producer = producer(&cluster);
        let mut consumer = consumer(&cluster, &email);
        send_all(&producer, &email, ["a"]);
        let again = cluster.clone();
        cluster.close().unwrap();
        assert_eq!(kind(again.topic("email")), ErrorKind::Closed);
        assert_eq!(kind(again.create_topic(NewTopic::new("x"))), ErrorKind::Closed);
        assert_eq!(kind(producer.send(Record::to(&email).value("b"))), ErrorKind::Closed);
        assert_eq!(kind(consumer.poll(LONG)), ErrorKind::Closed);
        assert_eq!(kind(again.producer().build()), ErrorKind::Closed);
        assert_eq!(kind(again.consumer().build()), ErrorKind::Closed);
        assert_eq!(kind(email.partition(0).unwrap().watermarks()), ErrorKind::Closed);
        again.close().unwrap();
    }
}

#[test]
fn a_waiting_consumer_learns_of_the_close_at_once() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        let mut consumer = consumer(&cluster, &email);
        let waiting = std::thread::spawn(move || kind(consumer.poll(LONG)));
        std::thread::sleep(Duration::from_millis(5));
        cluster.close().unwrap();
        assert_eq!(waiting.join().unwrap(), ErrorKind::Closed);
    }
}

/// Names and contents of everything below a directory.
fn snapshot(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        if path.is_dir() {
            files.push((name, Vec::new()));
            files.extend(snapshot(&path));
        } else {
            files.push((name, std::fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}

#[test]
fn a_second_owner_in_the_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::open(dir.path()).unwrap();
    let email = topic(&cluster, 1);
    send_all(&producer(&cluster), &email, ["a"]);
    let before = snapshot(dir.path());
    assert_eq!(kind(Cluster::open(dir.path())), ErrorKind::AlreadyOpen);
    assert_eq!(kind(Cluster::open(dir.path().join("."))), ErrorKind::AlreadyOpen);
    assert_eq!(snapshot(dir.path()), before);
    send_all(&producer(&cluster), &email, ["b"]);
    drop(email);
    cluster.close().unwrap();
    Cluster::open(dir.path()).unwrap().close().unwrap();
}

#[test]
fn a_store_is_not_made_where_that_is_not_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let existing = || Cluster::builder().create_if_missing(false);
    for path in [dir.path().join("missing"), dir.path().to_owned()] {
        let error = existing().open_at(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotAStore);
        assert!(error.to_string().contains("there is no brooklet store in"), "{error}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    Cluster::open(dir.path()).unwrap().close().unwrap();
    existing().open_at(dir.path()).unwrap();
    // These are always new.
    existing().in_memory().unwrap();
    existing().temp().unwrap();
}

#[test]
fn directories_that_are_not_ours_are_left_alone() {
    let version = "version=99\n";
    let future = format!("{version}crc32={:08x}\n", crc32fast::hash(version.as_bytes()));
    let foreign = [
        ("somebody's home", "notes.txt", "dear diary", ErrorKind::NotAStore),
        ("Kafka's", "meta.properties", "version=1\nnode.id=1\n", ErrorKind::NotAStore),
        ("from the future", "brooklet.store", &future, ErrorKind::UnsupportedVersion),
    ];
    for (what, name, content, expected) in foreign {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(name), content).unwrap();
        let before = snapshot(dir.path());
        assert_eq!(kind(Cluster::open(dir.path())), expected, "{what}");
        let after = snapshot(dir.path()).into_iter().filter(|(name, _)| !name.ends_with(".lock"));
        assert_eq!(after.collect::<Vec<_>>(), before, "{what}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(kind(Cluster::open(file.path())), ErrorKind::NotAStore);
}

#[test]
fn a_store_with_damaged_identity_is_refused_unless_its_twin_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    Cluster::open(dir.path()).unwrap().close().unwrap();
    std::fs::write(dir.path().join("brooklet.store"), "garbage").unwrap();
    Cluster::open(dir.path()).unwrap().close().unwrap();
    std::fs::write(dir.path().join("brooklet.store"), "garbage").unwrap();
    std::fs::write(dir.path().join("meta.properties"), "garbage").unwrap();
    assert_eq!(kind(Cluster::open(dir.path())), ErrorKind::Storage);
}

#[cfg(unix)]
#[test]
fn a_directory_that_cannot_be_written_is_read_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    Cluster::open(dir.path()).unwrap().close().unwrap();
    let set_mode =
        |mode| std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o500);
    // Permissions do not bind the superuser.
    let binding = std::fs::write(dir.path().join("probe"), "").is_err();
    if binding {
        assert_eq!(kind(Cluster::open(dir.path())), ErrorKind::ReadOnly);
    }
    set_mode(0o700);
    let _ = std::fs::remove_file(dir.path().join("probe"));
    Cluster::open(dir.path()).unwrap().close().unwrap();
    // Nor does anybody write here.
    assert_eq!(kind(Cluster::open("/proc/brooklet/data")), expected_in_proc());
}

/// `/proc` refuses new directories with "no such file" on Linux.
#[cfg(unix)]
fn expected_in_proc() -> ErrorKind {
    ErrorKind::Storage
}
