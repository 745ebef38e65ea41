//! Topics that are deleted and made anew: to groups they are others, whoever makes them and whatever happens in between.

use brooklet::{Cluster, ErrorKind, NewTopic, NextOffset, Record, Topic};

use super::{LONG, cluster, counted, send, values};

fn email() -> NewTopic {
    NewTopic::new("email").replication_factor(2)
}

/// A cluster in which a group has read a topic that was deleted while nobody could be told: the group's coordinator was
/// stopped.
fn forgotten_by_nobody() -> Cluster {
    let cluster = Cluster::builder()
        .brokers(2)
        .config("offsets.topic.replication.factor", 1)
        .auto_create_topics_enable(true)
        .in_memory()
        .unwrap();
    cluster.create_topic(email()).unwrap();
    send(&cluster, "email", counted(0..3));
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.join("email").unwrap();
    assert_eq!(values(&mut consumer, 3), ["0", "1", "2"]);
    consumer.commit().unwrap().wait().unwrap();
    drop(consumer);
    let coordinator = group.describe().unwrap().coordinator.unwrap();
    cluster.broker(coordinator.value()).unwrap().stop().unwrap();
    cluster.delete_topic("email").unwrap();
    assert_eq!(group.describe().unwrap_err().kind(), ErrorKind::CoordinatorNotAvailable);
    cluster
}

/// It used to be so for those alone that were made by `Cluster::create_topic`, which failed instead, and the group did not
/// see the first records of the others.
#[test]
fn what_was_committed_for_a_topic_is_not_for_one_of_its_name_whoever_makes_it() {
    let by_producer = |cluster: &Cluster| {
        let producer = cluster.producer().build().unwrap();
        producer.send(Record::to("email").value("new")).unwrap().wait().unwrap();
        cluster.topic("email").unwrap()
    };
    let makers: [fn(&Cluster) -> Topic; 5] = [
        by_producer,
        |cluster| cluster.topic("email").unwrap(),
        |cluster| cluster.create_topic(NewTopic::new("email")).unwrap(),
        |cluster| cluster.create_topic_if_missing(NewTopic::new("email")).unwrap(),
        |cluster| cluster.create_topics([NewTopic::new("email")]).unwrap().remove(0).unwrap(),
    ];
    for make in makers {
        let cluster = forgotten_by_nobody();
        let topic = make(&cluster);
        cluster.brokers().iter().for_each(|broker| broker.start().unwrap());
        let group = cluster.consumer_group("mailer");
        assert!(group.committed_offsets().unwrap().is_empty());
        assert!(group.lag().unwrap().partitions.is_empty());
        let partition = topic.partition(0).unwrap();
        let producer = cluster.producer().build().unwrap();
        for _ in partition.watermarks().unwrap().high.value()..1 {
            producer.send(Record::to(&topic).value("new")).unwrap().wait().unwrap();
        }
        let mut consumer = group.join("email").unwrap();
        assert_eq!(consumer.committed(&partition).unwrap(), None);
        assert_eq!(values(&mut consumer, 1), ["new"]);
        consumer.commit().unwrap().wait().unwrap();
        assert_eq!(group.lag().unwrap().total().records, 0);
    }
}

/// It used to be committed for the one that the consumer read when it was asked.
#[test]
fn a_record_of_a_topic_that_is_no_more_is_not_committed_for_the_next_of_its_name() {
    let cluster = cluster("email", 1);
    send(&cluster, "email", counted(0..3));
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.join("email").unwrap();
    let records = consumer.poll(LONG).unwrap();
    cluster.delete_topic("email").unwrap();
    cluster.create_topic(NewTopic::new("email")).unwrap();
    send(&cluster, "email", ["new".to_owned()]);
    let read = values(&mut consumer, 1);
    assert_eq!(read, ["new"]);
    let old = records.iter().last().unwrap();
    consumer.commit_through(&old).unwrap().wait().unwrap();
    let next = NextOffset::after(&old).metadata("by the night shift");
    consumer.commit_offsets([(old.topic_partition(), next)]).unwrap().wait().unwrap();
    assert!(group.committed_offsets().unwrap().is_empty());
    consumer.commit().unwrap().wait().unwrap();
    let committed = group.committed_offsets().unwrap().into_values();
    assert_eq!(committed.map(|next| next.offset().value()).collect::<Vec<_>>(), [1]);
}

/// They are for different topics: the later does not stand for the earlier one.
#[test]
fn a_commit_for_a_topic_that_is_no_more_takes_the_place_of_none() {
    let cluster = Cluster::builder()
        .brokers(2)
        .config("offsets.topic.replication.factor", 1)
        .in_memory()
        .unwrap();
    cluster.create_topic(email()).unwrap();
    send(&cluster, "email", counted(0..3));
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.join("email").unwrap();
    let records = consumer.poll(LONG).unwrap();
    cluster.delete_topic("email").unwrap();
    cluster.create_topic(email()).unwrap();
    send(&cluster, "email", ["new".to_owned()]);
    assert_eq!(values(&mut consumer, 1), ["new"]);
    let coordinator = group.describe().unwrap().coordinator.unwrap();
    let broker = cluster.broker(coordinator.value()).unwrap();
    broker.stop().unwrap();
    let new = consumer.commit().unwrap();
    let old = consumer.commit_through(&records.iter().last().unwrap()).unwrap();
    broker.start().unwrap();
    old.wait().unwrap();
    new.wait().unwrap();
    let committed = group.committed_offsets().unwrap().into_values();
    assert_eq!(committed.map(|next| next.offset().value()).collect::<Vec<_>>(), [1]);
}

/// An offset may be taken from one topic to another that has the same records: that is no mistake.
#[test]
fn an_offset_after_a_record_can_be_committed_for_another_topic() {
    let cluster = cluster("email", 1);
    let copy = cluster.create_topic(NewTopic::new("copy")).unwrap().partition(0).unwrap();
    send(&cluster, "email", counted(0..3));
    let mut consumer = cluster.consumer_group("mailer").join("email").unwrap();
    let records = consumer.poll(LONG).unwrap();
    let next = NextOffset::after(&records.iter().last().unwrap());
    consumer.commit_offsets([(&copy, next.clone())]).unwrap().wait().unwrap();
    assert_eq!(consumer.committed(&copy).unwrap(), Some(next));
}
