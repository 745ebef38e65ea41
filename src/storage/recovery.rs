//! Finding out, at open, what a log holds.
//!
//! 1. After a clean shutdown the end is found with a look at the last few batch headers.
//! 2. Otherwise everything from the recovery point on is suspect: batches are read and checked one after another, and
//!    the log is cut behind the last good one. Up to 4 KiB before the recovery point are looked at again, since that
//!    is where the nearest index entry leads.
//! 3. What is kept of the suspect part is written once more and synced before it counts as durable: a page that the
//!    kernel failed to write may be marked clean in its cache (rule R4).
//! 4. Below the recovery point nothing is ever cut. If a batch is bad there, it is damage, not a torn write: the
//!    log takes no appends, and what is readable can be read.

use std::path::Path;
use std::sync::Arc;

use crate::base::{Offset, TopicId};
use crate::env::{EntryKind, FileSystem};
use crate::env::read_file;
use crate::record::{Batch, BatchHeader, Frame, HEADER_LENGTH};
use crate::storage::epochs::LeaderEpochs;
use crate::storage::index::SegmentIndex;
use crate::storage::log::OpenLog;
use crate::storage::names;
use crate::storage::segment::{Segment, length};
use crate::storage::{LogConfig, StorageError};

/// How a store was left, as far as one log is concerned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shutdown {
    /// Closed: everything is on disk.
    Clean,
    /// Not closed: what lies below the recovery point is on disk.
    Unclean { recovery_point: Offset },
}

/// What opening a log came to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Recovered {
    /// Bytes read and checked.
    pub(crate) scanned_bytes: u64,
    /// Bytes cut off behind the last good batch.
    pub(crate) cut_bytes: u64,
}

/// A log as it was found, or made.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) epochs: LeaderEpochs,
    pub(super) end: Offset,
    pub(super) damaged: bool,
    pub(super) report: Recovered,
}

/// Loads the segments in `dir`.
pub(super) fn load(how: &OpenLog, dir: &Arc<Path>) -> Result<Found, StorageError> {
    let entries = match how.fs.list(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return load_missing(how, dir),
        Err(e) => return Err(StorageError::io("list", dir)(e)),
    };
    check_owner(&*how.fs, dir, how.topic_id)?;
    let mut segments = Vec::new();
    for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
        if entry.name.ends_with(".tmp") || entry.name.ends_with(".deleted") {
            let path = dir.join(&entry.name);
            how.fs.remove_file(&path).map_err(StorageError::io("remove", &path))?;
        } else if let Some(base) = names::parse_log_name(&entry.name) {
            segments.push(Arc::new(Segment::open(&how.fs, dir, base)?));
        }
    }
    let epochs = LeaderEpochs::load(&*how.fs, dir);
    let mut found = Found { segments, epochs: epochs.clone().unwrap_or_default(), ..Found::default() };
    if found.segments.is_empty() {
        return if is_written(how) { load_missing(how, dir) } else { Ok(found) };
    }
    let recovery_point = match how.shutdown {
        Shutdown::Clean if epochs.is_some() => {
            if let Some(end) = clean_end(&found.segments)? {
                found.end = end;
                return Ok(found);
            }
            // Everything was on disk, so that whatever is wrong is damage.
            Offset::MAX
        }
        Shutdown::Clean => Offset::ZERO,
        // Without the epochs every header has to be read, and with it all the rest.
        Shutdown::Unclean { .. } if epochs.is_none() => Offset::ZERO,
        Shutdown::Unclean { recovery_point } => recovery_point,
    };
    let trusted = match how.shutdown {
        Shutdown::Clean => Offset::MAX,
        Shutdown::Unclean { recovery_point } => recovery_point,
    };
    Recovery { how, dir, trusted, found }.run(recovery_point.min(trusted))
}

fn is_written(how: &OpenLog) -> bool {
    matches!(how.shutdown, Shutdown::Unclean { recovery_point } if recovery_point > Offset::ZERO)
}

/// No segments: a log that was never written to, unless the checkpoint knows better.
fn load_missing(how: &OpenLog, dir: &Path) -> Result<Found, StorageError> {
    if is_written(how) {
        return Err(StorageError::damaged(dir, "the checkpoint says that it holds records, but there are no segments"));
    }
    Ok(Found::default())
}

/// The topic named in `partition.metadata`. A missing or garbled file (an unsynced one, after a power cut) says
/// nothing.
pub(super) fn owner(fs: &dyn FileSystem, dir: &Path) -> Result<Option<TopicId>, StorageError> {
    let path = dir.join(names::PARTITION_METADATA);
    let content = read_file(fs, &path).map_err(StorageError::io("read", &path))?.unwrap_or_default();
    let text = String::from_utf8_lossy(&content);
    Ok(text.lines().find_map(|line| line.strip_prefix("topic_id: ")).and_then(TopicId::parse))
}

fn check_owner(fs: &dyn FileSystem, dir: &Path, expected: TopicId) -> Result<(), StorageError> {
    match owner(fs, dir)? {
        Some(id) if id != expected => {
            Err(StorageError::damaged(dir, format!("it belongs to topic {id}, not to {expected}")))
        }
        _ => Ok(()),
    }
}

/// The end of a log that was closed cleanly: the headers behind the last index entry lead to it. `None` if they do
/// not end where the file does.
fn clean_end(segments: &[Arc<Segment>]) -> Result<Option<Offset>, StorageError> {
    let Some(active) = segments.last() else { return Ok(None) };
    let mut position = active.position_before(Offset::MAX)?;
    let mut end = active.base();
    while let Some(header) = active.header_at(position)? {
        end = header.next_offset();
        position += length(header.size());
    }
    Ok((position == active.size()).then_some(end))
}

struct Recovery<'a> {
    how: &'a OpenLog,
    dir: &'a Arc<Path>,
    /// Everything below was durable: never cut.
    trusted: Offset,
    found: Found,
}

impl Recovery<'_> {
    fn run(mut self, from: Offset) -> Result<Found, StorageError> {
        let segments = std::mem::take(&mut self.found.segments);
        let floor = segments.partition_point(|segment| segment.base() <= from).saturating_sub(1);
        let mut expected = segments.first().map_or(Offset::ZERO, |segment| segment.base());
        let mut segments = segments.into_iter().enumerate();
        self.found.epochs.truncate(from);
        for (at, segment) in segments.by_ref() {
            if at < floor {
                self.found.segments.push(segment);
                continue;
            }
            // A later segment that does not follow on is what became of a lost one in between.
            let gap = segment.base() > expected && segment.base() > self.trusted;
            if at > floor && (gap || segment.base() < expected) {
                self.drop_segment(&segment)?;
                break;
            }
            let good = self.scan(&segment, if at == floor { from } else { segment.base() })?;
            expected = good.end;
            if good.position < segment.size() && good.end < self.trusted {
                log::error!("{} is damaged at {}", segment.path(names::LOG).display(), good.position);
                self.found.damaged = true;
                self.found.segments.push(segment);
                break;
            }
            self.keep(&segment, &good)?;
            self.found.segments.push(segment);
            if good.cut {
                break;
            }
        }
        if !self.found.damaged {
            for (_, later) in segments {
                self.drop_segment(&later)?;
            }
            self.how.fs.sync_dir(self.dir).map_err(StorageError::io("sync", self.dir))?;
        }
        self.found.end = expected;
        Ok(self.found)
    }

    /// Checks the batches of `segment` from shortly before `from` on, up to the first bad one.
    fn scan(&mut self, segment: &Segment, from: Offset) -> Result<Good, StorageError> {
        let LogConfig { index_interval_bytes, .. } = self.how.config;
        let mut index = segment.saved_index()?.unwrap_or_else(|| SegmentIndex::new(segment.base()));
        let resume = index.rewind(from);
        let mut good = Good { position: 0, end: segment.base(), rewrite_from: 0, cut: false, index };
        if let Some((offset, entry)) = resume {
            let position = u64::from(entry.position);
            match segment.header_at(position)? {
                Some(header) if header.last_offset() == offset => {
                    (good.position, good.end) = (position, header.base_offset());
                }
                _ => good.index = SegmentIndex::new(segment.base()),
            }
        }
        good.rewrite_from = good.position;
        let size = segment.size();
        let first = good.position;
        while let Some(header) = good_batch_at(segment, good.position, size, good.end)? {
            let position = u32::try_from(good.position).unwrap_or(u32::MAX);
            if !good.index.observe(&header, position, index_interval_bytes) {
                break;
            }
            if let Some(epoch) = header.leader_epoch() {
                self.found.epochs.assign(epoch, header.base_offset());
            }
            good.position += length(header.size());
            good.end = header.next_offset();
            if good.end <= self.trusted {
                good.rewrite_from = good.position;
            }
        }
        self.found.report.scanned_bytes += size - first;
        good.cut = good.position < size;
        Ok(good)
    }

    /// Makes the good part of a segment durable, and the rest go.
    fn keep(&mut self, segment: &Segment, good: &Good) -> Result<(), StorageError> {
        let mut index = good.index.clone();
        index.seal();
        segment.set_index(index, (0, 0));
        segment.save_index(true)?;
        if good.cut {
            self.found.report.cut_bytes += segment.size() - good.position;
            log::warn!(
                "cutting {} bytes behind the last good batch of {}",
                segment.size() - good.position,
                segment.path(names::LOG).display()
            );
            segment.truncate(good.position)?;
        }
        if good.rewrite_from < good.position {
            segment.rewrite(good.rewrite_from)?;
        }
        segment.sync_log()
    }

    fn drop_segment(&mut self, segment: &Segment) -> Result<(), StorageError> {
        log::warn!("removing {}, which does not follow on", segment.path(names::LOG).display());
        self.found.report.cut_bytes += segment.size();
        for suffix in names::SEGMENT_SUFFIXES.iter().rev() {
            let path = segment.path(suffix);
            match self.how.fs.remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StorageError::io("remove", &path)(e));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// How much of a segment is good.
struct Good {
    position: u64,
    end: Offset,
    /// Position of the first batch that was not known to be durable.
    rewrite_from: u64,
    /// Something behind `position` is not a good batch.
    cut: bool,
    index: SegmentIndex,
}

/// The header of the batch at `position`, if all of the batch is there, its checksum fits, and it begins at
/// `expected` or later.
fn good_batch_at(
    segment: &Segment,
    position: u64,
    size: u64,
    expected: Offset,
) -> Result<Option<BatchHeader>, StorageError> {
    let remaining = size - position;
    if remaining < length(HEADER_LENGTH) {
        return Ok(None);
    }
    let Frame::Complete(whole) = Frame::peek(&segment.read(position, HEADER_LENGTH)?, remaining) else {
        return Ok(None);
    };
    let Ok(batch) = Batch::parse(segment.read(position, whole)?) else { return Ok(None) };
    let good = batch.verify_crc().is_ok() && batch.header().base_offset() >= expected;
    Ok(good.then(|| *batch.header()))
}
