//! For tests: a replica that has no others.

use std::sync::Arc;

use crate::base::BrokerId;
use crate::env::Moment;
use crate::replica::{Follower, Peers, Replica};

/// Of a replica without others.
#[derive(Debug)]
pub(super) struct Alone;

impl Peers for Alone {
    fn follower(&self, _leader: &Replica, _broker: BrokerId) -> Arc<dyn Follower> {
        panic!("there is no follower")
    }

    fn synced(&self, _follower: &Replica) {}

    fn isr_is_outdated(&self, _leader: &Arc<Replica>) -> bool {
        false
    }

    fn watch_lag(&self, _leader: &Arc<Replica>, _at: Moment) -> bool {
        false
    }

    fn failed(&self, _replica: &Replica) {}
}
