//! The search for anomalies.
//!
//! # Steps
//! 1. [`writes`]: what was sent, what became of each transaction, who read what first.
//! 2. [`logs`]: what each partition held, by all offsets that were acknowledged or polled.
//! 3. One file for each family of anomalies: [`sends`], [`reads`], [`polls`], [`losses`], [`ends`], [`cycles`],
//!    [`groups`], [`owners`].
//!
//! Each step is linear in the history, but for sorting. Nothing is searched for twice: what several families could
//! report is reported by the one that explains it best.

mod cycles;
mod ends;
mod groups;
mod logs;
mod losses;
mod owners;
mod polls;
mod reads;
mod sends;
mod writes;

use crate::base::Offset;

use super::operation::{History, Operation, PartitionKey};
use super::{Anomaly, AnomalyKind, Report, Rules};

use logs::Logs;
use writes::Writes;

/// Looks for everything that could not have happened in a correct log: see [`AnomalyKind`].
///
/// ```
/// use brooklet::sim::history::{Recorder, Rules, check};
/// use brooklet::{Offset, PartitionId, TopicName, TopicPartition};
///
/// let email = TopicPartition::new(TopicName::new("email").unwrap(), PartitionId::ZERO);
/// let recorder = Recorder::new();
/// recorder.client("writer").send(7).ok(&email, Offset::ZERO);
/// recorder.client("reader").poll().ok([(&email, Offset::ZERO, 7)]);
///
/// let report = check(&recorder.history(), &Rules::new().all_read(true));
/// assert!(report.is_ok(), "{report}");
/// ```
#[must_use = "whether anything was found is only in the report"]
pub fn check(history: &History, rules: &Rules) -> Report {
    let mut findings = Findings::new(history, rules);
    let writes = Writes::of(&mut findings);
    let logs = Logs::of(&mut findings, &writes);
    sends::check(&mut findings, &logs);
    let circles = cycles::check(&mut findings, &writes, &logs);
    reads::check(&mut findings, &writes, &circles);
    reads::check_duplicates(&mut findings, &writes, &logs);
    let passed = polls::check(&mut findings, &logs, &writes);
    losses::check(&mut findings, &writes, &logs, &passed);
    ends::check(&mut findings, &writes, &logs, &passed);
    owners::check(&mut findings);
    groups::check_offsets(&mut findings, &writes);
    groups::check_deliveries(&mut findings, &writes, &logs);
    findings.report
}

/// An operation as a witness, and what matters of it.
type Witness<'h> = (&'h Operation, Option<(PartitionKey, Offset)>);

/// What is judged, by what, and what was found so far.
struct Findings<'h> {
    history: &'h History,
    rules: &'h Rules,
    report: Report,
}

impl<'h> Findings<'h> {
    fn new(history: &'h History, rules: &'h Rules) -> Self {
        Self { history, rules, report: Report::new(history) }
    }

    /// Reports an anomaly, with the operations that show it.
    fn found(
        &mut self,
        kind: AnomalyKind,
        message: impl FnOnce(&History) -> String,
        witness: &[Witness<'h>],
    ) {
        if self.report.forbid(kind) {
            let mut witness = witness.to_vec();
            witness.sort_by_key(|(operation, _)| operation.invoked);
            witness.dedup_by_key(|(operation, _)| operation.invoked);
            let lines = witness
                .iter()
                .map(|(operation, near)| self.history.line(operation, *near).to_string());
            self.report.tell(Anomaly::new(kind, message(self.history), lines.collect()));
        }
    }

    fn allowed(&mut self, kind: AnomalyKind) {
        self.report.allow(kind);
    }

    /// Whether the client of `operation` reads at `read_committed`.
    fn reads_committed(&self, operation: &Operation) -> bool {
        self.rules.reads_committed(self.history.client(operation.client))
    }

    fn topic(&self, partition: PartitionKey) -> &'h str {
        self.history.partitions.name(partition).map_or("", |name| name.topic.as_str())
    }
}

impl History {
    /// `email-0@17`.
    fn place(&self, partition: PartitionKey, offset: Offset) -> String {
        match self.partitions.name(partition) {
            Some(partition) => format!("{partition}@{offset}"),
            None => format!("?@{offset}"),
        }
    }
}
