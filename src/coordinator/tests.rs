//! A coordinator and its log.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::BytesMut;

use crate::base::{Acks, Config, Offset, PartitionId, Scope, TopicName, TopicPartition};
use crate::cluster::{BrokerConfig, BrokerPlace, Core, InternalTopic, OpenBroker, OpenCluster};
use crate::coordinator::ids::partition_of_group;
use crate::coordinator::{Commit, GroupConfig, GroupCoordinator, GroupId, GroupState};
use crate::env::{Disk, Threads};
use crate::record::{BatchBuilder, CloseOptions, EncodedBatch, RecordFields};
use crate::replica::{Append, Completion, Refusal};
use crate::storage::{AppendOrigin, Appended};

fn open(disk: &Disk) -> Arc<Core> {
    let place = BrokerPlace { fs: disk.file_system(), root: PathBuf::from("/"), rack: None };
    let opened = Core::open(OpenCluster {
        brokers: vec![OpenBroker { id: None, place }],
        create_if_missing: true,
        accept_metadata_loss: false,
        config: BrokerConfig::new(Config::new(Scope::Broker)).unwrap(),
        runtime: Arc::new(Threads::new()),
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
    let topic = core.internal_topic(InternalTopic::ConsumerOffsets).unwrap();
    let partition = partition_of_group("mailer", topic.partition_count());
    let (leader, _) = core.leader_and_sender(&topic, partition).unwrap();
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
    let mut on_its_way = groups.commit(&mailer(), None, commits(0..1, 6)).unwrap();
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
