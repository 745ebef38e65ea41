use super::*;
use brooklet::{ErrorKind, TopicName};

#[test]
fn topics_are_created_listed_described_and_deleted() {
    for cluster in clusters() {
        let flights = NewTopic::new("flights").partitions(6).config("retention.ms", -1);
        cluster.create_topic(flights).unwrap();
        topic(&cluster, 3);
        let names = cluster.topics().unwrap();
        assert_eq!(names.iter().map(TopicName::as_str).collect::<Vec<_>>(), ["email", "flights"]);

        let description = cluster.topic("flights").unwrap().describe().unwrap();
        assert_eq!((description.name.as_str(), description.partitions.len()), ("flights", 6));
        assert_eq!(description.config, [("retention.ms", "-1".to_owned())]);
        assert_eq!(description.size_bytes, 0);

        cluster.delete_topic("flights").unwrap();
        assert_eq!(cluster.topics().unwrap().len(), 1);
        assert_eq!(
            cluster.topic("flights").unwrap_err().kind(),
            ErrorKind::UnknownTopicOrPartition
        );
    }
}

#[test]
fn a_topic_that_exists_is_not_created_again_but_may_be_asked_for() {
    for cluster in clusters() {
        let email = || NewTopic::new("email").partitions(2);
        assert_eq!(cluster.create_topic_if_missing(email()).unwrap().partition_count(), 2);
        let again = cluster.create_topic_if_missing(email().partitions(5)).unwrap();
        assert_eq!(again.partition_count(), 2);
        let error = cluster.create_topic(email()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TopicAlreadyExists);
        let error = cluster.create_topic_if_missing(NewTopic::new("a/b")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidTopic);
    }
}

#[test]
fn a_deleted_topic_says_so_to_every_handle() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        let producer = producer(&cluster);
        send_all(&producer, &email, ["a"]);
        let mut consumer = consumer(&cluster, &email);
        cluster.delete_topic("email").unwrap();

        let sent = producer.send(Record::to(&email).value("b"));
        assert_eq!(sent.unwrap_err().kind(), ErrorKind::TopicDeleted);
        assert_eq!(consumer.poll(LONG).unwrap_err().kind(), ErrorKind::TopicDeleted);
        assert_eq!(
            email.partition(0).unwrap().watermarks().unwrap_err().kind(),
            ErrorKind::TopicDeleted
        );
        assert_eq!(email.describe().unwrap_err().kind(), ErrorKind::TopicDeleted);
        assert_eq!(
            cluster.delete_topic("email").unwrap_err().kind(),
            ErrorKind::UnknownTopicOrPartition
        );
    }
}

#[test]
fn a_topic_created_again_is_empty_and_reached_by_name() {
    for cluster in clusters() {
        let old = topic(&cluster, 1);
        let producer = producer(&cluster);
        producer.send(Record::to("email").value("old")).unwrap().wait().unwrap();
        cluster.delete_topic("email").unwrap();
        let new = topic(&cluster, 1);

        let metadata = producer.send(Record::to("email").value("new")).unwrap().wait().unwrap();
        assert_eq!(metadata.offset.unwrap().value(), 0);
        assert_eq!(receive(&mut consumer(&cluster, &new), 1), ["new"]);
        assert_eq!(
            old.partition(0).unwrap().watermarks().unwrap_err().kind(),
            ErrorKind::TopicDeleted
        );
    }
}

#[test]
fn a_waiting_consumer_learns_of_the_deletion_at_once() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        let mut consumer = consumer(&cluster, &email);
        let waiting = std::thread::spawn(move || consumer.poll(LONG).unwrap_err().kind());
        cluster.delete_topic("email").unwrap();
        assert_eq!(waiting.join().unwrap(), ErrorKind::TopicDeleted);
    }
}

#[test]
fn many_threads_create_topics_at_once() {
    for cluster in clusters() {
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let cluster = &cluster;
                scope.spawn(move || {
                    for n in 0..10 {
                        cluster.create_topic(NewTopic::new(format!("t-{thread}-{n}"))).unwrap();
                        // All threads want this one; one gets it.
                        let _ = cluster.create_topic(NewTopic::new(format!("shared-{n}")));
                    }
                });
            }
        });
        assert_eq!(cluster.topics().unwrap().len(), 90);
    }
}

/// Keys by the number of partitions, as murmur2 has them.
#[test]
fn a_topic_grows_and_everybody_sees_it() {
    for cluster in clusters() {
        let email = topic(&cluster, 6);
        let other_handle = cluster.topic("email").unwrap();
        let by_handle = producer(&cluster);
        let by_name = producer(&cluster);
        let send = |producer: &Producer, record: Record<'_>| {
            producer.send(record).unwrap().wait().unwrap().partition.value()
        };
        // "21" is 0 of 6 and 0 of 12, "foobar" is 0 of 6 and 6 of 12.
        for (key, partition) in [("21", 0), ("foobar", 0)] {
            assert_eq!(send(&by_handle, Record::to(&email).key(key)), partition);
            assert_eq!(send(&by_name, Record::to("email").key(key)), partition);
        }
        let mut consumer = consumer(&cluster, &email);
        email.increase_partitions_to(12).unwrap();

        assert_eq!((email.partition_count(), other_handle.partition_count()), (12, 12));
        assert_eq!(other_handle.partitions().len(), 12);
        assert_eq!(email.describe().unwrap().partitions.len(), 12);
        for (key, partition) in [("21", 0), ("foobar", 6)] {
            assert_eq!(send(&by_handle, Record::to(&other_handle).key(key)), partition);
            assert_eq!(send(&by_name, Record::to("email").key(key)), partition);
        }
        assert_eq!(send(&by_handle, Record::to(&email).partition(11)), 11);
        let sticky = cluster.producer().batch_size(0).build().unwrap();
        let reached = (0..500).map(|_| send(&sticky, Record::to("email").value(&[0; 100])));
        assert_eq!(reached.collect::<std::collections::BTreeSet<_>>().len(), 12);
        // A consumer reads what it was assigned, until it is assigned more.
        assert_eq!(consumer.assignment().len(), 6);
        consumer.assign(email.partitions()).unwrap();
        assert_eq!(consumer.assignment().len(), 12);
    }
}

#[test]
fn a_topic_gets_more_partitions_but_never_fewer() {
    for cluster in clusters() {
        let email = topic(&cluster, 3);
        for bad in [0, 2, 3, 100_001, u32::MAX] {
            let error = email.increase_partitions_to(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidPartitions, "{bad}");
            assert_eq!(error.kafka_code(), Some(37));
        }
        assert_eq!(email.partition_count(), 3);
        cluster.delete_topic("email").unwrap();
        let error = email.increase_partitions_to(4).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TopicDeleted);
        // Not even of the topic that has its name now.
        let new = topic(&cluster, 1);
        assert_eq!(email.increase_partitions_to(4).unwrap_err().kind(), ErrorKind::TopicDeleted);
        assert_eq!((new.partition_count(), email.partition_count()), (1, 3));
    }
}

#[test]
fn partitions_that_were_added_are_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..5 {
        let cluster = Cluster::open(dir.path()).unwrap();
        let email = match round {
            1 => topic(&cluster, 1),
            _ => cluster.topic("email").unwrap(),
        };
        assert_eq!(email.partition_count(), round);
        let record = Record::to(&email).partition(round - 1).value("x");
        producer(&cluster).send(record).unwrap().wait().unwrap();
        email.increase_partitions_to(round + 1).unwrap();
        let records = receive(&mut consumer(&cluster, &email), usize::try_from(round).unwrap());
        assert!(records.iter().all(|value| value == "x"));
    }
}

/// Two batches of one producer for one partition would be written in any order.
#[test]
fn a_topic_that_grows_under_load_keeps_the_order_of_each_thread() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        let producer = cluster.producer().linger(Duration::from_millis(1)).build().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (producer, email) = (&producer, &email);
                scope.spawn(move || {
                    for n in 0..2_000 {
                        let value = format!("{thread} {n:05}");
                        let record = match n % 2 {
                            0 => Record::to(email),
                            _ => Record::to("email"),
                        };
                        producer.send(record.partition(0).value(&value)).unwrap();
                    }
                });
            }
            for total in 2..20 {
                email.increase_partitions_to(total).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        producer.flush().unwrap();
        let mut consumer = cluster.consumer().build().unwrap();
        consumer.assign([email.partition(0).unwrap()]).unwrap();
        let values = receive(&mut consumer, 8_000);
        for thread in ["0", "1", "2", "3"] {
            let of_thread = values.iter().filter(|value| value.starts_with(thread));
            assert!(of_thread.is_sorted(), "thread {thread}");
        }
    }
}

/// E8: nothing of a topic's old life is used by one of its name, in none of its partitions, old and new.
#[test]
fn a_topic_created_again_has_nothing_of_its_old_life() {
    for mode in [ReadMode::Map, ReadMode::Pread] {
        let dir = tempfile::tempdir().unwrap();
        let open = || Cluster::builder().read_mode(mode).open_at(dir.path()).unwrap();
        let mut cluster = open();
        for round in 0..6u32 {
            let email = NewTopic::new("email").partitions(1 + round % 2).config("flush.ms", round);
            let email = cluster.create_topic(email).unwrap();
            email.increase_partitions_to(4).unwrap();
            for partition in email.partitions() {
                assert_eq!(partition.watermarks().unwrap().high.value(), 0, "{partition}");
                assert_eq!(partition.size_bytes().unwrap(), 0, "{partition}");
            }
            let mut consumer = consumer(&cluster, &email);
            let producer = producer(&cluster);
            // Of more records in each life than in the next, so that an old end would show.
            let values = (0..20 - 2 * round).map(|n| format!("{round} {n}")).collect::<Vec<_>>();
            for (partition, value) in (0..4).cycle().zip(&values) {
                producer.send(Record::to(&email).partition(partition).value(value)).unwrap();
            }
            producer.flush().unwrap();
            let mut received = receive(&mut consumer, values.len());
            received.sort();
            let mut expected = values.clone();
            expected.sort();
            assert_eq!(received, expected);
            assert!(consumer.poll(Duration::ZERO).unwrap().is_empty());
            let config = email.describe().unwrap().config;
            assert_eq!(config, [("flush.ms", round.to_string())]);
            drop((consumer, producer, email));
            if round % 3 == 0 {
                drop(cluster);
                cluster = open();
            }
            cluster.delete_topic("email").unwrap();
            if round % 3 == 1 {
                drop(cluster);
                cluster = open();
            }
        }
    }
}

/// One write of the metadata for many of them, and work that does not grow with what is there already.
#[test]
fn ten_thousand_topics_are_created_in_seconds() {
    let began = std::time::Instant::now();
    let cluster = Cluster::temp().unwrap();
    let topics =
        (0..10_000).map(|n| NewTopic::new(format!("t-{n:05}")).config("segment.ms", n + 1));
    let created = cluster.create_topics(topics).unwrap();
    assert!(created.len() == 10_000 && created.iter().all(Result::is_ok));
    let again = cluster.create_topics((9_999..10_001).map(|n| NewTopic::new(format!("t-{n:05}"))));
    let again = again.unwrap();
    assert_eq!(again[0].as_ref().unwrap_err().kind(), ErrorKind::TopicAlreadyExists);
    assert_eq!(again[1].as_ref().unwrap().name(), &"t-10000");
    let memory = Cluster::in_memory().unwrap();
    for n in 0..10_000 {
        memory.create_topic(NewTopic::new(format!("t-{n:05}"))).unwrap();
    }
    assert_eq!((memory.topics().unwrap().len(), cluster.topics().unwrap().len()), (10_000, 10_001));
    // Under two on a machine with nothing else to do.
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
}
