//! How a cluster is configured and opened.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::{
    BrokerId, ConfigError, Draft, ErrorKind, FlushPolicy, ReadMode, ReplicaSelector, Scope,
    Variable,
};
use crate::client::{Cluster, Error, NewTopic, Result, properties};
use crate::cluster::{
    BrokerConfig, BrokerPlace, ClusterError, Core, OpenBroker, OpenCluster, Running,
};
use crate::coordinator::{Assignor, GroupConfig, GroupCoordinator};
use crate::env;
use crate::env::{FileSystem, MemFs, OsFs, Runtime};

/// Settings of a [`Cluster`]: by typed setters, by Kafka's names, from files, from the environment. What is set later
/// replaces what was set before. All settings: `docs/configuration.md`.
///
/// A mistake is an error of the call that opens the cluster, of kind [`InvalidConfig`](ErrorKind::InvalidConfig).
///
/// ```
/// use brooklet::{Cluster, FlushPolicy, NewTopic};
///
/// let cluster = Cluster::builder()
///     .properties("num.partitions=3\nlog.segment.bytes=1048576")
///     .flush_policy(FlushPolicy::Os)
///     .create_topic_if_missing(NewTopic::new("email"))
///     .temp()?;
/// assert_eq!(cluster.topic("email")?.partition_count(), 3);
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it opens a cluster"]
pub struct ClusterBuilder {
    draft: Draft,
    topics: Vec<NewTopic>,
    create_if_missing: bool,
    accept_metadata_loss: bool,
    brokers: Vec<(BrokerId, Directory)>,
    /// How many brokers a cluster has that names none.
    count: i32,
    racks: BTreeMap<BrokerId, String>,
    assignors: Vec<Arc<dyn Assignor>>,
    #[cfg(any(test, feature = "sim"))]
    clock: Option<env::Clock>,
}

/// Where a broker keeps its files.
#[derive(Clone, Debug)]
enum Directory {
    Path(PathBuf),
    #[cfg(any(test, feature = "sim"))]
    Disk(env::Disk),
}

impl ClusterBuilder {
    pub(super) fn new() -> Self {
        Self {
            draft: Draft::new(Scope::Broker),
            topics: Vec::new(),
            create_if_missing: true,
            accept_metadata_loss: false,
            brokers: Vec::new(),
            count: 1,
            racks: BTreeMap::new(),
            assignors: Vec::new(),
            #[cfg(any(test, feature = "sim"))]
            clock: None,
        }
    }

    /// Has a broker of this number (`node.id`, 0 or more), with its store in a directory of its own: on another disk than
    /// the others, if one is to be lost without loss. [`open`](Self::open) opens all of them together.
    ///
    /// ```
    /// use brooklet::{Cluster, NewTopic};
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let disk = |n: i32| dir.path().join(n.to_string());
    /// let cluster = Cluster::builder().broker(1, disk(1)).broker(2, disk(2)).broker(3, disk(3)).open()?;
    /// let email = cluster.create_topic(NewTopic::new("email").partitions(3).replication_factor(3))?;
    /// for partition in email.describe()?.partitions {
    ///     assert_eq!(partition.isr.len(), 3);
    /// }
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    pub fn broker(mut self, id: i32, path: impl Into<PathBuf>) -> Self {
        let directory = Directory::Path(path.into());
        if let Some(id) = self.broker_id(id) {
            self.brokers.push((id, directory));
        }
        self
    }

    /// Has a broker of this number, with its store on a simulated disk.
    #[cfg(any(test, feature = "sim"))]
    pub fn broker_on(mut self, id: i32, disk: &env::Disk) -> Self {
        if let Some(id) = self.broker_id(id) {
            self.brokers.push((id, Directory::Disk(disk.clone())));
        }
        self
    }

    /// Has the cluster go by a clock that can be set forward. In a simulation its own is what counts.
    #[cfg(any(test, feature = "sim"))]
    pub fn clock(mut self, clock: &env::Clock) -> Self {
        self.clock = Some(clock.clone());
        self
    }

    /// How many brokers a cluster [in memory](Self::in_memory) or a [temporary](Self::temp) one has: 1 to so many.
    /// Default: 1.
    ///
    /// ```
    /// use brooklet::{Cluster, NewTopic};
    ///
    /// let cluster = Cluster::builder().brokers(3).in_memory()?;
    /// let email = cluster.create_topic(NewTopic::new("email").replication_factor(3))?;
    /// cluster.broker(1)?.stop()?;
    /// assert_eq!(email.partition(0)?.describe()?.isr.len(), 2);
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    pub fn brokers(mut self, count: u16) -> Self {
        self.count = i32::from(count.max(1));
        self
    }

    /// Where a broker stands (`broker.rack`): replicas of a partition are put into different racks, if there are as many.
    pub fn rack(mut self, id: i32, rack: impl Into<String>) -> Self {
        if let Some(id) = self.broker_id(id) {
            self.racks.insert(id, rack.into());
        }
        self
    }

    fn broker_id(&mut self, id: i32) -> Option<BrokerId> {
        let valid = BrokerId::new(id);
        if valid.is_none() {
            let error = ConfigError::Invalid(format!("a broker cannot have the number {id}"));
            self.draft.fail(error.at("node.id"));
        }
        valid
    }

    /// Opens the cluster also if stores are missing that may know of later changes of its metadata: topics that were
    /// created or deleted, records that were deleted, settings. Default: no, that is an error of kind
    /// [`MetadataIncomplete`](ErrorKind::MetadataIncomplete). Whoever has done so must not open the missing stores with
    /// the others again: what the two have gone through separately cannot be put together.
    pub fn accept_metadata_loss(mut self, accept: bool) -> Self {
        self.accept_metadata_loss = accept;
        self
    }

    /// Sets a setting of the broker, by Kafka's name and in Kafka's units.
    ///
    /// A name that has no meaning within one process, such as `listeners`, is accepted and ignored, and a warning
    /// logged.
    pub fn config(mut self, name: impl AsRef<str>, value: impl ToString) -> Self {
        self.draft.set_text(name.as_ref(), &value.to_string());
        self
    }

    /// Sets all that the text of a `server.properties` says, in the syntax of Java's `Properties`.
    pub fn properties(mut self, text: impl AsRef<str>) -> Self {
        self.draft.properties("properties", text.as_ref());
        self
    }

    /// Sets all that such a file says. It is read at once, as UTF-8.
    pub fn properties_file(mut self, path: impl AsRef<Path>) -> Self {
        properties::load(&mut self.draft, path.as_ref());
        self
    }

    /// Sets what the environment of this process says, see [`environment`](Self::environment).
    pub fn env(mut self) -> Self {
        let mut variables = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| Variable::parse(name).is_some()) else {
                continue;
            };
            match value.into_string() {
                Ok(value) => variables.push((name.to_owned(), value)),
                Err(_) => {
                    let error = ConfigError::Invalid("it is not text in UTF-8".to_owned());
                    self.draft.fail(error.at(name));
                }
            }
        }
        self.environment(variables)
    }

    /// Sets what environment variables say, as the container images of Kafka take them: `KAFKA_LOG_RETENTION_MS` is
    /// `log.retention.ms`. Variables whose names do not begin with `KAFKA_`, and those that the images take for the
    /// JVM, such as `KAFKA_HEAP_OPTS`, are left out; a name that is no setting is an error.
    ///
    /// `KAFKA_CREATE_TOPICS`, as in `slack:1:1,email:3:1:compact`, names topics as
    /// [`create_topic_if_missing`](Self::create_topic_if_missing) does: name, partitions, replication factor, and maybe
    /// `cleanup.policy`.
    ///
    /// ```
    /// use brooklet::Cluster;
    ///
    /// let variables = [("KAFKA_NUM_PARTITIONS", "2"), ("KAFKA_CREATE_TOPICS", "slack:1:1,sms:1:1,email:1:1")];
    /// let cluster = Cluster::builder().environment(variables).in_memory()?;
    /// assert_eq!(cluster.topics()?.len(), 3);
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    pub fn environment<K: AsRef<str>, V: AsRef<str>>(
        mut self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let (mut topics, mut separator) = (None, None);
        for (variable, value) in variables {
            match Variable::parse(variable.as_ref()) {
                Some(Variable::Setting(name)) => {
                    self.draft.variable(variable.as_ref(), &name, value.as_ref());
                }
                Some(Variable::CreateTopics) => topics = Some(value),
                Some(Variable::Separator) => separator = Some(value),
                None => {}
            }
        }
        let separator = separator.as_ref().map_or(",", AsRef::as_ref);
        match parse_topics(topics.as_ref().map_or("", AsRef::as_ref), separator) {
            Ok(topics) => self.topics.extend(topics),
            Err(error) => self.draft.fail(error.at("KAFKA_CREATE_TOPICS")),
        }
        self
    }

    /// Creates a topic when the cluster is opened, as [`Cluster::create_topic_if_missing`] does.
    pub fn create_topic_if_missing(mut self, topic: NewTopic) -> Self {
        self.topics.push(topic);
        self
    }

    /// Whether a directory that is empty or missing becomes a store when it is opened. Default: yes. Otherwise it is an
    /// error of kind [`NotAStore`](ErrorKind::NotAStore), and nothing is written.
    ///
    /// ```
    /// use brooklet::{Cluster, ErrorKind};
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let mistyped = dir.path().join("dtaa");
    /// let error = Cluster::builder().create_if_missing(false).open_at(&mistyped).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NotAStore);
    /// assert!(!mistyped.exists());
    /// ```
    pub fn create_if_missing(mut self, create: bool) -> Self {
        self.create_if_missing = create;
        self
    }

    /// When written bytes are forced to the disk (`brooklet.flush.policy`, `log.flush.interval.ms`,
    /// `log.flush.interval.messages`). Default: [`FlushPolicy::OnAck`]. Topics may have their own.
    pub fn flush_policy(mut self, policy: FlushPolicy) -> Self {
        for bound in [
            "log.flush.interval.ms",
            "log.flush.interval.messages",
            "log.flush.scheduler.interval.ms",
        ] {
            self.draft.unset(bound);
        }
        let name = match policy {
            FlushPolicy::OnAck => "on-ack",
            FlushPolicy::Os => "os",
            FlushPolicy::Interval { time, messages } => {
                self.draft.set("log.flush.interval.ms", time);
                if let Some(messages) = messages {
                    self.draft.set("log.flush.interval.messages", messages);
                }
                "interval"
            }
        };
        self.draft.set("brooklet.flush.policy", name);
        self
    }

    /// How files are read (`brooklet.read.mode`). Default: [`ReadMode::Auto`].
    pub fn read_mode(mut self, mode: ReadMode) -> Self {
        self.draft.set("brooklet.read.mode", mode.to_string().as_str());
        self
    }

    /// Which replica consumers with a [`client_rack`](crate::ConsumerBuilder::client_rack) read
    /// (`replica.selector.class`). Default: [`ReplicaSelector::Leader`].
    pub fn replica_selector(mut self, selector: ReplicaSelector) -> Self {
        self.draft.set("replica.selector.class", selector.to_string().as_str());
        self
    }

    /// How many bytes a second are read and checked in the background (`brooklet.scrub.bytes.per.second`): all
    /// partitions, one after the other, over and over. Default: 0, nothing is. See [`Cluster::background_scrub`].
    pub fn scrub_bytes_per_second(mut self, bytes: u64) -> Self {
        self.draft.set("brooklet.scrub.bytes.per.second", bytes);
        self
    }

    /// Whether opening refuses to cut what lies behind the last good batch of a partition (`brooklet.strict.open`).
    /// Default: no, it is cut, and a copy kept in a `.quarantine` file.
    ///
    /// Without a second replica a write that a power cut has torn cannot be told from records of the last second that
    /// have rotted since. Refused with [`TornTail`](ErrorKind::TornTail), the store is as it was: it can be copied or
    /// looked at (`brooklet dump-log`) before it is opened without this setting.
    ///
    /// ```
    /// use brooklet::{Cluster, ErrorKind};
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("data");
    /// let cluster = match Cluster::builder().strict_open(true).open_at(&path) {
    ///     Err(error) if error.kind() == ErrorKind::TornTail => {
    ///         eprintln!("{error}");
    ///         Cluster::open(&path)?
    ///     }
    ///     opened => opened?,
    /// };
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    pub fn strict_open(mut self, strict: bool) -> Self {
        self.draft.set("brooklet.strict.open", strict);
        self
    }

    /// Number of the broker (`node.id`). Default: the one that the store has; 1 for a new one. Opening a store that
    /// has another is an error.
    pub fn node_id(mut self, id: BrokerId) -> Self {
        self.draft.set("node.id", id.value());
        self
    }

    /// Partitions of topics that are created without saying how many (`num.partitions`). Default: 1.
    pub fn num_partitions(mut self, partitions: u32) -> Self {
        self.draft.set("num.partitions", partitions);
        self
    }

    /// Whether [`Cluster::topic`] and sending to a name create a topic that is not there
    /// (`auto.create.topics.enable`). Default: no, while Kafka's is yes: a typo is to be an error.
    pub fn auto_create_topics_enable(mut self, enable: bool) -> Self {
        self.draft.set("auto.create.topics.enable", enable);
        self
    }

    /// Whether topics can be deleted (`delete.topic.enable`). Default: yes.
    pub fn delete_topic_enable(mut self, enable: bool) -> Self {
        self.draft.set("delete.topic.enable", enable);
        self
    }

    /// Brings in an assignor of the application's own, for members that ask for it by its name
    /// ([`ConsumerBuilder::assignor`](crate::ConsumerBuilder::assignor)).
    pub fn assignor(mut self, assignor: impl Assignor + 'static) -> Self {
        self.assignors.push(Arc::new(assignor));
        self
    }

    /// Opens the stores of the brokers that were [named](Self::broker), or else the one in the directory that `log.dirs`,
    /// or `log.dir`, names.
    ///
    /// After a shutdown that was not clean, replicas that are in sync are asked which of them knows most, and that one
    /// leads.
    ///
    /// # Errors
    /// Those of [`Cluster::open`]. [`InvalidConfig`](ErrorKind::InvalidConfig) if no directory is named, or two for one
    /// broker; [`MetadataIncomplete`](ErrorKind::MetadataIncomplete) if a store is missing that may know of later changes
    /// of the metadata; [`MetadataDiverged`](ErrorKind::MetadataDiverged) if one of them was opened without the others
    /// (see [`accept_metadata_loss`](Self::accept_metadata_loss)).
    pub fn open(mut self) -> Result<Cluster> {
        let named = std::mem::take(&mut self.brokers);
        let ready = self.finish()?;
        if named.is_empty() {
            let path = ready.config.log_dir.clone().ok_or_else(|| {
                let why = "no directory to open: name brokers, or set log.dirs or log.dir";
                ConfigError::Invalid(why.to_owned())
            })?;
            let fs = Arc::new(OsFs::new(ready.config.read_mode));
            return ready.open(vec![(None, fs, path)]);
        }
        let mode = ready.config.read_mode;
        let place = |(id, directory)| match directory {
            Directory::Path(path) => (Some(id), Arc::new(OsFs::new(mode)) as _, path),
            #[cfg(any(test, feature = "sim"))]
            Directory::Disk(disk) => (Some(id), disk.file_system(), PathBuf::from("/")),
        };
        ready.open(named.into_iter().map(place).collect())
    }

    /// Opens the one store in a directory, see [`Cluster::open`]. The settings `log.dirs` and `log.dir` are not looked
    /// at.
    pub fn open_at(self, path: impl Into<PathBuf>) -> Result<Cluster> {
        let ready = self.finish()?;
        let fs = Arc::new(OsFs::new(ready.config.read_mode));
        ready.open(vec![(None, fs, path.into())])
    }

    /// A cluster in memory, see [`Cluster::in_memory`].
    pub fn in_memory(self) -> Result<Cluster> {
        let ready = self.create_if_missing(true).finish()?;
        let place = |id| (id, Arc::new(MemFs::default()) as _, PathBuf::from("/memory"));
        let places = ready.ids().map(place).collect();
        ready.open(places)
    }

    /// A cluster in a temporary directory, see [`Cluster::temp`].
    pub fn temp(self) -> Result<Cluster> {
        let ready = self.create_if_missing(true).finish()?;
        let mode = ready.config.read_mode;
        let place = |id| {
            let dir = tempfile::Builder::new().prefix("brooklet-").tempdir().map_err(|e| {
                let message = format!("cannot create a temporary directory: {e}");
                Error::new(ErrorKind::Storage, message)
            })?;
            let path = dir.path().to_owned();
            Ok((id, Arc::new(OsFs::new(mode).removing_at_end(dir)) as _, path))
        };
        let places = ready.ids().map(place).collect::<Result<_>>()?;
        ready.open(places)
    }

    /// Opens the store on a simulated disk, or makes one on an empty disk.
    #[cfg(any(test, feature = "sim"))]
    pub fn open_on(self, disk: &env::Disk) -> Result<Cluster> {
        self.finish()?.open(vec![(None, disk.file_system(), PathBuf::from("/"))])
    }

    fn finish(self) -> Result<Ready> {
        for notice in self.draft.notices() {
            log::warn!("{notice}");
        }
        #[cfg(any(test, feature = "sim"))]
        let runtime = env::runtime(self.clock.as_ref());
        #[cfg(not(any(test, feature = "sim")))]
        let runtime = env::runtime();
        let config = BrokerConfig::new(self.draft.finish()?)?;
        let groups = GroupConfig::new(&config.settings, self.assignors)?;
        let Self { topics, create_if_missing, accept_metadata_loss, count, racks, .. } = self;
        Ok(Ready {
            config,
            groups,
            runtime,
            topics,
            create_if_missing,
            accept_metadata_loss,
            count,
            racks,
        })
    }
}

/// Settings without mistakes.
struct Ready {
    config: BrokerConfig,
    groups: GroupConfig,
    runtime: Arc<dyn Runtime>,
    topics: Vec<NewTopic>,
    create_if_missing: bool,
    accept_metadata_loss: bool,
    count: i32,
    racks: BTreeMap<BrokerId, String>,
}

impl Ready {
    /// The numbers of the brokers of a cluster that names none. A single one has that of the settings.
    fn ids(&self) -> impl Iterator<Item = Option<BrokerId>> + use<> {
        let first = self.config.id.filter(|_| self.count == 1);
        (1..=self.count).map(move |id| first.or(BrokerId::new(id)))
    }

    fn open(
        self,
        places: Vec<(Option<BrokerId>, Arc<dyn FileSystem>, PathBuf)>,
    ) -> Result<Cluster> {
        let Self {
            config,
            groups,
            runtime,
            topics,
            create_if_missing,
            accept_metadata_loss,
            racks,
            ..
        } = self;
        let default_rack = config.rack.clone();
        let broker = |(id, fs, root): (Option<BrokerId>, _, _)| {
            let rack = id.and_then(|id| racks.get(&id).cloned()).or_else(|| default_rack.clone());
            OpenBroker { id, place: BrokerPlace { fs, root, rack } }
        };
        let brokers = places.into_iter().map(broker).collect();
        let core = Running::new(Core::open(OpenCluster {
            brokers,
            create_if_missing,
            accept_metadata_loss,
            config,
            runtime,
        })?);
        let groups = GroupCoordinator::new(&core, groups);
        let is_missing = |topic: &NewTopic| core.topic(topic.name()).is_err();
        let missing = topics.into_iter().filter(is_missing).map(NewTopic::into_create);
        for created in core.create_topics(missing)? {
            match created {
                // Named twice.
                Ok(_) | Err(ClusterError::TopicExists(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Cluster::new(Arc::new(core), groups))
    }
}

/// Topics as in `KAFKA_CREATE_TOPICS`: `name:partitions:replication[:cleanup.policy]`, one a line or with `separator`
/// between them.
fn parse_topics(text: &str, separator: &str) -> Result<Vec<NewTopic>, ConfigError> {
    let entries = text.lines().flat_map(|line| match separator {
        "" => vec![line],
        separator => line.split(separator).collect(),
    });
    let entries = entries.map(str::trim).filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            parse_topic(entry).ok_or_else(|| {
                let entry = entry.chars().take(64).collect::<String>();
                ConfigError::Invalid(format!(
                    "{entry:?} is not name:partitions:replication[:cleanup.policy]"
                ))
            })
        })
        .collect()
}

fn parse_topic(entry: &str) -> Option<NewTopic> {
    let mut parts = entry.split(':').map(str::trim);
    let (name, partitions, replicas) = (parts.next()?, parts.next()?, parts.next()?);
    let topic = NewTopic::new(name).partitions(partitions.parse().ok()?);
    let topic = topic.replication_factor(replicas.parse().ok()?);
    let topic = match parts.next() {
        Some(policy) => topic.config("cleanup.policy", policy),
        None => topic,
    };
    parts.next().is_none().then_some(topic)
}
