//! What a producer's records may take up (`buffer.memory`), and the failures that nobody has asked about.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::client::Error;
use crate::env::sync::{Event, EventListener, Mutex};

/// Counts bytes between send and acknowledgement.
#[derive(Debug)]
pub(super) struct Memory {
    limit: usize,
    used: AtomicUsize,
    /// A record found no room, and there was none since.
    full: AtomicBool,
    freed: Event,
    failure: Mutex<Option<Error>>,
}

impl Memory {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            used: AtomicUsize::new(0),
            full: AtomicBool::new(false),
            freed: Event::new(),
            failure: Mutex::new(None),
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes that are taken: of batches that are being filled, or are not answered.
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// Takes `bytes`, unless that exceeds the limit.
    pub(super) fn reserve(&self, bytes: usize) -> bool {
        let take = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.limit);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
    }

    /// Gives `bytes` back.
    pub(super) fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
        self.note_room();
    }

    /// Who waits for room may try again.
    pub(super) fn note_room(&self) {
        self.full.store(false, Ordering::SeqCst);
        self.freed.notify(usize::MAX);
    }

    /// A record has found no room. To be said before it tries once more: what comes to its end in between is seen
    /// by either.
    pub(super) fn note_full(&self) {
        self.full.store(true, Ordering::SeqCst);
    }

    /// Whether nothing has come to its end since a record was refused.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::SeqCst)
    }

    /// Notified when bytes are given back.
    pub(super) fn freed(&self) -> EventListener {
        self.freed.listen()
    }

    /// Remembers a failure for the next flush, if it is the first.
    pub(super) fn failed(&self, error: &Error) {
        self.failure.lock().get_or_insert_with(|| error.clone());
    }

    /// The first failure since the last call.
    pub(super) fn take_failure(&self) -> Option<Error> {
        self.failure.lock().take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_stop_at_the_limit() {
        let memory = Memory::new(100);
        assert!(memory.reserve(60));
        assert!(!memory.reserve(60));
        assert!(!memory.reserve(usize::MAX));
        memory.release(60);
        assert!(memory.reserve(100));
    }
}
