//! Making the log durable, as the flush policy asks: one sync serves all who wait.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::FlushPolicy;
use crate::base::{Bug, is_planted};
use crate::env::Moment;
use crate::replica::roles::SyncerRole;
use crate::replica::{ProduceError, Replica};
use crate::storage::StorageError;

impl Replica {
    /// Has bytes that are unsynced synced as the policy asks, if nobody is about to.
    pub(crate) fn schedule(&self) {
        if self.policy() != FlushPolicy::Os
            && self.log.flushed() < self.log.end()
            && !self.scheduled.swap(true, Ordering::AcqRel)
            && let Some(me) = self.me.upgrade()
        {
            self.syncer.schedule(me);
        }
    }

    /// For the store's syncer: when the replica is to be synced, `None` for never. What is written from now on is
    /// scheduled anew.
    pub(crate) fn take_schedule(&self) -> Option<Moment> {
        self.scheduled.store(false, Ordering::Release);
        match self.policy() {
            FlushPolicy::OnAck => Some(Moment::since_start(Duration::ZERO)),
            FlushPolicy::Os => None,
            FlushPolicy::Interval { time, messages } => {
                let unsynced = self.log.end().distance_from(self.log.flushed()).unwrap_or(0);
                if messages.is_some_and(|limit| unsynced >= limit) {
                    return Some(Moment::since_start(Duration::ZERO));
                }
                let since = self.unsynced_since.load(Ordering::Acquire);
                Moment::since_start(Duration::from_nanos(since)).after(time)
            }
        }
    }

    /// Syncs the log and acknowledges what that makes durable. Returns at once if somebody else is at it.
    pub(crate) fn sync(&self) {
        if !self.syncing.take() {
            return;
        }
        let mut role = SyncerRole { replica: self, panicked: true };
        self.unsynced_since.store(0, Ordering::Release);
        let began = self.runtime.now();
        let synced = self.log.sync();
        self.last_sync.note(began, self.runtime.now());
        role.panicked = false;
        // Free before anybody is woken: those woken may want it.
        drop(role);
        match synced {
            Ok(_) => {
                // Under the other policies it is there already, unless the policy has just changed.
                self.advance();
                self.acknowledge();
                self.syncer.flushed();
                self.hand_over();
                self.tell_leader();
            }
            Err(error) => {
                self.fail_waiting(&self.blame(ProduceError::Sync(error)));
                self.tell_of_failure();
            }
        }
    }

    /// Sees to it that bytes written during the last sync are covered by a next one.
    fn hand_over(&self) {
        let policy = self.policy();
        if policy == FlushPolicy::Os || self.log.flushed() >= self.log.end() {
            return;
        }
        if is_planted(Bug::WaitersForgotten) {
            return;
        }
        let completions = match policy {
            FlushPolicy::OnAck => self.waiting.lock().completions(),
            _ => Vec::new(),
        };
        if !completions.iter().any(|completion| completion.hand_over()) {
            self.schedule();
        }
    }

    /// Makes everything written before the call durable, whatever the policy.
    pub(crate) fn flush(&self) -> Result<(), StorageError> {
        self.drive();
        let end = self.log.end();
        loop {
            let listener = self.role_left.listen();
            if self.log.flushed() >= end {
                return Ok(());
            }
            if self.log.is_offline() {
                let error = self.log.offline_error();
                // One that was written while others were failed.
                self.fail_waiting(&self.blame(ProduceError::Sync(error.clone())));
                return Err(error);
            }
            self.sync();
            if self.log.flushed() < end && !self.log.is_offline() {
                self.runtime.park(listener, None);
            }
        }
    }
}
