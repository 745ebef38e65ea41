//! The acknowledgement of a batch that was appended as it is.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::base::{Offset, Timestamp};
use crate::client::{Error, Result};
use crate::env::Runtime;
use crate::env::sync::{Event, EventListener};
use crate::replica::{Completion, Refusal, Replica};
use crate::storage::Appended;

/// Where a batch is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct BatchMetadata {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// The largest timestamp of its records, `None` if they have none.
    pub max_timestamp: Option<Timestamp>,
}

/// A batch on its way, given to [`Partition::append`](crate::Partition::append). [`wait`](BatchDelivery::wait) for it,
/// `.await` it on any runtime, or drop it: it is appended in any case.
///
/// ```
/// # use brooklet::{Cluster, Error, NewTopic};
/// # fn append(batch: &[u8]) -> Result<(), Error> {
/// let cluster = Cluster::in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email"))?;
/// let metadata = email.partition(0)?.append(batch)?.wait()?;
/// println!("{} to {}", metadata.base_offset, metadata.last_offset);
/// # Ok(())
/// # }
/// ```
pub struct BatchDelivery {
    replica: Arc<Replica>,
    runtime: Arc<dyn Runtime>,
    outcome: Arc<BatchOutcome>,
    listener: Option<EventListener>,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct BatchOutcome {
    result: OnceLock<Result<BatchMetadata>>,
    /// For those who only wait: futures, and callers with a time limit.
    done: Event,
    /// For those who block for as long as it takes, and may be asked to do the next sync.
    helpers: Event,
}

impl BatchDelivery {
    pub(super) fn new(
        replica: Arc<Replica>,
        runtime: Arc<dyn Runtime>,
        outcome: Arc<BatchOutcome>,
    ) -> Self {
        Self { replica, runtime, outcome, listener: None }
    }

    /// Blocks until the batch is acknowledged. The calling thread syncs it itself if nobody else is at it.
    ///
    /// # Errors
    /// Why the batch was not appended; [`outcome`](Error::outcome) tells whether it may be in the log nevertheless.
    pub fn wait(self) -> Result<BatchMetadata> {
        loop {
            let listener = self.outcome.helpers.listen();
            if let Some(result) = self.outcome.result.get() {
                return result.clone();
            }
            self.replica.help();
            if self.outcome.result.get().is_none() {
                self.runtime.park(listener, None);
            }
        }
    }

    /// Blocks until the batch is acknowledged, for at most `timeout`.
    ///
    /// # Errors
    /// As [`wait`](BatchDelivery::wait), and [`TimedOut`](crate::ErrorKind::TimedOut): the batch is still on its way, and
    /// one may wait again.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<BatchMetadata> {
        let deadline = self.runtime.now().after(timeout);
        loop {
            let listener = self.outcome.done.listen();
            if let Some(result) = self.outcome.result.get() {
                return result.clone();
            }
            if !self.runtime.park(listener, deadline) && self.outcome.result.get().is_none() {
                let message = "the batch is not acknowledged yet; it is still on its way";
                return Err(Error::timed_out(message));
            }
        }
    }
}

impl Future for BatchDelivery {
    type Output = Result<BatchMetadata>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            if let Some(result) = self.outcome.result.get() {
                return Poll::Ready(result.clone());
            }
            match &mut self.listener {
                // Look once more after beginning to listen: the batch may have been decided in between.
                None => self.listener = Some(self.outcome.done.listen()),
                Some(listener) => match Pin::new(listener).poll(cx) {
                    Poll::Ready(()) => self.listener = None,
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }
}

impl fmt::Debug for BatchDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchDelivery")
            .field("partition", self.replica.partition())
            .field("result", &self.outcome.result.get())
            .finish_non_exhaustive()
    }
}

impl Completion for BatchOutcome {
    fn complete(self: Arc<Self>, result: Result<Appended, Refusal>) {
        let metadata = result.map(|Appended { base, next, timestamp, .. }| BatchMetadata {
            base_offset: base,
            // A batch has at least one record.
            last_offset: Offset::new(next.value() - 1).unwrap_or(base),
            max_timestamp: timestamp,
        });
        let _first = self.result.set(metadata.map_err(|refused| refused.error.into()));
    }

    fn tell(&self) {
        // The wakers of futures last: they are not ours.
        self.helpers.notify(usize::MAX);
        self.done.notify(usize::MAX);
    }

    fn hand_over(&self) -> bool {
        self.helpers.notify(1) > 0
    }
}
