//! A run: batches that have their offsets, and are written in one call.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::base::{Bug, LeaderEpoch, Offset, Timestamp, is_planted};
use crate::record::{Batch, BatchHeader, EncodedBatch};
use crate::storage::AppendError;
use crate::storage::index::SegmentIndex;
use crate::storage::log::age::Began;
use crate::storage::log::append::{Appended, Refused};
use crate::storage::log::{Log, Writer};
use crate::storage::producers::{ProducerBatch, Producers, Staged};
use crate::storage::segment::{Segment, length};

/// Stamped batches that will be written together.
pub(super) struct Run {
    now: Timestamp,
    /// What all records are given instead of their own timestamps.
    append_time: Option<Timestamp>,
    batches: Vec<Batch>,
    bytes: u64,
    /// They are what was appended, and not what a file holds: readers get them from memory.
    fresh: bool,
    /// Index of the result of the first of them.
    first_result: usize,
    /// What they will change.
    pub(super) staged: Staged,
}

impl Run {
    /// A run of no batches, to be written at `now`.
    pub(super) fn new(now: Timestamp, append_time: Option<Timestamp>) -> Self {
        Self {
            now,
            append_time,
            batches: Vec::new(),
            bytes: 0,
            fresh: true,
            first_result: 0,
            staged: Staged::default(),
        }
    }

    /// As it is, but of batches that are `fresh` or not.
    pub(super) fn with_fresh(self, fresh: bool) -> Self {
        Self { fresh, ..self }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) fn append_time(&self) -> Option<Timestamp> {
        self.append_time
    }

    pub(super) fn first(&self) -> Option<&BatchHeader> {
        self.batches.first().map(Batch::header)
    }

    /// Adds a batch that a leader has accepted.
    pub(super) fn push_accepted(&mut self, producers: &Producers, batch: Batch) {
        if let Some(batch) = ProducerBatch::of_accepted(&batch) {
            self.staged.add(producers, &batch);
        }
        self.push(batch, 0);
    }

    /// Adds a batch, of which the result is to be found there.
    pub(super) fn push(&mut self, batch: Batch, result: usize) {
        if self.batches.is_empty() {
            self.first_result = result;
        }
        self.bytes += length(batch.bytes().len());
        self.batches.push(batch);
    }
}

impl Log {
    /// Whether a batch of `size` bytes has to go to a new segment, behind the batches of `run`.
    pub(super) fn must_roll(&self, run: &Run, size: usize, appended: Appended) -> bool {
        let segments = self.segments.load();
        let active = segments.last();
        let run_base = run.first().map(BatchHeader::base_offset);
        let Some(base) = active.map(|active| active.base()).or(run_base) else { return false };
        let written = active.map_or(0, |active| active.size()) + run.bytes;
        let last_offset = Offset::new(appended.next.value() - 1).unwrap_or_default();
        let config = self.config.load();
        let full = written + length(size) > u64::from(config.segment_bytes)
            || active.is_some_and(|active| active.is_index_full(config.segment_index_bytes));
        (written > 0 && full) || !SegmentIndex::holds(base, last_offset)
    }

    pub(super) fn stamp(
        &self,
        mut batch: EncodedBatch,
        appended: Appended,
        epoch: LeaderEpoch,
    ) -> Batch {
        if let Some(now) = appended.append_time {
            batch.stamp_log_append_time(now);
        }
        batch.stamp(appended.base, epoch);
        // A small batch in a large buffer would hold on to all of it for as long as it is cached.
        if batch.capacity() > 2 * batch.size() + 1024 {
            let (batch, buffer) = batch.freeze_copy();
            if let Some(buffer) = buffer {
                self.cache.pool().put(buffer);
            }
            return batch;
        }
        batch.freeze()
    }

    /// Writes the batches of `run` and publishes them. On an error their results say so.
    pub(super) fn write_run(
        &self,
        writer: &mut Writer,
        run: &mut Run,
        results: &mut [Result<Appended, Refused>],
    ) -> Result<(), AppendError> {
        let next = Run::new(run.now, run.append_time).with_fresh(run.fresh);
        let run = std::mem::replace(run, next);
        let Some(first) = run.batches.first() else { return Ok(()) };
        let base = first.header().base_offset();
        let written =
            self.active(writer, base).map_err(AppendError::NotWritten).and_then(|segment| {
                if is_planted(Bug::EndBeforeBytes) {
                    let end = run.batches.last().map_or(base, |last| last.header().next_offset());
                    self.end.set(end);
                }
                let parts = run.batches.iter().map(|b| b.bytes().clone()).collect::<Vec<Bytes>>();
                self.write(&segment, &parts)?;
                Ok(segment)
            });
        match written {
            Ok(segment) => {
                self.commit(writer, &segment, run);
                Ok(())
            }
            Err(error) => {
                if is_planted(Bug::ProducersBeforeBytes) {
                    writer.known.producers.commit(run.staged);
                }
                // Copies of batches that were there before are among them, and of some of the run.
                let is_of_run = |result: &&mut Result<Appended, Refused>| {
                    result.as_ref().is_ok_and(|appended| appended.base >= base)
                };
                let mut batches = run.batches.into_iter();
                for result in results.iter_mut().skip(run.first_result).filter(is_of_run) {
                    let offset = result.as_ref().map(|appended| appended.base).ok();
                    let is_there = |batch: &Batch| Some(batch.header().base_offset()) == offset;
                    // A second copy of one of them has nothing to give back.
                    let batch = if batches.as_slice().first().is_some_and(is_there) {
                        batches.next()
                    } else {
                        None
                    };
                    let batch = batch.and_then(EncodedBatch::thaw);
                    *result = Err(Refused { error: error.clone(), batch });
                }
                Err(error)
            }
        }
    }

    fn write(&self, segment: &Segment, parts: &[Bytes]) -> Result<(), AppendError> {
        segment.write(parts).map_err(|error| match segment.cut_back() {
            Ok(()) => AppendError::NotWritten(error),
            Err(_) if is_planted(Bug::FailedCutIgnored) => AppendError::NotWritten(error),
            Err(cut) => {
                log::error!("{} is offline: {error}, and then {cut}", self.partition);
                self.offline.store(true, Ordering::Release);
                AppendError::Unknown(error)
            }
        })
    }

    /// Makes the batches of a run that was written a part of the log.
    fn commit(&self, writer: &mut Writer, segment: &Arc<Segment>, run: Run) {
        if let Some(first) = run.first().filter(|_| segment.size() == 0) {
            writer.began = Some(Began::with(first.max_timestamp(), run.now));
        }
        writer.note_unsynced(segment);
        writer.known.snapshots.note(run.bytes);
        // Before their end is known: readers must not meet a transaction that nobody knows of (D3).
        let steps = writer.known.producers.commit(run.staged);
        self.undecided.take(steps, |aborted| segment.transactions().push(aborted));
        let mut end = self.end();
        if !run.fresh {
            // It has no gaps. Slices of a file are not kept: they would hold on to its map, and none would look at them.
            self.tail.clear();
        }
        for batch in run.batches {
            let header = batch.header();
            if let Some(epoch) = header.leader_epoch() {
                self.note_epoch(writer, epoch, header.base_offset());
            }
            if !segment.publish(header) {
                self.offline.store(true, Ordering::Release);
                panic!("a batch was written to a segment whose index cannot hold its offset");
            }
            end = header.next_offset();
            if run.fresh {
                self.cache.push(&self.tail, batch);
            }
        }
        self.end.set(end);
    }
}

impl Writer {
    /// Has the next sync cover `segment`, the active one or the one that was just sealed.
    pub(super) fn note_unsynced(&mut self, segment: &Arc<Segment>) {
        if is_planted(Bug::SealedNotSynced) {
            self.unsynced.clear();
        }
        if !self.unsynced.last().is_some_and(|last| Arc::ptr_eq(last, segment)) {
            self.unsynced.push(Arc::clone(segment));
        }
    }
}
