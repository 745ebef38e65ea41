//! Clusters of several brokers that crash, stop, stall and lose sight of each other (suite T3).
//!
//! Method: a seed draws a cluster, topics, clients and what an operator does to them (swarm testing: each seed has
//! other faults switched on). In the end all is mended. Then everything must come back by itself within bounded
//! time: all replicas in sync, producers served, consumers at the end. What clients saw is checked as in suite T4,
//! replicas must be equal byte by byte, and a cluster opened anew from the disks must have the same.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use brooklet::sim::history::{Recorder, Rules, check};
use brooklet::sim::{CallKind, Disk, Fault, Joining, PowerCut, Sim, Simulation};
use brooklet::{
    Acks, BrokerId, Cluster, ClusterEvent, ClusterEvents, Consumer, ConsumerRecord, Delivery,
    ElectionKind, LeaderEpoch, NewTopic, Offset, Partition, Record, ReplicaSelector, Timestamp,
    TopicPartition,
};

use crate::replication_plan::{Act, Plan, Sender};
use crate::report::{Lived, full, run_seeds};

/// How long a cluster that was mended may take until all is as it should be.
const RECOVERY: Duration = Duration::from_secs(60);

/// Seeds that have found a bug, beyond those that are always run.
const FOUND_A_BUG: [u64; 5] = [1829, 1959, 2375, 6552, 10557];

/// Goal: nothing that was acknowledged is lost or doubled, no two replicas differ, and all recovers by itself.
#[test]
fn replicated_clusters_survive_what_happens_to_brokers() {
    let count = if full() { 100_000 } else { 200 };
    run_seeds("replication", count, &FOUND_A_BUG, live);
}

fn live(seed: u64) -> Lived {
    let recorder = Recorder::new();
    let plan = Plan::draw(seed);
    let (lived, planned) = (recorder.clone(), plan.clone());
    let outcome = Simulation::new(seed).run(move |sim| World::open(planned, &lived).live(sim));
    let history = recorder.history();
    let mut rules = Rules::new().all_read(true);
    for sender in &plan.senders {
        if !sender.idempotent {
            rules = rules.plain_producer(&sender.name);
        }
        if sender.acks != Acks::All {
            rules = rules.weak_acks(&sender.name);
        }
    }
    let report = check(&history, &rules);
    assert!(report.is_ok(), "{report}\n{plan:?}");
    let (faults, compared) = outcome.value;
    Lived {
        trace: outcome.trace,
        ops: history.len() as u64,
        faults,
        records_checked: report.polled() as u64 + compared,
        acked: report.acknowledged() as u64,
    }
}

struct World {
    plan: Plan,
    recorder: Recorder,
    disks: BTreeMap<i32, Disk>,
    cluster: Cluster,
    events: ClusterEvents,
    is_over: Arc<AtomicBool>,
    faults: u64,
}

fn open(plan: &Plan, disks: &BTreeMap<i32, Disk>) -> brooklet::Result<Cluster> {
    let mut builder = Cluster::builder()
        .flush_policy(plan.policy)
        .config("replica.lag.time.max.ms", plan.max_lag.as_millis())
        .config("broker.session.timeout.ms", plan.session_timeout.as_millis());
    for (id, disk) in disks {
        builder = builder.broker_on(*id, disk);
        if let Some(rack) = plan.rack(u64::try_from(*id).unwrap()) {
            builder = builder.rack(*id, rack).replica_selector(ReplicaSelector::RackAware);
        }
    }
    builder.open()
}

/// In which term each partition is led.
fn leader_epochs(cluster: &Cluster) -> BTreeMap<TopicPartition, LeaderEpoch> {
    let topics = cluster.topics().unwrap();
    let partitions =
        topics.iter().flat_map(|name| cluster.topic(name.as_str()).unwrap().partitions());
    let term = |partition: Partition| {
        let known = partition.describe().unwrap();
        (partition.topic_partition().clone(), known.leader_epoch)
    };
    partitions.map(term).collect()
}

fn await_recovery(sim: &Sim, cluster: &Cluster, plan: &Plan) {
    let deadline = sim.elapsed() + RECOVERY;
    while let Some(missing) = missing(cluster) {
        assert!(sim.elapsed() < deadline, "not well after {RECOVERY:?}: {missing}\n{plan:?}");
        sim.sleep(Duration::from_millis(100));
    }
}

impl World {
    fn open(plan: Plan, recorder: &Recorder) -> Self {
        let disks = (1..=plan.brokers).map(|id| (id, Disk::new())).collect();
        let cluster = open(&plan, &disks).unwrap();
        let events = cluster.events();
        for topic in &plan.topics {
            let created = NewTopic::new(&topic.name)
                .partitions(topic.partitions)
                .replication_factor(topic.replicas)
                .config("min.insync.replicas", topic.min_isr)
                .config("segment.bytes", plan.segment_bytes);
            cluster.create_topic(created).unwrap();
        }
        let (recorder, is_over) = (recorder.clone(), Arc::default());
        Self { plan, recorder, disks, cluster, events, is_over, faults: 0 }
    }

    /// Returns how many faults there were, and how many batches were compared.
    fn live(mut self, sim: &Sim) -> (u64, u64) {
        let clients = self.begin_clients(sim);
        for act in self.plan.acts.clone() {
            sim.sleep(act.after);
            self.act(sim, &act.what);
        }
        self.mend(sim);
        self.is_over.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(Joining::join);
        await_recovery(sim, &self.cluster, &self.plan);
        self.send_to_all();
        let seen = read_all(&self.recorder, "final", &self.cluster, "");
        self.check_events();
        // Followers hear of the last high watermark without anything behind it.
        await_recovery(sim, &self.cluster, &self.plan);
        self.read_near(sim);
        let Self { cluster, plan, disks, recorder, faults, .. } = self;
        let terms = leader_epochs(&cluster);
        match plan.ends_without_power {
            true => {
                disks.values().for_each(|disk| disk.cut_power(PowerCut::Mixes(sim.random())));
                drop(cluster);
            }
            false => cluster.close().unwrap(),
        }
        let cluster = open(&plan, &disks).unwrap();
        for (partition, term) in leader_epochs(&cluster) {
            assert!(Some(&term) > terms.get(&partition), "{partition} is in term {term} again");
        }
        if plan.ends_without_power {
            // The leaders do not know yet what the others have.
            await_recovery(sim, &cluster, &plan);
        }
        assert_eq!(
            read_all(&recorder, "reopened", &cluster, ""),
            seen,
            "opened anew it is another"
        );
        cluster.close().unwrap();
        (faults, compare_replicas(&disks))
    }

    fn begin_clients(&self, sim: &Sim) -> Vec<Joining<()>> {
        let mut clients = Vec::new();
        for (at, sender) in (1..).zip(self.plan.senders.clone()) {
            let session = self.session(sim);
            let name = sender.name.clone();
            clients.push(sim.spawn(&name, move || session.send(&sender, at * 1_000_000)));
        }
        for at in 0..self.plan.readers {
            let session = self.session(sim);
            let name = format!("reader-{at}");
            let rack = self.plan.rack(at).unwrap_or_default();
            clients.push(sim.spawn(&name.clone(), move || session.read(&name, &rack)));
        }
        clients
    }

    fn session(&self, sim: &Sim) -> Session {
        Session {
            sim: sim.clone(),
            cluster: self.cluster.clone(),
            recorder: self.recorder.clone(),
            topics: self.topics(),
            is_over: Arc::clone(&self.is_over),
        }
    }

    fn topics(&self) -> Vec<(String, u32)> {
        let topics = self.plan.topics.iter();
        topics.map(|topic| (topic.name.clone(), topic.partitions)).collect()
    }

    fn act(&mut self, sim: &Sim, act: &Act) {
        self.faults += 1;
        let broker = |id: &i32| self.cluster.broker(*id).unwrap();
        match act {
            Act::Crash(ids) => {
                let crashes = ids.iter().map(|id| {
                    let (broker, disk) = (broker(id), self.disks[id].clone());
                    let cut = match self.plan.loses_power {
                        true => PowerCut::Mixes(sim.random()),
                        false => PowerCut::KeepsAll,
                    };
                    sim.spawn("crash", move || {
                        broker.crash().unwrap();
                        disk.cut_power(cut);
                    })
                });
                crashes.collect::<Vec<_>>().into_iter().for_each(Joining::join);
            }
            // A disk may have failed.
            Act::Stop(id) => _ = broker(id).stop(),
            Act::Start(id) => _ = broker(id).start(),
            Act::Disconnect(one, other) => broker(one).disconnect(&broker(other)),
            Act::Reconnect(one, other) => broker(one).reconnect(&broker(other)),
            Act::Pause(id) => broker(id).pause(),
            Act::SlowDown(id, delay) => broker(id).slow_down(*delay),
            Act::Resume(id) => broker(id).resume(),
            Act::FailDisk { id, of_sync, after, times } => {
                let kind = if *of_sync { CallKind::Sync } else { CallKind::Write };
                let fault = Fault::new(io::ErrorKind::Other).on(kind).after(*after).times(*times);
                self.disks[id].fail(fault);
            }
            Act::FillDisk(id) => {
                let used = self.disks[id].files().iter().map(|(_, length)| length).sum::<u64>();
                self.disks[id].set_capacity(Some(used + 1_000));
            }
            Act::MendDisk(id) => self.mend_disk(*id),
            Act::ElectPreferred => {
                for (name, partitions) in self.topics() {
                    for index in 0..partitions {
                        let partition =
                            self.cluster.topic(&name).unwrap().partition(index).unwrap();
                        let _ = partition.elect_leader(ElectionKind::Preferred);
                    }
                }
            }
            Act::AddPartition(at) => {
                let topic = self.cluster.topic(&self.plan.topics[*at].name).unwrap();
                // Whether it is done is seen later.
                let _ = topic.increase_partitions_to(topic.partition_count() + 1);
            }
            Act::Reassign { topic, brokers } => {
                let topic = self.cluster.topic(&self.plan.topics[*topic].name).unwrap();
                let index = sim.random() as u32 % topic.partition_count();
                let brokers = brokers.iter().map(|id| broker(id).id()).collect::<Vec<_>>();
                let _ = topic.partition(index).unwrap().reassign(brokers);
            }
            Act::MoveClock { minutes } => {
                let moved = sim.wall_clock().as_millis() + minutes * 60_000;
                sim.set_wall_clock(Timestamp::from_millis(moved).unwrap());
            }
            Act::PassingTopic(replicas) => self.pass_topic(*replicas),
        }
    }

    /// Creates a topic, uses it, and deletes it, as far as that can be done now.
    fn pass_topic(&self, replicas: u16) {
        // Each under its own name: terms are counted anew in each.
        let name = format!("passing-{}", self.faults);
        let topic = NewTopic::new(&name).replication_factor(replicas);
        let Ok(topic) = self.cluster.create_topic(topic) else { return };
        let patience = Duration::from_millis(100);
        let producer = self.cluster.producer().delivery_timeout(patience).build().unwrap();
        for value in 0..3u64 {
            let value = value.to_be_bytes();
            let _ = producer.send(Record::to(&topic).value(&value)).and_then(Delivery::wait);
        }
        let _ = self.cluster.delete_topic(&name);
    }

    /// A disk that failed is given to a new life of its broker.
    fn mend_disk(&self, id: i32) {
        self.disks[&id].heal();
        self.disks[&id].set_capacity(None);
        let broker = self.cluster.broker(id).unwrap();
        let _ = broker.stop();
        let _ = broker.start();
    }

    /// All that can be mended from outside is mended.
    fn mend(&self, sim: &Sim) {
        let mut brokers = self.cluster.brokers();
        for one in &brokers {
            one.resume();
            brokers.iter().for_each(|other| one.reconnect(other));
        }
        for (id, disk) in &self.disks {
            disk.set_capacity(None);
            disk.heal();
            if self.plan.acts.iter().any(|act| act.is_of_disk(*id)) {
                let _ = self.cluster.broker(*id).unwrap().stop();
            }
        }
        // In any order.
        for at in (1..brokers.len()).rev() {
            brokers.swap(at, sim.random() as usize % (at + 1));
        }
        // Those that do not know all of the metadata have to wait for one that does.
        while !brokers.is_empty() {
            let before = brokers.len();
            let mut errors = Vec::new();
            brokers.retain(|broker| broker.start().map_err(|error| errors.push(error)).is_err());
            assert!(
                brokers.len() < before,
                "{brokers:?} do not start: {errors:?}\n{:?}",
                self.plan
            );
        }
        for name in self.cluster.topics().unwrap() {
            if name.as_str().starts_with("passing") {
                self.cluster.delete_topic(name.as_str()).unwrap();
            }
        }
    }

    /// Producers can send to everything.
    fn send_to_all(&self) {
        let client = self.recorder.client("last");
        let producer = self.cluster.producer().delivery_timeout(RECOVERY).build().unwrap();
        let mut value = 0;
        for name in self.cluster.topics().unwrap() {
            let topic = self.cluster.topic(name.as_str()).unwrap();
            for index in 0..topic.partition_count() {
                value += 1;
                let sending = client.send(value);
                let bytes = value.to_be_bytes();
                let record = Record::to(&topic).partition(index).value(&bytes);
                let sent = producer.send(record).and_then(Delivery::wait);
                assert!(sent.is_ok(), "{name}-{index}: {sent:?}\n{:?}", self.plan);
                sending.end(&sent);
            }
        }
    }

    /// Whoever reads the replicas of a rack sees what those see who read the leaders.
    fn read_near(&self, sim: &Sim) {
        let seen = read_all(&self.recorder, "far", &self.cluster, "");
        for rack in 0..self.plan.racks {
            let rack = self.plan.rack(rack).unwrap();
            let near = read_all(&self.recorder, &format!("near-{rack}"), &self.cluster, &rack);
            assert_eq!(near, seen, "in {rack}");
            self.check_sources(sim, &rack);
        }
    }

    /// Where there is a replica in the rack, it is read: soon, for a follower that was late may leave the in-sync set once more
    /// before it is back.
    fn check_sources(&self, sim: &Sim, rack: &str) {
        let mut consumer = self.cluster.consumer().client_rack(rack).build().unwrap();
        let topics = self.cluster.topics().unwrap().into_iter();
        let all = topics.flat_map(|name| self.cluster.topic(name.as_str()).unwrap().partitions());
        let all = all.collect::<Vec<_>>();
        consumer.assign(all.clone()).unwrap();
        let is_near = |id: &BrokerId| {
            self.plan.rack(u64::try_from(id.value()).unwrap()).as_deref() == Some(rack)
        };
        let otherwise = |consumer: &Consumer| {
            all.iter().find_map(|partition| {
                let known = partition.describe().unwrap();
                let read = consumer.read_replica(partition).unwrap();
                let is_as_asked = match known.replicas.iter().any(is_near) {
                    true => is_near(&read),
                    false => known.leader == Some(read),
                };
                (!is_as_asked).then(|| format!("broker {read} is read from {rack}: {known:?}"))
            })
        };
        let step = Duration::from_millis(50);
        for _ in 0..RECOVERY.as_millis() / step.as_millis() {
            while !consumer.poll(Duration::ZERO).unwrap().is_empty() {}
            if otherwise(&consumer).is_none() {
                return;
            }
            sim.sleep(step);
        }
        panic!("{:?}", otherwise(&consumer));
    }

    /// Terms only rise.
    fn check_events(&mut self) {
        let mut terms = BTreeMap::new();
        let mut controllers = 0;
        for event in self.events.by_ref() {
            match event {
                ClusterEvent::LeaderChanged { partition, epoch, .. } => {
                    let before = terms.insert(partition.clone(), epoch);
                    assert!(before < Some(epoch), "{partition}: {before:?} then {epoch:?}");
                }
                ClusterEvent::ControllerChanged { epoch, .. } => {
                    assert!(controllers < epoch, "controllers {controllers} then {epoch}");
                    controllers = epoch;
                }
                _ => {}
            }
        }
    }
}

/// What is not as it should be: a partition without leader, or with a replica that is not in sync, or not the same.
pub(crate) fn missing(cluster: &Cluster) -> Option<String> {
    for name in cluster.topics().unwrap() {
        for partition in cluster.topic(name.as_str()).unwrap().partitions() {
            let known = partition.describe().unwrap();
            let replicas = match partition.replicas() {
                Ok(replicas) => replicas,
                Err(error) => return Some(format!("{}: {error}", partition.topic_partition())),
            };
            let all_in_sync = known.replicas.iter().all(|id| known.isr.contains(id));
            let is_equal = |one: &brooklet::ReplicaDescription| {
                let is_readable = one.high_watermark == one.log_end;
                is_readable && one.log_end == replicas[0].log_end && !one.is_offline
            };
            let is_moved = known.adding.is_empty() && known.removing.is_empty();
            let is_led = known.leader.is_some();
            if !all_in_sync || !is_led || !is_moved || !replicas.iter().all(is_equal) {
                let name = partition.topic_partition();
                return Some(format!("{name}: {known:?}\n{replicas:?}"));
            }
        }
    }
    None
}

fn value(record: &ConsumerRecord<'_>) -> u64 {
    u64::from_be_bytes(record.value().unwrap().try_into().unwrap())
}

/// What a client works with.
struct Session {
    sim: Sim,
    cluster: Cluster,
    recorder: Recorder,
    /// With the numbers of their partitions.
    topics: Vec<(String, u32)>,
    is_over: Arc<AtomicBool>,
}

impl Session {
    /// Sends until it is told to stop.
    fn send(&self, how: &Sender, first: u64) {
        let Self { sim, cluster, recorder, topics, is_over } = self;
        let client = recorder.client(&how.name);
        let producer = cluster
            .producer()
            .acks(how.acks)
            .enable_idempotence(how.idempotent)
            .batch_size(300)
            .linger(how.linger)
            .max_in_flight(how.in_flight)
            .delivery_timeout(how.patience + how.linger)
            .build()
            .unwrap();
        let mut on_their_way = Vec::new();
        for value in first..first + how.records {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let sending = client.send(value);
            let (name, partitions) = &topics[sim.random() as usize % topics.len()];
            let value = value.to_be_bytes();
            let partition = sim.random() as u32 % partitions;
            let record = Record::to(name.as_str()).partition(partition).value(&value);
            match producer.send(record) {
                Ok(delivery) => on_their_way.push((sending, delivery)),
                Err(error) => sending.end(&Err(error)),
            }
            match sim.random() % 4 {
                0 => on_their_way.drain(..).for_each(|(sending, sent)| sending.end(&sent.wait())),
                _ => sim.sleep(how.pause * (sim.random() % 4) as u32),
            }
        }
        on_their_way.drain(..).for_each(|(sending, sent)| sending.end(&Delivery::wait(sent)));
    }

    /// Polls, and now and then asks for watermarks, until it is told to stop.
    fn read(&self, name: &str, rack: &str) {
        let Self { sim, cluster, recorder, topics, is_over } = self;
        let client = recorder.client(name);
        let mut consumer = cluster
            .consumer()
            .config("auto.offset.reset", "none")
            .client_rack(rack)
            .max_poll_records(20)
            .build()
            .unwrap();
        let all =
            topics.iter().flat_map(|(name, _)| cluster.topic(name.as_str()).unwrap().partitions());
        let all = all.collect::<Vec<_>>();
        client.assign(all.iter().map(|partition| (partition, Some(Offset::ZERO))));
        // Somebody leads each of them, sooner or later.
        while let Err(error) = consumer.assign(all.clone()) {
            assert!(error.is_retriable(), "{error}");
            sim.sleep(Duration::from_millis(10));
        }
        consumer.seek_all(Offset::ZERO).unwrap();
        while !is_over.load(Ordering::Relaxed) {
            if sim.random().is_multiple_of(8) {
                let partition = &all[sim.random() as usize % all.len()];
                let query = client.watermarks(partition);
                if let Ok(watermarks) = partition.watermarks() {
                    query.ok(watermarks.low, watermarks.high);
                }
            }
            let polling = client.poll();
            let records = consumer.poll(Duration::from_millis(sim.random() % 200));
            polling.end(&records, value);
            sim.sleep(Duration::from_millis(sim.random() % 20));
        }
        client.crash();
    }
}

type Seen = BTreeMap<TopicPartition, Vec<(Offset, u64)>>;

/// Reads every partition from beginning to end.
fn read_all(recorder: &Recorder, name: &str, cluster: &Cluster, rack: &str) -> Seen {
    let client = recorder.client(name);
    let mut consumer = cluster.consumer().client_rack(rack).build().unwrap();
    let topics = cluster.topics().unwrap();
    let all = topics.iter().flat_map(|name| cluster.topic(name.as_str()).unwrap().partitions());
    let all = all.collect::<Vec<_>>();
    client.assign(all.iter().map(|partition| (partition, Some(Offset::ZERO))));
    consumer.assign(all).unwrap();
    consumer.seek_all(Offset::ZERO).unwrap();
    let mut seen = Seen::new();
    loop {
        let polling = client.poll();
        let records = consumer.poll(Duration::ZERO);
        polling.end(&records, value);
        let records = records.unwrap();
        if records.is_empty() {
            return seen;
        }
        for record in &records {
            let of_partition = seen.entry(record.topic_partition().clone()).or_default();
            of_partition.push((record.offset(), value(&record)));
        }
    }
}

/// The logs of all replicas of a partition are the same, however they are cut into segments. Returns how many batches
/// were compared.
pub(crate) fn compare_replicas(disks: &BTreeMap<i32, Disk>) -> u64 {
    assert_eq!(difference(disks), None);
    let is_log = |path: &Path| path.extension().is_some_and(|extension| extension == "log");
    let files = disks.values().flat_map(Disk::files);
    files.filter(|(path, _)| is_log(path)).map(|(_, length)| length / 100).sum()
}

/// Two brokers whose logs of a partition differ, if there are any.
pub(crate) fn difference(disks: &BTreeMap<i32, Disk>) -> Option<String> {
    let mut first = BTreeMap::<String, (i32, Vec<u8>)>::new();
    for (id, disk) in disks {
        let mut logs = BTreeMap::<String, Vec<u8>>::new();
        for (path, _) in disk.files() {
            let directory = path.parent().unwrap().file_name().unwrap_or_default();
            let directory = directory.to_str().unwrap().to_owned();
            let is_log = path.extension().is_some_and(|extension| extension == "log");
            if is_log && !directory.ends_with(".deleted") && !directory.ends_with("-delete") {
                logs.entry(directory).or_default().extend(disk.read(&path).unwrap());
            }
        }
        // The members of the metadata log may have changed last of all.
        for (partition, log) in logs.into_iter().filter(|(name, _)| !name.starts_with("__brooklet"))
        {
            match first.get(&partition) {
                Some((_, expected)) if *expected == log => {}
                Some((other, _)) => {
                    return Some(format!("{partition} differs on brokers {other} and {id}"));
                }
                None => _ = first.insert(partition, (*id, log)),
            }
        }
    }
    None
}
