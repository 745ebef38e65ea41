//! The small text files: checkpoints and `partition.metadata`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::base::{LeaderEpoch, Offset, ReadMode, TopicId, TopicPartition};
use crate::client::Result;
use crate::env::{FileSystem, OsFs};
use crate::inspect::source::Source;
use crate::storage::{self, StorageError};

/// Longer ones are refused, since these files are read whole: 32 MiB are 100,000 partitions with the longest names.
const MAX_LENGTH: u64 = 32 << 20;

/// Reads a `leader-epoch-checkpoint`: the leader epochs with records in a log, and the offset where each begins.
///
/// ```
/// # let dir = "tests/fixtures/golden/partition-dir/golden-0";
/// for (epoch, start) in brooklet::inspect::read_leader_epochs(format!("{dir}/leader-epoch-checkpoint"))? {
///     println!("epoch {epoch} from offset {start} on");
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
///
/// # Errors
/// [`Storage`](crate::ErrorKind::Storage) if it cannot be read, [`CorruptMessage`](crate::ErrorKind::CorruptMessage) if it holds
/// something else.
pub fn read_leader_epochs(path: impl AsRef<Path>) -> Result<Vec<(LeaderEpoch, Offset)>> {
    read(path.as_ref(), storage::read_leader_epochs)
}

/// Reads an offset checkpoint of a store or of Kafka's log directory: `recovery-point-offset-checkpoint`,
/// `replication-offset-checkpoint`, `log-start-offset-checkpoint` or `cleaner-offset-checkpoint`.
///
/// ```
/// # let dir = "tests/fixtures/golden/partition-dir";
/// let offsets = brooklet::inspect::read_offsets(format!("{dir}/recovery-point-offset-checkpoint"))?;
/// for (partition, offset) in &offsets {
///     println!("{partition}: {offset}");
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
///
/// # Errors
/// [`Storage`](crate::ErrorKind::Storage) if it cannot be read, [`CorruptMessage`](crate::ErrorKind::CorruptMessage) if it holds
/// something else.
pub fn read_offsets(path: impl AsRef<Path>) -> Result<BTreeMap<TopicPartition, Offset>> {
    read(path.as_ref(), storage::read_offsets)
}

/// Reads a `partition.metadata`: the id of the topic to which the directory belongs.
///
/// ```
/// # let dir = "tests/fixtures/golden/partition-dir/golden-0";
/// let id = brooklet::inspect::read_topic_id(format!("{dir}/partition.metadata"))?;
/// assert_eq!(id.to_string(), "ASNFZ4mrze8RIjNEVWZ3iA");
/// # Ok::<(), brooklet::Error>(())
/// ```
///
/// # Errors
/// [`Storage`](crate::ErrorKind::Storage) if it cannot be read, [`CorruptMessage`](crate::ErrorKind::CorruptMessage) if it names no
/// topic.
pub fn read_topic_id(path: impl AsRef<Path>) -> Result<TopicId> {
    read(path.as_ref(), |fs, path| match storage::read_topic_id(fs, path)? {
        None => Err(StorageError::damaged(path, "it names no topic")),
        id => Ok(id),
    })
}

fn read<T>(
    path: &Path,
    parse: impl FnOnce(&dyn FileSystem, &Path) -> Result<Option<T>, StorageError>,
) -> Result<T> {
    let fs = OsFs::new(ReadMode::Pread);
    let source = Source::open_on(&fs, path)?;
    if source.length() > MAX_LENGTH {
        return Err(source.corrupt("it is too long for such a file"));
    }
    let resolved = fs.resolve(path).map_err(StorageError::io("open", path))?;
    match parse(&fs, &resolved) {
        Ok(Some(content)) => Ok(content),
        Ok(None) => Err(StorageError::io("open", path)(io::ErrorKind::NotFound.into()).into()),
        Err(StorageError::Damaged { reason, .. }) => Err(source.corrupt(reason)),
        Err(error) => Err(error.into()),
    }
}
