//! A clock that is set forward: what waits for time to go by, on ordinary threads.

use std::thread;
use std::time::{Duration, Instant};

use brooklet::sim::Clock;
use brooklet::{BrokerId, Cluster, NewTopic, Offset, Outcome, Record};

use crate::{LONG, consumer, send_all, texts};

const HOUR: Duration = Duration::from_secs(3600);

/// Three brokers, and a topic on all of them that broker 1 leads.
fn three(clock: &Clock) -> (Cluster, brooklet::Topic) {
    let cluster = Cluster::builder().brokers(3).clock(clock).in_memory().unwrap();
    let brokers = [1, 2, 3].map(|id| BrokerId::new(id).unwrap()).to_vec();
    let topic = NewTopic::new("email").assignment([brokers]).config("min.insync.replicas", 3);
    let email = cluster.create_topic(topic).unwrap();
    (cluster, email)
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONG, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_follower_that_lags_is_out_of_sync_as_soon_as_the_clock_says_so() {
    let clock = Clock::new();
    let (cluster, email) = three(&clock);
    let producer = cluster.producer().build().unwrap();
    send_all(&producer, &email, ["welcome"]);
    cluster.broker(3).unwrap().pause();
    let sent = producer.send(Record::to(&email).value("goodbye")).unwrap();
    let partition = email.partition(0).unwrap();
    let isr = || partition.describe().unwrap().isr.len();
    wait("it is written", || partition.replicas().unwrap()[1].log_end == Offset::from(2));
    clock.advance(Duration::from_secs(29));
    thread::sleep(Duration::from_millis(50));
    assert_eq!(isr(), 3, "replica.lag.time.max.ms is 30 seconds");
    clock.advance(Duration::from_secs(2));
    wait("it is out of sync", || isr() == 2);
    // Too few for it are in sync by now; it is given up when its time is over.
    clock.advance(HOUR);
    assert_eq!(sent.wait().unwrap_err().outcome(), Outcome::Unknown);
}

#[test]
fn polls_and_lingering_batches_end_when_the_clock_says_so() {
    let clock = Clock::new();
    let (cluster, email) = three(&clock);
    let mut consumer = consumer(&cluster, &email);
    let producer = cluster.producer().linger(HOUR).delivery_timeout(2 * HOUR).build().unwrap();
    let delivery = producer.send(Record::to(&email).value("welcome")).unwrap();
    let polling = thread::spawn(move || {
        // For longer than the record lingers: both end at the same moment otherwise.
        assert_eq!(texts(&consumer.poll(2 * HOUR).unwrap()), ["welcome"]);
        assert!(consumer.poll(24 * HOUR).unwrap().is_empty());
    });
    clock.advance(HOUR);
    wait("it is written", || email.partition(0).unwrap().watermarks().unwrap().high > Offset::ZERO);
    delivery.wait().unwrap();
    let began = Instant::now();
    while !polling.is_finished() {
        assert!(began.elapsed() < LONG, "the poll ends");
        clock.advance(24 * HOUR);
        thread::sleep(Duration::from_millis(1));
    }
    polling.join().unwrap();
}

#[test]
fn records_have_the_time_of_the_clock() {
    let clock = Clock::new();
    let cluster = Cluster::builder().clock(&clock).in_memory().unwrap();
    let email = cluster.create_topic(NewTopic::new("email")).unwrap();
    let producer = cluster.producer().build().unwrap();
    send_all(&producer, &email, ["today"]);
    clock.advance(24 * HOUR);
    let tomorrow = clock.wall_clock();
    send_all(&producer, &email, ["tomorrow"]);
    let found = email.partition(0).unwrap().offset_for_timestamp(tomorrow).unwrap().unwrap();
    assert_eq!(found.offset, Offset::from(1));
}

#[test]
fn clusters_on_one_clock_close_and_open_again_at_any_time() {
    let clock = Clock::new();
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3u32 {
        let cluster = Cluster::builder().clock(&clock).open_at(dir.path()).unwrap();
        let email = cluster.create_topic_if_missing(NewTopic::new("email")).unwrap();
        send_all(&cluster.producer().build().unwrap(), &email, ["v"]);
        clock.advance(1000 * HOUR);
        assert_eq!(email.partition(0).unwrap().watermarks().unwrap().high, Offset::from(round + 1));
        cluster.close().unwrap();
    }
}
