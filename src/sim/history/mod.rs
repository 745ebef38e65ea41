//! Checks what clients saw: whether anything was lost, doubled, reordered, torn, or read too early.
//!
//! Clients of a running system record what they asked for and what came of it. Afterwards [`check`] looks for every
//! anomaly that could not have happened in a correct log, under the names that Jepsen gave them. It judges by what was
//! seen from outside alone, so it needs no access to the log, and works on any implementation.
//!
//! ```
//! use std::time::Duration;
//!
//! use brooklet::sim::history::{Recorder, Rules, check};
//! use brooklet::{Cluster, Delivery, NewTopic, Offset, Record};
//!
//! let cluster = Cluster::in_memory()?;
//! let email = cluster.create_topic(NewTopic::new("email"))?;
//! let recorder = Recorder::new();
//!
//! let (writer, producer) = (recorder.client("writer"), cluster.producer().build()?);
//! for value in 0..100u64 {
//!     let sending = writer.send(value);
//!     let value = value.to_be_bytes();
//!     sending.end(&producer.send(Record::to(&email).value(&value)).and_then(Delivery::wait));
//! }
//!
//! let (reader, mut consumer) = (recorder.client("reader"), cluster.consumer().build()?);
//! reader.assign([(email.partition(0)?, Some(Offset::ZERO))]);
//! consumer.assign(email.partitions())?;
//! for _ in 0..5 {
//!     let polling = reader.poll();
//!     let records = consumer.poll(Duration::ZERO);
//!     polling.end(&records, |record| u64::from_be_bytes(record.value().unwrap().try_into().unwrap()));
//! }
//!
//! let report = check(&recorder.history(), &Rules::new().all_read(true));
//! assert!(report.is_ok(), "{report}");
//! # Ok::<(), brooklet::Error>(())
//! ```
//!
//! # What makes a history
//! - Values are numbers, each sent once in the whole history: by them a record is recognised wherever it turns up.
//! - A [`Client`] is one thread of control: its sends have an order, and its polls follow on from each other. Give each
//!   thread a client of its own, also where they share a producer.
//! - An operation is recorded when it is invoked, and once more when it has ended. What never ends counts as
//!   *unknown*: it may have happened or not.
//! - What the log is not to blame for is recorded too: seeks, assignments, records deleted on purpose, a suffix that a
//!   flush policy allows to be lost.
//!
//! # What is found
//! [`AnomalyKind`] is the list. Each [`Anomaly`] comes with the few operations that prove it.

mod check;
mod open;
mod operation;
mod recorder;
mod report;
mod rules;

#[cfg(test)]
mod tests;

pub use check::check;
pub use open::{Call, CommittedQuery, Polling, Sending, WatermarksQuery};
pub use operation::{History, Message};
pub use recorder::{Client, Recorder, Transaction};
pub use report::{Anomaly, AnomalyKind, Report};
pub use rules::Rules;
