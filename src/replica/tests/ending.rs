//! Replicas that end while others are at them.

use super::*;

/// The replica ends, as when its partition is moved away or its broker crashes, in the middle of the first call of this
/// kind that `act` makes, which then fails for that.
fn ends_in(call: CallKind, place: &Place, act: impl FnOnce(&Replica)) {
    let begun = Arc::new(AtomicUsize::new(0));
    let (replica, says) = (Arc::clone(&place.replica), Arc::clone(&begun));
    place.disk.on_call(move |made| {
        if made.kind != call {
            return Ok(());
        }
        says.store(1, Ordering::SeqCst);
        while replica.ended().is_none() {
            thread::yield_now();
        }
        Err(io::ErrorKind::NotFound.into())
    });
    thread::scope(|scope| {
        scope.spawn(|| {
            while begun.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            place.replica.abandon();
        });
        act(&place.replica);
    });
}

#[test]
fn what_a_replica_that_ends_could_not_sync_is_given_back() {
    let place = Place::with_a_record(FlushPolicy::OnAck);
    let asked = place.enqueue(Acks::All);
    place.replica.drive();
    ends_in(CallKind::Sync, &place, Replica::sync);
    assert!(matches!(asked.answer(), Some(Err(ProduceError::LeaderLost))), "{:?}", asked.answer());
}

#[test]
fn what_a_replica_that_ends_could_not_write_is_given_back() {
    let place = Place::with_a_record(FlushPolicy::OnAck);
    let asked = place.enqueue(Acks::All);
    ends_in(CallKind::Write, &place, Replica::drive);
    assert!(matches!(asked.answer(), Some(Err(ProduceError::NotLeader))), "{:?}", asked.answer());
}
