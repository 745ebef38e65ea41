use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::env::runtime::{Next, Runtime};
use crate::env::sync::{Event, Mutex};

/// The order in which three threads come through a lock.
fn order(seed: u64) -> (Vec<u64>, Ended) {
    let run = Baton::run(seed, |baton| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let threads = (0..3).map(|number| {
            let order = Arc::clone(&order);
            let body = move || (0..5).for_each(|_| order.lock().push(number));
            baton.spawn_user(&format!("thread {number}"), body).unwrap()
        });
        let threads = threads.collect::<Vec<_>>();
        threads.into_iter().for_each(Handle::join);
        std::mem::take(&mut *order.lock())
    });
    run.unwrap_or_else(|_| panic!("seed {seed} failed"))
}

#[test]
fn a_seed_takes_the_same_way_each_time() {
    for seed in 0..50 {
        assert_eq!(order(seed), order(seed), "seed {seed}");
    }
}

#[test]
fn seeds_take_different_ways() {
    let ways = (0..50).map(|seed| order(seed).0).collect::<std::collections::BTreeSet<_>>();
    assert!(ways.len() > 20, "{} ways", ways.len());
    assert!(ways.iter().all(|way| way.len() == 15));
}

#[test]
fn waiting_takes_no_time() {
    let hour = Duration::from_secs(3600);
    let (woken, ended) = Baton::run(1, move |baton| {
        let event = Arc::new(Event::new());
        let (other, told) = (Arc::clone(baton), Arc::clone(&event));
        let sleeper = baton.spawn_user("sleeper", move || {
            other.sleep(hour);
            told.notify(usize::MAX);
        });
        let listener = event.listen();
        let early = baton.park(listener, baton.now().after(hour / 2));
        let listener = event.listen();
        let late = baton.park(listener, None);
        sleeper.unwrap().join();
        (early, late)
    })
    .unwrap_or_else(|_| panic!("it failed"));
    assert_eq!(woken, (false, true));
    assert!(ended.elapsed >= hour && ended.elapsed < hour + Duration::from_secs(1));
}

#[test]
fn who_waits_for_ever_is_named() {
    let failed = Baton::run(1, |baton| {
        let forgotten = Event::new();
        baton.park(forgotten.listen(), None);
    });
    let Err(Failure::Stuck(why)) = failed else { panic!("it should be stuck") };
    assert!(why.contains("main: Parked(None) at park"), "{why}");
}

#[test]
fn a_lock_that_is_kept_while_parked_is_found() {
    let failed = Baton::run(3, |baton| {
        let lock = Arc::new(Mutex::new(()));
        let wanted = Arc::clone(&lock);
        let kept = lock.lock();
        let other = baton.spawn_user("other", move || drop(wanted.lock()));
        other.unwrap().join();
        drop(kept);
    });
    let Err(Failure::Stuck(why)) = failed else { panic!("it should be stuck") };
    assert!(why.contains("locks that nobody gives back"), "{why}");
}

#[test]
fn a_panic_of_any_thread_ends_the_run() {
    let failed = Baton::run(1, |baton| {
        let other = baton.spawn_user("other", || panic!("as planned"));
        other.unwrap().join();
    });
    let Err(Failure::Panicked(payload)) = failed else { panic!("it should have failed") };
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"as planned"));
}

#[test]
fn background_tasks_step_when_woken_and_end_when_dropped() {
    let (steps, _) = Baton::run(5, |baton| {
        let steps = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&steps);
        let step = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Next::Park(None)
        };
        let task = Runtime::spawn(baton, "counter", Box::new(step)).unwrap();
        for wanted in 1..4 {
            while steps.load(Ordering::SeqCst) < wanted {
                baton.sleep(Duration::from_micros(1));
            }
            task.wake();
        }
        assert!(task.end(baton.now().after(Duration::from_secs(1)).unwrap()));
        steps.load(Ordering::SeqCst)
    })
    .unwrap_or_else(|_| panic!("it failed"));
    assert!(steps >= 3);
}

#[test]
fn the_wall_clock_jumps_alone() {
    let ran = Baton::run(1, |baton| {
        let before = (baton.now(), baton.wall_clock());
        baton.jump_wall_clock(Duration::from_secs(1));
        let after = (baton.now(), baton.wall_clock());
        assert!(after.0.since(before.0) < Duration::from_secs(1));
        (before.1.as_millis(), after.1.as_millis())
    });
    let ((before, after), _) = ran.unwrap_or_else(|_| panic!("it failed"));
    assert_eq!((before, after), (1_704_067_200_000, 1_000));
}
