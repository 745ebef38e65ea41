//! Which batches of a producer are accepted, and what is kept of them.

#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

use std::time::Duration;

use proptest::prelude::*;

use super::batch::{Content, Sequences};
use super::snapshot::{decode, encode};
use super::transactions::TransactionStep;
use super::*;
use crate::base::{Offset, ProducerEpoch, ProducerId, Timestamp};
use crate::record::{MarkerKind, TransactionMarker, next_sequence};

fn id(value: i64) -> ProducerId {
    ProducerId::new(value).unwrap()
}

fn epoch(value: i16) -> ProducerEpoch {
    ProducerEpoch::new(value).unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

/// A log that keeps nothing of its batches but what it knows of their producers. Time goes by its offsets.
#[derive(Default)]
struct Log {
    producers: Producers,
    transactions: Transactions,
    end: u32,
}

impl Log {
    fn batch(&self, who: (i64, i16), count: u32, content: Content) -> ProducerBatch {
        ProducerBatch {
            id: id(who.0),
            epoch: epoch(who.1),
            first: Offset::from(self.end),
            last: Offset::from(self.end + count - 1),
            timestamp: Some(at(self.end.into())),
            content,
        }
    }

    /// Appends a batch: its first offset, also if it was there before.
    fn append(
        &mut self,
        who: (i64, i16),
        count: u32,
        content: Content,
        origin: AppendOrigin,
    ) -> Result<u32, ProducerError> {
        let batch = self.batch(who, count, content);
        let mut staged = Staged::default();
        let before = self.producers.clone();
        let seen = staged.judge(&self.producers, &batch, origin)?;
        assert_eq!(self.producers, before, "judging changes nothing");
        if let Some(seen) = seen {
            return Ok(seen.base_offset().value() as u32);
        }
        staged.add(&self.producers, &batch);
        assert_eq!(self.producers, before, "what is not written changes nothing");
        for step in self.producers.commit(staged) {
            self.transactions.take(step);
        }
        self.end += count;
        Ok(self.end - count)
    }

    fn data(&mut self, who: (i64, i16), sequence: i32, count: u32) -> Result<u32, ProducerError> {
        self.append(who, count, data(sequence, count, false), AppendOrigin::Client)
    }

    fn transactional(&mut self, who: (i64, i16), sequence: i32) -> Result<u32, ProducerError> {
        self.append(who, 1, data(sequence, 1, true), AppendOrigin::Client)
    }

    fn marker(
        &mut self,
        who: (i64, i16),
        kind: MarkerKind,
        coordinator_epoch: i32,
    ) -> Result<u32, ProducerError> {
        let content = Content::Marker(TransactionMarker { kind, coordinator_epoch });
        self.append(who, 1, content, AppendOrigin::Coordinator)
    }
}

fn data(first: i32, count: u32, transactional: bool) -> Content {
    let last = next_sequence(first, count - 1);
    Content::Data { sequences: Some(Sequences { first, last }), transactional }
}

fn is_out_of_order(result: Result<u32, ProducerError>) -> bool {
    matches!(result, Err(ProducerError::OutOfOrderSequence { .. }))
}

fn is_fenced(result: Result<u32, ProducerError>) -> bool {
    matches!(result, Err(ProducerError::InvalidEpoch { .. }))
}

/// What Kafka's own classes answered, row by row. B10: sequences wrap.
#[test]
fn batches_are_judged_as_kafka_judges_them() {
    let mut log = Log::default();
    assert_eq!(log.data((1, 0), 5, 2), Ok(0), "any sequence from an unknown producer");
    assert_eq!(log.data((1, 0), 7, 1), Ok(2));
    assert_eq!(log.data((1, 0), 5, 2), Ok(0), "the first copy's offset");

    assert!(is_out_of_order(log.data((1, 0), 9, 1)));
    assert!(is_out_of_order(log.data((1, 0), 7, 2)), "an overlap is no duplicate");

    assert!(is_out_of_order(log.data((1, 1), 3, 1)));
    assert_eq!(log.data((1, 1), 0, 1), Ok(3));
    assert!(is_fenced(log.data((1, 0), 8, 1)));

    for sequence in 1..=6 {
        assert_eq!(log.data((1, 1), sequence, 1), Ok(3 + sequence as u32));
    }
    assert_eq!(log.data((1, 1), 2, 1), Ok(5), "the fifth last");
    assert!(is_out_of_order(log.data((1, 1), 1, 1)), "the sixth last");

    assert_eq!(log.data((2, 0), 2_147_483_646, 2), Ok(10));
    assert_eq!(log.data((2, 0), 0, 1), Ok(12));

    assert_eq!(log.data((3, 0), 2_147_483_647, 3), Ok(13));
    assert_eq!(log.data((3, 0), 2, 1), Ok(16), "the last sequence was 1");

    assert_eq!(log.transactional((4, 0), 0), Ok(17));
    assert_eq!(
        log.data((4, 0), 1, 1),
        Err(ProducerError::InvalidTransactionState { id: id(4), since: Offset::from(17) })
    );

    assert_eq!(log.marker((4, 0), MarkerKind::Abort, 5), Ok(18));
    assert_eq!(log.transactional((4, 0), 0), Ok(17), "a marker keeps the batches");
    assert_eq!(log.transactional((4, 0), 1), Ok(19));
    assert_eq!(
        log.marker((4, 0), MarkerKind::Commit, 4),
        Err(ProducerError::CoordinatorFenced { id: id(4), epoch: 4, current: 5 })
    );

    assert_eq!(log.marker((4, 1), MarkerKind::Commit, 5), Ok(20));
    assert!(is_fenced(log.data((4, 0), 2, 1)));
    assert!(is_out_of_order(log.data((4, 1), 2, 1)), "a higher epoch clears the batches");
    assert_eq!(log.data((4, 1), 0, 1), Ok(21));
}

/// B10: all sequences and all epochs up to the last ones there are.
#[test]
fn sequences_wrap_and_epochs_end() {
    let mut log = Log::default();
    assert_eq!(log.data((1, i16::MAX - 1), i32::MAX, 1), Ok(0));
    assert!(is_out_of_order(log.data((1, i16::MAX - 1), 1, 1)));
    assert_eq!(log.data((1, i16::MAX - 1), 0, 1), Ok(1));
    assert_eq!(log.data((1, i16::MAX - 1), i32::MAX, 1), Ok(0), "a duplicate before the wrap");
    assert_eq!(log.data((1, i16::MAX), 0, 4), Ok(2));
    assert!(is_fenced(log.data((1, i16::MAX - 1), 1, 1)));
    assert!(is_fenced(log.data((1, 0), 0, 1)));
    assert_eq!(log.data((1, i16::MAX), 4, 1), Ok(6));
    assert_eq!(log.data((2, 0), i32::MAX - 3, 8), Ok(7));
    assert_eq!(log.data((2, 0), i32::MAX - 3, 8), Ok(7), "a duplicate across the wrap");
    assert_eq!(log.data((2, 0), 4, 1), Ok(15));
}

/// Offsets that a group commits in a transaction have no sequences of their own.
#[test]
fn a_coordinators_batches_are_checked_for_their_epoch_alone() {
    let mut log = Log::default();
    let offsets = data(0, 1, true);
    for expected in 0..3 {
        let appended = log.append((1, 3), 1, offsets, AppendOrigin::Coordinator);
        assert_eq!(appended, Ok(expected), "neither a duplicate nor out of order");
    }
    assert!(is_fenced(log.append((1, 2), 1, offsets, AppendOrigin::Coordinator)));
    assert_eq!(log.transactions.first_unstable(), Some(Offset::ZERO));
}

#[test]
fn what_a_leader_accepted_is_not_judged_again() {
    let mut log = Log::default();
    for (who, sequence) in [((1, 5), 7), ((1, 5), 3), ((1, 4), 9), ((1, 6), 1)] {
        log.producers.replay(&log.batch(who, 1, data(sequence, 1, false)));
        log.end += 1;
    }
    assert_eq!(log.data((1, 6), 2, 1), Ok(4));
}

#[test]
fn a_marker_without_records_concerns_no_reader() {
    let mut log = Log::default();
    log.marker((1, 0), MarkerKind::Abort, 0).unwrap();
    assert_eq!(log.transactions, Transactions::default());
    assert_eq!(log.data((1, 0), 0, 1), Ok(1), "known by its epoch, with no batch");
}

/// A copy of a batch that is on its way is recognised as well, and what is dropped has changed nothing (F1).
#[test]
fn staged_batches_are_judged_like_written_ones() {
    let producers = Producers::default();
    let batch = |sequence, at: u32| ProducerBatch {
        id: id(1),
        epoch: epoch(0),
        first: Offset::from(at),
        last: Offset::from(at),
        timestamp: None,
        content: data(sequence, 1, true),
    };
    let mut staged = Staged::default();
    for n in 0..7 {
        let origin = AppendOrigin::Client;
        let judged = staged.judge(&producers, &batch(n as i32, n), origin);
        assert_eq!(judged, Ok(None));
        staged.add(&producers, &batch(n as i32, n));
        let copy = staged.judge(&producers, &batch(n as i32, n + 1), origin).unwrap();
        assert_eq!(copy.unwrap().base_offset(), Offset::from(n));
        staged.judge(&producers, &batch(n as i32 + 2, n + 1), origin).unwrap_err();
    }
    let mut live = producers.clone();
    let steps = live.commit(staged);
    assert_eq!(steps, [TransactionStep::Begins { producer: id(1), first: Offset::ZERO }]);
    let mut replayed = producers;
    for n in 0..7 {
        replayed.replay(&batch(n as i32, n));
    }
    assert_eq!(live, replayed);
}

/// F2: a producer is forgotten by the time of its records, its marker's included, and never inside a transaction.
#[test]
fn idle_producers_are_forgotten_but_not_inside_a_transaction() {
    let mut log = Log { end: 1000, ..Log::default() };
    log.data((1, 0), 0, 1).unwrap();
    log.transactional((2, 0), 0).unwrap();
    log.transactional((3, 0), 0).unwrap();
    log.marker((3, 0), MarkerKind::Commit, 0).unwrap();
    let idle = Duration::from_millis(100);
    let known =
        |producers: &Producers| producers.iter().map(|(id, _)| id.value()).collect::<Vec<_>>();
    for (now, left) in
        [(0, vec![1, 2, 3]), (1099, vec![1, 2, 3]), (1100, vec![2, 3]), (1103, vec![2])]
    {
        log.producers.expire(at(now), idle);
        assert_eq!(known(&log.producers), left, "at {now}");
    }
    log.producers.expire(at(i64::MAX), idle);
    assert_eq!(known(&log.producers), [2]);
    assert_eq!(log.data((1, 0), 77, 1), Ok(1004), "an unknown producer may begin anywhere");
}

/// A producer that expired must not come back with an older epoch's batches taken for new ones' (F2).
#[test]
fn a_marker_keeps_its_producer_from_expiring() {
    let mut log = Log { end: 1000, ..Log::default() };
    log.transactional((1, 5), 0).unwrap();
    log.end = 2000;
    log.marker((1, 6), MarkerKind::Abort, 0).unwrap();
    log.producers.expire(at(2050), Duration::from_millis(100));
    assert!(is_fenced(log.transactional((1, 5), 1)));
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect::<Vec<_>>();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// The bytes that Kafka wrote: one producer in a transaction, one behind two.
#[test]
fn snapshots_are_written_byte_for_byte() {
    let bytes = hex(
        "0001 3a1ebc62 00000003
         0000000000000fa0 0001 00000002 000000000000002c 00000000 0000018bcfe5694a 00000007 ffffffffffffffff
         0000000000000fa1 0000 00000000 000000000000002a 00000000 0000018bcfe5692e ffffffff 000000000000002a
         0000000000001388 0000 00000000 000000000000002e 00000000 0000018bcfe56954 ffffffff ffffffffffffffff",
    );
    let producers = decode(bytes.clone().into(), Offset::from(47)).unwrap();
    assert_eq!(encode(&producers), bytes);
    assert_eq!(producers.transactions().first_unstable(), Some(Offset::from(42)));
    assert_eq!(encode(&Producers::default()), hex("0001 48674bc7 00000000"));
}

/// F9, H2: whatever a snapshot holds, reading it is an answer, and takes no more than its bytes.
#[test]
fn unreadable_snapshots_are_refused() {
    let mut log = Log::default();
    log.transactional((1, 0), 5).unwrap();
    log.data((2, 3), i32::MAX, 3).unwrap();
    let good = encode(&log.producers).to_vec();
    let end = Offset::from(log.end);
    assert!(decode(good.clone().into(), end).is_ok());
    assert!(decode(good.clone().into(), Offset::from(log.end - 1)).is_err(), "of a longer log");
    for cut in 0..good.len() {
        assert!(decode(good[..cut].to_vec().into(), end).is_err(), "cut to {cut}");
    }
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(bad.into(), end).is_err(), "bit {bit}");
    }
    let with_checksum = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bad = good.clone();
        edit(&mut bad);
        let crc = crate::record::crc32c(&bad[6..]);
        bad[2..6].copy_from_slice(&crc.to_be_bytes());
        decode(bad.into(), end)
    };
    for (field, bytes) in [
        (6, &i32::MAX.to_be_bytes()[..]),
        (6, &(-1i32).to_be_bytes()),
        (6, &1i32.to_be_bytes()),
        (6, &0x8000_0002u32.to_be_bytes()),
        (10, &(-1i64).to_be_bytes()),
        (10, &2i64.to_be_bytes()),
        (18, &(-1i16).to_be_bytes()),
        (24, &4i64.to_be_bytes()),
        (24, &(-2i64).to_be_bytes()),
        (32, &(-1i32).to_be_bytes()),
        (32, &1i32.to_be_bytes()),
        (48, &i64::MAX.to_be_bytes()),
    ] {
        let edit = |bad: &mut Vec<u8>| bad[field..field + bytes.len()].copy_from_slice(bytes);
        assert!(with_checksum(&edit).is_err(), "{bytes:?} at {field}");
    }
    assert!(with_checksum(&|bad| bad.push(0)).is_err());
    assert!(with_checksum(&|_| {}).is_ok());
}

fn any_history() -> impl Strategy<Value = Vec<(i64, i16, i32, u32, u8)>> {
    let sequence = prop_oneof![0..3i32, Just(i32::MAX), Just(i32::MAX - 1)];
    prop::collection::vec((0..4i64, 0..3i16, sequence, 1..4u32, 0..5u8), 0..60)
}

proptest! {
    /// What a snapshot keeps is what it gives back, and what it gives back it writes in the same bytes.
    #[test]
    fn snapshots_round_trip(history in any_history()) {
        let mut log = Log::default();
        for (producer, epoch, sequence, count, kind) in history {
            let who = (producer, epoch);
            // Whether it is refused does not matter here.
            let _ = match kind {
                0 => log.data(who, sequence, count),
                1 | 2 => log.transactional(who, sequence),
                3 => log.marker(who, MarkerKind::Abort, epoch.into()),
                _ => log.marker(who, MarkerKind::Commit, 0),
            };
        }
        let bytes = encode(&log.producers);
        prop_assert_eq!(bytes.len(), 10 + 46 * log.producers.iter().len());
        let again = decode(bytes.clone(), Offset::from(log.end)).unwrap();
        prop_assert_eq!(encode(&again), bytes);
        for ((id, live), (id_again, loaded)) in log.producers.iter().zip(again.iter()) {
            prop_assert_eq!((id, live.epoch, live.transaction), (id_again, loaded.epoch, loaded.transaction));
            prop_assert_eq!(live.last_timestamp, loaded.last_timestamp);
            prop_assert_eq!(live.coordinator_epoch, loaded.coordinator_epoch);
            let range = |batch: &SeenBatch| (batch.sequences, batch.base_offset(), batch.next_offset());
            prop_assert_eq!(live.last_batch().map(range), loaded.last_batch().map(range));
        }
        prop_assert_eq!(again.transactions().first_unstable(), log.producers.transactions().first_unstable());
    }
}
