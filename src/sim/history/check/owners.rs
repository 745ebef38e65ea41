//! Who has a partition: one in each generation of a group, and one at a time.
//!
//! A partition is a client's from when that one says so until it gives it back. If it was removed from its group instead,
//! nobody knows since when, and nothing is concluded.

use std::collections::BTreeMap;

use super::super::operation::{ClientId, GroupKey, Operation, PartitionKey, What};
use super::{AnomalyKind, Findings};

pub(super) fn check(findings: &mut Findings<'_>) {
    check_generations(findings);
    check_times(findings);
}

/// In one generation, a partition has one owner.
fn check_generations(findings: &mut Findings<'_>) {
    type Owned = (GroupKey, u64, PartitionKey);
    let mut owners = BTreeMap::<Owned, (ClientId, &Operation)>::new();
    for operation in &findings.history.operations {
        let What::Assigned { group, generation, partitions } = &operation.what else { continue };
        for (partition, _) in partitions {
            let new = (operation.client, operation);
            let owner = owners.entry((*group, *generation, *partition)).or_insert(new);
            if owner.0 == operation.client {
                continue;
            }
            let message = |history: &super::History| {
                let clients = [owner.0, operation.client].map(|id| history.client(id));
                let partition = history.partitions.name(*partition);
                let name = partition.map(ToString::to_string).unwrap_or_default();
                let group = history.group(*group);
                let [first, second] = clients;
                format!(
                    "{name} belongs to {first} and {second} in generation {generation} of {group}"
                )
            };
            let witness = [(owner.1, None), (operation, None)];
            findings.found(AnomalyKind::Ownership, message, &witness);
        }
    }
}

/// A time during which a partition certainly was a client's.
struct Ownership<'h> {
    client: ClientId,
    since: u64,
    until: u64,
    begun: &'h Operation,
    ended: &'h Operation,
}

/// At one time, a partition has one owner.
fn check_times(findings: &mut Findings<'_>) {
    type Owned<'h> = BTreeMap<PartitionKey, (GroupKey, &'h Operation)>;
    let mut all = BTreeMap::<(GroupKey, PartitionKey), Vec<Ownership<'_>>>::new();
    let mut owners = BTreeMap::<ClientId, Owned<'_>>::new();
    for ended in &findings.history.operations {
        let client = ended.client;
        let owned = owners.entry(client).or_default();
        match &ended.what {
            What::Assigned { group, partitions, .. } => {
                for (partition, _) in partitions {
                    owned.entry(*partition).or_insert((*group, ended));
                }
            }
            What::Revoked { partitions } => {
                for partition in partitions {
                    let Some((group, begun)) = owned.remove(partition) else { continue };
                    let (since, until) = (begun.invoked, ended.invoked);
                    let ownership = Ownership { client, since, until, begun, ended };
                    all.entry((group, *partition)).or_default().push(ownership);
                }
            }
            What::Lost { partitions } => {
                partitions.iter().for_each(|partition| _ = owned.remove(partition));
            }
            What::Crash => owned.clear(),
            _ => {}
        }
    }
    for ((group, partition), mut ownerships) in all {
        ownerships.sort_by_key(|ownership| ownership.since);
        let mut last: Option<&Ownership<'_>> = None;
        for next in &ownerships {
            if let Some(last) = last.filter(|last| next.since < last.until)
                && last.client != next.client
            {
                let message = |history: &super::History| {
                    let [first, second] = [last, next].map(|of| history.client(of.client));
                    let name = history.partitions.name(partition).map(ToString::to_string);
                    let (name, group) = (name.unwrap_or_default(), history.group(group));
                    format!("{name} belongs to {first} and {second} of {group} at one time")
                };
                let witness = [last.begun, next.begun, last.ended, next.ended];
                let witness = witness.map(|operation| (operation, None));
                findings.found(AnomalyKind::Ownership, message, &witness);
            }
            last = last.filter(|last| last.until >= next.until).or(Some(next));
        }
    }
}
