//! Records without blocking.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::base::ErrorKind;
use crate::client::Result;
use crate::client::consumer::{Consumer, Records};
use crate::cluster::Drive;
use crate::env::Moment;
use crate::env::sync::{Event, EventListener};

/// The records of a [`Consumer`], as they come in: see [`Consumer::stream`].
///
/// - Each item is what a poll would have returned: records, or in a group what has happened to the member's partitions, or
///   an error. After an error it goes on, except
///   after [`Closed`](ErrorKind::Closed).
/// - It ends when the consumer is woken by [`Wakeup::wake`](crate::Wakeup::wake); another stream goes on.
/// - It can be dropped at any moment: what it has not returned comes first in the next stream or poll.
/// - Asked for an item, it reads up to `fetch.max.bytes` from files, mostly from the page cache; in a group, when the
///   coordinator has moved, its part of `__consumer_offsets`, too. It writes and syncs only where it comes upon damage that
///   another replica can repair. On a disk that is slow to read, poll in a thread of its own.
/// - A [hook](Consumer::on_revoke) runs in the task: one that waits for a commit blocks it.
#[derive(Debug)]
#[must_use = "a stream does nothing until it is polled"]
pub struct RecordStream<'a> {
    consumer: &'a mut Consumer,
    listener: Option<EventListener>,
    /// When it has asked to be woken, since there is less than `fetch.min.bytes`.
    alarm: Option<Moment>,
    /// The next look is the first for an item.
    begins: bool,
    closed: bool,
}

impl<'a> RecordStream<'a> {
    pub(super) fn new(consumer: &'a mut Consumer) -> Self {
        Self { consumer, listener: None, alarm: None, begins: true, closed: false }
    }

    /// The application has the word: the next look is for another item.
    fn ends(&mut self) {
        self.begins = true;
        self.consumer.poll_ends();
    }

    /// The consumer, to seek or pause between two items.
    pub fn consumer(&mut self) -> &mut Consumer {
        self.consumer
    }

    /// Has the task woken when there has been less than `fetch.min.bytes` for too long.
    fn set_alarm(&mut self) {
        let until = [self.consumer.patience(), self.consumer.look_again()];
        let patience = until.into_iter().flatten().min();
        if patience.is_some() && patience != self.alarm {
            self.alarm = patience;
            let alarm = Alarm(Arc::clone(&self.consumer.arrived));
            self.consumer.core.alarms().submit(Arc::new(alarm), patience);
        }
    }
}

/// The application has the word again.
impl Drop for RecordStream<'_> {
    fn drop(&mut self) {
        self.consumer.poll_ends();
    }
}

impl Stream for RecordStream<'_> {
    type Item = Result<Records>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.closed {
            return Poll::Ready(None);
        }
        loop {
            // Before the look at what is there: what comes in after it is heard.
            let arrived = &this.consumer.arrived;
            let mut listener = this.listener.take().unwrap_or_else(|| arrived.listen());
            let begins = std::mem::replace(&mut this.begins, false);
            match this.consumer.turn(begins) {
                Ok(Some(records)) => {
                    this.ends();
                    return Poll::Ready(Some(Ok(this.consumer.intercept(records))));
                }
                Ok(None) => {}
                Err(error) => {
                    this.ends();
                    this.closed = error.kind() == ErrorKind::Closed;
                    return Poll::Ready(Some(Err(error)));
                }
            }
            if this.consumer.wakeup.take() {
                this.ends();
                return Poll::Ready(None);
            }
            this.consumer.waits();
            this.set_alarm();
            if Pin::new(&mut listener).poll(cx).is_pending() {
                this.listener = Some(listener);
                return Poll::Pending;
            }
        }
    }
}

/// Wakes a consumer's task.
pub(super) struct Alarm(pub(super) Arc<Event>);

impl Drive for Alarm {
    fn drive(&self, _now: Moment) -> Option<Moment> {
        self.0.notify(usize::MAX);
        None
    }
}
