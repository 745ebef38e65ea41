//! The runtime of production: the system's clocks and one thread per background task.

// This file is the crate's one door to clocks and threads.
#![allow(clippy::disallowed_methods)]

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::base::Timestamp;
use crate::env::moment::Moment;
use crate::env::runtime::{Next, Runtime, Step, Task, TaskControl};
use crate::env::sync::{Event, EventListener, Listener};

/// How long a task rests after a step that panicked, so that one that does nothing else does no harm.
const PAUSE_AFTER_PANIC: Duration = Duration::from_millis(10);

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

    fn spawn(&self, name: &str, step: Step) -> io::Result<Task> {
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
            // Whatever happens: whoever joins must not wait for ever.
            let _end = EndOnDrop(&shared);
            // Dropped before the end is told: what a step holds may have things to finish.
            let mut step = step;
            while !shared.stopped.load(Ordering::Acquire) {
                // The panic is told by its hook. It was one replica's or one caller's: the others want to go on.
                let next = panic::catch_unwind(AssertUnwindSafe(&mut step))
                    .unwrap_or(Next::Park(clock.now().after(PAUSE_AFTER_PANIC)));
                match next {
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

    fn random(&self) -> u64 {
        fastrand::u64(..)
    }
}

/// For tests that want others to get somewhere, or see that they do not.
#[cfg(test)]
pub(crate) fn pause(duration: Duration) {
    thread::sleep(duration);
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
    use super::*;
    use std::sync::atomic::AtomicUsize;

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
    fn a_task_has_ended_when_what_it_held_is_dropped() {
        struct Slow(Arc<AtomicBool>);
        impl Drop for Slow {
            fn drop(&mut self) {
                thread::sleep(Duration::from_millis(20));
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let runtime = Threads::new();
        let dropped = Arc::new(AtomicBool::new(false));
        let held = Slow(Arc::clone(&dropped));
        let step = move || {
            let _held = &held;
            Next::Park(None)
        };
        let task = runtime.spawn("holder", Box::new(step)).unwrap();
        assert!(task.end(runtime.now().after(Duration::from_secs(10)).unwrap()));
        assert!(dropped.load(Ordering::SeqCst));
    }

    #[test]
    fn a_task_goes_on_after_a_step_that_panicked() {
        let runtime = Threads::new();
        let (sent, received) = std::sync::mpsc::channel();
        let mut steps = 0;
        let step = move || {
            steps += 1;
            assert!(steps > 1, "the first step panics, as it is to");
            sent.send(steps).unwrap();
            Next::Park(None)
        };
        let _task = runtime.spawn("panics", Box::new(step)).unwrap();
        assert_eq!(received.recv_timeout(Duration::from_secs(10)), Ok(2));
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
