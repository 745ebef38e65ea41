//! How far a group is behind: in records, in bytes and in time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::iter::Sum;
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{ErrorKind, IsolationLevel, Offset, TopicPartition};
use crate::client::{NextOffset, Partition, Result, Topic};
use crate::cluster::Running;

/// How much there is that a group has not dealt with.
///
/// ```
/// use brooklet::Lag;
/// use std::time::Duration;
///
/// let lag = Lag { records: 1200, bytes: 64 << 20, age: Duration::from_secs(90) };
/// assert_eq!(lag.to_string(), "1200 records, 64.0 MiB, 90 s behind");
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Lag {
    /// Offsets between what was committed and the end.
    pub records: u64,
    /// Bytes in the log files from there on, whole batches.
    pub bytes: u64,
    /// How long ago, by its timestamp, the oldest record came that is not dealt with. Zero if there is none.
    pub age: Duration,
}

/// Of two partitions: the sum of records and bytes, and the greater age.
impl Add for Lag {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            records: self.records.saturating_add(other.records),
            bytes: self.bytes.saturating_add(other.bytes),
            age: self.age.max(other.age),
        }
    }
}

impl Sum for Lag {
    fn sum<I: Iterator<Item = Self>>(lags: I) -> Self {
        lags.fold(Self::default(), Add::add)
    }
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} records, {}, {} s behind",
            self.records,
            Bytes(self.bytes),
            self.age.as_secs()
        )
    }
}

/// Bytes as people read them.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut whole, mut rest, mut unit) = (self.0, 0, "bytes");
        for larger in ["KiB", "MiB", "GiB", "TiB"] {
            if whole < 1024 {
                break;
            }
            (rest, whole, unit) = (whole % 1024 * 10 / 1024, whole / 1024, larger);
        }
        match unit {
            "bytes" => write!(f, "{whole} bytes"),
            unit => write!(f, "{whole}.{rest} {unit}"),
        }
    }
}

/// How far a group is behind, partition by partition, from [`ConsumerGroup::lag`](crate::ConsumerGroup::lag). Displayed as the total.
///
/// ```
/// use brooklet::{Cluster, NewTopic, Record};
///
/// let cluster = Cluster::in_memory()?;
/// cluster.create_topic(NewTopic::new("email"))?;
/// cluster.producer().build()?.send(Record::to("email").value("welcome"))?.wait()?;
/// let group = cluster.consumer_group("mailer");
/// let mut consumer = group.join("email")?;
/// let lag = group.lag()?;
/// for (partition, lag) in &lag.partitions {
///     println!("{partition}: {} of {}", lag.lag.records, lag.end);
/// }
/// assert_eq!(lag.total().records, 1); // nothing is committed: all of it is to be read
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct GroupLag {
    /// Each partition that the group has committed offsets of, or that a member has.
    pub partitions: BTreeMap<TopicPartition, PartitionLag>,
}

/// How far a group is behind in one partition.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PartitionLag {
    /// What was committed, `None` if nothing was.
    pub committed: Option<NextOffset>,
    /// The end of the partition: its high watermark.
    pub end: Offset,
    /// How much there is between the two; all there is where nothing was committed.
    pub lag: Lag,
    /// The member that has the partition.
    pub member: Option<String>,
}

impl GroupLag {
    pub(super) fn of(
        core: &Arc<Running>,
        committed: &BTreeMap<TopicPartition, NextOffset>,
        assignment: &BTreeMap<TopicPartition, String>,
    ) -> Result<Self> {
        let mut partitions = BTreeMap::new();
        for at in committed.keys().chain(assignment.keys()).collect::<BTreeSet<_>>() {
            let topic = match core.topic(at.topic.as_str()) {
                Ok(topic) => Topic::new(Arc::clone(core), topic),
                // Deleted; what was committed for it is about to be forgotten.
                Err(crate::cluster::ClusterError::UnknownTopic(_)) => continue,
                Err(error) => return Err(error.into()),
            };
            let Ok(partition) = topic.partition(at.partition.into()) else { continue };
            let committed = committed.get(at).filter(|next| next.may_be_of(&topic)).cloned();
            let from = committed.as_ref().map(NextOffset::offset);
            let (end, lag) = behind(core, &partition, from)?;
            let member = assignment.get(at).cloned();
            partitions.insert(at.clone(), PartitionLag { committed, end, lag, member });
        }
        Ok(Self { partitions })
    }

    /// Of all partitions together.
    pub fn total(&self) -> Lag {
        self.partitions.values().map(|partition| partition.lag).sum()
    }
}

impl fmt::Display for GroupLag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.total().fmt(f)
    }
}

/// Where a partition ends, and what lies between `from`, or its beginning, and there.
fn behind(core: &Running, partition: &Partition, from: Option<Offset>) -> Result<(Offset, Lag)> {
    let leader = partition.leader()?;
    let end = leader.readable_end(IsolationLevel::ReadUncommitted);
    // Records that were deleted meanwhile are nobody's business any more.
    let from = from.map_or(leader.log().start(), |from| from.max(leader.log().start()));
    let records = end.distance_from(from).unwrap_or(0);
    if records == 0 {
        return Ok((end, Lag::default()));
    }
    let bytes = leader.log().bytes_from(from)?;
    let first = match partition.read(from, 1) {
        Ok(records) => records.iter().next().and_then(|record| record.timestamp()),
        // Whoever reads it will be told what is wrong.
        Err(error) if error.kind() == ErrorKind::CorruptMessage => None,
        Err(error) => return Err(error),
    };
    let now = core.runtime().wall_clock().as_millis();
    let age = first.map_or(0, |first| now.saturating_sub(first.as_millis()).max(0));
    let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
    Ok((end, Lag { records, bytes, age }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_the_unit_that_fits() {
        let shown =
            [0, 1023, 1024, 1536, 10 << 20, (3 << 40) + (1 << 39)].map(|b| Bytes(b).to_string());
        assert_eq!(shown, ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 KiB", "10.0 MiB", "3.5 TiB"]);
    }

    #[test]
    fn lags_add_up_but_for_their_age() {
        let lag =
            |records, age| Lag { records, bytes: records * 10, age: Duration::from_secs(age) };
        let total: Lag = [lag(1, 5), lag(2, 9), lag(4, 0)].into_iter().sum();
        assert_eq!(total, Lag { records: 7, bytes: 70, age: Duration::from_secs(9) });
    }
}
