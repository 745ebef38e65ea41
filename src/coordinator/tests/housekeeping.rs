//! What is done in the background holds nobody up, and is tried again.

use std::io;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::coordinator::Join;
use crate::coordinator::group::GroupProtocol;
use crate::coordinator::handle::MemberHandle;
use crate::coordinator::subscription::Subscription;
use crate::env::sync::Event;
use crate::env::{Baton, CallKind, Clock, Failure, Fault};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// All groups are in one partition.
fn clocked() -> (Clock, Disk, Arc<Core>, Arc<GroupCoordinator>) {
    let (clock, disk) = (Clock::new(), Disk::new());
    let settings = [("offsets.topic.num.partitions", "1")];
    let core = open_all(std::slice::from_ref(&disk), &settings, clock.runtime());
    let groups = coordinator(&core);
    (clock, disk, core, groups)
}

fn readers() -> GroupId {
    GroupId::new("readers").unwrap()
}

fn join(groups: &GroupCoordinator, max_poll_interval: Duration) -> Arc<MemberHandle> {
    let handle = groups.new_member(&readers(), "", &Arc::new(Event::new())).unwrap();
    let join = Join {
        protocol: GroupProtocol::Consumer,
        subscription: Subscription::names(["email"]),
        with_internal: false,
        instance_id: None,
        client_id: String::new(),
        rack: None,
        assignors: Vec::new(),
        max_poll_interval,
        session_timeout: MINUTE,
    };
    groups.join(&handle, &join).unwrap();
    handle
}

fn members(groups: &GroupCoordinator) -> usize {
    groups.describe(&readers()).unwrap().members.len()
}

/// G4.
#[test]
fn offsets_that_are_being_forgotten_hold_nobody_up() {
    let (clock, disk, _core, groups) = clocked();
    commit(&groups, 0..1, 5);
    join(&groups, 30 * DAY);
    let (arrived, go) = disk.hold(CallKind::Write, "__consumer_offsets-0");
    clock.advance(8 * DAY);
    arrived.recv_timeout(LONG).unwrap();
    join(&groups, 5 * MINUTE);
    assert_eq!(members(&groups), 2);
    let other = GroupId::new("other").unwrap();
    let mut committed = hand_over(&groups, &other, commits(&groups, 0..1, 6)).unwrap();
    clock.advance(6 * MINUTE);
    wait("who does not poll is removed", || members(&groups) == 1);
    assert!(committed.result().is_none(), "nothing is written");
    assert_eq!(offsets(&groups), [5]);
    drop(go);
    committed.wait().unwrap();
    wait("they are forgotten", || offsets(&groups).is_empty());
}

#[test]
fn offsets_that_could_not_be_forgotten_are_forgotten_later() {
    let (clock, disk, core, groups) = clocked();
    commit(&groups, 0..1, 5);
    disk.fail(Fault::new(io::ErrorKind::Other).on(CallKind::Write).at(".log"));
    clock.advance(8 * DAY);
    wait("it cannot be written", || !disk.failures().is_empty());
    // offsets.retention.check.interval.ms
    for _ in 0..20 {
        pause(Duration::from_millis(1));
        assert_eq!(offsets(&groups), [5]);
    }
    clock.advance(11 * MINUTE);
    wait("they are forgotten", || offsets(&groups).is_empty());
    assert!(offsets(&coordinator(&core)).is_empty());
}

/// A cluster in which the only replica of the groups' partition cannot be read, in a simulation.
struct Damaged {
    baton: Arc<Baton>,
    core: Arc<Core>,
    groups: Arc<GroupCoordinator>,
    disk: Disk,
    broker: BrokerId,
    /// The segment, and what was in the place of the byte that is damaged.
    file: PathBuf,
    byte: u8,
    reads: Arc<AtomicU64>,
}

/// Somewhere in the first batch.
const PLACE: u64 = 70;

impl Damaged {
    /// Runs `live` in one, with a member that has joined before it was damaged.
    fn run(live: impl FnOnce(&Self, &Arc<MemberHandle>) + Send + 'static) {
        let ran = Baton::run(1, move |baton| {
            let disks = [Disk::new(), Disk::new()];
            let settings =
                [("offsets.topic.num.partitions", "1"), ("offsets.topic.replication.factor", "1")];
            let core = open_all(&disks, &settings, crate::env::runtime(None));
            let groups = coordinator(&core);
            let member = join(&groups, 5 * MINUTE);
            commit(&groups, 0..1, 5);
            let broker = term_of(&core, &readers()).leader.broker();
            let disk = disks[usize::try_from(broker.value()).unwrap() - 1].clone();
            let is_log = |file: &PathBuf| {
                file.to_string_lossy().contains("__consumer_offsets-0")
                    && file.extension().is_some_and(|extension| extension == "log")
            };
            let file = disk.files().into_iter().map(|(file, _)| file).find(is_log).unwrap();
            let byte = disk.read(&file).unwrap()[usize::try_from(PLACE).unwrap()];
            let (baton, reads) = (Arc::clone(baton), Arc::new(AtomicU64::new(0)));
            let damaged = Self { baton, core, groups, disk, broker, file, byte, reads };
            damaged.replace(!byte);
            damaged.watch();
            live(&damaged, &member);
            damaged.core.close().unwrap();
        });
        match ran {
            Ok(_) => {}
            Err(Failure::Stuck(why)) => panic!("{why}"),
            Err(Failure::Panicked(panic)) => std::panic::resume_unwind(panic),
        }
    }

    /// Has the byte be this one, for a replica that is opened anew.
    fn replace(&self, byte: u8) {
        self.core.stop_broker(self.broker).unwrap();
        self.disk.damage(&self.file, PLACE, &[byte]).unwrap();
        self.core.start_broker(self.broker).unwrap();
        self.baton.sleep(Duration::from_millis(100));
    }

    fn watch(&self) {
        let (file, reads) = (self.file.clone(), Arc::clone(&self.reads));
        self.disk.on_call(move |call| {
            if call.kind == CallKind::Read && call.path == file {
                reads.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
    }

    /// How many reads one look at a group takes, which fails.
    fn reads_of_a_look(&self) -> u64 {
        let before = self.reads.load(Ordering::Relaxed);
        let looked = self.groups.describe(&readers());
        assert!(matches!(looked, Err(GroupError::Unreadable { .. })), "{looked:?}");
        self.reads.load(Ordering::Relaxed) - before
    }

    fn mend(&self) {
        self.replace(self.byte);
        self.baton.sleep(Duration::from_secs(2));
    }
}

/// Nobody was to look at them any more.
#[test]
fn members_are_removed_when_the_log_of_their_group_can_be_read_again() {
    Damaged::run(|damaged, _| {
        let of_a_look = damaged.reads_of_a_look();
        damaged.baton.sleep(5 * MINUTE);
        let before = damaged.reads.load(Ordering::Relaxed);
        damaged.baton.sleep(MINUTE);
        let looks = (damaged.reads.load(Ordering::Relaxed) - before) / of_a_look.max(1);
        // One a second for members, and one for topics that may be others.
        assert!((80..160).contains(&looks), "{looks} in a minute");
        damaged.mend();
        assert_eq!(members(&damaged.groups), 0);
    });
}

/// It took ten looks a second, each of which reads the log.
#[test]
fn who_leaves_a_group_whose_log_cannot_be_read_does_so_when_it_can() {
    Damaged::run(|damaged, member| {
        let of_a_look = damaged.reads_of_a_look();
        damaged.groups.leave(member, true);
        let before = damaged.reads.load(Ordering::Relaxed);
        damaged.baton.sleep(MINUTE);
        let looks = (damaged.reads.load(Ordering::Relaxed) - before) / of_a_look.max(1);
        assert!((80..160).contains(&looks), "{looks} in a minute");
        damaged.mend();
        assert_eq!(members(&damaged.groups), 0);
    });
}
