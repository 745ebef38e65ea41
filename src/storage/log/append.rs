//! Appending: batches are stamped, written in as few calls as possible, then published.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::base::{LeaderEpoch, Offset};
use crate::env::OpenFile;
use crate::record::{Batch, EncodedBatch};
use crate::storage::index::SegmentIndex;
use crate::storage::log::{Log, Writer};
use crate::storage::names;
use crate::storage::segment::{Segment, length};
use crate::storage::{AppendError, StorageError};

/// Where a batch went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Appended {
    /// Offset of its first record.
    pub(crate) base: Offset,
    /// Offset after its last record.
    pub(crate) next: Offset,
}

/// Stamped batches that will be written together.
#[derive(Default)]
struct Run {
    batches: Vec<Batch>,
    bytes: u64,
    /// Index of the result of the first of them.
    first_result: usize,
}

impl Log {
    /// Appends batches as the leader of `epoch`: gives them their offsets, writes and publishes them. One result for
    /// each batch, in order. After a batch that could not be written, later ones are not tried.
    pub(crate) fn append(
        &self,
        batches: Vec<EncodedBatch>,
        epoch: LeaderEpoch,
    ) -> Vec<Result<Appended, AppendError>> {
        let mut writer = self.writer.lock();
        let mut results = Vec::with_capacity(batches.len());
        let mut run = Run::default();
        let mut next = self.end();
        let mut failed = self.is_offline().then(|| AppendError::NotWritten(self.offline_error()));
        for batch in batches {
            let admitted = match &failed {
                Some(error) => Err(error.clone()),
                None => self.admit(&batch, next),
            };
            let appended = match admitted {
                Ok(appended) => appended,
                Err(error) => {
                    results.push(Err(error));
                    continue;
                }
            };
            if self.must_roll(&run, batch.size(), appended) {
                let rolled = self.write_run(&mut writer, &mut run, &mut results, epoch);
                if let Err(error) = rolled.and_then(|()| self.roll(&mut writer, appended.base)) {
                    results.push(Err(error.clone()));
                    failed = Some(error);
                    continue;
                }
            }
            if run.batches.is_empty() {
                run.first_result = results.len();
            }
            next = appended.next;
            run.bytes += length(batch.size());
            run.batches.push(self.stamp(batch, appended.base, epoch));
            results.push(Ok(appended));
        }
        // The error, if any, is in the results.
        let _ = self.write_run(&mut writer, &mut run, &mut results, epoch);
        results
    }

    /// Checks a batch that would begin at `base`.
    fn admit(&self, batch: &EncodedBatch, base: Offset) -> Result<Appended, AppendError> {
        let config = self.config.load();
        let limits = [
            ("max.message.bytes", config.max_message_bytes),
            ("segment.bytes", config.segment_bytes),
        ];
        for (limit_name, limit) in limits {
            if length(batch.size()) > u64::from(limit) {
                return Err(AppendError::BatchTooLarge { size: batch.size(), limit, limit_name });
            }
        }
        // By its offsets: a batch that compaction has thinned out has fewer records.
        let last = base.checked_add(batch.header().last_offset_delta());
        let next =
            last.and_then(|last| last.checked_add(1)).ok_or(AppendError::OffsetsExhausted)?;
        Ok(Appended { base, next })
    }

    /// Whether a batch of `size` bytes has to go to a new segment, behind the batches of `run`.
    fn must_roll(&self, run: &Run, size: usize, appended: Appended) -> bool {
        let segments = self.segments.load();
        let active = segments.last();
        let run_base = run.batches.first().map(|batch| batch.header().base_offset());
        let Some(base) = active.map(|active| active.base()).or(run_base) else { return false };
        let written = active.map_or(0, |active| active.size()) + run.bytes;
        let last_offset = Offset::new(appended.next.value() - 1).unwrap_or_default();
        let config = self.config.load();
        let full = written + length(size) > u64::from(config.segment_bytes)
            || active.is_some_and(|active| active.is_index_full(config.segment_index_bytes));
        (written > 0 && full) || !SegmentIndex::holds(base, last_offset)
    }

    fn stamp(&self, mut batch: EncodedBatch, base: Offset, epoch: LeaderEpoch) -> Batch {
        batch.stamp(base, epoch);
        // A small batch in a large buffer would hold on to all of it for as long as it is cached.
        if batch.capacity() > 2 * batch.size() + 1024 {
            let (small, buffer) = batch.freeze_copy();
            self.cache.pool().put(buffer);
            return small;
        }
        batch.freeze()
    }

    /// Writes the batches of `run` and publishes them. On an error their results say so.
    fn write_run(
        &self,
        writer: &mut Writer,
        run: &mut Run,
        results: &mut [Result<Appended, AppendError>],
        epoch: LeaderEpoch,
    ) -> Result<(), AppendError> {
        let run = std::mem::take(run);
        let Some(first) = run.batches.first() else { return Ok(()) };
        let base = first.header().base_offset();
        let written =
            self.active(writer, base).map_err(AppendError::NotWritten).and_then(|segment| {
                let parts = run.batches.iter().map(|b| b.bytes().clone()).collect::<Vec<Bytes>>();
                self.write(&segment, &parts)?;
                Ok(segment)
            });
        let segment = match written {
            Ok(segment) => segment,
            Err(error) => {
                for result in
                    results.iter_mut().skip(run.first_result).filter(|result| result.is_ok())
                {
                    *result = Err(error.clone());
                }
                return Err(error);
            }
        };
        writer.epochs.assign(epoch, base);
        writer.note_unsynced(&segment);
        let mut end = base;
        for batch in run.batches {
            if !segment.publish(batch.header()) {
                self.offline.store(true, Ordering::Release);
                panic!("a batch was written to a segment whose index cannot hold its offset");
            }
            end = batch.header().next_offset();
            self.cache.push(&self.tail, batch);
        }
        self.end.store(end.value(), Ordering::Release);
        Ok(())
    }

    fn write(&self, segment: &Segment, parts: &[Bytes]) -> Result<(), AppendError> {
        segment.write(parts).map_err(|error| match segment.cut_back() {
            Ok(()) => AppendError::NotWritten(error),
            Err(cut) => {
                log::error!("{} is offline: {error}, and then {cut}", self.partition);
                self.offline.store(true, Ordering::Release);
                AppendError::Unknown(error)
            }
        })
    }

    /// The segment to append to; the first one, and the directory, are created here.
    fn active(&self, writer: &mut Writer, base: Offset) -> Result<Arc<Segment>, StorageError> {
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
    fn roll(&self, writer: &mut Writer, base: Offset) -> Result<(), AppendError> {
        let full = self.segments.load().last().cloned();
        self.add_segment(writer, base).map_err(AppendError::NotWritten)?;
        if let Some(full) = full {
            full.seal();
            // Its bytes may be synced by now; the end of its indexes is not.
            writer.note_unsynced(&full);
        }
        Ok(())
    }

    fn add_segment(&self, writer: &mut Writer, base: Offset) -> Result<Arc<Segment>, StorageError> {
        let interval = self.config.load().index_interval_bytes;
        let segment = Arc::new(Segment::create(&self.fs, &self.dir, base, interval)?);
        let mut segments = Vec::clone(&self.segments.load());
        segments.push(Arc::clone(&segment));
        self.segments.store(Arc::new(segments));
        writer.unsynced_names = true;
        Ok(segment)
    }
}

impl Writer {
    /// Has the next sync cover `segment`, the active one or the one that was just sealed.
    fn note_unsynced(&mut self, segment: &Arc<Segment>) {
        if !self.unsynced.last().is_some_and(|last| Arc::ptr_eq(last, segment)) {
            self.unsynced.push(Arc::clone(segment));
        }
    }
}
