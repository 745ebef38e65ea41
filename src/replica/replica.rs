//! A replica as leader: batches are combined, written, synced, acknowledged.
//!
//! # The way of a batch
//! 1. [`Replica::enqueue`] puts it in the queue. Order in the queue is order in the log.
//! 2. [`Replica::drive`] writes: whoever finds the writer's role free takes it, drains the queue, appends all of it
//!    in one go, and looks at the queue once more before leaving. The others go on: their batches are taken along.
//! 3. [`Replica::sync`] makes it durable, where the policy asks: the same pattern with the syncer's role. One sync
//!    covers everything written before it began. Who leaves the role with bytes unsynced hands it over to a waiting
//!    caller, or else to the store's syncer.
//! 4. The high watermark rises; batches below it are acknowledged, and consumers are woken.
//!
//! Nobody is answered while a role is held: an answer may wake a future, which may do anything, even close the cluster.
//! So all answers that are known are noted first, and told then.
//!
//! # The end
//! What was accepted is written before the replica is closed, also what waits in a producer for the answer to an
//! earlier batch: closing goes on until nothing is unanswered, and only then ends the replica.
//!
//! # Invariants
//! - `high_watermark <= log end`; under [`FlushPolicy::OnAck`] also `high_watermark <= flushed`, but for what became
//!   readable under another policy before. It never goes back.
//! - Written bytes under `on-ack` never stay unsynced with nobody about to sync them.
//!
//! # Locks
//! `queue` and `waiting` are leaves: nothing is called with one of them held.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::base::{Acks, FlushPolicy, IsolationLevel, LeaderEpoch, Offset};
use crate::base::{Bug, Timestamp, TopicId, TopicPartition, is_planted};
use crate::env::sync::{Event, Mutex};
use crate::env::{Moment, Published, Role, Runtime};
use crate::record::Limits;
use crate::replica::ProduceError;
use crate::replica::queue::{Append, Completion, Queue, Refusal, Waiting};
use crate::replica::roles::{Asked, LastStep, SyncerRole, WriterRole, nanos};
use crate::replica::watchers::Watchers;
use crate::storage::{Appended, Damage, Fetched, Log, LossError};
use crate::storage::{ReadError, Refused, StorageError, TimestampedOffset};

/// A waiting caller does the work of writing and syncing itself unless the last sync took this long: on a slow disk
/// it is to wait like everybody else, so that `wait` can be interrupted by nothing but its own batch.
const SLOW_STEP: Duration = Duration::from_millis(10);

/// Takes over the syncing of replicas that have unsynced bytes and nobody who waits for them.
pub(crate) trait SyncScheduler: Send + Sync + std::fmt::Debug {
    /// Has `replica` synced as soon as its policy asks.
    fn schedule(&self, replica: Arc<Replica>);

    /// A sync has moved the flush point of a log: it is to be noted on disk within a second.
    fn flushed(&self);
}

/// What a replica is made of.
#[derive(Debug)]
pub(crate) struct OpenReplica {
    pub(crate) log: Log,
    pub(crate) topic_id: TopicId,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) policy: FlushPolicy,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) syncer: Arc<dyn SyncScheduler>,
}

/// One replica of a partition. It leads: with one broker there is nobody else.
#[derive(Debug)]
pub(crate) struct Replica {
    me: Weak<Self>,
    pub(super) log: Log,
    topic_id: TopicId,
    epoch: LeaderEpoch,
    /// As the topic has it now: it may be altered at any time.
    policy: ArcSwap<FlushPolicy>,
    runtime: Arc<dyn Runtime>,
    syncer: Arc<dyn SyncScheduler>,
    pub(super) queue: Mutex<Queue>,
    /// Batches that were queued, and of which it is not noted what became of them.
    unanswered: AtomicUsize,
    waiting: Mutex<Waiting>,
    high_watermark: Published,
    watchers: Watchers,
    pub(super) syncing: Role,
    /// Notified whenever the syncer's role becomes free; once the replica is being closed or has ended, the writer's too,
    /// and when nothing is unanswered.
    pub(super) role_left: Event,
    /// Handed to the store's syncer, which has not begun yet.
    scheduled: AtomicBool,
    /// Moment of the first write that no sync has covered, for [`FlushPolicy::Interval`]. Zero for none.
    unsynced_since: AtomicU64,
    last_write: LastStep,
    last_sync: LastStep,
}

/// Who syncs what was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Syncing {
    /// The caller, right away.
    Caller,
    /// The store's syncer, as the policy asks.
    Scheduler,
}

impl Replica {
    pub(crate) fn new(how: OpenReplica) -> Arc<Self> {
        // What recovery kept is on disk, and with one replica that makes it committed.
        let high_watermark = how.log.end();
        how.log.note_high_watermark(high_watermark);
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            log: how.log,
            topic_id: how.topic_id,
            epoch: how.epoch,
            policy: ArcSwap::from_pointee(how.policy),
            runtime: how.runtime,
            syncer: how.syncer,
            queue: Mutex::default(),
            unanswered: AtomicUsize::new(0),
            waiting: Mutex::default(),
            high_watermark: Published::new(high_watermark),
            watchers: Watchers::default(),
            syncing: Role::new(),
            role_left: Event::new(),
            scheduled: AtomicBool::new(false),
            unsynced_since: AtomicU64::new(0),
            last_write: LastStep::default(),
            last_sync: LastStep::default(),
        })
    }

    pub(crate) fn partition(&self) -> &TopicPartition {
        self.log.partition()
    }

    pub(crate) fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn policy(&self) -> FlushPolicy {
        **self.policy.load()
    }

    /// Acts by another policy from now on. Somebody has to call [`Replica::policy_changed`] then.
    pub(crate) fn set_policy(&self, policy: FlushPolicy) {
        self.policy.store(Arc::new(policy));
    }

    /// Treats what was written before the policy was changed as if it had been written now.
    pub(crate) fn policy_changed(&self) {
        // With its like after a write: either the writer sees the new policy, or here is seen what he wrote.
        fence(Ordering::SeqCst);
        // What a failed sync has left is not made readable by asking for less.
        if !self.log.is_offline() && self.log.flushed() < self.log.end() {
            self.written(self.runtime.now(), Syncing::Scheduler);
        }
    }

    /// Readers see records below this offset.
    pub(crate) fn high_watermark(&self) -> Offset {
        self.high_watermark.get()
    }

    /// Queues a batch behind those queued before. It is written when somebody drives the replica.
    ///
    /// # Errors
    /// Why the replica takes nothing new; nobody else is told.
    pub(crate) fn enqueue(&self, append: Append) -> Result<(), ProduceError> {
        self.takes_new()?;
        self.enqueue_accepted(append)
    }

    /// As [`Replica::enqueue`], for records that were accepted while the replica took new ones.
    ///
    /// # Errors
    /// Why the replica is no more; nobody else is told.
    pub(crate) fn enqueue_accepted(&self, append: Append) -> Result<(), ProduceError> {
        let mut queue = self.queue.lock();
        match &queue.ended {
            Some(error) => Err(error.clone()),
            None => {
                self.unanswered.fetch_add(1, Ordering::SeqCst);
                queue.pending.push(append);
                Ok(())
            }
        }
    }

    /// Whether records that nobody has accepted yet have a chance.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn takes_new(&self) -> Result<(), ProduceError> {
        let queue = self.queue.lock();
        match &queue.ended {
            Some(error) => Err(error.clone()),
            None if queue.closing => Err(ProduceError::Closed),
            None => Ok(()),
        }
    }

    /// Writes what is queued, unless somebody else is at it, who then takes it along.
    pub(crate) fn drive(&self) {
        self.write_queued(Syncing::Scheduler);
    }

    /// As [`Replica::drive`], and syncs too if acknowledgements need it: for a caller who blocks on a batch.
    pub(crate) fn help(&self) {
        let slow = self.last_sync.took() > SLOW_STEP || self.last_write.took() > SLOW_STEP;
        if slow || self.policy() != FlushPolicy::OnAck {
            self.write_queued(Syncing::Scheduler);
            // The syncer's role may just have been handed to this caller.
            self.schedule();
            return;
        }
        self.write_queued(Syncing::Caller);
        if self.log.flushed() < self.log.end() {
            self.sync();
        }
    }

    /// Whether the last write was so long ago that a caller may well do the next one itself: at least four times as
    /// long as it took.
    pub(crate) fn is_idle(&self, now: Moment) -> bool {
        let ended = self.last_write.ended_nanos.load(Ordering::Relaxed);
        let took = self.last_write.took_nanos.load(Ordering::Relaxed);
        nanos(now.as_duration()) >= ended.saturating_add(took.saturating_mul(4))
    }

    fn write_queued(&self, syncing: Syncing) {
        loop {
            let appends = {
                let mut queue = self.queue.lock();
                if queue.writing || queue.pending.is_empty() {
                    return;
                }
                queue.writing = true;
                std::mem::take(&mut queue.pending)
            };
            let role = WriterRole(self);
            let began = self.runtime.now();
            let answers = self.write(appends);
            self.last_write.note(began, self.runtime.now());
            drop(role);
            self.answer(answers.into_iter().map(|(completion, result)| {
                (completion, result.map_err(|refused| self.blame_refused(refused)))
            }));
            self.written(began, syncing);
            if is_planted(Bug::QueueLeft) {
                return;
            }
        }
    }

    /// Appends, and returns those that need not wait for more, with their results.
    fn write(&self, appends: Vec<Append>) -> Vec<Answer> {
        let (batches, asked): (Vec<_>, Vec<_>) =
            appends.into_iter().map(|a| ((a.batch, a.origin), (a.acks, a.completion))).unzip();
        let mut asked = Asked { replica: self, completions: asked };
        let results = self.log.append(batches, self.epoch, self.runtime.wall_clock());
        let mut answers = Vec::new();
        let mut waiting = self.waiting.lock();
        for (result, (acks, completion)) in results.into_iter().zip(asked.completions.drain(..)) {
            match (result, acks) {
                (Ok(appended), Acks::Leader | Acks::All) => waiting.push(appended, completion),
                (result, _) => answers.push((completion, result)),
            }
        }
        answers
    }

    /// What the policy asks to be done with bytes that were just written.
    fn written(&self, began: Moment, syncing: Syncing) {
        // With its like where the policy is changed.
        fence(Ordering::SeqCst);
        match self.policy() {
            FlushPolicy::OnAck if is_planted(Bug::AckedBeforeSync) => {
                self.raise_high_watermark(self.log.end());
            }
            FlushPolicy::OnAck if syncing == Syncing::Caller => {}
            FlushPolicy::OnAck => self.schedule(),
            FlushPolicy::Interval { .. } => {
                // Zero stands for "nothing unsynced".
                let since = nanos(began.as_duration()).max(1);
                let _ = self.unsynced_since.compare_exchange(
                    0,
                    since,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                );
                self.raise_high_watermark(self.log.end());
                self.schedule();
            }
            FlushPolicy::Os => self.raise_high_watermark(self.log.end()),
        }
        // The watermark may have passed the new batches before they were noted as waiting.
        self.acknowledge();
    }

    /// Has bytes that are unsynced synced as the policy asks, if nobody is about to.
    pub(crate) fn schedule(&self) {
        if self.policy() != FlushPolicy::Os
            && self.log.flushed() < self.log.end()
            && !self.scheduled.swap(true, Ordering::AcqRel)
            && let Some(me) = self.me.upgrade()
        {
            self.syncer.schedule(me);
        }
    }

    /// For the store's syncer: when the replica is to be synced, `None` for never. What is written from now on is
    /// scheduled anew.
    pub(crate) fn take_schedule(&self) -> Option<Moment> {
        self.scheduled.store(false, Ordering::Release);
        match self.policy() {
            FlushPolicy::OnAck => Some(Moment::since_start(Duration::ZERO)),
            FlushPolicy::Os => None,
            FlushPolicy::Interval { time, messages } => {
                let unsynced = self.log.end().distance_from(self.log.flushed()).unwrap_or(0);
                if messages.is_some_and(|limit| unsynced >= limit) {
                    return Some(Moment::since_start(Duration::ZERO));
                }
                let since = self.unsynced_since.load(Ordering::Acquire);
                Moment::since_start(Duration::from_nanos(since)).after(time)
            }
        }
    }

    /// Syncs the log and acknowledges what that makes durable. Returns at once if somebody else is at it.
    pub(crate) fn sync(&self) {
        if !self.syncing.take() {
            return;
        }
        let mut role = SyncerRole { replica: self, panicked: true };
        self.unsynced_since.store(0, Ordering::Release);
        let began = self.runtime.now();
        let synced = self.log.sync();
        self.last_sync.note(began, self.runtime.now());
        role.panicked = false;
        // Free before anybody is woken: those woken may want it.
        drop(role);
        match synced {
            Ok(flushed) => {
                // Under the other policies it is there already, unless the policy has just changed.
                self.raise_high_watermark(flushed);
                self.acknowledge();
                self.syncer.flushed();
                self.hand_over();
            }
            Err(error) => self.fail_waiting(&self.blame(ProduceError::Sync(error))),
        }
    }

    /// Sees to it that bytes written during the last sync are covered by a next one.
    fn hand_over(&self) {
        let policy = self.policy();
        if policy == FlushPolicy::Os || self.log.flushed() >= self.log.end() {
            return;
        }
        if is_planted(Bug::WaitersForgotten) {
            return;
        }
        let completions = match policy {
            FlushPolicy::OnAck => self.waiting.lock().completions(),
            _ => Vec::new(),
        };
        if !completions.iter().any(|completion| completion.hand_over()) {
            self.schedule();
        }
    }

    /// Makes everything written before the call durable, whatever the policy.
    pub(crate) fn flush(&self) -> Result<(), StorageError> {
        self.drive();
        let end = self.log.end();
        loop {
            let listener = self.role_left.listen();
            if self.log.flushed() >= end {
                return Ok(());
            }
            if self.log.is_offline() {
                let error = self.log.offline_error();
                // One that was written while others were failed.
                self.fail_waiting(&self.blame(ProduceError::Sync(error.clone())));
                return Err(error);
            }
            self.sync();
            if self.log.flushed() < end && !self.log.is_offline() {
                self.runtime.park(listener, None);
            }
        }
    }

    /// Gives up what is damaged in `range`, see [`Log::accept_loss`].
    pub(crate) fn accept_loss(&self, range: &Range<Offset>) -> Result<Vec<Damage>, LossError> {
        let lost = self.log.accept_loss(range, self.runtime.wall_clock())?;
        // The log has looked at its files anew: all in them is synced.
        self.log.note_high_watermark(self.high_watermark());
        self.raise_high_watermark(self.log.flushed());
        self.acknowledge();
        Ok(lost)
    }

    /// Removes the files that hold deleted records alone. That takes a sync, which may be the one that others wait for.
    pub(crate) fn remove_below_start(&self) -> Result<(), StorageError> {
        let removed = self.log.remove_below_start();
        if self.log.is_offline() {
            self.fail_waiting(&self.blame(ProduceError::Sync(self.log.offline_error())));
        } else {
            self.raise_high_watermark(self.log.flushed());
            self.acknowledge();
        }
        removed
    }

    fn raise_high_watermark(&self, to: Offset) {
        if self.high_watermark.raise(to) {
            self.log.note_high_watermark(to);
            self.watchers.notify();
        }
    }

    /// Answers the batches that the high watermark has passed.
    fn acknowledge(&self) {
        let high_watermark = self.high_watermark();
        // Whoever raised it may not have come to this: a marker that is acknowledged is seen to decide its transaction.
        self.log.note_high_watermark(high_watermark);
        let done = self.waiting.lock().take_below(high_watermark);
        self.answer(done.into_iter().map(|(appended, completion)| (completion, Ok(appended))));
    }

    pub(super) fn fail_waiting(&self, error: &ProduceError) {
        let failed = self.waiting.lock().take_all();
        let failed = failed.into_iter().map(|(_, completion)| completion);
        self.answer(failed.map(|completion| (completion, Err(error.clone().into()))));
        self.watchers.notify();
    }

    /// Notes what became of batches, then tells who waits for them.
    pub(super) fn answer(
        &self,
        answers: impl ExactSizeIterator<Item = (Arc<dyn Completion>, Result<Appended, Refusal>)>,
    ) {
        let count = answers.len();
        if count == 0 {
            return;
        }
        let note = |(completion, result): (Arc<dyn Completion>, _)| {
            Arc::clone(&completion).complete(result);
            completion
        };
        let noted = answers.map(note).collect::<Vec<_>>();
        // Not before what they have brought is counted.
        if self.unanswered.fetch_sub(count, Ordering::SeqCst) == count {
            self.role_left.notify(usize::MAX);
        }
        for completion in noted {
            // A waker's: the others are to hear of their batches all the same.
            if catch_unwind(AssertUnwindSafe(|| completion.tell())).is_err() {
                log::error!("who was told of a batch of {} has panicked", self.partition());
            }
        }
    }

    /// Up to where readers of this isolation level may read: the high watermark, or the last stable offset.
    pub(crate) fn readable_end(&self, isolation: IsolationLevel) -> Offset {
        // One look at the high watermark, and that first: what it lets be seen, the log knows to be undecided (D3).
        let high_watermark = self.high_watermark();
        match isolation {
            IsolationLevel::ReadUncommitted => high_watermark,
            IsolationLevel::ReadCommitted if is_planted(Bug::WatermarkReadTwice) => {
                self.log.last_stable(Offset::MAX).min(self.high_watermark())
            }
            IsolationLevel::ReadCommitted => self.log.last_stable(high_watermark),
        }
    }

    /// Reads replicated batches, see [`Log::read`] and [`Log::read_committed`].
    pub(crate) fn fetch(
        &self,
        from: Offset,
        max_bytes: usize,
        isolation: IsolationLevel,
    ) -> Result<Fetched, ReadError> {
        let upto = self.readable_end(isolation);
        match isolation {
            IsolationLevel::ReadUncommitted => self.log.read(from, max_bytes, upto),
            IsolationLevel::ReadCommitted => self.log.read_committed(from, max_bytes, upto),
        }
    }

    /// The first readable record with a timestamp of at least `timestamp`.
    pub(crate) fn find_timestamp(
        &self,
        timestamp: Timestamp,
        isolation: IsolationLevel,
        limits: &Limits,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        self.log.find_timestamp(timestamp, self.readable_end(isolation), limits)
    }

    /// Notifies `event` whenever there is more to read, or the replica comes to its end.
    pub(crate) fn watch(&self, event: &Arc<Event>) {
        self.watchers.add(event);
    }

    pub(crate) fn unwatch(&self, event: &Arc<Event>) {
        self.watchers.remove(event);
    }

    /// Why the replica is no more, if it is not.
    pub(crate) fn ended(&self) -> Option<ProduceError> {
        self.queue.lock().ended.clone()
    }

    /// The topic is deleted: what is not acknowledged has failed. When this returns, nobody touches the log's files
    /// any more, except to read.
    pub(crate) fn delete(&self) {
        let refused = {
            let mut queue = self.queue.lock();
            queue.ended.get_or_insert(ProduceError::Deleted);
            std::mem::take(&mut queue.pending)
        };
        let refused = refused.into_iter().map(|append| append.completion);
        self.answer(refused.map(|completion| (completion, Err(ProduceError::Deleted.into()))));
        // An append or a sync that begins now finds the log offline; one may be under way.
        self.log.take_offline();
        self.quiesce();
        self.fail_waiting(&ProduceError::Deleted);
    }

    /// Takes no more batches, writes and syncs those that were queued, and leaves the log so that the next open finds
    /// it complete.
    pub(crate) fn close(&self) -> Result<(), StorageError> {
        self.queue.lock().closing = true;
        let settled = self.settle();
        self.queue.lock().ended.get_or_insert(ProduceError::Closed);
        self.watchers.notify();
        self.quiesce();
        settled?;
        self.flush()?;
        self.log.close().map(drop)
    }

    /// Writes and syncs until everything is answered: each answer may bring what waited for it.
    fn settle(&self) -> Result<(), StorageError> {
        loop {
            let listener = self.role_left.listen();
            self.flush()?;
            if self.unanswered.load(Ordering::SeqCst) == 0 {
                return Ok(());
            }
            self.runtime.park(listener, None);
        }
    }

    /// Waits until everything queued is written, and nobody writes or syncs. For a replica that takes no more.
    fn quiesce(&self) {
        loop {
            let listener = self.role_left.listen();
            self.drive();
            let is_written = {
                let queue = self.queue.lock();
                !queue.writing && queue.pending.is_empty()
            };
            if is_written && !self.syncing.is_taken() {
                return;
            }
            self.runtime.park(listener, None);
        }
    }

    fn blame_refused(&self, refused: Refused) -> Refusal {
        Refusal { error: self.blame(refused.error.into()), batch: refused.batch }
    }

    /// What a failure is put down to: the log of a deleted topic fails for no other reason.
    fn blame(&self, error: ProduceError) -> ProduceError {
        match self.ended() {
            Some(ProduceError::Deleted) => ProduceError::Deleted,
            _ => error,
        }
    }
}

/// A result for whoever asked.
type Answer = (Arc<dyn Completion>, Result<Appended, Refused>);
