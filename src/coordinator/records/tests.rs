//! Bytes as Kafka writes them.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::base::{
    LeaderEpoch, Offset, PartitionId, Timestamp, TopicId, TopicName, TopicPartition,
};
use crate::coordinator::assignment::Assignment;
use crate::coordinator::ids::{GroupId, InstanceId, MemberId, ShortText};

/// Bytes from hexadecimal digits; what stands behind `|` on a line is a comment.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text
        .lines()
        .filter_map(|line| line.split('|').next())
        .flat_map(str::chars)
        .filter_map(|c| c.to_digit(16))
        .collect();
    digits.chunks_exact(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

fn text(text: &str) -> ShortText {
    ShortText::new(text).unwrap()
}

fn group() -> GroupId {
    GroupId::new("my-group").unwrap()
}

fn member() -> MemberId {
    MemberId::new("c-1").unwrap()
}

fn time() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000).unwrap()
}

fn topic(byte: u8) -> TopicId {
    TopicId::from_bytes([byte; 16])
}

fn assignment(pairs: &[(u8, i32)]) -> Assignment {
    pairs.iter().map(|&(id, p)| (topic(id), PartitionId::new(p).unwrap())).collect()
}

fn partitions(pairs: &[(&str, i32)]) -> std::collections::BTreeSet<TopicPartition> {
    let partition = |&(topic, p): &(&str, i32)| {
        TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(p).unwrap())
    };
    pairs.iter().map(partition).collect()
}

fn offset(value: Option<OffsetValue>) -> CoordinatorRecord {
    let (topic, partition) = (TopicName::new("orders").unwrap(), PartitionId::new(3).unwrap());
    CoordinatorRecord::Offset { group: group(), topic, partition, value }
}

fn offset_value() -> OffsetValue {
    OffsetValue {
        topic: None,
        offset: Offset::from(42),
        leader_epoch: LeaderEpoch::new(5),
        metadata: text("m"),
        committed_at: time(),
        expires_at: None,
    }
}

fn classic_group() -> ClassicGroupValue {
    ClassicGroupValue {
        protocol_type: text("consumer"),
        generation: 7,
        protocol: Some(text("range")),
        leader: Some(member()),
        state_changed_at: Some(time()),
        members: vec![ClassicMember {
            id: member(),
            instance: None,
            client_id: text("c"),
            client_host: text("/127.0.0.1"),
            rebalance_timeout: Duration::from_secs(300),
            session_timeout: Duration::from_secs(45),
            subscription: Bytes::from_static(&[1, 2]),
            assignment: Bytes::from_static(&[3]),
        }],
    }
}

fn decoded(key: &[u8], value: Option<&[u8]>) -> CoordinatorRecord {
    match CoordinatorRecord::decode(key, value).unwrap() {
        Decoded::Record(record) => record,
        Decoded::Unknown { kind } => panic!("kind {kind} is unknown"),
    }
}

/// That a record has these bytes, in both directions.
#[track_caller]
fn check(record: &CoordinatorRecord, key: &str, value: &str) {
    let (key, value) = (hex(key), hex(value));
    assert_eq!(record.encode_key(), key);
    assert_eq!(record.encode_value().unwrap(), value);
    assert_eq!(&decoded(&key, Some(&value)), record);
}

const OFFSET_KEY: &str = "
    0001                        | kind
    0008 6d792d67726f7570       | my-group
    0006 6f7264657273           | orders
    00000003                    | partition";

const GROUP_KEY: &str = "0002 0008 6d792d67726f7570";

#[test]
fn a_committed_offset_has_kafkas_bytes() {
    let value = "
        0003                    | version
        000000000000002a        | offset
        00000005                | leader epoch
        0001 6d                 | metadata
        0000018bcfe56800        | time of the commit";
    check(&offset(Some(offset_value())), OFFSET_KEY, value);

    let value = "0003 000000000000002a ffffffff 0000 0000018bcfe56800";
    let nothing_more =
        OffsetValue { leader_epoch: None, metadata: ShortText::default(), ..offset_value() };
    check(&offset(Some(nothing_more)), OFFSET_KEY, value);
}

#[test]
fn a_committed_offset_of_a_topic_that_is_known_has_its_id() {
    let value = "
        0004                    | version
        000000000000002a        | offset
        00000005                | leader epoch
        02 6d                   | metadata
        0000018bcfe56800        | time of the commit
        01                      | one tagged field
        00 10                   | of tag 0, and 16 bytes
        07070707070707070707070707070707";
    let topic = Some(TopicId::from_bytes([7; 16]));
    check(&offset(Some(OffsetValue { topic, ..offset_value() })), OFFSET_KEY, value);
}

#[test]
fn an_offset_that_expires_has_version_1() {
    let expires_at = Timestamp::from_millis(time().as_millis() + 1);
    let value = OffsetValue { leader_epoch: None, expires_at, ..offset_value() };
    let bytes = "0001 000000000000002a 0001 6d 0000018bcfe56800 0000018bcfe56801";
    check(&offset(Some(value)), OFFSET_KEY, bytes);
}

#[test]
fn all_versions_of_offsets_are_read() {
    let without_epoch = OffsetValue { leader_epoch: None, ..offset_value() };
    let of_topic = OffsetValue { topic: Some(TopicId::from_bytes([7; 16])), ..offset_value() };
    for (bytes, value) in [
        ("0000 000000000000002a 0001 6d 0000018bcfe56800", &without_epoch),
        ("0001 000000000000002a 0001 6d 0000018bcfe56800 ffffffffffffffff", &without_epoch),
        ("0002 000000000000002a 0001 6d 0000018bcfe56800", &without_epoch),
        ("0004 000000000000002a 00000005 02 6d 0000018bcfe56800 00", &offset_value()),
        // The topic's id, and a tag that nobody knows.
        (
            "0004 000000000000002a 00000005 02 6d 0000018bcfe56800
             02 00 10 07070707070707070707070707070707 05 01 ff",
            &of_topic,
        ),
        // Zeros are no id.
        (
            "0004 000000000000002a 00000005 02 6d 0000018bcfe56800
             01 00 10 00000000000000000000000000000000",
            &offset_value(),
        ),
    ] {
        let record = decoded(&hex(OFFSET_KEY), Some(&hex(bytes)));
        assert_eq!(record, offset(Some(value.clone())), "{bytes}");
    }
    let old_key = hex("0000 0008 6d792d67726f7570 0006 6f7264657273 00000003");
    assert_eq!(decoded(&old_key, None), offset(None));
}

/// Kafka takes any time of a commit; what is negative elsewhere was not written by it.
#[test]
fn only_the_time_of_a_commit_may_be_negative() {
    let key = hex(OFFSET_KEY);
    let before_1970 = decoded(&key, Some(&hex("0000 000000000000002a 0000 fffffffffffffff0")));
    let CoordinatorRecord::Offset { value: Some(value), .. } = before_1970 else { panic!() };
    assert_eq!(value.committed_at, Timestamp::EPOCH);

    for (bytes, field) in [
        ("0003 ffffffffffffffff ffffffff 0000 0000000000000000", "committed offset"),
        ("0003 0000000000000000 fffffffe 0000 0000000000000000", "leader epoch"),
        ("0001 0000000000000000 0000 0000000000000000 fffffffffffffffe", "time of expiry"),
        ("0004 0000000000000000 ffffffff 01 0000000000000000 01 00 02 0707", "topic id"),
        ("0003 0000000000000000 ffffffff ffff 0000000000000000", "metadata"),
        ("0003 0000000000000000 ffffffff fffe 0000000000000000", "metadata"),
        ("0003 0000000000000000 ffffffff 0001 ff 0000000000000000", "metadata"),
    ] {
        let error = CoordinatorRecord::decode(&key, Some(&hex(bytes)));
        assert_eq!(error, Err(RecordError::InvalidField { field }), "{bytes}");
    }
}

#[test]
fn a_classic_group_has_kafkas_bytes() {
    let record = CoordinatorRecord::ClassicGroup { group: group(), value: Some(classic_group()) };
    let value = "
        0003                    | version
        0008 636f6e73756d6572   | consumer
        00000007                | generation
        0005 72616e6765         | range
        0003 632d31             | leader
        0000018bcfe56800        | time of the last change of state
        00000001                | one member:
        0003 632d31             |   id
        ffff                    |   no instance id
        0001 63                 |   client id
        000a 2f3132372e302e302e31 | client host
        000493e0 0000afc8       |   rebalance and session timeout
        00000002 0102           |   subscription
        00000001 03             |   assignment";
    check(&record, GROUP_KEY, value);
}

#[test]
fn an_empty_classic_group_has_kafkas_bytes() {
    let value = ClassicGroupValue {
        protocol_type: ShortText::default(),
        generation: 0,
        protocol: None,
        leader: None,
        state_changed_at: None,
        members: Vec::new(),
    };
    let record = CoordinatorRecord::ClassicGroup { group: group(), value: Some(value) };
    check(&record, GROUP_KEY, "0003 0000 00000000 ffff ffff ffffffffffffffff 00000000");
}

#[test]
fn all_versions_of_classic_groups_are_read() {
    let instance = InstanceId::new("i");
    // The group, its state's time, and of its member the id, instance id, client and timeouts.
    for (version, time_of_state, instance_id, rebalance_timeout) in [
        ("0000", "", "", ""),
        ("0001", "", "", "000493e0"),
        ("0002", "0000018bcfe56800", "", "000493e0"),
        ("0003", "0000018bcfe56800", "0001 69", "000493e0"),
    ] {
        let bytes = format!(
            "{version} 0008 636f6e73756d6572 00000007 0005 72616e6765 0003 632d31 {time_of_state} 00000001
             0003 632d31 {instance_id} 0001 63 000a 2f3132372e302e302e31 {rebalance_timeout} 0000afc8
             00000002 0102 00000001 03"
        );
        let mut value = classic_group();
        let member = &mut value.members[0];
        if rebalance_timeout.is_empty() {
            member.rebalance_timeout = member.session_timeout;
        }
        member.instance = instance.clone().filter(|_| !instance_id.is_empty());
        value.state_changed_at = value.state_changed_at.filter(|_| !time_of_state.is_empty());
        let expected = CoordinatorRecord::ClassicGroup { group: group(), value: Some(value) };
        assert_eq!(decoded(&hex(GROUP_KEY), Some(&hex(&bytes))), expected, "{version}");
    }
    let flexible = "
        0004 09 636f6e73756d6572 00000007 06 72616e6765 04 632d31 0000018bcfe56800 02
        04 632d31 00 02 63 0b 2f3132372e302e302e31 000493e0 0000afc8 03 0102 02 03 00
        00";
    let expected = CoordinatorRecord::ClassicGroup { group: group(), value: Some(classic_group()) };
    assert_eq!(decoded(&hex(GROUP_KEY), Some(&hex(flexible))), expected);
}

#[test]
fn a_group_epoch_has_kafkas_bytes() {
    let key = "0003 0008 6d792d67726f7570";
    let record = |epoch, metadata_hash| CoordinatorRecord::GroupEpoch {
        group: group(),
        value: Some(GroupEpochValue { epoch, metadata_hash }),
    };
    let without_hash = "
        0000                    | version
        00000009                | epoch
        00                      | no tagged fields";
    check(&record(9, 0), key, without_hash);
    let with_hash = "
        0000 00000009
        01                      | one tagged field:
        00 08 0102030405060708  |   tag 0, 8 bytes, the hash";
    check(&record(9, 0x0102_0304_0506_0708), key, with_hash);

    // The time of creation, which later releases write, is passed over.
    let with_time = hex("0000 00000009 02 00 08 0000000000000001 01 08 0000018bcfe56800");
    assert_eq!(decoded(&hex(key), Some(&with_time)), record(9, 1));
    let short_hash = CoordinatorRecord::decode(&hex(key), Some(&hex("0000 00000009 01 00 01 00")));
    assert!(matches!(short_hash, Err(RecordError::InvalidField { .. })));
}

#[test]
fn a_member_has_kafkas_bytes() {
    let key = "0005 0008 6d792d67726f7570 0003 632d31";
    let mut value = MemberValue {
        instance: InstanceId::new("i"),
        rack: Some(text("b")),
        client_id: text("c"),
        client_host: text("/h"),
        topics: [TopicName::new("x").unwrap(), TopicName::new("ab").unwrap()].into(),
        topic_regex: Some(text("z.*")),
        rebalance_timeout: Duration::from_secs(300),
        assignor: Some(text("uniform")),
    };
    let record = |value| CoordinatorRecord::Member { group: group(), member: member(), value };
    let all_fields = "
        0000                    | version
        02 69                   | instance id, one byte
        02 62                   | rack
        02 63                   | client id
        03 2f68                 | client host
        03 03 6162 02 78        | two topics, sorted
        04 7a2e2a               | regular expression
        000493e0                | rebalance timeout
        08 756e69666f726d       | assignor
        00                      | no tagged fields";
    check(&record(Some(value.clone())), key, all_fields);

    value = MemberValue { instance: None, rack: None, topic_regex: None, assignor: None, ..value };
    value.topics.clear();
    let few_fields = "0000 00 00 02 63 03 2f68 01 00 000493e0 00 00";
    check(&record(Some(value.clone())), key, few_fields);

    // What a member of the classic protocol supports: a session timeout, and one protocol, `r`, with two bytes.
    let classic = hex(
        "0000 00 00 02 63 03 2f68 01 00 000493e0 00 01 00 0d 01 0000afc8 02 02 72 03 0102 00 00",
    );
    assert_eq!(decoded(&hex(key), Some(&classic)), record(Some(value)));
}

#[test]
fn a_target_epoch_has_kafkas_bytes() {
    let key = "0006 0008 6d792d67726f7570";
    let record = CoordinatorRecord::TargetEpoch { group: group(), value: Some(9) };
    check(&record, key, "0000 00000009 00");
    let with_time = hex("0000 00000009 01 00 08 0000018bcfe56800");
    assert_eq!(decoded(&hex(key), Some(&with_time)), record);
}

#[test]
fn a_target_assignment_has_kafkas_bytes() {
    let key = "0007 0008 6d792d67726f7570 0003 632d31";
    let record =
        |value| CoordinatorRecord::TargetAssignment { group: group(), member: member(), value };
    let value = "
        0000                    | version
        03                      | two topics:
        07070707070707070707070707070707
        03 00000000 00000002    |   two partitions
        00                      |   no tagged fields
        08080808080808080808080808080808
        02 00000001 00
        00                      | no tagged fields";
    check(&record(Some(assignment(&[(7, 2), (8, 1), (7, 0)]))), key, value);
    check(&record(Some(Assignment::default())), key, "0000 01 00");

    // Topics and partitions in any order, some of them twice.
    let untidy = hex("0000 04
        08080808080808080808080808080808 02 00000001 00
        07070707070707070707070707070707 03 00000002 00000000 00
        08080808080808080808080808080808 03 00000001 00000001 00 00");
    let tidy = record(Some(assignment(&[(7, 0), (7, 2), (8, 1)])));
    assert_eq!(decoded(&hex(key), Some(&untidy)), tidy);
}

#[test]
fn a_current_assignment_has_kafkas_bytes() {
    let key = "0008 0008 6d792d67726f7570 0003 632d31";
    let record = |state| CoordinatorRecord::CurrentAssignment {
        group: group(),
        member: member(),
        value: Some(CurrentValue {
            epoch: 9,
            previous_epoch: 8,
            state,
            assigned: assignment(&[(7, 0)]),
            revoking: assignment(&[(8, 1)]),
        }),
    };
    for (number, state) in [
        ("00", MemberState::Stable),
        ("01", MemberState::Unrevoked),
        ("02", MemberState::Unreleased),
    ] {
        let value = format!(
            "0000               | version
            00000009 00000008   | epoch, the one before
            {number}            | state
            02                  | one topic that it has
            07070707070707070707070707070707 02 00000000 00
            02                  | one topic that it has to give back
            08080808080808080808080808080808 02 00000001 00
            00                  | no tagged fields"
        );
        check(&record(state), key, &value);
    }
    // The epochs at which partitions were assigned, which later releases write, are passed over.
    let with_epochs = hex("0000 00000009 00000008 00
        02 07070707070707070707070707070707 02 00000000 01 00 05 02 00000009
        02 08080808080808080808080808080808 02 00000001 01 00 05 02 00000008 00");
    assert_eq!(decoded(&hex(key), Some(&with_epochs)), record(MemberState::Stable));
    let unknown_state =
        CoordinatorRecord::decode(&hex(key), Some(&hex("0000 00000009 00000008 03 01 01 00")));
    assert_eq!(unknown_state, Err(RecordError::InvalidField { field: "state of a member" }));
}

#[test]
fn a_tombstone_has_no_value() {
    let (group, member) = (group(), member());
    for record in [
        offset(None),
        CoordinatorRecord::ClassicGroup { group: group.clone(), value: None },
        CoordinatorRecord::GroupEpoch { group: group.clone(), value: None },
        CoordinatorRecord::Member { group: group.clone(), member: member.clone(), value: None },
        CoordinatorRecord::TargetEpoch { group: group.clone(), value: None },
        CoordinatorRecord::TargetAssignment {
            group: group.clone(),
            member: member.clone(),
            value: None,
        },
        CoordinatorRecord::CurrentAssignment { group, member, value: None },
    ] {
        assert_eq!(record.encode_value(), None);
        assert_eq!(decoded(&record.encode_key(), None), record);
    }
}

/// Metadata of partitions, regular expressions, share and streams groups, and what there may be some day.
#[test]
fn other_kinds_are_unknown_whatever_they_hold() {
    for kind in [i16::MIN, -1, 4, 9, 16, 25, i16::MAX] {
        let key = [&kind.to_be_bytes()[..], b"x"].concat();
        for value in [None, Some(&b"y"[..])] {
            assert_eq!(CoordinatorRecord::decode(&key, value), Ok(Decoded::Unknown { kind }));
        }
    }
}

#[test]
fn a_subscription_has_kafkas_bytes() {
    let all = Subscription {
        topics: [TopicName::new("x").unwrap(), TopicName::new("ab").unwrap()].into(),
        user_data: Some(Bytes::from_static(&[1, 2])),
        owned: partitions(&[("x", 0), ("ab", 5), ("x", 1)]),
        generation: Some(7),
        rack: Some(text("b")),
    };
    let bytes = hex("
        0003                    | version
        00000002 0002 6162 0001 78 | topics, sorted
        00000002 0102           | user data
        00000002                | owned partitions of two topics:
        0002 6162 00000001 00000005
        0001 78 00000002 00000000 00000001
        00000007                | generation
        0001 62                 | rack");
    assert_eq!(all.encode(), bytes);
    assert_eq!(Subscription::decode(&bytes), Ok(all.clone()));

    let nothing = hex("0003 00000000 ffffffff 00000000 ffffffff ffff");
    assert_eq!(Subscription::default().encode(), nothing);
    assert_eq!(Subscription::decode(&nothing), Ok(Subscription::default()));

    // A later version, with fields that are not known.
    let later = [&hex("0009")[..], &bytes[2..], b"more"].concat();
    assert_eq!(Subscription::decode(&later), Ok(all));
}

#[test]
fn older_subscriptions_are_read() {
    let mut expected =
        Subscription { topics: [TopicName::new("x").unwrap()].into(), ..Subscription::default() };
    let bytes = "00000001 0001 78 ffffffff";
    assert_eq!(Subscription::decode(&hex(&format!("0000 {bytes}"))), Ok(expected.clone()));
    expected.owned = partitions(&[("x", 1)]);
    let bytes = format!("{bytes} 00000001 0001 78 00000001 00000001");
    assert_eq!(Subscription::decode(&hex(&format!("0001 {bytes}"))), Ok(expected.clone()));
    expected.generation = Some(7);
    let bytes = format!("{bytes} 00000007");
    assert_eq!(Subscription::decode(&hex(&format!("0002 {bytes}"))), Ok(expected));
}

#[test]
fn a_classic_assignment_has_kafkas_bytes() {
    let all = ClassicAssignment {
        partitions: partitions(&[("x", 0), ("ab", 5), ("x", 1)]),
        user_data: Some(Bytes::from_static(&[1])),
    };
    let bytes = hex("
        0003                    | version
        00000002                | partitions of two topics:
        0002 6162 00000001 00000005
        0001 78 00000002 00000000 00000001
        00000001 01             | user data");
    assert_eq!(all.encode(), bytes);
    for version in ["0000", "0001", "0002", "0003", "0004"] {
        let bytes = [&hex(version)[..], &bytes[2..]].concat();
        assert_eq!(ClassicAssignment::decode(&bytes), Ok(all.clone()), "{version}");
    }
    let nothing = hex("0003 00000000 ffffffff");
    assert_eq!(ClassicAssignment::default().encode(), nothing);
    // What a member gets that the leader does not know.
    assert_eq!(ClassicAssignment::decode(&[]), Err(RecordError::Truncated));
}

#[test]
fn unknown_versions_are_refused() {
    let version = |what, version| Err(RecordError::UnknownVersion { what, version });
    for (kind, what, newest) in [
        (hex(OFFSET_KEY), "committed offset", 4),
        (hex(GROUP_KEY), "classic group", 4),
        (hex("0003 0000"), "group epoch", 0),
        (hex("0005 0000 0000"), "member", 0),
        (hex("0006 0000"), "target epoch", 0),
        (hex("0007 0000 0000"), "target assignment", 0),
        (hex("0008 0000 0000"), "current assignment", 0),
    ] {
        for unknown in [-1, newest + 1] {
            let value = i16::to_be_bytes(unknown);
            assert_eq!(CoordinatorRecord::decode(&kind, Some(&value)), version(what, unknown));
        }
    }
    assert_eq!(Subscription::decode(&hex("ffff")).map(drop), version("subscription", -1).map(drop));
    assert_eq!(
        ClassicAssignment::decode(&hex("ffff")).map(drop),
        version("assignment", -1).map(drop)
    );
}

/// H2: what is declared is not believed.
#[test]
fn a_huge_count_or_length_is_an_error() {
    for (key, value) in [
        // A topic, and partitions of it, in a flexible list of i32::MAX.
        ("0007 0000 0000", "0000 8080808008"),
        ("0007 0000 0000", "0000 02 07070707070707070707070707070707 8080808008 00000000"),
        // A string, and tagged fields.
        ("0005 0000 0000", "0000 ffffffff0f 61"),
        ("0006 0000", "0000 00000009 ffffffff0f 00 00"),
        ("0006 0000", "0000 00000009 01 00 ffffffff0f 00"),
        // Members, and the subscription of one.
        (GROUP_KEY, "0003 0000 00000000 ffff ffff ffffffffffffffff 7fffffff"),
        (
            GROUP_KEY,
            "0003 0000 00000000 ffff ffff ffffffffffffffff 00000001
             0000 ffff 0000 0000 00000000 00000000 7fffffff 00",
        ),
    ] {
        let error = CoordinatorRecord::decode(&hex(key), Some(&hex(value)));
        assert_eq!(error, Err(RecordError::Truncated), "{value}");
    }
    for bytes in [
        "0003 7fffffff 0001 78",
        "0003 00000000 7fffffff 00",
        "0003 00000000 ffffffff 00000001 0001 78 7fffffff 00000000",
    ] {
        assert_eq!(Subscription::decode(&hex(bytes)), Err(RecordError::Truncated), "{bytes}");
    }
}
