//! The topic in which groups are kept.

use brooklet::{Cluster, Error, ErrorKind, NewTopic, Offset, Record};

use super::cluster;

#[test]
fn applications_do_not_write_to_the_topic_of_groups_or_delete_from_it() {
    let cluster = cluster("email", 1);
    let mut consumer = cluster.consumer_group("mailer").join("email").unwrap();
    consumer.commit().unwrap().wait().unwrap();
    let offsets = cluster.topic("__consumer_offsets").unwrap();
    let partition = offsets.partition(0).unwrap();
    let producer = cluster.producer().build().unwrap();
    let refused = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::InvalidTopic, "{error}");
    };
    refused(producer.send(Record::to(&offsets).value("v")).map(drop).unwrap_err());
    refused(producer.send(Record::to("__consumer_offsets").value("v")).map(drop).unwrap_err());
    refused(partition.append(Vec::new()).map(drop).unwrap_err());
    refused(partition.delete_records(Offset::ZERO).unwrap_err());
    refused(cluster.delete_topic("__consumer_offsets").unwrap_err());
    // Groups would look for what they have committed in other partitions.
    refused(offsets.increase_partitions_to(100).unwrap_err());
    refused(cluster.create_topic(NewTopic::new("__transaction_state")).map(drop).unwrap_err());
    consumer.commit().unwrap().wait().unwrap();
}

#[test]
fn the_topic_of_groups_can_be_read_as_any_other() {
    let cluster = Cluster::builder().config("offsets.topic.num.partitions", 1).in_memory().unwrap();
    cluster.create_topic(NewTopic::new("email")).unwrap();
    let mut consumer = cluster.consumer_group("mailer").join("email").unwrap();
    consumer.commit().unwrap().wait().unwrap();
    let offsets = cluster.topic("__consumer_offsets").unwrap();
    assert_eq!(offsets.partition_count(), 1);
    let mut reader = cluster.consumer().build().unwrap();
    reader.assign(offsets.partitions()).unwrap();
    let records = reader.poll(super::LONG).unwrap();
    // The key of a committed offset: version 1, the group, the topic, the partition.
    let key = b"\0\x01\0\x06mailer\0\x05email\0\0\0\0";
    assert!(records.iter().any(|record| record.key() == Some(&key[..])), "{records:?}");
}
