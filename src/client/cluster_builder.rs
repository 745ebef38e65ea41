//! How a cluster is configured and opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::{
    BrokerId, ConfigError, Draft, ErrorKind, FlushPolicy, ReadMode, Scope, Variable,
};
use crate::client::{Cluster, Error, NewTopic, Result, properties};
use crate::cluster::{BrokerConfig, ClusterError, Core, OpenCluster};
use crate::env;
use crate::env::{FileSystem, MemFs, OsFs};

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
}

impl ClusterBuilder {
    pub(super) fn new() -> Self {
        Self { draft: Draft::new(Scope::Broker), topics: Vec::new(), create_if_missing: true }
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
    /// let error = Cluster::builder().create_if_missing(false).open(&mistyped).unwrap_err();
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

    /// Opens the store in a directory, see [`Cluster::open`]. The settings `log.dirs` and `log.dir` are not looked
    /// at.
    pub fn open(self, path: impl Into<PathBuf>) -> Result<Cluster> {
        let ready = self.finish()?;
        let fs = Arc::new(OsFs::new(ready.config.read_mode));
        ready.open(fs, path.into())
    }

    /// Opens the store in the directory that `log.dirs`, or else `log.dir`, names.
    ///
    /// # Errors
    /// Those of [`Cluster::open`], and [`InvalidConfig`](ErrorKind::InvalidConfig) if neither is set.
    pub fn open_log_dir(self) -> Result<Cluster> {
        let mut ready = self.finish()?;
        let path = ready.config.log_dir.take().ok_or_else(|| {
            ConfigError::Invalid("no directory to open: set log.dirs or log.dir".to_owned())
        })?;
        let fs = Arc::new(OsFs::new(ready.config.read_mode));
        ready.open(fs, path)
    }

    /// A cluster in memory, see [`Cluster::in_memory`].
    pub fn in_memory(self) -> Result<Cluster> {
        self.create_if_missing(true)
            .finish()?
            .open(Arc::new(MemFs::default()), PathBuf::from("/memory"))
    }

    /// A cluster in a temporary directory, see [`Cluster::temp`].
    pub fn temp(self) -> Result<Cluster> {
        let ready = self.create_if_missing(true).finish()?;
        let dir = tempfile::Builder::new().prefix("brooklet-").tempdir().map_err(|e| {
            Error::new(ErrorKind::Storage, format!("cannot create a temporary directory: {e}"))
        })?;
        let path = dir.path().to_owned();
        let fs = OsFs::new(ready.config.read_mode).removing_at_end(dir);
        ready.open(Arc::new(fs), path)
    }

    /// Opens the store on a simulated disk, or makes one on an empty disk.
    #[cfg(any(test, feature = "sim"))]
    pub fn open_on(self, disk: &env::Disk) -> Result<Cluster> {
        self.finish()?.open(disk.file_system(), PathBuf::from("/"))
    }

    fn finish(self) -> Result<Ready> {
        for notice in self.draft.notices() {
            log::warn!("{notice}");
        }
        let config = BrokerConfig::new(self.draft.finish()?)?;
        Ok(Ready { config, topics: self.topics, create_if_missing: self.create_if_missing })
    }
}

/// Settings without mistakes.
struct Ready {
    config: BrokerConfig,
    topics: Vec<NewTopic>,
    create_if_missing: bool,
}

impl Ready {
    fn open(self, fs: Arc<dyn FileSystem>, root: PathBuf) -> Result<Cluster> {
        let Self { config, topics, create_if_missing } = self;
        let runtime = env::runtime();
        let core = Core::open(OpenCluster { fs, root, create_if_missing, config, runtime })?;
        let is_missing = |topic: &NewTopic| core.topic(topic.name()).is_err();
        let missing = topics.into_iter().filter(is_missing).map(NewTopic::into_create);
        for created in core.create_topics(missing)? {
            match created {
                // Named twice.
                Ok(_) | Err(ClusterError::TopicExists(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Cluster::new(core))
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
