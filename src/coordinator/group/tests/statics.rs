//! Static members: they are away for a while, and come back.

use super::*;

const AWAY: Duration = Duration::from_secs(44);

fn settled(wants: &JoinRequest) -> (Lab, Client, Client) {
    let mut lab = Lab::new(&[("email", 4)]);
    let mut fixed = lab.join(wants.clone().of_instance("i"));
    let mut other = lab.join(wants.clone());
    lab.settle(&mut [&mut fixed, &mut other]);
    assert_eq!((lab.has(&fixed), fixed.told.is_settled), ("email-0 email-1".into(), true));
    (lab, fixed, other)
}

fn both() -> [JoinRequest; 2] {
    [consumer(&["email"]), classic(&["email"], &["range"])]
}

#[test]
fn who_comes_back_in_time_has_what_it_had_and_nobody_is_interrupted() {
    for wants in both() {
        let (mut lab, fixed, mut other) = settled(&wants);
        let epoch = lab.group.epoch;
        lab.leave(&fixed, false);
        lab.pass(AWAY);
        lab.tick();
        let again = lab.join(wants.of_instance("i"));
        assert_eq!((lab.has(&again), again.told.is_settled), ("email-0 email-1".into(), true));
        assert_eq!(lab.group.epoch, epoch);
        assert!(!other.is_summoned());
        lab.heartbeat(&mut other).unwrap();
        assert_eq!(lab.has(&other), "email-2 email-3");
        lab.pass(AWAY);
        lab.tick();
        assert!(lab.group.has_member(again.handle.member()));
    }
}

#[test]
fn who_does_not_come_back_is_removed_after_its_session() {
    for wants in both() {
        let (mut lab, fixed, mut other) = settled(&wants);
        lab.leave(&fixed, false);
        assert_eq!(lab.group.next_tick(lab.now), lab.now.after(Duration::from_secs(45)));
        lab.pass(Duration::from_secs(45));
        lab.tick();
        assert!(!lab.group.has_member(fixed.handle.member()));
        lab.settle(&mut [&mut other]);
        assert_eq!(other.has.len(), 4);
    }
}

#[test]
fn who_is_away_gives_up_at_once_what_others_are_to_have() {
    let strategies: [&[&str]; 2] = [&["range"], &["cooperative-sticky"]];
    let classic = strategies.map(|assignors| classic(&["email"], assignors));
    for wants in classic.into_iter().chain([consumer(&["email"])]) {
        let (mut lab, fixed, mut other) = settled(&wants);
        lab.leave(&fixed, false);
        let mut third = lab.join(wants.clone());
        lab.settle(&mut [&mut other, &mut third]);
        // One of four is kept for it, or two.
        assert!(third.told.is_settled && other.told.is_settled, "{:?}", lab.group);
        assert!(!third.has.is_empty());
        assert_eq!(lab.state(), GroupState::Stable);
        let again = lab.join(wants.of_instance("i"));
        assert_eq!(other.has.len() + third.has.len() + again.has.len(), 4);
        assert!(again.told.is_settled);
    }
}

#[test]
fn an_instance_in_use_is_not_taken_over_in_the_consumer_protocol() {
    let (mut lab, fixed, _) = settled(&consumer(&["email"]));
    let refused = lab.try_join(consumer(&["email"]).of_instance("i"));
    assert_eq!(kind(refused), Some(ErrorKind::UnreleasedInstanceId));
    assert!(lab.group.member(&fixed.handle).is_ok());
}

#[test]
fn an_instance_in_use_is_taken_over_in_the_classic_protocol() {
    let wants = classic(&["email"], &["range"]);
    let (mut lab, mut fixed, _) = settled(&wants);
    let epoch = lab.group.epoch;
    let again = lab.join(wants.of_instance("i"));
    assert_eq!(lab.has(&again), "email-0 email-1");
    assert_eq!(lab.group.epoch, epoch);
    assert!(fixed.is_summoned());
    assert_eq!(kind(lab.heartbeat(&mut fixed)), Some(ErrorKind::FencedInstanceId));
    let refused = offsets::commit(&mut lab, Some(&fixed), "email", 0, 1);
    assert_eq!(kind(refused), Some(ErrorKind::FencedInstanceId));
    lab.leave(&fixed, false);
    assert!(lab.group.member(&again.handle).is_ok());
}

#[test]
fn who_comes_back_with_other_wishes_begins_an_epoch() {
    for wants in both() {
        let (mut lab, fixed, mut other) = settled(&wants);
        let epoch = lab.group.epoch;
        lab.leave(&fixed, false);
        let changed = JoinRequest { subscribed: consumer(&[]).subscribed, ..wants };
        let mut again = lab.join(changed.of_instance("i"));
        assert!(lab.group.epoch > epoch);
        lab.settle(&mut [&mut other, &mut again]);
        assert_eq!((other.has.len(), again.has.len()), (4, 0));
    }
}

#[test]
fn who_is_back_before_its_commits_are_done_goes_on_behind_them() {
    for wants in both() {
        let (mut lab, fixed, mut other) = settled(&wants);
        let epoch = lab.group.epoch;
        lab.commit_begins(&fixed);
        lab.leave(&fixed, false);
        lab.leave(&fixed, false);
        let mut again = lab.join(wants.of_instance("i"));
        assert_eq!(lab.has(&again), "");
        assert!(!again.told.is_settled);
        lab.commit_ends(&fixed);
        assert!(again.is_summoned());
        lab.settle(&mut [&mut again, &mut other]);
        assert_eq!((lab.has(&again), again.told.is_settled), ("email-0 email-1".into(), true));
        assert_eq!(lab.has(&other), "email-2 email-3");
        assert_eq!(lab.group.epoch, epoch);
        assert_eq!(lab.state(), GroupState::Stable);
    }
}

/// Its commits of before are done: whatever it gives up now is free.
#[test]
fn who_is_back_can_give_up_what_it_has() {
    for wants in both() {
        let (mut lab, fixed, mut other) = settled(&wants);
        lab.commit_begins(&fixed);
        lab.leave(&fixed, false);
        lab.commit_ends(&fixed);
        let mut again = lab.join(wants.clone().of_instance("i"));
        let mut third = lab.join(wants);
        lab.settle(&mut [&mut again, &mut other, &mut third]);
        assert_eq!(again.has.len() + other.has.len() + third.has.len(), 4);
        assert!(!third.has.is_empty());
        lab.leave(&again, true);
        assert!(!lab.group.has_member(again.handle.member()));
    }
}

#[test]
fn who_leaves_for_good_with_commits_under_way_does_not_stay() {
    let (mut lab, fixed, mut other) = settled(&consumer(&["email"]));
    lab.commit_begins(&fixed);
    lab.leave(&fixed, true);
    lab.leave(&fixed, false);
    lab.commit_ends(&fixed);
    assert!(!lab.group.has_member(fixed.handle.member()));
    lab.settle(&mut [&mut other]);
    assert_eq!(other.has.len(), 4);
}

/// The group hears of both at once, in whatever order.
#[test]
fn who_left_when_nobody_could_be_told_has_its_place() {
    for wants in both() {
        let (mut lab, fixed, mut other) = settled(&wants);
        let epoch = lab.group.epoch;
        fixed.handle.leaves(false);
        let again = lab.join(wants.of_instance("i"));
        assert_eq!((lab.has(&again), again.told.is_settled), ("email-0 email-1".into(), true));
        lab.leave(&fixed, false);
        assert!(lab.group.member(&again.handle).is_ok());
        assert!(!other.is_summoned() && !fixed.is_summoned());
        lab.heartbeat(&mut other).unwrap();
        assert_eq!((lab.group.epoch, lab.state()), (epoch, GroupState::Stable));
    }
}

#[test]
fn who_left_when_nobody_could_be_told_goes_on_behind_its_commits() {
    for wants in both() {
        let (mut lab, fixed, mut other) = settled(&wants);
        lab.commit_begins(&fixed);
        fixed.handle.leaves(false);
        let mut again = lab.join(wants.of_instance("i"));
        assert_eq!(lab.has(&again), "");
        lab.commit_ends(&fixed);
        lab.settle(&mut [&mut again, &mut other]);
        assert_eq!(lab.has(&again), "email-0 email-1");
    }
}

#[test]
fn who_left_for_good_when_nobody_could_be_told_begins_as_another() {
    for wants in both() {
        let (mut lab, fixed, mut other) = settled(&wants);
        assert!(fixed.handle.leaves(true));
        assert!(!fixed.handle.leaves(false), "it does not come back by that");
        let mut again = lab.join(wants.of_instance("i"));
        assert!(!lab.group.has_member(fixed.handle.member()));
        lab.settle(&mut [&mut again, &mut other]);
        assert_eq!((again.has.len(), other.has.len()), (2, 2));
    }
}

#[test]
fn who_is_away_has_its_place_in_a_full_group() {
    let mut lab = Lab::with(&[("email", 4)], &[("group.consumer.max.size", "2")]);
    let fixed = lab.join(consumer(&["email"]).of_instance("i"));
    let _other = lab.join(consumer(&["email"]));
    lab.leave(&fixed, false);
    let refused = lab.try_join(consumer(&["email"]));
    assert_eq!(kind(refused), Some(ErrorKind::GroupMaxSizeReached));
    lab.join(consumer(&["email"]).of_instance("i"));
}
