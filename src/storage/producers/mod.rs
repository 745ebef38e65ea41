//! What a log knows of its producers and their transactions: which batches it has seen, which may follow, up to where
//! readers of committed records may go.
//!
//! All of it can be told from the batches of the log. `.snapshot` files spare going through all of them.
//!
//! # Invariants
//! - What is known speaks of batches that were written: those on their way are [`Staged`] (F1).
//! - Everything is kept in order, by id or by offset: no two runs differ.

mod batch;
mod error;
mod known;
mod rebuild;
mod snapshot;
mod snapshots;
mod staged;
mod state;
mod transactions;

#[cfg(test)]
mod tests;

pub(crate) use batch::{AppendOrigin, ProducerBatch};
pub(crate) use error::ProducerError;
pub(crate) use known::Producers;
pub(crate) use rebuild::Known;
pub(crate) use snapshot::SnapshotEntry;
pub(crate) use snapshots::UnsyncedSnapshot;
pub(crate) use staged::Staged;
pub(crate) use state::SeenBatch;
pub(crate) use transactions::{AbortedTransaction, Transactions, Undecided};
