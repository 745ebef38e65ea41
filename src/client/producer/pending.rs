//! A batch between its first record and its acknowledgement.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use crate::base::{Acks, Offset, Timestamp, TopicPartition};
use crate::client::Error;
use crate::client::producer::accumulator::Accumulator;
use crate::client::producer::memory::Memory;
use crate::env::Runtime;
use crate::env::sync::{Event, EventListener};
use crate::replica::{Completion, Refusal, Replica};
use crate::storage::Appended;

/// What the batches of one accumulator share.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) accumulator: Weak<Accumulator>,
    /// Who waits helps the replica, also when the accumulator went with its producer.
    pub(super) replica: Weak<Replica>,
    pub(super) partition: TopicPartition,
    pub(super) acks: Acks,
    pub(super) memory: Arc<Memory>,
    pub(super) runtime: Arc<dyn Runtime>,
    /// Batches that were closed and are not done.
    pub(super) in_flight: AtomicUsize,
}

/// What the deliveries of one batch share.
#[derive(Debug)]
pub(super) struct Pending {
    origin: Arc<Origin>,
    reserved: AtomicUsize,
    result: OnceLock<Result<Option<Offset>, Error>>,
    /// What all records of the batch were given instead of their own timestamps; known before the result is.
    append_time: OnceLock<Timestamp>,
    /// For those who only wait: futures, and callers with a time limit.
    done: Event,
    /// For those who block for as long as it takes, and may be asked to do the next sync.
    helpers: Event,
}

impl Pending {
    /// A batch that has taken `reserved` bytes of the producer's memory.
    pub(super) fn new(origin: &Arc<Origin>, reserved: usize) -> Self {
        Self {
            origin: Arc::clone(origin),
            reserved: AtomicUsize::new(reserved),
            result: OnceLock::new(),
            append_time: OnceLock::new(),
            done: Event::new(),
            helpers: Event::new(),
        }
    }

    pub(super) fn partition(&self) -> &TopicPartition {
        &self.origin.partition
    }

    /// Takes more of the producer's memory for the batch, if there is.
    pub(super) fn reserve(&self, bytes: usize) -> bool {
        let reserved = self.origin.memory.reserve(bytes);
        if reserved {
            self.reserved.fetch_add(bytes, Ordering::AcqRel);
        }
        reserved
    }

    /// The offset of the batch's first record, or why there is none; nothing while that is not decided.
    pub(super) fn result(&self) -> Option<&Result<Option<Offset>, Error>> {
        self.result.get()
    }

    /// The append time of the batch's records, if its topic gives them one.
    pub(super) fn append_time(&self) -> Option<Timestamp> {
        self.append_time.get().copied()
    }

    pub(super) fn listen(&self) -> EventListener {
        self.done.listen()
    }

    /// Blocks until the batch is acknowledged or has failed, doing what there is to do for it.
    pub(super) fn wait(self: &Arc<Self>) -> &Result<Option<Offset>, Error> {
        loop {
            let listener = self.helpers.listen();
            if let Some(result) = self.result.get() {
                return result;
            }
            if let Some(accumulator) = self.origin.accumulator.upgrade() {
                accumulator.close_if(self);
            }
            if let Some(replica) = self.origin.replica.upgrade() {
                replica.help();
            }
            if self.result.get().is_none() {
                self.origin.runtime.park(listener, None);
            }
        }
    }

    /// As [`Pending::wait`], for a limited time, and without doing any file I/O, which might take longer.
    pub(super) fn wait_for(self: &Arc<Self>, limit: Duration) -> bool {
        let runtime = &self.origin.runtime;
        let deadline = runtime.now().after(limit);
        if let Some(accumulator) = self.origin.accumulator.upgrade() {
            accumulator.hasten(self);
        }
        loop {
            let listener = self.done.listen();
            if self.result.get().is_some() {
                return true;
            }
            if !runtime.park(listener, deadline) {
                return self.result.get().is_some();
            }
        }
    }

    /// Ends a batch that was closed. The first ending counts.
    pub(super) fn finish(&self, result: Result<Option<Offset>, Error>) {
        if let Err(error) = &result {
            // Before anybody can see the result: who flushes asks for it then.
            self.origin.memory.failed(error);
        }
        if self.result.set(result).is_ok() {
            self.origin.in_flight.fetch_sub(1, Ordering::AcqRel);
            self.release();
            // The wakers of futures last: they are not ours.
            self.helpers.notify(usize::MAX);
            self.done.notify(usize::MAX);
        }
    }

    fn release(&self) {
        self.origin.memory.release(self.reserved.swap(0, Ordering::AcqRel));
    }
}

impl Completion for Pending {
    fn complete(self: Arc<Self>, result: Result<Appended, Refusal>) {
        let with_offset = self.origin.acks != Acks::None;
        if let Ok(Appended { append_time: Some(time), .. }) = result
            && with_offset
        {
            let _first = self.append_time.set(time);
        }
        let offset = result.map(|appended| with_offset.then_some(appended.base));
        self.finish(offset.map_err(|refused| refused.error.into()));
    }

    fn hand_over(&self) -> bool {
        self.helpers.notify(1) > 0
    }
}

/// A batch that is dropped before it was decided, by a panic in the middle of things, gives its memory back.
impl Drop for Pending {
    fn drop(&mut self) {
        if self.result.get().is_none() {
            self.release();
        }
    }
}
