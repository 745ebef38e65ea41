//! Leader epochs: which leader wrote what, and who leads now.
//!
//! A follower finds with them where its log and its leader's part. They are read without a lock: nobody who asks waits
//! for a write.

use std::sync::Arc;

use crate::base::{LeaderEpoch, Offset};
use crate::storage::StorageError;
use crate::storage::epochs::{EpochEnd, LeaderEpochs};
use crate::storage::log::{Log, Writer};

impl Log {
    /// A leader takes office: what is appended from now on is of `epoch`. To be called before it serves anybody: who asks
    /// where an earlier epoch ends must be told that it does, even if nothing is written in this one (C3).
    ///
    /// In memory alone: an epoch without a record needs no place on disk.
    pub(crate) fn begin_epoch(&self, epoch: LeaderEpoch) {
        let mut writer = self.writer.lock();
        self.change_epochs(&mut writer, |epochs| epochs.begin(epoch, self.end()));
    }

    /// The latest epoch that has begun in the log, with a record or without: what a follower fetches with.
    pub(crate) fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.load().latest()
    }

    /// The epoch of the last record, if there is one.
    pub(crate) fn written_epoch(&self) -> Option<LeaderEpoch> {
        let last = Offset::new(self.end().value() - 1)?;
        self.epochs.load().at(last)
    }

    /// Where `epoch` ends, or the latest one before it that the log knows of. Of an epoch from before the first one known
    /// it is where that begins. `None` if `epoch` is later than all that are known.
    pub(crate) fn end_of_epoch(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        // The end first: whatever is below it is of an epoch that is known when they are looked at.
        let end = self.end();
        self.epochs.load().end_of(epoch, end)
    }

    /// All of them. Of a log that was damaged when it was opened that is not known.
    pub(super) fn whole_epochs(&self) -> Option<Arc<LeaderEpochs>> {
        self.damaged.lock().is_none().then(|| self.epochs.load_full())
    }

    /// Notes a batch of `epoch` at `base`, before its bytes are published.
    pub(super) fn note_epoch(&self, writer: &mut Writer, epoch: LeaderEpoch, base: Offset) {
        if !self.epochs.load().know(epoch, base) {
            self.change_epochs(writer, |epochs| epochs.assign(epoch, base));
        }
    }

    /// Changes what is known of them, which only the holder of the writer's lock may do.
    pub(super) fn change_epochs(
        &self,
        _writer: &mut Writer,
        change: impl FnOnce(&mut LeaderEpochs),
    ) {
        let mut epochs = LeaderEpochs::clone(&self.epochs.load());
        change(&mut epochs);
        self.epochs.store(Arc::new(epochs));
    }

    /// Writes the file, durably, if it has to be. The lock is not held meanwhile.
    pub(super) fn save_epochs(&self) -> Result<(), StorageError> {
        let epochs = self.epochs.load_full();
        if epochs.save(&*self.fs, &self.dir)? {
            self.change_epochs(&mut self.writer.lock(), |now| now.note_saved(&epochs));
        }
        Ok(())
    }
}
