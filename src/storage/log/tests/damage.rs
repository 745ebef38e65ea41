//! Damage where everything was durable: reported, never cut, and the rest can be read.

use super::*;

const FIRST: &str = "00000000000000000000.log";

pub(super) fn filled(place: &Place) -> usize {
    let log = place.open();
    for i in 0..12 {
        append(&log, vec![batch(1000 + i, 3, 10)]);
    }
    log.close().unwrap();
    place.read(FIRST).unwrap().len()
}

pub(super) fn assert_read_only(log: &Log) {
    assert!(log.is_offline());
    let result = log.append_as_client(vec![batch(1, 1, 1)], epoch(1));
    assert!(matches!(&result[..], [Err(AppendError::NotWritten(StorageError::DamagedLog(_)))]));
    log.sync().unwrap_err();
    log.close().unwrap_err();
}

/// A18, A19, A29: one flipped bit costs one batch, whichever it is.
#[test]
fn a_bad_batch_below_the_recovery_point_is_never_cut() {
    for segment_bytes in [300, 1 << 20] {
        let place = Place::in_memory(segment_bytes, 100);
        filled(&place);
        let logs = place.names(".log");
        let image = place.image();
        for (name, clean) in logs.iter().flat_map(|name| [(name, false), (name, true)]) {
            for byte in [70, 30] {
                place.restore(&image);
                place.edit(name, |log| log[byte] ^= 0x40);
                // After a clean stop only the end is looked at, the rest when it is read.
                let log = match clean {
                    true => place.open(),
                    false => {
                        place.remove("leader-epoch-checkpoint");
                        let log = place.recover(36).0;
                        assert_read_only(&log);
                        place.write("leader-epoch-checkpoint", &image["leader-epoch-checkpoint"]);
                        log
                    }
                };
                let base = name[..20].parse::<i64>().unwrap();
                let mut good = 0;
                for at in (0..36).step_by(3) {
                    let read = log.read(offset(at), 1, log.end());
                    let damaged = match read {
                        Ok(fetched) => {
                            fetched.batches.first().is_none_or(|b| b.verify_crc().is_err())
                        }
                        Err(_) => true,
                    };
                    assert_eq!(damaged, at == base, "{name} byte {byte}: {at}");
                    good += usize::from(!damaged);
                }
                assert_eq!((good, log.end()), (11, offset(36)));
                drop(log);
                place.edit(name, |log| log[byte] ^= 0x40);
                assert_eq!(place.image(), image, "files were changed");
            }
        }
    }
}

/// A6: the log ends before the recovery point. Nothing is there to be cut, and what is missing is an error to who
/// reads it.
#[test]
fn a_log_that_ends_before_its_recovery_point_is_damaged() {
    let place = Place::in_memory(1 << 20, 100);
    let size = filled(&place);
    for lost in [size / 12, size / 12 + 5, size] {
        let image = place.image();
        place.edit(FIRST, |log| log.truncate(size - lost));
        let cut = place.image();
        let (log, _) = place.recover(36);
        assert_eq!((log.flushed(), log.end()), (offset(36), offset(36)));
        let missing = lost.div_ceil(size / 12) as i64 * 3;
        let good = offset(36 - missing);
        assert_eq!(read_upto(&log, good).len() as i64, good.value());
        assert!(matches!(log.read(good, 1 << 20, log.end()), Err(ReadError::Corrupt { .. })));
        assert_read_only(&log);
        assert_eq!(place.image(), cut);
        place.restore(&image);
    }
}

#[test]
fn a_missing_directory_is_not_an_empty_log_if_it_had_records() {
    let place = Place::in_memory(1000, 100);
    let shutdown = Shutdown::Unclean { recovery_point: offset(1) };
    assert!(matches!(place.try_open(shutdown), Err(StorageError::Damaged { .. })));
    place.write("partition.metadata", b"");
    assert!(matches!(place.try_open(shutdown), Err(StorageError::Damaged { .. })));
    assert_eq!(place.recover(0).0.end(), Offset::ZERO);
}

#[test]
fn a_segment_below_the_recovery_point_is_not_removed_for_overlapping() {
    let place = Place::in_memory(1 << 20, 100);
    filled(&place);
    let content = place.read(FIRST).unwrap();
    place.write("00000000000000000009.log", &content);
    place.remove("leader-epoch-checkpoint");
    let image = place.image();
    for shutdown in [Shutdown::Clean, Shutdown::Unclean { recovery_point: offset(36) }] {
        assert_read_only(&place.try_open(shutdown).unwrap().0);
        assert_eq!(place.image(), image);
    }
}

#[test]
fn the_directory_of_another_topic_is_refused() {
    let place = Place::in_memory(1000, 100);
    filled(&place);
    let other = TOPIC_ID.replace('Z', "Y");
    place.write("partition.metadata", format!("version: 0\ntopic_id: {other}").as_bytes());
    let image = place.image();
    for shutdown in [Shutdown::Clean, Shutdown::Unclean { recovery_point: Offset::ZERO }] {
        assert!(matches!(place.try_open(shutdown), Err(StorageError::Damaged { .. })));
    }
    assert_eq!(place.image(), image);
    for nothing_said in [&b""[..], b"\0\0\0", b"version: 0\n", b"version: 0\ntopic_id: short"] {
        place.write("partition.metadata", nothing_said);
        assert_eq!(read_all(&place.open()).len(), 36);
    }
}

/// The good batches before a bad one are handed out first.
#[test]
fn batches_before_a_bad_one_are_read_together() {
    let place = Place::in_memory(1 << 20, 100);
    let size = filled(&place) / 12;
    place.edit(FIRST, |log| log[4 * size + 11] = 40); // shorter than a header
    let log = place.open();
    let fetched = log.read(offset(0), 1 << 20, log.end()).unwrap();
    assert_eq!(seen(&fetched.batches).len(), 12);
    assert!(matches!(log.read(offset(12), 1 << 20, log.end()), Err(ReadError::Corrupt { .. })));
}

/// A batch whose length leads past the end of its segment hides others: an error, not a gap.
#[test]
fn a_length_that_leads_astray_is_an_error() {
    let place = Place::in_memory(1 << 20, 1 << 20);
    let size = filled(&place) / 12;
    place.edit(FIRST, |log| log[4 * size + 9] = 1);
    place.remove("00000000000000000000.index");
    place.remove("leader-epoch-checkpoint");
    let (log, _) = place.recover(36);
    assert_read_only(&log);
    assert_eq!(log.end(), offset(36));
    assert_eq!(read_upto(&log, offset(12)).len(), 12);
    assert!(matches!(log.read(offset(12), 1 << 20, log.end()), Err(ReadError::Corrupt { .. })));
}

/// Everything below `upto`, which is known to be good.
fn read_upto(log: &Log, upto: Offset) -> Vec<Seen> {
    let mut all = Vec::new();
    while let Some(next) = Offset::new(all.len() as i64).filter(|next| *next < upto) {
        all.extend(seen(&log.read(next, 4096, upto).unwrap().batches));
    }
    all
}
