//! The runtime of production: the system's clocks and one thread per background task.

// This file is the crate's one door to clocks and threads.
#![allow(clippy::disallowed_methods)]

use std::io;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Instant, SystemTime};

use crate::base::Timestamp;
use crate::env::runtime::{Moment, Next, Runtime, Step, Task, TaskControl};
use crate::env::sync::{Event, EventListener, Listener};

/// Threads and the system's clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Threads {
    start: Instant,
}

impl Threads {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now() }
    }

    fn instant(&self, moment: Moment) -> Option<Instant> {
        self.start.checked_add(moment.as_duration())
    }
}

impl Runtime for Threads {
    fn now(&self) -> Moment {
        Moment::since_start(self.start.elapsed())
    }

    fn wall_clock(&self) -> Timestamp {
        SystemTime::now().into()
    }

    fn park(&self, listener: EventListener, deadline: Option<Moment>) -> bool {
        match deadline.and_then(|deadline| self.instant(deadline)) {
            Some(deadline) => listener.wait_deadline(deadline).is_some(),
            None => {
                listener.wait();
                true
            }
        }
    }

    fn spawn(&self, name: &str, mut step: Step) -> io::Result<Task> {
        let control = Arc::new(ThreadTask {
            start: self.start,
            thread: OnceLock::new(),
            stopped: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            end: Event::new(),
        });
        let shared = Arc::clone(&control);
        let clock = *self;
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Also when a step panics: whoever joins must not wait for ever.
            let _end = EndOnDrop(&shared);
            while !shared.stopped.load(Ordering::Acquire) {
                match step() {
                    Next::Again => {}
                    Next::Park(None) => thread::park(),
                    Next::Park(Some(deadline)) => thread::park_timeout(deadline.since(clock.now())),
                }
            }
        })?;
        // The thread may be running by now; it does not look at its own handle.
        let _first = control.thread.set(thread.thread().clone());
        Ok(Task::new(control))
    }
}

#[derive(Debug)]
struct ThreadTask {
    start: Instant,
    thread: OnceLock<thread::Thread>,
    stopped: AtomicBool,
    ended: AtomicBool,
    end: Event,
}

impl TaskControl for ThreadTask {
    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake();
    }

    fn join(&self, deadline: Moment) -> bool {
        if self.thread.get().is_some_and(|thread| thread.id() == thread::current().id()) {
            return false;
        }
        loop {
            let listener = self.end.listen();
            if self.ended.load(Ordering::Acquire) {
                return true;
            }
            let deadline =
                self.start.checked_add(deadline.as_duration()).unwrap_or_else(Instant::now);
            if listener.wait_deadline(deadline).is_none() {
                return self.ended.load(Ordering::Acquire);
            }
        }
    }
}

struct EndOnDrop<'a>(&'a ThreadTask);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.end.notify(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_task_steps_when_woken_and_ends_when_asked() {
        let runtime = Threads::new();
        let steps = Arc::new(AtomicUsize::new(0));
        let stepped = Arc::new(Event::new());
        let (counter, event) = (Arc::clone(&steps), Arc::clone(&stepped));
        let task = runtime
            .spawn(
                "counter",
                Box::new(move || {
                    counter.fetch_add(1, Ordering::SeqCst);
                    event.notify(usize::MAX);
                    Next::Park(None)
                }),
            )
            .unwrap();
        let deadline = runtime.now().after(Duration::from_secs(10)).unwrap();
        for wanted in 1..=3 {
            loop {
                let listener = stepped.listen();
                if steps.load(Ordering::SeqCst) >= wanted {
                    break;
                }
                assert!(runtime.park(listener, Some(deadline)), "step {wanted} did not come");
            }
            task.wake();
        }
        assert!(task.end(deadline));
    }

    #[test]
    fn parking_ends_at_the_deadline() {
        let runtime = Threads::new();
        let event = Event::new();
        let deadline = runtime.now().after(Duration::from_millis(1));
        assert!(!runtime.park(event.listen(), deadline));
        assert!(Some(runtime.now()) >= deadline);
    }
}
