//! A broker's directory: its lock, its identity, its checkpoints, and the replicas in it.
//!
//! # Invariants
//! - The clean marker is removed, durably, before anything else is changed, and written last, after everything that
//!   it vouches for (rule R3).
//! - A recovery point on disk never is ahead of what was synced (rule R5).
//!
//! # Locks
//! `opening` orders the opening and removal of replicas; it is held while files are opened, and taken before every
//! lock of a replica or log. `Checkpoints` has locks of its own, which are leaves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::{
    BrokerId, FlushPolicy, LeaderEpoch, Offset, PartitionId, TopicId, TopicPartition,
};
use crate::cluster::identity::{self, Identity};
use crate::cluster::metadata::Image;
use crate::cluster::sender::Sender;
use crate::cluster::syncer::Syncer;
use crate::cluster::{ClusterError, TopicImage};
use crate::env::replace_file;
use crate::env::sync::{Mutex, RwLock};
use crate::env::{BufferPool, EntryKind, FileLock, FileSystem, Moment, Runtime};
use crate::replica::{OpenReplica, ProduceError, Replica};
use crate::storage::{
    Log, OffsetCheckpoint, OpenLog, Recovered, Shutdown, StorageError, TailCache,
};
use crate::storage::{read_offsets, write_offsets};

const LOCK_FILE: &str = ".lock";
const CLEAN_MARKER: &str = ".kafka_cleanshutdown";
const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
const LOG_STARTS: &str = "log-start-offset-checkpoint";

/// Suffix of the directory of a partition that is being deleted.
const DELETE_SUFFIX: &str = "-delete";

/// Bytes of batches that a store keeps for readers that follow the writers closely. Stays within a processor's
/// cache together with what the producers are filling.
const TAIL_BYTES: usize = 8 << 20;

/// Bytes of empty buffers kept for the producers.
const POOL_BYTES: usize = 8 << 20;

/// Settings of a store.
#[derive(Debug)]
pub(crate) struct OpenStore {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) root: PathBuf,
    pub(crate) broker: BrokerId,
    pub(crate) policy: FlushPolicy,
    pub(crate) runtime: Arc<dyn Runtime>,
}

/// One broker's replicas and the directory that they are in.
#[derive(Debug)]
pub(crate) struct Store {
    fs: Arc<dyn FileSystem>,
    root: Arc<Path>,
    policy: FlushPolicy,
    runtime: Arc<dyn Runtime>,
    cache: Arc<TailCache>,
    pool: Arc<BufferPool>,
    was_clean: bool,
    replicas: RwLock<BTreeMap<(TopicId, PartitionId), Arc<Replica>>>,
    opening: Mutex<()>,
    checkpoints: Arc<Checkpoints>,
    syncer: Arc<Syncer>,
    sender: Arc<Sender>,
    closed: AtomicBool,
    lock: Mutex<Option<Box<dyn FileLock>>>,
}

impl Store {
    /// Takes possession of a directory: a store of this crate, or an empty one that becomes one.
    pub(crate) fn open(how: OpenStore) -> Result<Self, ClusterError> {
        let OpenStore { fs, root, broker, policy, runtime } = how;
        refuse_foreign(&*fs, &root)?;
        fs.create_dir(&root).map_err(StorageError::io("create", &root))?;
        let lock_path = root.join(LOCK_FILE);
        let lock = fs.lock(&lock_path).map_err(StorageError::io("lock", &lock_path))?;
        let Some(lock) = lock else { return Err(ClusterError::AlreadyOpen { path: root }) };
        let identity = match Identity::load(&*fs, &root)? {
            Some(identity) => identity,
            None => {
                let identity = Identity { cluster: random_id(), broker, directory: random_id() };
                identity.save(&*fs, &root)?;
                identity
            }
        };
        if identity.broker != broker {
            let (found, expected) = (identity.broker.value(), broker.value());
            return Err(ClusterError::OtherBroker { path: root, found, expected });
        }
        let was_clean = take_clean_marker(&*fs, &root)?;
        let recovery_points = load_recovery_points(&*fs, &root)?;
        let root: Arc<Path> = root.into();
        let pool = Arc::new(BufferPool::new(POOL_BYTES));
        let checkpoints = Arc::new(Checkpoints {
            fs: Arc::clone(&fs),
            root: Arc::clone(&root),
            points: Mutex::new(Points { replicas: Vec::new(), offsets: recovery_points }),
        });
        Ok(Self {
            policy,
            cache: Arc::new(TailCache::new(TAIL_BYTES, Arc::clone(&pool))),
            pool,
            was_clean,
            replicas: RwLock::default(),
            opening: Mutex::default(),
            syncer: Arc::new(Syncer::new(Arc::clone(&runtime), Arc::downgrade(&checkpoints))),
            checkpoints,
            sender: Arc::new(Sender::new(Arc::clone(&runtime))),
            closed: AtomicBool::new(false),
            lock: Mutex::new(Some(lock)),
            fs,
            root,
            runtime,
        })
    }

    pub(crate) fn sender(&self) -> &Arc<Sender> {
        &self.sender
    }

    pub(crate) fn pool(&self) -> &Arc<BufferPool> {
        &self.pool
    }

    /// The replica of `partition`, opened if it is not yet.
    pub(crate) fn replica(
        &self,
        topic: &TopicImage,
        partition: PartitionId,
        epoch: LeaderEpoch,
    ) -> Result<Arc<Replica>, ClusterError> {
        if let Some(replica) = self.replicas.read().get(&(topic.id, partition)) {
            return Ok(Arc::clone(replica));
        }
        let _opening = self.opening.lock();
        if self.closed.load(Ordering::Acquire) {
            return Err(ClusterError::Closed);
        }
        if let Some(replica) = self.replicas.read().get(&(topic.id, partition)) {
            return Ok(Arc::clone(replica));
        }
        let policy = topic.config.flush_policy(self.policy);
        let replica = self.open_replica(topic, partition, epoch, policy)?.0;
        self.replicas.write().insert((topic.id, partition), Arc::clone(&replica));
        Ok(replica)
    }

    fn open_replica(
        &self,
        topic: &TopicImage,
        partition: PartitionId,
        epoch: LeaderEpoch,
        policy: FlushPolicy,
    ) -> Result<(Arc<Replica>, Recovered), StorageError> {
        let partition = TopicPartition::new(topic.name.clone(), partition);
        let recovery_point = self.checkpoints.recovery_point(&partition);
        let shutdown = if self.was_clean {
            Shutdown::Clean
        } else {
            Shutdown::Unclean { recovery_point: recovery_point.unwrap_or_default() }
        };
        let (log, recovered) = Log::open(OpenLog {
            fs: Arc::clone(&self.fs),
            root: Arc::clone(&self.root),
            partition,
            topic_id: topic.id,
            config: topic.config.log_config(),
            cache: Arc::clone(&self.cache),
            shutdown,
        })?;
        let replica = Replica::new(OpenReplica {
            log,
            topic_id: topic.id,
            epoch,
            // In memory there is nothing to sync.
            policy: if self.fs.is_durable() { policy } else { FlushPolicy::Os },
            runtime: Arc::clone(&self.runtime),
            syncer: Arc::clone(&self.syncer) as _,
        });
        self.checkpoints.add(&replica);
        Ok((replica, recovered))
    }

    /// Goes through the partition directories: recovers what was not closed, and removes what belongs to deleted
    /// topics. Directories of neither kind are left alone.
    pub(crate) fn load(&self, image: &Image) -> Result<(), ClusterError> {
        let entries = self.fs.list(&self.root).map_err(StorageError::io("list", &self.root))?;
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Directory) {
            let path = self.root.join(&entry.name);
            if is_being_deleted(&entry.name) {
                remove_tree(&*self.fs, &path)?;
                continue;
            }
            let Some(found) = TopicPartition::parse_directory_name(&entry.name) else { continue };
            let topic = image.topic(found.topic.as_str()).filter(|topic| {
                topic.partition_ids().any(|partition| partition == found.partition)
            });
            let owner = Log::owner(&*self.fs, &path)?;
            match topic {
                _ if owner.is_some_and(|id| image.is_deleted(id)) => {
                    self.delete_directory(&found)?
                }
                Some(topic) if !self.was_clean => {
                    self.replica(topic, found.partition, image.leader_epoch(topic))?;
                }
                Some(_) => {}
                None if found.topic.is_internal() => {}
                None => log::warn!("{} belongs to no topic: left alone", path.display()),
            }
        }
        Ok(())
    }

    /// Ends the replicas of a deleted topic and removes their directories.
    pub(crate) fn delete_topic(&self, topic: &TopicImage) -> Result<(), ClusterError> {
        let _opening = self.opening.lock();
        for partition in topic.partition_ids() {
            let replica = self.replicas.write().remove(&(topic.id, partition));
            if let Some(replica) = replica {
                replica.end(&ProduceError::Deleted, false);
            }
            let partition = TopicPartition::new(topic.name.clone(), partition);
            self.checkpoints.remove(&partition);
            self.delete_directory(&partition)?;
        }
        Ok(())
    }

    /// Renames the directory, durably, then removes it: what a crash leaves behind is removed at the next open.
    fn delete_directory(&self, partition: &TopicPartition) -> Result<(), StorageError> {
        let from = self.root.join(partition.directory_name());
        let unique = format!("{:032x}", u128::from_be_bytes(*random_id().as_bytes()));
        let suffix = format!(".{unique}{DELETE_SUFFIX}");
        // A directory name has 255 bytes at most; topic names are ASCII.
        let mut name = partition.directory_name();
        name.truncate(255 - suffix.len());
        let to = self.root.join(name + &suffix);
        match self.fs.rename(&from, &to) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(StorageError::io("rename", &from)(e)),
        }
        self.fs.sync_dir(&self.root).map_err(StorageError::io("sync", &self.root))?;
        remove_tree(&*self.fs, &to)
    }

    /// Opened replicas, in the order of their topics' ids.
    pub(crate) fn replicas(&self) -> Vec<Arc<Replica>> {
        self.replicas.read().values().cloned().collect()
    }

    /// Writes and syncs everything, and leaves the mark of a clean shutdown. `metadata` is closed last.
    pub(crate) fn close(&self, metadata: &Replica, deadline: Moment) -> Result<(), StorageError> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.sender.close(deadline);
        self.syncer.close(deadline);
        let opening = self.opening.lock();
        let replicas = self.replicas();
        drop(opening);
        let mut first_error = None;
        for replica in replicas.iter().map(|r| &**r).chain([metadata]) {
            if let Err(error) = replica.close() {
                log::error!("{} was not closed cleanly: {error}", replica.partition());
                first_error.get_or_insert(error);
            }
        }
        let result = match first_error {
            None => self.checkpoints.save_all().and_then(|()| self.write_clean_marker()),
            Some(error) => Err(error),
        };
        self.lock.lock().take();
        result
    }

    fn write_clean_marker(&self) -> Result<(), StorageError> {
        let path = self.root.join(CLEAN_MARKER);
        let content = r#"{"version":0,"brokerEpoch":-1}"#;
        replace_file(&*self.fs, &self.root, CLEAN_MARKER, content.into())
            .map_err(StorageError::io("write", &path))
    }

    /// Opens the metadata log, which is always synced.
    pub(crate) fn open_metadata(&self, topic: &TopicImage) -> Result<Arc<Replica>, StorageError> {
        Ok(self.open_replica(topic, PartitionId::ZERO, LeaderEpoch::ZERO, FlushPolicy::OnAck)?.0)
    }
}

/// What is known to be durable, and the files that say so.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    fs: Arc<dyn FileSystem>,
    root: Arc<Path>,
    points: Mutex<Points>,
}

#[derive(Debug)]
struct Points {
    replicas: Vec<Arc<Replica>>,
    /// What the file says: also of logs that were not opened.
    offsets: OffsetCheckpoint,
}

impl Checkpoints {
    fn recovery_point(&self, partition: &TopicPartition) -> Option<Offset> {
        self.points.lock().offsets.get(partition).copied()
    }

    fn add(&self, replica: &Arc<Replica>) {
        self.points.lock().replicas.push(Arc::clone(replica));
    }

    fn remove(&self, partition: &TopicPartition) {
        let mut points = self.points.lock();
        points.replicas.retain(|replica| replica.partition() != partition);
        points.offsets.remove(partition);
    }

    /// Brings the recovery points on disk up to date. A failure is logged: older points are true as well.
    pub(crate) fn save(&self) {
        if let Err(error) = self.save_recovery_points() {
            log::warn!("the recovery points were not saved: {error}");
        }
    }

    fn save_recovery_points(&self) -> Result<(), StorageError> {
        let replicas = self.points.lock().replicas.clone();
        let mut moved = Vec::new();
        for replica in replicas {
            let before = self.recovery_point(replica.partition());
            if before != Some(replica.log().flushed()) && !replica.log().is_offline() {
                moved.push((replica.partition().clone(), replica.log().checkpoint()?));
            }
        }
        let offsets = {
            let mut points = self.points.lock();
            for (partition, offset) in moved {
                // Not if it was deleted meanwhile.
                if points.replicas.iter().any(|replica| *replica.partition() == partition) {
                    points.offsets.insert(partition, offset);
                }
            }
            points.offsets.clone()
        };
        write_offsets(&*self.fs, &self.root, RECOVERY_POINTS, &offsets)
    }

    /// All checkpoint files, when every log has been closed.
    fn save_all(&self) -> Result<(), StorageError> {
        self.save_recovery_points()?;
        let replicas = self.points.lock().replicas.clone();
        let mut high_watermarks = read_offsets(&*self.fs, &self.root.join(HIGH_WATERMARKS))
            .ok()
            .flatten()
            .unwrap_or_default();
        for replica in &replicas {
            high_watermarks.insert(replica.partition().clone(), replica.high_watermark());
        }
        let known = self.points.lock().offsets.clone();
        high_watermarks.retain(|partition, _| known.contains_key(partition));
        write_offsets(&*self.fs, &self.root, HIGH_WATERMARKS, &high_watermarks)?;
        // Only starts that differ from the first segment's base are listed, and nothing raises a start yet.
        write_offsets(&*self.fs, &self.root, LOG_STARTS, &OffsetCheckpoint::new())
    }
}

/// A directory that holds something, but no store, is not touched.
fn refuse_foreign(fs: &dyn FileSystem, root: &Path) -> Result<(), ClusterError> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let not_a_store =
        |reason: &str| ClusterError::NotAStore { path: root.to_owned(), reason: reason.to_owned() };
    let entries = match fs.list(root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == NotFound => return Ok(()),
        Err(e) if e.kind() == NotADirectory => return Err(not_a_store("it is a file")),
        Err(e) => return Err(StorageError::io("list", root)(e).into()),
    };
    let has = |name: &str| entries.iter().any(|entry| entry.name == name);
    // Of a first open that a crash interrupted, and of ext4.
    let harmless = |name: &str| name == LOCK_FILE || name == "lost+found" || name.ends_with(".tmp");
    if has(identity::STORE_FILE) || entries.iter().all(|entry| harmless(&entry.name)) {
        return Ok(());
    }
    if has(identity::KAFKA_FILE) {
        return Err(not_a_store("it is a data directory of Apache Kafka"));
    }
    let first = entries.iter().find(|entry| !harmless(&entry.name)).map_or("", |entry| &entry.name);
    Err(not_a_store(&format!("it holds {first:?} but no {}", identity::STORE_FILE)))
}

/// Whether the store was closed cleanly; from now on it is not.
fn take_clean_marker(fs: &dyn FileSystem, root: &Path) -> Result<bool, StorageError> {
    let path = root.join(CLEAN_MARKER);
    match fs.remove_file(&path) {
        Ok(()) => {
            fs.sync_dir(root).map_err(StorageError::io("sync", root))?;
            Ok(true)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(StorageError::io("remove", &path)(e)),
    }
}

/// A damaged file counts as empty: then everything is scanned.
fn load_recovery_points(
    fs: &dyn FileSystem,
    root: &Path,
) -> Result<OffsetCheckpoint, StorageError> {
    match read_offsets(fs, &root.join(RECOVERY_POINTS)) {
        Ok(points) => Ok(points.unwrap_or_default()),
        Err(error @ StorageError::Damaged { .. }) => {
            log::warn!("{error}: every log is scanned from its beginning");
            Ok(OffsetCheckpoint::new())
        }
        Err(error) => Err(error),
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

pub(super) fn random_id() -> TopicId {
    TopicId::from_bytes(fastrand::u128(..).to_be_bytes())
}
