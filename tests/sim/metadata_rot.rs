//! Rot in the metadata log: what one store's copy has lost the others give back, if what they have is the same log.

use std::time::Duration;

use brooklet::sim::{Disk, PowerCut, Simulation};
use brooklet::{Cluster, ClusterBuilder, ErrorKind, NewTopic, Record};

const LOG: &str = "/__brooklet_metadata-0/00000000000000000000.log";
const MARKER: &str = "/.kafka_cleanshutdown";

fn on<'a>(disks: impl IntoIterator<Item = (i32, &'a Disk)>) -> ClusterBuilder {
    let add = |builder: ClusterBuilder, (id, disk)| builder.broker_on(id, disk);
    disks.into_iter().fold(Cluster::builder(), add)
}

fn numbered(disks: &[Disk]) -> impl Iterator<Item = (i32, &Disk)> {
    (1..).zip(disks)
}

fn create(cluster: &Cluster, name: &str) {
    cluster.create_topic(NewTopic::new(name)).unwrap();
}

fn topics(cluster: &Cluster) -> Vec<String> {
    cluster.topics().unwrap().iter().map(ToString::to_string).collect()
}

/// Stores of a cluster that was closed, with topics whose names are these.
fn stores(count: usize, names: &[&str]) -> Vec<Disk> {
    let disks = (0..count).map(|_| Disk::new()).collect::<Vec<_>>();
    let cluster = on(numbered(&disks)).open().unwrap();
    names.iter().for_each(|name| create(&cluster, name));
    cluster.close().unwrap();
    disks
}

/// Where each batch begins, and where the last one ends.
fn batches(log: &[u8]) -> Vec<usize> {
    let mut starts = vec![0];
    while let Some(length) = log.get(starts[starts.len() - 1] + 8..).and_then(|l| l.first_chunk()) {
        starts.push(starts[starts.len() - 1] + 12 + u32::from_be_bytes(*length) as usize);
    }
    starts
}

fn flip(disk: &Disk, position: usize) {
    let byte = disk.read(LOG).unwrap()[position];
    disk.damage(LOG, position as u64, &[byte ^ 0x10]).unwrap();
}

/// Whether the report of the open tells of a repair of that broker's copy, and of nothing that is left.
fn is_repaired(cluster: &Cluster, broker: i32) -> bool {
    let report = cluster.open_report();
    let mut found = report.partitions.iter().filter(|found| found.broker.value() == broker);
    let copy = found.find(|found| found.partition.topic.as_str() == "__brooklet_metadata");
    copy.is_some_and(|copy| !copy.repaired.is_empty() && copy.damage.is_none())
}

/// R6: every part of every batch, in each of the stores, however they were left.
#[test]
fn a_damaged_copy_of_the_metadata_is_repaired_from_another() {
    for (count, clean) in [(2, true), (2, false), (3, true), (3, false)] {
        Simulation::new(0).run(move |sim| {
            let good = stores(count, &["email", "sms"]);
            if !clean {
                let cluster = on(numbered(&good)).open().unwrap();
                // Long enough for the recovery points to be written.
                sim.sleep(Duration::from_millis(1_500));
                good.iter().for_each(|disk| disk.cut_power(PowerCut::LosesAll));
                drop(cluster);
            }
            let log = good[0].read(LOG).unwrap();
            let starts = batches(&log);
            let ends = starts.iter().skip(1);
            for (begin, end) in starts.iter().zip(ends) {
                for (position, at) in [(7, 0), (10, 1), (18, 0), (30, 1), (end - begin - 1, 0)] {
                    let disks = good.iter().map(|disk| disk.image(PowerCut::KeepsAll));
                    let disks = disks.collect::<Vec<_>>();
                    flip(&disks[at], begin + position);
                    let cluster = on(numbered(&disks)).open().unwrap_or_else(|error| {
                        panic!("byte {position} of the batch at {begin}, clean {clean}: {error}")
                    });
                    assert!(
                        is_repaired(&cluster, at as i32 + 1),
                        "byte {position} of the batch at {begin}, clean {clean}"
                    );
                    assert_eq!(topics(&cluster), ["email", "sms"]);
                    create(&cluster, "push");
                    assert_eq!(cluster.describe().unwrap().metadata_isr.len(), count);
                    cluster.close().unwrap();
                    let copies = disks.iter().map(|disk| disk.read(LOG).unwrap());
                    let copies = copies.collect::<Vec<_>>();
                    assert_eq!(copies[0][..log.len()], log, "byte for byte");
                    assert!(copies.iter().all(|copy| copy[..log.len()] == log));
                }
            }
        });
    }
}

/// What was torn above the part that is durable is cut, as ever, and copied anew.
#[test]
fn a_damaged_copy_with_a_torn_end_gets_both_from_another() {
    Simulation::new(0).run(|sim| {
        let good = stores(2, &["email"]);
        let cluster = on(numbered(&good)).open().unwrap();
        // Long enough for the recovery points to be written.
        sim.sleep(Duration::from_millis(1_500));
        let durable = batches(&good[0].read(LOG).unwrap()).len() - 1;
        ["a", "b", "c"].iter().for_each(|name| create(&cluster, name));
        let images = good.iter().map(|disk| disk.image(PowerCut::KeepsAll)).collect::<Vec<_>>();
        cluster.close().unwrap();
        for at in [0, 1] {
            let disks = images.iter().map(|disk| disk.image(PowerCut::KeepsAll));
            let disks = disks.collect::<Vec<_>>();
            let starts = batches(&disks[at].read(LOG).unwrap());
            flip(&disks[at], starts[0] + 40);
            flip(&disks[at], starts[durable] + 40);
            let cluster = on(numbered(&disks)).open().unwrap();
            assert!(is_repaired(&cluster, at as i32 + 1));
            create(&cluster, "sms");
            assert_eq!(topics(&cluster), ["a", "b", "c", "email", "sms"]);
            assert_eq!(cluster.describe().unwrap().metadata_isr.len(), 2);
            cluster.close().unwrap();
            assert_eq!(disks[0].read(LOG).unwrap(), disks[1].read(LOG).unwrap());
        }
    });
}

#[test]
fn copies_that_are_damaged_in_different_places_repair_each_other() {
    Simulation::new(0).run(|_| {
        let disks = stores(2, &["email", "sms"]);
        let log = disks[0].read(LOG).unwrap();
        let starts = batches(&log);
        flip(&disks[0], starts[0] + 40);
        flip(&disks[1], starts[1] + 40);
        let cluster = on(numbered(&disks)).open().unwrap();
        assert!(is_repaired(&cluster, 1) && is_repaired(&cluster, 2));
        assert_eq!(topics(&cluster), ["email", "sms"]);
    });
}

/// The last good copy is never given up for one that is not: what to do is for whoever opens the stores.
#[test]
fn metadata_that_is_damaged_everywhere_is_refused_and_nothing_is_changed() {
    for count in [1, 3] {
        Simulation::new(0).run(move |_| {
            let disks = stores(count, &["email"]);
            let position = batches(&disks[0].read(LOG).unwrap())[1] + 40;
            disks.iter().for_each(|disk| flip(disk, position));
            let before = disks.iter().map(|disk| disk.read(LOG).unwrap()).collect::<Vec<_>>();
            let error = on(numbered(&disks)).open().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
            assert!(error.to_string().contains("put back a copy"), "{error}");
            let after = disks.iter().map(|disk| disk.read(LOG).unwrap());
            assert_eq!(after.collect::<Vec<_>>(), before);
            disks.iter().for_each(|disk| flip(disk, position));
            let cluster = on(numbered(&disks)).open().unwrap();
            assert_eq!(topics(&cluster), ["email"]);
        });
    }
}

/// Stores that have stayed behind have no part in what came after: not to be known from their own logs.
#[test]
fn what_only_a_damaged_copy_knew_is_not_made_up_from_older_ones() {
    Simulation::new(0).run(|_| {
        let disks = stores(3, &["email"]);
        let cluster = on(numbered(&disks)).open().unwrap();
        let shared = batches(&disks[0].read(LOG).unwrap()).len() - 2;
        for id in [2, 3] {
            cluster.broker(id).unwrap().stop().unwrap();
        }
        create(&cluster, "sms");
        cluster.close().unwrap();
        let starts = batches(&disks[0].read(LOG).unwrap());
        for (at, batch) in starts.iter().take(starts.len() - 1).enumerate() {
            let again = disks.iter().map(|disk| disk.image(PowerCut::KeepsAll));
            let again = again.collect::<Vec<_>>();
            flip(&again[0], batch + 40);
            match on(numbered(&again)).open() {
                Ok(cluster) => {
                    assert!(is_repaired(&cluster, 1));
                    assert_eq!(topics(&cluster), ["email", "sms"], "batch {at} of {shared}");
                }
                Err(error) => {
                    assert!(at > shared, "batch {at} of {shared}: {error}");
                    assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
                    flip(&again[0], batch + 40);
                    let cluster = on(numbered(&again)).open().unwrap();
                    assert_eq!(topics(&cluster), ["email", "sms"]);
                }
            }
        }
    });
}

/// Not even if a loss is accepted, as long as there need be none.
#[test]
fn a_copy_that_can_be_repaired_is_not_left_out() {
    Simulation::new(0).run(|sim| {
        let disks = stores(2, &["email"]);
        let cluster = on(numbered(&disks)).open().unwrap();
        cluster.broker(2).unwrap().stop().unwrap();
        create(&cluster, "sms");
        // Long enough for the recovery points to be written.
        sim.sleep(Duration::from_millis(1_500));
        let image = disks[0].image(PowerCut::LosesAll);
        cluster.close().unwrap();
        flip(&image, 40);
        let both = [(1, &image), (2, &disks[1])];
        let cluster = on(both).accept_metadata_loss(true).open().unwrap();
        assert_eq!(topics(&cluster), ["email", "sms"]);
        assert!(is_repaired(&cluster, 1));
    });
}

/// Their terms have the same numbers, and are not the same.
#[test]
fn a_copy_is_not_repaired_from_one_that_has_gone_on_separately() {
    Simulation::new(0).run(|_| {
        let disks = stores(2, &["email"]);
        let shared = batches(&disks[0].read(LOG).unwrap()).len() - 1;
        for (id, name) in [(1, "sms"), (2, "push")] {
            let alone = on([(id, &disks[id as usize - 1])]).accept_metadata_loss(true);
            let cluster = alone.open().unwrap();
            create(&cluster, name);
            cluster.close().unwrap();
        }
        for at in [0, 1] {
            let starts = batches(&disks[at].read(LOG).unwrap());
            for batch in &starts[shared..starts.len() - 1] {
                let again = disks.iter().map(|disk| disk.image(PowerCut::KeepsAll));
                let again = again.collect::<Vec<_>>();
                flip(&again[at], batch + 40);
                let before = again.iter().map(|disk| disk.read(LOG).unwrap()).collect::<Vec<_>>();
                on(numbered(&again)).open().unwrap_err();
                let after = again.iter().map(|disk| disk.read(LOG).unwrap());
                assert_eq!(after.collect::<Vec<_>>(), before);
            }
        }
    });
}

/// A store that is left out is not asked, and one that comes back later gets what it lacks as a follower.
#[test]
fn a_damaged_copy_can_be_left_out_and_comes_back_as_a_follower() {
    Simulation::new(0).run(|sim| {
        let disks = stores(3, &["email"]);
        flip(&disks[2], batches(&disks[2].read(LOG).unwrap())[1] + 40);
        disks[2].remove(MARKER).unwrap();
        let cluster = on(numbered(&disks[..2])).accept_metadata_loss(true).open().unwrap();
        create(&cluster, "sms");
        cluster.close().unwrap();
        let cluster = on(numbered(&disks)).open().unwrap();
        let deadline = sim.elapsed() + Duration::from_secs(10);
        while cluster.describe().unwrap().metadata_isr.len() < 3 {
            assert!(sim.elapsed() < deadline, "{:?}", cluster.describe());
            sim.sleep(Duration::from_millis(10));
        }
        let producer = cluster.producer().build().unwrap();
        producer.send(Record::to("sms").value("welcome")).unwrap().wait().unwrap();
        cluster.close().unwrap();
        assert_eq!(disks[2].read(LOG).unwrap(), disks[0].read(LOG).unwrap());
    });
}
