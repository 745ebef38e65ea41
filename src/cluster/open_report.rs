//! What opening a store came to.

use std::fmt;
use std::iter::Sum;
use std::path::PathBuf;

use crate::base::{BrokerId, TopicPartition};
use crate::storage::{Damage, Recovered};

/// What was found when a cluster was opened: see [`Cluster::open_report`](crate::Cluster::open_report).
///
/// ```
/// use brooklet::Cluster;
///
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("data");
/// Cluster::open(&path)?.close()?;
///
/// let report = Cluster::open(&path)?.open_report();
/// assert!(report.clean && report.partitions.is_empty());
/// println!("{report}");
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct OpenReport {
    /// The store is new or had been closed: nothing had to be recovered.
    pub clean: bool,
    /// Partitions of which something was read, cut, made anew or found damaged, in the order of their names; the
    /// metadata log `__brooklet_metadata` too. Empty if the store had been closed and nothing is wrong.
    pub partitions: Vec<PartitionReport>,
    /// Bytes of earlier `.quarantine` files that were removed, since a store keeps 64 MiB of them at most.
    pub quarantine_dropped_bytes: u64,
}

/// What was found in one partition when it was opened: part of an [`OpenReport`].
///
/// ```
/// let cluster = brooklet::Cluster::in_memory()?;
/// for partition in cluster.open_report().partitions {
///     if let Some(damage) = partition.damage {
///         println!("{damage}");
///     }
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PartitionReport {
    /// The broker with this replica.
    pub broker: BrokerId,
    /// The partition.
    pub partition: TopicPartition,
    /// Bytes of log that were read and checked.
    pub scanned_bytes: u64,
    /// Bytes that were cut off behind the last good batch.
    pub cut_bytes: u64,
    /// Whole batches among them. A torn write leaves none: these were behind one.
    pub cut_batches: u64,
    /// How many of the bytes that were cut are kept in `.quarantine` files: all, unless there were only zeros, the disk
    /// was full, or it was more than 64 MiB.
    pub quarantined_bytes: u64,
    /// Indexes, snapshots and leader epochs that were missing or of no use: what they say was found out anew from the
    /// batches.
    pub files_rebuilt: Vec<PathBuf>,
    /// The first that was found of what was durable and is not what it was: the partition can be read, but not be
    /// written. [`Partition::scrub`](crate::Partition::scrub) finds the rest.
    pub damage: Option<Damage>,
    /// What was damaged, and is what was written again: another replica had it. Replicas are repaired in the background,
    /// so that this may come to be told some time after the open.
    pub repaired: Vec<Damage>,
    /// Why the partition could not be opened at all: what went wrong is told to who uses it, too.
    pub failure: Option<String>,
}

impl PartitionReport {
    /// `None` if there is nothing to be told.
    pub(super) fn new(
        broker: BrokerId,
        partition: TopicPartition,
        found: Recovered,
        failure: Option<String>,
    ) -> Option<Self> {
        let is_of_interest = failure.is_some() || found != Recovered::default();
        is_of_interest.then_some(Self {
            broker,
            partition,
            scanned_bytes: found.scanned_bytes,
            cut_bytes: found.cut_bytes,
            cut_batches: found.cut_batches,
            quarantined_bytes: found.quarantined_bytes,
            files_rebuilt: found.rebuilt,
            damage: found.damage,
            repaired: Vec::new(),
            failure,
        })
    }

    /// One of which nothing is to be told yet.
    pub(super) fn empty(broker: BrokerId, partition: TopicPartition) -> Self {
        Self {
            broker,
            partition,
            scanned_bytes: 0,
            cut_bytes: 0,
            cut_batches: 0,
            quarantined_bytes: 0,
            files_rebuilt: Vec::new(),
            damage: None,
            repaired: Vec::new(),
            failure: None,
        }
    }
}

/// Of several stores: closed if all were.
impl Sum for OpenReport {
    fn sum<I: Iterator<Item = Self>>(reports: I) -> Self {
        let none = Self { clean: true, ..Self::default() };
        reports.fold(none, |mut all, report| {
            all.clean &= report.clean;
            all.partitions.extend(report.partitions);
            all.quarantine_dropped_bytes += report.quarantine_dropped_bytes;
            all
        })
    }
}

impl OpenReport {
    /// Bytes of log that were read and checked, in all partitions.
    pub fn scanned_bytes(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.scanned_bytes).sum()
    }

    /// Bytes that were cut, in all partitions.
    pub fn cut_bytes(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.cut_bytes).sum()
    }

    /// Bytes that were cut and are kept aside, in all partitions.
    pub fn quarantined_bytes(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.quarantined_bytes).sum()
    }
}

/// A line for the store, and one for each partition of which bytes were cut, or that is damaged or was not opened.
impl fmt::Display for OpenReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.clean { "closed" } else { "not closed" };
        let (scanned, cut, kept) =
            (self.scanned_bytes(), self.cut_bytes(), self.quarantined_bytes());
        write!(
            f,
            "the store was {how}: {scanned} bytes read, {cut} cut, {kept} of them kept aside"
        )?;
        for found in &self.partitions {
            let PartitionReport { partition, cut_bytes, cut_batches, .. } = found;
            if *cut_bytes > 0 {
                write!(
                    f,
                    "\n{partition}: {cut_bytes} bytes cut, {cut_batches} whole batches in them"
                )?;
            }
            if let Some(damage) = &found.damage {
                write!(f, "\n{damage}")?;
            }
            for damage in &found.repaired {
                write!(f, "\nrepaired from another broker: {damage}")?;
            }
            if let Some(failure) = &found.failure {
                write!(f, "\n{partition} was not opened: {failure}")?;
            }
        }
        Ok(())
    }
}
