//! Producers on a disk that takes its time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use crate::base::{Acks, Compression, Config, ErrorKind, FlushPolicy, Offset, Scope};
use crate::client::producer::Settings;
use crate::client::{Cluster, Delivery, NewTopic, Producer, ProducerBuilder, Record, Topic};
use crate::env::{CallKind, Disk, pause};

const LONG: Duration = Duration::from_secs(20);
const NEVER: Duration = Duration::from_secs(3600);

fn cluster(disk: &Disk, policy: FlushPolicy) -> Cluster {
    Cluster::builder().flush_policy(policy).open_on(disk).unwrap()
}

fn email(cluster: &Cluster, partitions: u32) -> Topic {
    cluster.create_topic(NewTopic::new("email").partitions(partitions)).unwrap()
}

/// A sync under way ends by asking somebody who waits to do the next one: he must be able to.
#[test]
fn a_delivery_is_waited_for_after_its_producer_is_gone() {
    let disk = Disk::new();
    let cluster = cluster(&disk, FlushPolicy::OnAck);
    let email = email(&cluster, 1);
    let first = cluster.producer().build().unwrap();
    first.send(Record::to(&email)).unwrap().wait().unwrap();
    let (arrivals, go) = disk.hold(CallKind::Sync, "email-0/0");
    let (done, is_done) = crossbeam_channel::unbounded();
    thread::scope(|scope| {
        let delivery = first.send(Record::to(&email)).unwrap();
        let told = done.clone();
        scope.spawn(move || told.send(delivery.wait()).unwrap());
        arrivals.recv_timeout(LONG).unwrap();
        let second = cluster.producer().build().unwrap();
        let delivery = second.send(Record::to(&email)).unwrap();
        drop(second);
        scope.spawn(move || done.send(delivery.wait()).unwrap());
        // Time for the syncer to find somebody at it, and for the second to wait.
        pause(Duration::from_millis(30));
        drop(go);
        for _ in 0..2 {
            is_done.recv_timeout(LONG).expect("nobody syncs").unwrap();
        }
    });
}

/// The next batch may linger; the full one has waited long enough.
#[test]
fn a_full_batch_is_written_at_once_though_the_next_one_lingers() {
    let disk = Disk::new();
    let cluster = cluster(&disk, FlushPolicy::Os);
    let email = email(&cluster, 1);
    let producer = cluster.producer().linger(NEVER).batch_size(1_000).build().unwrap();
    let mut deliveries = Vec::new();
    // More batches than may be in flight.
    for _ in 0..100 {
        let started = std::iter::repeat_with(|| {
            let sent = producer.try_send(Record::to(&email).value(&[0; 400]));
            sent.map_err(|e| assert_eq!(e.error.kind(), ErrorKind::BufferFull))
        });
        let attempts = started.inspect(|sent| {
            if sent.is_err() {
                thread::yield_now()
            }
        });
        deliveries.push(attempts.take(10_000_000).find_map(Result::ok).unwrap());
    }
    deliveries.first().unwrap().wait_timeout(LONG).unwrap();
    producer.flush().unwrap();
}

/// Kafka sends what lingers when the buffer is full. So do we: nobody else will make room.
#[test]
fn batches_that_linger_make_room_for_others() {
    let disk = Disk::new();
    let cluster = cluster(&disk, FlushPolicy::Os);
    let email = email(&cluster, 3);
    let producer = cluster.producer().linger(NEVER).batch_size(10_000).buffer_memory(20_000);
    let producer = producer.max_block(LONG).build().unwrap();
    for round in 0..3 {
        for partition in 0..3 {
            let record = Record::to(&email).partition(partition).value("x");
            producer.send(record).unwrap_or_else(|e| panic!("round {round}: {e}"));
        }
    }
    producer.flush().unwrap();
}

#[test]
fn a_name_leads_to_its_present_topic_in_every_partition() {
    let disk = Disk::new();
    let cluster = cluster(&disk, FlushPolicy::Os);
    email(&cluster, 2);
    let producer = cluster.producer().build().unwrap();
    let send = |partition| {
        let delivery = producer.send(Record::to("email").partition(partition));
        delivery.unwrap().wait().unwrap().offset
    };
    send(0);
    cluster.delete_topic("email").unwrap();
    email(&cluster, 5);
    for partition in [1, 4, 0] {
        assert_eq!(send(partition), Some(Offset::ZERO), "partition {partition}");
    }
    cluster.delete_topic("email").unwrap();
    let error = producer.send(Record::to("email")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownTopicOrPartition);
}

/// Everything sent before the close is in the log or has failed, and everybody is told.
#[test]
fn closing_under_load_loses_nothing_that_was_acknowledged_and_answers_everybody() {
    for (round, policy) in
        [FlushPolicy::OnAck, FlushPolicy::Os].into_iter().cycle().take(60).enumerate()
    {
        let disk = Disk::new();
        let cluster = cluster(&disk, policy);
        let email = email(&cluster, 2);
        let linger = Duration::from_millis(if round % 3 == 0 { 3_600_000 } else { 0 });
        let acknowledged = thread::scope(|scope| {
            let senders = (0..3).map(|thread| {
                let acks = if thread == 0 { Acks::Leader } else { Acks::All };
                let producer = cluster.producer().acks(acks).linger(linger).build().unwrap();
                let email = email.clone();
                scope.spawn(move || {
                    let mut deliveries = Vec::new();
                    loop {
                        match producer.send(Record::to(&email).value("v")) {
                            Ok(delivery) => deliveries.push(delivery),
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::Closed);
                                break;
                            }
                        }
                    }
                    let answers = deliveries.iter().map(|delivery| delivery.wait_timeout(LONG));
                    let failed = |kind| assert_eq!(kind, ErrorKind::Closed);
                    answers.filter_map(|a| a.map_err(|e| failed(e.kind())).ok()).count()
                })
            });
            let senders = senders.collect::<Vec<_>>();
            pause(Duration::from_millis(2));
            cluster.close().unwrap();
            senders.into_iter().map(|sender| sender.join().unwrap()).sum::<usize>()
        });
        let cluster = self::cluster(&disk, policy);
        let email = cluster.topic("email").unwrap();
        let ends = email.partitions().into_iter().map(|p| p.watermarks().unwrap().high.value());
        let written = usize::try_from(ends.sum::<i64>()).unwrap();
        assert_eq!(
            written, acknowledged,
            "round {round}: what failed is not there, what did not is"
        );
    }
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let expected = Settings {
        client_id: String::new(),
        acks: Acks::All,
        compression: Compression::None,
        level: None,
        batch_size: 16_384,
        linger: Duration::ZERO,
        buffer_memory: 33_554_432,
        max_block: Duration::from_secs(60),
        max_in_flight: 5,
        max_request_size: 1_048_576,
        ignore_keys: false,
        idempotent: true,
        retries: 2_147_483_647,
        retry_backoff: Duration::from_millis(100),
        retry_backoff_max: Duration::from_secs(1),
        delivery_timeout: Duration::from_secs(120),
    };
    assert_eq!(Settings::read(&Config::new(Scope::Producer)).unwrap(), expected);
}

/// Every setting that has an effect, both ways.
#[test]
fn a_name_sets_what_the_typed_setter_sets() {
    let cluster = Cluster::in_memory().unwrap();
    let plain = || cluster.producer();
    let gzip = || plain().compression(Compression::Gzip);
    let zstd = || plain().compression(Compression::Zstd);
    let settings = |builder: ProducerBuilder| {
        builder.draft.finish().and_then(|config| Settings::read(&config)).unwrap()
    };
    let pairs = [
        (plain(), plain().client_id("me"), "client.id", "me"),
        (plain(), plain().acks(Acks::None), "acks", "0"),
        (plain(), plain().acks(Acks::Leader), "acks", "1"),
        (plain().acks(Acks::None), plain().acks(Acks::All), "acks", "-1"),
        (plain(), plain().compression(Compression::Lz4), "compression.type", "lz4"),
        (plain(), plain().compression(Compression::Snappy), "compression.type", "SNAPPY"),
        (gzip(), gzip().compression_gzip_level(3), "compression.gzip.level", "3"),
        (zstd(), zstd().compression_zstd_level(-1), "compression.zstd.level", "-1"),
        (plain(), plain().batch_size(0), "batch.size", "0"),
        (plain(), plain().linger(Duration::from_millis(5)), "linger.ms", "5"),
        (plain(), plain().linger(Duration::MAX), "linger.ms", "9223372036854775807"),
        (plain(), plain().buffer_memory(1), "buffer.memory", "1"),
        (plain(), plain().max_block(Duration::ZERO), "max.block.ms", "0"),
        (plain(), plain().max_in_flight(1), "max.in.flight.requests.per.connection", "1"),
        (plain(), plain().max_request_size(9), "max.request.size", "9"),
        (plain(), plain().partitioner_ignore_keys(true), "partitioner.ignore.keys", "true"),
        (plain(), plain().enable_idempotence(false), "enable.idempotence", "false"),
        (plain(), plain().retries(3), "retries", "3"),
        (plain(), plain().retry_backoff(Duration::from_millis(7)), "retry.backoff.ms", "7"),
        (plain(), plain().retry_backoff_max(Duration::ZERO), "retry.backoff.max.ms", "0"),
        (plain(), plain().delivery_timeout(Duration::from_secs(9)), "delivery.timeout.ms", "9000"),
    ];
    let mut in_effect = Config::new(Scope::Producer).describe().unwrap();
    in_effect.retain(|entry| entry.in_effect);
    for entry in in_effect {
        assert!(pairs.iter().any(|(.., name, _)| *name == entry.name), "{}", entry.name);
    }
    for (before, typed, name, text) in pairs {
        let unset = settings(before.clone());
        let by_name = settings(before.config(name, text));
        assert_eq!(by_name, settings(typed), "{name}");
        assert_ne!(by_name, unset, "{name}");
    }
}

/// On a disk that holds every write; two records fill a batch.
#[test]
fn a_send_waits_while_as_many_batches_are_on_their_way_as_may_be() {
    for max in [1, 3] {
        let disk = Disk::new();
        let cluster = cluster(&disk, FlushPolicy::Os);
        let email = email(&cluster, 1);
        let producer = cluster.producer().batch_size(1_000).linger(NEVER).max_in_flight(max);
        let producer = producer.build().unwrap();
        let record = || Record::to(&email).value(&[0; 400]);
        producer.send(record()).unwrap().wait().unwrap();
        let (arrivals, go) = disk.hold(CallKind::Write, "email-0/0");
        thread::scope(|scope| {
            scope.spawn(|| (0..3).for_each(|_| drop(producer.send(record()).unwrap())));
            arrivals.recv_timeout(LONG).unwrap();
            let sent = (0..100).take_while(|_| producer.try_send(record()).is_ok());
            assert_eq!(sent.count(), 2 * usize::try_from(max).unwrap());
            drop(go);
        });
        producer.flush().unwrap();
    }
}

struct FlushOnWake(Producer);

impl Wake for FlushOnWake {
    fn wake(self: Arc<Self>) {
        let _ = self.0.flush();
    }
}

/// Nobody is answered with a lock held: who is woken may do anything.
#[test]
fn who_is_woken_by_a_refusal_may_flush() {
    let disk = Disk::new();
    let cluster = cluster(&disk, FlushPolicy::Os);
    let producer = cluster.producer().linger(NEVER).build().unwrap();
    let waker = Waker::from(Arc::new(FlushOnWake(producer.clone())));
    let polled = |delivery: &mut Delivery| {
        assert!(Pin::new(delivery).poll(&mut Context::from_waker(&waker)).is_pending());
    };
    // Who polls has the sender write, which is at something else until the topic is gone.
    let sms = cluster.create_topic(NewTopic::new("sms")).unwrap();
    let (arrivals, go) = disk.hold(CallKind::Write, "sms-0/0");
    let another = cluster.producer().linger(NEVER).build().unwrap();
    let mut other = another.send(Record::to(&sms)).unwrap();
    polled(&mut other);
    arrivals.recv_timeout(LONG).unwrap();
    let mut delivery = producer.send(Record::to(&email(&cluster, 1))).unwrap();
    polled(&mut delivery);
    cluster.delete_topic("email").unwrap();
    drop(go);
    let (done, is_done) = crossbeam_channel::unbounded();
    // Not waited for: it would be for ever.
    let flush = move || done.send(producer.flush());
    thread::Builder::new().spawn(flush).unwrap();
    let _ = is_done.recv_timeout(LONG).expect("the flush waits for itself");
    assert_eq!(delivery.wait().unwrap_err().kind(), ErrorKind::TopicDeleted);
}
