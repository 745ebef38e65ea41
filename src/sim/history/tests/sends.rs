//! Values and offsets.

use super::*;
use AnomalyKind::*;

#[test]
fn two_values_at_one_offset_are_found() {
    has_only(InconsistentOffsets, &Rules::new(), |s| {
        s.sent("p", 1, 0);
        s.sent("q", 2, 0);
    });
    has_only(InconsistentOffsets, &Rules::new(), |s| {
        let (_one, _two) = (s.client("p").send(1), s.client("p").send(2));
        s.polled("c", &[(0, 1)]);
        s.polled("d", &[(0, 2)]);
    });
    has_none(&Rules::new(), |s| {
        s.sent("p", 1, 0);
        s.client("q").send(2).ok(partition("email", 1), at(0));
        s.polled("c", &[(0, 1)]);
        s.polled("d", &[(0, 1)]);
    });
}

#[test]
fn a_value_sent_twice_is_an_invalid_history() {
    has_only(InvalidHistory, &Rules::new(), |s| {
        s.client("p").send(1).failed();
        s.client("p").send(1).failed();
    });
    has_none(&Rules::new(), |s| {
        s.client("p").send(1).failed();
        s.client("p").send(2).failed();
    });
}

#[test]
fn a_value_that_nobody_sent_is_found() {
    has_only(Invented, &Rules::new(), |s| s.polled("c", &[(0, 1)]));
    has_only(Invented, &Rules::new(), |s| {
        s.polled("c", &[(0, 1)]);
        s.client("p").send(1).unknown();
    });
    has_none(&Rules::new(), |s| {
        let sending = s.client("p").send(1);
        s.polled("c", &[(0, 1)]);
        sending.unknown();
    });
}

#[test]
fn a_value_at_two_offsets_is_found_if_its_producer_is_idempotent() {
    let doubled = |s: &Script| {
        s.sent("p", 1, 0);
        s.polled("c", &[(0, 1), (1, 1)]);
    };
    has_only(Duplicate, &Rules::new(), doubled);
    for rules in [Rules::new().idempotent(false), Rules::new().plain_producer("p")] {
        assert_eq!(has_none(&rules, doubled).count(Duplicate), 1);
    }
    has_none(&Rules::new(), |s| {
        s.sent("p", 1, 0);
        s.polled("c", &[(0, 1)]);
        s.polled("d", &[(0, 1)]);
    });
}

#[test]
fn what_a_failed_send_wrote_must_not_be_read() {
    has_only(AbortedRead, &Rules::new(), |s| {
        s.client("p").send(1).failed();
        s.polled("c", &[(0, 1)]);
    });
    has_none(&Rules::new(), |s| {
        s.client("p").send(1).unknown();
        s.polled("c", &[(0, 1)]);
    });
}

#[test]
fn a_later_send_must_not_get_a_lower_offset() {
    has_only(NonmonotonicSend, &Rules::new(), |s| {
        s.sent("p", 1, 1);
        s.sent("p", 2, 0);
    });
    // The order is that of the sends, not of the answers.
    has_only(NonmonotonicSend, &Rules::new(), |s| {
        let (first, second) = (s.client("p").send(1), s.client("p").send(2));
        second.ok(email(), at(0));
        first.ok(email(), at(1));
    });
    has_none(&Rules::new(), |s| {
        s.sent("p", 1, 1);
        s.sent("q", 2, 0);
        s.client("p").send(3).ok(partition("email", 1), at(0));
    });
    has_none(&Rules::new().weak_acks("p"), |s| {
        s.sent("p", 1, 1);
        s.sent("p", 2, 0);
    });
}

#[test]
fn an_acknowledged_value_that_was_read_past_and_never_read_is_lost() {
    let read_past = |s: &Script| {
        for offset in 0..3 {
            s.sent("p", u64::from(offset), offset);
        }
        s.assign("c");
        s.polled("c", &[(0, 0), (2, 2)]);
    };
    has_only(LostWrite, &Rules::new().all_read(true), read_past);
    has_none(&Rules::new().weak_acks("p"), read_past);
    has_none(&Rules::new().all_read(true), |s| {
        for offset in 0..3 {
            s.sent("p", u64::from(offset), offset);
        }
        s.client("p").send(7).unknown();
        s.client("p").send(8).ok_without_offset();
        s.polled("c", &[(0, 0), (1, 1), (2, 2)]);
    });
    // The very first record counts if it is known where the consumer began.
    has_only(LostWrite, &Rules::new(), |s| {
        s.sent("p", 0, 0);
        s.sent("p", 1, 1);
        s.assign("c");
        s.polled("c", &[(1, 1)]);
    });
    has_none(&Rules::new(), |s| {
        s.sent("p", 0, 0);
        s.sent("p", 1, 1);
        s.client("c").assign([(email(), None)]);
        s.polled("c", &[(1, 1)]);
    });
}

#[test]
fn an_acknowledged_value_that_was_not_read_at_last_is_unseen() {
    let unread = |s: &Script| {
        s.sent("p", 0, 0);
        s.sent("p", 1, 1);
        s.assign("c");
        s.polled("c", &[(0, 0)]);
    };
    has_only(Unseen, &Rules::new().all_read(true), unread);
    assert_eq!(has_none(&Rules::new(), unread).count(Unseen), 1);
    has_none(&Rules::new().all_read(true), |s| {
        unread(s);
        s.polled("c", &[(1, 1)]);
    });
}

#[test]
fn a_crash_may_take_a_suffix_of_a_lossy_topic_alone() {
    let lost = |s: &Script| {
        s.sent("p", 0, 0);
        s.sent("p", 1, 1);
        s.0.lost_suffix(email(), at(1));
        s.sent("p", 2, 1); // the offset is given again
        s.assign("c");
        s.polled("c", &[(0, 0), (1, 2)]);
    };
    has_only(LostWrite, &Rules::new().all_read(true), lost);
    has_none(&Rules::new().all_read(true).lossy("email"), lost);
    // A suffix, not a hole.
    has_only(LostWrite, &Rules::new().lossy("email"), |s| {
        s.sent("p", 0, 0);
        s.sent("p", 1, 1);
        s.0.lost_suffix(email(), at(1));
        s.sent("p", 2, 1);
        s.assign("c");
        s.polled("c", &[(1, 2)]);
    });
    // What was not lost stays what it was.
    has_only(InconsistentOffsets, &Rules::new().lossy("email"), |s| {
        s.sent("p", 0, 0);
        s.sent("p", 1, 1);
        s.0.lost_suffix(email(), at(1));
        s.sent("q", 2, 0);
    });
}

#[test]
fn what_was_read_must_not_be_lost_in_a_crash_either() {
    let read = |s: &Script| {
        s.client("p").send(0).unknown();
        s.polled("c", &[(0, 0)]);
        s.0.lost_suffix(email(), at(0));
    };
    has_only(LostWrite, &Rules::new(), read);
    has_none(&Rules::new().lossy("email"), read);
    has_none(&Rules::new(), |s| {
        s.client("p").send(0).unknown();
        s.polled("c", &[(0, 0)]);
        s.0.lost_suffix(email(), at(1));
    });
}

#[test]
fn a_value_lost_in_a_crash_may_come_again() {
    let again = |s: &Script| {
        s.client("p").send(0).unknown();
        s.polled("c", &[(0, 0)]);
        s.0.lost_suffix(email(), at(0));
        s.client("q").send(1).ok(email(), at(0));
        s.polled("d", &[(0, 1), (1, 0)]);
    };
    has_none(&Rules::new().lossy("email"), again);
    has_only(Duplicate, &Rules::new().lossy("email"), |s| {
        s.client("p").send(0).unknown();
        s.polled("c", &[(0, 0), (1, 0)]);
        s.0.lost_suffix(email(), at(1));
    });
}

#[test]
fn a_topic_created_again_has_nothing_to_do_with_the_deleted_one() {
    let again = |s: &Script, deleted: bool| {
        s.sent("p", 0, 0);
        s.sent("p", 1, 1);
        s.polled("c", &[(0, 0)]);
        if deleted {
            s.0.topic_deleted(&email().topic);
        }
        s.sent("q", 2, 0);
        s.polled("c", &[(0, 2)]);
    };
    has_none(&Rules::new().all_read(true), |s| again(s, true));
    let report = report(&Rules::new(), |s| again(s, false));
    assert_eq!(report.count(InconsistentOffsets), 1, "{report}");
}

#[test]
fn what_straddles_a_crash_says_nothing() {
    has_none(&Rules::new().lossy("email"), |s| {
        s.sent("p", 0, 0);
        let (sending, polling) = (s.client("q").send(1), s.client("c").poll());
        s.0.lost_suffix(email(), at(0));
        s.sent("p", 2, 0);
        sending.ok(email(), at(0));
        polling.ok([(email(), at(0), 1)]);
    });
}

#[test]
fn the_log_start_never_goes_back() {
    let watch = |s: &Script, low: u32| s.client("w").watermarks(email()).ok(at(low), at(9));
    has_only(LogStart, &Rules::new(), |s| {
        watch(s, 5);
        watch(s, 4);
    });
    has_only(LogStart, &Rules::new(), |s| {
        s.client("w").delete_records(email(), at(5)).ok();
        watch(s, 4);
    });
    has_none(&Rules::new(), |s| {
        s.client("w").delete_records(email(), at(5)).failed();
        watch(s, 4);
        let asking = s.client("v").watermarks(email());
        watch(s, 5);
        asking.ok(at(4), at(9));
    });
}

#[test]
fn what_is_below_the_log_start_stays_gone() {
    let deleted = |s: &Script| {
        s.sent("p", 0, 0);
        s.sent("p", 1, 1);
        s.assign("c");
        s.client("w").delete_records(email(), at(1)).ok();
    };
    has_only(LogStart, &Rules::new(), |s| {
        deleted(s);
        s.assign("d");
        s.client("d").seek(email(), Some(at(0)));
        s.polled("d", &[(0, 0)]);
    });
    // It may have been fetched before.
    has_none(&Rules::new(), |s| {
        deleted(s);
        s.polled("c", &[(0, 0), (1, 1)]);
    });
    // And who was too late moves on.
    has_none(&Rules::new().all_read(true), |s| {
        deleted(s);
        s.polled("c", &[(1, 1)]);
    });
}

#[test]
fn a_skip_by_deletion_is_a_deletion_for_all() {
    has_only(LogStart, &Rules::new(), |s| {
        s.sent("p", 0, 0);
        s.sent("p", 1, 1);
        s.assign("c");
        s.polled("c", &[(1, 1)]);
        s.client("d").seek(email(), Some(at(0)));
        s.polled("d", &[(0, 0)]);
        s.client("w").watermarks(email()).ok(at(1), at(2));
    });
}

#[test]
fn the_high_watermark_never_goes_back_for_a_client() {
    has_only(HighWatermark, &Rules::new(), |s| {
        s.sent("c", 1, 0);
        s.client("c").watermarks(email()).ok(at(0), at(0));
    });
    has_only(HighWatermark, &Rules::new(), |s| {
        s.client("p").send(1).unknown();
        s.polled("c", &[(0, 1)]);
        s.client("c").watermarks(email()).ok(at(0), at(0));
    });
    has_only(HighWatermark, &Rules::new(), |s| {
        s.client("c").watermarks(email()).ok(at(0), at(2));
        s.client("c").watermarks(email()).ok(at(0), at(1));
    });
    has_none(&Rules::new(), |s| {
        s.sent("p", 1, 0);
        s.client("c").watermarks(email()).ok(at(0), at(0));
        s.client("p").watermarks(email()).ok(at(0), at(1));
    });
}
