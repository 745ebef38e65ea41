//! Group commit, roles, endings: what becomes of batches when several threads and a failing disk are at them.

mod ending;
mod following;
mod group;
mod model;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use bytes::BytesMut;

use crate::base::{Acks, BrokerId, FlushPolicy, LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use crate::base::{Timestamp, TopicId, TopicPartition};
use crate::env::sync::{Event, Mutex};
use crate::env::{BufferPool, CallKind, Disk, Fault, Moment, Runtime, Threads, pause};
use crate::record::{BatchBuilder, BatchProducer, CloseOptions, RecordFields};
use crate::replica::alone::{Alone, Scheduled};
use crate::replica::{Append, Completion, OpenReplica, PartitionState};
use crate::replica::{ProduceError, Refusal, Replica};
use crate::storage::{
    AppendError, AppendOrigin, Appended, Log, LogConfig, OpenLog, Quarantine, Shutdown,
    StorageError, TailCache,
};

type Answer = Result<Appended, ProduceError>;

/// Long enough for anything that is going to happen, short enough to wait for what must not.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);

/// Nobody is to wait until then.
fn in_time() -> Moment {
    Threads::new().now().after(LONG).unwrap()
}

/// Somebody who wants to know.
#[derive(Default)]
struct Asker {
    answers: Mutex<Vec<Answer>>,
    answered: OnceLock<()>,
    event: Event,
}

impl Completion for Asker {
    fn complete(self: Arc<Self>, result: Result<Appended, Refusal>) {
        self.answers.lock().push(result.map_err(|refused| refused.error));
        let _first = self.answered.set(());
        self.event.notify(usize::MAX);
    }

    fn hand_over(&self) -> bool {
        self.event.notify(1) > 0
    }
}

impl Asker {
    /// Waits as a producer's delivery does.
    fn wait(&self, replica: &Replica) -> Answer {
        let runtime = Threads::new();
        while self.answered.get().is_none() {
            let listener = self.event.listen();
            replica.help();
            if self.answered.get().is_none() {
                assert!(runtime.park(listener, runtime.now().after(LONG)), "nobody answers");
            }
        }
        self.answer().unwrap()
    }

    /// The one answer, if there is one.
    fn answer(&self) -> Option<Answer> {
        let answers = self.answers.lock();
        assert!(answers.len() <= 1, "answered twice: {answers:?}");
        answers.first().cloned()
    }
}

const ID: TopicId = TopicId::from_bytes([1; 16]);

fn open_log(disk: &Disk, shutdown: Shutdown) -> Log {
    let pool = Arc::new(BufferPool::new(1 << 20));
    let opened = Log::open(OpenLog {
        fs: disk.file_system(),
        root: Path::new("/").into(),
        partition: TopicPartition::parse_directory_name("email-0").unwrap(),
        topic_id: ID,
        config: LogConfig::default(),
        cache: Arc::new(TailCache::new(1 << 20, pool)),
        quarantine: Arc::new(Quarantine::new(disk.file_system(), Path::new("/").into(), 0)),
        start: None,
        deleted: Offset::ZERO,
        closed_at: Vec::new(),
        examine: false,
        shutdown,
        now: Timestamp::EPOCH,
        seed: 7,
    });
    opened.unwrap().0
}

struct Place {
    disk: Disk,
    scheduled: Arc<Scheduled>,
    replica: Arc<Replica>,
}

impl Place {
    fn new(policy: FlushPolicy) -> Self {
        let disk = Disk::new();
        let log = open_log(&disk, Shutdown::Clean);
        let scheduled = Arc::new(Scheduled::default());
        let broker = BrokerId::ZERO;
        let replica = Replica::new(OpenReplica {
            broker,
            log,
            topic_id: ID,
            state: PartitionState::alone(broker, LeaderEpoch::ZERO),
            high_watermark: Offset::MAX,
            policy,
            runtime: Arc::new(Threads::new()),
            syncer: Arc::clone(&scheduled) as _,
            peers: Arc::new(Alone),
        });
        Self { disk, scheduled, replica }
    }

    /// A place whose log has one record, synced, so that nothing has to be created any more.
    fn with_a_record(policy: FlushPolicy) -> Self {
        let place = Self::new(policy);
        let first = place.enqueue(Acks::All);
        place.replica.drive();
        place.replica.flush().unwrap();
        first.answer().unwrap().unwrap();
        place.scheduled.run();
        place
    }

    /// Queues a batch of one record.
    fn enqueue(&self, acks: Acks) -> Arc<Asker> {
        self.enqueue_from(None, acks)
    }

    /// Queues the batch of a producer that has this sequence number.
    fn enqueue_from(&self, sequence: Option<i32>, acks: Acks) -> Arc<Asker> {
        let mut builder = BatchBuilder::new(BytesMut::new());
        builder.append(&RecordFields { value: Some(b"v"), ..Default::default() }).unwrap();
        let (id, epoch) = (ProducerId::ZERO, ProducerEpoch::ZERO);
        let producer = sequence.map(|_| BatchProducer { id, epoch, base_sequence: sequence });
        let batch = builder.close(&CloseOptions { producer, ..Default::default() }).unwrap();
        let asker = Arc::new(Asker::default());
        let completion = Arc::clone(&asker) as _;
        let append = Append { batch, origin: AppendOrigin::Client, acks, completion };
        if let Err(error) = self.replica.enqueue(append) {
            Arc::clone(&asker).complete(Err(error.error.into()));
        }
        asker
    }

    /// Queues a batch of one record, of which `completion` is told.
    fn enqueue_for(&self, completion: Arc<dyn Completion>, acks: Acks) {
        let mut builder = BatchBuilder::new(BytesMut::new());
        builder.append(&RecordFields::default()).unwrap();
        let batch = builder.close(&CloseOptions::default()).unwrap();
        let append = Append { batch, origin: AppendOrigin::Client, acks, completion };
        self.replica.enqueue(append).unwrap();
    }

    fn change_policy(&self, policy: FlushPolicy) {
        self.replica.set_policy(policy);
        self.replica.policy_changed();
    }

    fn fail(&self, kind: CallKind) {
        self.disk.fail(Fault::new(io::ErrorKind::Other).on(kind).for_good());
    }

    fn count_log_syncs(&self) -> Arc<AtomicUsize> {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        self.disk.on_call(move |call| {
            let counts =
                call.kind == CallKind::Sync && call.path.extension().is_some_and(|e| e == "log");
            counter.fetch_add(usize::from(counts), Ordering::Relaxed);
            Ok(())
        });
        count
    }
}

fn is_unknown(answer: &Answer) -> bool {
    matches!(answer, Err(ProduceError::Sync(_) | ProduceError::Append(AppendError::Unknown(_))))
}

#[test]
fn batches_written_during_a_sync_share_the_next_one() {
    let place = Place::with_a_record(FlushPolicy::OnAck);
    let first = place.enqueue(Acks::All);
    let (arrivals, go) = place.disk.hold(CallKind::Sync, ".log");
    thread::scope(|scope| {
        scope.spawn(|| first.wait(&place.replica).unwrap());
        arrivals.recv_timeout(LONG).unwrap();
        let rest = (0..8).map(|_| place.enqueue(Acks::Leader)).collect::<Vec<_>>();
        place.replica.drive();
        for asker in rest.clone() {
            let replica = &place.replica;
            scope.spawn(move || asker.wait(replica).unwrap());
        }
        assert_eq!(arrivals.recv_timeout(SHORT).ok(), None, "one sync at a time");
        drop(go);
        // After so slow a sync callers leave the next one to the syncer.
        while rest.iter().any(|asker| asker.answer().is_none()) {
            place.scheduled.run();
            thread::yield_now();
        }
    });
    assert_eq!(arrivals.try_iter().count(), 1);
    assert_eq!(place.replica.high_watermark(), Offset::from(10));
}

#[test]
fn every_batch_of_many_threads_is_acknowledged_once_and_durable() {
    let place = Place::with_a_record(FlushPolicy::OnAck);
    let syncs = place.count_log_syncs();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let appended = place.enqueue(Acks::All).wait(&place.replica).unwrap();
                    assert!(appended.next <= place.replica.high_watermark());
                    assert!(place.replica.high_watermark() <= place.replica.log().flushed());
                }
            });
        }
    });
    assert_eq!(place.replica.log().end(), Offset::from(801));
    assert!(syncs.load(Ordering::Relaxed) <= 800);
}

#[test]
fn bytes_that_nobody_waits_for_are_scheduled() {
    let place = Place::with_a_record(FlushPolicy::OnAck);
    let none = place.enqueue(Acks::None);
    let all = place.enqueue(Acks::All);
    place.replica.drive();
    none.answer().unwrap().unwrap();
    assert!(all.answer().is_none());
    assert_eq!(place.replica.high_watermark(), Offset::from(1));
    assert_eq!(place.scheduled.run(), 1);
    all.answer().unwrap().unwrap();
    assert_eq!(place.replica.high_watermark(), Offset::from(3));
}

/// The sync that is under way does not cover them, and the syncer found it at work.
#[test]
fn bytes_written_during_a_sync_are_scheduled_again() {
    let place = Place::with_a_record(FlushPolicy::OnAck);
    let first = place.enqueue(Acks::All);
    place.replica.drive();
    let (arrivals, go) = place.disk.hold(CallKind::Sync, ".log");
    thread::scope(|scope| {
        scope.spawn(|| place.replica.sync());
        arrivals.recv_timeout(LONG).unwrap();
        let second = place.enqueue(Acks::All);
        place.replica.drive();
        place.scheduled.run();
        assert!(second.answer().is_none());
        drop(go);
        while place.scheduled.run() == 0 {
            thread::yield_now();
        }
        first.answer().unwrap().unwrap();
        second.answer().unwrap().unwrap();
    });
}

#[test]
fn a_failed_sync_fails_all_who_wait_and_everything_after() {
    let place = Place::with_a_record(FlushPolicy::OnAck);
    let askers = (0..3).map(|_| place.enqueue(Acks::All)).collect::<Vec<_>>();
    place.fail(CallKind::Sync);
    place.replica.drive();
    place.scheduled.run();
    place.disk.heal();
    for asker in askers {
        assert!(is_unknown(&asker.answer().unwrap()));
    }
    let later = place.enqueue(Acks::All).wait(&place.replica);
    assert!(
        matches!(
            later,
            Err(ProduceError::Append(AppendError::NotWritten(StorageError::Offline { .. })))
        ),
        "{later:?}"
    );
    place.replica.flush().unwrap_err();
    place.replica.close(in_time()).unwrap_err();
    assert_eq!(place.replica.high_watermark(), Offset::from(1));
}

/// It was written, and noted as waiting when those before it had been failed.
#[test]
fn closing_answers_what_a_failed_sync_left() {
    let place = Place::with_a_record(FlushPolicy::OnAck);
    let late = place.enqueue(Acks::All);
    place.replica.drive();
    place.replica.log().take_offline();
    place.replica.close(in_time()).unwrap_err();
    assert!(is_unknown(&late.answer().unwrap()));
}

#[test]
fn a_full_disk_is_a_definite_failure_and_the_next_write_succeeds() {
    let place = Place::with_a_record(FlushPolicy::OnAck);
    let refused = place.enqueue(Acks::All);
    place.disk.fail(Fault::new(io::ErrorKind::StorageFull).on(CallKind::Write));
    place.replica.drive();
    place.disk.heal();
    let refused = refused.answer().unwrap();
    assert!(matches!(refused, Err(ProduceError::Append(AppendError::NotWritten(_)))));
    let appended = place.enqueue(Acks::All).wait(&place.replica).unwrap();
    assert_eq!(appended.base, Offset::from(1));
}

/// The second copy of a batch is as durable as the first: neither sooner answered, nor by another offset.
#[test]
fn a_batch_that_is_sent_again_is_answered_with_the_first_copy() {
    let place = Place::with_a_record(FlushPolicy::OnAck);
    let first = place.enqueue_from(Some(0), Acks::All);
    let next = place.enqueue_from(Some(1), Acks::All);
    let again = place.enqueue_from(Some(0), Acks::All);
    place.replica.drive();
    let later = place.enqueue_from(Some(0), Acks::Leader);
    place.replica.drive();
    for asker in [&first, &next, &again, &later] {
        assert!(asker.answer().is_none(), "it is not on disk");
    }
    place.scheduled.run();
    for (asker, base) in [(&first, 1), (&next, 2), (&again, 1), (&later, 1)] {
        assert_eq!(asker.answer().unwrap().unwrap().base, Offset::from(base));
    }
    assert_eq!(place.replica.log().end(), Offset::from(3));
    let known = place.enqueue_from(Some(0), Acks::All);
    place.replica.drive();
    assert_eq!(known.answer().unwrap().unwrap().base, Offset::from(1), "nothing to wait for");
}

/// Batches are answered by their offsets, not by their turn.
#[test]
fn a_batch_that_is_sent_again_waits_for_no_later_ones() {
    let place = Place::with_a_record(FlushPolicy::OnAck);
    let first = place.enqueue_from(Some(0), Acks::All);
    place.replica.drive();
    let (arrivals, go) = place.disk.hold(CallKind::Sync, ".log");
    thread::scope(|scope| {
        scope.spawn(|| place.replica.sync());
        arrivals.recv_timeout(LONG).unwrap();
        // Not covered by the sync that is under way, unlike the copy behind it.
        let next = place.enqueue_from(Some(1), Acks::All);
        let again = place.enqueue_from(Some(0), Acks::All);
        place.replica.drive();
        drop(go);
        for _ in 0..5_000 {
            if first.answer().is_some() && again.answer().is_some() {
                break;
            }
            pause(Duration::from_millis(1));
        }
        assert!(first.answer().is_some() && again.answer().is_some());
        assert!(next.answer().is_none());
    });
}

#[test]
fn an_interval_is_due_by_time_or_by_count() {
    let hour = Duration::from_secs(3600);
    let place = Place::with_a_record(FlushPolicy::Interval { time: hour, messages: Some(3) });
    let is_due = |due: Option<Moment>| due.unwrap() <= Moment::since_start(Duration::from_secs(60));
    for count in 1..=3 {
        let asker = place.enqueue(Acks::All);
        place.replica.drive();
        asker.answer().unwrap().unwrap();
        assert_eq!(is_due(place.replica.take_schedule()), count == 3, "{count}");
    }
    place.replica.sync();
    assert_eq!(place.replica.log().flushed(), Offset::from(4));
    place.enqueue(Acks::All);
    place.replica.drive();
    assert!(!is_due(place.replica.take_schedule()), "counted from the last sync");
}

#[test]
fn closing_waits_for_a_write_under_way_and_refuses_what_comes_later() {
    let place = Place::with_a_record(FlushPolicy::OnAck);
    let during = place.enqueue(Acks::All);
    let (arrivals, go) = place.disk.hold(CallKind::Write, ".log");
    let (closed, is_closed) = crossbeam_channel::bounded(1);
    thread::scope(|scope| {
        scope.spawn(|| place.replica.drive());
        arrivals.recv_timeout(LONG).unwrap();
        let queued = place.enqueue(Acks::All);
        scope.spawn(|| closed.send(place.replica.close(in_time())).unwrap());
        assert!(is_closed.recv_timeout(SHORT).is_err(), "a batch is still being written");
        let late = place.enqueue(Acks::All);
        assert!(matches!(late.answer(), Some(Err(ProduceError::Closed))));
        drop(go);
        is_closed.recv_timeout(LONG).unwrap().unwrap();
        assert_eq!(place.replica.log().flushed(), Offset::from(3));
        queued.wait(&place.replica).unwrap();
        during.wait(&place.replica).unwrap();
    });
}

#[test]
fn deletion_waits_for_a_sync_under_way_and_fails_what_is_not_acknowledged() {
    let place = Place::with_a_record(FlushPolicy::OnAck);
    let written = place.enqueue(Acks::All);
    place.replica.drive();
    let (arrivals, go) = place.disk.hold(CallKind::Sync, ".log");
    let (deleted, is_deleted) = crossbeam_channel::bounded(1);
    thread::scope(|scope| {
        scope.spawn(|| place.replica.sync());
        arrivals.recv_timeout(LONG).unwrap();
        let queued = place.enqueue(Acks::All);
        scope.spawn(|| {
            place.replica.delete();
            deleted.send(()).unwrap();
        });
        assert!(is_deleted.recv_timeout(SHORT).is_err(), "a file is still being synced");
        drop(go);
        is_deleted.recv_timeout(LONG).unwrap();
        let queued = queued.answer().unwrap();
        assert!(matches!(queued, Err(ProduceError::Deleted)), "{queued:?}");
        let late = place.enqueue(Acks::All).answer();
        assert!(matches!(late, Some(Err(ProduceError::Deleted))));
    });
    assert!(written.answer().is_some());
}

/// A bug of ours must not make others wait for ever, nor let them write behind what it left.
#[test]
fn a_panic_answers_all_it_concerns_and_leaves_no_role_taken() {
    for call in [CallKind::Write, CallKind::Sync] {
        let place = Place::with_a_record(FlushPolicy::OnAck);
        let askers = [place.enqueue(Acks::All), place.enqueue(Acks::All)];
        place.disk.on_call(move |c| {
            assert!(c.kind != call, "a panic, as the test wants it");
            Ok(())
        });
        let panicked = thread::scope(|scope| {
            scope
                .spawn(|| {
                    place.replica.drive();
                    place.replica.sync();
                })
                .join()
        });
        assert!(panicked.is_err());
        place.disk.heal();
        for asker in askers {
            assert!(is_unknown(&asker.answer().unwrap()), "{call:?}");
        }
        place.enqueue(Acks::All).wait(&place.replica).unwrap_err();
        place.replica.close(in_time()).unwrap_err();
    }
}

/// An answer may wake a future that drops the last handle of the cluster.
#[test]
fn an_answer_may_close_the_replica() {
    struct Closes(Arc<Replica>, OnceLock<()>);
    impl Completion for Closes {
        fn complete(self: Arc<Self>, _: Result<Appended, Refusal>) {}

        fn tell(&self) {
            self.0.close(in_time()).unwrap();
            self.1.set(()).unwrap();
        }

        fn hand_over(&self) -> bool {
            false
        }
    }
    for (policy, acks) in [
        (FlushPolicy::Os, Acks::All),
        (FlushPolicy::OnAck, Acks::None),
        (FlushPolicy::OnAck, Acks::All),
    ] {
        let place = Place::with_a_record(policy);
        let closes = Arc::new(Closes(Arc::clone(&place.replica), OnceLock::new()));
        place.enqueue_for(Arc::clone(&closes) as _, acks);
        place.replica.drive();
        place.scheduled.run();
        assert!(closes.1.get().is_some());
    }
}

/// A future's waker is not ours.
#[test]
fn one_who_panics_when_told_keeps_no_answer_from_others() {
    struct Panics;
    impl Completion for Panics {
        fn complete(self: Arc<Self>, _: Result<Appended, Refusal>) {}

        fn tell(&self) {
            panic!("when told, as planned");
        }

        fn hand_over(&self) -> bool {
            false
        }
    }
    for policy in [FlushPolicy::Os, FlushPolicy::OnAck] {
        let place = Place::with_a_record(policy);
        place.enqueue_for(Arc::new(Panics), Acks::All);
        let asker = place.enqueue(Acks::All);
        place.enqueue_for(Arc::new(Panics), Acks::None);
        asker.wait(&place.replica).unwrap();
        place.replica.close(in_time()).unwrap();
    }
}

#[test]
fn a_less_strict_policy_answers_those_who_wait_for_a_sync() {
    let interval = FlushPolicy::Interval { time: LONG, messages: None };
    for policy in [FlushPolicy::Os, interval] {
        let place = Place::with_a_record(FlushPolicy::OnAck);
        let asker = place.enqueue(Acks::All);
        place.replica.drive();
        assert!(asker.answer().is_none() && place.replica.high_watermark() == Offset::from(1));
        place.change_policy(policy);
        asker.answer().unwrap().unwrap();
        assert_eq!(place.replica.high_watermark(), Offset::from(2));
        assert_eq!(place.replica.log().flushed(), Offset::from(1));
    }
}

#[test]
fn a_stricter_policy_syncs_what_was_written_before_it() {
    let interval = FlushPolicy::Interval { time: Duration::ZERO, messages: None };
    for policy in [FlushPolicy::OnAck, interval] {
        let place = Place::with_a_record(FlushPolicy::Os);
        place.enqueue(Acks::All);
        place.replica.drive();
        assert_eq!(place.scheduled.run(), 0);
        place.change_policy(policy);
        assert_eq!(place.scheduled.run(), 1);
        assert_eq!(place.replica.log().flushed(), Offset::from(2));
    }
}

/// R4: what a failed sync left unknown stays so, whatever is asked for later.
#[test]
fn a_policy_makes_nothing_readable_that_a_failed_sync_has_left() {
    let place = Place::with_a_record(FlushPolicy::OnAck);
    let asker = place.enqueue(Acks::All);
    place.fail(CallKind::Sync);
    place.replica.drive();
    place.scheduled.run();
    assert!(is_unknown(&asker.answer().unwrap()));
    place.disk.heal();
    place.change_policy(FlushPolicy::Os);
    assert_eq!(place.replica.high_watermark(), Offset::from(1));
}

#[test]
fn every_batch_is_answered_while_the_policy_changes() {
    let place = Place::with_a_record(FlushPolicy::OnAck);
    let waiting = AtomicUsize::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    place.enqueue(Acks::All).wait(&place.replica).unwrap();
                }
                waiting.fetch_sub(1, Ordering::Relaxed);
            });
        }
        let interval = FlushPolicy::Interval { time: Duration::ZERO, messages: None };
        let policies = [FlushPolicy::Os, FlushPolicy::OnAck, interval, FlushPolicy::OnAck];
        for policy in policies.into_iter().cycle() {
            if waiting.load(Ordering::Relaxed) == 0 {
                break;
            }
            place.change_policy(policy);
            place.scheduled.run();
        }
    });
    assert_eq!(place.replica.high_watermark(), Offset::from(2_001));
}
