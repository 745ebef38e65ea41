//! A log with several producers and their transactions against a list of batches that is gone through each time.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::storage::ProducerError;
use crate::storage::Refused;

/// What somebody wants to append.
#[derive(Clone, Copy, Debug)]
enum Item {
    Plain,
    Data {
        who: i64,
        epoch: EpochChoice,
        sequence: SequenceChoice,
        count: usize,
        transactional: bool,
    },
    Marker {
        who: i64,
        epoch: EpochChoice,
        abort: bool,
        coordinator_epoch: i32,
    },
}

/// An epoch as seen from the producer's present one.
#[derive(Clone, Copy, Debug)]
enum EpochChoice {
    Lower,
    Same,
    Higher,
}

#[derive(Clone, Copy, Debug)]
enum SequenceChoice {
    /// The one that comes next.
    Next,
    /// Those of an earlier batch, this many before the last.
    Again(usize),
    /// Some other.
    Skip(i32),
}

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<Item>),
    TruncateTo(prop::sample::Index),
    Sync,
    Checkpoint,
    Reopen { clean: bool, damage: Damage },
}

/// What is done to derived files, by turns: nothing, or one of several harms.
#[derive(Clone, Debug)]
struct Damage(Vec<u8>);

fn any_item() -> impl Strategy<Value = Item> {
    let epoch = || {
        prop_oneof![
            1 => Just(EpochChoice::Lower),
            8 => Just(EpochChoice::Same),
            1 => Just(EpochChoice::Higher)
        ]
    };
    let sequence = prop_oneof![
        6 => Just(SequenceChoice::Next),
        3 => (0..7usize).prop_map(SequenceChoice::Again),
        1 => (1..4i32).prop_map(SequenceChoice::Skip),
    ];
    let data = (0..3i64, epoch(), sequence, 1..4usize, any::<bool>());
    let marker = (0..3i64, epoch(), any::<bool>(), 0..3i32);
    prop_oneof![
        1 => Just(Item::Plain),
        8 => data.prop_map(|(who, epoch, sequence, count, transactional)| {
            // Two of three keep to one kind: else most batches would be refused.
            let transactional = if who < 2 { who == 1 } else { transactional };
            Item::Data { who, epoch, sequence, count, transactional }
        }),
        3 => marker.prop_map(|(who, epoch, abort, coordinator_epoch)| {
            Item::Marker { who, epoch, abort, coordinator_epoch }
        }),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    let damage = prop::collection::vec(0..6u8, 0..8).prop_map(Damage);
    prop_oneof![
        12 => prop::collection::vec(any_item(), 1..6).prop_map(Op::Append),
        2 => any::<prop::sample::Index>().prop_map(Op::TruncateTo),
        1 => Just(Op::Sync),
        1 => Just(Op::Checkpoint),
        3 => (any::<bool>(), damage).prop_map(|(clean, damage)| Op::Reopen { clean, damage }),
    ]
}

/// A batch that is in the log.
#[derive(Clone, Copy, Debug)]
struct Entry {
    base: i64,
    count: i64,
    who: i64,
    epoch: i16,
    kind: Kind,
    /// Not the last of its producer when the log was opened, so that a snapshot may not speak of it.
    may_be_forgotten: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Plain,
    Data { first: i32, transactional: bool },
    Marker { abort: bool, coordinator_epoch: i32 },
}

impl Entry {
    fn end(&self) -> i64 {
        self.base + self.count
    }
}

/// What a batch is to be answered with.
#[derive(Debug, PartialEq)]
enum Expected {
    Appended,
    Duplicate { base: i64, may_be_forgotten: bool },
    OutOfOrder,
    Fenced,
    InTransaction,
    CoordinatorFenced,
}

/// What goes through all batches to find out anything.
#[derive(Clone, Debug, Default)]
struct Model(Vec<Entry>);

impl Model {
    fn end(&self) -> i64 {
        self.0.last().map_or(0, Entry::end)
    }

    fn of(&self, who: i64) -> impl DoubleEndedIterator<Item = &Entry> {
        self.0.iter().filter(move |entry| entry.who == who && entry.kind != Kind::Plain)
    }

    fn epoch(&self, who: i64) -> Option<i16> {
        self.of(who).last().map(|entry| entry.epoch)
    }

    /// Batches of the present epoch, the latest first.
    fn batches(&self, who: i64) -> Vec<Entry> {
        let epoch = self.epoch(who);
        let present = self.of(who).rev().take_while(|entry| Some(entry.epoch) == epoch);
        present.filter(|entry| matches!(entry.kind, Kind::Data { .. })).copied().collect()
    }

    fn next_sequence(&self, who: i64) -> i32 {
        match self.batches(who).first() {
            Some(Entry { kind: Kind::Data { first, .. }, count, .. }) => first + *count as i32,
            _ => 0,
        }
    }

    /// The transactions so far: first offset, marker if there is one, and whether it aborts.
    fn transactions(&self, who: i64) -> Vec<(i64, Option<(i64, bool)>)> {
        let mut found = Vec::<(i64, Option<(i64, bool)>)>::new();
        for entry in self.of(who) {
            let open = found.last_mut().filter(|(_, marker)| marker.is_none());
            match (entry.kind, open) {
                (Kind::Data { transactional: true, .. }, None) => found.push((entry.base, None)),
                (Kind::Marker { abort, .. }, Some(open)) => open.1 = Some((entry.base, abort)),
                _ => {}
            }
        }
        found
    }

    fn last_stable(&self) -> i64 {
        let all = (0..3).flat_map(|who| self.transactions(who));
        let open = all.filter(|(_, marker)| marker.is_none()).map(|(first, _)| first);
        open.min().unwrap_or(self.end())
    }

    /// First offsets of the batches that a reader of committed records sees.
    fn committed(&self) -> Vec<i64> {
        let aborted = |entry: &Entry| {
            let is_transactional = matches!(entry.kind, Kind::Data { transactional: true, .. });
            is_transactional
                && self.transactions(entry.who).iter().any(|(first, marker)| {
                    marker.is_some_and(|(at, abort)| abort && (*first..at).contains(&entry.base))
                })
        };
        let visible = self.0.iter().filter(|entry| entry.end() <= self.last_stable());
        let data = visible.filter(|entry| !matches!(entry.kind, Kind::Marker { .. }));
        data.filter(|entry| !aborted(entry)).map(|entry| entry.base).collect()
    }

    fn judge(&self, entry: &Entry) -> Expected {
        let Some(epoch) = self.epoch(entry.who).filter(|_| entry.kind != Kind::Plain) else {
            return Expected::Appended;
        };
        let in_transaction =
            self.transactions(entry.who).last().is_some_and(|(_, marker)| marker.is_none());
        match entry.kind {
            Kind::Plain => Expected::Appended,
            Kind::Data { first, transactional } => {
                let batches = self.batches(entry.who);
                let same = |seen: &&Entry| {
                    matches!(seen.kind, Kind::Data { first: f, .. } if f == first)
                        && seen.count == entry.count
                        && entry.epoch == epoch
                };
                if let Some(seen) = batches.iter().take(5).find(same) {
                    let may_be_forgotten = seen.may_be_forgotten;
                    Expected::Duplicate { base: seen.base, may_be_forgotten }
                } else if entry.epoch < epoch {
                    Expected::Fenced
                } else if first
                    != if entry.epoch > epoch { 0 } else { self.next_sequence(entry.who) }
                {
                    Expected::OutOfOrder
                } else if in_transaction && !transactional {
                    Expected::InTransaction
                } else {
                    Expected::Appended
                }
            }
            Kind::Marker { coordinator_epoch, .. } => {
                let known = self.of(entry.who).rev().find_map(|entry| match entry.kind {
                    Kind::Marker { coordinator_epoch, .. } => Some(coordinator_epoch),
                    _ => None,
                });
                match entry.epoch < epoch {
                    true => Expected::Fenced,
                    false if known > Some(coordinator_epoch) => Expected::CoordinatorFenced,
                    false => Expected::Appended,
                }
            }
        }
    }

    /// What `item` asks for, at the end of the log.
    fn entry(&self, item: Item) -> Entry {
        let chosen = |who, choice| {
            let present = self.epoch(who).unwrap_or(5);
            present
                + match choice {
                    EpochChoice::Lower => -1,
                    EpochChoice::Same => 0,
                    EpochChoice::Higher => 1,
                }
        };
        let entry = |who, epoch, kind, count| Entry {
            base: self.end(),
            count,
            who,
            epoch,
            kind,
            may_be_forgotten: false,
        };
        match item {
            Item::Plain => entry(-1, -1, Kind::Plain, 1),
            Item::Marker { who, epoch, abort, coordinator_epoch } => {
                entry(who, chosen(who, epoch), Kind::Marker { abort, coordinator_epoch }, 1)
            }
            Item::Data { who, epoch, sequence, count, transactional } => {
                let (batches, epoch) = (self.batches(who), chosen(who, epoch));
                let next = match Some(epoch) == self.epoch(who) {
                    true => self.next_sequence(who),
                    false => 0,
                };
                let count = count as i64;
                let (first, count) = match sequence {
                    SequenceChoice::Next => (next, count),
                    SequenceChoice::Skip(by) => (next + by, count),
                    SequenceChoice::Again(at) => match batches.get(at) {
                        Some(Entry { kind: Kind::Data { first, .. }, count, .. }) => {
                            (*first, *count)
                        }
                        _ => (next, count),
                    },
                };
                entry(who, epoch, Kind::Data { first, transactional }, count)
            }
        }
    }

    /// The log was loaded: of each producer the last batch is certain to be known.
    fn forget(&mut self) {
        let last = (0..3).filter_map(|who| self.batches(who).first().map(|entry| entry.base));
        let last = last.collect::<BTreeSet<_>>();
        for entry in &mut self.0 {
            entry.may_be_forgotten |= !last.contains(&entry.base);
        }
    }
}

struct Checked {
    place: Place,
    log: Log,
    model: Model,
    /// Up to where the log is known to be on disk, as a checkpoint would say it.
    point: i64,
}

impl Checked {
    fn new(segment_bytes: u32) -> Self {
        let place = Place::in_memory(segment_bytes, 100);
        let log = place.open();
        Self { place, log, model: Model::default(), point: 0 }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Append(items) => self.append(items),
            Op::TruncateTo(at) => {
                let to = at.index(self.model.end() as usize + 1) as i64;
                let before = self.model.0.len();
                self.model.0.retain(|entry| entry.end() <= to);
                self.log.truncate_to(offset(to)).unwrap();
                if self.model.0.len() < before {
                    self.model.forget();
                }
                self.point = self.point.min(self.model.end());
            }
            Op::Sync => _ = self.log.sync().unwrap(),
            Op::Checkpoint => {
                self.log.sync().unwrap();
                self.point = self.log.checkpoint().unwrap().value();
            }
            Op::Reopen { clean, damage } => self.reopen(*clean, damage),
        }
        self.log.note_high_watermark(self.log.end());
        assert_eq!(self.log.end().value(), self.model.end());
    }

    fn append(&mut self, items: &[Item]) {
        let mut batches = Vec::new();
        let mut expected = Vec::new();
        for item in items {
            let entry = self.model.entry(*item);
            let (who, count) = ((entry.who, entry.epoch), entry.count as usize);
            batches.push(match entry.kind {
                Kind::Plain => (batch(1, count, 20), AppendOrigin::Client),
                Kind::Data { first, transactional } => {
                    (sent_by(who, first, count, transactional), AppendOrigin::Client)
                }
                Kind::Marker { abort, coordinator_epoch } => {
                    let kind = if abort { MarkerKind::Abort } else { MarkerKind::Commit };
                    (marker(who, kind, coordinator_epoch), AppendOrigin::Coordinator)
                }
            });
            let answer = self.model.judge(&entry);
            if answer == Expected::Appended {
                self.model.0.push(entry);
            }
            expected.push((entry, answer));
        }
        for (result, (entry, expected)) in
            self.log.append(batches, epoch(1), NOW).iter().zip(expected)
        {
            let fits = match (&expected, result) {
                (Expected::Appended, Ok(appended)) => {
                    (appended.base.value(), appended.next.value()) == (entry.base, entry.end())
                }
                (Expected::Duplicate { base, .. }, Ok(appended)) => {
                    (appended.base.value(), appended.next.value()) == (*base, base + entry.count)
                }
                (expected, Err(Refused { error: AppendError::Producer(error), .. })) => match error
                {
                    ProducerError::InvalidEpoch { .. } => *expected == Expected::Fenced,
                    ProducerError::OutOfOrderSequence { .. } => {
                        let forgotten =
                            matches!(expected, Expected::Duplicate { may_be_forgotten: true, .. });
                        *expected == Expected::OutOfOrder || forgotten
                    }
                    ProducerError::InvalidTransactionState { .. } => {
                        *expected == Expected::InTransaction
                    }
                    ProducerError::CoordinatorFenced { .. } => {
                        *expected == Expected::CoordinatorFenced
                    }
                    ProducerError::UnknownTransaction { .. } => false,
                },
                _ => false,
            };
            assert!(fits, "{entry:?}: {expected:?} but {result:?}");
        }
    }

    fn reopen(&mut self, clean: bool, Damage(damage): &Damage) {
        if clean {
            self.log.close().unwrap();
            self.point = self.model.end();
        }
        let before = self.log.snapshot();
        let names = self.place.names("");
        let derived =
            names.iter().filter(|name| name.ends_with(".snapshot") || name.ends_with(".txnindex"));
        for (name, harm) in derived.zip(damage.iter().chain(std::iter::repeat(&0))) {
            let is_snapshot = name.ends_with(".snapshot");
            match harm {
                // A transaction index that is gone cannot be told from one that never was.
                1 if is_snapshot => self.place.remove(name),
                2 if is_snapshot => self.place.write(name, b""),
                3 => self.place.edit(name, |content| content.truncate(20)),
                4 => self
                    .place
                    .edit(name, |content| content.iter_mut().take(2).for_each(|b| *b ^= 2)),
                5 => self.place.edit(name, |content| content.extend([0xee; 3])),
                _ => {}
            }
        }
        self.log = match clean {
            true => self.place.open(),
            false => self.place.recover(self.point).0,
        };
        self.model.forget();
        assert_eq!(self.log.snapshot(), before, "what was rebuilt is not what was known");
    }

    /// What readers of committed records see, and that all could be told from the batches alone.
    fn check(&self, max_bytes: usize) {
        let last_stable = self.log.last_stable(self.log.end());
        assert_eq!(last_stable.value(), self.model.last_stable());
        let (mut seen, mut next) = (Vec::new(), Offset::ZERO);
        while next < last_stable {
            let fetched = self.log.read_committed(next, max_bytes, last_stable).unwrap();
            for batch in &fetched.batches {
                let header = batch.header();
                // A batch belongs to a transaction that began at or before it, and ended behind it.
                let is_aborted = header.is_transactional()
                    && fetched.aborted.iter().any(|aborted| {
                        header.producer().is_some_and(|p| p.id == aborted.producer)
                            && (aborted.first..aborted.last).contains(&header.base_offset())
                    });
                if !header.is_control() && !is_aborted {
                    seen.push(header.base_offset().value());
                }
            }
            next = fetched.batches.last().expect("nothing to read").header().next_offset();
        }
        assert_eq!(seen, self.model.committed());
    }

    /// A log that has lost all that is derived knows the same, and makes the same files.
    fn check_recovered(&self) {
        self.log.sync().unwrap();
        self.log.checkpoint().unwrap();
        let copy = self.place.copy();
        for suffix in [".snapshot", "index"] {
            copy.names(suffix).iter().for_each(|name| copy.remove(name));
        }
        let log = copy.recover(0).0;
        assert_eq!(log.snapshot(), self.log.snapshot());
        log.note_high_watermark(log.end());
        assert_eq!(log.last_stable(log.end()), self.log.last_stable(self.log.end()));
        let indexes = |place: &Place| {
            let names = place.names(".txnindex").into_iter();
            names.map(|name| (place.read(&name), name)).collect::<Vec<_>>()
        };
        assert_eq!(indexes(&copy), indexes(&self.place));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// A3, F1: after any operations, with derived files damaged, the log knows of its producers and transactions what
    /// its batches say, and readers of committed records see those.
    #[test]
    fn producers_match_a_list_of_batches(
        segment_bytes in 300..2000u32,
        ops in prop::collection::vec(any_op(), 1..40),
    ) {
        let mut checked = Checked::new(segment_bytes);
        for (at, op) in ops.iter().enumerate() {
            checked.apply(op);
            checked.check(1 << (at % 12));
        }
        checked.check_recovered();
    }
}
