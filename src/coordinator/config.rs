//! The settings of groups.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Compression, Config, ConfigError, ReadConfig};
use crate::coordinator::assignor::{Assignor, BUILT_IN, UniformAssignor, built_in};
use crate::coordinator::group::GroupProtocol;

/// The settings of the broker that groups go by, and the assignors that there are.
#[derive(Clone, Debug)]
pub(crate) struct GroupConfig {
    /// `group.consumer.max.size`.
    max_consumer_size: usize,
    /// `group.max.size`.
    max_classic_size: usize,
    /// `group.initial.rebalance.delay.ms`.
    pub(crate) initial_delay: Duration,
    /// `group.min.session.timeout.ms` and `group.max.session.timeout.ms`.
    pub(crate) session_timeouts: RangeInclusive<Duration>,
    /// `group.consumer.session.timeout.ms`.
    pub(crate) consumer_session_timeout: Duration,
    /// `offset.metadata.max.bytes`.
    pub(crate) offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`.
    pub(crate) offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`.
    pub(crate) retention_check_interval: Duration,
    /// `offsets.topic.compression.codec`.
    pub(crate) compression: Compression,
    /// `group.consumer.assignors`, the default first, and those of the application.
    assignors: BTreeMap<String, Arc<dyn Assignor>>,
    default_assignor: Arc<dyn Assignor>,
}

impl GroupConfig {
    pub(crate) fn new(
        settings: &Config,
        custom: Vec<Arc<dyn Assignor>>,
    ) -> Result<Self, ConfigError> {
        let own = BUILT_IN.iter().filter_map(|name| built_in(name));
        let assignors = own.chain(custom).map(|assignor| (assignor.name().to_owned(), assignor));
        let mut config = Self {
            max_consumer_size: settings.number("group.consumer.max.size")?,
            max_classic_size: settings.number("group.max.size")?,
            initial_delay: settings.duration("group.initial.rebalance.delay.ms")?,
            session_timeouts: settings.duration("group.min.session.timeout.ms")?
                ..=settings.duration("group.max.session.timeout.ms")?,
            consumer_session_timeout: settings.duration("group.consumer.session.timeout.ms")?,
            offset_metadata_max_bytes: settings.number("offset.metadata.max.bytes")?,
            offsets_retention: Duration::from_secs(
                settings.number::<u64>("offsets.retention.minutes")?.saturating_mul(60),
            ),
            retention_check_interval: settings.duration("offsets.retention.check.interval.ms")?,
            compression: codec(settings.number("offsets.topic.compression.codec")?)?,
            assignors: assignors.collect(),
            default_assignor: Arc::new(UniformAssignor),
        };
        let names = settings.list("group.consumer.assignors")?;
        if let Some(first) = names.first() {
            let found = config.assignor(first);
            config.default_assignor = found.ok_or_else(|| ConfigError::Unsupported {
                name: "group.consumer.assignors",
                value: first.clone(),
                why: "there is no assignor of this name",
            })?;
        }
        Ok(config)
    }

    /// The assignor of this name, or of Kafka's class of this name.
    pub(crate) fn assignor(&self, name: &str) -> Option<Arc<dyn Assignor>> {
        self.assignors.get(name).cloned().or_else(|| built_in(name))
    }

    pub(crate) fn default_assignor(&self) -> Arc<dyn Assignor> {
        Arc::clone(&self.default_assignor)
    }

    /// For messages.
    pub(crate) fn assignor_names(&self) -> String {
        self.assignors.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// Most members of a group, and the setting that says so.
    pub(crate) fn max_size(&self, protocol: GroupProtocol) -> (usize, &'static str) {
        match protocol {
            GroupProtocol::Consumer => (self.max_consumer_size, "group.consumer.max.size"),
            GroupProtocol::Classic => (self.max_classic_size, "group.max.size"),
        }
    }
}

fn codec(id: u8) -> Result<Compression, ConfigError> {
    Ok(match id {
        0 => Compression::None,
        1 => Compression::Gzip,
        2 => Compression::Snappy,
        3 => Compression::Lz4,
        4 => Compression::Zstd,
        _ => {
            return Err(ConfigError::Unsupported {
                name: "offsets.topic.compression.codec",
                value: id.to_string(),
                why: "codecs have the numbers 0 to 4",
            });
        }
    })
}
