//! What each partition held, by all offsets that were acknowledged or polled.
//!
//! A partition's history falls into *eras*: a new one begins when the log lost a suffix, or the topic was deleted. An
//! offset may then be given again, to another value. What was not lost belongs to the next era too.
//!
//! # Invariants
//! - An operation that saw one era end says nothing about either, and is left out.
//! - The slots of a log are in the order of birth, then offset; those of a view in the order of offsets.

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;

use crate::base::Offset;

use super::super::operation::{Operation, PartitionKey, What};
use super::writes::{Fate, Write, Writes};
use super::{AnomalyKind, Findings};

/// An offset, and the value that it has for as long as it lives.
pub(super) struct Slot<'h> {
    pub(super) offset: Offset,
    pub(super) value: u64,
    pub(super) acknowledged: Option<&'h Operation>,
    pub(super) read: Option<&'h Operation>,
    /// The first era that has it, and the last if it was lost.
    pub(super) birth: usize,
    pub(super) death: Option<usize>,
}

/// The end of an era: what lies at or behind `end` is gone.
pub(super) struct Cut<'h> {
    pub(super) operation: &'h Operation,
    end: Offset,
    pub(super) deleted: bool,
}

/// What a reader at one isolation level comes across, as offsets and places in [`Log::slots`].
#[derive(Default)]
pub(super) struct View {
    /// What it has to see if it reads past it.
    must: Vec<(Offset, usize)>,
    /// What compaction may have removed.
    may: Vec<(Offset, usize)>,
}

#[derive(Default)]
struct Era {
    committed: View,
    uncommitted: View,
    /// The highest log start that was heard of. Readers may be moved on to it.
    start: Option<Offset>,
}

pub(super) struct Log<'h> {
    pub(super) partition: PartitionKey,
    pub(super) cuts: Vec<Cut<'h>>,
    /// When it lost anything, be it nothing that was ever seen.
    losses: Vec<u64>,
    pub(super) slots: Vec<Slot<'h>>,
    eras: Vec<Era>,
}

pub(super) struct Logs<'h> {
    logs: BTreeMap<PartitionKey, Log<'h>>,
}

/// A value that was seen at an offset.
struct Sight<'h> {
    operation: &'h Operation,
    offset: Offset,
    value: u64,
    birth: usize,
}

/// What was seen of one partition.
#[derive(Default)]
struct Sights<'h> {
    values: Vec<Sight<'h>>,
    cuts: Vec<Cut<'h>>,
    /// Log starts, and when somebody asked for them.
    starts: Vec<(u64, Offset)>,
    /// Offsets that the log had reached, and when.
    reached: Vec<(u64, i64)>,
}

impl<'h> Logs<'h> {
    pub(super) fn of(findings: &mut Findings<'h>, writes: &Writes<'h>) -> Self {
        let sights = gather(findings, writes);
        let mut logs = BTreeMap::new();
        for (partition, sights) in sights {
            logs.insert(partition, Log::new(findings, partition, sights));
        }
        let unplaced = keys_without_place(writes, &logs);
        for log in logs.values_mut() {
            let compacted = findings.rules.is_compacted(findings.topic(log.partition));
            log.find_views(writes, compacted.then_some(&unplaced));
        }
        Self { logs }
    }

    pub(super) fn get(&self, partition: PartitionKey) -> Option<&Log<'h>> {
        self.logs.get(&partition)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Log<'h>> {
        self.logs.values()
    }
}

fn gather<'h>(findings: &Findings<'h>, writes: &Writes<'h>) -> BTreeMap<PartitionKey, Sights<'h>> {
    let mut all = BTreeMap::<PartitionKey, Sights<'h>>::new();
    for operation in &findings.history.operations {
        let tick = operation.done().unwrap_or(operation.invoked);
        let before = |offset: Offset| offset.value() - 1;
        match &operation.what {
            What::Send { message, .. } => {
                let write = writes.by_value.get(&message.value);
                if let Some((partition, offset)) = write.and_then(|write| write.acknowledged) {
                    all.entry(partition).or_default().see(operation, tick, offset, message.value);
                }
            }
            What::Poll { records } => {
                for record in records {
                    all.entry(record.partition).or_default().see(
                        operation,
                        tick,
                        record.offset,
                        record.value,
                    );
                }
            }
            What::Assign { partitions } | What::Assigned { partitions, .. } => {
                for (partition, position) in partitions {
                    all.entry(*partition)
                        .or_default()
                        .reached
                        .extend(position.map(|at| (tick, before(at))));
                }
            }
            What::Seek { partition, to } => {
                all.entry(*partition).or_default().reached.extend(to.map(|at| (tick, before(at))));
            }
            What::Watermarks { partition, found: Some((low, high)) } => {
                all.entry(*partition).or_default().starts.push((operation.invoked, *low));
                all.entry(*partition).or_default().reached.push((tick, before(*high)));
            }
            What::DeleteRecords { partition, before } if !operation.is_failed() => {
                all.entry(*partition).or_default().starts.push((operation.invoked, *before));
            }
            What::LostSuffix { partition, end } => {
                all.entry(*partition).or_default().cuts.push(Cut {
                    operation,
                    end: *end,
                    deleted: false,
                });
            }
            What::Deleted { partition } => {
                all.entry(*partition).or_default().cuts.push(Cut {
                    operation,
                    end: Offset::ZERO,
                    deleted: true,
                });
            }
            _ => {}
        }
    }
    all
}

impl<'h> Sights<'h> {
    fn see(&mut self, operation: &'h Operation, tick: u64, offset: Offset, value: u64) {
        self.reached.push((tick, offset.value()));
        self.values.push(Sight { operation, offset, value, birth: 0 });
    }

    /// Leaves out the ends of eras that took nothing away: they cost time, and say nothing.
    fn drop_idle_cuts(&mut self) {
        self.reached.sort_unstable();
        let mut highest = i64::MIN;
        for (_, offset) in &mut self.reached {
            highest = highest.max(*offset);
            *offset = highest;
        }
        let reached = &self.reached;
        self.cuts.retain(|cut| {
            let before = reached.partition_point(|(tick, _)| *tick < cut.operation.invoked);
            let last = before.checked_sub(1).and_then(|last| reached.get(last));
            last.is_some_and(|(_, offset)| *offset >= cut.end.value())
        });
    }
}

impl<'h> Log<'h> {
    fn new(findings: &mut Findings<'h>, partition: PartitionKey, mut sights: Sights<'h>) -> Self {
        let losses = sights.cuts.iter().map(|cut| cut.operation.invoked).collect();
        sights.drop_idle_cuts();
        let Sights { values, cuts, starts, .. } = sights;
        let mut log = Self { partition, losses, eras: Vec::new(), slots: Vec::new(), cuts };
        log.find_eras(starts);
        log.find_slots(findings, values);
        log
    }

    fn find_eras(&mut self, starts: Vec<(u64, Offset)>) {
        self.eras.resize_with(self.cuts.len() + 1, Era::default);
        for (tick, start) in starts {
            let at = self.era_at(tick);
            // From one deletion of the topic to the next, the log start only rises.
            let first =
                self.cuts.iter().take(at).rposition(|cut| cut.deleted).map_or(0, |cut| cut + 1);
            let last = self.cuts.iter().skip(at).position(|cut| cut.deleted);
            let count = last.map_or(self.eras.len(), |last| at + last + 1) - first;
            for era in self.eras.iter_mut().skip(first).take(count) {
                era.start = era.start.max(Some(start));
            }
        }
    }

    fn find_slots(&mut self, findings: &mut Findings<'h>, values: Vec<Sight<'h>>) {
        let mut sights = Vec::with_capacity(values.len());
        for mut sight in values {
            let Some(era) = self.era(sight.operation) else { continue };
            let lost = self.cuts.iter().take(era).rposition(|cut| cut.end <= sight.offset);
            sight.birth = lost.map_or(0, |cut| cut + 1);
            sights.push(sight);
        }
        sights.sort_by_key(|sight| (sight.birth, sight.offset));
        for same in sights.chunk_by(|a, b| (a.birth, a.offset) == (b.birth, b.offset)) {
            let Some(first) = same.first() else { continue };
            let (offset, value) = (first.offset, first.value);
            if let Some(other) = same.iter().find(|sight| sight.value != value) {
                let partition = self.partition;
                let message = |history: &super::History| {
                    format!("{} is {value} and {}", history.place(partition, offset), other.value)
                };
                let witness = [first, other].map(|s| (s.operation, Some((partition, offset))));
                findings.found(AnomalyKind::InconsistentOffsets, message, &witness);
            }
            let mut of_value = same.iter().filter(|sight| sight.value == value);
            let is_poll = |sight: &&Sight<'_>| matches!(sight.operation.what, What::Poll { .. });
            let read = of_value.clone().find(is_poll).map(|sight| sight.operation);
            let acknowledged = of_value.find(|sight| !is_poll(sight)).map(|sight| sight.operation);
            let death = self
                .cuts
                .iter()
                .skip(first.birth)
                .position(|cut| cut.end <= offset)
                .map(|cut| first.birth + cut);
            let birth = first.birth;
            self.slots.push(Slot { offset, value, acknowledged, read, birth, death });
        }
    }

    /// `superseding` are the keys of sends that have no known place; `None` if the topic is not compacted.
    fn find_views(&mut self, writes: &Writes<'h>, superseding: Option<&FxHashSet<u64>>) {
        let removable = superseding.map(|unplaced| self.removable(writes, unplaced));
        for (at, era) in self.eras.iter_mut().enumerate() {
            let alive =
                |slot: &Slot<'_>| slot.birth <= at && slot.death.is_none_or(|death| at <= death);
            let slots = self.slots.iter().enumerate().filter(|(_, slot)| alive(slot));
            for (place, slot) in slots {
                let gone = removable.as_ref().is_some_and(|gone| gone.contains(&place));
                let add = |view: &mut View| {
                    let list = if gone { &mut view.may } else { &mut view.must };
                    list.push((slot.offset, place));
                };
                add(&mut era.uncommitted);
                if is_committed(writes, writes.by_value.get(&slot.value)) {
                    add(&mut era.committed);
                }
            }
            let Era { committed, uncommitted, .. } = era;
            for list in [committed, uncommitted] {
                list.must.sort_unstable();
                list.may.sort_unstable();
            }
        }
    }

    /// The slots that compaction may remove, since there is a later record of their key, or may be. A tombstone may
    /// go without one.
    fn removable(&self, writes: &Writes<'h>, unplaced: &FxHashSet<u64>) -> FxHashSet<usize> {
        let mut order = self.slots.iter().enumerate().collect::<Vec<_>>();
        order.sort_by_key(|(_, slot)| std::cmp::Reverse(slot.offset));
        let (mut removable, mut later) = (FxHashSet::default(), FxHashSet::default());
        for (place, slot) in order {
            let Some(write) = writes.by_value.get(&slot.value) else { continue };
            let Some(key) = write.message.key else { continue };
            if write.message.tombstone || later.contains(&key) || unplaced.contains(&key) {
                removable.insert(place);
            }
            if writes.fate(write.operation) != Some(Fate::Aborted) {
                later.insert(key);
            }
        }
        removable
    }

    /// The era of something that is over as soon as it has begun.
    pub(super) fn era_at(&self, tick: u64) -> usize {
        self.cuts.partition_point(|cut| cut.operation.invoked < tick)
    }

    /// How often it had lost something by then.
    pub(super) fn losses_before(&self, tick: u64) -> usize {
        self.losses.partition_point(|loss| *loss < tick)
    }

    /// The era of an operation, `None` if it saw one end.
    pub(super) fn era(&self, operation: &Operation) -> Option<usize> {
        let era = self.era_at(operation.invoked);
        let ended = operation.ended.map_or(operation.invoked, |(tick, _)| tick);
        (self.era_at(ended) == era).then_some(era)
    }

    /// The highest log start that was heard of in an era.
    pub(super) fn start(&self, era: usize) -> Option<Offset> {
        self.eras.get(era)?.start
    }

    pub(super) fn view(&self, era: usize, committed: bool) -> Option<&View> {
        let era = self.eras.get(era)?;
        Some(if committed { &era.committed } else { &era.uncommitted })
    }

    pub(super) fn slot(&self, place: usize) -> Option<&Slot<'h>> {
        self.slots.get(place)
    }

    /// The ticks between which the log held a slot.
    pub(super) fn life(&self, slot: &Slot<'_>) -> (u64, u64) {
        let tick = |cut: Option<usize>| {
            cut.and_then(|cut| self.cuts.get(cut)).map(|cut| cut.operation.invoked)
        };
        (tick(slot.birth.checked_sub(1)).unwrap_or(0), tick(slot.death).unwrap_or(u64::MAX))
    }
}

impl View {
    /// What has to be seen from `from` up to, and without, `to`.
    pub(super) fn must(&self, from: Offset, to: Offset) -> &[(Offset, usize)] {
        between(&self.must, from, to)
    }

    /// What may be missing from `from` up to, and without, `to`.
    pub(super) fn may(&self, from: Offset, to: Offset) -> &[(Offset, usize)] {
        between(&self.may, from, to)
    }
}

fn between(slots: &[(Offset, usize)], from: Offset, to: Offset) -> &[(Offset, usize)] {
    let [first, end] = [from, to].map(|at| slots.partition_point(|(offset, _)| *offset < at));
    slots.get(first..end).unwrap_or_default()
}

/// Whether a reader of `read_committed` has to see what `write` wrote.
pub(super) fn is_committed(writes: &Writes<'_>, write: Option<&Write<'_>>) -> bool {
    let Some(write) = write else { return true };
    !write.operation.is_failed()
        && matches!(writes.fate(write.operation), None | Some(Fate::Committed { .. }))
}

/// Keys of messages that may be anywhere: they may have superseded any record.
fn keys_without_place(
    writes: &Writes<'_>,
    logs: &BTreeMap<PartitionKey, Log<'_>>,
) -> FxHashSet<u64> {
    let placed = logs.values().flat_map(|log| log.slots.iter().map(|slot| slot.value));
    let placed = placed.collect::<FxHashSet<_>>();
    let unplaced = writes
        .by_value
        .values()
        .filter(|write| !placed.contains(&write.message.value) && !write.operation.is_failed());
    unplaced.filter_map(|write| write.message.key).collect()
}
