//! What the cluster's metadata log says: records, and the image that they add up to.

mod image;
mod record;

pub(crate) use image::TopicImage;
pub(super) use image::{Image, MAX_PARTITIONS};
pub(super) use record::MetadataRecord;
