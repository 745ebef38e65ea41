//! Disks that lose power under a cluster at work, which nobody tells: it finds out, ends, and is opened again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brooklet::sim::{Disk, PowerCut, Sim, Simulation};
use brooklet::{Acks, Cluster, ClusterBuilder, Delivery, NewTopic, Offset, Partition, Record};

use crate::report::seeds;

/// Seeds of the quick tier, for each number of brokers.
const SEEDS: u64 = 25;

/// How long it may take, in virtual time, until a cluster that lost its disks has ended.
const PATIENCE: Duration = Duration::from_secs(600);

/// Acknowledged by all replicas in sync: values by partition and offset.
type Acknowledged = Arc<Mutex<BTreeMap<(i32, Offset), u64>>>;

fn builder(disks: &[Disk]) -> ClusterBuilder {
    let numbered = (1..).zip(disks);
    numbered.fold(Cluster::builder(), |builder, (id, disk)| builder.broker_on(id, disk))
}

struct Writing {
    sim: Sim,
    cluster: Cluster,
    acks: Acks,
    acknowledged: Acknowledged,
    is_over: Arc<AtomicBool>,
}

impl Writing {
    /// Sends until it is told to stop, or told that there is no use.
    fn run(self, first: u64) {
        let linger = Duration::from_millis(self.sim.random() % 3);
        let builder = self.cluster.producer().acks(self.acks).batch_size(300).linger(linger);
        let Ok(producer) = builder.enable_idempotence(self.acks == Acks::All).build() else {
            return;
        };
        let mut on_their_way = Vec::new();
        for value in first.. {
            let record = Record::to("email").partition((self.sim.random() % 3) as u32);
            match producer.send(record.value(&value.to_be_bytes())) {
                Ok(delivery) => on_their_way.push((value, delivery)),
                Err(_) => break,
            }
            if self.is_over.load(Ordering::Relaxed) {
                break;
            }
            match self.sim.random() % 4 {
                0 => self.sim.sleep(Duration::from_micros(self.sim.random() % 500)),
                1 => on_their_way.drain(..).for_each(|sent| self.wait(sent)),
                _ => {}
            }
        }
        if self.sim.random().is_multiple_of(2) {
            on_their_way.drain(..).for_each(|sent| self.wait(sent));
        }
    }

    fn wait(&self, (value, delivery): (u64, Delivery)) {
        if let Ok(metadata) = delivery.wait()
            && self.acks == Acks::All
        {
            let place = (metadata.partition.value(), metadata.offset.unwrap());
            self.acknowledged.lock().unwrap().insert(place, value);
        }
    }
}

fn read(partition: &Partition) -> BTreeMap<Offset, u64> {
    let marks = partition.watermarks().unwrap();
    let (mut next, mut found) = (marks.low, BTreeMap::new());
    while next < marks.high {
        for record in &partition.read(next, 1 << 20).unwrap() {
            found.insert(
                record.offset(),
                u64::from_be_bytes(record.value().unwrap().try_into().unwrap()),
            );
            next = record.offset().next();
        }
    }
    found
}

/// Some lives of a cluster, each of which ends with a power cut of one disk or of all.
fn live(sim: &Sim, seed: u64, brokers: usize) {
    let disks = (0..brokers).map(|_| Disk::new()).collect::<Vec<_>>();
    let acknowledged = Acknowledged::default();
    for life in 0..3 {
        let cluster = builder(&disks).open().unwrap();
        let topic = NewTopic::new("email").partitions(3).replication_factor(brokers as u16);
        let email = cluster.create_topic_if_missing(topic).unwrap();
        check(sim, &email.partitions(), &acknowledged);
        let is_over = Arc::new(AtomicBool::new(false));
        let mut producers = Vec::new();
        for (at, acks) in (0..).zip([Acks::All, Acks::All, Acks::Leader, Acks::None]) {
            let (sim, cluster, acknowledged) =
                (sim.clone(), cluster.clone(), Arc::clone(&acknowledged));
            let writing =
                Writing { sim, cluster, acks, acknowledged, is_over: Arc::clone(&is_over) };
            let first = (life * 10 + at) * 1_000_000;
            producers.push(writing.sim.clone().spawn("producer", move || writing.run(first)));
        }
        sim.sleep(Duration::from_micros(500 + sim.random() % 20_000));
        let whose = sim.random() as usize % (brokers + 1);
        for (at, disk) in disks.iter().enumerate() {
            if whose == at || whose == brokers {
                disk.cut_power(PowerCut::Mixes(seed * 100 + life * 10 + at as u64));
            }
        }
        sim.sleep(Duration::from_micros(sim.random() % 20_000));
        is_over.store(true, Ordering::Relaxed);
        let began = sim.elapsed();
        if sim.random().is_multiple_of(2) {
            // What cannot be closed well is closed all the same.
            let _ = cluster.clone().close();
        }
        drop((email, cluster));
        producers.into_iter().for_each(|producer| producer.join());
        assert!(sim.elapsed() - began < PATIENCE, "it took {:?}", sim.elapsed() - began);
    }
    // Nor is anybody left behind who waits.
    if sim.random().is_multiple_of(4) {
        return;
    }
    let cluster = builder(&disks).open().unwrap();
    check(sim, &cluster.topic("email").unwrap().partitions(), &acknowledged);
    cluster.close().unwrap();
}

/// All that was acknowledged is there, once somebody leads.
fn check(sim: &Sim, partitions: &[Partition], acknowledged: &Acknowledged) {
    for partition in partitions {
        let deadline = sim.elapsed() + Duration::from_secs(60);
        while let Err(error) = partition.watermarks() {
            assert!(error.is_retriable() && sim.elapsed() < deadline, "{partition}: {error}");
            sim.sleep(Duration::from_millis(10));
        }
        let found = read(partition);
        let number = partition.id().value();
        for ((_, offset), value) in
            acknowledged.lock().unwrap().iter().filter(|((partition, _), _)| *partition == number)
        {
            assert_eq!(found.get(offset), Some(value), "{partition}@{offset} was acknowledged");
        }
    }
}

/// Nobody waits for good for a disk that is lost, neither those who send nor those who end the cluster.
#[test]
fn a_cluster_whose_disks_lose_power_ends_and_opens_again() {
    for brokers in [1, 3] {
        for seed in seeds(SEEDS) {
            Simulation::new(seed).run(move |sim| live(sim, seed, brokers));
        }
    }
}
