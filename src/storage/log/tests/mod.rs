//! What the tests of the log share: a place to keep one, batches to put in, and a look at what came of it.

// Small numbers, all of them made up here.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod accept_loss;
mod accepting;
mod damage;
mod deleting;
mod digests;
mod diverging;
mod epochs;
mod faults;
mod followers;
// Kafka's directory has batches of both.
#[cfg(all(feature = "lz4", feature = "zstd"))]
mod golden;
mod indexes;
mod limits;
mod model;
mod power_cuts;
mod producer_model;
mod producers;
mod quarantine;
mod readers;
mod recovery;
mod repairing;
mod rolling;
mod snapshots;
mod starting_over;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;

use crate::base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, ReadMode};
use crate::base::{Timestamp, TopicId, TopicPartition};
use crate::env::{BufferPool, EntryKind, FileSystem, MemFs, OpenFile, OsFs, read_file};
use crate::record::{Batch, BatchBuilder, BatchProducer, CloseOptions, EncodedBatch};
use crate::record::{Limits, MarkerKind, RecordFields, TransactionMarker};
use crate::storage::log::{Appended, Fetched, Log, OpenLog};
use crate::storage::names;
use crate::storage::quarantine::Quarantine;
use crate::storage::recovery::{Recovered, Shutdown};
use crate::storage::tail::TailCache;
use crate::storage::{AppendError, AppendOrigin, LogConfig, ReadError, StorageError};

const TOPIC_ID: &str = "ASNFZ4mrze8RIjNEVWZ3iA";
const PARTITION: &str = "golden-0";

/// Of which no record is ahead.
const NOW: Timestamp = Timestamp::from_millis(i64::MAX).unwrap();

/// One record, as a test puts it in and gets it back.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Seen {
    offset: i64,
    timestamp: Option<i64>,
    value: Vec<u8>,
}

/// A batch of records with these timestamps and values.
fn encoded(records: &[(i64, Vec<u8>)]) -> EncodedBatch {
    let mut builder = BatchBuilder::new(BytesMut::new());
    for (timestamp, value) in records {
        let timestamp = Timestamp::from_millis(*timestamp);
        builder
            .append(&RecordFields { timestamp, value: Some(value), ..Default::default() })
            .unwrap();
    }
    builder.close(&CloseOptions::default()).unwrap()
}

/// A batch of `count` records of `size` bytes, at the time `timestamp`.
fn batch(timestamp: i64, count: usize, size: usize) -> EncodedBatch {
    encoded(&vec![(timestamp, vec![b'v'; size]); count])
}

/// A batch of `count` records of a producer, by its id and epoch, that begins with `sequence`.
fn sent_by(who: (i64, i16), sequence: i32, count: usize, transactional: bool) -> EncodedBatch {
    let mut builder = BatchBuilder::new(BytesMut::new());
    for _ in 0..count {
        let value = Some(&b"twenty bytes or more"[..]);
        builder.append(&RecordFields { value, ..Default::default() }).unwrap();
    }
    let producer = BatchProducer {
        id: ProducerId::new(who.0).unwrap(),
        epoch: ProducerEpoch::new(who.1).unwrap(),
        base_sequence: Some(sequence),
    };
    let options =
        CloseOptions { producer: Some(producer), transactional, ..CloseOptions::default() };
    builder.close(&options).unwrap()
}

/// The batch that ends a transaction.
fn marker(who: (i64, i16), kind: MarkerKind, coordinator_epoch: i32) -> EncodedBatch {
    let (id, epoch) = (ProducerId::new(who.0).unwrap(), ProducerEpoch::new(who.1).unwrap());
    let marker = TransactionMarker { kind, coordinator_epoch };
    marker.to_batch(id, epoch, Timestamp::EPOCH).unwrap()
}

/// A batch of `count` small records whose first offset is `base`.
pub(in crate::storage) fn batch_at(base: u32, count: usize) -> Batch {
    let mut batch = batch(-1, count, 10);
    batch.stamp(Offset::from(base), LeaderEpoch::ZERO);
    batch.freeze()
}

fn seen(batches: &[Batch]) -> Vec<Seen> {
    let mut all = Vec::new();
    for batch in batches {
        batch.verify_crc().unwrap();
        let decoded = batch.decode(&Limits::default()).unwrap();
        all.extend(decoded.iter().map(|record| Seen {
            offset: record.offset.value(),
            timestamp: record.timestamp.map(Timestamp::as_millis),
            value: record.value.map(|value| value.to_vec()).unwrap_or_default(),
        }));
    }
    all
}

/// Everything from `from` on, in reads of at most `max_bytes`.
fn read_from(log: &Log, from: Offset, max_bytes: usize) -> Result<Vec<Seen>, ReadError> {
    let mut all = Vec::new();
    let mut next = from;
    while next < log.end() {
        let Fetched { batches, .. } = log.read(next, max_bytes, log.end())?;
        assert!(!batches.is_empty(), "nothing at {next} of {}", log.end());
        all.extend(seen(&batches));
        next = batches.last().unwrap().header().next_offset();
    }
    Ok(all)
}

fn read_all(log: &Log) -> Vec<Seen> {
    read_from(log, log.start(), 4096).unwrap()
}

fn offset(value: i64) -> Offset {
    Offset::new(value).unwrap()
}

fn epoch(value: i32) -> LeaderEpoch {
    LeaderEpoch::new(value).unwrap()
}

/// A directory with one log in it.
#[derive(Clone, Debug)]
struct Place {
    fs: Arc<dyn FileSystem>,
    root: Arc<Path>,
    config: LogConfig,
    cache_bytes: usize,
    deleted: Offset,
    quarantine_bytes: u64,
    /// Removed when the last copy of the place is dropped.
    _dir: Option<Arc<tempfile::TempDir>>,
}

impl Place {
    fn in_memory(segment_bytes: u32, index_interval_bytes: u32) -> Self {
        Self::on(Arc::new(MemFs::default()), segment_bytes, index_interval_bytes)
    }

    fn on(fs: Arc<dyn FileSystem>, segment_bytes: u32, index_interval_bytes: u32) -> Self {
        let config = LogConfig { segment_bytes, index_interval_bytes, ..LogConfig::default() };
        let root: Arc<Path> = Path::new("/store").into();
        fs.create_dir(&root).unwrap();
        Self {
            fs,
            root,
            config,
            cache_bytes: 0,
            deleted: Offset::ZERO,
            quarantine_bytes: 1 << 20,
            _dir: None,
        }
    }

    fn on_disk(mode: ReadMode, segment_bytes: u32, index_interval_bytes: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = LogConfig { segment_bytes, index_interval_bytes, ..LogConfig::default() };
        let root = dir.path().into();
        let fs = Arc::new(OsFs::new(mode));
        Self {
            fs,
            root,
            config,
            cache_bytes: 0,
            deleted: Offset::ZERO,
            quarantine_bytes: 1 << 20,
            _dir: Some(Arc::new(dir)),
        }
    }

    fn try_open(&self, shutdown: Shutdown) -> Result<(Log, Recovered), StorageError> {
        self.try_open_at(shutdown, 0)
    }

    fn try_open_at(&self, shutdown: Shutdown, now: i64) -> Result<(Log, Recovered), StorageError> {
        Log::open(self.how_to_open(shutdown, now))
    }

    fn how_to_open(&self, shutdown: Shutdown, now: i64) -> OpenLog {
        OpenLog {
            fs: Arc::clone(&self.fs),
            root: Arc::clone(&self.root),
            partition: TopicPartition::parse_directory_name(PARTITION).unwrap(),
            topic_id: TopicId::parse(TOPIC_ID).unwrap(),
            config: self.config,
            cache: Arc::new(TailCache::new(self.cache_bytes, Arc::new(BufferPool::new(1 << 20)))),
            quarantine: Arc::new(Quarantine::new(
                Arc::clone(&self.fs),
                Arc::clone(&self.root),
                self.quarantine_bytes,
            )),
            start: None,
            deleted: self.deleted,
            closed_at: Vec::new(),
            examine: false,
            shutdown,
            now: Timestamp::from_millis(now).unwrap(),
            seed: 7,
        }
    }

    fn open(&self) -> Log {
        self.try_open(Shutdown::Clean).unwrap().0
    }

    fn recover(&self, recovery_point: i64) -> (Log, Recovered) {
        let recovery_point = offset(recovery_point);
        self.try_open(Shutdown::Unclean { recovery_point }).unwrap()
    }

    /// As [`Place::recover`], of a log that was left before it had any digest.
    fn recover_undigested(&self, recovery_point: i64) -> (Log, Recovered) {
        self.names(".digest").iter().for_each(|name| self.remove(name));
        self.recover(recovery_point)
    }

    fn dir(&self) -> PathBuf {
        self.root.join(PARTITION)
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        read_file(&*self.fs, &self.dir().join(name)).unwrap().map(|bytes| bytes.to_vec())
    }

    fn write(&self, name: &str, content: &[u8]) {
        self.fs.create_dir(&self.dir()).unwrap();
        let file = self.fs.open(&self.dir().join(name), OpenFile::Write).unwrap();
        file.set_len(0).unwrap();
        file.write(0, &[content.to_vec().into()]).unwrap();
    }

    fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut content = self.read(name).unwrap();
        edit(&mut content);
        self.write(name, &content);
    }

    fn remove(&self, name: &str) {
        self.fs.remove_file(&self.dir().join(name)).unwrap();
    }

    fn names(&self, suffix: &str) -> Vec<String> {
        let Ok(entries) = self.fs.list(&self.dir()) else { return Vec::new() };
        let files = entries.into_iter().filter(|entry| entry.kind == EntryKind::File);
        files.map(|entry| entry.name).filter(|name| name.ends_with(suffix)).collect()
    }

    /// A copy in memory.
    fn copy(&self) -> Self {
        let copy = Self { config: self.config, ..Self::in_memory(1, 1) };
        copy.restore(&self.image());
        copy
    }

    /// All files and what they hold.
    fn image(&self) -> BTreeMap<String, Vec<u8>> {
        self.names("").into_iter().map(|name| (name.clone(), self.read(&name).unwrap())).collect()
    }

    /// Makes the directory hold `image` and nothing else.
    fn restore(&self, image: &BTreeMap<String, Vec<u8>>) {
        self.names("").iter().for_each(|name| self.remove(name));
        image.iter().for_each(|(name, content)| self.write(name, content));
    }
}

impl Log {
    fn append_as_coordinator(&self, batch: EncodedBatch) -> Result<Appended, AppendError> {
        let epoch = self.latest_epoch().unwrap_or(epoch(1));
        self.append(vec![(batch, AppendOrigin::Coordinator)], epoch, NOW)
            .remove(0)
            .map_err(|refused| refused.error)
    }

    /// What a snapshot would say now.
    fn snapshot(&self) -> Vec<u8> {
        self.writer.lock().known.producers.encode().to_vec()
    }

    fn append_as_client(
        &self,
        batches: Vec<EncodedBatch>,
        epoch: LeaderEpoch,
    ) -> Vec<Result<Appended, AppendError>> {
        self.append_at(batches, epoch, NOW)
    }

    fn append_at(
        &self,
        batches: Vec<EncodedBatch>,
        epoch: LeaderEpoch,
        now: Timestamp,
    ) -> Vec<Result<Appended, AppendError>> {
        let batches = batches.into_iter().map(|batch| (batch, AppendOrigin::Client));
        let results = self.append(batches.collect(), epoch, now).into_iter();
        results.map(|result| result.map_err(|refused| refused.error)).collect()
    }
}

fn append(log: &Log, batches: Vec<EncodedBatch>) {
    for result in log.append_as_client(batches, epoch(1)) {
        result.unwrap();
    }
}
