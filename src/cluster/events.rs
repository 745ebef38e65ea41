//! What happens in a cluster, for those who want to hear of it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::base::{BrokerId, LeaderEpoch, TopicPartition};
use crate::cluster::metadata::{Image, MetadataRecord};
use crate::env::Runtime;
use crate::env::sync::{Event, Mutex};

/// Something that has happened in a cluster: see [`Cluster::events`](crate::Cluster::events).
///
/// ```
/// use brooklet::{Cluster, ClusterEvent, NewTopic};
///
/// let cluster = Cluster::builder().brokers(2).in_memory()?;
/// cluster.create_topic(NewTopic::new("email").replication_factor(2))?;
/// let mut events = cluster.events();
/// cluster.broker(1)?.stop()?;
/// let moved = events.find(|event| matches!(event, ClusterEvent::LeaderChanged { .. }));
/// println!("{}", moved.unwrap()); // email-0: broker 2 leads, epoch 1
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ClusterEvent {
    /// A partition has another leader, or none.
    LeaderChanged {
        /// Which partition.
        partition: TopicPartition,
        /// The broker that leads it now.
        leader: Option<BrokerId>,
        /// Its term.
        epoch: LeaderEpoch,
    },
    /// Other replicas of a partition are in sync.
    IsrChanged {
        /// Which partition.
        partition: TopicPartition,
        /// The brokers whose replicas are in sync now.
        isr: Vec<BrokerId>,
    },
    /// Another broker is the controller.
    ControllerChanged {
        /// Which broker.
        broker: BrokerId,
        /// Its term: counts all controllers that the cluster has had.
        epoch: i32,
    },
    /// A broker has been started.
    BrokerStarted(BrokerId),
    /// A broker was stopped, or has crashed.
    BrokerStopped(BrokerId),
    /// A broker was added to the cluster.
    BrokerAdded(BrokerId),
    /// A broker was removed from the cluster.
    BrokerRemoved(BrokerId),
    /// A replica could not be written or synced: it is out of sync.
    ReplicaFailed {
        /// Which partition.
        partition: TopicPartition,
        /// The broker with the replica.
        broker: BrokerId,
    },
}

/// A line.
impl fmt::Display for ClusterEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeaderChanged { partition, leader: Some(leader), epoch } => {
                write!(f, "{partition}: broker {leader} leads, epoch {epoch}")
            }
            Self::LeaderChanged { partition, leader: None, epoch } => {
                write!(f, "{partition}: nobody leads, epoch {epoch}")
            }
            Self::IsrChanged { partition, isr } => {
                let isr = isr.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
                write!(f, "{partition}: in sync {isr}")
            }
            Self::ControllerChanged { broker, epoch } => {
                write!(f, "broker {broker} is the controller, epoch {epoch}")
            }
            Self::BrokerStarted(broker) => write!(f, "broker {broker} started"),
            Self::BrokerStopped(broker) => write!(f, "broker {broker} stopped"),
            Self::BrokerAdded(broker) => write!(f, "broker {broker} added"),
            Self::BrokerRemoved(broker) => write!(f, "broker {broker} removed"),
            Self::ReplicaFailed { partition, broker } => {
                write!(f, "{partition}: the replica on broker {broker} has failed")
            }
        }
    }
}

/// What has happened in a cluster since this was asked for, in order: see
/// [`Cluster::events`](crate::Cluster::events).
///
/// ```
/// use brooklet::{Cluster, ClusterEvent};
/// use std::time::Duration;
///
/// let cluster = Cluster::builder().brokers(2).in_memory()?;
/// let two = cluster.broker(2)?;
/// let events = cluster.events();
/// two.stop()?;
/// while let Some(event) = events.next_timeout(Duration::from_secs(10)) {
///     println!("{event}");
///     if event == ClusterEvent::BrokerStopped(two.id()) {
///         break;
///     }
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Debug)]
pub struct ClusterEvents {
    inbox: Arc<Inbox>,
    runtime: Arc<dyn Runtime>,
}

#[derive(Debug, Default)]
struct Inbox {
    events: Mutex<VecDeque<ClusterEvent>>,
    arrived: Event,
}

/// Events that are kept for somebody who does not take them. The oldest go first.
const MAX_KEPT: usize = 100_000;

impl ClusterEvents {
    /// The next event, if there is one.
    pub fn try_next(&self) -> Option<ClusterEvent> {
        self.inbox.events.lock().pop_front()
    }

    /// The next event. Waits for it up to `timeout`.
    pub fn next_timeout(&self, timeout: Duration) -> Option<ClusterEvent> {
        let deadline = self.runtime.now().after(timeout);
        loop {
            let listener = self.inbox.arrived.listen();
            if let Some(event) = self.try_next() {
                return Some(event);
            }
            if !self.runtime.park(listener, deadline) {
                return self.try_next();
            }
        }
    }
}

/// Those that there are by now.
impl Iterator for ClusterEvents {
    type Item = ClusterEvent;

    fn next(&mut self) -> Option<ClusterEvent> {
        self.try_next()
    }
}

/// Wants to know that the metadata has changed.
pub(crate) trait MetadataListener: Send + Sync + fmt::Debug {
    /// Called after each change, before it is answered, with no lock and no role held. It is not to take long.
    fn metadata_changed(&self);
}

/// Tells events to all who want to hear of them.
#[derive(Debug)]
pub(crate) struct Events {
    inboxes: Mutex<Vec<Weak<Inbox>>>,
    runtime: Arc<dyn Runtime>,
}

impl Events {
    pub(super) fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self { inboxes: Mutex::default(), runtime }
    }

    /// All that happens from now on.
    pub(crate) fn listen(&self) -> ClusterEvents {
        let inbox = Arc::new(Inbox::default());
        self.inboxes.lock().push(Arc::downgrade(&inbox));
        ClusterEvents { inbox, runtime: Arc::clone(&self.runtime) }
    }

    pub(super) fn tell(&self, events: impl IntoIterator<Item = ClusterEvent>) {
        let mut inboxes = self.inboxes.lock();
        inboxes.retain(|inbox| inbox.strong_count() > 0);
        let inboxes = inboxes.iter().filter_map(Weak::upgrade).collect::<Vec<_>>();
        for event in events {
            for inbox in &inboxes {
                let mut kept = inbox.events.lock();
                if kept.len() >= MAX_KEPT {
                    kept.pop_front();
                }
                kept.push_back(event.clone());
            }
        }
        inboxes.iter().for_each(|inbox| _ = inbox.arrived.notify(usize::MAX));
    }

    /// What a record tells, of a cluster that was like this before.
    pub(super) fn of(record: &MetadataRecord, before: &Image) -> Vec<ClusterEvent> {
        match record {
            MetadataRecord::BrokerRegistered { broker, .. } => {
                let is_new = !before.brokers().contains_key(broker);
                is_new.then_some(ClusterEvent::BrokerAdded(*broker)).into_iter().collect()
            }
            MetadataRecord::BrokerRemoved { broker } => vec![ClusterEvent::BrokerRemoved(*broker)],
            MetadataRecord::PartitionChanged { id, partition, to } => {
                let Some(topic) = before.by_id(*id) else { return Vec::new() };
                let Some(known) = topic.partition(*partition) else { return Vec::new() };
                let partition = TopicPartition::new(topic.name.clone(), *partition);
                let mut events = Vec::new();
                if to.leader != known.leader {
                    let (partition, leader) = (partition.clone(), to.leader);
                    let epoch = to.leader_epoch;
                    events.push(ClusterEvent::LeaderChanged { partition, leader, epoch });
                }
                if to.isr != known.isr {
                    events.push(ClusterEvent::IsrChanged { partition, isr: to.isr.clone() });
                }
                events
            }
            _ => Vec::new(),
        }
    }
}
