//! What holds for any records, and for any bytes.

use std::time::Duration;

use bytes::Bytes;
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::base::{
    LeaderEpoch, Offset, PartitionId, Timestamp, TopicId, TopicName, TopicPartition,
};
use crate::coordinator::assignment::Assignment;
use crate::coordinator::ids::{GroupId, InstanceId, MemberId, ShortText};

/// Of lengths at which a compact string's own takes one byte or two.
fn any_string() -> impl Strategy<Value = String> {
    prop_oneof![4 => "\\PC{0,12}", 1 => "[a-z]{120,140}"]
}

fn any_text() -> impl Strategy<Value = ShortText> {
    any_string().prop_map(|text| ShortText::new(&text).unwrap())
}

fn any_group() -> impl Strategy<Value = GroupId> {
    any_string().prop_map(|text| GroupId::new(&text).unwrap())
}

fn any_member_id() -> impl Strategy<Value = MemberId> {
    any_string().prop_map(|text| MemberId::new(&text).unwrap())
}

fn any_instance() -> impl Strategy<Value = Option<InstanceId>> {
    option::of(any_string().prop_map(|text| InstanceId::new(&text).unwrap()))
}

fn any_topic() -> impl Strategy<Value = TopicName> {
    "[a-z]{1,3}".prop_map(|name| TopicName::new(&name).unwrap())
}

fn any_partition() -> impl Strategy<Value = PartitionId> {
    prop_oneof![0..5i32, 0..=i32::MAX].prop_map(|p| PartitionId::new(p).unwrap())
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    (0..=i64::MAX).prop_map(|millis| Timestamp::from_millis(millis).unwrap())
}

fn any_duration() -> impl Strategy<Value = Duration> {
    (0..=i32::MAX.unsigned_abs()).prop_map(|millis| Duration::from_millis(millis.into()))
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn any_assignment() -> impl Strategy<Value = Assignment> {
    let topic = any::<[u8; 16]>().prop_map(TopicId::from_bytes);
    vec((topic, vec(any_partition(), 0..5)), 0..4).prop_map(|topics| {
        let pairs = |(topic, partitions): (_, Vec<_>)| {
            partitions.into_iter().map(move |partition| (topic, partition))
        };
        topics.into_iter().flat_map(pairs).collect()
    })
}

fn any_offset() -> impl Strategy<Value = OffsetValue> {
    let epoch = (0..=i32::MAX).prop_map(|epoch| LeaderEpoch::new(epoch).unwrap());
    let offset = (0..=i64::MAX).prop_map(|offset| Offset::new(offset).unwrap());
    let topic = any::<[u8; 16]>().prop_filter("zeros are none", |id| *id != [0; 16]);
    let topic = option::of(topic.prop_map(TopicId::from_bytes));
    let rest = (any_text(), any_time(), option::of(any_time()));
    (topic, offset, option::of(epoch), rest).prop_map(|(topic, offset, leader_epoch, rest)| {
        let (metadata, committed_at, expires_at) = rest;
        let topic = topic.filter(|_| expires_at.is_none());
        let leader_epoch = leader_epoch.filter(|_| expires_at.is_none());
        OffsetValue { topic, offset, leader_epoch, metadata, committed_at, expires_at }
    })
}

fn any_classic_member() -> impl Strategy<Value = ClassicMember> {
    let names = (any_member_id(), any_instance(), any_text(), any_text());
    let rest = (any_duration(), any_duration(), any_bytes(), any_bytes());
    (names, rest).prop_map(|((id, instance, client_id, client_host), rest)| ClassicMember {
        id,
        instance,
        client_id,
        client_host,
        rebalance_timeout: rest.0,
        session_timeout: rest.1,
        subscription: rest.2,
        assignment: rest.3,
    })
}

fn any_classic_group() -> impl Strategy<Value = ClassicGroupValue> {
    let names = (any_text(), option::of(any_text()), option::of(any_member_id()));
    let rest = (any::<i32>(), option::of(any_time()), vec(any_classic_member(), 0..4));
    (names, rest).prop_map(|((protocol_type, protocol, leader), rest)| ClassicGroupValue {
        protocol_type,
        generation: rest.0,
        protocol,
        leader,
        state_changed_at: rest.1,
        members: rest.2,
    })
}

fn any_member() -> impl Strategy<Value = MemberValue> {
    let names = (any_instance(), option::of(any_text()), any_text(), any_text());
    let topics = (btree_set(any_topic(), 0..5), option::of(any_text()));
    let rest = (any_duration(), option::of(any_text()));
    (names, topics, rest).prop_map(
        |((instance, rack, client_id, client_host), (topics, topic_regex), rest)| MemberValue {
            instance,
            rack,
            client_id,
            client_host,
            topics,
            topic_regex,
            rebalance_timeout: rest.0,
            assignor: rest.1,
        },
    )
}

fn any_current() -> impl Strategy<Value = CurrentValue> {
    let state = prop_oneof![
        Just(MemberState::Stable),
        Just(MemberState::Unrevoked),
        Just(MemberState::Unreleased),
    ];
    (any::<[i32; 2]>(), state, any_assignment(), any_assignment()).prop_map(
        |([epoch, previous_epoch], state, assigned, revoking)| CurrentValue {
            epoch,
            previous_epoch,
            state,
            assigned,
            revoking,
        },
    )
}

fn any_record() -> impl Strategy<Value = CoordinatorRecord> {
    let epoch = any::<(i32, i64)>()
        .prop_map(|(epoch, metadata_hash)| GroupEpochValue { epoch, metadata_hash });
    let members = || (any_group(), any_member_id());
    prop_oneof![
        (any_group(), any_topic(), any_partition(), option::of(any_offset())).prop_map(
            |(group, topic, partition, value)| {
                CoordinatorRecord::Offset { group, topic, partition, value }
            }
        ),
        (any_group(), option::of(any_classic_group()))
            .prop_map(|(group, value)| CoordinatorRecord::ClassicGroup { group, value }),
        (any_group(), option::of(epoch))
            .prop_map(|(group, value)| CoordinatorRecord::GroupEpoch { group, value }),
        (members(), option::of(any_member())).prop_map(|((group, member), value)| {
            CoordinatorRecord::Member { group, member, value }
        }),
        (any_group(), option::of(any::<i32>()))
            .prop_map(|(group, value)| CoordinatorRecord::TargetEpoch { group, value }),
        (members(), option::of(any_assignment())).prop_map(|((group, member), value)| {
            CoordinatorRecord::TargetAssignment { group, member, value }
        }),
        (members(), option::of(any_current())).prop_map(|((group, member), value)| {
            CoordinatorRecord::CurrentAssignment { group, member, value }
        }),
    ]
}

fn any_partitions() -> impl Strategy<Value = std::collections::BTreeSet<TopicPartition>> {
    let partition = (any_topic(), any_partition());
    btree_set(partition.prop_map(|(topic, p)| TopicPartition::new(topic, p)), 0..8)
}

fn any_subscription() -> impl Strategy<Value = Subscription> {
    let rest = (option::of(0..=i32::MAX), option::of(any_text()));
    (btree_set(any_topic(), 0..5), option::of(any_bytes()), any_partitions(), rest).prop_map(
        |(topics, user_data, owned, (generation, rack))| Subscription {
            topics,
            user_data,
            owned,
            generation,
            rack,
        },
    )
}

/// Bytes that often look like a record: a kind or version, then small numbers.
fn hostile_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![3 => 0..4u8, 1 => any::<u8>()];
    (0..10i16, vec(byte, 0..60))
        .prop_map(|(first, rest)| [&first.to_be_bytes()[..], &rest].concat())
}

fn damaged(bytes: &[u8], place: Index, byte: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let place = place.index(bytes.len());
    bytes[place] = byte;
    bytes
}

proptest! {
    #[test]
    fn records_round_trip(record in any_record()) {
        let (key, value) = (record.encode_key(), record.encode_value());
        let decoded = CoordinatorRecord::decode(&key, value.as_deref());
        prop_assert_eq!(decoded, Ok(Decoded::Record(record)));
    }

    /// H1: nothing that is read from a damaged file panics, or is taken for another record.
    #[test]
    fn truncated_and_extended_records_are_refused(record in any_record()) {
        let (key, value) = (record.encode_key(), record.encode_value());
        let value = value.as_deref();
        let refused = |key: &[u8], value| CoordinatorRecord::decode(key, value).is_err();
        for length in 0..key.len() {
            prop_assert!(refused(&key[..length], value));
        }
        prop_assert!(refused(&[&key[..], b"x"].concat(), value));
        let Some(value) = value else { return Ok(()) };
        for length in 0..value.len() {
            prop_assert!(refused(&key, Some(&value[..length])));
        }
        prop_assert!(refused(&key, Some(&[value, b"x"].concat())));
    }

    #[test]
    fn consumers_understand_each_other(
        subscription in any_subscription(),
        partitions in any_partitions(),
        user_data in option::of(any_bytes()),
    ) {
        let bytes = subscription.encode();
        for length in 0..bytes.len() {
            prop_assert_eq!(Subscription::decode(&bytes[..length]), Err(RecordError::Truncated));
        }
        prop_assert_eq!(Subscription::decode(&bytes), Ok(subscription));

        let assignment = ClassicAssignment { partitions, user_data };
        let bytes = assignment.encode();
        for length in 0..bytes.len() {
            prop_assert_eq!(ClassicAssignment::decode(&bytes[..length]), Err(RecordError::Truncated));
        }
        prop_assert_eq!(ClassicAssignment::decode(&bytes), Ok(assignment));
    }

    /// H1, and what is accepted is written so that it is read as the same.
    #[test]
    fn any_bytes_are_a_record_or_an_error(
        key in hostile_bytes(),
        record in any_record(),
        value in option::of(hostile_bytes()),
        (place, byte) in any::<(Index, u8)>(),
    ) {
        let good_key = record.encode_key().to_vec();
        let good_value = record.encode_value().map(|value| value.to_vec());
        for (key, value) in [
            (key, value.clone()),
            (good_key.clone(), value),
            (damaged(&good_key, place, byte), good_value.clone()),
            (good_key, good_value.map(|value| damaged(&value, place, byte))),
        ] {
            let Ok(decoded) = CoordinatorRecord::decode(&key, value.as_deref()) else { continue };
            let Decoded::Record(record) = &decoded else { continue };
            let again = (record.encode_key(), record.encode_value());
            prop_assert_eq!(CoordinatorRecord::decode(&again.0, again.1.as_deref()), Ok(decoded));
        }
    }

    /// H1, for what no coordinator looks at before a member does.
    #[test]
    fn any_bytes_are_of_a_consumer_or_an_error(
        bytes in hostile_bytes(),
        subscription in any_subscription(),
        (place, byte) in any::<(Index, u8)>(),
    ) {
        for bytes in [&bytes, &damaged(&subscription.encode(), place, byte)] {
            if let Ok(subscription) = Subscription::decode(bytes) {
                prop_assert_eq!(Subscription::decode(&subscription.encode()), Ok(subscription));
            }
            if let Ok(assignment) = ClassicAssignment::decode(bytes) {
                prop_assert_eq!(ClassicAssignment::decode(&assignment.encode()), Ok(assignment));
            }
        }
    }
}
