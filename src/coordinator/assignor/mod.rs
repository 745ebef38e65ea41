//! Who gets which partition: [`Assignor`] and those that come with the crate.
//!
//! They are pure: the same group gives the same assignment, whatever the order in which its members came. None of them
//! looks at racks; a custom one can ([`GroupMember::rack`]).

mod assignment;
mod builder;
mod built_in;
mod cooperative_sticky;
mod decision;
mod general;
mod group;
mod quotas;
mod range;
mod round_robin;
mod sticky;
mod uniform;

use std::fmt;

pub use assignment::{AssignmentError, GroupAssignment};
pub use builder::GroupSpecBuilder;
pub(crate) use built_in::{BUILT_IN, built_in};
pub use cooperative_sticky::CooperativeStickyAssignor;
pub(crate) use decision::{Decision, is_deciding};
pub use group::{GroupMember, GroupPartition, GroupSpec, GroupTopic};
pub(crate) use group::{MemberSpec, TopicSpec};
pub use range::RangeAssignor;
pub use round_robin::RoundRobinAssignor;
pub use sticky::StickyAssignor;
pub use uniform::UniformAssignor;

/// Decides who of a group reads which partition, each time that its members, their subscriptions or the topics have
/// changed (Kafka's `ConsumerPartitionAssignor`).
///
/// ```
/// use brooklet::{Assignor, GroupAssignment, GroupSpec};
///
/// /// One member reads a topic as long as it is there, the others stand by.
/// #[derive(Debug)]
/// struct OneAtATime;
///
/// impl Assignor for OneAtATime {
///     fn name(&self) -> &str {
///         "one-at-a-time"
///     }
///
///     fn assign(&self, group: &GroupSpec) -> GroupAssignment {
///         let mut assignment = GroupAssignment::empty(group);
///         for topic in group.topics() {
///             let before = topic.partitions().find_map(|partition| partition.previous_owner());
///             if let Some(reader) = before.or_else(|| topic.subscribers().next()) {
///                 topic.partitions().for_each(|partition| assignment.give(partition, reader));
///             }
///         }
///         assignment
///     }
/// }
///
/// let group = GroupSpec::builder()
///     .topic("email", 3)
///     .member("a", ["email"])
///     .member("b", ["email"])
///     .previous("b", [("email", 0), ("email", 1)])
///     .build()?;
/// let assignment = OneAtATime.assign(&group);
/// assert_eq!(assignment.check(&group), Ok(()));
/// assert_eq!(assignment.to_string(), "a: -; b: email-0 email-1 email-2");
/// # Ok::<(), brooklet::Error>(())
/// ```
pub trait Assignor: fmt::Debug + Send + Sync {
    /// What members choose it by, such as `range`. Those of a group have to have one in common.
    fn name(&self) -> &str;

    /// Whether members of the classic protocol keep what they have while the group decides anew. Otherwise all of them
    /// give up everything first. In the new protocol nobody gives up more than others are to have.
    ///
    /// The assignment is the goal in either case: what is still with another member is held back from it by the
    /// group, not by the assignor.
    fn is_cooperative(&self) -> bool {
        false
    }

    /// Who is to read what. Called often: for a group of a thousand members, at each of their joins.
    ///
    /// An assignment that does not [`check`](GroupAssignment::check) is refused as a whole, and so is one that ends in a
    /// panic: who had a partition keeps it, if he still wants it. A partition that nobody is given stays unread.
    ///
    /// The group's coordinator waits meanwhile. What asks a coordinator is refused in here
    /// ([`InvalidState`](crate::ErrorKind::InvalidState)): commits, members that come or go, lag. Another thread that does
    /// so waits for the decision, so that it must not be waited for.
    fn assign(&self, group: &GroupSpec) -> GroupAssignment;
}

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
