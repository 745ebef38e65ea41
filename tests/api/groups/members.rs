//! Members come and go.

use std::time::Duration;

use brooklet::{
    Cluster, ConsumerBuilder, ErrorKind, GroupProtocol, GroupState, NewTopic, Subscription,
};

use super::{LONG, cluster, counted, events, numbers, send, settle, values, wait};

/// The picture of every book about Kafka.
#[test]
fn a_second_member_gets_a_share_and_the_first_has_all_again_when_it_leaves() {
    let cluster = cluster("library-events", 3);
    let group = cluster.consumer_group("library");
    let mut first = group.join(["library-events"]).unwrap();
    assert_eq!(numbers(&first), [0, 1, 2]);
    let mut second = group.join(["library-events"]).unwrap();
    settle(&mut [&mut first, &mut second]);
    assert_eq!((numbers(&first), numbers(&second)), (vec![0, 1], vec![2]));
    drop(second);
    settle(&mut [&mut first]);
    assert_eq!(numbers(&first), [0, 1, 2]);
}

#[test]
fn there_are_more_members_than_partitions() {
    let cluster = cluster("email", 2);
    let group = cluster.consumer_group("mailer");
    let mut members = (0..4).map(|_| group.join("email").unwrap()).collect::<Vec<_>>();
    settle(&mut members.iter_mut().collect::<Vec<_>>());
    let mut shares = members.iter().map(|m| numbers(m).len()).collect::<Vec<_>>();
    shares.sort();
    assert_eq!(shares, [0, 0, 1, 1]);
}

#[test]
fn a_topic_that_grows_is_shared_anew() {
    let cluster = cluster("email", 1);
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.join("email").unwrap();
    assert_eq!(numbers(&consumer), [0]);
    cluster.topic("email").unwrap().increase_partitions_to(3).unwrap();
    settle(&mut [&mut consumer]);
    assert_eq!(numbers(&consumer), [0, 1, 2]);
}

#[test]
fn a_topic_that_is_made_anew_is_another_to_its_group() {
    let cluster = cluster("email", 1);
    send(&cluster, "email", ["old".to_owned()]);
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.join("email").unwrap();
    assert_eq!(values(&mut consumer, 1), ["old"]);
    consumer.commit().unwrap().wait().unwrap();
    cluster.delete_topic("email").unwrap();
    settle(&mut [&mut consumer]);
    assert!(numbers(&consumer).is_empty());
    assert!(group.committed_offsets().unwrap().is_empty());
    cluster.create_topic(NewTopic::new("email")).unwrap();
    send(&cluster, "email", ["new".to_owned()]);
    assert_eq!(values(&mut consumer, 1), ["new"]);
}

#[test]
fn a_name_that_is_too_long_is_named_and_one_that_is_not_makes_no_trouble() {
    let cluster = cluster("email", 1);
    let (longest, longer) = ("x".repeat(32_767), "x".repeat(32_768));
    for client in ["", &*longest] {
        let consumer = cluster.consumer_group(&*longest).consumer().client_id(client);
        let mut consumer = consumer.join("email").unwrap();
        consumer.commit().unwrap().wait().unwrap();
    }
    let with = |set: fn(ConsumerBuilder, &str) -> ConsumerBuilder| {
        set(cluster.consumer_group("mailer").consumer(), &longer).join("email").unwrap_err()
    };
    // As that of the group itself always has.
    for (setting, error) in [
        ("group.id", with(|builder, name| builder.group(name))),
        ("client.id", with(|builder, name| builder.client_id(name))),
        ("group.instance.id", with(|builder, name| builder.group_instance_id(name))),
        ("client.rack", with(|builder, name| builder.client_rack(name))),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
        assert!(error.to_string().starts_with(setting), "{error}");
    }
}

#[test]
fn a_pattern_takes_in_topics_that_come_later() {
    let cluster = cluster("audit-eu", 1);
    let group = cluster.consumer_group("auditors");
    let mut consumer = group.join(Subscription::pattern("audit-.*")).unwrap();
    cluster.create_topic(NewTopic::new("audit-us")).unwrap();
    cluster.create_topic(NewTopic::new("email")).unwrap();
    settle(&mut [&mut consumer]);
    let topics = consumer.assignment().iter().map(|at| at.topic.to_string()).collect::<Vec<_>>();
    assert_eq!(topics, ["audit-eu", "audit-us"]);
}

#[test]
fn members_read_what_each_of_them_is_subscribed_to() {
    let cluster = cluster("email", 2);
    for topic in ["sms", "post"] {
        cluster.create_topic(NewTopic::new(topic)).unwrap();
    }
    let group = cluster.consumer_group("mailer");
    let mut both = group.join(["email", "sms"]).unwrap();
    let mut one = group.join(vec!["email"]).unwrap();
    let mut post = group.join("post").unwrap();
    settle(&mut [&mut both, &mut one, &mut post]);
    let of = |consumer: &brooklet::Consumer| {
        consumer.assignment().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(of(&post), ["post-0"]);
    assert_eq!(of(&one).len() + of(&both).len(), 3);
    assert!(of(&both).contains(&"sms-0".to_owned()));
    let members = group.members().unwrap();
    let mut subscriptions = members.iter().map(|m| m.subscription.as_str()).collect::<Vec<_>>();
    subscriptions.sort();
    assert_eq!(subscriptions, ["email", "email,sms", "post"]);
}

#[test]
fn a_member_subscribes_to_other_topics_and_then_to_none() {
    let cluster = cluster("email", 1);
    cluster.create_topic(NewTopic::new("sms")).unwrap();
    send(&cluster, "email", counted(0..1));
    send(&cluster, "sms", counted(10..11));
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.join("email").unwrap();
    assert_eq!(values(&mut consumer, 1), ["0"]);
    consumer.subscribe("sms").unwrap();
    let revoked = consumer.poll(Duration::ZERO).unwrap();
    assert_eq!(revoked.rebalances()[0].to_string(), "revoked email-0");
    assert_eq!(values(&mut consumer, 1), ["10"]);
    assert_eq!(consumer.assignment()[0].to_string(), "sms-0");
    let id = consumer.group_metadata().unwrap().member_id;
    consumer.unsubscribe();
    assert!(consumer.assignment().is_empty());
    assert_eq!(group.describe().unwrap().state, GroupState::Empty);
    let error = consumer.poll(Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    consumer.subscribe("email").unwrap();
    assert_ne!(consumer.group_metadata().unwrap().member_id, id, "another life");
}

#[test]
fn a_consumer_is_a_member_or_reads_what_it_is_assigned() {
    let cluster = cluster("email", 1);
    let email = cluster.topic("email").unwrap();
    let group = cluster.consumer_group("mailer");
    let mut member = group.join("email").unwrap();
    let error = member.assign(email.partitions()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    let mut reader = group.consumer().build().unwrap();
    reader.assign(email.partitions()).unwrap();
    let error = reader.subscribe("email").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    // Of neither kind any more, it may become one of either.
    member.unsubscribe();
    member.assign(email.partitions()).unwrap();
    reader.assign([]).unwrap();
    reader.subscribe("email").unwrap();
    assert_eq!(numbers(&reader), [0]);
}

#[test]
fn a_name_that_no_topic_has_is_an_error_and_nobody_joins() {
    let cluster = cluster("email", 1);
    let group = cluster.consumer_group("mailer");
    let error = group.join("emial").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownTopicOrPartition, "{error}");
    assert_eq!(group.describe().unwrap().state, GroupState::Dead);
    let mut consumer = group.join("email").unwrap();
    assert!(consumer.subscribe(["email", "emial"]).is_err());
    assert_eq!(numbers(&consumer), [0], "as it was");
    let error = cluster.consumer().join("email").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidGroupId, "{error}");
    let error = cluster.consumer_group("").join("email").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidGroupId, "{error}");
    let error = group.join(Subscription::pattern("(")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRegularExpression, "{error}");
}

#[test]
fn a_group_is_not_larger_than_its_protocol_lets_it_be() {
    for (protocol, setting) in [
        (GroupProtocol::Consumer, "group.consumer.max.size"),
        (GroupProtocol::Classic, "group.max.size"),
    ] {
        let cluster = Cluster::builder().config(setting, 2).in_memory().unwrap();
        cluster.create_topic(NewTopic::new("email").partitions(3)).unwrap();
        let group = cluster.consumer_group("mailer");
        let join = || group.consumer().group_protocol(protocol).join("email");
        let (first, mut second) = (join().unwrap(), join().unwrap());
        let error = join().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::GroupMaxSizeReached, "{error}");
        assert!(error.to_string().contains(setting), "{error}");
        drop(first);
        let mut third = join().unwrap();
        settle(&mut [&mut second, &mut third]);
    }
}

#[test]
fn a_living_group_keeps_to_its_protocol() {
    let cluster = cluster("email", 1);
    let group = cluster.consumer_group("mailer");
    let join = |protocol| group.consumer().group_protocol(protocol).join("email");
    let member = join(GroupProtocol::Consumer).unwrap();
    let error = join(GroupProtocol::Classic).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InconsistentGroupProtocol, "{error}");
    drop(member);
    let member = join(GroupProtocol::Classic).unwrap();
    assert_eq!(group.describe().unwrap().protocol, Some(GroupProtocol::Classic));
    assert!(join(GroupProtocol::Consumer).is_err());
    drop(member);
}

#[test]
fn whoever_waits_for_partitions_is_told_whether_they_came() {
    let cluster = cluster("email", 1);
    let group = cluster.consumer_group("mailer");
    let mut reader = cluster.consumer().build().unwrap();
    assert_eq!(reader.wait_assigned(LONG).unwrap_err().kind(), ErrorKind::InvalidState);
    let mut first = group.join("email").unwrap();
    assert!(first.wait_assigned(Duration::ZERO).unwrap());
    let mut other = group.consumer().assignor("range").join("email").unwrap();
    // There is nothing for it, which is all that it is to have.
    settle(&mut [&mut first, &mut other]);
    assert_eq!(numbers(&first).len() + numbers(&other).len(), 1);
    // What happened while it waited comes with the next poll.
    assert_eq!(events(&mut first).len() + events(&mut other).len(), 0);
    let mut sms = {
        cluster.create_topic(NewTopic::new("sms").partitions(2)).unwrap();
        cluster.consumer_group("texter").join("sms").unwrap()
    };
    assert!(sms.wait_assigned(LONG).unwrap());
    assert_eq!(events(&mut sms), ["assigned sms-0, sms-1"]);
}

#[test]
fn a_member_is_described_by_kafkas_names() {
    let cluster = cluster("email", 2);
    send(&cluster, "email", counted(0..2));
    let text = "group.id=mailer\nclient.id=left\ngroup.protocol=classic\nauto.offset.reset=earliest\n\
        partition.assignment.strategy=org.apache.kafka.clients.consumer.CooperativeStickyAssignor\n\
        enable.auto.commit=false\nmax.poll.interval.ms=1000000\nsession.timeout.ms=45000\nheartbeat.interval.ms=3000";
    let mut consumer = cluster.consumer().properties(text).join("email").unwrap();
    assert_eq!(values(&mut consumer, 2).len(), 2);
    let described = cluster.consumer_group("mailer").describe().unwrap();
    assert_eq!(described.assignor.as_deref(), Some("cooperative-sticky"));
    assert_eq!(described.protocol, Some(GroupProtocol::Classic));
    assert_eq!(described.members[0].client_id, "left");
    let consumer = cluster
        .consumer()
        .config("group.id", "texter")
        .config(
            "group.remote.assignor",
            "org.apache.kafka.coordinator.group.assignor.RangeAssignor",
        )
        .join("email")
        .unwrap();
    assert_eq!(consumer.group_metadata().unwrap().group_id, "texter");
    let described = cluster.consumer_group("texter").describe().unwrap();
    assert_eq!(described.assignor.as_deref(), Some("range"));
}

/// It went on with what it had been subscribed to before, and said that all was well.
#[test]
fn a_member_that_was_removed_may_subscribe_to_other_topics() {
    let cluster = cluster("email", 1);
    cluster.create_topic(NewTopic::new("sms")).unwrap();
    let group = cluster.consumer_group("mailer");
    let mut consumer = group.join("email").unwrap();
    group.remove_member(&consumer.group_metadata().unwrap().member_id).unwrap();
    consumer.subscribe("sms").unwrap();
    let assigned = consumer.assignment().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(assigned, ["sms-0"]);
    assert_eq!(group.members().unwrap()[0].subscription, "sms");
}

#[test]
fn a_member_that_was_removed_from_a_full_group_is_back_when_there_is_room() {
    let cluster = Cluster::builder().config("group.consumer.max.size", 1).in_memory().unwrap();
    cluster.create_topic(NewTopic::new("email")).unwrap();
    let group = cluster.consumer_group("mailer");
    let mut first = group.join("email").unwrap();
    group.remove_member(&first.group_metadata().unwrap().member_id).unwrap();
    let second = group.join("email").unwrap();
    let error = first.poll(Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::GroupMaxSizeReached, "{error}");
    drop(second);
    wait("it is back", || first.poll(Duration::ZERO).is_ok() && numbers(&first) == [0]);
    assert_eq!(events(&mut first), Vec::<String>::new());
    first.commit().unwrap().wait().unwrap();
}
