//! Giving up what is damaged, so that a log can be written again.
//!
//! An empty batch takes the place of the offsets that are lost, so that the log has no hole, and says durably that
//! nothing is missing. Kafka's cleaner leaves such batches too.

use std::ops::Range;

use crate::base::{Offset, Timestamp};
use crate::record::{Batch, EncodedBatch};
use crate::storage::damage::Damage;
use crate::storage::index::SegmentIndex;
use crate::storage::log::Log;
use crate::storage::segment::Segment;
use crate::storage::{LossError, StorageError, names};

impl Log {
    /// Gives up what is damaged in `range`, and nothing else. Returns what it was. If nothing else is damaged, the log
    /// takes appends from now on.
    ///
    /// Reads all of the log first; appends wait while the segments concerned are written anew.
    ///
    /// After an error of the disk the log is as it was, or offline.
    pub(crate) fn accept_loss(
        &self,
        range: &Range<Offset>,
        now: Timestamp,
    ) -> Result<Vec<Damage>, LossError> {
        let is_meant =
            |found: &Damage| range.start <= found.offsets.start && found.offsets.end <= range.end;
        let is_touched =
            |found: &&Damage| found.offsets.start < range.end && range.start < found.offsets.end;
        let seen = self.segments.load_full();
        let (lost, left): (Vec<_>, Vec<_>) = self.scrub()?.damages.into_iter().partition(is_meant);
        if let Some(found) = left.iter().find(is_touched) {
            return Err(LossError::Beyond(found.clone()));
        }
        let not_damaged =
            || LossError::NotDamaged { partition: self.partition.clone(), offsets: range.clone() };
        if lost.is_empty() {
            return Err(not_damaged());
        }
        if !self.is_offline() {
            self.sync()?;
        }
        if !self.rewrite(&seen, &lost, left.into_iter().next(), &empty_batch, now)? {
            return Err(not_damaged());
        }
        for damage in &lost {
            log::warn!("accepted as lost: {damage}");
        }
        Ok(lost)
    }
}

/// The batch that says of `offsets` that nothing is there.
fn empty_batch(segment: &Segment, offsets: &Range<Offset>) -> Result<Vec<Batch>, StorageError> {
    let batch = EncodedBatch::empty(offsets)
        .filter(|batch| SegmentIndex::holds(segment.base(), batch.header().last_offset()));
    batch.map(|batch| vec![batch]).ok_or_else(|| {
        let reason = format!("{} to {} are too many offsets", offsets.start, offsets.end);
        StorageError::damaged(&segment.path(names::LOG), reason)
    })
}
