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
    Acks, BrokerId, Config, Draft, Offset, PartitionId, Scope, TopicName, TopicPartition,
};
use crate::cluster::{BrokerConfig, BrokerPlace, Core, InternalTopic, OpenBroker, OpenCluster};
use crate::coordinator::error::GroupError;
use crate::coordinator::ids::partition_of_group;
use crate::coordinator::shard::Term;
use crate::coordinator::{Commit, GroupConfig, GroupCoordinator, GroupId, GroupState};
use crate::env::{Disk, Runtime, Threads, pause};
use crate::record::{BatchBuilder, CloseOptions, EncodedBatch, RecordFields};
use crate::replica::{Append, Completion, Refusal};
use crate::storage::{AppendOrigin, Appended};

/// Long enough for anything that is going to happen.
const LONG: Duration = Duration::from_secs(20);

fn open(disk: &Disk) -> Arc<Core> {
    open_all(std::slice::from_ref(disk), &[], Arc::new(Threads::new()))
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
    opened.unwrap()
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

fn commits(partitions: std::ops::Range<i32>, offset: i64) -> Vec<Commit> {
    let commit = |partition| Commit {
        topic: None,
        partition: TopicPartition::new(email(), PartitionId::new(partition).unwrap()),
        offset: Offset::new(offset).unwrap(),
        leader_epoch: None,
        metadata: String::new(),
    };
    partitions.map(commit).collect()
}

fn commit(groups: &GroupCoordinator, partitions: std::ops::Range<i32>, offset: i64) {
    groups.commit(&mailer(), None, commits(partitions, offset)).unwrap().wait().unwrap();
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

#[test]
fn a_group_is_deleted_with_what_is_on_its_way() {
    let disk = Disk::new();
    let core = open(&disk);
    let groups = coordinator(&core);
    commit(&groups, 0..1, 5);
    let mut on_its_way = groups.commit(&mailer(), None, commits(1..2, 6)).unwrap();
    groups.delete_group(&mailer()).unwrap().wait().unwrap();
    on_its_way.wait().unwrap();
    for groups in [groups, coordinator(&core)] {
        assert!(offsets(&groups).is_empty());
        assert_eq!(groups.describe(&mailer()).unwrap().state, GroupState::Dead);
        assert!(groups.list().unwrap().is_empty());
    }
}

/// More of them than fit one batch.
#[test]
fn a_topic_is_forgotten_with_all_its_partitions() {
    let disk = Disk::new();
    let core = open(&disk);
    let groups = coordinator(&core);
    commit(&groups, 0..15_000, 5);
    commit(&groups, 15_000..30_000, 5);
    commit(&groups, 30_000..45_000, 5);
    let mut on_its_way = groups.commit(&mailer(), None, commits(45_000..45_001, 5)).unwrap();
    groups.forget_topic(&email()).unwrap();
    on_its_way.wait().unwrap();
    for groups in [groups, coordinator(&core)] {
        assert!(offsets(&groups).is_empty());
    }
}

#[test]
fn a_commit_that_is_refused_leaves_no_group() {
    let disk = Disk::new();
    let core = open(&disk);
    let groups = coordinator(&core);
    let mut commits = commits(0..1, 5);
    commits[0].metadata = "x".repeat(5_000);
    groups.commit(&mailer(), None, commits).unwrap_err();
    assert!(groups.list().unwrap().is_empty());
    assert_eq!(groups.describe(&mailer()).unwrap().state, GroupState::Dead);
}
