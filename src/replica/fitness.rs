//! Whether a replica can be written.

use std::sync::atomic::{AtomicU64, Ordering};

/// Whether the disk of a replica takes what is written: counts how often that has changed in one life, so that what is said
/// later counts in whatever order it is heard.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Fitness(u64);

impl Fitness {
    /// Fit, unfit, and fit again.
    #[cfg(test)]
    pub(super) const FIRST: [Self; 3] = [Self(0), Self(1), Self(2)];

    pub(crate) const fn is_fit(self) -> bool {
        self.0.is_multiple_of(2)
    }
}

/// The present [`Fitness`] of a replica.
#[derive(Debug, Default)]
pub(super) struct FitnessCell {
    now: AtomicU64,
    /// What others were told last.
    told: AtomicU64,
}

impl FitnessCell {
    pub(super) fn get(&self) -> Fitness {
        Fitness(self.now.load(Ordering::Acquire))
    }

    pub(super) fn set(&self, is_fit: bool) {
        let change = |now| (Fitness(now).is_fit() != is_fit).then_some(now + 1);
        // An error says that it is so already.
        let _ = self.now.fetch_update(Ordering::AcqRel, Ordering::Acquire, change);
    }

    /// Whether it is not what this returned `true` for last: a disk that goes on failing is told of once.
    pub(super) fn is_news(&self) -> bool {
        let now = self.get().0;
        self.told.swap(now, Ordering::AcqRel) != now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_later_is_more() {
        let cell = FitnessCell::default();
        let mut said = vec![cell.get()];
        for is_fit in [true, false, false, true, false] {
            cell.set(is_fit);
            assert_eq!(cell.get().is_fit(), is_fit);
            said.push(cell.get());
        }
        assert_eq!([cell.is_news(), cell.is_news()], [true, false]);
        assert!(said.is_sorted());
        assert_eq!(said.last(), said.iter().max());
    }
}
