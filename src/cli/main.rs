//! The program `brooklet`: Kafka's tools, for stores of brooklet and for the files of both.
//!
//! One file per command, text in and text out. A crate of its own, which has nothing but the library's public API.

mod dump_log;
mod output;
mod topics;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use output::{Failure, Output};

/// Look at the files of logs, and manage the topics of a store
///
/// The commands take the options of Kafka's tools of the same name, and print what those print. A store is named by its
/// directory instead of a server.
#[derive(Debug, Parser)]
#[command(name = "brooklet", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    DumpLog(dump_log::Options),
    Topics(topics::Options),
    /// Print a script that completes commands and options in a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nobody is left to be told that this could not be printed.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    if log::set_logger(&Warnings).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
    let mut output = Output::new();
    let result = run(arguments.command, &mut output).and_then(|code| {
        output.flush()?;
        Ok(code)
    });
    match result {
        Ok(code) => code,
        // Whoever reads has seen enough, as in `brooklet dump-log ... | head`.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let message = match failure {
                Failure::Output(error) => format!("Error: cannot write the output: {error}"),
                Failure::Message(message) => message,
            };
            // The exit code says the same.
            let _ = output.error(message);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, output: &mut Output) -> Result<ExitCode, Failure> {
    match command {
        Command::DumpLog(options) => dump_log::run(&options, output),
        Command::Topics(options) => topics::run(&options, output),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "brooklet", &mut script);
            output.stdout().write_all(&script)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Shows the library's warnings.
struct Warnings;

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            use io::Write;
            // There is no other place to report that this failed.
            let _ = writeln!(io::stderr(), "{}: {}", record.level(), record.args());
        }
    }

    fn flush(&self) {}
}
