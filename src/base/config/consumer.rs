//! The settings of consumers.

use super::definition::{Definition, bool, choice, int, int_ms, list, ms, text};
use super::producer::NO_CLASSES;

pub(super) const TABLE: &[Definition] = &[
    bool(
        "allow.auto.create.topics",
        "true",
        "Whether subscribing to a name may create the topic.",
    ),
    int_ms("auto.commit.interval.ms", "5000", 0, "How often positions are committed."),
    choice(
        "auto.offset.reset",
        "earliest",
        &["latest", "earliest", "none", "by_duration:PnDTnHnMn.nS"],
        "Where to begin without a position: at the end, at the beginning, nowhere, or with the records of the last days, hours, minutes and seconds.",
    )
    .kafka("latest"),
    bool("check.crcs", "true", "Whether batches from files are checked."),
    text("client.id", "", "A name for people. `client_id()` returns it."),
    text(
        "client.rack",
        "",
        "Where the consumer stands, to read a replica there, if the brokers' `replica.selector.class` says so.",
    ),
    int_ms("default.api.timeout.ms", "60000", 0, "Of calls that block and name no time."),
    bool("enable.auto.commit", "false", "Whether positions are committed in the background.")
        .kafka("true")
        .aliases(&["auto.commit.enable"]),
    bool("exclude.internal.topics", "true", "Whether patterns leave out the cluster's own topics.")
        .not_yet(),
    int("fetch.max.bytes", "52428800", 0, "Most that is fetched at once, but at least a batch."),
    int_ms("fetch.max.wait.ms", "500", 0, "How long to wait for `fetch.min.bytes`.")
        .aliases(&["fetch.wait.max.ms"]),
    int("fetch.min.bytes", "1", 0, "Bytes to wait for before records are handed out."),
    text("group.id", "", "Names the consumer's group."),
    text("group.instance.id", "", "Names a member that comes back."),
    choice("group.protocol", "consumer", &["classic", "consumer"], "How a group is assigned.")
        .kafka("classic"),
    text("group.remote.assignor", "", "Who assigns partitions, in the new protocol."),
    int_ms("heartbeat.interval.ms", "3000", 0, "A member's handle is its sign of life.").no_meaning(),
    list("interceptor.classes", "", &[], "The builder takes them.").refused(NO_CLASSES),
    choice(
        "isolation.level",
        "read_uncommitted",
        &["read_committed", "read_uncommitted"],
        "Whether records of open and aborted transactions are seen.",
    ),
    text("key.deserializer", "", "Keys are bytes, or of a type that the program names.")
        .no_meaning(),
    int("max.partition.fetch.bytes", "1048576", 0, "Most of a partition, but at least a batch.")
        .aliases(&["fetch.message.max.bytes"]),
    int_ms("max.poll.interval.ms", "300000", 1, "Longest between two polls of a member."),
    int("max.poll.records", "500", 1, "Most records that a poll returns."),
    ms(
        "metadata.max.age.ms",
        "300000",
        0,
        "How long a replica nearby is read until the leader is asked again which one is to be. Metadata is never old.",
    ),
    list(
        "partition.assignment.strategy",
        "RangeAssignor,CooperativeStickyAssignor",
        &[],
        "Assignors of the classic protocol, the preferred first.",
    ),
    int_ms("request.timeout.ms", "30000", 0, "Longest for one request.").no_meaning(),
    ms("retry.backoff.max.ms", "1000", 0, "Longest time between two attempts.").no_meaning(),
    ms("retry.backoff.ms", "100", 0, "Time between the first two attempts.").no_meaning(),
    int_ms(
        "session.timeout.ms",
        "45000",
        0,
        "How long a static member of the classic protocol may be away.",
    ),
    choice(
        "share.acknowledgement.mode",
        "implicit",
        &["implicit", "explicit"],
        "Of share consumers.",
    )
    .not_yet(),
    text("value.deserializer", "", "Values are bytes, or of a type that the program names.")
        .no_meaning(),
];
