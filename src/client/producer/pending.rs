//! A batch between its first record and its acknowledgement.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use crate::base::{Acks, Offset, Timestamp, TopicPartition};
use crate::client::interceptor::{Interceptors, ProducerInterceptor};
use crate::client::producer::accumulator::Accumulator;
use crate::client::producer::memory::Memory;
use crate::client::{Error, RecordMetadata};
use crate::env::sync::{Event, EventListener, Mutex};
use crate::env::{Moment, Runtime};
use crate::replica::Replica;
use crate::storage::Appended;

/// What the batches of one accumulator share.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) accumulator: Weak<Accumulator>,
    pub(super) partition: TopicPartition,
    pub(super) acks: Acks,
    pub(super) memory: Arc<Memory>,
    pub(super) interceptors: Arc<Interceptors<dyn ProducerInterceptor>>,
    pub(super) runtime: Arc<dyn Runtime>,
    /// Batches that were closed and are not done.
    pub(super) in_flight: AtomicUsize,
    /// A batch could not be closed, since as many as may be were on their way.
    pub(super) wanted: AtomicBool,
}

/// What the deliveries of one batch share.
#[derive(Debug)]
pub(super) struct Pending {
    origin: Arc<Origin>,
    reserved: AtomicUsize,
    /// When it is given up (`delivery.timeout.ms`).
    deadline: Moment,
    /// It was closed, and counts as on its way.
    is_flying: AtomicBool,
    result: OnceLock<Result<Option<Offset>, Error>>,
    /// What all records of the batch were given instead of their own timestamps; known before the result is.
    append_time: OnceLock<Timestamp>,
    /// For those who only wait: futures, and callers with a time limit.
    done: Event,
    /// For those who block for as long as it takes, and may be asked to do the next sync.
    helpers: Event,
    /// Of records that interceptors want to hear of.
    watched: Mutex<Watched>,
}

/// The records of a batch that interceptors are to be told of.
#[derive(Debug)]
enum Watched {
    /// As they were sent: their places in the batch, and their timestamps.
    Waiting(Vec<(u32, Timestamp)>),
    /// Those that come now are told at once.
    Decided(Result<Option<Offset>, Error>),
}

impl Pending {
    /// A batch that has taken `reserved` bytes of the producer's memory.
    pub(super) fn new(origin: &Arc<Origin>, reserved: usize, deadline: Moment) -> Self {
        Self {
            origin: Arc::clone(origin),
            reserved: AtomicUsize::new(reserved),
            deadline,
            is_flying: AtomicBool::new(false),
            result: OnceLock::new(),
            append_time: OnceLock::new(),
            done: Event::new(),
            helpers: Event::new(),
            watched: Mutex::new(Watched::Waiting(Vec::new())),
        }
    }

    pub(super) fn partition(&self) -> &TopicPartition {
        &self.origin.partition
    }

    pub(super) fn deadline(&self) -> Moment {
        self.deadline
    }

    /// It is closed: one more is on its way.
    pub(super) fn begin_flight(&self) {
        self.origin.in_flight.fetch_add(1, Ordering::SeqCst);
        self.is_flying.store(true, Ordering::SeqCst);
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

    /// What is known of a record of the batch once there is a result.
    pub(super) fn metadata(
        &self,
        index: u32,
        timestamp: Timestamp,
        result: &Result<Option<Offset>, Error>,
    ) -> Result<RecordMetadata, Error> {
        let base = result.as_ref().map_err(Error::clone)?;
        Ok(RecordMetadata {
            topic: self.partition().topic.clone(),
            partition: self.partition().partition,
            offset: base.and_then(|base| base.checked_add(index)),
            timestamp: self.append_time.get().copied().unwrap_or(timestamp),
        })
    }

    /// Has the interceptors told of a record when the batch is decided.
    pub(super) fn watch(&self, index: u32, timestamp: Timestamp) {
        let result = match &mut *self.watched.lock() {
            Watched::Waiting(records) => {
                records.push((index, timestamp));
                return;
            }
            Watched::Decided(result) => result.clone(),
        };
        self.tell(index, timestamp, &result);
    }

    fn tell_interceptors(&self, result: &Result<Option<Offset>, Error>) {
        if self.origin.interceptors.is_empty() {
            return;
        }
        let decided = Watched::Decided(result.clone());
        // The lock is free again before anybody is told.
        let before = std::mem::replace(&mut *self.watched.lock(), decided);
        let Watched::Waiting(records) = before else { return };
        for (index, timestamp) in records {
            self.tell(index, timestamp, result);
        }
    }

    fn tell(&self, index: u32, timestamp: Timestamp, result: &Result<Option<Offset>, Error>) {
        let metadata = self.metadata(index, timestamp, result);
        let topic = self.partition().topic.as_str();
        self.origin.interceptors.on_acknowledgement(topic, metadata.as_ref());
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
            // It is there for as long as batches of its are on their way.
            if let Some(accumulator) = self.origin.accumulator.upgrade() {
                accumulator.close_if(self);
                accumulator.way.with(Replica::help);
            }
            if self.result.get().is_none() {
                self.origin.runtime.park(listener, None);
            }
        }
    }

    /// Somebody waits who does no file I/O: the batch lingers no longer.
    pub(super) fn hasten(self: &Arc<Self>) {
        if let Some(accumulator) = self.origin.accumulator.upgrade() {
            accumulator.hasten(self);
        }
    }

    /// As [`Pending::wait`], for a limited time, and without doing any file I/O, which might take longer.
    pub(super) fn wait_for(self: &Arc<Self>, limit: Duration) -> bool {
        let runtime = &self.origin.runtime;
        let deadline = runtime.now().after(limit);
        self.hasten();
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

    /// It was written, and is as durable as was asked.
    pub(super) fn succeed(&self, appended: Appended) {
        let with_offset = self.origin.acks != Acks::None;
        if let Some(time) = appended.append_time.filter(|_| with_offset) {
            let _first = self.append_time.set(time);
        }
        self.finish(Ok(with_offset.then_some(appended.base)));
    }

    /// Wakes one caller who blocks on this batch and is able to do the next sync. `false` if there is none.
    pub(super) fn hand_over(&self) -> bool {
        self.helpers.notify(1) > 0
    }

    /// Ends a batch. The first ending counts.
    pub(super) fn finish(&self, result: Result<Option<Offset>, Error>) {
        if let Err(error) = &result {
            // Before anybody can see the result: who flushes asks for it then.
            self.origin.memory.failed(error);
        }
        self.tell_interceptors(&result);
        if self.result.set(result).is_ok() {
            self.land();
            self.release();
            // The wakers of futures last: they are not ours.
            self.helpers.notify(usize::MAX);
            self.done.notify(usize::MAX);
        }
    }

    /// One fewer is on its way: another may follow.
    fn land(&self) {
        if !self.is_flying.swap(false, Ordering::SeqCst) {
            return;
        }
        self.origin.in_flight.fetch_sub(1, Ordering::SeqCst);
        if self.origin.wanted.swap(false, Ordering::SeqCst)
            && let Some(accumulator) = self.origin.accumulator.upgrade()
        {
            accumulator.urge();
        }
    }

    fn release(&self) {
        self.origin.memory.release(self.reserved.swap(0, Ordering::AcqRel));
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
