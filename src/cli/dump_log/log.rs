//! Batches and their records.

use std::fmt;
use std::path::Path;

use brooklet::inspect::{BadBatch, Batch, BatchRecord, Control, LogFile, TimestampType};
use brooklet::{ErrorKind, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

use super::super::output::{Failure, with_causes};
use super::report::Findings;
use super::{Dump, Options, or_minus_one};

pub(super) fn dump(dump: &mut Dump<'_>) -> Result<(), Failure> {
    let log = LogFile::open(dump.path)?.max_batch_bytes(dump.options.max_message_size);
    print_start(dump, &log)?;
    let mut gaps = Gaps::new(dump.path);
    for batch in log.batches() {
        let (position, size) = match &batch {
            Ok(batch) => (batch.position(), u64::try_from(batch.size_bytes()).unwrap_or(u64::MAX)),
            Err(bad) => (bad.position(), bad.size_bytes()),
        };
        if dump.options.max_bytes.is_some_and(|max| position.saturating_add(size) > max) {
            break;
        }
        match batch {
            Ok(batch) => print_batch(dump, &batch, &mut gaps)?,
            Err(bad) => print_bad(dump, &bad)?,
        }
    }
    dump.report.add(gaps.findings);
    Ok(())
}

fn print_start(dump: &mut Dump<'_>, log: &LogFile) -> Result<(), Failure> {
    let Some(stem) = dump.name.strip_suffix(".checkpoint") else {
        return match log.base_offset() {
            Some(base) => dump.line(format_args!("Log starting offset: {base}")),
            None => Ok(()),
        };
    };
    let number = |digits: &str| digits.parse::<u64>().ok();
    let snapshot = stem.split_once('-').and_then(|(a, b)| Some((number(a)?, number(b)?)));
    match snapshot {
        Some((end, epoch)) => dump.line(format_args!("Snapshot end offset: {end}, epoch: {epoch}")),
        None if stem == "bootstrap" => dump.line("KRaft bootstrap snapshot"),
        None => Ok(()),
    }
}

/// Bytes that are no batch.
fn print_bad(dump: &mut Dump<'_>, bad: &BadBatch) -> Result<(), Failure> {
    if bad.is_last() && bad.error().kind() == ErrorKind::CorruptMessage {
        let (bytes, name) = (bad.size_bytes(), dump.name);
        dump.line(format_args!("Found {bytes} invalid bytes at the end of {name}"))?;
    }
    dump.damaged(with_causes(bad))
}

fn print_batch(dump: &mut Dump<'_>, batch: &Batch, gaps: &mut Gaps) -> Result<(), Failure> {
    let is_valid = batch.is_valid();
    dump.line(BatchLine { batch, is_valid })?;
    if !is_valid {
        dump.report.note_damage();
    }
    if !dump.options.prints_records() {
        return Ok(());
    }
    let path = dump.path.display();
    let records = match batch.records() {
        Ok(records) => records,
        Err(error) => {
            let (position, error) = (batch.position(), with_causes(&error));
            return dump.damaged(format_args!("{path}: position {position}: {error}"));
        }
    };
    for record in &records {
        gaps.note(record.offset());
        let control = match record.control() {
            Ok(control) => control,
            Err(error) => {
                let (offset, error) = (record.offset(), with_causes(&error));
                dump.damaged(format_args!("{path}: offset {offset}: {error}"))?;
                None
            }
        };
        let options = dump.options;
        dump.line(RecordLine { batch, record, control, options })?;
    }
    Ok(())
}

/// Offsets that do not follow one another.
struct Gaps {
    last: Option<Offset>,
    findings: Findings,
}

impl Gaps {
    fn new(path: &Path) -> Self {
        let heading = format_args!("Non-consecutive offsets in {}", path.display());
        Self { last: None, findings: Findings::new(heading) }
    }

    fn note(&mut self, offset: Offset) {
        if let Some(last) = self.last.replace(offset).filter(|last| last.next() != offset) {
            self.findings.add(format_args!("  {last} is followed by {offset}"));
        }
    }
}

/// A batch in Kafka's words, which has them in one line.
struct BatchLine<'a> {
    batch: &'a Batch,
    is_valid: bool,
}

impl fmt::Display for BatchLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let batch = self.batch;
        write!(f, "baseOffset: {} lastOffset: {}", batch.base_offset(), batch.last_offset())?;
        write!(f, " count: {}", batch.record_count())?;
        write!(f, " baseSequence: {}", or_minus_one(batch.base_sequence()))?;
        write!(f, " lastSequence: {}", or_minus_one(batch.last_sequence()))?;
        write!(f, " producerId: {}", or_minus_one(batch.producer_id().map(ProducerId::value)))?;
        let epoch = batch.producer_epoch().map(ProducerEpoch::value);
        write!(f, " producerEpoch: {}", or_minus_one(epoch))?;
        let epoch = batch.leader_epoch().map(LeaderEpoch::value);
        write!(f, " partitionLeaderEpoch: {}", or_minus_one(epoch))?;
        write!(f, " isTransactional: {}", batch.is_transactional())?;
        write!(f, " isControl: {}", batch.is_control())?;
        match batch.delete_horizon() {
            Some(time) => write!(f, " deleteHorizonMs: OptionalLong[{}]", time.as_millis())?,
            None => f.write_str(" deleteHorizonMs: OptionalLong.empty")?,
        }
        write!(f, " position: {}", batch.position())?;
        write!(f, " {}: {}", time_name(batch), millis(batch.max_timestamp()))?;
        write!(f, " size: {} magic: {}", batch.size_bytes(), batch.magic())?;
        write!(f, " compresscodec: {} crc: {}", batch.compression(), batch.crc())?;
        write!(f, " isvalid: {}", self.is_valid)
    }
}

/// A record of a batch in Kafka's words.
struct RecordLine<'a> {
    batch: &'a Batch,
    record: BatchRecord<'a>,
    control: Option<Control>,
    options: &'a Options,
}

impl fmt::Display for RecordLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("|")?;
        if !self.options.skip_record_metadata {
            self.fmt_metadata(f)?;
        }
        if self.options.print_data_log && !self.batch.is_control() {
            if let Some(key) = self.record.key() {
                write!(f, " key: {}", String::from_utf8_lossy(key))?;
            }
            if let Some(value) = self.record.value() {
                write!(f, " payload: {}", String::from_utf8_lossy(value))?;
            }
        }
        Ok(())
    }
}

impl RecordLine<'_> {
    fn fmt_metadata(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = &self.record;
        write!(f, " offset: {}", record.offset())?;
        write!(f, " {}: {}", time_name(self.batch), millis(record.timestamp()))?;
        write!(f, " keySize: {} valueSize: {}", size(record.key()), size(record.value()))?;
        write!(f, " sequence: {} headerKeys: [", or_minus_one(record.sequence()))?;
        for (number, (name, _)) in record.headers().iter().enumerate() {
            write!(f, "{}{name}", if number > 0 { "," } else { "" })?;
        }
        f.write_str("]")?;
        match self.control {
            Some(Control::Abort { coordinator_epoch }) => {
                write!(f, " endTxnMarker: ABORT coordinatorEpoch: {coordinator_epoch}")
            }
            Some(Control::Commit { coordinator_epoch }) => {
                write!(f, " endTxnMarker: COMMIT coordinatorEpoch: {coordinator_epoch}")
            }
            Some(Control::Other(number)) => {
                write!(f, " controlType: {}({number})", control_name(number))
            }
            _ => Ok(()),
        }
    }
}

fn control_name(number: i16) -> &'static str {
    match number {
        2 => "LEADER_CHANGE",
        3 => "SNAPSHOT_HEADER",
        4 => "SNAPSHOT_FOOTER",
        5 => "KRAFT_VERSION",
        6 => "KRAFT_VOTERS",
        _ => "UNKNOWN",
    }
}

fn time_name(batch: &Batch) -> &'static str {
    match batch.timestamp_type() {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

fn millis(timestamp: Option<Timestamp>) -> i64 {
    or_minus_one(timestamp.map(Timestamp::as_millis))
}

fn size(bytes: Option<&[u8]>) -> i64 {
    bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap_or(i64::MAX))
}
