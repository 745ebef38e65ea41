//! The background syncer of a store: makes durable what nobody waits for, keeps the recovery points, and has idle
//! producers forgotten.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};

use crate::base::{Offset, PartitionId, TopicId, TopicPartition};
use crate::cluster::checkpoints::Checkpoints;
use crate::env::sync::{Mutex, OnceMade};
use crate::env::{Moment, Next, Runtime, Task};
use crate::replica::{Replica, SyncScheduler};
use crate::storage::StorageError;

/// How often the syncer does what nobody asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Intervals {
    /// Longest time from a sync to the recovery point that tells of it (rule R5).
    pub(super) checkpoint: Duration,
    /// Time between two looks for producers that write no more.
    pub(super) expiration: Duration,
}

/// Syncs replicas as their flush policy asks. Its thread starts with the first request.
pub(crate) struct Syncer {
    runtime: Arc<dyn Runtime>,
    requests: crossbeam_channel::Sender<Arc<Replica>>,
    received: Mutex<Option<Receiver<Arc<Replica>>>>,
    /// A flush point has moved since the last checkpoint.
    flushed: Arc<AtomicBool>,
    checkpoints: Weak<Checkpoints>,
    intervals: Intervals,
    task: OnceMade<Option<Task>>,
}

impl fmt::Debug for Syncer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Syncer").field("requests", &self.requests.len()).finish_non_exhaustive()
    }
}

impl Syncer {
    pub(super) fn new(
        runtime: Arc<dyn Runtime>,
        checkpoints: Weak<Checkpoints>,
        intervals: Intervals,
    ) -> Self {
        // Unbounded, but each replica has one request in it at most.
        let (requests, received) = unbounded();
        Self {
            runtime,
            requests,
            received: Mutex::new(Some(received)),
            flushed: Arc::default(),
            checkpoints,
            intervals,
            task: OnceMade::new(),
        }
    }

    fn wake(&self) {
        if let Some(task) = self.task.get_or_make(|| self.start()) {
            task.wake();
        }
    }

    fn start(&self) -> Option<Task> {
        let mut turn = Turn {
            received: self.received.lock().clone()?,
            runtime: Arc::clone(&self.runtime),
            flushed: Arc::clone(&self.flushed),
            checkpoints: Weak::clone(&self.checkpoints),
            intervals: self.intervals,
            due: BTreeMap::new(),
            checkpoint_at: None,
            expire_at: self.runtime.now().after(self.intervals.expiration),
        };
        let task = self.runtime.spawn("brooklet-syncer", Box::new(move || turn.step()));
        task.inspect_err(|e| log::warn!("no thread for the syncer, callers sync themselves: {e}"))
            .ok()
    }

    /// Ends the background work. What is unsynced is left to closing the logs.
    pub(super) fn close(&self, deadline: Moment) {
        self.received.lock().take();
        // If there is no thread by now, there will be none.
        if let Some(task) = self.task.get_or_make(|| None)
            && !task.end(deadline)
        {
            log::warn!("the syncer did not end in time");
        }
    }
}

impl SyncScheduler for Syncer {
    fn schedule(&self, replica: Arc<Replica>) {
        let task = self.task.get_or_make(|| self.start());
        match (task, self.requests.send(replica)) {
            (Some(task), Ok(())) => task.wake(),
            // No thread to be had: the caller does it.
            (None, Ok(())) => {
                let received = self.received.lock().clone();
                for replica in received.iter().flat_map(Receiver::try_iter) {
                    if replica.take_schedule().is_some() {
                        replica.sync();
                    }
                }
            }
            // Closing, which syncs everything.
            (_, Err(_)) => {}
        }
    }

    fn flushed(&self) {
        if !self.flushed.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    fn truncating(&self, partition: &TopicPartition, to: Offset) -> Result<(), StorageError> {
        match self.checkpoints.upgrade() {
            Some(checkpoints) => checkpoints.lower(partition, to),
            None => Ok(()),
        }
    }
}

/// What the syncer's thread knows between two steps.
struct Turn {
    received: Receiver<Arc<Replica>>,
    runtime: Arc<dyn Runtime>,
    flushed: Arc<AtomicBool>,
    checkpoints: Weak<Checkpoints>,
    intervals: Intervals,
    due: BTreeMap<(TopicId, PartitionId), (Moment, Arc<Replica>)>,
    checkpoint_at: Option<Moment>,
    expire_at: Option<Moment>,
}

impl Turn {
    fn step(&mut self) -> Next {
        for replica in self.received.try_iter() {
            let Some(due) = replica.take_schedule() else { continue };
            let key = (replica.topic_id(), replica.partition().partition);
            let entry = self.due.entry(key).or_insert_with(|| (due, replica));
            entry.0 = entry.0.min(due);
        }
        let now = self.runtime.now();
        self.due.retain(|_, (due, replica)| {
            let wait = *due > now;
            if !wait {
                replica.sync();
            }
            wait
        });
        if self.checkpoint_at.is_none() && self.flushed.load(Ordering::Acquire) {
            self.checkpoint_at = now.after(self.intervals.checkpoint);
        }
        if self.checkpoint_at.is_some_and(|at| at <= now) {
            self.checkpoint_at = None;
            self.flushed.store(false, Ordering::Release);
            if let Some(checkpoints) = self.checkpoints.upgrade() {
                checkpoints.save();
            }
        }
        if self.expire_at.is_some_and(|at| at <= now) {
            self.expire_at = now.after(self.intervals.expiration);
            if let Some(checkpoints) = self.checkpoints.upgrade() {
                checkpoints.expire_producers(self.runtime.wall_clock());
            }
        }
        if !self.received.is_empty() {
            return Next::Again;
        }
        let first_due = self.due.values().map(|(due, _)| *due).min();
        let alarms = [first_due, self.checkpoint_at, self.expire_at];
        Next::Park(alarms.into_iter().flatten().min())
    }
}
