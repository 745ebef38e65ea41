//! The tables, and what is made of them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::definition::{Definition, Kind};
use super::find::{Found, NO_MEANING};
use super::value::Value;
use super::{Config, ConfigError, Draft, Effective, ReadConfig, Scope};

fn all() -> impl Iterator<Item = (Scope, &'static Definition)> {
    Scope::ALL.into_iter().flat_map(|scope| scope.definitions().map(move |d| (scope, d)))
}

fn parse(scope: Scope, name: &str, text: &str) -> Result<Config, ConfigError> {
    let mut draft = Draft::new(scope);
    draft.set_text(name, text);
    draft.finish()
}

#[test]
fn names_are_in_order_and_known_once() {
    for scope in Scope::ALL {
        for table in scope.tables() {
            let misplaced = table.windows(2).find(|pair| pair[0].name >= pair[1].name);
            assert!(misplaced.is_none(), "{scope:?}: {misplaced:?}");
        }
        let names = scope.definitions().map(|d| d.name).collect::<BTreeSet<_>>();
        assert_eq!(names.len(), scope.definitions().count(), "{scope:?}");
        let mut aliases = BTreeSet::new();
        for alias in scope.definitions().flat_map(|d| d.aliases) {
            assert!(!names.contains(alias) && aliases.insert(alias), "{scope:?} {alias}");
            assert!(matches!(scope.find(alias), Ok(Found::Alias(_))), "{scope:?} {alias}");
        }
    }
    assert!(NO_MEANING.is_sorted());
}

#[test]
fn every_default_is_in_its_own_range_and_written_as_it_is_read() {
    for (scope, definition) in all() {
        let Some(text) = definition.default else { continue };
        let value = definition.parse(text).unwrap_or_else(|e| panic!("{scope:?}: {e}"));
        assert_eq!(value.to_string(), text, "{scope:?} {}", definition.name);
        let config = parse(scope, definition.name, text).unwrap();
        assert_eq!(config.value(definition.name), Config::new(scope).value(definition.name));
    }
}

#[test]
fn both_ends_of_every_range_are_in_it_and_what_lies_beyond_is_not() {
    for (scope, definition) in all() {
        let (Kind::Number(min, max) | Kind::Millis(min, max)) = definition.kind else { continue };
        let accepts = |n: i128| match parse(scope, definition.name, &n.to_string()) {
            Ok(_) => true,
            // In range, but nothing that is done here.
            Err(ConfigError::Unsupported { .. }) => true,
            Err(ConfigError::OutOfRange { name, value, allowed }) => {
                assert_eq!((name, value), (definition.name, n.to_string()));
                assert!(allowed.contains(&min.to_string()), "{allowed}");
                false
            }
            Err(other) => panic!("{other}"),
        };
        let name = definition.name;
        assert!(accepts(min.into()) && accepts(max.into()), "{scope:?} {name}");
        assert_eq!(accepts(i128::from(min) - 1), definition.also == Some(min - 1), "{name}");
        assert!(!accepts(i128::from(max) + 1), "{scope:?} {name}");
        if let Some(also) = definition.also {
            assert!(accepts(also.into()) && !(min..=max).contains(&also), "{name}");
        }
    }
}

#[test]
fn text_that_is_no_value_is_refused() {
    for (scope, name, text) in [
        (Scope::Topic, "segment.bytes", "1k"),
        (Scope::Topic, "segment.bytes", ""),
        (Scope::Topic, "segment.bytes", "1.5"),
        (Scope::Topic, "segment.ms", "99999999999999999999"),
        (Scope::Topic, "preallocate", "yes"),
        (Scope::Topic, "cleanup.policy", "delete,compress"),
        (Scope::Topic, "cleanup.policy", "delete,,compact"),
        (Scope::Topic, "min.cleanable.dirty.ratio", "1.01"),
        (Scope::Topic, "min.cleanable.dirty.ratio", "NaN"),
        (Scope::Topic, "compression.type", "none"),
        (Scope::Producer, "compression.type", "producer"),
        (Scope::Producer, "acks", "2"),
        (Scope::Producer, "compression.gzip.level", "0"),
        (Scope::Consumer, "auto.offset.reset", "by_duratio"),
    ] {
        let error = parse(scope, name, text).unwrap_err();
        assert!(matches!(&error, ConfigError::OutOfRange { name: n, .. } if *n == name), "{error}");
        assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
    }
}

#[test]
fn text_is_read_as_kafka_reads_it() {
    for (scope, name, text, value) in [
        (Scope::Topic, "segment.bytes", " 1024 ", Value::Number(1024)),
        (Scope::Topic, "segment.bytes", "+1024", Value::Number(1024)),
        (Scope::Topic, "preallocate", "TRUE", Value::Bool(true)),
        (Scope::Topic, "min.cleanable.dirty.ratio", "1e-1", Value::Double(0.1)),
        (Scope::Topic, "segment.ms", "1", Value::Duration(Duration::from_millis(1))),
        (Scope::Topic, "cleanup.policy", " compact , delete", {
            Value::List(vec!["compact".to_owned(), "delete".to_owned()])
        }),
        (Scope::Topic, "cleanup.policy", "", Value::List(Vec::new())),
        (Scope::Topic, "message.timestamp.type", "logappendtime", "LogAppendTime".into()),
        (Scope::Consumer, "auto.offset.reset", "BY_DURATION:PT1H", "BY_DURATION:PT1H".into()),
    ] {
        assert_eq!(parse(scope, name, text).unwrap().value(name), Ok(Some(value)), "{text:?}");
    }
}

#[test]
fn what_is_refused_may_say_its_default_only() {
    for (scope, name, good, bad) in [
        (Scope::Topic, "remote.storage.enable", "false", "true"),
        (Scope::Topic, "leader.replication.throttled.replicas", "", "0:1"),
        (Scope::Broker, "remote.log.storage.system.enable", "false", "true"),
        (Scope::Broker, "log.message.timestamp.difference.max.ms", "9223372036854775807", "1"),
        (Scope::Producer, "compression.lz4.level", "9", "5"),
        (Scope::Producer, "partitioner.class", "", "org.example.Partitioner"),
        (Scope::Consumer, "interceptor.classes", "", "org.example.Interceptor"),
    ] {
        parse(scope, name, good).unwrap();
        let error = parse(scope, name, bad).unwrap_err();
        assert!(
            matches!(&error, ConfigError::Unsupported { name: n, .. } if *n == name),
            "{name}: {error}"
        );
    }
}

#[test]
fn unknown_names_are_errors_in_every_scope() {
    for scope in Scope::ALL {
        let error = parse(scope, "colour", "red").unwrap_err();
        assert!(matches!(error, ConfigError::Unknown { .. }), "{error}");
    }
}

/// The longest time there is stands for "for ever"; nothing else is bent.
#[test]
fn typed_values_are_held_to_the_same_ranges() {
    let set = |name: &'static str, value: Value| {
        let mut draft = Draft::new(Scope::Producer);
        draft.set(name, value);
        draft.finish()?.value(name)
    };
    let longest = Value::Duration(Duration::from_millis(i64::MAX.unsigned_abs()));
    assert_eq!(set("linger.ms", Duration::MAX.into()), Ok(Some(longest)));
    let half = Value::Duration(Duration::from_micros(500));
    assert_eq!(set("linger.ms", half.clone()), Ok(Some(half)));
    assert!(set("buffer.memory", 0usize.into()).is_err());
    assert!(set("batch.size", usize::MAX.into()).is_err());
    assert!(set("metadata.max.idle.ms", Duration::ZERO.into()).is_err());
    assert!(set("batch.size", true.into()).is_err());
    assert!(set("batch.sizes", 1u32.into()).is_err());
}

/// A topic that overrides nothing, under a broker that sets nothing, has Kafka's defaults from either table.
#[test]
fn the_brokers_defaults_are_those_of_its_topics() {
    let broker = Config::new(Scope::Broker);
    for definition in Scope::Topic.definitions() {
        for (name, _) in definition.broker {
            assert!(Scope::Broker.definition(name).is_some(), "{} {name}", definition.name);
        }
        let Some((name, unit)) = definition.broker.last() else { continue };
        let of_topic = definition.default_value().unwrap();
        let of_broker = broker.value(name).unwrap();
        let of_broker = match of_broker {
            Some(Value::Number(n)) if *unit > 1 => (n * unit).to_string(),
            other => other.map(|value| value.to_string()).unwrap_or_default(),
        };
        assert_eq!(of_topic.unwrap().to_string(), of_broker, "{} {name}", definition.name);
    }
}

#[test]
fn a_topics_own_value_comes_before_the_brokers_and_that_before_the_default() {
    let (mut topic, mut broker) = (Draft::new(Scope::Topic), Draft::new(Scope::Broker));
    let read = |topic: &Draft, broker: &Draft, name| {
        let effective = Effective { topic: topic.config(), broker: broker.config() };
        let entries = effective.describe().unwrap();
        let entry = entries.into_iter().find(|entry| entry.name == name).unwrap();
        format!("{} {:?}", entry.value.unwrap(), entry.source)
    };
    let retention = |topic: &Draft, broker: &Draft| read(topic, broker, "retention.ms");
    assert_eq!(retention(&topic, &broker), "604800000 Default");
    // Each has a finer unit than the one before, and comes before it.
    for (name, value, expected) in [
        ("log.retention.hours", "2", "7200000 Broker"),
        ("log.retention.minutes", "3", "180000 Broker"),
        ("log.retention.ms", "4", "4 Broker"),
    ] {
        broker.set_text(name, value);
        assert_eq!(retention(&topic, &broker), expected);
    }
    topic.set_text("retention.ms", "5");
    assert_eq!(retention(&topic, &broker), "5 Topic");
    topic.unset("retention.ms");
    assert_eq!(retention(&topic, &broker), "4 Broker");

    broker.set_text("log.roll.hours", "1");
    assert_eq!(read(&topic, &broker, "segment.ms"), "3600000 Broker");
    broker.set_text("log.flush.scheduler.interval.ms", "7");
    assert_eq!(read(&topic, &broker, "flush.ms"), "7 Broker");
    for unlimited in ["log.retention.hours", "log.retention.minutes"] {
        let mut broker = Draft::new(Scope::Broker);
        broker.set_text(unlimited, "-1");
        assert_eq!(retention(&topic, &broker), "-1 Broker");
    }
}

#[test]
fn every_name_of_the_tables_can_be_described() {
    let (topic, broker) = (Config::new(Scope::Topic), Config::new(Scope::Broker));
    let entries = Effective { topic: &topic, broker: &broker }.describe().unwrap();
    assert_eq!(entries.len(), Scope::Topic.definitions().count());
    let entries = broker.describe().unwrap();
    assert_eq!(entries.len(), Scope::Broker.definitions().count());
    assert!(entries.is_sorted_by(|a, b| a.name < b.name));
}

#[test]
fn what_is_set_later_replaces_what_was_set_before() {
    let mut draft = Draft::new(Scope::Broker);
    draft.properties("a.properties", "num.partitions=2\nnum.partitions=3");
    assert_eq!(draft.config().number("num.partitions"), Ok(3));
    draft.variable("KAFKA_NUM_PARTITIONS", "num.partitions", "4");
    assert_eq!(draft.config().number("num.partitions"), Ok(4));
    draft.set("num.partitions", 5u32);
    assert_eq!(draft.finish().unwrap().number("num.partitions"), Ok(5));
}

#[test]
fn mistakes_name_the_place_where_they_were_made() {
    let mut draft = Draft::new(Scope::Broker);
    draft.properties("my.properties", "# comment\nnum.partitions=none");
    assert_eq!(
        draft.clone().finish().unwrap_err().to_string(),
        r#"my.properties, line 2: num.partitions="none" is not possible: a number, 1 to 2147483647"#
    );
    // The first one counts.
    draft.variable("KAFKA_COLOUR", "colour", "red");
    assert!(draft.finish().unwrap_err().to_string().starts_with("my.properties"));
    let mut draft = Draft::new(Scope::Broker);
    draft.variable("KAFKA_COLOUR", "colour", "red");
    assert_eq!(
        draft.finish().unwrap_err().to_string(),
        r#"KAFKA_COLOUR: unknown setting "colour" of brokers"#
    );
}

/// What Kafka ships its brokers with, in both ages.
#[test]
fn stock_files_load_and_say_what_comes_to_nothing() {
    let notices = |text: &str| {
        let mut draft = Draft::new(Scope::Broker);
        draft.properties("server.properties", text);
        let notices = draft.notices().join("\n");
        (draft.finish().unwrap(), notices)
    };
    let (config, said) = notices(include_str!("../../../tests/fixtures/config/server.properties"));
    assert_eq!(config.list("log.dirs"), Ok(vec!["/tmp/kraft-combined-logs".to_owned()]));
    assert_eq!(config.number("node.id"), Ok(1));
    assert_eq!(
        said,
        "process.roles is ignored: it has no meaning within one process
controller.quorum.bootstrap.servers is ignored: it has no meaning within one process
listeners is ignored: it has no meaning within one process
inter.broker.listener.name is ignored: it has no meaning within one process
advertised.listeners is ignored: it has no meaning within one process
controller.listener.names is ignored: it has no meaning within one process
listener.security.protocol.map is ignored: it has no meaning within one process
num.network.threads is ignored: it has no meaning within one process
num.io.threads is ignored: it has no meaning within one process
socket.send.buffer.bytes is ignored: it has no meaning within one process
socket.receive.buffer.bytes is ignored: it has no meaning within one process
socket.request.max.bytes is ignored: it has no meaning within one process
num.recovery.threads.per.data.dir has no effect yet: what it governs is not built
share.coordinator.state.topic.replication.factor has no effect yet: what it governs is not built
share.coordinator.state.topic.min.isr has no effect yet: what it governs is not built
transaction.state.log.replication.factor has no effect yet: what it governs is not built
transaction.state.log.min.isr has no effect yet: what it governs is not built"
    );
    let (config, said) =
        notices(include_str!("../../../tests/fixtures/config/server-zookeeper.properties"));
    assert_eq!(config.number("node.id"), Ok(0));
    for notice in [
        "broker.id is taken for node.id",
        "zookeeper.connect is ignored: it has no meaning within one process",
        "zookeeper.connection.timeout.ms is ignored: it has no meaning within one process",
    ] {
        assert!(said.lines().any(|line| line == notice), "{notice}");
    }
}

/// The default itself is no news.
#[test]
fn a_value_that_comes_to_nothing_is_noted_once_and_its_default_not_at_all() {
    let mut draft = Draft::new(Scope::Topic);
    draft.set_text("retention.ms", "604800000");
    draft.set_text("segment.bytes", "100");
    assert!(draft.notices().is_empty());
    draft.set_text("retention.ms", "5");
    draft.set_text("retention.ms", "6");
    assert_eq!(draft.notices().len(), 1);
}
