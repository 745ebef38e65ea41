//! What the controller says of a partition, as its replicas need to know it.

use std::time::Duration;

use crate::base::{BrokerId, LeaderEpoch};

/// What the controller says of a partition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PartitionState {
    /// Brokers with a replica, the preferred leader first.
    pub(crate) replicas: Vec<BrokerId>,
    /// Those that are in sync.
    pub(crate) isr: Vec<BrokerId>,
    pub(crate) leader: Option<BrokerId>,
    pub(crate) leader_epoch: LeaderEpoch,
    /// Counts the changes of all of this.
    pub(crate) partition_epoch: i32,
    /// `min.insync.replicas`.
    pub(crate) min_isr: usize,
    /// Counts the changes of the topic's settings.
    pub(crate) config_epoch: u32,
    /// `replica.lag.time.max.ms`.
    pub(crate) max_lag: Duration,
}

impl PartitionState {
    /// Of a partition with one replica, which leads in `epoch`.
    #[cfg(test)]
    pub(crate) fn alone(broker: BrokerId, epoch: LeaderEpoch) -> Self {
        Self {
            replicas: vec![broker],
            isr: vec![broker],
            leader: Some(broker),
            leader_epoch: epoch,
            partition_epoch: 0,
            min_isr: 1,
            config_epoch: 0,
            max_lag: Duration::MAX,
        }
    }

    /// In-sync replicas that `acks=all` needs: no more than there can be.
    pub(super) fn needed(&self) -> usize {
        self.min_isr.min(self.replicas.len())
    }
}
