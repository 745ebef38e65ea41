//! What a log needs to know of its topic's configuration.

use std::time::Duration;

use crate::base::{Bug, Compression, ConfigError, Offset, ReadConfig, is_planted};

/// The settings of one log, as they apply: the topic's own, the broker's, or the defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(dead_code, reason = "those of retention and compaction are for what is not built")]
pub(crate) struct LogConfig {
    /// `segment.bytes`: size at which the active segment is rolled.
    pub(crate) segment_bytes: u32,
    /// `index.interval.bytes`: bytes of log between two index entries.
    pub(crate) index_interval_bytes: u32,
    /// `segment.index.bytes`: size of the offset index at which the segment is rolled.
    pub(crate) segment_index_bytes: u32,
    /// `max.message.bytes`: largest batch, its 12-byte prefix included.
    pub(crate) max_message_bytes: u32,
    /// `producer.id.expiration.ms`: how long the last batches of a producer are remembered that writes no more.
    pub(crate) producer_id_expiration: Duration,
    /// `segment.ms`: age at which the active segment is rolled.
    pub(crate) segment_age: Duration,
    /// `segment.jitter.ms`: most that is taken from it at random.
    pub(crate) segment_jitter: Duration,
    /// `cleanup.policy` has `delete`.
    pub(crate) delete: bool,
    /// `cleanup.policy` has `compact`.
    pub(crate) compact: bool,
    /// `retention.ms`, `None` for no limit.
    pub(crate) retention_age: Option<Duration>,
    /// `retention.bytes`, `None` for no limit.
    pub(crate) retention_bytes: Option<u64>,
    /// `delete.retention.ms`.
    pub(crate) delete_retention: Duration,
    /// `min.compaction.lag.ms`.
    pub(crate) min_compaction_lag: Duration,
    /// `max.compaction.lag.ms`.
    pub(crate) max_compaction_lag: Duration,
    /// `min.cleanable.dirty.ratio`.
    pub(crate) min_cleanable_ratio: f64,
    /// `compression.type`, `None` for that of each batch.
    pub(crate) compression: Option<Compression>,
    /// `compression.gzip.level`, `None` for the library's default.
    pub(crate) gzip_level: Option<i32>,
    /// `compression.zstd.level`.
    pub(crate) zstd_level: i32,
    /// `message.timestamp.type` is `LogAppendTime`.
    pub(crate) log_append_time: bool,
    /// `message.timestamp.before.max.ms`.
    pub(crate) timestamp_before_max: Duration,
    /// `message.timestamp.after.max.ms`.
    pub(crate) timestamp_after_max: Duration,
}

/// How batches lie in a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Layout {
    /// `index.interval.bytes`.
    pub(super) interval: u32,
    /// Offsets may be missing: compaction has removed them.
    pub(super) gaps: bool,
}

impl Layout {
    /// Whether a batch or segment that begins at `base` can come where `next` is the next offset. No checksum covers a
    /// base offset: this is how a damaged one is found (H5).
    pub(super) fn follows(self, base: Offset, next: Offset) -> bool {
        base == next || (self.gaps && base > next) || is_planted(Bug::PlacesUnchecked)
    }
}

impl LogConfig {
    /// Largest batch that a log takes.
    pub(crate) fn max_batch_bytes(&self) -> usize {
        usize::try_from(self.max_message_bytes.min(self.segment_bytes)).unwrap_or(usize::MAX)
    }

    pub(super) fn layout(&self) -> Layout {
        Layout { interval: self.index_interval_bytes, gaps: self.compact }
    }

    /// Reads the settings of a topic.
    pub(crate) fn read(topic: &impl ReadConfig) -> Result<Self, ConfigError> {
        let cleanup = topic.list("cleanup.policy")?;
        let retention_ms = topic.optional("retention.ms")?;
        Ok(Self {
            producer_id_expiration: Duration::from_secs(24 * 60 * 60),
            segment_bytes: topic.number("segment.bytes")?,
            index_interval_bytes: topic.number("index.interval.bytes")?,
            segment_index_bytes: topic.number("segment.index.bytes")?,
            max_message_bytes: topic.number("max.message.bytes")?,
            segment_age: topic.duration("segment.ms")?,
            segment_jitter: topic.duration("segment.jitter.ms")?,
            delete: cleanup.iter().any(|policy| policy == "delete"),
            compact: cleanup.iter().any(|policy| policy == "compact"),
            retention_age: retention_ms.map(Duration::from_millis),
            retention_bytes: topic.optional("retention.bytes")?,
            delete_retention: topic.duration("delete.retention.ms")?,
            min_compaction_lag: topic.duration("min.compaction.lag.ms")?,
            max_compaction_lag: topic.duration("max.compaction.lag.ms")?,
            min_cleanable_ratio: topic.double("min.cleanable.dirty.ratio")?,
            compression: topic.parsed("compression.type", |codec| match codec {
                "producer" => Some(None),
                codec => Compression::parse(codec).map(Some),
            })?,
            gzip_level: topic.optional("compression.gzip.level")?,
            zstd_level: topic.number("compression.zstd.level")?,
            log_append_time: topic.text("message.timestamp.type")? == "LogAppendTime",
            timestamp_before_max: topic.duration("message.timestamp.before.max.ms")?,
            timestamp_after_max: topic.duration("message.timestamp.after.max.ms")?,
        })
    }
}

/// Kafka's defaults.
#[cfg(test)]
impl Default for LogConfig {
    fn default() -> Self {
        Self::read(&crate::base::Config::new(crate::base::Scope::Topic)).unwrap()
    }
}
