//! A group of the classic protocol, with all its members.
//!
//! # On disk
//! Protocol type, generation `i32`, protocol or none, leader or none, since version 2 the time of its last change of state
//! `i64`, list of members: id, since version 3 instance id or none, client id, client host, since version 1 rebalance
//! timeout `i32`, session timeout `i32`, subscription, assignment. Version 4 is flexible.

use std::time::Duration;

use bytes::Bytes;

use crate::base::Timestamp;
use crate::coordinator::ids::InstanceId;
use crate::coordinator::ids::MemberId;
use crate::coordinator::ids::ShortText;
use crate::coordinator::records::RecordError;
use crate::coordinator::records::wire::{Reader, Writer};

/// A group of the classic protocol as it was when its generation became stable, or empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ClassicGroupValue {
    /// `consumer`, or empty for a group that only keeps offsets.
    pub(crate) protocol_type: ShortText,
    pub(crate) generation: i32,
    /// The assignor of this generation. None without members.
    pub(crate) protocol: Option<ShortText>,
    pub(crate) leader: Option<MemberId>,
    /// When it became stable or empty.
    pub(crate) state_changed_at: Option<Timestamp>,
    pub(crate) members: Vec<ClassicMember>,
}

/// A member of such a group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ClassicMember {
    pub(crate) id: MemberId,
    pub(crate) instance: Option<InstanceId>,
    pub(crate) client_id: ShortText,
    pub(crate) client_host: ShortText,
    /// Whole milliseconds, like the next.
    pub(crate) rebalance_timeout: Duration,
    pub(crate) session_timeout: Duration,
    /// What it told the leader by the group's protocol; for consumers a [`Subscription`](super::Subscription).
    pub(crate) subscription: Bytes,
    /// What the leader told it; for consumers a [`ClassicAssignment`](super::ClassicAssignment).
    pub(crate) assignment: Bytes,
}

impl ClassicGroupValue {
    /// In version 3, the one that Kafka writes.
    pub(super) fn encode(&self) -> Bytes {
        let mut out = Writer::plain(3);
        out.text(&self.protocol_type);
        out.i32(self.generation);
        out.nullable_text(self.protocol.as_ref());
        out.nullable_text(self.leader.as_ref());
        out.i64(self.state_changed_at.map_or(-1, Timestamp::as_millis));
        out.count(self.members.len());
        self.members.iter().for_each(|member| member.encode(&mut out));
        out.finish()
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, RecordError> {
        let (mut from, version) = Reader::versioned(value, "classic group", 0..=4, 4)?;
        let group = Self {
            protocol_type: from.text("protocol type", ShortText::new)?,
            generation: from.i32()?,
            protocol: from.nullable_text("protocol", ShortText::new)?,
            leader: from.nullable_text("leader", MemberId::new)?,
            state_changed_at: match if version >= 2 { from.i64()? } else { -1 } {
                -1 => None,
                time => Some(Timestamp::from_millis(time).ok_or(RecordError::InvalidField {
                    field: "time of the last change of state",
                })?),
            },
            members: from.list("members", |from| ClassicMember::decode(from, version))?,
        };
        from.skip_tagged()?;
        from.end()?;
        Ok(group)
    }
}

impl ClassicMember {
    fn encode(&self, out: &mut Writer) {
        out.text(&self.id);
        out.nullable_text(self.instance.as_ref());
        out.text(&self.client_id);
        out.text(&self.client_host);
        out.duration(self.rebalance_timeout);
        out.duration(self.session_timeout);
        out.bytes(&self.subscription);
        out.bytes(&self.assignment);
    }

    fn decode(from: &mut Reader<'_>, version: i16) -> Result<Self, RecordError> {
        let id = from.text("member id", MemberId::new)?;
        let instance = if version >= 3 {
            from.nullable_text("group instance id", InstanceId::new)?
        } else {
            None
        };
        let client_id = from.text("client id", ShortText::new)?;
        let client_host = from.text("client host", ShortText::new)?;
        let rebalance_timeout =
            if version >= 1 { Some(from.duration("rebalance timeout")?) } else { None };
        let session_timeout = from.duration("session timeout")?;
        let member = Self {
            id,
            instance,
            client_id,
            client_host,
            // The first clients had one timeout for both.
            rebalance_timeout: rebalance_timeout.unwrap_or(session_timeout),
            session_timeout,
            subscription: from.bytes("subscription")?,
            assignment: from.bytes("assignment")?,
        };
        from.skip_tagged()?;
        Ok(member)
    }
}
