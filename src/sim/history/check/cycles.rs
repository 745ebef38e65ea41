//! Transactions that come before each other in a circle.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::super::operation::{Operation, TransactionId, What};
use super::logs::Logs;
use super::writes::{Fate, Writes};
use super::{AnomalyKind, Findings};

type Edges = BTreeMap<TransactionId, BTreeSet<TransactionId>>;

/// Which transactions read from each other in a circle: a number for each circle.
pub(super) type Circles = BTreeMap<TransactionId, usize>;

/// Reports circles of reads, counts circles of writes.
pub(super) fn check<'h>(
    findings: &mut Findings<'h>,
    writes: &Writes<'h>,
    logs: &Logs<'h>,
) -> Circles {
    let (edges, polls) = reads(findings, writes);
    let mut circles = Circles::new();
    for (number, circle) in cycles(&edges).iter().enumerate() {
        let from = circle.iter().zip(circle.iter().skip(1).chain(circle.first()));
        let polls = from.filter_map(|(writer, reader)| polls.get(&(*writer, *reader)));
        let witness = polls.flat_map(|(send, poll)| [(*send, None), (*poll, None)]);
        let message = |_: &_| {
            let names = circle.iter().map(|id| id.0.to_string()).collect::<Vec<_>>();
            format!("transactions {} read from each other", names.join(", "))
        };
        findings.found(AnomalyKind::CircularRead, message, &witness.collect::<Vec<_>>());
        circles.extend(circle.iter().map(|id| (*id, number)));
    }
    for _ in cycles(&writes_between(findings, writes, logs)) {
        findings.allowed(AnomalyKind::DirtyWrite);
    }
    circles
}

/// A send, and a poll that returned it.
type ReadFrom<'h> = BTreeMap<(TransactionId, TransactionId), (&'h Operation, &'h Operation)>;

/// From each transaction to those that read what it wrote.
fn reads<'h>(findings: &Findings<'h>, writes: &Writes<'h>) -> (Edges, ReadFrom<'h>) {
    let (mut edges, mut polls) = (Edges::new(), ReadFrom::new());
    for poll in &findings.history.operations {
        let (What::Poll { records }, Some(reader)) = (&poll.what, poll.transaction) else {
            continue;
        };
        if !findings.reads_committed(poll) || writes.fate(poll) == Some(Fate::Aborted) {
            continue;
        }
        for record in records {
            let Some(write) = writes.by_value.get(&record.value) else { continue };
            let Some(writer) = write.operation.transaction.filter(|writer| *writer != reader)
            else {
                continue;
            };
            if writes.fate(write.operation) != Some(Fate::Aborted) {
                edges.entry(writer).or_default().insert(reader);
                polls.entry((writer, reader)).or_insert((write.operation, poll));
            }
        }
    }
    (edges, polls)
}

/// From each transaction to those that wrote next, in any partition. Counts what lies between the writes of one.
fn writes_between<'h>(findings: &mut Findings<'h>, writes: &Writes<'h>, logs: &Logs<'h>) -> Edges {
    let mut edges = Edges::new();
    for log in logs.iter() {
        let mut before = BTreeSet::new();
        let (mut last, mut last_in_transaction) = (None, None);
        for slot in &log.slots {
            let Some(write) = writes.by_value.get(&slot.value) else { continue };
            let transaction = write.operation.transaction;
            if let Some(this) = transaction {
                if !before.insert(this) && last != Some(transaction) {
                    findings.allowed(AnomalyKind::IntSendSkip);
                }
                if let Some(other) = last_in_transaction.replace(this).filter(|id| *id != this) {
                    edges.entry(other).or_default().insert(this);
                }
            }
            last = Some(transaction);
        }
    }
    edges
}

/// Circles, no two of which share a transaction, such that without them there is none.
fn cycles(edges: &Edges) -> Vec<Vec<TransactionId>> {
    let next = |of: TransactionId| edges.get(&of).into_iter().flatten().copied();
    let mut found = Vec::new();
    // How deep in the path, or `None` if it is dealt with.
    let mut depths = BTreeMap::<TransactionId, Option<usize>>::new();
    for &start in edges.keys() {
        if depths.contains_key(&start) {
            continue;
        }
        depths.insert(start, Some(0));
        let mut path = vec![(start, next(start))];
        while let Some((here, successors)) = path.last_mut() {
            let here = *here;
            let Some(to) = successors.next() else {
                depths.insert(here, None);
                path.pop();
                continue;
            };
            match depths.get(&to) {
                None => {
                    depths.insert(to, Some(path.len()));
                    path.push((to, next(to)));
                }
                Some(Some(depth)) => {
                    let circle = path.drain(*depth..).map(|(id, _)| id).collect::<Vec<_>>();
                    depths.extend(circle.iter().map(|id| (*id, None)));
                    found.push(circle);
                }
                Some(None) => {}
            }
        }
    }
    found
}
