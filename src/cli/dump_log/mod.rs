//! `brooklet dump-log`: Kafka's `kafka-dump-log`.

mod index;
mod log;
mod report;
mod state;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::output::{Failure, Output};
use report::Report;

/// Print what is in files of a log, and check it
///
/// Reads files of Kafka and of brooklet, also those in use: .log, .index, .timeindex, .txnindex, .snapshot, .checkpoint
/// (Kafka's metadata snapshots), .digest, leader-epoch-checkpoint, *-offset-checkpoint and partition.metadata. The name of a
/// file tells what is in it. What does not fit is reported at the end, on the standard error.
///
/// Exits with 1 if a file cannot be read, or something in it is damaged. Gaps between offsets, as compaction leaves
/// them, are reported, and are no damage.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The files, separated by commas or spaces. Beside an index the .log file of its segment has to lie, and beside a
    /// .timeindex the .index as well
    #[arg(long, required = true, num_args = 1.., value_delimiter = ',', value_name = "FILES")]
    files: Vec<PathBuf>,

    /// Print keys and values of the records too; implies --deep-iteration
    #[arg(long)]
    print_data_log: bool,

    /// Print the records of each batch, not only the batch
    #[arg(long)]
    deep_iteration: bool,

    /// Print keys and values alone, without offset, timestamp, sizes and headers
    #[arg(long)]
    skip_record_metadata: bool,

    /// Check indexes against their logs without printing the entries
    #[arg(long)]
    verify_index_only: bool,

    /// Make the checks alone by which Kafka tells whether an index has to be rebuilt
    #[arg(long)]
    index_sanity_check: bool,

    /// Look at the batches within so many bytes of each .log file
    #[arg(long, value_name = "BYTES")]
    max_bytes: Option<u64>,

    /// Pass over batches that take more memory than this, as they are or decompressed
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    max_message_size: usize,
}

impl Options {
    fn prints_records(&self) -> bool {
        self.deep_iteration || self.print_data_log
    }
}

/// Prints the files one after another. One that cannot be read does not keep the others from it.
pub(super) fn run(options: &Options, output: &mut Output) -> Result<ExitCode, Failure> {
    let mut report = Report::default();
    for path in &options.files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut dump = Dump { path, name: &name, options, output, report: &mut report };
        dump.line(format_args!("Dumping {}", path.display()))?;
        match dump.file() {
            Err(Failure::Message(message)) => dump.damaged(message)?,
            result => result?,
        }
    }
    report.print(output)
}

/// One file that is printed.
struct Dump<'a> {
    path: &'a Path,
    /// Without the folders it is in.
    name: &'a str,
    options: &'a Options,
    output: &'a mut Output,
    report: &'a mut Report,
}

impl Dump<'_> {
    fn file(&mut self) -> Result<(), Failure> {
        match self.name.rsplit_once('.') {
            Some((_, "log" | "checkpoint")) => log::dump(self),
            Some((_, "index")) => index::dump_offsets(self),
            Some((_, "timeindex")) => index::dump_times(self),
            Some((_, "txnindex")) => state::dump_transactions(self),
            Some((_, "snapshot")) => state::dump_producers(self),
            Some((_, "digest")) => state::dump_digest(self),
            _ if self.name == "leader-epoch-checkpoint" => state::dump_leader_epochs(self),
            _ if self.name.ends_with("-offset-checkpoint") => state::dump_offsets(self),
            _ if self.name == "partition.metadata" => state::dump_topic_id(self),
            _ => {
                let path = self.path.display();
                Ok(self.output.error(format_args!("Ignoring unknown file {path}"))?)
            }
        }
    }

    /// Prints a line of what is in the file.
    fn line(&mut self, line: impl fmt::Display) -> Result<(), Failure> {
        Ok(self.output.line(line)?)
    }

    /// Tells of something that cannot be read; the rest will be.
    fn damaged(&mut self, what: impl fmt::Display) -> Result<(), Failure> {
        self.report.note_damage();
        Ok(self.output.error(format_args!("Error: {what}"))?)
    }

    /// The file of the same segment that holds something else.
    fn sibling(&self, suffix: &str) -> PathBuf {
        let base = self.name.split('.').next().unwrap_or_default();
        self.path.with_file_name(format!("{base}.{suffix}"))
    }
}

/// `-1` for what is not there, as Kafka prints it.
fn or_minus_one<T: Into<i64>>(value: Option<T>) -> i64 {
    value.map_or(-1, Into::into)
}
