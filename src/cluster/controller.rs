//! The controller: the one who changes the metadata.
//!
//! No thread runs it. A caller with changes puts them in the queue; whoever finds the role free takes all there are,
//! records them in one batch of the metadata log, or several if they are many, applies them when the batch is on disk,
//! and answers.
//!
//! # Invariants
//! - What is published was synced: nobody acts on metadata that a crash could take back.
//! - `next` is what is published, and while a batch is being recorded it is ahead by that batch.
//! - A deleted topic is gone from the store before its name is free.
//! - No lock is held while the batch is written and synced; the role keeps others out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};

use crate::base::{Acks, IsolationLevel, Offset, PartitionId, TopicId, TopicName};
use crate::cluster::metadata::{Image, MAX_PARTITIONS, MetadataRecord, TopicImage};
use crate::cluster::store::{Store, random_id};
use crate::cluster::topic_config::{ConfigChange, TopicConfig};
use crate::cluster::{BrokerConfig, ClusterError, ProducerIds};
use crate::env::Runtime;
use crate::env::sync::{Event, Mutex, RwLock};
use crate::record::{Batch, BatchBuilder, BatchError, CloseOptions};
use crate::record::{EncodedBatch, Limits, RecordFields};
use crate::replica::{Append, Completion, ProduceError, Refusal, Replica};
use crate::storage::{AppendOrigin, Appended, ReadError, StorageError};

/// There is one broker.
const BROKERS: u16 = 1;

/// Bytes of records that are recorded as one batch: well below what the metadata log takes.
const MAX_BATCH_BYTES: usize = 256 << 10;

/// A topic to be created.
#[derive(Clone, Debug, Default)]
pub(crate) struct CreateTopic {
    pub(crate) name: String,
    /// `None` for the broker's `num.partitions`.
    pub(crate) partitions: Option<u32>,
    /// `None` for the broker's `default.replication.factor`.
    pub(crate) replication_factor: Option<u16>,
    pub(crate) config: Vec<(String, String)>,
}

/// A change of the metadata.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    CreateTopic(CreateTopic),
    DeleteTopic(TopicId, TopicName),
    AlterConfig(TopicId, TopicName, Vec<(String, ConfigChange)>),
    /// How many partitions there are to be.
    AddPartitions(TopicId, TopicName, u32),
    /// Below which offset of a partition there are to be no records.
    DeleteRecords(TopicId, TopicName, PartitionId, Offset),
}

/// What a change came to: the topic as it is, or was.
pub(crate) type Changed = Result<Arc<TopicImage>, ClusterError>;

#[derive(Debug)]
struct Proposal {
    change: Change,
    result: OnceLock<Changed>,
    answered: Event,
}

/// Changes the metadata and publishes its image.
#[derive(Debug)]
pub(crate) struct Controller {
    log: Arc<Replica>,
    store: Arc<Store>,
    runtime: Arc<dyn Runtime>,
    queue: Mutex<Queue>,
    /// Notified whenever the role becomes free once no more changes are made.
    role_left: Event,
    published: Arc<RwLock<Image>>,
    /// Counts what was published.
    version: AtomicU64,
    /// For the one who has the role.
    next: Mutex<Image>,
    broker: Arc<BrokerConfig>,
    producer_ids: Arc<ProducerIds>,
}

#[derive(Debug, Default)]
struct Queue {
    proposals: Vec<Arc<Proposal>>,
    /// Somebody has the controller's role.
    busy: bool,
    /// No more changes are made.
    closed: bool,
}

impl Controller {
    /// Reads the metadata log and takes office: a new controller epoch is recorded.
    pub(crate) fn open(
        log: Arc<Replica>,
        store: Arc<Store>,
        broker: Arc<BrokerConfig>,
        runtime: Arc<dyn Runtime>,
    ) -> Result<Self, ClusterError> {
        let mut image = replay(&log, &broker)?;
        let epoch = image.controller_epoch().saturating_add(1);
        let id = *random_id(&*runtime).as_bytes();
        let record = MetadataRecord::Epoch { epoch, broker: store.broker(), id };
        commit(&log, &*runtime, &[record.encode()]).map_err(ClusterError::NotRecorded)?;
        image.apply(&record).map_err(|reason| damaged(&log, &reason))?;
        Ok(Self {
            log,
            store,
            runtime,
            queue: Mutex::default(),
            role_left: Event::new(),
            published: Arc::new(RwLock::new(image.clone())),
            version: AtomicU64::new(0),
            next: Mutex::new(image),
            broker,
            producer_ids: Arc::new(ProducerIds::new(epoch)),
        })
    }

    /// The metadata log's replica.
    pub(crate) fn log(&self) -> &Arc<Replica> {
        &self.log
    }

    /// Ids for producers, for as long as this controller is in office.
    pub(crate) fn producer_ids(&self) -> &Arc<ProducerIds> {
        &self.producer_ids
    }

    /// The metadata, for who outlives the controller.
    pub(crate) fn published(&self) -> Arc<RwLock<Image>> {
        Arc::clone(&self.published)
    }

    /// Looks at the metadata.
    pub(crate) fn with_image<T>(&self, look: impl FnOnce(&Image) -> T) -> T {
        look(&self.published.read())
    }

    /// Rises with every change that is published.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Makes a change and returns when it is durable.
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
            let role = Role { controller: self, proposals };
            let results = match closed {
                true => role.proposals.iter().map(|_| Err(ClusterError::Closed)).collect(),
                false => self.process(&role.proposals),
            };
            for (proposal, result) in role.proposals.iter().zip(results) {
                let _first = proposal.result.set(result);
            }
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
    fn process(&self, proposals: &[Arc<Proposal>]) -> Vec<Changed> {
        let mut results = Vec::with_capacity(proposals.len());
        while let Some(rest) = proposals.get(results.len()..).filter(|rest| !rest.is_empty()) {
            let (mut batch, mut made) = (Prepared::default(), Vec::new());
            for proposal in rest {
                made.push(self.prepare(&proposal.change, &mut batch));
                if batch.bytes > MAX_BATCH_BYTES {
                    break;
                }
            }
            self.record(rest, &mut made, &batch);
            results.append(&mut made);
        }
        results
    }

    /// Records what was prepared, removes what was deleted, and publishes it.
    fn record(&self, proposals: &[Arc<Proposal>], results: &mut [Changed], batch: &Prepared) {
        if batch.records.is_empty() {
            return;
        }
        if let Err(error) = commit(&self.log, &*self.runtime, &batch.values) {
            *self.next.lock() = self.published.read().clone();
            for result in results.iter_mut().filter(|result| result.is_ok()) {
                *result = Err(ClusterError::NotRecorded(error.clone()));
            }
            return;
        }
        for (proposal, result) in proposals.iter().zip(results.iter()) {
            if let (Change::DeleteTopic(..), Ok(topic)) = (&proposal.change, result)
                && let Err(error) = self.store.delete_topic(topic)
            {
                // It is deleted all the same.
                log::warn!("files of the deleted topic {} are left: {error}", topic.name);
            }
        }
        {
            let mut published = self.published.write();
            for record in &batch.records {
                let applied = published.apply(record);
                assert!(applied.is_ok(), "a record that was applied once cannot be: {applied:?}");
            }
        }
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// Checks one change against what there is and what was prepared, and adds its record.
    fn prepare(&self, change: &Change, batch: &mut Prepared) -> Changed {
        let mut next = self.next.lock();
        let existing = |id: &TopicId, name: &TopicName| {
            let topic = next.by_id(*id).cloned();
            topic.ok_or_else(|| ClusterError::TopicDeleted(name.clone()))
        };
        let (id, record) = match change {
            Change::CreateTopic(create) => {
                let id = random_id(&*self.runtime);
                (id, new_topic(create, id, &next, &self.broker)?)
            }
            Change::DeleteTopic(id, name) => {
                existing(id, name)?;
                (*id, MetadataRecord::TopicDeleted { id: *id })
            }
            Change::AlterConfig(id, name, changes) => {
                let altered = existing(id, name)?.config.alter(changes, &self.broker)?;
                let config = altered.to_record();
                (*id, MetadataRecord::TopicConfigured { id: *id, config })
            }
            Change::AddPartitions(id, name, partitions) => {
                let topic = existing(id, name)?;
                (*id, more_partitions(&topic, *partitions)?)
            }
            Change::DeleteRecords(id, name, partition, before) => {
                existing(id, name)?;
                let (id, partition, before) = (*id, *partition, *before);
                (id, MetadataRecord::RecordsDeleted { id, partition, before })
            }
        };
        let before = next.by_id(id).cloned();
        next.apply(&record).map_err(|reason| damaged(&self.log, &reason))?;
        batch.add(record);
        let topic = next.by_id(id).cloned().or(before);
        topic.ok_or_else(|| damaged(&self.log, "a change was made to no topic").into())
    }
}

/// Records that will be one batch.
#[derive(Debug, Default)]
struct Prepared {
    records: Vec<MetadataRecord>,
    /// The records encoded, and the bytes in all of them.
    values: Vec<Bytes>,
    bytes: usize,
}

impl Prepared {
    fn add(&mut self, record: MetadataRecord) {
        let value = record.encode();
        self.bytes += value.len();
        self.values.push(value);
        self.records.push(record);
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
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        let log = self.controller.log.log();
        for proposal in &self.proposals {
            // After a panic nobody knows how far it came: what is published may not be what was recorded.
            let panicked = || {
                log.take_offline();
                let partition = log.partition().clone();
                Err(ClusterError::NotRecorded(ProduceError::Sync(StorageError::Offline {
                    partition,
                })))
            };
            let _answer = proposal.result.get_or_init(panicked);
            proposal.answered.notify(usize::MAX);
        }
        let closed = {
            let mut queue = self.controller.queue.lock();
            queue.busy = false;
            queue.closed
        };
        if closed {
            self.controller.role_left.notify(usize::MAX);
        }
    }
}

/// The record of a new topic, if there can be one.
fn new_topic(
    create: &CreateTopic,
    id: TopicId,
    image: &Image,
    broker: &BrokerConfig,
) -> Result<MetadataRecord, ClusterError> {
    let name = TopicName::new(&create.name)?;
    if name.is_internal() {
        return Err(ClusterError::InternalTopic(name));
    }
    let partitions = checked_partitions(create.partitions.unwrap_or(broker.partitions))?;
    let replicas = create.replication_factor.unwrap_or(broker.replication_factor);
    if replicas != BROKERS {
        return Err(ClusterError::InvalidReplicationFactor { replicas, brokers: BROKERS });
    }
    if image.topic(name.as_str()).is_some() {
        return Err(ClusterError::TopicExists(name));
    }
    if let Some(existing) = image.colliding(&name) {
        return Err(ClusterError::TopicCollides { name, existing: existing.clone() });
    }
    let config = TopicConfig::create(&create.config, broker)?.to_record();
    Ok(MetadataRecord::TopicCreated { id, name: name.to_string(), partitions, config })
}

fn more_partitions(topic: &TopicImage, partitions: u32) -> Result<MetadataRecord, ClusterError> {
    if partitions <= topic.partitions {
        let (topic, has) = (topic.name.clone(), topic.partitions);
        return Err(ClusterError::NotMorePartitions { topic, partitions, has });
    }
    let partitions = checked_partitions(partitions)?;
    Ok(MetadataRecord::PartitionsAdded { id: topic.id, partitions })
}

fn checked_partitions(partitions: u32) -> Result<i32, ClusterError> {
    let checked = i32::try_from(partitions).ok();
    checked
        .filter(|_| (1..=MAX_PARTITIONS).contains(&partitions))
        .ok_or(ClusterError::InvalidPartitions { partitions, max: MAX_PARTITIONS })
}

/// Adds up the records of the metadata log.
fn replay(log: &Replica, broker: &Arc<BrokerConfig>) -> Result<Image, ClusterError> {
    const MAX_BYTES: usize = 1 << 20;
    let unreadable = |e: ReadError| ClusterError::from(damaged(log, &e.to_string()));
    let mut image = Image::new(Arc::clone(broker));
    let mut next = log.log().start();
    loop {
        let fetched =
            log.fetch(next, MAX_BYTES, IsolationLevel::ReadUncommitted).map_err(unreadable)?;
        let Some(last) = fetched.batches.last() else { return Ok(image) };
        next = last.header().next_offset();
        for batch in &fetched.batches {
            apply_batch(&mut image, batch).map_err(|reason| damaged(log, &reason))?;
        }
    }
}

/// Applies the records of a batch of the metadata log.
pub(super) fn apply_batch(image: &mut Image, batch: &Batch) -> Result<(), String> {
    let checked = batch.verify_crc().and_then(|()| batch.decode(&Limits::default()));
    for record in checked.map_err(|e| e.to_string())?.iter() {
        let decoded = record.value.and_then(MetadataRecord::decode);
        let applied = decoded.ok_or("it is no metadata record".to_owned());
        applied
            .and_then(|record| image.apply(&record))
            .map_err(|reason| format!("the record at {}: {reason}", record.offset))?;
    }
    Ok(())
}

fn damaged(log: &Replica, reason: &str) -> StorageError {
    StorageError::damaged(std::path::Path::new(&log.partition().directory_name()), reason)
}

/// Appends records with these values as one batch, and returns when it is on disk.
fn commit(log: &Arc<Replica>, runtime: &dyn Runtime, values: &[Bytes]) -> Result<(), ProduceError> {
    let written = Arc::new(Written::default());
    let batch = encode(values, runtime)?;
    let completion = Arc::clone(&written) as _;
    log.enqueue(Append { batch, origin: AppendOrigin::Client, acks: Acks::All, completion })?;
    loop {
        let listener = written.event.listen();
        if let Some(result) = written.result.get() {
            return result.clone();
        }
        log.help();
        if written.result.get().is_none() {
            runtime.park(listener, None);
        }
    }
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
