//! What was sent, what became of each transaction, and who read what first.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use crate::base::Offset;

use super::super::operation::{GroupKey, Message, Operation, PartitionKey, TransactionId, What};
use super::{AnomalyKind, Findings};

/// A send.
pub(super) struct Write<'h> {
    pub(super) operation: &'h Operation,
    pub(super) message: Message,
    /// Where an acknowledgement says it is; `None` also if that does not say much.
    pub(super) acknowledged: Option<(PartitionKey, Offset)>,
    /// The first poll that returned it.
    pub(super) read: Option<&'h Operation>,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// Its end was not asked for yet.
    Open,
    Aborted,
    /// Nobody knows whether its commit took effect, and nothing of it was seen.
    Undecided,
    /// It certainly was at this tick.
    Committed {
        by: u64,
    },
}

pub(super) struct Transaction<'h> {
    /// Values that it sent.
    pub(super) values: Vec<u64>,
    /// Its end, once that was asked for.
    pub(super) end: Option<&'h Operation>,
    /// The first operation that saw an effect of it, and that could not have if it had been aborted.
    pub(super) seen: Option<&'h Operation>,
}

impl Transaction<'_> {
    pub(super) fn fate(&self) -> Fate {
        let Some(end) = self.end else { return Fate::Open };
        if end.what == (What::EndTransaction { commit: false }) || end.is_failed() {
            return Fate::Aborted;
        }
        let seen = self.seen.and_then(Operation::done);
        match end.done().into_iter().chain(seen).min() {
            Some(by) => Fate::Committed { by },
            None => Fate::Undecided,
        }
    }

    /// When it was asked to commit, if it was.
    pub(super) fn commit_invoked(&self) -> Option<u64> {
        let end = self.end.filter(|end| end.what == (What::EndTransaction { commit: true }))?;
        Some(end.invoked)
    }
}

/// Offsets that were committed for a partition, and by what.
type Commits<'h> = BTreeMap<(GroupKey, PartitionKey, Offset), Vec<&'h Operation>>;

pub(super) struct Writes<'h> {
    pub(super) by_value: FxHashMap<u64, Write<'h>>,
    pub(super) transactions: BTreeMap<TransactionId, Transaction<'h>>,
    /// Only those that may have taken effect.
    pub(super) commits: Commits<'h>,
}

impl<'h> Writes<'h> {
    pub(super) fn of(findings: &mut Findings<'h>) -> Self {
        let mut writes = Self {
            by_value: FxHashMap::default(),
            transactions: BTreeMap::new(),
            commits: BTreeMap::new(),
        };
        for operation in &findings.history.operations {
            writes.add(findings, operation);
        }
        writes.find_reads(findings);
        writes.find_offsets_seen(findings);
        writes
    }

    fn add(&mut self, findings: &mut Findings<'h>, operation: &'h Operation) {
        let transaction = operation.transaction.map(|id| {
            let new = || Transaction { values: Vec::new(), end: None, seen: None };
            self.transactions.entry(id).or_insert_with(new)
        });
        match &operation.what {
            What::Send { message, place } => {
                if let Some(transaction) = transaction {
                    transaction.values.push(message.value);
                }
                let client = findings.history.client(operation.client);
                let is_weak = findings.rules.has_weak_acks(client);
                let acknowledged = place.filter(|_| operation.is_ok() && !is_weak);
                let write = Write { operation, message: *message, acknowledged, read: None };
                if let Some(earlier) = self.by_value.insert(message.value, write) {
                    let message = |_: &_| format!("{} was sent twice", message.value);
                    let witness = [(earlier.operation, None), (operation, None)];
                    findings.found(AnomalyKind::InvalidHistory, message, &witness);
                }
            }
            What::EndTransaction { .. } => {
                if let Some(transaction) = transaction {
                    transaction.end = Some(operation);
                }
            }
            What::Commit { group, offsets } if !operation.is_failed() => {
                for (partition, offset) in offsets {
                    let of_offset = self.commits.entry((*group, *partition, *offset)).or_default();
                    of_offset.push(operation);
                }
            }
            _ => {}
        }
    }

    pub(super) fn transaction(&self, of: &Operation) -> Option<&Transaction<'h>> {
        self.transactions.get(&of.transaction?)
    }

    /// `None` for what no transaction wrote.
    pub(super) fn fate(&self, of: &Operation) -> Option<Fate> {
        self.transaction(of).map(Transaction::fate)
    }

    /// Notes who read each value first, and what was seen of each transaction.
    fn find_reads(&mut self, findings: &Findings<'h>) {
        for poll in &findings.history.operations {
            let What::Poll { records } = &poll.what else { continue };
            let committed = findings.reads_committed(poll);
            for record in records {
                let Some(write) = self.by_value.get_mut(&record.value) else { continue };
                write.read.get_or_insert(poll);
                let id = write.operation.transaction.filter(|_| committed);
                if let Some(transaction) = id.and_then(|id| self.transactions.get_mut(&id)) {
                    transaction.see(poll);
                }
            }
        }
    }

    /// An offset that only one transaction can have committed is as good as a value of it.
    fn find_offsets_seen(&mut self, findings: &Findings<'h>) {
        for query in &findings.history.operations {
            let What::Committed { group, partition, offset: Some(offset) } = query.what else {
                continue;
            };
            let Some(commits) = self.commits.get(&(group, partition, offset)) else { continue };
            let by = commits.iter().map(|commit| commit.transaction).collect::<BTreeSet<_>>();
            if let (1, Some(Some(id))) = (by.len(), by.first())
                && let Some(transaction) = self.transactions.get_mut(id)
            {
                transaction.see(query);
            }
        }
    }
}

impl<'h> Transaction<'h> {
    /// What was seen before the commit was asked for proves nothing but an early read.
    fn see(&mut self, operation: &'h Operation) {
        let (Some(seen), Some(asked)) = (operation.done(), self.commit_invoked()) else { return };
        let earlier = self.seen.and_then(Operation::done);
        if seen > asked && earlier.is_none_or(|earlier| seen < earlier) {
            self.seen = Some(operation);
        }
    }
}
