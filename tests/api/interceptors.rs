use super::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use brooklet::{
    Acks, ConsumerInterceptor, Error, ErrorKind, Offset, ProducerInterceptor, RecordBuf,
    RecordMetadata, Records, Timestamp,
};
use parking_lot::Mutex;

/// Writes down what it hears.
#[derive(Default)]
struct Listener {
    sent: AtomicUsize,
    heard: Mutex<Vec<(String, Result<RecordMetadata, ErrorKind>)>>,
}

impl Listener {
    /// Offsets and kinds of errors, in the order in which they were heard.
    fn heard(&self) -> Vec<Result<Option<i64>, ErrorKind>> {
        let heard = self.heard.lock();
        let offset = |result: &Result<RecordMetadata, ErrorKind>| {
            result.as_ref().map(|m| m.offset.map(Offset::value)).map_err(|kind| *kind)
        };
        heard.iter().map(|(_, result)| offset(result)).collect()
    }
}

impl ProducerInterceptor for Listener {
    fn on_send(&self, _: &mut RecordBuf<'_>) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    fn on_acknowledgement(&self, topic: &str, result: Result<&RecordMetadata, &Error>) {
        self.heard.lock().push((topic.to_owned(), result.cloned().map_err(Error::kind)));
    }
}

/// Adds a header with its number, and the number to the end of the value.
struct Mark(u8);

impl ProducerInterceptor for Mark {
    fn on_send(&self, record: &mut RecordBuf<'_>) {
        record.headers.push(("mark".into(), Some(vec![self.0].into())));
        record.value.get_or_insert_default().to_mut().push(self.0);
        record.timestamp = Timestamp::from_millis(i64::from(self.0));
    }
}

struct Panics;

impl ProducerInterceptor for Panics {
    fn on_send(&self, record: &mut RecordBuf<'_>) {
        record.value = None;
        panic!("on_send, as planned");
    }

    fn on_acknowledgement(&self, _: &str, _: Result<&RecordMetadata, &Error>) {
        panic!("on_acknowledgement, as planned");
    }
}

impl ConsumerInterceptor for Panics {
    fn on_consume(&self, records: &mut Records) {
        records.retain(|_| false);
        panic!("on_consume, as planned");
    }
}

#[test]
fn interceptors_change_records_one_after_another() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        let builder = cluster.producer().interceptor(Mark(1)).interceptor(Panics);
        let producer = builder.interceptor(Mark(2)).build().unwrap();
        producer.send(Record::to(&email).value(&[0])).unwrap().wait().unwrap();
        let records = consumer(&cluster, &email).poll(LONG).unwrap();
        let record = records.iter().next().unwrap();
        assert_eq!(record.value(), Some(&[0, 1, 2][..]));
        assert_eq!(record.timestamp(), Timestamp::from_millis(2));
        let marks = record.headers().iter().map(|(_, mark)| mark.unwrap()[0]).collect::<Vec<_>>();
        assert_eq!(marks, [1, 2]);
    }
}

#[test]
fn each_send_is_heard_of_once_before_whoever_waits_for_it() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        for acks in [Acks::All, Acks::Leader, Acks::None] {
            let listener = Arc::new(Listener::default());
            let builder = cluster.producer().acks(acks).batch_size(200).interceptor(Panics);
            let producer = builder.interceptor(Arc::clone(&listener)).build().unwrap();
            for number in 1..=50 {
                producer.send(Record::to(&email).value("welcome")).unwrap();
                if number % 7 == 0 {
                    let delivery = producer.send(Record::to(&email)).unwrap();
                    let told = delivery.wait().unwrap();
                    assert!(listener.heard.lock().contains(&("email".to_owned(), Ok(told))));
                }
            }
            producer.flush().unwrap();
            let heard = listener.heard();
            assert_eq!((listener.sent.load(Ordering::Relaxed), heard.len()), (57, 57));
            let offsets = heard.into_iter().flat_map(Result::unwrap).collect::<BTreeSet<_>>();
            assert_eq!(offsets.len(), if acks == Acks::None { 0 } else { 57 });
        }
    }
}

#[test]
fn sends_that_fail_are_heard_of_too() {
    let cluster = Cluster::in_memory().unwrap();
    let email = topic(&cluster, 1);
    let listener = Arc::new(Listener::default());
    let builder = cluster.producer().linger(Duration::from_secs(3600)).max_request_size(1_000);
    let producer = builder.interceptor(Arc::clone(&listener)).build().unwrap();
    producer.send(Record::to("nobody")).unwrap_err();
    producer.send(Record::to(&email).value(&[0; 2_000])).unwrap_err();
    let refused = producer.try_send(Record::to(&email).key("ann").value(&[0; 2_000])).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::MessageTooLarge);
    let delivery = producer.send(Record::to(&email)).unwrap();
    assert_eq!(listener.heard().len(), 3);
    cluster.delete_topic("email").unwrap();
    delivery.wait().unwrap_err();
    let kinds = [
        ErrorKind::UnknownTopicOrPartition,
        ErrorKind::MessageTooLarge,
        ErrorKind::MessageTooLarge,
        ErrorKind::TopicDeleted,
    ];
    assert_eq!(listener.heard(), kinds.map(Err));
    assert_eq!(listener.heard.lock()[0].0, "nobody");
    assert_eq!(listener.sent.load(Ordering::Relaxed), 4);
}

/// What is given back is what the caller had, so that trying again does not mark it twice.
#[test]
fn a_record_that_was_not_taken_comes_back_unchanged() {
    let cluster = Cluster::in_memory().unwrap();
    let email = topic(&cluster, 1);
    let producer = cluster.producer().max_request_size(100).interceptor(Mark(1)).build().unwrap();
    let value = [0; 200];
    let refused = producer.try_send(Record::to(&email).value(&value)).unwrap_err();
    let record = RecordBuf::from(refused.record);
    assert_eq!((record.value.as_deref(), record.headers.len()), (Some(&value[..]), 0));
}

/// Sends another record, and waits for it, whenever it hears of one.
#[derive(Default)]
struct Echo {
    producer: Mutex<Option<Producer>>,
    echoed: AtomicUsize,
}

impl ProducerInterceptor for Echo {
    fn on_acknowledgement(&self, topic: &str, result: Result<&RecordMetadata, &Error>) {
        let producer = self.producer.lock().clone().unwrap();
        let echo = producer.send(Record::to("echo").value(topic)).unwrap().wait();
        assert_eq!(echo.is_ok(), result.is_ok());
        producer.flush().unwrap();
        self.echoed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Nothing is locked while an interceptor is called: it may even use the producer that it listens to.
#[test]
fn interceptors_may_use_the_cluster() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        cluster.create_topic(NewTopic::new("echo")).unwrap();
        let echo = Arc::new(Echo::default());
        let other = producer(&cluster);
        let listened = cluster.producer().interceptor(Arc::clone(&echo)).build().unwrap();
        *echo.producer.lock() = Some(other);
        let sends = (0..20).map(|_| listened.send(Record::to(&email).value("a")).unwrap());
        sends.collect::<Vec<_>>().into_iter().for_each(|sent| drop(sent.wait().unwrap()));
        assert_eq!(echo.echoed.load(Ordering::Relaxed), 20);
        let high = cluster.topic("echo").unwrap().partition(0).unwrap().watermarks().unwrap().high;
        assert_eq!(high, Offset::from(20));
    }
}

/// Keeps every third record, and counts what it sees.
#[derive(Default)]
struct Thirds(AtomicUsize);

impl ConsumerInterceptor for Thirds {
    fn on_consume(&self, records: &mut Records) {
        assert!(!records.is_empty());
        self.0.fetch_add(records.len(), Ordering::Relaxed);
        records.retain(|record| record.offset().value() % 3 == 0);
    }
}

#[test]
fn what_an_interceptor_takes_out_counts_as_read() {
    for cluster in clusters() {
        let email = topic(&cluster, 1);
        send_all(&producer(&cluster), &email, numbers(0..100));
        let thirds = Arc::new(Thirds::default());
        let builder = cluster.consumer().max_poll_records(8).interceptor(Panics);
        let mut consumer = builder.interceptor(Arc::clone(&thirds)).build().unwrap();
        consumer.assign(email.partitions()).unwrap();
        let mut offsets = Vec::new();
        while consumer.position(email.partition(0).unwrap()).unwrap() < Offset::from(100) {
            let records = consumer.poll(LONG).unwrap();
            assert_eq!(records.iter().count(), records.len());
            offsets.extend(records.iter().map(|record| record.offset().value()));
        }
        assert_eq!(offsets, (0..100).step_by(3).collect::<Vec<_>>());
        assert_eq!(thirds.0.load(Ordering::Relaxed), 100);
        assert!(consumer.poll(Duration::ZERO).unwrap().is_empty());
    }
}
