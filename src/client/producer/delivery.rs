//! The acknowledgement of one record.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::base::Timestamp;
use crate::client::producer::accumulator::Appended;
use crate::client::producer::pending::Pending;
use crate::client::{Error, RecordMetadata, Result};
use crate::env::sync::EventListener;

/// A record on its way. [`wait`](Delivery::wait) for it, `.await` it on any runtime, or drop it: the record is sent
/// in any case, and the next [`flush`](crate::Producer::flush) reports its failure.
///
/// Waiting and awaiting end `linger.ms` for the batch. Who awaits does no file I/O: the producer's sender does it.
///
/// ```
/// use brooklet::{Cluster, NewTopic, Record};
///
/// let cluster = Cluster::in_memory()?;
/// cluster.create_topic(NewTopic::new("email"))?;
/// let producer = cluster.producer().build()?;
/// let metadata = producer.send(Record::to("email").value("welcome"))?.wait()?;
/// assert_eq!(metadata.to_string(), "email-0@0");
/// # Ok::<(), brooklet::Error>(())
/// ```
pub struct Delivery {
    pending: Arc<Pending>,
    index: u32,
    timestamp: Timestamp,
    listener: Option<EventListener>,
}

impl Delivery {
    #[inline]
    pub(super) fn new(appended: Appended) -> Self {
        let Appended { pending, index, timestamp, .. } = appended;
        Self { pending, index, timestamp, listener: None }
    }

    /// Blocks until the record is acknowledged. Its batch is closed at once, whatever `linger.ms` says, and the
    /// calling thread writes and syncs it itself if nobody else is at it.
    ///
    /// # Errors
    /// Why the record failed; [`outcome`](Error::outcome) tells whether it may be in the log nevertheless.
    pub fn wait(self) -> Result<RecordMetadata> {
        let result = self.pending.wait();
        self.metadata(result)
    }

    /// Blocks until the record is acknowledged, for at most `timeout`; zero asks whether it is. The calling thread does
    /// no file I/O, which might take longer.
    ///
    /// # Errors
    /// As [`wait`](Delivery::wait), and [`TimedOut`](crate::ErrorKind::TimedOut): the record is still on its way, and
    /// one may wait again. Its [`outcome`](Error::outcome) is [`Unknown`](crate::Outcome::Unknown).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<RecordMetadata> {
        self.pending.wait_for(timeout);
        match self.pending.result() {
            Some(result) => self.metadata(result),
            None => {
                Err(Error::timed_out("the record is not acknowledged yet; it is still on its way"))
            }
        }
    }

    /// Has the interceptors told of the record.
    pub(super) fn watch(&self) {
        self.pending.watch(self.index, self.timestamp);
    }

    fn metadata(&self, result: &Result<Option<crate::base::Offset>>) -> Result<RecordMetadata> {
        self.pending.metadata(self.index, self.timestamp, result)
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            if let Some(result) = self.pending.result() {
                return Poll::Ready(self.metadata(result));
            }
            match &mut self.listener {
                // Look once more after beginning to listen: the batch may have been decided in between.
                None => {
                    self.pending.hasten();
                    self.listener = Some(self.pending.listen());
                }
                Some(listener) => match Pin::new(listener).poll(cx) {
                    Poll::Ready(()) => self.listener = None,
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("partition", self.pending.partition())
            .field("result", &self.pending.result())
            .finish_non_exhaustive()
    }
}
