//! Brokers that end and come back, in the smallest clusters in which it went wrong once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use brooklet::sim::{CallKind, Disk, PowerCut, Sim, Simulation};
use brooklet::{
    Acks, AlterConfig, AutoOffsetReset, BrokerId, Cluster, ClusterBuilder, Delivery, ErrorKind,
    NewTopic, Offset, Outcome, Partition, Record, ReplicaSelector,
};

/// How many seeds a case is tried under.
pub(crate) const SEEDS: u64 = 40;

pub(crate) fn builder(disks: &[Disk]) -> ClusterBuilder {
    (1..).zip(disks).fold(Cluster::builder(), |builder, (id, disk)| builder.broker_on(id, disk))
}

/// A cluster on these disks, with a topic of one partition that all of them replicate.
pub(crate) fn cluster(disks: &[Disk]) -> (Cluster, Partition) {
    let cluster = builder(disks).open().unwrap();
    let topic = NewTopic::new("email").replication_factor(disks.len() as u16);
    let partition = cluster.create_topic(topic).unwrap().partition(0).unwrap();
    (cluster, partition)
}

pub(crate) fn send(cluster: &Cluster) {
    let producer = cluster.producer().build().unwrap();
    producer.send(Record::to("email").value("welcome")).and_then(Delivery::wait).unwrap();
}

fn crash(cluster: &Cluster, disks: &[Disk], id: i32, cut: PowerCut) {
    cluster.broker(id).unwrap().crash().unwrap();
    disks[id as usize - 1].cut_power(cut);
}

pub(crate) fn await_in_sync(sim: &Sim, partition: &Partition) {
    let deadline = sim.elapsed() + Duration::from_secs(30);
    while partition.describe().unwrap().isr.len() < partition.describe().unwrap().replicas.len() {
        assert!(sim.elapsed() < deadline, "{:?}", partition.replicas());
        sim.sleep(Duration::from_millis(10));
    }
}

/// It copies the metadata before it is known to run, and was not asked for again for 50 ms: brokers that went one after the
/// other, each when the one before had all records, left nobody who knew all of the cluster.
#[test]
fn a_broker_that_is_back_knows_all_of_the_metadata_soon() {
    for seed in 0..SEEDS {
        Simulation::new(seed).run(|sim| {
            let disks = [Disk::new(), Disk::new(), Disk::new()];
            let (cluster, _) = cluster(&disks);
            for _ in 0..6 {
                let known = || cluster.describe().unwrap();
                let controller = known().controller.unwrap().value();
                crash(&cluster, &disks, controller, PowerCut::KeepsAll);
                send(&cluster);
                cluster.broker(controller).unwrap().start().unwrap();
                let began = sim.elapsed();
                while known().metadata_isr.len() < disks.len() {
                    assert!(sim.elapsed() - began < Duration::from_millis(25), "{:?}", known());
                    sim.sleep(Duration::from_millis(1));
                }
            }
            cluster.close().unwrap();
        });
    }
}

/// Where nobody led at the moment of its retry, a producer waited for `retry.backoff.ms`.
#[test]
fn who_sends_while_a_leader_crashes_goes_on_with_the_next() {
    for seed in 0..SEEDS {
        Simulation::new(seed).run(|sim| {
            let disks = [Disk::new(), Disk::new(), Disk::new()];
            let (cluster, email) = cluster(&disks);
            send(&cluster);
            let leader = email.describe().unwrap().leader.unwrap().value();
            let broker = cluster.broker(leader).unwrap();
            let pause = Duration::from_micros(sim.random() % 1_000);
            let waiting = sim.clone();
            let crash = sim.spawn("crash", move || {
                waiting.sleep(pause);
                broker.crash().unwrap();
            });
            for _ in 0..5 {
                let began = sim.elapsed();
                send(&cluster);
                let took = sim.elapsed() - began;
                assert!(took < Duration::from_millis(50), "{took:?}");
            }
            crash.join();
            cluster.close().unwrap();
        });
    }
}

#[test]
fn a_broker_comes_back_after_its_power_was_cut() {
    Simulation::new(0).run(|sim| {
        let disks = [Disk::new(), Disk::new()];
        let (cluster, email) = cluster(&disks);
        crash(&cluster, &disks, 2, PowerCut::LosesAll);
        send(&cluster);
        cluster.broker(2).unwrap().start().unwrap();
        await_in_sync(sim, &email);
        cluster.close().unwrap();
    });
}

/// The last in sync has lost what it had not synced, and one that is no longer in sync has that (KIP-966). It was cut.
#[test]
fn who_has_all_that_the_last_in_sync_has_and_more_leads() {
    for is_whole_cluster in [true, false] {
        Simulation::new(0).run(move |sim| {
            let disks = [Disk::new(), Disk::new()];
            let (cluster, email) = cluster(&disks);
            let os = AlterConfig::new().set("brooklet.flush.policy", "os");
            cluster.topic("email").unwrap().alter_config(os).unwrap();
            for _ in 0..3 {
                send(&cluster);
            }
            let two = cluster.broker(2).unwrap();
            match is_whole_cluster {
                true => two.stop().unwrap(),
                false => two.pause(),
            }
            send(&cluster);
            assert_eq!(email.describe().unwrap().isr.len(), 1);
            crash(&cluster, &disks, 1, PowerCut::LosesAll);
            two.resume();
            let (cluster, email) = match is_whole_cluster {
                true => {
                    drop((two, email, cluster));
                    let cluster = builder(&disks).open().unwrap();
                    let email = cluster.topic("email").unwrap().partition(0).unwrap();
                    (cluster, email)
                }
                false => {
                    cluster.broker(1).unwrap().start().unwrap();
                    (cluster, email)
                }
            };
            await_in_sync(sim, &email);
            send(&cluster);
            assert_eq!(email.watermarks().unwrap().high, Offset::from(4));
            cluster.close().unwrap();
        });
    }
}

/// It was the only one in sync, by an unclean election, and has less than one that was not.
#[test]
fn one_that_was_elected_uncleanly_gives_its_place_to_who_has_more() {
    Simulation::new(0).run(|sim| {
        let disks = [Disk::new(), Disk::new()];
        let (cluster, email) = cluster(&disks);
        let settings = AlterConfig::new()
            .set("brooklet.flush.policy", "os")
            .set("unclean.leader.election.enable", true);
        cluster.topic("email").unwrap().alter_config(settings).unwrap();
        let [one, two] = [1, 2].map(|id| cluster.broker(id).unwrap());
        two.pause();
        let producer = cluster.producer().acks(Acks::Leader).build().unwrap();
        producer.send(Record::to("email").value("welcome")).and_then(Delivery::wait).unwrap();
        let leader = email.describe().unwrap().leader;
        assert_eq!(leader, Some(one.id()));
        // Synced by that, and not in sync any more.
        one.stop().unwrap();
        assert_eq!(email.describe().unwrap().leader, Some(two.id()));
        crash(&cluster, &disks, 2, PowerCut::KeepsAll);
        drop((one, two, producer, email, cluster));
        let cluster = builder(&disks).open().unwrap();
        let email = cluster.topic("email").unwrap().partition(0).unwrap();
        await_in_sync(sim, &email);
        send(&cluster);
        assert_eq!(email.watermarks().unwrap().high, Offset::from(2));
        cluster.close().unwrap();
    });
}

#[test]
fn brokers_come_back_when_none_is_left() {
    Simulation::new(0).run(|sim| {
        let disks = [Disk::new(), Disk::new()];
        let (cluster, email) = cluster(&disks);
        send(&cluster);
        for id in [1, 2] {
            crash(&cluster, &disks, id, PowerCut::LosesAll);
        }
        // The first that went does not know what the other has done alone.
        cluster.broker(1).unwrap().start().unwrap_err();
        for id in [2, 1] {
            cluster.broker(id).unwrap().start().unwrap();
        }
        await_in_sync(sim, &email);
        send(&cluster);
        cluster.close().unwrap();
    });
}

/// Two that ask for producer ids at once used to wait for each other.
#[test]
fn producers_may_begin_at_the_same_moment() {
    for seed in 0..SEEDS {
        Simulation::new(seed).run(|sim| {
            let (cluster, _) = cluster(&[Disk::new()]);
            let sends =
                [cluster.clone(), cluster].map(|cluster| sim.spawn("p", move || send(&cluster)));
            sends.into_iter().for_each(|sending| sending.join());
        });
    }
}

/// What a leader asks for while the partition changes is refused. It used not to ask again.
#[test]
fn brokers_that_come_back_together_are_all_in_sync_again() {
    for seed in 0..SEEDS {
        Simulation::new(seed).run(move |sim| {
            let disks = [Disk::new(), Disk::new(), Disk::new()];
            let (cluster, email) = cluster(&disks);
            send(&cluster);
            for id in [1, 2] {
                crash(&cluster, &disks, id, PowerCut::Mixes(seed));
            }
            send(&cluster);
            let starts = [1, 2].map(|id| {
                let broker = cluster.broker(id).unwrap();
                sim.spawn("start", move || broker.start().unwrap())
            });
            starts.into_iter().for_each(|start| start.join());
            await_in_sync(sim, &email);
            cluster.close().unwrap();
        });
    }
}

/// Two are waited for: those in sync, and those that have nearly caught up. The latter used to be waited for until
/// something else happened, and so was a change of the metadata that had to be made for the keeper to go on.
#[test]
fn nothing_waits_for_good_for_a_follower_that_stalls_before_it_is_in_sync() {
    for seed in 0..SEEDS {
        Simulation::new(seed).run(move |sim| {
            let disks = [Disk::new(), Disk::new()];
            let (cluster, _) = cluster(&disks);
            send(&cluster);
            crash(&cluster, &disks, 2, PowerCut::Mixes(seed));
            let broker = cluster.broker(2).unwrap();
            let starting = sim.spawn("start", {
                let broker = broker.clone();
                move || broker.start()
            });
            sim.sleep(Duration::from_micros(sim.random() % 3_000));
            broker.disconnect(&cluster.broker(1).unwrap());
            let began = sim.elapsed();
            send(&cluster);
            cluster.create_topic(NewTopic::new("sms")).unwrap();
            assert!(sim.elapsed() - began < Duration::from_secs(70), "{:?}", sim.elapsed());
            starting.join().unwrap();
            cluster.close().unwrap();
        });
    }
}

/// C11: what a consumer has seen as the end stays below what it hears of the end afterwards.
#[test]
fn a_new_leader_does_not_tell_an_end_below_that_of_the_one_before() {
    for seed in 0..SEEDS {
        Simulation::new(seed).run(move |sim| {
            let disks = [Disk::new(), Disk::new(), Disk::new()];
            let (cluster, email) = cluster(&disks);
            let consumer = cluster.consumer().build().unwrap();
            (0..3).for_each(|_| send(&cluster));
            let before = email.watermarks().unwrap().high;
            let leader = email.describe().unwrap().leader.unwrap().value();
            crash(&cluster, &disks, leader, PowerCut::Mixes(seed));
            let deadline = sim.elapsed() + Duration::from_secs(30);
            let after = loop {
                let ends = consumer.end_offsets([email.clone()]);
                match email.watermarks() {
                    Ok(after) => break after.high,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::OffsetNotAvailable);
                        assert!(error.is_retriable() && error.kafka_code() == Some(78));
                    }
                }
                assert!(sim.elapsed() < deadline && ends.is_err());
                sim.sleep(Duration::from_micros(10));
            };
            assert!(after >= before, "{after} after {before}");
            cluster.close().unwrap();
        });
    }
}

/// A batch that its leader had written before it refused it used to be called not written.
#[test]
fn a_send_that_may_have_been_written_at_first_does_not_fail_for_sure() {
    Simulation::new(0).run(|sim| {
        let disks = [Disk::new(), Disk::new()];
        let (cluster, email) = cluster(&disks);
        let all = AlterConfig::new().set("min.insync.replicas", 2);
        email.topic().alter_config(all).unwrap();
        let broker = cluster.broker(2).unwrap();
        broker.pause();
        let producer = cluster.producer().retries(1).build().unwrap();
        let sent = producer.send(Record::to("email").value("welcome")).unwrap();
        sim.sleep(Duration::from_millis(10));
        crash(&cluster, &disks, 2, PowerCut::LosesAll);
        let error = sent.wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotEnoughReplicas, "the last thing that was heard");
        assert_eq!(error.outcome(), Outcome::Unknown);
        broker.resume();
        broker.start().unwrap();
        await_in_sync(sim, &email);
        assert_eq!(email.read(Offset::ZERO, 1 << 20).unwrap().len(), 1);
        cluster.close().unwrap();
    });
}

/// Two threads that told a replica of one change at once used to take the term back that it had begun, and a follower
/// that was woken before it knew of its new leader asked the old one, and never again.
#[test]
fn a_partition_that_is_moved_around_goes_on() {
    for seed in 0..SEEDS {
        Simulation::new(seed).run(move |sim| {
            let disks = [Disk::new(), Disk::new(), Disk::new()];
            let (cluster, email) = cluster(&disks);
            let sends = cluster.clone();
            let sending = sim.spawn("sender", move || (0..40).for_each(|_| send(&sends)));
            for _ in 0..6 {
                let first = sim.random() % 3;
                let count = 1 + sim.random() as usize % 3;
                let to = (0..3).map(|at| ((first + at) % 3 + 1) as i32).take(count);
                let to = to.map(|id| cluster.broker(id).unwrap().id());
                email.reassign(to).unwrap();
                sim.sleep(Duration::from_micros(sim.random() % 3_000));
            }
            await_in_sync(sim, &email);
            sending.join();
            send(&cluster);
            cluster.close().unwrap();
        });
    }
}

/// It takes a moment until the loss is recorded. Meanwhile nobody leads: what has crashed has nothing to say.
#[test]
fn a_broker_that_crashes_answers_nobody_from_then_on() {
    for seed in 0..SEEDS {
        Simulation::new(seed).run(move |sim| {
            let disks = [Disk::new(), Disk::new(), Disk::new()];
            let (cluster, email) = cluster(&disks);
            // Of the controller, and of another.
            let leader = 1 + (seed % 2) as i32;
            let order = [leader, 3 - leader, 3].map(|id| cluster.broker(id).unwrap().id());
            let topic = NewTopic::new("sms").assignment([order.to_vec()]);
            let sms = cluster.create_topic(topic).unwrap().partition(0).unwrap();
            let (is_over, answered) =
                (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
            let sending = sim.spawn("sender", {
                let (cluster, is_over) = (cluster.clone(), Arc::clone(&is_over));
                let answered = Arc::clone(&answered);
                move || {
                    let hasty = cluster.producer().acks(Acks::Leader).enable_idempotence(false);
                    let producer = hasty.build().unwrap();
                    while !is_over.load(Ordering::SeqCst) {
                        let sent = producer.send(Record::to("sms").value("hello"));
                        sent.and_then(Delivery::wait).unwrap();
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
            sim.sleep(Duration::from_millis(2));
            let looks = Arc::new(AtomicU64::new(0));
            let look = {
                let (sim, sms, looks) = (sim.clone(), sms.clone(), Arc::clone(&looks));
                let answered = Arc::clone(&answered);
                move || {
                    let before = answered.load(Ordering::SeqCst);
                    // A slow disk.
                    sim.sleep(Duration::from_millis(5));
                    // One answer may have been on its way.
                    assert!(answered.load(Ordering::SeqCst) <= before + 1, "it answers producers");
                    let error = sms.watermarks().unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::LeaderNotAvailable);
                    let error = sms.read(Offset::ZERO, 1 << 20).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::LeaderNotAvailable);
                    looks.fetch_add(1, Ordering::SeqCst);
                }
            };
            let survivor = &disks[2 - leader as usize];
            survivor.on_call(move |call| {
                let is_of_metadata = call.path.to_string_lossy().contains("__brooklet_metadata");
                if call.kind == CallKind::Sync && is_of_metadata && looks_for(&sms) == Some(leader)
                {
                    look();
                }
                Ok(())
            });
            crash(&cluster, &disks, leader, PowerCut::LosesAll);
            survivor.on_call(|_| Ok(()));
            assert!(looks.load(Ordering::SeqCst) > 0, "it was not recorded");
            let before = answered.load(Ordering::SeqCst);
            while answered.load(Ordering::SeqCst) < before + 3 {
                sim.sleep(Duration::from_millis(10));
            }
            is_over.store(true, Ordering::SeqCst);
            sending.join();
            cluster.broker(leader).unwrap().start().unwrap();
            await_in_sync(sim, &email);
            cluster.close().unwrap();
        });
    }
}

/// As is published.
fn looks_for(partition: &Partition) -> Option<i32> {
    partition.describe().unwrap().leader.map(|leader| leader.value())
}

/// A broker that has just been started does not know all of the metadata yet.
#[test]
fn a_controller_that_stops_waits_for_another_that_knows_all() {
    for seed in 0..SEEDS {
        Simulation::new(seed).run(move |sim| {
            let disks = [Disk::new(), Disk::new()];
            let (cluster, email) = cluster(&disks);
            cluster.broker(2).unwrap().stop().unwrap();
            (0..20).for_each(|n| _ = cluster.create_topic(NewTopic::new(format!("t{n}"))).unwrap());
            cluster.broker(2).unwrap().start().unwrap();
            cluster.broker(1).unwrap().stop().unwrap();
            let controller = cluster.describe().unwrap().controller;
            assert_eq!(controller, Some(cluster.broker(2).unwrap().id()));
            let topic = cluster.create_topic(NewTopic::new("sms")).unwrap();
            assert_eq!(looks_for(&topic.partition(0).unwrap()), Some(2));
            cluster.broker(1).unwrap().start().unwrap();
            await_in_sync(sim, &email);
            cluster.close().unwrap();
        });
    }
}

/// Not for ever: it was asked to stop.
#[test]
fn a_controller_that_stops_does_not_wait_for_good() {
    Simulation::new(0).run(|sim| {
        let disks = [Disk::new(), Disk::new()];
        let (cluster, _) = cluster(&disks);
        let [one, two] = [1, 2].map(|id| cluster.broker(id).unwrap());
        two.stop().unwrap();
        cluster.create_topic(NewTopic::new("sms")).unwrap();
        one.disconnect(&two);
        two.start().unwrap();
        let began = sim.elapsed();
        one.stop().unwrap();
        let took = sim.elapsed() - began;
        assert!((Duration::from_secs(4)..Duration::from_secs(20)).contains(&took), "{took:?}");
        assert_eq!(cluster.describe().unwrap().controller, None);
        let error = cluster.create_topic(NewTopic::new("push")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokerNotAvailable, "{error}");
        one.reconnect(&two);
        one.start().unwrap();
        cluster.create_topic(NewTopic::new("push")).unwrap();
        // Alone there is nobody to wait for.
        two.stop().unwrap();
        let began = sim.elapsed();
        one.stop().unwrap();
        assert!(sim.elapsed() - began < Duration::from_secs(1));
    });
}

/// Each answer sends the next one on its way, which used to come to nobody any more.
#[test]
fn closing_answers_what_was_held_behind_what_others_lack() {
    Simulation::new(0).run(|sim| {
        let disks = [Disk::new(), Disk::new()];
        let (cluster, _) = cluster(&disks);
        cluster.broker(2).unwrap().pause();
        let producer = cluster.producer().build().unwrap();
        let send = |_| {
            let sent = producer.send(Record::to("email").value("welcome")).unwrap();
            sim.sleep(Duration::from_millis(1));
            sent
        };
        let sent = (0..4).map(send).collect::<Vec<_>>();
        cluster.close().unwrap();
        for sent in sent {
            assert_eq!(sent.wait().unwrap_err().kind(), ErrorKind::Closed);
        }
    });
}

#[test]
fn a_follower_that_is_slow_by_so_much_holds_acknowledgements_up_by_that() {
    for seed in 0..SEEDS {
        Simulation::new(seed).run(|sim| {
            let (cluster, email) = cluster(&[Disk::new(), Disk::new()]);
            send(&cluster);
            let leader = email.describe().unwrap().leader.unwrap().value();
            let follower = cluster.broker(3 - leader).unwrap();
            for millis in [20, 500] {
                let delay = Duration::from_millis(millis);
                // What it is at is done.
                sim.sleep(Duration::from_millis(5));
                follower.slow_down(delay);
                let began = sim.elapsed();
                send(&cluster);
                let took = sim.elapsed() - began;
                assert!(delay <= took && took < 2 * delay, "{took:?} for {delay:?}");
            }
            follower.resume();
            cluster.close().unwrap();
        });
    }
}

/// The replica in the rack stays in sync, and has nothing new (`metadata.max.age.ms`).
#[test]
fn the_leader_is_asked_again_in_time_which_replica_to_read() {
    for seed in 0..SEEDS {
        Simulation::new(seed).run(|sim| {
            let disks = [Disk::new(), Disk::new(), Disk::new()];
            let racks = builder(&disks).rack(1, "north").rack(2, "south").rack(3, "south");
            let cluster = racks.replica_selector(ReplicaSelector::RackAware).open().unwrap();
            let brokers = [1, 2, 3].map(|id| BrokerId::new(id).unwrap());
            let topic = cluster.create_topic(NewTopic::new("email").assignment([brokers])).unwrap();
            let email = topic.partition(0).unwrap();
            let age = Duration::from_secs(2);
            let consumer = cluster.consumer().client_rack("south").metadata_max_age(age);
            let mut consumer =
                consumer.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap();
            send(&cluster);
            consumer.assign([email.clone()]).unwrap();
            let mut source = |timeout| {
                let records = consumer.poll(timeout).unwrap();
                (records.len(), consumer.read_replica(&email).unwrap().value())
            };
            let began = sim.elapsed();
            let (received, first) = source(Duration::from_secs(1));
            assert_eq!((received, first > 1), (1, true));
            let chosen = cluster.broker(first).unwrap();
            // A pause it would notice.
            chosen.slow_down(Duration::from_secs(3600));
            let producer = cluster.producer().acks(Acks::Leader).build().unwrap();
            let record = Record::to("email").value("welcome");
            producer.send(record).and_then(Delivery::wait).unwrap();
            while source(Duration::from_millis(100)).1 == first {
                assert!(sim.elapsed() - began < 2 * age);
            }
            assert_eq!(source(Duration::ZERO).1, 5 - first);
            assert!(sim.elapsed() - began >= age, "{:?}", sim.elapsed() - began);
            chosen.resume();
            cluster.close().unwrap();
        });
    }
}
