//! A bounded set of open descriptors and maps.
//!
//! A store may have many thousand segments; the operating system grants a few hundred descriptors. Files open their
//! descriptor when it is needed and give it back when others need one more.
//!
//! # Invariants
//! - A file with writes that were not yet synced keeps its descriptor: the kernel reports a failed write-back once,
//!   to the descriptors open at that time, so a sync through a later one would lose the error.

use std::collections::VecDeque;
use std::sync::Weak;

use crate::env::sync::Mutex;

/// Something that holds a descriptor which it can open again.
pub(super) trait Evict: Send + Sync {
    /// Gives the descriptor back. `false` if it is needed: recently used, or with unsynced writes.
    fn evict(&self) -> bool;
}

/// The files that hold a descriptor, oldest first.
pub(super) struct Descriptors {
    limit: usize,
    open: Mutex<VecDeque<Weak<dyn Evict>>>,
}

impl Descriptors {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, open: Mutex::default() }
    }

    /// Notes that `holder` opened a descriptor, and makes room for it. Not to be called with a holder locked.
    pub(super) fn opened(&self, holder: Weak<dyn Evict>) {
        let mut candidates = {
            let mut open = self.open.lock();
            open.push_back(holder);
            let excess = open.len().saturating_sub(self.limit);
            if excess == 0 {
                return;
            }
            // Twice the excess: the recently used ones get a second chance and go to the back.
            let looked_at = excess.saturating_mul(2).min(open.len().saturating_sub(1));
            open.drain(..looked_at).collect::<VecDeque<_>>()
        };
        candidates.retain(|weak| weak.upgrade().is_some_and(|holder| !holder.evict()));
        self.open.lock().extend(candidates);
    }
}

impl std::fmt::Debug for Descriptors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Descriptors").field("limit", &self.limit).finish_non_exhaustive()
    }
}
