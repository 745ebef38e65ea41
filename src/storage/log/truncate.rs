//! Taking back the end of a log: what a follower does with batches that its leader does not have.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::{Bug, Offset, is_planted};
use crate::env::OpenFile;
use crate::storage::StorageError;
use crate::storage::log::{Log, Writer};
use crate::storage::names;
use crate::storage::producers::Transactions;
use crate::storage::segment::{Segment, length, remove_file};

impl Log {
    /// Removes every batch that ends at or after `offset`, durably, and forgets the leader epochs that begin there.
    /// No batch goes if the log ends before it.
    ///
    /// Readers may hold slices of what is cut, so the file that they look at keeps its length: the bytes that stay
    /// are copied to a new file that takes its name.
    ///
    /// A recovery point on disk that lies above `offset` has to be lowered first: it would make a recovery take what
    /// is written later for durable.
    ///
    /// After an error the log is offline: which of the files went is not known.
    pub(crate) fn truncate_to(&self, offset: Offset) -> Result<(), StorageError> {
        let _flushing = self.flushing.lock();
        let mut writer = self.writer.lock();
        if self.is_offline() {
            return Err(self.offline_error());
        }
        if offset >= self.end() {
            // An epoch that has begun there, without a record, is not the leader's (C6).
            self.change_epochs(&mut writer, |epochs| epochs.truncate(offset));
            return Ok(());
        }
        let segments = self.segments.load_full();
        // The first one stays, if only for its name, which holds the log's start.
        let keep = segments.partition_point(|segment| segment.base() < offset).max(1);
        let (kept, removed) = segments.split_at(keep.min(segments.len()));
        let last = kept.last().map(|last| cut_position(last, offset)).transpose()?;
        if last.is_some_and(|(_, end)| end < self.start()) {
            // It has no batch any more, and must not end before it begins.
            return self.start_over(&mut writer, self.start());
        }
        let cut = self.cut(&mut writer, kept, removed, offset);
        let (kept, end, transactions) = cut.inspect_err(|error| {
            log::error!("{} is offline: {error}", self.partition);
            self.offline.store(true, Ordering::Release);
        })?;
        self.change_epochs(&mut writer, |epochs| epochs.truncate(end));
        writer.began = None;
        writer.unsynced.retain(|segment| kept.iter().any(|k| Arc::ptr_eq(k, segment)));
        self.segments.store(Arc::new(kept));
        if !is_planted(Bug::TailStays) {
            self.tail.clear();
        }
        self.undecided.set(transactions);
        self.end.set(end);
        self.flushed.set(end.min(self.flushed()));
        Ok(())
    }

    /// Cuts the files. Returns the segments that are left, the offset behind them, and the transactions before it.
    fn cut(
        &self,
        writer: &mut Writer,
        kept: &[Arc<Segment>],
        removed: &[Arc<Segment>],
        offset: Offset,
    ) -> Result<(Vec<Arc<Segment>>, Offset, Transactions), StorageError> {
        // Digests first, durably: one that is left would call the shorter log damaged.
        for segment in removed {
            remove_file(&*self.fs, &segment.path(names::DIGEST))?;
        }
        self.fs.sync_dir(&self.dir).map_err(StorageError::io("sync", &self.dir))?;
        // From the last one backwards, so that a crash in between leaves no gap.
        for segment in removed.iter().rev() {
            segment.remove()?;
        }
        let mut kept = kept.to_vec();
        let mut end = self.start();
        if let Some(last) = kept.last_mut() {
            let (position, next) = cut_position(last, offset)?;
            end = next;
            if position == last.size() {
                last.unseal()?;
            } else {
                *last = Arc::new(self.replace_segment(last, position, end)?);
            }
        }
        // One that spoke of what was cut must not be found when other batches have taken its place.
        let base = kept.last().map(|last| last.base());
        writer.known.snapshots.truncate(base, end)?;
        self.fs.sync_dir(&self.dir).map_err(StorageError::io("sync", &self.dir))?;
        let transactions = writer.known.rebuild(&kept, end)?;
        Ok((kept, end, transactions))
    }

    /// A segment with the first `size` bytes of `old`, which end at `end`, under its name.
    fn replace_segment(
        &self,
        old: &Segment,
        size: u64,
        end: Offset,
    ) -> Result<Segment, StorageError> {
        const CHUNK: u64 = 1 << 20;
        let path = old.path(names::LOG);
        let temporary = self.dir.join(names::segment_file(old.base(), ".log.tmp"));
        let copy = || {
            let file = self.fs.open(&temporary, OpenFile::Write)?;
            file.set_len(0)?;
            let mut position = 0;
            while position < size {
                let wanted = usize::try_from(CHUNK.min(size - position)).unwrap_or(usize::MAX);
                let chunk = old.read(position, wanted).map_err(std::io::Error::other)?;
                let read = length(chunk.len());
                file.write(position, &[chunk])?;
                position += read;
            }
            file.sync()
        };
        copy().map_err(StorageError::io("write", &temporary))?;
        // The index first: an entry must never outlive the bytes that it points to (A22).
        let transactions = old.transactions().cut(end);
        let name = names::segment_file(old.base(), names::TXN_INDEX);
        transactions.save(&*self.fs, &self.dir, &name)?;
        // A digest would call the shorter file damaged.
        self.reset_digest(old)?;
        for suffix in [names::OFFSET_INDEX, names::TIME_INDEX] {
            remove_file(&*self.fs, &old.path(suffix))?;
        }
        self.fs.sync_dir(&self.dir).map_err(StorageError::io("sync", &self.dir))?;
        self.fs.rename(&temporary, &path).map_err(StorageError::io("replace", &path))?;
        let new = Segment::open(&self.fs, &self.dir, old.base(), old.layout())?;
        new.rebuild_index()?;
        Ok(new.with_transactions(transactions))
    }
}

/// Where the first batch that ends at or after `offset` begins, and the offset after the one before it.
fn cut_position(segment: &Segment, offset: Offset) -> Result<(u64, Offset), StorageError> {
    let mut next = segment.base();
    let mut position = match Offset::new(offset.value() - 1) {
        // An entry for `offset` itself would not tell what comes before it.
        Some(before) => segment.position_before(before)?,
        None => 0,
    };
    while let Some(header) = segment.header_at(position)? {
        if header.last_offset() >= offset {
            return Ok((position, next));
        }
        next = header.next_offset();
        position += length(header.size());
    }
    if position < segment.size() {
        return Err(StorageError::damaged(
            &segment.path(names::LOG),
            format!("no batch begins at {position}"),
        ));
    }
    Ok((position, next))
}
