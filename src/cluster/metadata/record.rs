//! The records of `__brooklet_metadata`.
//!
//! # On disk
//! Each is the value of a record without key: `type: i16`, `version: i16` (0), then the fields in the order in which
//! they stand below; all big-endian. A string or list is preceded by its length or count as `i32`, an id is 16 bytes.
//!
//! | type | record | fields |
//! |---|---|---|
//! | 0 | `Epoch` | controller epoch `i32`, broker `i32`, random id |
//! | 1 | `TopicCreated` | topic id, name, partitions `i32`, list of (setting, value) |
//! | 2 | `TopicDeleted` | topic id |
//! | 3 | `TopicConfigured` | topic id, list of (setting, value): all that it overrides from now on |
//! | 4 | `PartitionsAdded` | topic id, partitions that it has from now on `i32` |
//! | 5 | `RecordsDeleted` | topic id, partition `i32`, first offset that is not deleted `i64` |

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::base::{BrokerId, Offset, PartitionId, TopicId};

/// One change of the cluster's metadata.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum MetadataRecord {
    /// A controller took office. The leader epochs of all partitions rise by one, so that offsets which a crash
    /// made free are told apart from their earlier use. The random id tells apart two histories that were accepted
    /// separately.
    Epoch {
        epoch: i32,
        broker: BrokerId,
        id: [u8; 16],
    },
    TopicCreated {
        id: TopicId,
        name: String,
        partitions: i32,
        config: Vec<(String, String)>,
    },
    TopicDeleted {
        id: TopicId,
    },
    /// What the topic overrides from now on, whatever it was before.
    TopicConfigured {
        id: TopicId,
        config: Vec<(String, String)>,
    },
    /// The topic has so many partitions from now on, more than before.
    PartitionsAdded {
        id: TopicId,
        partitions: i32,
    },
    /// What lies below this offset is no more, and will not come back.
    RecordsDeleted {
        id: TopicId,
        partition: PartitionId,
        before: Offset,
    },
}

impl MetadataRecord {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Epoch { epoch, broker, id } => {
                put_type(&mut out, 0);
                out.put_i32(*epoch);
                out.put_i32(broker.value());
                out.put_slice(id);
            }
            Self::TopicCreated { id, name, partitions, config } => {
                put_type(&mut out, 1);
                out.put_slice(id.as_bytes());
                put_string(&mut out, name);
                out.put_i32(*partitions);
                put_config(&mut out, config);
            }
            Self::TopicDeleted { id } => {
                put_type(&mut out, 2);
                out.put_slice(id.as_bytes());
            }
            Self::TopicConfigured { id, config } => {
                put_type(&mut out, 3);
                out.put_slice(id.as_bytes());
                put_config(&mut out, config);
            }
            Self::PartitionsAdded { id, partitions } => {
                put_type(&mut out, 4);
                out.put_slice(id.as_bytes());
                out.put_i32(*partitions);
            }
            Self::RecordsDeleted { id, partition, before } => {
                put_type(&mut out, 5);
                out.put_slice(id.as_bytes());
                out.put_i32(partition.value());
                out.put_i64(before.value());
            }
        }
        out.freeze()
    }

    /// `None` if `value` is no record of this version.
    pub(crate) fn decode(mut value: &[u8]) -> Option<Self> {
        let from = &mut value;
        let (kind, version) = (from.try_get_i16().ok()?, from.try_get_i16().ok()?);
        let record = match (kind, version) {
            (0, 0) => Self::Epoch {
                epoch: from.try_get_i32().ok()?,
                broker: BrokerId::new(from.try_get_i32().ok()?)?,
                id: get_id(from)?,
            },
            (1, 0) => Self::TopicCreated {
                id: get_topic(from)?,
                name: get_string(from)?,
                partitions: from.try_get_i32().ok()?,
                config: get_config(from)?,
            },
            (2, 0) => Self::TopicDeleted { id: get_topic(from)? },
            (3, 0) => Self::TopicConfigured { id: get_topic(from)?, config: get_config(from)? },
            (4, 0) => {
                Self::PartitionsAdded { id: get_topic(from)?, partitions: from.try_get_i32().ok()? }
            }
            (5, 0) => Self::RecordsDeleted {
                id: get_topic(from)?,
                partition: PartitionId::new(from.try_get_i32().ok()?)?,
                before: Offset::new(from.try_get_i64().ok()?)?,
            },
            _ => return None,
        };
        from.is_empty().then_some(record)
    }
}

fn put_type(out: &mut BytesMut, kind: i16) {
    out.put_i16(kind);
    out.put_i16(0);
}

fn put_string(out: &mut BytesMut, text: &str) {
    out.put_i32(i32::try_from(text.len()).unwrap_or(i32::MAX));
    out.put_slice(text.as_bytes());
}

fn put_config(out: &mut BytesMut, config: &[(String, String)]) {
    out.put_i32(i32::try_from(config.len()).unwrap_or(i32::MAX));
    for (setting, value) in config {
        put_string(out, setting);
        put_string(out, value);
    }
}

fn get_config(from: &mut &[u8]) -> Option<Vec<(String, String)>> {
    let mut config = Vec::new();
    for _ in 0..from.try_get_i32().ok()? {
        config.push((get_string(from)?, get_string(from)?));
    }
    Some(config)
}

fn get_string(from: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(from.try_get_i32().ok()?).ok()?;
    let (text, rest) = from.split_at_checked(length)?;
    *from = rest;
    std::str::from_utf8(text).ok().map(str::to_owned)
}

fn get_topic(from: &mut &[u8]) -> Option<TopicId> {
    get_id(from).map(TopicId::from_bytes)
}

fn get_id(from: &mut &[u8]) -> Option<[u8; 16]> {
    let (id, rest) = from.split_first_chunk::<16>()?;
    *from = rest;
    Some(*id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> [MetadataRecord; 6] {
        let id = TopicId::from_bytes([7; 16]);
        let config = vec![("retention.ms".to_owned(), "-1".to_owned())];
        [
            MetadataRecord::Epoch { epoch: 3, broker: BrokerId::ZERO, id: [9; 16] },
            MetadataRecord::TopicCreated {
                id,
                name: "email".to_owned(),
                partitions: 3,
                config: config.clone(),
            },
            MetadataRecord::TopicDeleted { id },
            MetadataRecord::TopicConfigured { id, config },
            MetadataRecord::PartitionsAdded { id, partitions: 7 },
            MetadataRecord::RecordsDeleted {
                id,
                partition: PartitionId::ZERO,
                before: Offset::from(70_000),
            },
        ]
    }

    #[test]
    fn records_round_trip() {
        for record in samples() {
            assert_eq!(MetadataRecord::decode(&record.encode()), Some(record));
        }
    }

    /// H1, H2: nothing that is read from a damaged file panics or makes a large allocation.
    #[test]
    fn truncated_and_extended_records_are_refused() {
        for record in samples() {
            let bytes = record.encode();
            for length in 0..bytes.len() {
                assert_eq!(MetadataRecord::decode(&bytes[..length]), None);
            }
            assert_eq!(MetadataRecord::decode(&[&bytes[..], b"x"].concat()), None);
        }
    }
}
