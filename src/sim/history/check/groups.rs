//! What groups promise: one owner per partition and generation, and committed offsets that stay committed.
//!
//! The committed offset of a group and partition is a register. A read of it has to return something that was written
//! by then, and that had not been overwritten before the read began.

use std::collections::BTreeMap;

use crate::base::Offset;

use super::super::operation::{ClientId, GroupKey, Operation, PartitionKey, What};
use super::ends::Known;
use super::writes::{Fate, Writes};
use super::{AnomalyKind, Findings};

/// In one generation, a partition has one owner.
pub(super) fn check_owners(findings: &mut Findings<'_>) {
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

type Register = (GroupKey, PartitionKey);

/// The commits of one register.
#[derive(Default)]
struct Commits<'h> {
    /// By offset: from when on it can be there, and until when it may still come to be.
    by_offset: BTreeMap<Offset, Known<'h, u64>>,
    /// Commits that are certainly done: when they were, and from when on they could be there.
    done: Known<'h, u64>,
    /// What must not be seen, or not before the commit of its transaction.
    unseen: BTreeMap<Offset, (&'h Operation, Fate)>,
    /// Since then, any earlier commit may be the valid one.
    lost: Vec<u64>,
}

pub(super) fn check_offsets<'h>(findings: &mut Findings<'h>, writes: &Writes<'h>) {
    let commits = gather(findings, writes);
    for query in &findings.history.operations {
        let What::Committed { group, partition, offset } = query.what else { continue };
        let register = commits.get(&(group, partition));
        if let Some(ended) = query.done() {
            let none = Commits::default();
            check_query(findings, writes, register.unwrap_or(&none), query, ended, offset);
        }
    }
}

fn gather<'h>(findings: &Findings<'h>, writes: &Writes<'h>) -> BTreeMap<Register, Commits<'h>> {
    let mut all = BTreeMap::<Register, Commits<'h>>::new();
    for (&(group, partition, offset), operations) in &writes.commits {
        let of_register = all.entry((group, partition)).or_default();
        for commit in operations {
            let transaction = writes.transaction(commit);
            let fate = transaction.map(|transaction| transaction.fate());
            let asked = transaction.map_or(Some(commit.invoked), |of| of.commit_invoked());
            let (Some(from), false) = (asked, fate == Some(Fate::Aborted)) else {
                let fate = fate.unwrap_or(Fate::Open);
                of_register.unseen.insert(offset, (commit, fate));
                continue;
            };
            let by = match fate {
                None => commit.done(),
                Some(Fate::Committed { by }) => commit.done().map(|_| by),
                Some(_) => None,
            };
            if let Some(by) = by {
                of_register.done.add(by, from, commit);
            }
            let of_offset = of_register.by_offset.entry(offset).or_default();
            of_offset.add(from, by.unwrap_or(u64::MAX), commit);
        }
    }
    for operation in &findings.history.operations {
        if let What::LostCommits { group } = operation.what {
            let registers = all.iter_mut().filter(|((of, _), _)| *of == group);
            registers.for_each(|(_, commits)| commits.lost.push(operation.invoked));
        }
    }
    for commits in all.values_mut() {
        commits.done.sort();
        commits.by_offset.values_mut().for_each(Known::sort);
    }
    all
}

fn check_query<'h>(
    findings: &mut Findings<'h>,
    writes: &Writes<'h>,
    commits: &Commits<'h>,
    query: &'h Operation,
    ended: u64,
    offset: Option<Offset>,
) {
    let written = match offset {
        None => Some((0, query)),
        Some(offset) => commits.by_offset.get(&offset).and_then(|of| of.before(ended)),
    };
    let Some((until, by)) = written else {
        not_committed(findings, commits, query, ended, offset);
        return;
    };
    // After a loss of commits, an older one may have come back at that moment.
    let lost = commits.lost.iter().rfind(|tick| **tick < query.invoked).copied();
    let until = until.max(lost.unwrap_or(0));
    let Some((_, later)) = commits.done.before(query.invoked).filter(|(from, _)| *from > until)
    else {
        return;
    };
    let seen = writes.transaction(later).and_then(|transaction| transaction.seen);
    let torn = seen.filter(|seen| matches!(seen.what, What::Poll { .. }));
    let (kind, why) = match torn {
        Some(_) => (AnomalyKind::TornTransaction, "values of whose transaction were seen"),
        None => (AnomalyKind::CommittedOffset, "which was done before"),
    };
    let found = offset.map_or("nothing".to_owned(), |offset| offset.to_string());
    let message = |_: &_| format!("{found} is committed, older than a commit {why}");
    let witness = [by, later, query].into_iter().chain(torn);
    let witness = witness.map(|operation| (operation, None)).collect::<Vec<_>>();
    findings.found(kind, message, &witness);
}

fn not_committed<'h>(
    findings: &mut Findings<'h>,
    commits: &Commits<'h>,
    query: &'h Operation,
    ended: u64,
    offset: Option<Offset>,
) {
    let Some(offset) = offset else { return };
    let by = commits.unseen.get(&offset).filter(|(commit, _)| commit.invoked < ended);
    let early = commits.by_offset.get(&offset).and_then(|of| of.before(u64::MAX));
    let (kind, why, by) = match (by, early) {
        (Some((by, Fate::Aborted)), _) => {
            (AnomalyKind::AbortedRead, "by a transaction that was aborted", Some(*by))
        }
        (Some((by, _)), _) => {
            (AnomalyKind::PrecommittedRead, "by a transaction that was not", Some(*by))
        }
        (None, Some((_, by))) if by.transaction.is_some() && by.invoked < ended => {
            (AnomalyKind::PrecommittedRead, "by a transaction that was not", Some(by))
        }
        _ => (AnomalyKind::CommittedOffset, "by nobody", None),
    };
    let message = |_: &_| format!("{offset} was committed {why}");
    let witness = by.into_iter().chain([query]).map(|operation| (operation, None));
    findings.found(kind, message, &witness.collect::<Vec<_>>());
}
