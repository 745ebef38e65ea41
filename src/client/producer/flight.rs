//! Batches between an accumulator and its replica: numbered, retried in order, given up in time.
//!
//! # The way of a refused batch
//! 1. A batch that was refused, and can be tried again, comes back and is held. From then on the accumulator is
//!    *muted*: batches that are closed are held behind it, and those that were sent after it come back too, since their
//!    sequence numbers do not follow.
//! 2. When none is out any more, and the time of the retry has come, all that are held are sent again, in order and
//!    with the numbers that they had: whatever happened, no record is written twice or out of order (KIP-98).
//! 3. A leader takes any number from a producer that it does not know. So the second batch of all is held until the
//!    first one is in: it must not get in front of it.
//! 4. When the cluster closes, all that is held or open is sent once more, whatever else is out.
//! 5. A batch that is given up leaves a hole in the numbers. Those behind it, none of which can be in the log, are
//!    numbered anew under the next producer epoch.
//!
//! # Invariants
//! - Batches are sent in the order in which they were closed.
//! - A batch that may be in the log is never numbered anew.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use crate::base::{Bug, ErrorKind, ProducerEpoch, ProducerId, is_planted};
use crate::client::Error;
use crate::client::producer::accumulator::Accumulator;
use crate::client::producer::pending::Pending;
use crate::cluster::{Drive, ProducerIds};
use crate::env::Moment;
use crate::record::{BatchProducer, EncodedBatch, next_sequence};
use crate::replica::{Append, Completion, Refusal};
use crate::storage::{AppendOrigin, Appended};

/// The end of time: what is driven then has nothing to wait for.
pub(super) const END: Moment = Moment::since_start(Duration::MAX);

/// What only the holder of the `closing` lock may touch.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// Who the batches are from, if retries are to be recognised.
    identity: Option<Identity>,
    held: Vec<Held>,
    /// Not before are the held ones sent.
    resume_at: Option<Moment>,
    /// Numbers were given to batches that will never be written.
    has_hole: bool,
    /// The cluster is closing: what is open is sent, however much is out.
    pub(super) is_closing: bool,
    /// And what is held, for the last time.
    is_last: bool,
    /// Batches closed so far.
    closed: u64,
}

/// A producer, as its batches name it.
#[derive(Debug)]
struct Identity {
    id: ProducerId,
    epoch: ProducerEpoch,
    next_sequence: i32,
}

impl Identity {
    fn new(id: ProducerId) -> Self {
        Self { id, epoch: ProducerEpoch::ZERO, next_sequence: 0 }
    }

    /// The numbers of the next `count` records.
    fn take(&mut self, count: u32) -> BatchProducer {
        let base_sequence = Some(self.next_sequence);
        self.next_sequence = next_sequence(self.next_sequence, count);
        BatchProducer { id: self.id, epoch: self.epoch, base_sequence }
    }

    /// Begins to count anew, as the next incarnation.
    fn next_incarnation(&mut self, ids: &ProducerIds) {
        let next = self.epoch.value().checked_add(1).and_then(ProducerEpoch::new);
        *self = match next {
            // Kafka leaves the last one to the coordinator of transactions.
            Some(epoch) if epoch.value() < i16::MAX => {
                Self { id: self.id, epoch, next_sequence: 0 }
            }
            _ => Self::new(ids.next()),
        };
    }
}

/// A batch that waits to be sent again.
#[derive(Debug)]
struct Held {
    sent: Arc<Sent>,
    batch: EncodedBatch,
}

/// A closed batch on its way, which the replica tells what became of it.
#[derive(Debug)]
pub(super) struct Sent {
    pending: Arc<Pending>,
    accumulator: Arc<Accumulator>,
    /// Place among the batches of the accumulator.
    number: u64,
    retries: AtomicU32,
    /// What became of it in the end.
    ended: OnceLock<Result<Appended, Error>>,
}

impl Completion for Sent {
    fn complete(self: Arc<Self>, result: Result<Appended, Refusal>) {
        match result {
            Ok(appended) => {
                self.accumulator.is_known.store(true, Ordering::SeqCst);
                let _first = self.ended.set(Ok(appended));
                self.accumulator.came_in();
            }
            Err(refusal) => Arc::clone(&self.accumulator).refused(self, refusal),
        }
    }

    fn tell(&self) {
        match self.ended.get() {
            Some(Ok(appended)) => self.pending.succeed(*appended),
            Some(Err(error)) => self.pending.finish(Err(error.clone())),
            // It is tried again.
            None => {}
        }
    }

    fn hand_over(&self) -> bool {
        self.pending.hand_over()
    }
}

impl Flight {
    /// Names the producer `id` in all batches.
    pub(super) fn of(id: Option<ProducerId>) -> Self {
        Self { identity: id.map(Identity::new), ..Self::default() }
    }

    /// Takes out of what is held what is to be given up by now.
    fn take_late(&mut self, now: Moment) -> Vec<Arc<Sent>> {
        let late = self.held.extract_if(.., |held| held.sent.pending.deadline() <= now);
        let late = late.map(|held| held.sent).collect::<Vec<_>>();
        self.has_hole |= !late.is_empty();
        late
    }

    /// What the next batch, of `count` records, says of its producer.
    pub(super) fn number(&mut self, count: u32) -> Option<BatchProducer> {
        self.identity.as_mut().map(|identity| identity.take(count))
    }
}

impl Accumulator {
    /// Sends a batch that was closed just now, or holds it behind those that are held. If an error is returned it has
    /// failed, and is to be told so without a lock held.
    #[must_use]
    pub(super) fn dispatch(
        self: &Arc<Self>,
        flight: &mut Flight,
        pending: Arc<Pending>,
        batch: EncodedBatch,
    ) -> Option<Error> {
        let number = flight.closed;
        flight.closed += 1;
        let (accumulator, retries) = (Arc::clone(self), AtomicU32::new(0));
        let sent = Arc::new(Sent { pending, accumulator, number, retries, ended: OnceLock::new() });
        let is_early = self.out.load(Ordering::SeqCst) > 0 && !self.may_overtake(flight);
        if is_early || self.muted.load(Ordering::SeqCst) {
            flight.held.push(Held { sent, batch });
            if is_early {
                self.mute(flight, Moment::since_start(Duration::ZERO));
            }
            return None;
        }
        self.send(&sent, batch)
    }

    /// Whether a batch may be sent while those before it are out: the leader will see that it comes too early.
    fn may_overtake(&self, flight: &Flight) -> bool {
        is_planted(Bug::RetryIsOvertaken)
            || flight.identity.is_none()
            || self.is_known.load(Ordering::SeqCst)
    }

    /// Holds back what is closed from now on. It is sent at `at` or later, when none is out: by the last that comes in.
    /// That may have happened: whoever calls this sees to it, by [`see_to_held`](Self::see_to_held).
    fn mute(&self, flight: &mut Flight, at: Moment) {
        flight.resume_at.get_or_insert(at);
        self.muted.store(true, Ordering::SeqCst);
    }

    /// If batches are held back and none is out, has the sender send them. With no lock held: without a sender, the
    /// caller does it.
    pub(super) fn see_to_held(self: &Arc<Self>) {
        if self.muted.load(Ordering::SeqCst) && self.out.load(Ordering::SeqCst) == 0 {
            let at = self.closing.lock().resume_at;
            self.sender.submit(Arc::new(Resume(Arc::clone(self))), at);
        }
    }

    fn send(&self, sent: &Arc<Sent>, batch: EncodedBatch) -> Option<Error> {
        self.out.fetch_add(1, Ordering::SeqCst);
        let (origin, acks) = (AppendOrigin::Client, self.settings.acks);
        let completion = Arc::clone(sent) as _;
        let refused =
            self.replica.enqueue_accepted(Append { batch, origin, acks, completion }).err()?;
        self.out.fetch_sub(1, Ordering::SeqCst);
        Some(refused.into())
    }

    /// Numbers were given to a batch that will never be sent. To be followed by [`see_to_held`](Self::see_to_held).
    pub(super) fn leave_hole(&self, flight: &mut Flight) {
        if flight.identity.is_some() {
            flight.has_hole = true;
            self.mute(flight, self.runtime.now());
        }
    }

    /// One batch fewer is out.
    fn came_in(self: &Arc<Self>) {
        if self.out.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.see_to_held();
        }
    }

    fn refused(self: Arc<Self>, sent: Arc<Sent>, refusal: Refusal) {
        let Refusal { error, batch } = refusal;
        let (error, now) = (Error::from(error), self.runtime.now());
        let mut flight = self.closing.lock();
        let again = self.when_again(&flight, &sent, &error, now).zip(batch);
        match again {
            Some((at, batch)) => {
                flight.resume_at = flight.resume_at.max(Some(at));
                flight.held.push(Held { sent, batch });
                self.mute(&mut flight, now);
            }
            None => {
                let _first = sent.ended.set(Err(error));
                self.leave_hole(&mut flight);
            }
        }
        drop(flight);
        self.came_in();
    }

    /// When a batch may be sent again that was refused for this reason, if at all.
    fn when_again(
        &self,
        flight: &Flight,
        sent: &Sent,
        error: &Error,
        now: Moment,
    ) -> Option<Moment> {
        if flight.is_last || sent.pending.result().is_some() || self.replica.ended().is_some() {
            return None;
        }
        match error.kind() {
            // One before it has not been written yet.
            ErrorKind::OutOfOrderSequenceNumber => {
                let muted = self.muted.load(Ordering::SeqCst);
                (muted || !self.is_oldest(&sent.pending)).then_some(now)
            }
            // Not a full disk: whoever runs the program can make room, and has to know.
            ErrorKind::Storage if !self.replica.log().is_offline() => {
                let retries = sent.retries.fetch_add(1, Ordering::Relaxed);
                let at = now.after(self.backoff(retries))?;
                let in_time = retries < self.settings.retries && at < sent.pending.deadline();
                in_time.then_some(at)
            }
            _ => None,
        }
    }

    /// The time from one attempt to the next: twice as long each time, and 20 % more or less (KIP-580).
    fn backoff(&self, retries: u32) -> Duration {
        let (first, longest) = (self.settings.retry_backoff, self.settings.retry_backoff_max);
        let time = first.saturating_mul(2u32.saturating_pow(retries.min(20))).min(longest);
        let percent = u32::try_from(self.runtime.random() % 41).unwrap_or(20) + 80;
        time.saturating_mul(percent) / 100
    }

    /// Sends what is held, if its time has come. Returns when it will have.
    fn resume(self: &Arc<Self>, now: Moment) -> Option<Moment> {
        loop {
            let mut flight = self.closing.lock();
            let flight_is_over =
                self.out.load(Ordering::SeqCst) == 0 && self.muted.load(Ordering::SeqCst);
            if !flight_is_over {
                return None;
            }
            if let Some(at) = flight.resume_at.filter(|at| *at > now) {
                return Some(at);
            }
            flight.is_last |= now == END;
            let late = if now == END { Vec::new() } else { flight.take_late(now) };
            let failed = self.send_held(&mut flight);
            drop(flight);
            for sent in late {
                sent.pending.finish(Err(given_up()));
            }
            for (sent, error) in failed {
                sent.pending.finish(Err(error));
            }
            self.replica.drive();
            // If the one that was sent alone was refused at once, nobody comes in: it is the next one's turn.
        }
    }

    /// Sends what is held, or the first of it alone if the others must not get in front of it. Returns what has failed.
    fn send_held(self: &Arc<Self>, flight: &mut Flight) -> Vec<(Arc<Sent>, Error)> {
        let mut held = std::mem::take(&mut flight.held);
        held.sort_by_key(|held| held.sent.number);
        if std::mem::take(&mut flight.has_hole)
            && let Some(identity) = &mut flight.identity
        {
            identity.next_incarnation(&self.ids);
            self.is_known.store(false, Ordering::SeqCst);
            for held in &mut held {
                held.batch.set_producer(identity.take(held.batch.record_count()));
            }
        }
        if !self.may_overtake(flight) && held.len() > 1 {
            flight.held = held.split_off(1);
        } else {
            flight.resume_at = None;
            self.muted.store(false, Ordering::SeqCst);
        }
        let send = |Held { sent, batch }| self.send(&sent, batch).map(|error| (sent, error));
        held.into_iter().filter_map(send).collect()
    }

    /// Gives up what has taken longer than `delivery.timeout.ms`. Returns when to look again.
    fn expire(self: &Arc<Self>, now: Moment) -> Option<Moment> {
        if now == END {
            return None;
        }
        if let Some(pending) = self.take_open_if(|pending| pending.deadline() <= now) {
            pending.finish(Err(given_up()));
        }
        let (held, out) = {
            let mut flight = self.closing.lock();
            let held = flight.take_late(now);
            let is_held = |pending: &Arc<Pending>| {
                held.iter().any(|sent| Arc::ptr_eq(&sent.pending, pending))
            };
            let mut late = self.unfinished();
            late.retain(|pending| pending.deadline() <= now && !is_held(pending));
            (held, late)
        };
        for sent in held {
            sent.pending.finish(Err(given_up()));
        }
        for pending in &out {
            let message = "not acknowledged within delivery.timeout.ms; it may still be written";
            pending.finish(Err(Error::timed_out(message)));
        }
        if !out.is_empty() {
            // The next sync may have been left to somebody who waited for one of these.
            self.replica.schedule();
        }
        // Before the last look: who begins a batch from now on arms the alarm again.
        self.armed.store(false, Ordering::SeqCst);
        let next = self.unfinished().iter().map(|pending| pending.deadline()).min();
        if next.is_some() && !self.armed.swap(true, Ordering::SeqCst) {
            return next.max(now.after(Duration::from_millis(1)));
        }
        None
    }

    /// Sees to it that batches are given up in time.
    pub(super) fn arm(&self, deadline: Moment) {
        if !self.armed.swap(true, Ordering::SeqCst) {
            self.alarms.submit(Arc::new(Alarm(Weak::clone(&self.me))), Some(deadline));
        }
    }
}

fn given_up() -> Error {
    let message = "not written within delivery.timeout.ms: it was given up";
    Error::new(ErrorKind::TimedOut, message)
}

/// Sends again what an accumulator holds.
struct Resume(Arc<Accumulator>);

impl Drive for Resume {
    fn drive(&self, now: Moment) -> Option<Moment> {
        self.0.resume(now)
    }
}

/// Gives up batches in time. Does not keep their accumulator alive.
struct Alarm(Weak<Accumulator>);

impl Drive for Alarm {
    fn drive(&self, now: Moment) -> Option<Moment> {
        self.0.upgrade()?.expire(now)
    }
}
