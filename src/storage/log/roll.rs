//! Beginning segments.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::Offset;
use crate::env::OpenFile;
use crate::storage::log::{Log, Writer};
use crate::storage::names;
use crate::storage::segment::Segment;
use crate::storage::{AppendError, StorageError};

impl Log {
    /// The segment to append to; the first one, and the directory, are created here.
    pub(super) fn active(
        &self,
        writer: &mut Writer,
        base: Offset,
    ) -> Result<Arc<Segment>, StorageError> {
        if let Some(active) = self.segments.load().last() {
            return Ok(Arc::clone(active));
        }
        let first = self.begin(base)?;
        self.segments.store(Arc::new(vec![Arc::clone(&first)]));
        writer.unsynced_names = true;
        writer.unsynced_owner = true;
        Ok(first)
    }

    /// A segment with which the log begins, and the directory, if there is none. If it is not at 0, that is where the log
    /// begins for a recovery too. After an error there is none, or the log is offline.
    pub(super) fn begin(&self, base: Offset) -> Result<Arc<Segment>, StorageError> {
        self.fs.create_dir(&self.dir).map_err(StorageError::io("create", &self.dir))?;
        self.write_metadata()?;
        let first = self.create_segment(base)?;
        if base > Offset::ZERO {
            let synced = self.fs.sync_dir(&self.dir).map_err(StorageError::io("sync", &self.dir));
            let said = synced.and_then(|()| first.save_empty_digest(self.digest_owner()));
            said.inspect_err(|error| {
                // On a full disk it was not said. Otherwise that is not known.
                if !error.is_full() || first.remove().is_err() {
                    log::error!("{} is offline: {error}", self.partition);
                    self.offline.store(true, Ordering::Release);
                }
            })?;
        }
        Ok(Arc::new(first))
    }

    /// `partition.metadata` ties the directory to one life of its topic. Durable before anything in the log is.
    fn write_metadata(&self) -> Result<(), StorageError> {
        if Self::owner(&*self.fs, &self.dir)? == Some(self.topic_id) {
            return Ok(());
        }
        let path = self.dir.join(names::PARTITION_METADATA);
        let text = format!("version: 0\ntopic_id: {}", self.topic_id);
        let write = || {
            let file = self.fs.open(&path, OpenFile::Write)?;
            file.set_len(0)?;
            file.write(0, &[text.into()])
        };
        write().map_err(StorageError::io("write", &path))
    }

    /// Ends the active segment and begins the next one at `base`.
    pub(super) fn roll(&self, writer: &mut Writer, base: Offset) -> Result<(), AppendError> {
        let full = self.segments.load().last().cloned();
        self.add_segment(writer, base).map_err(AppendError::NotWritten)?;
        if let Some(full) = full {
            full.seal();
            writer.began = None;
            // Its bytes may be synced by now; the end of its indexes is not.
            writer.note_unsynced(&full);
            // Its name is made durable together with the segment's.
            let _is_new = writer.known.snapshots.take(base, base, &writer.known.producers);
        }
        Ok(())
    }

    fn add_segment(&self, writer: &mut Writer, base: Offset) -> Result<Arc<Segment>, StorageError> {
        let segment = Arc::new(self.create_segment(base)?);
        let mut segments = Vec::clone(&self.segments.load());
        segments.push(Arc::clone(&segment));
        self.segments.store(Arc::new(segments));
        writer.unsynced_names = true;
        Ok(segment)
    }

    fn create_segment(&self, base: Offset) -> Result<Segment, StorageError> {
        Segment::create(&self.fs, &self.dir, base, self.config.load().layout())
    }
}
