//! Beginning where a leader's log does, when that is behind all that a follower has.
//!
//! # Invariants
//! - A log without batches has one empty segment, at its start, or none if that is 0.
//! - A digest of no bytes says that the log begins with its segment: whatever a crash leaves of earlier ones is removed
//!   at the next open. It is written, durably, before they go.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::Offset;
use crate::storage::log::run::Run;
use crate::storage::log::{Log, Writer};
use crate::storage::producers::Transactions;
use crate::storage::recovery::sync_owner;
use crate::storage::segment::{Segment, remove_file};
use crate::storage::{AppendError, StorageError, names};

impl Log {
    /// Removes everything, durably: the log begins and ends at `offset`, as Kafka's `truncateFullyAndStartAt`. For a
    /// follower whose leader's log begins there. Nothing happens if the log ends behind `offset`.
    ///
    /// Opened again it begins there too. A recovery point on disk needs not be changed.
    ///
    /// After an error the log is as it was, or offline, or has begun anew: then files are left that the next open
    /// removes.
    pub(crate) fn start_over_at(&self, offset: Offset) -> Result<(), StorageError> {
        let _flushing = self.flushing.lock();
        let mut writer = self.writer.lock();
        if self.is_offline() {
            return Err(self.offline_error());
        }
        if offset < self.end() || (offset == self.end() && offset == self.first_base()) {
            return Ok(());
        }
        self.start_over(&mut writer, offset)
    }

    /// As [`Log::start_over_at`], with the locks held.
    pub(super) fn start_over(
        &self,
        writer: &mut Writer,
        offset: Offset,
    ) -> Result<(), StorageError> {
        let old = self.segments.load_full();
        let new = self.begin(offset)?;
        let sync_dir = |dir| self.fs.sync_dir(dir).map_err(StorageError::io("sync", dir));
        let synced = sync_owner(&*self.fs, &self.dir)
            .and_then(|()| sync_dir(&self.dir))
            .and_then(|()| sync_dir(&self.root));
        synced.inspect_err(|error| {
            log::error!("{} is offline: {error}", self.partition);
            self.offline.store(true, Ordering::Release);
        })?;
        // In this order for readers: who finds nothing in the new segment asks for the start again.
        self.end.set(offset);
        self.flushed.set(offset);
        self.start.raise(offset);
        self.segments.store(Arc::new(vec![new]));
        self.tail.clear();
        self.undecided.set(Transactions::default());
        self.change_epochs(writer, |epochs| epochs.clear());
        writer.unsynced.clear();
        writer.unsynced_names = false;
        writer.unsynced_owner = false;
        writer.began = None;
        writer.known.forget()?;
        remove_file(&*self.fs, &self.dir.join(names::LEADER_EPOCHS))?;
        let old = old.iter().filter(|segment| segment.base() != offset);
        self.remove_segments(&old.cloned().collect::<Vec<_>>())
    }

    /// Has the digest of a segment say no more than that the log begins there, if it does: its bytes are about to be
    /// others. Durable when the directory is synced.
    pub(super) fn reset_digest(&self, segment: &Segment) -> Result<(), StorageError> {
        if segment.base() > Offset::ZERO && segment.base() == self.first_base() {
            segment.save_empty_digest(self.digest_owner())
        } else {
            remove_file(&*self.fs, &segment.path(names::DIGEST))
        }
    }

    /// The segment of a log without batches.
    pub(super) fn empty_segment(&self) -> Option<Arc<Segment>> {
        match self.segments.load().as_slice() {
            [only] if only.size() == 0 => Some(Arc::clone(only)),
            _ => None,
        }
    }

    /// Writes the first batch of a log, at `base`, where its `empty` segment does not begin. Its own one is durable before
    /// the empty one goes, which says where the log begins.
    pub(super) fn write_first(
        &self,
        writer: &mut Writer,
        empty: &Segment,
        run: &mut Run,
        base: Offset,
    ) -> Result<(), AppendError> {
        let sync_dir = || self.fs.sync_dir(&self.dir).map_err(StorageError::io("sync", &self.dir));
        let before = self.segments.load_full();
        let new = self.begin(base).map_err(AppendError::NotWritten)?;
        self.segments.store(Arc::new(vec![Arc::clone(&new)]));
        self.write_run(writer, run, &mut []).inspect_err(|_| {
            self.segments.store(before);
            // It says that the log begins with it: what is written next must not be taken for older.
            let removed = new.remove().and_then(|()| sync_dir());
            self.offline.fetch_or(removed.is_err(), Ordering::AcqRel);
        })?;
        let synced = new.sync_log().and_then(|()| sync_dir());
        synced.and_then(|()| empty.remove()).and_then(|()| sync_dir()).map_err(|error| {
            log::error!("{} is offline: {error}", self.partition);
            self.offline.store(true, Ordering::Release);
            AppendError::Unknown(error)
        })
    }
}
