//! Every state that a power cut could leave (suite T1): bugs A1, A2, A4, A6, A10, A12, A16, A17, A20, A21, A22, A23, A27.
//!
//! Method: a scenario runs once while the disk keeps a journal. Then, for each moment of it, the disk is made what a
//! power cut at that moment could have left: all that was not synced lost, or kept, or each part of it alone lost or kept, or
//! mixes by a seed. The store is opened and held against what the program could know at that moment, used, closed, and opened
//! again. For some states the same is done with the moments of that opening.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;

use brooklet::sim::{Disk, Journal, PowerCut, Simulation};
use brooklet::{Cluster, FlushPolicy};

use crate::report::{Report, full, seeds};
use crate::scenarios::{SCENARIOS, Scenario};
use crate::world::{Known, World, use_again};

/// Mixes for each moment, in the quick tier.
const MIXES: u64 = 5;

/// One state in so many has its opening looked at too.
const DEEPER: u64 = 300;

/// Goal: whatever of a store is lost in a power cut, what was acknowledged is not, and nothing is invented.
#[test]
fn every_state_after_a_power_cut_opens_with_what_was_acknowledged() {
    let seeds = seeds(1);
    let mut total = Report::new("T1");
    let mut images = BTreeSet::new();
    let (mut calls, mut max_pending) = (0, 0);
    for seed in seeds {
        total.seeds += 1;
        // Two at a time: each runs one thread at a time.
        for pair in SCENARIOS.chunks(2) {
            let found = thread::scope(|scope| {
                let threads = pair.iter().map(|scenario| {
                    let name = format!("{} ({seed})", scenario.name);
                    thread::Builder::new()
                        .name(name)
                        .spawn_scoped(scope, move || examine(scenario, seed))
                });
                let threads = threads.collect::<Vec<_>>();
                threads.into_iter().map(|thread| thread.unwrap().join()).collect::<Vec<_>>()
            });
            for (scenario, found) in pair.iter().zip(found) {
                let Ok(found) = found else {
                    panic!(
                        "RELIABILITY suite=T1 first_bad={seed}: scenario {:?}; again with \
                         RELIABILITY_SEEDS={seed}..{} cargo test --test sim crash_states",
                        scenario.name,
                        seed + 1
                    )
                };
                total.add(&found.report);
                images.extend(found.images);
                calls += found.calls;
                max_pending = max_pending.max(found.max_pending);
            }
        }
    }
    total.say(format_args!(
        "scenarios={} calls={calls} max_pending={max_pending} distinct_images={}",
        SCENARIOS.len(),
        images.len()
    ));
    assert!(total.states >= 20_000, "{} states are too few", total.states);
}

struct Found {
    report: Report,
    images: BTreeSet<u64>,
    calls: u64,
    max_pending: usize,
}

fn examine(scenario: &Scenario, seed: u64) -> Found {
    let world = World::new(scenario.policy);
    world.disk().record();
    let (run, in_it) = (scenario.run, Arc::clone(&world));
    Simulation::new(seed).run(move |sim| run(sim, &in_it).unwrap());
    let mut found = Found {
        report: Report::new("T1"),
        images: BTreeSet::new(),
        calls: world.disk().calls(),
        max_pending: 0,
    };
    let mut journal = world.disk().journal();
    loop {
        found.max_pending = found.max_pending.max(journal.unsynced());
        let known = world.known(&[journal.done()]);
        found.report.acked = known.acknowledged;
        for cut in cuts(&journal, seed) {
            let image = journal.image(cut);
            found.images.insert(image.fingerprint());
            let number = found.report.states;
            let moment = Moment { scenario, done: journal.done(), cut, number, seed };
            found.report.records_checked += moment.examine(&image, &known, &mut found.report);
        }
        if !journal.step() {
            break;
        }
    }
    found.report.ops = found.calls;
    found
}

/// The power cuts to be tried at this point of a journal.
fn cuts(journal: &Journal, seed: u64) -> Vec<PowerCut> {
    let unsynced = journal.unsynced();
    let single = (0..unsynced).flat_map(|at| [PowerCut::LosesOne(at), PowerCut::KeepsOne(at)]);
    let mixes = if full() { 32 } else { MIXES };
    let first = seed.wrapping_mul(1_000_003).wrapping_add(journal.done() as u64) * mixes;
    let mixed = (first..first + mixes).map(PowerCut::Mixes);
    let all = [PowerCut::LosesAll, PowerCut::KeepsAll].into_iter();
    if unsynced == 0 { all.take(1).collect() } else { all.chain(single).chain(mixed).collect() }
}

/// A moment at which the power was cut.
struct Moment<'a> {
    scenario: &'a Scenario,
    done: usize,
    cut: PowerCut,
    number: u64,
    seed: u64,
}

impl Moment<'_> {
    fn examine(&self, image: &Disk, known: &Known, report: &mut Report) -> u64 {
        report.states += 1;
        let deeper = self.number.is_multiple_of(DEEPER);
        if deeper {
            self.examine_opening(image, known, report);
        }
        self.say_where(|| {
            let cluster = open(image, self.scenario.policy);
            let checked = known.check(&cluster);
            checked + use_again(cluster, || open(image, self.scenario.policy))
        })
    }

    /// A10: the power may go again, while the store is being opened.
    fn examine_opening(&self, image: &Disk, known: &Known, report: &mut Report) {
        let opened = image.image(PowerCut::KeepsAll);
        opened.record();
        let cluster = open(&opened, self.scenario.policy);
        let mut journal = opened.journal();
        drop(cluster);
        loop {
            for cut in [PowerCut::LosesAll, PowerCut::KeepsAll, PowerCut::Mixes(self.number)] {
                report.states += 1;
                let again = journal.image(cut);
                self.say_where(|| {
                    let cluster = open(&again, self.scenario.policy);
                    report.records_checked += known.check(&cluster);
                    drop(cluster);
                    known.check(&open(&again, self.scenario.policy));
                });
            }
            if !journal.step() {
                return;
            }
        }
    }

    fn say_where<T>(&self, look: impl FnOnce() -> T) -> T {
        struct Place<'a>(&'a Moment<'a>);
        impl Drop for Place<'_> {
            fn drop(&mut self) {
                if thread::panicking() {
                    let Moment { scenario, done, cut, seed, .. } = self.0;
                    println!("in {:?} of seed {seed} after {done} changes, {cut:?}", scenario.name);
                }
            }
        }
        let _place = Place(self);
        look()
    }
}

fn open(disk: &Disk, policy: FlushPolicy) -> Cluster {
    let opened = Cluster::builder().flush_policy(policy).open_on(disk);
    opened.unwrap_or_else(|error| panic!("the store cannot be opened: {error:?}"))
}
