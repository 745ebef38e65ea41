//! Who wants to know that there is more to read.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::env::sync::Event;

/// Events to be notified when the high watermark rises. Telling them takes no lock.
#[derive(Debug, Default)]
pub(super) struct Watchers(ArcSwap<Vec<Arc<Event>>>);

impl Watchers {
    pub(super) fn add(&self, event: &Arc<Event>) {
        self.0.rcu(|events| {
            let mut events = Vec::clone(events);
            events.push(Arc::clone(event));
            events
        });
    }

    pub(super) fn remove(&self, event: &Arc<Event>) {
        self.0.rcu(|events| {
            let mut events = Vec::clone(events);
            // One for one: a consumer may watch a partition through two handles.
            if let Some(at) = events.iter().position(|e| Arc::ptr_eq(e, event)) {
                events.swap_remove(at);
            }
            events
        });
    }

    pub(super) fn are_some(&self) -> bool {
        !self.0.load().is_empty()
    }

    pub(super) fn notify(&self) {
        for event in self.0.load().iter() {
            event.notify(usize::MAX);
        }
    }
}
