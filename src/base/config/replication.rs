//! The settings of brokers that concern each other: identity, replication, elections.

use super::definition::{Definition, INT_MAX, bool, choice, int, int_ms, long, ms, range, text};
use super::topic::NO_THROTTLES;

pub(super) const TABLE: &[Definition] = &[
    bool("auto.leader.rebalance.enable", "true", "Whether preferred leaders get their office back."),
    int_ms("broker.heartbeat.interval.ms", "2000", 0, "From a broker to the controller.")
        .no_meaning(),
    text(
        "broker.rack",
        "",
        "Where brokers stand, for the placement of replicas: those of which `ClusterBuilder::rack` does not say it.",
    ),
    int_ms(
        "broker.session.timeout.ms",
        "9000",
        0,
        "Until the cluster goes on without a broker that does not record metadata; `replica.lag.time.max.ms` if that is less.",
    ),
    bool("controlled.shutdown.enable", "true", "Whether leaders move before a broker stops.")
        .not_yet(),
    long("follower.replication.throttled.rate", "", 0, "Bytes per second.").refused(NO_THROTTLES),
    long("leader.imbalance.check.interval.seconds", "300", 1, "How often leaders are looked at."),
    int("leader.imbalance.per.broker.percentage", "10", 0, "Kafka's controllers do not use it.")
        .no_meaning(),
    long("leader.replication.throttled.rate", "", 0, "Bytes per second.").refused(NO_THROTTLES),
    int("max.incremental.fetch.session.cache.slots", "1000", 0, "Fetch sessions.").no_meaning(),
    range(
        "node.id",
        "",
        (0, INT_MAX),
        "Number of the broker. It is kept in the store: one that exists must have it, a new one has 1 if none is given.",
    )
    .aliases(&["broker.id"]),
    int("num.replica.alter.log.dirs.threads", "", 0, "Threads that move logs between directories.")
        .no_meaning(),
    int("num.replica.fetchers", "1", 1, "Threads that copy from one broker.").not_yet(),
    int_ms("replica.fetch.backoff.ms", "1000", 0, "After an error of a follower."),
    int("replica.fetch.max.bytes", "1048576", 0, "Most that a follower gets of a partition at once."),
    int("replica.fetch.min.bytes", "1", 0, "Least that a follower waits for.").no_meaning(),
    int("replica.fetch.response.max.bytes", "10485760", 0, "Most that a follower gets at once.")
        .no_meaning(),
    int_ms(
        "replica.fetch.wait.max.ms",
        "500",
        0,
        "Until followers hear of what was committed last, if nothing more is written. Those that consumers read hear of it at once.",
    ),
    ms("replica.high.watermark.checkpoint.interval.ms", "5000", 0, "How often they are saved.")
        .not_yet(),
    ms("replica.lag.time.max.ms", "30000", 0, "Until a follower that lags is out of sync."),
    choice(
        "replica.selector.class",
        "",
        &[
            "org.apache.kafka.common.replica.LeaderSelector",
            "org.apache.kafka.common.replica.RackAwareReplicaSelector",
            "LeaderSelector",
            "RackAwareReplicaSelector",
        ],
        "Which replica a consumer with a `client.rack` reads: the leader, or one in its rack. None is the leader.",
    ),
];
