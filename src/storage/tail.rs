//! The last batches of each log, as they were written.
//!
//! Followers and tailing consumers read what was appended a moment ago: served from here they meet no page fault and
//! no second checksum. One budget serves all logs of a store; the oldest batch of all goes first, and its buffer
//! returns to the producers.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use crate::base::Offset;
use crate::env::BufferPool;
use crate::env::sync::Mutex;
use crate::record::Batch;

/// The budget that the tails of one store share.
#[derive(Debug)]
pub(crate) struct TailCache {
    max_bytes: usize,
    pool: Arc<BufferPool>,
    order: Mutex<Order>,
}

#[derive(Debug, Default)]
struct Order {
    /// One entry for each batch kept, oldest first: whose it is, and its size.
    batches: VecDeque<(Weak<Tail>, usize)>,
    bytes: usize,
}

impl TailCache {
    /// A budget of `max_bytes`. Buffers of batches that leave go back to `pool`.
    pub(crate) fn new(max_bytes: usize, pool: Arc<BufferPool>) -> Self {
        Self { max_bytes, pool, order: Mutex::default() }
    }

    pub(super) fn pool(&self) -> &BufferPool {
        &self.pool
    }

    /// Keeps `batch`, the next one of `tail`'s log, and lets go of the oldest ones beyond the budget.
    pub(super) fn push(&self, tail: &Arc<Tail>, batch: Batch) {
        let size = batch.bytes().len();
        if size > self.max_bytes {
            tail.clear();
            return;
        }
        tail.0.lock().push_back(batch);
        let mut order = self.order.lock();
        order.batches.push_back((Arc::downgrade(tail), size));
        order.bytes += size;
        while order.bytes > self.max_bytes {
            let Some((owner, size)) = order.batches.pop_front() else { break };
            order.bytes -= size;
            // The entries of one tail are in the order of its batches, unless it was cleared since.
            let evicted = owner.upgrade().and_then(|owner| owner.0.lock().pop_front());
            if let Some(batch) = evicted {
                self.pool.reclaim(batch.into_bytes());
            }
        }
    }
}

/// The last batches of one log, consecutive, oldest first.
#[derive(Debug, Default)]
pub(super) struct Tail(Mutex<VecDeque<Batch>>);

impl Tail {
    /// Forgets all batches: they are to be read from their files.
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }

    /// Batches from the one that holds `from` on, up to `max_bytes` (but at least one), none that reaches `upto`.
    /// `None` if the batch that holds `from` is not here.
    pub(super) fn read(&self, from: Offset, max_bytes: usize, upto: Offset) -> Option<Vec<Batch>> {
        let batches = self.0.lock();
        let first = batches.partition_point(|batch| batch.header().last_offset() < from);
        let begins_here =
            batches.get(first).is_some_and(|b| b.header().base_offset() <= from || first > 0);
        if !begins_here {
            return None;
        }
        let mut bytes = 0usize;
        let wanted = batches.iter().skip(first).take_while(|batch| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(batch.bytes().len());
            batch.header().last_offset() < upto && (is_first || bytes <= max_bytes)
        });
        Some(wanted.cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::log::tests::batch_at;

    fn cache(max_bytes: usize) -> (TailCache, Arc<Tail>) {
        (TailCache::new(max_bytes, Arc::new(BufferPool::new(1 << 20))), Arc::default())
    }

    #[test]
    fn reads_begin_with_the_batch_that_holds_the_offset() {
        let (cache, tail) = cache(1 << 20);
        for base in [0, 3, 6] {
            cache.push(&tail, batch_at(base, 3));
        }
        let bases = |from: u32, max, upto: u32| {
            let batches = tail.read(Offset::from(from), max, Offset::from(upto))?;
            Some(batches.iter().map(|b| b.header().base_offset().value()).collect::<Vec<_>>())
        };
        assert_eq!(bases(4, 1 << 20, 9), Some(vec![3, 6]));
        assert_eq!(bases(4, 1 << 20, 6), Some(vec![3]), "a batch beyond the bound is not shown");
        assert_eq!(bases(0, 1, 9), Some(vec![0]), "at least one batch");
        assert_eq!(bases(9, 1 << 20, 9), None);
    }

    #[test]
    fn the_oldest_batches_of_all_logs_leave_first() {
        let size = batch_at(0, 3).bytes().len();
        let (cache, first) = cache(2 * size);
        let second = Arc::default();
        cache.push(&first, batch_at(0, 3));
        cache.push(&second, batch_at(0, 3));
        cache.push(&second, batch_at(3, 3));
        assert!(first.read(Offset::ZERO, 1, Offset::MAX).is_none());
        assert!(second.read(Offset::ZERO, 1, Offset::MAX).is_some());
    }

    #[test]
    fn a_batch_larger_than_the_budget_leaves_no_gap() {
        let (cache, tail) = cache(10);
        cache.push(&tail, batch_at(0, 3));
        assert!(tail.read(Offset::ZERO, 1, Offset::MAX).is_none());
    }
}
