use super::*;
use brooklet::sim::history::{Client, Recorder, Rules, check};
use brooklet::{ConsumerRecord, Delivery, Offset};

/// Sends `values` of a client, a few at a time, and records what came of each.
fn write(client: &Client, producer: &Producer, topic: &Topic, values: std::ops::Range<u64>) {
    let mut on_their_way = Vec::new();
    for value in values {
        let sending = client.send(value);
        let key = (value % 17).to_string();
        match producer.send(Record::to(topic).key(&key).value(&value.to_be_bytes())) {
            Ok(delivery) => on_their_way.push((sending, delivery)),
            Err(error) => sending.end(&Err(error)),
        }
        if on_their_way.len() == 8 {
            on_their_way.drain(..).for_each(|(sending, delivery)| sending.end(&delivery.wait()));
        }
    }
    on_their_way.drain(..).for_each(|(sending, delivery)| sending.end(&Delivery::wait(delivery)));
}

fn value(record: &ConsumerRecord<'_>) -> u64 {
    u64::from_be_bytes(record.value().unwrap().try_into().unwrap())
}

/// Polls until `count` records have come, and goes back to the beginning on the way.
fn read(client: &Client, consumer: &mut Consumer, topic: &Topic, count: usize) {
    client.assign(topic.partitions().into_iter().map(|partition| (partition, Some(Offset::ZERO))));
    consumer.assign(topic.partitions()).unwrap();
    let (mut polled, mut is_second_time) = (0, false);
    while polled < count {
        if polled > count / 2 && !is_second_time {
            (polled, is_second_time) = (0, true);
            for partition in topic.partitions() {
                let position = consumer.seek(&partition, Offset::ZERO).unwrap();
                client.seek(&partition, Some(position));
            }
        }
        let polling = client.poll();
        let records = consumer.poll(LONG);
        polling.end(&records, value);
        polled += records.unwrap().len();
        for partition in topic.partitions() {
            let query = client.watermarks(&partition);
            let watermarks = partition.watermarks().unwrap();
            query.ok(watermarks.low, watermarks.high);
        }
    }
}

/// Goal: nothing is lost, doubled or reordered, as clients in several threads see it. Method: they record all that
/// they do and are told, and the checker looks at it afterwards.
#[test]
fn what_threads_see_of_a_topic_is_free_of_anomalies() {
    const VALUES: u64 = 1_000;
    for cluster in clusters() {
        let topic = topic(&cluster, 3);
        let recorder = Recorder::new();
        let total = usize::try_from(3 * VALUES).unwrap();
        std::thread::scope(|scope| {
            let producer = producer(&cluster);
            for at in 0..3 {
                let (client, producer) =
                    (recorder.client(&format!("writer {at}")), producer.clone());
                let topic = &topic;
                scope.spawn(move || {
                    write(&client, &producer, topic, at * VALUES..(at + 1) * VALUES)
                });
            }
            for at in 0..2 {
                let client = recorder.client(&format!("reader {at}"));
                let mut consumer = cluster.consumer().max_poll_records(50).build().unwrap();
                let topic = &topic;
                scope.spawn(move || read(&client, &mut consumer, topic, total));
            }
        });
        let report = check(&recorder.history(), &Rules::new().all_read(true));
        assert!(report.is_ok(), "{report}");
    }
}

/// What a closed cluster refuses was definitely not written, and the history says so.
#[test]
fn errors_end_operations_by_their_outcome() {
    let cluster = Cluster::in_memory().unwrap();
    let (topic, recorder) = (topic(&cluster, 1), Recorder::new());
    let (client, producer) = (recorder.client("writer"), producer(&cluster));
    let send =
        |value| client.send(value).end(&producer.send(Record::to(&topic)).and_then(Delivery::wait));
    send(1);
    cluster.close().unwrap();
    send(2);
    let told = recorder.history().to_string();
    assert_eq!(told, "#1..2    writer: send 1 -> email-0@0\n#3..4    writer: send 2 -> failed\n");
}
