//! A time index beside its log.
//!
//! # Invariants
//! - All three files are gone through once, from front to back, whatever is in them: what would lead back is reported
//!   instead of followed.

use std::iter::Peekable;

use crate::base::{Offset, Timestamp};
use crate::client::Result;
use crate::inspect::entries::passed_on;
use crate::inspect::log_file::Walk;
use crate::inspect::{LogFile, OffsetEntry, TimeEntry, TimeMismatch};

/// Finds what is wrong with the entries of a time index.
pub(super) struct TimeCheck<'a, T, O: Iterator> {
    times: T,
    offsets: Peekable<O>,
    walk: Walk<'a>,
    /// The entry before, if it made sense.
    previous: Option<TimeEntry>,
    largest_offset: Offset,
    /// The largest timestamp in the batch at this position: entries may name a batch again.
    seen: Option<(u64, Result<Option<Timestamp>>)>,
    /// Found together with what was returned last.
    pending: Option<TimeMismatch>,
}

impl<'a, T, O> TimeCheck<'a, T, O>
where
    T: Iterator<Item = Result<TimeEntry>>,
    O: Iterator<Item = Result<OffsetEntry>>,
{
    pub(super) fn new(times: T, offsets: O, log: &'a LogFile) -> Self {
        Self {
            times,
            offsets: offsets.peekable(),
            walk: log.walk(),
            previous: None,
            largest_offset: Offset::ZERO,
            seen: None,
            pending: None,
        }
    }

    fn check(&mut self, entry: TimeEntry) -> Result<Option<TimeMismatch>> {
        let previous = self.previous.replace(entry);
        if entry.offset < self.largest_offset {
            let previous = self.largest_offset;
            return Ok(Some(TimeMismatch::OffsetOutOfOrder { entry, previous }));
        }
        self.largest_offset = entry.offset;
        self.skip_by_index(entry.offset)?;
        let position = match self.walk.find(entry.offset)? {
            Some((position, header)) if header.last_offset() == entry.offset => position,
            other => {
                let found = other.map(|(_, header)| header.last_offset());
                return Ok(Some(TimeMismatch::NotFound { entry, found }));
            }
        };
        let disorder = previous
            .filter(|previous| previous.timestamp >= entry.timestamp)
            .map(|previous| TimeMismatch::TimestampOutOfOrder { entry, previous });
        match self.largest_timestamp(position) {
            Ok(found) if found == Some(entry.timestamp) => Ok(disorder),
            found => {
                self.pending = disorder;
                Ok(Some(match found {
                    Ok(found) => TimeMismatch::Timestamp { entry, found },
                    Err(error) => TimeMismatch::Unreadable { entry, error },
                }))
            }
        }
    }

    /// Goes to the batch of the last index entry at or before `offset`.
    fn skip_by_index(&mut self, offset: Offset) -> Result<()> {
        while let Some(entry) =
            self.offsets.next_if(|entry| entry.as_ref().map_or(true, |e| e.offset <= offset))
        {
            match entry {
                Ok(entry) => self.walk.skip_to(entry.position),
                Err(error) => passed_on(error).unwrap_or(Ok(()))?,
            }
        }
        Ok(())
    }

    /// The largest timestamp of a record in the batch at `position`.
    fn largest_timestamp(&mut self, position: u64) -> Result<Option<Timestamp>> {
        if let Some((_, found)) = self.seen.as_ref().filter(|(seen, _)| *seen == position) {
            return found.clone();
        }
        let found = self.walk.batch_at(position).map_or(Ok(None), |batch| {
            Ok(batch?.records()?.iter().filter_map(|record| record.timestamp()).max())
        });
        self.seen = Some((position, found.clone()));
        found
    }
}

impl<T, O> Iterator for TimeCheck<'_, T, O>
where
    T: Iterator<Item = Result<TimeEntry>>,
    O: Iterator<Item = Result<OffsetEntry>>,
{
    type Item = Result<TimeMismatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(pending) = self.pending.take() {
            return Some(Ok(pending));
        }
        loop {
            let found = match self.times.next()? {
                Ok(entry) => self.check(entry).transpose(),
                Err(error) => passed_on(error),
            };
            if found.is_some() {
                return found;
            }
        }
    }
}
