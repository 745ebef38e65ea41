//! What is done in the background holds nobody up, and is tried again.

use std::io;

use super::*;
use crate::coordinator::Join;
use crate::coordinator::group::GroupProtocol;
use crate::coordinator::handle::MemberHandle;
use crate::coordinator::subscription::Subscription;
use crate::env::sync::Event;
use crate::env::{CallKind, Clock, Fault};

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
    let mut committed = groups.commit(&other, None, commits(0..1, 6)).unwrap();
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
