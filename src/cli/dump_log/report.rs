//! What was found that does not fit, told at the end as Kafka's tool does.

use std::fmt;
use std::process::ExitCode;

use super::super::output::{Failure, Output};

/// Lines of one kind and file that are kept. The others are counted.
const MAX_LINES: usize = 10_000;

/// What was found in all files.
#[derive(Debug, Default)]
pub(super) struct Report {
    is_damaged: bool,
    findings: Vec<Findings>,
}

/// What was found of one kind in one file.
#[derive(Debug)]
pub(super) struct Findings {
    heading: String,
    lines: Vec<String>,
    more: u64,
}

impl Findings {
    pub(super) fn new(heading: impl fmt::Display) -> Self {
        Self { heading: heading.to_string(), lines: Vec::new(), more: 0 }
    }

    pub(super) fn add(&mut self, line: impl fmt::Display) {
        if self.lines.len() < MAX_LINES {
            self.lines.push(line.to_string());
        } else {
            self.more += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

impl Report {
    /// Something is damaged.
    pub(super) fn note_damage(&mut self) {
        self.is_damaged = true;
    }

    /// Adds findings that are worth telling, and no damage.
    pub(super) fn add(&mut self, findings: Findings) {
        if !findings.is_empty() {
            self.findings.push(findings);
        }
    }

    /// Adds findings that are damage.
    pub(super) fn add_damage(&mut self, findings: Findings) {
        self.is_damaged |= !findings.is_empty();
        self.add(findings);
    }

    /// Prints all of it, and says how the program ends.
    pub(super) fn print(self, output: &mut Output) -> Result<ExitCode, Failure> {
        for findings in self.findings {
            output.error(findings.heading)?;
            for line in findings.lines {
                output.error(line)?;
            }
            if findings.more > 0 {
                output.error(format_args!("  ... and {} more", findings.more))?;
            }
        }
        Ok(if self.is_damaged { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
