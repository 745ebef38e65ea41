//! Looking at a whole store before anything in it is changed (`brooklet.strict.open`).
//!
//! Every log is gone through as a recovery would, and nothing is written. What is wrong otherwise is left to the open that
//! follows.

use std::path::Path;
use std::sync::Arc;

use crate::base::{BrokerId, Offset, PartitionId, TopicPartition};
use crate::cluster::checkpoints::Checkpoints;
use crate::cluster::core::metadata_topic;
use crate::cluster::metadata::Image;
use crate::cluster::metadata_log::apply_batch;
use crate::cluster::{BrokerConfig, ClusterError, TopicImage};
use crate::env::{BufferPool, EntryKind, FileSystem, Runtime};
use crate::record::Batch;
use crate::storage::{Log, OpenLog, Quarantine, Shutdown, StorageError, TailCache};

/// A store that was not closed.
struct Examination<'a> {
    fs: &'a Arc<dyn FileSystem>,
    root: &'a Arc<Path>,
    checkpoints: Checkpoints,
    runtime: &'a dyn Runtime,
}

/// # Errors
/// [`StorageError::TornTail`] of the first log that would be cut.
pub(super) fn refuse_torn_tails(
    fs: &Arc<dyn FileSystem>,
    root: &Arc<Path>,
    config: &Arc<BrokerConfig>,
    runtime: &dyn Runtime,
) -> Result<(), ClusterError> {
    let checkpoints = Checkpoints::load(Arc::clone(fs), Arc::clone(root))?;
    let store = Examination { fs, root, checkpoints, runtime };
    let metadata = metadata_topic(BrokerId::ZERO)?;
    let mut image = Image::new(Arc::clone(config));
    for batch in store.batches(&metadata, PartitionId::ZERO)? {
        apply_batch(&mut image, &batch?, |_, _| {})
            .map_err(|reason| StorageError::damaged(root, reason))?;
    }
    for entry in fs.list(root).map_err(StorageError::io("list", root))? {
        let found = TopicPartition::parse_directory_name(&entry.name);
        let Some(found) = found.filter(|_| entry.kind == EntryKind::Directory) else { continue };
        let Some(topic) = image.topic(found.topic.as_str()) else { continue };
        // Other errors are for the open that follows, and for those who use the partition.
        if let Err(error @ StorageError::TornTail { .. }) = store.batches(topic, found.partition) {
            return Err(error.into());
        }
    }
    Ok(())
}

impl Examination<'_> {
    /// The batches of a log.
    fn batches(
        &self,
        topic: &TopicImage,
        partition: PartitionId,
    ) -> Result<impl Iterator<Item = Result<Batch, StorageError>>, StorageError> {
        let partition = TopicPartition::new(topic.name.clone(), partition);
        let deleted = topic.start(partition.partition);
        let start = self.checkpoints.log_start(&partition).map(|start| start.max(deleted));
        let recovery_point = self.checkpoints.recovery_point(&partition).unwrap_or(Offset::ZERO);
        let (fs, root) = (Arc::clone(self.fs), Arc::clone(self.root));
        Log::examine(OpenLog {
            quarantine: Arc::new(Quarantine::new(Arc::clone(&fs), Arc::clone(&root), 0)),
            fs,
            root,
            partition,
            topic_id: topic.id,
            config: topic.config.log,
            cache: Arc::new(TailCache::new(0, Arc::new(BufferPool::new(0)))),
            start,
            deleted,
            closed_at: Vec::new(),
            examine: true,
            shutdown: Shutdown::Unclean { recovery_point },
            now: self.runtime.wall_clock(),
            seed: 0,
        })
    }
}
