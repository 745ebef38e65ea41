//! What a leader does to batches before it appends them: times and codecs.

use std::time::Duration;

use super::*;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

fn appending(place: &mut Place) -> Log {
    place.config.log_append_time = true;
    place.open()
}

fn append_one(log: &Log, timestamp: i64, now: i64) -> Result<Appended, AppendError> {
    log.append_at(vec![batch(timestamp, 1, 10)], epoch(1), at(now)).remove(0)
}

fn times(log: &Log) -> Vec<i64> {
    read_all(log).iter().map(|record| record.timestamp.unwrap()).collect()
}

#[test]
fn append_times_replace_those_of_the_producer_and_never_go_back() {
    let mut place = Place::in_memory(1 << 20, 4096);
    let log = appending(&mut place);
    for (now, expected) in [(100, 100), (90, 100), (-1, 100), (101, 101)] {
        let appended = append_one(&log, 5_000, now.max(0)).unwrap();
        assert_eq!(appended.append_time, Some(at(expected)));
        assert_eq!(appended.timestamp, Some(at(expected)));
    }
    assert_eq!(times(&log), [100, 100, 100, 101]);
    let found = log.find_timestamp(at(101), log.end(), &Limits::default()).unwrap().unwrap();
    assert_eq!((found.offset, found.timestamp), (offset(3), at(101)));
}

#[test]
fn append_times_do_not_go_back_when_the_log_is_opened_again() {
    for clean in [true, false] {
        let mut place = Place::in_memory(1 << 20, 4096);
        let log = appending(&mut place);
        append_one(&log, 0, 100).unwrap();
        if clean {
            log.close().unwrap();
        }
        drop(log);
        let log = if clean { place.open() } else { place.recover(0).0 };
        append_one(&log, 0, 50).unwrap();
        assert_eq!(times(&log), [100, 100]);
    }
}

/// What producers dated themselves is no time at which anything was appended.
#[test]
fn append_times_begin_with_the_clock_where_records_were_dated_by_producers() {
    let place = Place::in_memory(1 << 20, 4096);
    let log = place.open();
    append_one(&log, 1_000, 1_000).unwrap();
    log.set_config(LogConfig { log_append_time: true, ..place.config });
    append_one(&log, 1_000, 500).unwrap();
    assert_eq!(times(&log), [1_000, 500]);
}

/// Segments grow older by the times that their records have in the log.
#[test]
fn append_times_roll_segments() {
    let mut place = Place::in_memory(1 << 20, 4096);
    place.config.segment_age = Duration::from_millis(10);
    let log = appending(&mut place);
    [0, 10, 11].iter().for_each(|&now| _ = append_one(&log, 0, now).unwrap());
    assert_eq!(place.names(".log").len(), 2);
}

/// The copy is answered with the time of the first one.
#[test]
fn a_batch_that_is_sent_again_keeps_its_append_time() {
    let mut place = Place::in_memory(1 << 20, 4096);
    let log = appending(&mut place);
    let send = |now| {
        let batch = sent_by((7, 0), 0, 2, false);
        log.append_at(vec![batch], epoch(1), at(now)).remove(0).unwrap()
    };
    let first = send(100);
    assert_eq!(send(200), first);
    assert_eq!(first.append_time, Some(at(100)));
}

#[test]
fn records_of_a_time_that_the_topic_does_not_allow_are_refused() {
    let mut place = Place::in_memory(1 << 20, 4096);
    place.config.timestamp_before_max = Duration::from_millis(100);
    place.config.timestamp_after_max = Duration::from_millis(10);
    let log = place.open();
    let now = at(1_000);
    let send = |times: &[i64]| {
        let records = times.iter().map(|&time| (time, b"v".to_vec())).collect::<Vec<_>>();
        log.append_at(vec![encoded(&records)], epoch(1), now).remove(0)
    };
    for allowed in [&[900][..], &[1_010], &[-1], &[1_000, -1, 900, 1_010]] {
        send(allowed).unwrap();
    }
    let end = log.end();
    for (refused, limit) in [
        (&[899][..], "message.timestamp.before.max.ms"),
        (&[1_000, 899, 1_010], "message.timestamp.before.max.ms"),
        (&[1_011], "message.timestamp.after.max.ms"),
        (&[900, 1_011, 1_000], "message.timestamp.after.max.ms"),
    ] {
        let Err(AppendError::InvalidTimestamp { limit_name, .. }) = send(refused) else {
            panic!("{refused:?} was not refused");
        };
        assert_eq!(limit_name, limit);
    }
    assert_eq!(log.end(), end);
}

/// It is in the log: saying that it was not written would be wrong.
#[test]
fn a_batch_that_is_sent_again_is_not_judged_again() {
    let place = Place::in_memory(1 << 20, 4096);
    let log = place.open();
    let send = |sequence| {
        let batch = sent_by((7, 0), sequence, 1, false);
        log.append_as_client(vec![batch], epoch(1)).remove(0)
    };
    let first = send(0).unwrap();
    log.set_config(LogConfig { max_message_bytes: 10, ..place.config });
    assert_eq!(send(0).unwrap(), first);
    assert!(matches!(send(1), Err(AppendError::BatchTooLarge { .. })));
}

#[cfg(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd"))]
mod codecs {
    use super::*;
    use crate::base::Compression;

    const CODECS: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    fn sent(compression: Compression) -> EncodedBatch {
        let mut builder = BatchBuilder::new(BytesMut::new());
        for millis in [7, 5, 9] {
            let timestamp = Timestamp::from_millis(millis);
            let value = Some(&[b'v'; 200][..]);
            let headers = &[("name", Some(&b"x"[..]))];
            let fields = RecordFields { timestamp, key: Some(b"k"), value, headers };
            builder.append(&fields).unwrap();
        }
        let producer = BatchProducer {
            id: ProducerId::new(3).unwrap(),
            epoch: ProducerEpoch::new(1).unwrap(),
            base_sequence: Some(0),
        };
        let options =
            CloseOptions { compression, producer: Some(producer), ..CloseOptions::default() };
        builder.close(&options).unwrap()
    }

    #[test]
    fn batches_are_kept_in_the_codec_of_their_topic_and_say_the_same() {
        for (from, to) in CODECS.iter().flat_map(|from| CODECS.map(|to| (*from, to))) {
            let mut place = Place::in_memory(1 << 20, 4096);
            place.config.compression = Some(to);
            let log = place.open();
            log.append_as_client(vec![sent(from)], epoch(4)).remove(0).unwrap();
            let read = log.read(offset(0), 1 << 20, log.end()).unwrap().batches.remove(0);
            read.verify_crc().unwrap();
            let (header, original) = (read.header(), sent(from));
            assert_eq!(header.compression(), to);
            assert_eq!(header.producer(), original.header().producer());
            assert_eq!(header.base_timestamp(), original.base_timestamp());
            assert_eq!(header.max_timestamp(), original.max_timestamp());
            assert_eq!((header.base_offset(), header.last_offset()), (offset(0), offset(2)));
            let records = |batch: &Batch| batch.decode(&Limits::default()).unwrap().body().clone();
            assert_eq!(records(&read), records(&original.freeze()), "{from} to {to}");
        }
    }

    #[test]
    fn batches_keep_their_codec_where_the_topic_wants_none_in_particular() {
        let log = Place::in_memory(1 << 20, 4096).open();
        let size = sent(Compression::Gzip).size();
        log.append_as_client(vec![sent(Compression::Gzip)], epoch(1)).remove(0).unwrap();
        assert_eq!(log.size().1, size as u64);
    }

    #[test]
    fn a_batch_that_is_too_large_in_the_codec_of_the_topic_is_refused() {
        let mut place = Place::in_memory(1 << 20, 4096);
        place.config.compression = Some(Compression::None);
        place.config.max_message_bytes = 400;
        let log = place.open();
        assert!(sent(Compression::Zstd).size() < 400);
        let refused = log.append_as_client(vec![sent(Compression::Zstd)], epoch(1)).remove(0);
        assert!(matches!(refused, Err(AppendError::BatchTooLarge { .. })), "{refused:?}");
        assert_eq!(log.end(), offset(0));
    }

    #[test]
    fn markers_are_not_compressed() {
        let mut place = Place::in_memory(1 << 20, 4096);
        place.config.compression = Some(Compression::Zstd);
        let log = place.open();
        log.append_as_coordinator(marker((1, 0), MarkerKind::Commit, 0)).unwrap();
        let read = log.read(offset(0), 1 << 20, log.end()).unwrap().batches.remove(0);
        assert_eq!(read.header().compression(), Compression::None);
    }
}
