use super::*;
use crate::env::fs::{File, OpenFile, replace_file};

fn root() -> &'static Path {
    Path::new("/")
}

fn file(fs: &dyn FileSystem, name: &str) -> Arc<dyn File> {
    fs.open(&root().join(name), OpenFile::Write).unwrap()
}

fn put(file: &dyn File, position: u64, content: &[u8]) {
    file.write(position, &[Bytes::copy_from_slice(content)]).unwrap();
}

fn content(disk: &Disk, name: &str) -> Option<Vec<u8>> {
    disk.read(name).ok().map(|bytes| bytes.to_vec())
}

#[test]
fn a_file_needs_both_its_content_and_its_name_synced() {
    for (sync_file, sync_name) in [(false, false), (true, false), (false, true), (true, true)] {
        let disk = Disk::new();
        let fs = disk.file_system();
        let file = file(&*fs, "a");
        put(&*file, 0, b"content");
        if sync_file {
            file.sync().unwrap();
        }
        if sync_name {
            fs.sync_dir(root()).unwrap();
        }
        let left = content(&disk.image(PowerCut::LosesAll), "a");
        let expected = match (sync_file, sync_name) {
            (true, true) => Some(b"content".to_vec()),
            (false, true) => Some(Vec::new()),
            _ => None,
        };
        assert_eq!(left, expected, "{sync_file} {sync_name}");
        assert_eq!(content(&disk.image(PowerCut::KeepsAll), "a"), Some(b"content".to_vec()));
    }
}

#[test]
fn a_power_cut_never_loses_what_was_synced() {
    let disk = Disk::new();
    let fs = disk.file_system();
    replace_file(&*fs, root(), "old", Bytes::from(vec![1; 3000])).unwrap();
    let old = file(&*fs, "old");
    put(&*old, 1000, &[2; 1000]);
    for seed in 0..300 {
        let image = disk.image(PowerCut::Mixes(seed));
        let left = content(&image, "old").unwrap();
        assert_eq!(left.len(), 3000, "its length was not changed");
        assert!(left[..1000].iter().chain(&left[2000..]).all(|byte| *byte == 1));
        assert!(left.iter().all(|byte| *byte != 0), "old or new, never zero");
    }
    old.sync().unwrap();
    assert_eq!(disk.unsynced(), 0);
    let left = content(&disk.image(PowerCut::LosesAll), "old").unwrap();
    assert_eq!(left[999..1001], [1, 2]);
}

#[test]
fn mixes_tear_writes_in_every_way() {
    let disk = Disk::new();
    let fs = disk.file_system();
    let log = file(&*fs, "log");
    fs.sync_dir(root()).unwrap();
    put(&*log, 0, &[7; 2048]);
    let lefts = (0..500).map(|seed| content(&disk.image(PowerCut::Mixes(seed)), "log").unwrap());
    let lefts = lefts.collect::<Vec<_>>();
    let has = |what: &dyn Fn(&[u8]) -> bool| lefts.iter().any(|left| what(left));
    assert!(has(&|left| left.is_empty()));
    assert!(has(&|left| left == [7; 2048]));
    assert!(has(&|left| left == [0; 2048]), "the length without the content");
    assert!(has(&|left| left.len() == 2048
        && left[..512] == [0; 512]
        && left[512..1024] == [7; 512]));
    assert!(has(&|left| left.len() == 2048 && left[513] == 7 && left[2047] == 0));
}

/// A sync that failed has lost its pages: the next one does not bring them back.
#[test]
fn a_sync_after_a_failed_one_covers_only_what_came_later() {
    let disk = Disk::new();
    let fs = disk.file_system();
    let log = file(&*fs, "log");
    fs.sync_dir(root()).unwrap();
    put(&*log, 0, b"lost");
    disk.fail(Fault::new(io::ErrorKind::Other).on(CallKind::Sync));
    log.sync().unwrap_err();
    put(&*log, 4, b"kept");
    log.sync().unwrap();
    assert_eq!(&log.read(0, 8).unwrap()[..], b"lostkept", "as long as the power is on");
    let left = content(&disk.image(PowerCut::KeepsAll), "log").unwrap();
    assert_eq!(left, b"\0\0\0\0kept");
}

#[test]
fn a_rename_is_kept_or_lost_as_a_whole() {
    let disk = Disk::new();
    let fs = disk.file_system();
    replace_file(&*fs, root(), "a", "old".into()).unwrap();
    let new = file(&*fs, "a.tmp");
    put(&*new, 0, b"new");
    new.sync().unwrap();
    fs.rename(Path::new("/a.tmp"), Path::new("/a")).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let image = disk.image(PowerCut::Mixes(seed));
        seen.insert(content(&image, "a").unwrap());
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
}

#[test]
fn a_directory_that_moves_takes_its_files_along() {
    let disk = Disk::new();
    let fs = disk.file_system();
    fs.create_dir(Path::new("/topic-0")).unwrap();
    let log = file(&*fs, "topic-0/log");
    put(&*log, 0, b"x");
    log.sync().unwrap();
    for dir in ["/topic-0", "/"] {
        fs.sync_dir(Path::new(dir)).unwrap();
    }
    fs.rename(Path::new("/topic-0"), Path::new("/gone")).unwrap();
    assert_eq!(content(&disk.image(PowerCut::LosesAll), "topic-0/log"), Some(b"x".to_vec()));
    assert_eq!(content(&disk.image(PowerCut::KeepsAll), "gone/log"), Some(b"x".to_vec()));
}

#[test]
fn what_was_open_fails_after_a_power_cut() {
    let disk = Disk::new();
    let fs = disk.file_system();
    let log = file(&*fs, "log");
    let lock = fs.lock(Path::new("/.lock")).unwrap().unwrap();
    assert!(fs.lock(Path::new("/.lock")).unwrap().is_none());
    disk.cut_power(PowerCut::KeepsAll);
    log.write(0, &["late".into()]).unwrap_err();
    log.sync().unwrap_err();
    fs.list(root()).unwrap_err();
    let fs = disk.file_system();
    let _second = fs.lock(Path::new("/.lock")).unwrap().unwrap();
    drop(lock);
    assert!(fs.lock(Path::new("/.lock")).unwrap().is_none(), "the old lock is not this one");
    assert_eq!(content(&disk, "log"), Some(Vec::new()));
}

#[test]
fn faults_meet_the_calls_that_they_are_for() {
    let disk = Disk::new();
    let fs = disk.file_system();
    let (a, b) = (file(&*fs, "a"), file(&*fs, "b"));
    disk.fail(Fault::new(io::ErrorKind::StorageFull).on(CallKind::Write).at("a").after(1).times(2));
    let results = [(); 5].map(|()| (a.write(0, &["xx".into()]).is_ok(), b.set_len(0).is_ok()));
    assert_eq!(results, [true, false, false, true, true].map(|ok| (ok, true)));
    disk.fail(Fault::new(io::ErrorKind::Other).for_good());
    a.len().unwrap_err();
    fs.list(root()).unwrap_err();
    disk.heal();
    a.len().unwrap();
}

#[test]
fn a_failed_write_has_been_done_in_half() {
    let disk = Disk::new();
    let fs = disk.file_system();
    let log = file(&*fs, "log");
    disk.fail(Fault::new(io::ErrorKind::Other).on(CallKind::Write));
    log.write(0, &["abcd".into(), "efgh".into()]).unwrap_err();
    assert_eq!(content(&disk, "log"), Some(b"ab".to_vec()));
}

#[test]
fn a_full_disk_takes_what_fits() {
    let disk = Disk::new();
    let fs = disk.file_system();
    let log = file(&*fs, "log");
    disk.set_capacity(Some(10));
    put(&*log, 0, &[1; 8]);
    assert_eq!(
        log.write(8, &[Bytes::from(vec![1; 3])]).unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
    put(&*log, 0, &[2; 8]);
    log.set_len(2).unwrap();
    put(&*log, 2, &[1; 3]);
}

#[test]
fn a_journal_goes_through_every_moment() {
    let disk = Disk::new();
    let fs = disk.file_system();
    disk.record();
    replace_file(&*fs, root(), "a", "content".into()).unwrap();
    let mut journal = disk.journal();
    let mut kept = vec![content(&journal.image(PowerCut::LosesAll), "a")];
    while journal.step() {
        kept.push(content(&journal.image(PowerCut::LosesAll), "a"));
    }
    assert_eq!(kept.len(), disk.recorded() + 1);
    assert_eq!(kept.iter().filter(|kept| kept.is_some()).count(), 1, "after the last sync");
    assert_eq!(journal.image(PowerCut::KeepsAll).fingerprint(), disk.fingerprint());
    assert_ne!(Disk::new().fingerprint(), disk.fingerprint());
}

#[test]
fn what_is_put_behind_the_owners_back_survives_a_power_cut() {
    let disk = Disk::new();
    disk.create_dir("a/b").unwrap();
    disk.write("a/b/c", b"content").unwrap();
    assert_eq!(content(&disk.image(PowerCut::LosesAll), "a/b/c"), Some(b"content".to_vec()));
}
