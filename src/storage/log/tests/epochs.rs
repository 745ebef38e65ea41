//! Which leader wrote what, and where it ended.

use super::*;
use crate::storage::EpochEnd;

fn ends(log: &Log, asked: i32) -> Option<(i32, i64)> {
    let EpochEnd { epoch, end } = log.end_of_epoch(epoch(asked))?;
    Some((epoch.value(), end.value()))
}

fn write(log: &Log, by: i32) {
    log.append_as_client(vec![batch(1, 2, 10)], epoch(by)).remove(0).unwrap();
}

/// C3: two elections without a write between them, and every epoch that has records still ends where they do.
#[test]
fn an_election_without_a_write_ends_the_epoch_before() {
    let place = Place::in_memory(1 << 20, 100);
    let log = place.open();
    assert_eq!((log.latest_epoch(), ends(&log, 0)), (None, None));
    log.begin_epoch(epoch(0));
    assert_eq!((log.latest_epoch(), ends(&log, 0)), (Some(epoch(0)), Some((0, 0))));
    assert!(place.image().is_empty(), "an election writes nothing");
    write(&log, 0);
    log.begin_epoch(epoch(3));
    assert_eq!(
        [0, 1, 3, 4].map(|asked| ends(&log, asked)),
        [Some((0, 2)), Some((0, 2)), Some((3, 2)), None]
    );
    log.begin_epoch(epoch(5));
    assert_eq!(
        [0, 3, 5].map(|asked| ends(&log, asked)),
        [Some((0, 2)), Some((0, 2)), Some((5, 2))]
    );
    // Late, and again: nothing changes.
    log.begin_epoch(epoch(4));
    log.begin_epoch(epoch(5));
    write(&log, 5);
    log.begin_epoch(epoch(6));
    for (asked, answer) in [(0, (0, 2)), (4, (0, 2)), (5, (5, 4)), (6, (6, 4))] {
        assert_eq!(ends(&log, asked), Some(answer), "{asked}");
    }
    log.close().unwrap();
    for log in [place.open(), place.recover(4).0, place.recover(0).0] {
        assert_eq!(log.latest_epoch(), Some(epoch(5)), "epoch 6 has no record");
        assert_eq!(
            [0, 4, 5, 6].map(|asked| ends(&log, asked)),
            [Some((0, 2)), Some((0, 2)), Some((5, 4)), None]
        );
    }
}

/// An election alone makes no checkpoint write anything; the first record of the epoch does.
#[test]
fn an_epoch_is_written_down_when_it_has_a_record() {
    let place = Place::in_memory(1 << 20, 100);
    let log = place.open();
    let checkpoint = || {
        log.sync().unwrap();
        log.checkpoint().unwrap();
        String::from_utf8(place.read("leader-epoch-checkpoint").unwrap()).unwrap()
    };
    write(&log, 1);
    assert_eq!(checkpoint(), "0\n1\n1 0\n");
    log.begin_epoch(epoch(2));
    assert_eq!(checkpoint(), "0\n1\n1 0\n");
    write(&log, 2);
    assert_eq!(checkpoint(), "0\n2\n1 0\n2 2\n");
}

/// C6: a follower that has begun an epoch in vain, where its leader goes on in an earlier one, forgets it when it is cut to
/// its own end.
#[test]
fn truncation_to_the_end_forgets_an_epoch_that_begins_there() {
    let place = Place::in_memory(1 << 20, 100);
    let log = place.open();
    write(&log, 1);
    log.begin_epoch(epoch(3));
    log.truncate_to(offset(3)).unwrap();
    assert_eq!(log.latest_epoch(), Some(epoch(3)), "nothing is cut there");
    let late = || {
        let mut late = batch(1, 1, 10);
        late.stamp(offset(2), epoch(2));
        Fetched { batches: vec![late.freeze()], trusted: true, ..Fetched::default() }
    };
    match log.append_as_follower(late(), NOW) {
        Err(AppendError::EarlierEpoch { epoch: found, latest }) => {
            assert_eq!((found, latest, log.end()), (epoch(2), epoch(3), offset(2)));
        }
        other => panic!("{other:?}"),
    }
    log.truncate_to(offset(2)).unwrap();
    assert_eq!((log.latest_epoch(), ends(&log, 1)), (Some(epoch(1)), Some((1, 2))));
    log.append_as_follower(late(), NOW).unwrap();
    assert_eq!(ends(&log, 1), Some((1, 2)));
    assert_eq!((log.latest_epoch(), ends(&log, 2)), (Some(epoch(2)), Some((2, 3))));
    log.truncate_to(offset(2)).unwrap();
    assert_eq!((log.latest_epoch(), ends(&log, 1)), (Some(epoch(1)), Some((1, 2))));
}

/// C6: what the file tells of epochs at or past the log's end is not believed, however the log was left.
#[test]
fn epochs_past_the_end_are_forgotten_at_open() {
    let place = Place::in_memory(1 << 20, 100);
    let log = place.open();
    write(&log, 0);
    write(&log, 4);
    log.close().unwrap();
    for entries in ["3\n0 0\n4 2\n7 4\n", "4\n0 0\n4 2\n7 4\n9 100\n"] {
        for reopened in [0, 1, 4] {
            place.write("leader-epoch-checkpoint", format!("0\n{entries}").as_bytes());
            let log = if reopened == 0 { place.open() } else { place.recover(reopened).0 };
            assert_eq!(log.latest_epoch(), Some(epoch(4)));
            assert_eq!((ends(&log, 4), ends(&log, 7)), (Some((4, 4)), None));
            log.begin_epoch(epoch(5));
            assert_eq!(ends(&log, 5), Some((5, 4)));
        }
    }
}

/// Who asks for an epoch does not wait for a write.
#[test]
fn questions_do_not_wait_for_the_writer() {
    let log = Place::in_memory(1 << 20, 100).open();
    write(&log, 1);
    let _writing = log.writer.lock();
    assert_eq!((log.latest_epoch(), ends(&log, 1)), (Some(epoch(1)), Some((1, 2))));
}
