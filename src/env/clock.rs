//! Threads on a clock that can be set forward, for tests.
//!
//! # Invariants
//! - Whoever waits for a moment has said so before it looks at the clock for the last time: it is woken by the call that
//!   sets the clock past that moment, or sees what it did.

// Real threads and clocks, as in `threads`.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::base::Timestamp;
use crate::env::moment::Moment;
use crate::env::runtime::{Next, Runtime, Step, Task, TaskControl};
use crate::env::sync::EventListener;
use crate::env::threads::Threads;

/// A clock for clusters on ordinary threads, which a test can set forward: whatever waits for a time that has come then,
/// a timeout, a lagging replica, a lingering batch, does not wait any longer. Else it goes as the system's does. A handle,
/// cheap to clone; clusters that are given the same have the same time.
///
/// In a [`Simulation`](crate::sim::Simulation) time is the simulation's, and jumps by itself.
///
/// ```
/// use brooklet::sim::Clock;
/// use brooklet::{Cluster, NewTopic, Record};
/// use std::time::Duration;
///
/// let clock = Clock::new();
/// let cluster = Cluster::builder().clock(&clock).in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email"))?;
/// let producer = cluster.producer().linger(Duration::from_secs(3600)).build()?;
/// let delivery = producer.send(Record::to(&email).value("welcome"))?;
/// clock.advance(Duration::from_secs(3600));
/// delivery.wait()?;
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone)]
pub struct Clock {
    inner: Arc<Inner>,
}

struct Inner {
    threads: Threads,
    /// Nanoseconds that it is ahead of the system's clocks.
    ahead: AtomicU64,
    /// Milliseconds by which the wall clock was set, besides.
    set_by: AtomicI64,
    waiting: Mutex<Waiting>,
}

/// Those who wait for a moment, or may be about to.
#[derive(Default)]
struct Waiting {
    wakers: BTreeMap<u64, Waker>,
    next: u64,
}

impl Clock {
    /// A clock that shows what the system's clocks show.
    #[must_use]
    pub fn new() -> Self {
        let (threads, ahead, set_by) = (Threads::new(), AtomicU64::new(0), AtomicI64::new(0));
        Self { inner: Arc::new(Inner { threads, ahead, set_by, waiting: Mutex::default() }) }
    }

    /// Sets it forward, and wakes those who wait. They do what is due on their own threads: that may not be done yet when
    /// this returns.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let add = |ahead: u64| Some(ahead.saturating_add(by));
        let (set, failed) = (Ordering::SeqCst, Ordering::SeqCst);
        let _ = self.inner.ahead.fetch_update(set, failed, add);
        let waiting = self.inner.waiting.lock().wakers.values().cloned().collect::<Vec<_>>();
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Has it show another time of day from now on, as somebody does who sets a clock. No time passes: nobody who waits
    /// waits less or more.
    pub fn set_wall_clock(&self, to: Timestamp) {
        let by = to.as_millis().saturating_sub(self.wall_clock().as_millis());
        self.inner.set_by.fetch_add(by, Ordering::SeqCst);
    }

    /// What it shows, as timestamps of records do.
    #[must_use]
    pub fn wall_clock(&self) -> Timestamp {
        let ahead = i64::try_from(self.ahead().as_millis()).unwrap_or(i64::MAX);
        let shown = self.inner.threads.wall_clock();
        let set_by = self.inner.set_by.load(Ordering::SeqCst);
        let shows = shown.as_millis().saturating_add(ahead).saturating_add(set_by);
        Timestamp::from_millis(shows).unwrap_or(shown)
    }

    pub(crate) fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(self.clone())
    }

    fn ahead(&self) -> Duration {
        Duration::from_nanos(self.inner.ahead.load(Ordering::SeqCst))
    }

    /// The same moment by the system's clock, as of now.
    fn on_threads(&self, moment: Moment) -> Moment {
        Moment::since_start(moment.as_duration().saturating_sub(self.ahead()))
    }

    /// Has `waker` woken whenever the clock is set forward.
    fn enter(&self, waker: Waker) -> Waits {
        let mut waiting = self.inner.waiting.lock();
        let place = waiting.next;
        waiting.next += 1;
        waiting.wakers.insert(place, waker);
        Waits { clock: self.clone(), place }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("ahead", &self.ahead()).finish_non_exhaustive()
    }
}

impl Runtime for Clock {
    fn now(&self) -> Moment {
        let now = self.inner.threads.now().as_duration();
        Moment::since_start(now.saturating_add(self.ahead()))
    }

    fn wall_clock(&self) -> Timestamp {
        Self::wall_clock(self)
    }

    fn park(&self, listener: EventListener, deadline: Option<Moment>) -> bool {
        let Some(deadline) = deadline else { return self.inner.threads.park(listener, None) };
        let sleeper = Arc::new(Sleeper::default());
        let waker = Waker::from(Arc::clone(&sleeper));
        let _waits = self.enter(waker.clone());
        let mut listener = pin!(listener);
        loop {
            if listener.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                return true;
            }
            let left = deadline.since(self.now());
            if left.is_zero() {
                return false;
            }
            sleeper.sleep(left);
        }
    }

    fn spawn(&self, name: &str, mut step: Step) -> io::Result<Task> {
        let clock = self.clone();
        let mut waits = None;
        let on_clock = move || {
            waits.get_or_insert_with(|| {
                clock.enter(Waker::from(Arc::new(Unpark(thread::current()))))
            });
            match step() {
                // As of now: who sets the clock forward from here on wakes the thread, also before it sleeps.
                Next::Park(Some(deadline)) => Next::Park(Some(clock.on_threads(deadline))),
                next => next,
            }
        };
        let task = self.inner.threads.spawn(name, Box::new(on_clock))?;
        Ok(Task::new(Arc::new(Clocked { task, clock: self.clone() })))
    }

    fn random(&self) -> u64 {
        self.inner.threads.random()
    }
}

/// A place among those who wait, given up when dropped.
struct Waits {
    clock: Clock,
    place: u64,
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.clock.inner.waiting.lock().wakers.remove(&self.place);
    }
}

/// Somebody who is parked. It has a flag of its own: a thread's own token may be meant for the task that it runs.
#[derive(Default)]
struct Sleeper {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Sleeper {
    fn sleep(&self, at_most: Duration) {
        let mut woken = self.woken.lock();
        if !*woken {
            self.changed.wait_for(&mut woken, at_most);
        }
        *woken = false;
    }
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        *self.woken.lock() = true;
        self.changed.notify_one();
    }
}

/// A task's thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A task on this clock.
#[derive(Debug)]
struct Clocked {
    task: Task,
    clock: Clock,
}

impl TaskControl for Clocked {
    fn wake(&self) {
        self.task.wake();
    }

    fn stop(&self) {
        self.task.0.stop();
    }

    fn join(&self, deadline: Moment) -> bool {
        self.task.0.join(self.clock.on_threads(deadline))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::env::sync::Event;

    const LONG: Duration = Duration::from_secs(20);
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

    #[test]
    fn time_goes_by_and_jumps() {
        let clock = Clock::new();
        let (before, shown) = (clock.now(), clock.wall_clock());
        clock.advance(YEAR);
        assert!(clock.now().since(before) >= YEAR && clock.now().since(before) < YEAR + LONG);
        let went_by = clock.wall_clock().as_millis() - shown.as_millis();
        assert!(u128::try_from(went_by).unwrap() >= YEAR.as_millis());
        clock.advance(Duration::MAX);
        clock.advance(Duration::MAX);
        assert!(clock.now() > before, "it stops at the end");
    }

    #[test]
    fn whoever_is_parked_wakes_when_the_time_has_come_or_it_is_told() {
        let clock = Clock::new();
        let event = Event::new();
        let deadline = clock.now().after(YEAR);
        thread::scope(|scope| {
            let parked = scope.spawn(|| clock.park(event.listen(), deadline));
            while clock.inner.waiting.lock().wakers.is_empty() {
                thread::yield_now();
            }
            clock.advance(YEAR / 2);
            clock.advance(YEAR);
            assert!(!parked.join().unwrap(), "the time had come");
            let listener = event.listen();
            let told = scope.spawn(|| clock.park(listener, clock.now().after(YEAR)));
            event.notify(usize::MAX);
            assert!(told.join().unwrap());
        });
        assert!(!clock.park(event.listen(), clock.now().after(Duration::from_millis(1))));
        assert!(clock.inner.waiting.lock().wakers.is_empty(), "nobody waits any more");
    }

    #[test]
    fn a_task_steps_when_its_time_has_come_and_ends_in_time() {
        let clock = Clock::new();
        let (sent, received) = mpsc::channel();
        let on_clock = clock.clone();
        let step = move || {
            sent.send(on_clock.now()).unwrap();
            Next::Park(on_clock.now().after(YEAR))
        };
        let task = clock.spawn("yearly", Box::new(step)).unwrap();
        for years in 0..20 {
            let at = received.recv_timeout(LONG).unwrap();
            assert!(at.as_duration() >= YEAR * years);
            clock.advance(YEAR);
        }
        assert!(task.end(clock.now().after(LONG).unwrap()));
        drop(task);
        assert!(clock.inner.waiting.lock().wakers.is_empty(), "the task is over");
    }

    #[test]
    fn no_jump_is_missed_by_who_is_about_to_wait() {
        let (clock, event) = (Clock::new(), Event::new());
        for _ in 0..200 {
            let deadline = clock.now().after(YEAR);
            thread::scope(|scope| {
                let parked = scope.spawn(|| clock.park(event.listen(), deadline));
                clock.advance(2 * YEAR);
                assert!(!parked.join().unwrap());
            });
        }
    }
}
