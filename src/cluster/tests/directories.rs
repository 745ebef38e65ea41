//! Directories of partitions, and whose they are.

use super::*;

#[test]
fn directories_that_belong_to_nobody_are_left_alone() {
    let disk = store_with_records();
    for name in ["stray-0", "email-7", "notes", "x-delete", "email-0.0123-delete"] {
        let dir = Path::new(ROOT).join(name);
        disk.file_system().create_dir(&dir).unwrap();
        disk.write(dir.join("00000000000000000000.log"), b"not ours").unwrap();
    }
    let leftover = "gone-0.00000000000000000000000000000000-delete";
    let fs = disk.file_system();
    fs.create_dir(&Path::new(ROOT).join(leftover)).unwrap();
    fs.create_dir(&Path::new(ROOT).join("gone-1.00000000000000000000000000000000-delete/x"))
        .unwrap();
    for clean in [true, false] {
        if !clean {
            disk.remove(CLEAN_MARKER).unwrap();
        }
        open(&disk).close().unwrap();
        for name in ["stray-0", "email-7", "notes", "x-delete", "email-0.0123-delete"] {
            assert!(exists(&disk, name), "{name}");
        }
        assert!(!exists(&disk, leftover));
        assert!(exists(&disk, CLEAN_MARKER) || !clean);
    }
}

/// A power cut has taken `partition.metadata`, which no sync had covered: in a directory of either topic.
#[test]
fn a_directory_without_owner_is_not_taken_for_one_of_a_later_topic_of_its_name() {
    let owner = Path::new(ROOT).join("email-0/partition.metadata");
    for (is_second, is_durable, kept) in
        [(false, false, 1), (true, false, 0), (false, true, 2), (true, true, 2)]
    {
        for left in [None, Some(&b""[..]), Some(&[0; 43]), Some(b"version: 0\ntopic_id: 4fQ")] {
            let disk = Disk::new();
            let mut core = open(&disk);
            if is_second {
                let first = create(&core, "email").unwrap();
                core.delete_topic(first.id, &first.name).unwrap();
            }
            append(&core, &create(&core, "email").unwrap()).unwrap();
            if is_durable {
                core.close().unwrap();
                core = open(&disk);
                append(&core, &core.topic("email").unwrap()).unwrap();
            }
            let disk = disk.image(PowerCut::KeepsAll);
            match left {
                None => disk.remove(&owner).unwrap(),
                Some(left) => disk.write(&owner, left).unwrap(),
            }
            let core = open(&disk);
            let email = core.topic("email").unwrap();
            assert_eq!(end(&core, &email).value(), kept, "{is_second} {is_durable} {left:?}");
            assert_eq!(append(&core, &email).unwrap().next.value(), kept + 1);
        }
    }
}

#[test]
fn a_directory_without_owner_goes_if_its_topic_was_deleted() {
    let disk = store_with_records();
    let core = open(&disk);
    let email = core.topic("email").unwrap();
    core.delete_topic(email.id, &email.name).unwrap();
    let disk = disk.image(PowerCut::KeepsAll);
    disk.create_dir("/email-0").unwrap();
    disk.write("/email-0/00000000000000000000.log", b"of the deleted topic").unwrap();
    let core = open(&disk);
    assert!(!exists(&disk, "email-0"));
    append(&core, &create(&core, "email").unwrap()).unwrap();
}
