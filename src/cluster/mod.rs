//! Brokers and what they agree on: stores, the metadata log, the controller, background work.
//!
//! Knows nothing of clients or groups.

mod broker_config;
mod checkpoints;
mod controller;
mod core;
#[cfg_attr(not(test), expect(dead_code, reason = "for clusters of several brokers"))]
mod election;
mod error;
mod flush_policy;
mod identity;
mod metadata;
mod open_report;
#[cfg_attr(not(test), expect(dead_code, reason = "for clusters of several brokers"))]
mod placement;
mod producer_ids;
#[cfg_attr(not(test), expect(dead_code, reason = "for clusters of several brokers"))]
mod reassignment;
mod scrubber;
mod sender;
mod store;
mod strict;
mod syncer;
mod topic_config;

#[cfg(test)]
mod tests;

pub(crate) use broker_config::BrokerConfig;
pub(crate) use controller::CreateTopic;
pub(crate) use core::{Core, OpenCluster};
pub(crate) use error::ClusterError;
pub(crate) use metadata::TopicImage;
pub use open_report::{OpenReport, PartitionReport};
pub(crate) use producer_ids::ProducerIds;
pub(crate) use sender::{Drive, Sender};
pub(crate) use topic_config::ConfigChange;
use topic_config::TopicConfig;
