//! What a log knows of transactions and producers, and the small text files.

use brooklet::Timestamp;
use brooklet::inspect::{
    self, LogFile, ProducerEntry, ProducerSnapshot, SegmentDigest, TransactionIndex,
};

use super::super::output::{Failure, with_causes};
use super::{Dump, or_minus_one};

pub(super) fn dump_transactions(dump: &mut Dump<'_>) -> Result<(), Failure> {
    for transaction in TransactionIndex::open(dump.path)?.entries() {
        match transaction {
            Ok(aborted) => dump.line(format_args!(
                "version: 0 producerId: {} firstOffset: {} lastOffset: {} lastStableOffset: {}",
                aborted.producer_id,
                aborted.first_offset,
                aborted.last_offset,
                aborted.last_stable_offset
            ))?,
            Err(error) => dump.damaged(with_causes(&error))?,
        }
    }
    Ok(())
}

pub(super) fn dump_producers(dump: &mut Dump<'_>) -> Result<(), Failure> {
    for entry in ProducerSnapshot::open(dump.path)?.entries() {
        match entry {
            Ok(entry) => dump.line(producer_line(&entry))?,
            Err(error) => dump.damaged(with_causes(&error))?,
        }
    }
    Ok(())
}

fn producer_line(entry: &ProducerEntry) -> String {
    let first_offset = match entry.current_transaction_first_offset {
        Some(offset) => format!("OptionalLong[{offset}]"),
        None => "OptionalLong.empty".into(),
    };
    let timestamp = or_minus_one(entry.last_timestamp.map(Timestamp::as_millis));
    let mut line = format!(
        "producerId: {} producerEpoch: {} coordinatorEpoch: {} currentTxnFirstOffset: \
         {first_offset} lastTimestamp: {timestamp}",
        entry.producer_id,
        entry.producer_epoch,
        or_minus_one(entry.coordinator_epoch),
    );
    if let Some(batch) = entry.last_batch {
        line += &format!(
            " firstSequence: {} lastSequence: {} lastOffset: {} offsetDelta: {} timestamp: \
             {timestamp}",
            batch.first_sequence, batch.last_sequence, batch.last_offset, batch.offset_delta,
        );
    }
    line
}

pub(super) fn dump_digest(dump: &mut Dump<'_>) -> Result<(), Failure> {
    let digest = SegmentDigest::open(dump.path)?;
    if !dump.options.verify_index_only {
        dump.line(format_args!(
            "topicId: {} partition: {} baseOffset: {} size: {} batches: {} nextOffset: {}",
            digest.topic_id(),
            digest.partition(),
            digest.base_offset(),
            digest.size_bytes(),
            digest.batch_count(),
            digest.next_offset(),
        ))?;
    }
    if !digest.verify(&LogFile::open(dump.sibling("log"))?)? {
        dump.damaged(format_args!("{} does not fit its log", dump.path.display()))?;
    }
    Ok(())
}

pub(super) fn dump_leader_epochs(dump: &mut Dump<'_>) -> Result<(), Failure> {
    for (epoch, start) in inspect::read_leader_epochs(dump.path)? {
        dump.line(format_args!("epoch: {epoch} startOffset: {start}"))?;
    }
    Ok(())
}

pub(super) fn dump_offsets(dump: &mut Dump<'_>) -> Result<(), Failure> {
    for (place, offset) in inspect::read_offsets(dump.path)? {
        let (topic, partition) = (place.topic, place.partition);
        dump.line(format_args!("topic: {topic} partition: {partition} offset: {offset}"))?;
    }
    Ok(())
}

pub(super) fn dump_topic_id(dump: &mut Dump<'_>) -> Result<(), Failure> {
    let id = inspect::read_topic_id(dump.path)?;
    dump.line(format_args!("topicId: {id}"))
}
