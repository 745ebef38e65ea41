//! A consumer's way through a partition, and compaction.

use super::*;
use AnomalyKind::*;

/// Three acknowledged values, read by somebody.
fn three(s: &Script) {
    for offset in 0..3 {
        s.sent("p", u64::from(offset), offset);
    }
    s.polled("reader", &[(0, 0), (1, 1), (2, 2)]);
}

#[test]
fn a_consumer_must_not_go_past_a_value_between_polls() {
    has_only(PollSkip, &Rules::new(), |s| {
        three(s);
        s.polled("c", &[(0, 0)]);
        s.polled("c", &[(2, 2)]);
    });
    has_none(&Rules::new(), |s| {
        three(s);
        s.polled("c", &[(0, 0)]);
        s.client("c").poll().failed();
        s.polled("c", &[]);
        s.polled("c", &[(1, 1)]);
        s.client("c").seek(email(), None);
        s.polled("c", &[(0, 0)]);
        drop(s.client("c").poll()); // it may have returned anything
        s.polled("c", &[(2, 2)]);
    });
    // Offsets that nobody knows of may be gaps: control records, or what compaction left.
    has_none(&Rules::new(), |s| {
        s.sent("p", 0, 0);
        s.sent("p", 2, 2);
        s.polled("c", &[(0, 0)]);
        s.polled("c", &[(2, 2)]);
    });
}

#[test]
fn a_seek_says_where_the_next_record_is() {
    has_only(PollSkip, &Rules::new(), |s| {
        three(s);
        s.client("c").seek(email(), Some(at(1)));
        s.polled("c", &[(2, 2)]);
    });
    has_only(NonmonotonicPoll, &Rules::new(), |s| {
        three(s);
        s.client("c").seek(email(), Some(at(2)));
        s.polled("c", &[(1, 1), (2, 2)]);
    });
    has_none(&Rules::new(), |s| {
        three(s);
        s.client("c").seek(email(), Some(at(2)));
        s.polled("c", &[(2, 2)]);
        s.client("c").seek(email(), Some(at(0)));
        s.polled("c", &[(0, 0)]);
    });
}

#[test]
fn a_consumer_must_not_go_past_a_value_inside_a_poll() {
    has_only(IntPollSkip, &Rules::new(), |s| {
        three(s);
        s.polled("c", &[(0, 0), (2, 2)]);
    });
    has_none(&Rules::new(), |s| {
        three(s);
        s.client("p").send(9).ok(partition("email", 1), at(0));
        let other = (partition("email", 1), at(0), 9);
        s.client("c").poll().ok([(email(), at(0), 0), other, (email(), at(1), 1)]);
    });
}

#[test]
fn a_consumer_must_not_go_back_between_polls() {
    has_only(NonmonotonicPoll, &Rules::new(), |s| {
        three(s);
        s.polled("c", &[(0, 0), (1, 1)]);
        s.polled("c", &[(1, 1), (2, 2)]);
    });
    has_none(&Rules::new(), |s| {
        three(s);
        s.polled("c", &[(0, 0), (1, 1)]);
        s.client("c").crash();
        s.polled("c", &[(1, 1), (2, 2)]);
        s.client("c").assign([(partition("email", 1), None)]);
        s.assign("c");
        s.polled("c", &[(0, 0)]);
    });
}

#[test]
fn a_consumer_must_not_go_back_inside_a_poll() {
    has_only(IntNonmonotonicPoll, &Rules::new(), |s| {
        three(s);
        s.polled("c", &[(1, 1), (0, 0)]);
    });
    has_none(&Rules::new(), |s| {
        three(s);
        s.polled("c", &[(0, 0), (1, 1)]);
    });
}

#[test]
fn assigning_again_keeps_positions() {
    has_only(PollSkip, &Rules::new(), |s| {
        three(s);
        s.assign("c");
        s.polled("c", &[(0, 0)]);
        s.client("c").assign([(email(), None), (partition("email", 1), None)]);
        s.polled("c", &[(2, 2)]);
    });
}

#[test]
fn where_a_suffix_was_lost_positions_may_be_reset() {
    has_none(&Rules::new().lossy("email"), |s| {
        three(s);
        s.assign("c");
        s.polled("c", &[(0, 0), (1, 1), (2, 2)]);
        s.0.lost_suffix(email(), at(1));
        s.sent("p", 7, 1);
        s.polled("c", &[(0, 0), (1, 7)]);
    });
    // Its position may have been behind records that nobody saw.
    has_none(&Rules::new().lossy("email"), |s| {
        three(s);
        s.assign("c");
        s.polled("c", &[(0, 0), (1, 1), (2, 2)]);
        s.0.lost_suffix(email(), at(3));
        s.polled("c", &[(0, 0)]);
    });
    has_only(NonmonotonicPoll, &Rules::new().lossy("email"), |s| {
        three(s);
        s.assign("c");
        s.polled("c", &[(0, 0)]);
        s.0.lost_suffix(partition("email", 1), at(0));
        s.polled("c", &[(0, 0)]);
    });
}

/// Sends of `table-0`: keys and values, a value of `None` for a tombstone. Offsets and values count up.
fn table(s: &Script, messages: &[(u64, bool)]) {
    for ((key, tombstone), offset) in messages.iter().zip(0..) {
        let message = Message::new(u64::from(offset)).key(*key);
        let message = if *tombstone { message.tombstone() } else { message };
        s.client("p").send(message).ok(partition("table", 0), at(offset));
    }
}

fn read_table(s: &Script, client: &str, offsets: &[u32]) {
    s.client(client).seek(partition("table", 0), Some(at(0)));
    let records =
        offsets.iter().map(|at| (partition("table", 0), Offset::from(*at), u64::from(*at)));
    s.client(client).poll().ok(records);
}

#[test]
fn compaction_keeps_the_last_value_of_each_key() {
    let rules = Rules::new().compacted("table").all_read(true);
    has_none(&rules, |s| {
        table(s, &[(1, false), (2, false), (1, false)]);
        read_table(s, "c", &[1, 2]);
    });
    has_only(LostWrite, &rules, |s| {
        table(s, &[(1, false), (2, false), (1, false)]);
        read_table(s, "c", &[2]);
    });
    // Not compacted, not excused.
    has_only(LostWrite, &Rules::new(), |s| {
        table(s, &[(1, false), (2, false), (1, false)]);
        read_table(s, "c", &[1, 2]);
    });
}

/// A send of unknown fate may be what superseded a record.
#[test]
fn compaction_may_be_for_a_record_that_nobody_saw() {
    has_none(&Rules::new().compacted("table"), |s| {
        table(s, &[(1, false), (2, false)]);
        s.client("p").send(Message::new(9).key(1)).unknown();
        read_table(s, "c", &[1]);
    });
}

/// E6.
#[test]
fn a_tombstone_goes_only_after_what_it_deletes() {
    let rules = Rules::new().compacted("table");
    has_only(Resurrected, &rules, |s| {
        table(s, &[(1, false), (1, true), (2, false)]);
        read_table(s, "c", &[2]);
        read_table(s, "d", &[0, 2]);
    });
    // A slow reader may have read the value while it was there.
    has_none(&rules, |s| {
        table(s, &[(1, false), (1, true), (2, false)]);
        s.client("d").seek(partition("table", 0), Some(at(0)));
        s.client("d").poll().ok([(partition("table", 0), at(0), 0)]);
        read_table(s, "c", &[2]);
        s.client("d").poll().ok([(partition("table", 0), at(2), 2)]);
    });
    has_none(&rules, |s| {
        table(s, &[(1, false), (1, true), (2, false)]);
        read_table(s, "c", &[0, 1, 2]);
        read_table(s, "c", &[1, 2]);
        read_table(s, "c", &[2]);
    });
}

#[test]
fn a_witness_shows_what_matters_of_a_long_poll() {
    let report = has_only(IntPollSkip, &Rules::new(), |s| {
        for offset in 0..100 {
            s.sent("p", u64::from(offset), offset);
        }
        let all = (0..100).map(|offset| (offset, u64::from(offset))).collect::<Vec<_>>();
        s.polled("c", &all);
        let but_one = all.into_iter().filter(|(offset, _)| *offset != 50).collect::<Vec<_>>();
        s.polled("d", &but_one);
    });
    assert_eq!(
        report.anomalies()[0].to_string(),
        "int-poll-skip: d went past email-0@50, 50\n    \
         #201..202 c: poll -> … email-0@47=47 email-0@48=48 email-0@49=49 email-0@50=50 \
         email-0@51=51 email-0@52=52 …\n    \
         #203..204 d: poll -> … email-0@47=47 email-0@48=48 email-0@49=49 email-0@51=51 \
         email-0@52=52 email-0@53=53 …"
    );
}

#[test]
fn of_many_anomalies_ten_are_told() {
    let report = report(&Rules::new(), |s| {
        for offset in 0..50 {
            s.sent("p", u64::from(offset), offset);
            s.sent("q", u64::from(offset) + 100, offset);
        }
    });
    assert_eq!(report.count(InconsistentOffsets), 50);
    assert_eq!(report.anomalies().len(), 10);
    assert!(report.to_string().ends_with("inconsistent-offsets: 40 more\nallowed: unseen 50\n"));
}
