//! The far end of offsets, and the limits of a segment.

use super::*;
use crate::record::{HEADER_LENGTH, crc32c};
use crate::storage::segment::MAX_SEGMENT_BYTES;

/// A log that begins at `base`.
fn log_at(place: &Place, base: i64) -> Log {
    place.write(&format!("{base:020}.log"), b"");
    place.open()
}

/// A batch of one record whose offsets reach `delta` further: what compaction makes.
fn sparse(delta: i32) -> EncodedBatch {
    let mut bytes = batch(7, 1, 10).bytes().to_vec();
    bytes[23..27].copy_from_slice(&delta.to_be_bytes());
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    EncodedBatch::copy_from(&Batch::parse(bytes.into()).unwrap()).unwrap()
}

/// B1, B2.
#[test]
fn base_offsets_beyond_32_bits_read_back() {
    for base in [(1 << 31) - 10, 1 << 31, (1 << 32) - 10, 1 << 32, 1 << 53, i64::MAX - 100] {
        let place = Place::in_memory(300, 100);
        let log = log_at(&place, base);
        append(&log, (0..20).map(|i| batch(i, 3, 10)).collect());
        for log in [log, place.recover(0).0, place.recover(base + 31).0] {
            assert_eq!((log.start(), log.end()), (offset(base), offset(base + 60)));
            let all = read_all(&log);
            let offsets = all.iter().map(|record| record.offset);
            assert!(offsets.eq(base..base + 60));
            for i in 0..60 {
                let first = seen(&log.read(offset(base + i), 1, log.end()).unwrap().batches);
                assert_eq!(first[0].offset, base + i / 3 * 3);
            }
            let time = Timestamp::from_millis(13).unwrap();
            let found = log.find_timestamp(time, log.end(), &Limits::default()).unwrap().unwrap();
            assert_eq!(found.offset.value(), base + 39);
            log.close().unwrap();
        }
        let log = place.open();
        log.truncate_to(offset(base + 31)).unwrap();
        assert_eq!(log.end(), offset(base + 30));
    }
}

#[test]
fn offsets_run_out_without_harm() {
    let place = Place::in_memory(300, 100);
    let log = log_at(&place, i64::MAX - 7);
    let results = log.append_as_client((0..4).map(|i| batch(i, 3, 10)).collect(), epoch(1));
    assert!(results[0].is_ok() && results[1].is_ok());
    assert!(matches!(results[2], Err(AppendError::OffsetsExhausted)));
    append(&log, vec![batch(1, 1, 1)]);
    assert_eq!(log.end(), Offset::MAX);
    assert!(matches!(
        &log.append_as_client(vec![batch(1, 1, 1)], epoch(1))[..],
        [Err(AppendError::OffsetsExhausted)]
    ));
    assert_eq!(read_all(&log).len(), 7);
    assert_eq!(read_all(&place.recover(0).0).len(), 7);
}

/// B1: offsets that the index cannot hold begin a new segment. B8: a batch takes the offsets that its header says.
#[test]
fn offsets_out_of_an_indexs_reach_begin_a_segment() {
    for one_call in [true, false] {
        let place = Place::in_memory(1 << 20, 0);
        let log = place.open();
        let half = 1 << 30;
        let batches =
            vec![sparse(half - 1), sparse(half - 1), sparse(0), sparse(i32::MAX - 1), sparse(5)];
        if one_call {
            append(&log, batches);
        } else {
            batches.into_iter().for_each(|batch| append(&log, vec![batch]));
        }
        let bases = place.names(".log");
        assert_eq!(bases.len(), 3, "{bases:?}");
        assert_eq!(bases[1], format!("{:020}.log", 1i64 << 31));
        let mut next = Offset::ZERO;
        let mut found = Vec::new();
        while next < log.end() {
            let fetched = log.read(next, 1, log.end()).unwrap();
            found.push(fetched.batches[0].header().base_offset().value());
            next = fetched.batches[0].header().next_offset();
        }
        assert_eq!(found, [0, 1 << 30, 1 << 31, (1 << 31) + 1, 1 << 32]);
        let end = log.end();
        log.close().unwrap();
        assert_eq!(place.recover(0).0.end(), end);
    }
}

#[test]
fn batches_larger_than_a_limit_are_refused_alone() {
    let mut place = Place::in_memory(1000, 100);
    place.config.max_message_bytes = 500;
    let log = place.open();
    let results = log.append_as_client(
        vec![batch(1, 1, 10), batch(1, 1, 600), batch(1, 1, 2000), batch(1, 1, 10)],
        epoch(1),
    );
    assert!(results[0].is_ok() && results[3].is_ok());
    for refused in &results[1..3] {
        assert!(matches!(
            refused,
            Err(AppendError::BatchTooLarge { limit_name: "max.message.bytes", .. })
        ));
    }
    assert_eq!(results[3].as_ref().unwrap().base, offset(1));
    place.config.max_message_bytes = 5000;
    let log = place.recover(0).0;
    let results = log.append_as_client(vec![batch(1, 1, 2000)], epoch(1));
    assert!(matches!(
        &results[..],
        [Err(AppendError::BatchTooLarge { limit_name: "segment.bytes", .. })]
    ));
}

/// Also the batches of the very first call, which make the first segment.
#[test]
fn no_segment_grows_beyond_its_limit() {
    for one_call in [true, false] {
        let place = Place::in_memory(500, 100);
        let log = place.open();
        let batches = (0..20).map(|i| batch(i, 3, 10)).collect::<Vec<_>>();
        if one_call {
            append(&log, batches);
        } else {
            batches.into_iter().for_each(|batch| append(&log, vec![batch]));
        }
        let sizes = place
            .names(".log")
            .iter()
            .map(|name| place.read(name).unwrap().len())
            .collect::<Vec<_>>();
        assert!(sizes.len() > 3 && sizes.iter().all(|size| (1..=500).contains(size)), "{sizes:?}");
    }
}

#[test]
fn a_full_index_begins_a_segment() {
    let mut place = Place::in_memory(1 << 20, 0);
    place.config.segment_index_bytes = 48;
    let log = place.open();
    for i in 0..20 {
        append(&log, vec![batch(i, 1, 10)]);
    }
    log.close().unwrap();
    assert!(place.names(".log").len() > 4);
    for name in place.names("index") {
        assert!(place.read(&name).unwrap().len() <= 48, "{name}");
    }
    assert_eq!(read_all(&place.open()).len(), 20);
}

/// A segment file that ends with a batch of `size` bytes in all, nearly all of them a hole.
fn write_hollow_segment(place: &Place, base: i64, size: u64) {
    let mut header = batch(7, 1, 10).bytes()[..HEADER_LENGTH].to_vec();
    header[..8].copy_from_slice(&base.to_be_bytes());
    header[8..12].copy_from_slice(&i32::try_from(size - 12).unwrap().to_be_bytes());
    let name = format!("{base:020}.log");
    place.write(&name, &header);
    let file = place.fs.open(&place.dir().join(name), OpenFile::Write).unwrap();
    file.set_len(size).unwrap();
}

/// B3: positions up to the end of the largest segment. B4: several of them.
#[test]
fn segments_of_two_gigabytes_are_written_to_their_end() {
    for mode in [ReadMode::Map, ReadMode::Pread] {
        let place = Place::on_disk(mode, MAX_SEGMENT_BYTES, 0);
        let hollow = u64::from(MAX_SEGMENT_BYTES) - 1_000;
        (0..3).for_each(|base| write_hollow_segment(&place, base, hollow));
        // Without it every byte would be looked at.
        place.write("leader-epoch-checkpoint", b"0\n1\n0 0\n");
        let log = place.open();
        assert_eq!(log.size(), (3, 3 * hollow));
        append(&log, (3..53).map(|n| batch(n, 1, 40)).collect());
        let (count, bytes) = log.size();
        assert_eq!((count, log.end()), (4, offset(53)));
        let full = place.fs.open(&place.dir().join(format!("{:020}.log", 2)), OpenFile::Read);
        let full = full.unwrap().len().unwrap();
        assert!(full > hollow && full <= u64::from(MAX_SEGMENT_BYTES), "{full}");
        assert!(bytes > 3 * hollow + 50 * 40);
        log.close().unwrap();
        for log in [log, place.open(), place.recover(4).0] {
            assert_eq!(log.end(), offset(53));
            for n in 3..53 {
                let first = &seen(&log.read(offset(n), 1, log.end()).unwrap().batches)[0];
                assert_eq!((first.offset, first.timestamp), (n, Some(n)));
            }
            for n in 8..53 {
                let time = Timestamp::from_millis(n).unwrap();
                let found = log.find_timestamp(time, log.end(), &Limits::default()).unwrap();
                assert_eq!(found.unwrap().offset, offset(n));
            }
        }
    }
}

/// B11: offsets that compaction took away, at the front of a segment, between two, and at the end of one.
#[test]
fn every_read_in_a_gap_goes_on_behind_it() {
    let bases = [3, 10, 11, 40, 41, 90, 120, 121];
    for segment_bytes in [150, 400, 1 << 20] {
        let mut place = Place::in_memory(segment_bytes, 0);
        place.config.compact = true;
        let log = place.open();
        for base in bases {
            let batches = vec![batch_at(base, 1)];
            let fetched = Fetched { batches, trusted: false, aborted: Vec::new() };
            log.append_as_follower(fetched, NOW).unwrap();
        }
        log.close().unwrap();
        for log in [log, place.open(), place.recover(0).0] {
            for from in 3..122 {
                let expected = bases.map(i64::from).into_iter().filter(|base| *base >= from);
                let found = read_from(&log, offset(from), 1).unwrap();
                assert!(found.iter().map(|record| record.offset).eq(expected), "from {from}");
            }
        }
        let log = place.open();
        for cut in (4..122).rev() {
            log.truncate_to(offset(cut)).unwrap();
            let last = bases.iter().rev().find(|base| i64::from(**base) < cut).unwrap();
            assert_eq!(log.end(), Offset::from(last + 1));
            assert_eq!(read_all(&log).last().unwrap().offset, i64::from(*last));
        }
    }
}
