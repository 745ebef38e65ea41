//! Which replica a consumer reads: the leader, or one nearby (KIP-392).
//!
//! Kafka's rules: the leader says which, among the replicas in sync; of those in the consumer's rack itself if it is
//! there, else the one that has most.

use std::sync::Arc;

use crate::base::{BrokerId, Offset, ReplicaSelector};
use crate::cluster::{Core, TopicImage};
use crate::replica::{Replica, ReplicaView};

impl Core {
    /// The follower that a consumer in `rack` is to read from `offset` on; `None` for the leader.
    pub(crate) fn read_replica(
        &self,
        topic: &TopicImage,
        leader: &Replica,
        rack: &str,
        offset: Offset,
    ) -> Option<Arc<Replica>> {
        let is_near = |broker| {
            let broker = self.brokers.get(broker);
            broker.is_some_and(|broker| broker.place.rack.as_deref() == Some(rack))
        };
        if self.config.replica_selector == ReplicaSelector::Leader || is_near(leader.broker()) {
            return None;
        }
        let partition = leader.partition().partition;
        // The leader may not have heard yet of what is published, nor may what it heard be.
        let known = self.partition(topic, partition).ok()?;
        let mut near = leader.followers_with(offset);
        near.retain(|view| known.isr.contains(&view.broker) && is_near(view.broker));
        let chosen = self.replica(topic, partition, most_caught_up(&near)?).ok()?;
        self.can_read(leader, &chosen).then_some(chosen)
    }

    /// Whether a follower is there to be read, and hears of what is committed.
    pub(crate) fn can_read(&self, leader: &Replica, follower: &Replica) -> bool {
        follower.ended().is_none()
            && !follower.log().is_offline()
            && self.network.reaches(leader.broker(), follower.broker())
    }
}

/// The one whose log is the longest; among equals the one that last had all, then the one with the highest number.
fn most_caught_up(views: &[ReplicaView]) -> Option<BrokerId> {
    let best = views.iter().max_by_key(|view| (view.log_end, view.caught_up, view.broker));
    best.map(|view| view.broker)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::env::Moment;

    fn view(broker: i32, log_end: u32, caught_up: Option<u64>) -> ReplicaView {
        ReplicaView {
            broker: BrokerId::new(broker).unwrap(),
            log_end: Offset::from(log_end),
            caught_up: caught_up.map(|at| Moment::since_start(Duration::from_secs(at))),
        }
    }

    fn chosen(views: &[ReplicaView]) -> Option<i32> {
        most_caught_up(views).map(BrokerId::value)
    }

    #[test]
    fn the_replica_that_has_most_is_read() {
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&[view(1, 7, None)]), Some(1));
        assert_eq!(chosen(&[view(1, 7, Some(9)), view(2, 8, None)]), Some(2));
        assert_eq!(chosen(&[view(3, 8, Some(5)), view(2, 8, Some(6))]), Some(2));
        assert_eq!(chosen(&[view(3, 8, None), view(2, 8, Some(0))]), Some(2));
        assert_eq!(chosen(&[view(3, 8, Some(5)), view(2, 8, Some(5))]), Some(3));
    }
}
