//! Groups: who owns what, and what was committed.

use super::*;
use AnomalyKind::*;

#[test]
fn a_partition_has_one_owner_in_a_generation() {
    let assigned = |s: &Script, client: &str, generation: u64| {
        s.client(client).assigned("group", generation, [(email(), None)]);
    };
    has_only(Ownership, &Rules::new(), |s| {
        assigned(s, "c", 1);
        assigned(s, "d", 1);
    });
    has_none(&Rules::new(), |s| {
        assigned(s, "c", 1);
        assigned(s, "c", 1);
        s.client("d").assigned("group", 1, [(partition("email", 1), None)]);
        s.client("d").assigned("other", 1, [(email(), None)]);
        assigned(s, "d", 2);
    });
}

#[test]
fn a_partition_has_one_owner_at_a_time() {
    let assigned = |s: &Script, client: &str, generation: u64| {
        s.client(client).assigned("group", generation, [(email(), None)]);
    };
    has_only(Ownership, &Rules::new(), |s| {
        assigned(s, "c", 1);
        assigned(s, "d", 2);
        s.client("c").revoked([email()]);
        s.client("d").revoked([email()]);
    });
    has_none(&Rules::new(), |s| {
        assigned(s, "c", 1);
        s.client("c").revoked([email()]);
        assigned(s, "d", 2);
        s.client("d").revoked([email()]);
    });
    // Who was removed from the group does not know since when.
    has_none(&Rules::new(), |s| {
        assigned(s, "c", 1);
        s.polled("c", &[]);
        assigned(s, "d", 2);
        s.client("c").lost([email()]);
        s.client("d").revoked([email()]);
    });
}

#[test]
fn a_poll_reads_what_a_rebalance_within_it_has_brought() {
    let script = |s: &Script, assigned: bool| {
        s.sent("p", 0, 0);
        s.client("c").assigned("group", 1, [(partition("email", 1), None)]);
        let polling = s.client("c").poll();
        if assigned {
            s.client("c").assigned("group", 2, [(email(), None)]);
        }
        polling.ok([(email(), at(0), 0)]);
    };
    has_none(&Rules::new(), |s| script(s, true));
    has_only(Ownership, &Rules::new(), |s| script(s, false));
}

#[test]
fn nobody_reads_what_was_taken_away() {
    has_only(Ownership, &Rules::new(), |s| {
        s.sent("p", 0, 0);
        s.client("c").assigned("group", 1, [(email(), Some(at(0)))]);
        s.client("c").revoked([email()]);
        s.polled("c", &[(0, 0)]);
    });
    has_none(&Rules::new(), |s| {
        s.sent("p", 0, 0);
        s.client("c").assigned("group", 1, [(email(), Some(at(0)))]);
        s.polled("c", &[(0, 0)]);
        s.client("c").revoked([email()]);
    });
}

#[test]
fn a_rebalance_may_move_a_consumer() {
    let moved = |s: &Script, first: u32, then: u32| {
        for offset in 0..4 {
            s.sent("p", u64::from(offset), offset);
        }
        s.polled("reader", &[(0, 0), (1, 1), (2, 2), (3, 3)]);
        s.client("c").assigned("group", 1, [(email(), None)]);
        s.polled("c", &[(first, u64::from(first))]);
        s.client("c").revoked([email()]);
        s.client("c").assigned("group", 3, [(email(), None)]);
        s.polled("c", &[(then, u64::from(then))]);
    };
    let report = has_none(&Rules::new(), |s| moved(s, 0, 3));
    assert_eq!((report.count(RebalanceSkip), report.count(RebalanceRewind)), (1, 0), "{report}");
    let report = has_none(&Rules::new(), |s| moved(s, 2, 0));
    assert_eq!((report.count(RebalanceSkip), report.count(RebalanceRewind)), (0, 1), "{report}");
    let report = has_none(&Rules::new(), |s| moved(s, 2, 3));
    assert_eq!((report.count(RebalanceSkip), report.count(RebalanceRewind)), (0, 0), "{report}");
    // It is no excuse for whoever kept the partition.
    has_only(PollSkip, &Rules::new(), |s| {
        for offset in 0..4 {
            s.sent("p", u64::from(offset), offset);
        }
        s.polled("reader", &[(0, 0), (1, 1), (2, 2), (3, 3)]);
        s.client("c").assigned("group", 1, [(email(), None)]);
        s.polled("c", &[(0, 0)]);
        s.client("c").assigned("group", 2, [(partition("email", 1), None)]);
        s.polled("c", &[(3, 3)]);
    });
}

#[test]
fn a_member_goes_on_where_its_group_had_committed() {
    has_only(PollSkip, &Rules::new(), |s| {
        for offset in 0..3 {
            s.sent("p", u64::from(offset), offset);
        }
        s.polled("reader", &[(0, 0), (1, 1), (2, 2)]);
        s.client("c").assigned("group", 1, [(email(), Some(at(1)))]);
        s.polled("c", &[(2, 2)]);
    });
}

#[test]
fn a_committed_offset_does_not_go_back() {
    let commit = |s: &Script, offset: u32| s.client("c").commit("group", [(email(), at(offset))]);
    let committed = |s: &Script, offset: Option<u32>| {
        s.client("d").committed("group", email()).ok(offset.map(at));
    };
    has_only(CommittedOffset, &Rules::new(), |s| {
        commit(s, 1).ok();
        commit(s, 2).ok();
        committed(s, Some(1));
    });
    has_only(CommittedOffset, &Rules::new(), |s| {
        commit(s, 1).ok();
        committed(s, None);
    });
    has_only(CommittedOffset, &Rules::new(), |s| {
        commit(s, 1).failed();
        committed(s, Some(1));
    });
    has_only(CommittedOffset, &Rules::new(), |s| committed(s, Some(1)));
    has_none(&Rules::new(), |s| {
        committed(s, None);
        commit(s, 1).ok();
        let second = commit(s, 2);
        committed(s, Some(1));
        committed(s, Some(2));
        second.unknown();
        commit(s, 1).ok(); // back on purpose
        committed(s, Some(1));
        commit(s, 5).failed();
        committed(s, Some(1));
    });
}

/// An unknown commit may take effect late, but not before it was asked for.
#[test]
fn an_unknown_commit_may_be_there_or_not() {
    let commit = |s: &Script, offset: u32| s.client("c").commit("group", [(email(), at(offset))]);
    let committed = |s: &Script, offset: u32| {
        s.client("d").committed("group", email()).ok(Some(at(offset)));
    };
    has_none(&Rules::new(), |s| {
        commit(s, 1).unknown();
        commit(s, 2).ok();
        committed(s, 2);
        committed(s, 1);
    });
    has_only(CommittedOffset, &Rules::new(), |s| {
        commit(s, 2).ok();
        committed(s, 1);
        commit(s, 1).unknown();
    });
}

#[test]
fn commits_may_be_lost_where_that_is_said() {
    let lost = |s: &Script, said: bool| {
        for offset in [1, 2] {
            s.client("c").commit("group", [(email(), at(offset))]).ok();
        }
        if said {
            s.0.lost_commits("group");
        }
        s.client("c").committed("group", email()).ok(Some(at(1)));
    };
    has_only(CommittedOffset, &Rules::new(), |s| lost(s, false));
    has_none(&Rules::new(), |s| lost(s, true));
    has_only(CommittedOffset, &Rules::new(), |s| {
        lost(s, true);
        s.client("c").commit("group", [(email(), at(3))]).ok();
        s.client("c").committed("group", email()).ok(Some(at(2)));
    });
}

/// What was read is as certain as what was acknowledged.
#[test]
fn a_committed_offset_that_was_read_does_not_go_back() {
    let committed = |s: &Script, offset: u32| {
        s.client("d").committed("group", email()).ok(Some(at(offset)));
    };
    let commits = |s: &Script| {
        s.client("c").commit("group", [(email(), at(1))]).ok();
        s.client("c").commit("group", [(email(), at(2))]).unknown();
    };
    has_only(CommittedOffset, &Rules::new(), |s| {
        commits(s);
        committed(s, 2);
        committed(s, 1);
    });
    has_none(&Rules::new(), |s| {
        commits(s);
        committed(s, 1);
        committed(s, 2);
    });
}

#[test]
fn a_group_commits_what_its_members_were_given() {
    let rules = Rules::new().all_delivered("group");
    let script = |s: &Script, offset: u32| {
        for value in 0..3 {
            s.sent("p", value, u32::try_from(value).unwrap());
        }
        s.client("c").assigned("group", 1, [(email(), Some(at(0)))]);
        s.polled("c", &[(0, 0), (1, 1)]);
        s.client("c").crash();
        s.client("d").assigned("group", 2, [(email(), None)]);
        s.client("d").commit("group", [(email(), at(offset))]).ok();
    };
    has_only(CommitSkip, &rules, |s| script(s, 3));
    has_none(&rules, |s| script(s, 2));
    has_none(&Rules::new(), |s| script(s, 3));
    // Others are none of its members.
    has_only(CommitSkip, &rules, |s| {
        s.sent("p", 0, 0);
        s.polled("reader", &[(0, 0)]);
        s.client("c").assigned("group", 1, [(email(), Some(at(0)))]);
        s.client("c").commit("group", [(email(), at(1))]).unknown();
        s.polled("c", &[(0, 0)]);
    });
}
