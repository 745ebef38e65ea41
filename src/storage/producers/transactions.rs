//! Transactions that readers of committed records have to wait for.
//!
//! # Invariants
//! - A transaction is here from its first batch until the high watermark has passed its marker: before that, another
//!   leader may not have the marker.

use std::collections::BTreeMap;

use crate::base::{Bug, Offset, ProducerId, is_planted};
use crate::env::sync::{AtomicI64, Mutex, Ordering};
use crate::record::MarkerKind;

/// What a batch does to a transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TransactionStep {
    Begins { producer: ProducerId, first: Offset },
    Ends { producer: ProducerId, first: Offset, marker: Offset, kind: MarkerKind },
}

/// A transaction whose records are not to be read: an entry of the `.txnindex`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct AbortedTransaction {
    pub(crate) producer: ProducerId,
    /// Offset of its first record.
    pub(crate) first: Offset,
    /// Offset of its marker.
    pub(crate) last: Offset,
    /// When the marker was written, every transaction that began below this offset had ended.
    pub(crate) last_stable: Offset,
}

/// The transactions of one log that are not decided for its readers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Transactions {
    /// Without a marker: whose, by first offset.
    ongoing: BTreeMap<Offset, ProducerId>,
    /// With one that may be above the high watermark: its offset, by the transaction's first.
    ended: BTreeMap<Offset, Offset>,
}

impl Transactions {
    /// Of a log that has these without a marker.
    pub(super) fn ongoing(transactions: impl Iterator<Item = (Offset, ProducerId)>) -> Self {
        Self { ongoing: transactions.collect(), ended: BTreeMap::new() }
    }

    /// Takes a step that is in the log now. Returns the transaction if it was aborted.
    pub(crate) fn take(&mut self, step: TransactionStep) -> Option<AbortedTransaction> {
        match step {
            TransactionStep::Begins { producer, first } => {
                self.ongoing.insert(first, producer);
                None
            }
            TransactionStep::Ends { producer, first, marker, kind } => {
                self.ongoing.remove(&first);
                self.ended.insert(first, marker);
                let oldest = self.ongoing.keys().next().copied();
                let last_stable = oldest.unwrap_or(marker.next());
                let aborted = AbortedTransaction { producer, first, last: marker, last_stable };
                (kind == MarkerKind::Abort).then_some(aborted)
            }
        }
    }

    /// Forgets transactions whose marker is below the high watermark: they are decided.
    pub(crate) fn decide_below(&mut self, high_watermark: Offset) {
        self.ended.retain(|_, marker| *marker >= high_watermark);
    }

    /// First offset of the oldest transaction that is not decided.
    pub(crate) fn first_unstable(&self) -> Option<Offset> {
        let oldest = [self.ongoing.keys().next(), self.ended.keys().next()];
        oldest.into_iter().flatten().min().copied()
    }

    fn first_or_max(&self) -> i64 {
        self.first_unstable().unwrap_or(Offset::MAX).value()
    }
}

/// The [`Transactions`] of one log, for its writer, for who raises the high watermark, and for readers.
///
/// Readers take no lock. They look at the high watermark first and then here: a transaction that began below it is
/// known here before it rises, and leaves no earlier than it is decided (D3).
#[derive(Debug)]
pub(crate) struct Undecided {
    transactions: Mutex<Transactions>,
    /// First offset of the oldest one; `i64::MAX` if there are none. Changed with the lock held.
    first: AtomicI64,
}

impl Undecided {
    pub(crate) fn new(transactions: Transactions) -> Self {
        let first = AtomicI64::new(transactions.first_or_max());
        Self { transactions: Mutex::new(transactions), first }
    }

    pub(crate) fn set(&self, transactions: Transactions) {
        self.change(|known| *known = transactions);
    }

    /// Takes steps that are in the log now, and tells of each transaction that they abort.
    pub(crate) fn take(
        &self,
        steps: Vec<TransactionStep>,
        aborted: impl FnMut(AbortedTransaction),
    ) {
        if !steps.is_empty() {
            self.change(|known| {
                steps.into_iter().filter_map(|step| known.take(step)).for_each(aborted)
            });
        }
    }

    /// See [`Transactions::decide_below`]. Costs nothing where there are no transactions.
    pub(crate) fn decide_below(&self, high_watermark: Offset) {
        if self.first.load(Ordering::Acquire) != i64::MAX {
            self.change(|known| known.decide_below(high_watermark));
        }
    }

    /// Below this offset all transactions are decided, for readers who may read up to `high_watermark`.
    pub(crate) fn last_stable(&self, high_watermark: Offset) -> Offset {
        if is_planted(Bug::UndecidedIsRead) {
            return high_watermark;
        }
        let first = Offset::new(self.first.load(Ordering::Acquire)).unwrap_or_default();
        first.min(high_watermark)
    }

    fn change(&self, change: impl FnOnce(&mut Transactions)) {
        let mut transactions = self.transactions.lock();
        change(&mut transactions);
        self.first.store(transactions.first_or_max(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begins(producer: i64, first: u32) -> TransactionStep {
        let producer = ProducerId::new(producer).unwrap();
        TransactionStep::Begins { producer, first: Offset::from(first) }
    }

    fn ends(producer: i64, first: u32, marker: u32, kind: MarkerKind) -> TransactionStep {
        let producer = ProducerId::new(producer).unwrap();
        let (first, marker) = (Offset::from(first), Offset::from(marker));
        TransactionStep::Ends { producer, first, marker, kind }
    }

    #[test]
    fn a_transaction_is_undecided_until_the_high_watermark_has_passed_its_marker() {
        let mut transactions = Transactions::default();
        assert_eq!(transactions.first_unstable(), None);
        transactions.take(begins(1, 5));
        transactions.take(begins(2, 7));
        transactions.take(ends(1, 5, 9, MarkerKind::Commit));
        for (high_watermark, unstable) in [(9, 5), (10, 7)] {
            transactions.decide_below(Offset::from(high_watermark));
            assert_eq!(transactions.first_unstable(), Some(Offset::from(unstable)));
        }
        transactions.take(ends(2, 7, 10, MarkerKind::Commit));
        transactions.decide_below(Offset::from(11));
        assert_eq!(transactions.first_unstable(), None);
    }

    #[test]
    fn an_abort_notes_the_oldest_other_transaction_or_what_follows_its_marker() {
        let mut transactions = Transactions::default();
        transactions.take(begins(1, 5));
        transactions.take(begins(2, 7));
        let aborted = transactions.take(ends(2, 7, 9, MarkerKind::Abort)).unwrap();
        assert_eq!((aborted.first, aborted.last), (Offset::from(7), Offset::from(9)));
        assert_eq!(aborted.last_stable, Offset::from(5));
        let aborted = transactions.take(ends(1, 5, 10, MarkerKind::Abort)).unwrap();
        assert_eq!(aborted.last_stable, Offset::from(11));
        transactions.take(begins(1, 11));
        assert_eq!(transactions.take(ends(1, 11, 12, MarkerKind::Commit)), None);
    }
}
