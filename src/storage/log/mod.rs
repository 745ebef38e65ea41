//! The log of one partition: segments in a directory, appended to by one writer, read by anyone.
//!
//! # Invariants
//! - `start <= flushed <= end`, and none of them goes back, except `end` (and `flushed` with it) in a truncation.
//! - `end` is stored after the bytes below it were written and their segment published them (D1).
//! - What is known of producers and transactions speaks of written batches alone. Of those below `end` nothing is
//!   missing (F1).
//! - Once a write could not be taken back, or a sync failed, the log is offline: nothing is appended, and what lies
//!   above `flushed` is not trusted again before recovery has rewritten it (rule R4).
//!
//! # Locks
//! `flushing`, then `writer`. `writer` orders appends, rolls and truncations; only a truncation or new
//! beginning, and an append that has to take back what it wrote, hold it across a sync. `flushing` orders syncs,
//! checkpoints and truncations. Readers take no lock but the one of the index that they look into: they see an immutable
//! list of segments and published sizes. Nor do those who ask where a leader epoch ends: they see an immutable list too.
//! The lock of the undecided transactions is a leaf: raising the high watermark takes no other.
//!
//! # Elsewhere
//! What is found at open is `recovery`'s; who may read how far is decided above (`replica`).

mod accept;
mod accept_loss;
mod age;
mod append;
mod delete;
mod epoch;
mod flush;
mod follow;
mod produced;
mod read;
mod repair;
mod rewrite;
mod roll;
mod run;
mod scrub;
mod start_over;
mod truncate;

#[cfg(test)]
pub(super) mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use crate::base::{Offset, ProducerId, Timestamp, TopicId, TopicPartition};
use crate::env::sync::Mutex;
use crate::env::{FileSystem, Published};
use crate::record::Batch;
use crate::storage::damage::Damage;
use crate::storage::digest::Owner;
use crate::storage::epochs::LeaderEpochs;
use crate::storage::producers::{Known, Undecided};
use crate::storage::quarantine::Quarantine;
use crate::storage::recovery::{self, Found, Recovered, Shutdown};
use crate::storage::segment::{Segment, length};
use crate::storage::tail::{Tail, TailCache};
use crate::storage::{LogConfig, StorageError};

use age::Began;
pub(crate) use append::{Appended, Refused};
pub(super) use delete::below;
pub(crate) use read::Fetched;
pub use read::TimestampedOffset;
pub(crate) use repair::Repaired;
pub(crate) use scrub::LogScrub;
pub use scrub::ScrubReport;

/// What a log is opened with.
#[derive(Debug)]
pub(crate) struct OpenLog {
    pub(crate) fs: Arc<dyn FileSystem>,
    /// The store's directory; the log's own is in it.
    pub(crate) root: Arc<Path>,
    pub(crate) partition: TopicPartition,
    pub(crate) topic_id: TopicId,
    pub(crate) config: LogConfig,
    pub(crate) cache: Arc<TailCache>,
    pub(crate) quarantine: Arc<Quarantine>,
    /// Where the log begins, if that is known: later than 0 once its oldest records were deleted.
    pub(crate) start: Option<Offset>,
    /// Records below were deleted, and stay so.
    pub(crate) deleted: Offset,
    /// Where it ended when the store was closed, as far as that is known: one of these.
    pub(crate) closed_at: Vec<Offset>,
    /// No file is changed, and what would be cut is an error: see [`Log::examine`].
    pub(crate) examine: bool,
    /// How the store was left, and up to where this log was known to be on disk.
    pub(crate) shutdown: Shutdown,
    /// What producers have to be idle against.
    pub(crate) now: Timestamp,
    /// A random number: what is left to chance comes of it.
    pub(crate) seed: u64,
}

/// One partition's log.
#[derive(Debug)]
pub(crate) struct Log {
    partition: TopicPartition,
    topic_id: TopicId,
    fs: Arc<dyn FileSystem>,
    root: Arc<Path>,
    dir: Arc<Path>,
    /// As the topic has it now: it may be altered at any time.
    config: ArcSwap<LogConfig>,
    /// In the order of their offsets, the active one last. Empty before the first append.
    segments: ArcSwap<Vec<Arc<Segment>>>,
    start: Published,
    end: Published,
    flushed: Published,
    offline: AtomicBool,
    /// Why it has been offline since it was opened.
    damaged: Mutex<Option<Damaged>>,
    undecided: Undecided,
    /// Changed by the holder of the writer's lock alone.
    epochs: ArcSwap<LeaderEpochs>,
    writer: Mutex<Writer>,
    /// Held by whoever makes things durable: a sync that ends speaks for all that was written before it began.
    flushing: Mutex<()>,
    tail: Arc<Tail>,
    cache: Arc<TailCache>,
    quarantine: Arc<Quarantine>,
    seed: u64,
}

/// A log that was damaged when it was opened.
#[derive(Debug)]
struct Damaged {
    damage: Arc<Damage>,
    /// What lies below was on disk when the log was left.
    durable: Offset,
}

/// What only the holder of the writer's lock may touch.
#[derive(Debug)]
struct Writer {
    known: Known,
    /// Segments with bytes or, once sealed, index entries that no sync has covered; the active one last.
    unsynced: Vec<Arc<Segment>>,
    /// Names that no sync has covered: in the log's directory, and of it.
    unsynced_names: bool,
    /// No sync has covered whose log it is.
    unsynced_owner: bool,
    /// From when on the active segment grows older, `None` until somebody asks.
    began: Option<Began>,
    /// The latest append time given, `None` until somebody asks.
    append_time: Option<Timestamp>,
}

impl Writer {
    /// Of a log of which everything is synced.
    fn new(known: Known) -> Self {
        Self {
            known,
            unsynced: Vec::new(),
            unsynced_names: false,
            unsynced_owner: false,
            began: None,
            append_time: None,
        }
    }
}

impl Damaged {
    fn of(found: &Found) -> Option<Self> {
        let damage = Arc::new(found.report.damage.clone()?);
        Some(Self { damage, durable: found.durable })
    }
}

impl Log {
    /// Opens the log, recovering it if the store was not closed cleanly. A log that was never written to has no
    /// directory, and gets none before its first append.
    pub(crate) fn open(how: OpenLog) -> Result<(Self, Recovered), StorageError> {
        let dir: Arc<Path> = how.root.join(how.partition.directory_name()).into();
        let mut found = recovery::load(&how, &dir)?;
        let (known, transactions) = Known::load(&how, &dir, &mut found)?;
        let start = found.segments.first().map_or(Offset::ZERO, |segment| segment.base());
        let start = start.max(how.deleted).min(found.end);
        let damaged = Damaged::of(&found);
        let mut epochs = found.epochs;
        epochs.begin_at(start);
        let log = Self {
            partition: how.partition,
            topic_id: how.topic_id,
            fs: how.fs,
            root: how.root,
            dir,
            config: ArcSwap::from_pointee(how.config),
            start: Published::new(start),
            end: Published::new(found.end),
            flushed: Published::new(found.end),
            segments: ArcSwap::from_pointee(found.segments),
            offline: AtomicBool::new(damaged.is_some()),
            damaged: Mutex::new(damaged),
            undecided: Undecided::new(transactions),
            epochs: ArcSwap::from_pointee(epochs),
            writer: Mutex::new(Writer::new(known)),
            flushing: Mutex::default(),
            tail: Arc::default(),
            cache: how.cache,
            quarantine: how.quarantine,
            seed: how.seed,
        };
        Ok((log, found.report))
    }

    /// Looks for what opening the log would find, and changes nothing. Returns its batches: those below the recovery
    /// point are not checked.
    ///
    /// # Errors
    /// [`StorageError::TornTail`] if opening it would cut something.
    pub(crate) fn examine(
        how: OpenLog,
    ) -> Result<impl Iterator<Item = Result<Batch, StorageError>>, StorageError> {
        let dir = how.root.join(how.partition.directory_name()).into();
        let found = recovery::load(&OpenLog { examine: true, ..how }, &dir)?;
        Ok(found.segments.into_iter().flat_map(|segment| {
            let mut position = 0;
            let mut next = move || {
                let Some(header) = segment.header_at(position)? else { return Ok(None) };
                let bytes = segment.read(position, header.size())?;
                position += length(header.size());
                Ok(Batch::parse(bytes).ok())
            };
            std::iter::from_fn(move || next().transpose())
        }))
    }

    /// The topic that the log in `dir` was written for, if its files say so.
    pub(crate) fn owner(fs: &dyn FileSystem, dir: &Path) -> Result<Option<TopicId>, StorageError> {
        recovery::owner(fs, dir)
    }

    /// Whether a power cut may have left the log in `dir` without its owner's name. Then nothing in it was ever durable.
    pub(crate) fn has_lost_owner(fs: &dyn FileSystem, dir: &Path) -> Result<bool, StorageError> {
        recovery::has_lost_owner(fs, dir)
    }

    pub(crate) fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The first offset that can be read.
    pub(crate) fn start(&self) -> Offset {
        self.start.get()
    }

    /// Where its first segment begins: at the start, or before it.
    pub(crate) fn first_base(&self) -> Offset {
        self.segments.load().first().map_or(self.start(), |first| first.base())
    }

    /// The offset that the next record will have.
    pub(crate) fn end(&self) -> Offset {
        self.end.get()
    }

    /// Everything below is known to be on disk.
    pub(crate) fn flushed(&self) -> Offset {
        self.flushed.get()
    }

    /// Below this offset every transaction is decided, for readers who may read up to `high_watermark`: Kafka's last
    /// stable offset. `high_watermark` has to be read before the call.
    pub(crate) fn last_stable(&self, high_watermark: Offset) -> Offset {
        // Of a transaction that was deleted from the front nobody can read more.
        self.undecided.last_stable(high_watermark).max(self.start())
    }

    /// Takes note that what lies below `high_watermark` will stay, the markers of transactions too.
    pub(crate) fn note_high_watermark(&self, high_watermark: Offset) {
        self.undecided.decide_below(high_watermark);
    }

    /// The producers that the log remembers.
    pub(crate) fn producer_ids(&self) -> Vec<ProducerId> {
        self.writer.lock().known.producers.ids().collect()
    }

    /// Forgets producers that have not written for `producer.id.expiration.ms`.
    pub(crate) fn expire_producers(&self, now: Timestamp) {
        let idle = self.config.load().producer_id_expiration;
        self.writer.lock().known.producers.expire(now, idle);
    }

    /// Largest batch that the log takes.
    pub(crate) fn max_batch_bytes(&self) -> usize {
        self.config.load().max_batch_bytes()
    }

    /// What is appended from now on keeps to `config`. The active segment keeps its index interval.
    pub(crate) fn set_config(&self, config: LogConfig) {
        self.config.store(Arc::new(config));
    }

    /// Whether the log takes no more appends until it is opened again.
    pub(crate) fn is_offline(&self) -> bool {
        self.offline.load(Ordering::Acquire)
    }

    /// Whether that is because it was damaged when it was opened.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.lock().is_some()
    }

    /// Takes no more appends; nothing above `flushed` counts as durable any more.
    pub(crate) fn take_offline(&self) {
        // Under the writer's lock, so that an append that has begun is over, and the next one sees it.
        let _writer = self.writer.lock();
        self.offline.store(true, Ordering::Release);
    }

    /// Number of segments, and the bytes in their `.log` files.
    pub(crate) fn size(&self) -> (usize, u64) {
        let segments = self.segments.load();
        (segments.len(), segments.iter().map(|segment| segment.size()).sum())
    }

    /// What its digests say of whose they are.
    fn digest_owner(&self) -> Owner {
        Owner { topic: self.topic_id, partition: self.partition.partition }
    }

    /// Why it takes no appends.
    pub(crate) fn offline_error(&self) -> StorageError {
        match &*self.damaged.lock() {
            Some(damaged) => StorageError::DamagedLog(Arc::clone(&damaged.damage)),
            None => StorageError::Offline { partition: self.partition.clone() },
        }
    }
}
