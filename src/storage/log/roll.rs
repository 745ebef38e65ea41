//! Beginning segments.

use std::sync::Arc;

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
        self.fs.create_dir(&self.dir).map_err(StorageError::io("create", &self.dir))?;
        self.write_metadata()?;
        self.add_segment(writer, base)
    }

    /// `partition.metadata` ties the directory to one life of its topic.
    fn write_metadata(&self) -> Result<(), StorageError> {
        let path = self.dir.join(names::PARTITION_METADATA);
        let text = format!("version: 0\ntopic_id: {}", self.topic_id);
        let write = || {
            let file = self.fs.open(&path, OpenFile::Write)?;
            file.set_len(0)?;
            file.write(0, &[text.into()])?;
            file.sync()
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
        let segment =
            Arc::new(Segment::create(&self.fs, &self.dir, base, self.config.load().layout())?);
        let mut segments = Vec::clone(&self.segments.load());
        segments.push(Arc::clone(&segment));
        self.segments.store(Arc::new(segments));
        writer.unsynced_names = true;
        Ok(segment)
    }
}
