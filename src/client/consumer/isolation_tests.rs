//! What consumers see of transactions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::BytesMut;

use crate::base::{
    Acks, BrokerId, FlushPolicy, IsolationLevel, Offset, ProducerEpoch, ProducerId,
    ReplicaSelector, Timestamp,
};
use crate::client::batch_delivery::BatchOutcome;
use crate::client::{
    AutoOffsetReset, BatchDelivery, Cluster, Consumer, NewTopic, Partition, SeekTo,
};
use crate::env::{Baton, Disk, Failure};
use crate::record::{BatchBuilder, BatchProducer, CloseOptions, EncodedBatch};
use crate::record::{MarkerKind, RecordFields, TransactionMarker};
use crate::replica::Append;
use crate::storage::AppendOrigin;

const LONG: Duration = Duration::from_secs(20);

fn partition(cluster: &Cluster) -> Partition {
    let config = NewTopic::new("email").config("segment.bytes", 2_000);
    cluster.create_topic(config).unwrap().partition(0).unwrap()
}

fn consumer(
    cluster: &Cluster,
    partition: &Partition,
    isolation: IsolationLevel,
    max_poll_records: usize,
    fetch_bytes: usize,
) -> Consumer {
    let builder = cluster.consumer().isolation_level(isolation).max_poll_records(max_poll_records);
    let mut consumer = builder.max_partition_fetch_bytes(fetch_bytes).build().unwrap();
    consumer.assign([partition.clone()]).unwrap();
    consumer
}

/// Writes transactions as producers and their coordinator would.
struct Writer {
    partition: Partition,
    sequences: BTreeMap<i64, i32>,
}

impl Writer {
    fn new(partition: &Partition) -> Self {
        Self { partition: partition.clone(), sequences: BTreeMap::new() }
    }

    fn append(&self, batch: EncodedBatch, origin: AppendOrigin) -> BatchDelivery {
        let leader = self.partition.leader().unwrap();
        let outcome = Arc::new(BatchOutcome::default());
        let completion = Arc::clone(&outcome) as _;
        leader.enqueue(Append { batch, origin, acks: Acks::All, completion }).unwrap();
        leader.drive();
        let runtime = Arc::clone(self.partition.topic().core().runtime());
        BatchDelivery::new(leader, runtime, outcome)
    }

    /// A batch of these values, in the transaction of `producer` if there is one.
    fn data(&mut self, producer: Option<i64>, values: &[&str]) -> i64 {
        let mut builder = BatchBuilder::new(BytesMut::new());
        for value in values {
            let value = Some(value.as_bytes());
            let timestamp = Some(Timestamp::EPOCH);
            builder.append(&RecordFields { timestamp, value, ..Default::default() }).unwrap();
        }
        let sent_by = producer.map(|id| {
            let sequence = self.sequences.entry(id).or_default();
            *sequence += i32::try_from(values.len()).unwrap();
            BatchProducer {
                id: ProducerId::new(id).unwrap(),
                epoch: ProducerEpoch::ZERO,
                base_sequence: Some(*sequence - i32::try_from(values.len()).unwrap()),
            }
        });
        let options = CloseOptions {
            producer: sent_by,
            transactional: producer.is_some(),
            ..CloseOptions::default()
        };
        let batch = builder.close(&options).unwrap();
        self.append(batch, AppendOrigin::Client).wait().unwrap().base_offset.value()
    }

    fn end(&self, producer: i64, kind: MarkerKind) {
        let marker = TransactionMarker { kind, coordinator_epoch: 0 };
        let id = ProducerId::new(producer).unwrap();
        let batch = marker.to_batch(id, ProducerEpoch::ZERO, Timestamp::EPOCH).unwrap();
        self.append(batch, AppendOrigin::Coordinator).wait().unwrap();
    }
}

fn values(consumer: &mut Consumer) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let records = consumer.poll(Duration::ZERO).unwrap();
        if records.is_empty() {
            return all;
        }
        let value = |v: Option<&[u8]>| String::from_utf8(v.unwrap().to_vec()).unwrap();
        all.extend(records.iter().map(|record| value(record.value())));
    }
}

/// A follower knows the transactions of its log as the leader does.
#[test]
fn committed_records_are_the_same_at_a_follower() {
    let [one, two] = [1, 2].map(|id| BrokerId::new(id).unwrap());
    let builder = Cluster::builder().brokers(2).rack(1, "north").rack(2, "south");
    let cluster = builder.replica_selector(ReplicaSelector::RackAware).in_memory().unwrap();
    let email = NewTopic::new("email").assignment([vec![one, two]]);
    let partition = cluster.create_topic(email).unwrap().partition(0).unwrap();
    let near = cluster.consumer().client_rack("south");
    let mut committed = near.isolation_level(IsolationLevel::ReadCommitted).build().unwrap();
    committed.assign([partition.clone()]).unwrap();
    let mut seen = |count: usize| {
        let mut seen = Vec::new();
        while seen.len() < count {
            let records = committed.poll(LONG).unwrap();
            assert!(!records.is_empty(), "only {seen:?} came");
            let value = |v: Option<&[u8]>| String::from_utf8(v.unwrap().to_vec()).unwrap();
            seen.extend(records.iter().map(|record| value(record.value())));
        }
        assert_eq!(committed.read_replica(&partition).unwrap(), two);
        assert!(committed.poll(Duration::from_millis(10)).unwrap().is_empty());
        seen
    };
    let mut writer = Writer::new(&partition);
    writer.data(None, &["a"]);
    writer.data(Some(1), &["b1", "b2"]);
    writer.data(Some(2), &["c"]);
    writer.data(None, &["d"]);
    assert_eq!(seen(1), ["a"]);
    writer.end(2, MarkerKind::Abort);
    assert_eq!(seen(0), [""; 0]);
    writer.end(1, MarkerKind::Commit);
    assert_eq!(seen(3), ["b1", "b2", "d"]);
}

#[test]
fn committed_records_are_seen_when_the_oldest_transaction_has_ended() {
    let cluster = Cluster::in_memory().unwrap();
    let partition = partition(&cluster);
    let mut writer = Writer::new(&partition);
    let of = |isolation| consumer(&cluster, &partition, isolation, 500, 1 << 20);
    let mut committed = of(IsolationLevel::ReadCommitted);
    let mut all = of(IsolationLevel::ReadUncommitted);
    writer.data(None, &["a"]);
    writer.data(Some(1), &["b1", "b2"]);
    writer.data(Some(2), &["c"]);
    writer.data(None, &["d"]);
    assert_eq!(values(&mut all), ["a", "b1", "b2", "c", "d"]);
    assert_eq!(values(&mut committed), ["a"]);
    let marks = partition.watermarks().unwrap();
    assert_eq!((marks.last_stable, marks.high), (Offset::from(1), Offset::from(5)));
    assert_eq!(committed.seek(&partition, SeekTo::End).unwrap(), Offset::from(1));
    writer.end(2, MarkerKind::Abort);
    assert_eq!(values(&mut committed), [""; 0]);
    writer.end(1, MarkerKind::Commit);
    assert_eq!(values(&mut committed), ["b1", "b2", "d"]);
    assert_eq!(committed.position(&partition).unwrap(), Offset::from(7));
    assert_eq!(values(&mut all), [""; 0], "markers are seen by nobody");
    assert_eq!(committed.seek(&partition, SeekTo::End).unwrap(), Offset::from(7));
    // Into the middle of the transaction that was aborted, and of the other.
    for (from, expected) in [(3, &["d"][..]), (2, &["b2", "d"]), (5, &[]), (6, &[])] {
        committed.seek(&partition, Offset::from(from)).unwrap();
        assert_eq!(values(&mut committed), expected, "from {from}");
    }
}

#[test]
fn who_begins_at_the_end_begins_at_the_last_stable_offset() {
    let cluster = Cluster::in_memory().unwrap();
    let partition = partition(&cluster);
    let mut writer = Writer::new(&partition);
    writer.data(None, &["a"]);
    writer.data(Some(1), &["b"]);
    let latest = cluster.consumer().auto_offset_reset(AutoOffsetReset::Latest);
    let latest = latest.isolation_level(IsolationLevel::ReadCommitted);
    let mut consumer = latest.build().unwrap();
    consumer.assign([partition.clone()]).unwrap();
    assert_eq!(consumer.position(&partition).unwrap(), Offset::from(1));
    let found = consumer.seek(&partition, Timestamp::from_millis(1).unwrap()).unwrap();
    assert_eq!(found, Offset::from(1), "no record that is to be seen is as late");
    writer.end(1, MarkerKind::Commit);
    assert_eq!(values(&mut consumer), ["b"]);
}

#[test]
fn a_waiting_consumer_wakes_when_a_transaction_is_committed() {
    for policy in [FlushPolicy::OnAck, FlushPolicy::Os] {
        let cluster = Cluster::builder().flush_policy(policy).temp().unwrap();
        let partition = partition(&cluster);
        let mut writer = Writer::new(&partition);
        writer.data(Some(1), &["b"]);
        let mut consumer =
            consumer(&cluster, &partition, IsolationLevel::ReadCommitted, 500, 1 << 20);
        assert!(consumer.poll(Duration::ZERO).unwrap().is_empty());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| consumer.poll(LONG).unwrap().len());
            writer.end(1, MarkerKind::Commit);
            assert_eq!(waiting.join().unwrap(), 1);
        });
    }
}

/// Random transactions of three producers, and what is committed of them.
fn random_history(writer: &mut Writer, rounds: u32, seed: u64) -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut open = BTreeMap::<i64, Vec<(i64, String)>>::new();
    let mut committed = BTreeMap::new();
    for round in 0..rounds {
        let producer = random.i64(0..4);
        let names = (0..random.u32(1..4)).map(|n| format!("{round}-{n}")).collect::<Vec<_>>();
        let texts = names.iter().map(String::as_str).collect::<Vec<_>>();
        let placed = |base| (base..).zip(names.iter().cloned());
        if producer == 3 {
            committed.extend(placed(writer.data(None, &texts)));
        } else if random.u8(0..3) > 0 {
            let base = writer.data(Some(producer), &texts);
            open.entry(producer).or_default().extend(placed(base));
        } else if let Some(records) = open.remove(&producer) {
            let commits = random.bool();
            writer.end(producer, if commits { MarkerKind::Commit } else { MarkerKind::Abort });
            committed.extend(records.into_iter().filter(|_| commits));
        }
    }
    for producer in open.into_keys() {
        writer.end(producer, MarkerKind::Abort);
    }
    committed.into_values().collect()
}

/// D5: what was aborted stays hidden however few records a poll takes of what was fetched, and however little a fetch
/// brings.
#[test]
fn aborted_records_stay_hidden_over_many_polls() {
    for seed in 0..20 {
        let cluster = Cluster::in_memory().unwrap();
        let partition = partition(&cluster);
        let expected = random_history(&mut Writer::new(&partition), 150, seed);
        for (max_poll_records, fetch_bytes) in [(1, 1 << 20), (1, 1), (3, 700), (500, 1 << 20)] {
            let isolation = IsolationLevel::ReadCommitted;
            let mut consumer =
                consumer(&cluster, &partition, isolation, max_poll_records, fetch_bytes);
            assert_eq!(values(&mut consumer), expected, "seed {seed}");
        }
    }
}

/// D3: readers that follow the writers see each committed record once, and never another.
#[test]
fn readers_that_follow_closely_see_committed_records_alone() {
    for (policy, rounds) in [(FlushPolicy::Os, 1_000), (FlushPolicy::OnAck, 150)] {
        let cluster = Cluster::builder().flush_policy(policy).temp().unwrap();
        let partition = partition(&cluster);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let readers = [1, 300, 1 << 20].map(|fetch_bytes| {
                let isolation = IsolationLevel::ReadCommitted;
                let mut consumer = consumer(&cluster, &partition, isolation, 500, fetch_bytes);
                let done = &done;
                scope.spawn(move || {
                    let mut seen = Vec::new();
                    loop {
                        let finished = done.load(Ordering::Acquire);
                        let new = values(&mut consumer);
                        if finished && new.is_empty() {
                            return seen;
                        }
                        seen.extend(new);
                    }
                })
            });
            let expected = random_history(&mut Writer::new(&partition), rounds, 7);
            done.store(true, Ordering::Release);
            for reader in readers {
                assert_eq!(reader.join().unwrap(), expected);
            }
        });
    }
}

/// D3: in whatever order readers and writers take their steps.
#[test]
fn no_order_of_steps_shows_more_than_committed_records() {
    for seed in 0..1_000 {
        let policy = if seed % 2 == 0 { FlushPolicy::Os } else { FlushPolicy::OnAck };
        let ran = Baton::run(seed, move |run| {
            let cluster = Cluster::builder().flush_policy(policy).open_on(&Disk::new()).unwrap();
            let partition = partition(&cluster);
            let mut consumer =
                consumer(&cluster, &partition, IsolationLevel::ReadCommitted, 500, 300);
            let done = Arc::new(AtomicBool::new(false));
            let (reading, until) = (Arc::clone(run), Arc::clone(&done));
            let reader = run.spawn_user("reader", move || {
                let mut seen = Vec::new();
                loop {
                    let finished = until.load(Ordering::Acquire);
                    let new = values(&mut consumer);
                    if finished && new.is_empty() {
                        return seen;
                    }
                    seen.extend(new);
                    reading.sleep(Duration::from_micros(5));
                }
            });
            let expected = random_history(&mut Writer::new(&partition), 10, seed);
            done.store(true, Ordering::Release);
            assert_eq!(reader.unwrap().join(), expected);
        });
        match ran {
            Ok(_) => {}
            Err(Failure::Stuck(why)) => panic!("seed {seed}: {why}"),
            Err(Failure::Panicked(payload)) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(payload)
            }
        }
    }
}
