//! Finding out, at open and after a truncation, what the batches of a log say of its producers.
//!
//! The newest snapshot tells most of it, and the batch headers behind it the rest. Transaction indexes are read on this
//! occasion; what they lack, or have too much, is told by the same walk.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::base::{Bug, Offset, is_planted};
use crate::env::{Entry, read_file};
use crate::record::{Batch, BatchHeader};
use crate::storage::StorageError;
use crate::storage::log::OpenLog;
use crate::storage::names;
use crate::storage::producers::snapshots::Snapshots;
use crate::storage::producers::transactions::{AbortedTransaction, Transactions};
use crate::storage::producers::{ProducerBatch, Producers};
use crate::storage::recovery::{Found, Shutdown};
use crate::storage::segment::{Segment, length};
use crate::storage::txn_index;

/// A marker takes 78 bytes: what is this large is none.
const MAX_CONTROL_BYTES: usize = 64 << 10;

/// What is known of a log's producers, and the snapshots that say so too.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) producers: Producers,
    pub(crate) snapshots: Snapshots,
}

impl Known {
    /// Reads what the files of a log that was opened just now say, of its transactions too. Those of a damaged log are
    /// left as they are.
    pub(crate) fn load(
        how: &OpenLog,
        dir: &Arc<Path>,
        found: &mut Found,
    ) -> Result<(Self, Transactions), StorageError> {
        let entries = match how.fs.list(dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            listed => listed.map_err(StorageError::io("list", dir))?,
        };
        let snapshots = Snapshots::among(&entries, &how.fs, dir);
        let mut known = Self { producers: Producers::default(), snapshots };
        let mut indexes = saved_indexes(how, &entries, found)?;
        let from = indexes.iter().map(|index| index.from).min().unwrap_or(found.end);
        let from = known.begin_at(&found.segments, from.min(found.end));
        known.producers.expire(how.now, how.config.producer_id_expiration);
        let note_aborted = |at: usize, aborted: AbortedTransaction| {
            if let Some(index) = indexes.get_mut(at)
                && aborted.last >= index.from
            {
                index.entries.push(aborted);
            }
        };
        let transactions = known.go_through(&found.segments, from..found.end, note_aborted)?;
        for (index, segment) in indexes.into_iter().zip(&found.segments) {
            if index.file.is_none() {
                found.report.rebuilt.push(segment.path(names::TXN_INDEX));
            }
            segment.transactions().set(index.entries, index.file.as_deref());
        }
        if !found.is_damaged() {
            known.save(how, dir, found)?;
        }
        Ok((known, transactions))
    }

    /// Forgets everything, durably when the directory is synced: the log is empty.
    pub(crate) fn forget(&mut self) -> Result<(), StorageError> {
        self.producers = Producers::default();
        self.snapshots.clear()
    }

    /// Forgets what was known, and finds out what is to be known at `end`, of transactions too.
    pub(crate) fn rebuild(
        &mut self,
        segments: &[Arc<Segment>],
        end: Offset,
    ) -> Result<Transactions, StorageError> {
        let from = self.begin_at(segments, end);
        // What was aborted, the indexes know.
        self.go_through(segments, from..end, |_, _| {})
    }

    /// Knows what the newest snapshot at or below `upto` does. Returns its offset.
    fn begin_at(&mut self, segments: &[Arc<Segment>], upto: Offset) -> Offset {
        let start = segments.first().map_or(Offset::ZERO, |first| first.base());
        let (from, producers) = self.snapshots.load(start, upto).unwrap_or_default();
        self.producers = producers;
        if is_planted(Bug::SequencesForgotten) {
            self.producers = Producers::default();
        }
        from
    }

    /// Notes what the headers of the batches in `range` say. Tells of each transaction that was aborted there, and the
    /// place of its marker's segment.
    fn go_through(
        &mut self,
        segments: &[Arc<Segment>],
        range: Range<Offset>,
        mut aborted: impl FnMut(usize, AbortedTransaction),
    ) -> Result<Transactions, StorageError> {
        let mut transactions = self.producers.transactions();
        let first = segments.partition_point(|segment| segment.base() <= range.start);
        for (at, segment) in segments.iter().enumerate().skip(first.saturating_sub(1)) {
            let mut position = match segment.base() < range.start {
                _ if segment.base() >= range.end => break,
                true => segment.position_before(range.start)?,
                false => 0,
            };
            while let Some(header) = segment.header_at(position)? {
                if range.contains(&header.base_offset()) {
                    self.snapshots.note(length(header.size()));
                    let batch = producer_batch(segment, position, &header)?;
                    let step = batch.and_then(|batch| self.producers.replay(&batch));
                    if let Some(entry) = step.and_then(|step| transactions.take(step)) {
                        aborted(at, entry);
                    }
                }
                position += length(header.size());
            }
        }
        Ok(transactions)
    }

    /// Brings the files up to date: after a crash at once, so that what was found needs not be found again.
    fn save(&mut self, how: &OpenLog, dir: &Path, found: &Found) -> Result<(), StorageError> {
        let base = found.segments.last().map(|last| last.base());
        let mut names_changed = self.snapshots.truncate(base, found.end)?;
        self.snapshots.tidy(&found.segments);
        if matches!(how.shutdown, Shutdown::Unclean { .. }) {
            found.segments.iter().try_for_each(|segment| segment.save_transactions())?;
            if found.segments.first().is_some_and(|first| first.base() < found.end) {
                names_changed |=
                    self.snapshots.take(base.unwrap_or_default(), found.end, &self.producers);
            }
            if let Some(snapshot) = self.snapshots.take_unsynced() {
                snapshot.sync()?;
                self.snapshots.synced();
            }
        }
        if names_changed {
            how.fs.sync_dir(dir).map_err(StorageError::io("sync", dir))?;
        }
        Ok(())
    }
}

/// The transaction index of one segment, as far as its file is believed.
struct SavedIndex {
    entries: Vec<AbortedTransaction>,
    /// Transactions whose markers are at or behind this offset are not among them.
    from: Offset,
    /// What the file holds, `None` if it is of no use.
    file: Option<Vec<AbortedTransaction>>,
}

fn saved_indexes(
    how: &OpenLog,
    entries: &[Entry],
    found: &Found,
) -> Result<Vec<SavedIndex>, StorageError> {
    // What a crash may have left behind is made anew, and so is what lacks it.
    let suspect = match how.shutdown {
        Shutdown::Clean => found.end,
        Shutdown::Unclean { recovery_point } => recovery_point.min(found.end),
    };
    let ends = found.segments.iter().skip(1).map(|next| next.base()).chain([found.end]);
    let load = |(segment, end): (&Arc<Segment>, Offset)| {
        let path = segment.path(names::TXN_INDEX);
        let is_there = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
            entries.binary_search_by(|entry| entry.name.as_str().cmp(name)).is_ok()
        });
        let file = match is_there {
            true => {
                let read = read_file(&*how.fs, &path).map_err(StorageError::io("read", &path))?;
                txn_index::decode(read.unwrap_or_default(), segment.base())
            }
            false => Some(Vec::new()),
        };
        // In a part that was durable, there is no marker behind the segment's end.
        let trusted = suspect.min(end);
        let file =
            file.filter(|file| suspect < end || file.last().is_none_or(|last| last.last < end));
        Ok(match file {
            Some(file) => {
                let entries = file.iter().take_while(|entry| entry.last < trusted);
                let from = if suspect < end { suspect } else { Offset::MAX };
                SavedIndex { entries: entries.copied().collect(), from, file: Some(file) }
            }
            None => {
                log::warn!("{} is of no use: making it anew", path.display());
                SavedIndex { entries: Vec::new(), from: segment.base(), file: None }
            }
        })
    };
    found.segments.iter().zip(ends).map(load).collect()
}

/// What the batch of `header` says of its producer. The record is looked at only if that is what says it.
fn producer_batch(
    segment: &Segment,
    position: u64,
    header: &BatchHeader,
) -> Result<Option<ProducerBatch>, StorageError> {
    if !header.is_control() || header.size() > MAX_CONTROL_BYTES {
        return Ok(ProducerBatch::of(header, header.base_offset(), None));
    }
    let batch = Batch::parse(segment.read(position, header.size())?).ok();
    Ok(batch.and_then(|batch| ProducerBatch::of_accepted(&batch)))
}
