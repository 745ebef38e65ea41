//! The line that a suite prints, and what it was asked to do.

use std::fmt;
use std::io::Write;
use std::ops::Range;
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

/// Whether to take the time for everything.
pub(crate) fn full() -> bool {
    std::env::var("RELIABILITY_FULL").is_ok_and(|value| value == "1")
}
