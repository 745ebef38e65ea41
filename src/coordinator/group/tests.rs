//! Groups, and the members that ask them, without a cluster.

mod model;
mod moving;
mod offsets;
mod replaying;
mod statics;

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::base::{Draft, ErrorKind, PartitionId, Scope, TopicId, TopicName, TopicPartition};
use crate::cluster::KnownTopic;
use crate::coordinator::assignment::Assignment;
use crate::coordinator::config::GroupConfig;
use crate::coordinator::error::GroupError;
use crate::coordinator::handle::MemberHandle;
use crate::coordinator::ids::ShortText;
use crate::coordinator::records::CoordinatorRecord;
use crate::coordinator::subscription::Subscription;
use crate::env::sync::Event;

/// A group, and what it can see.
struct Lab {
    group: Group,
    topics: Vec<KnownTopic>,
    version: u64,
    config: GroupConfig,
    now: Moment,
    /// All that it wanted recorded.
    records: Vec<CoordinatorRecord>,
    arrived: Arc<Event>,
    members: u32,
    ids: u8,
}

/// A member as it sees itself: does what a consumer does.
struct Client {
    handle: Arc<MemberHandle>,
    told: Told,
    /// What it reads.
    has: Assignment,
    /// The revocation that it was told of last, and whether it has given that up.
    revocation: u64,
    has_released: bool,
}

fn wall_clock(now: Moment) -> Timestamp {
    let millis = i64::try_from(now.as_duration().as_millis()).unwrap();
    Timestamp::from_millis(1_700_000_000_000 + millis).unwrap()
}

fn name(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn number(partition: i32) -> PartitionId {
    PartitionId::new(partition).unwrap()
}

fn member_id(id: &str) -> MemberId {
    MemberId::new(id).unwrap()
}

fn consumer(topics: &[&str]) -> JoinRequest {
    JoinRequest {
        protocol: GroupProtocol::Consumer,
        subscribed: Subscription::names(topics.iter().copied()).check(false).unwrap(),
        instance: None,
        client_id: ShortText::default(),
        rack: None,
        assignors: Vec::new(),
        max_poll_interval: Duration::from_secs(300),
        session_timeout: Duration::from_secs(45),
    }
}

fn classic(topics: &[&str], assignors: &[&str]) -> JoinRequest {
    JoinRequest { protocol: GroupProtocol::Classic, ..consumer(topics) }.by(assignors)
}

impl JoinRequest {
    fn by(self, assignors: &[&str]) -> Self {
        let assignors = assignors.iter().map(|name| ShortText::new(name).unwrap()).collect();
        Self { assignors, ..self }
    }

    fn of_instance(self, instance: &str) -> Self {
        Self { instance: InstanceId::new(instance), ..self }
    }
}

impl Lab {
    fn new(topics: &[(&str, u32)]) -> Self {
        Self::with(topics, &[])
    }

    fn with(topics: &[(&str, u32)], settings: &[(&str, &str)]) -> Self {
        let mut draft = Draft::new(Scope::Broker);
        settings.iter().for_each(|(name, value)| draft.set_text(name, value));
        let config = GroupConfig::new(draft.config(), Vec::new()).unwrap();
        let mut lab = Self {
            group: Group::new(GroupId::new("mailer").unwrap()),
            topics: Vec::new(),
            version: 1,
            config,
            now: Moment::since_start(Duration::from_secs(1)),
            records: Vec::new(),
            arrived: Arc::new(Event::new()),
            members: 0,
            ids: 0,
        };
        topics.iter().for_each(|(topic, partitions)| lab.create(topic, *partitions));
        lab
    }

    fn create(&mut self, topic: &str, partitions: u32) {
        self.ids += 1;
        let id = TopicId::from_bytes([self.ids; 16]);
        self.topics.push(KnownTopic { id, name: name(topic), partitions });
        self.topics.sort_by(|a, b| a.name.cmp(&b.name));
        self.version += 1;
    }

    fn change_topics(&mut self, change: impl FnOnce(&mut Vec<KnownTopic>)) {
        change(&mut self.topics);
        self.version += 1;
    }

    fn topic(&self, topic: &str) -> TopicId {
        self.topics.iter().find(|known| known.name == name(topic)).unwrap().id
    }

    fn world(&self) -> World<'_> {
        World {
            topics: &self.topics,
            version: self.version,
            config: &self.config,
            now: self.now,
            wall_clock: wall_clock(self.now),
        }
    }

    /// All that was committed for topics that there are.
    fn all_committed(&self) -> BTreeMap<TopicPartition, Committed> {
        self.group.all_committed(&self.world())
    }

    fn committed(&self, topic: &str, partition: i32) -> Option<i64> {
        let committed = self.group.committed(&name(topic), number(partition), &self.world());
        committed.map(|committed| committed.offset.value())
    }

    /// Asks the group, and summons whom it wants to be summoned.
    fn act<T>(&mut self, act: impl FnOnce(&mut Group, &World<'_>, &mut Changes) -> T) -> T {
        let Self { group, topics, version, config, now, records, .. } = self;
        let (now, wall_clock) = (*now, wall_clock(*now));
        let world = World { topics, version: *version, config, now, wall_clock };
        let mut changes = Changes::at(now, wall_clock);
        let done = act(group, &world, &mut changes);
        records.append(&mut changes.records);
        changes.summoned.iter().for_each(|member| member.summon());
        done
    }

    fn try_join(&mut self, wants: JoinRequest) -> Result<Client, GroupError> {
        self.members += 1;
        // In the order in which they come, up to 999.
        self.try_join_as(&format!("c{:03}", self.members), wants)
    }

    fn try_join_as(&mut self, id: &str, wants: JoinRequest) -> Result<Client, GroupError> {
        let group = self.group.id.clone();
        let handle = MemberHandle::new(group, member_id(id), &self.arrived, self.now);
        let told = self.act(|group, world, changes| group.join(&handle, wants, world, changes))?;
        let mut client = Client {
            handle,
            told: Told::default(),
            has: Assignment::default(),
            revocation: 0,
            has_released: false,
        };
        client.hear(told);
        Ok(client)
    }

    fn join(&mut self, wants: JoinRequest) -> Client {
        self.try_join(wants).unwrap()
    }

    fn join_as(&mut self, id: &str, wants: JoinRequest) -> Client {
        self.try_join_as(id, wants).unwrap()
    }

    fn heartbeat(&mut self, client: &mut Client) -> Result<(), GroupError> {
        client.handle.answer_summons();
        client.handle.polled(self.now);
        let released = client.has_released.then_some(client.revocation);
        let told = self.act(|group, world, changes| {
            group.refresh(world, changes);
            group.heartbeat(&client.handle, released, changes)
        })?;
        client.hear(told);
        Ok(())
    }

    /// Gives up what it was told to.
    fn release(&mut self, client: &mut Client) -> Result<(), GroupError> {
        if client.owes() {
            client.has = client.has.difference(&client.told.revoking);
            client.has_released = true;
            self.heartbeat(client)?;
        }
        Ok(())
    }

    /// Everybody who is summoned asks, and gives up what it is told to, until nobody is any more.
    fn settle(&mut self, clients: &mut [&mut Client]) {
        for _ in 0..4 * clients.len() + 8 {
            let mut is_quiet = true;
            for client in clients.iter_mut() {
                if client.handle.is_summoned() {
                    is_quiet = false;
                    self.heartbeat(client).unwrap();
                }
                if client.owes() {
                    is_quiet = false;
                    self.release(client).unwrap();
                }
            }
            if is_quiet {
                return;
            }
        }
        panic!("it does not come to rest: {:?}", self.group);
    }

    fn leave(&mut self, client: &Client, for_good: bool) {
        client.handle.leaves(for_good);
        self.act(|group, world, changes| group.leave(&client.handle, world, changes));
    }

    fn commit_begins(&mut self, client: &Client) {
        self.group.commit_begins(&client.handle);
    }

    fn commit_ends(&mut self, client: &Client) {
        self.act(|group, world, changes| group.commit_ends(&client.handle, world, changes));
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time).unwrap();
    }

    fn tick(&mut self) {
        self.act(Group::tick);
    }

    /// As `topic-partition`.
    fn show(&self, assignment: &Assignment) -> String {
        let shown = self.topics.iter().flat_map(|topic| {
            let partitions = assignment.of_topic(topic.id).iter();
            partitions.map(move |partition| format!("{}-{partition}", topic.name))
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    fn has(&self, client: &Client) -> String {
        self.show(&client.has)
    }

    fn state(&self) -> GroupState {
        self.group.state()
    }
}

impl Client {
    fn hear(&mut self, told: Told) {
        let is_known = !told.revoking.is_empty() && told.revocation == self.revocation;
        if !is_known {
            (self.has_released, self.revocation) = (false, told.revocation);
        }
        told.assigned.iter().for_each(|(topic, p)| _ = self.has.insert(topic, p));
        self.told = told;
    }

    /// Has been told to give something up, and has not.
    fn owes(&self) -> bool {
        !self.told.revoking.is_empty() && !self.has_released
    }

    fn is_summoned(&self) -> bool {
        self.handle.is_summoned()
    }
}

fn kind<T>(result: Result<T, GroupError>) -> Option<ErrorKind> {
    result.err().and_then(|error| error.kind())
}
