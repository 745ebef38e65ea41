//! Batches from outside, on their way to a leader's log.

use bytes::Bytes;

use crate::record::{EncodedBatch, Limits, ProducedBatch};
use crate::storage::AppendError;
use crate::storage::log::Log;
use crate::storage::producers::ProducerError;

impl Log {
    /// Makes of bytes a batch that may be appended, if they are one that a producer may send: everything that a broker
    /// checks before it looks at what it knows of the producer.
    pub(crate) fn check_produced(
        &self,
        bytes: Bytes,
        limits: &Limits,
    ) -> Result<EncodedBatch, AppendError> {
        let batch = ProducedBatch::parse(bytes).map_err(AppendError::Invalid)?;
        self.check_size(batch.header().size())?;
        let batch = batch.check(limits).map_err(AppendError::Invalid)?;
        match batch.header().producer() {
            Some(producer) if batch.header().is_transactional() => {
                Err(ProducerError::UnknownTransaction { id: producer.id }.into())
            }
            _ => Ok(batch),
        }
    }
}
