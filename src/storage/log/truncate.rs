//! Taking back the end of a log: what a follower does with batches that its leader does not have.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::Offset;
use crate::env::OpenFile;
use crate::storage::StorageError;
use crate::storage::log::Log;
use crate::storage::names;
use crate::storage::segment::{Segment, length};

impl Log {
    /// Removes every batch that ends at or after `offset`, durably. Nothing happens if the log ends before it.
    ///
    /// Readers may hold slices of what is cut, so the file that they look at keeps its length: the bytes that stay
    /// are copied to a new file that takes its name.
    #[cfg_attr(not(test), expect(dead_code, reason = "a leader never truncates: for followers"))]
    pub(crate) fn truncate_to(&self, offset: Offset) -> Result<(), StorageError> {
        let mut writer = self.writer.lock();
        if offset >= self.end() {
            return Ok(());
        }
        let segments = self.segments.load_full();
        let keep = segments.partition_point(|segment| segment.base() < offset);
        let (kept, removed) = segments.split_at(keep);
        let mut kept = kept.to_vec();
        let mut end = offset.max(self.start());
        // From the last one backwards, so that a crash in between leaves no gap.
        for segment in removed.iter().rev() {
            remove_segment(self, segment)?;
        }
        if let Some(last) = kept.pop() {
            let (cut, next) = cut_position(&last, offset)?;
            end = next;
            kept.push(Arc::new(self.replace_segment(&last, cut)?));
        }
        self.fs.sync_dir(&self.dir).map_err(StorageError::io("sync", &self.dir))?;
        writer.epochs.truncate(end);
        writer.unsynced.retain(|segment| kept.iter().any(|k| Arc::ptr_eq(k, segment)));
        self.segments.store(Arc::new(kept));
        self.tail.clear();
        self.end.store(end.value(), Ordering::Release);
        self.flushed.store(end.value().min(self.flushed().value()), Ordering::Release);
        Ok(())
    }

    /// A segment with the first `size` bytes of `old`, under its name.
    fn replace_segment(&self, old: &Segment, size: u64) -> Result<Segment, StorageError> {
        const CHUNK: u64 = 1 << 20;
        let path = old.path(names::LOG);
        let temporary = self.dir.join(names::segment_file(old.base(), ".log.tmp"));
        let write = || {
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
            file.sync()?;
            // The index first: an entry must never outlive the bytes that it points to (A22).
            for suffix in [names::OFFSET_INDEX, names::TIME_INDEX] {
                match self.fs.remove_file(&old.path(suffix)) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
            }
            self.fs.rename(&temporary, &path)
        };
        write().map_err(StorageError::io("replace", &path))?;
        let new = Segment::open(&self.fs, &self.dir, old.base())?;
        new.rebuild_index(self.config.index_interval_bytes)?;
        Ok(new)
    }
}

/// Where the first batch that ends at or after `offset` begins, and the offset after the one before it.
fn cut_position(segment: &Segment, offset: Offset) -> Result<(u64, Offset), StorageError> {
    let mut position = segment.position_before(offset)?;
    let mut next = segment.base();
    if segment.header_at(position)?.is_some_and(|h| h.last_offset() >= offset) {
        // The entry points right at the batch to be cut: who comes before it is not known from there.
        position = 0;
    }
    while let Some(header) = segment.header_at(position)? {
        if header.last_offset() >= offset {
            break;
        }
        next = header.next_offset();
        position += length(header.size());
    }
    Ok((position, next))
}

fn remove_segment(log: &Log, segment: &Segment) -> Result<(), StorageError> {
    for suffix in names::SEGMENT_SUFFIXES.iter().rev() {
        let path = segment.path(suffix);
        match log.fs.remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(StorageError::io("remove", &path)(e));
            }
            _ => {}
        }
    }
    Ok(())
}
