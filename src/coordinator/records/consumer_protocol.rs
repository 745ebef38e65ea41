//! What consumers of the classic protocol tell each other: bytes to the coordinator, kept in the group's record.
//!
//! # Bytes
//! Plain, and both begin with a version `i16`. A later version may only append fields, so what is newer than 3 is read as 3,
//! and what is left over is passed over.
//!
//! - Subscription: list of topics, user data or none; since version 1 the partitions that the member owns; since version 2
//!   the generation `i32` in which it got them, -1 for none; since version 3 its rack or none.
//! - Assignment: partitions, user data or none.
//! - Partitions: list of: topic, list of numbers `i32`.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::base::TopicName;
use crate::base::TopicPartition;
use crate::coordinator::ids::ShortText;
#[cfg(test)]
use crate::coordinator::records::RecordError;
#[cfg(test)]
use crate::coordinator::records::wire::Reader;
use crate::coordinator::records::wire::Writer;

/// The version that is written.
const VERSION: i16 = 3;

/// What a member tells the leader of its group when it joins.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Subscription {
    pub(crate) topics: BTreeSet<TopicName>,
    /// For its assignor.
    pub(crate) user_data: Option<Bytes>,
    /// What it has, and does not want to lose.
    pub(crate) owned: BTreeSet<TopicPartition>,
    /// The one in which it got that, never negative.
    pub(crate) generation: Option<i32>,
    pub(crate) rack: Option<ShortText>,
}

impl Subscription {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Writer::plain(VERSION);
        out.count(self.topics.len());
        self.topics.iter().for_each(|topic| out.text(topic));
        out.nullable_bytes(self.user_data.as_deref());
        put_partitions(&mut out, &self.owned);
        out.i32(self.generation.unwrap_or(-1));
        out.nullable_text(self.rack.as_ref());
        out.finish()
    }

    #[cfg(test)]
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let (mut from, version) = open(bytes, "subscription")?;
        let mut subscription = Self {
            topics: from.list("topics", Reader::topic)?,
            user_data: from.nullable_bytes("user data")?,
            ..Self::default()
        };
        if version >= 1 {
            subscription.owned = get_partitions(&mut from)?;
        }
        if version >= 2 {
            subscription.generation = Some(from.i32()?).filter(|generation| *generation >= 0);
        }
        if version >= 3 {
            subscription.rack = from.nullable_text("rack", ShortText::new)?;
        }
        Ok(subscription)
    }
}

/// What the leader of a group tells a member.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ClassicAssignment {
    pub(crate) partitions: BTreeSet<TopicPartition>,
    /// From the leader's assignor to the member's.
    pub(crate) user_data: Option<Bytes>,
}

impl ClassicAssignment {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Writer::plain(VERSION);
        put_partitions(&mut out, &self.partitions);
        out.nullable_bytes(self.user_data.as_deref());
        out.finish()
    }

    #[cfg(test)]
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let (mut from, _) = open(bytes, "assignment")?;
        let partitions = get_partitions(&mut from)?;
        Ok(Self { partitions, user_data: from.nullable_bytes("user data")? })
    }
}

#[cfg(test)]
fn open<'a>(bytes: &'a [u8], what: &'static str) -> Result<(Reader<'a>, i16), RecordError> {
    Reader::versioned(bytes, what, 0..=i16::MAX, i16::MAX)
}

fn put_partitions(out: &mut Writer, partitions: &BTreeSet<TopicPartition>) {
    let partitions: Vec<_> = partitions.iter().collect();
    out.count(partitions.chunk_by(|a, b| a.topic == b.topic).count());
    for of_topic in partitions.chunk_by(|a, b| a.topic == b.topic) {
        of_topic.first().inspect(|first| out.text(&first.topic));
        out.count(of_topic.len());
        of_topic.iter().for_each(|p| out.i32(p.partition.value()));
    }
}

#[cfg(test)]
fn get_partitions(from: &mut Reader<'_>) -> Result<BTreeSet<TopicPartition>, RecordError> {
    let topics: Vec<(_, Vec<_>)> = from.list("partitions", |from| {
        Ok((from.topic()?, from.list("partitions", Reader::partition)?))
    })?;
    let partitions = topics.into_iter().flat_map(|(topic, partitions)| {
        partitions.into_iter().map(move |p| TopicPartition::new(topic.clone(), p))
    });
    Ok(partitions.collect())
}
