//! Sparse maps of one segment: from offset to position, and from time to offset.
//!
//! # On disk
//! Big-endian entries, no header, no checksum.
//! - `.index`: `relative_offset: i32` (a batch's last offset, minus the segment's base), `position: i32` (that
//!   batch's first byte in `.log`).
//! - `.timeindex`: `timestamp: i64` (the largest so far), `relative_offset: i32` (the last offset of the batch that
//!   first had it).
//!
//! # Invariants
//! - All fields strictly increase from entry to entry, but for the time index's offsets, which may repeat.
//! - The very same rule makes entries on append, after reopening and in recovery, so that a rebuilt index equals the
//!   first one.
//! - The files are caches, trusted only after a look at the batch they point to: losing them costs a walk over the
//!   segment's headers, never a record.
//! - Files that hold fewer entries than they could are as good as complete ones, if the time index holds all that goes
//!   with the last entry of the offset index: the rest is found by walking on from there.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::base::{Bug, Offset, Timestamp, is_planted};
use crate::record::BatchHeader;

const OFFSET_ENTRY: usize = 8;
const TIME_ENTRY: usize = 12;

/// One entry of the offset index: the batch that ends with `last_offset` begins at `position`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct OffsetEntry {
    relative: u32,
    pub(super) position: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct TimeEntry {
    timestamp: Timestamp,
    relative: u32,
}

/// How many entries there are in the two files, or how many of them are meant.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct EntryCounts {
    pub(super) offsets: usize,
    pub(super) times: usize,
}

impl EntryCounts {
    /// Where the entry after these begins in the offset index's file.
    pub(super) fn offsets_length(self) -> usize {
        self.offsets * OFFSET_ENTRY
    }

    /// Where the entry after these begins in the time index's file.
    pub(super) fn times_length(self) -> usize {
        self.times * TIME_ENTRY
    }
}

/// Both indexes of one segment, in memory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct SegmentIndex {
    base: Offset,
    offsets: Vec<OffsetEntry>,
    times: Vec<TimeEntry>,
    /// The largest timestamp so far, and the last offset of the batch that first had it.
    largest: Option<TimeEntry>,
    bytes_since_entry: u64,
}

impl SegmentIndex {
    pub(super) fn new(base: Offset) -> Self {
        Self { base, offsets: Vec::new(), times: Vec::new(), largest: None, bytes_since_entry: 0 }
    }

    /// Takes note of a batch at `position`, the next one of the segment; an entry is made if more than
    /// `interval` bytes went by since the last. `false` if its offset is too far from the segment's base.
    #[must_use]
    pub(super) fn observe(&mut self, batch: &BatchHeader, position: u32, interval: u32) -> bool {
        let Some(relative) = relative(self.base, batch.last_offset()) else { return false };
        if let Some(timestamp) = batch.max_timestamp()
            && self.largest.is_none_or(|largest| timestamp > largest.timestamp)
        {
            self.largest = Some(TimeEntry { timestamp, relative });
        }
        if self.bytes_since_entry > u64::from(interval) {
            self.offsets.push(OffsetEntry { relative, position });
            self.add_largest_time();
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += u64::try_from(batch.size()).unwrap_or(u64::MAX);
        true
    }

    /// Adds the closing entry of the time index: no batch will follow.
    pub(super) fn seal(&mut self) {
        self.add_largest_time();
    }

    /// Takes back the closing entry: batches will follow after all.
    pub(super) fn unseal(&mut self) {
        let last = self.offsets.last().copied();
        self.times.retain(|e| last.is_some_and(|last| e.relative <= last.relative));
    }

    fn add_largest_time(&mut self) {
        if let Some(largest) = self.largest
            && self.times.last().is_none_or(|last| last.timestamp < largest.timestamp)
        {
            self.times.push(largest);
        }
    }

    /// Whether the index of a segment at `base` can hold `offset`.
    pub(super) fn holds(base: Offset, offset: Offset) -> bool {
        relative(base, offset).is_some()
    }

    fn absolute(&self, relative: u32) -> Offset {
        self.base.checked_add(relative).unwrap_or(Offset::MAX)
    }

    /// Whether one more entry would exceed `max_bytes` in either file.
    pub(super) fn is_full(&self, max_bytes: u32) -> bool {
        let max = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        self.offsets.len() >= max / OFFSET_ENTRY || self.times.len() + 1 >= max / TIME_ENTRY
    }

    /// The last offset and the position of each batch that has an entry.
    pub(super) fn entries(&self) -> Vec<(Offset, u64)> {
        let entry = |e: &OffsetEntry| (self.absolute(e.relative), u64::from(e.position));
        self.offsets.iter().map(entry).collect()
    }

    /// The last entry whose offset is at most `offset`: the batch that holds `offset` is there or behind.
    pub(super) fn lookup(&self, offset: Offset) -> Option<(Offset, OffsetEntry)> {
        let target = offset.distance_from(self.base)?;
        let after = self.offsets.partition_point(|e| u64::from(e.relative) <= target);
        let entry = *self.offsets.get(after.checked_sub(1)?)?;
        Some((self.absolute(entry.relative), entry))
    }

    /// The last entry whose timestamp is at most `timestamp`. Batches before the one that holds its offset have only
    /// smaller timestamps.
    pub(super) fn lookup_time(&self, timestamp: Timestamp) -> Option<(Timestamp, Offset)> {
        let after = self.times.partition_point(|e| e.timestamp <= timestamp);
        let entry = self.times.get(after.checked_sub(1)?)?;
        Some((entry.timestamp, self.absolute(entry.relative)))
    }

    /// The largest timestamp of the segment.
    pub(super) fn largest_timestamp(&self) -> Option<Timestamp> {
        self.largest.map(|entry| entry.timestamp)
    }

    /// Forgets what was noted behind the last entry for a batch that ends before `offset`, and returns that entry:
    /// observing goes on with the batch it points to. `None`: it goes on with the segment's first batch.
    pub(super) fn rewind(&mut self, offset: Offset) -> Option<(Offset, OffsetEntry)> {
        let target = offset.distance_from(self.base).unwrap_or(0);
        self.offsets.truncate(self.offsets.partition_point(|e| u64::from(e.relative) < target));
        // With each offset entry the largest timestamp so far was noted: it is the last one kept.
        self.unseal();
        self.largest = self.times.last().copied();
        // The entry's batch will be observed again, but makes no second entry.
        self.bytes_since_entry = 0;
        self.offsets.last().map(|&entry| (self.absolute(entry.relative), entry))
    }

    /// Whether the time index can be the one that goes with the offset index, if `last` is the batch that the last
    /// entry points to.
    pub(super) fn agrees_with(&self, last: &BatchHeader) -> bool {
        last.max_timestamp()
            .is_none_or(|t| self.largest.is_some_and(|largest| largest.timestamp >= t))
    }

    /// How many entries a file that holds those of `saved` has right. `None` if it holds some that this index does
    /// not: it has to be written anew.
    pub(super) fn saved_in(&self, saved: &Self) -> Option<EntryCounts> {
        let fits =
            saved.offsets.len() <= self.offsets.len() && saved.times.len() <= self.times.len();
        fits.then(|| EntryCounts {
            offsets: std::iter::zip(&self.offsets, &saved.offsets)
                .take_while(|(a, b)| a == b)
                .count(),
            times: std::iter::zip(&self.times, &saved.times).take_while(|(a, b)| a == b).count(),
        })
    }

    /// Position of the last of the first `count` offset entries.
    pub(super) fn last_position(&self, count: usize) -> u32 {
        let entry = count.checked_sub(1).and_then(|at| self.offsets.get(at));
        entry.map_or(0, |entry| entry.position)
    }

    /// Number of entries in the two files.
    pub(super) fn counts(&self) -> EntryCounts {
        EntryCounts { offsets: self.offsets.len(), times: self.times.len() }
    }

    /// The offset index's bytes, from its entry `from` on.
    pub(super) fn offset_bytes(&self, from: usize) -> Bytes {
        let entries = self.offsets.get(from..).unwrap_or_default();
        let mut bytes = BytesMut::with_capacity(entries.len() * OFFSET_ENTRY);
        for entry in entries {
            bytes.put_u32(entry.relative);
            bytes.put_u32(entry.position);
        }
        bytes.freeze()
    }

    /// The time index's bytes, from its entry `from` on.
    pub(super) fn time_bytes(&self, from: usize) -> Bytes {
        let entries = self.times.get(from..).unwrap_or_default();
        let mut bytes = BytesMut::with_capacity(entries.len() * TIME_ENTRY);
        for entry in entries {
            bytes.put_i64(entry.timestamp.as_millis());
            bytes.put_u32(entry.relative);
        }
        bytes.freeze()
    }

    /// The indexes in these two files, `None` if they cannot be those of a segment of `log_size` bytes.
    pub(super) fn decode(
        base: Offset,
        mut offsets: Bytes,
        mut times: Bytes,
        log_size: u64,
    ) -> Option<Self> {
        let whole =
            offsets.len().is_multiple_of(OFFSET_ENTRY) && times.len().is_multiple_of(TIME_ENTRY);
        if !whole {
            return None;
        }
        let mut index = Self::new(base);
        index.offsets.try_reserve_exact(offsets.len() / OFFSET_ENTRY).ok()?;
        while offsets.has_remaining() {
            let entry = OffsetEntry { relative: offsets.get_u32(), position: offsets.get_u32() };
            let increasing = match index.offsets.last() {
                Some(last) => entry.relative > last.relative && entry.position > last.position,
                // The first batch of a segment is never indexed, so a zero is padding.
                None => entry.position > 0,
            };
            if !increasing
                || u64::from(entry.position) >= log_size
                || entry.relative > i32::MAX.unsigned_abs()
            {
                return None;
            }
            index.offsets.push(entry);
        }
        index.times.try_reserve_exact(times.len() / TIME_ENTRY).ok()?;
        while times.has_remaining() {
            let timestamp = Timestamp::from_millis(times.get_i64())?;
            let entry = TimeEntry { timestamp, relative: times.get_u32() };
            let increasing = match index.times.last() {
                Some(last) => entry.timestamp > last.timestamp && entry.relative >= last.relative,
                // The format's own 1970 is taken for padding too: that costs a walk.
                None => entry.timestamp > Timestamp::EPOCH || entry.relative > 0,
            };
            if !increasing || entry.relative > i32::MAX.unsigned_abs() {
                return None;
            }
            index.times.push(entry);
        }
        index.largest = index.times.last().copied();
        Some(index)
    }
}

/// `offset` relative to `base`, if the format can hold it.
fn relative(base: Offset, offset: Offset) -> Option<u32> {
    u32::try_from(offset.distance_from(base)?)
        .ok()
        .filter(|&d| d <= i32::MAX.unsigned_abs() || is_planted(Bug::OffsetsWrap))
}
