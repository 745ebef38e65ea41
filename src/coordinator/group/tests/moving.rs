//! Members come and go, and partitions move.

use super::*;

#[test]
fn the_first_member_has_everything_at_once() {
    for wants in [
        consumer(&["email"]),
        classic(&["email"], &["range"]),
        classic(&["email"], &["cooperative-sticky"]),
    ] {
        let mut lab = Lab::new(&[("email", 3)]);
        let client = lab.join(wants);
        assert_eq!(lab.has(&client), "email-0 email-1 email-2");
        assert!(client.told.is_settled && !client.is_summoned());
        assert_eq!(lab.state(), GroupState::Stable);
    }
}

/// Kafka's example: four topics of two partitions, a third member joins two.
#[test]
fn cooperative_rebalances_take_two_rounds() {
    let topics = ["t0", "t1", "t2", "t3"];
    let mut lab = Lab::new(&topics.map(|topic| (topic, 2)));
    let wants = || classic(&topics, &["cooperative-sticky"]);
    let mut first = lab.join_as("C0", wants());
    let mut second = lab.join_as("C2", wants());
    lab.settle(&mut [&mut first, &mut second]);
    let before = [lab.has(&first), lab.has(&second)].map(|has| has.split(' ').count());
    assert_eq!(before, [4, 4]);

    let mut third = lab.join_as("C3", wants());
    assert!(first.is_summoned() && second.is_summoned());
    let mut kept = Vec::new();
    for client in [&mut first, &mut second] {
        let had = client.has.clone();
        lab.heartbeat(client).unwrap();
        // What stays is not interrupted.
        assert_eq!((client.told.assigned.len(), client.told.revoking.len()), (3, 1));
        assert_eq!(client.has, had);
        kept.push(client.told.assigned.clone());
    }
    lab.heartbeat(&mut third).unwrap();
    assert_eq!(lab.has(&third), "", "round 1");
    let going = [&first, &second].map(|client| lab.show(&client.told.revoking));

    for client in [&mut first, &mut second] {
        lab.release(client).unwrap();
        assert!(third.is_summoned());
        lab.heartbeat(&mut third).unwrap();
    }
    assert_eq!([&first.has, &second.has], [&kept[0], &kept[1]]);
    let mut got = lab.has(&third).split(' ').map(str::to_owned).collect::<Vec<_>>();
    got.sort();
    let mut going = going.to_vec();
    going.sort();
    assert_eq!(got, going, "round 2");
    assert_eq!(lab.state(), GroupState::Stable);
}

#[test]
fn what_does_not_move_is_never_interrupted() {
    let mut lab = Lab::new(&[("email", 12)]);
    let mut clients = Vec::<Client>::new();
    for _ in 0..5 {
        let had = clients.iter().map(|client| client.has.clone()).collect::<Vec<_>>();
        clients.push(lab.join(consumer(&["email"])));
        lab.settle(&mut clients.iter_mut().collect::<Vec<_>>());
        for (client, had) in clients.iter().zip(&had) {
            assert!(client.has.difference(had).is_empty(), "nothing comes to who gives up");
        }
        let all = clients.iter().map(|client| client.has.len());
        assert_eq!(all.sum::<usize>(), 12);
    }
    let had = clients.iter().map(|client| client.has.clone()).collect::<Vec<_>>();
    let gone = clients.pop().unwrap();
    lab.leave(&gone, true);
    for (client, had) in clients.iter_mut().zip(&had) {
        lab.heartbeat(client).unwrap();
        assert!(client.told.revoking.is_empty());
        assert!(had.difference(&client.has).is_empty());
    }
    assert_eq!(clients.iter().map(|client| client.has.len()).sum::<usize>(), 12);
}

#[test]
fn in_an_eager_group_nobody_gets_anything_before_all_have_given_up() {
    let mut lab = Lab::new(&[("email", 4)]);
    let wants = || classic(&["email"], &["range"]);
    let mut first = lab.join(wants());
    let mut second = lab.join(wants());
    let mut third = lab.join(wants());
    assert_eq!(lab.state(), GroupState::PreparingRebalance);
    lab.heartbeat(&mut second).unwrap();
    assert_eq!(lab.has(&second), "");
    lab.heartbeat(&mut first).unwrap();
    assert_eq!(first.told.revoking.len(), 4);
    assert!(!second.is_summoned() && !third.is_summoned());
    lab.release(&mut first).unwrap();
    assert_eq!(lab.has(&first), "email-0 email-1");
    assert!(second.is_summoned() && third.is_summoned());
    assert_eq!(lab.state(), GroupState::CompletingRebalance);
    lab.settle(&mut [&mut first, &mut second, &mut third]);
    assert_eq!((lab.has(&second), lab.has(&third)), ("email-2".into(), "email-3".into()));
    assert_eq!(lab.state(), GroupState::Stable);
}

/// It may be that somebody waits for that.
#[test]
fn who_is_to_have_nothing_is_told_so() {
    for wants in [consumer(&["email"]), classic(&["email"], &["range"])] {
        let settings = [("group.initial.rebalance.delay.ms", "3000")];
        let mut lab = Lab::with(&[("email", 1)], &settings);
        let mut clients = [lab.join(wants.clone()), lab.join(wants)];
        lab.pass(Duration::from_secs(3));
        lab.tick();
        assert!(clients.iter().all(Client::is_summoned));
        let [first, second] = &mut clients;
        lab.settle(&mut [first, second]);
        assert!(clients.iter().all(|client| client.told.is_settled));
    }
}

#[test]
fn a_new_group_waits_for_more_members() {
    let settings = [("group.initial.rebalance.delay.ms", "3000")];
    let mut lab = Lab::with(&[("email", 2)], &settings);
    let mut first = lab.join(consumer(&["email"]));
    assert_eq!((lab.has(&first), first.told.is_settled), (String::new(), false));
    assert_eq!(lab.state(), GroupState::Assigning);
    assert_eq!(lab.group.next_tick(lab.now), lab.now.after(Duration::from_secs(3)));
    lab.pass(Duration::from_secs(2));
    lab.tick();
    let mut second = lab.join(consumer(&["email"]));
    assert_eq!(lab.state(), GroupState::Assigning);
    lab.pass(Duration::from_secs(1));
    lab.tick();
    lab.settle(&mut [&mut first, &mut second]);
    assert_eq!((lab.has(&first), lab.has(&second)), ("email-0".into(), "email-1".into()));
    // Later ones do not wait.
    let mut third = lab.join(consumer(&["email"]));
    assert_eq!(lab.state(), GroupState::Stable);
    lab.settle(&mut [&mut first, &mut second, &mut third]);
}

/// G7.
#[test]
fn a_full_group_takes_nobody() {
    for (wants, setting) in [
        (consumer(&["email"]), "group.consumer.max.size"),
        (classic(&["email"], &["range"]), "group.max.size"),
    ] {
        let mut lab = Lab::with(&[("email", 2)], &[(setting, "2")]);
        let first = lab.join(wants.clone());
        let _second = lab.join(wants.clone());
        let epoch = lab.group.epoch;
        assert_eq!(kind(lab.try_join(wants.clone())), Some(ErrorKind::GroupMaxSizeReached));
        assert_eq!(lab.group.epoch, epoch);
        lab.leave(&first, true);
        lab.join(wants);
    }
}

#[test]
fn members_are_of_one_protocol() {
    let mut lab = Lab::new(&[("email", 2)]);
    let client = lab.join(consumer(&["email"]));
    let other = || classic(&["email"], &["range"]);
    assert_eq!(kind(lab.try_join(other())), Some(ErrorKind::InconsistentGroupProtocol));
    lab.leave(&client, true);
    lab.join(other());
    let refused = lab.try_join(consumer(&["email"]));
    assert_eq!(kind(refused), Some(ErrorKind::InconsistentGroupProtocol));
}

#[test]
fn members_of_the_classic_protocol_have_an_assignor_in_common() {
    let mut lab = Lab::new(&[("email", 2)]);
    let none = lab.try_join(classic(&["email"], &[]));
    assert_eq!(kind(none), Some(ErrorKind::InconsistentGroupProtocol));
    let unknown = lab.try_join(classic(&["email"], &["best"]));
    assert_eq!(kind(unknown), Some(ErrorKind::UnsupportedAssignor));
    let _first = lab.join(classic(&["email"], &["range", "sticky"]));
    let _second = lab.join(classic(&["email"], &["sticky", "roundrobin"]));
    assert_eq!(lab.group.target.assignor, "sticky");
    // Each has one in common with it, and there is none of all.
    let refused = lab.try_join(classic(&["email"], &["range", "roundrobin"]));
    assert_eq!(kind(refused), Some(ErrorKind::InconsistentGroupProtocol));
    let short =
        JoinRequest { session_timeout: Duration::from_secs(5), ..classic(&["email"], &["sticky"]) };
    assert_eq!(kind(lab.try_join(short)), Some(ErrorKind::InvalidSessionTimeout));
}

#[test]
fn most_members_choose_the_assignor() {
    let mut lab = Lab::new(&[("email", 2)]);
    let first = lab.join(classic(&["email"], &["range", "cooperative-sticky"]));
    assert_eq!(lab.group.target.assignor, "range");
    let _second = lab.join(classic(&["email"], &["cooperative-sticky", "range"]));
    // One vote for each: the first in the alphabet.
    assert_eq!(lab.group.target.assignor, "cooperative-sticky");
    let _third = lab.join(classic(&["email"], &["range", "cooperative-sticky"]));
    assert_eq!(lab.group.target.assignor, "range");
    lab.leave(&first, true);
    assert_eq!(lab.group.target.assignor, "cooperative-sticky");

    let mut lab = Lab::new(&[("email", 2)]);
    let _first = lab.join(consumer(&["email"]));
    assert_eq!(lab.group.target.assignor, "uniform");
    let _second = lab.join(consumer(&["email"]).by(&["range"]));
    assert_eq!(lab.group.target.assignor, "range", "the first asks for none");
}

#[test]
fn topics_that_come_grow_and_go_are_assigned_anew() {
    let mut lab = Lab::new(&[("email", 1)]);
    let mut first = lab.join(consumer(&["email", "sms"]));
    let mut second = lab.join(consumer(&["email", "sms"]));
    let epoch = lab.group.epoch;
    lab.create("push", 3);
    lab.heartbeat(&mut first).unwrap();
    assert_eq!(lab.group.epoch, epoch, "nobody wants it");
    lab.create("sms", 1);
    lab.heartbeat(&mut first).unwrap();
    assert!(second.is_summoned());
    lab.settle(&mut [&mut first, &mut second]);
    assert_eq!((lab.has(&first), lab.has(&second)), ("email-0".into(), "sms-0".into()));
    lab.change_topics(|topics| topics.iter_mut().for_each(|topic| topic.partitions *= 2));
    lab.heartbeat(&mut second).unwrap();
    lab.settle(&mut [&mut first, &mut second]);
    assert_eq!((first.has.len(), second.has.len()), (2, 2));
    lab.change_topics(|topics| topics.retain(|topic| topic.name != name("email")));
    lab.heartbeat(&mut second).unwrap();
    lab.settle(&mut [&mut first, &mut second]);
    let mut all = [lab.has(&first), lab.has(&second)];
    all.sort();
    assert_eq!(all, ["sms-0", "sms-1"]);
    // One of the same name is another.
    lab.change_topics(|topics| topics.retain(|topic| topic.name != name("sms")));
    lab.create("sms", 2);
    let id = lab.topic("sms");
    lab.heartbeat(&mut first).unwrap();
    lab.settle(&mut [&mut first, &mut second]);
    assert!([&first, &second].iter().all(|client| client.has.of_topic(id).len() == 1));
}

#[test]
fn who_does_not_poll_is_removed() {
    let mut lab = Lab::new(&[("email", 2)]);
    let mut stuck = lab.join(consumer(&["email"]));
    let mut other = lab.join(consumer(&["email"]));
    lab.settle(&mut [&mut stuck, &mut other]);
    lab.pass(Duration::from_secs(299));
    lab.heartbeat(&mut other).unwrap();
    lab.tick();
    assert!(lab.group.has_member(stuck.handle.member()));
    lab.pass(Duration::from_secs(1));
    lab.tick();
    assert!(stuck.is_summoned(), "it is to find out");
    assert_eq!(kind(lab.heartbeat(&mut stuck)), Some(ErrorKind::UnknownMemberId));
    lab.settle(&mut [&mut other]);
    assert_eq!(lab.has(&other), "email-0 email-1");
}

/// It may stop to wait at any moment, and nobody would be told.
#[test]
fn who_waits_in_a_poll_is_looked_at_again() {
    let mut lab = Lab::new(&[("email", 2)]);
    let client = lab.join(consumer(&["email"]));
    client.handle.waits();
    lab.pass(Duration::from_secs(1_000));
    lab.tick();
    assert!(lab.group.has_member(client.handle.member()));
    let next = lab.group.next_tick(lab.now);
    assert_eq!(next, lab.now.after(Duration::from_secs(300)));
    client.handle.polled(lab.now);
    lab.pass(Duration::from_secs(300));
    lab.tick();
    assert!(!lab.group.has_member(client.handle.member()));
}

#[test]
fn members_that_are_removed_together_are_so_in_one_epoch() {
    let strategies: [&[&str]; 2] = [&["range"], &["cooperative-sticky"]];
    let classic = strategies.map(|assignors| classic(&["email"], assignors));
    for wants in classic.into_iter().chain([consumer(&["email"])]) {
        let mut lab = Lab::new(&[("email", 8)]);
        let mut clients = (0..4).map(|_| lab.join(wants.clone())).collect::<Vec<_>>();
        lab.settle(&mut clients.iter_mut().collect::<Vec<_>>());
        let epoch = lab.group.epoch;
        lab.pass(wants.max_poll_interval);
        lab.heartbeat(&mut clients[3]).unwrap();
        lab.tick();
        assert_eq!((lab.group.members.len(), lab.group.epoch), (1, epoch + 1));
        lab.settle(&mut [&mut clients[3]]);
        assert_eq!((clients[3].has.len(), lab.state()), (8, GroupState::Stable));
        lab.pass(wants.max_poll_interval);
        lab.tick();
        assert_eq!((lab.state(), lab.group.epoch), (GroupState::Empty, epoch + 2));
    }
}

#[test]
fn who_is_removed_when_the_first_target_is_due_is_so_in_its_epoch() {
    let settings = [("group.initial.rebalance.delay.ms", "300000")];
    let mut lab = Lab::with(&[("email", 2)], &settings);
    let stuck = lab.join(consumer(&["email"]));
    let mut client = lab.join(consumer(&["email"]));
    let epoch = lab.group.epoch;
    lab.pass(Duration::from_secs(300));
    lab.heartbeat(&mut client).unwrap();
    lab.tick();
    assert!(!lab.group.has_member(stuck.handle.member()));
    assert_eq!(lab.group.epoch, epoch + 1);
    lab.settle(&mut [&mut client]);
    assert_eq!(lab.has(&client), "email-0 email-1");
}

#[test]
fn who_waits_in_a_poll_and_does_not_answer_is_removed() {
    let mut lab = Lab::new(&[("email", 2)]);
    let first = lab.join(consumer(&["email"]));
    first.handle.waits();
    lab.pass(Duration::from_secs(1_000));
    let mut second = lab.join(consumer(&["email"]));
    assert!(first.is_summoned());
    lab.pass(Duration::from_secs(299));
    lab.heartbeat(&mut second).unwrap();
    lab.tick();
    assert!(lab.group.has_member(first.handle.member()));
    assert_eq!(lab.group.next_tick(lab.now), lab.now.after(Duration::from_secs(1)));
    lab.pass(Duration::from_secs(1));
    lab.tick();
    assert!(!lab.group.has_member(first.handle.member()));
    lab.settle(&mut [&mut second]);
    assert_eq!(lab.has(&second), "email-0 email-1");
}

#[test]
fn who_polls_and_does_not_give_up_what_it_has_to_is_removed() {
    for is_given_up in [false, true] {
        let mut lab = Lab::new(&[("email", 2)]);
        let mut first = lab.join(consumer(&["email"]));
        let mut second = lab.join(consumer(&["email"]));
        lab.heartbeat(&mut first).unwrap();
        assert!(first.owes());
        if is_given_up {
            // Its commits are not done, which is not for it to change.
            lab.commit_begins(&first);
            lab.release(&mut first).unwrap();
        }
        for _ in 0..3 {
            assert!(lab.group.has_member(first.handle.member()));
            lab.pass(Duration::from_secs(100));
            lab.heartbeat(&mut first).unwrap();
            lab.heartbeat(&mut second).unwrap();
        }
        lab.tick();
        assert_eq!(lab.group.has_member(first.handle.member()), is_given_up);
    }
}
