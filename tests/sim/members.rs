//! Members of groups, in the smallest cases in which it went wrong once.

use std::time::Duration;

use brooklet::sim::{Disk, Sim, Simulation};
use brooklet::{Cluster, Consumer, Delivery, NewTopic, Record};

/// How many seeds a case is tried under.
const SEEDS: u64 = 20;

fn cluster() -> Cluster {
    let disk = Disk::new();
    let cluster = Cluster::builder().broker_on(1, &disk).open().unwrap();
    cluster.create_topic(NewTopic::new("email").partitions(2)).unwrap();
    let producer = cluster.producer().build().unwrap();
    for partition in 0..2 {
        let record = Record::to("email").partition(partition).value("welcome");
        producer.send(record).and_then(Delivery::wait).unwrap();
    }
    cluster
}

/// Polls until it has as many partitions.
fn await_share(sim: &Sim, consumer: &mut Consumer, share: usize) {
    let deadline = sim.elapsed() + Duration::from_secs(30);
    while consumer.assignment().len() != share {
        assert!(sim.elapsed() < deadline, "it has {:?}", consumer.assignment());
        consumer.poll(Duration::from_millis(50)).unwrap();
    }
}

/// Once a commit was due within a poll, it used to look for records without a pause.
#[test]
fn who_waits_in_a_poll_waits_though_commits_are_due() {
    for interval in [0, 100] {
        let outcome = Simulation::new(0).run(move |sim| {
            let cluster = cluster();
            let builder = cluster.consumer_group("mailer").consumer().enable_auto_commit(true);
            let interval = Duration::from_millis(interval);
            let mut consumer = builder.auto_commit_interval(interval).join("email").unwrap();
            let until = sim.elapsed() + Duration::from_secs(2);
            while sim.elapsed() < until {
                consumer.poll(Duration::from_secs(1)).unwrap();
            }
            let committed = cluster.consumer_group("mailer").committed_offsets().unwrap();
            assert_eq!(committed.len(), 2);
            drop(consumer);
            cluster.close().unwrap();
        });
        assert!(outcome.points < 100_000, "{} steps", outcome.points);
    }
}

#[test]
fn what_is_committed_is_seen_when_it_is_in_the_log_for_good() {
    Simulation::new(0).run(|sim| {
        let disks = [Disk::new(), Disk::new()];
        let builder = Cluster::builder().broker_on(1, &disks[0]).broker_on(2, &disks[1]);
        let cluster = builder.open().unwrap();
        let email = cluster.create_topic(NewTopic::new("email")).unwrap();
        let producer = cluster.producer().build().unwrap();
        producer.send(Record::to("email").value("welcome")).and_then(Delivery::wait).unwrap();
        let group = cluster.consumer_group("mailer");
        let mut consumer = group.join("email").unwrap();
        assert_eq!(consumer.poll(Duration::from_secs(1)).unwrap().len(), 1);
        sim.sleep(Duration::from_secs(1));
        cluster.brokers().iter().for_each(|broker| broker.pause());
        let mut commit = consumer.commit().unwrap();
        commit.wait_timeout(Duration::from_millis(500)).unwrap_err();
        assert!(group.committed_offsets().unwrap().is_empty());
        cluster.brokers().iter().for_each(|broker| broker.resume());
        commit.wait().unwrap();
        let next = consumer.committed(email.partition(0).unwrap()).unwrap().unwrap();
        assert_eq!(next.offset().value(), 1);
        drop(consumer);
        cluster.close().unwrap();
    });
}

/// Nobody used to look again at who was in a poll when he was looked at.
#[test]
fn who_stalls_after_a_long_poll_is_removed() {
    for seed in 0..SEEDS {
        Simulation::new(seed).run(|sim| {
            let cluster = cluster();
            let group = cluster.consumer_group("mailer");
            let join = || {
                let builder = group.consumer().max_poll_interval(Duration::from_millis(300));
                builder.join("email").unwrap()
            };
            let (mut first, mut second) = (join(), join());
            let polling = sim.spawn("first", {
                let sim = sim.clone();
                move || {
                    let until = sim.elapsed() + Duration::from_secs(2);
                    while sim.elapsed() < until {
                        first.poll(Duration::from_secs(1)).unwrap();
                    }
                    first
                }
            });
            await_share(sim, &mut second, 1);
            let until = sim.elapsed() + Duration::from_secs(3);
            while sim.elapsed() < until {
                second.poll(Duration::from_secs(1)).unwrap();
            }
            let first = polling.join();
            await_share(sim, &mut second, 2);
            drop((first, second));
            cluster.close().unwrap();
        });
    }
}

/// What it had begun to commit before was waited for for good.
#[test]
fn a_static_member_that_left_with_commits_under_way_gives_up_what_it_has_to() {
    for seed in 0..SEEDS {
        Simulation::new(seed).run(|sim| {
            let cluster = cluster();
            let group = cluster.consumer_group("mailer");
            let join = || group.consumer().group_instance_id("desk").join("email").unwrap();
            let mut first = join();
            first.poll(Duration::from_secs(1)).unwrap();
            drop(first.commit().unwrap());
            drop(first);
            let mut first = join();
            let second = group.join("email").unwrap();
            await_share(sim, &mut first, 1);
            drop((first, second));
            cluster.close().unwrap();
        });
    }
}
