//! What happens to a member's partitions, as applications see it.

use std::fmt;
use std::sync::Arc;

use crate::base::TopicPartition;
use crate::client::Result;
use crate::client::consumer::{Commit, Committer, NextOffset};
use crate::coordinator::MemberHandle;

/// A member of a group was given partitions, is about to lose some, or has lost them: see [`Records::rebalances`](crate::Records::rebalances).
///
/// ```
/// use brooklet::{Cluster, NewTopic, RebalanceEvent};
/// use std::time::Duration;
///
/// let cluster = Cluster::in_memory()?;
/// cluster.create_topic(NewTopic::new("email").partitions(2))?;
/// let mut consumer = cluster.consumer_group("mailer").join("email")?;
/// let records = consumer.poll(Duration::ZERO)?;
/// for event in records.rebalances() {
///     println!("{event}"); // assigned email-0, email-1
///     if let RebalanceEvent::Revoked(partitions) = event {
///         // Still ours until the next poll: what was dealt with can be committed now.
///     }
/// }
/// # assert_eq!(records.rebalances().len(), 1);
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RebalanceEvent {
    /// The member reads these from now on, too.
    Assigned(Vec<TopicPartition>),
    /// Others are to read these. Polls return no more of their records. They are the member's until its next poll: until
    /// then it can commit for them.
    Revoked(Vec<TopicPartition>),
    /// The member lost these since it was removed from the group, for not polling or by [`remove_member`](crate::ConsumerGroup::remove_member). Others may
    /// read them by now. It has joined again.
    Lost(Vec<TopicPartition>),
}

impl RebalanceEvent {
    pub(super) fn is_revocation(&self) -> bool {
        matches!(self, Self::Revoked(_))
    }

    /// The partitions that it is about, in order.
    pub fn partitions(&self) -> &[TopicPartition] {
        match self {
            Self::Assigned(partitions) | Self::Revoked(partitions) | Self::Lost(partitions) => {
                partitions
            }
        }
    }
}

/// A line.
impl fmt::Display for RebalanceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self {
            Self::Assigned(_) => "assigned",
            Self::Revoked(_) => "revoked",
            Self::Lost(_) => "lost",
        };
        let names = self.partitions().iter().map(ToString::to_string).collect::<Vec<_>>();
        write!(f, "{verb} {}", names.join(", "))
    }
}

/// Partitions that a member is about to lose, for the hook of [`Consumer::on_revoke`](crate::Consumer::on_revoke). They are the member's as long as
/// the hook runs.
///
/// ```
/// use brooklet::{Cluster, NewTopic, Revocation};
///
/// let cluster = Cluster::in_memory()?;
/// cluster.create_topic(NewTopic::new("email"))?;
/// let mut consumer = cluster.consumer_group("mailer").join("email")?;
/// consumer.on_revoke(|revocation: &Revocation<'_>| {
///     println!("{:?} go to others", revocation.partitions());
///     if let Err(error) = revocation.commit().and_then(|commit| commit.wait()) {
///         println!("they will see some records once more: {error}");
///     }
/// });
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Debug)]
pub struct Revocation<'a> {
    pub(super) partitions: &'a [TopicPartition],
    pub(super) positions: Vec<(TopicPartition, NextOffset)>,
    pub(super) committer: &'a Arc<Committer>,
    pub(super) handle: &'a Arc<MemberHandle>,
}

impl Revocation<'_> {
    /// The partitions that are going, in order.
    pub fn partitions(&self) -> &[TopicPartition] {
        self.partitions
    }

    /// Commits all records of these partitions that polls have returned.
    ///
    /// # Errors
    /// Those of [`Consumer::commit`](crate::Consumer::commit).
    pub fn commit(&self) -> Result<Commit> {
        self.committer.commit(Some(self.handle), self.positions.iter().cloned())
    }

    /// Commits these offsets.
    ///
    /// # Errors
    /// Those of [`Consumer::commit`](crate::Consumer::commit).
    pub fn commit_offsets(
        &self,
        offsets: impl IntoIterator<Item = (impl AsRef<TopicPartition>, NextOffset)>,
    ) -> Result<Commit> {
        let offsets = offsets.into_iter().map(|(at, next)| {
            let at = at.as_ref();
            let next = match self.positions.iter().find(|(going, _)| going == at) {
                Some((_, position)) => next.in_topic_of(position),
                None => next,
            };
            (at.clone(), next)
        });
        self.committer.commit(Some(self.handle), offsets)
    }
}

/// What is called with partitions that are about to go.
pub(super) struct Hook(pub(super) Box<dyn FnMut(&Revocation<'_>) + Send>);

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}
