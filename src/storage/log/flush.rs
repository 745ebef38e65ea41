//! From written to synced.

use std::path::Path;
use std::sync::Arc;

use crate::base::{Bug, Offset, is_planted};
use crate::storage::StorageError;
use crate::storage::digest;
use crate::storage::log::{Log, Writer};
use crate::storage::producers::{Known, UnsyncedSnapshot};
use crate::storage::recovery::sync_owner;
use crate::storage::segment::Segment;

/// Bytes of log that recovery may have to walk through again because a checkpoint did not save their index entries,
/// which takes two syncs.
const CHECKPOINT_BYTES: u64 = 1 << 20;

/// What no sync has covered.
struct Unsynced {
    segments: Vec<Arc<Segment>>,
    snapshot: Option<UnsyncedSnapshot>,
    names: bool,
    owner: bool,
}

impl Writer {
    fn take_unsynced(&mut self) -> Unsynced {
        Unsynced {
            segments: std::mem::take(&mut self.unsynced),
            snapshot: self.known.snapshots.take_unsynced(),
            names: std::mem::take(&mut self.unsynced_names),
            owner: std::mem::take(&mut self.unsynced_owner),
        }
    }

    /// Writes down what is known of producers at `end`, the end of the log.
    fn take_snapshot(&mut self, segments: &[Arc<Segment>], end: Offset) {
        if let (Some(first), Some(last)) = (segments.first(), segments.last())
            && first.base() < end
        {
            let Known { producers, snapshots } = &mut self.known;
            self.unsynced_names |= snapshots.take(last.base(), end, producers);
        }
    }
}

impl Log {
    /// Forces everything written before the call to the disk and returns the offset below which all is durable.
    ///
    /// After an error the log is offline (rule R4): the kernel may have dropped what it could not write, and a second
    /// sync would not say so.
    pub(crate) fn sync(&self) -> Result<Offset, StorageError> {
        self.flush(false)
    }

    /// As [`Log::sync`]. Who closes the log leaves a snapshot at its end.
    fn flush(&self, closing: bool) -> Result<Offset, StorageError> {
        let _flushing = self.flushing.lock();
        let (unsynced, end) = {
            let mut writer = self.writer.lock();
            if self.is_offline() {
                return Err(self.offline_error());
            }
            let end = self.end();
            if closing || writer.known.snapshots.is_due() {
                writer.take_snapshot(&self.segments.load(), end);
            }
            (writer.take_unsynced(), end)
        };
        let mut synced = self.sync_files(&unsynced);
        if synced.is_err() && is_planted(Bug::SyncRetried) {
            synced = self.sync_files(&unsynced);
        }
        if let Err(error) = synced {
            log::error!("{} is offline: {error}", self.partition);
            if !is_planted(Bug::OfflineIgnored) {
                self.take_offline();
            }
            return Err(error);
        }
        if unsynced.snapshot.is_some() {
            self.writer.lock().known.snapshots.synced();
        }
        self.flushed.raise(if is_planted(Bug::EndAfterSync) { self.end() } else { end });
        Ok(self.flushed())
    }

    fn sync_files(&self, unsynced: &Unsynced) -> Result<(), StorageError> {
        let active = self.segments.load().last().cloned();
        for segment in &unsynced.segments {
            segment.sync_log()?;
            if active.as_ref().is_none_or(|active| !Arc::ptr_eq(active, segment)) {
                save_index(segment)?;
            }
        }
        if let Some(snapshot) = &unsynced.snapshot {
            snapshot.sync()?;
        }
        if unsynced.owner && !is_planted(Bug::OwnerNotSynced) {
            sync_owner(&*self.fs, &self.dir)?;
        }
        if unsynced.names && !is_planted(Bug::NamesNotSynced) {
            sync_dir(self, &self.dir)?;
            sync_dir(self, &self.root)?;
        }
        Ok(())
    }

    /// Saves what is derived from the log, so that recovery may begin at the offset returned: everything below it is
    /// durable.
    pub(crate) fn checkpoint(&self) -> Result<Offset, StorageError> {
        let _flushing = self.flushing.lock();
        let ahead = is_planted(Bug::RecoveryPointAhead);
        let flushed = if ahead { self.end() } else { self.flushed() };
        if let Some(active) = self.segments.load().last() {
            if active.is_index_behind(CHECKPOINT_BYTES) {
                save_index(active)?;
            }
            self.save_epochs()?;
        }
        self.save_transactions()?;
        digest::save(&self.segments.load_full(), self.digest_owner(), flushed, false);
        Ok(flushed)
    }

    /// Makes the transaction indexes durable. Unlike the others they have to be complete: a recovery does not look
    /// below the recovery point for what they lack.
    fn save_transactions(&self) -> Result<(), StorageError> {
        self.segments.load_full().iter().try_for_each(|segment| segment.save_transactions())
    }

    /// Writes and syncs everything, so that the next open needs to read nothing. Returns the end.
    pub(crate) fn close(&self) -> Result<Offset, StorageError> {
        let end = self.flush(true)?;
        let _flushing = self.flushing.lock();
        self.save_transactions()?;
        let segments = self.segments.load_full();
        for segment in segments.iter() {
            segment.seal();
            save_index(segment)?;
        }
        if !segments.is_empty() {
            self.save_epochs()?;
            digest::save(&segments, self.digest_owner(), end, true);
            sync_dir(self, &self.dir)?;
        }
        Ok(end)
    }
}

/// Brings the index files up to date. On a full disk they stay as they are: that costs the next open a walk.
fn save_index(segment: &Segment) -> Result<(), StorageError> {
    match segment.save_index() {
        Err(error) if error.is_full() => {
            log::warn!("an index was not saved: {error}");
            Ok(())
        }
        result => result,
    }
}

fn sync_dir(log: &Log, dir: &Path) -> Result<(), StorageError> {
    log.fs.sync_dir(dir).map_err(StorageError::io("sync", dir))
}
