//! Repairing copies of the metadata log when a cluster is opened, before anybody leads it (rule R6).
//!
//! A follower's copy is repaired as that of every partition is: by then it is known who leads. Here it is not, and the
//! damaged copy may be the newest. So another one is believed only as far as it is known to be the same log.
//!
//! # Invariants
//! - Two copies are the same log up to a batch that both have: a term is written by one controller, in order. What is
//!   damaged is taken from a copy that has a good batch behind it too. If there is none behind it, nothing is known to
//!   have been recorded there but what the copy that has these offsets says.
//! - From a copy that differs in any batch that is good in both, nothing is taken: they were opened separately.

use std::ops::Range;
use std::sync::Arc;

use crate::base::Offset;
use crate::cluster::metadata_log::MetadataLog;
use crate::cluster::store::Store;
use crate::cluster::{BrokerConfig, ClusterError};
use crate::record::BatchHeader;
use crate::replica::Replica;
use crate::storage::{Repaired, StorageError};

/// A store's copy.
struct Copy {
    store: Arc<Store>,
    log: Arc<Replica>,
    is_damaged: bool,
    good: Vec<BatchHeader>,
}

/// Puts what others have in the place of what is damaged. Returns whether anything was repaired.
pub(super) fn repair_metadata(
    stores: &[Arc<Store>],
    config: &Arc<BrokerConfig>,
) -> Result<bool, ClusterError> {
    let mut copies = Vec::new();
    for store in stores {
        let Some(log) = store.metadata() else { continue };
        let is_damaged = log.is_damaged() || MetadataLog::replay(&log, config).is_err();
        let good = log.log().good_headers()?;
        copies.push(Copy { store: Arc::clone(store), log, is_damaged, good });
    }
    // Those that are whole first, and of them the newest.
    let newness = |copy: &&Copy| (!copy.is_damaged, copy.log.log().latest_epoch(), copy.good.len());
    let mut sources = copies.iter().collect::<Vec<_>>();
    sources.sort_by_key(|copy| std::cmp::Reverse(newness(copy)));
    let mut has_repaired = false;
    for copy in copies.iter().filter(|copy| copy.is_damaged) {
        for source in sources.iter().filter(|source| !Arc::ptr_eq(&source.log, &copy.log)) {
            let Repaired { repaired, left } = copy.repair_from(source)?;
            if !repaired.is_empty() {
                has_repaired = true;
                copy.store.note_repaired(copy.log.partition(), &repaired);
            }
            if left.is_empty() {
                break;
            }
        }
    }
    Ok(has_repaired)
}

impl Copy {
    fn repair_from(&self, source: &Self) -> Result<Repaired, StorageError> {
        // Leader epochs are not what the checksum is of: they may be what is damaged.
        let is_it = |one: &BatchHeader, other: &BatchHeader| {
            (one.base_offset(), one.crc()) == (other.base_offset(), other.crc())
        };
        let agrees = |batch| source.at(batch).is_none_or(|theirs| is_it(batch, &theirs));
        let is_same = self.good.iter().all(agrees);
        let is_known = |damaged: &Range<Offset>| {
            let mut behind = self.good.iter().filter(|batch| batch.base_offset() >= damaged.end);
            let is_last = behind.clone().next().is_none();
            is_same && (is_last || behind.any(|batch| source.at(batch).is_some()))
        };
        self.log.repair_if(&source.log, &is_known)
    }

    /// The good batch that has offsets of `batch`.
    fn at(&self, batch: &BatchHeader) -> Option<BatchHeader> {
        let at = self.good.partition_point(|own| own.last_offset() < batch.base_offset());
        self.good.get(at).filter(|own| own.base_offset() <= batch.last_offset()).copied()
    }
}
