//! Text out: results to the standard output, what is wrong to the standard error.

use std::fmt;
use std::io::{self, BufWriter, StdoutLock, Write};

/// Where the program writes. Lines of both streams keep their order.
pub(super) struct Output {
    stdout: BufWriter<StdoutLock<'static>>,
}

impl Output {
    pub(super) fn new() -> Self {
        Self { stdout: BufWriter::new(io::stdout().lock()) }
    }

    /// Writes a line of the result.
    pub(super) fn line(&mut self, line: impl fmt::Display) -> io::Result<()> {
        writeln!(self.stdout, "{line}")
    }

    /// Writes a line about what is wrong.
    pub(super) fn error(&mut self, line: impl fmt::Display) -> io::Result<()> {
        self.stdout.flush()?;
        writeln!(io::stderr(), "{line}")
    }

    /// For whole files of text.
    pub(super) fn stdout(&mut self) -> &mut dyn Write {
        &mut self.stdout
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }
}

/// Why a command ended early.
#[derive(Debug)]
pub(super) enum Failure {
    /// The output cannot be written.
    Output(io::Error),
    /// What the user is told.
    Message(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<brooklet::Error> for Failure {
    fn from(error: brooklet::Error) -> Self {
        Self::Message(with_causes(&error))
    }
}

/// The message of an error and those of its causes.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
