//! Where producer ids come from.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::base::ProducerId;

/// Gives every producer of a cluster an id that none ever had.
///
/// An id is the controller's epoch, which no controller shares with another and which is on disk before it is in
/// office, and a number that counts up. So ids need no records of their own. Those that a Kafka cluster gives are
/// below 2³², and ours above: a log that moves there meets no producer of the same id.
#[derive(Debug)]
pub(crate) struct ProducerIds {
    controller_epoch: u32,
    next: AtomicU32,
}

impl ProducerIds {
    /// Ids for the term of a controller, from its epoch, 1 or more.
    pub(super) fn new(controller_epoch: i32) -> Self {
        Self { controller_epoch: controller_epoch.unsigned_abs(), next: AtomicU32::new(0) }
    }

    /// The controller's epoch in an id that was given here.
    pub(super) fn controller_epoch(id: ProducerId) -> Option<i32> {
        i32::try_from(id.value() >> 32).ok().filter(|epoch| *epoch > 0)
    }

    /// An id that nobody has.
    pub(crate) fn next(&self) -> ProducerId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = (i64::from(self.controller_epoch) << 32) | i64::from(number);
        ProducerId::new(id).unwrap_or(ProducerId::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_producers_have_the_same_id() {
        let terms = [1, 2, i32::MAX].map(ProducerIds::new);
        let ids = terms.iter().flat_map(|term| (0..100).map(|_| term.next()));
        let distinct = ids.collect::<std::collections::BTreeSet<_>>();
        assert_eq!(distinct.len(), 300);
        assert!(distinct.iter().all(|id| id.value() >= 1 << 32));
        let terms = distinct.iter().filter_map(|id| ProducerIds::controller_epoch(*id));
        assert_eq!(terms.collect::<std::collections::BTreeSet<_>>(), [1, 2, i32::MAX].into());
        assert_eq!(ProducerIds::controller_epoch(ProducerId::new(7).unwrap()), None);
    }
}
