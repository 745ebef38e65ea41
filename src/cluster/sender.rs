//! The background sender of a store: writes what nobody waits for.
//!
//! A producer's accumulator asks for it when its first record comes in; unless a caller is faster, the sender then
//! closes the batch and writes it, at once or after `linger.ms`.
//!
//! A second one touches no files: it gives up in time what the first, or the disk, has not got done.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};

use crate::env::sync::OnceMade;
use crate::env::{Moment, Next, Runtime, Task};
use crate::replica::Replica;

/// Something with records to write.
pub(crate) trait Drive: Send + Sync {
    /// Closes the batch and writes it, unless it may wait for company until a later moment, which is returned.
    fn drive(&self, now: Moment) -> Option<Moment>;
}

/// Its closed batches have nothing to wait for.
impl Drive for Replica {
    fn drive(&self, _now: Moment) -> Option<Moment> {
        Self::drive(self);
        None
    }
}

/// A request: what to drive, and when.
type Request = (Option<Moment>, Arc<dyn Drive>);

/// Drives what it is given, in the background. Its thread starts with the first request.
pub(crate) struct Sender {
    name: &'static str,
    runtime: Arc<dyn Runtime>,
    requests: crossbeam_channel::Sender<Request>,
    received: Receiver<Request>,
    closed: AtomicBool,
    /// Nanoseconds of the moment at which the thread will be awake, [`AWAKE`] if it is.
    awake_at: Arc<AtomicU64>,
    task: OnceMade<Option<Task>>,
}

const AWAKE: u64 = 0;

/// How long the sender sleeps while more work is likely.
const NAP: Duration = Duration::from_micros(30);

/// How many naps without work it takes until work is unlikely.
const QUIET_NAPS: u32 = 20;

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("requests", &self.requests.len()).finish_non_exhaustive()
    }
}

impl Sender {
    /// One whose thread will have this name.
    pub(crate) fn new(name: &'static str, runtime: Arc<dyn Runtime>) -> Self {
        // Unbounded, but each accumulator has one request in it at most, and one for each batch in flight.
        let (requests, received) = unbounded();
        let (closed, awake_at) = (AtomicBool::new(false), Arc::default());
        Self { name, runtime, requests, received, closed, awake_at, task: OnceMade::new() }
    }

    /// Has `what` driven at `due`, or at once.
    pub(crate) fn submit(&self, what: Arc<dyn Drive>, due: Option<Moment>) {
        let task = self.task.get_or_make(|| self.start());
        // It does not fail: the other end is here.
        let _ = self.requests.send((due, what));
        match task {
            // Looked at after sending: either `close` finds the request, or it was closed, and this is seen here.
            Some(task) if !self.closed.load(Ordering::SeqCst) => {
                // A thread that will be awake in time by itself is not woken: that would cost more than most writes.
                if self.awake_at.load(Ordering::SeqCst) > due.map_or(AWAKE, nanos) {
                    task.wake();
                }
            }
            // Closed, or no thread to be had: the caller does it.
            _ => self.drain(),
        }
    }

    fn start(&self) -> Option<Task> {
        let received = self.received.clone();
        let runtime = Arc::clone(&self.runtime);
        let awake_at = Arc::clone(&self.awake_at);
        let mut lingering = Lingering::default();
        let mut quiet = QUIET_NAPS;
        let step = move || {
            awake_at.store(AWAKE, Ordering::SeqCst);
            quiet = QUIET_NAPS.min(quiet + 1);
            for (due, what) in received.try_iter() {
                // Who brings what is due at once wakes the thread in any case.
                if due.is_some() {
                    quiet = 0;
                }
                lingering.add(due.unwrap_or(Moment::since_start(Duration::ZERO)), what);
            }
            let now = runtime.now();
            lingering.drive_due(now);
            // Where there was work there is likely to be more: a few naps spare its bringer the waking.
            let nap = if quiet < QUIET_NAPS { now.after(NAP) } else { None };
            let next = [lingering.next_due(), nap].into_iter().flatten().min();
            // Said before the last look at the requests: who sends one after that look sees it.
            awake_at.store(next.map_or(u64::MAX, nanos), Ordering::SeqCst);
            if received.is_empty() { Next::Park(next) } else { Next::Again }
        };
        let task = self.runtime.spawn(self.name, Box::new(step));
        task.inspect_err(|e| log::warn!("no thread for {}, callers do its work: {e}", self.name))
            .ok()
    }

    /// Drives all that was asked for and is not done yet, and takes no more. Who submits from now on drives.
    pub(crate) fn close(&self, deadline: Moment) {
        self.closed.store(true, Ordering::SeqCst);
        // If there is no thread by now, there will be none.
        if let Some(task) = self.task.get_or_make(|| None)
            && !task.end(deadline)
        {
            log::warn!("{} did not end in time", self.name);
        }
        self.drain();
    }

    fn drain(&self) {
        for (_, what) in self.received.try_iter() {
            drive_now(&*what);
        }
    }
}

fn drive_now(what: &dyn Drive) {
    // At the end of time no batch has anything to wait for.
    what.drive(Moment::since_start(Duration::MAX));
}

fn nanos(moment: Moment) -> u64 {
    u64::try_from(moment.as_duration().as_nanos()).unwrap_or(u64::MAX)
}

/// Batches that wait for company, by the moment at which they will wait no longer.
#[derive(Default)]
struct Lingering {
    due: BTreeMap<(Moment, u64), Arc<dyn Drive>>,
    added: u64,
}

impl Lingering {
    fn add(&mut self, due: Moment, what: Arc<dyn Drive>) {
        self.added += 1;
        self.due.insert((due, self.added), what);
    }

    fn next_due(&self) -> Option<Moment> {
        self.due.first_key_value().map(|((due, _), _)| *due)
    }

    fn drive_due(&mut self, now: Moment) {
        while self.next_due().is_some_and(|due| due <= now) {
            if let Some((_, what)) = self.due.pop_first()
                && let Some(later) = what.drive(now)
            {
                self.add(later, what);
            }
        }
    }
}

/// What still lingers when the sender ends is written.
impl Drop for Lingering {
    fn drop(&mut self) {
        while let Some((_, what)) = self.due.pop_first() {
            drive_now(&*what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::sync::Event;
    use crate::env::{Threads, pause};

    const LONG: Duration = Duration::from_secs(20);

    /// Counts its drives; the first `postponed` of them put it off by a millisecond.
    #[derive(Default)]
    struct Counted {
        postponed: u64,
        drives: AtomicU64,
        done: AtomicU64,
        event: Event,
    }

    impl Drive for Counted {
        fn drive(&self, now: Moment) -> Option<Moment> {
            let drives = self.drives.fetch_add(1, Ordering::SeqCst);
            let later = now.after(Duration::from_millis(1));
            if drives < self.postponed && later.is_some() {
                return later;
            }
            self.done.fetch_add(1, Ordering::SeqCst);
            self.event.notify(usize::MAX);
            None
        }
    }

    impl Counted {
        fn wait(&self, runtime: &Threads) -> Moment {
            loop {
                let listener = self.event.listen();
                if self.done.load(Ordering::SeqCst) > 0 {
                    return runtime.now();
                }
                assert!(runtime.park(listener, runtime.now().after(LONG)), "it was not driven");
            }
        }
    }

    fn sender() -> (Threads, Sender, Arc<Counted>) {
        let runtime = Threads::new();
        (runtime, Sender::new("sender", Arc::new(runtime)), Arc::default())
    }

    fn later(runtime: &Threads, duration: Duration) -> Moment {
        runtime.now().after(duration).unwrap()
    }

    #[test]
    fn a_request_is_done_when_it_is_due() {
        let (runtime, sender, first) = sender();
        let never = Arc::new(Counted::default());
        sender.submit(Arc::clone(&never) as _, Some(later(&runtime, 1_000 * LONG)));
        let due = later(&runtime, Duration::from_millis(10));
        sender.submit(Arc::clone(&first) as _, Some(due));
        let urgent = Arc::new(Counted { postponed: 2, ..Counted::default() });
        sender.submit(Arc::clone(&urgent) as _, None);
        urgent.wait(&runtime);
        assert!(first.wait(&runtime) >= due);
        assert_eq!(never.drives.load(Ordering::SeqCst), 0);
        assert_eq!(urgent.drives.load(Ordering::SeqCst), 3, "driven again for as long as it asks");
    }

    /// The thread naps while more is likely, then sleeps; it must be woken from that.
    #[test]
    fn a_request_wakes_the_thread_from_every_sleep() {
        let (runtime, sender, _) = sender();
        for micros in [0, 50, 200, 3_000, 20_000] {
            pause(Duration::from_micros(micros));
            for due in [None, Some(later(&runtime, Duration::from_micros(40)))] {
                let counted = Arc::new(Counted::default());
                sender.submit(Arc::clone(&counted) as _, due);
                counted.wait(&runtime);
            }
        }
    }

    #[test]
    fn closing_does_what_still_lingers() {
        let (runtime, sender, first) = sender();
        sender.submit(Arc::clone(&first) as _, Some(later(&runtime, LONG)));
        sender.close(later(&runtime, LONG));
        assert_eq!(first.done.load(Ordering::SeqCst), 1);
        let second = Arc::new(Counted::default());
        sender.submit(Arc::clone(&second) as _, Some(later(&runtime, LONG)));
        assert_eq!(second.done.load(Ordering::SeqCst), 1, "by its bringer, at once");
    }

    #[test]
    fn a_sender_that_was_never_asked_starts_no_thread() {
        let (runtime, sender, _) = sender();
        sender.close(later(&runtime, LONG));
        assert!(sender.task.get_or_make(|| unreachable!("it has ended")).is_none());
    }

    #[test]
    fn no_request_is_lost_while_the_sender_closes() {
        for _ in 0..300 {
            let (runtime, sender, _) = sender();
            let all = (0..40).map(|_| Arc::new(Counted::default())).collect::<Vec<_>>();
            std::thread::scope(|scope| {
                for half in all.chunks(20) {
                    let sender = &sender;
                    scope.spawn(move || {
                        for counted in half {
                            let due = later(&runtime, LONG);
                            sender.submit(Arc::clone(counted) as _, Some(due));
                        }
                    });
                }
                sender.close(later(&runtime, LONG));
            });
            assert!(all.iter().all(|counted| counted.done.load(Ordering::SeqCst) == 1));
        }
    }
}
