//! A run as a [`Runtime`]: virtual clocks, waits and background tasks under the baton.

use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::base::Timestamp;
use crate::env::baton::{Baton, Status, TaskId, current};
use crate::env::moment::Moment;
use crate::env::runtime::{Next, Runtime, Step, Task, TaskControl};
use crate::env::sync::{Event, EventListener};

impl fmt::Debug for Baton {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Baton").finish_non_exhaustive()
    }
}

impl Baton {
    /// Sets the wall clock forward, or back. The monotonic clock goes on as it did.
    pub(crate) fn jump_wall_clock(&self, to: Duration) {
        let mut state = self.state.lock();
        state.wall_clock = to.saturating_sub(state.now);
    }

    /// Waits for as long as that takes in virtual time.
    pub(crate) fn sleep(self: &Arc<Self>, duration: Duration) {
        let deadline = self.now().after(duration);
        let never = Event::new();
        self.park(never.listen(), deadline);
    }

    /// Runs a future to its end on the calling task.
    pub(crate) fn block_on<F: Future>(self: &Arc<Self>, future: F) -> F::Output {
        let (me, waker) = self.waker();
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            self.pass(me, Status::Parked(None), "await");
        }
    }

    /// Starts a thread of the run's own program, which is over when all of these are.
    pub(crate) fn spawn_user<T: Send + 'static>(
        self: &Arc<Self>,
        name: &str,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Handle<T>> {
        let shared = Arc::new(Shared { result: parking_lot::Mutex::new(None), end: Event::new() });
        let ended = Arc::clone(&shared);
        self.spawn(name, true, move || {
            let value = body();
            *ended.result.lock() = Some(value);
            ended.end.notify(usize::MAX);
        })?;
        Ok(Handle { baton: Arc::clone(self), shared })
    }

    /// The calling task, which must be one of this run, and what wakes it.
    fn waker(self: &Arc<Self>) -> (TaskId, Waker) {
        let me = self.me();
        (me, Waker::from(Arc::new(TaskWaker { baton: Arc::clone(self), id: me })))
    }

    fn me(&self) -> TaskId {
        match current() {
            Some((baton, me)) if std::ptr::eq(&*baton, self) => me,
            _ => panic!("a simulated cluster was used outside of its simulation"),
        }
    }

    /// A reading of a clock.
    fn read_clock(&self) -> Duration {
        if current().is_some() {
            self.pass(self.me(), Status::Ready, "clock");
        }
        self.state.lock().now
    }
}

struct Shared<T> {
    result: parking_lot::Mutex<Option<T>>,
    end: Event,
}

/// A thread that was started by [`Baton::spawn_user`].
pub(crate) struct Handle<T> {
    baton: Arc<Baton>,
    shared: Arc<Shared<T>>,
}

impl<T> Handle<T> {
    /// Waits until the thread has ended.
    pub(crate) fn join(self) -> T {
        loop {
            let listener = self.shared.end.listen();
            if let Some(value) = self.shared.result.lock().take() {
                return value;
            }
            self.baton.park(listener, None);
        }
    }
}

struct TaskWaker {
    baton: Arc<Baton>,
    id: TaskId,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.baton.wake(self.id);
    }
}

/// A run is shared as an `Arc`, and so is its runtime.
impl Runtime for Arc<Baton> {
    fn now(&self) -> Moment {
        Moment::since_start(self.read_clock())
    }

    fn wall_clock(&self) -> Timestamp {
        let now = self.read_clock();
        let wall_clock = self.state.lock().wall_clock.saturating_add(now);
        i64::try_from(wall_clock.as_millis())
            .ok()
            .and_then(Timestamp::from_millis)
            .unwrap_or(Timestamp::EPOCH)
    }

    fn park(&self, mut listener: EventListener, deadline: Option<Moment>) -> bool {
        let (me, waker) = self.waker();
        let deadline = deadline.map(Moment::as_duration);
        loop {
            if Pin::new(&mut listener).poll(&mut Context::from_waker(&waker)).is_ready() {
                return true;
            }
            if deadline.is_some_and(|deadline| deadline <= self.state.lock().now) {
                return false;
            }
            self.pass(me, Status::Parked(deadline), "park");
        }
    }

    fn spawn(&self, name: &str, step: Step) -> io::Result<Task> {
        let control = Arc::new(Background {
            baton: Arc::clone(self),
            id: OnceLock::new(),
            woken: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            end: Event::new(),
        });
        let shared = Arc::clone(&control);
        let id = Baton::spawn(self, name, false, move || shared.run(step))?;
        let _first = control.id.set(id);
        Ok(Task::new(control))
    }

    fn random(&self) -> u64 {
        self.state.lock().rng.u64(..)
    }
}

/// A background task of the program under test.
#[derive(Debug)]
struct Background {
    baton: Arc<Baton>,
    id: OnceLock<TaskId>,
    woken: AtomicBool,
    stopped: AtomicBool,
    ended: AtomicBool,
    end: Event,
}

impl Background {
    fn run(&self, mut step: Step) {
        let baton = &*self.baton;
        let me = baton.me();
        while !self.stopped.load(Ordering::SeqCst) {
            let next = step();
            let deadline = match next {
                Next::Again => {
                    baton.pass(me, Status::Ready, "step");
                    continue;
                }
                Next::Park(deadline) => deadline.map(Moment::as_duration),
            };
            if !self.woken.swap(false, Ordering::SeqCst) {
                baton.pass(me, Status::Parked(deadline), "step");
                self.woken.store(false, Ordering::SeqCst);
            }
        }
        // What a step holds may have things to finish.
        let dropped = panic::catch_unwind(AssertUnwindSafe(|| drop(step)));
        self.ended.store(true, Ordering::SeqCst);
        self.end.notify(usize::MAX);
        if let Err(payload) = dropped {
            panic::resume_unwind(payload);
        }
    }
}

impl TaskControl for Background {
    fn wake(&self) {
        self.woken.store(true, Ordering::SeqCst);
        if let Some(id) = self.id.get() {
            self.baton.wake(*id);
        }
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn join(&self, deadline: Moment) -> bool {
        if self.id.get().is_some_and(|id| *id == self.baton.me()) {
            return false;
        }
        loop {
            let listener = self.end.listen();
            if self.ended.load(Ordering::SeqCst) {
                return true;
            }
            if !self.baton.park(listener, Some(deadline)) {
                return self.ended.load(Ordering::SeqCst);
            }
        }
    }
}
