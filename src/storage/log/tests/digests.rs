//! Digests of segments: when they are written, and what they tell.

use super::*;
use crate::storage::log::tests::damage::{assert_read_only, filled};

const DIGEST: &str = "00000000000000000000.digest";

/// Several segments with a digest each, the last one's too since the log was closed.
fn closed() -> Place {
    let place = Place::in_memory(300, 100);
    filled(&place);
    assert!(place.names(".log").len() > 3);
    place
}

fn error_at(log: &Log, at: i64) -> bool {
    match log.read(offset(at), 1, log.end()) {
        Ok(fetched) => fetched.batches.first().is_none_or(|batch| batch.verify_crc().is_err()),
        Err(_) => true,
    }
}

#[test]
fn a_closed_log_has_a_digest_for_each_segment() {
    let place = closed();
    assert_eq!(place.names(".digest").len(), place.names(".log").len());
    let before = place.image();
    place.open().close().unwrap();
    assert_eq!(place.image(), before, "A26: nothing to be written again");
}

#[test]
fn a_checkpoint_writes_the_digests_of_what_is_synced() {
    let place = Place::in_memory(300, 100);
    let log = place.open();
    for at in 0..12 {
        append(&log, vec![batch(at, 3, 20)]);
    }
    log.checkpoint().unwrap();
    assert_eq!(place.names(".digest"), Vec::<String>::new(), "nothing is synced");
    log.sync().unwrap();
    assert_eq!(place.names(".digest"), Vec::<String>::new(), "who waits for a sync writes none");
    log.checkpoint().unwrap();
    assert_eq!(place.names(".digest").len(), place.names(".log").len());
    assert_eq!(log.end(), offset(36));
}

/// A18: other batches at the same offsets are not taken for those that were written.
#[test]
fn a_segment_that_was_replaced_is_an_error() {
    let other = Place::in_memory(300, 100);
    let log = other.open();
    for at in 0..12 {
        append(&log, vec![batch(2_000 + at, 3, 10)]);
    }
    log.close().unwrap();
    for (at, name) in closed().names(".log").iter().enumerate() {
        let place = closed();
        place.edit(name, |log| *log = other.read(name).unwrap());
        for shutdown in [Shutdown::Clean, Shutdown::Unclean { recovery_point: offset(36) }] {
            let log = place.try_open(shutdown).unwrap().0;
            let base = name[..20].parse::<i64>().unwrap();
            let next = place.names(".log").get(at + 1).map_or(36, |n| n[..20].parse().unwrap());
            for offset in (0..36).step_by(3) {
                assert_eq!(
                    error_at(&log, offset),
                    (base..next).contains(&offset),
                    "{name} {offset}"
                );
            }
            assert_eq!(log.is_offline(), next == 36, "the one that would be appended to");
        }
    }
}

#[test]
fn a_segment_that_is_missing_or_shorter_is_noticed_at_open() {
    for damage in [
        |place: &Place, name: &str| place.remove(name),
        |place: &Place, name: &str| {
            place.edit(name, |log| log.truncate(log.len() / 2));
        },
    ] {
        let names = closed().names(".log");
        for name in &names[1..names.len() - 1] {
            let place = closed();
            damage(&place, name);
            let image = place.image();
            for shutdown in [Shutdown::Clean, Shutdown::Unclean { recovery_point: offset(36) }] {
                let log = place.try_open(shutdown).unwrap().0;
                assert_read_only(&log);
                assert_eq!(log.end(), offset(36));
                assert!(!error_at(&log, 0) && !error_at(&log, 33), "the others are readable");
            }
            assert_eq!(place.image(), image, "files were changed");
        }
    }
}

/// R5: where both checkpoints are gone, what a digest speaks of was durable nevertheless.
#[test]
fn a_bad_batch_that_a_digest_speaks_of_is_never_cut() {
    for name in closed().names(".log") {
        let place = closed();
        place.edit(&name, |log| log[70] ^= 1);
        let image = place.image();
        let (log, _) = place.recover(0);
        assert_read_only(&log);
        assert_eq!(place.image(), image, "files were changed");
        let place = closed();
        place.names(".digest").iter().for_each(|name| place.remove(name));
        place.edit(&name, |log| log[70] ^= 1);
        assert_eq!(place.recover(0).0.end(), offset(name[..20].parse().unwrap()), "cut");
    }
}

/// What is appended behind a digest does not make it wrong.
#[test]
fn a_digest_speaks_of_the_first_bytes_alone() {
    let place = Place::in_memory(1 << 20, 100);
    filled(&place);
    let digest = place.read(DIGEST).unwrap();
    let log = place.open();
    append(&log, vec![batch(50, 3, 20)]);
    drop(log);
    assert_eq!(place.read(DIGEST).unwrap(), digest);
    assert_eq!(place.recover(36).0.end(), offset(39));
    let log = place.open();
    append(&log, vec![batch(51, 3, 20)]);
    log.close().unwrap();
    assert_ne!(place.read(DIGEST).unwrap(), digest);
    assert_eq!(read_all(&place.open()).len(), 42);
}

/// A7: whatever the file holds, it is no error. Nor is the digest of another segment or log.
#[test]
fn a_damaged_digest_says_nothing() {
    let image = closed().image();
    let good = image[DIGEST].clone();
    let other = image[&closed().names(".digest")[1]].clone();
    let foreign = seal_again(&good, "AAAAAAAAAAAAAAAAAAAAAA");
    let mut flipped = good.clone();
    flipped[20] ^= 1;
    for content in [vec![], good[..good.len() / 2].to_vec(), flipped, other, foreign] {
        let place = closed();
        place.write(DIGEST, &content);
        for shutdown in [Shutdown::Clean, Shutdown::Unclean { recovery_point: offset(36) }] {
            assert_eq!(read_all(&place.try_open(shutdown).unwrap().0).len(), 36);
        }
    }
}

/// The digest, of another topic.
fn seal_again(digest: &[u8], topic: &str) -> Vec<u8> {
    let text = crate::storage::unseal(digest).unwrap().replace(TOPIC_ID, topic);
    assert!(text.contains(topic));
    crate::storage::seal(&text).into_bytes()
}

#[test]
fn a_truncation_takes_the_digests_with_it() {
    let place = closed();
    let log = place.open();
    let names = place.names(".digest");
    let base = names[2][..20].parse::<i64>().unwrap();
    log.truncate_to(offset(base + 3)).unwrap();
    assert_eq!(place.names(".digest"), names[..2]);
    drop(log);
    assert_eq!(place.recover(0).0.end(), offset(base + 3));
}
