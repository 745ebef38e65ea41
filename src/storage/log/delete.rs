//! Taking back the beginning of a log: records that were deleted, and the files that held nothing else.
//!
//! What was deleted is said outside of the log, durably, before anything is done here: a file that a crash leaves behind
//! is removed at the next open, whatever is missing beside it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::base::Offset;
use crate::storage::StorageError;
use crate::storage::log::Log;
use crate::storage::names;
use crate::storage::segment::{Segment, remove_file};

impl Log {
    /// Has the log begin at `before`, which is not above its end. It never begins earlier again, and the next open has to
    /// be told.
    pub(crate) fn raise_start(&self, before: Offset) {
        let mut writer = self.writer.lock();
        self.start.raise(before.min(self.end()));
        self.change_epochs(&mut writer, |epochs| epochs.begin_at(self.start()));
    }

    /// Removes the segments that lie below the start as a whole. What is known of producers is durable before their
    /// batches go. After an error files may be left: the next call does not find them, the next open does.
    pub(crate) fn remove_below_start(&self) -> Result<(), StorageError> {
        if below(&self.segments.load(), self.start()).is_empty() {
            return Ok(());
        }
        self.sync()?;
        let _flushing = self.flushing.lock();
        let removed = {
            let mut writer = self.writer.lock();
            if self.is_offline() {
                return Err(self.offline_error());
            }
            let segments = self.segments.load_full();
            let (removed, kept) = segments.split_at(below(&segments, self.start()).len());
            self.segments.store(Arc::new(kept.to_vec()));
            writer.unsynced.retain(|segment| kept.iter().any(|k| Arc::ptr_eq(k, segment)));
            removed.to_vec()
        };
        self.remove_segments(&removed)
    }

    /// Removes the files of segments that are not the log's any more.
    pub(super) fn remove_segments(&self, removed: &[Arc<Segment>]) -> Result<(), StorageError> {
        let mut renamed = Vec::new();
        for segment in removed {
            renamed.extend(self.rename_deleted(segment)?);
        }
        self.fs.sync_dir(&self.dir).map_err(StorageError::io("sync", &self.dir))?;
        renamed.iter().try_for_each(|path| remove_file(&*self.fs, path))
    }

    /// Gives the files of a segment names that no open takes for a segment's, as Kafka does.
    fn rename_deleted(&self, segment: &Segment) -> Result<Vec<PathBuf>, StorageError> {
        let mut renamed = Vec::new();
        for suffix in names::SEGMENT_SUFFIXES {
            let path = segment.path(suffix);
            let to = segment.path(&format!("{suffix}{}", names::DELETED));
            match self.fs.rename(&path, &to) {
                Ok(()) => renamed.push(to),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(StorageError::io("rename", &path)(e)),
            }
        }
        Ok(renamed)
    }
}

/// Those of a log's segments that hold nothing at or above `start`. Not the last one, which is appended to.
pub(in crate::storage) fn below(segments: &[Arc<Segment>], start: Offset) -> &[Arc<Segment>] {
    let nexts = segments.iter().skip(1);
    let count = nexts.take_while(|next| next.base() <= start).count();
    segments.get(..count).unwrap_or_default()
}
