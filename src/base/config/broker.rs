//! The settings of brokers that concern storage and work in the background.

use super::definition::{
    Definition, INT_MAX, LONG_MAX, bool, choice, double, int, int_ms, list, long, ms, range, text,
};
use super::topic::{CODECS, NO_REMOTE_STORAGE, ONE_LZ4_LEVEL, POLICIES};

const NO_POLICIES: &str = "classes cannot be loaded";

pub(super) const TABLE: &[Definition] = &[
    text("alter.config.policy.class.name", "", "A check of changes.").refused(NO_POLICIES),
    bool(
        "auto.create.topics.enable",
        "false",
        "Whether asking for a topic by name, or sending to it, creates it.",
    )
    .kafka("true")
    .aliases(&["auto.create.topic.enable", "auto.topic.create.enable"]),
    int("background.threads", "10", 1, "Threads of the scheduler.").no_meaning(),
    choice(
        "brooklet.flush.policy",
        "on-ack",
        POLICIES,
        "Default of the topics' setting. `log.flush.interval.ms`, `log.flush.interval.messages` and `log.flush.scheduler.interval.ms` select `interval`, and contradict the others. brooklet's own; Kafka's way is `os`.",
    ),
    choice(
        "brooklet.read.mode",
        "auto",
        &["auto", "map", "pread"],
        "How files are read: by memory maps, by positioned reads, or as suits the platform. brooklet's own.",
    ),
    long(
        "brooklet.scrub.bytes.per.second",
        "0",
        0,
        "How fast all partitions are read and checked in the background, over and over. 0 for not at all. brooklet's own.",
    ),
    bool(
        "brooklet.strict.open",
        "false",
        "Whether a store is not opened, and not changed, if bytes behind the last good batch of a log would have to be cut. A torn write looks like records that have rotted before a power cut. brooklet's own.",
    ),
    range("compression.gzip.level", "-1", (1, 9), "Default of the topics' setting.")
        .or(-1),
    range("compression.lz4.level", "9", (1, 17), "Default of the topics' setting.")
        .refused(ONE_LZ4_LEVEL),
    choice("compression.type", "producer", CODECS, "Default of the topics' setting."),
    range("compression.zstd.level", "3", (-131_072, 22), "Default of the topics' setting."),
    text("create.topic.policy.class.name", "", "A check of new topics.").refused(NO_POLICIES),
    range(
        "default.replication.factor",
        "1",
        (1, i16::MAX as i64),
        "Replicas of a topic that is created without saying how many: no more than brokers are running.",
    )
    .aliases(&["default.replication.factors", "replication.factor"]),
    bool("delete.topic.enable", "true", "Whether topics can be deleted.")
        .aliases(&["delete.topics.enable"]),
    range(
        "fetch.max.bytes",
        "57671680",
        (1024, INT_MAX),
        "Most that a consumer gets in one fetch, whatever its own setting.",
    ),
    ms("log.cleaner.backoff.ms", "15000", 0, "Sleep of a cleaner that finds nothing.").not_yet(),
    long(
        "log.cleaner.dedupe.buffer.size",
        "134217728",
        0,
        "Bytes for the keys of logs that are being compacted.",
    )
    .not_yet(),
    ms("log.cleaner.delete.retention.ms", "86400000", 0, "Default of `delete.retention.ms`.")
        .not_yet(),
    bool("log.cleaner.enable", "true", "Whether logs are compacted.").not_yet(),
    double(
        "log.cleaner.io.buffer.load.factor",
        "0.9",
        (0.0, f64::MAX),
        "Usable part of the buffer for keys.",
    )
    .not_yet(),
    int("log.cleaner.io.buffer.size", "524288", 0, "Bytes for reading and writing.").not_yet(),
    double(
        "log.cleaner.io.max.bytes.per.second",
        "1.7976931348623157e308",
        (0.0, f64::MAX),
        "Most that cleaners read and write.",
    )
    .not_yet(),
    ms(
        "log.cleaner.max.compaction.lag.ms",
        "9223372036854775807",
        1,
        "Default of `max.compaction.lag.ms`.",
    )
    .not_yet(),
    double(
        "log.cleaner.min.cleanable.ratio",
        "0.5",
        (0.0, 1.0),
        "Default of `min.cleanable.dirty.ratio`.",
    )
    .aliases(&["log.cleaner.min.cleanable.dirty.ratio"])
    .not_yet(),
    ms("log.cleaner.min.compaction.lag.ms", "0", 0, "Default of `min.compaction.lag.ms`.")
        .not_yet(),
    int("log.cleaner.threads", "1", 0, "Threads that compact.").not_yet(),
    list("log.cleanup.policy", "delete", &["compact", "delete"], "Default of `cleanup.policy`.")
        .aliases(&["log.cleanup.policies"])
        .not_yet(),
    text(
        "log.dir",
        "",
        "The directory of the store, if `log.dirs` is not set. For `ClusterBuilder::open`.",
    )
    .kafka("/tmp/kafka-logs"),
    ms("log.dir.failure.timeout.ms", "30000", 1, "Until a broker with a failed directory stops.")
        .no_meaning(),
    list("log.dirs", "", &[], "The directory of the store: one. For `ClusterBuilder::open`."),
    long(
        "log.flush.interval.messages",
        "9223372036854775807",
        1,
        "Default of `flush.messages`.",
    )
    .aliases(&["log.flush.messages"]),
    ms("log.flush.interval.ms", "", 0, "Default of `flush.ms`.").aliases(&["log.flush.ms"]),
    int_ms(
        "log.flush.offset.checkpoint.interval.ms",
        "1000",
        0,
        "Longest time from a sync to the recovery point that tells of it.",
    )
    .kafka("60000"),
    ms(
        "log.flush.scheduler.interval.ms",
        "9223372036854775807",
        0,
        "Default of `log.flush.interval.ms`.",
    ),
    int_ms(
        "log.flush.start.offset.checkpoint.interval.ms",
        "60000",
        0,
        "How often the starts of logs are saved. Here they are durable at once.",
    )
    .no_meaning(),
    int("log.index.interval.bytes", "4096", 0, "Default of `index.interval.bytes`."),
    range(
        "log.index.size.max.bytes",
        "10485760",
        (24, INT_MAX),
        "Default of `segment.index.bytes`. Kafka: at least 4.",
    ),
    ms("log.initial.task.delay.ms", "30000", 0, "Until background tasks first run.").not_yet(),
    bool("log.message.downconversion.enable", "true", "Removed in Kafka 4.0.").no_meaning(),
    text("log.message.format.version", "", "Removed in Kafka 4.0.").no_meaning(),
    ms(
        "log.message.timestamp.after.max.ms",
        "3600000",
        0,
        "Default of `message.timestamp.after.max.ms`.",
    ),
    ms(
        "log.message.timestamp.before.max.ms",
        "9223372036854775807",
        0,
        "Default of `message.timestamp.before.max.ms`.",
    ),
    ms(
        "log.message.timestamp.difference.max.ms",
        "9223372036854775807",
        0,
        "Removed in Kafka 4.0.",
    )
    .refused("set log.message.timestamp.before.max.ms and log.message.timestamp.after.max.ms"),
    choice(
        "log.message.timestamp.type",
        "CreateTime",
        &["CreateTime", "LogAppendTime"],
        "Default of `message.timestamp.type`.",
    ),
    bool("log.preallocate", "false", "Default of `preallocate`.").no_meaning(),
    range("log.retention.bytes", "-1", (-1, LONG_MAX), "Default of `retention.bytes`.").not_yet(),
    ms("log.retention.check.interval.ms", "300000", 1, "How often old segments are looked for.")
        .not_yet(),
    range(
        "log.retention.hours",
        "168",
        (-1, INT_MAX),
        "Default of `retention.ms`, if neither of the others is set.",
    )
    .aliases(&["log.retention.hour"])
    .not_yet(),
    range(
        "log.retention.minutes",
        "",
        (-1, INT_MAX),
        "Default of `retention.ms`, if `log.retention.ms` is not set.",
    )
    .not_yet(),
    range("log.retention.ms", "", (-1, LONG_MAX), "Default of `retention.ms`, in milliseconds.")
        .not_yet(),
    int("log.roll.hours", "168", 1, "Default of `segment.ms`, if `log.roll.ms` is not set.")
        .aliases(&["log.segment.hours"]),
    int(
        "log.roll.jitter.hours",
        "0",
        0,
        "Default of `segment.jitter.ms`, if `log.roll.jitter.ms` is not set.",
    )
    .aliases(&["log.segment.jitter.hours"]),
    ms("log.roll.jitter.ms", "", 0, "Default of `segment.jitter.ms`.")
        .aliases(&["log.segment.jitter.ms"]),
    ms("log.roll.ms", "", 1, "Default of `segment.ms`.").aliases(&["log.segment.ms"]),
    range(
        "log.segment.bytes",
        "1073741824",
        (14, INT_MAX),
        "Default of `segment.bytes`. Kafka: at least 1 MiB since 4.0, 14 before.",
    ),
    ms("log.segment.delete.delay.ms", "60000", 0, "Default of `file.delete.delay.ms`.").no_meaning(),
    int("message.max.bytes", "1048588", 0, "Default of `max.message.bytes`.")
        .aliases(&["log.max.message.bytes"]),
    int("min.insync.replicas", "1", 1, "Default of the topics' setting."),
    int("num.partitions", "1", 1, "Partitions of a topic that is created without saying how many.")
        .aliases(&["num.partition", "default.partitions"]),
    int("num.recovery.threads.per.data.dir", "2", 1, "Threads that open and close logs.").not_yet(),
    int_ms("producer.id.expiration.check.interval.ms", "600000", 1, "How often idle ones are looked for."),
    int_ms("producer.id.expiration.ms", "86400000", 1, "Until the state of an idle producer is dropped."),
    bool("remote.log.storage.system.enable", "false", "Tiered storage.").refused(NO_REMOTE_STORAGE),
    bool("unclean.leader.election.enable", "false", "Default of the topics' setting."),
];
