//! Stores and controllers on a disk that fails, and after crashes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use bytes::BytesMut;

use crate::base::{Acks, Config, FlushPolicy, Offset, PartitionId, Scope};
use crate::cluster::TopicImage;
use crate::cluster::{BrokerConfig, ClusterError, ConfigChange, Core, CreateTopic, OpenCluster};
use crate::env::{Call, FileSystem, HookFs, OpenFile, Threads, pause, read_file};
use crate::record::{BatchBuilder, CloseOptions, RecordFields};
use crate::replica::{Append, Completion, ProduceError};
use crate::storage::{Appended, StorageError, read_offsets};

const ROOT: &str = "/store";
const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
const CLEAN_MARKER: &str = ".kafka_cleanshutdown";
const LONG: Duration = Duration::from_secs(20);

fn try_open(fs: &HookFs) -> Result<Arc<Core>, ClusterError> {
    Core::open(OpenCluster {
        fs: Arc::new(fs.clone()),
        root: PathBuf::from(ROOT),
        config: BrokerConfig::new(Config::new(Scope::Broker)).unwrap(),
        runtime: Arc::new(Threads::new()),
    })
}

fn open(fs: &HookFs) -> Arc<Core> {
    try_open(fs).unwrap()
}

fn create(core: &Core, name: &str) -> Result<Arc<TopicImage>, ClusterError> {
    core.create_topic(CreateTopic { name: name.to_owned(), ..CreateTopic::default() })
}

#[derive(Default)]
struct Answer(OnceLock<Result<Appended, ProduceError>>);

impl Completion for Answer {
    fn complete(&self, result: Result<Appended, ProduceError>) {
        self.0.set(result).unwrap();
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
    replica.enqueue(Append { batch, acks: Acks::All, completion });
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

fn write(fs: &HookFs, path: &Path, content: &'static str) {
    let file = fs.open(path, OpenFile::Write).unwrap();
    file.set_len(0).unwrap();
    file.write(0, &[content.into()]).unwrap();
}

fn exists(fs: &HookFs, name: &str) -> bool {
    fs.list(Path::new(ROOT)).unwrap().iter().any(|entry| entry.name == name)
}

fn recovery_point(fs: &HookFs, topic: &TopicImage) -> Option<Offset> {
    let points = read_offsets(fs, &Path::new(ROOT).join(RECOVERY_POINTS)).unwrap()?;
    let found = points.iter().find(|(partition, _)| partition.topic == topic.name);
    found.map(|(_, offset)| *offset)
}

/// A store that was closed with 3 records in topic `email`.
fn store_with_records() -> HookFs {
    let fs = HookFs::new();
    let core = open(&fs);
    let email = create(&core, "email").unwrap();
    (0..3).for_each(|_| _ = append(&core, &email).unwrap());
    core.close().unwrap();
    assert_eq!(recovery_point(&fs, &email), Some(Offset::from(3)));
    fs
}

#[test]
fn changes_proposed_while_one_is_recorded_share_a_record() {
    let fs = HookFs::new();
    let core = open(&fs);
    let (arrivals, go) = fs.hold(Call::Sync, "metadata-0/0");
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
    let again = open(&fs.image(Path::new(ROOT)));
    assert_eq!(again.topics().unwrap().len(), 5);
}

#[test]
fn a_change_that_the_disk_has_no_room_for_is_not_made() {
    let fs = HookFs::new();
    let core = open(&fs);
    fs.hook(|call, _| match call {
        Call::Write => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    });
    let error = create(&core, "email").unwrap_err();
    assert!(matches!(error, ClusterError::NotRecorded(ProduceError::Append(_))), "{error}");
    assert!(core.topics().unwrap().is_empty());
    fs.unhook();
    create(&core, "email").unwrap();
    core.close().unwrap();
    assert_eq!(open(&fs).topics().unwrap().len(), 1);
}

/// Whether the record is on disk is not known, so nothing may be built upon either.
#[test]
fn no_change_is_made_after_a_failed_sync_of_the_metadata() {
    let fs = HookFs::new();
    let core = open(&fs);
    fs.hook(|call, _| if call == Call::Sync { Err(io::ErrorKind::Other.into()) } else { Ok(()) });
    let error = create(&core, "email").unwrap_err();
    assert!(matches!(error, ClusterError::NotRecorded(ProduceError::Sync(_))), "{error}");
    fs.unhook();
    create(&core, "email").unwrap_err();
    assert!(core.topics().unwrap().is_empty());
    core.close().unwrap_err();
    assert!(!exists(&fs, CLEAN_MARKER));
    open(&fs).close().unwrap();
}

#[test]
fn a_change_is_refused_once_the_cluster_is_closing() {
    let fs = HookFs::new();
    let core = open(&fs);
    let (arrivals, go) = fs.hold(Call::Sync, "metadata-0/0");
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
    assert_eq!(open(&fs).topics().unwrap().len(), 1);
}

/// Else the new topic's log, which is shorter, would be taken for damaged.
#[test]
fn the_recovery_point_of_a_deleted_topic_does_not_outlive_it() {
    let fs = store_with_records();
    let core = open(&fs);
    let old = core.topic("email").unwrap();
    core.delete_topic(old.id, &old.name).unwrap();
    assert_eq!(recovery_point(&fs, &old), None);
    let new = create(&core, "email").unwrap();
    append(&core, &new).unwrap();
    let core = open(&fs.image(Path::new(ROOT)));
    let new = core.topic("email").unwrap();
    assert_eq!(end(&core, &new), Offset::from(1));
    append(&core, &new).unwrap();
}

#[test]
fn a_deletion_is_finished_wherever_a_crash_or_an_error_cut_it_short() {
    for pass in 0..12 {
        let fs = store_with_records();
        let core = open(&fs);
        let old = core.topic("email").unwrap();
        append(&core, &old).unwrap();
        let calls = AtomicUsize::new(0);
        fs.hook(move |_, path| {
            let of_metadata = path.to_string_lossy().contains("metadata");
            if !of_metadata && calls.fetch_add(1, Ordering::Relaxed) >= pass {
                return Err(io::ErrorKind::Other.into());
            }
            Ok(())
        });
        core.delete_topic(old.id, &old.name).unwrap();
        let image = fs.image(Path::new(ROOT));
        fs.unhook();
        // Both at once, and after a crash.
        for core in [core, open(&image)] {
            let new = create(&core, "email").unwrap();
            assert_eq!(end(&core, &new), Offset::ZERO, "{pass}");
            assert_eq!(append(&core, &new).unwrap().next, Offset::from(1), "{pass}");
            core.close().unwrap();
        }
        let core = open(&fs);
        assert_eq!(end(&core, &core.topic("email").unwrap()), Offset::from(1), "{pass}");
    }
}

#[test]
fn a_deleted_topic_has_no_replica_again() {
    let fs = store_with_records();
    let core = open(&fs);
    let old = core.topic("email").unwrap();
    let epoch = crate::base::LeaderEpoch::ZERO;
    core.delete_topic(old.id, &old.name).unwrap();
    // As one who looked at the metadata just before.
    let current = || Some((Arc::clone(&old), epoch));
    let opened = core.store().replica(&old, PartitionId::ZERO, current);
    assert!(matches!(opened, Err(ClusterError::TopicDeleted(_))), "{opened:?}");
    assert!(!exists(&fs, "email-0"));
}

/// Producers, a deleter and the checkpoints at once: every life of the topic ends with its records.
#[test]
fn a_topic_may_be_deleted_and_created_again_under_load() {
    let fs = HookFs::new();
    let core = open(&fs);
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
                    core.store().checkpoint();
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
    let after_crash = open(&fs.image(Path::new(ROOT)));
    assert_eq!(end(&after_crash, &after_crash.topic("email").unwrap()), expected);
    core.close().unwrap();
}

fn append_to(replica: &crate::replica::Replica) -> Result<Appended, ProduceError> {
    let mut builder = BatchBuilder::new(BytesMut::new());
    builder.append(&RecordFields { value: Some(b"v"), ..Default::default() }).unwrap();
    let batch = builder.close(&CloseOptions::default()).unwrap();
    let answer = Arc::new(Answer::default());
    let completion = Arc::clone(&answer) as _;
    replica.enqueue(Append { batch, acks: Acks::All, completion });
    while answer.0.get().is_none() {
        replica.help();
    }
    answer.0.get().unwrap().clone()
}

#[test]
fn a_damaged_checkpoint_file_costs_a_scan_and_nothing_else() {
    let fs = store_with_records();
    fs.remove_file(&Path::new(ROOT).join(CLEAN_MARKER)).unwrap();
    write(&fs, &Path::new(ROOT).join(RECOVERY_POINTS), "garbage");
    let core = open(&fs);
    let email = core.topic("email").unwrap();
    assert_eq!(end(&core, &email), Offset::from(3));
    core.close().unwrap();
    assert_eq!(recovery_point(&fs, &email), Some(Offset::from(3)));
}

#[test]
fn one_log_that_cannot_be_checkpointed_does_not_keep_the_others_from_it() {
    let fs = HookFs::new();
    let core = open(&fs);
    let (bad, good) = (create(&core, "a-bad").unwrap(), create(&core, "good").unwrap());
    append(&core, &bad).unwrap();
    append(&core, &good).unwrap();
    fs.hook(|_, path| match path.to_string_lossy().contains("a-bad") {
        true => Err(io::ErrorKind::Other.into()),
        false => Ok(()),
    });
    core.store().checkpoint();
    fs.unhook();
    assert_eq!(recovery_point(&fs, &bad), None);
    assert_eq!(recovery_point(&fs, &good), Some(Offset::from(1)));
}

/// Damage of one partition is for those who use it to know of; and it does not become a clean store by being ignored.
#[test]
fn a_partition_that_cannot_be_recovered_leaves_the_others_usable_and_the_store_unclean() {
    let fs = store_with_records();
    fs.remove_file(&Path::new(ROOT).join(CLEAN_MARKER)).unwrap();
    let log = Path::new(ROOT).join("email-0/00000000000000000000.log");
    let content = read_file(&fs, &log).unwrap().unwrap();
    fs.remove_file(&log).unwrap();
    for _ in 0..2 {
        let core = open(&fs);
        let email = core.topic("email").unwrap();
        let error = core.leader(&email, PartitionId::ZERO).unwrap_err();
        assert!(matches!(error, ClusterError::Storage(StorageError::Damaged { .. })), "{error}");
        core.sync().unwrap();
        core.close().unwrap();
        assert!(!exists(&fs, CLEAN_MARKER));
    }
    fs.open(&log, OpenFile::Write).unwrap().write(0, &[content]).unwrap();
    let core = open(&fs);
    assert_eq!(end(&core, &core.topic("email").unwrap()), Offset::from(3));
    core.close().unwrap();
    assert!(exists(&fs, CLEAN_MARKER));
}

#[test]
fn directories_that_belong_to_nobody_are_left_alone() {
    let fs = store_with_records();
    for name in ["stray-0", "email-7", "notes", "x-delete", "email-0.0123-delete"] {
        let dir = Path::new(ROOT).join(name);
        fs.create_dir(&dir).unwrap();
        write(&fs, &dir.join("00000000000000000000.log"), "not ours");
    }
    let leftover = "gone-0.00000000000000000000000000000000-delete";
    fs.create_dir(&Path::new(ROOT).join(leftover)).unwrap();
    fs.create_dir(&Path::new(ROOT).join("gone-1.00000000000000000000000000000000-delete/x"))
        .unwrap();
    for clean in [true, false] {
        if !clean {
            fs.remove_file(&Path::new(ROOT).join(CLEAN_MARKER)).unwrap();
        }
        open(&fs).close().unwrap();
        for name in ["stray-0", "email-7", "notes", "x-delete", "email-0.0123-delete"] {
            assert!(exists(&fs, name), "{name}");
        }
        assert!(!exists(&fs, leftover));
        assert!(exists(&fs, CLEAN_MARKER) || !clean);
    }
}

/// R3: what was not opened whole cannot be closed clean.
#[test]
fn a_failed_open_leaves_the_store_unclean_and_usable() {
    for pass in 0.. {
        let fs = store_with_records();
        let calls = AtomicUsize::new(0);
        fs.hook(move |_, _| {
            if calls.fetch_add(1, Ordering::Relaxed) == pass {
                return Err(io::ErrorKind::Other.into());
            }
            Ok(())
        });
        let opened = try_open(&fs);
        fs.unhook();
        if let Ok(core) = opened {
            assert!(pass > 2, "{pass}");
            return core.close().unwrap_or_default();
        }
        // The first call of all removes the marker.
        assert_eq!(exists(&fs, CLEAN_MARKER), pass == 0, "{pass}");
        let core = open(&fs);
        assert_eq!(end(&core, &core.topic("email").unwrap()), Offset::from(3));
    }
}

fn set(name: &str, value: impl ToString) -> Vec<(String, ConfigChange)> {
    vec![(name.to_owned(), ConfigChange::Set(value.to_string()))]
}

/// Whoever opens a log may have looked at its topic before a change, but is not overlooked by who makes it.
#[test]
fn a_log_that_is_opened_while_its_topic_is_altered_keeps_to_the_change() {
    let fs = HookFs::new();
    let core = open(&fs);
    let email = create(&core, "email").unwrap();
    let replica = thread::scope(|scope| {
        let current = || {
            scope.spawn(|| core.alter_topic(&email, set("max.message.bytes", 5_000)).unwrap());
            while core.current(&email).unwrap().config == email.config {
                thread::yield_now();
            }
            // For the change to come to its end, if nothing keeps it from that.
            pause(Duration::from_millis(20));
            Some((Arc::clone(&email), crate::base::LeaderEpoch::ZERO))
        };
        core.store().replica(&email, PartitionId::ZERO, current).unwrap()
    });
    assert_eq!(replica.log().max_batch_bytes(), 5_000);
}

#[test]
fn a_change_of_the_flush_policy_reaches_open_replicas_and_those_to_come() {
    let fs = HookFs::new();
    let core = open(&fs);
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
    let fs = HookFs::new();
    let core = open(&fs);
    let syncs = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&syncs);
    fs.hook(move |call, path| {
        let counts = call == Call::Sync && path.to_string_lossy().contains("metadata-0/0");
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
    let again = open(&fs.image(Path::new(ROOT)));
    assert_eq!(again.topics().unwrap().len(), 10_000);
}

/// What was prepared and could not be recorded is forgotten by the next who prepares.
#[test]
fn a_topic_is_as_it_was_after_a_change_that_was_not_recorded() {
    let fs = HookFs::new();
    let core = open(&fs);
    let email = create(&core, "email").unwrap();
    fs.hook(|call, _| match call {
        Call::Write => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    });
    core.alter_topic(&email, set("segment.bytes", 5_000)).unwrap_err();
    core.add_partitions(&email, 5).unwrap_err();
    core.delete_topic(email.id, &email.name).unwrap_err();
    fs.unhook();
    assert_eq!(*core.current(&email).unwrap(), *email);
    core.add_partitions(&email, 2).unwrap();
    assert_eq!(core.current(&email).unwrap().partitions, 2);
    core.close().unwrap();
    let again = open(&fs);
    assert_eq!(again.topic("email").unwrap().partitions, 2);
    assert_eq!(again.topic("email").unwrap().config, email.config);
}

/// E8: directories that could not be removed, of partitions that the new topic gets only later.
#[test]
fn what_is_left_of_a_topic_does_not_show_in_one_of_its_name_that_grows() {
    let fs = HookFs::new();
    let core = open(&fs);
    let wide = CreateTopic { name: "email".to_owned(), ..CreateTopic::default() };
    let old = core.create_topic(CreateTopic { partitions: Some(3), ..wide }).unwrap();
    for id in old.partition_ids() {
        append_to(&core.leader(&old, id).unwrap()).unwrap();
    }
    fs.hook(|call, path| match call {
        Call::Rename if path.to_string_lossy().contains("email") => {
            Err(io::ErrorKind::Other.into())
        }
        _ => Ok(()),
    });
    core.delete_topic(old.id, &old.name).unwrap();
    let image = fs.image(Path::new(ROOT));
    fs.unhook();
    assert!(exists(&fs, "email-2"));
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
