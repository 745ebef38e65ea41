//! A broker's directory: its lock, its identity, its checkpoints, and the replicas in it.
//!
//! # Invariants
//! - The clean marker is removed, durably, before anything else is changed, and written last, after everything that
//!   it vouches for (rule R3).
//! - A topic that was deleted has no replica, and none is opened again.
//!
//! # Locks
//! `opening` orders the opening and removal of replicas; it is held while files are opened, and taken before every
//! lock of a replica, a log or the checkpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::base::{BrokerId, LeaderEpoch};
use crate::base::{Bug, is_planted};
use crate::base::{Offset, PartitionId, TopicId, TopicPartition};
use crate::cluster::checkpoints::{Checkpoints, LOG_STARTS};
use crate::cluster::identity::{self, Identity};
use crate::cluster::metadata::Image;
use crate::cluster::open_report::{OpenReport, PartitionReport};
use crate::cluster::scrubber::Scrubbing;
use crate::cluster::sender::Sender;
use crate::cluster::strict::refuse_torn_tails;
use crate::cluster::syncer::{Intervals, Syncer};
use crate::cluster::{BrokerConfig, ClusterError, TopicImage};
use crate::env::replace_file;
use crate::env::sync::{Mutex, RwLock};
use crate::env::{BufferPool, EntryKind, FileLock, FileSystem, Moment, Runtime};
use crate::replica::{PartitionState, Peers, Replica, Unanswered};
use crate::storage::{Log, Quarantine, ScrubReport, StorageError, TailCache};

const LOCK_FILE: &str = ".lock";
const CLEAN_MARKER: &str = ".kafka_cleanshutdown";

/// How long closing waits for background work that is stuck in a slow file call.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Suffix of the directory of a partition that is being deleted.
const DELETE_SUFFIX: &str = "-delete";

/// Bytes of batches that a store keeps for readers that follow the writers closely. Stays within a processor's
/// cache together with what the producers are filling.
const TAIL_BYTES: usize = 8 << 20;

/// Bytes of cut logs that a store keeps aside.
const QUARANTINE_BYTES: u64 = 64 << 20;

/// Settings of a store.
#[derive(Debug)]
pub(crate) struct OpenStore {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) root: PathBuf,
    /// Whether an empty or missing directory becomes a store.
    pub(crate) create_if_missing: bool,
    /// Which broker it is to be, if that matters.
    pub(crate) broker: Option<BrokerId>,
    /// The cluster that a new store belongs to; `None` for a new one.
    pub(crate) cluster: Option<TopicId>,
    pub(crate) config: Arc<BrokerConfig>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) pool: Arc<BufferPool>,
    pub(crate) peers: Arc<dyn Peers>,
}

/// What must not be opened.
#[derive(Debug, Default)]
pub(super) struct Opening {
    /// Topics that were deleted, of which directories may be left.
    pub(super) deleted: BTreeSet<TopicId>,
    /// Replicas that are being removed.
    pub(super) leaving: BTreeSet<(TopicId, PartitionId)>,
}

/// Replicas that have ended, and what they have left unanswered.
pub(super) type Halted = Vec<(Arc<Replica>, Unanswered)>;

/// One broker's replicas and the directory that they are in.
#[derive(Debug)]
pub(crate) struct Store {
    pub(super) fs: Arc<dyn FileSystem>,
    pub(super) root: Arc<Path>,
    pub(super) identity: Identity,
    pub(super) config: Arc<BrokerConfig>,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) peers: Arc<dyn Peers>,
    pub(super) cache: Arc<TailCache>,
    pub(super) quarantine: Arc<Quarantine>,
    pub(super) was_clean: bool,
    /// There are logs that could not be recovered: the next shutdown is none the cleaner.
    pub(super) unrecovered: AtomicBool,
    /// What was found in the logs that were opened.
    pub(super) found: Mutex<BTreeMap<TopicPartition, PartitionReport>>,
    pub(super) replicas: RwLock<BTreeMap<(TopicId, PartitionId), Arc<Replica>>>,
    /// That of the metadata log.
    pub(super) metadata: OnceLock<Arc<Replica>>,
    pub(super) opening: Mutex<Opening>,
    pub(super) checkpoints: Arc<Checkpoints>,
    pub(super) syncer: Arc<Syncer>,
    /// Copies what other brokers lead.
    pub(super) fetcher: Arc<Sender>,
    pub(super) scrubbing: Scrubbing,
    pub(super) closed: AtomicBool,
    pub(super) lock: Mutex<Option<Box<dyn FileLock>>>,
}

impl Store {
    /// Takes possession of a directory: a store of this crate, or an empty one that becomes one.
    pub(crate) fn open(how: OpenStore) -> Result<Self, ClusterError> {
        let OpenStore { fs, root, create_if_missing, broker, cluster, .. } = how;
        let OpenStore { config, runtime, pool, peers, .. } = how;
        let root = resolve(&*fs, root)?;
        if !is_store(&*fs, &root)? && !create_if_missing {
            return Err(ClusterError::NoStore { path: root });
        }
        fs.create_dir(&root).map_err(StorageError::io("create", &root))?;
        let lock_path = root.join(LOCK_FILE);
        let lock = fs.lock(&lock_path).map_err(StorageError::io("lock", &lock_path))?;
        let Some(lock) = lock else { return Err(ClusterError::AlreadyOpen { path: root }) };
        let root: Arc<Path> = root.into();
        let is_new = !is_store(&*fs, &root)?;
        if config.strict_open && !is_new && !has_clean_marker(&*fs, &root)? {
            refuse_torn_tails(&fs, &root, &config, &*runtime)?;
        }
        let identity = match Identity::load(&*fs, &root)? {
            Some(identity) => identity,
            None => {
                let broker = broker.or(BrokerId::new(1)).unwrap_or(BrokerId::ZERO);
                let cluster = cluster.unwrap_or_else(|| random_id(&*runtime));
                let directory = random_id(&*runtime);
                let identity = Identity { cluster, broker, directory };
                Checkpoints::create(&*fs, &root)?;
                identity.save(&*fs, &root)?;
                identity
            }
        };
        if let Some(expected) = broker.filter(|id| *id != identity.broker) {
            let (found, expected) = (identity.broker.value(), expected.value());
            return Err(ClusterError::OtherBroker { path: root.to_path_buf(), found, expected });
        }
        if cluster.is_some_and(|cluster| cluster != identity.cluster) {
            return Err(ClusterError::OtherCluster { path: root.to_path_buf() });
        }
        let was_clean = take_clean_marker(&*fs, &root)? || is_new;
        let checkpoints = Arc::new(Checkpoints::load(Arc::clone(&fs), Arc::clone(&root))?);
        let quarantine = Quarantine::new(Arc::clone(&fs), Arc::clone(&root), QUARANTINE_BYTES);
        let intervals = Intervals {
            checkpoint: config.checkpoint_interval,
            expiration: config.expiration_interval,
        };
        let syncer = Syncer::new(Arc::clone(&runtime), Arc::downgrade(&checkpoints), intervals);
        Ok(Self {
            identity,
            config,
            peers,
            cache: Arc::new(TailCache::new(TAIL_BYTES, pool)),
            quarantine: Arc::new(quarantine),
            was_clean,
            unrecovered: AtomicBool::new(false),
            found: Mutex::default(),
            replicas: RwLock::default(),
            metadata: OnceLock::new(),
            opening: Mutex::default(),
            syncer: Arc::new(syncer),
            checkpoints,
            fetcher: Arc::new(Sender::new("brooklet-fetcher", Arc::clone(&runtime))),
            scrubbing: Scrubbing::default(),
            closed: AtomicBool::new(false),
            lock: Mutex::new(Some(lock)),
            fs,
            root,
            runtime,
        })
    }

    pub(crate) fn broker(&self) -> BrokerId {
        self.identity.broker
    }

    /// The directory's own id: another one is another directory.
    pub(crate) fn directory(&self) -> TopicId {
        self.identity.directory
    }

    pub(crate) fn cluster(&self) -> TopicId {
        self.identity.cluster
    }

    /// Whether the store had been closed, or is new.
    pub(crate) fn was_clean(&self) -> bool {
        self.was_clean
    }

    /// The replica of the metadata log, once it was opened.
    pub(crate) fn metadata(&self) -> Option<Arc<Replica>> {
        self.metadata.get().cloned()
    }

    pub(crate) fn fetcher(&self) -> &Arc<Sender> {
        &self.fetcher
    }

    /// What the syncer does about once a second.
    #[cfg(test)]
    pub(crate) fn checkpoint(&self) {
        self.checkpoints.save();
    }

    /// What was found so far: logs that are opened later add to it.
    pub(crate) fn open_report(&self) -> OpenReport {
        OpenReport {
            clean: self.was_clean,
            partitions: self.found.lock().values().cloned().collect(),
            quarantine_dropped_bytes: self.quarantine.dropped_bytes(),
        }
    }

    /// Reads all partitions in the background, so many bytes a second.
    pub(crate) fn scrub_in_background(
        self: &Arc<Self>,
        rate: NonZeroU64,
        image: Arc<RwLock<Image>>,
    ) {
        self.scrubbing.start(self, image, &self.runtime, rate);
    }

    /// What the background has found when it last read each partition.
    pub(crate) fn background_scrub(&self) -> ScrubReport {
        self.scrubbing.report()
    }

    /// Partitions that have a directory, by their names.
    pub(super) fn partitions_on_disk(&self) -> Result<Vec<TopicPartition>, StorageError> {
        let entries = self.fs.list(&self.root).map_err(StorageError::io("list", &self.root))?;
        let dirs = entries.iter().filter(|entry| entry.kind == EntryKind::Directory);
        Ok(dirs.filter_map(|dir| TopicPartition::parse_directory_name(&dir.name)).collect())
    }

    /// Goes through the partition directories: recovers what was not closed, and removes what belongs to deleted
    /// topics. Directories of neither kind are left alone.
    ///
    /// What goes wrong with one partition is told to who uses it: the others are not to blame.
    pub(crate) fn load(&self, image: &Image) -> Result<(), StorageError> {
        let entries = self.fs.list(&self.root).map_err(StorageError::io("list", &self.root))?;
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Directory) {
            if let Err(error) = self.load_directory(&entry.name, image) {
                log::error!("{}: {error}", self.root.join(&entry.name).display());
                // It was left unclean, and still is.
                self.unrecovered.fetch_or(!self.was_clean, Ordering::AcqRel);
            }
        }
        Ok(())
    }

    fn load_directory(&self, name: &str, image: &Image) -> Result<(), ClusterError> {
        let path = self.root.join(name);
        if is_being_deleted(name) {
            return Ok(remove_tree(&*self.fs, &path)?);
        }
        let Some(found) = TopicPartition::parse_directory_name(name) else { return Ok(()) };
        let topic = image.topic(found.topic.as_str());
        let topic = topic.filter(|topic| topic.partition(found.partition).is_some());
        let owner = Log::owner(&*self.fs, &path)?;
        match topic {
            _ if owner.is_some_and(|id| image.is_deleted(id)) => {
                self.opening.lock().deleted.extend(owner);
                self.remove_partitions(&[found])?;
            }
            // Of which of the topics that had this name is not known. None of it was ever durable, or it would be.
            _ if !self.was_clean
                && image.was_deleted(&found.topic)
                && self
                    .checkpoints
                    .recovery_point(&found)
                    .is_none_or(|point| point == Offset::ZERO)
                && Log::has_lost_owner(&*self.fs, &path)? =>
            {
                log::warn!("{} is removed: a power cut has left it without owner", path.display());
                self.remove_partitions(&[found])?;
            }
            // It was moved to other brokers while this one was away.
            Some(topic)
                if owner == Some(topic.id) && self.state(topic, found.partition).is_none() =>
            {
                self.remove_partitions(&[found])?;
            }
            Some(topic) if !self.was_clean => {
                self.replica(topic, found.partition, || Some(Arc::clone(topic)))?;
            }
            Some(_) => {}
            None if found.topic.is_internal() => {}
            None => log::warn!("{} belongs to no topic: left alone", path.display()),
        }
        Ok(())
    }

    /// Ends the replicas of a deleted topic and removes their directories.
    ///
    /// After an error directories may be left. They go when a topic of the same name needs theirs, or with the next
    /// open.
    pub(crate) fn delete_topic(&self, topic: &TopicImage) -> Result<(), StorageError> {
        let replicas = {
            // Who is about to open one comes too late.
            self.opening.lock().deleted.insert(topic.id);
            let mut replicas = self.replicas.write();
            let keys = topic.partition_ids().map(|partition| (topic.id, partition));
            keys.filter_map(|key| replicas.remove(&key)).collect::<Vec<_>>()
        };
        // With no lock held: those who wait are answered.
        for replica in replicas {
            replica.delete();
        }
        let partitions =
            topic.partition_ids().map(|id| TopicPartition::new(topic.name.clone(), id));
        self.remove_partitions(&partitions.collect::<Vec<_>>())
    }

    /// Removes partitions of a deleted topic. The recovery points first: those of a topic of the same name would be
    /// taken for damaged.
    pub(super) fn remove_partitions(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<(), StorageError> {
        if !is_planted(Bug::RecoveryPointsStay) {
            self.checkpoints.remove(partitions)?;
        }
        let mut renamed = Vec::new();
        for partition in partitions {
            renamed.extend(self.rename_deleted(partition)?);
        }
        if renamed.is_empty() {
            return Ok(());
        }
        // What a crash leaves behind from here on is removed at the next open.
        self.fs.sync_dir(&self.root).map_err(StorageError::io("sync", &self.root))?;
        renamed.iter().try_for_each(|dir| remove_tree(&*self.fs, dir))
    }

    /// Gives a partition's directory a name that is never used again. `None` if it has no directory.
    fn rename_deleted(&self, partition: &TopicPartition) -> Result<Option<PathBuf>, StorageError> {
        let from = self.root.join(partition.directory_name());
        if is_planted(Bug::DeletedByName) {
            return Ok(self.fs.list(&from).is_ok().then_some(from));
        }
        let unique = format!("{:032x}", u128::from_be_bytes(*random_id(&*self.runtime).as_bytes()));
        let suffix = format!(".{unique}{DELETE_SUFFIX}");
        // A directory name has 255 bytes at most; topic names are ASCII.
        let mut name = partition.directory_name();
        name.truncate(255 - suffix.len());
        let to = self.root.join(name + &suffix);
        match self.fs.rename(&from, &to) {
            Ok(()) => Ok(Some(to)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(StorageError::io("rename", &from)(e)),
        }
    }

    /// Opened replicas, in the order of their topics' ids.
    pub(crate) fn replicas(&self) -> Vec<Arc<Replica>> {
        self.replicas.read().values().cloned().collect()
    }

    /// Takes nothing new, and sees to it that what was accepted is written, and on all replicas in sync, in time.
    pub(crate) fn settle(&self) {
        let opening = self.opening.lock();
        let replicas = self.replicas();
        drop(opening);
        let deadline = self.close_deadline();
        for replica in &replicas {
            if let Err(error) = replica.settle(deadline) {
                log::error!("{} was not written: {error}", replica.partition());
            }
        }
    }

    fn close_deadline(&self) -> Moment {
        let deadline = self.runtime.now().after(CLOSE_TIMEOUT);
        deadline.unwrap_or(Moment::since_start(Duration::MAX))
    }

    /// Writes and syncs everything, and leaves the mark of a clean shutdown. The metadata log is closed last.
    pub(crate) fn close(&self) -> Result<(), StorageError> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let deadline = self.close_deadline();
        self.end_background(deadline);
        let opening = self.opening.lock();
        let replicas = self.replicas();
        drop(opening);
        let mut first_error = None;
        for replica in replicas.iter().chain(self.metadata.get()) {
            if let Err(error) = replica.close(deadline) {
                log::error!("{} was not closed cleanly: {error}", replica.partition());
                first_error.get_or_insert(error);
            }
        }
        let result = match first_error {
            None => self.checkpoints.save_all().and_then(|()| self.write_clean_marker()),
            Some(error) => Err(error),
        };
        self.checkpoints.end();
        self.lock.lock().take();
        result
    }

    /// Leaves everything as it is, as a loss of power would: nothing is written any more. What is not acknowledged is
    /// given back.
    pub(crate) fn abandon(&self) {
        self.halt().into_iter().for_each(|halted| self.release(halted));
    }

    /// Has nothing more of its topics be written, nor answered; `None` if that was so. To be released.
    pub(super) fn halt(&self) -> Option<Halted> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return None;
        }
        let opening = self.opening.lock();
        let replicas = self.replicas();
        drop(opening);
        let halt = |replica: Arc<Replica>| {
            let unanswered = replica.halt();
            (replica, unanswered)
        };
        Some(replicas.into_iter().map(halt).collect())
    }

    /// Ends what is left of a store that was halted, and gives back what nobody has answered.
    pub(super) fn release(&self, halted: Halted) {
        halted.into_iter().for_each(|(replica, unanswered)| replica.give_back(unanswered));
        if let Some(metadata) = self.metadata.get() {
            metadata.abandon();
        }
        self.checkpoints.end();
        self.end_background(self.close_deadline());
        self.lock.lock().take();
    }

    fn end_background(&self, deadline: Moment) {
        self.fetcher.close(deadline);
        self.scrubbing.close(deadline);
        self.syncer.close(deadline);
    }

    fn write_clean_marker(&self) -> Result<(), StorageError> {
        if self.unrecovered.load(Ordering::Acquire) && !is_planted(Bug::MarkerAfterFailure) {
            return Ok(());
        }
        let path = self.root.join(CLEAN_MARKER);
        let content = r#"{"version":0,"brokerEpoch":-1}"#;
        replace_file(&*self.fs, &self.root, CLEAN_MARKER, content.into())
            .map_err(StorageError::io("write", &path))
    }

    /// Opens the metadata log, which is always synced. Nobody leads it before it is told so.
    pub(crate) fn open_metadata(&self, topic: &TopicImage) -> Result<Arc<Replica>, StorageError> {
        let state = PartitionState {
            replicas: vec![self.broker()],
            isr: Vec::new(),
            leader: None,
            leader_epoch: LeaderEpoch::ZERO,
            partition_epoch: 0,
            min_isr: 1,
            config_epoch: 0,
            max_lag: self.config.replica_lag_max,
        };
        let replica = self.open_replica(topic, PartitionId::ZERO, state)?;
        Ok(Arc::clone(self.metadata.get_or_init(|| replica)))
    }
}

/// One that was not closed, since opening the cluster failed: its lock must not go before its threads.
impl Drop for Store {
    fn drop(&mut self) {
        if !*self.closed.get_mut() {
            self.end_background(self.close_deadline());
            self.checkpoints.end();
        }
    }
}

/// The store may be reached by a link. In it none is followed.
pub(super) fn resolve(fs: &dyn FileSystem, root: PathBuf) -> Result<PathBuf, StorageError> {
    match fs.resolve(&root) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(root),
        resolved => resolved.map_err(StorageError::io("resolve", &root)),
    }
}

/// Whether there is a store in a directory, rather than nothing. One that holds something else is not touched.
pub(super) fn is_store(fs: &dyn FileSystem, root: &Path) -> Result<bool, ClusterError> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let not_a_store =
        |reason: &str| ClusterError::NotAStore { path: root.to_owned(), reason: reason.to_owned() };
    let entries = match fs.list(root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == NotFound => return Ok(false),
        Err(e) if e.kind() == NotADirectory => return Err(not_a_store("it is a file")),
        Err(e) => return Err(StorageError::io("list", root)(e).into()),
    };
    let has = |name: &str| entries.iter().any(|entry| entry.name == name);
    // Of a first open that a crash interrupted, and of ext4.
    let harmless = |name: &str| {
        [LOCK_FILE, LOG_STARTS, "lost+found"].contains(&name) || name.ends_with(".tmp")
    };
    if has(identity::STORE_FILE) {
        return Ok(true);
    }
    if entries.iter().all(|entry| harmless(&entry.name)) {
        return Ok(false);
    }
    if has(identity::KAFKA_FILE) {
        return Err(not_a_store("it is a data directory of Apache Kafka"));
    }
    let first = entries.iter().find(|entry| !harmless(&entry.name)).map_or("", |entry| &entry.name);
    Err(not_a_store(&format!("it holds {first:?} but no {}", identity::STORE_FILE)))
}

/// Whether the store was closed cleanly.
fn has_clean_marker(fs: &dyn FileSystem, root: &Path) -> Result<bool, StorageError> {
    let entries = fs.list(root).map_err(StorageError::io("list", root))?;
    Ok(entries.iter().any(|entry| entry.name == CLEAN_MARKER))
}

/// Whether the store was closed cleanly; from now on it is not.
fn take_clean_marker(fs: &dyn FileSystem, root: &Path) -> Result<bool, StorageError> {
    let path = root.join(CLEAN_MARKER);
    match fs.remove_file(&path) {
        Ok(()) => {
            if !is_planted(Bug::MarkerRemovalNotSynced) {
                fs.sync_dir(root).map_err(StorageError::io("sync", root))?;
            }
            Ok(true)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(StorageError::io("remove", &path)(e)),
    }
}

/// `topic-partition.<32 hexadecimal digits>-delete`
fn is_being_deleted(name: &str) -> bool {
    let unique = name.strip_suffix(DELETE_SUFFIX).and_then(|rest| rest.rsplit_once('.'));
    unique.is_some_and(|(_, hex)| hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Removes a directory and the files in it. Partition directories have no others below them.
fn remove_tree(fs: &dyn FileSystem, dir: &Path) -> Result<(), StorageError> {
    for entry in fs.list(dir).map_err(StorageError::io("list", dir))? {
        let path = dir.join(&entry.name);
        fs.remove_file(&path).map_err(StorageError::io("remove", &path))?;
    }
    fs.remove_dir(dir).map_err(StorageError::io("remove", dir))
}

pub(super) fn random_id(runtime: &dyn Runtime) -> TopicId {
    let bits = (u128::from(runtime.random()) << 64) | u128::from(runtime.random());
    TopicId::from_bytes(bits.to_be_bytes())
}
