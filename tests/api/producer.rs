use super::*;
use brooklet::{Acks, Compression, ErrorKind, FlushPolicy, Offset, Timestamp};
use futures_executor::block_on;

#[test]
fn offsets_count_up_in_the_order_of_the_sends() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        let producer = producer(&cluster);
        let deliveries = (0..1_000u32)
            .map(|n| producer.send(Record::to(&email).value(&n.to_string())).unwrap())
            .collect::<Vec<_>>();
        for (n, delivery) in (0..).zip(deliveries) {
            let metadata = delivery.wait().unwrap();
            assert_eq!(metadata.offset.unwrap().value(), n);
            assert_eq!(metadata.to_string(), format!("email-0@{n}"));
        }
        assert_eq!(receive(&mut consumer(&cluster, &email), 1_000), numbers(0..1_000));
    }
}

#[test]
fn every_codec_and_every_acks_delivers() {
    for cluster in clusters() {
        let codecs = [
            Compression::None,
            #[cfg(feature = "gzip")]
            Compression::Gzip,
            #[cfg(feature = "snappy")]
            Compression::Snappy,
            #[cfg(feature = "lz4")]
            Compression::Lz4,
            #[cfg(feature = "zstd")]
            Compression::Zstd,
        ];
        let email = topic(&cluster, 1);
        let mut expected = Vec::new();
        for codec in codecs {
            for acks in [Acks::None, Acks::Leader, Acks::All] {
                let producer = cluster.producer().compression(codec).acks(acks).build().unwrap();
                let value = format!("{codec} {acks:?}");
                let metadata =
                    producer.send(Record::to(&email).value(&value)).unwrap().wait().unwrap();
                assert_eq!(metadata.offset.is_none(), acks == Acks::None);
                expected.push(value);
            }
        }
        assert_eq!(receive(&mut consumer(&cluster, &email), expected.len()), expected);
    }
}

/// Nobody waits, flushes or polls the deliveries: records become visible, and under `on-ack` durable, by themselves.
#[test]
fn records_nobody_waits_for_are_written() {
    for cluster in clusters() {
        for acks in [Acks::None, Acks::Leader, Acks::All] {
            let name = format!("{acks:?}");
            let topic = cluster.create_topic(NewTopic::new(&name)).unwrap();
            let producer = cluster.producer().acks(acks).build().unwrap();
            for n in numbers(0..50) {
                producer.send(Record::to(&topic).value(&n)).unwrap();
            }
            assert_eq!(receive(&mut consumer(&cluster, &topic), 50), numbers(0..50));
        }
    }
}

#[test]
fn a_lingering_batch_is_written_when_its_time_has_come() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        let producer = cluster.producer().linger(Duration::from_millis(20)).build().unwrap();
        for n in numbers(0..10) {
            producer.send(Record::to(&email).value(&n)).unwrap();
        }
        assert_eq!(receive(&mut consumer(&cluster, &email), 10), numbers(0..10));
    }
}

/// With an hour of lingering, only what ends the waiting can end it.
#[test]
fn waiting_flushing_and_filling_end_the_lingering() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        let lingering = || cluster.producer().linger(Duration::from_secs(3600));
        let producer = lingering().build().unwrap();
        producer.send(Record::to(&email).value("wait")).unwrap().wait().unwrap();
        producer.send(Record::to(&email).value("timeout")).unwrap().wait_timeout(LONG).unwrap();
        block_on(producer.send(Record::to(&email).value("await")).unwrap()).unwrap();
        producer.send(Record::to(&email).value("flush")).unwrap();
        producer.flush().unwrap();
        let full = lingering().batch_size(1).build().unwrap();
        block_on(full.send(Record::to(&email).value("full")).unwrap()).unwrap();
        let dropped = lingering().build().unwrap();
        let delivery = dropped.send(Record::to(&email).value("dropped")).unwrap();
        drop(dropped);
        block_on(delivery).unwrap();
        assert_eq!(
            receive(&mut consumer(&cluster, &email), 6),
            ["wait", "timeout", "await", "flush", "full", "dropped"]
        );
    }
}

#[test]
fn deliveries_can_be_awaited_in_any_order() {
    for cluster in clusters() {
        let email = topic(&cluster, 3);
        let producer = producer(&cluster);
        let mut deliveries = (0..100u32)
            .map(|n| producer.send(Record::to(&email).key(&n.to_string()).value("x")).unwrap())
            .collect::<Vec<_>>();
        deliveries.reverse();
        for delivery in deliveries {
            block_on(delivery).unwrap();
        }
    }
}

#[test]
fn keys_choose_the_partition_as_kafka_does() {
    for cluster in clusters() {
        let email = topic(&cluster, 6);
        let producer = producer(&cluster);
        for (key, partition) in
            [("21", 0), ("abc", 3), ("kafka", 4), ("user-42", 4), ("my-group", 5)]
        {
            let metadata = producer.send(Record::to(&email).key(key)).unwrap().wait().unwrap();
            assert_eq!(metadata.partition.value(), partition, "{key}");
            let metadata =
                producer.send(Record::to(&email).key(key).partition(2)).unwrap().wait().unwrap();
            assert_eq!(metadata.partition.value(), 2, "the caller's choice comes first");
        }
    }
}

#[test]
fn keys_values_headers_and_timestamps_arrive_as_sent() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        let producer = producer(&cluster);
        let then = Timestamp::from_millis(1_357_034_400_000).unwrap();
        let full = Record::to(&email)
            .key("k")
            .value("v")
            .timestamp(then)
            .header("a", "1")
            .null_header("b");
        let metadata = producer.send(full.header("a", b"\xff\0")).unwrap().wait().unwrap();
        assert_eq!(metadata.timestamp, then);
        let before = Timestamp::from(std::time::SystemTime::now());
        producer.send(Record::to(&email)).unwrap().wait().unwrap();
        producer.send(Record::to(&email).key("").value("")).unwrap().wait().unwrap();

        let records = consumer(&cluster, &email).poll(LONG).unwrap();
        let [full, bare, empty] = records.iter().collect::<Vec<_>>()[..] else {
            panic!("{records:?}")
        };
        assert_eq!(
            (full.key(), full.value(), full.timestamp()),
            (Some(&b"k"[..]), Some(&b"v"[..]), Some(then))
        );
        let headers = full.headers().iter().collect::<Vec<_>>();
        assert_eq!(headers, [("a", Some(&b"1"[..])), ("b", None), ("a", Some(&b"\xff\0"[..]))]);
        assert_eq!((bare.key(), bare.value(), bare.headers().len()), (None, None, 0));
        assert!(bare.timestamp().unwrap() >= before);
        assert_eq!((empty.key(), empty.value()), (Some(&b""[..]), Some(&b""[..])));
        assert_eq!(full.value_bytes().unwrap(), "v");
    }
}

#[test]
fn threads_share_a_producer_and_keep_their_own_order() {
    for cluster in clusters() {
        let email = topic(&cluster, 2);
        let producer = producer(&cluster);
        std::thread::scope(|scope| {
            for thread in 0..8u32 {
                let (producer, email) = (producer.clone(), &email);
                scope.spawn(move || {
                    for n in 0..200u32 {
                        let value = format!("{thread} {n}");
                        let sent = producer
                            .send(Record::to(email).partition(thread % 2).value(&value))
                            .unwrap();
                        if n % 10 == 0 {
                            sent.wait().unwrap();
                        }
                    }
                });
            }
        });
        producer.flush().unwrap();
        let mut next = [0u32; 8];
        for value in receive(&mut consumer(&cluster, &email), 1_600) {
            let (thread, n) = value.split_once(' ').unwrap();
            let expected = &mut next[thread.parse::<usize>().unwrap()];
            assert_eq!(n.parse::<u32>().unwrap(), *expected);
            *expected += 1;
        }
        assert_eq!(next, [200; 8]);
    }
}

#[test]
fn a_full_buffer_makes_send_wait_and_try_send_give_the_record_back() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        let producer = cluster
            .producer()
            .buffer_memory(4_096)
            .linger(Duration::from_secs(3600))
            .build()
            .unwrap();
        let value = [7u8; 1_000];
        let mut queued = 0;
        let error = loop {
            match producer.try_send(Record::to(&email).key("k").value(&value)) {
                Ok(delivery) => drop(delivery),
                Err(error) => break error,
            }
            queued += 1;
        };
        assert_eq!(error.error.kind(), ErrorKind::BufferFull);
        assert!(error.error.is_retriable() && (1..=4).contains(&queued), "{queued}");
        producer.flush().unwrap();
        let delivery = producer.try_send(error.record).unwrap();
        // There is never more room than for four, so this has to wait for earlier ones to be done.
        for _ in 0..100 {
            producer.send(Record::to(&email).value(&value)).unwrap();
        }
        producer.flush().unwrap();
        assert_eq!(delivery.wait().unwrap().offset.unwrap().value(), queued);
        assert_eq!(email.partition(0).unwrap().watermarks().unwrap().high.value(), queued + 101);
    }
}

#[test]
fn two_producers_two_consumers_and_two_clusters_work_in_one_thread() {
    let clusters = [Cluster::temp().unwrap(), Cluster::temp().unwrap()];
    let topics = clusters.each_ref().map(|cluster| topic(cluster, 1));
    let producers = clusters.each_ref().map(|cluster| [producer(cluster), producer(cluster)]);
    let consumer = |at: usize| consumer(&clusters[at], &topics[at]);
    let mut consumers = [0, 1].map(|at| [consumer(at), consumer(at)]);
    for n in 0..50 {
        for ((topic, producers), consumers) in topics.iter().zip(&producers).zip(&mut consumers) {
            for (at, producer) in (2 * n..).zip(producers) {
                let value = at.to_string();
                let delivery = producer.send(Record::to(topic).value(&value)).unwrap();
                assert_eq!(delivery.wait().unwrap().offset.unwrap(), Offset::from(at));
                for consumer in &mut *consumers {
                    assert_eq!(receive(consumer, 1), [&*value]);
                }
            }
        }
    }
    let foreign = producers[0][0].send(Record::to(&topics[1]).value("x"));
    assert_eq!(foreign.unwrap_err().kind(), ErrorKind::InvalidState);
}

#[test]
fn large_records_get_batches_of_their_own() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        let producer = producer(&cluster);
        let large = "x".repeat(1_000_000);
        send_all(&producer, &email, ["small", &large, "small", &large]);
        assert_eq!(receive(&mut consumer(&cluster, &email), 4), ["small", &large, "small", &large]);
    }
}

/// A refused batch is answered before earlier ones are on disk: a flush waits for these all the same.
#[test]
fn a_flush_waits_for_batches_before_a_refused_one() {
    for cluster in clusters() {
        let topic = NewTopic::new("small").config("max.message.bytes", 2_000);
        let topic = cluster.create_topic(topic).unwrap();
        let producer = producer(&cluster);
        for _ in 0..20 {
            let accepted = producer.send(Record::to(&topic).value(&[0; 1_500])).unwrap();
            producer.send(Record::to(&topic).value(&[0; 3_000])).unwrap();
            assert_eq!(producer.flush().unwrap_err().kind(), ErrorKind::MessageTooLarge);
            accepted.wait_timeout(Duration::ZERO).unwrap();
        }
    }
}

#[test]
fn the_size_limit_holds_in_an_open_batch_too() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        let linger = Duration::from_secs(3600);
        let producer = cluster.producer().max_request_size(200).linger(linger).build().unwrap();
        producer.send(Record::to(&email).value("small")).unwrap();
        let large = producer.send(Record::to(&email).value(&[0; 1_000]));
        assert_eq!(large.unwrap_err().kind(), ErrorKind::MessageTooLarge);
        producer.flush().unwrap();
    }
}

/// A record comes back while there is no room, and goes out once there is: no turn is wasted, and none missed.
#[test]
fn a_producer_says_when_it_is_ready() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        let producer = cluster.producer().buffer_memory(20_000).batch_size(2_000).build().unwrap();
        block_on(producer.ready());
        let (mut refused, value) = (0, [b'v'; 500]);
        for _ in 0..300 {
            let mut record = Record::to(&email).value(&value);
            while let Err(full) = producer.try_send(record) {
                assert_eq!(full.error.kind(), ErrorKind::BufferFull);
                record = full.record;
                refused += 1;
                block_on(producer.ready());
            }
        }
        producer.flush().unwrap();
        assert_eq!(email.partition(0).unwrap().watermarks().unwrap().high.value(), 300);
        assert!(refused < 10_000, "{refused}");
    }
}

#[test]
fn a_partitioner_of_the_application_decides_unless_the_record_does() {
    let cluster = Cluster::in_memory().unwrap();
    let email = topic(&cluster, 4);
    let by_length = |_: &brooklet::TopicName, _: Option<&[u8]>, value: Option<&[u8]>, _: u32| {
        u32::try_from(value.unwrap_or_default().len()).unwrap()
    };
    let producer = cluster.producer().partitioner(by_length).build().unwrap();
    let sent = |record: Record<'_>| {
        producer.send(record).map(|delivery| delivery.wait().unwrap().partition.value())
    };
    assert_eq!(sent(Record::to(&email).key("k").value("abc")).unwrap(), 3);
    assert_eq!(sent(Record::to(&email)).unwrap(), 0);
    assert_eq!(sent(Record::to(&email).value("abc").partition(1)).unwrap(), 1);
    let error = sent(Record::to(&email).value("too long")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownTopicOrPartition);
    let partitions = producer.partitions_for("email").unwrap();
    assert_eq!(partitions.iter().map(|p| p.id().value()).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(producer.partitions_for("none").is_err());
}

/// While anything of the producer is under way batches grow beyond `batch.size`, and records without a key stay where
/// theirs is.
#[cfg(feature = "sim")]
#[test]
fn batches_grow_while_their_producer_is_busy() {
    for (linger, batches) in [(Duration::ZERO, 2..=2), (Duration::from_millis(1), 7..=100)] {
        let counted = brooklet::sim::Simulation::new(1).run(move |_| {
            let cluster = Cluster::in_memory().unwrap();
            let email = cluster.create_topic(NewTopic::new("email").partitions(100)).unwrap();
            let producer = cluster.producer().linger(linger).build().unwrap();
            for _ in 0..100 {
                producer.send(Record::to(&email).value(&[7; 1_000])).unwrap();
            }
            producer.flush().unwrap();
            cluster.scrub().unwrap().batches
        });
        assert!(batches.contains(&counted.value), "{linger:?}: {}", counted.value);
    }
}

/// Each of the logs is idle for most of the time, their producer is not. It sends 20 batches of 256 KiB, and in between
/// few that are smaller.
#[cfg(feature = "sim")]
#[test]
fn a_stream_over_many_partitions_fills_its_batches() {
    for (policy, factor, most) in [(FlushPolicy::Os, 3, 30), (FlushPolicy::OnAck, 1, 50)] {
        let counted = (1..=5).map(|seed| {
            let run = brooklet::sim::Simulation::new(seed).run(move |_| {
                let cluster = Cluster::builder().brokers(3).flush_policy(policy);
                let cluster = cluster.in_memory().unwrap();
                let email = NewTopic::new("email").partitions(100).replication_factor(factor);
                let email = cluster.create_topic(email).unwrap();
                let producer = cluster.producer().build().unwrap();
                for _ in 0..5_000 {
                    producer.send(Record::to(&email).value(&[7; 1_000])).unwrap();
                }
                producer.flush().unwrap();
                cluster.scrub().unwrap().batches / u64::from(factor)
            });
            run.value
        });
        let counted = counted.collect::<Vec<_>>();
        assert!(counted.iter().sum::<u64>() < 5 * most, "{policy:?}: {counted:?}");
    }
}
