//! Threads in each other's way (suite T9): bugs D1, D2, A14, and what is lost between a look and a wait.
//!
//! Method: small programs on the real cluster, each under very many seeds. A seed decides who goes on at every lock, wait,
//! call to the disk and shared offset; a run in which somebody waits for ever, or is told what is not so, fails. What
//! the processor may do beyond that with the cells in between is gone through in `tests/loom`.

use std::time::Duration;

use brooklet::sim::{Disk, Sim, Simulation};
use brooklet::{
    Cluster, Error, ErrorKind, FlushPolicy, NewTopic, Offset, Outcome, Partition, Record, Topic,
};

use crate::report::{Report, full, seeds};

struct Race {
    name: &'static str,
    run: fn(&Sim, FlushPolicy),
}

const RACES: &[Race] = &[
    Race { name: "append, read, roll", run: append_read_roll },
    Race { name: "group commit", run: group_commit },
    Race { name: "long poll", run: long_poll },
    Race { name: "append, close", run: append_close },
    Race { name: "append, sync, delete", run: append_sync_delete },
];

const POLICIES: [FlushPolicy; 3] = [
    FlushPolicy::OnAck,
    FlushPolicy::Os,
    FlushPolicy::Interval { time: Duration::from_millis(1), messages: Some(2) },
];

/// Goal: no order of steps loses a record, a waiter, or shows what is not there.
#[test]
fn every_order_of_steps_is_as_good() {
    let quick = if full() { 50_000 } else { 300 };
    let mut report = Report::new("T9");
    for race in RACES {
        for seed in seeds(quick) {
            let policy = POLICIES[seed as usize % POLICIES.len()];
            let place = Place { race: race.name, seed };
            let run = race.run;
            let ended = Simulation::new(seed).run(move |sim| run(sim, policy));
            report.ops += ended.points;
            report.states += 1;
            drop(place);
        }
    }
    report.seeds = seeds(quick).end - seeds(quick).start;
    println!("{report} races={} schedules={}", RACES.len(), report.states);
}

struct Place {
    race: &'static str,
    seed: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { race, seed } = self;
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
            sim.sleep(Duration::from_micros(5));
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
