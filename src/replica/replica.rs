//! A replica: its log, who may write it, and up to where it can be read.
//!
//! # The way of a batch
//! 1. [`Replica::enqueue`] puts it in the leader's queue. Order in the queue is order in the log.
//! 2. [`Replica::drive`] writes (`write`): whoever finds the writer's role free takes it, drains the queue, appends all of
//!    it in one go, and looks at the queue once more before leaving. The others go on: their batches are taken along.
//! 3. The followers copy it (`serve`, `follow`): whoever takes their steps, their own threads or a caller who waits.
//! 4. [`Replica::sync`] makes it durable, where the policy asks (`sync`): the same pattern with the syncer's role. One
//!    sync covers everything written before it began. Who leaves the role with bytes unsynced hands it over to a waiting
//!    caller, or else to the store's syncer.
//! 5. The high watermark rises when all replicas in sync have it (`in_sync`); batches below it are acknowledged
//!    (`answer`), and consumers are woken.
//!
//! Nobody is answered while a role is held: an answer may wake a future, which may do anything, even close the cluster.
//! So all answers that are known are noted first, and told then.
//!
//! # Offices
//! A replica leads or follows, as [`Replica::assume`] was last told (`office`). One that leads no longer gives back what
//! is not acknowledged, to be tried with its successor.
//!
//! # The end
//! What was accepted is written before the replica is closed, also what waits in a producer for the answer to an
//! earlier batch: closing goes on until nothing is unanswered, and only then ends the replica (`end`).
//!
//! # Invariants
//! - `high_watermark <= log end`. A leader's is not above what any replica in sync has, under [`FlushPolicy::OnAck`] has
//!   synced, but for what became readable under another policy before. It goes back only with a log that is cut after an
//!   unclean election.
//! - Written bytes under `on-ack` never stay unsynced with nobody about to sync them.
//! - Producers write the log while the replica leads, its leader's batches while it follows; both with the writer's role.
//!
//! # Locks
//! `queue`, `waiting` and `standing` are leaves: nothing is called with one of them held, but that the high watermark
//! moves under `standing`, and the log is told, and that `waiting` learns of a term under `standing`.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;

use crate::base::{BrokerId, FlushPolicy, IsolationLevel, Offset};
use crate::base::{Bug, Timestamp, TopicId, TopicPartition, is_planted};
use crate::env::sync::{Event, Mutex};
use crate::env::{Published, Role, Runtime};
use crate::record::Limits;
use crate::replica::fitness::FitnessCell;
use crate::replica::in_sync::InSync;
use crate::replica::office::Standing;
use crate::replica::queue::{Office, Queue, Waiting};
use crate::replica::roles::LastStep;
use crate::replica::watchers::Watchers;
use crate::replica::write::Syncing;
use crate::replica::{Follower, PartitionState, Peers, ProduceError};
use crate::storage::{Damage, Fetched, Log, LossError};
use crate::storage::{ReadError, StorageError, TimestampedOffset};

/// Takes over the syncing of replicas that have unsynced bytes and nobody who waits for them.
pub(crate) trait SyncScheduler: Send + Sync + std::fmt::Debug {
    /// Has `replica` synced as soon as its policy asks.
    fn schedule(&self, replica: Arc<Replica>);

    /// A sync has moved the flush point of a log: it is to be noted on disk within a second.
    fn flushed(&self);

    /// The log of `partition` is about to be cut to this offset: no recovery point may lie above it.
    fn truncating(&self, partition: &TopicPartition, to: Offset) -> Result<(), StorageError>;
}

/// What a replica is made of.
#[derive(Debug)]
pub(crate) struct OpenReplica {
    pub(crate) broker: BrokerId,
    pub(crate) log: Log,
    pub(crate) topic_id: TopicId,
    pub(crate) state: PartitionState,
    /// Up to where the log was known to be replicated.
    pub(crate) high_watermark: Offset,
    pub(crate) policy: FlushPolicy,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) syncer: Arc<dyn SyncScheduler>,
    pub(crate) peers: Arc<dyn Peers>,
}

/// One replica of a partition, as leader or follower.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(super) me: Weak<Self>,
    broker: BrokerId,
    pub(super) log: Log,
    topic_id: TopicId,
    /// As the topic has it now: it may be altered at any time.
    policy: ArcSwap<FlushPolicy>,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) syncer: Arc<dyn SyncScheduler>,
    pub(super) peers: Arc<dyn Peers>,
    pub(super) queue: Mutex<Queue>,
    /// Batches that were queued, and of which it is not noted what became of them.
    pub(super) unanswered: AtomicUsize,
    pub(super) waiting: Mutex<Waiting>,
    pub(super) standing: Mutex<Standing>,
    /// The ways to the followers of a leader.
    pub(super) followers: ArcSwap<Vec<Arc<dyn Follower>>>,
    /// The term in which the log is known to be a part of the leader's: what it has counts there, and not before. Set with
    /// the writer's role, -1 for none.
    pub(super) verified: AtomicI32,
    /// Whether what came last could be written.
    pub(super) fitness: FitnessCell,
    /// Somebody is about to ask for another in-sync set.
    pub(super) isr_is_asked: AtomicBool,
    /// Somebody is about to look whether followers are behind for too long.
    pub(super) lag_is_watched: AtomicBool,
    /// Somebody is about to tell the followers of a high watermark that has risen.
    pub(super) has_news: AtomicBool,
    pub(super) high_watermark: Published,
    pub(super) watchers: Watchers,
    pub(super) syncing: Role,
    /// Notified whenever the syncer's role becomes free; once the replica is being closed or has ended, the writer's too,
    /// and when nothing is unanswered.
    pub(super) role_left: Event,
    /// Handed to the store's syncer, which has not begun yet.
    pub(super) scheduled: AtomicBool,
    /// Moment of the first write that no sync has covered, for [`FlushPolicy::Interval`]. Zero for none.
    pub(super) unsynced_since: AtomicU64,
    pub(super) last_write: LastStep,
    pub(super) last_sync: LastStep,
}

impl Replica {
    pub(crate) fn new(how: OpenReplica) -> Arc<Self> {
        let OpenReplica { broker, log, state, .. } = how;
        let epoch = state.leader_epoch;
        let office = match state.leader == Some(broker) {
            true => Office::Leader { epoch, entered: false },
            false => Office::Follower { epoch },
        };
        let high_watermark = how.high_watermark.min(log.end()).max(log.start());
        log.note_high_watermark(high_watermark);
        let replica = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            broker,
            log,
            topic_id: how.topic_id,
            policy: ArcSwap::from_pointee(how.policy),
            runtime: how.runtime,
            syncer: how.syncer,
            peers: how.peers,
            queue: Mutex::new(Queue::new(office)),
            unanswered: AtomicUsize::new(0),
            waiting: Mutex::default(),
            standing: Mutex::new(Standing::Following(state)),
            followers: ArcSwap::default(),
            verified: AtomicI32::new(-1),
            fitness: FitnessCell::default(),
            isr_is_asked: AtomicBool::new(false),
            lag_is_watched: AtomicBool::new(false),
            has_news: AtomicBool::new(false),
            high_watermark: Published::new(high_watermark),
            watchers: Watchers::default(),
            syncing: Role::new(),
            role_left: Event::new(),
            scheduled: AtomicBool::new(false),
            unsynced_since: AtomicU64::new(0),
            last_write: LastStep::default(),
            last_sync: LastStep::default(),
        });
        // A leader takes office before anybody knows of it.
        replica.drive();
        replica
    }

    /// The broker that it is on.
    pub(crate) fn broker(&self) -> BrokerId {
        self.broker
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

    /// What counts as written for good: what is synced, where the policy asks for that.
    pub(super) fn own_end(&self) -> Offset {
        match self.policy() {
            FlushPolicy::OnAck if !is_planted(Bug::AckedBeforeSync) => self.log.flushed(),
            _ => self.log.end(),
        }
    }

    /// Readers see records below this offset.
    pub(crate) fn high_watermark(&self) -> Offset {
        self.high_watermark.get()
    }

    /// Gives up what is damaged in `range`, see [`Log::accept_loss`].
    pub(crate) fn accept_loss(&self, range: &Range<Offset>) -> Result<Vec<Damage>, LossError> {
        let lost = self.log.accept_loss(range, self.runtime.wall_clock())?;
        // The log has looked at its files anew: all in them is synced.
        self.log.note_high_watermark(self.high_watermark());
        self.advance();
        self.acknowledge();
        Ok(lost)
    }

    /// Removes the files that hold deleted records alone. That takes a sync, which may be the one that others wait for.
    pub(crate) fn remove_below_start(&self) -> Result<(), StorageError> {
        let removed = self.log.remove_below_start();
        if self.log.is_offline() {
            self.fail_waiting(&self.blame(ProduceError::Sync(self.log.offline_error())));
        } else {
            self.advance();
            self.acknowledge();
        }
        removed
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

    /// Where the partition ends for who asks: as [`Replica::readable_end`], but `None` while a new leader does not know
    /// how far the one before it has let readers come (C11).
    pub(crate) fn known_end(&self, isolation: IsolationLevel) -> Option<Offset> {
        let high = self.high_watermark();
        let knows = self.with_in_sync(|in_sync| in_sync.covers_earlier(high));
        (knows == Some(true)).then(|| self.readable_end(isolation))
    }

    /// Where who wants no earlier record begins: as [`Replica::known_end`], but while that is not known, behind all that the
    /// leader before may have let readers see.
    pub(crate) fn latest_end(&self, isolation: IsolationLevel) -> Offset {
        let high = self.high_watermark();
        let behind = self.with_in_sync(|in_sync| in_sync.behind_earlier(high)).unwrap_or(high);
        match isolation {
            IsolationLevel::ReadUncommitted => behind,
            IsolationLevel::ReadCommitted => self.log.last_stable(behind),
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

    /// Notifies `event` whenever there is more to read, the replica takes or leaves office or comes to its end, or others
    /// are in sync.
    pub(crate) fn watch(&self, event: &Arc<Event>) {
        self.watchers.add(event);
        if matches!(self.queue.lock().office, Office::Follower { .. }) {
            self.peers.is_read(self);
        }
    }

    /// Has those who watch look again: whether they are to read it may have changed.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn notify_watchers(&self) {
        self.watchers.notify();
    }

    pub(crate) fn unwatch(&self, event: &Arc<Event>) {
        self.watchers.remove(event);
    }

    /// Looks at what the leader knows of its followers, if the replica leads and has begun to.
    pub(super) fn with_in_sync<T>(&self, look: impl FnOnce(&mut InSync) -> T) -> Option<T> {
        match &mut *self.standing.lock() {
            Standing::Leading(in_sync) => Some(look(in_sync)),
            Standing::Following(_) => None,
        }
    }
}
