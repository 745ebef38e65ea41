//! What clients saw of clusters whose power is cut while they work (suite T4).
//!
//! Method: under a seed, producers and consumers of a few partitions write down what they ask for and are told. Each
//! life of the cluster ends by a power cut or a close. In the end all is read once more, and the checker of histories
//! looks for whatever a correct log could not have done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use brooklet::sim::history::{AnomalyKind, Client, Recorder, Rules, check};
use brooklet::sim::{Disk, PowerCut, Sim, Simulation};
use brooklet::{
    Acks, Cluster, Consumer, ConsumerRecord, Delivery, ErrorKind, FlushPolicy, NewTopic, Offset,
    Producer, Record, Topic,
};

use crate::report::{Report, full, seeds};

const LIVES: u64 = 4;
const PRODUCERS: [(&str, Acks); 3] = [("p", Acks::All), ("q", Acks::Leader), ("r", Acks::None)];

/// Goal: no client ever sees what a correct log could not have done.
#[test]
fn what_clients_see_has_no_anomaly() {
    let mut total = Report::new("T4");
    let count = if full() { 2_000 } else { 50 };
    for seed in seeds(count) {
        let policy = [FlushPolicy::OnAck, FlushPolicy::Os, interval()][seed as usize % 3];
        let recorder = Recorder::new();
        let taken_down = recorder.clone();
        let cuts = Simulation::new(seed).run(move |sim| live(sim, seed, policy, &recorder)).value;
        let history = taken_down.history();
        let rules = Rules::new().all_read(true);
        let rules = if policy == FlushPolicy::OnAck { rules } else { rules.lossy("email") };
        let report = check(&history, &rules);
        assert!(
            report.is_ok(),
            "RELIABILITY suite=T4 first_bad={seed}: {report}; again with RELIABILITY_SEEDS={seed}..{} \
             cargo test --test sim histories",
            seed + 1
        );
        total.seeds += 1;
        total.ops += history.len() as u64;
        total.acked += report.acknowledged() as u64;
        total.records_checked += report.polled() as u64;
        total.faults += cuts;
        total.states += LIVES;
        assert_eq!(report.count(AnomalyKind::Duplicate), 0, "nobody sends anything twice");
    }
    total.say("");
    assert!(total.ops > 500 * total.seeds, "{} operations are too few", total.ops);
}

fn interval() -> FlushPolicy {
    FlushPolicy::Interval { time: Duration::from_millis(3), messages: Some(20) }
}

fn open(disk: &Disk, policy: FlushPolicy) -> Cluster {
    Cluster::builder().flush_policy(policy).open_on(disk).unwrap()
}

/// The lives of a cluster. Returns how often its power was cut.
fn live(sim: &Sim, seed: u64, policy: FlushPolicy, recorder: &Recorder) -> u64 {
    let disk = Disk::new();
    let topic = NewTopic::new("email").partitions(3).config("segment.bytes", 2_000);
    open(&disk, policy).create_topic(topic).unwrap();
    let mut cuts = 0;
    for life in 0..LIVES {
        let cluster = open(&disk, policy);
        let email = reopened(&cluster, recorder);
        let is_over = Arc::new(AtomicBool::new(false));
        let mut clients = Vec::new();
        for (at, (name, acks)) in (0..).zip(PRODUCERS) {
            let client = recorder.client(name);
            let producer = cluster.producer().acks(acks).batch_size(300).build().unwrap();
            let (email, first) = (email.clone(), (life * 10 + at) * 1_000_000);
            let writing = Writing { client, producer, email, is_over: Arc::clone(&is_over) };
            clients.push(sim.spawn(name, {
                let sim = sim.clone();
                move || writing.run(&sim, first)
            }));
        }
        for name in ["c", "d"] {
            let client = recorder.client(name);
            let consumer = cluster.consumer().max_poll_records(20).build().unwrap();
            let email = email.clone();
            let reading = Reading { client, consumer, email, is_over: Arc::clone(&is_over) };
            clients.push(sim.spawn(name, {
                let sim = sim.clone();
                move || reading.run(&sim)
            }));
        }
        sim.sleep(Duration::from_micros(500 + sim.random() % 20_000));
        if !sim.random().is_multiple_of(4) {
            disk.cut_power(PowerCut::Mixes(seed * 10 + life));
            cuts += 1;
        }
        // What is in memory can still be read: nobody would notice by himself.
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join());
    }
    let cluster = open(&disk, policy);
    let email = reopened(&cluster, recorder);
    let consumer = cluster.consumer().build().unwrap();
    read_all(&recorder.client("final"), consumer, &email);
    cuts
}

/// The topic after an open, and what is left of it.
fn reopened(cluster: &Cluster, recorder: &Recorder) -> Topic {
    let email = cluster.topic("email").unwrap();
    for partition in email.partitions() {
        recorder.lost_suffix(&partition, partition.watermarks().unwrap().high);
    }
    email
}

struct Writing {
    client: Client,
    producer: Producer,
    email: Topic,
    is_over: Arc<AtomicBool>,
}

impl Writing {
    /// Sends until it is told to stop, or told that there is no use.
    fn run(self, sim: &Sim, first: u64) {
        let mut on_their_way = Vec::new();
        for value in first.. {
            let sending = self.client.send(value);
            let record = Record::to(&self.email).partition((sim.random() % 3) as u32);
            let sent = self.producer.send(record.value(&value.to_be_bytes()));
            let failed = sent.is_err();
            match sent {
                Ok(delivery) => on_their_way.push((sending, delivery)),
                Err(error) => sending.end(&Err(error)),
            }
            if failed || self.is_over.load(Ordering::Relaxed) {
                break;
            }
            match sim.random() % 4 {
                0 => sim.sleep(Duration::from_micros(sim.random() % 500)),
                1 => on_their_way.drain(..).for_each(|(sending, sent)| sending.end(&sent.wait())),
                _ => {}
            }
        }
        on_their_way.drain(..).for_each(|(sending, sent)| sending.end(&Delivery::wait(sent)));
    }
}

fn value(record: &ConsumerRecord<'_>) -> u64 {
    u64::from_be_bytes(record.value().unwrap().try_into().unwrap())
}

struct Reading {
    client: Client,
    consumer: Consumer,
    email: Topic,
    is_over: Arc<AtomicBool>,
}

impl Reading {
    /// Polls, and now and then seeks and asks for watermarks, until it is told to stop, or cannot go on.
    fn run(mut self, sim: &Sim) {
        let all = || self.email.partitions();
        self.client.assign(all().into_iter().map(|partition| (partition, Some(Offset::ZERO))));
        self.consumer.assign(all()).unwrap();
        while !self.is_over.load(Ordering::Relaxed) {
            let partition = self.email.partition((sim.random() % 3) as u32).unwrap();
            match sim.random() % 16 {
                0 => {
                    let to = Offset::from((sim.random() % 50) as u32);
                    let high = partition.watermarks().unwrap().high;
                    self.client.seek(&partition, Some(to.min(high)));
                    self.consumer.seek(&partition, to.min(high)).unwrap();
                }
                1 => {
                    let query = self.client.watermarks(&partition);
                    let watermarks = partition.watermarks().unwrap();
                    query.ok(watermarks.low, watermarks.high);
                }
                _ => {
                    let polling = self.client.poll();
                    let records = self.consumer.poll(Duration::from_micros(sim.random() % 2_000));
                    polling.end(&records, value);
                    if records.is_err_and(|error| error.kind() != ErrorKind::CorruptMessage) {
                        break;
                    }
                }
            }
        }
        self.client.crash();
    }
}

/// Reads every partition from beginning to end.
fn read_all(client: &Client, mut consumer: Consumer, email: &Topic) {
    client.assign(email.partitions().into_iter().map(|partition| (partition, Some(Offset::ZERO))));
    consumer.assign(email.partitions()).unwrap();
    loop {
        let polling = client.poll();
        let records = consumer.poll(Duration::ZERO);
        polling.end(&records, value);
        if records.unwrap().is_empty() {
            break;
        }
    }
}
