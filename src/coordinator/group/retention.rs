//! Offsets that nobody has asked for in a long time are forgotten (`offsets.retention.minutes`).

use crate::base::{Bug, Timestamp, TopicName, TopicPartition, is_planted};
use crate::coordinator::group::offsets::is_for;
use crate::coordinator::group::{Changes, Committed, Group, Pending, World};

impl Group {
    /// Tombstones for the offsets whose time is over: of topics that no member reads, as long after the commit, or, in a
    /// classic group without members, after it lost the last. Those of topics that are no more go at once: when a topic
    /// was deleted they could not be forgotten. A group that is left with nothing is deleted.
    pub(in crate::coordinator) fn expire_offsets(
        &mut self,
        pending: &Pending,
        world: &World<'_>,
        changes: &mut Changes,
    ) {
        if self.is_classic() && self.has_members() && !self.is_stable() {
            // Whoever is about to join may want them (KAFKA-13636).
            return;
        }
        let mut left = pending.len();
        // A tombstone would come behind it in the log.
        let looks = !pending.is_empty() && !is_planted(Bug::PendingForgotten);
        let is_pending = |topic: &TopicName, partition| {
            let place = || TopicPartition::new(topic.clone(), partition);
            looks && pending.contains_key(&place())
        };
        for (topic, partition, committed) in self.offsets.iter() {
            let is_old = self.expires_at(committed, world) <= world.wall_clock.as_millis();
            let is_over =
                (is_old && !self.is_subscribed_to(topic)) || !is_for(topic, committed.topic, world);
            if is_over && !is_pending(topic, partition) {
                changes.record(self.tombstone(topic, partition));
            } else {
                left += 1;
            }
        }
        if left == 0 && !self.has_members() {
            self.end(changes);
        }
    }

    fn expires_at(&self, committed: &Committed, world: &World<'_>) -> i64 {
        if let Some(expires_at) = committed.expires_at {
            return expires_at.as_millis();
        }
        let since = if self.is_classic() { self.empty_since } else { None };
        let since = since.map_or(committed.committed_at, |since| since.max(committed.committed_at));
        let retention = i64::try_from(world.config.offsets_retention.as_millis());
        Timestamp::as_millis(since).saturating_add(retention.unwrap_or(i64::MAX))
    }

    /// There is nothing to know of it any more.
    pub(in crate::coordinator) fn is_dead(&self) -> bool {
        self.protocol.is_none()
            && !self.has_members()
            && self.offsets.is_empty()
            && self.logged.is_empty()
    }
}
