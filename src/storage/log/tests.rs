use super::*;
use crate::base::LeaderEpoch;
use crate::record::{Batch, BatchBuilder, CloseOptions, EncodedBatch, RecordFields};
use bytes::BytesMut;

fn encoded(values: &[Vec<u8>]) -> EncodedBatch {
    let mut builder = BatchBuilder::new(BytesMut::new());
    for value in values {
        builder.append(&RecordFields { value: Some(value), ..RecordFields::default() }).unwrap();
    }
    builder.close(&CloseOptions::default()).unwrap()
}

/// A batch of `count` small records whose first offset is `base`.
pub(in crate::storage) fn batch_at(base: u32, count: usize) -> Batch {
    let mut batch = encoded(&vec![vec![0; 10]; count]);
    batch.stamp(Offset::from(base), LeaderEpoch::ZERO);
    batch.freeze()
}
