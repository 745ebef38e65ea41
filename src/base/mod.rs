//! Ids and small value types that every layer shares. Knows nothing of files, clocks or Kafka's protocols.

mod backoff;
mod config;
mod error_kind;
mod id;
mod offset;
mod planted;
mod time;
mod topic;

pub(crate) use backoff::Backoff;
pub use config::{Acks, Compression, ConfigEntry, ConfigSource, FlushPolicy};
pub(crate) use config::{Config, ConfigError, Draft, Effective, ReadConfig, Scope, Variable};
pub use config::{IsolationLevel, ReadMode, ReplicaSelector};
pub use error_kind::ErrorKind;
pub use id::{BrokerId, LeaderEpoch, PartitionId, ProducerEpoch, ProducerId, TopicId};
pub use offset::Offset;
pub(crate) use planted::{Bug, is_planted};
pub use time::Timestamp;
pub use topic::{InvalidTopicName, TopicName, TopicPartition};
