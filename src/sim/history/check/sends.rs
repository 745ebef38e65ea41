//! The order of sends.

use rustc_hash::FxHashMap;

use crate::base::Offset;

use super::super::operation::{ClientId, Operation, PartitionKey, What};
use super::logs::Logs;
use super::{AnomalyKind, Findings};

/// The highest offset that a client was told for a send to a partition.
struct Last<'h> {
    era: usize,
    offset: Offset,
    operation: &'h Operation,
}

/// A client's later send must not get a lower offset.
pub(super) fn check<'h>(findings: &mut Findings<'h>, logs: &Logs<'h>) {
    let mut last = FxHashMap::<(ClientId, PartitionKey), Last<'h>>::default();
    for operation in &findings.history.operations {
        let What::Send { place: Some((partition, offset)), .. } = operation.what else { continue };
        let client = findings.history.client(operation.client);
        let Some(log) = logs.get(partition) else { continue };
        let Some(era) = log.era(operation) else { continue };
        if findings.rules.has_weak_acks(client) {
            continue;
        }
        let new = Last { era, offset, operation };
        let last = last.entry((operation.client, partition)).or_insert(Last { ..new });
        // Equal ones are two values at one offset.
        if last.era == era && last.offset > offset {
            let same = operation.transaction.is_some()
                && operation.transaction == last.operation.transaction;
            let kind = match same {
                true => AnomalyKind::IntNonmonotonicSend,
                false => AnomalyKind::NonmonotonicSend,
            };
            let message = |history: &super::History| {
                let place = history.place(partition, offset);
                format!("a send of {client} got {place} after one had got {}", last.offset)
            };
            findings.found(kind, message, &[(last.operation, None), (operation, None)]);
        } else {
            *last = new;
        }
    }
}
