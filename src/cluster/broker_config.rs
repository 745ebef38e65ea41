//! A broker's settings, as they apply.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::{
    BrokerId, Config, ConfigError, Effective, FlushPolicy, ReadConfig, ReadMode, ReplicaSelector,
    Scope,
};
use crate::cluster::flush_policy::Source;

/// The settings that bound what is unsynced in topics that do not say it themselves.
const BOUNDS: &[&str] =
    &["log.flush.interval.ms", "log.flush.scheduler.interval.ms", "log.flush.interval.messages"];

/// The settings of a broker. They do not change while it runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BrokerConfig {
    /// All of them: topics fall back on many.
    pub(crate) settings: Config,
    /// `node.id`, if it is set.
    pub(crate) id: Option<BrokerId>,
    /// `log.dirs`, else `log.dir`, if one of them is set.
    pub(crate) log_dir: Option<PathBuf>,
    /// `brooklet.read.mode`.
    pub(crate) read_mode: ReadMode,
    /// `brooklet.scrub.bytes.per.second`, if anything is to be read.
    pub(crate) scrub_rate: Option<NonZeroU64>,
    /// `brooklet.strict.open`.
    pub(crate) strict_open: bool,
    /// `brooklet.flush.policy`, or what `log.flush.interval.*` select.
    pub(crate) policy: FlushPolicy,
    /// `log.flush.offset.checkpoint.interval.ms`.
    pub(crate) checkpoint_interval: Duration,
    /// `producer.id.expiration.check.interval.ms`.
    pub(crate) expiration_interval: Duration,
    /// `num.partitions`.
    pub(crate) partitions: u32,
    /// `default.replication.factor`.
    pub(crate) replication_factor: u16,
    /// `auto.create.topics.enable`.
    pub(crate) auto_create_topics: bool,
    /// `delete.topic.enable`.
    pub(crate) delete_topics: bool,
    /// `fetch.max.bytes`.
    pub(crate) fetch_max_bytes: usize,
    /// `broker.rack`, of a broker that has none of its own.
    pub(crate) rack: Option<String>,
    /// `broker.session.timeout.ms`.
    pub(crate) session_timeout: Duration,
    /// `replica.lag.time.max.ms`.
    pub(crate) replica_lag_max: Duration,
    /// `replica.selector.class`.
    pub(crate) replica_selector: ReplicaSelector,
    /// `replica.fetch.wait.max.ms`.
    pub(crate) replica_fetch_wait_max: Duration,
    /// `replica.fetch.max.bytes`.
    pub(crate) replica_fetch_max_bytes: usize,
    /// `replica.fetch.backoff.ms`.
    pub(crate) replica_fetch_backoff: Duration,
    /// `auto.leader.rebalance.enable`.
    pub(crate) rebalance_leaders: bool,
    /// `leader.imbalance.check.interval.seconds`.
    pub(crate) leader_check_interval: Duration,
}

impl BrokerConfig {
    pub(crate) fn new(settings: Config) -> Result<Self, ConfigError> {
        let flushing = Source { settings: &settings, bounds: BOUNDS };
        let plain = Config::new(Scope::Topic);
        let policy = flushing.policy(&Effective { topic: &plain, broker: &settings })?;
        flushing.check(policy)?;
        let config = Self {
            id: settings.optional("node.id")?.and_then(BrokerId::new),
            log_dir: log_dir(&settings)?,
            read_mode: settings.parsed("brooklet.read.mode", ReadMode::parse)?,
            scrub_rate: NonZeroU64::new(settings.number("brooklet.scrub.bytes.per.second")?),
            strict_open: settings.bool("brooklet.strict.open")?,
            policy,
            checkpoint_interval: settings.duration("log.flush.offset.checkpoint.interval.ms")?,
            expiration_interval: settings.duration("producer.id.expiration.check.interval.ms")?,
            partitions: settings.number("num.partitions")?,
            replication_factor: settings.number("default.replication.factor")?,
            auto_create_topics: settings.bool("auto.create.topics.enable")?,
            delete_topics: settings.bool("delete.topic.enable")?,
            fetch_max_bytes: settings.number("fetch.max.bytes")?,
            rack: Some(settings.text("broker.rack")?).filter(|rack| !rack.is_empty()),
            session_timeout: settings.duration("broker.session.timeout.ms")?,
            replica_lag_max: settings.duration("replica.lag.time.max.ms")?,
            replica_selector: settings.parsed("replica.selector.class", ReplicaSelector::parse)?,
            replica_fetch_wait_max: settings.duration("replica.fetch.wait.max.ms")?,
            replica_fetch_max_bytes: settings.number("replica.fetch.max.bytes")?,
            replica_fetch_backoff: settings.duration("replica.fetch.backoff.ms")?,
            rebalance_leaders: settings.bool("auto.leader.rebalance.enable")?,
            leader_check_interval: Duration::from_secs(
                settings.number("leader.imbalance.check.interval.seconds")?,
            ),
            settings,
        };
        Ok(config)
    }
}

fn log_dir(settings: &Config) -> Result<Option<PathBuf>, ConfigError> {
    let mut dirs = settings.list("log.dirs")?;
    if dirs.len() > 1 {
        return Err(ConfigError::Unsupported {
            name: "log.dirs",
            value: dirs.join(","),
            why: "a store is one directory",
        });
    }
    let dir = match dirs.pop() {
        Some(dir) => dir,
        None => settings.text("log.dir")?,
    };
    Ok(Some(dir).filter(|dir| !dir.is_empty()).map(PathBuf::from))
}
