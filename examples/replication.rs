//! Three brokers, each with a directory of its own, and a producer that never stops while they fail one after another:
//! the controller too.
//!
//! ```text
//! cargo run --example replication
//! ```
//!
//! At each step it prints who leads which partition and who is in sync, and in the end the proof: every record that was
//! acknowledged is there, once, and in order.
//!
//! Crashing a broker on purpose is for tests: it takes the feature `sim`. `Broker::stop` is there without.

#![allow(clippy::disallowed_methods, reason = "a program of its own may look at the clock")]

use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use brooklet::{BrokerId, Cluster, NewTopic, Record, Topic};

const PARTITIONS: u32 = 3;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let dirs = tempfile::tempdir()?;
    let disk = |id: i32| dirs.path().join(format!("broker-{id}"));
    let cluster =
        Cluster::builder().broker(1, disk(1)).broker(2, disk(2)).broker(3, disk(3)).open()?;
    let orders = cluster.create_topic(
        NewTopic::new("orders")
            .partitions(PARTITIONS)
            .replication_factor(3)
            .config("min.insync.replicas", 2),
    )?;
    let mut out = io::stdout().lock();
    show(&mut out, &cluster, &orders, "three brokers")?;

    let sending = Sending::start(&cluster, &orders)?;
    for _ in 0..3 {
        // The controller: the others choose the next one.
        let victim = cluster.describe()?.controller.ok_or("nobody is the controller")?;
        let broker = cluster.broker(victim.value())?;
        let (before, began) = (sending.acknowledged(), Instant::now());
        broker.crash()?;
        sending.wait_for(before + u64::from(PARTITIONS));
        let went_on = began.elapsed();
        show(&mut out, &cluster, &orders, &format!("broker {victim} has crashed"))?;
        writeln!(out, "the producer went on after {:.1} ms\n", 1e3 * went_on.as_secs_f64())?;

        broker.start()?;
        wait_until_in_sync(&cluster, &orders)?;
        show(&mut out, &cluster, &orders, &format!("broker {victim} is back"))?;
    }
    // Not all at once: two of three have to be in sync for what is sent with min.insync.replicas=2.
    let sent = sending.stop()?;
    writeln!(out, "{} records were acknowledged.", sent.iter().sum::<u64>())?;
    check(&mut out, &cluster, &orders, &sent)?;
    cluster.close()?;

    let cluster =
        Cluster::builder().broker(1, disk(1)).broker(2, disk(2)).broker(3, disk(3)).open()?;
    writeln!(out, "Closed, and opened again:")?;
    check(&mut out, &cluster, &cluster.topic("orders")?, &sent)?;
    Ok(())
}

/// A thread that sends numbers to each partition, one after the other, until it is stopped.
struct Sending {
    stopped: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    thread: thread::JoinHandle<Outcome<Vec<u64>>>,
}

impl Sending {
    fn start(cluster: &Cluster, topic: &Topic) -> Outcome<Self> {
        let producer = cluster.producer().build()?;
        let (stopped, acknowledged) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (topic, stop, count) = (topic.clone(), Arc::clone(&stopped), Arc::clone(&acknowledged));
        let send = move || {
            let mut sent = vec![0; usize::try_from(PARTITIONS)?];
            while !stop.load(Ordering::Relaxed) {
                let mut deliveries = Vec::new();
                for (partition, next) in (0..PARTITIONS).zip(&sent) {
                    let value = next.to_string();
                    let record = Record::to(&topic).partition(partition).value(&value);
                    deliveries.push(producer.send(record)?);
                }
                for (delivery, next) in deliveries.into_iter().zip(&mut sent) {
                    // Retries are up to the producer: if a leader fails, it finds the next one.
                    delivery.wait()?;
                    *next += 1;
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(sent)
        };
        Ok(Self { stopped, acknowledged, thread: thread::spawn(send) })
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Returns when so many are acknowledged, or the producer has failed, which `stop` tells.
    fn wait_for(&self, count: u64) {
        while self.acknowledged() < count && !self.thread.is_finished() {
            thread::sleep(Duration::from_micros(100));
        }
    }

    /// How many records each partition was sent.
    fn stop(self) -> Outcome<Vec<u64>> {
        self.stopped.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the producer has panicked")?
    }
}

/// Any broker can be spared then: each of the others has all records, and knows all of the cluster.
fn wait_until_in_sync(cluster: &Cluster, topic: &Topic) -> Outcome<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let (partitions, known) = (topic.describe()?.partitions, cluster.describe()?);
        let has_all = partitions.iter().all(|known| known.isr.len() == known.replicas.len());
        if has_all && known.metadata_isr.len() == known.brokers.len() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err("the replicas did not catch up".into());
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// A table of the partitions: who leads, since which term, who is in sync, and up to where all of them have it.
fn show(out: &mut impl Write, cluster: &Cluster, topic: &Topic, what: &str) -> Outcome<()> {
    let controller = cluster.describe()?.controller;
    writeln!(out, "{what}; the controller is broker {}", or_none(controller))?;
    writeln!(out, "  partition   leader   epoch   in sync    log ends at (broker: end)")?;
    for partition in topic.partitions() {
        let known = partition.describe()?;
        let in_sync = known.isr.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let ends = partition.replicas()?.into_iter();
        let ends = ends.map(|replica| format!("{}: {}", replica.broker, replica.log_end));
        writeln!(
            out,
            "  {:<9}   {:<6}   {:<5}   {:<8}   {}",
            partition.to_string(),
            or_none(known.leader),
            known.leader_epoch,
            in_sync,
            ends.collect::<Vec<_>>().join("   ")
        )?;
    }
    writeln!(out)?;
    Ok(())
}

fn or_none(broker: Option<BrokerId>) -> String {
    broker.map_or_else(|| "-".to_owned(), |broker| broker.to_string())
}

/// Reads everything: each partition has to hold the numbers that it was sent, each once, in order.
fn check(out: &mut impl Write, cluster: &Cluster, topic: &Topic, sent: &[u64]) -> Outcome<()> {
    let mut consumer = cluster.consumer().build()?;
    consumer.assign(topic.partitions())?;
    let mut read = vec![0u64; sent.len()];
    while read != sent {
        let records = consumer.poll(Duration::from_secs(10))?;
        if records.is_empty() {
            return Err(format!("acknowledged {sent:?} records, and read {read:?}").into());
        }
        for record in &records {
            let partition = usize::try_from(record.partition().value())?;
            let value = std::str::from_utf8(record.value().unwrap_or_default())?;
            let next = read.get_mut(partition).ok_or("a partition that does not exist")?;
            if value != next.to_string() {
                let at = record.offset();
                return Err(format!("{partition}@{at} holds {value}, and not {next}").into());
            }
            *next += 1;
        }
    }
    writeln!(out, "Each of them was read once and in order: {sent:?} by partition.")?;
    Ok(())
}
