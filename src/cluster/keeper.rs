//! What the cluster does by itself: changes of who is in sync, failures of disks, leaders that get their office back.
//!
//! Each is asked for at the moment when it is found out, with locks and roles of a replica held perhaps, and done here,
//! on the keeper's thread.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::base::{Backoff, BrokerId, LeaderEpoch, PartitionId, TopicId, TopicPartition};
use crate::cluster::change::{AlterIsr, AlterMembers, Change, ElectionKind};
use crate::cluster::events::ClusterEvent;
use crate::cluster::metadata_log::METADATA_ID;
use crate::cluster::{ClusterError, Core, Drive};
use crate::env::Moment;
use crate::env::sync::Mutex;
use crate::replica::Replica;

/// How long a leader waits that was refused other replicas in sync, or not heard: in the end as in Kafka, but less at first,
/// since a broker that has just begun copies the metadata before it is known to run.
const ASK_AGAIN: Backoff =
    Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(50) };

/// A leader whose followers have come so far, or stayed behind so long, that others are in sync.
pub(super) struct OutdatedIsr {
    core: Weak<Core>,
    leader: Weak<Replica>,
    /// What was asked for before, of which it is not known whether it will be recorded. Until then it counts.
    asked: Mutex<Option<Change>>,
    /// How often nothing has come of it, in a row.
    refused: AtomicU32,
}

impl OutdatedIsr {
    pub(super) fn new(core: &Arc<Core>, leader: &Arc<Replica>) -> Self {
        let (core, leader) = (Arc::downgrade(core), Arc::downgrade(leader));
        Self { core, leader, asked: Mutex::default(), refused: AtomicU32::new(0) }
    }

    fn change(&self, leader: &Replica) -> Option<Change> {
        let asked = self.asked.lock().take();
        asked.or_else(|| {
            let (state, isr) = leader.propose_isr()?;
            Some(match leader.topic_id() {
                METADATA_ID => Change::AlterMembers(AlterMembers {
                    epoch: state.leader_epoch,
                    version: state.partition_epoch,
                    members: isr,
                }),
                id => Change::AlterIsr(AlterIsr {
                    id,
                    partition: leader.partition().partition,
                    leader_epoch: state.leader_epoch,
                    partition_epoch: state.partition_epoch,
                    isr,
                }),
            })
        })
    }
}

impl Drive for OutdatedIsr {
    fn drive(&self, now: Moment) -> Option<Moment> {
        let (core, leader) = (self.core.upgrade()?, self.leader.upgrade()?);
        let before = leader.state().partition_epoch;
        let Some(change) = self.change(&leader) else {
            return leader.isr_was_asked_for().then_some(now);
        };
        let made = core.controller().submit(change.clone()).map(drop);
        // That a controller fails is a change of the metadata log, too.
        let is_news = made.is_ok() || leader.topic_id() != METADATA_ID;
        match made {
            // The leader knows by now.
            Ok(()) => leader.proposal_failed(),
            Err(error) => {
                log::info!("{}: others would be in sync, but {error}", leader.partition());
                match error {
                    ClusterError::NotRecorded(_) => *self.asked.lock() = Some(change),
                    _ => leader.proposal_failed(),
                }
            }
        }
        if core.is_closed() || now == Moment::since_start(Duration::MAX) {
            return None;
        }
        if is_news && leader.state().partition_epoch > before {
            self.refused.store(0, Ordering::Relaxed);
            // What came up meanwhile was left to this.
            return Some(now);
        }
        let refused = self.refused.fetch_add(1, Ordering::Relaxed);
        now.after(ASK_AGAIN.after(refused, core.runtime().random()))
    }
}

/// A leader with followers that are behind.
pub(super) struct LagWatch(Weak<Replica>);

impl LagWatch {
    pub(super) fn new(leader: &Arc<Replica>) -> Self {
        Self(Arc::downgrade(leader))
    }
}

impl Drive for LagWatch {
    fn drive(&self, now: Moment) -> Option<Moment> {
        if now == Moment::since_start(Duration::MAX) {
            return None;
        }
        self.0.upgrade()?.look_at_lag(now)
    }
}

/// A leader whose followers have not heard of its high watermark.
pub(super) struct News(Weak<Replica>);

impl News {
    pub(super) fn new(leader: &Arc<Replica>) -> Self {
        Self(Arc::downgrade(leader))
    }
}

impl Drive for News {
    fn drive(&self, _now: Moment) -> Option<Moment> {
        self.0.upgrade()?.tell_followers();
        None
    }
}

/// A replica that cannot be written.
pub(super) struct Failed {
    core: Weak<Core>,
    id: TopicId,
    partition: TopicPartition,
    broker: BrokerId,
    epoch: LeaderEpoch,
    /// Nobody was told of it yet.
    is_news: bool,
}

impl Failed {
    pub(super) fn new(core: &Arc<Core>, replica: &Replica) -> Self {
        Self {
            core: Arc::downgrade(core),
            id: replica.topic_id(),
            partition: replica.partition().clone(),
            broker: replica.broker(),
            epoch: replica.led_by().1,
            is_news: replica.is_failure_news(),
        }
    }
}

impl Drive for Failed {
    fn drive(&self, _now: Moment) -> Option<Moment> {
        let core = self.core.upgrade()?;
        let (broker, partition) = (self.broker, self.partition.clone());
        if self.is_news {
            core.controller().events().tell([ClusterEvent::ReplicaFailed { partition, broker }]);
        }
        if self.id == METADATA_ID {
            // Whoever records something finds out.
            return None;
        }
        let change = Change::ReplicaFailed {
            id: self.id,
            partition: self.partition.partition,
            broker,
            epoch: self.epoch,
        };
        if let Err(error) = core.controller().submit(change) {
            log::warn!("{} on broker {broker} has failed, and {error}", self.partition);
        }
        None
    }
}

/// A replica that cannot be opened.
pub(super) struct Unfit {
    core: Weak<Core>,
    place: (TopicId, PartitionId),
    broker: BrokerId,
}

impl Unfit {
    pub(super) fn new(core: &Weak<Core>, place: (TopicId, PartitionId), broker: BrokerId) -> Self {
        Self { core: Weak::clone(core), place, broker }
    }
}

impl Drive for Unfit {
    fn drive(&self, _now: Moment) -> Option<Moment> {
        let core = self.core.upgrade()?;
        let (id, partition) = self.place;
        if let Err(error) =
            core.controller().submit(Change::ReplicaUnfit(id, partition, self.broker))
        {
            log::warn!("a replica on broker {} is of no use, and {error}", self.broker);
        }
        // Its follower makes it anew.
        core.see_to_followers();
        None
    }
}

/// Gives their office back to preferred leaders, every now and then (`auto.leader.rebalance.enable`).
pub(super) struct Rebalance(Weak<Core>);

impl Rebalance {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self(Arc::downgrade(core))
    }
}

impl Drive for Rebalance {
    fn drive(&self, now: Moment) -> Option<Moment> {
        let core = self.0.upgrade()?;
        if now == Moment::since_start(Duration::MAX) {
            return None;
        }
        core.elect_preferred_leaders();
        now.after(core.config().leader_check_interval)
    }
}

impl Core {
    /// Every partition whose preferred leader could lead, and does not, is given to it.
    pub(super) fn elect_preferred_leaders(&self) {
        let wanted = self.controller().with_image(|image| {
            let mut wanted = Vec::new();
            for topic in image.topics() {
                for (id, partition) in topic.partitions() {
                    let first = partition.replicas.first().copied();
                    let is_able = first.is_some_and(|first| {
                        partition.isr.contains(&first) && self.brokers().is_alive(first)
                    });
                    if first != partition.leader && is_able {
                        wanted.push((topic.id, topic.name.clone(), id));
                    }
                }
            }
            wanted
        });
        let elect = |(id, name, partition): (TopicId, _, PartitionId)| {
            Change::Elect(ElectionKind::Preferred, id, name, partition)
        };
        for result in self.controller().submit_all(wanted.into_iter().map(elect)) {
            if let Err(error) = result {
                log::info!("a preferred leader was not elected: {error}");
            }
        }
    }
}
