//! Settings: where they come from, which one counts, and that they can change while the cluster runs.

use super::*;
use brooklet::{
    AlterConfig, AutoOffsetReset, BrokerId, ClusterBuilder, ConfigSource, ErrorKind, Timestamp,
};
use std::path::Path;

fn kind<T: std::fmt::Debug>(result: brooklet::Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

/// The message of the error with which opening ends.
fn refused(builder: ClusterBuilder) -> String {
    let error = builder.in_memory().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    assert_eq!(error.kafka_code(), Some(40));
    error.to_string()
}

/// A setting of a topic as `value source`.
fn setting(topic: &Topic, name: &str) -> String {
    let entries = topic.describe_config().unwrap();
    let entry = entries.into_iter().find(|entry| entry.name == name).unwrap();
    format!("{} {:?}", entry.value.unwrap_or_default(), entry.source)
}

/// Sends 50 records of about 100 bytes, one batch each.
fn fill(cluster: &Cluster, topic: &Topic) {
    let producer = cluster.producer().batch_size(0).build().unwrap();
    for _ in 0..50 {
        producer.send(Record::to(topic).value(&[0; 40])).unwrap().wait().unwrap();
    }
}

fn segments(dir: &Path, partition: &str) -> usize {
    let entries = std::fs::read_dir(dir.join(partition)).unwrap();
    entries.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|x| x == "log")).count()
}

#[test]
fn settings_of_a_topic_come_from_itself_from_the_broker_or_from_the_default() {
    let builder = Cluster::builder()
        .config("log.segment.bytes", 1 << 20)
        .config("log.retention.hours", 2)
        .config("message.max.bytes", 5_000);
    let cluster = builder.in_memory().unwrap();
    let email = NewTopic::new("email").config("segment.bytes", 4_096).config("flush.ms", 7);
    let email = cluster.create_topic(email).unwrap();
    for (name, expected) in [
        ("segment.bytes", "4096 Topic"),
        ("flush.ms", "7 Topic"),
        ("retention.ms", "7200000 Broker"),
        ("max.message.bytes", "5000 Broker"),
        ("segment.ms", "604800000 Default"),
        ("cleanup.policy", "delete Default"),
    ] {
        assert_eq!(setting(&email, name), expected, "{name}");
    }
    // They are acted upon, too.
    let sent = producer(&cluster).send(Record::to(&email).value(&[0; 6_000])).unwrap();
    assert_eq!(kind(sent.wait()), ErrorKind::MessageTooLarge);
    // A list of all, and what is not built says so.
    let entries = email.describe_config().unwrap();
    assert!(entries.is_sorted_by(|a, b| a.name < b.name) && entries.len() > 30);
    let in_effect = |name| entries.iter().find(|entry| entry.name == name).unwrap().in_effect;
    assert!(in_effect("segment.bytes") && !in_effect("retention.ms"));

    let of_broker = cluster.describe_config().unwrap();
    let source = |name| of_broker.iter().find(|entry| entry.name == name).unwrap().source;
    assert_eq!(source("log.segment.bytes"), ConfigSource::Broker);
    assert_eq!(source("num.partitions"), ConfigSource::Default);
}

#[test]
fn a_broker_is_configured_by_typed_setters_names_texts_files_and_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.properties");
    std::fs::write(&file, "# mine\nnum.partitions = 4\nlog.dirs: unused\n").unwrap();
    for (way, builder) in [
        ("setter", Cluster::builder().num_partitions(4)),
        ("name", Cluster::builder().config("num.partitions", 4)),
        ("alias", Cluster::builder().config("num.partition", "4")),
        ("text", Cluster::builder().properties("num.partitions=4")),
        ("file", Cluster::builder().properties_file(&file)),
        ("environment", Cluster::builder().environment([("KAFKA_NUM_PARTITIONS", "4")])),
        ("bitnami", Cluster::builder().environment([("KAFKA_CFG_NUM_PARTITIONS", "4")])),
        ("later", Cluster::builder().num_partitions(9).properties_file(&file)),
        ("not ours", Cluster::builder().num_partitions(4).environment([("NUM_PARTITIONS", "9")])),
    ] {
        let cluster = builder.in_memory().unwrap();
        let email = cluster.create_topic(NewTopic::new("email")).unwrap();
        assert_eq!(email.partition_count(), 4, "{way}");
        let sms = cluster.create_topic(NewTopic::new("sms").partitions(2)).unwrap();
        assert_eq!(sms.partition_count(), 2, "{way}");
    }
}

#[test]
fn mistakes_are_told_when_the_cluster_is_opened_with_their_place_and_what_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("my.properties");
    std::fs::write(&file, "\nnum.partitions=0\n").unwrap();
    let in_file = refused(Cluster::builder().properties_file(&file));
    assert!(in_file.contains("my.properties, line 2: num.partitions=\"0\""), "{in_file}");
    assert!(in_file.contains("1 to 2147483647"), "{in_file}");
    assert_eq!(
        refused(Cluster::builder().config("num.partitons", 3)),
        r#"unknown setting "num.partitons" of brokers: did you mean "num.partitions"?"#
    );
    assert_eq!(
        refused(Cluster::builder().environment([("KAFKA_NUM_PARTITONS", "3")])),
        r#"KAFKA_NUM_PARTITONS: unknown setting "num.partitons" of brokers: did you mean "num.partitions"?"#
    );
    let missing = refused(Cluster::builder().properties_file(dir.path().join("none")));
    assert!(missing.contains("cannot be read"), "{missing}");
    std::fs::write(&file, b"a=\xff").unwrap();
    assert!(refused(Cluster::builder().properties_file(&file)).contains("UTF-8"));
    for (name, value) in [
        ("log.dirs", "/a,/b"),
        ("remote.log.storage.system.enable", "true"),
        ("compression.lz4.level", "3"),
        ("create.topic.policy.class.name", "org.example.Policy"),
    ] {
        assert!(
            refused(Cluster::builder().config(name, value)).contains("not supported"),
            "{name}"
        );
    }
    // Nobody listens; it is not an error to say where.
    Cluster::builder().config("listeners", "PLAINTEXT://:9092").in_memory().unwrap();
    assert_eq!(kind(Cluster::builder().config("flush.mss", 1).temp()), ErrorKind::InvalidConfig);
}

#[test]
fn clients_are_configured_in_the_same_ways() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("client.properties");
    std::fs::write(&file, "bootstrap.servers=localhost:9092\nclient.id=me\n").unwrap();
    let cluster = Cluster::in_memory().unwrap();
    for (way, producer) in [
        ("setter", cluster.producer().client_id("me")),
        ("name", cluster.producer().config("client.id", "me")),
        ("text", cluster.producer().properties("client.id=me\nacks=1")),
        ("file", cluster.producer().properties_file(&file)),
    ] {
        assert_eq!(producer.build().unwrap().client_id(), "me", "{way}");
    }
    for (way, consumer) in [
        ("setter", cluster.consumer().client_id("me")),
        ("name", cluster.consumer().config("client.id", "me")),
        ("text", cluster.consumer().properties("client.id=me\nfetch.max.wait.ms=1")),
        ("file", cluster.consumer().properties_file(&file)),
    ] {
        assert_eq!(consumer.build().unwrap().client_id(), "me", "{way}");
    }
    let unknown = cluster.producer().config("linger.sm", 5).build().unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::InvalidConfig);
    assert!(unknown.to_string().contains("did you mean \"linger.ms\"?"), "{unknown}");
    let elsewhere = cluster.consumer().config("linger.ms", 5).build().unwrap_err();
    assert!(elsewhere.to_string().contains("one of producers"), "{elsewhere}");
    for (name, value) in [("interceptor.classes", "org.example.Hook"), ("batch.size", "-1")] {
        assert_eq!(kind(cluster.producer().config(name, value).build()), ErrorKind::InvalidConfig);
    }
}

#[test]
fn a_stock_file_opens_the_directory_that_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let (stock, file) =
        (include_str!("../fixtures/config/server.properties"), dir.path().join("it.properties"));
    let data = dir.path().join("data");
    // Java's escapes, for the sake of other platforms' paths.
    let path = data.to_str().unwrap().replace('\\', "\\\\");
    std::fs::write(&file, stock.replace("/tmp/kraft-combined-logs", &path)).unwrap();
    let open = || Cluster::builder().properties_file(&file).open().unwrap();
    topic(&open(), 2);
    assert!(data.join("brooklet.store").is_file());
    assert_eq!(open().topic("email").unwrap().partition_count(), 2);
    // `log.dir` is what `log.dirs` falls back on.
    let cluster = Cluster::builder().properties(format!("log.dir={path}")).open().unwrap();
    assert_eq!(cluster.topics().unwrap().len(), 1);
    assert_eq!(kind(Cluster::builder().open()), ErrorKind::InvalidConfig);
}

#[test]
fn a_store_keeps_the_number_of_its_broker() {
    let dir = tempfile::tempdir().unwrap();
    let open = |builder: ClusterBuilder| builder.open_at(dir.path());
    let seven = || Cluster::builder().node_id(BrokerId::new(7).unwrap());
    open(seven()).unwrap().close().unwrap();
    open(Cluster::builder()).unwrap().close().unwrap();
    open(Cluster::builder().config("broker.id", 7)).unwrap().close().unwrap();
    let error = open(Cluster::builder().config("node.id", 8)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAStore, "{error}");
}

#[test]
fn topics_named_in_the_environment_are_there_after_opening() {
    let dir = tempfile::tempdir().unwrap();
    let open = |topics: &str| {
        let variables = [("KAFKA_CREATE_TOPICS", topics), ("KAFKA_HEAP_OPTS", "-Xmx1G")];
        Cluster::builder().environment(variables).open_at(dir.path())
    };
    let names = |cluster: &Cluster| {
        cluster.topics().unwrap().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let cluster = open("slack:1:1,sms:1:1,email:3:1:compact").unwrap();
    assert_eq!(names(&cluster), "email slack sms");
    let email = cluster.topic("email").unwrap();
    assert_eq!(email.partition_count(), 3);
    assert_eq!(setting(&email, "cleanup.policy"), "compact Topic");
    drop(email);
    cluster.close().unwrap();
    // What there is stays as it is, and the rest is added.
    let cluster = open(" email:9:1 ,\n\n push:1:1\n,push:1:1,").unwrap();
    assert_eq!(names(&cluster), "email push slack sms");
    assert_eq!(cluster.topic("email").unwrap().partition_count(), 3);
    cluster.close().unwrap();

    for bad in ["email", "email:1", "email:x:1", "email:1:x", "email:1:1:compact:5", "email:-1:1"] {
        let error = open(&format!("push:1:1,{bad}")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{bad}");
        let message = format!("KAFKA_CREATE_TOPICS: {bad:?} is not name:partitions:replication");
        assert!(error.to_string().starts_with(&message), "{error}");
    }
    assert_eq!(kind(open("a:1:3")), ErrorKind::InvalidReplicationFactor);
    assert_eq!(kind(open("a b:1:1")), ErrorKind::InvalidTopic);
    assert_eq!(kind(open("a:0:1")), ErrorKind::InvalidPartitions);
    assert_eq!(kind(open("a:1:1:shrink")), ErrorKind::InvalidConfig);

    let separated =
        [("KAFKA_CREATE_TOPICS_SEPARATOR", ";"), ("KAFKA_CREATE_TOPICS", "a:1:1;b:2:1")];
    let cluster = Cluster::builder().environment(separated).in_memory().unwrap();
    assert_eq!(names(&cluster), "a b");
}

/// In a process of its own, which has the environment that the test wants.
#[test]
fn a_process_is_configured_by_its_environment() {
    const ME: &str = "config::a_process_is_configured_by_its_environment";
    if std::env::var_os("KAFKA_CREATE_TOPICS").is_none() {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", ME]).env("KAFKA_NUM_PARTITIONS", "2");
        child.env("KAFKA_CREATE_TOPICS", "slack:1:1,sms:1:1,email:1:1");
        let output = child.env("KAFKA_HEAP_OPTS", "-Xmx1G").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let cluster = Cluster::builder().env().in_memory().unwrap();
    assert_eq!(cluster.topics().unwrap().len(), 3);
    let push = cluster.create_topic(NewTopic::new("push")).unwrap();
    assert_eq!(push.partition_count(), 2);
}

#[test]
fn topics_are_created_by_name_only_where_that_is_asked_for() {
    let open = |enable| {
        let builder = Cluster::builder().auto_create_topics_enable(enable).num_partitions(2);
        builder.in_memory().unwrap()
    };
    let cluster = open(false);
    assert_eq!(kind(cluster.topic("email")), ErrorKind::UnknownTopicOrPartition);
    let sent = producer(&cluster).send(Record::to("email"));
    assert_eq!(kind(sent), ErrorKind::UnknownTopicOrPartition);

    let cluster = open(true);
    assert_eq!(cluster.topic("by-lookup").unwrap().partition_count(), 2);
    producer(&cluster).send(Record::to("by-send").value("x")).unwrap().wait().unwrap();
    assert_eq!(cluster.topics().unwrap().len(), 2);
    assert_eq!(kind(cluster.topic("a/b")), ErrorKind::InvalidTopic);
    assert_eq!(kind(cluster.topic("__consumer_offsets")), ErrorKind::InvalidTopic);
    // Who deletes does not create.
    assert_eq!(kind(cluster.delete_topic("typo")), ErrorKind::UnknownTopicOrPartition);
    assert_eq!(cluster.topics().unwrap().len(), 2);
    // All at once: one creates it, and everybody gets it.
    std::thread::scope(|scope| {
        let found = (0..8).map(|_| scope.spawn(|| cluster.topic("wanted").unwrap()));
        let found = found.collect::<Vec<_>>();
        let ids = found.into_iter().map(|f| f.join().unwrap().describe().unwrap().id);
        let ids = ids.collect::<Vec<_>>();
        assert!(ids.iter().all(|id| *id == ids[0]));
    });
    // A producer that sends to a name goes on after its deletion.
    let producer = producer(&cluster);
    producer.send(Record::to("by-send").value("x")).unwrap().wait().unwrap();
    cluster.delete_topic("by-send").unwrap();
    let again = producer.send(Record::to("by-send").partition(0).value("x")).unwrap();
    assert_eq!(again.wait().unwrap().offset.unwrap().value(), 0);
}

#[test]
fn replication_and_deletion_have_errors_of_their_own() {
    let cluster = Cluster::builder().delete_topic_enable(false).in_memory().unwrap();
    topic(&cluster, 1);
    let error = cluster.delete_topic("email").unwrap_err();
    assert_eq!((error.kind(), error.kafka_code()), (ErrorKind::TopicDeletionDisabled, Some(73)));
    assert_eq!(cluster.topics().unwrap().len(), 1);
    for replicas in [0, 2] {
        let error = cluster.create_topic(NewTopic::new("x").replication_factor(replicas));
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidReplicationFactor);
        assert_eq!(error.kafka_code(), Some(38));
    }
    cluster.create_topic(NewTopic::new("x").replication_factor(1)).unwrap();
    let cluster = Cluster::builder().config("default.replication.factor", 3).in_memory().unwrap();
    assert_eq!(kind(cluster.create_topic(NewTopic::new("x"))), ErrorKind::InvalidReplicationFactor);
}

/// With a log that is open, by the number of its segments.
#[test]
fn altering_a_topic_changes_how_its_open_log_rolls() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::open(dir.path()).unwrap();
    let email = topic(&cluster, 1);
    fill(&cluster, &email);
    assert_eq!(segments(dir.path(), "email-0"), 1);

    email.alter_config(AlterConfig::new().set("segment.bytes", 1_100)).unwrap();
    assert_eq!(setting(&email, "segment.bytes"), "1100 Topic");
    fill(&cluster, &email);
    // 10 batches each, in all after the first.
    assert_eq!(segments(dir.path(), "email-0"), 1 + 5);

    email.alter_config(AlterConfig::new().delete("segment.bytes")).unwrap();
    assert_eq!(setting(&email, "segment.bytes"), "1073741824 Default");
    fill(&cluster, &email);
    assert_eq!(segments(dir.path(), "email-0"), 6);

    let small = AlterConfig::new().set("max.message.bytes", 200).set("index.interval.bytes", 0);
    email.alter_config(small).unwrap();
    let sent = producer(&cluster).send(Record::to(&email).value(&[0; 300])).unwrap();
    assert_eq!(kind(sent.wait()), ErrorKind::MessageTooLarge);
    fill(&cluster, &email);
    let mut consumer = consumer(&cluster, &email);
    assert_eq!(receive(&mut consumer, 200).len(), 200);
}

#[test]
fn altered_settings_are_there_after_reopening_and_count_more_than_the_brokers() {
    let dir = tempfile::tempdir().unwrap();
    let open = |bytes: u32| {
        let builder = Cluster::builder().config("log.segment.bytes", bytes);
        let cluster =
            builder.config("log.index.interval.bytes", bytes).open_at(dir.path()).unwrap();
        let email = match cluster.topic("email") {
            Ok(email) => email,
            Err(_) => topic(&cluster, 1),
        };
        (cluster, email)
    };
    let (cluster, email) = open(100_000);
    assert_eq!(setting(&email, "segment.bytes"), "100000 Broker");
    let changes = AlterConfig::new().set("segment.bytes", 1_100).set("retention.ms", -1);
    email.alter_config(changes.set("cleanup.policy", "compact")).unwrap();
    drop((cluster, email));

    let (cluster, email) = open(200_000);
    assert_eq!(setting(&email, "segment.bytes"), "1100 Topic");
    assert_eq!(setting(&email, "index.interval.bytes"), "200000 Broker");
    assert_eq!(
        email.describe().unwrap().config,
        [
            ("cleanup.policy", "compact".to_owned()),
            ("retention.ms", "-1".to_owned()),
            ("segment.bytes", "1100".to_owned()),
        ]
    );
    fill(&cluster, &email);
    assert_eq!(segments(dir.path(), "email-0"), 5);
    email.alter_config(AlterConfig::new().delete("segment.bytes")).unwrap();
    drop((cluster, email));

    let (_cluster, email) = open(300_000);
    assert_eq!(setting(&email, "segment.bytes"), "300000 Broker");
    assert_eq!(setting(&email, "retention.ms"), "-1 Topic");
}

#[test]
fn changes_are_made_all_or_none() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        let good = || AlterConfig::new().set("segment.bytes", 5_000);
        for bad in [
            good().set("segment.byte", 1),
            good().set("segment.index.bytes", 1),
            good().delete("colour"),
            good().append("segment.bytes", 5),
            good().append("cleanup.policy", "shrink"),
            good().set("compression.lz4.level", 1),
            good().set("brooklet.flush.policy", "os").set("flush.ms", 5),
            good().set("min.compaction.lag.ms", 2).set("max.compaction.lag.ms", 1),
        ] {
            assert_eq!(kind(email.alter_config(bad)), ErrorKind::InvalidConfig);
            assert_eq!(setting(&email, "segment.bytes"), "1073741824 Default");
        }
        email.alter_config(good()).unwrap();
        assert_eq!(setting(&email, "segment.bytes"), "5000 Topic");

        let policy = || setting(&email, "cleanup.policy");
        email.alter_config(AlterConfig::new().append("cleanup.policy", "compact")).unwrap();
        assert_eq!(policy(), "delete,compact Topic");
        email.alter_config(AlterConfig::new().append("cleanup.policy", "compact")).unwrap();
        assert_eq!(policy(), "delete,compact Topic");
        email.alter_config(AlterConfig::new().subtract("cleanup.policy", "delete")).unwrap();
        assert_eq!(policy(), "compact Topic");

        cluster.delete_topic("email").unwrap();
        assert_eq!(kind(email.alter_config(good())), ErrorKind::TopicDeleted);
        assert_eq!(kind(email.describe_config()), ErrorKind::TopicDeleted);
        let new = topic(&cluster, 1);
        assert_eq!(kind(email.alter_config(good())), ErrorKind::TopicDeleted);
        assert_eq!(setting(&new, "segment.bytes"), "1073741824 Default");
    }
}

#[test]
fn flush_settings_select_the_policy_and_contradictions_are_errors() {
    let opens = |text: &str| Cluster::builder().properties(text).temp();
    for good in [
        "brooklet.flush.policy=os",
        "brooklet.flush.policy=interval\nlog.flush.interval.ms=5",
        "log.flush.interval.messages=5",
        "log.flush.scheduler.interval.ms=5",
        "brooklet.flush.policy=on-ack",
    ] {
        let cluster = opens(good).unwrap();
        let email = topic(&cluster, 1);
        send_all(&producer(&cluster), &email, numbers(0..10));
    }
    for bad in [
        "brooklet.flush.policy=os\nlog.flush.interval.ms=5",
        "log.flush.interval.messages=5\nbrooklet.flush.policy=on-ack",
        "brooklet.flush.policy=interval",
        "brooklet.flush.policy=sometimes",
    ] {
        assert_eq!(kind(opens(bad)), ErrorKind::InvalidConfig, "{bad}");
    }
    // A typed policy replaces all that was said of it before.
    let builder = Cluster::builder().properties("log.flush.interval.ms=5");
    builder.flush_policy(FlushPolicy::Os).in_memory().unwrap();
    let create = |config: &[(&str, &str)]| {
        let cluster = Cluster::in_memory().unwrap();
        let mut topic = NewTopic::new("email");
        for (name, value) in config {
            topic = topic.config(*name, *value);
        }
        cluster.create_topic(topic).map(drop)
    };
    create(&[("brooklet.flush.policy", "os")]).unwrap();
    create(&[("flush.ms", "5")]).unwrap();
    create(&[("brooklet.flush.policy", "interval"), ("flush.messages", "5")]).unwrap();
    for bad in [
        &[("brooklet.flush.policy", "os"), ("flush.messages", "5")][..],
        &[("brooklet.flush.policy", "interval")],
    ] {
        assert_eq!(kind(create(bad)), ErrorKind::InvalidConfig, "{bad:?}");
    }
}

#[test]
fn keys_can_be_ignored() {
    let cluster = Cluster::in_memory().unwrap();
    let email = topic(&cluster, 4);
    let producer = cluster.producer().partitioner_ignore_keys(true).batch_size(0);
    let producer = producer.build().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let sent = producer.send(Record::to(&email).key("ann").value(&[0; 100])).unwrap();
        seen.insert(sent.wait().unwrap().partition);
    }
    assert_eq!(seen.len(), 4);
    let chosen = producer.send(Record::to(&email).key("ann").partition(3)).unwrap();
    assert_eq!(chosen.wait().unwrap().partition.value(), 3);
}

/// `fetch.max.bytes` bounds a poll, and every partition has its turn all the same.
#[test]
fn one_poll_fetches_no_more_than_it_may() {
    for cluster in clusters() {
        let email = topic(&cluster, 3);
        let producer = cluster.producer().batch_size(0).build().unwrap();
        for n in 0..60u32 {
            producer.send(Record::to(&email).partition(n % 3).value(&[0; 1_000])).unwrap();
        }
        producer.flush().unwrap();
        for bytes in [0, 1_500, 2_500] {
            let mut consumer = cluster.consumer().fetch_max_bytes(bytes).build().unwrap();
            consumer.assign(email.partitions()).unwrap();
            let (mut first, mut count) = (Vec::new(), 0);
            while count < 60 {
                let records = consumer.poll(LONG).unwrap();
                assert!((1..=3).contains(&records.len()), "{bytes}: {}", records.len());
                count += records.len();
                first.extend(records.iter().next().map(|r| r.partition().value()));
            }
            first.truncate(3);
            first.sort_unstable();
            assert_eq!(first, [0, 1, 2], "{bytes}");
            assert!(consumer.poll(Duration::ZERO).unwrap().is_empty());
        }
    }
}

#[test]
fn polls_wait_for_as_many_bytes_as_they_are_told_but_not_for_ever() {
    let cluster = Cluster::in_memory().unwrap();
    let email = topic(&cluster, 2);
    let producer = producer(&cluster);
    let send = |partition| {
        let sent = producer.send(Record::to(&email).partition(partition).value(&[0; 1_000]));
        sent.unwrap().wait().unwrap();
    };
    let patient = |wait| {
        let consumer = cluster.consumer().fetch_min_bytes(2_500).fetch_max_wait(wait);
        let mut consumer = consumer.build().unwrap();
        consumer.assign(email.partitions()).unwrap();
        consumer
    };
    let mut consumer = patient(LONG);
    assert!(consumer.poll(Duration::ZERO).unwrap().is_empty());
    send(0);
    send(1);
    assert!(consumer.poll(Duration::from_millis(20)).unwrap().is_empty(), "2,000 bytes");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| consumer.poll(LONG).unwrap().len());
        send(0);
        assert_eq!(waiting.join().unwrap(), 3, "of both partitions");
    });
    // Records that were fetched are handed out without waiting.
    let few = cluster.consumer().fetch_min_bytes(2_500).max_poll_records(1);
    let mut few = few.build().unwrap();
    few.assign([email.partition(0).unwrap()]).unwrap();
    send(0);
    for _ in 0..3 {
        assert_eq!(few.poll(LONG).unwrap().len(), 1);
    }
    // After its time less will do, over several polls too.
    let mut consumer = patient(Duration::from_millis(500));
    consumer.seek_all(brooklet::SeekTo::End).unwrap();
    send(1);
    let mut polls = 0;
    while consumer.poll(Duration::from_millis(1)).unwrap().is_empty() {
        polls += 1;
    }
    assert!(polls > 0);
    send(1);
    assert_eq!(consumer.poll(LONG).unwrap().len(), 1);
}

#[test]
fn a_consumer_may_begin_with_the_records_of_the_last_while() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        let producer = producer(&cluster);
        let now = std::time::SystemTime::now();
        for (hours, value) in [(50, "old"), (3, "young"), (1, "younger")] {
            let time = Timestamp::from(now - Duration::from_secs(3_600 * hours));
            producer.send(Record::to(&email).timestamp(time).value(value)).unwrap();
        }
        producer.flush().unwrap();
        let begin = |reset: &str| {
            let consumer = cluster.consumer().config("auto.offset.reset", reset);
            let mut consumer = consumer.build().unwrap();
            consumer.assign(email.partitions()).unwrap();
            consumer.position(&consumer.assignment()[0]).unwrap().value()
        };
        assert_eq!(begin("by_duration:P1D"), 1);
        assert_eq!(begin("by_duration:PT2H"), 2);
        assert_eq!(begin("by_duration:PT1M"), 3, "nothing is as young");
        assert_eq!(begin("by_duration:P300000D"), 0);
        let typed = AutoOffsetReset::ByDuration(Duration::from_secs(2 * 3_600));
        let mut consumer = cluster.consumer().auto_offset_reset(typed).build().unwrap();
        consumer.assign(email.partitions()).unwrap();
        assert_eq!(receive(&mut consumer, 1), ["younger"]);
        let bad = cluster.consumer().config("auto.offset.reset", "by_duration:1D").build();
        assert_eq!(kind(bad), ErrorKind::InvalidConfig);
    }
}
