//! A coordinator and its log.

mod gaps;
mod housekeeping;
mod terms;
mod topics;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use crate::base::{
    Acks, BrokerId, Config, Draft, Offset, PartitionId, Scope, Timestamp, TopicName, TopicPartition,
};
use crate::cluster::{
    BrokerConfig, BrokerPlace, Core, CreateTopic, InternalTopic, OpenBroker, OpenCluster,
};
use crate::coordinator::commit::PendingCommit;
use crate::coordinator::error::GroupError;
use crate::coordinator::ids::partition_of_group;
use crate::coordinator::shard::Term;
use crate::coordinator::wall_clock::WallClock;
use crate::coordinator::{Commit, GroupConfig, GroupCoordinator, GroupId, GroupState};
use crate::env::{Clock, Disk, Runtime, Threads, pause};
use crate::record::{BatchBuilder, CloseOptions, EncodedBatch, RecordFields};
use crate::replica::{Append, Completion, Refusal};
use crate::storage::{AppendOrigin, Appended};

/// Long enough for anything that is going to happen.
const LONG: Duration = Duration::from_secs(20);

/// With a topic that groups read.
fn open(disk: &Disk) -> Arc<Core> {
    open_by(disk, Arc::new(Threads::new()))
}

fn open_by(disk: &Disk, runtime: Arc<dyn Runtime>) -> Arc<Core> {
    open_all(std::slice::from_ref(disk), &[], runtime)
}

/// A cluster with a broker on each disk.
fn open_all(disks: &[Disk], settings: &[(&str, &str)], runtime: Arc<dyn Runtime>) -> Arc<Core> {
    let mut draft = Draft::new(Scope::Broker);
    settings.iter().for_each(|(name, value)| draft.set_text(name, value));
    let broker = |(id, disk): (i32, &Disk)| OpenBroker {
        id: BrokerId::new(id),
        place: BrokerPlace { fs: disk.file_system(), root: PathBuf::from("/"), rack: None },
    };
    let opened = Core::open(OpenCluster {
        brokers: (1..).zip(disks).map(broker).collect(),
        create_if_missing: true,
        accept_metadata_loss: false,
        config: BrokerConfig::new(draft.config().clone()).unwrap(),
        runtime,
    });
    let core = opened.unwrap();
    create(&core);
    core
}

fn create(core: &Core) {
    let name = email().to_string();
    let create = CreateTopic { name, partitions: Some(50), ..CreateTopic::default() };
    core.create_if_missing(create).unwrap();
}

/// The deletion alone: groups are not told.
fn delete(core: &Core) {
    let topic = core.topic("email").unwrap();
    core.delete_topic(topic.id, &topic.name).unwrap();
}

/// One that has read nothing yet.
fn coordinator(core: &Arc<Core>) -> Arc<GroupCoordinator> {
    let config = GroupConfig::new(&Config::new(Scope::Broker), Vec::new()).unwrap();
    GroupCoordinator::new(core, config)
}

fn mailer() -> GroupId {
    GroupId::new("mailer").unwrap()
}

fn email() -> TopicName {
    TopicName::new("email").unwrap()
}

fn commits(
    groups: &GroupCoordinator,
    partitions: std::ops::Range<i32>,
    offset: i64,
) -> Vec<Commit> {
    let topic = groups.core().unwrap().topic("email").unwrap().id;
    let commit = |partition| Commit {
        topic,
        partition: TopicPartition::new(email(), PartitionId::new(partition).unwrap()),
        offset: Offset::new(offset).unwrap(),
        leader_epoch: None,
        metadata: String::new(),
    };
    partitions.map(commit).collect()
}

/// By a consumer that is no member.
fn hand_over(
    groups: &GroupCoordinator,
    group: &GroupId,
    commits: Vec<Commit>,
) -> Result<PendingCommit, GroupError> {
    groups.commit(group, None, |hand_over| hand_over(commits))
}

fn commit(groups: &GroupCoordinator, partitions: std::ops::Range<i32>, offset: i64) {
    let commits = commits(groups, partitions, offset);
    hand_over(groups, &mailer(), commits).unwrap().wait().unwrap();
}

/// Who leads the partition in which the group is kept.
fn term_of(core: &Core, group: &GroupId) -> Term {
    let topic = core.internal_topic(InternalTopic::ConsumerOffsets).unwrap();
    let partition = partition_of_group(group.as_str(), topic.partition_count());
    let (leader, sender) = core.leader_and_sender(&topic, partition).unwrap();
    let (_, epoch) = leader.led_by();
    Term { leader, epoch, sender }
}

/// What `ask` returns as soon as the group has a coordinator.
fn as_soon_as_can_be<T>(mut ask: impl FnMut() -> Result<T, GroupError>) -> T {
    for _ in 0..LONG.as_millis() {
        match ask() {
            Err(error) if error.is_passing() => pause(Duration::from_millis(1)),
            asked => return asked.unwrap(),
        }
    }
    panic!("the group has no coordinator")
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let is_so = (0..LONG.as_millis()).any(|_| {
        let is_so = is_so();
        if !is_so {
            pause(Duration::from_millis(1));
        }
        is_so
    });
    assert!(is_so, "{what}");
}

/// The offsets of all partitions that have one.
fn offsets(groups: &GroupCoordinator) -> Vec<i64> {
    let all = groups.all_committed(&mailer()).unwrap();
    all.into_values().map(|committed| committed.offset.value()).collect()
}

#[test]
fn a_new_coordinator_finds_what_was_committed() {
    let disk = Disk::new();
    let core = open(&disk);
    let groups = coordinator(&core);
    commit(&groups, 0..3, 5);
    commit(&groups, 1..2, 7);
    for groups in [groups, coordinator(&core)] {
        assert_eq!(offsets(&groups), [5, 7, 5]);
    }
}

struct Nobody;

impl Completion for Nobody {
    fn complete(self: Arc<Self>, result: Result<Appended, Refusal>) {
        result.unwrap();
    }

    fn hand_over(&self) -> bool {
        false
    }
}

/// One record of a kind that nobody knows.
fn unknown(bytes: usize) -> EncodedBatch {
    let mut builder = BatchBuilder::new(BytesMut::new());
    let (key, value) = (99i16.to_be_bytes(), vec![0; bytes]);
    let fields =
        RecordFields { timestamp: None, key: Some(&key), value: Some(&value), headers: &[] };
    builder.append(&fields).unwrap();
    builder.close(&CloseOptions::default()).unwrap()
}

/// G3.
#[test]
fn a_batch_larger_than_a_read_is_read() {
    let disk = Disk::new();
    let core = open(&disk);
    let groups = coordinator(&core);
    commit(&groups, 0..1, 5);
    let leader = term_of(&core, &mailer()).leader;
    let size = (1 << 20) + 8;
    let batch = unknown(size - (unknown(1 << 20).size() - (1 << 20)));
    assert!(batch.size() > 1 << 20);
    let (origin, acks) = (AppendOrigin::Client, Acks::All);
    leader.enqueue(Append { batch, origin, acks, completion: Arc::new(Nobody) }).unwrap();
    leader.drive();
    commit(&groups, 1..2, 7);
    for groups in [groups, coordinator(&core)] {
        assert_eq!(offsets(&groups), [5, 7]);
    }
}

/// It may be of a member that was removed meanwhile: who has its partition now is to go on behind it.
#[test]
fn who_is_about_to_read_waits_for_what_is_on_its_way() {
    let disk = Disk::new();
    let core = open(&disk);
    let groups = coordinator(&core);
    commit(&groups, 0..2, 5);
    let mut on_its_way = hand_over(&groups, &mailer(), commits(&groups, 0..1, 6)).unwrap();
    let decided = |partition| {
        let place = TopicPartition::new(email(), PartitionId::new(partition).unwrap());
        let decided = groups.decided(&mailer(), &[place]).unwrap()?;
        Some(decided.into_values().map(|committed| committed.offset.value()).collect::<Vec<_>>())
    };
    assert_eq!([0, 1, 2].map(decided), [None, Some(vec![5]), Some(vec![])]);
    on_its_way.wait().unwrap();
    assert_eq!(decided(0), Some(vec![6]));
}

#[test]
fn a_group_is_deleted_with_what_is_on_its_way() {
    let disk = Disk::new();
    let core = open(&disk);
    let groups = coordinator(&core);
    commit(&groups, 0..1, 5);
    let mut on_its_way = hand_over(&groups, &mailer(), commits(&groups, 1..2, 6)).unwrap();
    groups.delete_group(&mailer()).unwrap().wait().unwrap();
    on_its_way.wait().unwrap();
    for groups in [groups, coordinator(&core)] {
        assert!(offsets(&groups).is_empty());
        assert_eq!(groups.describe(&mailer()).unwrap().state, GroupState::Dead);
        assert!(groups.list().unwrap().is_empty());
    }
}

/// More of them than fit one batch: the name of the group is in each.
#[test]
fn a_topic_is_forgotten_with_all_its_partitions() {
    let disk = Disk::new();
    let core = open(&disk);
    let groups = coordinator(&core);
    let group = GroupId::new(&"x".repeat(30_000)).unwrap();
    let commit = |partitions| hand_over(&groups, &group, commits(&groups, partitions, 5)).unwrap();
    commit(0..20).wait().unwrap();
    commit(20..40).wait().unwrap();
    let mut on_its_way = commit(40..41);
    delete(&core);
    assert!(groups.all_committed(&group).unwrap().is_empty());
    assert_eq!(groups.list().unwrap().len(), 1);
    groups.forget_topic(&email()).unwrap();
    on_its_way.wait().unwrap();
    for groups in [groups, coordinator(&core)] {
        assert!(groups.list().unwrap().is_empty());
    }
}

/// As if the process had ended between the two steps: the topic is deleted, and nothing was forgotten.
#[test]
fn what_was_committed_for_a_topic_is_nothing_to_the_next_of_its_name() {
    let disk = Disk::new();
    let core = open(&disk);
    let groups = coordinator(&core);
    commit(&groups, 0..3, 5);
    let old = commits(&groups, 0..1, 6);
    delete(&core);
    assert!(offsets(&groups).is_empty());
    create(&core);
    assert!(offsets(&groups).is_empty());
    commit(&groups, 1..2, 1);
    hand_over(&groups, &mailer(), old).unwrap().wait().unwrap();
    let of_first = |groups: &GroupCoordinator| {
        groups
            .committed(&mailer(), &[TopicPartition::new(email(), PartitionId::ZERO)])
            .unwrap()
            .len()
    };
    for groups in [groups, coordinator(&core)] {
        assert_eq!((offsets(&groups), of_first(&groups)), (vec![1], 0));
    }
    core.close().unwrap();
    let core = open(&disk);
    let groups = coordinator(&core);
    assert_eq!((offsets(&groups), of_first(&groups)), (vec![1], 0));
    // Whoever is told late takes nothing away that is for the new one.
    groups.forget_topic(&email()).unwrap();
    assert_eq!(offsets(&groups), [1]);
    delete(&core);
    groups.forget_topic(&email()).unwrap();
    assert!(groups.list().unwrap().is_empty());
}

/// RELIABILITY 2: a device without a battery begins in 1970, and is told the time by the network later.
#[test]
fn no_offset_is_forgotten_in_a_round_in_which_the_wall_clock_was_set() {
    let clock = Clock::new();
    let core = open_by(&Disk::new(), clock.runtime());
    let groups = coordinator(&core);
    commit(&groups, 0..3, 5);
    let shows = || WallClock::of(&**core.runtime());
    let before = shows();
    let days = 8 * 24 * 60 * 60 * 1000;
    clock.set_wall_clock(Timestamp::from_millis(before.shows.as_millis() + days).unwrap());
    groups.expire_offsets(before).unwrap();
    // Behind whatever that has written.
    commit(&groups, 0..1, 6);
    assert_eq!(offsets(&groups), [6, 5, 5]);
    groups.expire_offsets(shows()).unwrap();
    commit(&groups, 0..1, 7);
    assert_eq!(offsets(&groups), [7]);
}

#[test]
fn a_commit_for_topics_that_are_no_more_leaves_no_group() {
    let core = open(&Disk::new());
    let groups = coordinator(&core);
    let commits = commits(&groups, 0..1, 5);
    delete(&core);
    hand_over(&groups, &mailer(), commits).unwrap().wait().unwrap();
    let topic = core.internal_topic(InternalTopic::ConsumerOffsets).unwrap();
    let shard = groups.shard(partition_of_group("mailer", topic.partition_count()));
    assert!(shard.groups.lock().get(&mailer()).is_none());
}

#[test]
fn a_commit_that_is_refused_leaves_no_group() {
    let disk = Disk::new();
    let core = open(&disk);
    let groups = coordinator(&core);
    let mut commits = commits(&groups, 0..1, 5);
    commits[0].metadata = "x".repeat(5_000);
    hand_over(&groups, &mailer(), commits).unwrap_err();
    assert!(groups.list().unwrap().is_empty());
    assert_eq!(groups.describe(&mailer()).unwrap().state, GroupState::Dead);
}
