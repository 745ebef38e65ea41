use super::*;
use brooklet::{AutoOffsetReset, BrokerId, ErrorKind, FlushPolicy, Offset, SeekTo, Timestamp};
use futures_executor::block_on;
use futures_util::StreamExt;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

#[test]
fn a_consumer_reads_everything_once_in_the_order_of_each_partition() {
    for cluster in clusters() {
        let email = topic(&cluster, 4);
        let producer = producer(&cluster);
        for n in 0..2_000u32 {
            producer.send(Record::to(&email).partition(n % 4).value(&n.to_string())).unwrap();
        }
        let mut consumer = cluster.consumer().max_poll_records(7).build().unwrap();
        consumer.assign(email.partitions()).unwrap();
        let (mut next, mut count) = ([0i64; 4], 0);
        while count < 2_000 {
            let records = consumer.poll(LONG).unwrap();
            assert!((1..=7).contains(&records.len()));
            assert_eq!(records.iter().len(), records.len());
            for record in &records {
                let partition = usize::try_from(record.partition().value()).unwrap();
                assert_eq!(record.offset().value(), next[partition]);
                next[partition] += 1;
                count += 1;
            }
            for (partition, next) in email.partitions().iter().zip(next) {
                assert_eq!(consumer.position(partition).unwrap().value(), next);
            }
        }
        assert!(consumer.poll(Duration::ZERO).unwrap().is_empty());
    }
}

#[test]
fn small_fetches_skip_nothing() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        send_all(&producer(&cluster), &email, numbers(0..500));
        let mut consumer = cluster.consumer().max_partition_fetch_bytes(1).build().unwrap();
        consumer.assign(email.partitions()).unwrap();
        assert_eq!(receive(&mut consumer, 500), numbers(0..500));
    }
}

#[test]
fn a_blocked_poll_wakes_when_a_record_comes_in() {
    for cluster in clusters() {
        let email = topic(&cluster, 2);
        let producer = producer(&cluster);
        let mut consumer = consumer(&cluster, &email);
        let waiting = std::thread::spawn(move || receive(&mut consumer, 1));
        std::thread::sleep(Duration::from_millis(20));
        producer.send(Record::to(&email).value("now")).unwrap();
        assert_eq!(waiting.join().unwrap(), ["now"]);
    }
}

#[test]
fn a_consumer_knows_how_far_it_is_behind() {
    for cluster in clusters() {
        let email = topic(&cluster, 2);
        let partition = email.partition(1).unwrap();
        let mut consumer = cluster.consumer().build().unwrap();
        assert_eq!(consumer.lag(&partition).unwrap_err().kind(), ErrorKind::InvalidState);
        consumer.assign([partition.clone()]).unwrap();
        let producer = producer(&cluster);
        for n in numbers(0..5) {
            producer.send(Record::to(&email).partition(1).value(&n)).unwrap();
        }
        producer.flush().unwrap();
        assert_eq!(consumer.lag(&partition).unwrap(), 5);
        receive(&mut consumer, 5);
        assert_eq!(consumer.lag(&partition).unwrap(), 0);
        consumer.seek(&partition, Offset::from(9)).unwrap();
        assert_eq!(consumer.lag(&partition).unwrap(), 0);
    }
}

#[test]
fn seeking_moves_the_position() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        let partition = email.partition(0).unwrap();
        let producer = producer(&cluster);
        for n in 0..100i64 {
            let record = Record::to(&email).timestamp(at(1_000 + 10 * n));
            producer.send(record.value(&n.to_string())).unwrap();
        }
        producer.flush().unwrap();
        let mut consumer = consumer(&cluster, &email);
        let mut first_after = |to: SeekTo| {
            let position = consumer.seek(&partition, to).unwrap();
            assert_eq!(consumer.position(&partition).unwrap(), position);
            let records = consumer.poll(Duration::ZERO).unwrap();
            assert!(records.iter().next().is_none_or(|first| first.offset() == position));
            (position.value(), records.len())
        };
        assert_eq!(first_after(SeekTo::Offset(Offset::from(42))), (42, 58));
        assert_eq!(first_after(SeekTo::Beginning), (0, 100));
        assert_eq!(first_after(SeekTo::End), (100, 0));
        assert_eq!(first_after(SeekTo::Timestamp(at(1_500))), (50, 50), "exactly");
        assert_eq!(first_after(SeekTo::Timestamp(at(1_501))), (51, 49), "in between");
        assert_eq!(first_after(SeekTo::Timestamp(at(0))), (0, 100), "before all");
        assert_eq!(first_after(SeekTo::Timestamp(at(9_999))), (100, 0), "after all");
        let found = email.partition(0).unwrap().offset_for_timestamp(at(1_501)).unwrap().unwrap();
        assert_eq!((found.offset.value(), found.timestamp), (51, at(1_510)));
    }
}

#[test]
fn paused_partitions_are_left_out_until_resumed() {
    for cluster in clusters() {
        let email = topic(&cluster, 2);
        let producer = producer(&cluster);
        for n in 0..10u32 {
            producer.send(Record::to(&email).partition(n % 2).value(&n.to_string())).unwrap();
        }
        producer.flush().unwrap();
        let mut consumer = consumer(&cluster, &email);
        let paused = consumer.assignment()[0].clone();
        consumer.pause([&paused]).unwrap();
        assert_eq!(consumer.paused(), std::slice::from_ref(&paused));
        assert_eq!(receive(&mut consumer, 5), ["1", "3", "5", "7", "9"]);
        assert!(consumer.poll(Duration::from_millis(1)).unwrap().is_empty());
        consumer.resume([&paused]).unwrap();
        assert_eq!(receive(&mut consumer, 5), ["0", "2", "4", "6", "8"]);
    }
}

#[test]
fn assigning_again_keeps_the_positions_of_partitions_that_stay() {
    for cluster in clusters() {
        let email = topic(&cluster, 2);
        let producer = producer(&cluster);
        for n in 0..10u32 {
            producer.send(Record::to(&email).partition(n % 2).value(&n.to_string())).unwrap();
        }
        producer.flush().unwrap();
        let mut consumer = cluster.consumer().build().unwrap();
        consumer.assign([email.partition(0).unwrap()]).unwrap();
        assert_eq!(receive(&mut consumer, 5), ["0", "2", "4", "6", "8"]);
        consumer.assign(email.partitions()).unwrap();
        assert_eq!(receive(&mut consumer, 5), ["1", "3", "5", "7", "9"]);
    }
}

#[test]
fn latest_begins_behind_what_is_there() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        let producer = producer(&cluster);
        send_all(&producer, &email, ["before"]);
        let mut consumer =
            cluster.consumer().auto_offset_reset(AutoOffsetReset::Latest).build().unwrap();
        consumer.assign(email.partitions()).unwrap();
        send_all(&producer, &email, ["after"]);
        assert_eq!(receive(&mut consumer, 1), ["after"]);
    }
}

#[test]
fn an_offset_out_of_range_is_reset_or_reported_as_configured() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        send_all(&producer(&cluster), &email, ["a", "b"]);
        let partition = email.partition(0).unwrap();
        let consumer = |reset| {
            let mut consumer = cluster.consumer().auto_offset_reset(reset).build().unwrap();
            consumer.assign(email.partitions()).unwrap();
            consumer.seek(&partition, Offset::from(99)).unwrap();
            consumer
        };
        assert_eq!(receive(&mut consumer(AutoOffsetReset::Earliest), 2), ["a", "b"]);
        let mut latest = consumer(AutoOffsetReset::Latest);
        assert!(latest.poll(Duration::ZERO).unwrap().is_empty());
        assert_eq!(latest.position(&partition).unwrap().value(), 2);
        let error = consumer(AutoOffsetReset::None).poll(Duration::ZERO).unwrap_err();
        assert_eq!((error.kind(), error.kafka_code()), (ErrorKind::OffsetOutOfRange, Some(1)));
        assert!(error.to_string().contains("email-0"), "{error}");
    }
}

#[test]
fn records_outlive_consumer_topic_and_cluster() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        send_all(&producer(&cluster), &email, numbers(0..100));
        let records = consumer(&cluster, &email).poll(LONG).unwrap();
        cluster.delete_topic("email").unwrap();
        cluster.close().unwrap();
        let values =
            records.iter().map(|r| String::from_utf8_lossy(r.value().unwrap()).into_owned());
        assert_eq!(values.collect::<Vec<_>>(), numbers(0..100));
    }
}

/// Readers close behind a writer, through rolls of tiny segments, see every record once and in order.
#[test]
fn consumers_follow_a_writer_through_rolling_segments() {
    for cluster in clusters() {
        let small = NewTopic::new("small")
            .config("segment.bytes", 4_096)
            .config("index.interval.bytes", 100);
        let topic = cluster.create_topic(small).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let mut consumer = consumer(&cluster, &topic);
                scope.spawn(move || assert_eq!(receive(&mut consumer, 3_000), numbers(0..3_000)));
            }
            let producer = cluster.producer().batch_size(500).build().unwrap();
            send_all(&producer, &topic, numbers(0..3_000));
        });
        let mut late = consumer(&cluster, &topic);
        assert_eq!(receive(&mut late, 3_000), numbers(0..3_000));
    }
}

#[test]
fn without_a_reset_there_is_no_position_before_the_first_seek() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        send_all(&producer(&cluster), &email, ["a"]);
        let mut consumer =
            cluster.consumer().auto_offset_reset(AutoOffsetReset::None).build().unwrap();
        consumer.assign(email.partitions()).unwrap();
        let partition = consumer.assignment()[0].clone();
        assert_eq!(consumer.poll(LONG).unwrap_err().kind(), ErrorKind::OffsetOutOfRange);
        assert_eq!(consumer.position(&partition).unwrap_err().kind(), ErrorKind::OffsetOutOfRange);
        consumer.seek(&partition, SeekTo::Beginning).unwrap();
        assert_eq!(receive(&mut consumer, 1), ["a"]);
    }
}

#[test]
fn a_wake_up_ends_one_wait() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        let mut consumer = consumer(&cluster, &email);
        let wakeup = consumer.wakeup();
        let waiting = std::thread::spawn(move || {
            let records = consumer.poll(Duration::MAX).unwrap();
            (consumer, records)
        });
        wakeup.wake();
        let (mut consumer, records) = waiting.join().unwrap();
        assert!(records.is_empty());
        // One that comes between two polls ends the next that would wait, and does not hide records.
        wakeup.wake();
        send_all(&producer(&cluster), &email, numbers(0..1));
        assert_eq!(consumer.poll(Duration::MAX).unwrap().len(), 1);
        assert!(consumer.poll(Duration::MAX).unwrap().is_empty());
        send_all(&producer(&cluster), &email, numbers(1..2));
        assert_eq!(receive(&mut consumer, 1), ["1"]);
    }
}

#[test]
fn a_stream_goes_on_where_it_or_a_poll_stopped() {
    for cluster in clusters() {
        let email = topic(&cluster, 2);
        send_all(&producer(&cluster), &email, numbers(0..60));
        let mut consumer = cluster.consumer().max_poll_records(10).build().unwrap();
        consumer.assign(email.partitions()).unwrap();
        let mut seen = receive(&mut consumer, 20);
        let wakeup = consumer.wakeup();
        while seen.len() < 50 {
            // A new stream for each, dropped half-way through what was fetched.
            let records = block_on(consumer.stream().next()).unwrap().unwrap();
            seen.extend(texts(&records));
        }
        let mut stream = consumer.stream();
        while seen.len() < 60 {
            seen.extend(texts(&block_on(stream.next()).unwrap().unwrap()));
        }
        wakeup.wake();
        assert!(block_on(stream.next()).is_none());
        seen.sort_by_key(|value| value.parse::<u32>().unwrap());
        assert_eq!(seen, numbers(0..60));
    }
}

#[test]
fn a_stream_is_woken_by_records_and_by_the_end_of_patience() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        let sender = producer(&cluster);
        let builder = cluster.consumer().fetch_min_bytes(1 << 20);
        let mut consumer = builder.fetch_max_wait(Duration::from_millis(20)).build().unwrap();
        consumer.assign(email.partitions()).unwrap();
        let waiting = std::thread::spawn(move || {
            let records = block_on(consumer.stream().next()).unwrap().unwrap();
            (consumer, texts(&records))
        });
        std::thread::sleep(Duration::from_millis(5));
        send_all(&sender, &email, numbers(0..1));
        let (mut consumer, seen) = waiting.join().unwrap();
        assert_eq!(seen, ["0"]);

        let waiting = std::thread::spawn(move || {
            let mut stream = consumer.stream();
            let closed = block_on(stream.next()).unwrap().unwrap_err();
            (closed.kind(), block_on(stream.next()).is_none())
        });
        cluster.close().unwrap();
        assert_eq!(waiting.join().unwrap(), (ErrorKind::Closed, true));
    }
}

#[test]
fn offsets_of_partitions_are_found_without_an_assignment() {
    for cluster in clusters() {
        let email = topic(&cluster, 2);
        let producer = producer(&cluster);
        for n in 0..10 {
            let record = Record::to(&email).partition(0).value("v").timestamp(at(1_000 + n));
            producer.send(record).unwrap().wait().unwrap();
        }
        email.partition(0).unwrap().delete_records(Offset::new(3).unwrap()).unwrap();
        let consumer = cluster.consumer().build().unwrap();
        let begin = consumer.beginning_offsets(email.partitions()).unwrap();
        assert_eq!(begin.values().map(|offset| offset.value()).collect::<Vec<_>>(), [3, 0]);
        let end = consumer.end_offsets(email.partitions()).unwrap();
        assert_eq!(end.values().map(|offset| offset.value()).collect::<Vec<_>>(), [10, 0]);
        let times = email.partitions().into_iter().map(|partition| (partition, at(1_005)));
        let found = consumer.offsets_for_times(times).unwrap();
        let found = found.into_values().map(|found| found.map(|found| found.offset.value()));
        assert_eq!(found.collect::<Vec<_>>(), [Some(5), None]);
    }
}

/// C11: a new leader may not know yet how far the one before it has let readers come.
#[cfg(feature = "sim")]
#[test]
fn the_end_is_not_before_what_an_earlier_leader_has_let_be_read() {
    let unknown = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    for seed in 0..40 {
        let unknown = std::sync::Arc::clone(&unknown);
        brooklet::sim::Simulation::new(seed).run(move |_| {
            let builder = Cluster::builder().brokers(4).flush_policy(FlushPolicy::Os);
            let cluster = builder.in_memory().unwrap();
            let on = [2, 3, 4].map(|number| BrokerId::new(number).unwrap());
            let email = cluster.create_topic(NewTopic::new("email").assignment([on])).unwrap();
            let [two, three, four] = [2, 3, 4].map(|number| cluster.broker(number).unwrap());
            three.disconnect(&four);
            send_all(&producer(&cluster), &email, ["a", "b", "c"]);
            assert_eq!(receive(&mut consumer(&cluster, &email), 3), ["a", "b", "c"]);
            // Brokers 3 and 4 have all, and may not have heard that it is committed.
            two.crash().unwrap();
            let partition = email.partition(0).unwrap();
            if let Err(error) = partition.watermarks() {
                assert_eq!(error.kind(), ErrorKind::OffsetNotAvailable);
                unknown.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            let latest = cluster.consumer().auto_offset_reset(AutoOffsetReset::Latest);
            let mut latest = latest.build().unwrap();
            latest.assign(email.partitions()).unwrap();
            assert_eq!(latest.position(&partition).unwrap().value(), 3);
            assert_eq!(latest.seek(&partition, SeekTo::End).unwrap().value(), 3);
            assert_eq!(latest.seek(&partition, at(i64::MAX)).unwrap().value(), 3);
            three.reconnect(&four);
            send_all(&producer(&cluster), &email, ["d"]);
            assert_eq!(receive(&mut latest, 1), ["d"]);
        });
    }
    assert!(unknown.load(std::sync::atomic::Ordering::Relaxed) > 0, "it was always known");
}
