//! Apache Kafka's semantics as a library: topics, partitions, producers and consumers over segmented append-only logs
//! in Kafka's own file format, inside your process. No network, no JVM, no daemon.
//!
//! ```
//! use brooklet::{Cluster, NewTopic, Record};
//! use std::time::Duration;
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("data");
//! let cluster = Cluster::open(path)?; // a directory; or Cluster::in_memory(), Cluster::temp()
//! let email = cluster.create_topic_if_missing(NewTopic::new("email").partitions(3))?;
//!
//! let producer = cluster.producer().build()?; // cheap clones, usable from any thread
//! let delivery = producer.send(Record::to(&email).key("user-7").value("welcome"))?;
//! println!("{}", delivery.wait()?); // on disk now; or delivery.await
//!
//! let mut consumer = cluster.consumer().build()?;
//! consumer.assign(email.partitions())?;
//! for record in &consumer.poll(Duration::from_secs(1))? {
//!     println!("{:?} {:?}", record.key(), record.value()); // slices of the log, not copies
//! }
//! # Ok::<(), brooklet::Error>(())
//! ```
//!
//! # What an acknowledgement means
//! With the defaults ([`Acks::All`], [`FlushPolicy::OnAck`]) a delivery that succeeded is on disk: a killed process or
//! a power cut does not take it back. Concurrent senders share one sync. [`FlushPolicy`] says what the other policies
//! give up for speed.
//!
//! # Configuration
//! Every setting has Kafka's name, type and meaning: `cluster.producer().config("linger.ms", 5)`, or by a typed setter.
//! [`ClusterBuilder`] also takes `server.properties` files and the environment of Kafka's container images. What becomes
//! of which setting is told by `docs/configuration.md` and [`Topic::describe_config`].
//!
//! # Where to begin
//! [`Cluster`] opens everything; a [`Broker`] of it can be stopped and started; [`Producer`] sends [`Record`]s; [`Consumer`] reads them; [`Partition`] looks at one
//! log from close by, [`inspect`] at its files; [`TypedTopic`] gives keys and values their types; every call that can
//! fail returns an [`Error`] whose [`kind`](Error::kind) is for programs and whose message says what to do.
//!
//! # Features
//! `gzip`, `snappy`, `lz4`, `zstd`: the codecs, all on by default. `zstd` is the one that compiles C.
//! `serde`: keys and values as JSON.
//! `cli`: the program `brooklet`, see `docs/command-line.md`; the library is the same.
//! `sim`: the module `sim`, for tests: whole clusters under a seed, with virtual time and disks that fail on request,
//! and a checker of what clients saw.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod base;
mod client;
mod cluster;
mod coordinator;
mod env;
pub mod inspect;
#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the whole format is here; rewriting is for compaction"
)]
mod record;
mod replica;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod storage;

pub use base::{
    Acks, BrokerId, Compression, ConfigEntry, ConfigSource, ErrorKind, FlushPolicy,
    InvalidTopicName, IsolationLevel, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId,
    ReadMode, ReplicaSelector, Timestamp, TopicId, TopicName, TopicPartition,
};
#[cfg(feature = "serde")]
pub use client::Json;
pub use client::{
    AlterConfig, AutoOffsetReset, BatchDelivery, BatchMetadata, Broker, BrokerDescription, Cluster,
    ClusterBuilder, ClusterDescription, Commit, Consumer, ConsumerBuilder, ConsumerGroup,
    ConsumerInterceptor, ConsumerRecord, DecodeError, Delivery, Deserializer, Destination, Error,
    GroupDescription, GroupLag, GroupListing, GroupMetadata, Headers, HeadersIter, Lag,
    MemberDescription, NewTopic, NextOffset, OffsetReset, OffsetsTo, Outcome, Partition,
    PartitionDescription, PartitionLag, Partitioner, Plain, PlannedOffset, Producer,
    ProducerBuilder, ProducerInterceptor, Ready, RebalanceEvent, Record, RecordBuf, RecordMetadata,
    RecordPart, RecordStream, Records, RecordsIter, ReplicaDescription, Result, Revocation, SeekTo,
    Serializer, Topic, TopicDescription, TrySendError, TypedRecord, TypedRecords, TypedTopic,
    Wakeup, Watermarks,
};
pub use cluster::{ClusterEvent, ClusterEvents, ElectionKind, OpenReport, PartitionReport};
pub use coordinator::{
    AssignmentError, Assignor, CooperativeStickyAssignor, GroupAssignment, GroupMember,
    GroupPartition, GroupProtocol, GroupSpec, GroupSpecBuilder, GroupState, GroupTopic,
    RangeAssignor, RoundRobinAssignor, StickyAssignor, Subscription, UniformAssignor,
};
pub use storage::{Damage, ScrubReport, TimestampedOffset};
