//! One wrong thing in a history that is right otherwise has to be found.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{correct, seeds};
use super::*;
use crate::sim::history::operation::{Ending, Operation, Polled, What};
use AnomalyKind::*;

/// Makes a history wrong in one place. `false` if it has no such place.
type Mutation = fn(&mut History, &mut fastrand::Rng) -> bool;

/// What is done to a history, and what of that may be found first.
const MUTATIONS: [(&str, Mutation, &[AnomalyKind]); 11] = [
    ("another value is read", read_another_value, &[InconsistentOffsets]),
    ("a value is read that nobody sent", read_nonsense, &[Invented]),
    ("a record is left out", leave_out, &[IntPollSkip, PollSkip, LostWrite, TornTransaction]),
    ("a record is left out for all", lose, &[LostWrite, TornTransaction, Unseen]),
    ("two records change places", swap_records, &[IntNonmonotonicPoll]),
    ("a record comes again", read_again, &[Duplicate]),
    ("a send that was read has failed", fail_send, &[AbortedRead]),
    ("a transaction that was read is aborted", abort, &[AbortedRead]),
    ("two sends change offsets", swap_sends, &[NonmonotonicSend, IntNonmonotonicSend]),
    ("a partition is given to a second member", share, &[Ownership]),
    ("an older offset is committed", forget_commit, &[CommittedOffset, TornTransaction]),
];

/// Goal: the checker is not blind. Method: each mutation, in a random place of each history of the model.
#[test]
fn a_single_wrong_thing_is_found() {
    for (name, mutate, kinds) in MUTATIONS {
        let mut applied = 0;
        for seed in seeds().take(30) {
            let (mut history, rules) = correct(seed);
            if !mutate(&mut history, &mut fastrand::Rng::with_seed(seed)) {
                continue;
            }
            applied += 1;
            let report = check(&history, &rules);
            let found = kinds.iter().any(|kind| report.count(*kind) > 0) && !report.is_ok();
            assert!(found, "{name}, seed {seed}: {report}");
        }
        assert!(applied >= 10, "{name}: only {applied} histories had a place for it");
    }
}

/// A place in the history: an operation, and a record of it.
type Place = (usize, usize);

/// Everything that polls returned from topics of this name.
fn polled(history: &History, topic: &str) -> Vec<(Place, Polled)> {
    let mut all = Vec::new();
    for (at, operation) in history.operations.iter().enumerate() {
        let What::Poll { records } = &operation.what else { continue };
        let name = |record: &Polled| history.partitions.name(record.partition).unwrap();
        let of_topic = records.iter().enumerate().filter(|(_, record)| name(record).topic == topic);
        all.extend(of_topic.map(|(place, record)| ((at, place), *record)));
    }
    all
}

/// A record that was polled more than once, so that one poll can be wrong about it.
fn polled_twice(history: &History, random: &mut fastrand::Rng) -> Option<(Place, Polled)> {
    let all = polled(history, "orders");
    let mut times = BTreeMap::<_, usize>::new();
    all.iter()
        .for_each(|(_, record)| *times.entry((record.offset, record.value)).or_default() += 1);
    choose(random, all.into_iter().filter(|(_, record)| times[&(record.offset, record.value)] > 1))
}

fn choose<T>(random: &mut fastrand::Rng, from: impl IntoIterator<Item = T>) -> Option<T> {
    random.choice(from.into_iter().collect::<Vec<_>>())
}

fn records(history: &mut History, operation: usize) -> &mut Vec<Polled> {
    match &mut history.operations[operation].what {
        What::Poll { records } => records,
        other => panic!("{other:?} is no poll"),
    }
}

fn is_weak(history: &History, operation: &Operation) -> bool {
    ["weak", "plain"].contains(&history.client(operation.client))
}

fn read_another_value(history: &mut History, random: &mut fastrand::Rng) -> bool {
    let Some(((operation, place), _)) = polled_twice(history, random) else { return false };
    let other = polled(history, "email").first().map(|(_, record)| record.value);
    other.map(|value| records(history, operation)[place].value = value).is_some()
}

fn read_nonsense(history: &mut History, random: &mut fastrand::Rng) -> bool {
    let Some(((operation, place), _)) = polled_twice(history, random) else { return false };
    records(history, operation)[place].value = 1 << 40;
    true
}

fn leave_out(history: &mut History, random: &mut fastrand::Rng) -> bool {
    let Some(((operation, place), left)) = polled_twice(history, random) else { return false };
    let records = records(history, operation);
    let inside = |at: Option<usize>| {
        at.and_then(|at| records.get(at)).is_some_and(|record| record.partition == left.partition)
    };
    if !inside(place.checked_sub(1)) || !inside(Some(place + 1)) {
        return false;
    }
    records.remove(place);
    true
}

/// Of a value that was acknowledged, and that the last reader went past.
fn lose(history: &mut History, random: &mut fastrand::Rng) -> bool {
    let all = polled(history, "orders");
    let Some((_, last)) = all.last() else { return false };
    let sent = history.operations.iter().filter(|operation| {
        let is_lossless = operation.transaction.is_none() && !is_weak(history, operation);
        operation.is_ok() && is_lossless
    });
    let acknowledged = sent.filter_map(|operation| match &operation.what {
        What::Send { message, place: Some((_, offset)) } => Some((message.value, *offset)),
        _ => None,
    });
    let final_read = all.iter().filter(|((at, _), _)| *at + 1 == history.len());
    let candidates = final_read.map(|(_, record)| (record.value, record.offset));
    let candidates = candidates.filter(|(_, offset)| *offset < last.offset).collect::<Vec<_>>();
    let value = choose(random, acknowledged.filter(|sent| candidates.contains(sent)));
    let Some((value, _)) = value else { return false };
    for operation in &mut history.operations {
        if let What::Poll { records } = &mut operation.what {
            records.retain(|record| record.value != value);
        }
    }
    true
}

fn swap_records(history: &mut History, random: &mut fastrand::Rng) -> bool {
    let Some(((operation, place), _)) = polled_twice(history, random) else { return false };
    let records = records(history, operation);
    let Some([a, b]) = records.get(place..place + 2) else { return false };
    let same = a.partition == b.partition;
    if same {
        records.swap(place, place + 1);
    }
    same
}

fn read_again(history: &mut History, random: &mut fastrand::Rng) -> bool {
    let sent = history.operations.iter().filter(|operation| !is_weak(history, operation));
    let values = sent.filter_map(|operation| match operation.what {
        What::Send { message, .. } => Some(message.value),
        _ => None,
    });
    let values = values.collect::<BTreeSet<_>>();
    let all = polled(history, "orders");
    let last = all.last().copied().filter(|((at, _), _)| *at + 1 == history.len());
    let read = all
        .into_iter()
        .filter(|((at, _), record)| *at + 1 == history.len() && values.contains(&record.value));
    let (Some(((at, _), last)), Some((_, again))) = (last, choose(random, read)) else {
        return false;
    };
    let offset = last.offset.checked_add(1000).unwrap();
    records(history, at).push(Polled { offset, ..again });
    true
}

fn fail_send(history: &mut History, random: &mut fastrand::Rng) -> bool {
    let read = polled(history, "email").into_iter().map(|(_, record)| record.value);
    let Some(value) = choose(random, read) else { return false };
    let send = history.operations.iter_mut().find(
        |operation| matches!(operation.what, What::Send { message, .. } if message.value == value),
    );
    let Some(send) = send else { return false };
    send.ended = Some((send.ended.map_or(send.invoked, |(tick, _)| tick), Ending::Failed));
    true
}

fn abort(history: &mut History, random: &mut fastrand::Rng) -> bool {
    let read = polled(history, "email")
        .into_iter()
        .filter(|((at, _), _)| history.client(history.operations[*at].client) != "auditor");
    let read = read.map(|(_, record)| record.value).collect::<BTreeSet<_>>();
    let written = history.operations.iter().filter(|operation| {
        matches!(operation.what, What::Send { message, .. } if read.contains(&message.value))
    });
    let Some(id) = choose(random, written.filter_map(|operation| operation.transaction)) else {
        return false;
    };
    let mut ends =
        history.operations.iter_mut().filter(|operation| operation.transaction == Some(id));
    let end = ends.find(|operation| operation.what == What::EndTransaction { commit: true });
    end.map(|end| end.what = What::EndTransaction { commit: false }).is_some()
}

fn swap_sends(history: &mut History, random: &mut fastrand::Rng) -> bool {
    let mut sends = BTreeMap::<_, Vec<usize>>::new();
    for (at, operation) in history.operations.iter().enumerate() {
        if let What::Send { place: Some((partition, _)), .. } = operation.what
            && !is_weak(history, operation)
            && history.partitions.name(partition) == Some(&email())
        {
            sends.entry(operation.client).or_default().push(at);
        }
    }
    let Some(of_client) = choose(random, sends.values().filter(|sends| sends.len() > 1)) else {
        return false;
    };
    let first = random.usize(..of_client.len() - 1);
    let [a, b] = [of_client[first], of_client[first + 1]];
    let places = [b, a].map(|at| match history.operations[at].what {
        What::Send { place, .. } => place,
        _ => None,
    });
    for (at, new) in [a, b].into_iter().zip(places) {
        if let What::Send { place, .. } = &mut history.operations[at].what {
            *place = new;
        }
    }
    true
}

fn share(history: &mut History, random: &mut fastrand::Rng) -> bool {
    let [a, b] = ["m1", "m2"].map(|name| history.clients.id(&name.into()));
    let assigned = (0..history.len())
        .filter(|at| matches!(history.operations[*at].what, What::Assigned { .. }));
    let Some(at) = choose(random, assigned) else { return false };
    let mut other = history.operations[at].clone();
    other.client = if other.client == a { b } else { a };
    history.operations.insert(at, other);
    true
}

/// The answer becomes one that had been overwritten before it was asked for.
fn forget_commit(history: &mut History, random: &mut fastrand::Rng) -> bool {
    let mut commits = Vec::new();
    let mut stale = Vec::new();
    for (at, operation) in history.operations.iter().enumerate() {
        match &operation.what {
            What::Commit { offsets, .. } if !operation.is_failed() => {
                commits.extend(
                    offsets.iter().map(|(partition, offset)| (operation, *partition, *offset)),
                );
            }
            What::Committed { partition, .. } => {
                let of_partition = commits.iter().filter(|(_, of, _)| of == partition);
                let done = of_partition.clone().filter(|(commit, ..)| {
                    commit.transaction.is_none() && commit.done() < Some(operation.invoked)
                });
                let done = done.filter(|(commit, ..)| commit.is_ok()).collect::<Vec<_>>();
                let Some([.., (_, _, older), (_, _, newer)]) = done.get(..) else { continue };
                let times = of_partition.filter(|(_, _, offset)| offset == older).count();
                if times == 1 && older != newer {
                    stale.push((at, *older));
                }
            }
            _ => {}
        }
    }
    let Some((at, older)) = choose(random, stale) else { return false };
    if let What::Committed { offset, .. } = &mut history.operations[at].what {
        *offset = Some(older);
    }
    true
}
