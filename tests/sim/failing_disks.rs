//! Disks that fail as a whole, or are full: with the metadata on them.

use std::io;
use std::time::Duration;

use brooklet::sim::{CallKind, Disk, Fault, PowerCut, Simulation};
use brooklet::{Cluster, ClusterEvent, ErrorKind, NewTopic, Offset, Outcome};

use crate::brokers::{SEEDS, await_in_sync, cluster, send};

/// The metadata are on the disk too. That it had failed could not be recorded there, and its broker stayed the controller; or
/// it was waited for, for as long as a broker may be silent.
#[test]
fn brokers_whose_whole_disks_fail_hold_nobody_up() {
    let faults = [
        (CallKind::Write, io::ErrorKind::StorageFull),
        (CallKind::Write, io::ErrorKind::Other),
        (CallKind::Sync, io::ErrorKind::Other),
    ];
    for (seed, (kind, error)) in (0..SEEDS).zip(faults.into_iter().cycle()) {
        Simulation::new(seed).run(move |sim| {
            let disks = [Disk::new(), Disk::new(), Disk::new()];
            let (cluster, email) = cluster(&disks);
            send(&cluster);
            let well = sim.random() as usize % 3;
            let mut failing = (0..3).filter(|broker| *broker != well).collect::<Vec<_>>();
            failing.truncate(1 + sim.random() as usize % 2);
            for broker in &failing {
                disks[*broker].fail(Fault::new(error).on(kind).for_good());
            }
            let began = sim.elapsed();
            if sim.random().is_multiple_of(2) {
                cluster.create_topic(NewTopic::new("slack")).unwrap();
            }
            send(&cluster);
            let took = sim.elapsed() - began;
            assert!(took < Duration::from_millis(500), "{failing:?} {kind:?}: {took:?}");
            for broker in &failing {
                disks[*broker].heal();
                if kind == CallKind::Sync {
                    let broker = cluster.broker(*broker as i32 + 1).unwrap();
                    // It cannot be closed well.
                    let _ = broker.stop();
                    broker.start().unwrap();
                }
            }
            await_in_sync(sim, &email);
            let deadline = sim.elapsed() + Duration::from_secs(30);
            while cluster.describe().unwrap().metadata_isr.len() < disks.len() {
                assert!(sim.elapsed() < deadline, "{:?}", cluster.describe());
                sim.sleep(Duration::from_millis(10));
            }
            assert_eq!(email.watermarks().unwrap().high, Offset::from(2));
            cluster.close().unwrap();
        });
    }
}

/// It may be in a log that is read later: it was told not to be.
#[test]
fn a_change_that_nobody_could_take_over_may_have_been_made() {
    for seed in 0..SEEDS {
        Simulation::new(seed).run(|_| {
            let disks = [Disk::new(), Disk::new()];
            let (cluster, _) = cluster(&disks);
            disks[0].fail(Fault::new(io::ErrorKind::Other).on(CallKind::Sync).for_good());
            let full = Fault::new(io::ErrorKind::StorageFull).on(CallKind::Write);
            // What it copies it can write, but not that it takes over.
            disks[1].fail(full.at("__brooklet_metadata-0").after(1).for_good());
            let made = cluster.create_topic(NewTopic::new("slack"));
            disks.iter().for_each(Disk::heal);
            let is_there = || cluster.topics().unwrap().iter().any(|name| name.as_str() == "slack");
            match made {
                Ok(_) => assert!(is_there()),
                Err(error) => {
                    let outcome = error.outcome();
                    // Has somebody take office, and look at what is in the log.
                    cluster.create_topic(NewTopic::new("sms")).unwrap();
                    assert!(outcome == Outcome::Unknown || !is_there(), "{error}");
                }
            }
        });
    }
}

/// The keeper asked again at once, for ever, for a member that was back: no time passed.
#[test]
fn a_controller_without_room_is_asked_for_members_now_and_then() {
    Simulation::new(0).run(|sim| {
        let disks = [Disk::new(), Disk::new()];
        let (cluster, email) = cluster(&disks);
        let full = Fault::new(io::ErrorKind::StorageFull).on(CallKind::Write).for_good();
        disks[1].fail(full.clone());
        send(&cluster);
        cluster.create_topic(NewTopic::new("slack")).unwrap();
        assert_eq!(cluster.describe().unwrap().metadata_isr.len(), 1);
        disks[0].fail(full);
        disks[1].heal();
        sim.sleep(Duration::from_secs(5));
        disks[0].heal();
        let deadline = sim.elapsed() + Duration::from_secs(30);
        while cluster.describe().unwrap().metadata_isr.len() < 2 {
            assert!(sim.elapsed() < deadline);
            sim.sleep(Duration::from_millis(10));
        }
        await_in_sync(sim, &email);
        cluster.close().unwrap();
    });
}

/// What it had tried to record named it alone, and it did not know what the other did then.
#[test]
fn one_that_failed_to_become_the_controller_does_not_open_alone() {
    let mut tried = 0;
    for seed in 0..SEEDS {
        let ran = Simulation::new(seed).run(|_| {
            let disks = [Disk::new(), Disk::new()];
            let (cluster, _) = cluster(&disks);
            let full = Fault::new(io::ErrorKind::StorageFull).on(CallKind::Write);
            disks[0].fail(full.at("__brooklet_metadata-0").for_good());
            disks[1].fail(Fault::new(io::ErrorKind::Other).on(CallKind::Sync).for_good());
            cluster.create_topic(NewTopic::new("slack")).unwrap_err();
            disks[0].heal();
            // If the other led for a moment, and this one could not cut its log, it is of no use any more.
            let made = cluster.create_topic(NewTopic::new("sms"));
            let image = disks[1].image(PowerCut::KeepsAll);
            let error = Cluster::builder().broker_on(2, &image).open().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::MetadataIncomplete, "{error}");
            made.is_ok()
        });
        tried += u64::from(ran.value);
    }
    assert!(tried > SEEDS / 2, "{tried}");
}

/// Its followers try again and again.
#[test]
fn a_disk_that_goes_on_failing_is_told_of_once_for_each_replica() {
    Simulation::new(0).run(|sim| {
        let disks = [Disk::new(), Disk::new()];
        let (cluster, email) = cluster(&disks);
        send(&cluster);
        let events = cluster.events();
        for _ in 0..2 {
            let full = Fault::new(io::ErrorKind::StorageFull).on(CallKind::Write).for_good();
            disks[1].fail(full);
            send(&cluster);
            cluster.create_topic_if_missing(NewTopic::new("slack").replication_factor(1)).unwrap();
            sim.sleep(Duration::from_secs(20));
            disks[1].heal();
            await_in_sync(sim, &email);
        }
        let failed = |event: ClusterEvent| match event {
            ClusterEvent::ReplicaFailed { partition, .. } => Some(partition.to_string()),
            _ => None,
        };
        let mut told =
            std::iter::from_fn(|| events.try_next()).filter_map(failed).collect::<Vec<_>>();
        told.retain(|partition| partition == "email-0");
        assert_eq!(told.len(), 2, "{told:?}");
        cluster.close().unwrap();
    });
}
