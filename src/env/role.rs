//! Work that one thread at a time is at, while the others go on.
//!
//! # Invariants
//! - Who brings work and then finds the role taken may go: who leaves it and then looks sees that work. So it is never
//!   left undone, if everybody brings before asking and looks after leaving. `tests/loom` goes through every way in which
//!   that could fail.

use crate::env::sync::{AtomicBool, Ordering, fence};

/// Work that one thread at a time is at.
#[derive(Debug)]
pub(crate) struct Role(AtomicBool);

impl Role {
    pub(crate) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Takes the role, if it is free.
    pub(crate) fn take(&self) -> bool {
        // With its like in `leave`: either the role is seen free here, or there what was brought before this call.
        fence(Ordering::SeqCst);
        self.0.compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(crate) fn leave(&self) {
        self.0.store(false, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
