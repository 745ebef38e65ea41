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
        assert_eq!((description.name.as_str(), description.partitions), ("flights", 6));
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
