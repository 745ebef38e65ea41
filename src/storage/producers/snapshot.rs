//! The content of a `.snapshot` file: what a log knew of its producers at the offset that the file is named by.
//!
//! # On disk
//! Big-endian: `version: i16` (1), `crc: u32` (CRC-32C of all that follows), `entries: i32`, then 46 bytes for each
//! producer:
//! ```text
//!  0 producer_id: i64          14 last_offset: i64, -1 none       34 coordinator_epoch: i32, -1 none
//!  8 producer_epoch: i16       22 offset_delta: i32, of that      38 transaction: i64, first offset of
//! 10 last_sequence: i32, -1    26 last_timestamp: i64, -1 none       the open one, -1 none
//! ```
//! Of the remembered batches only the last one of each producer is kept.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::base::{Offset, ProducerEpoch, ProducerId, Timestamp};
use crate::record::crc32c;
use crate::storage::producers::Producers;
use crate::storage::producers::state::{ProducerState, SeenBatch};

const VERSION: i16 = 1;
const CRC_START: usize = 6;
const HEADER: usize = 10;
const ENTRY: usize = 46;

/// Stands for "none" in every field that can be absent.
const NONE: i8 = -1;

pub(super) fn encode(producers: &Producers) -> Bytes {
    let states = producers.iter();
    let mut bytes = BytesMut::with_capacity(HEADER + states.len() * ENTRY);
    bytes.put_i16(VERSION);
    bytes.put_u32(0);
    bytes.put_i32(i32::try_from(states.len()).unwrap_or(i32::MAX));
    for (id, state) in states {
        put_entry(&mut bytes, id, state);
    }
    let crc = crc32c(bytes.get(CRC_START..).unwrap_or_default());
    if let Some(mut field) = bytes.get_mut(2..CRC_START) {
        field.put_u32(crc);
    }
    bytes.freeze()
}

fn put_entry(bytes: &mut BytesMut, id: ProducerId, state: &ProducerState) {
    let last = state.last_batch();
    let none = i64::from(NONE);
    bytes.put_i64(id.value());
    bytes.put_i16(state.epoch.value());
    bytes.put_i32(last.map_or(NONE.into(), |batch| batch.sequences.last));
    bytes.put_i64(last.map_or(none, |batch| batch.last_offset.value()));
    bytes.put_u32(last.map_or(0, |batch| batch.offset_delta));
    bytes.put_i64(state.last_timestamp.map_or(none, Timestamp::as_millis));
    bytes.put_i32(state.coordinator_epoch.unwrap_or(NONE.into()));
    bytes.put_i64(state.transaction.map_or(none, Offset::value));
}

/// What `bytes` say of the producers of a log that ended at `end`; the error is what is wrong with them.
pub(super) fn decode(mut bytes: Bytes, end: Offset) -> Result<Producers, &'static str> {
    if bytes.len() < HEADER {
        return Err("it is too short");
    }
    if bytes.get_i16() != VERSION {
        return Err("its version is not 1");
    }
    if bytes.get_u32() != crc32c(&bytes) {
        return Err("its checksum is wrong");
    }
    // The count is believed only if the bytes are there, so that it drives no allocation.
    let count = usize::try_from(bytes.get_i32()).ok().and_then(|count| count.checked_mul(ENTRY));
    if count != Some(bytes.len()) {
        return Err("it does not hold as many entries as it says");
    }
    let mut states = BTreeMap::new();
    while bytes.has_remaining() {
        let (id, state) = take_entry(&mut bytes, end).ok_or("an entry makes no sense")?;
        if states.insert(id, state).is_some() {
            return Err("a producer is in it twice");
        }
    }
    Ok(Producers::new(states))
}

fn take_entry(bytes: &mut Bytes, end: Offset) -> Option<(ProducerId, ProducerState)> {
    let entry = SnapshotEntry::take(bytes)?;
    let mut state = ProducerState::new(entry.epoch);
    state.last_timestamp = entry.last_timestamp;
    state.coordinator_epoch = entry.coordinator_epoch;
    state.transaction = entry.transaction;
    if entry.last_offset.into_iter().chain(entry.transaction).any(|offset| offset >= end) {
        return None;
    }
    // Without a sequence it could not be recognised.
    if let (Some(sequence), Some(offset)) = (entry.last_sequence, entry.last_offset)
        && let Some(last) = state.batches.last_mut()
    {
        *last =
            Some(SeenBatch::ending(sequence, offset, entry.offset_delta, entry.last_timestamp)?);
    }
    Some((entry.producer, state))
}

/// One entry of a snapshot, as its bytes say it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SnapshotEntry {
    pub(crate) producer: ProducerId,
    pub(crate) epoch: ProducerEpoch,
    pub(crate) last_sequence: Option<i32>,
    pub(crate) last_offset: Option<Offset>,
    pub(crate) offset_delta: u32,
    pub(crate) last_timestamp: Option<Timestamp>,
    pub(crate) coordinator_epoch: Option<i32>,
    /// First offset of the open one.
    pub(crate) transaction: Option<Offset>,
}

impl SnapshotEntry {
    /// Bytes of an entry.
    pub(crate) const SIZE: usize = ENTRY;

    /// Takes an entry off the front of at least [`SIZE`](Self::SIZE) bytes. `None` if it makes no sense.
    pub(crate) fn take(bytes: &mut Bytes) -> Option<Self> {
        let producer = ProducerId::new(bytes.get_i64());
        let epoch = ProducerEpoch::new(bytes.get_i16());
        let last_sequence = Some(bytes.get_i32()).filter(|&sequence| sequence >= 0);
        let last_offset = take_offset(bytes);
        let offset_delta = u32::try_from(bytes.get_i32()).ok();
        let last_timestamp = Timestamp::from_millis(bytes.get_i64());
        let coordinator_epoch = Some(bytes.get_i32()).filter(|&epoch| epoch >= 0);
        let transaction = take_offset(bytes);
        Some(Self {
            producer: producer?,
            epoch: epoch?,
            last_sequence,
            last_offset: last_offset?,
            offset_delta: offset_delta?,
            last_timestamp,
            coordinator_epoch,
            transaction: transaction?,
        })
    }
}

/// An offset, or -1 for none.
fn take_offset(bytes: &mut Bytes) -> Option<Option<Offset>> {
    match bytes.get_i64() {
        value if value == i64::from(NONE) => Some(None),
        value => Offset::new(value).map(Some),
    }
}
