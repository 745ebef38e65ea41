//! What a leader does with a batch before it is appended: whether its topic takes it, and in which codec.
//!
//! All of it is done without the writer's lock: readers, syncs and other partitions do not wait for a codec.

use std::time::Duration;

use crate::base::{Compression, Timestamp};
use crate::record::{EncodedBatch, Limits};
use crate::storage::log::Log;
use crate::storage::producers::AppendOrigin;
use crate::storage::{AppendError, LogConfig};

impl LogConfig {
    /// The level at which a leader compresses with `codec`, `None` for the codec's default.
    pub(crate) fn level(&self, codec: Compression) -> Option<i32> {
        match codec {
            Compression::Gzip => self.gzip_level,
            Compression::Zstd => Some(self.zstd_level),
            Compression::None | Compression::Snappy | Compression::Lz4 => None,
        }
    }
}

impl Log {
    /// The batch as it is to be appended at `now`, and why it must not be, if so: unless it is in the log already.
    pub(super) fn accept(
        &self,
        batch: EncodedBatch,
        origin: AppendOrigin,
        now: Timestamp,
    ) -> (EncodedBatch, Option<AppendError>) {
        match self.convert(&batch, origin, now) {
            Ok(converted) => (converted.unwrap_or(batch), None),
            Err(error) => (batch, Some(error)),
        }
    }

    /// The batch in the codec of the topic, if it is in another one. Changing the level alone changes no batch.
    fn convert(
        &self,
        batch: &EncodedBatch,
        origin: AppendOrigin,
        now: Timestamp,
    ) -> Result<Option<EncodedBatch>, AppendError> {
        let config = self.config.load();
        self.check_size(batch.size())?;
        if origin == AppendOrigin::Client && !config.log_append_time {
            check_timestamps(&config, batch, now)?;
        }
        let header = batch.header();
        let wanted = config.compression.filter(|codec| *codec != header.compression());
        let Some(codec) = wanted.filter(|_| !header.is_control()) else { return Ok(None) };
        let converted = batch.recompress(codec, config.level(codec), &Limits::default());
        converted.map(Some).map_err(AppendError::Invalid)
    }
}

/// Whether all records are of the time that the topic allows. Those without a time are.
fn check_timestamps(
    config: &LogConfig,
    batch: &EncodedBatch,
    now: Timestamp,
) -> Result<(), AppendError> {
    let refuse = |timestamp, limit_name, limit: Duration| {
        let limit = limit.as_millis();
        Err(AppendError::InvalidTimestamp { timestamp, now, limit_name, limit })
    };
    let (before, after) = (config.timestamp_before_max, config.timestamp_after_max);
    if let Some(latest) = batch.max_timestamp()
        && latest.duration_since(now) > after
    {
        return refuse(latest, "message.timestamp.after.max.ms", after);
    }
    // The header does not tell the earliest: it takes a look at all records. By default none can be too old.
    if now.duration_since(Timestamp::EPOCH) > before {
        let earliest = batch.min_timestamp(&Limits::default()).map_err(AppendError::Invalid)?;
        if let Some(earliest) = earliest.filter(|earliest| now.duration_since(*earliest) > before) {
            return refuse(earliest, "message.timestamp.before.max.ms", before);
        }
    }
    Ok(())
}
