//! Topics whose keys and values have types.
//!
//! The types are those of the topic, not of clients: a producer or consumer may serve several topics, and a record that
//! cannot be read is the application's to skip or park, not a consumer's to stumble over for ever.

mod encoding;
#[cfg(feature = "serde")]
mod json;
mod topic;

#[cfg(test)]
mod tests;

pub use encoding::{Deserializer, Plain, Serializer};
#[cfg(feature = "serde")]
pub use json::Json;
pub use topic::{DecodeError, RecordPart, TypedRecord, TypedRecords, TypedTopic};
