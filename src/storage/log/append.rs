//! Appending as the leader: batches are checked, stamped, written in as few calls as possible, then published.

use crate::base::{LeaderEpoch, Offset, Timestamp};
use crate::record::EncodedBatch;
use crate::storage::AppendError;
use crate::storage::log::run::Run;
use crate::storage::log::{Log, Writer};
use crate::storage::producers::{AppendOrigin, ProducerBatch, SeenBatch};
use crate::storage::segment::length;

/// Where a batch is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Appended {
    /// Offset of its first record.
    pub(crate) base: Offset,
    /// Offset after its last record.
    pub(crate) next: Offset,
    /// Its largest timestamp.
    pub(crate) timestamp: Option<Timestamp>,
    /// The timestamp that all of its records have been given, if they do not have their own.
    pub(crate) append_time: Option<Timestamp>,
}

/// Why a batch is not in the log.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) error: AppendError,
    /// The batch, to be tried again: here if nothing of it was written, else with another leader.
    pub(crate) batch: Option<EncodedBatch>,
}

/// One result for each batch.
pub(super) type Results = Vec<Result<Appended, Refused>>;

/// What is to be done with a batch.
enum Admitted {
    /// It is to be written there.
    New(Appended, Option<ProducerBatch>),
    /// It is in the log, or was put in the run just now.
    Duplicate(Appended),
}

impl Log {
    /// Appends batches at `now` as the leader of `epoch`: gives them their offsets, writes and publishes them. One result for
    /// each batch, in order: for one that was sent again, where the first copy is. After a batch that could not be
    /// written, later ones are not tried.
    pub(crate) fn append(
        &self,
        batches: Vec<(EncodedBatch, AppendOrigin)>,
        epoch: LeaderEpoch,
        now: Timestamp,
    ) -> Results {
        let accepted = batches
            .into_iter()
            .map(|(batch, origin)| (self.accept(batch, origin, now), origin))
            .collect::<Vec<_>>();
        let mut writer = self.writer.lock();
        let mut results = Vec::with_capacity(accepted.len());
        let append_time = self.append_time(&mut writer, now);
        let mut run = Run::new(now, append_time);
        let mut next = self.end();
        let mut failed = self.is_offline().then(|| AppendError::NotWritten(self.offline_error()));
        for ((batch, refused), origin) in accepted {
            let admitted = match failed.as_ref().or(refused.as_ref()) {
                Some(error) => self.give_up(&writer, &batch, origin, error),
                None => self.admit(&writer, &run, &batch, next, origin),
            };
            let (appended, producer_batch) = match admitted {
                Ok(Admitted::New(appended, producer_batch)) => (appended, producer_batch),
                Ok(Admitted::Duplicate(appended)) => {
                    results.push(Ok(appended));
                    continue;
                }
                Err(error) => {
                    results.push(Err(Refused { error, batch: Some(batch) }));
                    continue;
                }
            };
            if self.must_roll(&run, batch.size(), appended)
                || self.is_too_old(&mut writer, &run, appended)
            {
                let rolled = self.write_run(&mut writer, &mut run, &mut results);
                if let Err(error) = rolled.and_then(|()| self.roll(&mut writer, appended.base)) {
                    results.push(Err(Refused { error: error.clone(), batch: Some(batch) }));
                    failed = Some(error);
                    continue;
                }
            }
            next = appended.next;
            if let Some(batch) = producer_batch {
                run.staged.add(&writer.known.producers, &batch);
            }
            run.push(self.stamp(batch, appended, epoch), results.len());
            results.push(Ok(appended));
        }
        // The error, if any, is in the results.
        let _ = self.write_run(&mut writer, &mut run, &mut results);
        results
    }

    /// Checks a batch that would begin at `base`.
    fn admit(
        &self,
        writer: &Writer,
        run: &Run,
        batch: &EncodedBatch,
        base: Offset,
        origin: AppendOrigin,
    ) -> Result<Admitted, AppendError> {
        self.check_size(batch.size())?;
        // By its offsets: a batch that compaction has thinned out has fewer records.
        let last = base.checked_add(batch.header().last_offset_delta());
        let next =
            last.and_then(|last| last.checked_add(1)).ok_or(AppendError::OffsetsExhausted)?;
        let append_time = run.append_time();
        let timestamp = append_time.or(batch.max_timestamp());
        let appended = Appended { base, next, timestamp, append_time };
        let batch = producer_batch(batch, base)?.map(|batch| batch.with_timestamp(timestamp));
        if let Some(batch) = &batch
            && let Some(seen) = run.staged.judge(&writer.known.producers, batch, origin)?
        {
            return Ok(Admitted::Duplicate(self.seen(seen)));
        }
        Ok(Admitted::New(appended, batch))
    }

    /// Checks the size of a batch, as a leader does.
    pub(super) fn check_size(&self, size: usize) -> Result<(), AppendError> {
        let config = self.config.load();
        let limits = [
            ("max.message.bytes", config.max_message_bytes),
            ("segment.bytes", config.segment_bytes),
        ];
        match limits.into_iter().find(|(_, limit)| length(size) > u64::from(*limit)) {
            Some((limit_name, limit)) => {
                Err(AppendError::BatchTooLarge { size, limit, limit_name })
            }
            None => Ok(()),
        }
    }

    /// What is said of a batch that is not tried: that it was not written, unless it was before.
    fn give_up(
        &self,
        writer: &Writer,
        batch: &EncodedBatch,
        origin: AppendOrigin,
        error: &AppendError,
    ) -> Result<Admitted, AppendError> {
        let batch = producer_batch(batch, self.end())?.filter(|_| origin == AppendOrigin::Client);
        match batch.and_then(|batch| writer.known.producers.find_duplicate(&batch)) {
            None => Err(error.clone()),
            Some(_) if self.is_offline() => Err(AppendError::Unknown(self.offline_error())),
            Some(seen) => Ok(Admitted::Duplicate(self.seen(seen))),
        }
    }

    /// Where the first copy of a batch is.
    fn seen(&self, seen: SeenBatch) -> Appended {
        let (base, next, timestamp) = (seen.base_offset(), seen.next_offset(), seen.timestamp());
        let append_time = timestamp.filter(|_| self.config.load().log_append_time);
        Appended { base, next, timestamp, append_time }
    }
}

fn producer_batch(
    batch: &EncodedBatch,
    base: Offset,
) -> Result<Option<ProducerBatch>, AppendError> {
    let control = batch.control_record().map_err(AppendError::Invalid)?;
    Ok(ProducerBatch::of(batch.header(), base, control))
}
