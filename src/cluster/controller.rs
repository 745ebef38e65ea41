//! The controller: the one who changes the metadata.
//!
//! No thread runs it. A caller with changes puts them in the queue; whoever finds the role free takes all there are,
//! records them in one batch of the metadata log, or several if they are many, applies them when the batch is on disk,
//! and answers. If the broker that leads the metadata log is gone by then, another takes office first.
//!
//! # Invariants
//! - What is published was synced by every member of the metadata log: nobody acts on metadata that a crash could take
//!   back.
//! - `next` is what is published, and while a batch is being recorded it is ahead by that batch.
//! - Only a controller in office records changes, and who could not record something is in office no more. So nothing comes
//!   into a log behind what was not published.
//! - A deleted topic is gone from the stores before its name is free.
//! - When a change is answered, the replicas that are open know of it.
//! - No lock is held while the batch is written and synced; the role keeps others out. It is left before replicas are
//!   told: those whom they answer may do anything, even ask for a change.

mod term;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::base::{BrokerId, Bug, Offset, PartitionId, TopicId, is_planted};
use crate::cluster::brokers::Brokers;
use crate::cluster::change::{Change, Surroundings};
use crate::cluster::election::AlterIsrError;
use crate::cluster::events::{Events, MetadataListener};
use crate::cluster::metadata::{Image, MetadataRecord, TopicImage};
use crate::cluster::metadata_log::{MetadataLog, damaged};
use crate::cluster::store::random_id;
use crate::cluster::{BrokerConfig, ClusterError, ProducerIds};
use crate::env::sync::{Event, Mutex, RwLock};
use crate::env::{Moment, Runtime};
use crate::replica::ProduceError;
use crate::storage::StorageError;

/// Bytes of records that are recorded as one batch, if they can be more than one.
const MAX_BATCH_BYTES: usize = 256 << 10;

/// What a change came to: the topic as it is, or was, if it was about one.
pub(crate) type Changed = Result<Option<Arc<TopicImage>>, ClusterError>;

#[derive(Debug)]
struct Proposal {
    change: Change,
    result: OnceLock<Changed>,
    answered: Event,
}

/// Changes the metadata and publishes its image.
#[derive(Debug)]
pub(crate) struct Controller {
    log: MetadataLog,
    brokers: Arc<Brokers>,
    runtime: Arc<dyn Runtime>,
    queue: Mutex<Queue>,
    /// Notified whenever the role becomes free once no more changes are made.
    role_left: Event,
    published: Arc<RwLock<Image>>,
    /// Counts what was published.
    version: AtomicU64,
    /// Notified when more is published, and by [`Controller::look_again`].
    changed: Event,
    /// For the one who has the role.
    next: Mutex<Next>,
    config: Arc<BrokerConfig>,
    producer_ids: OnceLock<Arc<ProducerIds>>,
    events: Events,
    listener: OnceLock<Arc<dyn MetadataListener>>,
    /// Whoever opened the cluster has accepted the loss of what is missing.
    accept_loss: bool,
}

#[derive(Debug)]
struct Next {
    image: Image,
    /// Up to where the log is in what is published.
    applied: Offset,
}

#[derive(Debug, Default)]
struct Queue {
    proposals: Vec<Arc<Proposal>>,
    /// Somebody has the controller's role.
    busy: bool,
    /// No more changes are made.
    closed: bool,
}

/// Partitions of which the replicas are to be told.
#[derive(Debug, Default)]
struct Effects {
    partitions: Vec<(TopicId, PartitionId)>,
    /// All of them.
    all: bool,
}

impl Controller {
    /// Of brokers whose metadata logs were opened, and of which nobody leads yet: see [`Controller::open`].
    pub(super) fn new(
        brokers: Arc<Brokers>,
        published: Arc<RwLock<Image>>,
        config: Arc<BrokerConfig>,
        runtime: Arc<dyn Runtime>,
        accept_loss: bool,
    ) -> Self {
        let image = published.read().clone();
        Self {
            log: MetadataLog::new(Arc::clone(&brokers), Arc::clone(&runtime), &config),
            brokers,
            queue: Mutex::default(),
            role_left: Event::new(),
            published,
            version: AtomicU64::new(0),
            changed: Event::new(),
            next: Mutex::new(Next { image, applied: Offset::ZERO }),
            config,
            producer_ids: OnceLock::new(),
            events: Events::new(Arc::clone(&runtime)),
            listener: OnceLock::new(),
            accept_loss,
            runtime,
        }
    }

    pub(crate) fn log(&self) -> &MetadataLog {
        &self.log
    }

    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// Tells `listener` of every change from now on, if it is the first to listen.
    pub(crate) fn listen(&self, listener: Arc<dyn MetadataListener>) {
        let _first = self.listener.set(listener);
    }

    /// Ids for producers.
    pub(crate) fn producer_ids(&self) -> &Arc<ProducerIds> {
        if let Some(ids) = self.producer_ids.get() {
            return ids;
        }
        // No lock may be taken while the cell is filled.
        let epoch = self.published.read().controller_epoch();
        self.producer_ids.get_or_init(|| Arc::new(ProducerIds::new(epoch)))
    }

    /// The metadata, for who outlives the controller.
    pub(crate) fn published(&self) -> Arc<RwLock<Image>> {
        Arc::clone(&self.published)
    }

    /// Looks at the metadata.
    pub(crate) fn with_image<T>(&self, look: impl FnOnce(&Image) -> T) -> T {
        look(&self.published.read())
    }

    /// Rises with every change that is published. Whoever sees a change sees that it has risen.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Has those who wait for a successor look for one again.
    pub(super) fn look_again(&self) {
        self.changed.notify(usize::MAX);
    }

    /// Waits until `deadline` for a broker beside the controller's, `broker`, that runs and knows all of the metadata, if
    /// there can be one.
    pub(super) fn await_successor(&self, broker: BrokerId, deadline: Option<Moment>) {
        loop {
            let listener = self.changed.listen();
            let is_other = |id: &BrokerId| *id != broker && self.brokers.is_alive(*id);
            let (recorded, counted) =
                (self.with_image(|image| image.members().to_vec()), self.log.members());
            let is_successor = |id: &BrokerId| is_other(id) && counted.contains(id);
            let is_needed =
                self.log.is_leader_well() && self.log.controller().is_some_and(|c| c.0 == broker);
            if !is_needed
                || recorded.iter().any(is_successor)
                || !self.brokers.alive().iter().any(is_other)
            {
                return;
            }
            if !self.runtime.park(listener, deadline) {
                log::warn!("broker {broker} stops, and no other knows all of the metadata yet");
                return;
            }
        }
    }

    /// Makes a change and returns when it is durable, and known to the replicas.
    pub(crate) fn submit(&self, change: Change) -> Changed {
        let proposal = Proposal::new(change);
        self.queue.lock().proposals.push(Arc::clone(&proposal));
        self.wait(&proposal)
    }

    /// Makes changes, each on its own, and returns when they are durable.
    pub(crate) fn submit_all(&self, changes: impl IntoIterator<Item = Change>) -> Vec<Changed> {
        let proposals = changes.into_iter().map(Proposal::new).collect::<Vec<_>>();
        self.queue.lock().proposals.extend(proposals.iter().cloned());
        proposals.iter().map(|proposal| self.wait(proposal)).collect()
    }

    fn wait(&self, proposal: &Proposal) -> Changed {
        loop {
            let listener = proposal.answered.listen();
            if let Some(result) = proposal.result.get() {
                return result.clone();
            }
            if !self.run() && proposal.result.get().is_none() {
                self.runtime.park(listener, None);
            }
        }
    }

    /// Works off the queue. `false` if somebody else is at it, who looks at the queue again before leaving.
    fn run(&self) -> bool {
        loop {
            let (proposals, closed) = {
                let mut queue = self.queue.lock();
                if queue.busy {
                    return false;
                }
                if queue.proposals.is_empty() {
                    return true;
                }
                queue.busy = true;
                (std::mem::take(&mut queue.proposals), queue.closed)
            };
            let mut role =
                Role { controller: self, proposals, results: None, effects: Effects::default() };
            let results = match closed {
                true => role.proposals.iter().map(|_| Err(ClusterError::Closed)).collect(),
                false => self.process(&role.proposals, &mut role.effects),
            };
            role.results = Some(results);
        }
    }

    /// Takes no more changes, and waits for those under way.
    pub(crate) fn close(&self) {
        loop {
            let listener = self.role_left.listen();
            {
                let mut queue = self.queue.lock();
                queue.closed = true;
                if !queue.busy {
                    return;
                }
            }
            self.runtime.park(listener, None);
        }
    }

    /// Makes changes, as many at a time as fit into a batch.
    fn process(&self, proposals: &[Arc<Proposal>], effects: &mut Effects) -> Vec<Changed> {
        let mut results = Vec::with_capacity(proposals.len());
        let mut lost = None::<Lost>;
        while let Some(rest) = proposals.get(results.len()..).filter(|rest| !rest.is_empty()) {
            let lost_before = lost.take();
            let found = match self.see_to_office(effects) {
                Ok(found) => found,
                Err(error) => {
                    // Whoever takes office later may have in its log what was lost.
                    results.extend(lost_before.into_iter().flat_map(Lost::not_recorded));
                    results.resize_with(proposals.len(), || Err(error.clone()));
                    break;
                }
            };
            let is_second_try = lost_before.is_some();
            if let Some(mut lost) = lost_before.filter(|lost| lost.is_in(&found)) {
                results.append(&mut lost.made);
                continue;
            }
            let (batch, made) = self.prepare_batch(rest, effects);
            match self.record(rest, &made, &batch, effects) {
                Ok(()) => results.extend(made),
                Err(error) => {
                    let failed = Lost { records: batch.records, made, error };
                    match failed.error.is_of_leader() && !is_second_try {
                        true => lost = Some(failed),
                        false => results.extend(failed.not_recorded()),
                    }
                }
            }
        }
        results
    }

    /// Prepares as many of these changes as fit into a batch, or as can be made in one term.
    fn prepare_batch(
        &self,
        proposals: &[Arc<Proposal>],
        effects: &mut Effects,
    ) -> (Batch, Vec<Changed>) {
        let (mut batch, mut made) = (Batch::default(), Vec::new());
        for proposal in proposals {
            self.leave_out(&proposal.change);
            let is_led = self.log.is_led();
            // What was prepared is for the log of this term.
            if !is_led && !made.is_empty() {
                break;
            }
            if !is_led && let Err(error) = self.see_to_office(effects) {
                made.push(Err(error));
                continue;
            }
            if let Change::OutliveController(epoch) = &proposal.change {
                if !made.is_empty() {
                    break;
                }
                made.push(self.outlive(*epoch, effects).map(|()| None));
                continue;
            }
            self.note_members(&mut batch);
            made.push(self.prepare(&proposal.change, &mut batch));
            if batch.bytes > MAX_BATCH_BYTES {
                break;
            }
        }
        (batch, made)
    }

    /// A broker that is lost has nothing more to record.
    fn leave_out(&self, change: &Change) {
        if let Change::BrokerLost(broker) | Change::RemoveBroker(broker) = change {
            self.log.lose_members(&[*broker]);
        }
    }

    /// If others have to have each record than the log says, that is recorded too.
    fn note_members(&self, batch: &mut Batch) {
        let members = self.log.members();
        let mut next = self.next.lock();
        if next.image.members() != members && !members.is_empty() {
            let record = MetadataRecord::MembersChanged { members };
            match next.image.apply(&record) {
                Ok(()) => batch.add(record),
                Err(reason) => log::error!("the members were not noted: {reason}"),
            }
        }
    }

    /// Records what was prepared, removes what was deleted, and publishes it.
    fn record(
        &self,
        proposals: &[Arc<Proposal>],
        results: &[Changed],
        batch: &Batch,
        effects: &mut Effects,
    ) -> Result<(), ProduceError> {
        if batch.records.is_empty() {
            return Ok(());
        }
        self.log.commit(&batch.values).inspect_err(|_| {
            // It may be in the log, and known to nobody: whoever reads that in office knows.
            if !is_planted(Bug::ControllerStays) {
                self.log.resign();
            }
            self.next.lock().image = self.published.read().clone();
        })?;
        for (proposal, result) in proposals.iter().zip(results) {
            if let (Change::DeleteTopic(..), Ok(Some(topic))) = (&proposal.change, result) {
                self.delete_topic(topic);
            }
        }
        self.publish(&batch.records, effects);
        Ok(())
    }

    fn delete_topic(&self, topic: &TopicImage) {
        for store in self.brokers.stores() {
            if let Err(error) = store.delete_topic(topic) {
                // It is deleted all the same.
                log::warn!("files of the deleted topic {} are left: {error}", topic.name);
            }
        }
    }

    fn publish(&self, records: &[MetadataRecord], effects: &mut Effects) {
        let mut events = Vec::new();
        {
            let mut published = self.published.write();
            for record in records {
                events.extend(Events::of(record, &published));
                let applied = published.apply(record);
                assert!(applied.is_ok(), "a record that was applied once cannot be: {applied:?}");
                if let MetadataRecord::PartitionChanged { id, partition, .. } = record {
                    effects.partitions.push((*id, *partition));
                }
            }
            self.version.fetch_add(1, Ordering::AcqRel);
        }
        if let Some(end) = self.log.end() {
            self.next.lock().applied = end;
        }
        self.look_again();
        self.events.tell(events);
    }

    /// Checks one change against what there is and what was prepared, and adds its records.
    fn prepare(&self, change: &Change, batch: &mut Batch) -> Changed {
        let quorum = self.log.quorum();
        let mut next = self.next.lock();
        let surroundings = Surroundings {
            brokers: &self.brokers,
            config: &self.config,
            id: random_id(&*self.runtime),
            accept_loss: self.accept_loss,
            quorum: &quorum,
        };
        let prepared = surroundings.prepare(change, &next.image)?;
        let before = prepared.topic.and_then(|id| next.image.by_id(id).cloned());
        for record in prepared.records {
            if let MetadataRecord::MembersChanged { members } = &record
                // Those who are to go would not record it, and those who come have to.
                && !self.log.set_members(members.clone(), quorum.version)
            {
                let (asked, current) = (quorum.version, self.log.quorum().version);
                return Err(AlterIsrError::InvalidUpdateVersion { asked, current }.into());
            }
            let applied = next.image.apply(&record);
            applied.map_err(|reason| match self.log.leader() {
                Some(log) => ClusterError::from(damaged(&log, &reason)),
                None => ClusterError::NoController,
            })?;
            batch.add(record);
        }
        Ok(prepared.topic.and_then(|id| next.image.by_id(id).cloned().or(before)))
    }

    /// Has the replicas know of what was published.
    fn tell_replicas(&self, effects: &Effects) {
        let current = |id| self.with_image(|image| image.by_id(id).cloned());
        let leader = |id, partition| current(id)?.partition(partition)?.leader;
        // The leaders last: they wake their followers, who are to know by then whom to ask.
        for of_leaders in [false, true] {
            for store in self.brokers.stores() {
                let partitions = match effects.all {
                    true => store.open_partitions(),
                    false => effects.partitions.clone(),
                };
                for (id, partition) in partitions {
                    if (leader(id, partition) == Some(store.broker())) == of_leaders {
                        store.assume(id, partition, || current(id));
                    }
                }
            }
        }
    }
}

/// Records that will be one batch.
#[derive(Debug, Default)]
struct Batch {
    records: Vec<MetadataRecord>,
    /// The records encoded, and the bytes in all of them.
    values: Vec<Bytes>,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, record: MetadataRecord) {
        let value = record.encode();
        self.bytes += value.len();
        self.values.push(value);
        self.records.push(record);
    }
}

/// A batch that could not be recorded.
struct Lost {
    records: Vec<MetadataRecord>,
    /// What its changes come to, if it is in the log all the same.
    made: Vec<Changed>,
    error: ProduceError,
}

impl Lost {
    /// Whether it is among these records.
    fn is_in(&self, found: &[MetadataRecord]) -> bool {
        found.windows(self.records.len()).any(|records| records == self.records)
    }

    /// For those who asked: it is not known whether it is in the log.
    fn not_recorded(self) -> impl Iterator<Item = Changed> {
        let Self { made, error, .. } = self;
        made.into_iter()
            .map(move |made| made.and_then(|_| Err(ClusterError::NotRecorded(error.clone()))))
    }
}

impl Proposal {
    fn new(change: Change) -> Arc<Self> {
        Arc::new(Self { change, result: OnceLock::new(), answered: Event::new() })
    }
}

/// Given back, and its proposals answered, on every way out.
struct Role<'a> {
    controller: &'a Controller,
    proposals: Vec<Arc<Proposal>>,
    results: Option<Vec<Changed>>,
    effects: Effects,
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        let controller = self.controller;
        if self.results.is_none()
            && let Some(log) = controller.log.leader()
        {
            // After a panic nobody knows how far it came: what is published may not be what was recorded.
            log.log().take_offline();
        }
        let (closed, left) = {
            let mut queue = controller.queue.lock();
            queue.busy = false;
            let left = if self.results.is_none() { queue.proposals.clone() } else { Vec::new() };
            (queue.closed, left)
        };
        // Nobody looks at the queue again on the way out of a panic: those who wait are to do it themselves.
        left.iter().for_each(|proposal| _ = proposal.answered.notify(usize::MAX));
        if closed {
            controller.role_left.notify(usize::MAX);
        }
        controller.tell_replicas(&self.effects);
        if let Some(listener) = controller.listener.get() {
            listener.metadata_changed();
        }
        let mut results = self.results.take().unwrap_or_default().into_iter();
        for proposal in &self.proposals {
            let panicked =
                || Err(ClusterError::NotRecorded(ProduceError::Sync(offline(controller))));
            let _first = proposal.result.set(results.next().unwrap_or_else(panicked));
            proposal.answered.notify(usize::MAX);
        }
    }
}

fn offline(controller: &Controller) -> StorageError {
    match controller.log.leader() {
        Some(log) => StorageError::Offline { partition: log.partition().clone() },
        None => {
            StorageError::damaged(std::path::Path::new("__brooklet_metadata-0"), "it has no leader")
        }
    }
}
