//! Locks and events, in one place so that a simulator can stand in for them.
//!
//! Locks here do not poison: a panic of a caller's thread must not make a log unusable for the others.

pub(crate) use event_listener::{Event, EventListener, Listener};
pub(crate) use parking_lot::{Mutex, RwLock};
