//! How a consumer is configured.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Config, ConfigError, Draft, IsolationLevel, ReadConfig, Scope};
use crate::client::consumer::{Consumer, iso8601};
use crate::client::interceptor::{ConsumerInterceptor, Interceptors};
use crate::client::{Error, Result, properties};
use crate::cluster::{BrokerConfig, Running};
use crate::coordinator::{GroupCoordinator, GroupId, GroupProtocol, Join, Subscription};
use crate::record::Limits;

/// Where a consumer begins where it has no position, or its position is gone (`auto.offset.reset`). Default:
/// earliest, while Kafka's is latest: whoever reads a log in process expects to see what is there.
///
/// ```
/// use brooklet::{AutoOffsetReset, Cluster};
/// use std::time::Duration;
///
/// let cluster = Cluster::in_memory()?;
/// let last_day = AutoOffsetReset::ByDuration(Duration::from_secs(24 * 3600));
/// let consumer = cluster.consumer().auto_offset_reset(last_day).build()?;
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum AutoOffsetReset {
    /// At the first record there is.
    #[default]
    Earliest,
    /// Behind the last one: only what is written from now on.
    Latest,
    /// Nowhere: [`Consumer::poll`] fails with [`OffsetOutOfRange`](crate::ErrorKind::OffsetOutOfRange) until the
    /// application has sought.
    None,
    /// With the records of this last time, by their timestamps; behind the last one if there is none as young
    /// (`by_duration:P7D`, KIP-1106).
    ByDuration(Duration),
}

impl AutoOffsetReset {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "earliest" => Self::Earliest,
            "latest" => Self::Latest,
            "none" => Self::None,
            _ => Self::ByDuration(iso8601::parse(text.split_once(':')?.1)?),
        })
    }
}

/// As Kafka writes it.
impl fmt::Display for AutoOffsetReset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::None => f.write_str("none"),
            Self::ByDuration(time) => write!(f, "by_duration:{}", iso8601::format(*time)),
        }
    }
}

/// Settings of a [`Consumer`], under Kafka's names.
///
/// ```
/// use brooklet::{AutoOffsetReset, Cluster};
///
/// let cluster = Cluster::in_memory()?;
/// let consumer = cluster.consumer().auto_offset_reset(AutoOffsetReset::Latest).max_poll_records(100).build()?;
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct ConsumerBuilder {
    core: Arc<Running>,
    groups: Arc<GroupCoordinator>,
    pub(super) draft: Draft,
    interceptors: Interceptors<dyn ConsumerInterceptor>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) client_id: String,
    pub(super) reset: AutoOffsetReset,
    pub(super) max_poll_records: usize,
    pub(super) max_partition_fetch_bytes: usize,
    pub(super) fetch_max_bytes: usize,
    pub(super) fetch_min_bytes: usize,
    pub(super) fetch_max_wait: Duration,
    pub(super) check_crcs: bool,
    pub(super) isolation: IsolationLevel,
    /// Where the consumer stands.
    pub(super) rack: Option<String>,
    pub(super) metadata_max_age: Duration,
    pub(super) limits: Limits,
    /// `group.id`.
    pub(super) group: Option<GroupId>,
    pub(super) instance_id: Option<String>,
    pub(super) protocol: GroupProtocol,
    /// By name, the preferred first.
    pub(super) assignors: Vec<String>,
    pub(super) max_poll_interval: Duration,
    pub(super) session_timeout: Duration,
    /// How often, if at all.
    pub(super) auto_commit: Option<Duration>,
    pub(super) api_timeout: Duration,
    /// `allow.auto.create.topics`.
    pub(super) create_topics: bool,
    /// Not `exclude.internal.topics`.
    pub(super) with_internal: bool,
}

impl Settings {
    pub(super) fn read(config: &Config, broker: &BrokerConfig) -> Result<Self, ConfigError> {
        let protocol = config.parsed("group.protocol", GroupProtocol::parse)?;
        Ok(Self {
            client_id: config.text("client.id")?,
            reset: config.parsed("auto.offset.reset", AutoOffsetReset::parse)?,
            max_poll_records: config.number("max.poll.records")?,
            max_partition_fetch_bytes: config.number("max.partition.fetch.bytes")?,
            fetch_max_bytes: config
                .number("fetch.max.bytes")
                .map(|ours: usize| ours.min(broker.fetch_max_bytes))?,
            fetch_min_bytes: config.number("fetch.min.bytes")?,
            fetch_max_wait: config.duration("fetch.max.wait.ms")?,
            check_crcs: config.bool("check.crcs")?,
            isolation: config.parsed("isolation.level", IsolationLevel::parse)?,
            rack: Some(config.text("client.rack")?).filter(|rack| !rack.is_empty()),
            metadata_max_age: config.duration("metadata.max.age.ms")?,
            limits: Limits::default(),
            group: group_id(config)?,
            instance_id: Some(config.text("group.instance.id")?).filter(|id| !id.is_empty()),
            protocol,
            assignors: match protocol {
                GroupProtocol::Classic => config.list("partition.assignment.strategy")?,
                GroupProtocol::Consumer => {
                    let name = config.text("group.remote.assignor")?;
                    Some(name).filter(|name| !name.is_empty()).into_iter().collect()
                }
            },
            max_poll_interval: config.duration("max.poll.interval.ms")?,
            session_timeout: config.duration("session.timeout.ms")?,
            auto_commit: match config.bool("enable.auto.commit")? {
                true => Some(config.duration("auto.commit.interval.ms")?),
                false => None,
            },
            api_timeout: config.duration("default.api.timeout.ms")?,
            create_topics: config.bool("allow.auto.create.topics")?,
            with_internal: !config.bool("exclude.internal.topics")?,
        })
    }

    /// To join the group.
    pub(super) fn join(&self, subscription: Subscription) -> Join {
        Join {
            protocol: self.protocol,
            subscription,
            with_internal: self.with_internal,
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            rack: self.rack.clone(),
            assignors: self.assignors.clone(),
            max_poll_interval: self.max_poll_interval,
            session_timeout: self.session_timeout,
        }
    }
}

fn group_id(config: &Config) -> Result<Option<GroupId>, ConfigError> {
    let id = config.text("group.id")?;
    if id.is_empty() {
        return Ok(None);
    }
    let too_long = || ConfigError::out_of_range("group.id", &id, "at most 32,767 bytes");
    GroupId::new(&id).map(Some).ok_or_else(too_long)
}

impl ConsumerBuilder {
    pub(in crate::client) fn new(core: Arc<Running>, groups: Arc<GroupCoordinator>) -> Self {
        let draft = Draft::new(Scope::Consumer);
        Self { core, groups, draft, interceptors: Interceptors::default() }
    }

    /// Sets a setting by Kafka's name and in Kafka's units: `config("max.poll.records", 100)`. All settings:
    /// `docs/configuration.md`.
    ///
    /// A name that has no meaning within one process, such as `bootstrap.servers`, is accepted and ignored, and a
    /// warning logged. A mistake is an error of [`build`](Self::build).
    pub fn config(mut self, name: impl AsRef<str>, value: impl ToString) -> Self {
        self.draft.set_text(name.as_ref(), &value.to_string());
        self
    }

    /// Sets all that the text of a `.properties` file says.
    pub fn properties(mut self, text: impl AsRef<str>) -> Self {
        self.draft.properties("properties", text.as_ref());
        self
    }

    /// Sets all that such a file says. It is read at once, as UTF-8.
    pub fn properties_file(mut self, path: impl AsRef<Path>) -> Self {
        properties::load(&mut self.draft, path.as_ref());
        self
    }

    /// A name that tells consumers apart (`client.id`). Default: none.
    pub fn client_id(mut self, id: impl AsRef<str>) -> Self {
        self.draft.set("client.id", id.as_ref());
        self
    }

    /// Where to begin (`auto.offset.reset`). Default: [`AutoOffsetReset::Earliest`].
    pub fn auto_offset_reset(mut self, reset: AutoOffsetReset) -> Self {
        self.draft.set("auto.offset.reset", reset.to_string().as_str());
        self
    }

    /// Most records that one poll returns (`max.poll.records`), 1 or more. Default: 500.
    pub fn max_poll_records(mut self, records: usize) -> Self {
        self.draft.set("max.poll.records", records);
        self
    }

    /// Bytes fetched from a partition at a time, but at least one batch (`max.partition.fetch.bytes`).
    /// Default: 1 MiB.
    pub fn max_partition_fetch_bytes(mut self, bytes: usize) -> Self {
        self.draft.set("max.partition.fetch.bytes", bytes);
        self
    }

    /// Bytes that one poll fetches from all partitions, but at least one batch (`fetch.max.bytes`). Default: 50 MiB.
    /// The broker's setting of that name bounds it.
    pub fn fetch_max_bytes(mut self, bytes: usize) -> Self {
        self.draft.set("fetch.max.bytes", bytes);
        self
    }

    /// Bytes that have to be there before a poll fetches anything (`fetch.min.bytes`). Default: 1, whatever there is.
    /// After [`fetch_max_wait`](Self::fetch_max_wait) less will do.
    pub fn fetch_min_bytes(mut self, bytes: usize) -> Self {
        self.draft.set("fetch.min.bytes", bytes);
        self
    }

    /// How long polls wait for [`fetch_min_bytes`](Self::fetch_min_bytes) (`fetch.max.wait.ms`), from the first of
    /// them that finds less. Default: 500 ms.
    pub fn fetch_max_wait(mut self, limit: Duration) -> Self {
        self.draft.set("fetch.max.wait.ms", limit);
        self
    }

    /// Whether batches read from files are checked against their CRC-32C (`check.crcs`). Default: yes.
    pub fn check_crcs(mut self, check: bool) -> Self {
        self.draft.set("check.crcs", check);
        self
    }

    /// Which records of transactions are returned (`isolation.level`). Default: [`IsolationLevel::ReadUncommitted`].
    /// With [`IsolationLevel::ReadCommitted`] the end of a partition is its last stable offset.
    pub fn isolation_level(mut self, isolation: IsolationLevel) -> Self {
        self.draft.set("isolation.level", isolation.to_string().as_str());
        self
    }

    /// Where the consumer stands (`client.rack`). Default: nowhere. If the cluster's
    /// [`replica_selector`](crate::ClusterBuilder::replica_selector) is
    /// [`ReplicaSelector::RackAware`](crate::ReplicaSelector::RackAware), it reads replicas
    /// in its rack where there are some (KIP-392): of each partition one that is in sync, as far as that one knows it to be
    /// committed. Which one that is the leader says, and says anew every
    /// [`metadata_max_age`](Self::metadata_max_age), or when others are in sync.
    /// Where a replica fails, the leader is read. [`Consumer::read_replica`] tells which one is.
    ///
    /// ```
    /// use brooklet::{BrokerId, Cluster, NewTopic, Record, ReplicaSelector};
    /// use std::time::Duration;
    ///
    /// let cluster = Cluster::builder()
    ///     .brokers(2)
    ///     .rack(1, "north")
    ///     .rack(2, "south")
    ///     .replica_selector(ReplicaSelector::RackAware)
    ///     .in_memory()?;
    /// let [one, two] = [1, 2].map(|id| BrokerId::new(id).unwrap());
    /// let email = cluster.create_topic(NewTopic::new("email").assignment([vec![one, two]]))?;
    /// cluster.producer().build()?.send(Record::to(&email).value("welcome"))?.wait()?;
    ///
    /// let mut consumer = cluster.consumer().client_rack("south").build()?;
    /// consumer.assign(email.partitions())?;
    /// assert_eq!(consumer.poll(Duration::from_secs(10))?.len(), 1);
    /// assert_eq!(consumer.read_replica(email.partition(0)?)?, two);
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    pub fn client_rack(mut self, rack: impl AsRef<str>) -> Self {
        self.draft.set("client.rack", rack.as_ref());
        self
    }

    /// How long a replica in the consumer's rack is read until the leader is asked again which one is to be
    /// (`metadata.max.age.ms`). Default: 5 minutes. Metadata itself is never old.
    pub fn metadata_max_age(mut self, age: Duration) -> Self {
        self.draft.set("metadata.max.age.ms", age);
        self
    }

    /// The group that the consumer joins, or commits for (`group.id`). Default: none.
    pub fn group(mut self, id: impl AsRef<str>) -> Self {
        self.draft.set("group.id", id.as_ref());
        self
    }

    /// How the members of the group come to their partitions (`group.protocol`). Default: [`GroupProtocol::Consumer`], while
    /// Kafka's is the other.
    pub fn group_protocol(mut self, protocol: GroupProtocol) -> Self {
        self.draft.set("group.protocol", protocol.to_string().as_str());
        self
    }

    /// A name that the member keeps when it is stopped and started again (`group.instance.id`, KIP-345): for the time of
    /// `session.timeout.ms` its partitions stay its own. Default: none.
    pub fn group_instance_id(mut self, id: impl AsRef<str>) -> Self {
        self.draft.set("group.instance.id", id.as_ref());
        self
    }

    /// The assignor that the member asks for: [`uniform`](crate::UniformAssignor), [`range`](crate::RangeAssignor),
    /// [`roundrobin`](crate::RoundRobinAssignor), [`sticky`](crate::StickyAssignor),
    /// [`cooperative-sticky`](crate::CooperativeStickyAssignor), or one that
    /// [`ClusterBuilder::assignor`](crate::ClusterBuilder::assignor) has brought in. Of several that members ask for, the one
    /// of most of them counts. In the consumer protocol this is `group.remote.assignor`, default `uniform`; in the classic one
    /// `partition.assignment.strategy`, default `range` and `cooperative-sticky`.
    pub fn assignor(mut self, name: impl AsRef<str>) -> Self {
        self.draft.set("group.remote.assignor", name.as_ref());
        self.draft.set_text("partition.assignment.strategy", name.as_ref());
        self
    }

    /// Longest time between two polls (`max.poll.interval.ms`), at least 1 ms. Default: 5 minutes. Who takes longer is removed from the
    /// group: it is told so by its next poll, which joins again. A member that waits in a poll is not meant, unless it does not
    /// answer for as long, which one does whose stream nobody polls. It is also the time to give up what others are to have.
    pub fn max_poll_interval(mut self, limit: Duration) -> Self {
        self.draft.set("max.poll.interval.ms", limit);
        self
    }

    /// Never removes the member for not polling: for tests that are looked at in a debugger. As
    /// [`max_poll_interval`](Self::max_poll_interval) with the longest time there is, 24 days.
    pub fn no_eviction(self) -> Self {
        self.max_poll_interval(Duration::from_millis(u64::from(i32::MAX.unsigned_abs())))
    }

    /// How long the place of a static member of a classic group is kept while it is away (`session.timeout.ms`). Default: 45
    /// seconds. In the other protocol the broker's `group.consumer.session.timeout.ms` says so. There are no heartbeats
    /// within one process: a member lives as long as its handle.
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.draft.set("session.timeout.ms", timeout);
        self
    }

    /// Whether what polls have returned is committed without being asked to: every
    /// [`auto_commit_interval`](Self::auto_commit_interval), before partitions are given up, and at the end
    /// (`enable.auto.commit`). Default: no, while Kafka's is yes: a commit is one cheap call, and records that are lost
    /// because a program ended between poll and work are not.
    pub fn enable_auto_commit(mut self, enable: bool) -> Self {
        self.draft.set("enable.auto.commit", enable);
        self
    }

    /// How often offsets are committed by themselves (`auto.commit.interval.ms`). Default: 5 seconds.
    pub fn auto_commit_interval(mut self, interval: Duration) -> Self {
        self.draft.set("auto.commit.interval.ms", interval);
        self
    }

    /// How long subscribing, and a commit that is waited for, try what is not possible at the moment, since the group's
    /// coordinator moves or lacks replicas in sync (`default.api.timeout.ms`). Default: 60 seconds. Other calls that ask a
    /// coordinator try once.
    pub fn default_api_timeout(mut self, timeout: Duration) -> Self {
        self.draft.set("default.api.timeout.ms", timeout);
        self
    }

    /// Whether subscribing to a name creates a topic that is not there, if the cluster's
    /// [`auto_create_topics_enable`](crate::ClusterBuilder::auto_create_topics_enable) lets it
    /// (`allow.auto.create.topics`). Default: yes.
    pub fn allow_auto_create_topics(mut self, allow: bool) -> Self {
        self.draft.set("allow.auto.create.topics", allow);
        self
    }

    /// Whether patterns leave out the cluster's own topics (`exclude.internal.topics`). Default: yes.
    pub fn exclude_internal_topics(mut self, exclude: bool) -> Self {
        self.draft.set("exclude.internal.topics", exclude);
        self
    }

    /// Adds an interceptor, which is called after those added before.
    pub fn interceptor(mut self, interceptor: impl ConsumerInterceptor + 'static) -> Self {
        self.interceptors.push(Arc::new(interceptor));
        self
    }

    /// The consumer, with no partitions yet.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for an unknown setting or a value out of range;
    /// [`Closed`](crate::ErrorKind::Closed).
    pub fn build(self) -> Result<Consumer> {
        let Self { core, groups, draft, interceptors } = self;
        if core.is_closed() {
            return Err(Error::closed());
        }
        for notice in draft.notices() {
            log::warn!("{notice}");
        }
        let settings = Settings::read(&draft.finish()?, core.config())?;
        Ok(Consumer::new((core, groups), settings, interceptors))
    }

    /// The consumer, as a member of its [`group`](Self::group): [`build`](Self::build) and [`Consumer::subscribe`].
    ///
    /// # Errors
    /// Those of the two.
    pub fn join(self, to: impl Into<Subscription>) -> Result<Consumer> {
        let mut consumer = self.build()?;
        consumer.subscribe(to)?;
        Ok(consumer)
    }
}
