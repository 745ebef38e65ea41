//! Where each leader's batches begin: the cache behind `leader-epoch-checkpoint`.
//!
//! # Invariants
//! - Epochs and start offsets strictly increase from entry to entry.
//! - The file is derived: losing it costs a walk over the batch headers, which carry the epochs.

use std::path::Path;

use crate::base::{LeaderEpoch, Offset};
use crate::env::FileSystem;
use crate::storage::StorageError;
use crate::storage::checkpoint;
use crate::storage::names;

/// Where the batches of a leader epoch end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct EpochEnd {
    /// The latest epoch up to the one that was asked for of which the log knows.
    pub(crate) epoch: LeaderEpoch,
    /// Where the next one begins, or the log ends.
    pub(crate) end: Offset,
}

/// Leader epochs with records in the log, oldest first; the last one may have none yet.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct LeaderEpochs {
    starts: Vec<(LeaderEpoch, Offset)>,
    unsaved: bool,
}

impl LeaderEpochs {
    /// Notes that `epoch` begins at `start`, where the log ends, if it is later than the latest known. Without a record
    /// it is not worth a write: nobody asks for it when the log is opened again, since epochs rise.
    pub(super) fn begin(&mut self, epoch: LeaderEpoch, start: Offset) {
        if self.latest() < Some(epoch) {
            // An epoch without records needs no entry: its successor begins where it did.
            self.starts.retain(|&(_, begins)| begins < start);
            self.starts.push((epoch, start));
        }
    }

    /// Notes a batch of `epoch` at `start`.
    pub(super) fn assign(&mut self, epoch: LeaderEpoch, start: Offset) {
        self.begin(epoch, start);
        self.unsaved |= self.starts.last() == Some(&(epoch, start));
    }

    /// Whether a batch of `epoch` at `start` tells nothing new.
    pub(super) fn know(&self, epoch: LeaderEpoch, start: Offset) -> bool {
        self.starts.last().is_some_and(|&(e, s)| e > epoch || (e == epoch && s < start))
    }

    /// Where `epoch` ends in a log that ends at `log_end`, as Kafka's `endOffsetFor`. `None` if it is later than all that
    /// are known.
    pub(super) fn end_of(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<EpochEnd> {
        let later = self.starts.partition_point(|&(known, _)| known <= epoch);
        let floor = later.checked_sub(1).and_then(|at| self.starts.get(at));
        match self.starts.get(later) {
            // Of an epoch from before the first one nothing is there.
            Some(&(_, end)) => Some(EpochEnd { epoch: floor.map_or(epoch, |&(e, _)| e), end }),
            None if self.latest() == Some(epoch) => Some(EpochEnd { epoch, end: log_end }),
            None => None,
        }
    }

    /// The latest that has begun, if it has no record in a log that ends at `log_end`.
    pub(super) fn without_record(&self, log_end: Offset) -> Option<LeaderEpoch> {
        self.starts.last().filter(|&&(_, start)| start >= log_end).map(|&(epoch, _)| epoch)
    }

    /// The latest that has begun.
    pub(super) fn latest(&self) -> Option<LeaderEpoch> {
        self.starts.last().map(|&(epoch, _)| epoch)
    }

    /// The epoch of the leader that wrote the batch at `offset`.
    pub(super) fn at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.starts.partition_point(|&(_, start)| start <= offset);
        self.starts.get(after.checked_sub(1)?).map(|&(epoch, _)| epoch)
    }

    /// Forgets what was before `start`: the epoch that it is in begins there.
    pub(super) fn begin_at(&mut self, start: Offset) {
        let before = self.starts.len();
        let in_force = self.starts.partition_point(|&(_, begins)| begins <= start);
        self.starts.drain(..in_force.saturating_sub(1));
        if let Some((_, begins)) = self.starts.first_mut().filter(|(_, begins)| *begins < start) {
            *begins = start;
            self.unsaved = true;
        }
        self.unsaved |= self.starts.len() != before;
    }

    /// Forgets them all: the log is empty, and its file of them gone.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets epochs that begin at or after `end`.
    pub(super) fn truncate(&mut self, end: Offset) {
        let before = self.starts.len();
        self.starts.retain(|&(_, start)| start < end);
        self.unsaved |= self.starts.len() != before;
    }

    /// Reads the file; `None` if it is missing or unusable, so that it has to be rebuilt.
    pub(super) fn load(fs: &dyn FileSystem, dir: &Path) -> Option<Self> {
        let starts = read_leader_epochs(fs, &dir.join(names::LEADER_EPOCHS)).ok()??;
        Some(Self { starts, unsaved: false })
    }

    /// Takes note that a copy was saved, if nothing has changed since it was made.
    pub(super) fn note_saved(&mut self, copy: &Self) {
        self.unsaved &= self.starts != copy.starts;
    }

    /// Writes the file, durably, if it changed. Returns whether it did.
    pub(super) fn save(&self, fs: &dyn FileSystem, dir: &Path) -> Result<bool, StorageError> {
        if self.unsaved {
            let lines = self.starts.iter().map(|(epoch, start)| format!("{epoch} {start}"));
            checkpoint::write_entries(fs, dir, names::LEADER_EPOCHS, lines)?;
        }
        Ok(self.unsaved)
    }
}

/// The entries of a `leader-epoch-checkpoint` file, `None` if there is no such file.
pub(crate) fn read_leader_epochs(
    fs: &dyn FileSystem,
    path: &Path,
) -> Result<Option<Vec<(LeaderEpoch, Offset)>>, StorageError> {
    let parse = |line: &str| {
        let (epoch, start) = line.split_once(' ')?;
        let epoch = epoch.parse().ok().and_then(LeaderEpoch::new)?;
        Some((epoch, start.parse().ok().and_then(Offset::new)?))
    };
    let read = checkpoint::read_entries::<_, Vec<_>>(fs, path, parse)?;
    let Some(starts) = read else { return Ok(None) };
    let increasing = starts.windows(2).all(|w| matches!(w, [a, b] if a.0 < b.0 && a.1 < b.1));
    if increasing {
        Ok(Some(starts))
    } else {
        Err(StorageError::damaged(path, "its epochs and offsets do not increase"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::MemFs;

    fn epoch(n: i32) -> LeaderEpoch {
        LeaderEpoch::new(n).unwrap()
    }

    #[test]
    fn a_log_that_begins_later_knows_only_the_epochs_from_there_on() {
        let mut epochs = LeaderEpochs::default();
        for (n, start) in [(0, 0), (3, 10), (5, 20)] {
            epochs.assign(epoch(n), Offset::from(start));
        }
        epochs.begin_at(Offset::from(15));
        let expected = [(epoch(3), Offset::from(15)), (epoch(5), Offset::from(20))];
        assert_eq!(epochs.starts, expected);
        epochs.begin_at(Offset::from(20));
        assert_eq!(epochs.starts, [(epoch(5), Offset::from(20))]);
        epochs.begin_at(Offset::from(30));
        assert_eq!(epochs.starts, [(epoch(5), Offset::from(30))]);
    }

    #[test]
    fn epochs_survive_saving_and_loading() {
        let fs = MemFs::default();
        let dir = Path::new("/d");
        fs.create_dir(dir).unwrap();
        assert_eq!(LeaderEpochs::load(&fs, dir), None);
        let mut epochs = LeaderEpochs::default();
        epochs.assign(epoch(0), Offset::ZERO);
        epochs.assign(epoch(3), Offset::from(10));
        epochs.assign(epoch(3), Offset::from(12));
        assert!(epochs.save(&fs, dir).unwrap());
        epochs.note_saved(&epochs.clone());
        assert_eq!(LeaderEpochs::load(&fs, dir), Some(epochs));
    }

    /// C7: epoch 0 is an epoch like any other.
    #[test]
    fn epoch_zero_is_kept() {
        let mut epochs = LeaderEpochs::default();
        epochs.assign(epoch(0), Offset::ZERO);
        assert_eq!(epochs.latest(), Some(epoch(0)));
    }

    #[test]
    fn an_epoch_without_records_leaves_no_entry() {
        let mut epochs = LeaderEpochs::default();
        epochs.assign(epoch(1), Offset::from(5));
        epochs.assign(epoch(2), Offset::from(5));
        assert_eq!(epochs.starts, [(epoch(2), Offset::from(5))]);
    }

    /// C3: an epoch that has begun is told of, and is saved only when it has a record.
    #[test]
    fn an_epoch_is_saved_with_its_first_batch() {
        let mut epochs = LeaderEpochs::default();
        epochs.begin(epoch(2), Offset::from(5));
        epochs.begin(epoch(3), Offset::from(5));
        epochs.begin(epoch(3), Offset::from(9));
        assert_eq!(
            (epochs.starts.clone(), epochs.unsaved),
            (vec![(epoch(3), Offset::from(5))], false)
        );
        assert!(!epochs.know(epoch(3), Offset::from(5)));
        epochs.assign(epoch(3), Offset::from(5));
        assert!(epochs.unsaved);
        assert!(epochs.know(epoch(3), Offset::from(6)));
        assert!(!epochs.know(epoch(4), Offset::from(6)));
    }

    /// The answers of Kafka's `endOffsetFor`.
    #[test]
    fn an_epoch_ends_where_the_next_one_begins() {
        let mut epochs = LeaderEpochs::default();
        let log_end = Offset::from(30);
        assert_eq!(epochs.end_of(epoch(0), log_end), None);
        for (n, start) in [(2, 5), (4, 10), (7, 20)] {
            epochs.assign(epoch(n), Offset::from(start));
        }
        for (asked, answer) in [
            (0, Some((0, 5))),
            (1, Some((1, 5))),
            (2, Some((2, 10))),
            (3, Some((2, 10))),
            (4, Some((4, 20))),
            (6, Some((4, 20))),
            (7, Some((7, 30))),
            (8, None),
        ] {
            let answer =
                answer.map(|(e, end)| EpochEnd { epoch: epoch(e), end: Offset::from(end) });
            assert_eq!(epochs.end_of(epoch(asked), log_end), answer, "{asked}");
        }
    }

    #[test]
    fn truncation_forgets_epochs_from_there_on() {
        let mut epochs = LeaderEpochs::default();
        epochs.assign(epoch(1), Offset::ZERO);
        epochs.assign(epoch(2), Offset::from(5));
        epochs.truncate(Offset::from(5));
        assert_eq!(epochs.latest(), Some(epoch(1)));
    }
}
