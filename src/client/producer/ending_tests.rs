//! How batches end when the cluster closes, their topic goes or the disk hangs: each is answered, and what was accepted
//! before a close is written.

use std::sync::Arc;
use std::time::Duration;

use futures_executor::block_on;

use crate::base::{ErrorKind, FlushPolicy, Offset};
use crate::client::producer::flight_tests::simulate;
use crate::client::{Cluster, Delivery, NewTopic, Outcome, Producer, Record, Topic};
use crate::env::{Baton, CallKind, Disk, Runtime};

fn cluster(disk: &Disk) -> Cluster {
    let policy = FlushPolicy::OnAck;
    let topic = NewTopic::new("email").partitions(3);
    let cluster = Cluster::builder().flush_policy(policy).create_topic_if_missing(topic);
    cluster.open_on(disk).unwrap()
}

fn send(producer: &Producer, topic: &Topic, partition: u32, value: &str) -> Delivery {
    producer.send(Record::to(topic).partition(partition).value(value)).unwrap()
}

fn values(topic: &Topic, partition: u32) -> Vec<String> {
    let records = topic.partition(partition).unwrap().read(Offset::ZERO, 1 << 20).unwrap();
    let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
    records.iter().map(|record| text(record.value())).collect()
}

/// Calls of this kind for the log of partition 0 take so long.
fn slow(sim: &Arc<Baton>, disk: &Disk, kind: CallKind, time: Duration) {
    let sim = Arc::clone(sim);
    disk.on_call(move |call| {
        if call.kind == kind && call.path.to_string_lossy().contains("email-0/0") {
            sim.sleep(time);
        }
        Ok(())
    });
}

/// The second batch of all is not with the log before the first one is in; nor are more than may be. Nobody waits.
#[test]
fn what_was_sent_before_a_close_is_there_after_it() {
    simulate(300, |sim| {
        let disk = Disk::new();
        let first = cluster(&disk);
        let topic = first.topic("email").unwrap();
        slow(sim, &disk, CallKind::Sync, Duration::from_micros(sim.random() % 300));
        let in_flight = 1 + u32::try_from(sim.random() % 3).unwrap();
        let linger = Duration::from_micros(sim.random() % 2 * 50);
        let producer = first.producer().max_in_flight(in_flight).batch_size(100).linger(linger);
        let producer = producer.build().unwrap();
        let waits = {
            let (producer, topic) = (producer.clone(), topic.clone());
            sim.spawn_user("waits", move || {
                for partition in 0..3 {
                    let record = Record::to(&topic).partition(partition).value("waited for");
                    // The cluster may be closed by now.
                    let _told = producer.send(record).and_then(Delivery::wait);
                }
            })
            .unwrap()
        };
        let expected = (0..12).map(|n| format!("{n} {}", "x".repeat(30))).collect::<Vec<_>>();
        for value in &expected {
            for partition in 0..3 {
                drop(send(&producer, &topic, partition, value));
            }
        }
        if sim.random().is_multiple_of(2) {
            drop(producer);
        }
        first.close().unwrap();
        drop(topic);
        disk.heal();
        let topic = cluster(&disk).topic("email").unwrap();
        for partition in 0..3 {
            let mut found = values(&topic, partition);
            found.retain(|value| value != "waited for");
            assert_eq!(found, expected, "partition {partition}");
        }
        waits.join();
    });
}

#[test]
fn deleting_a_topic_answers_every_batch() {
    simulate(100, |sim| {
        let disk = Disk::new();
        let cluster = cluster(&disk);
        let topic = cluster.topic("email").unwrap();
        slow(sim, &disk, CallKind::Sync, Duration::from_millis(1));
        let producer = cluster.producer().batch_size(0).build().unwrap();
        let sent = (0..5).map(|_| send(&producer, &topic, 0, "v")).collect::<Vec<_>>();
        sim.sleep(Duration::from_micros(sim.random() % 3_000));
        cluster.delete_topic("email").unwrap();
        for delivery in sent {
            if let Err(error) = delivery.wait() {
                assert_eq!(error.kind(), ErrorKind::TopicDeleted, "{error:?}");
            }
        }
        let _told = producer.flush();
        assert_eq!(producer.inner.memory.used(), 0);
    });
}

/// The first batch of all hangs: those behind it are held, and are not in the log.
#[test]
fn what_is_held_behind_a_batch_that_hangs_is_given_up_in_time() {
    simulate(20, |sim| {
        let disk = Disk::new();
        let cluster = cluster(&disk);
        let topic = cluster.topic("email").unwrap();
        let producer = cluster.producer().batch_size(0).delivery_timeout(Duration::from_secs(3));
        let producer = producer.build().unwrap();
        slow(sim, &disk, CallKind::Sync, Duration::from_secs(10));
        let sent = ["first", "second", "third"].map(|value| send(&producer, &topic, 0, value));
        let outcomes = sent.map(|delivery| sim.block_on(delivery).unwrap_err().outcome());
        assert!(sim.now().as_duration() < Duration::from_secs(5));
        assert_eq!(outcomes, [Outcome::Unknown, Outcome::NotWritten, Outcome::NotWritten]);
        disk.heal();
        sim.sleep(Duration::from_secs(10));
        send(&producer, &topic, 0, "fourth").wait().unwrap();
        assert_eq!(values(&topic, 0), ["first", "fourth"]);
    });
}

/// It is the sender who hangs, who writes what nobody waits for.
#[test]
fn a_write_that_hangs_holds_no_delivery_for_ever() {
    let disk = Disk::new();
    let cluster = cluster(&disk);
    let topic = cluster.topic("email").unwrap();
    let producer = cluster.producer().delivery_timeout(Duration::from_millis(50)).build().unwrap();
    let (arrivals, go) = disk.hold(CallKind::Write, "email-0/0");
    let delivery = send(&producer, &topic, 0, "late");
    arrivals.recv().unwrap();
    let error = block_on(delivery).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::TimedOut, Outcome::Unknown));
    disk.heal();
    drop(go);
    send(&producer, &topic, 0, "after").wait().unwrap();
    assert_eq!(values(&topic, 0), ["late", "after"]);
}
