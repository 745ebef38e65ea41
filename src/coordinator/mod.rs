//! Coordinators: who is in a group, who reads which partition, and how far everybody has come.
//!
//! Pure state machines, and what carries their records into `__consumer_offsets`.

mod assignment;
mod assignor;
mod ids;
#[allow(unused_imports, reason = "groups")]
mod records;
