//! Offset and time indexes.

use std::path::Path;

use brooklet::inspect::{LogFile, OffsetIndex, TimeIndex, TimeMismatch};
use brooklet::{Offset, Timestamp};

use super::super::output::{Failure, with_causes};
use super::report::{Findings, Report};
use super::{Dump, or_minus_one};

pub(super) fn dump_offsets(dump: &mut Dump<'_>) -> Result<(), Failure> {
    let index = OffsetIndex::open(dump.path)?;
    if index.entries().next().is_none() {
        return dump.line(format_args!("{} is empty.", dump.path.display()));
    }
    if dump.options.index_sanity_check {
        index.sanity_check()?;
        return dump.line(format_args!("{} passed sanity check.", dump.path.display()));
    }
    let log = LogFile::open(dump.sibling("log"))?;
    for entry in index.entries() {
        match entry {
            Ok(entry) if !dump.options.verify_index_only => {
                dump.line(format_args!("offset: {} position: {}", entry.offset, entry.position))?
            }
            Ok(_) => {}
            Err(error) => dump.damaged(with_causes(&error))?,
        }
    }
    let mut mismatches = Findings::new(format_args!("Mismatches in :{}", dump.path.display()));
    for mismatch in index.verify(&log) {
        let mismatch = mismatch?;
        let found = or_minus_one(mismatch.found.map(Offset::value));
        let offset = mismatch.entry.offset;
        mismatches.add(format_args!("  Index offset: {offset}, log offset: {found}"));
    }
    dump.report.add_damage(mismatches);
    Ok(())
}

pub(super) fn dump_times(dump: &mut Dump<'_>) -> Result<(), Failure> {
    let index = TimeIndex::open(dump.path)?;
    if dump.options.index_sanity_check {
        index.sanity_check()?;
        return dump.line(format_args!("{} passed sanity check.", dump.path.display()));
    }
    let log = LogFile::open(dump.sibling("log"))?.max_batch_bytes(dump.options.max_message_size);
    let offsets = OffsetIndex::open(dump.sibling("index"))?;
    for entry in index.entries() {
        match entry {
            Ok(entry) if !dump.options.verify_index_only => {
                let timestamp = entry.timestamp.as_millis();
                dump.line(format_args!("timestamp: {timestamp} offset: {}", entry.offset))?
            }
            Ok(_) => {}
            Err(error) => dump.damaged(with_causes(&error))?,
        }
    }
    let mut found = TimeFindings::new(dump.path);
    for mismatch in index.verify(&offsets, &log) {
        found.add(&mismatch?);
    }
    found.report(dump.report);
    Ok(())
}

/// What is wrong with a time index, by kind.
struct TimeFindings {
    timestamps: Findings,
    timestamp_order: Findings,
    not_found: Findings,
    offset_order: Findings,
    unreadable: Findings,
}

impl TimeFindings {
    fn new(path: &Path) -> Self {
        let findings = |what| Findings::new(format_args!("{what} in :{}", path.display()));
        Self {
            timestamps: findings("Found timestamp mismatch"),
            timestamp_order: findings("Found out of order timestamp"),
            not_found: Findings::new("The following indexed offsets are not found in the log."),
            offset_order: findings("Found out of order offset"),
            unreadable: findings("Found unreadable batches for entries"),
        }
    }

    fn add(&mut self, mismatch: &TimeMismatch) {
        match mismatch {
            TimeMismatch::Timestamp { entry, found } => self.timestamps.add(format_args!(
                "  Index timestamp: {}, log timestamp: {}",
                entry.timestamp.as_millis(),
                or_minus_one(found.map(Timestamp::as_millis))
            )),
            TimeMismatch::TimestampOutOfOrder { entry, previous } => {
                self.timestamp_order.add(format_args!(
                    "  Index timestamp: {}, Previously indexed timestamp: {}",
                    entry.timestamp.as_millis(),
                    previous.timestamp.as_millis()
                ))
            }
            TimeMismatch::NotFound { entry, found } => self.not_found.add(format_args!(
                "Indexed offset: {}, found log offset: {}",
                entry.offset,
                or_minus_one(found.map(Offset::value))
            )),
            TimeMismatch::OffsetOutOfOrder { entry, previous } => {
                self.offset_order.add(format_args!(
                    "  Index offset: {}, Previously indexed offset: {previous}",
                    entry.offset
                ))
            }
            TimeMismatch::Unreadable { entry, error } => self.unreadable.add(format_args!(
                "  Index offset: {}: {}",
                entry.offset,
                with_causes(error)
            )),
            other => self.unreadable.add(format_args!("  {other:?}")),
        }
    }

    fn report(self, report: &mut Report) {
        let Self { timestamps, timestamp_order, not_found, offset_order, unreadable } = self;
        for findings in [timestamps, timestamp_order, not_found, offset_order, unreadable] {
            report.add_damage(findings);
        }
    }
}
