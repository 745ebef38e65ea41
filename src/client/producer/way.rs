//! The way from a producer to whoever leads a partition.

use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;

use crate::base::{PartitionId, TopicPartition};
use crate::client::{Error, Result};
use crate::cluster::{Core, Sender, TopicImage};
use crate::replica::Replica;

/// The way to a partition's leader, as it was last known.
#[derive(Debug)]
pub(super) struct Way {
    core: Weak<Core>,
    topic: Arc<TopicImage>,
    partition: PartitionId,
    target: ArcSwapOption<Target>,
    /// For when nobody leads.
    keeper: Arc<Sender>,
}

/// A leader, and the sender of its broker.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) replica: Arc<Replica>,
    sender: Arc<Sender>,
}

impl Way {
    /// To a partition that somebody leads, or nobody at the moment.
    pub(super) fn new(
        core: &Arc<Core>,
        topic: &Arc<TopicImage>,
        partition: PartitionId,
    ) -> Result<Self> {
        let way = Self {
            core: Arc::downgrade(core),
            topic: Arc::clone(topic),
            partition,
            target: ArcSwapOption::empty(),
            keeper: Arc::clone(core.keeper()),
        };
        match way.look_again() {
            Err(error) if !error.is_of_leader() => Err(error),
            _ => Ok(way),
        }
    }

    pub(super) fn topic(&self) -> &Arc<TopicImage> {
        &self.topic
    }

    pub(super) fn partition(&self) -> TopicPartition {
        TopicPartition::new(self.topic.name.clone(), self.partition)
    }

    /// The leader, as it was last known.
    pub(super) fn replica(&self) -> Option<Arc<Replica>> {
        self.target.load().as_ref().map(|target| Arc::clone(&target.replica))
    }

    /// Looks at the leader, as it was last known.
    #[inline]
    pub(super) fn with<T>(&self, look: impl FnOnce(&Replica) -> T) -> Option<T> {
        self.target.load().as_ref().map(|target| look(&target.replica))
    }

    /// Who does in the background what is to be done.
    pub(super) fn sender(&self) -> Arc<Sender> {
        let sender = self.target.load().as_ref().map(|target| Arc::clone(&target.sender));
        sender.unwrap_or_else(|| Arc::clone(&self.keeper))
    }

    /// As [`look_again`](Self::look_again), and sees to it that the leader knows that it is one: whoever changed that may
    /// not have come to tell it. With no lock held: others may be answered.
    pub(super) fn find_leader(&self) -> Result<Arc<Replica>> {
        let leader = self.look_again()?;
        if !leader.is_leader()
            && let Some(core) = self.core.upgrade()
        {
            core.let_know(&self.topic, self.partition, leader.broker());
        }
        Ok(leader)
    }

    /// Finds out who leads by now.
    ///
    /// # Errors
    /// Nobody does, or there is no partition any more.
    pub(super) fn look_again(&self) -> Result<Arc<Replica>> {
        let core = self.core.upgrade().ok_or_else(Error::closed)?;
        let (replica, sender) = core.leader_and_sender(&self.topic, self.partition)?;
        let is_it = self.with(|known| std::ptr::eq(known, &*replica)).unwrap_or(false);
        if !is_it {
            let target = Target { replica: Arc::clone(&replica), sender };
            self.target.store(Some(Arc::new(target)));
        }
        Ok(replica)
    }
}
