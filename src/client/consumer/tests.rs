//! Settings, and which partition has its turn when.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::{Config, ErrorKind, IsolationLevel, Offset, Scope};
use crate::client::consumer::Settings;
use crate::client::{AutoOffsetReset, Cluster, Consumer, ConsumerBuilder, NewTopic, Record, Topic};
use crate::cluster::BrokerConfig;
use crate::coordinator::GroupProtocol;
use crate::record::Limits;

/// A topic with `count` records in each of 3 partitions.
fn filled(cluster: &Cluster, count: usize) -> Topic {
    let email = cluster.create_topic(NewTopic::new("email").partitions(3)).unwrap();
    let producer = cluster.producer().build().unwrap();
    for _ in 0..count {
        for partition in 0..3 {
            producer.send(Record::to(&email).partition(partition).value("v")).unwrap();
        }
    }
    producer.flush().unwrap();
    email
}

/// The partitions of the records of one poll.
fn polled(consumer: &mut Consumer) -> Result<BTreeSet<i32>, ErrorKind> {
    let records = consumer.poll(Duration::ZERO).map_err(|error| error.kind())?;
    Ok(records.iter().map(|record| record.partition().value()).collect())
}

#[test]
fn a_partition_with_very_much_to_read_lets_the_others_have_their_turn() {
    let cluster = Cluster::in_memory().unwrap();
    let email = filled(&cluster, 100);
    let mut consumer = cluster.consumer().max_poll_records(10).build().unwrap();
    consumer.assign(email.partitions()).unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        seen.extend(polled(&mut consumer).unwrap());
    }
    assert_eq!(seen.len(), 3);
}

#[test]
fn a_partition_that_fails_is_reported_and_does_not_hold_up_the_others() {
    let cluster = Cluster::in_memory().unwrap();
    let email = filled(&cluster, 100);
    let consumer = cluster.consumer().max_poll_records(10);
    let mut consumer = consumer.auto_offset_reset(AutoOffsetReset::None).build().unwrap();
    consumer.assign(email.partitions()).unwrap();
    consumer.seek_all(Offset::ZERO).unwrap();
    let bad = consumer.assignment().swap_remove(1);
    consumer.seek(&bad, Offset::from(1_000)).unwrap();
    let polls = (0..6).map(|_| polled(&mut consumer)).collect::<Vec<_>>();
    let errors = polls.iter().filter(|poll| **poll == Err(ErrorKind::OffsetOutOfRange)).count();
    assert!((1..=3).contains(&errors), "{polls:?}");
    let seen = polls.into_iter().flatten().flatten().collect::<BTreeSet<_>>();
    assert_eq!(seen, BTreeSet::from([0, 2]));
}

fn broker() -> BrokerConfig {
    BrokerConfig::new(Config::new(Scope::Broker)).unwrap()
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let expected = Settings {
        client_id: String::new(),
        reset: AutoOffsetReset::Earliest,
        max_poll_records: 500,
        max_partition_fetch_bytes: 1_048_576,
        fetch_max_bytes: 52_428_800,
        fetch_min_bytes: 1,
        fetch_max_wait: Duration::from_millis(500),
        check_crcs: true,
        isolation: IsolationLevel::ReadUncommitted,
        rack: None,
        metadata_max_age: Duration::from_secs(300),
        limits: Limits::default(),
        group: None,
        instance_id: None,
        protocol: GroupProtocol::Consumer,
        assignors: Vec::new(),
        max_poll_interval: Duration::from_secs(300),
        session_timeout: Duration::from_secs(45),
        auto_commit: None,
        api_timeout: Duration::from_secs(60),
        create_topics: true,
        with_internal: false,
    };
    assert_eq!(Settings::read(&Config::new(Scope::Consumer), &broker()).unwrap(), expected);
}

/// Every setting that has an effect, both ways.
#[test]
fn a_name_sets_what_the_typed_setter_sets() {
    let cluster = Cluster::in_memory().unwrap();
    let plain = || cluster.consumer();
    let settings = |builder: ConsumerBuilder| {
        builder.draft.finish().and_then(|config| Settings::read(&config, &broker())).unwrap()
    };
    let reset = |reset| plain().auto_offset_reset(reset);
    let while_ago = AutoOffsetReset::ByDuration(Duration::from_millis(93_784_500));
    let pairs = [
        (plain().client_id("me"), "client.id", "me"),
        (reset(AutoOffsetReset::Latest), "auto.offset.reset", "latest"),
        (reset(AutoOffsetReset::None), "auto.offset.reset", "none"),
        (reset(while_ago), "auto.offset.reset", "by_duration:P1DT2H3M4.5S"),
        (plain().max_poll_records(1), "max.poll.records", "1"),
        (plain().max_partition_fetch_bytes(0), "max.partition.fetch.bytes", "0"),
        (plain().fetch_max_bytes(7), "fetch.max.bytes", "7"),
        (plain().fetch_min_bytes(7), "fetch.min.bytes", "7"),
        (plain().client_rack("north"), "client.rack", "north"),
        (plain().metadata_max_age(Duration::ZERO), "metadata.max.age.ms", "0"),
        (plain().fetch_max_wait(Duration::from_millis(7)), "fetch.max.wait.ms", "7"),
        (plain().check_crcs(false), "check.crcs", "false"),
        (
            plain().isolation_level(IsolationLevel::ReadCommitted),
            "isolation.level",
            "read_committed",
        ),
        (plain().group("mailer"), "group.id", "mailer"),
        (plain().group_instance_id("left"), "group.instance.id", "left"),
        (plain().group_protocol(GroupProtocol::Classic), "group.protocol", "classic"),
        (plain().assignor("range"), "group.remote.assignor", "range"),
        (plain().max_poll_interval(Duration::from_secs(7)), "max.poll.interval.ms", "7000"),
        (plain().no_eviction(), "max.poll.interval.ms", "2147483647"),
        (plain().session_timeout(Duration::from_secs(7)), "session.timeout.ms", "7000"),
        (plain().enable_auto_commit(true), "enable.auto.commit", "true"),
        (plain().default_api_timeout(Duration::from_secs(7)), "default.api.timeout.ms", "7000"),
        (plain().allow_auto_create_topics(false), "allow.auto.create.topics", "false"),
        (plain().exclude_internal_topics(false), "exclude.internal.topics", "false"),
    ];
    let mut in_effect = Config::new(Scope::Consumer).describe().unwrap();
    // These count beside others alone.
    let beside = ["auto.commit.interval.ms", "partition.assignment.strategy"];
    in_effect.retain(|entry| entry.in_effect && !beside.contains(&entry.name));
    for entry in in_effect {
        assert!(pairs.iter().any(|(_, name, _)| *name == entry.name), "{}", entry.name);
    }
    let unset = settings(plain());
    for (typed, name, text) in pairs {
        let by_name = settings(plain().config(name, text));
        assert_eq!(by_name, settings(typed), "{name}");
        assert_ne!(by_name, unset, "{name}");
    }
}

#[test]
fn some_settings_count_beside_others() {
    let cluster = Cluster::in_memory().unwrap();
    let settings = |builder: ConsumerBuilder| {
        builder.draft.finish().and_then(|config| Settings::read(&config, &broker())).unwrap()
    };
    let auto = || cluster.consumer().enable_auto_commit(true);
    let often = settings(auto().auto_commit_interval(Duration::from_millis(7)));
    assert_eq!(often, settings(auto().config("auto.commit.interval.ms", "7")));
    assert_eq!(often.auto_commit, Some(Duration::from_millis(7)));
    assert_eq!(settings(auto()).auto_commit, Some(Duration::from_secs(5)));
    let classic = || cluster.consumer().group_protocol(GroupProtocol::Classic);
    let sticky = settings(classic().assignor("sticky"));
    assert_eq!(sticky, settings(classic().config("partition.assignment.strategy", "sticky")));
    assert_eq!(sticky.assignors, ["sticky"]);
}

#[test]
fn the_brokers_limit_of_a_fetch_is_the_consumers_too() {
    let cluster = Cluster::builder().config("fetch.max.bytes", 1024).in_memory().unwrap();
    assert_eq!(cluster.consumer().build().unwrap().settings.fetch_max_bytes, 1024);
    let smaller = cluster.consumer().fetch_max_bytes(5).build().unwrap();
    assert_eq!(smaller.settings.fetch_max_bytes, 5);
}
