//! What a history is to be judged by.

use std::collections::BTreeSet;

/// What clients and topics promise, and so what counts as an anomaly. As it is made: every producer is idempotent and
/// waits for all replicas, consumers read uncommitted records, no log may lose a suffix, none is compacted, and a
/// history may end before everything was read.
///
/// ```
/// use brooklet::sim::history::Rules;
///
/// let rules = Rules::new()
///     .read_committed(true)
///     .uncommitted_reader("auditor") // all but this one
///     .plain_producer("sensor")
///     .compacted("table")
///     .all_read(true);
/// ```
#[derive(Clone, Debug)]
#[must_use = "rules do nothing until a history is checked by them"]
pub struct Rules {
    idempotent: bool,
    read_committed: bool,
    pub(super) all_read: bool,
    plain: BTreeSet<String>,
    uncommitted: BTreeSet<String>,
    weak: BTreeSet<String>,
    compacted: BTreeSet<String>,
    lossy: BTreeSet<String>,
    delivered: BTreeSet<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            idempotent: true,
            read_committed: false,
            all_read: false,
            plain: BTreeSet::new(),
            uncommitted: BTreeSet::new(),
            weak: BTreeSet::new(),
            compacted: BTreeSet::new(),
            lossy: BTreeSet::new(),
            delivered: BTreeSet::new(),
        }
    }
}

impl Rules {
    /// The rules for idempotent producers and consumers of `read_uncommitted`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether producers are idempotent (`enable.idempotence`): duplicates are anomalies, or else only counted.
    /// Default: yes.
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }

    /// Names a client whose sends may be doubled, although producers are idempotent.
    pub fn plain_producer(mut self, client: impl Into<String>) -> Self {
        self.plain.insert(client.into());
        self
    }

    /// Whether consumers read at `isolation.level=read_committed`. Default: no.
    pub fn read_committed(mut self, read_committed: bool) -> Self {
        self.read_committed = read_committed;
        self
    }

    /// Names a client that reads uncommitted records, although consumers read at `read_committed`.
    pub fn uncommitted_reader(mut self, client: impl Into<String>) -> Self {
        self.uncommitted.insert(client.into());
        self
    }

    /// Names a client whose acknowledged sends may be lost: it sends with `acks=0` or `1`, and leaders may fail. Its
    /// acknowledgements are taken to say nothing.
    pub fn weak_acks(mut self, client: impl Into<String>) -> Self {
        self.weak.insert(client.into());
        self
    }

    /// Names a topic with `cleanup.policy=compact`: a record may be gone once there is a later one of its key.
    pub fn compacted(mut self, topic: impl Into<String>) -> Self {
        self.compacted.insert(topic.into());
        self
    }

    /// Names a topic that may lose a suffix where the history says so, by
    /// [`Recorder::lost_suffix`](super::Recorder::lost_suffix): one with a flush policy of `interval` or `os`.
    pub fn lossy(mut self, topic: impl Into<String>) -> Self {
        self.lossy.insert(topic.into());
        self
    }

    /// Names a group whose members begin at the log start, and commit only what polls have returned: every record below
    /// what one of them commits was returned to one of them before
    /// ([`CommitSkip`](super::AnomalyKind::CommitSkip)).
    pub fn all_delivered(mut self, group: impl Into<String>) -> Self {
        self.delivered.insert(group.into());
        self
    }

    /// Whether everything was read to the end at last, so that whatever was not is an anomaly
    /// ([`Unseen`](super::AnomalyKind::Unseen)), or else only counted. Default: no.
    pub fn all_read(mut self, all_read: bool) -> Self {
        self.all_read = all_read;
        self
    }

    pub(super) fn is_idempotent(&self, client: &str) -> bool {
        self.idempotent && !self.plain.contains(client)
    }

    pub(super) fn reads_committed(&self, client: &str) -> bool {
        self.read_committed && !self.uncommitted.contains(client)
    }

    pub(super) fn has_weak_acks(&self, client: &str) -> bool {
        self.weak.contains(client)
    }

    pub(super) fn is_compacted(&self, topic: &str) -> bool {
        self.compacted.contains(topic)
    }

    pub(super) fn has_all_delivered(&self, group: &str) -> bool {
        self.delivered.contains(group)
    }

    pub(super) fn is_lossy(&self, topic: &str) -> bool {
        self.lossy.contains(topic)
    }
}
