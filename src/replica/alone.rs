//! For tests: a replica that has no others, and nobody who syncs it in the background.

use std::sync::Arc;

use crate::base::{BrokerId, Offset, TopicPartition};
use crate::env::Moment;
use crate::env::sync::Mutex;
use crate::replica::{Follower, Peers, Replica, SyncScheduler};
use crate::storage::{Damage, StorageError};

/// Of a replica without others.
#[derive(Debug)]
pub(super) struct Alone;

impl Peers for Alone {
    fn follower(&self, _leader: &Replica, _broker: BrokerId) -> Arc<dyn Follower> {
        panic!("there is no follower")
    }

    fn synced(&self, _follower: &Replica) {}

    fn isr_is_outdated(&self, _leader: &Arc<Replica>) -> bool {
        false
    }

    fn watch_lag(&self, _leader: &Arc<Replica>, _at: Moment) -> bool {
        false
    }

    fn has_news(&self, _leader: &Arc<Replica>) -> bool {
        false
    }

    fn is_read(&self, _follower: &Replica) {}

    fn heal(&self, _replica: &Replica) -> Vec<Damage> {
        Vec::new()
    }

    fn failed(&self, _replica: &Replica) {}
}

/// Notes what it is asked for, and does nothing.
#[derive(Debug, Default)]
pub(super) struct Scheduled(pub(super) Mutex<Vec<Arc<Replica>>>);

impl SyncScheduler for Scheduled {
    fn schedule(&self, replica: Arc<Replica>) {
        self.0.lock().push(replica);
    }

    fn flushed(&self) {}

    fn truncating(&self, _partition: &TopicPartition, _to: Offset) -> Result<(), StorageError> {
        Ok(())
    }
}

impl Scheduled {
    /// Does what was asked for. Returns how much that was.
    pub(super) fn run(&self) -> usize {
        let scheduled = std::mem::take(&mut *self.0.lock());
        for replica in &scheduled {
            if replica.take_schedule().is_some() {
                replica.sync();
            }
        }
        scheduled.len()
    }
}
