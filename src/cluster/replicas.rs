//! The replicas of a store: opened when they are needed, told what becomes of their partitions, and removed.
//!
//! # Invariants
//! - A replica that is open knows what is published of its partition: whoever opens it looks at that with `opening` held,
//!   and whoever has changed it takes `opening` afterwards.
//! - A directory is one replica's at a time: one that is leaving is not opened again before its files are gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::{FlushPolicy, Offset, PartitionId, TopicId, TopicPartition};
use crate::cluster::open_report::PartitionReport;
use crate::cluster::store::Store;
use crate::cluster::{ClusterError, TopicImage};
use crate::replica::{OpenReplica, PartitionState, Replica};
use crate::storage::{Damage, Log, OpenLog, Recovered, Shutdown, StorageError};

impl Store {
    /// The replica of `partition`, opened if it is not yet, as `current` says that the topic is by then.
    pub(crate) fn replica(
        &self,
        topic: &TopicImage,
        partition: PartitionId,
        current: impl FnOnce() -> Option<Arc<TopicImage>>,
    ) -> Result<Arc<Replica>, ClusterError> {
        if let Some(replica) = self.replicas.read().get(&(topic.id, partition)) {
            return Ok(Arc::clone(replica));
        }
        let opening = self.opening.lock();
        if self.closed.load(Ordering::Acquire) {
            return Err(ClusterError::Closed);
        }
        // With `opening` held: whoever alters the topic from now on will find the replica that is opened here.
        let current = current().filter(|_| !opening.deleted.contains(&topic.id));
        let topic = current.ok_or_else(|| ClusterError::TopicDeleted(topic.name.clone()))?;
        if let Some(replica) = self.replicas.read().get(&(topic.id, partition)) {
            return Ok(Arc::clone(replica));
        }
        if !opening.deleted.is_empty() {
            let named = TopicPartition::new(topic.name.clone(), partition);
            let owner = Log::owner(&*self.fs, &self.root.join(named.directory_name()))?;
            if owner.is_some_and(|id| opening.deleted.contains(&id)) {
                self.remove_partitions(&[named])?;
            }
        }
        let is_leaving = opening.leaving.contains(&(topic.id, partition));
        let state = self.state(&topic, partition).filter(|_| !is_leaving);
        let state = state.ok_or_else(|| ClusterError::NoReplica {
            broker: self.broker(),
            partition: TopicPartition::new(topic.name.clone(), partition),
        })?;
        let replica = self.open_replica(&topic, partition, state)?;
        self.replicas.write().insert((topic.id, partition), Arc::clone(&replica));
        Ok(replica)
    }

    /// Has the open replicas of a topic keep to its settings, as `current` says that it is by now.
    pub(crate) fn alter_topic(&self, current: impl FnOnce() -> Option<Arc<TopicImage>>) {
        let mut altered = Vec::new();
        {
            // Whoever comes second has looked at a topic that is as new or newer.
            let _opening = self.opening.lock();
            let Some(topic) = current() else { return };
            let replicas = self.replicas.read();
            for partition in topic.partition_ids() {
                let Some(replica) = replicas.get(&(topic.id, partition)) else { continue };
                replica.log().set_config(topic.config.log);
                replica.set_policy(self.policy(&topic));
                altered.push((Arc::clone(replica), self.state(&topic, partition)));
            }
        }
        // With no lock held: a policy that is less strict answers those who wait.
        for (replica, state) in altered {
            replica.policy_changed();
            state.into_iter().for_each(|state| replica.assume(state));
        }
    }

    /// Has the replica of a partition, if it is open, know what the partition is by now, as `current` says. One that is
    /// not to be here any more goes, with its files.
    pub(crate) fn assume(
        &self,
        id: TopicId,
        partition: PartitionId,
        current: impl FnOnce() -> Option<Arc<TopicImage>>,
    ) {
        let (topic, state, replica) = {
            // Whoever is about to open one has looked at the partition as it was, or will find it as it is.
            let mut opening = self.opening.lock();
            let Some(topic) = current() else { return };
            let replica = self.replicas.read().get(&(id, partition)).cloned();
            let state = self.state(&topic, partition);
            if state.is_none() {
                self.replicas.write().remove(&(id, partition));
                if !opening.leaving.insert((id, partition)) {
                    return;
                }
            }
            (topic, state, replica)
        };
        // With no lock held: those who wait are answered.
        match (state, replica) {
            (Some(state), Some(replica)) => replica.assume(state),
            (Some(_), None) => {}
            (None, replica) => self.remove_replica(&topic, partition, replica.as_deref()),
        }
    }

    /// The partition was moved to other brokers.
    fn remove_replica(
        &self,
        topic: &TopicImage,
        partition: PartitionId,
        replica: Option<&Replica>,
    ) {
        if let Some(replica) = replica {
            replica.abandon();
        }
        let name = TopicPartition::new(topic.name.clone(), partition);
        if let Err(error) = self.remove_partitions(std::slice::from_ref(&name)) {
            // They go at the next open.
            log::warn!("files of {name} are left on broker {}: {error}", self.broker());
        }
        self.opening.lock().leaving.remove(&(topic.id, partition));
    }

    /// Removes what there is of a replica that cannot be opened.
    pub(super) fn discard(
        &self,
        topic: &TopicImage,
        partition: PartitionId,
    ) -> Result<(), StorageError> {
        let _opening = self.opening.lock();
        if self.replicas.read().contains_key(&(topic.id, partition)) {
            return Ok(());
        }
        self.remove_partitions(&[TopicPartition::new(topic.name.clone(), partition)])
    }

    /// What was damaged when a replica was opened is what it was again.
    pub(super) fn note_repaired(&self, partition: &TopicPartition, repaired: &[Damage]) {
        let mut found = self.found.lock();
        let report = found
            .entry(partition.clone())
            .or_insert_with(|| PartitionReport::empty(self.broker(), partition.clone()));
        report.repaired.extend_from_slice(repaired);
        report.damage = None;
    }

    /// What a replica here is to know of a partition; `None` if there is to be none.
    pub(super) fn state(
        &self,
        topic: &TopicImage,
        partition: PartitionId,
    ) -> Option<PartitionState> {
        let known = topic.partition(partition)?;
        if !known.replicas.contains(&self.broker()) {
            return None;
        }
        Some(PartitionState {
            replicas: known.replicas.clone(),
            isr: known.isr.clone(),
            leader: known.leader,
            leader_epoch: known.leader_epoch,
            partition_epoch: known.partition_epoch,
            min_isr: topic.config.min_isr,
            config_epoch: topic.config_epoch,
            max_lag: self.config.replica_lag_max,
        })
    }

    /// The partitions of which the replicas are open.
    pub(crate) fn open_partitions(&self) -> Vec<(TopicId, PartitionId)> {
        self.replicas.read().keys().copied().collect()
    }

    /// The flush policy of a topic. In memory there is nothing to sync.
    fn policy(&self, topic: &TopicImage) -> FlushPolicy {
        if self.fs.is_durable() { topic.config.policy } else { FlushPolicy::Os }
    }

    pub(super) fn open_replica(
        &self,
        topic: &TopicImage,
        partition: PartitionId,
        state: PartitionState,
    ) -> Result<Arc<Replica>, StorageError> {
        let partition = TopicPartition::new(topic.name.clone(), partition);
        let opened = Log::open(self.open_log(topic, partition.clone()));
        let (found, failure) = match &opened {
            Ok((_, found)) => (found.clone(), None),
            Err(error) => (Recovered::default(), Some(error.to_string())),
        };
        if let Some(report) = PartitionReport::new(self.broker(), partition.clone(), found, failure)
        {
            self.found.lock().insert(partition.clone(), report);
        }
        let high_watermark = match state.replicas.len() {
            // What recovery kept is on disk, and with one replica that makes it committed.
            1 => Offset::MAX,
            _ => self.checkpoints.high_watermark(&partition).unwrap_or_default(),
        };
        let replica = Replica::new(OpenReplica {
            broker: self.broker(),
            log: opened?.0,
            topic_id: topic.id,
            state,
            high_watermark,
            peers: Arc::clone(&self.peers),
            policy: self.policy(topic),
            runtime: Arc::clone(&self.runtime),
            syncer: Arc::clone(&self.syncer) as _,
        });
        self.checkpoints.add(&replica);
        Ok(replica)
    }

    /// What is known of a log before it is opened.
    fn open_log(&self, topic: &TopicImage, partition: TopicPartition) -> OpenLog {
        let recovery_point = self.checkpoints.recovery_point(&partition);
        let (shutdown, closed_at) = match self.was_clean {
            // Two files say where the log ended. One is enough: the other may be the damaged one.
            true => {
                let ends = [recovery_point, self.checkpoints.high_watermark(&partition)];
                (Shutdown::Clean, ends.into_iter().flatten().collect())
            }
            false => {
                let recovery_point = recovery_point.unwrap_or_default();
                (Shutdown::Unclean { recovery_point }, Vec::new())
            }
        };
        let deleted = topic.start(partition.partition);
        let start = self.checkpoints.log_start(&partition).map(|start| start.max(deleted));
        OpenLog {
            fs: Arc::clone(&self.fs),
            root: Arc::clone(&self.root),
            partition,
            topic_id: topic.id,
            config: topic.config.log,
            cache: Arc::clone(&self.cache),
            quarantine: Arc::clone(&self.quarantine),
            start,
            deleted,
            closed_at,
            examine: false,
            shutdown,
            now: self.runtime.wall_clock(),
            seed: self.runtime.random(),
        }
    }
}
