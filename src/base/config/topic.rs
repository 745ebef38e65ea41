//! The settings of topics.

use super::definition::{
    Definition, INT_MAX, LONG_MAX, bool, choice, double, int, list, long, ms, range,
};

const HOURS: i64 = 3_600_000;
const MINUTES: i64 = 60_000;

pub(super) const NO_REMOTE_STORAGE: &str = "there is no remote storage";
pub(super) const NO_THROTTLES: &str = "nothing is throttled";
pub(super) const ONE_LZ4_LEVEL: &str = "the LZ4 library has the one level 9";
pub(super) const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
pub(super) const POLICIES: &[&str] = &["on-ack", "interval", "os"];

pub(super) const TABLE: &[Definition] = &[
    choice(
        "brooklet.flush.policy",
        "on-ack",
        POLICIES,
        "When written bytes are forced to the disk: before they are acknowledged, at intervals, or when the operating system sees fit. `flush.ms` and `flush.messages` select `interval`, and contradict the others. brooklet's own.",
    )
    .broker(&[("brooklet.flush.policy", 1)]),
    list(
        "cleanup.policy",
        "delete",
        &["compact", "delete"],
        "Whether old segments are deleted, compacted, or both.",
    )
    .broker(&[("log.cleanup.policy", 1)])
    .not_yet(),
    range(
        "compression.gzip.level",
        "-1",
        (1, 9),
        "Level if the broker compresses with gzip; -1 is the library's default.",
    )
    .or(-1)
    .broker(&[("compression.gzip.level", 1)]),
    range("compression.lz4.level", "9", (1, 17), "Level if the broker compresses with LZ4.")
        .broker(&[("compression.lz4.level", 1)])
        .refused(ONE_LZ4_LEVEL),
    choice(
        "compression.type",
        "producer",
        CODECS,
        "Codec on disk: a certain one, none (`uncompressed`), or that of each batch (`producer`).",
    )
    .broker(&[("compression.type", 1)])
    .aliases(&["compression.codec"]),
    range(
        "compression.zstd.level",
        "3",
        (-131_072, 22),
        "Level if the broker compresses with Zstandard.",
    )
    .broker(&[("compression.zstd.level", 1)]),
    ms(
        "delete.retention.ms",
        "86400000",
        0,
        "How long compaction keeps tombstones and transaction markers after it first met them.",
    )
    .broker(&[("log.cleaner.delete.retention.ms", 1)])
    .not_yet(),
    ms(
        "file.delete.delay.ms",
        "60000",
        0,
        "Time between the renaming of a segment to `.deleted` and its removal. Files go at once here: who reads them keeps them.",
    )
    .broker(&[("log.segment.delete.delay.ms", 1)])
    .no_meaning(),
    long(
        "flush.messages",
        "9223372036854775807",
        1,
        "Unsynced records at which a sync begins. Setting it selects the flush policy `interval`.",
    )
    .broker(&[("log.flush.interval.messages", 1)]),
    ms(
        "flush.ms",
        "9223372036854775807",
        0,
        "Longest time between a write and its sync. Setting it selects the flush policy `interval`.",
    )
    .broker(&[("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)]),
    list(
        "follower.replication.throttled.replicas",
        "",
        &[],
        "Replicas whose copying is throttled.",
    )
    .refused(NO_THROTTLES),
    int(
        "index.interval.bytes",
        "4096",
        0,
        "Bytes of log between two entries of an index. A change holds from the next segment on.",
    )
    .broker(&[("log.index.interval.bytes", 1)]),
    list("leader.replication.throttled.replicas", "", &[], "Replicas whose copying is throttled.")
        .refused(NO_THROTTLES),
    long("local.retention.bytes", "-2", -2, "For remote storage; -2 is that of retention.bytes.")
        .no_meaning(),
    long("local.retention.ms", "-2", -2, "For remote storage; -2 is that of retention.ms.")
        .no_meaning(),
    ms(
        "max.compaction.lag.ms",
        "9223372036854775807",
        1,
        "Longest time that a record may stay uncompacted.",
    )
    .broker(&[("log.cleaner.max.compaction.lag.ms", 1)])
    .not_yet(),
    int("max.message.bytes", "1048588", 0, "Largest batch in bytes, its base offset and length included.")
        .broker(&[("message.max.bytes", 1)]),
    bool("message.downconversion.enable", "true", "Removed in Kafka 4.0.")
        .broker(&[("log.message.downconversion.enable", 1)])
        .no_meaning(),
    ms(
        "message.timestamp.after.max.ms",
        "3600000",
        0,
        "How far ahead of the broker's clock a record's timestamp may be.",
    )
    .broker(&[("log.message.timestamp.after.max.ms", 1)]),
    ms(
        "message.timestamp.before.max.ms",
        "9223372036854775807",
        0,
        "How far behind the broker's clock a record's timestamp may be.",
    )
    .broker(&[("log.message.timestamp.before.max.ms", 1)]),
    ms(
        "message.timestamp.difference.max.ms",
        "9223372036854775807",
        0,
        "Removed in Kafka 4.0.",
    )
    .broker(&[("log.message.timestamp.difference.max.ms", 1)])
    .refused("set message.timestamp.before.max.ms and message.timestamp.after.max.ms"),
    choice(
        "message.timestamp.type",
        "CreateTime",
        &["CreateTime", "LogAppendTime"],
        "Whether records keep the producer's time or get that of their append.",
    )
    .broker(&[("log.message.timestamp.type", 1)]),
    double(
        "min.cleanable.dirty.ratio",
        "0.5",
        (0.0, 1.0),
        "Part of a log that must be uncompacted before it is compacted.",
    )
    .broker(&[("log.cleaner.min.cleanable.ratio", 1)])
    .not_yet(),
    ms("min.compaction.lag.ms", "0", 0, "Age below which records are not compacted.")
        .broker(&[("log.cleaner.min.compaction.lag.ms", 1)])
        .not_yet(),
    int("min.insync.replicas", "1", 1, "In-sync replicas that `acks=all` needs.")
        .broker(&[("min.insync.replicas", 1)]),
    bool(
        "preallocate",
        "false",
        "Whether segments are created at their full size. Here a file ends where its log does.",
    )
    .broker(&[("log.preallocate", 1)])
    .no_meaning(),
    bool("remote.storage.enable", "false", "Tiered storage.").refused(NO_REMOTE_STORAGE),
    range(
        "retention.bytes",
        "-1",
        (-1, LONG_MAX),
        "Size of a partition above which old segments are deleted; -1 for none.",
    )
    .broker(&[("log.retention.bytes", 1)])
    .not_yet(),
    range(
        "retention.ms",
        "604800000",
        (-1, LONG_MAX),
        "Age above which segments are deleted, in milliseconds; -1 for none.",
    )
    .broker(&[
        ("log.retention.ms", 1),
        ("log.retention.minutes", MINUTES),
        ("log.retention.hours", HOURS),
    ])
    .not_yet(),
    range(
        "segment.bytes",
        "1073741824",
        (14, INT_MAX),
        "Size at which a segment is rolled. Kafka: at least 1 MiB since 4.0, 14 before.",
    )
    .broker(&[("log.segment.bytes", 1)]),
    range(
        "segment.index.bytes",
        "10485760",
        (24, INT_MAX),
        "Size of an offset index at which its segment is rolled. Kafka: at least 4.",
    )
    .broker(&[("log.index.size.max.bytes", 1)]),
    ms("segment.jitter.ms", "0", 0, "Most that is taken from `segment.ms` at random.")
        .broker(&[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", HOURS)]),
    ms("segment.ms", "604800000", 1, "Age at which a segment is rolled, by its records' times.")
        .broker(&[("log.roll.ms", 1), ("log.roll.hours", HOURS)]),
    bool(
        "unclean.leader.election.enable",
        "false",
        "Whether a replica that is not in sync may lead, which loses records.",
    )
    .broker(&[("unclean.leader.election.enable", 1)]),
];
