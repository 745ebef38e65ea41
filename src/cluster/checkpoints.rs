//! What is known to be durable, and the files of a store that say so.
//!
//! # On disk
//! Kafka's checkpoint files, and `brooklet.checkpoint`: the recovery points once more, sealed with a checksum. A digit
//! that has changed in Kafka's file would make durable records look lost; here it is noticed.
//!
//! # Invariants
//! - A recovery point on disk never is ahead of what was synced (rule R5).
//! - What was removed does not come back, and its log is not touched any more: a topic of the same name may have its
//!   directory by then.
//!
//! # Locks
//! `saving`, then `points`, then those of a log. `saving` is held across file calls; no reader and no producer takes it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::base::{Offset, Timestamp, TopicPartition};
use crate::env::sync::Mutex;
use crate::env::{FileSystem, read_file, replace_file};
use crate::replica::Replica;
use crate::storage::{OffsetCheckpoint, StorageError, decode_offsets, encode_offsets};
use crate::storage::{read_offsets, seal, unseal, write_offsets};

const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
const SEALED_POINTS: &str = "brooklet.checkpoint";
const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
pub(super) const LOG_STARTS: &str = "log-start-offset-checkpoint";

/// The recovery points of a store's logs.
#[derive(Debug)]
pub(super) struct Checkpoints {
    fs: Arc<dyn FileSystem>,
    root: Arc<Path>,
    /// Log starts that differ from 0; `None` if the file is of no use.
    starts: Option<OffsetCheckpoint>,
    saving: Mutex<Saving>,
    points: Mutex<Points>,
}

/// What only the one who saves may touch.
#[derive(Debug, Default)]
struct Saving {
    /// The directory is somebody else's by now.
    ended: bool,
    /// The file has entries that were removed.
    stale: bool,
}

#[derive(Debug)]
struct Points {
    replicas: Vec<Arc<Replica>>,
    /// What the file says: also of logs that were not opened.
    offsets: OffsetCheckpoint,
    /// As they were when the store was closed.
    high_watermarks: OffsetCheckpoint,
}

impl Checkpoints {
    /// Writes the files of a new store, so that from then on a missing one is one that was lost.
    pub(super) fn create(fs: &dyn FileSystem, root: &Path) -> Result<(), StorageError> {
        write_offsets(fs, root, LOG_STARTS, &OffsetCheckpoint::new())
    }

    /// Reads what the last owner of the store left.
    pub(super) fn load(fs: Arc<dyn FileSystem>, root: Arc<Path>) -> Result<Self, StorageError> {
        let offsets = match load_sealed(&*fs, &root)? {
            Some(offsets) => offsets,
            None => load_offsets(&*fs, &root, RECOVERY_POINTS)?.unwrap_or_default(),
        };
        let starts = load_offsets(&*fs, &root, LOG_STARTS)?;
        let high_watermarks = load_offsets(&*fs, &root, HIGH_WATERMARKS)?.unwrap_or_default();
        let points = Mutex::new(Points { replicas: Vec::new(), offsets, high_watermarks });
        Ok(Self { fs, root, starts, saving: Mutex::default(), points })
    }

    /// Where a log begins, if that is known.
    pub(super) fn log_start(&self, partition: &TopicPartition) -> Option<Offset> {
        self.starts.as_ref().map(|starts| starts.get(partition).copied().unwrap_or_default())
    }

    pub(super) fn recovery_point(&self, partition: &TopicPartition) -> Option<Offset> {
        self.points.lock().offsets.get(partition).copied()
    }

    pub(super) fn high_watermark(&self, partition: &TopicPartition) -> Option<Offset> {
        self.points.lock().high_watermarks.get(partition).copied()
    }

    pub(super) fn add(&self, replica: &Arc<Replica>) {
        self.points.lock().replicas.push(Arc::clone(replica));
    }

    /// Has every log forget the producers that have been idle for too long.
    pub(super) fn expire_producers(&self, now: Timestamp) {
        let replicas = self.points.lock().replicas.clone();
        replicas.iter().for_each(|replica| replica.log().expire_producers(now));
    }

    /// Forgets partitions, durably.
    ///
    /// After an error the file still has their recovery points: their directories must not go before they do.
    pub(super) fn remove(&self, partitions: &[TopicPartition]) -> Result<(), StorageError> {
        let mut saving = self.saving.lock();
        let removed = partitions.iter().collect::<BTreeSet<_>>();
        {
            let mut points = self.points.lock();
            points.replicas.retain(|replica| !removed.contains(replica.partition()));
            let before = points.offsets.len();
            points.offsets.retain(|partition, _| !removed.contains(partition));
            points.high_watermarks.retain(|partition, _| !removed.contains(partition));
            saving.stale |= points.offsets.len() < before;
        }
        if saving.stale { self.write(&mut saving) } else { Ok(()) }
    }

    /// A log is about to be cut to `end`: no recovery point on disk may lie above it.
    pub(super) fn lower(
        &self,
        partition: &TopicPartition,
        end: Offset,
    ) -> Result<(), StorageError> {
        let mut saving = self.saving.lock();
        {
            let mut points = self.points.lock();
            if points.offsets.get(partition).is_none_or(|point| *point <= end) {
                return Ok(());
            }
            points.offsets.insert(partition.clone(), end);
        }
        self.write(&mut saving)
    }

    /// Brings the recovery points on disk up to date. A failure is logged: older points are true as well.
    pub(super) fn save(&self) {
        let mut saving = self.saving.lock();
        if saving.ended {
            return;
        }
        if let Err(error) = self.save_recovery_points(&mut saving) {
            log::warn!("the recovery points were not saved: {error}");
        }
    }

    /// A log that fails keeps its older point, and is no reason for the others to do so.
    fn save_recovery_points(&self, saving: &mut Saving) -> Result<(), StorageError> {
        let replicas = self.points.lock().replicas.clone();
        let mut first_error = None;
        for replica in replicas {
            let before = self.recovery_point(replica.partition()).unwrap_or(Offset::ZERO);
            if before == replica.log().flushed() || replica.log().is_offline() {
                continue;
            }
            match replica.log().checkpoint() {
                Ok(flushed) => {
                    let partition = replica.partition().clone();
                    self.points.lock().offsets.insert(partition, flushed);
                }
                Err(error) => _ = first_error.get_or_insert(error),
            }
        }
        self.write(saving)?;
        first_error.map_or(Ok(()), Err)
    }

    fn write(&self, saving: &mut Saving) -> Result<(), StorageError> {
        let offsets = self.points.lock().offsets.clone();
        write_offsets(&*self.fs, &self.root, RECOVERY_POINTS, &offsets)?;
        let sealed = seal(&encode_offsets(&offsets)).into();
        replace_file(&*self.fs, &self.root, SEALED_POINTS, sealed)
            .map_err(StorageError::io("replace", &self.root.join(SEALED_POINTS)))?;
        saving.stale = false;
        Ok(())
    }

    /// All checkpoint files, when every log has been closed.
    pub(super) fn save_all(&self) -> Result<(), StorageError> {
        self.save_recovery_points(&mut self.saving.lock())?;
        let (replicas, known, mut high_watermarks) = {
            let points = self.points.lock();
            (points.replicas.clone(), points.offsets.clone(), points.high_watermarks.clone())
        };
        for replica in &replicas {
            high_watermarks.insert(replica.partition().clone(), replica.high_watermark());
        }
        high_watermarks.retain(|partition, _| known.contains_key(partition));
        write_offsets(&*self.fs, &self.root, HIGH_WATERMARKS, &high_watermarks)?;
        // For Kafka, which has nothing else to go by; here the metadata log tells where a log begins.
        let mut starts = self.starts.clone().unwrap_or_default();
        for log in replicas.iter().map(|replica| replica.log()) {
            match log.start() {
                start if start > log.first_base() => starts.insert(log.partition().clone(), start),
                _ => starts.remove(log.partition()),
            };
        }
        starts.retain(|partition, _| known.contains_key(partition));
        write_offsets(&*self.fs, &self.root, LOG_STARTS, &starts)
    }

    /// Saves nothing any more: the directory is about to be released.
    pub(super) fn end(&self) {
        self.saving.lock().ended = true;
    }
}

/// The recovery points in the sealed file, if it is there and whole.
fn load_sealed(fs: &dyn FileSystem, root: &Path) -> Result<Option<OffsetCheckpoint>, StorageError> {
    let path = root.join(SEALED_POINTS);
    let content = read_file(fs, &path).map_err(StorageError::io("read", &path))?;
    Ok(content.as_deref().and_then(unseal).and_then(decode_offsets))
}

/// A damaged file is as good as none.
fn load_offsets(
    fs: &dyn FileSystem,
    root: &Path,
    name: &str,
) -> Result<Option<OffsetCheckpoint>, StorageError> {
    match read_offsets(fs, &root.join(name)) {
        Err(error @ StorageError::Damaged { .. }) => {
            log::warn!("{error}: more has to be scanned");
            Ok(None)
        }
        result => result,
    }
}
