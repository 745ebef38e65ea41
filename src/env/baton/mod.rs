//! Threads that take turns: one holds the baton and runs, all others wait, and a seed decides who is next.
//!
//! A run is reproducible because nothing in it happens by chance: threads run one at a time, they change only at
//! *points* (locks, waits, file calls, clock readings), the choice at each point comes from the seed, and so do time
//! and random numbers. When everybody waits, the clock jumps to the first deadline.
//!
//! # Invariants
//! - Exactly one task of a run is [`Baton::current`]; every other one is in [`Baton::await_turn`].
//! - Nobody waits for good with a lock held. If all tasks wait and none has a deadline, the run is stuck: that is a
//!   failure, told with what each of them was doing.
//! - A run that has failed goes no further: its threads stay where they are, since unwinding them would run code that
//!   waits for others.
//!
//! # Locks
//! `state` is a leaf, and the one real lock: it is held for moments only.

// This file stands in for the scheduler, so it may use the real one.
#![allow(clippy::disallowed_methods)]

mod runtime;

#[cfg(test)]
mod tests;

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::Duration;

use fastrand::Rng;

pub(crate) use runtime::Handle;

/// How often in a row threads may find the lock that they want taken, with nobody else to run.
const MAX_SPINS: u32 = 10_000;

/// What the wall clock shows when a run begins: 2024-01-01T00:00:00Z.
const WALL_CLOCK: Duration = Duration::from_millis(1_704_067_200_000);

thread_local! {
    /// The run that this thread takes part in, and its task there.
    static CURRENT: RefCell<Option<(Arc<Baton>, TaskId)>> = const { RefCell::new(None) };
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct TaskId(usize);

/// The scheduler of one run.
pub(crate) struct Baton {
    state: parking_lot::Mutex<State>,
    /// The thread that waits for the run to end.
    caller: Thread,
}

struct State {
    rng: Rng,
    /// Of 256, how many points pass the baton on.
    restlessness: u8,
    /// Virtual time since the run began.
    now: Duration,
    /// What the wall clock shows, less `now`.
    wall_clock: Duration,
    tasks: BTreeMap<TaskId, Task>,
    next_id: usize,
    current: TaskId,
    spins: u32,
    trace: Trace,
    /// Nobody goes on.
    failed: bool,
    failure: Option<Failure>,
}

struct Task {
    name: String,
    thread: Option<Thread>,
    status: Status,
    /// The last point that it came to.
    at: &'static str,
    /// The run ends when all of these have.
    awaited: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Status {
    Ready,
    /// Found a lock taken, and will try again.
    Blocked,
    Parked(Option<Duration>),
}

/// Why a run went no further.
pub(crate) enum Failure {
    /// A task panicked with this.
    Panicked(Box<dyn Any + Send>),
    /// All tasks wait, for ever.
    Stuck(String),
}

/// A fingerprint of everything that happened: two runs with the same one took the same way.
#[derive(Clone, Copy, Debug)]
struct Trace {
    hash: u64,
    points: u64,
}

impl Trace {
    fn add(&mut self, value: u64) {
        // FNV-1a, a word at a time: order matters, speed too, collisions by design do not.
        self.hash = (self.hash ^ value).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
    }

    fn add_text(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.add(u64::from(byte)));
    }
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ended {
    pub(crate) trace: u64,
    pub(crate) points: u64,
    pub(crate) elapsed: Duration,
}

impl Baton {
    /// Runs `main`, and everything that it starts, under `seed`.
    pub(crate) fn run<T: Send + 'static>(
        seed: u64,
        main: impl FnOnce(&Arc<Self>) -> T + Send + 'static,
    ) -> Result<(T, Ended), Failure> {
        let mut rng = Rng::with_seed(seed);
        let restlessness = rng.choice([8, 64, 128, 220]).unwrap_or(128);
        let state = State {
            rng,
            restlessness,
            now: Duration::ZERO,
            wall_clock: WALL_CLOCK,
            tasks: BTreeMap::new(),
            next_id: 0,
            current: TaskId(0),
            spins: 0,
            trace: Trace { hash: 0xcbf2_9ce4_8422_2325, points: 0 },
            failed: false,
            failure: None,
        };
        let baton = Arc::new(Self { state: state.into(), caller: thread::current() });
        let result = Arc::new(parking_lot::Mutex::new(None));
        let returned = Arc::clone(&result);
        let program = Arc::clone(&baton);
        let start = move || {
            let value = main(&program);
            *returned.lock() = Some(value);
        };
        if let Err(error) = baton.spawn("main", true, start) {
            return Err(Failure::Stuck(format!("no thread for a simulation: {error}")));
        }
        loop {
            {
                let mut state = baton.state.lock();
                if let Some(failure) = state.failure.take() {
                    return Err(failure);
                }
                if state.tasks.is_empty()
                    && let Some(value) = result.lock().take()
                {
                    let Trace { hash, points } = state.trace;
                    return Ok((value, Ended { trace: hash, points, elapsed: state.now }));
                }
            }
            thread::park();
        }
    }

    /// Starts a thread that takes part in the run. It waits for its turn; the caller goes on.
    fn spawn(
        self: &Arc<Self>,
        name: &str,
        awaited: bool,
        body: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<TaskId> {
        let id = {
            let mut state = self.state.lock();
            let id = TaskId(state.next_id);
            state.next_id += 1;
            state.trace.add_text(name);
            let name = name.to_owned();
            let task = Task { name, thread: None, status: Status::Ready, at: "start", awaited };
            state.tasks.insert(id, task);
            id
        };
        let baton = Arc::clone(self);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            CURRENT.set(Some((Arc::clone(&baton), id)));
            baton.await_turn(id);
            let ended = panic::catch_unwind(AssertUnwindSafe(body));
            CURRENT.set(None);
            baton.leave(id, ended.err());
        });
        let mut state = self.state.lock();
        match thread {
            Ok(handle) => {
                if let Some(task) = state.tasks.get_mut(&id) {
                    task.thread = Some(handle.thread().clone());
                }
                // It may be its turn already, but not have been there to be woken.
                handle.thread().unpark();
                Ok(id)
            }
            Err(error) => {
                state.tasks.remove(&id);
                Err(error)
            }
        }
    }

    /// Comes to a point with this status, and returns when it is the task's turn again.
    fn pass(&self, me: TaskId, status: Status, at: &'static str) {
        let next = {
            let mut state = self.state.lock();
            state.trace.points += 1;
            // Every step takes a moment.
            let moment = state.rng.u64(100..2_000);
            state.now += Duration::from_nanos(moment);
            if let Some(task) = state.tasks.get_mut(&me) {
                task.status = status;
                task.at = at;
            }
            let stays = status == Status::Ready && state.rng.u8(..) >= state.restlessness;
            if stays {
                return;
            }
            match state.choose() {
                Ok(next) if next == me => return,
                Ok(next) => state.thread_of(next),
                Err(stuck) => {
                    state.fail(Failure::Stuck(stuck));
                    Some(self.caller.clone())
                }
            }
        };
        if let Some(next) = next {
            next.unpark();
        }
        self.await_turn(me);
    }

    fn await_turn(&self, me: TaskId) {
        loop {
            {
                let state = self.state.lock();
                if state.current == me && !state.failed {
                    return;
                }
            }
            thread::park();
        }
    }

    /// The task is over.
    fn leave(&self, me: TaskId, panicked: Option<Box<dyn Any + Send>>) {
        let mut state = self.state.lock();
        state.tasks.remove(&me);
        if let Some(payload) = panicked {
            state.fail(Failure::Panicked(payload));
        }
        if state.failed || state.tasks.is_empty() {
            self.caller.unpark();
            return;
        }
        match state.choose() {
            Ok(next) => state.thread_of(next).iter().for_each(Thread::unpark),
            Err(stuck) => {
                state.fail(Failure::Stuck(stuck));
                self.caller.unpark();
            }
        }
    }

    /// Lets a task that is parked run again.
    fn wake(&self, id: TaskId) {
        if let Some(task) = self.state.lock().tasks.get_mut(&id)
            && matches!(task.status, Status::Parked(_))
        {
            task.status = Status::Ready;
        }
    }
}

impl State {
    /// Whose turn it is next.
    fn choose(&mut self) -> Result<TaskId, String> {
        loop {
            let now = self.now;
            let mut runnable = Vec::new();
            let mut has_ready = false;
            for (id, task) in &mut self.tasks {
                if matches!(task.status, Status::Parked(Some(deadline)) if deadline <= now) {
                    task.status = Status::Ready;
                }
                has_ready |= task.status == Status::Ready;
                if !matches!(task.status, Status::Parked(_)) {
                    runnable.push(*id);
                }
            }
            self.spins = if has_ready { 0 } else { self.spins + 1 };
            if self.spins > MAX_SPINS {
                return Err(self.describe("threads wait for locks that nobody gives back"));
            }
            if !runnable.is_empty() {
                let next = *self.rng.choice(&runnable).unwrap_or(&self.current);
                self.current = next;
                self.trace.add(u64::try_from(next.0).unwrap_or(u64::MAX));
                return Ok(next);
            }
            let deadlines = self.tasks.values().filter_map(|task| match task.status {
                Status::Parked(deadline) => deadline,
                _ => None,
            });
            match deadlines.min() {
                Some(first) if self.tasks.values().any(|task| task.awaited) => self.now = first,
                _ => return Err(self.describe("everybody waits, and nobody will wake them")),
            }
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.failed = true;
        self.failure.get_or_insert(failure);
    }

    fn thread_of(&self, id: TaskId) -> Option<Thread> {
        self.tasks.get(&id).and_then(|task| task.thread.clone())
    }

    fn describe(&self, what: &str) -> String {
        let mut text = format!("{what}:");
        for task in self.tasks.values() {
            text += &format!("\n  {}: {:?} at {}", task.name, task.status, task.at);
        }
        text
    }
}

/// A place where the baton may be passed on. Does nothing outside a run.
pub(crate) fn point(at: &'static str) {
    if let Some((baton, me)) = current() {
        baton.pass(me, Status::Ready, at);
    }
}

/// As [`point`], for something with a name that tells runs apart.
pub(crate) fn point_with(at: &'static str, name: impl FnOnce() -> String) {
    if let Some((baton, me)) = current() {
        baton.state.lock().trace.add_text(&name());
        baton.pass(me, Status::Ready, at);
    }
}

/// Tries again and again, letting others run in between. `None` outside a run.
pub(crate) fn retry<T>(at: &'static str, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let (baton, me) = current()?;
    loop {
        if let Some(value) = attempt() {
            return Some(value);
        }
        baton.pass(me, Status::Blocked, at);
    }
}

fn current() -> Option<(Arc<Baton>, TaskId)> {
    // Gone while a thread's other locals are destroyed: it has left the run by then.
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// The run that the calling thread takes part in.
pub(crate) fn current_run() -> Option<Arc<Baton>> {
    current().map(|(baton, _)| baton)
}
