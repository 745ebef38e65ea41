//! Known bugs, to be planted one at a time: a test-suite is worth what it notices.
//!
//! Built with `--cfg planted`, the crate has the bug that the environment variable `PLANTED` names. Without, nothing of
//! this is left. `tests/planted/run` plants one after another, and says which suite noticed.

/// A bug that was made somewhere, by somebody.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bug {
    /// A batch is acknowledged when it is written.
    AckedBeforeSync,
    /// `acks=all` is answered when the leader has the batch.
    AckedByLeader,
    /// A member begins to read before it is decided what was committed by who had the partition.
    BegunBeforeDecided,
    /// No checksum is ever wrong.
    ChecksumsFit,
    /// A controller that could not record something goes on.
    ControllerStays,
    /// What is cut off may be back after a power cut.
    CutNotSynced,
    /// A follower whose log was cut takes it for a part of its leader's.
    CutOnce,
    /// A follower begins with a cut to its high watermark (before KIP-101).
    CutToWatermark,
    /// A log is cut at its first bad batch, wherever that is.
    DamageIsCut,
    /// Records are gone for readers before their deletion is on disk.
    DeletedBeforeRecorded,
    /// What is deleted keeps its name until it is gone.
    DeletedByName,
    /// A follower counts up to where it asks, before it is known that its log is a part of the leader's.
    DivergingIsHeard,
    /// A sync speaks for what was written while it was under way.
    EndAfterSync,
    /// The end of a log is moved before the bytes are there.
    EndBeforeBytes,
    /// An epoch begins with the first batch of its leader.
    EpochNotBegun,
    /// Of a follower's epoch that the leader does not know only its end is looked at (before KIP-279).
    EpochsUnknownPass,
    /// A write is said not to have happened though it could not be taken back.
    FailedCutIgnored,
    /// Metadata wait for a follower whose disk has failed.
    FailedMembersCount,
    /// A follower has what it has written.
    FollowersUnsynced,
    /// Who has lost a partition goes on committing for it.
    FormerOwnersCommit,
    /// What a member is to give up is free before it has.
    FreedBeforeGivenUp,
    /// An index entry is believed without a look at the batch that it points to.
    IndexBelieved,
    /// Who is about to be in sync is not waited for.
    JoinersNotCounted,
    /// A follower is in sync that has not reached where its leader's epoch began.
    JoinsBelowEpoch,
    /// A follower is in sync that has not reached the high watermark.
    JoinsBelowWatermark,
    /// What recovery finds in the page cache counts as durable.
    KeptNotRewritten,
    /// Who is out of sync is not waited for, before that is recorded.
    LeaversNotCounted,
    /// A batch is as long as it says.
    LengthsBelieved,
    /// The clean marker is written though a log could not be recovered.
    MarkerAfterFailure,
    /// The clean marker may be back after a power cut.
    MarkerRemovalNotSynced,
    /// How many are in sync is looked at before a batch is written, and not again.
    MinIsrAtFirst,
    /// A new file's name is not synced.
    NamesNotSynced,
    /// After a failed sync a log goes on.
    OfflineIgnored,
    /// What is committed counts before it is in the log for good.
    OffsetsBeforeLog,
    /// Offsets too far from their segment's base wrap around.
    OffsetsWrap,
    /// A leader says who is in sync when another leads.
    OlderLeaderAlters,
    /// What a follower said in an earlier life counts.
    OlderLivesCount,
    /// What a follower said in an earlier term counts.
    OlderTermsCount,
    /// One that is not in sync is elected, though nobody asked for it.
    OutOfSyncElected,
    /// Records are acknowledged in a log that does not say, durably, whose it is.
    OwnerNotSynced,
    /// Old offsets are forgotten though others are on their way.
    PendingForgotten,
    /// No batch is in the wrong place.
    PlacesUnchecked,
    /// What polls have not returned yet is committed with what they have.
    PositionsAhead,
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
    /// Leader epochs do not rise when the cluster is opened.
    TermsStay,
    /// Readers of committed records do not wait for transactions to end.
    UndecidedIsRead,
    /// What a follower has synced counts in a term in which it was not served yet.
    UnverifiedCounts,
    /// Who leaves the syncer's role does not look at what was written meanwhile.
    WaitersForgotten,
    /// A follower's high watermark is its leader's, whether it has what is below or not.
    WatermarkAhead,
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
