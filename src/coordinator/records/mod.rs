//! The records of `__consumer_offsets`, as Kafka's coordinators write them.
//!
//! A pure codec. Every byte may come from a broken disk: each declared length and count is checked against the bytes
//! there are before anything is allocated, and the answer to bad bytes is a [`RecordError`].
//!
//! # On disk
//! The key is `kind: i16`, a group, and what else tells one record of its kind from another. The value is
//! `version: i16` and its fields, all big-endian; no value is a tombstone. A *plain* string has its length in front as
//! `i16`, bytes and lists as `i32`, with -1 for none. In a *flexible* value the length is an unsigned varint of one
//! more, with 0 for none, and each struct ends with tagged fields: their number, then tag, size and bytes of each.
//!
//! | kind | key, after the group | value | written | read |
//! |---:|---|---|---|---|
//! | 0, 1 | topic, partition | [`OffsetValue`] | kind 1; version 3, or 1 with an expiry | 0 to 4, flexible from 4 |
//! | 2 | | [`ClassicGroupValue`] | 3 | 0 to 4, flexible from 4 |
//! | 3 | | [`GroupEpochValue`] | 0, flexible | the same |
//! | 5 | member | [`MemberValue`] | likewise | |
//! | 6 | | target epoch | likewise | |
//! | 7 | member | [`Assignment`](crate::coordinator::assignment::Assignment) | likewise | |
//! | 8 | member | [`CurrentValue`] | likewise | |
//!
//! All other kinds are passed over, as Kafka does with those that it does not know.
//!
//! # Elsewhere
//! What consumers of the classic protocol tell each other by way of the coordinator, to which it is bytes, is in
//! [`consumer_protocol`]. What the records mean together is for the groups.

mod classic_group;
mod consumer_group;
mod consumer_protocol;
mod error;
mod offset;
mod record;
mod wire;

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;

pub(crate) use classic_group::{ClassicGroupValue, ClassicMember};
pub(crate) use consumer_group::{CurrentValue, GroupEpochValue, MemberState, MemberValue};
pub(crate) use consumer_protocol::{ClassicAssignment, Subscription};
pub(crate) use error::RecordError;
pub(crate) use offset::OffsetValue;
pub(crate) use record::{CoordinatorRecord, Decoded};
