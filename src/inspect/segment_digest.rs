//! A `.digest` file: what the first bytes of a segment are known to be.

use std::path::Path;

use crate::base::{Offset, PartitionId, TopicId};
use crate::client::Result;
use crate::inspect::LogFile;
use crate::inspect::source::Source;
use crate::storage::{Digest, Owner, Place};

/// Longer files are no digests: they have ten short lines.
const MAX_LENGTH: usize = 4 << 10;

/// A segment's `.digest` file, which brooklet writes and Kafka does not know.
///
/// ```
/// use brooklet::inspect::{LogFile, SegmentDigest};
/// # use brooklet::{Cluster, NewTopic, Record};
/// # let dir = tempfile::tempdir().unwrap();
/// # let cluster = Cluster::open(dir.path())?;
/// # cluster.create_topic(NewTopic::new("email"))?;
/// # cluster.producer().build()?.send(Record::to("email").value("welcome"))?.wait()?;
/// # cluster.close()?;
/// # let dir = dir.path().join("email-0");
///
/// let digest = SegmentDigest::open(dir.join("00000000000000000000.digest"))?;
/// let log = LogFile::open(dir.join("00000000000000000000.log"))?;
/// assert!(digest.verify(&log)?);
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Debug)]
pub struct SegmentDigest {
    source: Source,
    owner: Owner,
    base: Offset,
    digest: Digest,
}

impl SegmentDigest {
    /// Opens a digest, whatever its name, and checks it as a whole.
    ///
    /// # Errors
    /// [`CorruptMessage`](crate::ErrorKind::CorruptMessage) if its checksum is wrong or it is none;
    /// [`Storage`](crate::ErrorKind::Storage) or [`ReadOnly`](crate::ErrorKind::ReadOnly) if it cannot be opened or
    /// read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::new(Source::open(path.as_ref())?)
    }

    pub(super) fn new(source: Source) -> Result<Self> {
        let content = source.pieces().read(0, MAX_LENGTH)?;
        let (Place(owner, base), digest) = Digest::decode(&content)
            .ok_or_else(|| source.corrupt("it is no digest, or damaged"))?;
        Ok(Self { source, owner, base, digest })
    }

    /// The path that the file was opened by.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// The topic to which the segment belongs.
    pub fn topic_id(&self) -> TopicId {
        self.owner.topic
    }

    /// The partition to which the segment belongs.
    pub fn partition(&self) -> PartitionId {
        self.owner.partition
    }

    /// The segment's base offset.
    pub fn base_offset(&self) -> Offset {
        self.base
    }

    /// Of how many bytes, from the front of the `.log` file on, it speaks.
    pub fn size_bytes(&self) -> u64 {
        self.digest.length
    }

    /// How many batches they hold.
    pub fn batch_count(&self) -> u64 {
        self.digest.batches
    }

    /// The offset behind them.
    pub fn next_offset(&self) -> Offset {
        self.digest.next
    }

    /// Whether `log` begins with the batches of which the digest speaks. Looks at their headers, which hold the
    /// checksums of the rest: see [`Batch::is_valid`](crate::inspect::Batch::is_valid).
    ///
    /// # Errors
    /// [`Storage`](crate::ErrorKind::Storage) if the disk failed.
    pub fn verify(&self, log: &LogFile) -> Result<bool> {
        let mut walk = log.walk();
        let mut found = Digest::empty(self.base);
        while found.length < self.digest.length {
            match walk.whole_header_at(found.length)? {
                Some((bytes, header)) => found.add(&bytes, &header),
                None => return Ok(false),
            }
        }
        Ok(found == self.digest)
    }
}
