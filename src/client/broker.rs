//! A broker, as applications see it.

use std::fmt;
use std::sync::Arc;

use crate::base::{BrokerId, TopicId};
use crate::client::Result;
use crate::cluster::{self, Core, Running};

/// A broker of a [`Cluster`](crate::Cluster): a store, and the replicas in it. A handle, cheap to clone.
///
/// ```
/// use brooklet::{Cluster, NewTopic, Record};
///
/// let cluster = Cluster::builder().brokers(2).in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email").replication_factor(2))?;
/// let producer = cluster.producer().build()?;
/// producer.send(Record::to(&email).value("welcome"))?.wait()?;
///
/// let leader = email.partition(0)?.describe()?.leader.unwrap();
/// let leader = cluster.broker(leader.value())?;
/// leader.stop()?;
/// producer.send(Record::to(&email).value("goodbye"))?.wait()?; // to the other one
/// leader.start()?;
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone)]
pub struct Broker {
    core: Arc<Running>,
    broker: Arc<cluster::Broker>,
}

impl Broker {
    pub(super) fn new(core: Arc<Running>, broker: Arc<cluster::Broker>) -> Self {
        Self { core, broker }
    }

    /// Its number (`node.id`).
    pub fn id(&self) -> BrokerId {
        self.broker.id
    }

    /// Where it stands (`broker.rack`), if that was said.
    pub fn rack(&self) -> Option<&str> {
        self.broker.place.rack.as_deref()
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.broker.store().is_some()
    }

    /// Whether it is the controller.
    pub fn is_controller(&self) -> bool {
        self.core.controller().log().controller().is_some_and(|(id, _)| id == self.id())
    }

    /// Stops the broker as Kafka's controlled shutdown does: first others lead what it leads, then it writes and syncs
    /// everything, and its directory is released. Nothing that was acknowledged is lost. What it alone has in sync is
    /// led by nobody until it is [started](Self::start) again. If no other broker that runs knows all of the metadata
    /// yet, that is waited for, 5 s at most. Nothing happens if it is stopped.
    ///
    /// # Errors
    /// [`Storage`](crate::ErrorKind::Storage) if something could not be written or synced: it is stopped all the same,
    /// and will recover when it is started. [`InvalidState`](crate::ErrorKind::InvalidState) if somebody else is starting
    /// or stopping it.
    pub fn stop(&self) -> Result<()> {
        Ok(self.core.stop_broker(self.id())?)
    }

    /// Starts a broker that was stopped or has crashed, from its directory. It follows the leaders of its partitions, and
    /// is in sync when it has caught up. Nothing happens if it runs.
    ///
    /// # Errors
    /// Those of [`Cluster::open`](crate::Cluster::open).
    pub fn start(&self) -> Result<()> {
        Ok(self.core.start_broker(self.id())?)
    }

    /// Ends the broker as a loss of its power does: nothing more of it is written, nothing is closed, and nobody gets
    /// an answer from it any more. What others have in sync they lead from now on.
    ///
    /// # Errors
    /// [`InvalidState`](crate::ErrorKind::InvalidState) if somebody else is starting or stopping it.
    #[cfg(any(test, feature = "sim"))]
    pub fn crash(&self) -> Result<()> {
        Ok(self.core.crash_broker(self.id())?)
    }

    /// Has the broker's replicas of topics copy nothing from their leaders, until [`resume`](Self::resume). Returns when what
    /// they were copying is done.
    #[cfg(any(test, feature = "sim"))]
    pub fn pause(&self) {
        self.core.network().set_delay(self.id(), None);
    }

    /// Has the broker's replicas of topics copy only this long after they could.
    #[cfg(any(test, feature = "sim"))]
    pub fn slow_down(&self, delay: std::time::Duration) {
        self.core.network().set_delay(self.id(), Some(delay));
    }

    /// Ends a pause, or a slow time.
    #[cfg(any(test, feature = "sim"))]
    pub fn resume(&self) {
        self.core.network().set_delay(self.id(), Some(std::time::Duration::ZERO));
    }

    /// Cuts the link to another broker: neither copies from the other, until [`reconnect`](Self::reconnect).
    #[cfg(any(test, feature = "sim"))]
    pub fn disconnect(&self, other: &Self) {
        self.core.network().set_cut(self.id(), other.id(), true);
    }

    /// Mends the link to another broker.
    #[cfg(any(test, feature = "sim"))]
    pub fn reconnect(&self, other: &Self) {
        self.core.network().set_cut(self.id(), other.id(), false);
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.broker.fmt(f)
    }
}

/// A cluster's controller and brokers, from [`Cluster::describe`](crate::Cluster::describe).
///
/// ```
/// use brooklet::Cluster;
///
/// let cluster = Cluster::builder().brokers(3).in_memory()?;
/// cluster.broker(1)?.stop()?;
/// let description = cluster.describe()?;
/// let away = description.brokers.iter().filter(|broker| !broker.is_running).map(|broker| broker.id.value());
/// assert_eq!(away.collect::<Vec<_>>(), [1]);
/// assert_eq!(description.metadata_isr.len(), 2); // either can be the controller
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ClusterDescription {
    /// The id that all stores of the cluster carry.
    pub id: TopicId,
    /// The broker that is the controller, `None` if none can be.
    pub controller: Option<BrokerId>,
    /// Counts the controllers that the cluster has had.
    pub controller_epoch: i32,
    /// The brokers that have every change of the metadata: any of them can be the controller. Those that were away catch
    /// up first.
    ///
    /// Who stops brokers one after the other waits for each to be among these again, a moment after it is back: when the last
    /// of them ends, there is no controller until one of them is back.
    pub metadata_isr: Vec<BrokerId>,
    /// All brokers, in the order of their numbers.
    pub brokers: Vec<BrokerDescription>,
}

/// A broker, as part of a [`ClusterDescription`].
///
/// ```
/// use brooklet::Cluster;
///
/// let cluster = Cluster::builder().brokers(2).rack(1, "north").rack(2, "south").in_memory()?;
/// for broker in cluster.describe()?.brokers {
///     println!("broker {} in rack {:?} {}", broker.id, broker.rack, if broker.is_running { "runs" } else { "is away" });
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct BrokerDescription {
    /// Its number.
    pub id: BrokerId,
    /// Where it stands, if that was said.
    pub rack: Option<String>,
    /// Whether it runs.
    pub is_running: bool,
}

impl ClusterDescription {
    pub(super) fn of(core: &Core) -> Result<Self> {
        core.check_open()?;
        let controller = core.controller().log().controller();
        let describe = |broker: Arc<cluster::Broker>| BrokerDescription {
            id: broker.id,
            rack: broker.place.rack.clone(),
            is_running: broker.store().is_some(),
        };
        Ok(Self {
            id: core.id(),
            controller: controller.map(|(broker, _)| broker),
            controller_epoch: core.controller().with_image(|image| image.controller_epoch()),
            metadata_isr: core.controller().with_image(|image| image.members().to_vec()),
            brokers: core.brokers().all().into_iter().map(describe).collect(),
        })
    }
}
