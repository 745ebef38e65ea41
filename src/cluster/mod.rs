//! Brokers and what they agree on: stores, the metadata log, the controller, background work.
//!
//! Knows nothing of clients or groups.

mod broker_config;
mod brokers;
mod change;
mod checkpoints;
mod controller;
mod core;
mod election;
mod error;
mod events;
mod flush_policy;
mod identity;
mod internal;
mod keeper;
mod lifecycle;
mod metadata;
mod metadata_log;
mod metadata_repair;
mod network;
mod open;
mod open_report;
mod placement;
mod producer_ids;
mod read_replica;
mod reassignment;
mod replicas;
mod running;
mod scrubber;
mod sender;
mod store;
mod strict;
mod syncer;
mod topic_config;

#[cfg(test)]
mod tests;

pub(crate) use broker_config::BrokerConfig;
pub(crate) use brokers::{Broker, BrokerPlace};
pub(crate) use change::CreateTopic;
pub use change::ElectionKind;
pub(crate) use core::Core;
pub(crate) use error::ClusterError;
pub(crate) use events::MetadataListener;
pub use events::{ClusterEvent, ClusterEvents};
pub(crate) use internal::{InternalTopic, KnownTopic, not_internal};
pub(crate) use metadata::{PartitionImage, TopicImage};
pub(crate) use open::{OpenBroker, OpenCluster};
pub use open_report::{OpenReport, PartitionReport};
pub(crate) use producer_ids::ProducerIds;
pub(crate) use running::Running;
pub(crate) use sender::{Drive, Sender};
pub(crate) use topic_config::ConfigChange;
use topic_config::TopicConfig;
