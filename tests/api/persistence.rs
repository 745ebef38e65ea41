use super::*;
use brooklet::Offset;

#[test]
fn records_and_topics_are_there_after_reopening() {
    for mode in [ReadMode::Map, ReadMode::Pread] {
        let dir = tempfile::tempdir().unwrap();
        let open = || Cluster::builder().read_mode(mode).open_at(dir.path()).unwrap();
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
            "brooklet.checkpoint",
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

/// A partition that was written to is never taken for a new one.
#[test]
fn a_lost_partition_is_damage_and_the_others_go_on() {
    for clean in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster::open(dir.path()).unwrap();
        let email = topic(&cluster, 2);
        for partition in [0, 1] {
            let record = Record::to(&email).partition(partition).value("x");
            producer(&cluster).send(record).unwrap().wait().unwrap();
        }
        drop(email);
        cluster.close().unwrap();
        std::fs::remove_dir_all(dir.path().join("email-0")).unwrap();
        if !clean {
            std::fs::remove_file(dir.path().join(".kafka_cleanshutdown")).unwrap();
        }
        let cluster = Cluster::open(dir.path()).unwrap();
        let email = cluster.topic("email").unwrap();
        let error = email.partition(0).unwrap().watermarks().unwrap_err();
        assert_eq!(error.kind(), brooklet::ErrorKind::Storage, "{error}");
        assert!(error.to_string().contains("email-0"), "{error}");
        assert_eq!(email.partition(1).unwrap().watermarks().unwrap().high, Offset::from(1));
        let send = |partition| {
            producer(&cluster).send(Record::to(&email).partition(partition).value("y"))?.wait()
        };
        assert_eq!(send(0).unwrap_err().kind(), brooklet::ErrorKind::Storage);
        assert_eq!(send(1).unwrap().offset, Some(Offset::from(1)));
    }
}

/// Copies a store as a killed process would leave it, while its owner goes on.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => std::fs::copy(entry.path(), target).map(drop).unwrap(),
        }
    }
}

/// A recovery point of a deleted topic must not be taken for one of the topic that has its name now.
#[test]
fn a_topic_created_again_survives_a_crash_right_after() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let cluster = Cluster::open(&first).unwrap();
    let email = topic(&cluster, 1);
    send_all(&producer(&cluster), &email, numbers(0..100));
    drop(email);
    cluster.close().unwrap();
    let cluster = Cluster::open(&first).unwrap();
    cluster.delete_topic("email").unwrap();
    let email = topic(&cluster, 1);
    copy(&first, &second);
    let copied = Cluster::open(&second).unwrap();
    let same = copied.topic("email").unwrap();
    send_all(&producer(&copied), &same, ["new"]);
    assert_eq!(receive(&mut consumer(&copied, &same), 1), ["new"]);
    send_all(&producer(&cluster), &email, ["new"]);
    copied.close().unwrap();
    drop(same);
    std::fs::remove_dir_all(&second).unwrap();
    copy(&first, &second);
    let copied = Cluster::open(&second).unwrap();
    let same = copied.topic("email").unwrap();
    assert_eq!(receive(&mut consumer(&copied, &same), 1), ["new"]);
}

/// R10: a link leads to the store, if the application says so, but out of it none does.
#[cfg(unix)]
#[test]
fn links_are_followed_to_the_store_but_not_in_it() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let [store, link, elsewhere] = ["store", "link", "elsewhere"].map(|name| dir.path().join(name));
    let cluster = Cluster::open(&store).unwrap();
    let email = topic(&cluster, 1);
    send_all(&producer(&cluster), &email, ["a"]);
    drop(email);
    cluster.close().unwrap();

    symlink(&store, &link).unwrap();
    let cluster = Cluster::open(&link).unwrap();
    assert!(Cluster::open(&store).is_err(), "it is one store, by whatever name");
    assert_eq!(receive(&mut consumer(&cluster, &cluster.topic("email").unwrap()), 1), ["a"]);
    cluster.close().unwrap();

    std::fs::rename(store.join("email-0"), &elsewhere).unwrap();
    symlink(&elsewhere, store.join("email-0")).unwrap();
    let cluster = Cluster::open(&store).unwrap();
    let email = cluster.topic("email").unwrap();
    let error = email.partition(0).unwrap().watermarks().unwrap_err();
    assert_eq!(error.kind(), brooklet::ErrorKind::Storage, "{error}");
}

/// Followers tell by them whose records are whose.
#[cfg(feature = "sim")]
#[test]
fn terms_are_later_than_all_in_which_something_was_written_whatever_metadata_is_lost() {
    use brooklet::sim::{Disk, PowerCut};
    let disk = Disk::new();
    let open =
        |disk: &Disk| Cluster::builder().broker_on(1, disk).accept_metadata_loss(true).open();
    let cluster = open(&disk).unwrap();
    cluster.create_topic(NewTopic::new("email")).unwrap();
    cluster.close().unwrap();
    let old = disk.image(PowerCut::KeepsAll);
    let mut last = None;
    for value in ["a", "b", "c", "d"] {
        let cluster = open(&disk).unwrap();
        let email = cluster.topic("email").unwrap();
        send_all(&producer(&cluster), &email, [value]);
        last = Some(email.partition(0).unwrap().describe().unwrap().leader_epoch);
        cluster.close().unwrap();
    }
    // The metadata is as it was before all that.
    old.create_dir("/email-0").unwrap();
    for (path, _) in disk.files().iter().filter(|(path, _)| path.starts_with("/email-0")) {
        old.write(path, &disk.read(path).unwrap()).unwrap();
    }
    old.remove("/.kafka_cleanshutdown").unwrap();
    let cluster = open(&old).unwrap();
    let email = cluster.topic("email").unwrap();
    assert!(Some(email.partition(0).unwrap().describe().unwrap().leader_epoch) > last);
    send_all(&producer(&cluster), &email, ["e"]);
    assert_eq!(receive(&mut consumer(&cluster, &email), 5), ["a", "b", "c", "d", "e"]);
}
