//! Whom a partition is read from: its leader, or a follower nearby (KIP-392).
//!
//! # Invariants
//! - A follower is read as long as nothing else is known: until others lead or are in sync, it fails or is cut off, or
//!   `metadata.max.age.ms` is over. Then the leader is asked again.
//! - Where the partition begins and ends is for the leader to say: that never goes back when another replica is read.

use std::sync::Arc;
use std::time::Duration;

use crate::base::{IsolationLevel, Offset};
use crate::client::consumer::Settings;
use crate::client::{Partition, Result};
use crate::env::sync::Event;
use crate::env::{Moment, Runtime};
use crate::replica::{ProduceError, Replica};
use crate::storage::{Fetched, ReadError};

/// Time between two looks for a leader where there is none, and until a follower is read again that failed
/// (`retry.backoff.ms`).
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Whom a partition is read from.
#[derive(Debug)]
pub(super) struct Source {
    partition: Partition,
    /// Who leads, as was last known.
    leader: Arc<Replica>,
    /// Who is read.
    replica: Arc<Replica>,
    /// When the leader is to say again who that is; `None` for never.
    ask_at: Option<Moment>,
    /// The version of the metadata in which all this was seen.
    seen_in: u64,
    /// Nobody leads: there is nothing to read.
    is_leaderless: bool,
    /// Notified when there is more to read.
    arrived: Arc<Event>,
    runtime: Arc<dyn Runtime>,
}

impl Source {
    pub(super) fn new(
        partition: Partition,
        arrived: &Arc<Event>,
        runtime: &Arc<dyn Runtime>,
    ) -> Result<Self> {
        let seen_in = partition.topic().core().metadata_version();
        let leader = partition.leader()?;
        leader.watch(arrived);
        Ok(Self {
            partition,
            replica: Arc::clone(&leader),
            leader,
            ask_at: Some(runtime.now()),
            seen_in,
            is_leaderless: false,
            arrived: Arc::clone(arrived),
            runtime: Arc::clone(runtime),
        })
    }

    pub(super) fn partition(&self) -> &Partition {
        &self.partition
    }

    pub(super) fn leader(&self) -> &Arc<Replica> {
        &self.leader
    }

    /// Who is read.
    pub(super) fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    pub(super) fn is_leaderless(&self) -> bool {
        self.is_leaderless
    }

    pub(super) fn is_leader(&self) -> bool {
        Arc::ptr_eq(&self.replica, &self.leader)
    }

    /// When to look again at what is not told: whether there is a leader, or who is to be read.
    pub(super) fn look_again(&self) -> Option<Moment> {
        if self.is_leader() && !self.is_leaderless {
            return None;
        }
        let soon = self.runtime.now().after(LOOK_AGAIN)?;
        if self.is_leaderless { Some(soon) } else { self.ask_at.map(|at| at.max(soon)) }
    }

    /// Goes on with another leader, if there is one by now. Returns whether there is.
    pub(super) fn follow_leader(&mut self) -> Result<bool> {
        let version = self.partition.topic().core().metadata_version();
        if version == self.seen_in && !self.is_leaderless {
            return Ok(false);
        }
        let leader = match self.partition.leader() {
            Ok(leader) => leader,
            Err(error) if error.is_of_leader() => {
                self.is_leaderless = true;
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        (self.seen_in, self.is_leaderless) = (version, false);
        // Others may be in sync.
        self.ask_at = Some(self.runtime.now());
        if Arc::ptr_eq(&leader, &self.leader) {
            return Ok(false);
        }
        self.read(Arc::clone(&leader));
        self.leader = leader;
        Ok(true)
    }

    /// Asks the leader, if it is time to, who is to be read from `position` on.
    pub(super) fn choose(&mut self, position: Offset, settings: &Settings) {
        let Some(rack) = settings.rack.as_deref().filter(|_| !self.is_leaderless) else { return };
        if !self.is_leader() && !self.can_read() {
            self.leave_follower("it has ended, or is cut off");
        }
        let now = self.runtime.now();
        if self.ask_at.is_none_or(|at| now < at) {
            return;
        }
        let topic = self.partition.topic();
        match topic.core().read_replica(topic.image(), &self.leader, rack, position) {
            Some(follower) => {
                self.read(follower);
                self.ask_at = now.after(settings.metadata_max_age);
            }
            // Asked each time: there may be one soon.
            None => self.read(Arc::clone(&self.leader)),
        }
    }

    fn can_read(&self) -> bool {
        self.partition.topic().core().can_read(&self.leader, &self.replica)
    }

    fn read(&mut self, replica: Arc<Replica>) {
        if !Arc::ptr_eq(&replica, &self.replica) {
            replica.watch(&self.arrived);
            self.replica.unwatch(&self.arrived);
            self.replica = replica;
        }
    }

    /// Reads the leader, which a moment later may say again that another is to be read.
    fn leave_follower(&mut self, why: &str) {
        let (partition, broker) = (&self.partition, self.replica.broker());
        log::debug!("{partition} is read from its leader, and no more from broker {broker}: {why}");
        self.read(Arc::clone(&self.leader));
        self.ask_at = self.runtime.now().after(LOOK_AGAIN);
    }

    /// As [`leave_follower`](Self::leave_follower), since a batch there is not what was written, and has that put right.
    pub(super) fn leave_damaged(&mut self, error: &ReadError) {
        self.replica.heal();
        self.leave_follower(&error.to_string());
    }

    /// Fetches from whom it reads; from the leader, if that is a follower that fails.
    pub(super) fn fetch(
        &mut self,
        position: Offset,
        max_bytes: usize,
        isolation: IsolationLevel,
    ) -> std::result::Result<Fetched, ReadError> {
        if !self.is_leader() {
            let fetched = self.replica.fetch(position, max_bytes, isolation);
            // Looked at afterwards, as at the leader. Of what is deleted followers hear later.
            let is_deleted = position < self.leader.log().start();
            match fetched {
                Ok(fetched) if self.can_read() && !is_deleted => return Ok(fetched),
                Ok(_) if is_deleted => self.leave_follower("that was deleted"),
                Ok(_) => self.leave_follower("it has ended, or is cut off"),
                Err(error @ ReadError::Corrupt { .. }) => self.leave_damaged(&error),
                Err(error) => self.leave_follower(&error.to_string()),
            }
        }
        self.leader.fetch(position, max_bytes, isolation)
    }

    /// Whether the leader is there still: else there is nothing to read.
    ///
    /// # Errors
    /// The partition is no more.
    pub(super) fn check_leader(&mut self) -> Result<bool> {
        match self.leader.ended() {
            None => Ok(true),
            // Its broker is gone. The next leader has all that was to be read.
            Some(ProduceError::NotLeader | ProduceError::Closed)
                if !self.partition.topic().core().is_closed() =>
            {
                self.is_leaderless = true;
                Ok(false)
            }
            Some(ended) => Err(ended.into()),
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.replica.unwatch(&self.arrived);
    }
}
