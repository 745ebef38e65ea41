//! Appending as a follower: batches keep the offsets and leader epochs that their leader gave them.

use crate::base::{LeaderEpoch, Offset, Timestamp};
use crate::record::Batch;
use crate::storage::AppendError;
use crate::storage::log::append::Appended;
use crate::storage::log::run::Run;
use crate::storage::log::{Fetched, Log};
use crate::storage::segment::{MAX_SEGMENT_BYTES, Segment, length};

impl Log {
    /// Appends what was read from the leader's log. Offsets may be missing between batches, where the leader has
    /// compacted; what its producers may write was its business. The first batch of all may begin below the log's start,
    /// as the leader's does when records were deleted up to the middle of a batch (C13).
    ///
    /// Nothing is appended if any batch does not follow, or is damaged. After another error [`Log::end`] tells how many
    /// are in the log.
    pub(crate) fn append_as_follower(
        &self,
        fetched: Fetched,
        now: Timestamp,
    ) -> Result<(), AppendError> {
        let mut writer = self.writer.lock();
        if self.is_offline() {
            return Err(AppendError::NotWritten(self.offline_error()));
        }
        let empty = self.empty_segment();
        let first = self.may_begin_at(empty.as_deref(), &fetched);
        let places = check_fetched(&fetched, first, self.latest_epoch())?;
        let mut run = Run::new(now, None).with_fresh(fetched.trusted);
        let mut batches = fetched.batches.into_iter().zip(places).peekable();
        if let Some(empty) = empty
            && let Some((batch, first)) =
                batches.next_if(|(_, first)| !empty.layout().follows(first.base, empty.base()))
        {
            run.push_accepted(&writer.known.producers, batch);
            self.write_first(&mut writer, &empty, &mut run, first.base)?;
        }
        for (batch, appended) in batches {
            if self.must_roll(&run, batch.bytes().len(), appended)
                || self.is_too_old(&mut writer, &run, appended)
            {
                self.write_run(&mut writer, &mut run, &mut [])?;
                self.roll(&mut writer, appended.base)?;
            }
            run.push_accepted(&writer.known.producers, batch);
        }
        self.write_run(&mut writer, &mut run, &mut [])?;
        // A log begins where its first segment does: where the leader's did when the first batch was copied.
        if let Some(first) = self.segments.load().first() {
            self.start.raise(first.base());
        }
        Ok(())
    }

    /// The lowest offset at which the first batch may begin.
    fn may_begin_at(&self, empty: Option<&Segment>, fetched: &Fetched) -> Offset {
        let end = self.end();
        match fetched.batches.first().map(Batch::header) {
            Some(first) if empty.is_some() && first.next_offset() > end => {
                end.min(first.base_offset())
            }
            // A segment that was begun for a batch that was not written takes no earlier one.
            _ => self.segments.load().last().map_or(end, |active| active.base().max(end)),
        }
    }
}

/// Where the batches go, if all of them are good and each begins at or behind the end of the one before, the first at or
/// behind `next` (B8), and none is of an earlier leader than one before it, the first of none before `latest`.
fn check_fetched(
    fetched: &Fetched,
    mut next: Offset,
    mut latest: Option<LeaderEpoch>,
) -> Result<Vec<Appended>, AppendError> {
    let check = |batch: &Batch| {
        let header = batch.header();
        if header.base_offset() < next {
            let (base, expected) = (header.base_offset(), next);
            return Err(AppendError::UnexpectedOffset { base, expected });
        }
        if let Some(epoch) = header.leader_epoch()
            && let Some(latest) = latest.replace(epoch).filter(|latest| *latest > epoch)
        {
            return Err(AppendError::EarlierEpoch { epoch, latest });
        }
        if length(header.size()) > u64::from(MAX_SEGMENT_BYTES) {
            let (size, limit) = (header.size(), MAX_SEGMENT_BYTES);
            return Err(AppendError::BatchTooLarge { size, limit, limit_name: "segment.bytes" });
        }
        if !fetched.trusted {
            batch.verify_crc().map_err(AppendError::Invalid)?;
        }
        if header.last_offset() == Offset::MAX {
            return Err(AppendError::OffsetsExhausted);
        }
        next = header.next_offset();
        let (base, timestamp) = (header.base_offset(), header.max_timestamp());
        Ok(Appended { base, next, timestamp, append_time: None })
    };
    fetched.batches.iter().map(check).collect()
}
