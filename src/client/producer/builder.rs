//! How a producer is configured.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Acks, Compression, Config, ConfigError, Draft, ReadConfig, Scope};
use crate::client::interceptor::{Interceptors, ProducerInterceptor};
use crate::client::producer::Producer;
use crate::client::producer::partitioner::{Custom, Partitioner};
use crate::client::{Error, Result, properties};
use crate::cluster::Running;
use crate::record::check_codec;

/// Settings of a [`Producer`], under Kafka's names.
///
/// ```
/// use brooklet::{Acks, Cluster};
/// use std::time::Duration;
///
/// let cluster = Cluster::in_memory()?;
/// let producer = cluster
///     .producer()
///     .acks(Acks::All)
///     .batch_size(64 << 10)
///     .linger(Duration::from_millis(5))
///     .build()?;
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct ProducerBuilder {
    core: Arc<Running>,
    pub(super) draft: Draft,
    interceptors: Interceptors<dyn ProducerInterceptor>,
    partitioner: Custom,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) client_id: String,
    pub(super) acks: Acks,
    pub(super) compression: Compression,
    pub(super) level: Option<i32>,
    pub(super) batch_size: usize,
    pub(super) linger: Duration,
    pub(super) buffer_memory: usize,
    pub(super) max_block: Duration,
    pub(super) max_in_flight: usize,
    pub(super) max_request_size: usize,
    pub(super) ignore_keys: bool,
    pub(super) idempotent: bool,
    pub(super) retries: u32,
    pub(super) retry_backoff: Duration,
    pub(super) retry_backoff_max: Duration,
    pub(super) delivery_timeout: Duration,
}

impl Settings {
    pub(super) fn read(config: &Config) -> Result<Self, ConfigError> {
        let compression = config.parsed("compression.type", Compression::parse)?;
        let level = match compression {
            Compression::Gzip => config.optional("compression.gzip.level")?,
            Compression::Zstd => Some(config.number("compression.zstd.level")?),
            Compression::None | Compression::Snappy | Compression::Lz4 => None,
        };
        Ok(Self {
            client_id: config.text("client.id")?,
            acks: config.parsed("acks", Acks::parse)?,
            compression,
            level,
            batch_size: config.number("batch.size")?,
            linger: config.duration("linger.ms")?,
            buffer_memory: config.number("buffer.memory")?,
            max_block: config.duration("max.block.ms")?,
            max_in_flight: config.number("max.in.flight.requests.per.connection")?,
            max_request_size: config.number("max.request.size")?,
            ignore_keys: config.bool("partitioner.ignore.keys")?,
            idempotent: is_idempotent(config)?,
            retries: config.number("retries")?,
            retry_backoff: config.duration("retry.backoff.ms")?,
            retry_backoff_max: config.duration("retry.backoff.max.ms")?,
            delivery_timeout: delivery_timeout(config)?,
        })
    }
}

/// Kafka's rules: who asks for it must ask for what it needs; as a default it gives way to other settings.
fn is_idempotent(config: &Config) -> Result<bool, ConfigError> {
    let needs = [
        ("acks=all", config.parsed("acks", Acks::parse)? == Acks::All),
        ("retries of 1 or more", config.number::<u32>("retries")? > 0),
    ];
    let missing = needs.into_iter().find(|(_, is_met)| !is_met).map(|(need, _)| need);
    match (config.bool("enable.idempotence")?, missing) {
        (true, Some(need)) if config.is_set("enable.idempotence") => {
            Err(ConfigError::Invalid(format!("enable.idempotence=true needs {need}")))
        }
        (wanted, missing) => Ok(wanted && missing.is_none()),
    }
}

/// Kafka's rule, less `request.timeout.ms`, which has no meaning here: a batch must not be given up while it lingers.
fn delivery_timeout(config: &Config) -> Result<Duration, ConfigError> {
    let (timeout, linger) =
        (config.duration("delivery.timeout.ms")?, config.duration("linger.ms")?);
    if timeout >= linger {
        return Ok(timeout);
    }
    if config.is_set("delivery.timeout.ms") {
        let [timeout, linger] = [timeout, linger].map(|time| time.as_millis());
        return Err(ConfigError::Invalid(format!(
            "delivery.timeout.ms={timeout} is less than linger.ms={linger}"
        )));
    }
    Ok(linger.saturating_add(timeout))
}

impl ProducerBuilder {
    pub(in crate::client) fn new(core: Arc<Running>) -> Self {
        let draft = Draft::new(Scope::Producer);
        Self { core, draft, interceptors: Interceptors::default(), partitioner: Custom::default() }
    }

    /// Sets a setting by Kafka's name and in Kafka's units: `config("linger.ms", 5)`. All settings:
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

    /// A name that tells producers apart (`client.id`). Default: none.
    pub fn client_id(mut self, id: impl AsRef<str>) -> Self {
        self.draft.set("client.id", id.as_ref());
        self
    }

    /// When a send counts as done (`acks`). Default: [`Acks::All`].
    pub fn acks(mut self, acks: Acks) -> Self {
        self.draft.set("acks", acks.to_string().as_str());
        self
    }

    /// Codec of the batches (`compression.type`). Default: none.
    pub fn compression(mut self, codec: Compression) -> Self {
        self.draft.set("compression.type", codec.to_string().as_str());
        self
    }

    /// Level of gzip (`compression.gzip.level`), 1 to 9, or -1 for the library's default, which is the default.
    pub fn compression_gzip_level(mut self, level: i32) -> Self {
        self.draft.set("compression.gzip.level", level);
        self
    }

    /// Level of Zstandard (`compression.zstd.level`), -131072 to 22. Default: 3.
    pub fn compression_zstd_level(mut self, level: i32) -> Self {
        self.draft.set("compression.zstd.level", level);
        self
    }

    /// Size in bytes at which a batch is full (`batch.size`), up to 2³¹ − 1. Default: 16384; 0 gives each record a
    /// batch of its own. Without [`linger`](Self::linger), batches grow past it while the log is busy, up to 256 KiB.
    pub fn batch_size(mut self, bytes: usize) -> Self {
        self.draft.set("batch.size", bytes);
        self
    }

    /// How long a batch waits for more records before it is written (`linger.ms`). Default: zero. A full batch, a
    /// caller who waits for it, and [`flush`](Producer::flush) end the waiting.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.draft.set("linger.ms", linger);
        self
    }

    /// Bytes that records may take up between send and acknowledgement (`buffer.memory`), 1 or more.
    /// Default: 32 MiB.
    pub fn buffer_memory(mut self, bytes: usize) -> Self {
        self.draft.set("buffer.memory", bytes);
        self
    }

    /// How long a send waits for room in the buffer (`max.block.ms`). Default: 60 s.
    pub fn max_block(mut self, limit: Duration) -> Self {
        self.draft.set("max.block.ms", limit);
        self
    }

    /// A send whose record does not fit into the open batch waits while so many batches of the partition are on
    /// their way (`max.in.flight.requests.per.connection`), 1 to 5. Default: 5.
    pub fn max_in_flight(mut self, batches: u32) -> Self {
        self.draft.set("max.in.flight.requests.per.connection", batches);
        self
    }

    /// Largest record in bytes, with what the format adds and before compression (`max.request.size`), 1 to 2³¹ − 1.
    /// Default: 1 MiB.
    pub fn max_request_size(mut self, bytes: usize) -> Self {
        self.draft.set("max.request.size", bytes);
        self
    }

    /// Whether records with a key are spread over the partitions like those without (`partitioner.ignore.keys`).
    /// Default: no, equal keys go to the same partition.
    pub fn partitioner_ignore_keys(mut self, ignore: bool) -> Self {
        self.draft.set("partitioner.ignore.keys", ignore);
        self
    }

    /// Whether retries make no duplicates, and keep the order (`enable.idempotence`, KIP-98). Default: yes, if
    /// [`acks`](Self::acks) is [`Acks::All`] and [`retries`](Self::retries) are not 0; asked for, it needs both.
    pub fn enable_idempotence(mut self, enable: bool) -> Self {
        self.draft.set("enable.idempotence", enable);
        self
    }

    /// How often a batch that could not be written is tried again (`retries`), up to 2³¹ − 1, which is the default:
    /// [`delivery_timeout`](Self::delivery_timeout) ends it. Only what may succeed by itself is tried again:
    /// a write that failed and left no trace. A full disk is told at once
    /// ([`StorageFull`](crate::ErrorKind::StorageFull)).
    pub fn retries(mut self, retries: u32) -> Self {
        self.draft.set("retries", retries);
        self
    }

    /// How long after a failure a batch is tried again (`retry.backoff.ms`); twice as long after each further one, 20 %
    /// more or less. Default: 100 ms.
    pub fn retry_backoff(mut self, time: Duration) -> Self {
        self.draft.set("retry.backoff.ms", time);
        self
    }

    /// Longest time between two attempts (`retry.backoff.max.ms`). Default: 1 s.
    pub fn retry_backoff_max(mut self, time: Duration) -> Self {
        self.draft.set("retry.backoff.max.ms", time);
        self
    }

    /// Records that are not acknowledged this long after the first of their batch fail (`delivery.timeout.ms`). Not less than [`linger`](Self::linger). Default: 2 minutes.
    pub fn delivery_timeout(mut self, time: Duration) -> Self {
        self.draft.set("delivery.timeout.ms", time);
        self
    }

    /// Chooses partitions in place of Kafka's default (`partitioner.class`), for records that name none.
    pub fn partitioner(mut self, partitioner: impl Partitioner + 'static) -> Self {
        self.partitioner = Custom(Some(Arc::new(partitioner)));
        self
    }

    /// Adds an interceptor, which is called after those added before.
    pub fn interceptor(mut self, interceptor: impl ProducerInterceptor + 'static) -> Self {
        self.interceptors.push(Arc::new(interceptor));
        self
    }

    /// The producer.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for an unknown setting or a value out of range;
    /// [`UnsupportedCompressionType`](crate::ErrorKind::UnsupportedCompressionType) if the codec was left out of this build;
    /// [`Closed`](crate::ErrorKind::Closed).
    pub fn build(self) -> Result<Producer> {
        let Self { core, draft, interceptors, partitioner } = self;
        if core.is_closed() {
            return Err(Error::closed());
        }
        for notice in draft.notices() {
            log::warn!("{notice}");
        }
        let settings = Settings::read(&draft.finish()?)?;
        check_codec(settings.compression, settings.level)?;
        Ok(Producer::new(core, settings, interceptors, partitioner))
    }
}
