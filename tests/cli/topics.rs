//! `brooklet topics`.

use std::fs;
use std::path::{Path, PathBuf};

use brooklet::{Cluster, Record};

use super::{Ended, brooklet};

struct Store {
    dir: tempfile::TempDir,
}

impl Store {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn topics(&self, options: &[&str]) -> Ended {
        topics(&self.path(), options)
    }

    /// Creates topics of these names.
    fn with(names: &[&str]) -> Self {
        let store = Self::new();
        for name in names {
            let created = store.topics(&["--create", "--topic", name]);
            assert!(created.out.ends_with(&format!("Created topic {name}.\n")), "{created:?}");
        }
        store
    }
}

fn topics(path: &Path, options: &[&str]) -> Ended {
    let path = path.to_str().unwrap();
    brooklet(["topics", "--data", path].iter().chain(options))
}

fn assert_fails(ended: &Ended, message: &str) {
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.err.starts_with("Error while executing topic command : "), "{}", ended.err);
    assert!(ended.err.contains(message), "{}", ended.err);
    assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
}

#[test]
fn a_topic_that_was_created_is_listed_and_described() {
    let store = Store::new();
    let create = ["--create", "--topic", "email", "--partitions", "2"];
    let settings = ["--replication-factor", "1", "--config", "segment.bytes=1048576"];
    let flush = ["--config", "flush.ms = 100"];
    let created = store.topics(&[&create[..], &settings, &flush].concat());
    assert_eq!(created.lines(), ["Created topic email."]);
    assert_eq!(store.topics(&["--list"]).lines(), ["email"]);

    let cluster = Cluster::open(store.path()).unwrap();
    let id = cluster.topic("email").unwrap().id();
    cluster.close().unwrap();
    let expected = [
        format!(
            "Topic: email\tTopicId: {id}\tPartitionCount: 2\tReplicationFactor: 1\t\
             Configs: flush.ms=100,segment.bytes=1048576"
        ),
        "\tTopic: email\tPartition: 0\tLeader: 1\tReplicas: 1\tIsr: 1\tElr: N/A\tLastKnownElr: N/A"
            .to_owned(),
        "\tTopic: email\tPartition: 1\tLeader: 1\tReplicas: 1\tIsr: 1\tElr: N/A\tLastKnownElr: N/A"
            .to_owned(),
    ];
    assert_eq!(store.topics(&["--describe"]).lines(), expected);
    assert_eq!(store.topics(&["--describe", "--topic", "email"]).lines(), expected);
    assert_eq!(store.topics(&["--describe", "--topic-id", &id.to_string()]).lines(), expected);
}

#[test]
fn names_are_listed_in_order_and_a_topic_has_one_partition_by_default() {
    let store = Store::with(&["sms", "email", "letter"]);
    assert_eq!(store.topics(&["--list"]).lines(), ["email", "letter", "sms"]);
    assert_eq!(store.topics(&["--list", "--exclude-internal"]).lines().len(), 3);
    let described = store.topics(&["--describe", "--topic", "sms"]);
    assert!(described.lines()[0].contains("\tPartitionCount: 1\tReplicationFactor: 1\tConfigs: "));
}

#[test]
fn names_that_could_collide_come_with_a_warning() {
    let store = Store::new();
    let created = store.topics(&["--create", "--topic", "my.topic"]);
    let lines = created.lines();
    assert!(lines[0].starts_with("WARNING: Due to limitations in metric names"), "{created:?}");
    assert_eq!(lines[1], "Created topic my.topic.");
    let collides = store.topics(&["--create", "--topic", "my_topic"]);
    assert_eq!(collides.code, Some(1));
    assert!(collides.err.contains("my.topic"), "{collides:?}");
}

#[test]
fn a_topic_that_is_there_is_an_error_unless_foreseen() {
    let store = Store::with(&["email"]);
    assert_fails(&store.topics(&["--create", "--topic", "email"]), "email");
    let foreseen = store.topics(&["--create", "--topic", "email", "--if-not-exists"]);
    assert!(foreseen.lines().is_empty());
}

#[test]
fn a_topic_that_is_not_there_is_an_error_unless_foreseen() {
    let store = Store::with(&["email"]);
    let id = "AAAAAAAAAAAAAAAAAAAAAA";
    for options in [
        &["--describe", "--topic", "emial"][..],
        &["--delete", "--topic", "emial"],
        &["--alter", "--topic", "emial", "--partitions", "3"],
        &["--describe", "--topic-id", id],
    ] {
        let message = if options.contains(&id) {
            format!("TopicId '{id}' does not exist as expected")
        } else {
            "Topic 'emial' does not exist as expected".to_owned()
        };
        assert_fails(&store.topics(options), &message);
        let foreseen = store.topics(&[options, &["--if-exists"]].concat());
        assert!(foreseen.lines().is_empty(), "{options:?}");
    }
    assert!(store.topics(&["--list", "--topic", "emial"]).lines().is_empty());
}

#[test]
fn topics_are_selected_by_expressions_and_lists_for_the_whole_name() {
    let store = Store::with(&["email", "emails", "sms", "letter"]);
    for (expression, expected) in [
        ("email", &["email"][..]),
        ("email.*", &["email", "emails"]),
        ("sms,letter", &["letter", "sms"]),
        (" 'sms, email' ", &["email", "sms"]),
        ("(sms|letter)", &["letter", "sms"]),
        ("mail", &[]),
        ("e....", &["email"]),
    ] {
        assert_eq!(store.topics(&["--list", "--topic", expression]).lines(), expected);
    }
    assert_fails(&store.topics(&["--list", "--topic", "("]), "( is an invalid regex: ");
    assert!(store.topics(&["--delete", "--topic", "email.*"]).lines().is_empty());
    assert_eq!(store.topics(&["--list"]).lines(), ["letter", "sms"]);
}

#[test]
fn partitions_can_be_added_and_not_taken_away() {
    let store = Store::with(&["email", "sms"]);
    let alter = |topic, count| store.topics(&["--alter", "--topic", topic, "--partitions", count]);
    assert!(alter("email", "4").lines().is_empty());
    let described = store.topics(&["--describe", "--topic", "email"]);
    assert_eq!(described.lines().len(), 5);
    assert_fails(&alter("email", "4"), "it can get more");
    assert_fails(&alter("email", "2"), "it can get more");
    // All that the expression stands for.
    assert!(alter("email|sms", "5").lines().is_empty());
    assert_eq!(store.topics(&["--describe"]).lines().len(), 12);
}

#[test]
fn records_survive_what_is_done_to_other_topics() {
    let store = Store::with(&["email", "sms"]);
    let cluster = Cluster::open(store.path()).unwrap();
    let producer = cluster.producer().build().unwrap();
    for topic in ["email", "sms"] {
        producer.send(Record::to(topic).value("x")).unwrap().wait().unwrap();
    }
    drop(producer);
    cluster.close().unwrap();
    store.topics(&["--delete", "--topic", "email"]).lines();
    assert!(!store.path().join("email-0").exists() && store.path().join("sms-0").exists());
    let cluster = Cluster::open(store.path()).unwrap();
    let marks = cluster.topic("sms").unwrap().partition(0).unwrap().watermarks().unwrap();
    assert_eq!(marks.high.value(), 1);
}

#[test]
fn descriptions_can_be_narrowed() {
    let store = Store::with(&["email", "sms"]);
    let own = ["--create", "--topic", "own", "--config", "flush.ms=5"];
    store.topics(&own).lines();
    let overrides = store.topics(&["--describe", "--topics-with-overrides"]);
    assert_eq!(overrides.lines().len(), 1);
    assert!(overrides.out.starts_with("Topic: own\t"), "{overrides:?}");
    for filter in
        ["--under-replicated-partitions", "--unavailable-partitions", "--under-min-isr-partitions"]
    {
        assert!(store.topics(&["--describe", filter]).lines().is_empty(), "{filter}");
    }
    let at_min = store.topics(&["--describe", "--at-min-isr-partitions"]);
    assert_eq!(at_min.lines().len(), 3);
    assert!(at_min.lines().iter().all(|line| line.starts_with("\tTopic: ")));
}

#[test]
fn what_is_not_possible_is_an_error_that_names_it() {
    let store = Store::with(&["email"]);
    let with = |options: &[&str]| store.topics(&[&["--create", "--topic", "x"], options].concat());
    assert_fails(&with(&["--config", "segment.byte=1"]), "did you mean \"segment.bytes\"?");
    assert_fails(&with(&["--config", "segment.bytes=1"]), "segment.bytes");
    assert_fails(&with(&["--partitions", "0"]), "0 partitions");
    assert_fails(&with(&["--replication-factor", "3"]), "3");
    assert_fails(&store.topics(&["--create", "--topic", "a b"]), "a b");
    assert_eq!(store.topics(&["--list"]).lines(), ["email"]);
}

#[test]
fn a_store_in_use_is_said_to_be_in_use() {
    let store = Store::with(&["email"]);
    let cluster = Cluster::open(store.path()).unwrap();
    assert_fails(&store.topics(&["--list"]), "is in use by another process");
    assert_fails(&store.topics(&["--create", "--topic", "sms"]), "is in use by another process");
    cluster.close().unwrap();
    assert_eq!(store.topics(&["--list"]).lines(), ["email"]);
}

/// A mistyped directory must not become a store.
#[test]
fn only_create_makes_a_store() {
    let store = Store::new();
    for options in [
        &["--list"][..],
        &["--describe"],
        &["--delete", "--topic", "x"],
        &["--alter", "--topic", "x", "--partitions", "2"],
    ] {
        assert_fails(&store.topics(options), "there is no brooklet store in ");
        assert!(!store.path().exists(), "{options:?}");
    }
    fs::create_dir(store.path()).unwrap();
    assert_fails(&store.topics(&["--list"]), "there is no brooklet store in ");
    assert_eq!(fs::read_dir(store.path()).unwrap().count(), 0);
    fs::write(store.path().join("notes.txt"), "mine").unwrap();
    assert_fails(&store.topics(&["--list"]), "notes.txt");
    assert_fails(&store.topics(&["--create", "--topic", "x"]), "notes.txt");
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let store = Store::with(&["email"]);
    for options in [
        &[][..],
        &["--list", "--create", "--topic", "x"],
        &["--list", "--describe"],
        &["--create"],
        &["--delete"],
        &["--alter", "--topic", "email"],
        &["--alter", "--partitions", "3"],
        &["--list", "--partitions", "3"],
        &["--describe", "--partitions", "3"],
        &["--delete", "--topic", "email", "--partitions", "3"],
        &["--alter", "--topic", "email", "--partitions", "3", "--config", "flush.ms=1"],
        &["--alter", "--topic", "email", "--partitions", "3", "--replication-factor", "1"],
        &["--create", "--topic", "x", "--config", "flush.ms"],
        &["--create", "--topic", "x", "--if-exists"],
        &["--delete", "--topic", "email", "--if-not-exists"],
        &["--delete", "--topic", "email", "--exclude-internal"],
        &["--list", "--topic-id", "AAAAAAAAAAAAAAAAAAAAAA"],
        &["--list", "--topics-with-overrides"],
        &["--describe", "--topics-with-overrides", "--at-min-isr-partitions"],
        &["--describe", "--under-replicated-partitions", "--unavailable-partitions"],
    ] {
        let ended = store.topics(options);
        assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{options:?}");
        assert!(ended.err.starts_with("error: "), "{options:?}: {}", ended.err);
    }
    assert_eq!(store.topics(&["--list"]).lines(), ["email"]);
    let ended = brooklet(["topics", "--list"]);
    assert!(ended.code == Some(1) && ended.err.contains("--data <DIR>"), "{ended:?}");
}
