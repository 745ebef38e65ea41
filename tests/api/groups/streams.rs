//! Members in tasks.

use std::time::Duration;

use brooklet::{ErrorKind, NextOffset};
use futures_executor::block_on;
use futures_util::{FutureExt, StreamExt, TryStreamExt};

use super::{cluster, counted, numbers, send, settle, texts, values};

#[test]
fn a_stream_tells_of_rebalances_and_records_and_its_consumer_commits() {
    let cluster = cluster("email", 2);
    send(&cluster, "email", counted(0..6));
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.consumer().max_poll_records(2).join("email").unwrap();
    let mut read = Vec::new();
    block_on(async {
        let mut stream = consumer.stream();
        while read.len() < 6 {
            let records = stream.try_next().await?.unwrap();
            if read.is_empty() {
                assert_eq!(records.rebalances()[0].to_string(), "assigned email-0, email-1");
            }
            read.extend(texts(&records));
            stream.consumer().commit()?.await?;
        }
        Ok::<_, brooklet::Error>(())
    })
    .unwrap();
    assert_eq!(group.lag().unwrap().total().records, 0);
}

#[test]
fn a_poll_that_is_cancelled_loses_nothing() {
    let cluster = cluster("email", 2);
    let mut consumer = cluster.consumer_group("mailer").join("email").unwrap();
    consumer.poll(Duration::ZERO).unwrap();
    for n in 0..20 {
        let mut stream = consumer.stream();
        let mut asked = stream.next();
        assert!((&mut asked).now_or_never().is_none());
        send(&cluster, "email", counted(n..n + 1));
        // Given up when something has come.
        drop(stream);
        assert_eq!(values(&mut consumer, 1), [n.to_string()]);
    }
}

#[test]
fn rebalances_that_a_cancelled_poll_has_seen_come_with_the_next() {
    let cluster = cluster("email", 2);
    let group = cluster.consumer_group("mailer");
    let mut first = group.join("email").unwrap();
    first.poll(Duration::ZERO).unwrap();
    let mut stream = first.stream();
    assert!(stream.next().now_or_never().is_none());
    let mut second = group.join("email").unwrap();
    drop(stream);
    // It learns of it in the poll, and gives it up in the one after that.
    let told = first.poll(Duration::ZERO).unwrap().rebalances().to_vec();
    assert_eq!(told.len(), 1);
    assert_eq!(numbers(&first).len(), 2);
    assert!(first.stream().next().now_or_never().is_none());
    assert_eq!(numbers(&first).len(), 1);
    settle(&mut [&mut second]);
    assert_eq!(numbers(&second).len(), 1);
}

#[test]
fn a_stream_wakes_when_partitions_come() {
    let cluster = cluster("email", 1);
    let group = cluster.consumer_group("mailer");
    let first = group.join("email").unwrap();
    let mut second = group.join("email").unwrap();
    settle(&mut [&mut second]);
    let (waits, told) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        block_on(async {
            let mut stream = second.stream();
            assert!(stream.next().now_or_never().is_none());
            waits.send(()).unwrap();
            let records = stream.next().await.unwrap().unwrap();
            records.rebalances()[0].to_string()
        })
    });
    told.recv().unwrap();
    drop(first);
    assert_eq!(waiting.join().unwrap(), "assigned email-0");
}

#[test]
fn a_commit_is_refused_at_once_or_when_it_is_awaited() {
    let cluster = cluster("email", 1);
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.join("email").unwrap();
    consumer.poll(Duration::ZERO).unwrap();
    let id = consumer.group_metadata().unwrap().member_id;
    let under_way = consumer.commit().unwrap();
    group.remove_member(&id).unwrap();
    block_on(under_way).unwrap();
    let partition = cluster.topic("email").unwrap().partition(0).unwrap();
    let next = NextOffset::at(brooklet::Offset::ZERO);
    let error = consumer.commit_offsets([(&partition, next)]).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownMemberId, "{error}");
}
