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

/// Leader epochs with records in the log, oldest first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct LeaderEpochs {
    starts: Vec<(LeaderEpoch, Offset)>,
    unsaved: bool,
}

impl LeaderEpochs {
    /// Notes that batches of `epoch` begin at `start`, if it is later than the latest known.
    pub(super) fn assign(&mut self, epoch: LeaderEpoch, start: Offset) {
        let newer = self.starts.last().is_none_or(|&(e, s)| e < epoch && s <= start);
        if !newer {
            return;
        }
        // An epoch without records needs no entry: its successor begins where it did.
        if self.starts.last().is_some_and(|&(_, s)| s == start) {
            self.starts.pop();
        }
        self.starts.push((epoch, start));
        self.unsaved = true;
    }

    /// The epoch of the latest batch.
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

    /// Writes the file, durably, if it changed.
    pub(super) fn save(&mut self, fs: &dyn FileSystem, dir: &Path) -> Result<(), StorageError> {
        if self.unsaved {
            let lines = self.starts.iter().map(|(epoch, start)| format!("{epoch} {start}"));
            checkpoint::write_entries(fs, dir, names::LEADER_EPOCHS, lines)?;
            self.unsaved = false;
        }
        Ok(())
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
        epochs.save(&fs, dir).unwrap();
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

    #[test]
    fn truncation_forgets_epochs_from_there_on() {
        let mut epochs = LeaderEpochs::default();
        epochs.assign(epoch(1), Offset::ZERO);
        epochs.assign(epoch(2), Offset::from(5));
        epochs.truncate(Offset::from(5));
        assert_eq!(epochs.latest(), Some(epoch(1)));
    }
}
