//! What the cluster agrees on: records, and the state that they add up to.

mod image;
mod partition;
mod record;

pub(crate) use image::{Image, MAX_PARTITIONS, TopicImage};
pub(crate) use partition::{PartitionImage, common, is_distinct, without};
pub(crate) use record::{Assignment, MetadataRecord};
