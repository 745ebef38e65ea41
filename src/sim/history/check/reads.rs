//! Values that must not have been read, and values that are there twice.

use rustc_hash::{FxHashMap, FxHashSet};

use super::super::operation::{Operation, Polled, What};
use super::cycles::Circles;
use super::logs::{Log, Logs, Slot};
use super::writes::{Fate, Write, Writes};
use super::{AnomalyKind, Findings};

/// Looks at each value that a poll returned, and reports each value once.
pub(super) fn check<'h>(findings: &mut Findings<'h>, writes: &Writes<'h>, circles: &Circles) {
    let mut told = FxHashSet::default();
    for poll in &findings.history.operations {
        let What::Poll { records } = &poll.what else { continue };
        let committed = findings.reads_committed(poll);
        for record in records {
            let write = writes.by_value.get(&record.value);
            let Some((kind, why)) = judge(poll, write, writes, committed, circles) else {
                continue;
            };
            if told.insert((kind, record.value)) {
                report(findings, writes, poll, record, kind, why);
            }
        }
    }
}

fn report<'h>(
    findings: &mut Findings<'h>,
    writes: &Writes<'h>,
    poll: &'h Operation,
    record: &Polled,
    kind: AnomalyKind,
    why: &str,
) {
    let place = Some((record.partition, record.offset));
    let write = writes.by_value.get(&record.value).map(|write| write.operation);
    let end = write.and_then(|write| writes.transaction(write)?.end);
    let witness = write.into_iter().chain(end).chain([poll]);
    let witness = witness.map(|operation| (operation, place)).collect::<Vec<_>>();
    let message = |history: &super::History| {
        let place = history.place(record.partition, record.offset);
        format!("{place} was read as {}, {why}", record.value)
    };
    findings.found(kind, message, &witness);
}

fn judge(
    poll: &Operation,
    write: Option<&Write<'_>>,
    writes: &Writes<'_>,
    committed: bool,
    circles: &Circles,
) -> Option<(AnomalyKind, &'static str)> {
    let Some(write) = write else {
        return Some((AnomalyKind::Invented, "which nobody has sent"));
    };
    let polled = poll.done()?;
    if write.operation.invoked > polled {
        return Some((AnomalyKind::Invented, "before it was sent"));
    }
    if write.operation.is_failed() {
        return Some((AnomalyKind::AbortedRead, "whose send has definitely failed"));
    }
    let transaction = writes.transaction(write.operation).filter(|_| committed)?;
    if transaction.fate() == Fate::Aborted {
        return Some((AnomalyKind::AbortedRead, "whose transaction was aborted"));
    }
    // A circle of reads cannot be without an early one, and says more.
    let circle = |operation: &Operation| circles.get(&operation.transaction?);
    if circle(poll).is_some() && circle(poll) == circle(write.operation) {
        return None;
    }
    let is_early = transaction.commit_invoked().is_none_or(|asked| asked > polled);
    is_early.then_some((AnomalyKind::PrecommittedRead, "before its transaction was committed"))
}

/// No value may be at two offsets, if its producer is idempotent.
pub(super) fn check_duplicates<'h>(
    findings: &mut Findings<'h>,
    writes: &Writes<'h>,
    logs: &Logs<'h>,
) {
    let mut places = FxHashMap::<u64, (&Log<'h>, &Slot<'h>)>::default();
    let mut told = FxHashSet::default();
    for log in logs.iter() {
        for slot in &log.slots {
            let Some(&(first_log, first)) = places.get(&slot.value) else {
                places.insert(slot.value, (log, slot));
                continue;
            };
            let ((from, until), (since, to)) = (first_log.life(first), log.life(slot));
            if until <= since {
                // The first was lost before, so it may have been sent again.
                places.insert(slot.value, (log, slot));
                continue;
            }
            if to <= from || !told.insert(slot.value) {
                continue;
            }
            let client = writes.by_value.get(&slot.value).map(|write| write.operation.client);
            let client = client.map_or("", |client| findings.history.client(client));
            if !findings.rules.is_idempotent(client) {
                findings.allowed(AnomalyKind::Duplicate);
                continue;
            }
            let sights = [(first_log, first), (log, slot)].map(|(log, slot)| {
                let seen = slot.read.or(slot.acknowledged);
                seen.map(|operation| (operation, Some((log.partition, slot.offset))))
            });
            let message = |history: &super::History| {
                let first = history.place(first_log.partition, first.offset);
                let second = history.place(log.partition, slot.offset);
                format!("{} is at {first} and at {second}", slot.value)
            };
            let witness = sights.into_iter().flatten().collect::<Vec<_>>();
            findings.found(AnomalyKind::Duplicate, message, &witness);
        }
    }
}
