//! What applications use: clusters, topics, producers, consumers.
//!
//! Knows nothing of segments and files.

mod batch_delivery;
mod cluster;
mod cluster_builder;
mod consumer;
mod error;
mod partition;
mod producer;
mod properties;
mod record;
mod topic;

pub use batch_delivery::{BatchDelivery, BatchMetadata};
pub use cluster::Cluster;
pub use cluster_builder::ClusterBuilder;
pub use consumer::{
    AutoOffsetReset, Consumer, ConsumerBuilder, ConsumerRecord, Headers, HeadersIter, Records,
    RecordsIter, SeekTo,
};
pub use error::{Error, Outcome, Result};
pub use partition::{Partition, PartitionDescription, Watermarks};
pub use producer::{Delivery, Producer, ProducerBuilder, TrySendError};
pub use record::{Destination, Record, RecordMetadata};
pub use topic::{AlterConfig, NewTopic, Topic, TopicDescription};
