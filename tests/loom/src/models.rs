//! D1, D2, D3: what is below a published offset is there, and known. No work is left undone by who leaves a role.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

use crate::base::{Offset, ProducerId};
use crate::env::{Published, Role};
use crate::record::MarkerKind;
use crate::transactions::{TransactionStep, Transactions, Undecided};

fn offset(value: u32) -> Offset {
    Offset::from(value)
}

/// A log of two records, whose bytes loom watches: it fails if one is read while, or before, it is written.
struct Log {
    bytes: [UnsafeCell<u8>; 2],
    end: Published,
    flushed: Published,
    high_watermark: Published,
}

impl Log {
    fn new() -> Arc<Self> {
        let zero = || Published::new(Offset::ZERO);
        Arc::new(Self {
            bytes: [UnsafeCell::new(0), UnsafeCell::new(0)],
            end: zero(),
            flushed: zero(),
            high_watermark: zero(),
        })
    }

    /// For the one who has the writer's lock.
    fn append(&self, number: u32) {
        // SAFETY: nobody reads a byte before it is published: that is what is tested.
        self.bytes[number as usize].with_mut(|byte| unsafe { *byte = 7 });
        self.end.set(offset(number + 1));
    }

    fn read_below(&self, end: Offset) {
        for byte in &self.bytes[..usize::try_from(end.value()).unwrap()] {
            // SAFETY: as above.
            assert_eq!(byte.with(|byte| unsafe { *byte }), 7);
        }
    }
}

/// D1: the bytes are there before the end says so.
#[test]
fn who_sees_the_end_sees_what_is_below() {
    loom::model(|| {
        let log = Log::new();
        let writer = thread::spawn({
            let log = Arc::clone(&log);
            move || {
                log.append(0);
                log.append(1);
            }
        });
        log.read_below(log.end.get());
        writer.join().unwrap();
    });
}

/// D2: also by way of others: one writes, one syncs, one raises the high watermark, one reads below it. It never goes
/// back, nor beyond what was synced.
#[test]
fn who_sees_the_high_watermark_sees_what_is_below() {
    loom::model(|| {
        let log = Log::new();
        let spawn = |step: fn(&Log)| {
            let log = Arc::clone(&log);
            thread::spawn(move || step(&log))
        };
        let writer = spawn(|log| {
            log.append(0);
            log.flushed.raise(log.end.get());
            log.append(1);
        });
        let syncer = spawn(|log| {
            log.high_watermark.raise(log.flushed.get());
        });
        let first = log.high_watermark.get();
        log.read_below(first);
        let second = log.high_watermark.get();
        assert!(
            first <= second && second <= log.flushed.get() && log.flushed.get() <= log.end.get()
        );
        writer.join().unwrap();
        syncer.join().unwrap();
    });
}

#[test]
fn raising_never_goes_back_and_tells_one_who_moved_it() {
    loom::model(|| {
        let mark = Arc::new(Published::new(Offset::ZERO));
        let other = Arc::clone(&mark);
        let raising = thread::spawn(move || other.raise(offset(2)));
        let moved = mark.raise(offset(1));
        assert!(mark.get() >= offset(1));
        assert!(raising.join().unwrap(), "nobody else got as far");
        assert_eq!(mark.get(), offset(2));
        let _either = moved;
    });
}

/// D3: a transaction at 0 is committed at 1, while another thread raises the high watermark. `readable` looks up to where
/// a reader may read.
fn commit_and_read(readable: fn(&Undecided, &Published) -> Offset) {
    let log = Arc::new((
        Undecided::new(Transactions::default()),
        Published::new(Offset::ZERO),
        Published::new(Offset::ZERO),
    ));
    let writer = thread::spawn({
        let log = Arc::clone(&log);
        move || {
            let (undecided, end, _) = &*log;
            let (producer, first, marker) = (ProducerId::ZERO, offset(0), offset(1));
            undecided.take(vec![TransactionStep::Begins { producer, first }], drop);
            end.set(offset(1));
            let kind = MarkerKind::Commit;
            undecided.take(vec![TransactionStep::Ends { producer, first, marker, kind }], drop);
            end.set(offset(2));
        }
    });
    let raising = thread::spawn({
        let log = Arc::clone(&log);
        move || {
            let (undecided, end, high_watermark) = &*log;
            for _ in 0..2 {
                let to = end.get();
                if high_watermark.raise(to) {
                    undecided.decide_below(to);
                }
            }
        }
    });
    let (undecided, _, high_watermark) = &*log;
    if readable(undecided, high_watermark) > Offset::ZERO {
        assert_eq!(high_watermark.get(), offset(2), "an open transaction is read");
    }
    writer.join().unwrap();
    raising.join().unwrap();
}

#[test]
fn who_looks_at_the_high_watermark_first_reads_no_open_transaction() {
    loom::model(|| commit_and_read(|undecided, high| undecided.last_stable(high.get())));
}

/// The model would notice.
#[test]
#[should_panic(expected = "an open transaction is read")]
fn who_looks_at_the_high_watermark_last_reads_open_transactions() {
    let careless = |undecided: &Undecided, high: &Published| {
        let stable = undecided.last_stable(Offset::MAX);
        stable.min(high.get())
    };
    loom::model(move || commit_and_read(careless));
}

/// A role as it is used by those who sync: bring, ask, do, leave, look.
trait Roles: Send + Sync + 'static {
    fn take(&self) -> bool;
    fn leave(&self);
}

impl Roles for Role {
    fn take(&self) -> bool {
        Self::take(self)
    }

    fn leave(&self) {
        Self::leave(self);
    }
}

/// Group commit: each of three brings one record and asks for the role. When all are through, all is synced, whoever did
/// it: nobody who waits is forgotten.
fn group_commit(role: impl Roles) {
    let shared = Arc::new((role, AtomicUsize::new(0), AtomicUsize::new(0)));
    let bring = |shared: &(_, AtomicUsize, AtomicUsize)| {
        let (role, written, synced): &(_, AtomicUsize, AtomicUsize) = shared;
        let role: &dyn Roles = role;
        written.fetch_add(1, Ordering::Release);
        while role.take() {
            synced.store(written.load(Ordering::Acquire), Ordering::Release);
            role.leave();
            if synced.load(Ordering::Acquire) >= written.load(Ordering::Acquire) {
                break;
            }
        }
    };
    let threads = [(); 2].map(|()| {
        let shared = Arc::clone(&shared);
        thread::spawn(move || bring(&shared))
    });
    for thread in threads {
        thread.join().unwrap();
    }
    let (_, written, synced) = &*shared;
    assert_eq!(synced.load(Ordering::Acquire), written.load(Ordering::Acquire), "one is forgotten");
}

#[test]
fn who_leaves_a_role_forgets_nobody() {
    loom::model(|| group_commit(Role::new()));
}

/// A role without its fences.
struct Careless(AtomicBool);

impl Roles for Careless {
    fn take(&self) -> bool {
        self.0.compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn leave(&self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The model would notice.
#[test]
#[should_panic(expected = "one is forgotten")]
fn without_fences_somebody_is_forgotten() {
    loom::model(|| group_commit(Careless(AtomicBool::new(false))));
}

/// At most one is at it at a time, and sees what the one before did.
#[test]
fn a_role_excludes() {
    loom::model(|| {
        let shared = Arc::new((Role::new(), UnsafeCell::new(0)));
        let work = |shared: &(Role, UnsafeCell<i32>)| {
            if shared.0.take() {
                // SAFETY: the role is this thread's: that is what is tested.
                shared.1.with_mut(|count| unsafe { *count += 1 });
                shared.0.leave();
            }
        };
        let other = Arc::clone(&shared);
        let thread = thread::spawn(move || work(&other));
        work(&shared);
        thread.join().unwrap();
        assert!(!shared.0.is_taken());
        // SAFETY: both are through.
        assert!(shared.1.with(|count| unsafe { (1..=2).contains(&*count) }));
    });
}
