//! Consumers that read a replica in their rack (KIP-392): which one, up to where, and what becomes of them when it goes.

use std::time::{Duration, Instant};

use brooklet::sim::{CallKind, Disk, Fault};
use brooklet::{
    Acks, Broker, BrokerId, Cluster, ClusterBuilder, Consumer, ErrorKind, FlushPolicy, NewTopic,
    Offset, Partition, ReplicaSelector, Topic,
};

use crate::{LONG, numbers, producer, receive, send_all, texts};

fn id(id: i32) -> BrokerId {
    BrokerId::new(id).unwrap()
}

/// Broker 1 is in the rack "north", 2 and 3 are in "south".
fn racks(builder: ClusterBuilder) -> ClusterBuilder {
    let builder = builder.rack(1, "north").rack(2, "south").rack(3, "south");
    builder.replica_selector(ReplicaSelector::RackAware)
}

fn three() -> Cluster {
    racks(Cluster::builder().brokers(3)).in_memory().unwrap()
}

/// A topic with one partition on these brokers, which the first leads.
fn on(cluster: &Cluster, brokers: &[i32]) -> Topic {
    let brokers = brokers.iter().map(|number| id(*number)).collect::<Vec<_>>();
    cluster.create_topic(NewTopic::new("email").assignment([brokers])).unwrap()
}

fn first(topic: &Topic) -> Partition {
    topic.partition(0).unwrap()
}

/// One that stands in "south".
fn consumer(cluster: &Cluster, topic: &Topic) -> Consumer {
    let mut consumer = cluster.consumer().client_rack("south").build().unwrap();
    consumer.assign(topic.partitions()).unwrap();
    consumer
}

fn source(consumer: &Consumer, topic: &Topic) -> i32 {
    consumer.read_replica(first(topic)).unwrap().value()
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Polls, finding nothing, until the consumer reads from that broker.
fn wait_source(consumer: &mut Consumer, topic: &Topic, broker: i32) {
    wait("another replica is read", || {
        assert!(consumer.poll(Duration::from_millis(1)).unwrap().is_empty());
        source(consumer, topic) == broker
    });
}

#[test]
fn a_consumer_reads_the_replica_in_its_rack() {
    for policy in [FlushPolicy::OnAck, FlushPolicy::Os] {
        let builder = Cluster::builder().brokers(3).flush_policy(policy);
        let cluster = racks(builder).temp().unwrap();
        let email = on(&cluster, &[1, 2]);
        send_all(&producer(&cluster), &email, numbers(0..100));
        let mut south = consumer(&cluster, &email);
        assert_eq!(source(&south, &email), 1, "as long as it has not read anything");
        assert_eq!(receive(&mut south, 100), numbers(0..100));
        assert_eq!(source(&south, &email), 2);
    }
}

#[test]
fn the_leader_is_read_where_nothing_says_otherwise() {
    let reads = |builder: ClusterBuilder, rack: &str, brokers: &[i32]| {
        let cluster = builder.in_memory().unwrap();
        let email = on(&cluster, brokers);
        send_all(&producer(&cluster), &email, ["welcome"]);
        let mut consumer = cluster.consumer().client_rack(rack).build().unwrap();
        consumer.assign(email.partitions()).unwrap();
        assert_eq!(receive(&mut consumer, 1), ["welcome"]);
        source(&consumer, &email)
    };
    let plain = || racks(Cluster::builder().brokers(3));
    assert_eq!(reads(plain(), "south", &[1, 2]), 2);
    assert_eq!(reads(plain().replica_selector(ReplicaSelector::Leader), "south", &[1, 2]), 1);
    assert_eq!(reads(plain(), "", &[1, 2]), 1);
    assert_eq!(reads(plain(), "west", &[1, 2]), 1, "nobody is there");
    assert_eq!(reads(plain(), "south", &[2, 3]), 2, "the leader comes first");
    assert_eq!(reads(plain(), "south", &[3, 2]), 3, "the leader comes first");
}

#[test]
fn the_selector_has_the_names_of_kafkas_classes() {
    for (name, selector) in [
        ("RackAwareReplicaSelector", ReplicaSelector::RackAware),
        ("org.apache.kafka.common.replica.RackAwareReplicaSelector", ReplicaSelector::RackAware),
        ("org.apache.kafka.common.replica.LeaderSelector", ReplicaSelector::Leader),
    ] {
        let cluster = Cluster::builder().config("replica.selector.class", name);
        let cluster = cluster.in_memory().unwrap();
        let settings = cluster.describe_config().unwrap();
        let setting = settings.iter().find(|entry| entry.name == "replica.selector.class").unwrap();
        assert!(selector.to_string().ends_with(setting.value.as_ref().unwrap()), "{setting:?}");
    }
    let unknown = Cluster::builder().config("replica.selector.class", "org.example.Selector");
    assert_eq!(unknown.in_memory().unwrap_err().kind(), ErrorKind::InvalidConfig);
}

/// The follower hears that the last record is committed, though nothing comes after it.
#[test]
fn a_consumer_that_waits_at_a_follower_is_woken_by_each_record() {
    for policy in [FlushPolicy::OnAck, FlushPolicy::Os] {
        // Nothing of it is to hang on this.
        let builder = Cluster::builder().config("replica.fetch.wait.max.ms", 1_000_000);
        let builder = builder.brokers(3).flush_policy(policy);
        let cluster = racks(builder).in_memory().unwrap();
        let email = on(&cluster, &[1, 2, 3]);
        let mut south = consumer(&cluster, &email);
        let (producer, topic) = (producer(&cluster), email.clone());
        let (ask, asked) = std::sync::mpsc::channel::<String>();
        let sending = std::thread::spawn(move || {
            for value in asked {
                // The consumer waits by then, mostly.
                std::thread::sleep(Duration::from_millis(2));
                send_all(&producer, &topic, [value]);
            }
        });
        for value in numbers(0..50) {
            ask.send(value.clone()).unwrap();
            assert_eq!(receive(&mut south, 1), [value]);
            assert_ne!(source(&south, &email), 1);
        }
        drop(ask);
        sending.join().unwrap();
    }
}

#[test]
fn followers_hear_of_what_was_committed_last_without_anything_after_it() {
    let cluster = three();
    let email = on(&cluster, &[1, 2, 3]);
    for sent in 1..=3u32 {
        send_all(&producer(&cluster), &email, ["v"]);
        wait("all know it", || {
            let replicas = first(&email).replicas().unwrap();
            replicas.iter().all(|replica| replica.high_watermark == Offset::from(sent))
        });
    }
}

#[test]
fn a_consumer_goes_on_at_the_leader_when_its_follower_goes_and_back_when_it_returns() {
    let cluster = three();
    let email = on(&cluster, &[1, 2]);
    let (producer, mut south) = (producer(&cluster), consumer(&cluster, &email));
    let follower = cluster.broker(2).unwrap();
    let mut sent = 0..;
    let mut send_and_read = |south: &mut Consumer, broker: i32| {
        let values = sent.by_ref().take(3).map(|n| n.to_string()).collect::<Vec<_>>();
        send_all(&producer, &email, &values);
        assert_eq!(receive(south, 3), values);
        assert_eq!(source(south, &email), broker, "after {values:?}");
    };
    send_and_read(&mut south, 2);
    for end in [Broker::stop, Broker::crash] {
        end(&follower).unwrap();
        send_and_read(&mut south, 1);
        follower.start().unwrap();
        wait("it is in sync", || first(&email).describe().unwrap().isr.len() == 2);
        wait_source(&mut south, &email, 2);
        send_and_read(&mut south, 2);
    }
}

#[test]
fn a_consumer_leaves_a_follower_that_is_cut_off_or_paused() {
    let cluster = racks(Cluster::builder().brokers(3).config("replica.lag.time.max.ms", 300));
    let cluster = cluster.in_memory().unwrap();
    let email = on(&cluster, &[1, 2]);
    let (producer, mut south) = (producer(&cluster), consumer(&cluster, &email));
    let [leader, follower] = [1, 2].map(|id| cluster.broker(id).unwrap());
    send_all(&producer, &email, ["welcome"]);
    assert_eq!(receive(&mut south, 1), ["welcome"]);

    leader.disconnect(&follower);
    wait_source(&mut south, &email, 1);
    send_all(&producer, &email, ["goodbye"]);
    assert_eq!(receive(&mut south, 1), ["goodbye"]);
    leader.reconnect(&follower);
    wait_source(&mut south, &email, 2);

    follower.pause();
    wait_source(&mut south, &email, 1);
    follower.resume();
    wait_source(&mut south, &email, 2);
}

#[test]
fn a_consumer_that_wants_much_at_once_leaves_it_too() {
    let cluster = three();
    let email = on(&cluster, &[1, 2]);
    let builder = cluster.consumer().client_rack("south").fetch_min_bytes(100);
    let mut south = builder.fetch_max_wait(Duration::from_millis(5)).build().unwrap();
    south.assign(email.partitions()).unwrap();
    let producer = producer(&cluster);
    send_all(&producer, &email, ["welcome"]);
    assert_eq!(receive(&mut south, 1), ["welcome"]);
    assert_eq!(source(&south, &email), 2);
    cluster.broker(1).unwrap().disconnect(&cluster.broker(2).unwrap());
    wait_source(&mut south, &email, 1);
}

#[test]
fn a_consumer_leaves_a_follower_whose_disk_fails() {
    let disks = [Disk::new(), Disk::new()];
    let builder = Cluster::builder().broker_on(1, &disks[0]).broker_on(2, &disks[1]);
    let cluster = racks(builder).open().unwrap();
    let email = on(&cluster, &[1, 2]);
    let (producer, mut south) = (producer(&cluster), consumer(&cluster, &email));
    send_all(&producer, &email, ["welcome"]);
    assert_eq!(receive(&mut south, 1), ["welcome"]);
    assert_eq!(source(&south, &email), 2);
    disks[1].fail(Fault::new(std::io::ErrorKind::Other).on(CallKind::Sync));
    send_all(&producer, &email, ["goodbye"]);
    assert_eq!(receive(&mut south, 1), ["goodbye"]);
    assert_eq!(source(&south, &email), 1);
}

#[test]
fn a_consumer_goes_on_when_others_lead() {
    let cluster = three();
    let email = on(&cluster, &[1, 2, 3]);
    let (producer, mut south) = (producer(&cluster), consumer(&cluster, &email));
    send_all(&producer, &email, ["a"]);
    assert_eq!(receive(&mut south, 1), ["a"]);
    cluster.broker(1).unwrap().crash().unwrap();
    send_all(&producer, &email, ["b"]);
    assert_eq!(receive(&mut south, 1), ["b"]);
    let leader = first(&email).describe().unwrap().leader;
    assert_eq!(Some(id(source(&south, &email))), leader, "it is in the rack by now");
}

#[test]
fn offsets_that_a_follower_does_not_have_are_for_the_leader_to_judge() {
    let cluster = three();
    let email = on(&cluster, &[1, 2]);
    let mut south = consumer(&cluster, &email);
    send_all(&producer(&cluster), &email, ["a", "b", "c"]);
    assert_eq!(receive(&mut south, 3), ["a", "b", "c"]);
    assert_eq!(source(&south, &email), 2);
    // Behind the end: as `auto.offset.reset` says.
    south.seek(first(&email), Offset::from(7)).unwrap();
    assert_eq!(receive(&mut south, 3), ["a", "b", "c"]);
    // What is deleted is not to be had from a follower that has not heard of it.
    south.seek(first(&email), Offset::ZERO).unwrap();
    cluster.broker(2).unwrap().slow_down(Duration::from_secs(1));
    first(&email).delete_records(Offset::from(2)).unwrap();
    assert_eq!(texts(&south.poll(LONG).unwrap()), ["c"]);
}

#[test]
fn the_end_is_the_leaders_whoever_is_read() {
    let cluster = three();
    let email = on(&cluster, &[1, 2]);
    let mut south = consumer(&cluster, &email);
    send_all(&producer(&cluster), &email, ["a"]);
    assert_eq!(receive(&mut south, 1), ["a"]);
    let follower = cluster.broker(2).unwrap();
    follower.slow_down(Duration::from_secs(1));
    let leader = cluster.producer().acks(Acks::Leader).enable_idempotence(false).build().unwrap();
    send_all(&leader, &email, ["b"]);
    wait("the leader knows it to be committed", || south.lag(first(&email)).unwrap() == 1);
    assert_eq!(south.seek(first(&email), brooklet::SeekTo::End).unwrap(), Offset::from(2));
    assert!(south.poll(Duration::from_millis(10)).unwrap().is_empty(), "the follower waits for it");
}

/// R6: whoever reads it goes on at the leader, and what has rotted is put right.
#[test]
fn what_has_rotted_in_a_near_replica_is_repaired_when_it_is_read() {
    let disks = [1, 2, 3].map(|_| Disk::new());
    let open = || {
        let on = (1..).zip(&disks);
        let builder =
            on.fold(Cluster::builder(), |builder, (id, disk)| builder.broker_on(id, disk));
        racks(builder).open().unwrap()
    };
    let cluster = open();
    send_all(&producer(&cluster), &on(&cluster, &[1, 2]), numbers(0..50));
    cluster.close().unwrap();
    let path = "/email-0/00000000000000000000.log";
    let good = disks[1].read(path).unwrap();
    disks[1].damage(path, 100, &[good[100] ^ 0x10]).unwrap();

    let cluster = open();
    let email = cluster.topic("email").unwrap();
    // By this the leader knows how far broker 2 has come.
    send_all(&producer(&cluster), &email, numbers(50..51));
    let mut south = consumer(&cluster, &email);
    assert_eq!(receive(&mut south, 51), numbers(0..51));
    let report = cluster.open_report();
    let repaired = report.partitions.iter().find(|found| !found.repaired.is_empty()).unwrap();
    assert_eq!(repaired.broker, id(2), "{report}");
    cluster.close().unwrap();
    assert_eq!(disks[1].read(path).unwrap(), disks[0].read(path).unwrap(), "byte for byte");
}
