//! What clusters are made to do while the power may go and calls may fail.
//!
//! A scenario stops at the first error that it did not ask for: then the disk has failed it.

use std::sync::Arc;
use std::time::Duration;

use brooklet::sim::Sim;
use brooklet::{Acks, Cluster, Compression, Consumer, Error, FlushPolicy, NewTopic, Offset};

use crate::world::{World, topics};

/// A scenario, under its name.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) policy: FlushPolicy,
    pub(crate) run: fn(&Sim, &Arc<World>) -> Result<(), Error>,
}

const INTERVAL: FlushPolicy =
    FlushPolicy::Interval { time: Duration::from_millis(5), messages: Some(4) };

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "create topics", policy: FlushPolicy::OnAck, run: create_topics },
    Scenario { name: "append small", policy: FlushPolicy::OnAck, run: append_small },
    Scenario { name: "append huge", policy: FlushPolicy::OnAck, run: append_huge },
    Scenario { name: "roll", policy: FlushPolicy::OnAck, run: roll },
    Scenario { name: "group commit", policy: FlushPolicy::OnAck, run: group_commit },
    Scenario { name: "group commit, interval", policy: INTERVAL, run: group_commit },
    Scenario { name: "sync, os", policy: FlushPolicy::Os, run: sync_by_hand },
    Scenario { name: "sync, interval", policy: INTERVAL, run: sync_by_hand },
    Scenario { name: "checkpoints", policy: FlushPolicy::OnAck, run: checkpoints },
    Scenario { name: "close and open", policy: FlushPolicy::OnAck, run: close_and_open },
    Scenario { name: "close and open, os", policy: FlushPolicy::Os, run: close_and_open },
    Scenario { name: "delete and create", policy: FlushPolicy::OnAck, run: delete_and_create },
    Scenario { name: "delete records", policy: FlushPolicy::OnAck, run: delete_records },
    Scenario { name: "delete records, os", policy: FlushPolicy::Os, run: delete_records },
    Scenario { name: "nobody waits", policy: FlushPolicy::OnAck, run: nobody_waits },
    Scenario { name: "compressed", policy: FlushPolicy::OnAck, run: compressed },
    Scenario { name: "never gives up", policy: FlushPolicy::OnAck, run: never_gives_up },
    Scenario { name: "many partitions", policy: FlushPolicy::OnAck, run: many_partitions },
    Scenario { name: "commits, rebalances", policy: FlushPolicy::OnAck, run: commits_rebalances },
];

fn topic(name: &str) -> NewTopic {
    NewTopic::new(name).config("index.interval.bytes", 60)
}

fn create_topics(_sim: &Sim, world: &Arc<World>) -> Result<(), Error> {
    let cluster = world.open()?;
    for name in ["a", "b", "c"] {
        let topic = world.create(&cluster, topic(name), name)?;
        let sent = world.send(&cluster.producer().build()?, &topic, 0, name)?;
        world.wait(sent)?;
    }
    finish(world, cluster)
}

fn append_small(_sim: &Sim, world: &Arc<World>) -> Result<(), Error> {
    let cluster = world.open()?;
    let topic = world.create(&cluster, topic("t").partitions(2), "t")?;
    let producer = cluster.producer().build()?;
    for number in 0..8 {
        let sent = world.send(&producer, &topic, number % 2, &format!("small {number}"))?;
        world.wait(sent)?;
    }
    finish(world, cluster)
}

fn append_huge(_sim: &Sim, world: &Arc<World>) -> Result<(), Error> {
    let cluster = world.open()?;
    let topic = world.create(&cluster, topic("t"), "t")?;
    let producer = cluster.producer().build()?;
    for number in 0..4 {
        let sent = world.send(&producer, &topic, 0, &format!("huge {number} ").repeat(1_500))?;
        world.wait(sent)?;
    }
    finish(world, cluster)
}

fn roll(_sim: &Sim, world: &Arc<World>) -> Result<(), Error> {
    let cluster = world.open()?;
    let topic = world.create(&cluster, topic("t").config("segment.bytes", 300), "t")?;
    let producer = cluster.producer().build()?;
    for number in 0..16 {
        let sent = world.send(&producer, &topic, 0, &format!("rolled {number:50}"))?;
        world.wait(sent)?;
    }
    finish(world, cluster)
}

fn group_commit(sim: &Sim, world: &Arc<World>) -> Result<(), Error> {
    let cluster = world.open()?;
    let topic = world.create(&cluster, topic("t").config("segment.bytes", 1_000), "t")?;
    let threads = (0..3).map(|thread| {
        let (world, topic) = (Arc::clone(world), topic.clone());
        let producer = cluster.producer().build();
        sim.spawn(&format!("producer {thread}"), move || {
            let producer = producer?;
            for number in 0..6 {
                let sent = (0..thread + 1).map(|part| {
                    let value = format!("from {thread}: {number}.{part}");
                    world.send(&producer, &topic, 0, &value)
                });
                for sent in sent.collect::<Vec<_>>() {
                    world.wait(sent?)?;
                }
            }
            Ok(())
        })
    });
    let threads = threads.collect::<Vec<_>>();
    let results = threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>();
    results.into_iter().collect::<Result<(), Error>>()?;
    finish(world, cluster)
}

fn sync_by_hand(sim: &Sim, world: &Arc<World>) -> Result<(), Error> {
    let cluster = world.open()?;
    let topic = world.create(&cluster, topic("t").partitions(2), "t")?;
    let producer = cluster.producer().build()?;
    for number in 0..12 {
        let sent = world.send(&producer, &topic, number % 2, &format!("number {number}"))?;
        world.wait(sent)?;
        if number % 5 == 4 {
            world.sync(&cluster)?;
            sim.sleep(Duration::from_millis(7));
        }
    }
    finish(world, cluster)
}

fn checkpoints(sim: &Sim, world: &Arc<World>) -> Result<(), Error> {
    let cluster = world.open()?;
    let topic =
        world.create(&cluster, topic("t").partitions(2).config("segment.bytes", 500), "t")?;
    let producer = cluster.producer().build()?;
    for number in 0..12 {
        let sent = world.send(&producer, &topic, number % 2, &format!("point {number:40}"))?;
        world.wait(sent)?;
        if number % 4 == 3 {
            sim.sleep(Duration::from_millis(1_200));
        }
    }
    finish(world, cluster)
}

fn close_and_open(_sim: &Sim, world: &Arc<World>) -> Result<(), Error> {
    let cluster = world.open()?;
    world.create(&cluster, topic("t").config("segment.bytes", 400), "t")?;
    cluster.close()?;
    for round in 0..3 {
        let cluster = world.open()?;
        let topic = cluster.topic("t")?;
        let producer = cluster.producer().build()?;
        for number in 0..4 {
            let sent = world.send(&producer, &topic, 0, &format!("round {round}.{number:30}"))?;
            world.wait(sent)?;
        }
        finish(world, cluster)?;
    }
    Ok(())
}

fn delete_and_create(_sim: &Sim, world: &Arc<World>) -> Result<(), Error> {
    let cluster = world.open()?;
    for life in 0..3 {
        let topic = world.create(&cluster, topic("t").config("segment.bytes", 300), "t")?;
        let producer = cluster.producer().build()?;
        for number in 0..4 - life {
            let sent = world.send(&producer, &topic, 0, &format!("life {life}.{number:50}"))?;
            world.wait(sent)?;
        }
        if life < 2 {
            world.delete(&cluster, &topic)?;
        }
    }
    finish(world, cluster)
}

/// They become durable and visible all the same.
fn nobody_waits(sim: &Sim, world: &Arc<World>) -> Result<(), Error> {
    let cluster = world.open()?;
    let topic = world.create(&cluster, topic("t").partitions(2), "t")?;
    for (partition, acks) in [Acks::None, Acks::All].into_iter().enumerate() {
        let producer = cluster.producer().acks(acks).build()?;
        for number in 0..5 {
            world.send(&producer, &topic, partition as u32, &format!("{acks:?} {number}"))?;
        }
        sim.sleep(Duration::from_millis(20));
    }
    finish(world, cluster)
}

fn compressed(_sim: &Sim, world: &Arc<World>) -> Result<(), Error> {
    let cluster = world.open()?;
    let topic = world.create(&cluster, topic("t").config("segment.bytes", 2_000), "t")?;
    for codec in [Compression::None, Compression::Gzip, Compression::Lz4, Compression::Zstd] {
        // One that this build lacks is no subject here.
        let Ok(producer) = cluster.producer().compression(codec).build() else { continue };
        let sent = (0..5).map(|number| {
            let value = format!("{codec} {number} ").repeat(60);
            world.send(&producer, &topic, 0, &value)
        });
        for sent in sent.collect::<Vec<_>>() {
            world.wait(sent?)?;
        }
    }
    finish(world, cluster)
}

/// Goes on after errors.
fn never_gives_up(sim: &Sim, world: &Arc<World>) -> Result<(), Error> {
    let cluster = world.open()?;
    let topic =
        world.create(&cluster, topic("t").partitions(2).config("segment.bytes", 600), "t")?;
    let threads = (0..2).map(|thread| {
        let (world, topic) = (Arc::clone(world), topic.clone());
        let producer = cluster.producer().build();
        sim.spawn(&format!("producer {thread}"), move || {
            let producer = producer?;
            for number in 0..10 {
                let value = format!("from {thread}: {number:40}");
                if let Ok(sent) = world.send(&producer, &topic, number % 2, &value) {
                    let _failed = world.wait(sent);
                }
            }
            Ok(())
        })
    });
    let threads = threads.collect::<Vec<_>>();
    let results = threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>();
    results.into_iter().collect::<Result<(), Error>>()?;
    finish(world, cluster)
}

fn many_partitions(_sim: &Sim, world: &Arc<World>) -> Result<(), Error> {
    let cluster = world.open()?;
    let topic = world.create(&cluster, topic("t").partitions(6), "t")?;
    let producer = cluster.producer().linger(Duration::from_millis(1)).build()?;
    for round in 0..2 {
        let sent = (0..6)
            .map(|partition| {
                let value = format!("to {partition}: {round}");
                world.send(&producer, &topic, partition, &value)
            })
            .collect::<Vec<_>>();
        for sent in sent {
            world.wait(sent?)?;
        }
    }
    finish(world, cluster)
}

/// G8: what was deleted from the beginning of a log does not come back, and nothing else goes with it.
fn delete_records(_sim: &Sim, world: &Arc<World>) -> Result<(), Error> {
    let cluster = world.open()?;
    let log = world.create(&cluster, topic("t").config("segment.bytes", 300), "t")?;
    let producer = cluster.producer().build()?;
    let send = |from: i64, to: i64| {
        (from..to).try_for_each(|number| {
            let sent = world.send(&producer, &log, 0, &format!("numbered {number:50}"))?;
            world.wait(sent)
        })
    };
    send(0, 9)?;
    world.delete_records(&log, Offset::from(1))?;
    world.delete_records(&log, Offset::from(6))?;
    send(9, 12)?;
    world.delete_records(&log, Offset::from(12))?;
    send(12, 14)?;
    drop((producer, log));
    cluster.close()?;
    let cluster = world.open()?;
    finish(world, cluster)
}

/// G6: a group with members that come and go, and commit.
fn commits_rebalances(sim: &Sim, world: &Arc<World>) -> Result<(), Error> {
    let cluster = world.open()?;
    let log = world.create(&cluster, topic("t").partitions(2), "t")?;
    let producer = cluster.producer().build()?;
    for number in 0..10 {
        let sent = world.send(&producer, &log, number % 2, &format!("number {number}"))?;
        world.wait(sent)?;
    }
    let join = || {
        let consumer = cluster.consumer_group("mailer").consumer().max_poll_records(1);
        // Nobody comes to mend anything.
        consumer.config("default.api.timeout.ms", 20).join("t")
    };
    let poll = |member: &mut Consumer| member.poll(Duration::from_millis(1)).map(drop);
    let mut first = join()?;
    poll(&mut first)?;
    world.commit(&mut first)?;
    let mut second = join()?;
    for round in 0..3 {
        poll(&mut first)?;
        if round == 0 {
            // What it has for as long as it does not poll again.
            world.commit(&mut first)?;
        }
        poll(&mut second)?;
    }
    let shares = [&first, &second].map(|member| member.assignment().len());
    assert!(shares == [1, 1] || !world.disk().failures().is_empty(), "{shares:?}");
    world.commit(&mut first)?;
    world.commit(&mut second)?;
    drop(first);
    poll(&mut second)?;
    poll(&mut second)?;
    world.commit(&mut second)?;
    drop(second);
    sim.sleep(Duration::from_millis(1));
    finish(world, cluster)
}

/// Looks at everything once more and closes.
pub(crate) fn finish(world: &World, cluster: Cluster) -> Result<(), Error> {
    for topic in topics(&cluster) {
        world.look(&topic)?;
    }
    cluster.close()
}
