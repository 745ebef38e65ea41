//! Stores and controllers on a disk that fails, and after crashes.

mod directories;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use bytes::BytesMut;

use crate::base::{Acks, Config, FlushPolicy, Offset, PartitionId, Scope};
use crate::cluster::TopicImage;
use crate::cluster::store::Store;
use crate::cluster::{BrokerConfig, BrokerPlace, ClusterError, ConfigChange, Core, CreateTopic};
use crate::cluster::{OpenBroker, OpenCluster};
use crate::env::{CallKind, Disk, Fault, PowerCut, Threads, pause};
use crate::record::{BatchBuilder, CloseOptions, RecordFields};
use crate::replica::{Append, Completion, ProduceError, Refusal};
use crate::storage::{AppendOrigin, Appended, StorageError, read_offsets};

const ROOT: &str = "/";
const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
const CLEAN_MARKER: &str = ".kafka_cleanshutdown";
const LONG: Duration = Duration::from_secs(20);

fn try_open(disk: &Disk) -> Result<Arc<Core>, ClusterError> {
    let place = BrokerPlace { fs: disk.file_system(), root: PathBuf::from(ROOT), rack: None };
    Core::open(OpenCluster {
        brokers: vec![OpenBroker { id: None, place }],
        create_if_missing: true,
        accept_metadata_loss: false,
        config: BrokerConfig::new(Config::new(Scope::Broker)).unwrap(),
        runtime: Arc::new(Threads::new()),
    })
}

fn open(disk: &Disk) -> Arc<Core> {
    try_open(disk).unwrap()
}

/// The store of the one broker.
fn store(core: &Core) -> Arc<Store> {
    core.brokers().stores().pop().unwrap()
}

fn create(core: &Core, name: &str) -> Result<Arc<TopicImage>, ClusterError> {
    core.create_topic(CreateTopic { name: name.to_owned(), ..CreateTopic::default() })
}

#[derive(Default)]
struct Answer(OnceLock<Result<Appended, ProduceError>>);

impl Completion for Answer {
    fn complete(self: Arc<Self>, result: Result<Appended, Refusal>) {
        self.0.set(result.map_err(|refused| refused.error)).unwrap();
    }

    fn hand_over(&self) -> bool {
        false
    }
}

/// Appends one record and syncs it.
fn append(core: &Core, topic: &TopicImage) -> Result<Appended, ProduceError> {
    let replica = core.leader(topic, PartitionId::ZERO).unwrap();
    let mut builder = BatchBuilder::new(BytesMut::new());
    builder.append(&RecordFields { value: Some(b"v"), ..Default::default() }).unwrap();
    let batch = builder.close(&CloseOptions::default()).unwrap();
    let answer = Arc::new(Answer::default());
    let completion = Arc::clone(&answer) as _;
    let append = Append { batch, origin: AppendOrigin::Client, acks: Acks::All, completion };
    replica.enqueue(append).map_err(|unqueued| unqueued.error)?;
    replica.drive();
    let _ = replica.flush();
    while answer.0.get().is_none() {
        thread::yield_now();
    }
    answer.0.get().unwrap().clone()
}

fn end(core: &Core, topic: &TopicImage) -> Offset {
    core.leader(topic, PartitionId::ZERO).unwrap().log().end()
}

fn exists(disk: &Disk, name: &str) -> bool {
    disk.file_system().list(Path::new(ROOT)).unwrap().iter().any(|entry| entry.name == name)
}

fn recovery_point(disk: &Disk, topic: &TopicImage) -> Option<Offset> {
    let points =
        read_offsets(&*disk.file_system(), &Path::new(ROOT).join(RECOVERY_POINTS)).unwrap()?;
    let found = points.iter().find(|(partition, _)| partition.topic == topic.name);
    found.map(|(_, offset)| *offset)
}

/// A store that was closed with 3 records in topic `email`.
fn store_with_records() -> Disk {
    let disk = Disk::new();
    let core = open(&disk);
    let email = create(&core, "email").unwrap();
    (0..3).for_each(|_| _ = append(&core, &email).unwrap());
    core.close().unwrap();
    assert_eq!(recovery_point(&disk, &email), Some(Offset::from(3)));
    disk
}

#[test]
fn changes_proposed_while_one_is_recorded_share_a_record() {
    let disk = Disk::new();
    let core = open(&disk);
    let (arrivals, go) = disk.hold(CallKind::Sync, "metadata-0/0");
    thread::scope(|scope| {
        scope.spawn(|| create(&core, "first").unwrap());
        arrivals.recv_timeout(LONG).unwrap();
        for name in ["a", "b", "c", "d", "a"] {
            let core = &core;
            scope.spawn(move || create(core, name));
        }
        pause(Duration::from_millis(50));
        drop(go);
    });
    // More than one if a thread came late.
    assert!(arrivals.try_iter().count() <= 3);
    assert_eq!(core.topics().unwrap().len(), 5);
    let again = open(&disk.image(PowerCut::KeepsAll));
    assert_eq!(again.topics().unwrap().len(), 5);
}

#[test]
fn a_change_that_the_disk_has_no_room_for_is_not_made() {
    let disk = Disk::new();
    let core = open(&disk);
    disk.fail(Fault::new(io::ErrorKind::StorageFull).on(CallKind::Write).for_good());
    let error = create(&core, "email").unwrap_err();
    assert!(matches!(error, ClusterError::NotRecorded(ProduceError::Append(_))), "{error}");
    assert!(core.topics().unwrap().is_empty());
    disk.heal();
    create(&core, "email").unwrap();
    core.close().unwrap();
    assert_eq!(open(&disk).topics().unwrap().len(), 1);
}

/// Whether the record is on disk is not known, so nothing may be built upon either.
#[test]
fn no_change_is_made_after_a_failed_sync_of_the_metadata() {
    let disk = Disk::new();
    let core = open(&disk);
    disk.fail(Fault::new(io::ErrorKind::Other).on(CallKind::Sync).for_good());
    let error = create(&core, "email").unwrap_err();
    assert!(matches!(error, ClusterError::NotRecorded(ProduceError::Sync(_))), "{error}");
    disk.heal();
    create(&core, "email").unwrap_err();
    assert!(core.topics().unwrap().is_empty());
    core.close().unwrap_err();
    assert!(!exists(&disk, CLEAN_MARKER));
    open(&disk).close().unwrap();
}

#[test]
fn a_change_is_refused_once_the_cluster_is_closing() {
    let disk = Disk::new();
    let core = open(&disk);
    let (arrivals, go) = disk.hold(CallKind::Sync, "metadata-0/0");
    thread::scope(|scope| {
        let first = scope.spawn(|| create(&core, "first"));
        arrivals.recv_timeout(LONG).unwrap();
        let closed = scope.spawn(|| core.close());
        while !core.is_closed() {
            thread::yield_now();
        }
        assert!(matches!(create(&core, "second"), Err(ClusterError::Closed)));
        drop(go);
        first.join().unwrap().unwrap();
        closed.join().unwrap().unwrap();
    });
    assert_eq!(open(&disk).topics().unwrap().len(), 1);
}

/// Else the new topic's log, which is shorter, would be taken for damaged.
#[test]
fn the_recovery_point_of_a_deleted_topic_does_not_outlive_it() {
    let disk = store_with_records();
    let core = open(&disk);
    let old = core.topic("email").unwrap();
    core.delete_topic(old.id, &old.name).unwrap();
    assert_eq!(recovery_point(&disk, &old), None);
    let new = create(&core, "email").unwrap();
    append(&core, &new).unwrap();
    let core = open(&disk.image(PowerCut::KeepsAll));
    let new = core.topic("email").unwrap();
    assert_eq!(end(&core, &new), Offset::from(1));
    append(&core, &new).unwrap();
}

#[test]
fn a_deletion_is_finished_wherever_a_crash_or_an_error_cut_it_short() {
    for pass in 0..12 {
        let disk = store_with_records();
        let core = open(&disk);
        let old = core.topic("email").unwrap();
        append(&core, &old).unwrap();
        let calls = AtomicUsize::new(0);
        disk.on_call(move |call| {
            let of_metadata = call.path.to_string_lossy().contains("metadata");
            if !of_metadata
                && call.kind.is_change()
                && calls.fetch_add(1, Ordering::Relaxed) >= pass
            {
                return Err(io::ErrorKind::Other.into());
            }
            Ok(())
        });
        core.delete_topic(old.id, &old.name).unwrap();
        let image = disk.image(PowerCut::KeepsAll);
        disk.heal();
        // Both at once, and after a crash.
        for core in [core, open(&image)] {
            let new = create(&core, "email").unwrap();
            assert_eq!(end(&core, &new), Offset::ZERO, "{pass}");
            assert_eq!(append(&core, &new).unwrap().next, Offset::from(1), "{pass}");
            core.close().unwrap();
        }
        let core = open(&disk);
        assert_eq!(end(&core, &core.topic("email").unwrap()), Offset::from(1), "{pass}");
    }
}

#[test]
fn a_deleted_topic_has_no_replica_again() {
    let disk = store_with_records();
    let core = open(&disk);
    let old = core.topic("email").unwrap();
    core.delete_topic(old.id, &old.name).unwrap();
    // As one who looked at the metadata just before.
    let current = || Some(Arc::clone(&old));
    let opened = store(&core).replica(&old, PartitionId::ZERO, current);
    assert!(matches!(opened, Err(ClusterError::TopicDeleted(_))), "{opened:?}");
    assert!(!exists(&disk, "email-0"));
}

/// Producers, a deleter and the checkpoints at once: every life of the topic ends with its records.
#[test]
fn a_topic_may_be_deleted_and_created_again_under_load() {
    let disk = Disk::new();
    let core = open(&disk);
    create(&core, "email").unwrap();
    let rounds = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while rounds.load(Ordering::Relaxed) < 40 {
                    let Ok(topic) = core.topic("email") else { continue };
                    if let Ok(replica) = core.leader(&topic, PartitionId::ZERO) {
                        match append_to(&replica) {
                            Ok(_) | Err(ProduceError::Deleted) => {}
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                    store(&core).checkpoint();
                }
            });
        }
        for _ in 0..40 {
            pause(Duration::from_millis(1));
            let topic = core.topic("email").unwrap();
            core.delete_topic(topic.id, &topic.name).unwrap();
            let new = create(&core, "email").unwrap();
            append(&core, &new).unwrap();
            rounds.fetch_add(1, Ordering::Relaxed);
        }
    });
    let topic = core.topic("email").unwrap();
    let expected = end(&core, &topic);
    let after_crash = open(&disk.image(PowerCut::KeepsAll));
    assert_eq!(end(&after_crash, &after_crash.topic("email").unwrap()), expected);
    core.close().unwrap();
}

fn append_to(replica: &crate::replica::Replica) -> Result<Appended, ProduceError> {
    let mut builder = BatchBuilder::new(BytesMut::new());
    builder.append(&RecordFields { value: Some(b"v"), ..Default::default() }).unwrap();
    let batch = builder.close(&CloseOptions::default()).unwrap();
    let answer = Arc::new(Answer::default());
    let completion = Arc::clone(&answer) as _;
    let append = Append { batch, origin: AppendOrigin::Client, acks: Acks::All, completion };
    replica.enqueue(append).map_err(|unqueued| unqueued.error)?;
    while answer.0.get().is_none() {
        replica.help();
    }
    answer.0.get().unwrap().clone()
}

#[test]
fn a_damaged_checkpoint_file_costs_a_scan_and_nothing_else() {
    let disk = store_with_records();
    disk.remove(CLEAN_MARKER).unwrap();
    disk.write(RECOVERY_POINTS, b"garbage").unwrap();
    disk.write("brooklet.checkpoint", b"garbage").unwrap();
    let core = open(&disk);
    let email = core.topic("email").unwrap();
    assert_eq!(end(&core, &email), Offset::from(3));
    core.close().unwrap();
    assert_eq!(recovery_point(&disk, &email), Some(Offset::from(3)));
}

#[test]
fn one_log_that_cannot_be_checkpointed_does_not_keep_the_others_from_it() {
    let disk = Disk::new();
    let core = open(&disk);
    let (bad, good) = (create(&core, "a-bad").unwrap(), create(&core, "good").unwrap());
    append(&core, &bad).unwrap();
    append(&core, &good).unwrap();
    disk.fail(Fault::new(io::ErrorKind::Other).at("a-bad").for_good());
    store(&core).checkpoint();
    disk.heal();
    assert_eq!(recovery_point(&disk, &bad), None);
    assert_eq!(recovery_point(&disk, &good), Some(Offset::from(1)));
}

/// Damage of one partition is for those who use it to know of; and it does not become a clean store by being ignored.
#[test]
fn a_partition_that_cannot_be_recovered_leaves_the_others_usable_and_the_store_unclean() {
    let disk = store_with_records();
    disk.remove(CLEAN_MARKER).unwrap();
    let log = "email-0/00000000000000000000.log";
    let content = disk.read(log).unwrap();
    disk.remove(log).unwrap();
    for _ in 0..2 {
        let core = open(&disk);
        let email = core.topic("email").unwrap();
        let error = core.leader(&email, PartitionId::ZERO).unwrap_err();
        assert!(matches!(error, ClusterError::Storage(StorageError::Damaged { .. })), "{error}");
        core.sync().unwrap();
        core.close().unwrap();
        assert!(!exists(&disk, CLEAN_MARKER));
    }
    disk.write(log, &content).unwrap();
    let core = open(&disk);
    assert_eq!(end(&core, &core.topic("email").unwrap()), Offset::from(3));
    core.close().unwrap();
    assert!(exists(&disk, CLEAN_MARKER));
}

/// R3: what was not opened whole cannot be closed clean.
#[test]
fn a_failed_open_leaves_the_store_unclean_and_usable() {
    let removal = Arc::new(AtomicUsize::new(0));
    let mut failures = 0;
    for pass in 0..60 {
        let disk = store_with_records();
        let (before, noted) = (disk.calls(), Arc::clone(&removal));
        disk.on_call(move |call| {
            if call.kind == CallKind::Remove && call.path.ends_with(CLEAN_MARKER) {
                noted.store(usize::try_from(call.index - before).unwrap(), Ordering::Relaxed);
            }
            Ok(())
        });
        disk.fail(Fault::new(io::ErrorKind::Other).after(pass));
        let opened = try_open(&disk);
        disk.heal();
        if let Ok(core) = opened {
            // Not every call matters to all.
            core.close().unwrap_or_default();
            continue;
        }
        failures += 1;
        let removed = removal.load(Ordering::Relaxed);
        let is_removed = removed > 0 && pass > u64::try_from(removed).unwrap();
        assert_eq!(exists(&disk, CLEAN_MARKER), !is_removed, "{pass}");
        let core = open(&disk);
        assert_eq!(end(&core, &core.topic("email").unwrap()), Offset::from(3));
    }
    assert!(failures > 20, "{failures}");
}

fn set(name: &str, value: impl ToString) -> Vec<(String, ConfigChange)> {
    vec![(name.to_owned(), ConfigChange::Set(value.to_string()))]
}

/// Whoever opens a log may have looked at its topic before a change, but is not overlooked by who makes it.
#[test]
fn a_log_that_is_opened_while_its_topic_is_altered_keeps_to_the_change() {
    let disk = Disk::new();
    let core = open(&disk);
    let email = create(&core, "email").unwrap();
    let replica = thread::scope(|scope| {
        let current = || {
            scope.spawn(|| core.alter_topic(&email, set("max.message.bytes", 5_000)).unwrap());
            while core.current(&email).unwrap().config == email.config {
                thread::yield_now();
            }
            // For the change to come to its end, if nothing keeps it from that.
            pause(Duration::from_millis(20));
            Some(Arc::clone(&email))
        };
        store(&core).replica(&email, PartitionId::ZERO, current).unwrap()
    });
    assert_eq!(replica.log().max_batch_bytes(), 5_000);
}

#[test]
fn a_change_of_the_flush_policy_reaches_open_replicas_and_those_to_come() {
    let disk = Disk::new();
    let core = open(&disk);
    let wide = CreateTopic { name: "email".to_owned(), ..CreateTopic::default() };
    let email = core.create_topic(CreateTopic { partitions: Some(2), ..wide }).unwrap();
    let policy = |partition: u32| {
        core.leader(&email, email.partition_id(partition).unwrap()).unwrap().policy()
    };
    assert_eq!(policy(0), FlushPolicy::OnAck);
    core.alter_topic(&email, set("flush.ms", 5)).unwrap();
    let interval = FlushPolicy::Interval { time: Duration::from_millis(5), messages: None };
    assert_eq!((policy(0), policy(1)), (interval, interval));
    core.alter_topic(&email, vec![("flush.ms".to_owned(), ConfigChange::Delete)]).unwrap();
    assert_eq!((policy(0), policy(1)), (FlushPolicy::OnAck, FlushPolicy::OnAck));
    core.alter_topic(&email, set("brooklet.flush.policy", "os")).unwrap();
    assert_eq!((policy(0), policy(1)), (FlushPolicy::Os, FlushPolicy::Os));
}

/// Each batch is below what the metadata log takes, whatever is proposed at once.
#[test]
fn changes_that_do_not_fit_into_one_batch_are_recorded_in_several() {
    let disk = Disk::new();
    let core = open(&disk);
    let syncs = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&syncs);
    disk.on_call(move |call| {
        // Not its index, which a checkpoint may sync meanwhile.
        let path = call.path.to_string_lossy();
        let is_log = path.contains("metadata-0/0") && path.ends_with(".log");
        let counts = call.kind == CallKind::Sync && is_log;
        counter.fetch_add(usize::from(counts), Ordering::Relaxed);
        Ok(())
    });
    let topics = (0..10_000).map(|n| CreateTopic {
        name: format!("{n:05}-{}", "x".repeat(200)),
        ..CreateTopic::default()
    });
    let created = core.create_topics(topics).unwrap();
    assert!(created.iter().all(Result::is_ok));
    // 2.5 MB of records.
    assert!((9..=12).contains(&syncs.load(Ordering::Relaxed)), "{syncs:?}");
    let again = open(&disk.image(PowerCut::KeepsAll));
    assert_eq!(again.topics().unwrap().len(), 10_000);
}

/// What was prepared and could not be recorded is forgotten by the next who prepares.
#[test]
fn a_topic_is_as_it_was_after_a_change_that_was_not_recorded() {
    let disk = Disk::new();
    let core = open(&disk);
    let email = create(&core, "email").unwrap();
    disk.fail(Fault::new(io::ErrorKind::StorageFull).on(CallKind::Write).for_good());
    core.alter_topic(&email, set("segment.bytes", 5_000)).unwrap_err();
    core.add_partitions(&email, 5).unwrap_err();
    core.delete_topic(email.id, &email.name).unwrap_err();
    disk.heal();
    assert_eq!(*core.current(&email).unwrap(), *email);
    core.add_partitions(&email, 2).unwrap();
    assert_eq!(core.current(&email).unwrap().partition_count(), 2);
    core.close().unwrap();
    let again = open(&disk);
    assert_eq!(again.topic("email").unwrap().partition_count(), 2);
    assert_eq!(again.topic("email").unwrap().config, email.config);
}

/// E8: directories that could not be removed, of partitions that the new topic gets only later.
#[test]
fn what_is_left_of_a_topic_does_not_show_in_one_of_its_name_that_grows() {
    let disk = Disk::new();
    let core = open(&disk);
    let wide = CreateTopic { name: "email".to_owned(), ..CreateTopic::default() };
    let old = core.create_topic(CreateTopic { partitions: Some(3), ..wide }).unwrap();
    for id in old.partition_ids() {
        append_to(&core.leader(&old, id).unwrap()).unwrap();
    }
    disk.fail(Fault::new(io::ErrorKind::Other).on(CallKind::Rename).at("email").for_good());
    core.delete_topic(old.id, &old.name).unwrap();
    let image = disk.image(PowerCut::KeepsAll);
    disk.heal();
    assert!(exists(&disk, "email-2"));
    for core in [core, open(&image)] {
        let new = create(&core, "email").unwrap();
        core.add_partitions(&new, 3).unwrap();
        let new = core.current(&new).unwrap();
        for id in new.partition_ids() {
            let replica = core.leader(&new, id).unwrap();
            assert_eq!(replica.log().end(), Offset::ZERO, "{id}");
            append_to(&replica).unwrap();
        }
    }
}

/// An answer may wake a future that asks the controller for something.
#[test]
fn who_is_answered_by_a_change_of_policy_may_make_another_change() {
    struct Creates(Arc<Core>, OnceLock<()>);
    impl Completion for Creates {
        fn complete(self: Arc<Self>, result: Result<Appended, Refusal>) {
            result.unwrap();
        }

        fn tell(&self) {
            create(&self.0, "sms").unwrap();
            self.1.set(()).unwrap();
        }

        fn hand_over(&self) -> bool {
            false
        }
    }
    let disk = Disk::new();
    let core = open(&disk);
    let email = create(&core, "email").unwrap();
    append(&core, &email).unwrap();
    // Nobody syncs before the policy is changed.
    let (_arrivals, go) = disk.hold(CallKind::Sync, "email-0/0");
    let replica = core.leader(&email, PartitionId::ZERO).unwrap();
    let mut builder = BatchBuilder::new(BytesMut::new());
    builder.append(&RecordFields::default()).unwrap();
    let batch = builder.close(&CloseOptions::default()).unwrap();
    let creates = Arc::new(Creates(Arc::clone(&core), OnceLock::new()));
    let completion = Arc::clone(&creates) as _;
    let append = Append { batch, origin: AppendOrigin::Client, acks: Acks::All, completion };
    replica.enqueue(append).unwrap();
    replica.drive();
    core.alter_topic(&email, set("brooklet.flush.policy", "os")).unwrap();
    assert!(creates.1.get().is_some());
    drop(go);
    assert_eq!(core.topics().unwrap().len(), 2);
}
