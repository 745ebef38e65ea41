//! What clients did, in the order in which it was recorded.
//!
//! # Invariants
//! - Ticks count up from 1 over the whole history; each recorded event has one of its own, so `ended < invoked` says
//!   that one operation was over before another began.
//! - Operations are in the order of `invoked`.
//! - Names are numbered once, by [`Names`]: operations carry the small ids.

use std::collections::BTreeMap;
use std::fmt;

use crate::base::{Offset, TopicPartition};

/// A client's place in [`History::clients`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct ClientId(u32);

/// A partition's place in [`History::partitions`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct PartitionKey(u32);

/// A group's place in [`History::groups`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct GroupKey(u32);

/// One transaction of a history.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct TransactionId(pub(super) u32);

macro_rules! numbered {
    ($($id:ident)*) => {
        $(impl From<u32> for $id {
            fn from(number: u32) -> Self {
                Self(number)
            }
        }

        impl From<$id> for u32 {
            fn from(id: $id) -> u32 {
                id.0
            }
        })*
    };
}
numbered!(ClientId PartitionKey GroupKey);

/// Numbers things by their names.
#[derive(Clone, Debug)]
pub(super) struct Names<T, I> {
    all: Vec<T>,
    ids: BTreeMap<T, I>,
}

impl<T, I> Default for Names<T, I> {
    fn default() -> Self {
        Self { all: Vec::new(), ids: BTreeMap::new() }
    }
}

impl<T: Clone + Ord, I: Copy + From<u32> + Into<u32>> Names<T, I> {
    pub(super) fn id(&mut self, name: &T) -> I {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        // More than four thousand million names would not fit into memory.
        let id = I::from(u32::try_from(self.all.len()).unwrap_or(u32::MAX));
        self.all.push(name.clone());
        self.ids.insert(name.clone(), id);
        id
    }

    pub(super) fn name(&self, id: I) -> Option<&T> {
        self.all.get(usize::try_from(id.into()).ok()?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (I, &T)> {
        (0..).map(I::from).zip(&self.all)
    }
}

/// What a send puts into the log: a value that no other send of the history has, and perhaps a key.
///
/// ```
/// use brooklet::sim::history::{Message, Recorder};
///
/// let client = Recorder::new().client("writer");
/// client.send(1); // without a key
/// client.send(Message::new(2).key(7));
/// client.send(Message::new(3).key(7).tombstone()); // deletes key 7; the 3 travels in a header, say
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Message {
    pub(super) value: u64,
    pub(super) key: Option<u64>,
    pub(super) tombstone: bool,
}

impl Message {
    /// A message with this value, and without a key.
    pub fn new(value: u64) -> Self {
        Self { value, key: None, tombstone: false }
    }

    /// Gives it a key. The checker needs it for topics that are compacted.
    pub fn key(mut self, key: u64) -> Self {
        self.key = Some(key);
        self
    }

    /// Makes it a record without value, which deletes its key. Its unique value has to travel elsewhere.
    pub fn tombstone(mut self) -> Self {
        self.tombstone = true;
        self
    }
}

impl From<u64> for Message {
    fn from(value: u64) -> Self {
        Self::new(value)
    }
}

/// A record as a poll returned it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Polled {
    pub(super) partition: PartitionKey,
    pub(super) offset: Offset,
    pub(super) value: u64,
}

/// What a client asked for, with what it was told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum What {
    /// `place` is what an acknowledgement said.
    Send {
        message: Message,
        place: Option<(PartitionKey, Offset)>,
    },
    Poll {
        records: Vec<Polled>,
    },
    /// These and no others, each with its position as far as it is known.
    Assign {
        partitions: Vec<(PartitionKey, Option<Offset>)>,
    },
    /// These are added, in a generation of a group.
    Assigned {
        group: GroupKey,
        generation: u64,
        partitions: Vec<(PartitionKey, Option<Offset>)>,
    },
    /// These are taken away: until now they were the client's.
    Revoked {
        partitions: Vec<PartitionKey>,
    },
    /// These were taken away, nobody knows when.
    Lost {
        partitions: Vec<PartitionKey>,
    },
    Seek {
        partition: PartitionKey,
        to: Option<Offset>,
    },
    Commit {
        group: GroupKey,
        offsets: Vec<(PartitionKey, Offset)>,
    },
    Committed {
        group: GroupKey,
        partition: PartitionKey,
        offset: Option<Offset>,
    },
    /// `found` are the log start and the high watermark.
    Watermarks {
        partition: PartitionKey,
        found: Option<(Offset, Offset)>,
    },
    DeleteRecords {
        partition: PartitionKey,
        before: Offset,
    },
    EndTransaction {
        commit: bool,
    },
    Crash,
    /// The log ends at `end` now; what was there is gone.
    LostSuffix {
        partition: PartitionKey,
        end: Offset,
    },
    /// The partition was deleted; if there is one of its name, it is another.
    Deleted {
        partition: PartitionKey,
    },
    /// What the group committed before may be forgotten.
    LostCommits {
        group: GroupKey,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ending {
    Ok,
    /// It did not happen, and never will.
    Failed,
    Unknown,
}

#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) client: ClientId,
    pub(super) transaction: Option<TransactionId>,
    pub(super) invoked: u64,
    /// `None` if it never ended, which is as good as [`Ending::Unknown`].
    pub(super) ended: Option<(u64, Ending)>,
    pub(super) what: What,
}

impl Operation {
    pub(super) fn ending(&self) -> Ending {
        self.ended.map_or(Ending::Unknown, |(_, ending)| ending)
    }

    pub(super) fn is_ok(&self) -> bool {
        self.ending() == Ending::Ok
    }

    pub(super) fn is_failed(&self) -> bool {
        self.ending() == Ending::Failed
    }

    /// When it was certainly over and done: never, for one of unknown outcome.
    pub(super) fn done(&self) -> Option<u64> {
        self.ended.filter(|(_, ending)| *ending == Ending::Ok).map(|(tick, _)| tick)
    }
}

/// What clients did, as a [`Recorder`](super::Recorder) took it down. Prints one operation a line:
///
/// ```
/// use brooklet::sim::history::Recorder;
/// use brooklet::{Offset, PartitionId, TopicName, TopicPartition};
///
/// let email = TopicPartition::new(TopicName::new("email").unwrap(), PartitionId::ZERO);
/// let recorder = Recorder::new();
/// recorder.client("writer").send(7).ok(&email, Offset::ZERO);
/// assert_eq!(recorder.history().to_string(), "#1..2    writer: send 7 -> email-0@0\n");
/// ```
#[derive(Clone, Debug, Default)]
pub struct History {
    pub(super) clients: Names<Box<str>, ClientId>,
    /// When each client was first named: before this tick.
    pub(super) births: BTreeMap<ClientId, u64>,
    pub(super) partitions: Names<TopicPartition, PartitionKey>,
    pub(super) groups: Names<Box<str>, GroupKey>,
    pub(super) operations: Vec<Operation>,
    pub(super) transactions: u32,
    pub(super) ticks: u64,
}

impl History {
    /// Number of operations.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    pub(super) fn tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }

    pub(super) fn client(&self, id: ClientId) -> &str {
        self.clients.name(id).map_or("?", |name| name)
    }

    pub(super) fn group(&self, id: GroupKey) -> &str {
        self.groups.name(id).map_or("?", |name| name)
    }

    /// One operation as a line. Of a poll, only the records that are nearest to `near` are shown.
    pub(super) fn line<'h>(
        &'h self,
        operation: &'h Operation,
        near: Option<(PartitionKey, Offset)>,
    ) -> Line<'h> {
        Line { history: self, operation, near }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.operations
            .iter()
            .try_for_each(|operation| writeln!(f, "{}", self.line(operation, None)))
    }
}

/// Most records of a poll that a witness shows.
const SHOWN: usize = 6;

/// An operation, to be printed.
pub(super) struct Line<'h> {
    history: &'h History,
    operation: &'h Operation,
    near: Option<(PartitionKey, Offset)>,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Operation { client, transaction, invoked, ended, .. } = self.operation;
        let when = match ended {
            Some((tick, _)) if tick == invoked => format!("#{invoked}"),
            Some((tick, _)) => format!("#{invoked}..{tick}"),
            None => format!("#{invoked}.."),
        };
        write!(f, "{when:<8} {}: ", self.history.client(*client))?;
        if let Some(TransactionId(number)) = transaction {
            write!(f, "[transaction {number}] ")?;
        }
        self.what(f)?;
        match self.operation.ending() {
            Ending::Ok => Ok(()),
            Ending::Failed => f.write_str(" -> failed"),
            Ending::Unknown => f.write_str(" -> unknown"),
        }
    }
}

impl Line<'_> {
    fn what(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_ok = self.operation.is_ok();
        match &self.operation.what {
            What::Send { message, place } => {
                write!(f, "send {}", message.value)?;
                if let Some(key) = message.key {
                    write!(f, " key {key}{}", if message.tombstone { " tombstone" } else { "" })?;
                }
                match place {
                    Some((partition, offset)) => {
                        write!(f, " -> {}@{offset}", self.partition(*partition))
                    }
                    None if is_ok => f.write_str(" -> no offset"),
                    None => Ok(()),
                }
            }
            What::Poll { records } => self.poll(f, records),
            What::Assign { partitions } => {
                f.write_str("assign")?;
                self.positions(f, partitions)
            }
            What::Assigned { group, generation, partitions } => {
                let group = self.history.group(*group);
                write!(f, "assigned by {group}, generation {generation}:")?;
                self.positions(f, partitions)
            }
            What::Revoked { partitions } => {
                f.write_str("revoked")?;
                partitions.iter().try_for_each(|key| write!(f, " {}", self.partition(*key)))
            }
            What::Lost { partitions } => {
                f.write_str("lost")?;
                partitions.iter().try_for_each(|key| write!(f, " {}", self.partition(*key)))
            }
            What::Seek { partition, to: Some(to) } => {
                write!(f, "seek {}@{to}", self.partition(*partition))
            }
            What::Seek { partition, to: None } => write!(f, "seek {}", self.partition(*partition)),
            What::Commit { group, offsets } => {
                write!(f, "commit for {}", self.history.group(*group))?;
                let mut offsets = offsets.iter();
                offsets.try_for_each(|(key, at)| write!(f, " {}@{at}", self.partition(*key)))
            }
            What::Committed { group, partition, offset } => {
                let group = self.history.group(*group);
                write!(f, "committed by {group}? {}", self.partition(*partition))?;
                match offset {
                    Some(offset) => write!(f, "@{offset}"),
                    None if is_ok => f.write_str(": nothing"),
                    None => Ok(()),
                }
            }
            What::Watermarks { partition, found } => {
                write!(f, "watermarks of {}?", self.partition(*partition))?;
                found.map_or(Ok(()), |(low, high)| write!(f, " {low} to {high}"))
            }
            What::DeleteRecords { partition, before } => {
                write!(f, "delete records before {}@{before}", self.partition(*partition))
            }
            What::EndTransaction { commit: true } => f.write_str("commit"),
            What::EndTransaction { commit: false } => f.write_str("abort"),
            What::Crash => f.write_str("crash"),
            What::LostSuffix { partition, end } => {
                write!(f, "{} lost its suffix, ends at {end}", self.partition(*partition))
            }
            What::Deleted { partition } => write!(f, "{} deleted", self.partition(*partition)),
            What::LostCommits { group } => {
                write!(f, "commits of {} may be lost", self.history.group(*group))
            }
        }
    }

    fn poll(&self, f: &mut fmt::Formatter<'_>, records: &[Polled]) -> fmt::Result {
        let mut shown = (0..records.len()).zip(records).collect::<Vec<_>>();
        if let Some((partition, near)) = self.near {
            shown.retain(|(_, record)| record.partition == partition);
            shown.sort_by_key(|(_, record)| record.offset.value().abs_diff(near.value()));
            shown.truncate(SHOWN);
            shown.sort_unstable_by_key(|(place, _)| *place);
        }
        f.write_str(if self.operation.is_ok() { "poll ->" } else { "poll" })?;
        let mut next = 0;
        for (place, record) in shown {
            let gap = if place > next { " …" } else { "" };
            let partition = self.partition(record.partition);
            write!(f, "{gap} {partition}@{}={}", record.offset, record.value)?;
            next = place + 1;
        }
        match records.len() {
            0 if self.operation.is_ok() => f.write_str(" nothing"),
            length if next < length => f.write_str(" …"),
            _ => Ok(()),
        }
    }

    fn positions(
        &self,
        f: &mut fmt::Formatter<'_>,
        partitions: &[(PartitionKey, Option<Offset>)],
    ) -> fmt::Result {
        partitions.iter().try_for_each(|(partition, position)| {
            write!(f, " {}", self.partition(*partition))?;
            position.map_or(Ok(()), |position| write!(f, "@{position}"))
        })
    }

    fn partition(&self, key: PartitionKey) -> &dyn fmt::Display {
        self.history.partitions.name(key).map_or(&"?", |partition| partition)
    }
}
