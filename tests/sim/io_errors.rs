//! An error of every call to the disk (suite T2): bugs A5, A7, A13, B7, F1.
//!
//! Method: a scenario runs once to count its calls. Then it runs again for each of them, and for each kind of error,
//! and that call fails: once, or with all that come after. When the scenario has given up, or come to its end, the disk is
//! healed, the store opened and held against what the program was told; the same after a power cut.

use std::io;
use std::sync::Arc;
use std::thread;

use brooklet::sim::{Disk, Fault, PowerCut, Simulation};
use brooklet::{Cluster, FlushPolicy, Offset};

use crate::report::{Report, full, seeds};
use crate::scenarios::{SCENARIOS, Scenario};
use crate::world::{Known, World, topics, use_again};

const ERRORS: [io::ErrorKind; 5] = [
    io::ErrorKind::Other,
    io::ErrorKind::StorageFull,
    io::ErrorKind::Interrupted,
    io::ErrorKind::PermissionDenied,
    io::ErrorKind::UnexpectedEof,
];

/// Of the calls and errors, one in so many is tried in the quick tier.
const STRIDE: u64 = 6;

/// Goal: an error says what is known, costs nothing that was acknowledged, and leaves a store that opens.
#[test]
fn an_error_of_any_call_costs_nothing_that_was_acknowledged() {
    let mut total = Report::new("T2");
    for seed in seeds(1) {
        total.seeds += 1;
        for pair in SCENARIOS.chunks(2) {
            let found = thread::scope(|scope| {
                let threads = pair.iter().map(|scenario| {
                    let name = format!("{} ({seed})", scenario.name);
                    let examine = move || examine(scenario, seed);
                    thread::Builder::new().name(name).spawn_scoped(scope, examine)
                });
                let threads = threads.collect::<Vec<_>>();
                threads.into_iter().map(|thread| thread.unwrap().join()).collect::<Vec<_>>()
            });
            for (scenario, found) in pair.iter().zip(found) {
                let Ok(found) = found else {
                    panic!(
                        "RELIABILITY suite=T2 first_bad={seed}: scenario {:?}; again with \
                         RELIABILITY_SEEDS={seed}..{} cargo test --test sim io_errors",
                        scenario.name,
                        seed + 1
                    )
                };
                total.add(&found);
            }
        }
    }
    total.say(format_args!("scenarios={}", SCENARIOS.len()));
    assert!(total.faults >= 5_000, "{} faults are too few", total.faults);
}

fn examine(scenario: &'static Scenario, seed: u64) -> Report {
    let mut report = Report::new("T2");
    let clean = World::new(scenario.policy);
    let (run, in_it) = (scenario.run, Arc::clone(&clean));
    Simulation::new(seed).run(move |sim| run(sim, &in_it).unwrap());
    let calls = clean.disk().calls();
    let stride = if full() { 1 } else { STRIDE };
    let tries = (0..calls).flat_map(|call| {
        let errors = ERRORS.into_iter().enumerate();
        errors.flat_map(move |(kind, error)| {
            [false, true].map(|for_good| {
                (call * 10 + kind as u64 * 2 + u64::from(for_good), call, error, for_good)
            })
        })
    });
    for (number, call, error, for_good) in tries {
        if number % stride != seed % stride {
            continue;
        }
        let moment = Moment { scenario, seed, call, error, for_good };
        moment.examine(&mut report);
    }
    report
}

/// A call that fails.
#[derive(Clone, Copy)]
struct Moment {
    scenario: &'static Scenario,
    seed: u64,
    call: u64,
    error: io::ErrorKind,
    for_good: bool,
}

impl Moment {
    fn examine(self, report: &mut Report) {
        let world = World::new(self.scenario.policy);
        let fault = Fault::new(self.error).after(self.call);
        world.disk().fail(if self.for_good { fault.for_good() } else { fault });
        let (run, in_it) = (self.scenario.run, Arc::clone(&world));
        let place = Place(self);
        Simulation::new(self.seed).run(move |sim| {
            let _gave_up = run(sim, &in_it);
            // Handles of threads that are not through yet keep the store open for a moment.
            sim.sleep(std::time::Duration::from_millis(50));
        });
        world.disk().heal();
        let known = world.known(&[usize::MAX]);
        report.faults += 1;
        report.acked += known.acknowledged;
        report.ops += world.disk().calls();
        let crashed = [
            PowerCut::LosesAll,
            PowerCut::Mixes(self.call),
            PowerCut::Mixes(self.call + (1 << 32)),
        ]
        .map(|cut| world.disk().image(cut));
        for disk in [world.disk().clone()].iter().chain(&crashed) {
            let policy = self.scenario.policy;
            let cluster = open(disk, policy);
            report.states += 1;
            report.records_checked += known.check(&cluster);
            // R4: what recovery kept has been written again, whatever became of it the first time.
            let after = open(&disk.image(PowerCut::LosesAll), policy);
            report.records_checked += known.check(&after);
            assert_eq!(ends(&after), ends(&cluster), "what could be read could be read no more");
            drop(after);
            report.records_checked += use_again(cluster, || open(disk, policy));
            for (path, _) in disk.files() {
                assert!(path.extension().is_none_or(|e| e != "tmp"), "{} is left", path.display());
            }
        }
        drop(place);
    }
}

/// Goal: an error while a store is being recovered costs nothing either (A5). Method: the power is cut at some moments of
/// each scenario, and the store opened, where one call fails; what was opened is closed, as far as that goes. Then it is
/// opened once more, and held against what was known when the power was cut.
#[test]
fn an_error_in_recovery_costs_nothing() {
    let mut total = Report::new("T2");
    for seed in seeds(1) {
        total.seeds += 1;
        for scenario in SCENARIOS {
            let world = World::new(scenario.policy);
            world.disk().record();
            let (run, in_it) = (scenario.run, Arc::clone(&world));
            Simulation::new(seed).run(move |sim| run(sim, &in_it).unwrap());
            let mut journal = world.disk().journal();
            let moments = if full() { 50 } else { 5 };
            let stride = journal.len() / moments + 1;
            while journal.step() {
                if journal.done() % stride == stride / 2 {
                    let image = journal.image(PowerCut::Mixes(seed + journal.done() as u64));
                    let known = world.known(&[journal.done()]);
                    let place = format!("{:?} of seed {seed} at {}", scenario.name, journal.done());
                    fail_recovery(&image, &known, scenario.policy, &place, &mut total);
                }
            }
        }
    }
    total.say("in_recovery");
    assert!(total.faults >= 1_000, "{} faults are too few", total.faults);
}

fn fail_recovery(
    image: &Disk,
    known: &Known,
    policy: FlushPolicy,
    place: &str,
    report: &mut Report,
) {
    let opened = image.image(PowerCut::KeepsAll);
    drop(open(&opened, policy));
    for call in 0..opened.calls() {
        let error = ERRORS[call as usize % ERRORS.len()];
        let disk = image.image(PowerCut::KeepsAll);
        disk.fail(Fault::new(error).after(call));
        if let Ok(cluster) = Cluster::builder().flush_policy(policy).open_on(&disk) {
            let _closed = cluster.close();
        }
        disk.heal();
        report.faults += 1;
        let cluster = Cluster::builder().flush_policy(policy).open_on(&disk);
        let cluster = cluster.unwrap_or_else(|e| panic!("{place}, call {call} {error:?}: {e:?}"));
        let _place = InRecovery { place, call, error };
        report.states += 1;
        report.records_checked += known.check(&cluster);
        report.records_checked += use_again(cluster, || open(&disk, policy));
    }
}

/// Up to where each partition can be read.
fn ends(cluster: &Cluster) -> Vec<(String, Offset)> {
    let partitions = topics(cluster).flat_map(|topic| topic.partitions());
    partitions.map(|p| (p.to_string(), p.watermarks().unwrap().high)).collect()
}

struct InRecovery<'a> {
    place: &'a str,
    call: u64,
    error: io::ErrorKind,
}

impl Drop for InRecovery<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let Self { place, call, error } = self;
            println!("in {place}: call {call} of the recovery fails with {error:?}");
        }
    }
}

struct Place(Moment);

impl Drop for Place {
    fn drop(&mut self) {
        if thread::panicking() {
            let Moment { scenario, seed, call, error, for_good } = self.0;
            let how = if for_good { "and all later ones fail" } else { "fails" };
            println!("in {:?} of seed {seed}: call {call} {how} with {error:?}", scenario.name);
        }
    }
}

fn open(disk: &Disk, policy: FlushPolicy) -> Cluster {
    let opened = Cluster::builder().flush_policy(policy).open_on(disk);
    opened.unwrap_or_else(|error| panic!("the store cannot be opened: {error:?}"))
}
