//! What is known of producers and transactions in every state that a power cut can leave.

use super::*;
use crate::env::{Disk, PowerCut};

const A: (i64, i16) = (1, 0);
const B: (i64, i16) = (2, 0);

/// Mixes of lost and kept changes for each moment.
const MIXES: u64 = 4;

/// A log on a disk that keeps a journal.
struct Story {
    disk: Disk,
    place: Place,
    /// How the log has to be opened after so many changes, and what is durable by then.
    shutdowns: Vec<(usize, Shutdown, i64)>,
    sequences: [i32; 2],
}

impl Story {
    fn new(segment_bytes: u32) -> Self {
        let disk = Disk::new();
        let place = Place::on(disk.file_system(), segment_bytes, 100);
        place.fs.sync_dir(Path::new("/")).unwrap();
        place.fs.sync_dir(&place.root).unwrap();
        disk.record();
        let mut story = Self { disk, place, shutdowns: Vec::new(), sequences: [0; 2] };
        story.note(0, 0);
        story
    }

    /// From now on a recovery begins at `point`.
    fn note(&mut self, point: i64, durable: i64) {
        let shutdown = Shutdown::Unclean { recovery_point: offset(point) };
        self.shutdowns.push((self.disk.recorded(), shutdown, durable));
    }

    fn data(&mut self, log: &Log, who: (i64, i16), count: usize) {
        let sequence = &mut self.sequences[who.0 as usize - 1];
        append(log, vec![sent_by(who, *sequence, count, who == A), batch(1, 1, 30)]);
        *sequence += count as i32;
    }

    fn checkpoint(&mut self, log: &Log) {
        let durable = log.sync().unwrap().value();
        self.shutdowns.push((self.disk.recorded(), self.shutdowns.last().unwrap().1, durable));
        let point = log.checkpoint().unwrap().value();
        self.note(point, durable);
    }

    fn close(&mut self, log: &Log) {
        let end = log.close().unwrap().value();
        self.shutdowns.push((self.disk.recorded(), Shutdown::Clean, end));
    }

    /// How a log is found after `changes` changes.
    fn shutdown_at(&self, changes: usize) -> (Shutdown, i64) {
        let last = self.shutdowns.iter().rev().find(|(at, _, _)| *at <= changes).unwrap();
        (last.1, last.2)
    }
}

/// Two producers, one of them with transactions, over segments, checkpoints, a truncation, a close and a reopening.
fn tell(segment_bytes: u32) -> Story {
    let mut story = Story::new(segment_bytes);
    let log = story.place.open();
    for round in 0..6 {
        story.data(&log, A, 2);
        story.data(&log, B, 1);
        let kind = if round % 3 == 0 { MarkerKind::Commit } else { MarkerKind::Abort };
        log.append_as_coordinator(marker(A, kind, round)).unwrap();
        if round % 2 == 1 {
            story.checkpoint(&log);
        }
    }
    story.data(&log, A, 1);
    let point = log.flushed().value();
    // A recovery point is lowered before what is above it is cut.
    let to = log.end().value() - 9;
    story.note(point.min(to), to.min(point));
    log.truncate_to(offset(to)).unwrap();
    story.sequences[0] = 0;
    let again = (1, 1);
    append(&log, vec![sent_by(again, 0, 2, true)]);
    log.append_as_coordinator(marker(again, MarkerKind::Abort, 9)).unwrap();
    story.checkpoint(&log);
    append(&log, vec![sent_by(again, 2, 1, true)]);
    story.close(&log);
    let end = log.end().value();
    story.note(end, end);
    let log = story.place.open();
    log.append_as_coordinator(marker(again, MarkerKind::Abort, 9)).unwrap();
    append(&log, (0..4).map(|n| sent_by((3, 0), n, 1, false)).collect());
    story.checkpoint(&log);
    story
}

fn open(place: &Place, shutdown: Shutdown) -> Log {
    // The store knows that none of its records were deleted.
    let how = OpenLog { start: Some(Offset::ZERO), ..place.how_to_open(shutdown, 0) };
    let log = Log::open(how).unwrap().0;
    assert!(!log.is_offline());
    log
}

/// A log that has nothing but its batches knows the same.
fn assert_known_from_batches(place: &Place, log: &Log) {
    let bare = place.copy();
    for suffix in [".snapshot", "index", "leader-epoch-checkpoint"] {
        bare.names(suffix).iter().for_each(|name| bare.remove(name));
    }
    let told = open(&bare, Shutdown::Unclean { recovery_point: Offset::ZERO });
    assert_eq!(log.end(), told.end());
    assert_eq!(log.snapshot(), told.snapshot());
    [log, &told].iter().for_each(|log| log.note_high_watermark(log.end()));
    assert_eq!(log.last_stable(log.end()), told.last_stable(told.end()));
    assert_eq!(log.aborted(Offset::ZERO, log.end()), told.aborted(Offset::ZERO, told.end()));
}

/// A3, A22, B7, F1: neither a snapshot nor a transaction index tells of what is not in the log, and none lacks what is,
/// whatever a power cut leaves of any of them; also when the log has been used again.
#[test]
fn a_power_cut_leaves_nothing_wrong_of_producers() {
    for segment_bytes in [350, 1 << 20] {
        let story = tell(segment_bytes);
        let mut journal = story.disk.journal();
        let mut states = 0;
        loop {
            let (shutdown, durable) = story.shutdown_at(journal.done());
            let single = (0..journal.unsynced())
                .flat_map(|at| [PowerCut::LosesOne(at), PowerCut::KeepsOne(at)]);
            let seed = journal.done() as u64 * MIXES;
            let cuts = [PowerCut::LosesAll, PowerCut::KeepsAll].into_iter().chain(single);
            for cut in cuts.chain((seed..seed + MIXES).map(PowerCut::Mixes)) {
                let image = journal.image(cut);
                let place = Place { fs: image.file_system(), ..story.place.clone() };
                let log = open(&place, shutdown);
                let context = format!("{cut:?} after {} changes, {shutdown:?}", journal.done());
                assert!(log.end() >= offset(durable), "{context}: {} of {durable}", log.end());
                assert_known_from_batches(&place, &log);
                // Other batches at the offsets of those that were lost.
                let other = (1, 7);
                append(&log, vec![sent_by(other, 0, 3, true), batch(5, 1, 100)]);
                log.append_as_coordinator(marker(other, MarkerKind::Abort, 99)).unwrap();
                log.sync().unwrap();
                let point = log.checkpoint().unwrap();
                drop(log);
                let cut = image.image(PowerCut::LosesAll);
                let place = Place { fs: cut.file_system(), ..place };
                let log = open(&place, Shutdown::Unclean { recovery_point: point });
                assert_known_from_batches(&place, &log);
                assert_eq!(
                    log.aborted(Offset::ZERO, log.end()).last().unwrap().last.next(),
                    log.end()
                );
                states += 1;
            }
            if !journal.step() {
                break;
            }
        }
        assert!(states > 500, "{states}");
    }
}

/// Whose log it is costs a sync, which the first append need not wait for.
#[test]
fn the_owner_of_a_log_is_durable_before_anything_in_it_is() {
    let disk = Disk::new();
    let place = Place::on(disk.file_system(), 1 << 20, 100);
    place.fs.sync_dir(Path::new("/")).unwrap();
    place.fs.sync_dir(&place.root).unwrap();
    let log = place.open();
    append(&log, vec![batch(1, 1, 30)]);
    let owner = |disk: &Disk| Log::owner(&*disk.file_system(), &place.dir()).unwrap();
    assert!(owner(&disk).is_some());
    assert_eq!(owner(&disk.image(PowerCut::LosesAll)), None);
    log.sync().unwrap();
    assert_eq!(owner(&disk.image(PowerCut::LosesAll)), owner(&disk));
}
