//! Known bugs, to be planted one at a time: a test-suite is worth what it notices.
//!
//! Built with `--cfg planted`, the crate has the bug that the environment variable `PLANTED` names. Without, nothing of
//! this is left. `tests/planted/run` plants one after another, and says which suite noticed.

/// A bug that was made somewhere, by somebody.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bug {
    /// A batch is acknowledged when it is written.
    AckedBeforeSync,
    /// No checksum is ever wrong.
    ChecksumsFit,
    /// What is cut off may be back after a power cut.
    CutNotSynced,
    /// A log is cut at its first bad batch, wherever that is.
    DamageIsCut,
    /// Records are gone for readers before their deletion is on disk.
    DeletedBeforeRecorded,
    /// What is deleted keeps its name until it is gone.
    DeletedByName,
    /// A sync speaks for what was written while it was under way.
    EndAfterSync,
    /// The end of a log is moved before the bytes are there.
    EndBeforeBytes,
    /// A write is said not to have happened though it could not be taken back.
    FailedCutIgnored,
    /// An index entry is believed without a look at the batch that it points to.
    IndexBelieved,
    /// What recovery finds in the page cache counts as durable.
    KeptNotRewritten,
    /// A batch is as long as it says.
    LengthsBelieved,
    /// The clean marker is written though a log could not be recovered.
    MarkerAfterFailure,
    /// The clean marker may be back after a power cut.
    MarkerRemovalNotSynced,
    /// A new file's name is not synced.
    NamesNotSynced,
    /// After a failed sync a log goes on.
    OfflineIgnored,
    /// Offsets too far from their segment's base wrap around.
    OffsetsWrap,
    /// No batch is in the wrong place.
    PlacesUnchecked,
    /// Batches count as their producers' last ones though they could not be written.
    ProducersBeforeBytes,
    /// Who leaves the writer's role does not look at what was queued meanwhile.
    QueueLeft,
    /// The recovery point is where the log ends, not up to where it was synced.
    RecoveryPointAhead,
    /// The recovery points of a deleted topic stay.
    RecoveryPointsStay,
    /// A batch is sent while one before it may have to be sent again.
    RetryIsOvertaken,
    /// A sync covers the active segment alone.
    SealedNotSynced,
    /// What a snapshot says of producers is forgotten.
    SequencesForgotten,
    /// A sync that failed is tried again.
    SyncRetried,
    /// The cache holds batches that a truncation took away.
    TailStays,
    /// A file is renamed over another before it was synced.
    TemporaryNotSynced,
    /// Readers of committed records do not wait for transactions to end.
    UndecidedIsRead,
    /// Who leaves the syncer's role does not look at what was written meanwhile.
    WaitersForgotten,
    /// Readers of committed records look at the high watermark once more, after the transactions.
    WatermarkReadTwice,
}

/// Whether the crate has this bug.
#[cfg(planted)]
pub(crate) fn is_planted(bug: Bug) -> bool {
    static PLANTED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let planted = PLANTED.get_or_init(|| std::env::var("PLANTED").ok());
    planted.as_ref().is_some_and(|planted| *planted == format!("{bug:?}"))
}

/// Whether the crate has this bug.
#[cfg(not(planted))]
#[inline(always)]
pub(crate) const fn is_planted(_bug: Bug) -> bool {
    false
}
