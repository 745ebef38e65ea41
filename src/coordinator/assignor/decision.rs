//! Calling an assignor, which may be somebody else's: with the lock of its group's shard held.
//!
//! # Invariants
//! - Whatever it does, the lock is given back: a panic ends here, and what would take the lock once more is refused.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Assignor, GroupSpec};

thread_local! {
    static DECIDES: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread is in an assignor.
pub(crate) fn is_deciding() -> bool {
    DECIDES.get()
}

/// What an assignor has decided.
#[derive(Debug)]
pub(crate) struct Decision {
    /// By partition, the number of its owner: those before, if what it decided makes no sense.
    pub(crate) owners: Vec<Option<u32>>,
    pub(crate) is_cooperative: bool,
}

impl Decision {
    /// Has `assignor` decide for `group`.
    pub(crate) fn of(assignor: &dyn Assignor, group: &GroupSpec) -> Self {
        let is_cooperative = guarded(|| assignor.is_cooperative()).unwrap_or(false);
        let decided = guarded(|| assignor.assign(group)).and_then(|assignment| {
            assignment.check(group).map_err(|error| error.to_string())?;
            Ok(assignment.into_owners())
        });
        let owners = decided.unwrap_or_else(|reason| {
            log::error!("what {assignor:?} decides is refused: {reason}");
            group.previous_owners().to_vec()
        });
        Self { owners, is_cooperative }
    }
}

/// Calls what may not be ours.
fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    DECIDES.set(true);
    // It has nothing of ours that it could leave half done.
    let ended = catch_unwind(AssertUnwindSafe(call));
    DECIDES.set(false);
    ended.map_err(|_| "it panicked".to_owned())
}
