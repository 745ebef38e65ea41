//! Threads in each other's way (suite T9): bugs D1, D2, A14, B7, G4, and what is lost between a look and a wait.
//!
//! Method: small programs on the real cluster, each under very many seeds. A seed decides who goes on at every lock, wait,
//! call to the disk and shared offset; a run in which somebody waits for ever, or is told what is not so, fails. What
//! the processor may do beyond that with the cells in between is gone through in `tests/loom`.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use brooklet::sim::{CallKind, Disk, Fault, PowerCut, Sim, Simulation};
use brooklet::{
    AlterConfig, Cluster, Error, ErrorKind, FlushPolicy, NewTopic, Offset, Outcome, Partition,
    Record, Topic,
};

use crate::races_of_groups::{commit_forget, commit_rebalance};
use crate::report::{Report, full, seeds};

struct Race {
    name: &'static str,
    run: fn(&Sim, FlushPolicy),
    /// In the quick tier it is run under one seed in so many: by how long it takes.
    one_in: u64,
}

const RACES: &[Race] = &[
    Race { name: "append, read, roll", run: append_read_roll, one_in: 1 },
    Race { name: "group commit", run: group_commit, one_in: 1 },
    Race { name: "long poll", run: long_poll, one_in: 1 },
    Race { name: "append, close", run: append_close, one_in: 1 },
    Race { name: "append, sync, delete", run: append_sync_delete, one_in: 1 },
    Race { name: "append, read, delete records", run: append_read_delete_records, one_in: 1 },
    Race { name: "append, failing sync", run: append_failing_sync, one_in: 1 },
    Race { name: "append, alter policy", run: append_alter_policy, one_in: 1 },
    Race { name: "commit, forget", run: commit_forget, one_in: 2 },
    Race { name: "commit, rebalance", run: commit_rebalance, one_in: 5 },
];

/// Simulations take turns within, and wait most of the time for a thread to wake: several fit on a processor.
const WORKERS: usize = 4;

/// No program takes as long by its own clock, unless somebody waits for what will not come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

const POLICIES: [FlushPolicy; 3] = [
    FlushPolicy::OnAck,
    FlushPolicy::Os,
    FlushPolicy::Interval { time: Duration::from_millis(1), messages: Some(2) },
];

/// Goal: no order of steps loses a record, a waiter, or shows what is not there.
#[test]
fn every_order_of_steps_is_as_good() {
    let seeds = seeds(if full() { 1_000_000 } else { 5_000 });
    let models = RACES.len() as u64;
    let mut report = Report::new("T9");
    report.seeds = seeds.end - seeds.start;
    let (points, next) = (AtomicU64::new(0), AtomicU64::new(seeds.start * models));
    let runs = AtomicU64::new(0);
    let work = || {
        let next_job = || Some(next.fetch_add(1, Ordering::Relaxed));
        while let Some(job) = next_job().filter(|job| *job < seeds.end * models) {
            let (race, seed) = (&RACES[(job % models) as usize], job / models);
            if !full() && !seed.is_multiple_of(race.one_in) {
                continue;
            }
            let place = Place { race: race.name, seed, next: &next };
            let (run, policy) = (race.run, POLICIES[seed as usize % POLICIES.len()]);
            let ended = Simulation::new(seed).run(move |sim| run(sim, policy));
            points.fetch_add(ended.points, Ordering::Relaxed);
            runs.fetch_add(1, Ordering::Relaxed);
            drop(place);
        }
    };
    thread::scope(|scope| (0..WORKERS).for_each(|_| drop(scope.spawn(work))));
    (report.ops, report.states) = (points.into_inner(), runs.into_inner());
    report.say(format_args!("models={models} schedules={}", report.states));
}

/// Where a panic happened. The others stop then.
struct Place<'a> {
    race: &'static str,
    seed: u64,
    next: &'a AtomicU64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let Self { race, seed, next } = self;
            next.store(u64::MAX / 2, Ordering::Relaxed);
            println!(
                "RELIABILITY suite=T9 first_bad={seed}: {race:?}; again with RELIABILITY_SEEDS={seed}..{} \
                 cargo test --test sim races",
                *seed + 1
            );
        }
    }
}

fn open(policy: FlushPolicy) -> (Disk, Cluster) {
    let disk = Disk::new();
    let cluster = reopen(&disk, policy);
    (disk, cluster)
}

fn reopen(disk: &Disk, policy: FlushPolicy) -> Cluster {
    Cluster::builder().flush_policy(policy).open_on(disk).unwrap()
}

fn create(cluster: &Cluster) -> Topic {
    let topic = NewTopic::new("t").config("segment.bytes", 400).config("index.interval.bytes", 100);
    cluster.create_topic(topic).unwrap()
}

fn send(cluster: &Cluster, topic: &Topic, value: &str) -> Result<Offset, Error> {
    let sent = cluster.producer().build()?.send(Record::to(topic).value(value))?;
    Ok(sent.wait()?.offset.unwrap())
}

/// For who looks again and again: others go on meanwhile, or it is said that they do not.
pub(crate) fn wait_a_little(sim: &Sim) {
    assert!(sim.elapsed() < PATIENCE, "others wait for ever");
    sim.sleep(Duration::from_micros(5));
}

/// The values from `from` on, which all have to be there.
fn read(partition: &Partition, from: Offset) -> Vec<String> {
    let records = partition.read(from, 150).unwrap();
    let mut next = from;
    let value = |record: brooklet::ConsumerRecord<'_>| {
        assert_eq!(record.offset(), next, "{partition}");
        next = next.next();
        String::from_utf8(record.value().unwrap().to_vec()).unwrap()
    };
    records.iter().map(value).collect()
}

/// D1, D2: a reader who sees the high watermark rise can read everything below it, in order, and it never goes back.
fn append_read_roll(sim: &Sim, policy: FlushPolicy) {
    const EACH: usize = 4;
    let (_disk, cluster) = open(policy);
    let topic = create(&cluster);
    let writers = (0..2).map(|writer| {
        let (cluster, topic) = (cluster.clone(), topic.clone());
        sim.spawn(&format!("writer {writer}"), move || {
            for number in 0..EACH {
                send(&cluster, &topic, &format!("writer {writer}: {number:60}")).unwrap();
            }
        })
    });
    let writers = writers.collect::<Vec<_>>();
    let partition = topic.partition(0).unwrap();
    let (mut values, mut before) = (Vec::new(), Offset::ZERO);
    while values.len() < 2 * EACH {
        let high = partition.watermarks().unwrap().high;
        assert!(high >= before, "the high watermark went back");
        before = high;
        let next = Offset::new(values.len() as i64).unwrap();
        let found = read(&partition, next);
        assert!(!found.is_empty() || high <= next, "{next} is below {high}, and not there");
        if found.is_empty() {
            wait_a_little(sim);
        }
        values.extend(found);
    }
    writers.into_iter().for_each(brooklet::sim::Joining::join);
    for writer in 0..2 {
        let of = |value: &&String| value.starts_with(&format!("writer {writer}"));
        let numbers = values.iter().filter(of).cloned().collect::<Vec<_>>();
        assert!(numbers.is_sorted() && numbers.len() == EACH, "{numbers:?}");
    }
    cluster.close().unwrap();
}

/// Everybody who waits is answered, whoever does the work.
fn group_commit(sim: &Sim, policy: FlushPolicy) {
    let (disk, cluster) = open(policy);
    let topic = create(&cluster);
    let threads = (0..3).map(|thread| {
        let (topic, producer) = (topic.clone(), cluster.producer().build().unwrap());
        sim.spawn(&format!("producer {thread}"), move || {
            for number in 0..2 {
                let values = [0, 1].map(|part| format!("{thread}.{number}.{part}"));
                let sent =
                    values.map(|value| producer.send(Record::to(&topic).value(&value)).unwrap());
                for sent in sent {
                    sent.wait().unwrap();
                }
            }
        })
    });
    threads.collect::<Vec<_>>().into_iter().for_each(brooklet::sim::Joining::join);
    drop(topic);
    cluster.close().unwrap();
    let cluster = reopen(&disk, policy);
    let high = cluster.topic("t").unwrap().partition(0).unwrap().watermarks().unwrap().high;
    assert_eq!(high.value(), 12);
}

/// A poll that waits is woken by a record that comes while it goes to sleep.
fn long_poll(sim: &Sim, policy: FlushPolicy) {
    const LONG: Duration = Duration::from_secs(3600);
    let (_disk, cluster) = open(policy);
    let topic = create(&cluster);
    let mut consumer = cluster.consumer().build().unwrap();
    consumer.assign(topic.partitions()).unwrap();
    let producer = cluster.producer().build().unwrap();
    let sending = sim.spawn("producer", move || {
        for number in 0..3 {
            producer.send(Record::to(&topic).value(&format!("{number}"))).unwrap();
        }
    });
    let mut count = 0;
    while count < 3 {
        let records = consumer.poll(LONG).unwrap().len();
        assert!(records > 0, "nobody woke the consumer");
        count += records;
    }
    sending.join();
    assert!(sim.elapsed() < LONG);
    drop(consumer);
    cluster.close().unwrap();
}

/// What was acknowledged before or while the cluster was closed is there; what was refused is not.
fn append_close(sim: &Sim, policy: FlushPolicy) {
    let (disk, cluster) = open(policy);
    let topic = create(&cluster);
    let threads = (0..2).map(|thread| {
        let (cluster, topic) = (cluster.clone(), topic.clone());
        sim.spawn(&format!("producer {thread}"), move || {
            let values = (0..4).map(|number| format!("{thread}.{number}"));
            values.map(|value| (send(&cluster, &topic, &value), value)).collect::<Vec<_>>()
        })
    });
    let threads = threads.collect::<Vec<_>>();
    drop(topic);
    sim.sleep(Duration::from_nanos(sim.random() % 60_000));
    cluster.close().unwrap();
    let told = threads.into_iter().flat_map(brooklet::sim::Joining::join).collect::<Vec<_>>();
    let cluster = reopen(&disk, policy);
    let partition = cluster.topic("t").unwrap().partition(0).unwrap();
    let mut values = Vec::new();
    while (values.len() as i64) < partition.watermarks().unwrap().high.value() {
        values.extend(read(&partition, Offset::new(values.len() as i64).unwrap()));
    }
    for (result, value) in told {
        let at = values.iter().position(|found| *found == value);
        match result {
            Ok(offset) => assert_eq!(at.map(|at| at as i64), Some(offset.value()), "{value}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Closed, "{error:?}");
                assert!(error.outcome() == Outcome::Unknown || at.is_none(), "{value} was refused");
            }
        }
    }
    drop(partition);
    cluster.close().unwrap();
}

/// A14: nobody writes to, or syncs, what was deleted, or what comes after it under its name.
fn append_sync_delete(sim: &Sim, policy: FlushPolicy) {
    let (disk, cluster) = open(policy);
    let topic = create(&cluster);
    let gone = |error: &Error| {
        assert_eq!(error.kind(), ErrorKind::TopicDeleted, "{error:?}");
    };
    let writer = sim.spawn("writer", {
        let (cluster, topic) = (cluster.clone(), topic.clone());
        move || (0..4).find_map(|number| send(&cluster, &topic, &format!("{number}")).err())
    });
    let syncer = sim.spawn("syncer", {
        let (cluster, topic) = (cluster.clone(), topic.clone());
        move || {
            for _ in 0..3 {
                cluster.sync().unwrap();
            }
            topic.sync().err()
        }
    });
    sim.sleep(Duration::from_nanos(sim.random() % 40_000));
    cluster.delete_topic("t").unwrap();
    let again = create(&cluster);
    assert_eq!(send(&cluster, &again, "new").unwrap(), Offset::ZERO);
    for error in [writer.join(), syncer.join()].into_iter().flatten() {
        gone(&error);
    }
    drop((topic, again));
    cluster.close().unwrap();
    let cluster = reopen(&disk, policy);
    let partition = cluster.topic("t").unwrap().partition(0).unwrap();
    assert_eq!(read(&partition, Offset::ZERO), ["new"]);
    drop(partition);
    cluster.close().unwrap();
}

/// G8, D1: who reads while records are deleted gets the others, each at its offset, or is told that it was too late.
fn append_read_delete_records(sim: &Sim, policy: FlushPolicy) {
    const ALL: i64 = 8;
    let (disk, cluster) = open(policy);
    let topic = create(&cluster);
    let writer = sim.spawn("writer", {
        let (cluster, topic) = (cluster.clone(), topic.clone());
        move || {
            for number in 0..ALL {
                send(&cluster, &topic, &format!("{number:80}")).unwrap();
            }
        }
    });
    let deleter = sim.spawn("deleter", {
        let (sim, partition) = (sim.clone(), topic.partition(0).unwrap());
        move || {
            let mut before = Offset::ZERO;
            while before.value() < ALL / 2 {
                before = before.max(partition.watermarks().unwrap().high);
                assert_eq!(partition.delete_records(before).unwrap(), before);
                wait_a_little(&sim);
            }
            before
        }
    });
    let partition = topic.partition(0).unwrap();
    let mut next = Offset::ZERO;
    while next.value() < ALL {
        match partition.read(next, 150) {
            Ok(records) if records.is_empty() => wait_a_little(sim),
            Ok(records) => {
                for record in &records {
                    assert_eq!(record.offset(), next);
                    assert_eq!(record.value(), Some(format!("{:80}", next.value()).as_bytes()));
                    next = next.next();
                }
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{error:?}");
                let low = partition.watermarks().unwrap().low;
                assert!(low > next, "{next} is not below {low}, and was refused");
                next = low;
                let after = reopen(&disk.image(PowerCut::LosesAll), policy);
                let partition = after.topic("t").unwrap().partition(0).unwrap();
                assert!(partition.watermarks().unwrap().low >= low, "what was deleted came back");
            }
        }
    }
    writer.join();
    let low = deleter.join();
    drop((partition, topic));
    cluster.close().unwrap();
    let cluster = reopen(&disk, policy);
    let partition = cluster.topic("t").unwrap().partition(0).unwrap();
    let marks = partition.watermarks().unwrap();
    assert_eq!((marks.low, marks.high.value()), (low, ALL));
    drop(partition);
    cluster.close().unwrap();
}

/// B7, R4: a sync that fails is the last one. Who waits is told so, and nothing that was acknowledged or read rests on
/// it: a power cut leaves both.
fn append_failing_sync(sim: &Sim, policy: FlushPolicy) {
    let (disk, cluster) = open(policy);
    let topic = create(&cluster);
    disk.fail(
        Fault::new(io::ErrorKind::Other).on(CallKind::Sync).at("/t-0/").after(sim.random() % 6),
    );
    let threads = (0..2).map(|thread| {
        let (cluster, topic) = (cluster.clone(), topic.clone());
        sim.spawn(&format!("producer {thread}"), move || {
            let values = (0..4).map(|number| format!("{thread}.{number}"));
            values.map(|value| (send(&cluster, &topic, &value), value)).collect::<Vec<_>>()
        })
    });
    let threads = threads.collect::<Vec<_>>();
    let partition = topic.partition(0).unwrap();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let next = Offset::new(seen.len() as i64).unwrap();
        seen.extend(read(&partition, next));
        // It may fail, and be the one that does.
        let _synced = topic.sync();
        wait_a_little(sim);
    }
    let told = threads.into_iter().flat_map(brooklet::sim::Joining::join).collect::<Vec<_>>();
    // Under the other policies what was written before the power cut is not promised.
    let cut = match policy {
        FlushPolicy::OnAck => PowerCut::Mixes(sim.random()),
        _ => PowerCut::KeepsAll,
    };
    let after = reopen(&disk.image(cut), policy);
    let topic = after.topic("t").unwrap();
    let partition = topic.partition(0).unwrap();
    let high = partition.watermarks().unwrap().high;
    let mut values = Vec::new();
    while (values.len() as i64) < high.value() {
        values.extend(read(&partition, Offset::new(values.len() as i64).unwrap()));
    }
    assert!(values.starts_with(&seen), "{seen:?} was read, and then {values:?}");
    for (result, value) in told {
        let at = values.iter().position(|found| *found == value).map(|at| at as i64);
        match result {
            Ok(offset) => assert_eq!(at, Some(offset.value()), "{value} was acknowledged"),
            Err(error) => {
                assert!(error.outcome() == Outcome::Unknown || at.is_none(), "{value}: {error:?}");
            }
        }
    }
}

/// A flush policy may change at any moment: who waits under the old one is answered under the new.
fn append_alter_policy(sim: &Sim, policy: FlushPolicy) {
    let (disk, cluster) = open(policy);
    let topic = create(&cluster);
    let threads = (0..2).map(|thread| {
        let (cluster, topic) = (cluster.clone(), topic.clone());
        sim.spawn(&format!("producer {thread}"), move || {
            for number in 0..4 {
                send(&cluster, &topic, &format!("{thread}.{number}")).unwrap();
            }
        })
    });
    let threads = threads.collect::<Vec<_>>();
    for policy in ["os", "on-ack", "interval", "on-ack"] {
        sim.sleep(Duration::from_nanos(sim.random() % 20_000));
        let changes = AlterConfig::new().set("brooklet.flush.policy", policy);
        let changes = match policy {
            "interval" => changes.set("flush.ms", 1),
            _ => changes.delete("flush.ms"),
        };
        topic.alter_config(changes).unwrap();
    }
    threads.into_iter().for_each(brooklet::sim::Joining::join);
    assert!(sim.elapsed() < PATIENCE, "somebody was forgotten for a while");
    // All that was acknowledged is as durable as the last policy has it, once that is said to hold.
    send(&cluster, &topic, "last").unwrap();
    let after = reopen(&disk.image(PowerCut::LosesAll), policy);
    let high = after.topic("t").unwrap().partition(0).unwrap().watermarks().unwrap().high;
    assert_eq!(high.value(), 9);
}
