//! What should have been read, and was not.

use std::collections::BTreeSet;

use crate::base::Offset;

use super::super::operation::Operation;
use super::logs::{Log, Logs, Slot};
use super::polls::Passed;
use super::writes::Writes;
use super::{AnomalyKind, Findings, Witness};

pub(super) fn check<'h>(
    findings: &mut Findings<'h>,
    writes: &Writes<'h>,
    logs: &Logs<'h>,
    passed: &Passed<'h>,
) {
    check_passed(findings, writes, logs, passed);
    for log in logs.iter() {
        check_cuts(findings, log);
        check_unseen(findings, writes, log, passed);
    }
}

/// What somebody went past, and nobody ever read.
fn check_passed<'h>(
    findings: &mut Findings<'h>,
    writes: &Writes<'h>,
    logs: &Logs<'h>,
    passed: &Passed<'h>,
) {
    let mut torn = BTreeSet::new();
    for (&(partition, place), &poll) in &passed.lost {
        let Some(log) = logs.get(partition) else { continue };
        let Some(slot) = log.slot(place) else { continue };
        let write = writes.by_value.get(&slot.value).map(|write| write.operation);
        let seen = write.and_then(|write| writes.transaction(write)?.seen);
        let id = write.and_then(|write| write.transaction).filter(|_| seen.is_some());
        if id.is_some_and(|id| !torn.insert(id)) {
            continue;
        }
        let kind = if id.is_some() { AnomalyKind::TornTransaction } else { AnomalyKind::LostWrite };
        let value = slot.value;
        let message = |history: &super::History| {
            let place = history.place(partition, slot.offset);
            match id {
                Some(id) => format!("transaction {} was seen, but not its {place}, {value}", id.0),
                None => format!("{place}, {value}, was acknowledged, read past, and never read"),
            }
        };
        let operations = slot.acknowledged.into_iter().chain(seen).chain([poll]);
        findings.found(kind, message, &near(log, slot, operations));
    }
}

/// What a crash took, though it must not take anything.
fn check_cuts<'h>(findings: &mut Findings<'h>, log: &Log<'h>) {
    if findings.rules.is_lossy(findings.topic(log.partition)) {
        return;
    }
    for slot in &log.slots {
        let Some(cut) = slot.death.and_then(|cut| log.cuts.get(cut)) else { continue };
        let Some(seen) = slot.acknowledged.or(slot.read).filter(|_| !cut.deleted) else { continue };
        let message = |history: &super::History| {
            let place = history.place(log.partition, slot.offset);
            format!("{place}, {}, was acknowledged or read, and lost in a crash", slot.value)
        };
        let witness = near(log, slot, [seen, cut.operation]);
        findings.found(AnomalyKind::LostWrite, message, &witness);
    }
}

/// What was there at last, and nobody ever read.
fn check_unseen<'h>(
    findings: &mut Findings<'h>,
    writes: &Writes<'h>,
    log: &Log<'h>,
    passed: &Passed<'h>,
) {
    let last = log.era_at(u64::MAX);
    let start = log.start(last).unwrap_or(Offset::ZERO);
    let left = log.view(last, true).map(|view| view.must(start, Offset::MAX));
    for (_, place) in left.unwrap_or_default() {
        let Some(slot) = log.slot(*place) else { continue };
        let is_read = writes.by_value.get(&slot.value).is_none_or(|write| write.read.is_some());
        let Some(acknowledged) = slot.acknowledged.filter(|_| !is_read) else { continue };
        if passed.lost.contains_key(&(log.partition, *place)) {
            continue;
        }
        if !findings.rules.all_read {
            findings.allowed(AnomalyKind::Unseen);
            continue;
        }
        let message = |history: &super::History| {
            let place = history.place(log.partition, slot.offset);
            format!("{place}, {}, was acknowledged, and never read", slot.value)
        };
        findings.found(AnomalyKind::Unseen, message, &near(log, slot, [acknowledged]));
    }
}

fn near<'h>(
    log: &Log<'h>,
    slot: &Slot<'h>,
    operations: impl IntoIterator<Item = &'h Operation>,
) -> Vec<Witness<'h>> {
    let operations = operations.into_iter();
    operations.map(|operation| (operation, Some((log.partition, slot.offset)))).collect()
}
