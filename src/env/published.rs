//! An offset that one thread moves and others look at, and what comes before it with it.
//!
//! # Invariants
//! - Who sees an offset sees all that was written before it was set. `tests/loom` goes through every way in which that
//!   could fail.

use crate::base::Offset;
use crate::env::sync::{AtomicI64, Ordering};

/// An offset that one thread moves and others look at.
#[derive(Debug)]
pub(crate) struct Published(AtomicI64);

impl Published {
    pub(crate) fn new(offset: Offset) -> Self {
        Self(AtomicI64::new(offset.value()))
    }

    pub(crate) fn get(&self) -> Offset {
        Offset::new(self.0.load(Ordering::Acquire)).unwrap_or(Offset::ZERO)
    }

    pub(crate) fn set(&self, offset: Offset) {
        self.0.store(offset.value(), Ordering::Release);
    }

    /// Moves it forward, never back. Returns whether it moved.
    pub(crate) fn raise(&self, to: Offset) -> bool {
        self.0.fetch_max(to.value(), Ordering::AcqRel) < to.value()
    }
}
