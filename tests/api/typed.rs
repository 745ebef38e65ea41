use super::*;
use std::error::Error as _;

use brooklet::{ErrorKind, Json, RecordPart, Records, Timestamp, TypedTopic};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Order {
    item: String,
    quantity: u32,
}

fn order(quantity: u32) -> Order {
    Order { item: "cup".into(), quantity }
}

fn orders(cluster: &Cluster) -> TypedTopic<String, Order, brooklet::Plain, Json> {
    let topic = cluster.create_topic(NewTopic::new("orders")).unwrap();
    topic.typed::<String, Order>().values(Json)
}

fn poll(consumer: &mut Consumer, count: usize) -> Records {
    let records = consumer.poll(LONG).unwrap();
    assert_eq!(records.len(), count);
    records
}

#[test]
fn typed_records_arrive_as_sent() {
    for cluster in clusters() {
        let orders = orders(&cluster);
        let producer = producer(&cluster);
        let at = Timestamp::from_millis(1_000).unwrap();
        for (customer, quantity) in [("ann", 1), ("bob", 2)] {
            let order = order(quantity);
            let record = orders.record(customer, &order).unwrap();
            producer.send(&record.header("trace", "4bf92f").timestamp(at).partition(0)).unwrap();
        }
        producer.flush().unwrap();
        let records = poll(&mut consumer(&cluster, orders.topic()), 2);
        let read = orders.read(&records).map(Result::unwrap).collect::<Vec<_>>();
        let expected = [("ann".to_owned(), order(1)), ("bob".to_owned(), order(2))];
        assert_eq!(
            read.iter().map(|r| (r.key.clone(), r.value.clone())).collect::<Vec<_>>(),
            expected
        );
        for (typed, raw) in read.iter().zip(&records) {
            assert_eq!(typed.record.offset(), raw.offset());
            assert_eq!(typed.record.timestamp(), Some(at));
            assert_eq!(typed.record.headers().get("trace"), Some(Some(&b"4bf92f"[..])));
        }
    }
}

/// The record goes to the partition that its encoded key chooses.
#[test]
fn typed_keys_are_placed_by_their_bytes() {
    let cluster = Cluster::in_memory().unwrap();
    let numbers = topic(&cluster, 12).typed::<i32, ()>();
    let producer = producer(&cluster);
    for key in 0..50 {
        let typed = producer.send(&numbers.record(&key, &()).unwrap()).unwrap().wait().unwrap();
        let record = Record::to(numbers.topic());
        let plain = producer.send(record.key(&key.to_be_bytes())).unwrap().wait().unwrap();
        assert_eq!(typed.partition, plain.partition);
    }
}

#[test]
fn a_record_that_cannot_be_read_does_not_hide_the_others() {
    for cluster in clusters() {
        let orders = orders(&cluster);
        let producer = producer(&cluster);
        let send = |record: &brooklet::RecordBuf<'_>| producer.send(record).unwrap();
        send(&orders.record("ann", &order(1)).unwrap());
        producer.send(Record::to("orders").key("bob").value("{\"item\"").header("h", "1")).unwrap();
        producer.send(Record::to("orders").key(&[0xff]).value("{}")).unwrap();
        send(&orders.tombstone("eve").unwrap());
        send(&orders.record("ann", &order(2)).unwrap());
        producer.flush().unwrap();

        let records = poll(&mut consumer(&cluster, orders.topic()), 5);
        let read = orders.read(&records).collect::<Vec<_>>();
        assert_eq!(read[0].as_ref().unwrap().value, order(1));
        assert_eq!(read[4].as_ref().unwrap().value, order(2));
        let bad = read[1..4].iter().map(|r| r.as_ref().unwrap_err()).collect::<Vec<_>>();
        assert_eq!(bad[0].part(), RecordPart::Value);
        assert_eq!(bad[1].part(), RecordPart::Key);
        assert_eq!(bad[2].part(), RecordPart::Value, "a null is no order");
        let record = bad[0].record();
        assert_eq!((record.key(), record.offset().value()), (Some(&b"bob"[..]), 1));
        let message = bad[0].to_string();
        assert!(
            message.starts_with("the value of orders-0@1 cannot be read: EOF while"),
            "{message}"
        );

        // Put aside as it is.
        let parked = cluster.create_topic(NewTopic::new("orders.dead")).unwrap();
        let forwarded = record.forward_to(&parked).header("error", &message);
        producer.send(forwarded).unwrap().wait().unwrap();
        let records = poll(&mut consumer(&cluster, &parked), 1);
        let parked = records.iter().next().unwrap();
        assert_eq!((parked.key(), parked.value()), (record.key(), record.value()));
        assert_eq!(parked.timestamp(), record.timestamp());
        let headers = parked.headers().iter().collect::<Vec<_>>();
        let expected = [("h", Some(&b"1"[..])), ("error", Some(message.as_bytes()))];
        assert_eq!(headers, expected);
    }
}

#[test]
fn records_of_other_topics_are_not_read() {
    let cluster = Cluster::in_memory().unwrap();
    let [visits, sales] = ["visits", "sales"]
        .map(|name| cluster.create_topic(NewTopic::new(name)).unwrap().typed::<String, u64>());
    let producer = producer(&cluster);
    producer.send(&visits.record("ann", &7).unwrap()).unwrap();
    producer.send(&sales.record("bob", &8).unwrap()).unwrap();
    producer.flush().unwrap();
    let mut consumer = cluster.consumer().build().unwrap();
    consumer
        .assign(visits.topic().partitions().into_iter().chain(sales.topic().partitions()))
        .unwrap();
    let records = poll(&mut consumer, 2);
    let keys = |topic: &TypedTopic<String, u64>| {
        topic.read(&records).map(|record| record.unwrap().key).collect::<Vec<_>>()
    };
    assert_eq!((keys(&visits), keys(&sales)), (vec!["ann".into()], vec!["bob".into()]));
}

#[test]
fn nulls_are_options() {
    let cluster = Cluster::in_memory().unwrap();
    let table = topic(&cluster, 1).typed::<Option<String>, Option<Order>>().values(Json);
    let producer = producer(&cluster);
    for (key, value) in [(Some("ann".to_owned()), None), (None, Some(order(3)))] {
        producer.send(&table.record(&key, &value).unwrap()).unwrap();
    }
    producer.flush().unwrap();
    let records = poll(&mut consumer(&cluster, table.topic()), 2);
    let raw = records.iter().map(|r| (r.key().is_none(), r.value().is_none())).collect::<Vec<_>>();
    assert_eq!(raw, [(false, true), (true, false)]);
    let read = table.read(&records).map(Result::unwrap).map(|r| (r.key, r.value));
    let expected = [(Some("ann".to_owned()), None), (None, Some(order(3)))];
    assert_eq!(read.collect::<Vec<_>>(), expected);
}

#[test]
fn what_cannot_be_written_is_not_sent() {
    let cluster = Cluster::in_memory().unwrap();
    // JSON has only text for keys of objects.
    type Odd = std::collections::BTreeMap<Vec<u8>, u8>;
    let odd = topic(&cluster, 1).typed::<String, Odd>().values(Json);
    let error = odd.record("ann", &Odd::from([(vec![1], 2)])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Serialization);
    assert_eq!(error.outcome(), brooklet::Outcome::NotWritten);
    assert_eq!(error.to_string(), "the value cannot be written to email: key must be a string");
    assert!(error.source().is_none(), "the message has said it");
    assert_eq!(odd.topic().partition(0).unwrap().watermarks().unwrap().high.value(), 0);
}

#[test]
fn a_program_that_gives_up_gets_an_ordinary_error() {
    fn quantities(orders: &TypedTopic<String, u64>, records: &Records) -> brooklet::Result<u64> {
        let mut sum = 0;
        for order in orders.read(records) {
            sum += order?.value;
        }
        Ok(sum)
    }
    let cluster = Cluster::in_memory().unwrap();
    let orders = topic(&cluster, 1).typed::<String, u64>();
    send_all(&producer(&cluster), orders.topic(), ["seven"]);
    let records = poll(&mut consumer(&cluster, orders.topic()), 1);
    let error = quantities(&orders, &records).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Serialization);
    assert_eq!(error.to_string(), "the key of email-0@0 cannot be read: it is null");
}
