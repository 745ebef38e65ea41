//! The background sender of a store: writes what nobody waits for.
//!
//! A producer's accumulator asks for it when its first record comes in; unless a caller is faster, the sender then
//! closes the batch and writes it, at once or after `linger.ms`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use crossbeam_channel::{Receiver, unbounded};

use crate::env::sync::Mutex;
use crate::env::{Moment, Next, Runtime, Task};

/// Something with records to write.
pub(crate) trait Drive: Send + Sync {
    /// Closes the batch and writes it.
    fn drive(&self);
}

/// A request: what to drive, and when.
type Request = (Option<Moment>, Arc<dyn Drive>);

/// Drives what it is given, in the background. Its thread starts with the first request.
pub(crate) struct Sender {
    runtime: Arc<dyn Runtime>,
    requests: crossbeam_channel::Sender<Request>,
    received: Mutex<Option<Receiver<Request>>>,
    task: OnceLock<Option<Task>>,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("requests", &self.requests.len()).finish_non_exhaustive()
    }
}

impl Sender {
    pub(crate) fn new(runtime: Arc<dyn Runtime>) -> Self {
        // Unbounded, but each accumulator has one request in it at most.
        let (requests, received) = unbounded();
        Self { runtime, requests, received: Mutex::new(Some(received)), task: OnceLock::new() }
    }

    /// Has `what` driven at `due`, or at once.
    pub(crate) fn submit(&self, what: Arc<dyn Drive>, due: Option<Moment>) {
        let task = self.task.get_or_init(|| self.start());
        match (task, self.requests.send((due, what))) {
            (Some(task), Ok(())) => task.wake(),
            // Closed, or no thread to be had: the caller does it.
            (None, Ok(())) => self.drain(),
            (_, Err(crossbeam_channel::SendError((_, what)))) => what.drive(),
        }
    }

    fn start(&self) -> Option<Task> {
        let received = self.received.lock().clone()?;
        let runtime = Arc::clone(&self.runtime);
        let mut lingering = Lingering::default();
        let step = move || {
            for (due, what) in received.try_iter() {
                match due {
                    Some(due) if due > runtime.now() => lingering.add(due, what),
                    _ => what.drive(),
                }
            }
            lingering.drive_due(runtime.now());
            if received.is_empty() { Next::Park(lingering.next_due()) } else { Next::Again }
        };
        let task = self.runtime.spawn("brooklet-sender", Box::new(step));
        task.inspect_err(|e| log::warn!("no thread for the sender, callers write themselves: {e}")).ok()
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
            what.drive();
        }
    }
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
            if let Some((_, what)) = self.due.pop_first() {
                what.drive();
            }
        }
    }
}

/// What still lingers when the sender ends is written.
impl Drop for Lingering {
    fn drop(&mut self) {
        while let Some((_, what)) = self.due.pop_first() {
            what.drive();
        }
    }
}
