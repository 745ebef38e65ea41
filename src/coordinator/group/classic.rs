//! The record that Kafka keeps of a group of the classic protocol.

use std::collections::BTreeSet;

use crate::base::TopicPartition;
use crate::coordinator::assignment::Assignment;
use crate::coordinator::group::member::{Member, whole_millis};
use crate::coordinator::group::{Changes, Group};
use crate::coordinator::ids::{MemberId, ShortText};
use crate::coordinator::records::{
    ClassicAssignment, ClassicGroupValue, ClassicMember, CoordinatorRecord, Subscription,
};

/// What Kafka calls the kind of groups that consumers are in.
const PROTOCOL_TYPE: &str = "consumer";

impl Group {
    /// Records a generation of a classic group, once, when everybody has what he is to have, or nobody is there any more.
    pub(super) fn record_generation(&mut self, changes: &mut Changes) {
        if !self.is_classic() || self.recorded_generation == self.epoch || !self.is_stable() {
            return;
        }
        self.recorded_generation = self.epoch;
        let text = |text: &str| ShortText::new(text).unwrap_or_default();
        let value = Some(ClassicGroupValue {
            protocol_type: text(PROTOCOL_TYPE),
            generation: self.epoch,
            protocol: self.has_members().then(|| text(&self.target.assignor)),
            leader: self.members.keys().next().cloned(),
            state_changed_at: Some(changes.wall_clock),
            members: self.members.iter().map(|(id, member)| self.classic(id, member)).collect(),
        });
        changes.record(CoordinatorRecord::ClassicGroup { group: self.id.clone(), value });
    }

    /// Everybody has what he is to have.
    pub(super) fn is_stable(&self) -> bool {
        let epoch = self.target.epoch;
        let mut members = self.members.values();
        self.assign_at.is_none()
            && members.all(|member| member.epoch == epoch && member.is_settled())
    }

    fn classic(&self, id: &MemberId, member: &Member) -> ClassicMember {
        let subscription = Subscription {
            topics: self.names(member),
            rack: member.wants.rack.clone(),
            ..Subscription::default()
        };
        let assignment =
            ClassicAssignment { partitions: self.named(&member.assigned), user_data: None };
        ClassicMember {
            id: id.clone(),
            instance: member.wants.instance.clone(),
            client_id: member.wants.client_id.clone(),
            client_host: ShortText::default(),
            rebalance_timeout: whole_millis(member.wants.max_poll_interval),
            session_timeout: whole_millis(member.wants.session_timeout),
            subscription: subscription.encode(),
            assignment: assignment.encode(),
        }
    }

    /// In the classic protocol consumers look for the topics of their pattern themselves.
    fn names(&self, member: &Member) -> BTreeSet<crate::base::TopicName> {
        let wanted = self.target.topics().map(|topic| &topic.name);
        let matching = wanted.filter(|name| member.wants.subscribed.contains(name)).cloned();
        member.wants.subscribed.names.iter().cloned().chain(matching).collect()
    }

    /// By the names that the topics had when the target was decided.
    pub(super) fn named(&self, assignment: &Assignment) -> BTreeSet<TopicPartition> {
        let topics = self.target.topics();
        let partitions = topics.flat_map(|topic| {
            let partitions = assignment.of_topic(topic.id).iter();
            partitions.map(|partition| TopicPartition::new(topic.name.clone(), *partition))
        });
        partitions.collect()
    }
}
