//! The settings of brokers that concern groups, offsets and transactions. Groups and offsets are built.

use super::definition::{Definition, bool, choice, int, int_ms, list, ms, range};

const SHORT_MAX: i64 = i16::MAX as i64;

pub(super) const TABLE: &[Definition] = &[
    list(
        "group.consumer.assignors",
        "UniformAssignor,RangeAssignor",
        &[],
        "Assignors of groups of the new protocol, the default first.",
    ),
    int_ms("group.consumer.heartbeat.interval.ms", "5000", 1, "Of the new protocol.").no_meaning(),
    int("group.consumer.max.size", "2147483647", 1, "Members of a group of the new protocol."),
    choice(
        "group.consumer.migration.policy",
        "bidirectional",
        &["disabled", "downgrade", "upgrade", "bidirectional"],
        "Which groups may change their protocol.",
    )
    .not_yet(),
    int_ms("group.consumer.session.timeout.ms", "45000", 1, "Of the new protocol."),
    list(
        "group.coordinator.rebalance.protocols",
        "classic,consumer",
        &["classic", "consumer", "share", "unknown"],
        "Protocols that groups may use.",
    )
    .not_yet(),
    int_ms(
        "group.initial.rebalance.delay.ms",
        "0",
        0,
        "How long a new group waits for more members.",
    )
    .kafka("3000"),
    int_ms("group.max.session.timeout.ms", "1800000", 0, "Longest of the classic protocol."),
    int("group.max.size", "2147483647", 1, "Members of a group of the classic protocol."),
    int_ms("group.min.session.timeout.ms", "6000", 0, "Shortest of the classic protocol."),
    range("group.share.delivery.count.limit", "5", (2, 10), "Deliveries of a record.").not_yet(),
    int_ms("group.share.heartbeat.interval.ms", "5000", 1, "Of share groups.").not_yet(),
    range(
        "group.share.max.record.lock.duration.ms",
        "60000",
        (30_000, 3_600_000),
        "Longest lock of a record, in milliseconds.",
    )
    .not_yet(),
    range("group.share.max.size", "200", (10, 1_000), "Members of a share group.").not_yet(),
    range(
        "group.share.min.record.lock.duration.ms",
        "15000",
        (1_000, 30_000),
        "Shortest lock of a record, in milliseconds.",
    )
    .not_yet(),
    range(
        "group.share.partition.max.record.locks",
        "200",
        (100, 10_000),
        "Locked records of a partition.",
    )
    .not_yet(),
    range(
        "group.share.record.lock.duration.ms",
        "30000",
        (1_000, 3_600_000),
        "How long a record is locked, in milliseconds.",
    )
    .not_yet(),
    int_ms("group.share.session.timeout.ms", "45000", 1, "Of share groups.").not_yet(),
    int("offset.metadata.max.bytes", "4096", 0, "Longest note with a committed offset."),
    int_ms("offsets.commit.timeout.ms", "5000", 1, "Longest that a commit takes.").not_yet(),
    ms("offsets.retention.check.interval.ms", "600000", 1, "How often old ones are looked for."),
    int("offsets.retention.minutes", "10080", 1, "Until offsets of an empty group go."),
    int("offsets.topic.compression.codec", "0", 0, "Of `__consumer_offsets`; 0 is none."),
    int("offsets.topic.num.partitions", "50", 1, "Of `__consumer_offsets`."),
    range("offsets.topic.replication.factor", "3", (1, SHORT_MAX), "Of `__consumer_offsets`."),
    int("offsets.topic.segment.bytes", "104857600", 1, "Of `__consumer_offsets`."),
    int("share.coordinator.state.topic.min.isr", "2", 1, "Of `__share_group_state`.").not_yet(),
    range(
        "share.coordinator.state.topic.replication.factor",
        "3",
        (1, SHORT_MAX),
        "Of `__share_group_state`.",
    )
    .not_yet(),
    int_ms(
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        "10000",
        1,
        "How often transactions that take too long are looked for.",
    )
    .not_yet(),
    int_ms("transaction.max.timeout.ms", "900000", 1, "Longest transaction that may be asked for.")
        .not_yet(),
    bool(
        "transaction.partition.verification.enable",
        "true",
        "Whether writes outside of a transaction are found (KIP-890).",
    )
    .not_yet(),
    int_ms(
        "transaction.remove.expired.transaction.cleanup.interval.ms",
        "3600000",
        1,
        "How often idle ids are looked for.",
    )
    .not_yet(),
    int("transaction.state.log.min.isr", "2", 1, "Of `__transaction_state`.").not_yet(),
    int("transaction.state.log.num.partitions", "50", 1, "Of `__transaction_state`.").not_yet(),
    range(
        "transaction.state.log.replication.factor",
        "3",
        (1, SHORT_MAX),
        "Of `__transaction_state`.",
    )
    .not_yet(),
    int("transaction.state.log.segment.bytes", "104857600", 1, "Of `__transaction_state`.")
        .not_yet(),
    int_ms("transactional.id.expiration.ms", "604800000", 1, "Until an idle id is forgotten.")
        .not_yet(),
];
