//! Configuration values that more than one layer acts upon, under Kafka's names.

use std::fmt;
use std::time::Duration;

/// When a send counts as done (`acks`). Default: [`Acks::All`].
///
/// ```
/// use brooklet::{Acks, Cluster};
///
/// let cluster = Cluster::in_memory()?;
/// let metrics = cluster.producer().acks(Acks::None).build()?;
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Acks {
    /// `acks=0`: done when it was written, but not told the offset; never waits for a sync.
    None,
    /// `acks=1`: written by the leader, and synced there under [`FlushPolicy::OnAck`].
    Leader,
    /// `acks=all`: written by every in-sync replica, and synced on each under [`FlushPolicy::OnAck`].
    #[default]
    All,
}

impl Acks {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "0" => Self::None,
            "1" => Self::Leader,
            "all" | "-1" => Self::All,
            _ => return None,
        })
    }
}

/// As Kafka writes it: `0`, `1` or `all`.
impl fmt::Display for Acks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "0",
            Self::Leader => "1",
            Self::All => "all",
        })
    }
}

/// Compression codec of a batch (`compression.type`). Default: none.
///
/// Every codec can be named whatever features the crate was built with; using one that was left out is an
/// error of kind [`UnsupportedCompressionType`](crate::ErrorKind::UnsupportedCompressionType).
///
/// ```
/// use brooklet::{Cluster, Compression};
///
/// # if !cfg!(feature = "zstd") { return Ok::<(), brooklet::Error>(()); }
/// let cluster = Cluster::in_memory()?;
/// let producer = cluster.producer().compression(Compression::Zstd).build()?;
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Compression {
    /// `none`: records are stored as they are.
    #[default]
    None,
    /// `gzip`, feature `gzip`.
    Gzip,
    /// `snappy`, feature `snappy`, in the xerial framing that Kafka uses.
    Snappy,
    /// `lz4`, feature `lz4`, as an LZ4 frame of independent 64 KiB blocks.
    Lz4,
    /// `zstd`, feature `zstd`.
    Zstd,
}

impl Compression {
    /// The codec of this name, in producers' settings or in topics'.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "none" | "uncompressed" => Self::None,
            "gzip" => Self::Gzip,
            "snappy" => Self::Snappy,
            "lz4" => Self::Lz4,
            "zstd" => Self::Zstd,
            _ => return None,
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

/// Which records of transactions a consumer sees (`isolation.level`). Default: [`IsolationLevel::ReadUncommitted`].
///
/// ```
/// use brooklet::{Cluster, IsolationLevel};
///
/// let cluster = Cluster::in_memory()?;
/// let consumer = cluster.consumer().isolation_level(IsolationLevel::ReadCommitted).build()?;
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum IsolationLevel {
    /// `read_uncommitted`: every record below the high watermark, also of transactions that are open or were aborted.
    #[default]
    ReadUncommitted,
    /// `read_committed`: records below the last stable offset, where the oldest open transaction begins, and none of a
    /// transaction that was aborted.
    ReadCommitted,
}

impl IsolationLevel {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "read_uncommitted" => Self::ReadUncommitted,
            "read_committed" => Self::ReadCommitted,
            _ => return None,
        })
    }
}

/// As Kafka writes it.
impl fmt::Display for IsolationLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadUncommitted => "read_uncommitted",
            Self::ReadCommitted => "read_committed",
        })
    }
}

/// When written bytes are forced to the disk (`brooklet.flush.policy`). Default: [`FlushPolicy::OnAck`].
///
/// ```
/// use brooklet::{Cluster, FlushPolicy, NewTopic};
/// use std::time::Duration;
///
/// // A power cut may take the last 50 ms; but of orders nothing.
/// let policy = FlushPolicy::Interval { time: Duration::from_millis(50), messages: None };
/// let cluster = Cluster::builder().flush_policy(policy).temp()?;
/// let orders = NewTopic::new("orders").config("brooklet.flush.policy", "on-ack");
/// cluster.create_topic(orders)?;
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum FlushPolicy {
    /// `on-ack`: an acknowledgement means on disk. Concurrent producers share one sync.
    #[default]
    OnAck,
    /// `interval`: what has been acknowledged or read can be lost by a power cut, at most a suffix of this much
    /// time or this many records (Kafka's `flush.ms` and `flush.messages`). A killed process loses nothing.
    Interval {
        /// Longest time between a write and its sync (`flush.ms`).
        time: Duration,
        /// Records after which a sync is started, `None` for no such bound (`flush.messages`).
        messages: Option<u64>,
    },
    /// `os`: what has been acknowledged or read can be lost by a power cut, any suffix of it since the last
    /// sync; this is Kafka's default. A killed process loses nothing.
    Os,
}

/// How files are read (`brooklet.read.mode`). Default: [`ReadMode::Auto`].
///
/// ```
/// use brooklet::{Cluster, ReadMode};
///
/// // A directory that other programs, or a failing disk, may cut short.
/// let cluster = Cluster::builder().read_mode(ReadMode::Pread).temp()?;
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum ReadMode {
    /// Maps where they are safe and fast (64-bit Unix), positioned reads elsewhere.
    #[default]
    Auto,
    /// Read-only memory maps: fastest, no copies. A bad sector, or another process that truncates a file,
    /// then ends the whole process by `SIGBUS`.
    Map,
    /// Positioned reads into fresh buffers: a bad sector is an error of the read that meets it.
    Pread,
}

impl ReadMode {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "auto" => Self::Auto,
            "map" => Self::Map,
            "pread" => Self::Pread,
            _ => return None,
        })
    }
}

/// Which replica a consumer with a [`client_rack`](crate::ConsumerBuilder::client_rack) reads (`replica.selector.class`,
/// KIP-392). Default: [`ReplicaSelector::Leader`].
///
/// ```
/// use brooklet::{Cluster, NewTopic, ReplicaSelector};
///
/// let builder = Cluster::builder().brokers(2).rack(1, "north").rack(2, "south");
/// let cluster = builder.replica_selector(ReplicaSelector::RackAware).in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email").replication_factor(2))?;
/// let mut consumer = cluster.consumer().client_rack("south").build()?;
/// consumer.assign(email.partitions())?;
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum ReplicaSelector {
    /// The leader, as without a rack.
    #[default]
    Leader,
    /// Of the replicas in the consumer's rack the leader, else the one in sync that has most; the leader if there is none.
    RackAware,
}

impl ReplicaSelector {
    /// By the name of Kafka's class, without its package if need be.
    pub(crate) fn parse(class: &str) -> Option<Self> {
        Some(match class.rsplit('.').next().unwrap_or(class) {
            "" | "LeaderSelector" => Self::Leader,
            "RackAwareReplicaSelector" => Self::RackAware,
            _ => return None,
        })
    }
}

/// Kafka's class.
impl fmt::Display for ReplicaSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("org.apache.kafka.common.replica.")?;
        f.write_str(match self {
            Self::Leader => "LeaderSelector",
            Self::RackAware => "RackAwareReplicaSelector",
        })
    }
}

/// As in `brooklet.read.mode`.
impl fmt::Display for ReadMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Map => "map",
            Self::Pread => "pread",
        })
    }
}
