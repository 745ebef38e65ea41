//! Members that have partitions which cannot be read.

use std::io;
use std::time::Duration;

use brooklet::sim::{CallKind, Disk, Fault, PowerCut};
use brooklet::{AutoOffsetReset, Cluster, ErrorKind, NewTopic, Offset};

use super::{counted, numbers, send, texts, values, wait};

/// Others gave no records either, and their member was deaf to its group.
#[test]
fn a_partition_that_cannot_be_opened_keeps_its_member_from_nothing_else() {
    let disk = Disk::new();
    {
        let cluster = Cluster::builder().open_on(&disk).unwrap();
        cluster.create_topic(NewTopic::new("email").partitions(2)).unwrap();
        send(&cluster, "email", counted(0..4));
        cluster.close().unwrap();
    }
    let cluster = Cluster::builder().open_on(&disk).unwrap();
    disk.fail(Fault::new(io::ErrorKind::Other).on(CallKind::Open).at("email-1").for_good());
    let group = cluster.consumer_group("mailer");
    let mut first = group.join("email").unwrap();
    let (mut read, mut failed) = (Vec::new(), 0);
    wait("records come, and errors", || {
        match first.poll(Duration::ZERO) {
            Ok(records) => read.extend(texts(&records)),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
                failed += 1;
            }
        }
        failed > 1 && read.len() == 2
    });
    assert_eq!(read, ["0", "2"]);
    assert_eq!(numbers(&first), [0, 1]);
    let mut second = group.join("email").unwrap();
    wait("each has one", || {
        for member in [&mut first, &mut second] {
            match member.poll(Duration::ZERO) {
                Ok(records) => read.extend(texts(&records)),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Storage, "{error}"),
            }
        }
        [&first, &second].iter().all(|member| numbers(member).len() == 1)
    });
    disk.heal();
    wait("all is read", || {
        for member in [&mut first, &mut second] {
            read.extend(member.poll(Duration::ZERO).into_iter().flat_map(|r| texts(&r)));
        }
        read.iter().any(|value| value == "1") && read.iter().any(|value| value == "3")
    });
}

/// It was an error of joining, and of each poll: nobody could seek.
#[test]
fn a_partition_that_has_lost_records_waits_for_a_seek_where_nothing_is_reset() {
    records_are_lost(|cluster, disk| {
        let broker = cluster.broker(1).unwrap();
        broker.crash().unwrap();
        disk.cut_power(PowerCut::LosesAll);
        broker.start().unwrap();
        cluster
    });
}

/// The new records were of the leader's epoch that the lost ones had been of: consumers went on behind them (G9).
#[test]
fn a_cluster_that_is_opened_without_records_that_were_lost_writes_others_in_their_place() {
    records_are_lost(|cluster, disk| {
        disk.cut_power(PowerCut::LosesAll);
        drop(cluster);
        Cluster::builder().broker_on(1, disk).open().unwrap()
    });
}

fn records_are_lost(by: impl FnOnce(Cluster, &Disk) -> Cluster) {
    let disk = Disk::new();
    let cluster = Cluster::builder().broker_on(1, &disk).open().unwrap();
    let email = NewTopic::new("email").config("brooklet.flush.policy", "os");
    let email = cluster.create_topic(email).unwrap().partition(0).unwrap();
    send(&cluster, "email", counted(0..2));
    cluster.sync().unwrap();
    send(&cluster, "email", counted(2..4));
    let join = |cluster: &Cluster| {
        let group = cluster.consumer_group("mailer");
        group.consumer().auto_offset_reset(AutoOffsetReset::None).join("email").unwrap()
    };
    let mut consumer = join(&cluster);
    consumer.seek(&email, Offset::ZERO).unwrap();
    assert_eq!(values(&mut consumer, 4).len(), 4);
    consumer.commit().unwrap().wait().unwrap();
    drop((consumer, email));
    let cluster = by(cluster, &disk);
    // The offset is there again, and is another's.
    send(&cluster, "email", counted(10..13));
    let email = cluster.topic("email").unwrap().partition(0).unwrap();
    let mut consumer = join(&cluster);
    let first = consumer.poll(Duration::ZERO).unwrap();
    assert_eq!((first.rebalances().len(), first.len()), (1, 0), "that comes first");
    for _ in 0..2 {
        let error = consumer.poll(Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{error}");
        assert!(error.to_string().contains("differs from 2 on"), "{error}");
    }
    consumer.seek(&email, Offset::from(2)).unwrap();
    assert_eq!(values(&mut consumer, 3), ["10", "11", "12"]);
}
