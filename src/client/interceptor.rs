//! Code of applications that looks at every record, as Kafka's interceptors do.
//!
//! # Invariants
//! - An interceptor is never called with a lock held: it may use the cluster.
//! - A panic of an interceptor ends nothing but its own work.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::client::{Error, RecordBuf, RecordMetadata, Records, Result};

/// Looks at the records of a producer on their way out, and at what became of them (Kafka's `ProducerInterceptor`).
/// Added by [`ProducerBuilder::interceptor`](crate::ProducerBuilder::interceptor).
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use brooklet::{Cluster, Error, NewTopic, ProducerInterceptor, Record, RecordBuf, RecordMetadata};
///
/// /// Says where records come from, and counts those that arrived.
/// #[derive(Default)]
/// struct Origin {
///     arrived: AtomicU64,
/// }
///
/// impl ProducerInterceptor for Origin {
///     fn on_send(&self, record: &mut RecordBuf<'_>) {
///         record.headers.push(("origin".into(), Some(b"till-7".into())));
///     }
///
///     fn on_acknowledgement(&self, _topic: &str, result: Result<&RecordMetadata, &Error>) {
///         self.arrived.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
///     }
/// }
///
/// let cluster = Cluster::in_memory()?;
/// let sales = cluster.create_topic(NewTopic::new("sales"))?;
/// let origin = Arc::new(Origin::default());
/// let producer = cluster.producer().interceptor(Arc::clone(&origin)).build()?;
/// producer.send(Record::to(&sales).value("2 cups"))?.wait()?;
/// assert_eq!(origin.arrived.load(Ordering::Relaxed), 1);
/// # Ok::<(), brooklet::Error>(())
/// ```
pub trait ProducerInterceptor: Send + Sync {
    /// A record is about to be sent, by the calling thread. It may be changed: the partition is chosen afterwards, by
    /// the key as it is then. Unlike in Kafka, key and value are encoded already.
    ///
    /// If it panics, that is logged, and the record goes on as it was before.
    fn on_send(&self, record: &mut RecordBuf<'_>) {
        let _ = record;
    }

    /// A record that [`on_send`](Self::on_send) saw was acknowledged or has failed, also where the send itself was
    /// refused. Called once for each, by whichever thread has done the work, before anybody who waits for the record
    /// hears of it: it should be quick. Several threads may do so at once, so that the order of calls may differ from
    /// that of the records.
    ///
    /// It may [`try_send`](crate::Producer::try_send) other records, such as to a topic for those that failed. It must not
    /// wait for anything of its cluster, as by `wait`, `flush`, `close`, or by creating or deleting a topic: the thread
    /// may be the one that others wait for.
    fn on_acknowledgement(&self, topic: &str, result: Result<&RecordMetadata, &Error>) {
        let _ = (topic, result);
    }
}

/// Looks at what a consumer's polls return (Kafka's `ConsumerInterceptor`).
/// Added by [`ConsumerBuilder::interceptor`](crate::ConsumerBuilder::interceptor).
///
/// ```
/// use std::time::Duration;
/// use brooklet::{Cluster, ConsumerInterceptor, NewTopic, Record, Records};
///
/// /// Leaves out what is marked as a test.
/// struct NoTests;
///
/// impl ConsumerInterceptor for NoTests {
///     fn on_consume(&self, records: &mut Records) {
///         records.retain(|record| record.headers().get("test").is_none());
///     }
/// }
///
/// let cluster = Cluster::in_memory()?;
/// let sales = cluster.create_topic(NewTopic::new("sales"))?;
/// let producer = cluster.producer().build()?;
/// producer.send(Record::to(&sales).value("2 cups").header("test", "yes"))?;
/// producer.send(Record::to(&sales).value("3 cups"))?.wait()?;
///
/// let mut consumer = cluster.consumer().interceptor(NoTests).build()?;
/// consumer.assign(sales.partitions())?;
/// assert_eq!(consumer.poll(Duration::from_secs(1))?.len(), 1);
/// # Ok::<(), brooklet::Error>(())
/// ```
pub trait ConsumerInterceptor: Send + Sync {
    /// A poll is about to return these records, of which there is at least one. Those that are taken out count as
    /// returned: the position is behind them.
    ///
    /// If it panics, that is logged, and the records go on as they were before.
    fn on_consume(&self, records: &mut Records) {
        let _ = records;
    }
}

/// Shared, so that the application can go on looking at it.
impl<T: ProducerInterceptor + ?Sized> ProducerInterceptor for Arc<T> {
    fn on_send(&self, record: &mut RecordBuf<'_>) {
        (**self).on_send(record);
    }

    fn on_acknowledgement(&self, topic: &str, result: Result<&RecordMetadata, &Error>) {
        (**self).on_acknowledgement(topic, result);
    }
}

/// Shared, so that the application can go on looking at it.
impl<T: ConsumerInterceptor + ?Sized> ConsumerInterceptor for Arc<T> {
    fn on_consume(&self, records: &mut Records) {
        (**self).on_consume(records);
    }
}

/// Interceptors in the order in which they are called. None at all costs a look.
pub(super) struct Interceptors<T: ?Sized>(Vec<Arc<T>>);

impl<T: ?Sized> Default for Interceptors<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: ?Sized> Clone for Interceptors<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: ?Sized> fmt::Debug for Interceptors<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} interceptors", self.0.len())
    }
}

impl<T: ?Sized> Interceptors<T> {
    pub(super) fn push(&mut self, interceptor: Arc<T>) {
        self.0.push(interceptor);
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Has each change `subject` in turn.
    fn change<S: Clone>(&self, method: &str, subject: &mut S, call: impl Fn(&T, &mut S)) {
        for interceptor in &self.0 {
            let before = subject.clone();
            if !survives(method, || call(interceptor, subject)) {
                *subject = before;
            }
        }
    }
}

impl Interceptors<dyn ProducerInterceptor> {
    pub(super) fn on_send(&self, record: &mut RecordBuf<'_>) {
        self.change("on_send", record, |interceptor, record| interceptor.on_send(record));
    }

    pub(super) fn on_acknowledgement(&self, topic: &str, result: Result<&RecordMetadata, &Error>) {
        for interceptor in &self.0 {
            survives("on_acknowledgement", || interceptor.on_acknowledgement(topic, result));
        }
    }
}

impl Interceptors<dyn ConsumerInterceptor> {
    pub(super) fn on_consume(&self, records: &mut Records) {
        self.change("on_consume", records, |interceptor, records| interceptor.on_consume(records));
    }
}

/// Calls what is not ours. `false` if it panicked.
fn survives(method: &str, call: impl FnOnce()) -> bool {
    // What it may leave half done is put back, or its own.
    let ended = catch_unwind(AssertUnwindSafe(call));
    if ended.is_err() {
        log::error!("an interceptor panicked in {method}; what it did is left out");
    }
    ended.is_ok()
}
