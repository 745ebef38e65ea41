//! The crate's own cells, compiled against loom's atomics.

#![allow(dead_code, unused_imports, reason = "the models use of the cells what they are about")]

#[path = "../../../src/base"]
mod base {
    mod id;
    mod offset;
    mod planted;
    pub use id::{BrokerId, LeaderEpoch, ProducerId};
    pub use offset::Offset;
    pub(crate) use planted::{Bug, is_planted};
}

#[path = "../../../src/env"]
mod env {
    mod moment;
    mod published;
    mod role;
    pub(crate) mod sync {
        pub(crate) use loom::sync::atomic::{AtomicBool, AtomicI64, Ordering, fence};

        /// Does not poison, as the crate's.
        #[derive(Debug)]
        pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

        impl<T> Mutex<T> {
            pub(crate) fn new(value: T) -> Self {
                Self(loom::sync::Mutex::new(value))
            }

            pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
                self.0.lock().unwrap()
            }
        }
    }
    pub(crate) use moment::Moment;
    pub(crate) use published::Published;
    pub(crate) use role::Role;
}

mod record {
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    pub(crate) enum MarkerKind {
        Abort,
        Commit,
    }
}

#[path = "../../../src/storage/producers/transactions.rs"]
mod transactions;

#[path = "../../../src/replica"]
mod replica {
    mod fitness;
    mod in_sync;
    mod state;
    pub(crate) use state::PartitionState;

    #[cfg(test)]
    #[path = "../../tests/loom/src/followers.rs"]
    mod followers;
}

#[cfg(test)]
mod models;
