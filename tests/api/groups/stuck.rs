//! Members that do not poll (`max.poll.interval.ms`).

use std::thread;
use std::time::Duration;

use brooklet::sim::Clock;
use brooklet::{AutoOffsetReset, Cluster, ConsumerGroup, ErrorKind, NewTopic};
use futures_util::{FutureExt, StreamExt};

use super::{counted, events, numbers, send, settle, wait};

const MINUTE: Duration = Duration::from_secs(60);

fn clocked() -> (Clock, Cluster, ConsumerGroup) {
    let clock = Clock::new();
    let cluster = Cluster::builder().clock(&clock).in_memory().unwrap();
    cluster.create_topic(NewTopic::new("email").partitions(2)).unwrap();
    let group = cluster.consumer_group("mailer");
    (clock, cluster, group)
}

#[test]
fn a_member_that_does_not_poll_is_removed_and_joins_again_when_it_does() {
    let (clock, cluster, group) = clocked();
    send(&cluster, "email", counted(0..4));
    let mut stuck = group.join("email").unwrap();
    let mut other = group.consumer().no_eviction().join("email").unwrap();
    settle(&mut [&mut stuck, &mut other]);
    let (had, id) = (numbers(&stuck)[0], stuck.group_metadata().unwrap().member_id);
    clock.advance(4 * MINUTE);
    thread::sleep(Duration::from_millis(20));
    assert_eq!(group.members().unwrap().len(), 2, "max.poll.interval.ms is 5 minutes");
    clock.advance(2 * MINUTE);
    wait("the other has everything", || {
        other.poll(Duration::ZERO).unwrap();
        numbers(&other) == [0, 1]
    });
    let error = stuck.commit().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownMemberId, "{error}");
    assert!(error.is_fenced());
    assert_eq!(events(&mut stuck), [format!("lost email-{had}")]);
    assert_ne!(stuck.group_metadata().unwrap().member_id, id);
    settle(&mut [&mut stuck, &mut other]);
    assert_eq!((numbers(&stuck).len(), numbers(&other).len()), (1, 1));
    stuck.commit().unwrap().wait().unwrap();
}

#[test]
fn a_member_that_waits_in_a_poll_is_never_removed_and_one_that_has_waited_is() {
    let (clock, cluster, group) = clocked();
    let mut consumer = group.join("email").unwrap();
    consumer.poll(Duration::ZERO).unwrap();
    let mut stream = consumer.stream();
    assert!(stream.next().now_or_never().is_none(), "it waits");
    for _ in 0..20 {
        clock.advance(4 * MINUTE);
        thread::sleep(Duration::from_millis(2));
        assert_eq!(group.members().unwrap().len(), 1);
    }
    send(&cluster, "email", counted(0..1));
    assert_eq!(stream.next().now_or_never().unwrap().unwrap().unwrap().len(), 1);
    drop(stream);
    wait("it is at work for too long now", || {
        clock.advance(4 * MINUTE);
        group.members().unwrap().is_empty()
    });
    drop(consumer);
}

#[test]
fn a_member_is_not_removed_where_that_is_not_wanted() {
    let (clock, _cluster, group) = clocked();
    let mut consumer = group.consumer().no_eviction().join("email").unwrap();
    clock.advance(20 * 24 * 60 * MINUTE);
    thread::sleep(Duration::from_millis(20));
    assert_eq!(group.members().unwrap().len(), 1);
    consumer.commit().unwrap().wait().unwrap();
}

/// A member whose task is at work, or is no more, while its stream waits.
#[test]
fn a_member_that_waits_and_does_not_answer_is_removed() {
    let (clock, cluster, group) = clocked();
    let mut consumer = group.join("email").unwrap();
    consumer.poll(Duration::ZERO).unwrap();
    let mut stream = consumer.stream();
    assert!(stream.next().now_or_never().is_none(), "it waits");
    clock.advance(20 * MINUTE);
    let mut other = group.consumer().no_eviction().join("email").unwrap();
    assert_eq!(group.members().unwrap().len(), 2);
    clock.advance(4 * MINUTE);
    other.poll(Duration::ZERO).unwrap();
    assert!(numbers(&other).is_empty(), "it has some time");
    wait("the other has everything", || {
        clock.advance(MINUTE);
        other.poll(Duration::ZERO).unwrap();
        numbers(&other) == [0, 1]
    });
    let news = stream.next().now_or_never().unwrap().unwrap().unwrap();
    assert_eq!(news.rebalances()[0].to_string(), "lost email-0, email-1");
    drop((stream, cluster));
}

#[test]
fn a_member_that_polls_and_keeps_what_it_is_to_give_up_is_removed() {
    let (clock, _cluster, group) = clocked();
    let mut keeps = group.join("email").unwrap();
    keeps.poll(Duration::ZERO).unwrap();
    let mut other = group.consumer().no_eviction().join("email").unwrap();
    wait("the other has something", || {
        keeps.wait_assigned(Duration::ZERO).unwrap();
        clock.advance(MINUTE);
        other.poll(Duration::ZERO).unwrap();
        !numbers(&other).is_empty()
    });
    assert_eq!(events(&mut keeps)[0], "revoked email-1");
}

/// An error of a stream left the member waiting, whatever its task did then.
#[test]
fn a_member_that_was_told_of_an_error_is_at_work() {
    let (clock, cluster, group) = clocked();
    let consumer = group.consumer().auto_offset_reset(AutoOffsetReset::None);
    let mut consumer = consumer.join("email").unwrap();
    consumer.pause(cluster.topic("email").unwrap().partitions()).unwrap();
    consumer.poll(Duration::ZERO).unwrap();
    let mut stream = consumer.stream();
    assert!(stream.next().now_or_never().is_none(), "it waits");
    stream.consumer().resume(cluster.topic("email").unwrap().partitions()).unwrap();
    let error = stream.next().now_or_never().unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{error}");
    clock.advance(6 * MINUTE);
    wait("it is removed", || group.members().unwrap().is_empty());
    drop(stream);
}
