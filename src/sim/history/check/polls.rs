//! Each consumer's way through each partition: what it went past, and where it went back.
//!
//! A *session* is what lies between a seek or an assignment and the next: within it, each record has to follow on from
//! the one before.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use crate::base::Offset;

use super::super::operation::{ClientId, Ending, Operation, PartitionKey, Polled, What};
use super::logs::{Log, Logs, is_committed};
use super::writes::Writes;
use super::{AnomalyKind, Findings, Witness};

/// What the consumers went past, for those who judge it.
#[derive(Default)]
pub(super) struct Passed<'h> {
    /// Slots that some consumer went past and that nobody ever read, and the first who did.
    pub(super) lost: BTreeMap<(PartitionKey, usize), &'h Operation>,
    /// Polls that went past what can only have been deleted: the log start was at least there by then.
    pub(super) deleted: Vec<(PartitionKey, Offset, &'h Operation)>,
    /// The first record of each session.
    pub(super) begun: Vec<Begun<'h>>,
}

/// The first record of a session.
pub(super) struct Begun<'h> {
    pub(super) partition: PartitionKey,
    pub(super) offset: Offset,
    /// Nothing in it was fetched before this tick.
    pub(super) since: u64,
    pub(super) poll: &'h Operation,
}

struct Session<'h> {
    /// Where the next record has to be, if that is known.
    position: Option<Offset>,
    era: usize,
    /// How often the log had lost something when the position was last right.
    losses: usize,
    since: u64,
    /// Where the client had been before the rebalance that began the session.
    before: Option<Offset>,
    last: Option<&'h Operation>,
    /// Of compacted topics: the last record of each key.
    keys: FxHashMap<u64, &'h Operation>,
}

#[derive(Default)]
struct Reader<'h> {
    /// `None` if it never told.
    assigned: Option<BTreeSet<PartitionKey>>,
    sessions: FxHashMap<PartitionKey, Session<'h>>,
    /// Where it was in partitions that were taken away.
    left: FxHashMap<PartitionKey, Offset>,
    /// When its last operation was over: what it asks for now, it does not have yet.
    idle_since: u64,
}

struct Polls<'a, 'h> {
    findings: &'a mut Findings<'h>,
    logs: &'a Logs<'h>,
    writes: &'a Writes<'h>,
    passed: Passed<'h>,
    /// Tombstones that somebody went past without seeing them, and when that was first known.
    tombstones: FxHashMap<(PartitionKey, usize), u64>,
}

/// Follows every consumer.
pub(super) fn check<'h>(
    findings: &mut Findings<'h>,
    logs: &Logs<'h>,
    writes: &Writes<'h>,
) -> Passed<'h> {
    let history = findings.history;
    let passed = Passed::default();
    let mut polls = Polls { findings, logs, writes, passed, tombstones: FxHashMap::default() };
    let mut readers = BTreeMap::<ClientId, Reader<'h>>::new();
    // A poll reads what the client has when it ends: what a rebalance has brought within it counts.
    let mut operations = history.operations.iter().collect::<Vec<_>>();
    operations.sort_by_key(|operation| operation.ended.map_or(operation.invoked, |(tick, _)| tick));
    for operation in operations {
        let reader = readers.entry(operation.client).or_insert_with(|| Reader {
            idle_since: history.births.get(&operation.client).copied().unwrap_or(0),
            ..Reader::default()
        });
        match (&operation.what, operation.ending()) {
            (What::Poll { records }, Ending::Ok) => polls.poll(reader, operation, records),
            // Nobody knows how far it went.
            (What::Poll { .. }, Ending::Unknown) => {
                reader.sessions.values_mut().for_each(|session| session.position = None);
            }
            (what, _) => reader.turn(what, |key| polls.losses_before(key, operation.invoked)),
        }
        let over = operation.ended.map_or(operation.invoked, |(tick, _)| tick);
        reader.idle_since = reader.idle_since.max(over);
    }
    polls.passed
}

impl Session<'_> {
    fn new(position: Option<Offset>, losses: usize, since: u64) -> Self {
        let keys = FxHashMap::default();
        Self { position, era: 0, losses, since, before: None, last: None, keys }
    }
}

impl Reader<'_> {
    /// Takes note of what the client reads from now on.
    fn turn(&mut self, what: &What, losses: impl Fn(PartitionKey) -> usize) {
        match what {
            What::Assign { partitions } => {
                let keys = partitions.iter().map(|(key, _)| *key).collect::<BTreeSet<_>>();
                self.sessions.retain(|key, _| keys.contains(key));
                self.assigned = Some(keys);
                self.add(partitions, losses);
            }
            What::Assigned { partitions, .. } => {
                let assigned = self.assigned.get_or_insert_default();
                assigned.extend(partitions.iter().map(|(key, _)| *key));
                self.add(partitions, losses);
            }
            What::Revoked { partitions } | What::Lost { partitions } => {
                for key in partitions {
                    let position = self.sessions.remove(key).and_then(|session| session.position);
                    self.left.extend(position.map(|position| (*key, position)));
                    self.assigned.get_or_insert_default().remove(key);
                }
            }
            What::Seek { partition, to } => {
                let session = Session::new(*to, losses(*partition), self.idle_since);
                self.sessions.insert(*partition, session);
            }
            What::Crash => *self = Self::default(),
            _ => {}
        }
    }

    fn add(
        &mut self,
        partitions: &[(PartitionKey, Option<Offset>)],
        losses: impl Fn(PartitionKey) -> usize,
    ) {
        for (key, position) in partitions {
            let known = self.sessions.get(key);
            if known.is_some_and(|known| position.is_none() || known.position == *position) {
                continue;
            }
            let mut session = Session::new(*position, losses(*key), self.idle_since);
            session.before = self.left.remove(key);
            self.sessions.insert(*key, session);
        }
    }
}

impl<'h> Polls<'_, 'h> {
    fn losses_before(&self, partition: PartitionKey, tick: u64) -> usize {
        self.logs.get(partition).map_or(0, |log| log.losses_before(tick))
    }

    fn poll(&mut self, reader: &mut Reader<'h>, poll: &'h Operation, records: &[Polled]) {
        for record in records {
            let Some(log) = self.logs.get(record.partition) else { continue };
            let is_owner = reader.assigned.as_ref();
            if is_owner.is_some_and(|assigned| !assigned.contains(&record.partition)) {
                self.not_owned(poll, record);
                continue;
            }
            let since = reader.idle_since;
            let new = || Session::new(None, log.losses_before(poll.invoked), since);
            let session = reader.sessions.entry(record.partition).or_insert_with(new);
            match log.era(poll) {
                Some(era) => session.move_to(era, log.losses_before(poll.invoked)),
                None => {
                    session.position = None;
                    continue;
                }
            }
            self.step(log, session, poll, record);
        }
    }

    fn not_owned(&mut self, poll: &'h Operation, record: &Polled) {
        let message = |history: &super::History| {
            let place = history.place(record.partition, record.offset);
            format!("{} read {place}, which it was not assigned", history.client(poll.client))
        };
        let near = Some((record.partition, record.offset));
        self.findings.found(AnomalyKind::Ownership, message, &[(poll, near)]);
    }

    /// One record further.
    fn step(
        &mut self,
        log: &Log<'h>,
        session: &mut Session<'h>,
        poll: &'h Operation,
        record: &Polled,
    ) {
        let offset = record.offset;
        match session.position {
            Some(position) if offset < position => self.went_back(session, poll, record),
            Some(position) => self.went_on(log, session, poll, position..offset),
            None => {}
        }
        self.after_rebalance(log, session, poll, offset);
        if session.last.is_none() {
            let begun = Begun { partition: log.partition, offset, since: session.since, poll };
            self.passed.begun.push(begun);
        }
        session.position = Some(offset.next());
        session.last = Some(poll);
        if self.findings.rules.is_compacted(self.findings.topic(log.partition)) {
            let write = self.writes.by_value.get(&record.value);
            let write = write.filter(|write| is_committed(self.writes, Some(write)));
            let key = write.and_then(|write| write.message.key);
            session.keys.extend(key.map(|key| (key, poll)));
        }
    }

    fn went_back(&mut self, session: &mut Session<'h>, poll: &'h Operation, record: &Polled) {
        let kind = match session.is_inside(poll) {
            true => AnomalyKind::IntNonmonotonicPoll,
            false => AnomalyKind::NonmonotonicPoll,
        };
        let near = Some((record.partition, record.offset));
        let message = |history: &super::History| {
            let place = history.place(record.partition, record.offset);
            let expected = session.position.map_or(-1, Offset::value);
            format!("{} went back to {place} from {expected}", history.client(poll.client))
        };
        let before = session.last.map(|last| (last, near));
        let witness = before.into_iter().chain([(poll, near)]).collect::<Vec<_>>();
        self.findings.found(kind, message, &witness);
        session.keys.clear();
    }

    /// Looks at what lies between the position and the next record.
    fn went_on(
        &mut self,
        log: &Log<'h>,
        session: &Session<'h>,
        poll: &'h Operation,
        gap: std::ops::Range<Offset>,
    ) {
        let committed = self.findings.reads_committed(poll);
        let Some(view) = log.view(session.era, committed) else { return };
        // Below a log start that somebody heard of, it may have been deleted, and the reader moved on.
        let start =
            log.start(session.era).map_or(gap.start, |start| start.clamp(gap.start, gap.end));
        if let Some((last, _)) = view.must(gap.start, start).last() {
            self.passed.deleted.push((log.partition, last.next(), poll));
        }
        let skipped = view.must(start, gap.end);
        let is_read = |place: usize| {
            let write = log.slot(place).and_then(|slot| self.writes.by_value.get(&slot.value));
            write.is_none_or(|write| write.read.is_some())
        };
        for (_, place) in skipped.iter().filter(|(_, place)| !is_read(*place)) {
            self.passed.lost.entry((log.partition, *place)).or_insert(poll);
        }
        if let Some((_, place)) = skipped.iter().find(|(_, place)| is_read(*place)) {
            self.skipped(log, session, poll, *place);
        }
        for (_, place) in view.may(start, gap.end) {
            self.missed(log, session, poll, *place);
        }
    }

    fn skipped(&mut self, log: &Log<'h>, session: &Session<'h>, poll: &'h Operation, place: usize) {
        let Some(slot) = log.slot(place) else { return };
        let kind = match session.is_inside(poll) {
            true => AnomalyKind::IntPollSkip,
            false => AnomalyKind::PollSkip,
        };
        let message = |history: &super::History| {
            let place = history.place(log.partition, slot.offset);
            format!("{} went past {place}, {}", history.client(poll.client), slot.value)
        };
        let seen = slot.read.or(slot.acknowledged);
        let operations = session.last.into_iter().chain(seen).chain([poll]);
        let near = |operation| (operation, Some((log.partition, slot.offset)));
        let witness = operations.map(near).collect::<Vec<Witness<'h>>>();
        self.findings.found(kind, message, &witness);
    }

    /// Compaction may have removed a record. If it was a tombstone, older records of its key had to go before it.
    fn missed(&mut self, log: &Log<'h>, session: &Session<'h>, poll: &'h Operation, place: usize) {
        let Some(slot) = log.slot(place) else { return };
        let Some(write) = self.writes.by_value.get(&slot.value) else { return };
        let (Some(key), true) = (write.message.key, write.message.tombstone) else { return };
        if !is_committed(self.writes, Some(write)) {
            return;
        }
        let ended = poll.done().unwrap_or(u64::MAX);
        let known = self.tombstones.entry((log.partition, place)).or_insert(ended);
        // Who began before that may have been slow.
        if let Some(older) = session.keys.get(&key).filter(|_| session.since > *known) {
            let message = |history: &super::History| {
                let place = history.place(log.partition, slot.offset);
                format!("key {key} is back: the tombstone {place} is gone, an older record is not")
            };
            let witness = [(write.operation, None), (*older, None), (poll, None)];
            self.findings.found(AnomalyKind::Resurrected, message, &witness);
        }
        *known = ended.min(*known);
    }

    /// Counts what a rebalance made of the client's position.
    fn after_rebalance(
        &mut self,
        log: &Log<'h>,
        session: &mut Session<'h>,
        poll: &Operation,
        offset: Offset,
    ) {
        let Some(before) = session.before.take() else { return };
        let view = log.view(session.era, self.findings.reads_committed(poll));
        if offset < before {
            self.findings.allowed(AnomalyKind::RebalanceRewind);
        } else if view.is_some_and(|view| !view.must(before, offset).is_empty()) {
            self.findings.allowed(AnomalyKind::RebalanceSkip);
        }
    }
}

impl Session<'_> {
    /// Goes along when the log has lost a suffix. The real position may have been further on than the last record,
    /// and so have been lost.
    fn move_to(&mut self, era: usize, losses: usize) {
        self.era = era;
        if self.losses != losses {
            self.losses = losses;
            self.position = None;
            self.before = None;
            self.keys.clear();
        }
    }

    fn is_inside(&self, poll: &Operation) -> bool {
        self.last.is_some_and(|last| last.invoked == poll.invoked)
    }
}
