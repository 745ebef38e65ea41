//! The line that a suite prints, and what it was asked to do.

use std::fmt;
use std::io::Write;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

/// Figures of one suite.
pub(crate) struct Report {
    pub(crate) suite: &'static str,
    pub(crate) seeds: u64,
    pub(crate) ops: u64,
    pub(crate) states: u64,
    pub(crate) faults: u64,
    pub(crate) records_checked: u64,
    pub(crate) acked: u64,
    began: Instant,
}

impl Report {
    #[allow(clippy::disallowed_methods, reason = "how long it takes is for people to read")]
    pub(crate) fn new(suite: &'static str) -> Self {
        Self {
            suite,
            seeds: 0,
            ops: 0,
            states: 0,
            faults: 0,
            records_checked: 0,
            acked: 0,
            began: Instant::now(),
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.ops += other.ops;
        self.states += other.states;
        self.faults += other.faults;
        self.records_checked += other.records_checked;
        self.acked += other.acked;
    }

    /// Prints the line, and other figures behind it.
    pub(crate) fn say(&self, figures: impl fmt::Display) {
        say(format_args!("{self} {figures}"));
    }
}

/// A suite that finds anything panics, and says what and under which seed: whoever gets to print has found nothing.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { suite, seeds, ops, states, faults, records_checked, acked, began } = self;
        write!(
            f,
            "RELIABILITY suite={suite} seeds={seeds} ops={ops} states={states} faults={faults} \
             records_checked={records_checked} acked={acked} lost_acked=0 dup=0 wrong=0 panics=0 \
             secs={:.1} first_bad=none",
            began.elapsed().as_secs_f64()
        )
    }
}

/// Says a line to whoever runs the tests: past the harness, which swallows what passing tests print.
pub(crate) fn say(line: impl fmt::Display) {
    // The harness may have begun a line.
    std::io::stdout().write_all(format!("\n{line}\n").as_bytes()).unwrap();
}

/// The seeds to run: those asked for, or the first `quick`.
pub(crate) fn seeds(quick: u64) -> Range<u64> {
    let asked = std::env::var("RELIABILITY_SEEDS").ok();
    let range = asked.and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    range.unwrap_or(0..quick)
}

/// What one seed of a simulation came to.
pub(crate) struct Lived {
    pub(crate) trace: u64,
    pub(crate) ops: u64,
    pub(crate) faults: u64,
    pub(crate) records_checked: u64,
    pub(crate) acked: u64,
}

/// Runs the simulation `live` (suite T3), which is the test `name`, under the seeds that are asked for; or else under the
/// first `quick`, and those that have `found` a bug. Now and then one twice: it must be the same then.
pub(crate) fn run_seeds(name: &str, quick: u64, found: &[u64], live: impl Fn(u64) -> Lived) {
    let live = AssertUnwindSafe(live);
    let mut total = Report::new("T3");
    let found = if std::env::var_os("RELIABILITY_SEEDS").is_none() { found } else { &[] };
    for seed in seeds(quick).chain(found.iter().copied()) {
        let lived = std::panic::catch_unwind(|| live(seed)).unwrap_or_else(|panic| {
            println!(
                "RELIABILITY suite=T3 first_bad={seed}: again with RELIABILITY_SEEDS={seed}..{} \
                 cargo test --test sim {name}",
                seed + 1
            );
            std::panic::resume_unwind(panic)
        });
        if seed % 50 == 0 {
            assert_eq!(live(seed).trace, lived.trace, "seed {seed} is not the same twice");
        }
        total.seeds += 1;
        total.ops += lived.ops;
        total.faults += lived.faults;
        total.records_checked += lived.records_checked;
        total.acked += lived.acked;
    }
    total.say(format_args!("of={name}"));
    assert!(
        total.seeds < 20 || total.acked > 10 * total.seeds,
        "{} acknowledged are too few",
        total.acked
    );
}

/// Whether to take the time for everything.
pub(crate) fn full() -> bool {
    std::env::var("RELIABILITY_FULL").is_ok_and(|value| value == "1")
}
