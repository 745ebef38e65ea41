use super::*;
use brooklet::Offset;

#[test]
fn records_and_topics_are_there_after_reopening() {
    for mode in [ReadMode::Map, ReadMode::Pread] {
        let dir = tempfile::tempdir().unwrap();
        let open = || Cluster::builder().read_mode(mode).open(dir.path()).unwrap();
        let mut expected = Vec::new();
        for round in 0..4u32 {
            let cluster = open();
            let email = match round {
                0 => topic(&cluster, 2),
                _ => cluster.topic("email").unwrap(),
            };
            assert_eq!(email.partition_count(), 2);
            let values = numbers(round * 100..(round + 1) * 100);
            let producer = producer(&cluster);
            for value in &values {
                producer.send(Record::to(&email).partition(1).value(value)).unwrap();
            }
            expected.extend(values);
            producer.flush().unwrap();
            assert_eq!(receive(&mut consumer(&cluster, &email), expected.len()), expected);
            cluster.close().unwrap();
        }
    }
}

#[test]
fn dropping_the_last_handle_closes_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let email = {
        let cluster = Cluster::open(dir.path()).unwrap();
        let email = topic(&cluster, 1);
        let producer = producer(&cluster);
        producer.send(Record::to(&email).value("not waited for")).unwrap();
        email
    };
    assert!(Cluster::open(dir.path()).is_err(), "a topic handle keeps the cluster open");
    drop(email);
    let cluster = Cluster::open(dir.path()).unwrap();
    let email = cluster.topic("email").unwrap();
    assert_eq!(receive(&mut consumer(&cluster, &email), 1), ["not waited for"]);
}

/// G9: offsets that a crash made free are told apart from their later use.
#[test]
fn deleted_stays_deleted_and_names_can_be_used_again() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let cluster = Cluster::open(dir.path()).unwrap();
        if round > 0 {
            cluster.delete_topic("email").unwrap();
        }
        let email = topic(&cluster, 1);
        assert_eq!(email.partition(0).unwrap().watermarks().unwrap().high, Offset::ZERO);
        send_all(&producer(&cluster), &email, ["x"]);
        cluster.close().unwrap();
    }
    let entries = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut entries = entries.collect::<Vec<_>>();
    entries.sort();
    assert_eq!(
        entries,
        [
            ".kafka_cleanshutdown",
            ".lock",
            "__brooklet_metadata-0",
            "brooklet.store",
            "email-0",
            "log-start-offset-checkpoint",
            "meta.properties",
            "recovery-point-offset-checkpoint",
            "replication-offset-checkpoint",
        ]
    );
}

#[test]
fn a_partition_has_no_files_before_its_first_record() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::open(dir.path()).unwrap();
    let email = topic(&cluster, 1_000);
    producer(&cluster).send(Record::to(&email).partition(7).value("x")).unwrap().wait().unwrap();
    let partitions = std::fs::read_dir(dir.path()).unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.starts_with("email-").then_some(name)
    });
    assert_eq!(partitions.collect::<Vec<_>>(), ["email-7"]);
}

#[test]
fn a_temporary_cluster_leaves_nothing_behind() {
    let cluster = Cluster::temp().unwrap();
    let email = topic(&cluster, 1);
    send_all(&producer(&cluster), &email, ["x"]);
    let before = temporary_directories();
    drop(email);
    cluster.close().unwrap();
    assert!(temporary_directories() < before || before == 0);
}

/// Directories of temporary clusters of this process's tests; others may come and go meanwhile.
fn temporary_directories() -> usize {
    let entries = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("brooklet-")).count()
}
