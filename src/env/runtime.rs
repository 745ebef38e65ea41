//! Time, waiting and background work.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::base::Timestamp;
use crate::env::moment::Moment;
use crate::env::sync::EventListener;

/// The only way to read a clock, to wait, or to run something in the background.
///
/// Nobody may wait while holding a lock.
pub(crate) trait Runtime: Send + Sync + fmt::Debug {
    /// Monotonic time, for timeouts and durations.
    fn now(&self) -> Moment;

    /// Wall-clock time, for timestamps of records.
    fn wall_clock(&self) -> Timestamp;

    /// Waits until `listener` is notified, or until `deadline`. Returns whether it was notified.
    fn park(&self, listener: EventListener, deadline: Option<Moment>) -> bool;

    /// Runs `step` in the background, again and again as it asks, until it is done or its task is dropped.
    fn spawn(&self, name: &str, step: Step) -> io::Result<Task>;

    /// A random number, for ids and for choices that do not matter.
    fn random(&self) -> u64;
}

/// One turn of a background task, and what it wants next.
pub(crate) type Step = Box<dyn FnMut() -> Next + Send>;

/// What a background task wants after a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Next {
    /// Another step, at once.
    Again,
    /// Another step when the task is woken, or at this moment.
    Park(Option<Moment>),
}

/// A background task. Dropped, it ends after the step that it is in.
#[derive(Debug)]
pub(crate) struct Task(pub(super) Arc<dyn TaskControl>);

/// How a [`Runtime`] wakes and ends its tasks.
pub(crate) trait TaskControl: Send + Sync + fmt::Debug {
    /// Makes the task take a step soon. Cheap if it is running or has been woken already.
    fn wake(&self);

    /// Asks the task to end, without waiting for it.
    fn stop(&self);

    /// Waits until the task has ended, up to `deadline`. Returns whether it has. A task does not wait for itself.
    fn join(&self, deadline: Moment) -> bool;
}

impl Task {
    pub(crate) fn new(control: Arc<dyn TaskControl>) -> Self {
        Self(control)
    }

    pub(crate) fn wake(&self) {
        self.0.wake();
    }

    /// Ends the task after the step that it is in and waits for that until `deadline`.
    pub(crate) fn end(&self, deadline: Moment) -> bool {
        self.0.stop();
        self.0.join(deadline)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.stop();
    }
}
