//! What applications use: clusters, topics, producers, consumers.
//!
//! Knows nothing of segments and files.

mod batch_delivery;
mod broker;
mod cluster;
mod cluster_builder;
mod consumer;
mod consumer_group;
mod error;
mod interceptor;
mod partition;
mod producer;
mod properties;
mod record;
mod record_buf;
mod topic;
mod typed;

pub use batch_delivery::{BatchDelivery, BatchMetadata};
pub use broker::{Broker, BrokerDescription, ClusterDescription};
pub use cluster::Cluster;
pub use cluster_builder::ClusterBuilder;
pub use consumer::{
    AutoOffsetReset, Commit, Consumer, ConsumerBuilder, ConsumerRecord, GroupMetadata, Headers,
    HeadersIter, NextOffset, RebalanceEvent, RecordStream, Records, RecordsIter, Revocation,
    SeekTo, Wakeup,
};
pub use consumer_group::{
    ConsumerGroup, GroupDescription, GroupLag, GroupListing, Lag, MemberDescription, OffsetReset,
    OffsetsTo, PartitionLag, PlannedOffset,
};
pub use error::{Error, Outcome, Result};
pub use interceptor::{ConsumerInterceptor, ProducerInterceptor};
pub use partition::{Partition, PartitionDescription, ReplicaDescription, Watermarks};
pub use producer::{Delivery, Partitioner, Producer, ProducerBuilder, Ready, TrySendError};
pub use record::{Destination, Record, RecordMetadata};
pub use record_buf::RecordBuf;
pub use topic::{AlterConfig, NewTopic, Topic, TopicDescription};
#[cfg(feature = "serde")]
pub use typed::Json;
pub use typed::{
    DecodeError, Deserializer, Plain, RecordPart, Serializer, TypedRecord, TypedRecords, TypedTopic,
};
