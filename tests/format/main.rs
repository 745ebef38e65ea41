//! Bytes from outside (suite T7): whatever they are, reading them ends with records or with an error, soon, and in bounded
//! memory. Bugs H1 to H4, A7, A16, F9.
//!
//! Each body of `targets` is run on the inputs of `tests/fixtures/corpus`, then on inputs like them, as many as go into
//! `RELIABILITY_SECS` (2 for each body). `RELIABILITY_SEEDS=A..B` chooses other ones. The fuzzer in `tests/fuzz` runs the
//! same bodies.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::little_endian_bytes,
    clippy::print_stdout,
    reason = "a test fails by panicking, reads its corpus, and reports its figures"
)]

mod bombs;
mod crossread;
mod memory;
mod mutate;
mod names;
#[allow(dead_code, reason = "other suites count more than this one")]
#[path = "../sim/report.rs"]
mod report;
mod targets;

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use report::{Report, seeds};
use targets::{TARGETS, Target};

/// Seconds of random inputs for each target.
const QUICK: f64 = 2.0;

/// Most time for one input. A machine that is busy with other things takes a multiple of what it should.
const MAX_TIME: Duration = Duration::from_secs(20);

/// Whoever measures memory is alone.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Goal: no bytes lead to a panic, to other records than were written, or to more memory than their share.
#[test]
fn any_bytes_are_records_or_an_error() {
    let _alone = alone();
    let mut report = Report::new("T7");
    let mut executions = Vec::new();
    let secs = std::env::var("RELIABILITY_SECS").ok().and_then(|secs| secs.parse().ok());
    let time = Duration::from_secs_f64(secs.unwrap_or(QUICK));
    let only = std::env::var("RELIABILITY_TARGET").ok();
    report.seeds = seeds(1).end - seeds(1).start;
    for target in TARGETS.iter().filter(|t| only.as_ref().is_none_or(|only| only == t.name)) {
        let mut inputs = corpus(target.name);
        inputs.extend((target.seeds)());
        inputs.push(Vec::new());
        let mut count = 0;
        let mut most = 0.0f64;
        for (number, input) in inputs.iter().enumerate() {
            most = most.max(run(target, input, || format!("input {number}")));
            count += 1;
        }
        for seed in seeds(1) {
            let mut rng = fastrand::Rng::with_seed(seed);
            let until = Instant::now() + time / (seeds(1).end - seeds(1).start) as u32;
            while Instant::now() < until {
                let input = mutate::mutate(&inputs, &mut rng);
                most = most.max(run(target, &input, || format!("seed {seed}")));
                count += 1;
            }
        }
        executions.push(format!("{}={count}/{:.0}%", target.name, most * 100.0));
        report.ops += count;
        report.states += inputs.len() as u64;
    }
    report.say(format_args!(
        "targets={} executions_and_memory: {}",
        executions.len(),
        executions.join(" ")
    ));
}

/// For the fuzzer: what it begins with.
#[test]
#[ignore = "writes files to the folder CORPUS"]
fn seeds_are_written_for_the_fuzzer() {
    let folder = PathBuf::from(std::env::var_os("CORPUS").expect("CORPUS names a folder"));
    for target in TARGETS {
        let folder = folder.join(target.name);
        fs::create_dir_all(&folder).unwrap();
        let inputs = corpus(target.name).into_iter().chain((target.seeds)());
        for (number, input) in inputs.enumerate() {
            fs::write(folder.join(format!("{number:03}")), input).unwrap();
        }
    }
}

/// Runs a target's body. Returns what part it took of the memory that it may take.
fn run(target: &Target, input: &[u8], place: impl Fn() -> String) -> f64 {
    let began = Instant::now();
    let mut ended = Ok(());
    let peak = memory::peak_of(|| {
        ended = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    });
    let limit = target.memory.limit(input.len());
    let took = began.elapsed();
    if ended.is_err() || peak > limit || took > MAX_TIME {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.input", target.name));
        fs::write(&kept, input).unwrap();
        panic!(
            "RELIABILITY suite=T7 first_bad={}: {} of {} bytes, kept in {}: panicked: {}, {peak} of {limit} bytes \
             of memory, {took:?}",
            target.name,
            place(),
            input.len(),
            kept.display(),
            ended.is_err()
        );
    }
    peak as f64 / limit as f64
}

/// The inputs that are kept for a target.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/corpus").join(name);
    let mut files = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect::<Vec<_>>();
    files.sort();
    files.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// A limit that is never met could be none.
#[test]
fn memory_that_is_taken_is_counted() {
    let _alone = alone();
    let took = memory::peak_of(|| drop(vec![1u8; 3 << 20]));
    assert!((3 << 20..4 << 20).contains(&took), "{took}");
}
