//! Several brokers: who has what, who leads, what an acknowledgement means, and what becomes of all that when brokers go.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use brooklet::sim::{CallKind, Disk, Fault, PowerCut};
use brooklet::{
    Acks, BrokerId, Cluster, ClusterBuilder, ClusterEvent, ElectionKind, Error, ErrorKind,
    FlushPolicy, NewTopic, Offset, Outcome, Partition, Producer, Record, Topic,
};

use crate::{LONG, consumer, producer, receive, send_all};

fn id(id: i32) -> BrokerId {
    BrokerId::new(id).unwrap()
}

fn ids(numbers: &[i32]) -> Vec<BrokerId> {
    numbers.iter().map(|number| id(*number)).collect()
}

fn three() -> Cluster {
    Cluster::builder().brokers(3).in_memory().unwrap()
}

/// A topic with one partition on brokers 1, 2 and 3, which broker 1 leads.
fn replicated(cluster: &Cluster, min_isr: u16) -> Topic {
    let topic = NewTopic::new("email").assignment([ids(&[1, 2, 3])]);
    cluster.create_topic(topic.config("min.insync.replicas", min_isr)).unwrap()
}

fn partition(topic: &Topic) -> Partition {
    topic.partition(0).unwrap()
}

/// Waits for what is bound to happen.
fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn wait_in_sync(partition: &Partition, brokers: &[i32]) {
    let wanted = ids(brokers).into_iter().collect::<BTreeSet<_>>();
    wait("others are in sync", || {
        partition.describe().unwrap().isr.into_iter().collect::<BTreeSet<_>>() == wanted
    });
}

fn send(producer: &Producer, topic: &Topic, value: &str) -> Result<Offset, Error> {
    let metadata = producer.send(Record::to(topic).value(value))?.wait()?;
    Ok(metadata.offset.unwrap())
}

#[test]
fn replicas_are_placed_as_kafka_did_from_the_first_topic_on() {
    let cluster = three();
    let replicas = |name: &str, factor| {
        let topic = NewTopic::new(name).partitions(3).replication_factor(factor);
        let partitions = cluster.create_topic(topic).unwrap().describe().unwrap().partitions;
        partitions.into_iter().map(|partition| partition.replicas).collect::<Vec<_>>()
    };
    assert_eq!(replicas("slack", 3), [ids(&[1, 2, 3]), ids(&[2, 3, 1]), ids(&[3, 1, 2])]);
    assert_eq!(replicas("email", 3), [ids(&[2, 3, 1]), ids(&[3, 1, 2]), ids(&[1, 2, 3])]);
    replicas("push", 1);
    // The fourth begins where the first did, and one further apart.
    assert_eq!(replicas("sms", 2), [ids(&[1, 3]), ids(&[2, 1]), ids(&[3, 2])]);
}

#[test]
fn racks_are_told_apart() {
    let builder = Cluster::builder().brokers(4).rack(1, "a").rack(2, "a").rack(3, "b").rack(4, "b");
    let cluster = builder.in_memory().unwrap();
    let topic = NewTopic::new("email").partitions(8).replication_factor(2);
    for partition in cluster.create_topic(topic).unwrap().describe().unwrap().partitions {
        let racks = partition.replicas.iter().map(|id| id.value() <= 2);
        assert_eq!(racks.collect::<BTreeSet<_>>().len(), 2, "{partition:?}");
    }
    assert_eq!(cluster.broker(3).unwrap().rack(), Some("b"));
}

#[test]
fn what_cannot_be_placed_is_refused() {
    let cluster = three();
    let kind = |topic: NewTopic| cluster.create_topic(topic).unwrap_err().kind();
    let email = || NewTopic::new("email");
    assert_eq!(kind(email().replication_factor(4)), ErrorKind::InvalidReplicationFactor);
    assert_eq!(kind(email().replication_factor(0)), ErrorKind::InvalidReplicationFactor);
    for wrong in [&[1, 1][..], &[1, 4], &[]] {
        let assigned = email().assignment([ids(wrong)]);
        assert_eq!(kind(assigned), ErrorKind::InvalidReplicaAssignment, "{wrong:?}");
    }
    let unequal = email().assignment([ids(&[1, 2]), ids(&[3])]);
    assert_eq!(kind(unequal), ErrorKind::InvalidReplicaAssignment);
    cluster.broker(3).unwrap().stop().unwrap();
    assert_eq!(kind(email().replication_factor(3)), ErrorKind::InvalidReplicationFactor);
}

#[test]
fn a_record_is_acknowledged_when_every_replica_in_sync_has_it() {
    for policy in [FlushPolicy::OnAck, FlushPolicy::Os] {
        let cluster = Cluster::builder().brokers(3).flush_policy(policy).temp().unwrap();
        let email = replicated(&cluster, 2);
        let producer = producer(&cluster);
        for round in 0..50 {
            send(&producer, &email, "welcome").unwrap();
            for replica in partition(&email).replicas().unwrap() {
                assert_eq!(replica.log_end, Offset::from(round + 1), "{replica:?}");
                assert_eq!(replica.lag, Some(0));
            }
        }
    }
}

#[test]
fn a_paused_follower_is_waited_for_as_long_as_it_is_in_sync() {
    let builder = Cluster::builder().brokers(3).config("replica.lag.time.max.ms", 300);
    let cluster = builder.in_memory().unwrap();
    let email = replicated(&cluster, 2);
    let producer = producer(&cluster);
    send(&producer, &email, "welcome").unwrap();

    let slow = cluster.broker(3).unwrap();
    slow.pause();
    let began = Instant::now();
    send(&producer, &email, "goodbye").unwrap();
    assert!(began.elapsed() >= Duration::from_millis(290), "it was in sync until then");
    assert_eq!(partition(&email).describe().unwrap().isr, ids(&[1, 2]));

    slow.resume();
    wait_in_sync(&partition(&email), &[1, 2, 3]);
}

#[test]
fn too_few_in_sync_is_an_error_for_those_who_want_all_and_for_nobody_else() {
    let cluster = three();
    let email = replicated(&cluster, 2);
    let brief = |acks| {
        let producer = cluster.producer().acks(acks).enable_idempotence(acks == Acks::All);
        producer.config("delivery.timeout.ms", 300).config("request.timeout.ms", 200)
    };
    let all = brief(Acks::All).build().unwrap();
    send(&all, &email, "welcome").unwrap();
    for broker in [2, 3] {
        cluster.broker(broker).unwrap().stop().unwrap();
    }
    let error = send(&all, &email, "lost").unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotWritten, "{error:?}");
    let leader = brief(Acks::Leader).build().unwrap();
    send(&leader, &email, "goodbye").unwrap();
    // Nor does anybody see it: it may still be lost (KIP-966).
    assert_eq!(partition(&email).replicas().unwrap()[0].high_watermark, Offset::from(1));

    cluster.broker(2).unwrap().start().unwrap();
    wait_in_sync(&partition(&email), &[1, 2]);
    assert_eq!(send(&all, &email, "again").unwrap(), Offset::from(2));
}

#[test]
fn leaders_move_when_their_broker_stops_and_producers_and_consumers_go_on() {
    let cluster = three();
    let email = NewTopic::new("email").partitions(6).replication_factor(2);
    let email = cluster.create_topic(email).unwrap();
    let producer = producer(&cluster);
    let mut consumer = consumer(&cluster, &email);
    let mut sent = 0;
    for broker in [1, 2, 3, 1] {
        let broker = cluster.broker(broker).unwrap();
        broker.stop().unwrap();
        assert!(!broker.is_running() && !broker.is_controller());
        for partition in email.describe().unwrap().partitions {
            assert!(partition.leader.is_some_and(|leader| leader != broker.id()), "{partition:?}");
        }
        for _ in 0..30 {
            send(&producer, &email, "v").unwrap();
            sent += 1;
        }
        assert_eq!(receive(&mut consumer, 30).len(), 30);
        broker.start().unwrap();
        for partition in email.partitions() {
            wait("all are in sync", || partition.describe().unwrap().isr.len() == 2);
        }
        wait("all know the metadata", || cluster.describe().unwrap().metadata_isr.len() == 3);
    }
    let ends = email.partitions().iter().map(|p| p.watermarks().unwrap().high.value()).sum::<i64>();
    assert_eq!(ends, sent);
}

/// C1, C5: a follower that is behind takes nothing back that was acknowledged.
#[test]
fn what_was_acknowledged_survives_the_crash_of_any_broker() {
    let disks = [1, 2, 3].map(|_| Disk::new());
    let cluster = on(&disks).open().unwrap();
    let email = replicated(&cluster, 2);
    let producer = producer(&cluster);
    let mut expected = Vec::new();
    for round in 0..6 {
        for n in 0..20 {
            let value = format!("{round}-{n}");
            send(&producer, &email, &value).unwrap();
            expected.push(value);
        }
        let leader = partition(&email).describe().unwrap().leader.unwrap();
        let broker = cluster.broker(leader.value()).unwrap();
        broker.crash().unwrap();
        let index = usize::try_from(leader.value()).unwrap() - 1;
        disks[index].cut_power(PowerCut::LosesAll);
        send(&producer, &email, "while it is away").unwrap();
        expected.push("while it is away".to_owned());
        broker.start().unwrap();
        wait_in_sync(&partition(&email), &[1, 2, 3]);
    }
    assert_eq!(receive(&mut consumer(&cluster, &email), expected.len()), expected);
    cluster.close().unwrap();
    let logs = disks.each_ref().map(|disk| disk.read("/email-0/00000000000000000000.log"));
    assert!(
        logs.iter().all(|log| log.as_ref().unwrap() == logs[0].as_ref().unwrap()),
        "the replicas are the same"
    );
}

fn on(disks: &[Disk]) -> ClusterBuilder {
    let numbered = (1..).zip(disks);
    numbered.fold(Cluster::builder(), |builder, (id, disk)| builder.broker_on(id, disk))
}

#[test]
fn two_stores_survive_the_loss_of_either() {
    for lost in [0, 1] {
        let disks = [Disk::new(), Disk::new()];
        let cluster = on(&disks).open().unwrap();
        let email = cluster.create_topic(NewTopic::new("email").replication_factor(2)).unwrap();
        send_all(&producer(&cluster), &email, ["welcome"]);
        cluster.broker(lost + 1).unwrap().crash().unwrap();
        // One goes on alone, and says so in its metadata.
        send_all(&producer(&cluster), &email, ["goodbye"]);
        cluster.create_topic(NewTopic::new("sms")).unwrap();
        cluster.close().unwrap();
        drop(email);

        let (left, stale) = (2 - lost, lost + 1);
        let disk = |id: i32| &disks[usize::try_from(id).unwrap() - 1];
        let error = Cluster::builder().broker_on(stale, disk(stale)).open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MetadataIncomplete, "{error}");
        assert!(error.to_string().contains(&left.to_string()), "{error}");

        let cluster = Cluster::builder().broker_on(left, disk(left)).open().unwrap();
        let email = cluster.topic("email").unwrap();
        assert_eq!(receive(&mut consumer(&cluster, &email), 2), ["welcome", "goodbye"]);
        // The other comes back, and gets what it has missed.
        cluster.add_broker_on(stale, disk(stale)).unwrap();
        wait_in_sync(&partition(&email), &[1, 2]);
        cluster.close().unwrap();
        let cluster = on(&disks).open().unwrap();
        assert_eq!(cluster.topics().unwrap().len(), 2);
    }
}

#[test]
fn a_loss_that_is_accepted_keeps_the_stores_apart_from_then_on() {
    let disks = [Disk::new(), Disk::new()];
    on(&disks).open().unwrap().close().unwrap();
    let alone = |id: i32, disk| Cluster::builder().broker_on(id, disk).accept_metadata_loss(true);
    assert_eq!(
        Cluster::builder().broker_on(1, &disks[0]).open().unwrap_err().kind(),
        ErrorKind::MetadataIncomplete
    );
    alone(1, &disks[0]).open().unwrap().close().unwrap();
    alone(2, &disks[1]).open().unwrap().close().unwrap();
    let error = on(&disks).accept_metadata_loss(true).open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MetadataDiverged, "{error}");
}

#[test]
fn brokers_have_ids_of_their_own_and_one_cluster() {
    let [one, two] = [Disk::new(), Disk::new()];
    let builder = Cluster::builder().broker_on(1, &one).broker_on(1, &two);
    assert_eq!(builder.open().unwrap_err().kind(), ErrorKind::InvalidState);
    let builder = Cluster::builder().broker_on(-1, &one);
    assert_eq!(builder.open().unwrap_err().kind(), ErrorKind::InvalidConfig);

    let other = Disk::new();
    Cluster::builder().broker_on(2, &other).open().unwrap().close().unwrap();
    let cluster = Cluster::builder().broker_on(1, &one).open().unwrap();
    assert_eq!(cluster.add_broker_on(2, &other).unwrap_err().kind(), ErrorKind::NotAStore);
    assert_eq!(cluster.add_broker_on(1, &Disk::new()).unwrap_err().kind(), ErrorKind::InvalidState);
    assert_eq!(cluster.broker(7).unwrap_err().kind(), ErrorKind::BrokerNotAvailable);
}

#[test]
fn a_partition_moves_to_other_brokers_while_it_is_in_use() {
    let cluster = three();
    let email = cluster.create_topic(NewTopic::new("email").assignment([ids(&[1])])).unwrap();
    let (producer, partition) = (producer(&cluster), partition(&email));
    send_all(&producer, &email, ["a", "b"]);
    partition.reassign(ids(&[3, 2])).unwrap();
    send_all(&producer, &email, ["c"]);
    wait("it has moved", || partition.describe().unwrap().removing.is_empty());
    let moved = partition.describe().unwrap();
    assert_eq!((moved.replicas, moved.leader), (ids(&[3, 2]), Some(id(3))));
    send_all(&producer, &email, ["d"]);
    assert_eq!(receive(&mut consumer(&cluster, &email), 4), ["a", "b", "c", "d"]);
    // Nothing keeps broker 1 any more.
    cluster.remove_broker(1).unwrap();
    send_all(&producer, &email, ["e"]);
    assert_eq!(cluster.remove_broker(2).unwrap_err().kind(), ErrorKind::InvalidState);
    assert_eq!(cluster.brokers().len(), 2);
}

#[test]
fn a_move_can_be_given_up() {
    let cluster = three();
    let email = cluster.create_topic(NewTopic::new("email").assignment([ids(&[1])])).unwrap();
    let partition = partition(&email);
    send_all(&producer(&cluster), &email, ["a"]);
    let error = partition.cancel_reassignment().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoReassignmentInProgress);
    cluster.broker(2).unwrap().pause();
    partition.reassign(ids(&[2])).unwrap();
    assert_eq!(partition.describe().unwrap().adding, ids(&[2]));
    partition.cancel_reassignment().unwrap();
    let back = partition.describe().unwrap();
    assert_eq!((back.replicas, back.adding, back.leader), (ids(&[1]), vec![], Some(id(1))));
}

#[test]
fn the_preferred_leader_is_elected_when_it_is_asked_for() {
    let cluster = three();
    let email = replicated(&cluster, 1);
    let partition = partition(&email);
    let one = cluster.broker(1).unwrap();
    one.stop().unwrap();
    let error = partition.elect_leader(ElectionKind::Preferred).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PreferredLeaderNotAvailable);
    one.start().unwrap();
    wait_in_sync(&partition, &[1, 2, 3]);
    assert_eq!(partition.describe().unwrap().leader, Some(id(2)));
    partition.elect_leader(ElectionKind::Preferred).unwrap();
    assert_eq!(partition.describe().unwrap().leader, Some(id(1)));
    let error = partition.elect_leader(ElectionKind::Preferred).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ElectionNotNeeded);
}

#[test]
fn the_preferred_leader_gets_its_office_back_by_itself() {
    let builder =
        Cluster::builder().brokers(2).config("leader.imbalance.check.interval.seconds", 1);
    let cluster = builder.in_memory().unwrap();
    let topic = NewTopic::new("email").assignment([ids(&[2, 1])]);
    let email = cluster.create_topic(topic).unwrap();
    let two = cluster.broker(2).unwrap();
    two.stop().unwrap();
    two.start().unwrap();
    wait("it leads again", || partition(&email).describe().unwrap().leader == Some(id(2)));
}

#[test]
fn a_replica_out_of_sync_leads_only_if_the_loss_is_asked_for() {
    for by_config in [false, true] {
        let cluster = Cluster::builder().brokers(2).in_memory().unwrap();
        let topic = NewTopic::new("email").assignment([ids(&[1, 2])]);
        let topic = topic.config("unclean.leader.election.enable", by_config);
        let email = cluster.create_topic(topic).unwrap();
        let (producer, partition) = (producer(&cluster), partition(&email));
        send_all(&producer, &email, ["a"]);
        cluster.broker(2).unwrap().stop().unwrap();
        send_all(&producer, &email, ["lost"]);
        cluster.broker(1).unwrap().stop().unwrap();
        assert_eq!(partition.watermarks().unwrap_err().kind(), ErrorKind::LeaderNotAvailable);
        // Broker 1 was the last that knows all of the metadata.
        let error = cluster.broker(2).unwrap().start().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokerNotAvailable, "{error}");
    }
    for by_config in [false, true] {
        let cluster = three();
        let topic = NewTopic::new("email").assignment([ids(&[1, 2])]);
        let topic = topic.config("unclean.leader.election.enable", by_config);
        let email = cluster.create_topic(topic).unwrap();
        let (producer, partition) = (producer(&cluster), partition(&email));
        send_all(&producer, &email, ["a"]);
        cluster.broker(2).unwrap().stop().unwrap();
        send_all(&producer, &email, ["lost"]);
        cluster.broker(1).unwrap().stop().unwrap();
        cluster.broker(2).unwrap().start().unwrap();
        if !by_config {
            assert_eq!(partition.describe().unwrap().leader, None);
            partition.elect_leader(ElectionKind::Unclean).unwrap();
        }
        wait("it leads", || partition.describe().unwrap().leader == Some(id(2)));
        send_all(&producer, &email, ["b"]);
        assert_eq!(receive(&mut consumer(&cluster, &email), 2), ["a", "b"]);
        // The other cuts what nobody else has (C2).
        cluster.broker(1).unwrap().start().unwrap();
        wait_in_sync(&partition, &[1, 2]);
        for replica in partition.replicas().unwrap() {
            assert_eq!(replica.log_end, Offset::from(2), "{replica:?}");
        }
    }
}

#[test]
fn a_leader_whose_disk_fails_is_replaced_and_nothing_is_lost() {
    for fault in [
        Fault::new(std::io::ErrorKind::Other).on(CallKind::Sync).at("email-0").for_good(),
        Fault::new(std::io::ErrorKind::Other).on(CallKind::Write).at("email-0").for_good(),
        Fault::new(std::io::ErrorKind::StorageFull).on(CallKind::Write).at("email-0").for_good(),
    ] {
        let disks = [1, 2, 3].map(|_| Disk::new());
        let cluster = on(&disks).open().unwrap();
        let email = replicated(&cluster, 2);
        let (producer, events) = (producer(&cluster), cluster.events());
        send(&producer, &email, "welcome").unwrap();
        disks[0].fail(fault.clone());
        assert_eq!(send(&producer, &email, "goodbye").unwrap(), Offset::from(1), "{fault:?}");
        let known = partition(&email).describe().unwrap();
        assert_eq!((known.leader, known.isr), (Some(id(2)), ids(&[2, 3])));
        let failed = ClusterEvent::ReplicaFailed {
            partition: partition(&email).topic_partition().clone(),
            broker: id(1),
        };
        assert!(events.into_iter().any(|event| event == failed), "{fault:?}");

        // With another disk, or room on it, it is in sync again.
        disks[0].heal();
        let one = cluster.broker(1).unwrap();
        let _ = one.stop();
        one.start().unwrap();
        wait_in_sync(&partition(&email), &[1, 2, 3]);
    }
}

#[test]
fn a_follower_whose_disk_fails_is_left_behind() {
    let disks = [1, 2, 3].map(|_| Disk::new());
    let cluster = on(&disks).open().unwrap();
    let email = replicated(&cluster, 2);
    let producer = producer(&cluster);
    send(&producer, &email, "welcome").unwrap();
    let sync = Fault::new(std::io::ErrorKind::Other).on(CallKind::Sync).at("email-0");
    disks[2].fail(sync.for_good());
    send(&producer, &email, "goodbye").unwrap();
    assert_eq!(partition(&email).describe().unwrap().isr, ids(&[1, 2]));
}

/// R6, R7: what rots in one store is what the others have, whether that is found when it is opened, read or scrubbed.
#[test]
fn a_damaged_replica_is_repaired_from_the_others() {
    for (broker, at, is_clean) in [(1, 0, false), (2, 1, false), (1, 0, true), (2, 1, true)] {
        let disks = [1, 2, 3].map(|_| Disk::new());
        let disk = &disks[at];
        let values = (0..50).map(|n| format!("record number {n}")).collect::<Vec<_>>();
        {
            let cluster = on(&disks).open().unwrap();
            let email = replicated(&cluster, 2);
            send_all(&producer(&cluster), &email, &values);
            cluster.close().unwrap();
        }
        let path = "/email-0/00000000000000000000.log";
        let good = disk.read(path).unwrap();
        let middle = good.len() / 2;
        disk.damage(path, middle as u64, &[good[middle] ^ 0x10]).unwrap();
        if !is_clean {
            disks.iter().for_each(|disk| disk.remove("/.kafka_cleanshutdown").unwrap());
        }
        let cluster = on(&disks).scrub_bytes_per_second(1 << 20).open().unwrap();
        let email = cluster.topic("email").unwrap();
        assert_eq!(receive(&mut consumer(&cluster, &email), values.len()), values);
        wait_in_sync(&partition(&email), &[1, 2, 3]);
        let is_repaired = || {
            let mut found = cluster.open_report().partitions.into_iter();
            found.any(|found| found.broker == id(broker) && !found.repaired.is_empty())
        };
        wait("it is repaired", is_repaired);
        cluster.close().unwrap();
        assert_eq!(disk.read(path).unwrap(), good, "byte for byte");
    }
}

#[test]
fn the_controller_moves_with_a_higher_epoch() {
    let cluster = three();
    let mut last = cluster.describe().unwrap();
    for _ in 0..5 {
        let controller = cluster.broker(last.controller.unwrap().value()).unwrap();
        assert!(controller.is_controller());
        controller.crash().unwrap();
        cluster.create_topic_if_missing(NewTopic::new("email").replication_factor(2)).unwrap();
        let now = cluster.describe().unwrap();
        assert_ne!(now.controller, last.controller);
        assert!(now.controller_epoch > last.controller_epoch);
        controller.start().unwrap();
        // It knows all of the metadata again before the next one goes.
        wait("it has caught up", || cluster.describe().unwrap().metadata_isr.len() == 3);
        last = cluster.describe().unwrap();
    }
}

#[test]
fn a_cut_link_puts_a_follower_out_of_sync_until_it_is_mended() {
    let builder = Cluster::builder().brokers(3).config("replica.lag.time.max.ms", 200);
    let cluster = builder.in_memory().unwrap();
    let email = replicated(&cluster, 2);
    let producer = producer(&cluster);
    let [one, three] = [1, 3].map(|id| cluster.broker(id).unwrap());
    one.disconnect(&three);
    send(&producer, &email, "welcome").unwrap();
    assert_eq!(partition(&email).describe().unwrap().isr, ids(&[1, 2]));
    one.reconnect(&three);
    wait_in_sync(&partition(&email), &[1, 2, 3]);
}

#[test]
fn a_deleted_topic_is_gone_from_every_store() {
    let disks = [1, 2, 3].map(|_| Disk::new());
    let cluster = on(&disks).open().unwrap();
    let email = replicated(&cluster, 1);
    send_all(&producer(&cluster), &email, ["welcome"]);
    cluster.broker(3).unwrap().stop().unwrap();
    cluster.delete_topic("email").unwrap();
    cluster.broker(3).unwrap().start().unwrap();
    for disk in &disks {
        assert!(disk.read("/email-0/00000000000000000000.log").is_err());
    }
    let again = replicated(&cluster, 1);
    send_all(&producer(&cluster), &again, ["anew"]);
    assert_eq!(receive(&mut consumer(&cluster, &again), 1), ["anew"]);
}

/// G9: nobody could record that it had ended, and it may have lost what it had not synced.
#[test]
fn the_only_broker_leads_in_another_term_when_it_is_started_again() {
    let disk = Disk::new();
    let builder = Cluster::builder().flush_policy(FlushPolicy::Os);
    let cluster = builder.broker_on(1, &disk).open().unwrap();
    let email = cluster.create_topic(NewTopic::new("email")).unwrap();
    let (producer, partition) = (producer(&cluster), partition(&email));
    send(&producer, &email, "lost").unwrap();
    let before = partition.describe().unwrap().leader_epoch;
    let broker = cluster.broker(1).unwrap();
    broker.crash().unwrap();
    disk.cut_power(PowerCut::LosesAll);
    assert_eq!(partition.watermarks().unwrap_err().kind(), ErrorKind::LeaderNotAvailable);
    broker.start().unwrap();
    let after = partition.describe().unwrap();
    assert_eq!(after.leader, Some(id(1)));
    assert!(after.leader_epoch > before, "{after:?}");
    assert_eq!(send(&producer, &email, "again").unwrap(), Offset::ZERO);
    assert_eq!(receive(&mut consumer(&cluster, &email), 1), ["again"]);
}
