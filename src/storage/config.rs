//! What a log needs to know of its topic's configuration.

use std::time::Duration;

/// Sizes and times that govern one log. Kafka's names and defaults.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct LogConfig {
    /// `segment.bytes`: size at which the active segment is rolled. Default 1 GiB.
    pub(crate) segment_bytes: u32,
    /// `index.interval.bytes`: bytes of log between two index entries. Default 4096.
    pub(crate) index_interval_bytes: u32,
    /// `segment.index.bytes`: size of the offset index at which the segment is rolled. Default 10 MiB.
    pub(crate) segment_index_bytes: u32,
    /// `max.message.bytes`: largest batch, its 12-byte prefix included. Default 1 MiB and 12 bytes.
    pub(crate) max_message_bytes: u32,
    /// `producer.id.expiration.ms`: how long the last batches of a producer are remembered that writes no more.
    /// Default 1 day.
    pub(crate) producer_id_expiration: Duration,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            index_interval_bytes: 4096,
            segment_index_bytes: 10 << 20,
            max_message_bytes: (1 << 20) + 12,
            producer_id_expiration: Duration::from_secs(24 * 60 * 60),
        }
    }
}
