//! Waiting for room in the send buffer, without blocking.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::client::producer::memory::Memory;
use crate::env::sync::EventListener;

/// Resolves when a producer may have room again, see [`Producer::ready`](crate::Producer::ready).
#[must_use = "a future does nothing until it is awaited"]
pub struct Ready {
    memory: Arc<Memory>,
    listener: Option<EventListener>,
}

impl Ready {
    pub(super) fn new(memory: &Arc<Memory>) -> Self {
        Self { memory: Arc::clone(memory), listener: None }
    }
}

impl Future for Ready {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if !self.memory.is_full() {
                return Poll::Ready(());
            }
            match &mut self.listener {
                // Look once more after beginning to listen: room may have come free in between.
                None => self.listener = Some(self.memory.freed()),
                Some(listener) => match Pin::new(listener).poll(cx) {
                    Poll::Ready(()) => self.listener = None,
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").finish_non_exhaustive()
    }
}
