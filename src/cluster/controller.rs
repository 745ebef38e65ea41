//! The controller: the one who changes the metadata.
//!
//! No thread runs it. A caller with a change puts it in the queue; whoever finds the role free takes all changes
//! there are, records them in one batch of the metadata log, applies them when the batch is on disk, and answers.
//!
//! # Invariants
//! - What is published was synced: nobody acts on metadata that a crash could take back.
//! - A deleted topic is gone from the store before its name is free.
//! - No lock is held while the batch is written and synced; the role keeps others out.

use std::sync::{Arc, OnceLock};

use crate::base::{Acks, TopicId, TopicName};
use crate::cluster::metadata::{Image, MAX_PARTITIONS, MetadataRecord, TopicImage};
use crate::cluster::store::{Store, random_id};
use crate::cluster::{ClusterError, TopicConfig};
use crate::env::Runtime;
use crate::env::sync::{Event, Mutex, RwLock};
use crate::record::{BatchBuilder, BatchError, CloseOptions, EncodedBatch, Limits, RecordFields};
use crate::replica::{Append, Completion, ProduceError, Replica};
use crate::storage::{Appended, ReadError, StorageError};

/// A topic to be created.
#[derive(Clone, Debug)]
pub(crate) struct CreateTopic {
    pub(crate) name: String,
    pub(crate) partitions: u32,
    pub(crate) config: Vec<(String, String)>,
}

/// A change of the metadata.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    CreateTopic(CreateTopic),
    DeleteTopic(TopicId, TopicName),
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
    published: RwLock<Image>,
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
        broker: crate::base::BrokerId,
        runtime: Arc<dyn Runtime>,
    ) -> Result<Self, ClusterError> {
        let mut image = replay(&log)?;
        let epoch = image.controller_epoch().saturating_add(1);
        let id = *random_id(&*runtime).as_bytes();
        let record = MetadataRecord::Epoch { epoch, broker, id };
        commit(&log, &*runtime, std::slice::from_ref(&record))
            .map_err(ClusterError::NotRecorded)?;
        image.apply(&record).map_err(|reason| damaged(&log, &reason))?;
        let (queue, role_left) = (Mutex::default(), Event::new());
        Ok(Self { log, store, runtime, queue, role_left, published: RwLock::new(image) })
    }

    /// The metadata log's replica.
    pub(crate) fn log(&self) -> &Arc<Replica> {
        &self.log
    }

    /// Looks at the metadata.
    pub(crate) fn with_image<T>(&self, look: impl FnOnce(&Image) -> T) -> T {
        look(&self.published.read())
    }

    /// Makes a change and returns when it is durable.
    pub(crate) fn submit(&self, change: Change) -> Changed {
        let proposal =
            Arc::new(Proposal { change, result: OnceLock::new(), answered: Event::new() });
        self.queue.lock().proposals.push(Arc::clone(&proposal));
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

    fn process(&self, proposals: &[Arc<Proposal>]) -> Vec<Changed> {
        let mut image = self.published.read().clone();
        let mut records = Vec::new();
        let mut results = Vec::with_capacity(proposals.len());
        for proposal in proposals {
            results.push(self.prepare(&proposal.change, &mut image, &mut records));
        }
        if records.is_empty() {
            return results;
        }
        match commit(&self.log, &*self.runtime, &records) {
            Ok(()) => {
                self.delete(proposals, &results);
                *self.published.write() = image;
            }
            Err(error) => {
                for result in results.iter_mut().filter(|result| result.is_ok()) {
                    *result = Err(ClusterError::NotRecorded(error.clone()));
                }
            }
        }
        results
    }

    /// Removes the topics whose deletion was recorded.
    fn delete(&self, proposals: &[Arc<Proposal>], results: &[Changed]) {
        for (proposal, result) in proposals.iter().zip(results) {
            if let (Change::DeleteTopic(..), Ok(topic)) = (&proposal.change, result)
                && let Err(error) = self.store.delete_topic(topic)
            {
                // It is deleted all the same.
                log::warn!("files of the deleted topic {} are left: {error}", topic.name);
            }
        }
    }

    /// Checks one change against `image`, applies it there and adds its record.
    fn prepare(
        &self,
        change: &Change,
        image: &mut Image,
        records: &mut Vec<MetadataRecord>,
    ) -> Changed {
        let (record, name) = match change {
            Change::CreateTopic(create) => {
                let name = check_new_topic(create, image)?;
                let partitions = i32::try_from(create.partitions).unwrap_or(i32::MAX);
                let config = create.config.clone();
                let record = MetadataRecord::TopicCreated {
                    id: random_id(&*self.runtime),
                    name: create.name.clone(),
                    partitions,
                    config,
                };
                (record, name)
            }
            Change::DeleteTopic(id, name) => {
                if image.topic(name.as_str()).is_none_or(|topic| topic.id != *id) {
                    return Err(ClusterError::TopicDeleted(name.clone()));
                }
                (MetadataRecord::TopicDeleted { id: *id }, name.clone())
            }
        };
        let before = image.topic(name.as_str()).cloned();
        image.apply(&record).map_err(|reason| damaged(&self.log, &reason))?;
        records.push(record);
        let after = image.topic(name.as_str()).cloned();
        after.or(before).ok_or_else(|| ClusterError::UnknownTopic(name.to_string()))
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

fn check_new_topic(create: &CreateTopic, image: &Image) -> Result<TopicName, ClusterError> {
    let name = TopicName::new(&create.name)?;
    if name.is_internal() {
        return Err(ClusterError::InternalTopic(name));
    }
    if !(1..=MAX_PARTITIONS).contains(&create.partitions) {
        return Err(ClusterError::InvalidPartitions {
            partitions: create.partitions,
            max: MAX_PARTITIONS,
        });
    }
    if image.topic(name.as_str()).is_some() {
        return Err(ClusterError::TopicExists(name));
    }
    if let Some(existing) = image.colliding(&name) {
        return Err(ClusterError::TopicCollides { name, existing: existing.clone() });
    }
    TopicConfig::parse(create.config.iter().map(|(k, v)| (k.as_str(), v.as_str())))?;
    Ok(name)
}

/// Adds up the records of the metadata log.
fn replay(log: &Replica) -> Result<Image, ClusterError> {
    const MAX_BYTES: usize = 1 << 20;
    let unreadable = |e: ReadError| ClusterError::from(damaged(log, &e.to_string()));
    let mut image = Image::default();
    let mut next = log.log().start();
    loop {
        let fetched = log.fetch(next, MAX_BYTES).map_err(unreadable)?;
        let Some(last) = fetched.batches.last() else { return Ok(image) };
        next = last.header().next_offset();
        for batch in &fetched.batches {
            let checked = batch.verify_crc().and_then(|()| batch.decode(&Limits::default()));
            for record in checked.map_err(|e| damaged(log, &e.to_string()))?.iter() {
                let decoded = record.value.and_then(MetadataRecord::decode);
                let applied = decoded.ok_or("it is no metadata record".to_owned());
                applied.and_then(|r| image.apply(&r)).map_err(|reason| {
                    damaged(log, &format!("the record at {}: {reason}", record.offset))
                })?;
            }
        }
    }
}

fn damaged(log: &Replica, reason: &str) -> StorageError {
    StorageError::damaged(std::path::Path::new(&log.partition().directory_name()), reason)
}

/// Appends `records` as one batch, and returns when it is on disk.
fn commit(
    log: &Arc<Replica>,
    runtime: &dyn Runtime,
    records: &[MetadataRecord],
) -> Result<(), ProduceError> {
    let written = Arc::new(Written::default());
    let batch = encode(records, runtime)?;
    log.enqueue(Append { batch, acks: Acks::All, completion: Arc::clone(&written) as _ });
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

fn encode(records: &[MetadataRecord], runtime: &dyn Runtime) -> Result<EncodedBatch, BatchError> {
    let now = runtime.wall_clock();
    let mut builder = BatchBuilder::new(bytes::BytesMut::new());
    for record in records {
        let value = record.encode();
        let fields =
            RecordFields { timestamp: Some(now), key: None, value: Some(&value), headers: &[] };
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
    fn complete(&self, result: Result<Appended, ProduceError>) {
        let _first = self.result.set(result.map(drop));
        self.event.notify(usize::MAX);
    }

    fn hand_over(&self) -> bool {
        self.event.notify(1) > 0
    }
}
