//! Replicas that end while others are at them.

use super::*;

/// The partition was moved away, or the broker has crashed, while a sync was under way, which then failed for that.
#[test]
fn what_a_replica_that_ends_could_not_sync_is_given_back() {
    let place = Place::with_a_record(FlushPolicy::OnAck);
    let asked = place.enqueue(Acks::All);
    place.replica.drive();
    let ending = Arc::new(Mutex::new(None));
    let (replica, begun) = (Arc::clone(&place.replica), Arc::clone(&ending));
    place.disk.on_call(move |call| {
        if call.kind != CallKind::Sync {
            return Ok(());
        }
        let ends = Arc::clone(&replica);
        *begun.lock() = Some(thread::spawn(move || ends.abandon()));
        while replica.ended().is_none() || !replica.log().is_offline() {
            thread::yield_now();
        }
        Err(io::ErrorKind::NotFound.into())
    });
    place.replica.sync();
    ending.lock().take().unwrap().join().unwrap();
    assert!(matches!(asked.answer(), Some(Err(ProduceError::LeaderLost))), "{:?}", asked.answer());
}

/// As above, while a write was under way.
#[test]
fn what_a_replica_that_ends_could_not_write_is_given_back() {
    let place = Place::with_a_record(FlushPolicy::OnAck);
    let asked = place.enqueue(Acks::All);
    let ending = Arc::new(Mutex::new(None));
    let (replica, begun) = (Arc::clone(&place.replica), Arc::clone(&ending));
    place.disk.on_call(move |call| {
        if call.kind != CallKind::Write {
            return Ok(());
        }
        let ends = Arc::clone(&replica);
        *begun.lock() = Some(thread::spawn(move || ends.abandon()));
        while replica.ended().is_none() {
            thread::yield_now();
        }
        Err(io::ErrorKind::NotFound.into())
    });
    place.replica.drive();
    ending.lock().take().unwrap().join().unwrap();
    assert!(matches!(asked.answer(), Some(Err(ProduceError::NotLeader))), "{:?}", asked.answer());
}
