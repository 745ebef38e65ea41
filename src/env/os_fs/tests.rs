use super::*;

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    (dir, path)
}

#[test]
fn both_read_modes_return_what_was_written() {
    for mode in [ReadMode::Map, ReadMode::Pread] {
        let (_dir, path) = scratch();
        let fs = OsFs::new(mode);
        let file = fs.open(&path, OpenFile::CreateMapped).unwrap();
        file.write(0, &["hello ".into(), "world".into()]).unwrap();
        let early = file.read(0, 5).unwrap();
        file.write(11, &["!".into()]).unwrap();
        assert_eq!(&file.read(6, 6).unwrap()[..], b"world!");
        assert_eq!(&early[..], b"hello");
        assert_eq!(file.read(6, 7).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}

#[test]
fn more_files_than_descriptors_can_be_read_and_written() {
    let dir = tempfile::tempdir().unwrap();
    let fs = OsFs::new(ReadMode::Auto);
    let files = (0..4 * MAX_DESCRIPTORS)
        .map(|i| {
            let file = fs.open(&dir.path().join(i.to_string()), OpenFile::CreateMapped).unwrap();
            file.write(0, &[i.to_string().into()]).unwrap();
            file.sync().unwrap();
            file
        })
        .collect::<Vec<_>>();
    for (i, file) in files.iter().enumerate() {
        let text = i.to_string();
        assert_eq!(&file.read(0, text.len()).unwrap()[..], text.as_bytes());
    }
    let open = fs::read_dir("/proc/self/fd").map(|list| {
        let links = list.filter_map(|e| fs::read_link(e.ok()?.path()).ok());
        links.filter(|target| target.starts_with(dir.path())).count()
    });
    if let Ok(open) = open {
        assert!(open <= 2 * MAX_DESCRIPTORS, "{open} descriptors are open");
    }
}

#[test]
fn a_file_with_unsynced_writes_keeps_its_descriptor() {
    let (_dir, path) = scratch();
    let fs = OsFs::new(ReadMode::Auto);
    let handle = OsFile {
        me: Weak::new(),
        path: path.clone(),
        how: OpenFile::Write,
        map: false,
        used: AtomicBool::new(false),
        slot: Mutex::default(),
        descriptors: Arc::clone(&fs.descriptors),
        buffers: Arc::default(),
    };
    drop(fs.open(&path, OpenFile::Write).unwrap());
    handle.write(0, &["x".into()]).unwrap();
    handle.used.store(false, Ordering::Relaxed);
    assert!(!handle.evict());
    handle.sync().unwrap();
    handle.used.store(false, Ordering::Relaxed);
    assert!(handle.evict());
    assert_eq!(&handle.read(0, 1).unwrap()[..], b"x", "opened again by itself");
}

#[test]
fn a_lock_is_exclusive_within_the_process_and_ends_with_its_owner() {
    let (_dir, path) = scratch();
    let fs = OsFs::new(ReadMode::Auto);
    let held = fs.lock(&path).unwrap();
    assert!(held.is_some());
    assert!(fs.lock(&path).unwrap().is_none());
    assert!(OsFs::new(ReadMode::Auto).lock(&path).unwrap().is_none());
    drop(held);
    assert!(fs.lock(&path).unwrap().is_some());
}

#[cfg(unix)]
#[test]
fn symbolic_links_are_not_followed() {
    let (dir, path) = scratch();
    let fs = OsFs::new(ReadMode::Auto);
    fs::write(&path, "secret").unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(fs.open(&link, OpenFile::Write).is_err());
    let kinds = fs.list(dir.path()).unwrap();
    assert!(kinds.iter().any(|e| e.name == "link" && e.kind == EntryKind::Other));
    let linked_dir = dir.path().join("linked-dir");
    std::os::unix::fs::symlink(dir.path(), &linked_dir).unwrap();
    assert_eq!(fs.list(&linked_dir).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    assert_eq!(fs.resolve(&linked_dir).unwrap(), fs.resolve(dir.path()).unwrap());
}

#[test]
fn many_parts_are_written_in_order() {
    let (_dir, path) = scratch();
    let fs = OsFs::new(ReadMode::Auto);
    let file = fs.open(&path, OpenFile::Write).unwrap();
    let parts = (0..2_000).map(|i| Bytes::from(format!("{i},"))).collect::<Vec<_>>();
    file.write(3, &parts).unwrap();
    let all = parts.concat();
    assert_eq!(&file.read(3, all.len()).unwrap()[..], &all[..]);
}

#[test]
fn a_temporary_directory_goes_with_its_last_user() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_owned();
    let fs = Arc::new(OsFs::new(ReadMode::Auto).removing_at_end(dir));
    let again = Arc::clone(&fs);
    fs.open(&root.join("file"), OpenFile::Write).unwrap().write(0, &["x".into()]).unwrap();
    drop(fs);
    assert!(root.join("file").exists());
    drop(again);
    assert!(!root.exists());
}
