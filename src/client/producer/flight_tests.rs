//! Idempotent producers on disks that fail: what is retried, in which order, and what is given up.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Acks, ErrorKind, FlushPolicy, Offset, PartitionId};
use crate::client::{
    AlterConfig, Cluster, Delivery, Error, NewTopic, Outcome, Producer, ProducerBuilder, Record,
    Topic,
};
use crate::env::{Baton, CallKind, Disk, Failure, Fault, Handle, Runtime};
use crate::record::{Batch, BatchProducer};

/// A cluster with one topic, of one partition.
fn cluster(disk: &Disk, policy: FlushPolicy) -> (Cluster, Topic) {
    let cluster = Cluster::builder().flush_policy(policy).open_on(disk).unwrap();
    let topic = cluster.create_topic(NewTopic::new("email")).unwrap();
    (cluster, topic)
}

fn values(topic: &Topic) -> Vec<String> {
    let records = topic.partition(0).unwrap().read(Offset::ZERO, 1 << 20).unwrap();
    let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
    records.iter().map(|record| text(record.value())).collect()
}

/// Who the batches in the log say that they are from, with their numbers of records.
fn producers(topic: &Topic) -> Vec<(Option<BatchProducer>, u32)> {
    let replica = topic.core().leader(topic.image(), PartitionId::ZERO).unwrap();
    let fetched = replica.log().read(Offset::ZERO, 1 << 20, replica.log().end()).unwrap();
    let says = |batch: &Batch| (batch.header().producer(), batch.header().record_count());
    fetched.batches.iter().map(says).collect()
}

/// Writes to the partition's log fail, so many times.
fn failing_writes(times: u64) -> Fault {
    failing(io::ErrorKind::Other, times)
}

fn failing(error: io::ErrorKind, times: u64) -> Fault {
    Fault::new(error).on(CallKind::Write).at("email-0/0").times(times)
}

fn send(producer: &Producer, topic: &Topic, value: &str) -> Delivery {
    producer.send(Record::to(topic).value(value)).unwrap()
}

pub(super) fn simulate(seeds: u64, program: impl Fn(&Arc<Baton>) + Copy + Send + 'static) {
    for seed in 0..seeds {
        match Baton::run(seed, move |sim| program(sim)) {
            Ok(((), _)) => {}
            Err(Failure::Stuck(why)) => panic!("seed {seed}: {why}"),
            Err(Failure::Panicked(payload)) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(payload)
            }
        }
    }
}

fn elapsed(sim: &Arc<Baton>) -> Duration {
    sim.now().as_duration()
}

#[test]
fn batches_count_their_records_under_the_producers_id() {
    let (cluster, topic) = cluster(&Disk::new(), FlushPolicy::OnAck);
    let [first, second] = [(); 2].map(|()| cluster.producer().build().unwrap());
    for (producer, count) in [(&first, 3), (&second, 1), (&first, 2)] {
        let sent = (0..count).map(|_| send(producer, &topic, "v")).collect::<Vec<_>>();
        sent.into_iter().for_each(|delivery| _ = delivery.wait().unwrap());
    }
    let batches = producers(&topic);
    let of = |producer: &Producer| {
        let mine = batches.iter().filter(|(p, _)| p.map(|p| p.id) == producer.inner.id);
        let mut next = 0;
        for (says, count) in mine {
            assert_eq!(says.unwrap().base_sequence, Some(next));
            next += i32::try_from(*count).unwrap();
        }
        next
    };
    assert_eq!((of(&first), of(&second)), (5, 1));
    assert_ne!(first.inner.id, second.inner.id);
}

/// A full disk, for a while: every record is there once, in the order in which it was sent.
#[test]
fn what_could_not_be_written_is_tried_again_in_order() {
    simulate(60, |sim| {
        let disk = Disk::new();
        let (cluster, topic) = cluster(&disk, FlushPolicy::OnAck);
        let producer = cluster.producer().batch_size(100).build().unwrap();
        send(&producer, &topic, "first").wait().unwrap();
        disk.fail(failing_writes(1 + sim.random() % 4));
        let expected = (0..30).map(|n| format!("{n} {}", "x".repeat(40))).collect::<Vec<_>>();
        let sent = expected.iter().map(|value| send(&producer, &topic, value)).collect::<Vec<_>>();
        for (at, delivery) in sent.into_iter().enumerate() {
            let metadata = delivery.wait().unwrap();
            assert_eq!(metadata.offset, Offset::new(i64::try_from(at).unwrap() + 1));
        }
        assert_eq!(values(&topic)[1..], expected);
        assert!(elapsed(sim) > Duration::from_millis(80), "it was waited for the disk");
    });
}

/// Several threads, several producers; the disk fails now and then.
#[test]
fn retries_of_many_threads_make_no_duplicates_and_keep_each_threads_order() {
    simulate(40, |sim| {
        let disk = Disk::new();
        let (cluster, topic) = cluster(&disk, FlushPolicy::Os);
        let shared = cluster.producer().batch_size(120).build().unwrap();
        let threads = (0..3).map(|thread| {
            let own = cluster.producer().batch_size(60).build().unwrap();
            let producer = if thread == 0 { own } else { shared.clone() };
            let topic = topic.clone();
            sim.spawn_user("sender", move || {
                let values = (0..25).map(|n| format!("{thread} {n:02}")).collect::<Vec<_>>();
                let sent = values.iter().map(|value| send(&producer, &topic, value));
                let sent = sent.collect::<Vec<_>>();
                sent.into_iter().for_each(|delivery| _ = delivery.wait().unwrap());
                values
            })
            .unwrap()
        });
        let threads = threads.collect::<Vec<_>>();
        for _ in 0..6 {
            sim.sleep(Duration::from_micros(sim.random() % 60));
            disk.fail(failing_writes(1));
        }
        let sent = threads.into_iter().map(Handle::join).collect::<Vec<_>>();
        let all = values(&topic);
        assert_eq!(all.len(), 75);
        for of_thread in sent {
            let first = of_thread[0].split(' ').next().unwrap().to_owned();
            let found = all.iter().filter(|value| value.split(' ').next() == Some(&first));
            assert!(found.eq(&of_thread));
        }
    });
}

/// One that is too large for the topic, among others: they are written, once, under a new epoch where need be.
#[test]
fn a_batch_that_can_never_be_written_does_not_stop_those_behind_it() {
    simulate(40, |sim| {
        let disk = Disk::new();
        let (cluster, topic) = cluster(&disk, FlushPolicy::OnAck);
        let producer = cluster.producer().batch_size(0).build().unwrap();
        send(&producer, &topic, "0").wait().unwrap();
        topic.alter_config(AlterConfig::new().set("max.message.bytes", 200)).unwrap();
        let large = "x".repeat(300);
        let values = ["1", "2", &large, "3", "4", &large, "5"];
        let sent = values.map(|value| (value, send(&producer, &topic, value)));
        for (value, delivery) in sent {
            let result = delivery.wait();
            let is_large = value.len() > 1;
            assert_eq!(result.is_err(), is_large, "{result:?}");
            let kind = result.err().map(|error| (error.kind(), error.outcome()));
            assert!(kind.is_none_or(|k| k == (ErrorKind::MessageTooLarge, Outcome::NotWritten)));
        }
        assert_eq!(self::values(&topic), ["0", "1", "2", "3", "4", "5"]);
        let epochs = producers(&topic).into_iter().map(|(says, _)| says.unwrap().epoch);
        let epochs = epochs.map(|epoch| epoch.value()).collect::<Vec<_>>();
        assert!(epochs.is_sorted() && epochs.last() > Some(&0), "{epochs:?}");
        assert!(producer.flush().is_err(), "the failures are told once more");
        let _sim = sim;
    });
}

#[test]
fn a_record_is_given_up_in_time_and_those_after_it_are_not() {
    simulate(20, |sim| {
        let disk = Disk::new();
        let (cluster, topic) = cluster(&disk, FlushPolicy::OnAck);
        let limit = Duration::from_secs(3);
        let producer = cluster.producer().delivery_timeout(limit).build().unwrap();
        disk.fail(failing_writes(u64::MAX));
        let began = elapsed(sim);
        let error = send(&producer, &topic, "lost").wait().unwrap_err();
        let took = elapsed(sim) - began;
        assert!(took > limit / 3 && took < limit * 2, "{took:?}");
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Storage, Outcome::NotWritten));
        disk.heal();
        send(&producer, &topic, "kept").wait().unwrap();
        assert_eq!(values(&topic), ["kept"]);
    });
}

/// A sync that does not come back: nobody waits longer than was agreed, and is not told that nothing was written.
#[test]
fn a_disk_that_hangs_does_not_hold_a_delivery_for_ever() {
    simulate(20, |sim| {
        let disk = Disk::new();
        let (cluster, topic) = cluster(&disk, FlushPolicy::OnAck);
        let producer = cluster.producer().delivery_timeout(Duration::from_secs(3)).build().unwrap();
        send(&producer, &topic, "first").wait().unwrap();
        let slow = Arc::clone(sim);
        disk.on_call(move |call| {
            if call.kind == CallKind::Sync && call.path.to_string_lossy().contains("email-0/0") {
                slow.sleep(Duration::from_secs(10));
            }
            Ok(())
        });
        let delivery = send(&producer, &topic, "late");
        let began = elapsed(sim);
        let error = sim.block_on(delivery).unwrap_err();
        assert!(elapsed(sim) - began < Duration::from_secs(5));
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::TimedOut, Outcome::Unknown));
        disk.heal();
        sim.sleep(Duration::from_secs(10));
        send(&producer, &topic, "after").wait().unwrap();
        assert_eq!(values(&topic), ["first", "late", "after"]);
    });
}

#[test]
fn without_retries_the_first_failure_counts() {
    let disk = Disk::new();
    let (cluster, topic) = cluster(&disk, FlushPolicy::OnAck);
    let producer = cluster.producer().retries(0).build().unwrap();
    assert_eq!(producer.inner.id, None, "which needs retries");
    send(&producer, &topic, "first").wait().unwrap();
    disk.fail(failing_writes(1));
    let error = send(&producer, &topic, "lost").wait().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Storage, Outcome::NotWritten));
    send(&producer, &topic, "second").wait().unwrap();
    assert_eq!(values(&topic), ["first", "second"]);
}

/// Trying again would make no room, and who waits could.
#[test]
fn a_full_disk_is_told_at_once() {
    simulate(20, |sim| {
        let disk = Disk::new();
        let (cluster, topic) = cluster(&disk, FlushPolicy::OnAck);
        let producer = cluster.producer().build().unwrap();
        send(&producer, &topic, "first").wait().unwrap();
        disk.fail(failing(io::ErrorKind::StorageFull, u64::MAX));
        let began = elapsed(sim);
        let error = send(&producer, &topic, "lost").wait().unwrap_err();
        assert!(elapsed(sim) - began < Duration::from_millis(10));
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::StorageFull, Outcome::NotWritten));
        disk.heal();
        send(&producer, &topic, "second").wait().unwrap();
        assert_eq!(values(&topic), ["first", "second"]);
    });
}

/// Closing does not wait for a disk to get well.
#[test]
fn what_is_held_when_the_cluster_closes_is_tried_once_more() {
    for heals in [false, true] {
        simulate(10, move |_| {
            let disk = Disk::new();
            let (cluster, topic) = cluster(&disk, FlushPolicy::OnAck);
            let minute = Duration::from_secs(60);
            let producer = cluster.producer().retry_backoff(minute).retry_backoff_max(minute);
            let producer = producer.build().unwrap();
            send(&producer, &topic, "first").wait().unwrap();
            disk.fail(failing_writes(if heals { 1 } else { u64::MAX }));
            let delivery = send(&producer, &topic, "held");
            assert!(delivery.wait_timeout(Duration::from_secs(1)).is_err());
            let _closed = cluster.close();
            let result = delivery.wait_timeout(Duration::ZERO);
            assert_eq!(result.is_ok(), heals, "{result:?}");
            let undecided = result.is_err_and(|error| error.kind() == ErrorKind::TimedOut);
            assert!(!undecided, "everybody is told");
        });
    }
}

#[test]
fn idempotence_that_is_asked_for_needs_what_it_needs() {
    let cluster = Cluster::in_memory().unwrap();
    let kind = |builder: ProducerBuilder| {
        builder.build().map(|p| p.inner.id.is_some()).map_err(|e: Error| e.kind())
    };
    let plain = || cluster.producer();
    let refused = Err(ErrorKind::InvalidConfig);
    assert_eq!(kind(plain()), Ok(true));
    assert_eq!(kind(plain().acks(Acks::Leader)), Ok(false), "as a default it gives way");
    assert_eq!(kind(plain().acks(Acks::Leader).enable_idempotence(true)), refused);
    assert_eq!(kind(plain().retries(0).enable_idempotence(true)), refused);
    assert_eq!(kind(plain().enable_idempotence(false)), Ok(false));
    let (short, long) = (Duration::from_secs(1), Duration::from_secs(2));
    assert_eq!(kind(plain().delivery_timeout(short).linger(long)), refused);
    assert_eq!(kind(plain().linger(Duration::from_secs(500))), Ok(true), "the default gives way");
}

/// Exactly as many batches as may be are unacknowledged, whoever closes them.
#[test]
fn no_more_batches_are_out_than_may_be() {
    simulate(30, |sim| {
        let disk = Disk::new();
        let (cluster, topic) = cluster(&disk, FlushPolicy::OnAck);
        let producer = cluster.producer().batch_size(0).max_in_flight(2).build().unwrap();
        send(&producer, &topic, "first").wait().unwrap();
        let threads = (0..3).map(|thread| {
            let (producer, topic) = (producer.clone(), topic.clone());
            sim.spawn_user("sender", move || {
                for n in 0..10 {
                    let delivery = send(&producer, &topic, &format!("{thread} {n}"));
                    match n % 3 {
                        0 => _ = delivery.wait().unwrap(),
                        1 => producer.flush().unwrap(),
                        _ => drop(delivery),
                    }
                    let accumulators = producer.inner.accumulators();
                    let unfinished = accumulators.iter().map(|a| a.unfinished().len());
                    // One of them is open.
                    assert!(unfinished.max() <= Some(3));
                }
            })
            .unwrap()
        });
        let threads = threads.collect::<Vec<_>>();
        threads.into_iter().for_each(Handle::join);
        producer.flush().unwrap();
        assert_eq!(values(&topic).len(), 31);
        let _kept: Arc<_> = producer.inner.clone();
    });
}
