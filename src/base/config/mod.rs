//! Configuration under Kafka's names: what settings there are, and their values.
//!
//! The tables (`topic`, `broker`, `replication`, `groups`, `producer`, `consumer`, `admin`) are the one place where a
//! setting is described. A [`Draft`] is what builders, files and the environment fill in; the [`Config`] that comes
//! of it is valid.

mod admin;
mod broker;
mod consumer;
mod definition;
mod draft;
mod environment;
mod error;
mod find;
mod groups;
mod producer;
mod properties;
mod replication;
mod settings;
mod topic;
mod value;
mod values;

#[cfg(test)]
mod docs_tests;
#[cfg(test)]
mod tests;

pub(crate) use definition::Scope;
use definition::{Definition, Kind, Standing};
pub(crate) use draft::Draft;
pub(crate) use environment::Variable;
pub(crate) use error::ConfigError;
pub(crate) use settings::{Config, Effective, ReadConfig};
pub use settings::{ConfigEntry, ConfigSource};
pub use values::{Acks, Compression, FlushPolicy, IsolationLevel, ReadMode, ReplicaSelector};
