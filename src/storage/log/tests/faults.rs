//! Errors of the disk: what is answered, and what is left behind.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::*;
use crate::env::sync::Mutex;
use crate::env::{Entry, File, FileLock};

/// Calls that can be made to fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Call {
    Write,
    Sync,
    SetLen,
    Rename,
    Remove,
    SyncDir,
    Create,
}

#[derive(Debug)]
struct Plan {
    /// Any call, if `None`.
    call: Option<Call>,
    /// Calls to let pass before.
    pass: usize,
    /// Calls to fail then.
    fail: usize,
    kind: io::ErrorKind,
}

#[derive(Debug, Default)]
struct Faults {
    plans: Mutex<Vec<Plan>>,
    syncs: AtomicUsize,
}

impl Faults {
    fn meet(&self, call: Call) -> io::Result<()> {
        if call == Call::Sync {
            self.syncs.fetch_add(1, Ordering::Relaxed);
        }
        for plan in self.plans.lock().iter_mut().filter(|plan| plan.call.is_none_or(|c| c == call))
        {
            if plan.pass > 0 {
                plan.pass -= 1;
            } else if plan.fail > 0 {
                plan.fail -= 1;
                return Err(plan.kind.into());
            }
        }
        Ok(())
    }
}

/// A file system that fails on request.
#[derive(Debug)]
pub(super) struct FaultFs {
    inner: Arc<dyn FileSystem>,
    faults: Arc<Faults>,
}

impl FaultFs {
    pub(super) fn over_memory() -> Arc<Self> {
        Arc::new(Self { inner: Arc::new(MemFs::default()), faults: Arc::default() })
    }

    /// Lets `pass` changes through and none after: as a crash does.
    fn cut_off_after(inner: Arc<dyn FileSystem>, pass: usize) -> Self {
        let fs = Self { inner, faults: Arc::default() };
        let kind = io::ErrorKind::Other;
        fs.faults.plans.lock().push(Plan { call: None, pass, fail: usize::MAX, kind });
        fs
    }

    /// Fails the next `times` calls of this kind but `pass`.
    pub(super) fn fail(&self, call: Call, pass: usize, times: usize, kind: io::ErrorKind) {
        self.faults.plans.lock().push(Plan { call: Some(call), pass, fail: times, kind });
    }

    pub(super) fn heal(&self) {
        self.faults.plans.lock().clear();
    }
}

impl FileSystem for FaultFs {
    fn is_durable(&self) -> bool {
        true
    }

    fn open(&self, path: &Path, how: OpenFile) -> io::Result<Arc<dyn File>> {
        if how == OpenFile::CreateMapped {
            self.faults.meet(Call::Create)?;
        }
        let inner = self.inner.open(path, how)?;
        Ok(Arc::new(FaultFile { inner, faults: Arc::clone(&self.faults) }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.inner.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.meet(Call::Rename)?;
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.faults.meet(Call::Remove)?;
        self.inner.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.faults.meet(Call::SyncDir)?;
        self.inner.sync_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        self.inner.lock(path)
    }
}

#[derive(Debug)]
struct FaultFile {
    inner: Arc<dyn File>,
    faults: Arc<Faults>,
}

impl File for FaultFile {
    fn read(&self, position: u64, length: usize) -> io::Result<Bytes> {
        self.inner.read(position, length)
    }

    fn write(&self, position: u64, parts: &[Bytes]) -> io::Result<()> {
        self.faults.meet(Call::Write).inspect_err(|_| {
            // A failed write may have written a part.
            if let Some(first) = parts.first() {
                self.inner.write(position, &[first.slice(..first.len() / 2)]).unwrap();
            }
        })?;
        self.inner.write(position, parts)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.faults.meet(Call::SetLen)?;
        self.inner.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.meet(Call::Sync)?;
        self.inner.sync()
    }
}

/// A log on a disk that can fail, with 3 records in it.
fn faulty(segment_bytes: u32) -> (Arc<FaultFs>, Place, Log) {
    let fs = FaultFs::over_memory();
    let place = Place::on(Arc::clone(&fs) as _, segment_bytes, 100);
    let log = place.open();
    append(&log, vec![batch(1, 3, 10)]);
    log.sync().unwrap();
    (fs, place, log)
}

/// Reopens as after a crash, with the disk healed.
fn count_after_crash(fs: &FaultFs, place: &Place, log: &Log) -> usize {
    fs.heal();
    let (log, _) = place.recover(log.flushed().value());
    assert!(!log.is_offline());
    read_all(&log).len()
}

#[test]
fn a_failed_write_is_cut_back_and_the_log_goes_on() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::Other] {
        let (fs, place, log) = faulty(1 << 20);
        fs.fail(Call::Write, 0, 1, kind);
        let results = log.append_as_client(vec![batch(2, 3, 10), batch(2, 3, 10)], epoch(1));
        assert_eq!(results.len(), 2);
        for result in results {
            let Err(AppendError::NotWritten(error)) = result else { panic!("{result:?}") };
            assert_eq!(error.is_full(), kind != io::ErrorKind::Other);
        }
        assert_eq!((log.end(), log.is_offline()), (offset(3), false));
        assert_eq!(place.read("00000000000000000000.log").unwrap().len() as u64, log.size().1);
        append(&log, vec![batch(3, 3, 10)]);
        assert_eq!(
            read_all(&log).iter().filter_map(|r| r.timestamp).collect::<Vec<_>>(),
            [1, 1, 1, 3, 3, 3]
        );
        log.sync().unwrap();
        assert_eq!(count_after_crash(&fs, &place, &log), 6);
    }
}

#[test]
fn a_write_that_cannot_be_cut_back_takes_the_log_offline() {
    for call in [Call::SetLen, Call::Sync] {
        let (fs, place, log) = faulty(1 << 20);
        fs.fail(Call::Write, 0, 1, io::ErrorKind::StorageFull);
        fs.fail(call, 0, 1, io::ErrorKind::Other);
        let results = log.append_as_client(vec![batch(2, 3, 10), batch(2, 3, 10)], epoch(1));
        assert!(results.iter().all(|r| matches!(r, Err(AppendError::Unknown(_)))), "{results:?}");
        assert!(log.is_offline());
        let results = log.append_as_client(vec![batch(2, 3, 10)], epoch(1));
        assert!(matches!(
            &results[..],
            [Err(AppendError::NotWritten(StorageError::Offline { .. }))]
        ));
        assert_eq!(read_all(&log).len(), 3);
        assert_eq!(count_after_crash(&fs, &place, &log), 3);
    }
}

/// R4: the second sync would succeed, and say nothing about the first one's bytes.
#[test]
fn a_failed_sync_is_for_ever() {
    for (call, pass) in [(Call::Sync, 0), (Call::Sync, 1), (Call::SyncDir, 0), (Call::SyncDir, 1)] {
        let (fs, place, log) = faulty(400);
        append(&log, (0..4).map(|_| batch(2, 3, 10)).collect());
        let flushed = log.flushed();
        fs.fail(call, pass, 1, io::ErrorKind::StorageFull);
        if log.sync().is_ok() {
            // The one call that may fail for want of space is that of an index.
            assert_eq!((call, pass), (Call::Sync, 1));
            continue;
        }
        fs.heal();
        assert!(log.is_offline());
        for _ in 0..2 {
            log.sync().unwrap_err();
            let results = log.append_as_client(vec![batch(2, 3, 10)], epoch(1));
            assert!(matches!(&results[..], [Err(AppendError::NotWritten(_))]));
        }
        log.close().unwrap_err();
        assert_eq!(log.flushed(), flushed);
        assert_eq!(read_all(&log).len(), 15);
        assert_eq!(count_after_crash(&fs, &place, &log), 15);
    }
}

/// A full disk costs an index, never the log.
#[test]
fn an_index_that_cannot_be_saved_is_made_again() {
    for (call, kind) in
        [(Call::Write, io::ErrorKind::StorageFull), (Call::Sync, io::ErrorKind::StorageFull)]
    {
        let (fs, place, log) = faulty(400);
        append(&log, (0..4).map(|i| batch(2 + i, 3, 10)).collect());
        // The first sync of all is the log's.
        fs.fail(call, usize::from(call == Call::Sync), 1, kind);
        log.sync().unwrap();
        fs.heal();
        append(&log, vec![batch(9, 3, 10)]);
        log.close().unwrap();
        let files = place.image();
        let log = place.open();
        for (time, first) in [(1, 0), (2, 3), (5, 12), (9, 15)] {
            let time = Timestamp::from_millis(time).unwrap();
            let found = log.find_timestamp(time, log.end(), &Limits::default()).unwrap();
            assert_eq!(found.unwrap().offset, offset(first));
        }
        log.close().unwrap();
        assert_eq!(place.image(), files);
        for name in place.names("index") {
            place.remove(&name);
        }
        place.recover(0).0.close().unwrap();
        assert_eq!(place.image(), files, "indexes that were saved late equal rebuilt ones");
    }
}

/// A13, and in the middle of one call: what came before the error is in, what comes after it is not tried.
#[test]
fn a_failed_roll_fails_the_rest_of_the_call() {
    for call in [Call::Create, Call::Remove, Call::Write] {
        let (fs, place, log) = faulty(400);
        // Batches of 130 bytes: the first two go to the first segment. Then a snapshot is written.
        let passed = if call == Call::Write { 2 } else { 0 };
        fs.fail(call, passed, 1, io::ErrorKind::StorageFull);
        let mut batches: Vec<_> = (0..6).map(|_| batch(2, 3, 10)).collect();
        batches.insert(1, batch(2, 1, 500));
        let results = log.append_as_client(batches, epoch(1));
        let ok = results.iter().map(|result| result.is_ok()).collect::<Vec<_>>();
        assert!(matches!(results[1], Err(AppendError::BatchTooLarge { .. })));
        let written = ok.iter().filter(|ok| **ok).count();
        assert!(ok[0] && !ok[6] && written == 2, "{call:?} {ok:?}");
        for result in &results[3..] {
            assert!(matches!(result, Err(AppendError::NotWritten(e)) if e.is_full()), "{result:?}");
        }
        assert_eq!(log.end().value(), 3 + 3 * written as i64);
        fs.heal();
        append(&log, (0..3).map(|_| batch(7, 3, 10)).collect());
        let all = read_all(&log);
        assert!(all.iter().enumerate().all(|(i, record)| record.offset == i as i64));
        log.sync().unwrap();
        assert_eq!(count_after_crash(&fs, &place, &log), all.len());
    }
}

#[test]
fn the_first_append_can_be_tried_again() {
    for (call, pass) in [(Call::Write, 0), (Call::Sync, 0), (Call::Create, 0), (Call::Write, 1)] {
        let fs = FaultFs::over_memory();
        let place = Place::on(Arc::clone(&fs) as _, 1000, 100);
        let log = place.open();
        fs.fail(call, pass, 1, io::ErrorKind::StorageFull);
        let results = log.append_as_client(vec![batch(1, 1, 1)], epoch(1));
        assert!(matches!(&results[..], [Err(AppendError::NotWritten(_))]), "{results:?}");
        append(&log, vec![batch(1, 1, 1)]);
        assert_eq!(read_all(&log).len(), 1);
        log.close().unwrap();
        assert_eq!(read_all(&place.open()).len(), 1);
    }
}

/// Whatever goes wrong in a truncation, nothing is appended to files that may be gone, and what recovery finds is a
/// prefix of the log.
#[test]
fn a_failed_truncation_takes_the_log_offline() {
    let mut failures = 0;
    for call in [Call::Write, Call::Sync, Call::Rename, Call::Remove, Call::SyncDir] {
        for pass in 0..8 {
            let (fs, place, log) = faulty(400);
            append(&log, (0..9).map(|_| batch(2, 3, 10)).collect());
            fs.fail(call, pass, 1, io::ErrorKind::Other);
            if log.truncate_to(offset(5)).is_ok() {
                continue;
            }
            failures += 1;
            assert!(log.is_offline());
            fs.heal();
            log.truncate_to(offset(5)).unwrap_err();
            let (log, _) = place.recover(3);
            assert!(log.end() >= offset(3) && log.end() <= offset(30));
            assert_eq!(read_all(&log).len() as i64, log.end().value());
        }
    }
    assert!(failures > 8, "{failures}");
}

/// A10: a crash at any point of a recovery is recovered from as if it had been the first.
#[test]
fn a_crash_inside_recovery_changes_nothing() {
    let place = Place::in_memory(300, 100);
    let log = place.open();
    append(&log, (0..12).map(|i| batch(1000 + i, 3, 10)).collect());
    log.close().unwrap();
    let logs = place.names(".log");
    place.names("index").iter().for_each(|name| place.remove(name));
    place.edit(&logs[3], |log| log.truncate(log.len() - 10));
    let image = place.image();
    let recovered = {
        place.recover(3).0.close().unwrap();
        place.image()
    };
    let mut crashes = 0;
    loop {
        place.restore(&image);
        let faulty = Place {
            fs: Arc::new(FaultFs::cut_off_after(Arc::clone(&place.fs), crashes)),
            ..place.clone()
        };
        let shutdown = Shutdown::Unclean { recovery_point: offset(3) };
        let survived = faulty.try_open(shutdown).is_ok();
        let (log, _) = place.recover(3);
        log.close().unwrap();
        assert_eq!(place.image(), recovered, "crash after {crashes} changes");
        if survived {
            break;
        }
        crashes += 1;
    }
    assert!(crashes > 10, "{crashes}");
}

/// A13: after the first error there are only errors, whoever appends.
#[test]
fn no_append_succeeds_after_the_first_error() {
    let (fs, _place, log) = faulty(1 << 20);
    let failed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for i in 0..200 {
                    let offline = log.is_offline();
                    let result = log.append_as_client(vec![batch(i, 1, 10)], epoch(1)).remove(0);
                    failed.fetch_add(usize::from(result.is_err()), Ordering::Relaxed);
                    assert!(!offline || result.is_err());
                }
            });
        }
        scope.spawn(|| {
            while log.end() < offset(100) {}
            fs.fail(Call::Sync, 0, 1, io::ErrorKind::Other);
            log.sync().unwrap_err();
        });
    });
    assert_eq!(log.end().value() as usize, 3 + 800 - failed.into_inner());
}

#[test]
fn an_idle_checkpoint_syncs_nothing() {
    let (fs, _place, log) = faulty(1 << 20);
    log.checkpoint().unwrap();
    let before = fs.faults.syncs.load(Ordering::Relaxed);
    assert_eq!(log.checkpoint().unwrap(), offset(3));
    assert_eq!(fs.faults.syncs.load(Ordering::Relaxed), before);
}

/// A1: a log that a crash left before its first sync: its name is not durable, whoever finds it there.
#[test]
fn recovery_makes_names_durable() {
    for pass in 0..2 {
        let fs = FaultFs::over_memory();
        let place = Place::on(Arc::clone(&fs) as _, 1000, 100);
        append(&place.open(), vec![batch(1, 1, 1)]);
        fs.fail(Call::SyncDir, pass, 1, io::ErrorKind::Other);
        place.try_open(Shutdown::Unclean { recovery_point: Offset::ZERO }).unwrap_err();
        assert_eq!(read_all(&place.recover(0).0).len(), 1);
    }
}
