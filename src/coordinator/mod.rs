//! Coordinators: who is in a group, who reads which partition, and how far everybody has come.
//!
//! Pure state machines, and what carries their records into `__consumer_offsets`.

mod assignor;
mod records;

pub use assignor::{
    AssignmentError, Assignor, CooperativeStickyAssignor, GroupAssignment, GroupMember,
    GroupPartition, GroupSpec, GroupSpecBuilder, GroupTopic, RangeAssignor, RoundRobinAssignor,
    StickyAssignor, UniformAssignor,
};
