//! Ending a consumer's wait from elsewhere.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::env::sync::Event;

/// Wakes a [`Consumer`](crate::Consumer) that waits in a poll (Kafka's `Consumer.wakeup`). A handle, cheap to clone,
/// usable from any thread.
///
/// ```
/// use brooklet::{Cluster, NewTopic};
/// use std::time::Duration;
///
/// let cluster = Cluster::in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email"))?;
/// let mut consumer = cluster.consumer().build()?;
/// consumer.assign(email.partitions())?;
///
/// let wakeup = consumer.wakeup();
/// let stopping = std::thread::spawn(move || wakeup.wake());
/// let records = consumer.poll(Duration::MAX)?; // would wait for ever
/// assert!(records.is_empty());
/// stopping.join().unwrap();
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone)]
pub struct Wakeup {
    arrived: Arc<Event>,
    woken: Arc<AtomicBool>,
}

impl Wakeup {
    pub(super) fn new(arrived: &Arc<Event>) -> Self {
        Self { arrived: Arc::clone(arrived), woken: Arc::default() }
    }

    /// Ends the wait of the poll under way, or else of the next one that would wait: it returns no records, as after its
    /// timeout, where Kafka's throws. Who has to tell the two apart sets a flag before.
    pub fn wake(&self) {
        self.woken.store(true, Ordering::SeqCst);
        self.arrived.notify(usize::MAX);
    }

    /// Whether there was a call to wake since the last look.
    pub(super) fn take(&self) -> bool {
        self.woken.swap(false, Ordering::SeqCst)
    }
}

impl fmt::Debug for Wakeup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wakeup").field("woken", &self.woken).finish_non_exhaustive()
    }
}
