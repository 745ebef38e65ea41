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

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use crate::base::{Backoff, Bug, ErrorKind, ProducerEpoch, ProducerId, is_planted};
use crate::client::producer::accumulator::Accumulator;
use crate::client::producer::pending::Pending;
use crate::client::{Error, Outcome};
use crate::cluster::{Drive, ProducerIds};
use crate::env::Moment;
use crate::record::{BatchProducer, EncodedBatch, next_sequence};
use crate::replica::{Append, Completion, ProduceError, Refusal, Replica, Unqueued};
use crate::storage::{AppendOrigin, Appended};

/// The end of time: what is driven then has nothing to wait for.
pub(super) const END: Moment = Moment::since_start(Duration::MAX);

/// How often a batch is sent again soon, because somebody else leads by now, or is about to: at once, then later and later.
const QUICK_RETRIES: u32 = 8;

/// Between two of them.
const SOON: Backoff =
    Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(100) };

/// What only the holder of the `closing` lock may touch.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// Who the batches are from, if retries are to be recognised.
    identity: Option<Identity>,
    held: Vec<Held>,
    /// Not before are the held ones sent.
    resume_at: Option<Moment>,
    /// How often nobody was found to send them to, in a row.
    in_vain: u32,
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
    /// Retries that do not count, see [`QUICK_RETRIES`].
    quick_retries: AtomicU32,
    /// A leader had it and was one no longer: it may be in the log.
    maybe_written: AtomicBool,
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

impl Sent {
    /// What its last attempt has failed by says nothing of those before.
    fn failed_by(&self, error: Error) -> Error {
        match self.maybe_written.load(Ordering::SeqCst) {
            false => error,
            true => error.unknown(),
        }
    }

    /// Why it is given up, after all this time.
    fn given_up(&self) -> Error {
        match self.maybe_written.load(Ordering::SeqCst) {
            false => given_up(),
            true => Error::timed_out(
                "given up after delivery.timeout.ms: a leader had it, and it may be in the log",
            ),
        }
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
        let sent = Arc::new(Sent {
            pending,
            accumulator: Arc::clone(self),
            number,
            retries: AtomicU32::new(0),
            quick_retries: AtomicU32::new(0),
            maybe_written: AtomicBool::new(false),
            ended: OnceLock::new(),
        });
        let is_early = self.out.load(Ordering::SeqCst) > 0 && !self.may_overtake(flight);
        if is_early || self.muted.load(Ordering::SeqCst) {
            flight.held.push(Held { sent, batch });
            if is_early {
                self.mute(flight, Moment::since_start(Duration::ZERO));
            }
            return None;
        }
        match self.send(&sent, batch) {
            Ok(()) => None,
            Err(unsent) => self.hold(flight, sent, *unsent, self.runtime.now()).map(|(_, e)| e),
        }
    }

    /// Holds a batch that there is nobody to send to, from now until `at`. Returns it if it is to be given up.
    fn hold(
        &self,
        flight: &mut Flight,
        sent: Arc<Sent>,
        unsent: Unqueued,
        at: Moment,
    ) -> Option<(Arc<Sent>, Error)> {
        let Unqueued { error, batch } = unsent;
        let error = Error::from(error);
        if !error.is_of_leader() || flight.is_last {
            let error = sent.failed_by(error);
            return Some((sent, error));
        }
        flight.held.push(Held { sent, batch });
        flight.resume_at = flight.resume_at.max(Some(at));
        self.mute(flight, at);
        None
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
            self.way.sender().submit(Arc::new(Resume(Arc::clone(self))), at);
        }
    }

    fn send(&self, sent: &Arc<Sent>, batch: EncodedBatch) -> Result<(), Box<Unqueued>> {
        let Some(leader) = self.way.replica() else {
            return Err(Box::new(Unqueued { error: ProduceError::NotLeader, batch }));
        };
        self.out.fetch_add(1, Ordering::SeqCst);
        let (origin, acks) = (AppendOrigin::Client, self.settings.acks);
        let completion = Arc::clone(sent) as _;
        let queued = leader.enqueue_accepted(Append { batch, origin, acks, completion });
        queued.inspect_err(|_| _ = self.out.fetch_sub(1, Ordering::SeqCst))
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
        if error.outcome() == Outcome::Unknown {
            sent.maybe_written.store(true, Ordering::SeqCst);
        }
        let mut flight = self.closing.lock();
        let again = self.when_again(&mut flight, &sent, &error, now).zip(batch);
        match again {
            Some((at, batch)) => {
                flight.resume_at = flight.resume_at.max(Some(at));
                flight.held.push(Held { sent, batch });
                self.mute(&mut flight, now);
            }
            None => {
                let _first = sent.ended.set(Err(sent.failed_by(error)));
                self.leave_hole(&mut flight);
            }
        }
        drop(flight);
        self.came_in();
    }

    /// When a batch may be sent again that was refused for this reason, if at all.
    fn when_again(
        &self,
        flight: &mut Flight,
        sent: &Sent,
        error: &Error,
        now: Moment,
    ) -> Option<Moment> {
        let is_over =
            self.way.with(|leader| !matches!(leader.ended(), None | Some(ProduceError::NotLeader)));
        if flight.is_last || sent.pending.result().is_some() || is_over == Some(true) {
            return None;
        }
        let later = || {
            let retries = sent.retries.fetch_add(1, Ordering::Relaxed);
            let at = now.after(self.backoff(retries))?;
            let in_time = retries < self.settings.retries && at < sent.pending.deadline();
            in_time.then_some(at)
        };
        let soon = || match sent.quick_retries.fetch_add(1, Ordering::Relaxed) {
            0 => Some(now),
            before if before < QUICK_RETRIES => {
                now.after(SOON.after(before - 1, self.runtime.random()))
            }
            _ => later(),
        };
        match error.kind() {
            // Another leads by now, or is about to: the time that is lost would be for nothing.
            ErrorKind::NotLeaderOrFollower | ErrorKind::LeaderNotAvailable => soon(),
            ErrorKind::NotEnoughReplicas | ErrorKind::NotEnoughReplicasAfterAppend => later(),
            // One before it has not been written yet.
            ErrorKind::OutOfOrderSequenceNumber => {
                let muted = self.muted.load(Ordering::SeqCst);
                match muted || !self.is_oldest(&sent.pending) {
                    true => Some(now),
                    // Nor ever will be: the log has lost it, by an unclean election for one. It is numbered anew (KIP-360).
                    false => {
                        flight.has_hole = true;
                        later()
                    }
                }
            }
            // Not a full disk: whoever runs the program can make room, and has to know.
            ErrorKind::Storage
                if self.way.with(|leader| leader.log().is_offline()) == Some(false) =>
            {
                later()
            }
            _ => None,
        }
    }

    /// When to look for a leader again, once nobody has led: another is about to.
    fn when_to_look(&self, flight: &mut Flight, now: Moment) -> Moment {
        let time = match flight.in_vain < QUICK_RETRIES {
            true => SOON.after(flight.in_vain, self.runtime.random()),
            false => self.settings.retry_backoff,
        };
        flight.in_vain = flight.in_vain.saturating_add(1);
        now.after(time).unwrap_or(now)
    }

    /// The time from one attempt to the next.
    fn backoff(&self, retries: u32) -> Duration {
        let (first, longest) = (self.settings.retry_backoff, self.settings.retry_backoff_max);
        Backoff { first, longest }.after(retries, self.runtime.random())
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
            drop(flight);
            // Before the lock is taken again: this may open files.
            let is_led = match self.way.with(Replica::is_leader) {
                Some(true) => true,
                // One that will be led no more is not waited for.
                _ => !self.way.find_leader().is_err_and(|error| error.is_of_leader()),
            };
            let mut flight = self.closing.lock();
            let is_still_over =
                self.out.load(Ordering::SeqCst) == 0 && self.muted.load(Ordering::SeqCst);
            if !is_still_over {
                // Somebody else was faster.
                drop(flight);
                for sent in late {
                    sent.pending.finish(Err(sent.given_up()));
                }
                return None;
            }
            let failed = match is_led || now == END || flight.held.is_empty() {
                true => self.send_held(&mut flight, now),
                false => Vec::new(),
            };
            let again = (!is_led && now != END && !flight.held.is_empty()).then(|| {
                let at = self.when_to_look(&mut flight, now);
                *flight.resume_at.insert(at)
            });
            drop(flight);
            for sent in late {
                sent.pending.finish(Err(sent.given_up()));
            }
            for (sent, error) in failed {
                sent.pending.finish(Err(error));
            }
            if again.is_some() {
                return again;
            }
            self.drive_leader();
            // If the one that was sent alone was refused at once, nobody comes in: it is the next one's turn.
        }
    }

    /// Sends what is held, or the first of it alone if the others must not get in front of it. Returns what has failed.
    fn send_held(self: &Arc<Self>, flight: &mut Flight, now: Moment) -> Vec<(Arc<Sent>, Error)> {
        let mut failed = Vec::new();
        let mut held = std::mem::take(&mut flight.held);
        held.sort_by_key(|held| held.sent.number);
        if std::mem::take(&mut flight.has_hole)
            && let Some(identity) = &mut flight.identity
        {
            identity.next_incarnation(&self.ids);
            self.is_known.store(false, Ordering::SeqCst);
            // With another number it could be there twice.
            let maybe = held.extract_if(.., |held| held.sent.maybe_written.load(Ordering::SeqCst));
            failed.extend(maybe.map(|held| (Arc::clone(&held.sent), held.sent.given_up())));
            for held in &mut held {
                held.batch.set_producer(identity.take(held.batch.record_count()));
            }
        }
        let mut rest = Vec::new();
        if !self.may_overtake(flight) && held.len() > 1 {
            rest = held.split_off(1);
        } else {
            flight.resume_at = None;
            self.muted.store(false, Ordering::SeqCst);
        }
        for Held { sent, batch } in held {
            // Those behind one that found nobody are held with it.
            let sending = match flight.held.is_empty() {
                true => self.send(&sent, batch),
                false => Err(Box::new(Unqueued { error: ProduceError::NotLeader, batch })),
            };
            match sending {
                Ok(()) => flight.in_vain = 0,
                Err(unsent) => {
                    let at = self.when_to_look(flight, now);
                    failed.extend(self.hold(flight, sent, *unsent, at));
                }
            }
        }
        flight.held.extend(rest);
        failed
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
            sent.pending.finish(Err(sent.given_up()));
        }
        for pending in &out {
            let message = "not acknowledged within delivery.timeout.ms; it may still be written";
            pending.finish(Err(Error::timed_out(message)));
        }
        if !out.is_empty() {
            // The next sync may have been left to somebody who waited for one of these.
            self.way.with(Replica::schedule);
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
