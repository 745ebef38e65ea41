//! A group of the consumer protocol (KIP-848): a record for each of the things that change by themselves.
//!
//! # On disk
//! All of version 0 and flexible. An assignment is a list of: topic id, list of partitions `i32`.
//!
//! | kind | fields | tagged fields that are read or written |
//! |---:|---|---|
//! | 3 | epoch `i32` | 0: hash of the topics `i64`, unless it is 0 |
//! | 5 | instance id or none, rack or none, client id, client host, list of topics, regular expression or none, rebalance timeout `i32`, assignor or none | |
//! | 6 | epoch `i32` | |
//! | 7 | assignment | |
//! | 8 | epoch `i32`, previous epoch `i32`, state `i8`, assignment, assignment | |

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use crate::base::TopicName;
use crate::coordinator::assignment::Assignment;
use crate::coordinator::ids::InstanceId;
use crate::coordinator::ids::ShortText;
use crate::coordinator::records::RecordError;
use crate::coordinator::records::wire::{Reader, Writer};

/// Tag of the hash in a [`GroupEpochValue`].
const METADATA_HASH: u32 = 0;

/// The group as a whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct GroupEpochValue {
    /// Rises when members, subscriptions or the topics change.
    pub(crate) epoch: i32,
    /// Of the topics that members subscribe to, as they were when the epoch began. 0 if it is not known.
    pub(crate) metadata_hash: i64,
}

impl GroupEpochValue {
    pub(super) fn encode(self) -> Bytes {
        let mut out = Writer::flexible(0);
        out.i32(self.epoch);
        if self.metadata_hash == 0 {
            out.tagged(&[]);
        } else {
            out.tagged(&[(METADATA_HASH, &self.metadata_hash.to_be_bytes())]);
        }
        out.finish()
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, RecordError> {
        let mut from = open(value, "group epoch")?;
        let (epoch, mut metadata_hash) = (from.i32()?, 0);
        from.tagged(|tag, bytes| {
            if tag == METADATA_HASH {
                let bytes = bytes.try_into();
                metadata_hash = bytes.map(i64::from_be_bytes).map_err(|_| {
                    RecordError::InvalidField { field: "hash of the topics' metadata" }
                })?;
            }
            Ok(())
        })?;
        from.end()?;
        Ok(Self { epoch, metadata_hash })
    }
}

/// A member, and what it wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct MemberValue {
    pub(crate) instance: Option<InstanceId>,
    pub(crate) rack: Option<ShortText>,
    pub(crate) client_id: ShortText,
    pub(crate) client_host: ShortText,
    pub(crate) topics: BTreeSet<TopicName>,
    /// Topics whose names match it, as well.
    pub(crate) topic_regex: Option<ShortText>,
    /// Whole milliseconds.
    pub(crate) rebalance_timeout: Duration,
    /// The assignor that it asks for.
    pub(crate) assignor: Option<ShortText>,
}

impl MemberValue {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = Writer::flexible(0);
        out.nullable_text(self.instance.as_ref());
        out.nullable_text(self.rack.as_ref());
        out.text(&self.client_id);
        out.text(&self.client_host);
        out.count(self.topics.len());
        self.topics.iter().for_each(|topic| out.text(topic));
        out.nullable_text(self.topic_regex.as_ref());
        out.duration(self.rebalance_timeout);
        out.nullable_text(self.assignor.as_ref());
        out.tagged(&[]);
        out.finish()
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, RecordError> {
        let mut from = open(value, "member")?;
        let member = Self {
            instance: from.nullable_text("group instance id", InstanceId::new)?,
            rack: from.nullable_text("rack", ShortText::new)?,
            client_id: from.text("client id", ShortText::new)?,
            client_host: from.text("client host", ShortText::new)?,
            topics: from.list("topics", Reader::topic)?,
            topic_regex: from.nullable_text("regular expression", ShortText::new)?,
            rebalance_timeout: from.duration("rebalance timeout")?,
            assignor: from.nullable_text("assignor", ShortText::new)?,
        };
        // Tag 0 says what a member of the classic protocol supports: no member of a group here speaks it.
        from.skip_tagged()?;
        from.end()?;
        Ok(member)
    }
}

pub(super) fn encode_target_epoch(epoch: i32) -> Bytes {
    let mut out = Writer::flexible(0);
    out.i32(epoch);
    out.tagged(&[]);
    out.finish()
}

pub(super) fn decode_target_epoch(value: &[u8]) -> Result<i32, RecordError> {
    let mut from = open(value, "target epoch")?;
    let epoch = from.i32()?;
    from.skip_tagged()?;
    from.end()?;
    Ok(epoch)
}

pub(super) fn encode_target(assignment: &Assignment) -> Bytes {
    let mut out = Writer::flexible(0);
    put_assignment(&mut out, assignment);
    out.tagged(&[]);
    out.finish()
}

pub(super) fn decode_target(value: &[u8]) -> Result<Assignment, RecordError> {
    let mut from = open(value, "target assignment")?;
    let assignment = get_assignment(&mut from)?;
    from.skip_tagged()?;
    from.end()?;
    Ok(assignment)
}

/// What a member has by now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct CurrentValue {
    /// The target epoch that it has come to. -2 while a static member is away.
    pub(crate) epoch: i32,
    /// The one before, by which a member asks that did not hear of the last change. -1 if there was none.
    pub(crate) previous_epoch: i32,
    pub(crate) state: MemberState,
    pub(crate) assigned: Assignment,
    /// What it has still to give back.
    pub(crate) revoking: Assignment,
}

/// How far a member has come on its way to the target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum MemberState {
    /// It has all that it is to have.
    Stable,
    /// It has to give partitions back first.
    Unrevoked,
    /// It waits for partitions that others have not given back.
    Unreleased,
}

impl CurrentValue {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = Writer::flexible(0);
        out.i32(self.epoch);
        out.i32(self.previous_epoch);
        out.i8(match self.state {
            MemberState::Stable => 0,
            MemberState::Unrevoked => 1,
            MemberState::Unreleased => 2,
        });
        put_assignment(&mut out, &self.assigned);
        put_assignment(&mut out, &self.revoking);
        out.tagged(&[]);
        out.finish()
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, RecordError> {
        let mut from = open(value, "current assignment")?;
        let current = Self {
            epoch: from.i32()?,
            previous_epoch: from.i32()?,
            state: match from.i8()? {
                0 => MemberState::Stable,
                1 => MemberState::Unrevoked,
                2 => MemberState::Unreleased,
                _ => return Err(RecordError::InvalidField { field: "state of a member" }),
            },
            assigned: get_assignment(&mut from)?,
            revoking: get_assignment(&mut from)?,
        };
        from.skip_tagged()?;
        from.end()?;
        Ok(current)
    }
}

fn open<'a>(value: &'a [u8], what: &'static str) -> Result<Reader<'a>, RecordError> {
    Reader::versioned(value, what, 0..=0, 0).map(|(from, _)| from)
}

fn put_assignment(out: &mut Writer, assignment: &Assignment) {
    out.count(assignment.topics().len());
    for (topic, partitions) in assignment.topics() {
        out.topic_id(topic);
        out.count(partitions.len());
        partitions.iter().for_each(|partition| out.i32(partition.value()));
        out.tagged(&[]);
    }
}

fn get_assignment(from: &mut Reader<'_>) -> Result<Assignment, RecordError> {
    let topics: Vec<(_, Vec<_>)> = from.list("assignment", |from| {
        let topic = (from.topic_id()?, from.list("partitions", Reader::partition)?);
        from.skip_tagged()?;
        Ok(topic)
    })?;
    let pairs = topics.into_iter().flat_map(|(topic, partitions)| {
        partitions.into_iter().map(move |partition| (topic, partition))
    });
    Ok(pairs.collect())
}
