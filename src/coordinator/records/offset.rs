//! A committed offset.
//!
//! # On disk
//! | version | fields |
//! |---|---|
//! | 0, 2 | offset `i64`, metadata, time of the commit `i64` |
//! | 1 | the same, and when it expires `i64` |
//! | 3 | offset `i64`, leader epoch `i32`, metadata, time of the commit `i64` |
//! | 4, which is flexible | the same; tag 0: the topic's id |

use bytes::Bytes;

use crate::base::LeaderEpoch;
use crate::base::Offset;
use crate::base::Timestamp;
use crate::base::TopicId;
use crate::coordinator::ids::ShortText;
use crate::coordinator::records::RecordError;
use crate::coordinator::records::wire::{Reader, Writer};

/// The tag of the topic's id.
const TOPIC_ID: u32 = 0;

/// How far a group has come in a partition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct OffsetValue {
    /// The topic that it is for: of the same name there may be another by now. `None` where others have written it, and do
    /// not say.
    pub(crate) topic: Option<TopicId>,
    /// The offset to read next.
    pub(crate) offset: Offset,
    /// That of the last record read, if the consumer knew it.
    pub(crate) leader_epoch: Option<LeaderEpoch>,
    /// Whatever the application wants to remember with it.
    pub(crate) metadata: ShortText,
    pub(crate) committed_at: Timestamp,
    /// If the commit asked for a retention of its own. Such a value has no leader epoch on disk, and no topic.
    pub(crate) expires_at: Option<Timestamp>,
}

impl OffsetValue {
    /// In the first version that has what is known, as Kafka does.
    pub(super) fn encode(&self) -> Bytes {
        let topic = self.topic.filter(|_| self.expires_at.is_none());
        let mut out = match topic {
            Some(_) => Writer::flexible(4),
            None => Writer::plain(if self.expires_at.is_some() { 1 } else { 3 }),
        };
        out.i64(self.offset.value());
        if self.expires_at.is_none() {
            out.i32(self.leader_epoch.map_or(-1, LeaderEpoch::value));
        }
        out.text(&self.metadata);
        out.i64(self.committed_at.as_millis());
        if let Some(expires_at) = self.expires_at {
            out.i64(expires_at.as_millis());
        }
        if let Some(topic) = topic {
            out.tagged(&[(TOPIC_ID, topic.as_bytes())]);
        }
        out.finish()
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, RecordError> {
        let (mut from, version) = Reader::versioned(value, "committed offset", 0..=4, 4)?;
        let invalid = |field| RecordError::InvalidField { field };
        let offset = Offset::new(from.i64()?).ok_or(invalid("committed offset"))?;
        let leader_epoch = match if version >= 3 { from.i32()? } else { -1 } {
            -1 => None,
            epoch => Some(LeaderEpoch::new(epoch).ok_or(invalid("leader epoch"))?),
        };
        let metadata = from.text("metadata", ShortText::new)?;
        // Old clients could commit with any time. One before 1970 expires as 1970 does.
        let committed_at = Timestamp::from_millis(from.i64()?).unwrap_or(Timestamp::EPOCH);
        let expires_at = match if version == 1 { from.i64()? } else { -1 } {
            -1 => None,
            time => Some(Timestamp::from_millis(time).ok_or(invalid("time of expiry"))?),
        };
        let mut topic = None;
        from.tagged(|tag, bytes| {
            if tag == TOPIC_ID {
                let id = bytes.try_into().map_err(|_| invalid("topic id"))?;
                // Kafka has zeros for none.
                topic = Some(TopicId::from_bytes(id)).filter(|_| id != [0; 16]);
            }
            Ok(())
        })?;
        from.end()?;
        Ok(Self { topic, offset, leader_epoch, metadata, committed_at, expires_at })
    }
}
