//! Terms of a coordinator: what comes too late in each.

use super::*;
use crate::base::IsolationLevel;
use crate::cluster::ElectionKind;
use crate::coordinator::group::{Changes, World};
use crate::env::{CallKind, Clock, PowerCut};
use crate::replica::{ProduceError, Replica};

fn two_brokers() -> (Clock, [Disk; 2], Arc<Core>) {
    let (clock, disks) = (Clock::new(), [Disk::new(), Disk::new()]);
    let core = open_all(&disks, &[], clock.runtime());
    (clock, disks, core)
}

/// G2, KAFKA-10614: loads come out of order when who asks has looked up the leader before another was elected.
#[test]
fn who_knows_a_later_term_does_not_read_the_log_of_an_earlier_one() {
    let (clock, disks, core) = two_brokers();
    let groups = coordinator(&core);
    commit(&groups, 0..1, 5);
    let Term { leader, epoch, .. } = term_of(&core, &mailer());
    // The leader as it is then, which does not hear of what comes.
    let copy = open_all(&disks.map(|disk| disk.image(PowerCut::KeepsAll)), &[], clock.runtime());
    let before = Term { epoch, ..term_of(&copy, &mailer()) };
    wait("it leads", || before.leader.known_end(IsolationLevel::ReadUncommitted).is_some());
    lead_elsewhere(&core, &leader);
    let mut committed =
        as_soon_as_can_be(|| hand_over(&groups, &mailer(), commits(&groups, 0..1, 7)));
    committed.wait().unwrap();
    let after = term_of(&core, &mailer());
    assert!(after.epoch > epoch);
    let shard = groups.shard(leader.partition().partition);
    let (now, wall_clock) = (core.runtime().now(), core.runtime().wall_clock());
    let world = World { topics: &[], version: 0, config: &groups.config, now, wall_clock };
    let entered = shard.groups.lock().enter(&before, &world, &mut Changes::at(now, wall_clock));
    assert!(matches!(entered, Err(GroupError::LoadInProgress { .. })), "{entered:?}");
    assert_eq!(shard.groups.lock().term(), Some(&after));
    assert_eq!(offsets(&groups), [7]);
}

/// G2. A disk that hangs answers when it likes.
#[test]
fn commits_of_a_new_term_do_not_wait_for_those_that_the_leader_before_has_not_decided() {
    let (clock, disks, core) = two_brokers();
    let groups = coordinator(&core);
    commit(&groups, 0..1, 5);
    let Term { leader, .. } = term_of(&core, &mailer());
    let place = usize::try_from(leader.broker().value() - 1).unwrap();
    let (arrived, go) = disks[place].hold(CallKind::Write, "__consumer_offsets-");
    let mut lost = hand_over(&groups, &mailer(), commits(&groups, 0..1, 6)).unwrap();
    lost.have_written();
    arrived.recv_timeout(LONG).unwrap();
    lead_elsewhere(&core, &leader);
    let mut next = as_soon_as_can_be(|| hand_over(&groups, &mailer(), commits(&groups, 1..2, 7)));
    let result = lost.result();
    assert!(matches!(result, Some(Err(ProduceError::LeaderLost))), "{result:?}");
    next.have_written();
    wait("the one that hangs is out of sync", || {
        clock.advance(Duration::from_secs(40));
        next.result().is_some()
    });
    next.wait().unwrap();
    assert_eq!(offsets(&groups), [5, 7]);
    // What comes late does not count.
    drop(go);
    leader.flush().unwrap();
    commit(&groups, 2..3, 8);
    for groups in [groups, coordinator(&core)] {
        assert_eq!(offsets(&groups), [5, 7, 8]);
    }
}

/// Has the other of two brokers lead.
fn lead_elsewhere(core: &Core, leader: &Replica) {
    let topic = core.internal_topic(InternalTopic::ConsumerOffsets).unwrap();
    let partition = leader.partition().partition;
    let other = [1, 2].into_iter().filter_map(BrokerId::new).find(|id| *id != leader.broker());
    let order = vec![other.unwrap(), leader.broker()];
    core.reassign(&topic, partition, Some(order)).unwrap();
    core.elect_leader(&topic, partition, ElectionKind::Preferred).unwrap();
}
