//! What a check has found.

use std::collections::BTreeMap;
use std::fmt;

use super::operation::{History, What};

/// Anomalies of one kind that are told in full; more are only counted.
const TOLD: u64 = 10;

/// What can be wrong with a history. Most names are those of Jepsen's Kafka workload.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum AnomalyKind {
    /// The history itself is wrong: a value was sent twice. Nothing else that is found can be relied upon.
    InvalidHistory,
    /// Two values were seen at one offset.
    InconsistentOffsets,
    /// A value was read that nobody had sent by then.
    Invented,
    /// An acknowledged value, or one that had been seen, was read past and never read; or a crash took it that must
    /// not take anything.
    LostWrite,
    /// A part of a transaction took effect, and another did not: a value that was read past, or committed offsets.
    TornTransaction,
    /// An acknowledged value was never read, although everything was read at last. Only counted unless
    /// [`Rules::all_read`](super::Rules::all_read) says so.
    Unseen,
    /// One value at two offsets. Only counted if its producer is not idempotent.
    Duplicate,
    /// What a definitely failed send, or an aborted transaction, wrote was read (Adya's G1a).
    AbortedRead,
    /// What a transaction wrote was read before it was asked to commit, perhaps by itself.
    PrecommittedRead,
    /// A consumer went past a value without a seek or another assignment, between two polls.
    PollSkip,
    /// As [`PollSkip`](Self::PollSkip), inside one poll.
    IntPollSkip,
    /// A consumer went back between two polls without a seek or another assignment.
    NonmonotonicPoll,
    /// As [`NonmonotonicPoll`](Self::NonmonotonicPoll), inside one poll.
    IntNonmonotonicPoll,
    /// A client's later send got a lower offset.
    NonmonotonicSend,
    /// As [`NonmonotonicSend`](Self::NonmonotonicSend), inside one transaction.
    IntNonmonotonicSend,
    /// Transactions that read from each other in a circle (Adya's G1c, with write-read edges alone).
    CircularRead,
    /// A group's committed offset went back, or was never committed.
    CommittedOffset,
    /// A group committed past a record that none of its members had been given.
    CommitSkip,
    /// A partition had two owners in one generation of a group, or at one time, or was read by who did not own it.
    Ownership,
    /// What lies below the log start came back, or the log start itself did.
    LogStart,
    /// What compaction had removed came back.
    Resurrected,
    /// The high watermark was below what the same client had seen before.
    HighWatermark,
    /// Allowed: others wrote between the writes of a transaction.
    IntSendSkip,
    /// Allowed: transactions that wrote between each other's writes in a circle (Adya's G0).
    DirtyWrite,
    /// Allowed: the first poll after a rebalance did not go on where the client had been, but further on.
    RebalanceSkip,
    /// Allowed: the first poll after a rebalance went back.
    RebalanceRewind,
}

/// The name that Jepsen has for it, where it has one.
impl fmt::Display for AnomalyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidHistory => "invalid-history",
            Self::InconsistentOffsets => "inconsistent-offsets",
            Self::Invented => "invented",
            Self::LostWrite => "lost-write",
            Self::TornTransaction => "torn-transaction",
            Self::Unseen => "unseen",
            Self::Duplicate => "duplicate",
            Self::AbortedRead => "aborted-read",
            Self::PrecommittedRead => "precommitted-read",
            Self::PollSkip => "poll-skip",
            Self::IntPollSkip => "int-poll-skip",
            Self::NonmonotonicPoll => "nonmonotonic-poll",
            Self::IntNonmonotonicPoll => "int-nonmonotonic-poll",
            Self::NonmonotonicSend => "nonmonotonic-send",
            Self::IntNonmonotonicSend => "int-nonmonotonic-send",
            Self::CircularRead => "G1c",
            Self::CommittedOffset => "committed-offset",
            Self::CommitSkip => "commit-skip",
            Self::Ownership => "ownership",
            Self::LogStart => "log-start",
            Self::Resurrected => "resurrected",
            Self::HighWatermark => "high-watermark",
            Self::IntSendSkip => "int-send-skip",
            Self::DirtyWrite => "G0",
            Self::RebalanceSkip => "rebalance-skip",
            Self::RebalanceRewind => "rebalance-rewind",
        })
    }
}

/// Something that cannot have happened in a correct log, and the operations that prove that it has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Anomaly {
    kind: AnomalyKind,
    message: String,
    witness: Vec<String>,
}

impl Anomaly {
    pub(super) fn new(kind: AnomalyKind, message: String, witness: Vec<String>) -> Self {
        Self { kind, message, witness }
    }

    /// What it is.
    pub fn kind(&self) -> AnomalyKind {
        self.kind
    }

    /// What is wrong, in a line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The operations that show it, a line each.
    pub fn witness(&self) -> &[String] {
        &self.witness
    }
}

/// The message, and a line for each operation that shows it.
impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)?;
        self.witness.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// What a check has found. Prints as a text that a failing test can show:
///
/// ```
/// use brooklet::sim::history::{AnomalyKind, Recorder, Rules, check};
/// use brooklet::{Offset, PartitionId, TopicName, TopicPartition};
///
/// let email = TopicPartition::new(TopicName::new("email").unwrap(), PartitionId::ZERO);
/// let recorder = Recorder::new();
/// let writer = recorder.client("writer");
/// writer.send(7).ok(&email, Offset::ZERO);
/// writer.send(8).ok(&email, Offset::ZERO);
///
/// let report = check(&recorder.history(), &Rules::new());
/// assert_eq!(report.count(AnomalyKind::InconsistentOffsets), 1);
/// assert_eq!(report.count(AnomalyKind::Unseen), 1); // only counted
/// assert_eq!(
///     report.to_string(),
///     "1 anomaly in 2 operations (2 sends acknowledged, 0 records polled)\n\
///      inconsistent-offsets: email-0@0 is 7 and 8\n    \
///          #1..2    writer: send 7 -> email-0@0\n    \
///          #3..4    writer: send 8 -> email-0@0\n\
///      allowed: unseen 1\n"
/// );
/// ```
#[derive(Clone, Debug, Default)]
pub struct Report {
    operations: usize,
    acknowledged: usize,
    polled: usize,
    anomalies: Vec<Anomaly>,
    forbidden: BTreeMap<AnomalyKind, u64>,
    allowed: BTreeMap<AnomalyKind, u64>,
}

impl Report {
    pub(super) fn new(history: &History) -> Self {
        let mut report = Self { operations: history.len(), ..Self::default() };
        for operation in &history.operations {
            match &operation.what {
                What::Send { place: Some(_), .. } => report.acknowledged += 1,
                What::Poll { records } => report.polled += records.len(),
                _ => {}
            }
        }
        report
    }

    /// Counts something that may be.
    pub(super) fn allow(&mut self, kind: AnomalyKind) {
        *self.allowed.entry(kind).or_default() += 1;
    }

    /// Counts something that must not be. `false` if so many of its kind were told that this one need not be.
    pub(super) fn forbid(&mut self, kind: AnomalyKind) -> bool {
        let count = self.forbidden.entry(kind).or_default();
        *count += 1;
        *count <= TOLD
    }

    pub(super) fn tell(&mut self, anomaly: Anomaly) {
        self.anomalies.push(anomaly);
    }

    /// Whether there is no anomaly.
    pub fn is_ok(&self) -> bool {
        self.forbidden.is_empty()
    }

    /// Number of sends that were acknowledged with an offset: a history without any proves little.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    /// Number of records that polls returned.
    pub fn polled(&self) -> usize {
        self.polled
    }

    /// The anomalies, at most ten of each kind.
    pub fn anomalies(&self) -> &[Anomaly] {
        &self.anomalies
    }

    /// How often something was found, be it an anomaly or allowed.
    pub fn count(&self, kind: AnomalyKind) -> u64 {
        [&self.forbidden, &self.allowed].iter().filter_map(|counts| counts.get(&kind)).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.forbidden.values().sum::<u64>();
        let plural = if total == 1 { "anomaly" } else { "anomalies" };
        let Self { operations, acknowledged, polled, .. } = self;
        writeln!(
            f,
            "{total} {plural} in {operations} operations ({acknowledged} sends acknowledged, {polled} records polled)"
        )?;
        self.anomalies.iter().try_for_each(|anomaly| writeln!(f, "{anomaly}"))?;
        for (kind, count) in self.forbidden.iter().filter(|(_, count)| **count > TOLD) {
            writeln!(f, "{kind}: {} more", count - TOLD)?;
        }
        self.allowed.iter().try_for_each(|(kind, count)| writeln!(f, "allowed: {kind} {count}"))
    }
}
