//! The crate's own cells, compiled against loom's atomics.

#![allow(dead_code, unused_imports, reason = "the models use of the cells what they are about")]

#[path = "../../../src/base"]
mod base {
    mod offset;
    pub use offset::Offset;
}

#[path = "../../../src/env"]
mod env {
    mod published;
    mod role;
    pub(crate) mod sync {
        pub(crate) use loom::sync::atomic::{AtomicBool, AtomicI64, Ordering, fence};
    }
    pub(crate) use published::Published;
    pub(crate) use role::Role;
}

#[cfg(test)]
mod models;
