//! A disk that is full, at any point of each scenario (suite T10).
//!
//! Method: a scenario runs once to see how much it takes up. Then it runs with less and less room; whatever it was told,
//! there is room again then, the store is opened, and held against that; the same after a power cut.

use std::sync::Arc;
use std::thread;

use brooklet::sim::{PowerCut, Simulation};
use brooklet::{Cluster, ErrorKind, FlushPolicy};

use crate::report::{Report, full, seeds};
use crate::scenarios::{SCENARIOS, Scenario};
use crate::world::{World, use_again};

/// Sizes of the disk to try, in the quick tier.
const SIZES: u64 = 40;

/// Goal: a disk that is full costs what does not fit, is told as that, and nothing else is lost.
#[test]
fn a_full_disk_costs_only_what_does_not_fit() {
    let mut total = Report::new("T10");
    for seed in seeds(1) {
        total.seeds += 1;
        for pair in SCENARIOS.chunks(2) {
            let found = thread::scope(|scope| {
                let threads =
                    pair.iter().map(|scenario| scope.spawn(move || examine(scenario, seed)));
                let threads = threads.collect::<Vec<_>>();
                threads.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
            });
            for (scenario, found) in pair.iter().zip(found) {
                let Ok(found) = found else {
                    panic!(
                        "RELIABILITY suite=T10 first_bad={seed}: scenario {:?}; again with \
                         RELIABILITY_SEEDS={seed}..{} cargo test --test sim full_disk",
                        scenario.name,
                        seed + 1
                    )
                };
                total.add(&found);
            }
        }
    }
    total.say(format_args!("scenarios={} case=\"full disk\"", SCENARIOS.len()));
    assert!(total.faults >= 200, "{} times only was the disk full", total.faults);
}

fn examine(scenario: &'static Scenario, seed: u64) -> Report {
    let mut report = Report::new("T10");
    let clean = World::new(scenario.policy);
    let (run, in_it) = (scenario.run, Arc::clone(&clean));
    Simulation::new(seed).run(move |sim| run(sim, &in_it).unwrap());
    let needed = clean.disk().files().iter().map(|(_, length)| length).sum::<u64>();
    let sizes = if full() { needed } else { SIZES.min(needed) };
    for part in 0..sizes {
        examine_size(scenario, seed, needed * part / sizes, &mut report);
    }
    report
}

fn examine_size(scenario: &'static Scenario, seed: u64, size: u64, report: &mut Report) {
    let world = World::new(scenario.policy);
    world.disk().set_capacity(Some(size));
    let (run, in_it) = (scenario.run, Arc::clone(&world));
    let ended = Simulation::new(seed).run(move |sim| {
        let ended = run(sim, &in_it);
        // Handles of threads that are not through yet keep the store open for a moment.
        sim.sleep(std::time::Duration::from_millis(50));
        ended
    });
    if let Err(error) = ended.value {
        let place = format!("in {:?} of seed {seed} with {size} bytes", scenario.name);
        // Groups have no coordinator as long as their topic does not fit.
        let is_told =
            matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::CoordinatorNotAvailable);
        assert!(is_told, "{place}: {error:?}");
        report.faults += 1;
    }
    world.disk().heal();
    let known = world.known(&[usize::MAX]);
    report.acked += known.acknowledged;
    report.ops += world.disk().calls();
    for disk in [world.disk().image(PowerCut::KeepsAll), world.disk().image(PowerCut::Mixes(size))]
    {
        let policy = scenario.policy;
        let open = || open(&disk, policy);
        report.states += 1;
        let cluster = open();
        report.records_checked += known.check(&cluster);
        report.records_checked += use_again(cluster, open);
    }
}

fn open(disk: &brooklet::sim::Disk, policy: FlushPolicy) -> Cluster {
    let opened = Cluster::builder().flush_policy(policy).open_on(disk);
    opened.unwrap_or_else(|error| panic!("the store cannot be opened: {error:?}"))
}
