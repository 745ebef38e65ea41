//! Repairing what is damaged with what another replica has (rule R6).
//!
//! # Invariants
//! - What comes from elsewhere is believed no more than a file: its checksums have to fit, its offsets have to be those
//!   that are missing, all of them, and its leader epochs have to lie between those of the batches around it.
//! - Where good batches are in doubt, because the headers of a segment are not those of its digest, they have to be those
//!   of the digest afterwards.
//!
//! # Elsewhere
//! How a segment is written anew: `rewrite`.

use std::ops::Range;
use std::sync::Arc;

use crate::base::{LeaderEpoch, Offset, Timestamp};
use crate::record::{Batch, BatchHeader, HEADER_LENGTH};
use crate::storage::damage::{Damage, Piece, Pieces};
use crate::storage::digest::Digest;
use crate::storage::index::SegmentIndex;
use crate::storage::log::Log;
use crate::storage::segment::{Segment, remove_file};
use crate::storage::{StorageError, names};

/// What came of a repair.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Repaired {
    /// What was damaged, and is what was written again.
    pub(crate) repaired: Vec<Damage>,
    /// What still is damaged: the source does not have it, or not in a state to be believed.
    pub(crate) left: Vec<Damage>,
}

/// Gives the batches of another replica that have exactly these offsets, `None` if it cannot.
pub(crate) type RepairSource<'a> = &'a dyn Fn(Range<Offset>) -> Option<Vec<Batch>>;

/// What is damaged, and the good batches for it.
struct Fix {
    damage: Damage,
    batches: Vec<Batch>,
    is_in_doubt: bool,
}

/// The good batches around a damage.
#[derive(Clone, Copy, Default)]
struct Around {
    /// Leader epochs of those before it and behind it.
    before: Option<LeaderEpoch>,
    behind: Option<LeaderEpoch>,
    /// There are good ones within: its digest says of them that they are not what was written.
    is_in_doubt: bool,
}

impl Log {
    /// Asks `source` for what is damaged, and puts it where it was: the bytes are those of the other replica afterwards.
    /// If nothing is left damaged, a log takes appends from now on that did not. What is torn above the durable part of a
    /// log that was damaged when it was opened is cut then, as a recovery does.
    ///
    /// Reads all of the log first, without a lock, and asks the source without one. Appends wait while the segments
    /// concerned are written anew.
    ///
    /// # Errors
    /// After an error of the disk the log is as it was, or offline.
    pub(crate) fn repair(
        &self,
        source: RepairSource<'_>,
        now: Timestamp,
    ) -> Result<Repaired, StorageError> {
        let seen = self.segments.load_full();
        let durable = self.damaged.lock().as_ref().map(|damaged| damaged.durable);
        // Bytes behind the end of a log that was closed have no offsets.
        let is_durable = |found: &Damage| {
            found.offsets.is_empty() || durable.is_none_or(|durable| found.offsets.start < durable)
        };
        let damages = self.scrub()?.damages.into_iter().filter(is_durable).collect::<Vec<_>>();
        let around = self.look_around(&seen, &damages)?;
        let (mut fixes, mut left) = (Vec::new(), Vec::new());
        for (damage, around) in damages.into_iter().zip(&around) {
            match self.find_batches(&seen, &damage, *around, source) {
                Some(batches) => {
                    fixes.push(Fix { damage, batches, is_in_doubt: around.is_in_doubt });
                }
                None => left.push(damage),
            }
        }
        if fixes.is_empty() {
            return Ok(Repaired { repaired: Vec::new(), left });
        }
        if !self.is_offline() {
            self.sync()?;
        }
        if fixes.iter().any(|fix| fix.is_in_doubt) {
            // The epochs are those of all headers, as they are then.
            remove_file(&*self.fs, &self.dir.join(names::LEADER_EPOCHS))?;
        }
        let repaired = fixes.iter().map(|fix| fix.damage.clone()).collect::<Vec<_>>();
        let instead = |_: &Segment, offsets: &Range<Offset>| {
            let batches = fixes.iter().flat_map(|fix| &fix.batches);
            let is_inside = |batch: &&Batch| offsets.contains(&batch.header().base_offset());
            Ok(batches.filter(is_inside).cloned().collect())
        };
        if !self.rewrite(&seen, &repaired, left.first().cloned(), &instead, now)? {
            left.extend(repaired);
            return Ok(Repaired { repaired: Vec::new(), left });
        }
        for damage in &repaired {
            log::warn!("repaired from another replica: {damage}");
        }
        Ok(Repaired { repaired, left })
    }

    /// The headers of all batches that are good.
    pub(crate) fn good_headers(&self) -> Result<Vec<BatchHeader>, StorageError> {
        let mut headers = Vec::new();
        let segments = self.segments.load_full();
        let ends = segments.iter().skip(1).map(|next| next.base()).chain([self.end()]);
        for (segment, end) in segments.iter().zip(ends) {
            let mut pieces = Pieces::new(Arc::clone(segment), end);
            while let Some(piece) = pieces.next()? {
                if let Piece::Good(_, header, _) = piece {
                    headers.push(header);
                }
            }
        }
        Ok(headers)
    }

    /// The batches of the source for a damage, if they are good.
    fn find_batches(
        &self,
        segments: &[Arc<Segment>],
        damage: &Damage,
        around: Around,
        source: RepairSource<'_>,
    ) -> Option<Vec<Batch>> {
        let at = segments.iter().position(|s| s.path(names::LOG) == damage.file)?;
        let segment = segments.get(at)?;
        let end = segments.get(at + 1).map_or(self.end(), |next| next.base());
        // Where segments overlap it is not known which of them is right.
        if damage.offsets.start < segment.base() || end < damage.offsets.end {
            return None;
        }
        if damage.offsets.is_empty() {
            return Some(Vec::new());
        }
        let batches = source(damage.offsets.clone())?;
        let is_good = are_contiguous(&batches, segment, &damage.offsets)
            && batches.iter().all(|batch| batch.verify_crc().is_ok())
            && match around.is_in_doubt {
                // What is known of the epochs may come from the headers that are in doubt.
                true => are_of_digest(&batches, segment),
                false => self.are_of_their_leaders(&batches, around),
            };
        is_good.then_some(batches)
    }

    /// Whether the epochs of the batches rise, and are those that are known of their offsets.
    fn are_of_their_leaders(&self, batches: &[Batch], around: Around) -> bool {
        let known = self.whole_epochs();
        let mut latest = around.before;
        batches.iter().all(|batch| {
            let Some(epoch) = batch.header().leader_epoch() else { return true };
            let base = batch.header().base_offset();
            let is_known = known.as_ref().and_then(|known| known.at(base));
            latest.replace(epoch) <= Some(epoch)
                && around.behind.is_none_or(|behind| epoch <= behind)
                && is_known.is_none_or(|known| known == epoch)
        })
    }

    /// What is good around each damage.
    fn look_around(
        &self,
        segments: &[Arc<Segment>],
        damages: &[Damage],
    ) -> Result<Vec<Around>, StorageError> {
        let mut found = vec![Around::default(); damages.len()];
        if damages.is_empty() {
            return Ok(found);
        }
        let epochs = self.whole_epochs();
        let ends = segments.iter().skip(1).map(|next| next.base()).chain([self.end()]);
        for (segment, end) in segments.iter().zip(ends) {
            let mut pieces = Pieces::new(Arc::clone(segment), end).with_epochs(epochs.clone());
            while let Some(piece) = pieces.next()? {
                let Piece::Good(_, header, _) = piece else { continue };
                for (damage, around) in damages.iter().zip(&mut found) {
                    if header.next_offset() <= damage.offsets.start {
                        around.before = header.leader_epoch().or(around.before);
                    } else if damage.offsets.end <= header.base_offset() {
                        around.behind = around.behind.or(header.leader_epoch());
                    } else {
                        around.is_in_doubt = true;
                    }
                }
            }
        }
        Ok(found)
    }
}

/// Whether the batches have all of these offsets, and no others.
fn are_contiguous(batches: &[Batch], segment: &Segment, offsets: &Range<Offset>) -> bool {
    let mut next = offsets.start;
    let follow = batches.iter().all(|batch| {
        let header = batch.header();
        let follows = segment.layout().follows(header.base_offset(), next);
        next = header.next_offset();
        follows && SegmentIndex::holds(segment.base(), header.last_offset())
    });
    let is_whole = match batches.last() {
        Some(_) => segment.layout().follows(offsets.end, next),
        None => false,
    };
    follow && is_whole
}

/// Whether the batches are those that the segment's digest speaks of.
fn are_of_digest(batches: &[Batch], segment: &Segment) -> bool {
    let mut found = Digest::empty(segment.base());
    for batch in batches {
        let header = batch.bytes().get(..HEADER_LENGTH).unwrap_or_default();
        found.add(header, batch.header());
    }
    segment.digest() == Some(found)
}
