//! What the cluster's metadata log says: records, and the image that they add up to.

mod image;
#[cfg_attr(not(test), expect(dead_code, reason = "for clusters of several brokers"))]
mod partition;
mod record;

pub(crate) use image::TopicImage;
pub(super) use image::{Image, MAX_PARTITIONS};
pub(super) use partition::{PartitionImage, common, is_distinct, without};
pub(super) use record::MetadataRecord;
