//! H4: names of topics, and of directories.

use brooklet::sim::Disk;
use brooklet::{Cluster, NewTopic, TopicName};

use crate::alone;
use crate::targets::{is_legal, try_name};

/// Characters that mean something somewhere: to file systems, shells, formats, or to the names of this crate.
const NASTY: [&str; 16] =
    [".", "-", "_", "a", "0", "/", "\\", "\0", " ", "\n", ":", "~", "*", "é", "\u{202e}", "="];

/// Goal: the rule for names holds for every short string, and what it lets through can be used.
#[test]
fn every_short_name_is_refused_or_good_for_everything() {
    let _alone = alone();
    let mut names = vec![String::new()];
    for length in 1..=3 {
        let longer = names.iter().filter(|name| name.chars().count() == length - 1);
        let longer =
            longer.flat_map(|name| NASTY.map(|c| format!("{name}{c}"))).collect::<Vec<_>>();
        names.extend(longer);
    }
    assert_eq!(names.len(), 1 + 16 + 256 + 4096);
    let cluster = Cluster::in_memory().unwrap();
    for name in &names {
        assert_eq!(TopicName::new(name).is_ok(), is_legal(name), "{name:?}");
        if is_legal(name) {
            try_name(name);
        } else {
            cluster.create_topic(NewTopic::new(name)).unwrap_err();
        }
    }
    assert_eq!(cluster.topics().unwrap().len(), 0);
}

/// 249 bytes are legal, and leave room for all that is appended to them.
#[test]
fn long_names_are_refused_or_good_for_everything() {
    let _alone = alone();
    for length in 240..=260 {
        try_name(&"n".repeat(length));
        try_name(&".".repeat(length));
        // By bytes, not characters.
        try_name(&"é".repeat(length / 2));
    }
}

/// Directories that are no partitions of this store are none of its business.
#[test]
fn directories_with_nasty_names_are_left_alone() {
    let _alone = alone();
    let disk = Disk::new();
    let cluster = Cluster::builder().open_on(&disk).unwrap();
    cluster.create_topic(NewTopic::new("a")).unwrap();
    cluster.close().unwrap();
    let names = [
        "a",
        "-",
        "-0",
        "a-",
        "a--0",
        "a--1",
        "a-00",
        "a-+0",
        "a-0x",
        "a-2147483648",
        "a-1",
        ".-0",
        "..-0",
        "a b-0",
        "a-0-delete",
        "a-0.delete",
        "a-0.-delete",
        "é-0",
        "a-0.0123-delete",
        "__brooklet_metadata-1",
    ];
    for name in names {
        disk.create_dir(name).unwrap();
        disk.write(format!("{name}/00000000000000000000.log"), b"foreign").unwrap();
        disk.write(
            format!("{name}/partition.metadata"),
            b"version: 0\ntopic_id: of another, and not of brooklet",
        )
        .unwrap();
    }
    for _ in 0..2 {
        let cluster = Cluster::builder().open_on(&disk).unwrap();
        assert_eq!(cluster.topics().unwrap(), ["a"]);
        cluster.delete_topic("a").unwrap();
        cluster.create_topic(NewTopic::new("a")).unwrap();
        cluster.close().unwrap();
        for name in names {
            let log = disk.read(format!("{name}/00000000000000000000.log")).unwrap();
            assert_eq!(log, &b"foreign"[..], "{name}");
        }
        disk.remove(".kafka_cleanshutdown").unwrap();
    }
}
