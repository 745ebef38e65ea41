//! What a coordinator makes of a log that was compacted.

use super::*;
use crate::base::{Compression, LeaderEpoch, Timestamp};
use crate::coordinator::ids::ShortText;
use crate::coordinator::records::{CoordinatorRecord, OffsetValue};
use crate::env::PowerCut;
use crate::record::{Batch, BatchRewriter, Limits};
use crate::storage::Fetched;

/// The offset of a partition, as a record.
fn offset_record(partition: i32, offset: i64) -> CoordinatorRecord {
    let value = OffsetValue {
        topic: None,
        offset: Offset::new(offset).unwrap(),
        leader_epoch: None,
        metadata: ShortText::default(),
        committed_at: Timestamp::EPOCH,
        expires_at: None,
    };
    let (topic, partition) = (email(), PartitionId::new(partition).unwrap());
    CoordinatorRecord::Offset { group: mailer(), topic, partition, value: Some(value) }
}

/// A batch of these partitions' offsets, as the leader of the first term has it at `base`.
fn batch(base: u32, of: &[(i32, i64)]) -> Batch {
    let mut builder = BatchBuilder::new(BytesMut::new());
    for (partition, offset) in of {
        let record = offset_record(*partition, *offset);
        let (key, value) = (record.encode_key(), record.encode_value());
        let (key, value) = (Some(&*key), value.as_deref());
        builder.append(&RecordFields { timestamp: None, key, value, headers: &[] }).unwrap();
    }
    stamped(builder.close(&CloseOptions::default()).unwrap(), base)
}

fn stamped(mut batch: EncodedBatch, base: u32) -> Batch {
    batch.stamp(Offset::from(base), LeaderEpoch::ZERO);
    batch.freeze()
}

/// What compaction leaves of `batch` if it takes all but one of its records.
fn only(batch: &Batch, kept: usize) -> Batch {
    let mut rewriter = BatchRewriter::new(BytesMut::new(), batch.header(), None);
    let decoded = batch.decode(&Limits::default()).unwrap();
    rewriter.keep(&decoded.iter().nth(kept).unwrap()).unwrap();
    rewriter.close(Compression::None, None).unwrap().freeze()
}

fn empty(offsets: std::ops::Range<u32>) -> Batch {
    EncodedBatch::empty(&(Offset::from(offsets.start)..Offset::from(offsets.end))).unwrap()
}

/// G3, KAFKA-9065. Batches are missing, have no records left, or some; reads end and begin at such places.
#[test]
fn a_log_with_gaps_is_read_to_its_end() {
    let disk = Disk::new();
    let core = open(&disk);
    let groups = coordinator(&core);
    commit(&groups, 0..4, 5);
    let leader = term_of(&core, &mailer()).leader;
    let many = [(1, 7), (2, 7), (3, 7)];
    let batches = vec![
        only(&batch(10, &many), 1),
        empty(13..20),
        stamped(unknown(1 << 20), 25),
        empty(30..31),
        batch(40, &[(0, 8)]),
        stamped(unknown(1 << 20), 60),
        batch(61, &[(3, 9)]),
        empty(70..80),
    ];
    let fetched = Fetched { batches, trusted: false, aborted: Vec::new() };
    let wall_clock = core.runtime().wall_clock();
    leader.log().append_as_follower(fetched, wall_clock).unwrap();
    leader.flush().unwrap();
    assert_eq!(leader.high_watermark(), Offset::from(80));
    let reopened = open(&disk.image(PowerCut::KeepsAll));
    for core in [&core, &reopened] {
        let groups = coordinator(core);
        assert_eq!(offsets(&groups), [8, 5, 7, 9]);
        // It counts at once: it is behind what was read.
        commit(&groups, 1..2, 10);
        assert_eq!(offsets(&groups), [8, 10, 7, 9]);
        assert_eq!(offsets(&coordinator(core)), [8, 10, 7, 9]);
    }
}

/// H5: no checksum covers where a batch begins, and one that seems to be far behind may be behind a gap.
#[test]
fn a_log_that_seems_to_end_early_is_not_taken_for_whole() {
    let disk = Disk::new();
    let core = open(&disk);
    let groups = coordinator(&core);
    (0..40).for_each(|partition| commit(&groups, partition..partition + 1, 5));
    let directory = term_of(&core, &mailer()).leader.partition().directory_name();
    core.close().unwrap();
    let file = |extension| format!("/{directory}/00000000000000000000.{extension}");
    let log = disk.read(file("log")).unwrap();
    // Behind the first batch, whose length is at 8: a higher byte of the base offset.
    let length = i32::from_be_bytes(log[8..12].try_into().unwrap());
    disk.damage(file("log"), u64::try_from(12 + length).unwrap() + 3, &[1]).unwrap();
    disk.remove(file("digest")).unwrap();
    let core = open(&disk);
    let read = coordinator(&core).all_committed(&mailer());
    assert!(matches!(read, Err(GroupError::Unreadable { .. })), "{read:?}");
}
