//! `__brooklet_metadata` on all brokers: who leads it is the controller.
//!
//! It is replicated as every partition is, with three differences: what is in it decides who leads it; a record counts
//! when every *member* has synced it, so that any member alone knows all that was published; and whoever stalls is
//! removed in time, because nothing could be recorded otherwise, its removal included.
//!
//! # Invariants
//! - A member is removed in memory before its removal is recorded, and added in memory before its addition is: so a
//!   record never counts that is missing on somebody whom the log names a member, unless that one is about to be removed
//!   by a record behind it. Whoever opens the stores again needs all members that the newest log names, and finds either
//!   that record or the others with what counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::{Bytes, BytesMut};

use crate::base::{Acks, BrokerId, LeaderEpoch, Offset, TopicId};
use crate::cluster::brokers::Brokers;
use crate::cluster::metadata::{Image, MetadataRecord};
use crate::cluster::{BrokerConfig, ClusterError};
use crate::env::Runtime;
use crate::env::sync::{Event, Mutex};
use crate::record::{Batch, BatchBuilder, BatchError, CloseOptions};
use crate::record::{EncodedBatch, Limits, RecordFields};
use crate::replica::{Append, Completion, PartitionState, ProduceError, Refusal, Replica};
use crate::storage::{AppendOrigin, Appended, ReadError, StorageError};

/// The metadata topic's id: the same in every cluster.
pub(crate) const METADATA_ID: TopicId = TopicId::from_bytes(*b"brookletmetadata");

/// The metadata log, wherever it is.
#[derive(Debug)]
pub(crate) struct MetadataLog {
    brokers: Arc<Brokers>,
    runtime: Arc<dyn Runtime>,
    /// How long a member may take to record something.
    patience: Duration,
    max_lag: Duration,
    /// The replica that leads.
    leader: ArcSwapOption<Replica>,
    quorum: Mutex<Quorum>,
    /// The controller has recorded that it is one.
    in_office: AtomicBool,
}

/// Who leads, and who has to have each record.
#[derive(Clone, Debug)]
pub(super) struct Quorum {
    pub(super) controller: Option<BrokerId>,
    pub(super) epoch: i32,
    pub(super) members: Vec<BrokerId>,
    /// Counts the changes of this.
    pub(super) version: i32,
}

impl MetadataLog {
    pub(super) fn new(
        brokers: Arc<Brokers>,
        runtime: Arc<dyn Runtime>,
        config: &BrokerConfig,
    ) -> Self {
        let quorum = Quorum { controller: None, epoch: 0, members: Vec::new(), version: 0 };
        Self {
            brokers,
            runtime,
            patience: config.session_timeout.min(config.replica_lag_max),
            max_lag: config.replica_lag_max.min(config.session_timeout),
            leader: ArcSwapOption::empty(),
            quorum: Mutex::new(quorum),
            in_office: AtomicBool::new(false),
        }
    }

    pub(super) fn quorum(&self) -> Quorum {
        self.quorum.lock().clone()
    }

    /// The broker that is the controller, and since which epoch.
    pub(crate) fn controller(&self) -> Option<(BrokerId, i32)> {
        let quorum = self.quorum.lock();
        quorum.controller.map(|broker| (broker, quorum.epoch))
    }

    /// Of the latest controller.
    pub(super) fn epoch(&self) -> i32 {
        self.quorum.lock().epoch
    }

    pub(super) fn members(&self) -> Vec<BrokerId> {
        self.quorum.lock().members.clone()
    }

    /// Whether the controller is in office, and its log takes records.
    pub(super) fn is_led(&self) -> bool {
        self.in_office.load(Ordering::SeqCst) && self.is_leader_well()
    }

    /// Whether the controller's broker is there, in office or not, and its log takes records.
    pub(super) fn is_leader_well(&self) -> bool {
        let is_well = |replica: &Arc<Replica>| {
            !replica.log().is_offline()
                && replica.ended().is_none()
                && self.brokers.is_alive(replica.broker())
        };
        self.leader.load().as_ref().is_some_and(is_well)
    }

    /// That it took office is recorded.
    pub(super) fn confirm(&self) {
        self.in_office.store(true, Ordering::SeqCst);
    }

    /// The controller does not know what its log has, or cannot add to it.
    pub(super) fn resign(&self) {
        self.in_office.store(false, Ordering::SeqCst);
    }

    /// Has `leader` lead, for a term that it has not had, with these members. To be confirmed.
    pub(super) fn appoint(&self, leader: &Arc<Replica>, epoch: i32, members: Vec<BrokerId>) {
        self.in_office.store(false, Ordering::SeqCst);
        {
            let mut quorum = self.quorum.lock();
            let version = quorum.version + 1;
            *quorum = Quorum { controller: Some(leader.broker()), epoch, members, version };
        }
        self.leader.store(Some(Arc::clone(leader)));
        self.tell_replicas();
    }

    /// Nobody leads any more.
    pub(super) fn depose(&self) {
        self.quorum.lock().controller = None;
        self.leader.store(None);
    }

    /// Counts on these members from now on, unless something has changed since `version`: whoever was lost then is not to
    /// be waited for again. Returns whether it does.
    pub(super) fn set_members(&self, members: Vec<BrokerId>, version: i32) -> bool {
        {
            let mut quorum = self.quorum.lock();
            if quorum.version != version {
                return false;
            }
            quorum.members = members;
            quorum.version += 1;
        }
        self.tell_replicas();
        true
    }

    /// Nobody could begin a term: nothing was published without these.
    pub(super) fn restore_members(&self, members: &[BrokerId]) {
        let mut quorum = self.quorum.lock();
        quorum.members = members.to_vec();
        quorum.version += 1;
    }

    /// Members that record nothing are waited for no longer. The controller stays.
    pub(super) fn lose_members(&self, lost: &[BrokerId]) {
        {
            let mut quorum = self.quorum.lock();
            let controller = quorum.controller;
            let is_lost = |id: &BrokerId| lost.contains(id) && controller != Some(*id);
            if !quorum.members.iter().any(is_lost) || quorum.members.iter().all(is_lost) {
                return;
            }
            quorum.members.retain(|id| !is_lost(id));
            quorum.version += 1;
        }
        if let Some(leader) = &*self.leader.load() {
            // They may have been about to join: those are waited for, too.
            leader.proposal_failed();
        }
        self.tell_replicas();
    }

    /// Has every broker's replica know who leads, the leader's last: it finds followers that know.
    pub(super) fn tell_replicas(&self) {
        let Some(state) = self.state() else { return };
        let replicas = self.brokers.stores().into_iter().filter_map(|store| store.metadata());
        let (leaders, others): (Vec<_>, Vec<_>) =
            replicas.partition(|replica| Some(replica.broker()) == state.leader);
        for replica in others.iter().chain(&leaders) {
            replica.assume(state.clone());
        }
    }

    /// What replicas are to know, if there is a controller.
    pub(super) fn state(&self) -> Option<PartitionState> {
        let Quorum { controller, epoch, members, version } = self.quorum.lock().clone();
        let all = self.brokers.all().into_iter().map(|broker| broker.id);
        Some(PartitionState {
            replicas: all.collect(),
            isr: members,
            leader: Some(controller?),
            leader_epoch: LeaderEpoch::new(epoch)?,
            partition_epoch: version,
            min_isr: 1,
            config_epoch: 0,
            max_lag: self.max_lag,
        })
    }

    /// Appends records with these values as one batch, and returns when every member has it on disk. Members that take
    /// too long are members no more.
    pub(super) fn commit(&self, values: &[Bytes]) -> Result<(), ProduceError> {
        let log = self.leader.load_full().ok_or(ProduceError::NotLeader)?;
        let written = Arc::new(Written::default());
        let batch = encode(values, &*self.runtime)?;
        let completion = Arc::clone(&written) as _;
        let origin = AppendOrigin::Client;
        log.enqueue(Append { batch, origin, acks: Acks::All, completion })
            .map_err(|unqueued| unqueued.error)?;
        let mut deadline = self.runtime.now().after(self.patience);
        loop {
            let listener = written.event.listen();
            if let Some(result) = written.result.get() {
                return result.clone();
            }
            log.help();
            if written.result.get().is_none() && !self.runtime.park(listener, deadline) {
                self.leave_behind(&log);
                deadline = self.runtime.now().after(self.patience);
            }
        }
    }

    /// Goes on without the members that have not recorded what the controller has.
    fn leave_behind(&self, log: &Replica) {
        let members = self.members().into_iter();
        let late = members.filter(|id| *id != log.broker() && !log.has_all(*id));
        let late = late.collect::<Vec<_>>();
        // Whoever was about to join is waited for no longer either: that it joins is to be recorded behind this.
        log.proposal_failed();
        // If nobody is late, it is the controller's own disk that is slow.
        if !late.is_empty() {
            log::warn!(
                "brokers {late:?} do not record metadata in time: the cluster goes on without"
            );
            self.lose_members(&late);
        }
        log.wait_no_longer();
    }

    /// Adds up the records of a broker's log.
    pub(super) fn replay(log: &Replica, broker: &Arc<BrokerConfig>) -> Result<Image, ClusterError> {
        let mut image = Image::new(Arc::clone(broker));
        Self::replay_from(log, log.log().start(), &mut image, |_, _| {})?;
        Ok(image)
    }

    /// Applies what is in a broker's log from `from` on, after `each` has seen it. Returns where it ends.
    pub(super) fn replay_from(
        log: &Replica,
        from: Offset,
        image: &mut Image,
        mut each: impl FnMut(&Image, &MetadataRecord),
    ) -> Result<Offset, ClusterError> {
        const MAX_BYTES: usize = 1 << 20;
        let unreadable = |e: ReadError| ClusterError::from(damaged(log, &e.to_string()));
        let mut next = from;
        loop {
            let fetched = log.log().read(next, MAX_BYTES, log.log().end()).map_err(unreadable)?;
            let Some(last) = fetched.batches.last() else { return Ok(next) };
            let end = last.header().next_offset();
            for batch in fetched.batches.iter().filter(|b| b.header().base_offset() >= next) {
                apply_batch(image, batch, &mut each).map_err(|reason| damaged(log, &reason))?;
            }
            next = end;
        }
    }

    /// Where the controller's log ends.
    pub(super) fn end(&self) -> Option<Offset> {
        self.leader.load().as_ref().map(|log| log.log().end())
    }

    pub(super) fn leader(&self) -> Option<Arc<Replica>> {
        self.leader.load_full()
    }
}

/// Applies the records of a batch of the metadata log, after `each` has seen them.
pub(super) fn apply_batch(
    image: &mut Image,
    batch: &Batch,
    mut each: impl FnMut(&Image, &MetadataRecord),
) -> Result<(), String> {
    let checked = batch.verify_crc().and_then(|()| batch.decode(&Limits::default()));
    for record in checked.map_err(|e| e.to_string())?.iter() {
        let decoded = record.value.and_then(MetadataRecord::decode);
        let applied = decoded.ok_or("it is no metadata record".to_owned());
        applied
            .and_then(|record| {
                each(image, &record);
                image.apply(&record)
            })
            .map_err(|reason| format!("the record at {}: {reason}", record.offset))?;
    }
    Ok(())
}

pub(super) fn damaged(log: &Replica, reason: &str) -> StorageError {
    StorageError::damaged(std::path::Path::new(&log.partition().directory_name()), reason)
}

fn encode(values: &[Bytes], runtime: &dyn Runtime) -> Result<EncodedBatch, BatchError> {
    let now = runtime.wall_clock();
    let mut builder = BatchBuilder::new(BytesMut::new());
    for value in values {
        let fields =
            RecordFields { timestamp: Some(now), key: None, value: Some(value), headers: &[] };
        builder.append(&fields)?;
    }
    builder.close(&CloseOptions::default())
}

#[derive(Default)]
struct Written {
    result: OnceLock<Result<(), ProduceError>>,
    event: Event,
}

impl Completion for Written {
    fn complete(self: Arc<Self>, result: Result<Appended, Refusal>) {
        let _first = self.result.set(result.map(drop).map_err(|refused| refused.error));
    }

    fn tell(&self) {
        self.event.notify(usize::MAX);
    }

    fn hand_over(&self) -> bool {
        self.event.notify(1) > 0
    }
}
