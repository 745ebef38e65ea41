//! The background sender of a store: writes what nobody waits for.
//!
//! A producer's accumulator asks for it when its first record comes in; unless a caller is faster, the sender then
//! closes the batch and writes it, at once or after `linger.ms`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};

use crate::env::sync::Mutex;
use crate::env::{Moment, Next, Runtime, Task};

/// Something with records to write.
pub(crate) trait Drive: Send + Sync {
    /// Closes the batch and writes it, unless it may wait for company until a later moment, which is returned.
    fn drive(&self, now: Moment) -> Option<Moment>;
}

/// A request: what to drive, and when.
type Request = (Option<Moment>, Arc<dyn Drive>);

/// Drives what it is given, in the background. Its thread starts with the first request.
pub(crate) struct Sender {
    runtime: Arc<dyn Runtime>,
    requests: crossbeam_channel::Sender<Request>,
    received: Mutex<Option<Receiver<Request>>>,
    /// Nanoseconds of the moment at which the thread will be awake, [`AWAKE`] if it is.
    awake_at: Arc<AtomicU64>,
    task: OnceLock<Option<Task>>,
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
    pub(crate) fn new(runtime: Arc<dyn Runtime>) -> Self {
        // Unbounded, but each accumulator has one request in it at most.
        let (requests, received) = unbounded();
        let received = Mutex::new(Some(received));
        Self { runtime, requests, received, awake_at: Arc::default(), task: OnceLock::new() }
    }

    /// Has `what` driven at `due`, or at once.
    pub(crate) fn submit(&self, what: Arc<dyn Drive>, due: Option<Moment>) {
        let task = self.task.get_or_init(|| self.start());
        match (task, self.requests.send((due, what))) {
            // A thread that will be awake in time by itself is not woken: that would cost more than most writes.
            (Some(task), Ok(())) => {
                if self.awake_at.load(Ordering::SeqCst) > due.map_or(AWAKE, nanos) {
                    task.wake();
                }
            }
            // Closed, or no thread to be had: the caller does it.
            (None, Ok(())) => self.drain(),
            (_, Err(crossbeam_channel::SendError((_, what)))) => drive_now(&*what),
        }
    }

    fn start(&self) -> Option<Task> {
        let received = self.received.lock().clone()?;
        let runtime = Arc::clone(&self.runtime);
        let awake_at = Arc::clone(&self.awake_at);
        let mut lingering = Lingering::default();
        let mut quiet = 0;
        let step = move || {
            awake_at.store(AWAKE, Ordering::SeqCst);
            quiet += 1;
            for (due, what) in received.try_iter() {
                quiet = 0;
                lingering.add(due.unwrap_or(Moment::since_start(Duration::ZERO)), what);
            }
            let now = runtime.now();
            lingering.drive_due(now);
            // Where there was work there is likely to be more: a few naps spare its bringer the waking.
            let nap = if quiet < QUIET_NAPS { now.after(NAP) } else { None };
            let next = lingering.next_due().or(nap);
            // Said before the last look at the requests: who sends one after that look sees it.
            awake_at.store(next.map_or(u64::MAX, nanos), Ordering::SeqCst);
            if received.is_empty() { Next::Park(next) } else { Next::Again }
        };
        let task = self.runtime.spawn("brooklet-sender", Box::new(step));
        task.inspect_err(|e| log::warn!("no thread for the sender, callers write themselves: {e}"))
            .ok()
    }

    /// Drives all that was asked for and is not done yet, and takes no more. Who submits from now on drives.
    pub(crate) fn close(&self, deadline: Moment) {
        if let Some(Some(task)) = self.task.get()
            && !task.end(deadline)
        {
            log::warn!("the sender did not end in time");
        }
        self.drain();
        self.received.lock().take();
    }

    fn drain(&self) {
        let received = self.received.lock().clone();
        for (_, what) in received.iter().flat_map(Receiver::try_iter) {
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
