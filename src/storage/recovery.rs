//! Finding out, at open, what a log holds.
//!
//! 1. After a clean shutdown the end is found with a look at the last few batch headers.
//! 2. Otherwise everything from the recovery point on is suspect: batches are read and checked one after another, and
//!    the log is cut behind the last good one, when a copy of what is cut is durable. Up to 4 KiB before the recovery
//!    point are looked at again, since that is where the nearest index entry leads.
//! 3. What is kept of the suspect part is written once more and synced before it counts as durable: a page that the
//!    kernel failed to write may be marked clean in its cache (rule R4).
//! 4. Below the recovery point, or the end of a digest, nothing is ever cut. If a batch is bad or missing there, it is
//!    damage, not a torn write: no file is changed, the log takes no appends, and what is readable can be read.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::{Bug, Offset, TopicId, is_planted};
use crate::env::read_file;
use crate::env::{EntryKind, FileSystem, OpenFile};
use crate::record::{Batch, BatchHeader, Frame, HEADER_LENGTH};
use crate::storage::damage::Damage;
use crate::storage::digest::{self, Owner};
use crate::storage::epochs::LeaderEpochs;
use crate::storage::index::{EntryCounts, SegmentIndex};
use crate::storage::log::{OpenLog, below};
use crate::storage::names;
use crate::storage::segment::{Resumed, Segment, length, remove_file};
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
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Recovered {
    /// Bytes read and checked.
    pub(crate) scanned_bytes: u64,
    /// Bytes cut off behind the last good batch.
    pub(crate) cut_bytes: u64,
    /// Whole batches among them.
    pub(crate) cut_batches: u64,
    /// How many of the bytes were kept aside.
    pub(crate) quarantined_bytes: u64,
    /// Files that were missing or of no use, and were made anew.
    pub(crate) rebuilt: Vec<PathBuf>,
    /// The first that was found of what was durable and is damaged: the log takes no appends.
    pub(crate) damage: Option<Damage>,
}

/// A log as it was found, or made.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) epochs: LeaderEpochs,
    pub(super) end: Offset,
    /// What lies below was on disk when the log was left, whether or not it is damaged by now.
    pub(super) durable: Offset,
    pub(super) report: Recovered,
}

impl Found {
    /// Something that was durable is not there as it was: no file is changed.
    pub(super) fn is_damaged(&self) -> bool {
        self.report.damage.is_some()
    }
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
    let mut leftovers = Vec::new();
    for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
        if entry.name.ends_with(".tmp") || entry.name.ends_with(names::DELETED) {
            leftovers.push(dir.join(&entry.name));
        } else if let Some(base) = names::parse_name(&entry.name, names::LOG) {
            let layout = how.config.layout();
            segments.push(Arc::new(Segment::open(&how.fs, dir, base, layout)?));
        }
    }
    let owner = Owner { topic: how.topic_id, partition: how.partition.partition };
    for segment in &segments {
        let name = names::segment_file(segment.base(), names::DIGEST);
        if entries.binary_search_by(|entry| entry.name.cmp(&name)).is_ok() {
            segment.load_digest(owner);
        }
    }
    // Of those that were being removed when the power went, any may be there.
    let begins = digest::beginning(&segments).unwrap_or_default().max(how.deleted);
    let deleted = below(&segments, begins).to_vec();
    let found = load_segments(how, dir, segments.split_off(deleted.len()))?;
    if !found.is_damaged() && !how.examine {
        deleted.iter().try_for_each(|segment| segment.remove())?;
        for path in leftovers {
            remove_file(&*how.fs, &path)?;
        }
    }
    Ok(found)
}

fn load_segments(
    how: &OpenLog,
    dir: &Arc<Path>,
    segments: Vec<Arc<Segment>>,
) -> Result<Found, StorageError> {
    let Some(active) = segments.last() else { return load_missing(how, dir) };
    // A log with batches has epochs, and one without has none.
    let epochs = match segments.iter().all(|segment| segment.size() == 0) {
        true => Some(LeaderEpochs::default()),
        false => LeaderEpochs::load(&*how.fs, dir).filter(|epochs| epochs.latest().is_some()),
    };
    let durable = match how.shutdown {
        Shutdown::Clean => Offset::MAX,
        Shutdown::Unclean { recovery_point } => recovery_point.max(digest::durable(&segments)),
    };
    let had_epochs = epochs.is_some();
    let mut found = Found { epochs: epochs.unwrap_or_default(), ..Found::default() };
    if let Some(damage) = digest::find_damage(&how.partition, &segments, durable)? {
        return Recovery { how, dir, durable, found }.leave(segments, damage);
    }
    let from = match how.shutdown {
        // Without the epochs every header has to be read, and with it all the rest.
        _ if !had_epochs => {
            found.report.rebuilt.push(dir.join(names::LEADER_EPOCHS));
            Offset::ZERO
        }
        Shutdown::Unclean { recovery_point } => recovery_point,
        Shutdown::Clean => {
            let (position, end) = active.end()?;
            if position < active.size() {
                // Everything was on disk, so that whatever is wrong is damage: it is for `Recovery` to say so.
                Offset::MAX
            } else if how.closed_at.is_empty() || how.closed_at.contains(&end) {
                active.unseal()?;
                found.epochs.truncate(end);
                return Ok(Found { segments, end, ..found });
            } else {
                let damage = closed_elsewhere(how, active, readable_end(active)?);
                return Recovery { how, dir, durable, found }.leave(segments, damage);
            }
        }
    };
    Recovery { how, dir, durable, found }.run(segments, from)
}

/// A log whose good batches end at `end`, and that was closed when it ended elsewhere.
fn closed_elsewhere(how: &OpenLog, last: &Segment, end: Offset) -> Damage {
    let closed_at = how.closed_at.first().copied().unwrap_or_default();
    let offsets = end.min(closed_at)..end.max(closed_at);
    let reason = format!("it ends at offset {end}, but was closed at {closed_at}");
    Damage::new(&how.partition, last, offsets, last.size(), reason)
}

fn is_written(how: &OpenLog) -> bool {
    match how.shutdown {
        Shutdown::Unclean { recovery_point } => recovery_point > Offset::ZERO,
        Shutdown::Clean => !how.closed_at.is_empty() && !how.closed_at.contains(&Offset::ZERO),
    }
}

/// No segments: a log that was never written to, unless the checkpoint knows better.
fn load_missing(how: &OpenLog, dir: &Path) -> Result<Found, StorageError> {
    if is_written(how) {
        return Err(StorageError::damaged(
            dir,
            "the checkpoint says that it holds records, but there are no segments",
        ));
    }
    Ok(Found::default())
}

/// The topic to which a partition's directory belongs, as far as it says.
pub(super) fn owner(fs: &dyn FileSystem, dir: &Path) -> Result<Option<TopicId>, StorageError> {
    read_topic_id(fs, &dir.join(names::PARTITION_METADATA))
}

/// Whether `partition.metadata` is as a power cut leaves a file that was never synced: not there, or cut short.
pub(super) fn has_lost_owner(fs: &dyn FileSystem, dir: &Path) -> Result<bool, StorageError> {
    let path = dir.join(names::PARTITION_METADATA);
    let content = read_file(fs, &path).map_err(StorageError::io("read", &path))?;
    let whole = "version: 0\ntopic_id: ".len() + TopicId::TEXT_LENGTH;
    let written =
        |content: &[u8]| content.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    Ok(content.is_none_or(|content| written(&content) < whole))
}

/// Makes durable whose log it is in `dir`, as far as that is said. To be followed by a sync of the directory.
pub(super) fn sync_owner(fs: &dyn FileSystem, dir: &Path) -> Result<(), StorageError> {
    let path = dir.join(names::PARTITION_METADATA);
    match fs.open(&path, OpenFile::WriteMapped).and_then(|file| file.sync()) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        synced => synced.map_err(StorageError::io("sync", &path)),
    }
}

/// As [`sync_owner`], whatever a sync that failed has left of it: see rule 3 above.
fn rewrite_owner(fs: &dyn FileSystem, dir: &Path) -> Result<(), StorageError> {
    let path = dir.join(names::PARTITION_METADATA);
    let rewrite = |content| fs.open(&path, OpenFile::WriteMapped)?.write(0, &[content]);
    let content = read_file(fs, &path).map_err(StorageError::io("read", &path))?;
    content.map_or(Ok(()), rewrite).map_err(StorageError::io("write", &path))?;
    sync_owner(fs, dir)
}

/// The topic named in a `partition.metadata` file. A missing or garbled one (unsynced, after a power cut) says nothing.
pub(crate) fn read_topic_id(
    fs: &dyn FileSystem,
    path: &Path,
) -> Result<Option<TopicId>, StorageError> {
    let content = read_file(fs, path).map_err(StorageError::io("read", path))?.unwrap_or_default();
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

struct Recovery<'a> {
    how: &'a OpenLog,
    dir: &'a Arc<Path>,
    /// Everything below was on disk.
    durable: Offset,
    found: Found,
}

impl Recovery<'_> {
    /// Checks all from `from` on. Nothing is changed before all has been looked at.
    fn run(mut self, segments: Vec<Arc<Segment>>, from: Offset) -> Result<Found, StorageError> {
        // The segment before `from` too, if `from` is where one begins: the end of its indexes may not be on disk.
        let floor = segments.partition_point(|segment| segment.base() < from).saturating_sub(1);
        self.found.epochs.truncate(from);
        let mut suspects = Vec::new();
        let mut end = Offset::ZERO;
        for segment in segments.iter().skip(floor) {
            let follows_on = match suspects.is_empty() {
                true => self.may_begin_with(segment, segments.first()),
                false => segment.layout().follows(segment.base(), end),
            };
            if !follows_on {
                break;
            }
            let good = self.scan(segment, from)?;
            end = good.end;
            let whole = good.position == segment.size();
            suspects.push(good);
            if !whole {
                break;
            }
        }
        let (kept, dropped) = segments.split_at(floor + suspects.len());
        let last = kept.last().zip(suspects.last());
        let cut = last.is_some_and(|(segment, good)| good.position < segment.size());
        let damaged = match self.how.shutdown {
            Shutdown::Clean => cut || !dropped.is_empty(),
            Shutdown::Unclean { .. } => {
                let durable = self.durable;
                end < durable || dropped.first().is_some_and(|segment| segment.base() < durable)
            }
        };
        if damaged && !is_planted(Bug::DamageIsCut) {
            let damage = self.damage_behind(last, dropped)?;
            return self.leave(segments, damage);
        }
        let torn = last.map(|(segment, good)| (segment, good.position..segment.size(), good.end));
        let dropped_bytes =
            dropped.iter().map(|segment| (segment, 0..segment.size(), segment.base()));
        let cuts = torn.filter(|_| cut).into_iter().chain(dropped_bytes).collect::<Vec<_>>();
        if self.how.examine {
            let Some((_, _, offset)) = cuts.first() else {
                return Ok(Found { segments: kept.to_vec(), end, ..self.found });
            };
            let bytes = cuts.iter().map(|(_, range, _)| range.end - range.start).sum();
            let partition = self.how.partition.clone();
            return Err(StorageError::TornTail { partition, offset: *offset, bytes });
        }
        self.set_aside(cuts)?;
        for (segment, good) in kept.iter().skip(floor).zip(suspects) {
            self.keep(segment, good)?;
        }
        for segment in dropped {
            log::warn!("removing {}, which does not follow on", segment.path(names::LOG).display());
            segment.remove()?;
        }
        if !kept.is_empty() {
            rewrite_owner(&*self.how.fs, self.dir)?;
        }
        for dir in [self.dir, &self.how.root] {
            self.how.fs.sync_dir(dir).map_err(StorageError::io("sync", dir))?;
        }
        if let Some(active) = kept.last() {
            active.unseal()?;
        }
        self.found.segments = kept.to_vec();
        self.found.end = end;
        Ok(self.found)
    }

    /// Whether the log can begin where its first segment does. If it should begin before, and nothing says that a
    /// later part is durable, then the first segments were lost: what is left are pieces.
    fn may_begin_with(&self, segment: &Segment, first: Option<&Arc<Segment>>) -> bool {
        let is_first = first.is_some_and(|first| first.base() == segment.base());
        let begins = self.how.start.unwrap_or(Offset::MAX).max(self.durable);
        !is_first || segment.base() <= begins
    }

    /// What is wrong where the scan ended.
    fn damage_behind(
        &self,
        last: Option<(&Arc<Segment>, &Good)>,
        dropped: &[Arc<Segment>],
    ) -> Result<Damage, StorageError> {
        let partition = &self.how.partition;
        let next = dropped.first();
        let Some((segment, &Good { position, end, .. })) = last else {
            let first =
                next.ok_or_else(|| StorageError::damaged(self.dir, "it has no segments"))?;
            let reason = "what comes before is missing";
            return Ok(Damage::new(partition, first, Offset::ZERO..first.base(), 0, reason));
        };
        let durable = self.known_durable();
        let until = next.map_or(durable, |next| next.base()).max(end);
        if position < segment.size() {
            let behind = segment.next_good(position + 1, segment.size(), &(end.next()..until))?;
            let to = behind.map_or(until, |(_, header)| header.base_offset());
            let reason = match segment.check_batch(position, segment.size(), end)? {
                Err(reason) => reason,
                Ok(_) => "its index cannot hold the offset".to_owned(),
            };
            return Ok(Damage::new(partition, segment, end..to, position, reason));
        }
        match next.filter(|next| next.base() < end) {
            Some(next) => {
                let reason = format!("it overlaps the segment before, which ends at {end}");
                Ok(Damage::new(partition, next, next.base()..end, 0, reason))
            }
            None => {
                let reason = "what comes next is missing";
                Ok(Damage::new(partition, segment, end..until, position, reason))
            }
        }
    }

    /// Everything below was on disk, as far as that is known.
    fn known_durable(&self) -> Offset {
        match self.how.shutdown {
            Shutdown::Unclean { .. } => self.durable,
            Shutdown::Clean => self.how.closed_at.first().copied().unwrap_or_default(),
        }
    }

    /// Leaves a damaged log as it is.
    fn leave(mut self, segments: Vec<Arc<Segment>>, damage: Damage) -> Result<Found, StorageError> {
        log::error!("{damage}: it can be read, but not be written");
        let end = segments.last().map_or(Ok(Offset::ZERO), |last| readable_end(last))?;
        // What was durable and is not there is an error to its readers, not the log's end.
        self.found.end = end.max(damage.offsets.end).max(self.known_durable());
        self.found.durable = self.durable.min(self.found.end);
        self.found.segments = segments;
        self.found.report.damage = Some(damage);
        Ok(self.found)
    }

    /// Checks the batches of `segment` from shortly before `from` on, up to the first bad one.
    fn scan(&mut self, segment: &Segment, from: Offset) -> Result<Good, StorageError> {
        let LogConfig { index_interval_bytes, .. } = self.how.config;
        let on_disk = segment.saved_index()?;
        let Resumed { mut index, position: first, offset } =
            segment.resume(on_disk.clone(), from)?;
        let (mut position, mut end) = (first, offset);
        let mut rewrite_from = position;
        let size = segment.size();
        while let Some(header) = good_batch_at(segment, position, size, end)? {
            let index_position = u32::try_from(position).unwrap_or(u32::MAX);
            if !index.observe(&header, index_position, index_interval_bytes) {
                break;
            }
            if let Some(epoch) = header.leader_epoch() {
                self.found.epochs.assign(epoch, header.base_offset());
            }
            position += length(header.size());
            end = header.next_offset();
            if end <= self.durable {
                rewrite_from = position;
            }
        }
        index.seal();
        self.found.report.scanned_bytes += size - first;
        let saved = on_disk.and_then(|on_disk| index.saved_in(&on_disk));
        Ok(Good { position, end, rewrite_from, index, saved })
    }

    /// Copies what is to be cut: all of it before the first cut, so that a crash leaves nothing half copied.
    fn set_aside(
        &mut self,
        cuts: Vec<(&Arc<Segment>, Range<u64>, Offset)>,
    ) -> Result<(), StorageError> {
        let OpenLog { quarantine, now, .. } = self.how;
        for (segment, range, offset) in cuts {
            let report = &mut self.found.report;
            report.cut_bytes += range.end - range.start;
            report.cut_batches += segment.count_good(range.start)?;
            report.quarantined_bytes += quarantine.set_aside(segment, range, offset, *now)?;
        }
        Ok(())
    }

    /// Makes the good part of a segment durable, and the rest go.
    fn keep(&mut self, segment: &Segment, good: Good) -> Result<(), StorageError> {
        if good.saved.is_none() {
            let indexes = [names::OFFSET_INDEX, names::TIME_INDEX];
            self.found.report.rebuilt.extend(indexes.map(|suffix| segment.path(suffix)));
        }
        // The index first: an entry must not outlive the bytes that it points to (A22).
        segment.set_index(good.index, good.saved);
        segment.save_index()?;
        let cut = segment.size() - good.position;
        if cut > 0 {
            log::warn!(
                "cutting {cut} bytes behind the last good batch of {}",
                segment.path(names::LOG).display()
            );
            segment.truncate(good.position)?;
        }
        if good.rewrite_from < good.position && !is_planted(Bug::KeptNotRewritten) {
            segment.rewrite(good.rewrite_from)?;
        }
        segment.sync_log()
    }
}

/// Offset behind the last good batch of a segment in which there are bad ones.
fn readable_end(segment: &Segment) -> Result<Offset, StorageError> {
    let (mut position, mut end, mut claimed) = (0, segment.base(), segment.base());
    while let Some(header) = segment.header_at(position)? {
        let batch = Batch::parse(segment.read(position, header.size())?);
        // It follows a good one, or what a bad one claims to be.
        let follows = [end, claimed].contains(&header.base_offset());
        if follows && batch.is_ok_and(|batch| batch.verify_crc().is_ok()) {
            end = header.next_offset();
        }
        claimed = header.next_offset();
        position += length(header.size());
    }
    Ok(end)
}

/// How much of a segment is good.
struct Good {
    position: u64,
    end: Offset,
    /// Position of the first batch that was not known to be durable.
    rewrite_from: u64,
    index: SegmentIndex,
    /// How many of the index's entries are in the files.
    saved: Option<EntryCounts>,
}

/// The header of the batch at `position`, if all of the batch is there, its checksum fits, and it begins at
/// `expected`, which no checksum covers (H5).
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
    let Frame::Complete(whole) = Frame::peek(&segment.read(position, HEADER_LENGTH)?, remaining)
    else {
        return Ok(None);
    };
    let Ok(batch) = Batch::parse(segment.read(position, whole)?) else { return Ok(None) };
    let base = batch.header().base_offset();
    let good = batch.verify_crc().is_ok() && segment.layout().follows(base, expected);
    Ok(good.then(|| *batch.header()))
}
