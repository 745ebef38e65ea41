//! A topic's settings, as they apply.
//!
//! # Invariants
//! - A [`TopicConfig`] that exists is valid: names are known and values in range.

use std::time::Duration;

use crate::base::{
    Config, ConfigEntry, ConfigError, Draft, Effective, FlushPolicy, ReadConfig, Scope,
};
use crate::cluster::BrokerConfig;
use crate::cluster::flush_policy::Source;
use crate::record::check_codec;
use crate::storage::LogConfig;

/// The settings of a topic that bound what is unsynced.
const BOUNDS: &[&str] = &["flush.ms", "flush.messages"];

/// A change of one setting of a topic.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ConfigChange {
    Set(String),
    /// The broker's value, or the default, applies again.
    Delete,
    /// Adds to a list.
    Append(String),
    /// Takes from a list.
    Subtract(String),
}

/// What a topic overrides, and what its logs and replicas are to keep to because of it and of the broker's settings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TopicConfig {
    overrides: Config,
    pub(crate) log: LogConfig,
    pub(crate) policy: FlushPolicy,
    /// `min.insync.replicas`.
    pub(crate) min_isr: usize,
    /// `unclean.leader.election.enable`.
    pub(crate) unclean: bool,
}

impl TopicConfig {
    /// Overrides as they were recorded. They apply also under a broker that would not let them be made now.
    pub(crate) fn recorded(
        overrides: &[(String, String)],
        broker: &BrokerConfig,
    ) -> Result<Self, ConfigError> {
        Self::new(parse(overrides).finish()?, &broker.settings, broker.policy)
    }

    /// The overrides of a topic that is to be created.
    pub(crate) fn create(
        overrides: &[(String, String)],
        broker: &BrokerConfig,
    ) -> Result<Self, ConfigError> {
        Self::check(parse(overrides), broker)
    }

    /// Kafka's defaults, whatever the broker's settings.
    pub(crate) fn internal() -> Result<Self, ConfigError> {
        let (topic, broker) = (Config::new(Scope::Topic), Config::new(Scope::Broker));
        let mut config = Self::new(topic, &broker, FlushPolicy::OnAck)?;
        // Nobody is to be kept out of the metadata by a clock.
        config.log.timestamp_after_max = Duration::MAX;
        Ok(config)
    }

    fn new(
        overrides: Config,
        broker: &Config,
        of_broker: FlushPolicy,
    ) -> Result<Self, ConfigError> {
        let effective = Effective { topic: &overrides, broker };
        let mut log = LogConfig::read(&effective)?;
        log.producer_id_expiration = broker.duration("producer.id.expiration.ms")?;
        let own = Source { settings: &overrides, bounds: BOUNDS };
        let policy = if own.is_set() { own.policy(&effective)? } else { of_broker };
        let min_isr = effective.number("min.insync.replicas")?;
        let unclean = effective.bool("unclean.leader.election.enable")?;
        Ok(Self { overrides, log, policy, min_isr, unclean })
    }

    /// The settings after `changes`, which hold all or none.
    pub(crate) fn alter(
        &self,
        changes: &[(String, ConfigChange)],
        broker: &BrokerConfig,
    ) -> Result<Self, ConfigError> {
        let mut draft = Draft::edit(self.overrides.clone());
        for (name, change) in changes {
            match change {
                ConfigChange::Set(value) => draft.set_text(name, value),
                ConfigChange::Delete => draft.unset(Scope::Topic.canonical(name)?),
                ConfigChange::Append(text) | ConfigChange::Subtract(text) => {
                    let name = Scope::Topic.canonical(name)?;
                    let effective = Effective { topic: draft.config(), broker: &broker.settings };
                    let mut items = effective.list(name).map_err(|_| not_a_list(name))?;
                    let changed = text.split(',').map(|item| item.trim().to_owned());
                    items.retain(|item| !changed.clone().any(|other| other == *item));
                    if matches!(change, ConfigChange::Append(_)) {
                        items.extend(changed);
                    }
                    draft.set_text(name, &items.join(","));
                }
            }
        }
        Self::check(draft, broker)
    }

    /// Settings that somebody has just made: what contradicts is refused, what comes to nothing is said.
    fn check(draft: Draft, broker: &BrokerConfig) -> Result<Self, ConfigError> {
        let notices = draft.notices().to_vec();
        let config = Self::new(draft.finish()?, &broker.settings, broker.policy)?;
        let LogConfig { min_compaction_lag: min, max_compaction_lag: max, .. } = config.log;
        if min > max {
            let [min, max] = [min, max].map(|lag| lag.as_millis());
            return Err(ConfigError::Invalid(format!(
                "min.compaction.lag.ms={min} is more than max.compaction.lag.ms={max}"
            )));
        }
        if let Some(codec) = config.log.compression {
            check_codec(codec, config.log.level(codec))
                .map_err(|error| ConfigError::Invalid(format!("compression.type: {error}")))?;
        }
        Source { settings: &config.overrides, bounds: BOUNDS }.check(config.policy)?;
        notices.iter().for_each(|notice| log::warn!("{notice}"));
        Ok(config)
    }

    /// The settings that the topic overrides, by name.
    pub(crate) fn overrides(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.overrides.iter()
    }

    /// The same, as they are recorded.
    pub(crate) fn to_record(&self) -> Vec<(String, String)> {
        self.overrides().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Every setting, with its value and where it comes from.
    pub(crate) fn describe(&self, broker: &BrokerConfig) -> Result<Vec<ConfigEntry>, ConfigError> {
        Effective { topic: &self.overrides, broker: &broker.settings }.describe()
    }
}

fn parse(overrides: &[(String, String)]) -> Draft {
    let mut draft = Draft::new(Scope::Topic);
    for (name, value) in overrides {
        draft.set_text(name, value);
    }
    draft
}

fn not_a_list(name: &str) -> ConfigError {
    ConfigError::Invalid(format!("{name} is not a list: set it"))
}
