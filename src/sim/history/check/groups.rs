//! What groups promise: committed offsets that stay committed, and that everything below them was handed out.
//!
//! The committed offset of a group and partition is a register. A read of it has to return something that was written
//! by then, and that had not been overwritten before the read began, as far as that was acknowledged or read.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use crate::base::Offset;

use super::super::operation::{ClientId, GroupKey, Operation, PartitionKey, What};
use super::ends::Known;
use super::logs::Logs;
use super::writes::{Fate, Writes};
use super::{AnomalyKind, Findings};

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

impl<'h> Commits<'h> {
    /// From when on an offset can have been there.
    fn began(&self, offset: Offset) -> Option<(u64, &'h Operation)> {
        self.by_offset.get(&offset)?.first()
    }
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
        commits.by_offset.values_mut().for_each(Known::sort);
    }
    for query in &findings.history.operations {
        let What::Committed { group, partition, offset: Some(offset) } = query.what else {
            continue;
        };
        // What was read is as good as acknowledged.
        if let (Some(ended), Some(commits)) = (query.done(), all.get_mut(&(group, partition)))
            && let Some((from, commit)) = commits.began(offset)
            && commit.transaction.is_none()
        {
            commits.done.add(ended, from, query);
        }
    }
    all.values_mut().for_each(|commits| commits.done.sort());
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

/// Every record below what a member commits was handed out to a member of its group before.
pub(super) fn check_deliveries<'h>(
    findings: &mut Findings<'h>,
    writes: &Writes<'h>,
    logs: &Logs<'h>,
) {
    let history = findings.history;
    let mut members = BTreeSet::<(ClientId, GroupKey)>::new();
    for operation in &history.operations {
        if let What::Assigned { group, .. } = operation.what
            && findings.rules.has_all_delivered(history.group(group))
        {
            members.insert((operation.client, group));
        }
    }
    let mut delivered = FxHashMap::<(GroupKey, u64), u64>::default();
    for poll in &history.operations {
        let (What::Poll { records }, Some(ended)) = (&poll.what, poll.done()) else { continue };
        let all = (poll.client, GroupKey::from(0))..=(poll.client, GroupKey::from(u32::MAX));
        for (_, group) in members.range(all) {
            for record in records {
                let first = delivered.entry((*group, record.value)).or_insert(ended);
                *first = ended.min(*first);
            }
        }
    }
    // Up to where all was handed out before the last commit that was looked at.
    let mut looked = BTreeMap::<(GroupKey, PartitionKey, usize), Offset>::new();
    for commit in &history.operations {
        let What::Commit { group, offsets } = &commit.what else { continue };
        if commit.is_failed() || !members.contains(&(commit.client, *group)) {
            continue;
        }
        for (partition, offset) in offsets {
            let Some(log) = logs.get(*partition) else { continue };
            let Some(era) = log.era(commit) else { continue };
            let committed = findings.reads_committed(commit);
            let Some(view) = log.view(era, committed) else { continue };
            let from = looked.entry((*group, *partition, era)).or_insert(Offset::ZERO);
            let from = std::mem::replace(from, (*from).max(*offset));
            let start = log.start(era).map_or(from, |start| start.max(from));
            let missing = view.must(start, *offset).iter().find_map(|(at, place)| {
                let value = log.slot(*place)?.value;
                let first = delivered.get(&(*group, value));
                first.is_none_or(|first| *first > commit.invoked).then_some((*at, value))
            });
            let Some((at, value)) = missing else { continue };
            let message = |history: &super::History| {
                let (place, group) = (history.place(*partition, at), history.group(*group));
                format!("{group} committed past {place}, {value}, which no member had been given")
            };
            let sent = writes.by_value.get(&value).map(|write| write.operation);
            let witness = sent.into_iter().chain([commit]).map(|operation| (operation, None));
            findings.found(AnomalyKind::CommitSkip, message, &witness.collect::<Vec<_>>());
        }
    }
}
