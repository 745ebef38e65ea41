//! Transactions: what of them is seen, and when.

use super::*;
use AnomalyKind::*;

fn rules() -> Rules {
    Rules::new().read_committed(true)
}

/// A transaction of two acknowledged values, at offsets 0 and 1 of `email-0`, that is still to end.
fn two(s: &Script) -> Transaction {
    let transaction = s.client("t").begin();
    transaction.send(1).ok(email(), at(0));
    transaction.send(2).ok(email(), at(1));
    transaction
}

#[test]
fn what_an_aborted_transaction_wrote_must_not_be_read() {
    let aborted = |s: &Script| {
        two(s).abort().ok();
        s.polled("c", &[(0, 1)]);
    };
    has_only(AbortedRead, &rules(), aborted);
    has_none(&rules().uncommitted_reader("c"), aborted);
    // Dropped, or its commit failed, or its abort went astray: in no case it was committed.
    has_only(AbortedRead, &rules(), |s| {
        drop(two(s));
        s.polled("c", &[(0, 1)]);
    });
    has_only(AbortedRead, &rules(), |s| {
        two(s).commit().failed();
        s.polled("c", &[(0, 1)]);
    });
    has_none(&rules(), |s| {
        two(s).abort().ok();
        s.assign("c");
        s.sent("p", 3, 3);
        s.polled("c", &[(3, 3)]);
    });
}

#[test]
fn what_is_not_committed_must_not_be_read() {
    has_only(PrecommittedRead, &rules(), |s| {
        let transaction = two(s);
        s.polled("c", &[(0, 1)]);
        transaction.commit().ok();
    });
    // Its own reads are no exception.
    has_only(PrecommittedRead, &rules(), |s| {
        let transaction = two(s);
        transaction.poll().ok([(email(), at(0), 1)]);
        transaction.commit().ok();
    });
    has_none(&rules(), |s| {
        let committing = two(s).commit();
        s.polled("c", &[(0, 1)]);
        committing.ok();
        s.polled("c", &[(1, 2)]);
    });
}

#[test]
fn a_transaction_is_seen_whole() {
    let half = |s: &Script| {
        s.sent("p", 3, 3);
        s.assign("c");
        s.polled("c", &[(0, 1), (3, 3)]);
    };
    // That a part of it was seen decides an unknown commit.
    has_only(TornTransaction, &rules(), |s| {
        two(s).commit().unknown();
        half(s);
    });
    has_only(TornTransaction, &rules(), |s| {
        two(s).commit().ok();
        half(s);
    });
    has_none(&rules(), |s| {
        two(s).commit().unknown();
        s.sent("p", 3, 3);
        s.assign("c");
        s.polled("c", &[(3, 3)]);
    });
    has_only(LostWrite, &rules(), |s| {
        let transaction = s.client("t").begin();
        transaction.send(1).ok(email(), at(0));
        transaction.commit().ok();
        s.sent("p", 3, 3);
        s.assign("c");
        s.polled("c", &[(3, 3)]);
    });
}

#[test]
fn a_transaction_is_seen_with_its_offsets() {
    let orders = || partition("orders", 0);
    let committed = |s: &Script, offset: Option<u32>| {
        s.client("g").committed("group", orders()).ok(offset.map(at));
    };
    let with_offsets = |s: &Script| {
        s.client("g").commit("group", [(orders(), at(1))]).ok();
        let transaction = two(s);
        transaction.commit_offsets("group", [(orders(), at(5))]).ok();
        transaction
    };
    // F6: outputs without offsets, offsets without outputs.
    has_only(TornTransaction, &rules(), |s| {
        with_offsets(s).commit().unknown();
        s.polled("c", &[(0, 1), (1, 2)]);
        committed(s, Some(1));
    });
    has_only(TornTransaction, &rules(), |s| {
        with_offsets(s).commit().unknown();
        committed(s, Some(5));
        s.sent("p", 3, 3);
        s.assign("c");
        s.polled("c", &[(3, 3)]);
    });
    has_only(AbortedRead, &rules(), |s| {
        with_offsets(s).abort().ok();
        committed(s, Some(5));
    });
    has_only(PrecommittedRead, &rules(), |s| {
        let transaction = with_offsets(s);
        committed(s, Some(5));
        transaction.commit().ok();
    });
    has_only(CommittedOffset, &rules(), |s| {
        with_offsets(s).commit().ok();
        committed(s, Some(1));
    });
    has_none(&rules(), |s| {
        with_offsets(s).commit().unknown();
        committed(s, Some(1));
        committed(s, Some(5));
        s.polled("c", &[(0, 1), (1, 2)]);
        committed(s, Some(5));
    });
    has_none(&rules(), |s| {
        with_offsets(s).abort().ok();
        committed(s, Some(1));
    });
}

#[test]
fn a_later_send_of_a_transaction_must_not_get_a_lower_offset() {
    has_only(IntNonmonotonicSend, &rules(), |s| {
        let transaction = s.client("t").begin();
        transaction.send(1).ok(email(), at(1));
        transaction.send(2).ok(email(), at(0));
        transaction.commit().ok();
    });
    has_only(NonmonotonicSend, &rules(), |s| {
        for (value, offset) in [(1, 3), (2, 0)] {
            let transaction = s.client("t").begin();
            transaction.send(value).ok(email(), at(offset));
            transaction.commit().ok();
        }
    });
    has_none(&rules(), |s| two(s).commit().ok());
}

#[test]
fn transactions_must_not_read_from_each_other_in_a_circle() {
    has_only(CircularRead, &rules(), |s| {
        let (t, u) = (s.client("t").begin(), s.client("u").begin());
        t.send(1).ok(email(), at(0));
        u.send(2).ok(partition("email", 1), at(0));
        t.poll().ok([(partition("email", 1), at(0), 2)]);
        u.poll().ok([(email(), at(0), 1)]);
        t.commit().ok();
        u.commit().ok();
    });
    has_none(&rules(), |s| {
        let t = s.client("t").begin();
        t.send(1).ok(email(), at(0));
        t.commit().ok();
        let u = s.client("u").begin();
        u.poll().ok([(email(), at(0), 1)]);
        u.send(2).ok(partition("email", 1), at(0));
        u.commit().ok();
    });
}

#[test]
fn others_may_write_between_the_writes_of_a_transaction() {
    let report = has_none(&rules(), |s| {
        let (t, u) = (s.client("t").begin(), s.client("u").begin());
        let other = || partition("email", 1);
        t.send(1).ok(email(), at(0));
        u.send(2).ok(email(), at(1));
        t.send(3).ok(email(), at(2));
        u.send(4).ok(other(), at(0));
        t.send(5).ok(other(), at(1));
        t.commit().ok();
        u.commit().ok();
    });
    assert_eq!(report.count(IntSendSkip), 1, "{report}");
    assert_eq!(report.count(DirtyWrite), 1, "{report}");
}
