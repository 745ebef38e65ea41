//! A record: a key that says what it is about, and a value that says what is from now on.

use bytes::Bytes;

use crate::base::PartitionId;
use crate::base::TopicName;
use crate::coordinator::assignment::Assignment;
use crate::coordinator::ids::GroupId;
use crate::coordinator::ids::MemberId;
use crate::coordinator::records::consumer_group::{
    decode_target, decode_target_epoch, encode_target, encode_target_epoch,
};
use crate::coordinator::records::wire::{Reader, Writer};
use crate::coordinator::records::{
    ClassicGroupValue, CurrentValue, GroupEpochValue, MemberValue, OffsetValue, RecordError,
};

const OLD_OFFSET: i16 = 0;
const OFFSET: i16 = 1;
const CLASSIC_GROUP: i16 = 2;
const GROUP_EPOCH: i16 = 3;
const MEMBER: i16 = 5;
const TARGET_EPOCH: i16 = 6;
const TARGET_ASSIGNMENT: i16 = 7;
const CURRENT_ASSIGNMENT: i16 = 8;

/// One change of a group. Without a value (a tombstone), what it is about is no more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum CoordinatorRecord {
    /// How far the group has come in a partition.
    Offset { group: GroupId, topic: TopicName, partition: PartitionId, value: Option<OffsetValue> },
    /// A group of the classic protocol, with all its members.
    ClassicGroup { group: GroupId, value: Option<ClassicGroupValue> },
    /// A group of the consumer protocol, like all that follow.
    GroupEpoch { group: GroupId, value: Option<GroupEpochValue> },
    /// A member, and what it wants.
    Member { group: GroupId, member: MemberId, value: Option<MemberValue> },
    /// The group epoch for which there is a target.
    TargetEpoch { group: GroupId, value: Option<i32> },
    /// What a member is to have.
    TargetAssignment { group: GroupId, member: MemberId, value: Option<Assignment> },
    /// What a member has by now.
    CurrentAssignment { group: GroupId, member: MemberId, value: Option<CurrentValue> },
}

/// What key and value of a record are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Decoded {
    Record(CoordinatorRecord),
    /// Of a kind that this crate has no use for, or that was not known yet. To be passed over.
    Unknown {
        kind: i16,
    },
}

impl CoordinatorRecord {
    /// The group that it is about: all its records are in one partition.
    pub(crate) fn group(&self) -> &GroupId {
        match self {
            Self::Offset { group, .. }
            | Self::ClassicGroup { group, .. }
            | Self::GroupEpoch { group, .. }
            | Self::Member { group, .. }
            | Self::TargetEpoch { group, .. }
            | Self::TargetAssignment { group, .. }
            | Self::CurrentAssignment { group, .. } => group,
        }
    }

    pub(crate) fn encode_key(&self) -> Bytes {
        let mut out = Writer::plain(match self {
            Self::Offset { .. } => OFFSET,
            Self::ClassicGroup { .. } => CLASSIC_GROUP,
            Self::GroupEpoch { .. } => GROUP_EPOCH,
            Self::Member { .. } => MEMBER,
            Self::TargetEpoch { .. } => TARGET_EPOCH,
            Self::TargetAssignment { .. } => TARGET_ASSIGNMENT,
            Self::CurrentAssignment { .. } => CURRENT_ASSIGNMENT,
        });
        out.text(self.group());
        match self {
            Self::Offset { topic, partition, .. } => {
                out.text(topic);
                out.i32(partition.value());
            }
            Self::Member { member, .. }
            | Self::TargetAssignment { member, .. }
            | Self::CurrentAssignment { member, .. } => out.text(member),
            Self::ClassicGroup { .. } | Self::GroupEpoch { .. } | Self::TargetEpoch { .. } => {}
        }
        out.finish()
    }

    /// `None` for a tombstone.
    pub(crate) fn encode_value(&self) -> Option<Bytes> {
        match self {
            Self::Offset { value, .. } => value.as_ref().map(OffsetValue::encode),
            Self::ClassicGroup { value, .. } => value.as_ref().map(ClassicGroupValue::encode),
            Self::GroupEpoch { value, .. } => value.map(GroupEpochValue::encode),
            Self::Member { value, .. } => value.as_ref().map(MemberValue::encode),
            Self::TargetEpoch { value, .. } => value.map(encode_target_epoch),
            Self::TargetAssignment { value, .. } => value.as_ref().map(encode_target),
            Self::CurrentAssignment { value, .. } => value.as_ref().map(CurrentValue::encode),
        }
    }

    /// Reads a record; `value` is `None` for a tombstone.
    ///
    /// # Errors
    /// Those of [`RecordError`], if it is of a known kind and not as that kind is written.
    pub(crate) fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Decoded, RecordError> {
        let mut from = Reader::plain(key);
        let kind = from.i16()?;
        if !matches!(kind, OLD_OFFSET..=GROUP_EPOCH | MEMBER..=CURRENT_ASSIGNMENT) {
            return Ok(Decoded::Unknown { kind });
        }
        let group = from.text("group id", GroupId::new)?;
        let mut member = || from.text("member id", MemberId::new);
        let record = match kind {
            MEMBER => {
                let value = value.map(MemberValue::decode).transpose()?;
                Self::Member { group, member: member()?, value }
            }
            TARGET_ASSIGNMENT => {
                let value = value.map(decode_target).transpose()?;
                Self::TargetAssignment { group, member: member()?, value }
            }
            CURRENT_ASSIGNMENT => {
                let value = value.map(CurrentValue::decode).transpose()?;
                Self::CurrentAssignment { group, member: member()?, value }
            }
            CLASSIC_GROUP => {
                let value = value.map(ClassicGroupValue::decode).transpose()?;
                Self::ClassicGroup { group, value }
            }
            GROUP_EPOCH => {
                let value = value.map(GroupEpochValue::decode).transpose()?;
                Self::GroupEpoch { group, value }
            }
            TARGET_EPOCH => {
                let value = value.map(decode_target_epoch).transpose()?;
                Self::TargetEpoch { group, value }
            }
            _ => {
                let (topic, partition) = (from.topic()?, from.partition()?);
                let value = value.map(OffsetValue::decode).transpose()?;
                Self::Offset { group, topic, partition, value }
            }
        };
        from.end()?;
        Ok(Decoded::Record(record))
    }
}
