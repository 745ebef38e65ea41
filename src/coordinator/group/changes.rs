//! What comes of a change of a group.

use std::sync::Arc;

use crate::base::Timestamp;
use crate::coordinator::handle::MemberHandle;
use crate::coordinator::records::CoordinatorRecord;
use crate::env::Moment;

/// What is to be done after a change of a group.
#[derive(Debug)]
pub(in crate::coordinator) struct Changes {
    /// When they are made.
    pub(super) now: Moment,
    pub(super) wall_clock: Timestamp,
    /// For the log, in this order.
    pub(in crate::coordinator) records: Vec<CoordinatorRecord>,
    /// Members that are to ask what is new: when no lock is held any more.
    pub(in crate::coordinator) summoned: Vec<Arc<MemberHandle>>,
}

impl Changes {
    /// None yet.
    pub(in crate::coordinator) fn at(now: Moment, wall_clock: Timestamp) -> Self {
        Self { now, wall_clock, records: Vec::new(), summoned: Vec::new() }
    }

    pub(super) fn record(&mut self, record: CoordinatorRecord) {
        self.records.push(record);
    }

    pub(super) fn summon(&mut self, handle: Option<&Arc<MemberHandle>>) {
        if let Some(handle) = handle {
            handle.is_wanted(self.now);
            self.summoned.push(Arc::clone(handle));
        }
    }
}
