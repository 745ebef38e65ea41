//! Where records become batches: one accumulator for each producer and partition.
//!
//! # Invariants
//! - A batch is closed and queued in one piece, under `closing`: batches are queued in the order in which their
//!   records came, which is the order in which they will be written.
//! - An open batch is known to somebody who will write it: the store's sender, or the caller who opened it.
//!
//! # Locks
//! `closing`, then `open`, then the replica's queue; never taken from below. Appending takes `open` alone. Nobody is
//! told of a batch's end with one of them held.
//!
//! # Elsewhere
//! What becomes of a closed batch, retries and sequence numbers: `flight`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::base::{ErrorKind, FlushPolicy, Timestamp, TopicId};
use crate::client::Error;
use crate::client::producer::flight::{END, Flight};
use crate::client::producer::partitioner::Place;
use crate::client::producer::pending::{Origin, Pending};
use crate::client::producer::way::Way;
use crate::client::producer::{Inner, Settings};
use crate::cluster::{Drive, ProducerIds, Sender};
use crate::env::sync::Mutex;
use crate::env::{BufferPool, Moment, Runtime};
use crate::record::{self, BatchBuilder, CloseOptions, RecordFields, size_upper_bound};
use crate::replica::Replica;

/// How large a batch may grow while the log is busy. Larger ones gain nothing for the writer, and no
/// longer fit the nearest cache of whoever checks and reads them.
const MAX_GROWN_BATCH: usize = 256 << 10;

/// How long a batch that nobody waits for may stay open without `linger.ms`. Long enough that a caller who is about
/// to wait gets there first, short enough that nobody notices.
const NAP: Duration = Duration::from_micros(30);

/// How long the sender waits before it tries again to close a batch that has to wait for those before it.
const CLOSE_AGAIN: Duration = Duration::from_millis(5);

/// How long it may stay open if it will be full by then.
const FILLING: Duration = Duration::from_micros(500);

/// One producer's batches for one partition.
pub(super) struct Accumulator {
    pub(super) me: Weak<Self>,
    origin: Arc<Origin>,
    pub(super) way: Arc<Way>,
    /// Gives up batches in time.
    pub(super) alarms: Arc<Sender>,
    pool: Arc<BufferPool>,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) settings: Arc<Settings>,
    pub(super) ids: Arc<ProducerIds>,
    pub(super) closing: Mutex<Flight>,
    /// Batches that the replica has, and has not answered.
    pub(super) out: AtomicUsize,
    /// Batches are held back: one before them is to be sent again, or will never be.
    pub(super) muted: AtomicBool,
    /// The leader has taken a batch of the producer's present incarnation.
    pub(super) is_known: AtomicBool,
    /// Somebody sees to it that batches are given up in time.
    pub(super) armed: AtomicBool,
    open: Mutex<Open>,
    /// In the hands of the sender, which has not begun yet.
    submitted: AtomicBool,
}

impl std::fmt::Debug for Accumulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let partition = &self.origin.partition;
        f.debug_struct("Accumulator").field("partition", partition).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Open {
    batch: Option<OpenBatch>,
    /// Batches that were not done when the latest was begun, that one included. A later one may be done before an
    /// earlier one: refusals are answered at once.
    unfinished: Vec<Arc<Pending>>,
}

struct OpenBatch {
    builder: BatchBuilder,
    pending: Arc<Pending>,
    /// Of records that have none of their own.
    timestamp: Timestamp,
    reserved: usize,
    /// The size at which it is full.
    limit: usize,
    /// When it was begun, nothing else of the producer was under way, and the log was idle.
    alone: bool,
    began: Moment,
    /// Until when it may wait for more records, if nobody waits for it.
    due: Moment,
}

/// A record's place.
pub(super) struct Appended {
    pub(super) pending: Arc<Pending>,
    /// Its place in the batch, from 0.
    pub(super) index: u32,
    pub(super) timestamp: Timestamp,
    /// What it takes up at most.
    pub(super) bytes: usize,
    /// It began a batch.
    pub(super) first: bool,
    /// The batch takes no more.
    full: bool,
    /// Nothing else was under way when the batch was begun.
    alone: bool,
    /// The size at which the batch is full.
    pub(super) limit: usize,
    due: Moment,
}

/// Whether a caller can be made to write to a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Patience {
    /// Yes: it may block in any case.
    MayBlock,
    /// No: it may be a future's.
    NoBlocking,
}

/// Why a record was not appended.
pub(super) enum NoRoom {
    /// Earlier batches of the partition have to be done first.
    Yet,
    /// Other batches of the producer have to be done first.
    Memory,
    /// It never will be.
    Ever(Error),
    /// The partition is no more.
    Ended(Error),
}

impl Appended {
    pub(super) fn place(&self) -> Place {
        match (self.full, self.first) {
            (true, _) => Place::Last,
            (false, true) => Place::First,
            (false, false) => Place::Between,
        }
    }
}

impl Accumulator {
    /// Of the producer's batches for the partition to which this is the way.
    pub(super) fn new(producer: &Inner, way: Way) -> Arc<Self> {
        let Inner { core, settings, memory, interceptors, id, .. } = producer;
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            origin: Arc::new(Origin {
                accumulator: Weak::clone(me),
                partition: way.partition(),
                acks: settings.acks,
                memory: Arc::clone(memory),
                interceptors: Arc::clone(interceptors),
                runtime: Arc::clone(core.runtime()),
                in_flight: AtomicUsize::new(0),
                wanted: AtomicBool::new(false),
            }),
            way: Arc::new(way),
            alarms: Arc::clone(core.alarms()),
            pool: Arc::clone(core.pool()),
            runtime: Arc::clone(core.runtime()),
            settings: Arc::clone(settings),
            ids: Arc::clone(core.producer_ids()),
            closing: Mutex::new(Flight::of(*id)),
            out: AtomicUsize::new(0),
            muted: AtomicBool::new(false),
            is_known: AtomicBool::new(false),
            armed: AtomicBool::new(false),
            open: Mutex::default(),
            submitted: AtomicBool::new(false),
        })
    }

    /// Orders accumulators, for whoever goes through several.
    pub(super) fn key(&self) -> (TopicId, i32) {
        (self.way.topic().id, self.origin.partition.partition.value())
    }

    /// Writes what is queued.
    pub(super) fn drive_leader(&self) {
        self.way.with(Replica::drive);
    }

    /// Whether a caller may well write to the leader itself.
    fn is_idle(&self, now: Moment) -> bool {
        self.way.with(|leader| leader.is_idle(now)).unwrap_or(false)
    }

    /// Encodes a record into the open batch.
    pub(super) fn append(
        &self,
        record: &RecordFields<'_>,
        patience: Patience,
    ) -> Result<Appended, NoRoom> {
        let size = size_upper_bound(record);
        self.check_size(size)?;
        loop {
            let mut open = self.open.lock();
            let room = open.batch.as_mut().map(|batch| batch.has_room(size));
            let appended = match (&mut open.batch, room) {
                (Some(batch), Some(true)) => self.append_to(batch, record, size, false)?,
                (Some(_), _) => {
                    drop(open);
                    if self.origin.in_flight.load(Ordering::Acquire) >= self.settings.max_in_flight
                    {
                        if patience == Patience::MayBlock {
                            self.drive_leader();
                        }
                        return Err(NoRoom::Yet);
                    }
                    self.close();
                    self.write_closed(patience);
                    continue;
                }
                (None, _) => {
                    let batch = self.open_batch(size)?;
                    open.unfinished.retain(|pending| pending.result().is_none());
                    open.unfinished.push(Arc::clone(&batch.pending));
                    self.append_to(open.batch.insert(batch), record, size, true)?
                }
            };
            drop(open);
            self.see_to_writing(&appended, patience);
            return Ok(appended);
        }
    }

    /// The size at which a batch that is begun now will be full.
    fn limit(&self, alone: bool) -> usize {
        let size = self.settings.batch_size;
        // Who sets `linger.ms` says with `batch.size` how long to wait at most.
        let wanted = if !alone && size > 0 && self.settings.linger.is_zero() {
            size.max(MAX_GROWN_BATCH.min(self.settings.max_request_size))
        } else {
            size
        };
        // Never larger than what the log takes: the records would have done well in smaller ones.
        let most = self.way.with(|leader| leader.log().max_batch_bytes());
        wanted.min(most.unwrap_or_else(|| self.way.topic().config.log.max_batch_bytes()))
    }

    /// Whether the partition takes records, from whoever leads it; nobody may do so for the moment.
    fn check_leader(&self) -> Result<(), NoRoom> {
        if let Some(Ok(())) = self.way.with(Replica::takes_new) {
            return Ok(());
        }
        let takes = |leader: Arc<Replica>| Ok(leader.takes_new()?);
        match self.way.look_again().and_then(takes) {
            Err(error) if !error.is_of_leader() => Err(NoRoom::Ended(error)),
            _ => Ok(()),
        }
    }

    #[inline]
    fn check_size(&self, size: usize) -> Result<(), NoRoom> {
        let limits = [
            ("max.request.size", self.settings.max_request_size),
            ("buffer.memory", self.origin.memory.limit()),
        ];
        match limits.iter().find(|(_, limit)| size > *limit) {
            None => Ok(()),
            Some((name, limit)) => {
                let message = format!("a record of up to {size} bytes exceeds {name}={limit}");
                Err(NoRoom::Ever(Error::new(ErrorKind::MessageTooLarge, message)))
            }
        }
    }

    fn open_batch(&self, size: usize) -> Result<OpenBatch, NoRoom> {
        self.check_leader()?;
        let now = self.runtime.now();
        let memory = &self.origin.memory;
        let alone = memory.used() == 0 && self.is_idle(now);
        let limit = self.limit(alone);
        let reserved = size.max(self.settings.batch_size.min(memory.limit()));
        if !memory.reserve(reserved) {
            return Err(NoRoom::Memory);
        }
        // With room for the first record, so that no batch is left without one.
        let buffer = match self.pool.take().filter(|buffer| buffer.capacity() >= size) {
            Some(buffer) => buffer,
            None => record::buffer(size).map_err(|error| {
                memory.release(reserved);
                NoRoom::Ever(error.into())
            })?,
        };
        let deadline = now.after(self.settings.delivery_timeout).unwrap_or(END);
        let pending = Pending::new(&self.origin, reserved, deadline);
        let patience = if self.settings.linger.is_zero() { NAP } else { self.settings.linger };
        Ok(OpenBatch {
            builder: BatchBuilder::new(buffer),
            pending: Arc::new(pending),
            timestamp: self.runtime.wall_clock(),
            reserved,
            limit,
            alone,
            began: now,
            due: now.after(patience).unwrap_or(now),
        })
    }

    fn append_to(
        &self,
        batch: &mut OpenBatch,
        record: &RecordFields<'_>,
        size: usize,
        first: bool,
    ) -> Result<Appended, NoRoom> {
        let timestamp = match record.timestamp {
            Some(timestamp) => timestamp,
            // Without lingering a batch is a moment; reading the clock for each record would cost more than it tells.
            None if self.settings.linger.is_zero() => batch.timestamp,
            None => self.runtime.wall_clock(),
        };
        let record = RecordFields { timestamp: Some(timestamp), ..*record };
        let index = batch.builder.append(&record).map_err(|e| NoRoom::Ever(e.into()))?;
        Ok(Appended {
            pending: Arc::clone(&batch.pending),
            index,
            timestamp,
            bytes: size,
            first,
            full: batch.is_full(size),
            alone: batch.alone,
            limit: batch.limit,
            due: batch.due,
        })
    }

    /// After a record that began or filled a batch: makes sure that somebody will write it.
    #[inline]
    fn see_to_writing(&self, appended: &Appended, patience: Patience) {
        if appended.first && !self.armed.load(Ordering::SeqCst) {
            self.arm(appended.pending.deadline());
        }
        if appended.full {
            self.close();
            self.write_closed(patience);
        } else if appended.first {
            // With nothing else going on, the write is done before the sender would be awake. In a stream of records over
            // many partitions each log is idle for most of the time, and none of them is to begin with a batch of one
            // record. Not if a sync has to follow: the caller may be about to wait, and will then do both.
            let is_unsynced = |leader: &Replica| leader.policy() != FlushPolicy::OnAck;
            let may_write = patience == Patience::MayBlock && self.settings.linger.is_zero();
            if appended.alone && may_write && self.way.with(is_unsynced) == Some(true) {
                self.write();
            } else {
                self.submit(appended.due);
            }
        }
    }

    /// Writes what was closed, because it was full for the most part. Whoever filled it does so, if it may: the batch
    /// is still in its processor's cache, and it is held back while the disk is.
    fn write_closed(&self, patience: Patience) {
        match patience {
            Patience::MayBlock => self.drive_leader(),
            // The replica, since what is open by now may wait for its company.
            Patience::NoBlocking => {
                if let Some(leader) = self.way.replica() {
                    self.way.sender().submit(leader, None);
                }
            }
        }
    }

    /// Has the sender close and write the open batch when it has waited long enough.
    fn submit(&self, due: Moment) {
        if !self.submitted.swap(true, Ordering::AcqRel)
            && let Some(me) = self.me.upgrade()
        {
            self.way.sender().submit(me, Some(due));
        }
    }

    /// For a caller who waits but does no file I/O: has the sender write the batch at once, if it is still open.
    pub(super) fn hasten(&self, pending: &Arc<Pending>) {
        if !self.settings.linger.is_zero() && self.close_if(pending) {
            self.write_closed(Patience::NoBlocking);
        }
    }

    /// Closes the open batch, if there is one and as many batches may be on their way, and sends it.
    pub(super) fn close(&self) {
        self.close_that(|_| true);
    }

    /// Closes the open batch if it is this one, and as many may be on their way.
    pub(super) fn close_if(&self, pending: &Arc<Pending>) -> bool {
        self.close_that(|batch| Arc::ptr_eq(&batch.pending, pending))
    }

    fn close_that(&self, is_meant: impl Fn(&OpenBatch) -> bool) -> bool {
        let mut flight = self.closing.lock();
        let batch = {
            let mut open = self.open.lock();
            let Some(batch) = open.batch.as_mut().filter(|batch| is_meant(batch)) else {
                return false;
            };
            if !self.may_send() && !flight.is_closing {
                // Whoever ends a batch looks for this, and has it closed.
                batch.due = Moment::since_start(Duration::ZERO);
                self.origin.wanted.store(true, Ordering::SeqCst);
                if !self.may_send() {
                    return false;
                }
            }
            open.batch.take()
        };
        let failed = batch.and_then(|batch| self.queue(&mut flight, batch));
        drop(flight);
        if self.muted.load(Ordering::SeqCst)
            && let Some(me) = self.me.upgrade()
        {
            me.see_to_held();
        }
        if let Some((pending, error)) = failed {
            pending.finish(Err(error));
        }
        true
    }

    fn may_send(&self) -> bool {
        self.origin.in_flight.load(Ordering::SeqCst) < self.settings.max_in_flight
    }

    /// Takes the open batch away, if it is one of those meant: its records will not be written.
    pub(super) fn take_open_if(&self, is_meant: impl Fn(&Pending) -> bool) -> Option<Arc<Pending>> {
        let _closing = self.closing.lock();
        let mut open = self.open.lock();
        let batch = open.batch.take_if(|batch| is_meant(&batch.pending))?;
        Some(batch.pending)
    }

    /// The batches that are not done.
    pub(super) fn unfinished(&self) -> Vec<Arc<Pending>> {
        let unfinished = self.open.lock().unfinished.clone();
        unfinished.into_iter().filter(|pending| pending.result().is_none()).collect()
    }

    /// Whether no batch that was begun before this one is undecided.
    pub(super) fn is_oldest(&self, pending: &Arc<Pending>) -> bool {
        let open = self.open.lock();
        let oldest = open.unfinished.iter().find(|pending| pending.result().is_none());
        oldest.is_none_or(|oldest| Arc::ptr_eq(oldest, pending))
    }

    /// Returns the batch if it has failed.
    fn queue(&self, flight: &mut Flight, batch: OpenBatch) -> Option<(Arc<Pending>, Error)> {
        let OpenBatch { builder, pending, .. } = batch;
        pending.begin_flight();
        let Settings { compression, level, .. } = *self.settings;
        let producer = flight.number(builder.record_count());
        let options = CloseOptions { compression, level, producer, ..CloseOptions::default() };
        match (builder.close(&options), self.me.upgrade()) {
            (Ok(closed), Some(me)) => {
                let failed = me.dispatch(flight, Arc::clone(&pending), closed);
                failed.map(|error| (pending, error))
            }
            (Err(error), Some(me)) => {
                me.leave_hole(flight);
                Some((pending, error.into()))
            }
            // Nobody calls without holding it.
            (_, None) => Some((pending, Error::closed())),
        }
    }

    /// A batch came to its end, and another was to be closed as soon as that.
    pub(super) fn urge(self: &Arc<Self>) {
        self.way.sender().submit(Arc::clone(self) as _, None);
    }

    /// The producer is gone: the sender sees to what could not be closed.
    pub(super) fn entrust(self: &Arc<Self>) {
        if self.open.lock().batch.is_some() {
            self.urge();
        }
    }

    /// Ends the waiting of the open batch, if there is one: others need its memory.
    pub(super) fn expedite(&self, patience: Patience) {
        if self.open.lock().batch.is_some() {
            self.close();
            self.write_closed(patience);
        }
    }

    /// Closes the open batch and writes what is queued.
    pub(super) fn write(&self) {
        self.close();
        self.drive_leader();
    }
}

impl Drive for Accumulator {
    fn drive(&self, now: Moment) -> Option<Moment> {
        let open = self.open.lock().batch.as_ref().map(|batch| (batch.due, batch.full_at(now)));
        if let Some((due, full_at)) = open {
            if due > now {
                // Written by others meanwhile, and begun anew.
                return Some(due);
            }
            // Whoever fills it this fast will write it too: two who take turns would only be in each other's way.
            if full_at.is_some() {
                return full_at;
            }
        }
        if now == END {
            self.closing.lock().is_closing = true;
        }
        // First, so that a record that comes in from now on is submitted again.
        self.submitted.store(false, Ordering::Release);
        self.write();
        // As many as may be are on their way: their end has it closed, or else this.
        let is_left = self.open.lock().batch.as_ref().is_some_and(|batch| batch.due <= now);
        if is_left { now.after(CLOSE_AGAIN) } else { None }
    }
}

impl OpenBatch {
    fn full_at(&self, now: Moment) -> Option<Moment> {
        full_at(self.began, now, self.builder.len(), self.limit)
    }

    /// Whether the batch takes one more record of up to `size` bytes.
    fn has_room(&mut self, size: usize) -> bool {
        let after = self.builder.len().saturating_add(size);
        if after > self.limit {
            return false;
        }
        if after > self.reserved {
            // In large steps: this is a counter that all threads share.
            let step = (after - self.reserved).max(self.reserved);
            if !self.pending.reserve(step) {
                return false;
            }
            self.reserved += step;
        }
        true
    }

    /// Whether it is as good as full: another record like the last, of up to `size` bytes, would begin the next one, and
    /// little else has room. Records without a key then go elsewhere, and the batch does not wait for one that will not come.
    fn is_full(&self, size: usize) -> bool {
        let rest = self.limit.saturating_sub(self.builder.len());
        rest == 0 || (rest < size && rest < self.limit / 16)
    }
}

/// When a batch that has come to `length` by now will come to `limit` if it goes on so, if that is later than now, and
/// before long.
fn full_at(began: Moment, now: Moment, length: usize, limit: usize) -> Option<Moment> {
    let took = now.since(began).as_nanos();
    let needed = took.checked_mul(limit as u128)?.checked_div(length as u128)?;
    let needed = Duration::from_nanos(u64::try_from(needed).ok()?);
    let at = began.after(needed).filter(|at| *at > now)?;
    (needed <= FILLING).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_will_be_full_before_long_is_left_to_who_fills_it() {
        let at = |micros| Moment::since_start(Duration::from_micros(micros));
        let full_at = |now, length| full_at(at(1_000), at(now), length, 1_000);
        assert_eq!(full_at(1_030, 300), Some(at(1_100)));
        assert_eq!(full_at(1_030, 60), Some(at(1_500)));
        assert_eq!(full_at(1_030, 59), None, "it would take more than 500 µs");
        assert_eq!(full_at(1_000, 300), None, "nobody knows how long it has taken");
        assert_eq!(full_at(1_100, 1_000), None, "it is full");
        assert_eq!(full_at(1_100, 0), None);
    }
}
