//! The settings of producers.

use super::definition::{Definition, bool, choice, int, int_ms, list, long, ms, range, text};
use super::topic::ONE_LZ4_LEVEL;

pub(super) const NO_CLASSES: &str = "classes cannot be loaded";
pub(super) const SHARED_MEMORY: &str = "Metadata is shared memory, and never old.";

pub(super) const TABLE: &[Definition] = &[
    choice(
        "acks",
        "all",
        &["all", "-1", "0", "1"],
        "When a send counts as done: written by all in-sync replicas (`all`, `-1`), by the leader (`1`), or not waited for (`0`).",
    )
    .aliases(&["request.required.acks"]),
    int(
        "batch.size",
        "16384",
        0,
        "Bytes at which a batch is full; 0 gives each record one of its own. Without `linger.ms`, batches grow past it while the log is busy.",
    )
    .aliases(&["batch.bytes", "batch.size.bytes"]),
    long("buffer.memory", "33554432", 1, "Bytes that records take up until they are acknowledged.")
        .aliases(&["buffer.memory.bytes"]),
    text("client.id", "", "A name for people. `client_id()` returns it."),
    range(
        "compression.gzip.level",
        "-1",
        (1, 9),
        "Level of gzip; -1 is the library's default.",
    )
    .or(-1),
    range("compression.lz4.level", "9", (1, 17), "Level of LZ4.").refused(ONE_LZ4_LEVEL),
    choice(
        "compression.type",
        "none",
        &["none", "gzip", "snappy", "lz4", "zstd"],
        "Codec of the batches.",
    )
    .aliases(&["compression.codec"]),
    range("compression.zstd.level", "3", (-131_072, 22), "Level of Zstandard."),
    int_ms("delivery.timeout.ms", "120000", 0, "Longest from a send to its result."),
    bool("enable.idempotence", "true", "Whether retries make no duplicates."),
    list("interceptor.classes", "", &[], "The builder takes them.").refused(NO_CLASSES),
    text("key.serializer", "", "Keys are bytes, or of a type that the program names.").no_meaning(),
    ms(
        "linger.ms",
        "0",
        0,
        "How long a batch waits for more records. A full batch, and a caller who waits for it, end the waiting.",
    )
    .kafka("5")
    .aliases(&["linger", "queue.buffering.max.ms"]),
    ms("max.block.ms", "60000", 0, "How long a send waits for room.").aliases(&["max.block"]),
    range(
        "max.in.flight.requests.per.connection",
        "5",
        (1, 5),
        "A send whose record does not fit into the open batch waits while so many of the partition are on their way. Kafka: more than 5 without idempotence.",
    )
    .aliases(&["max.in.flight", "max.in.flight.requests"]),
    int(
        "max.request.size",
        "1048576",
        1,
        "Largest record, with what the format adds, before compression.",
    ),
    ms("metadata.max.age.ms", "300000", 0, SHARED_MEMORY).no_meaning(),
    ms("metadata.max.idle.ms", "300000", 5000, SHARED_MEMORY).no_meaning(),
    bool(
        "partitioner.adaptive.partitioning.enable",
        "true",
        "Whether records without key avoid slow partitions.",
    )
    .not_yet(),
    ms(
        "partitioner.availability.timeout.ms",
        "0",
        0,
        "Until a partition that takes nothing is left out; 0 is never.",
    )
    .not_yet(),
    text("partitioner.class", "", "Use `ProducerBuilder::partitioner`.").refused(NO_CLASSES),
    bool(
        "partitioner.ignore.keys",
        "false",
        "Whether records with a key are spread like those without.",
    ),
    int_ms("request.timeout.ms", "30000", 0, "Longest for one request.").no_meaning(),
    int("retries", "2147483647", 0, "Attempts after the first."),
    ms("retry.backoff.max.ms", "1000", 0, "Longest time between two attempts."),
    ms("retry.backoff.ms", "100", 0, "Time between the first two attempts."),
    int_ms("transaction.timeout.ms", "60000", 0, "Longest transaction.").not_yet(),
    bool(
        "transaction.two.phase.commit.enable",
        "false",
        "Transactions that another coordinator decides upon (KIP-939).",
    )
    .refused("there is no two-phase commit"),
    text("transactional.id", "", "Names the producer of transactions.").not_yet(),
    text("value.serializer", "", "Values are bytes, or of a type that the program names.")
        .no_meaning(),
];
