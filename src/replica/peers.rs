//! What a replica needs of the others of its partition, and of those who decide about them.

use std::fmt::Debug;
use std::sync::Arc;

use crate::base::BrokerId;
use crate::env::Moment;
use crate::replica::Replica;
use crate::storage::Damage;

/// The way from a replica to the others of its partition. No lock of a replica is held in any call.
pub(crate) trait Peers: Send + Sync + Debug {
    /// The way to the follower of `leader` on that broker.
    fn follower(&self, leader: &Replica, broker: BrokerId) -> Arc<dyn Follower>;

    /// `follower` has made more durable than its leader knows of.
    fn synced(&self, follower: &Replica);

    /// The in-sync set of `leader` is to be another one: see [`Replica::propose_isr`]. Returns whether somebody will ask
    /// for it, who says so when he is done.
    fn isr_is_outdated(&self, leader: &Arc<Replica>) -> bool;

    /// Followers of `leader` are behind: somebody is to look after them then, see [`Replica::look_at_lag`].
    /// Returns whether somebody is.
    fn watch_lag(&self, leader: &Arc<Replica>, at: Moment) -> bool;

    /// The high watermark of `leader` has risen: its followers are to hear of it soon, see [`Replica::tell_followers`].
    /// Returns whether somebody sees to it.
    fn has_news(&self, leader: &Arc<Replica>) -> bool;

    /// Consumers read `follower` from now on: its leader is to know.
    fn is_read(&self, follower: &Replica);

    /// `replica` has batches that are not what was written: those that others in sync have take their place. Returns where
    /// that was done.
    fn heal(&self, replica: &Replica) -> Vec<Damage>;

    /// The replica's disk has failed it.
    fn failed(&self, replica: &Replica);
}

/// A follower, as its leader reaches it.
pub(crate) trait Follower: Send + Sync + Debug {
    /// Where it is.
    fn broker(&self) -> BrokerId;

    /// Has it copy what there is, in the background.
    fn wake(&self);

    /// Copies what there is for it, if that does not take long; else has it done in the background.
    fn help(&self);
}
