//! The records of `__brooklet_metadata`.
//!
//! # On disk
//! Each is the value of a record without key: `type: i16`, `version: i16` (0), then the fields in the order in which
//! they stand below; all big-endian. A string or list is preceded by its length or count as `i32`, an id is 16 bytes, a
//! broker is `i32`. A partition is described in [`PartitionImage`].
//!
//! | type | record | fields |
//! |---|---|---|
//! | 0 | `Epoch` | controller epoch `i32`, broker, random id, incarnation `i32`, list of brokers |
//! | 1 | `TopicCreated` | topic id, name, list of lists of brokers, list of brokers, list of (setting, value) |
//! | 2 | `TopicDeleted` | topic id |
//! | 3 | `TopicConfigured` | topic id, list of (setting, value): all that it overrides from now on |
//! | 4 | `PartitionsAdded` | topic id, list of lists of brokers, list of brokers |
//! | 5 | `RecordsDeleted` | topic id, partition `i32`, first offset that is not deleted `i64` |
//! | 6 | `PartitionChanged` | topic id, partition `i32`, the partition |
//! | 7 | `BrokerRegistered` | broker, id of its directory, rack |
//! | 8 | `BrokerRemoved` | broker |
//! | 9 | `MembersChanged` | list of brokers |

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::base::{BrokerId, Offset, PartitionId, TopicId};
use crate::cluster::metadata::PartitionImage;
use crate::cluster::metadata::partition::{get_brokers, put_brokers};

/// One change of the cluster's metadata.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum MetadataRecord {
    /// A controller took office.
    Epoch {
        epoch: i32,
        broker: BrokerId,
        /// Random: tells apart two histories that were accepted separately.
        id: [u8; 16],
        /// Counts how often the cluster was opened. The leader epochs of all partitions rise by one with it, so that
        /// offsets which a crash made free are told apart from their earlier use.
        incarnation: i32,
        /// The brokers that have to have each record from now on, this one included.
        members: Vec<BrokerId>,
    },
    TopicCreated {
        id: TopicId,
        name: String,
        assignment: Assignment,
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
    /// The topic has these partitions too from now on.
    PartitionsAdded {
        id: TopicId,
        assignment: Assignment,
    },
    /// What lies below this offset is no more, and will not come back.
    RecordsDeleted {
        id: TopicId,
        partition: PartitionId,
        before: Offset,
    },
    /// What the partition is from now on, whatever it was before.
    PartitionChanged {
        id: TopicId,
        partition: PartitionId,
        to: PartitionImage,
    },
    /// A broker, and the directory in which its replicas are from now on.
    BrokerRegistered {
        broker: BrokerId,
        directory: TopicId,
        /// Empty for none.
        rack: String,
    },
    BrokerRemoved {
        broker: BrokerId,
    },
    /// The brokers that have to have each record from now on, this one included.
    MembersChanged {
        members: Vec<BrokerId>,
    },
}

/// New partitions, each with the brokers that get a replica.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Assignment {
    pub(crate) partitions: Vec<Vec<BrokerId>>,
    /// The brokers that were alive: who has a replica there begins in sync.
    pub(crate) live: Vec<BrokerId>,
}

impl Assignment {
    /// The partitions as they begin; `None` if one has no replica that is alive, or a broker twice.
    pub(super) fn images(&self) -> Option<Vec<PartitionImage>> {
        let image = |replicas: &Vec<_>| PartitionImage::new(replicas.clone(), &self.live);
        self.partitions.iter().map(image).collect()
    }

    fn encode(&self, out: &mut BytesMut) {
        put_count(out, self.partitions.len());
        self.partitions.iter().for_each(|replicas| put_brokers(out, replicas));
        put_brokers(out, &self.live);
    }

    fn decode(from: &mut &[u8]) -> Option<Self> {
        let partitions =
            (0..from.try_get_i32().ok()?).map(|_| get_brokers(from)).collect::<Option<_>>()?;
        Some(Self { partitions, live: get_brokers(from)? })
    }
}

impl MetadataRecord {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Epoch { epoch, broker, id, incarnation, members } => {
                put_type(&mut out, 0);
                out.put_i32(*epoch);
                out.put_i32(broker.value());
                out.put_slice(id);
                out.put_i32(*incarnation);
                put_brokers(&mut out, members);
            }
            Self::TopicCreated { id, name, assignment, config } => {
                put_type(&mut out, 1);
                out.put_slice(id.as_bytes());
                put_string(&mut out, name);
                assignment.encode(&mut out);
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
            Self::PartitionsAdded { id, assignment } => {
                put_type(&mut out, 4);
                out.put_slice(id.as_bytes());
                assignment.encode(&mut out);
            }
            Self::RecordsDeleted { id, partition, before } => {
                put_type(&mut out, 5);
                out.put_slice(id.as_bytes());
                out.put_i32(partition.value());
                out.put_i64(before.value());
            }
            Self::PartitionChanged { id, partition, to } => {
                put_type(&mut out, 6);
                out.put_slice(id.as_bytes());
                out.put_i32(partition.value());
                to.encode(&mut out);
            }
            Self::BrokerRegistered { broker, directory, rack } => {
                put_type(&mut out, 7);
                out.put_i32(broker.value());
                out.put_slice(directory.as_bytes());
                put_string(&mut out, rack);
            }
            Self::BrokerRemoved { broker } => {
                put_type(&mut out, 8);
                out.put_i32(broker.value());
            }
            Self::MembersChanged { members } => {
                put_type(&mut out, 9);
                put_brokers(&mut out, members);
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
                broker: get_broker(from)?,
                id: get_id(from)?,
                incarnation: from.try_get_i32().ok()?,
                members: get_brokers(from)?,
            },
            (1, 0) => Self::TopicCreated {
                id: get_topic(from)?,
                name: get_string(from)?,
                assignment: Assignment::decode(from)?,
                config: get_config(from)?,
            },
            (2, 0) => Self::TopicDeleted { id: get_topic(from)? },
            (3, 0) => Self::TopicConfigured { id: get_topic(from)?, config: get_config(from)? },
            (4, 0) => Self::PartitionsAdded {
                id: get_topic(from)?,
                assignment: Assignment::decode(from)?,
            },
            (5, 0) => Self::RecordsDeleted {
                id: get_topic(from)?,
                partition: PartitionId::new(from.try_get_i32().ok()?)?,
                before: Offset::new(from.try_get_i64().ok()?)?,
            },
            (6, 0) => Self::PartitionChanged {
                id: get_topic(from)?,
                partition: PartitionId::new(from.try_get_i32().ok()?)?,
                to: PartitionImage::decode(from)?,
            },
            (7, 0) => Self::BrokerRegistered {
                broker: get_broker(from)?,
                directory: get_topic(from)?,
                rack: get_string(from)?,
            },
            (8, 0) => Self::BrokerRemoved { broker: get_broker(from)? },
            (9, 0) => Self::MembersChanged { members: get_brokers(from)? },
            _ => return None,
        };
        from.is_empty().then_some(record)
    }
}

fn put_type(out: &mut BytesMut, kind: i16) {
    out.put_i16(kind);
    out.put_i16(0);
}

fn put_count(out: &mut BytesMut, count: usize) {
    out.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
}

fn put_string(out: &mut BytesMut, text: &str) {
    put_count(out, text.len());
    out.put_slice(text.as_bytes());
}

fn put_config(out: &mut BytesMut, config: &[(String, String)]) {
    put_count(out, config.len());
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

fn get_broker(from: &mut &[u8]) -> Option<BrokerId> {
    BrokerId::new(from.try_get_i32().ok()?)
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

    fn samples() -> [MetadataRecord; 10] {
        let [one, two] = [1, 2].map(|id| BrokerId::new(id).unwrap());
        let assignment =
            Assignment { partitions: vec![vec![one, two], vec![two]], live: vec![two] };
        let id = TopicId::from_bytes([7; 16]);
        let config = vec![("retention.ms".to_owned(), "-1".to_owned())];
        [
            MetadataRecord::Epoch {
                epoch: 3,
                broker: BrokerId::ZERO,
                id: [9; 16],
                incarnation: 2,
                members: vec![one, two],
            },
            MetadataRecord::TopicCreated {
                id,
                name: "email".to_owned(),
                assignment: assignment.clone(),
                config: config.clone(),
            },
            MetadataRecord::TopicDeleted { id },
            MetadataRecord::TopicConfigured { id, config },
            MetadataRecord::PartitionsAdded { id, assignment },
            MetadataRecord::RecordsDeleted {
                id,
                partition: PartitionId::ZERO,
                before: Offset::from(70_000),
            },
            MetadataRecord::PartitionChanged {
                id,
                partition: PartitionId::ZERO,
                to: PartitionImage::new(vec![one, two], &[two]).unwrap(),
            },
            MetadataRecord::BrokerRegistered { broker: one, directory: id, rack: "b".to_owned() },
            MetadataRecord::BrokerRemoved { broker: two },
            MetadataRecord::MembersChanged { members: vec![one] },
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
