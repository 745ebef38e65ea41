//! Log starts and high watermarks, which never go back.

use std::collections::BTreeMap;

use crate::base::Offset;

use super::super::operation::{ClientId, Operation, PartitionKey, What};
use super::logs::Logs;
use super::polls::Passed;
use super::writes::Writes;
use super::{AnomalyKind, Findings};

/// The highest of what was known before a tick, and by whom.
pub(super) struct Known<'h, T> {
    points: Vec<(u64, T, &'h Operation)>,
}

impl<T> Default for Known<'_, T> {
    fn default() -> Self {
        Self { points: Vec::new() }
    }
}

impl<'h, T: Copy + Ord> Known<'h, T> {
    pub(super) fn add(&mut self, tick: u64, value: T, operation: &'h Operation) {
        self.points.push((tick, value, operation));
    }

    /// Has to come between the last addition and the first question.
    pub(super) fn sort(&mut self) {
        self.points.sort_by_key(|(tick, value, _)| (*tick, *value));
        let mut highest: Option<(T, &'h Operation)> = None;
        for (_, value, operation) in &mut self.points {
            let best = highest.filter(|(best, _)| best >= value).unwrap_or((*value, operation));
            (*value, *operation) = best;
            highest = Some(best);
        }
    }

    /// The earliest of all.
    pub(super) fn first(&self) -> Option<(u64, &'h Operation)> {
        self.points.first().map(|(tick, _, operation)| (*tick, *operation))
    }

    pub(super) fn before(&self, tick: u64) -> Option<(T, &'h Operation)> {
        let count = self.points.partition_point(|(at, ..)| *at < tick);
        let (_, value, operation) = self.points.get(count.checked_sub(1)?)?;
        Some((*value, operation))
    }
}

/// A partition between two deletions of its topic.
type Life = (PartitionKey, usize);

pub(super) fn check<'h>(
    findings: &mut Findings<'h>,
    writes: &Writes<'h>,
    logs: &Logs<'h>,
    passed: &Passed<'h>,
) {
    check_starts(findings, logs, passed);
    check_high_watermarks(findings, writes, logs);
}

fn life(logs: &Logs<'_>, partition: PartitionKey, operation: &Operation) -> Option<Life> {
    let log = logs.get(partition)?;
    let cuts = log.cuts.iter().take(log.era(operation)?);
    Some((partition, cuts.filter(|cut| cut.deleted).count()))
}

/// What is below the log start once stays gone for everybody who begins to read after that is known.
fn check_starts<'h>(findings: &mut Findings<'h>, logs: &Logs<'h>, passed: &Passed<'h>) {
    let mut starts = BTreeMap::<Life, Known<'h, Offset>>::new();
    let mut add = |partition: PartitionKey, start: Offset, operation: &'h Operation| {
        let known = life(logs, partition, operation).zip(operation.done());
        if let Some((life, done)) = known {
            starts.entry(life).or_default().add(done, start, operation);
        }
    };
    for operation in &findings.history.operations {
        match operation.what {
            What::Watermarks { partition, found: Some((low, _)) } => add(partition, low, operation),
            What::DeleteRecords { partition, before } => add(partition, before, operation),
            _ => {}
        }
    }
    for (partition, start, poll) in &passed.deleted {
        add(*partition, *start, poll);
    }
    starts.values_mut().for_each(Known::sort);

    let known = |partition: PartitionKey, operation: &Operation, tick: u64| {
        starts.get(&life(logs, partition, operation)?)?.before(tick)
    };
    for operation in &findings.history.operations {
        let What::Watermarks { partition, found: Some((low, _)) } = operation.what else {
            continue;
        };
        let higher = known(partition, operation, operation.invoked);
        if let Some((start, earlier)) = higher.filter(|(start, _)| *start > low) {
            let message = |history: &super::History| {
                let place = history.place(partition, low);
                format!("the log start is {place}, and was {start}")
            };
            let witness = [(earlier, Some((partition, start))), (operation, None)];
            findings.found(AnomalyKind::LogStart, message, &witness);
        }
    }
    for begun in &passed.begun {
        let higher = known(begun.partition, begun.poll, begun.since);
        if let Some((start, earlier)) = higher.filter(|(start, _)| *start > begun.offset) {
            let message = |history: &super::History| {
                let place = history.place(begun.partition, begun.offset);
                format!("{place} was read, though the log had started at {start} before")
            };
            let near = |offset| Some((begun.partition, offset));
            let witness = [(earlier, near(start)), (begun.poll, near(begun.offset))];
            findings.found(AnomalyKind::LogStart, message, &witness);
        }
    }
}

/// A client never hears of a high watermark below what it has seen.
fn check_high_watermarks<'h>(findings: &mut Findings<'h>, writes: &Writes<'h>, logs: &Logs<'h>) {
    let mut ends = BTreeMap::<(ClientId, PartitionKey, usize), Known<'h, Offset>>::new();
    let era = |partition: PartitionKey, operation: &Operation| logs.get(partition)?.era(operation);
    let mut add = |partition: PartitionKey, end: Offset, operation: &'h Operation| {
        if let Some((era, done)) = era(partition, operation).zip(operation.done()) {
            let of_client = ends.entry((operation.client, partition, era)).or_default();
            of_client.add(done, end, operation);
        }
    };
    for operation in &findings.history.operations {
        match &operation.what {
            What::Watermarks { partition, found: Some((_, high)) } => {
                add(*partition, *high, operation);
            }
            What::Send { message, .. } => {
                let write = writes.by_value.get(&message.value);
                if let Some((partition, offset)) = write.and_then(|write| write.acknowledged) {
                    add(partition, offset.next(), operation);
                }
            }
            What::Poll { records } => {
                for same in records.chunk_by(|a, b| a.partition == b.partition) {
                    if let Some(last) = same.iter().max_by_key(|record| record.offset) {
                        add(last.partition, last.offset.next(), operation);
                    }
                }
            }
            _ => {}
        }
    }
    ends.values_mut().for_each(Known::sort);
    for operation in &findings.history.operations {
        let What::Watermarks { partition, found: Some((_, high)) } = operation.what else {
            continue;
        };
        let key = era(partition, operation).map(|era| (operation.client, partition, era));
        let seen = key.and_then(|key| ends.get(&key)?.before(operation.invoked));
        if let Some((end, earlier)) = seen.filter(|(end, _)| *end > high) {
            let client = findings.history.client(operation.client);
            let message = |history: &super::History| {
                let place = history.place(partition, high);
                format!("{client} heard of the high watermark {place}, and had seen {end}")
            };
            let witness = [(earlier, Some((partition, end))), (operation, None)];
            findings.found(AnomalyKind::HighWatermark, message, &witness);
        }
    }
}
