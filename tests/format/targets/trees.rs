//! Names, and stores of any files.

use std::path::PathBuf;

use brooklet::sim::Disk;
use brooklet::{Cluster, ErrorKind, NewTopic, Record};
use bytes::Bytes;

use super::split_choice;
use super::store::{close, look, open, store};

/// What the rules for names say, in other words.
pub(crate) fn is_legal(name: &str) -> bool {
    let legal = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    (1..=249).contains(&name.len())
        && name.chars().all(|c| legal.contains(c))
        && ![".", ".."].contains(&name)
}

/// Names that begin like this are kept for the cluster's own topics.
const INTERNAL: &str = "__";

/// H4: a name is refused, or good for creating, writing, opening again and deleting.
pub(crate) fn try_name(name: &str) {
    let disk = Disk::new();
    let cluster = Cluster::builder().open_on(&disk).unwrap();
    let created = cluster.create_topic(NewTopic::new(name));
    if !is_legal(name) || name.starts_with(INTERNAL) {
        assert_eq!(created.unwrap_err().kind(), ErrorKind::InvalidTopic, "{name:?}");
        let unknown = cluster.topic(name).unwrap_err().kind();
        assert_eq!(unknown, ErrorKind::UnknownTopicOrPartition, "{name:?}");
        assert_eq!(cluster.delete_topic(name).unwrap_err().kind(), unknown, "{name:?}");
        cluster.close().unwrap();
        return;
    }
    let topic = created.unwrap();
    cluster
        .producer()
        .build()
        .unwrap()
        .send(Record::to(&topic).value("v"))
        .unwrap()
        .wait()
        .unwrap();
    drop(topic);
    cluster.close().unwrap();
    let directory = format!("/{name}-0/");
    assert!(directories(&disk).iter().all(|path| path.starts_with(&directory)), "{name:?}");
    let cluster = Cluster::builder().open_on(&disk).unwrap();
    let partition = cluster.topic(name).unwrap().partition(0).unwrap();
    assert_eq!(partition.watermarks().unwrap().high.value(), 1, "{name:?}");
    drop(partition);
    cluster.delete_topic(name).unwrap();
    assert_eq!(cluster.topics().unwrap().len(), 0, "{name:?}");
    cluster.close().unwrap();
    assert_eq!(directories(&disk), Vec::<String>::new(), "{name:?} is not gone");
}

/// The files in directories, but for those of the metadata log.
fn directories(disk: &Disk) -> Vec<String> {
    let paths = disk.files().into_iter().map(|(path, _)| path.to_string_lossy().into_owned());
    let in_one = |path: &String| {
        path.matches('/').count() > 1 && !path.starts_with("/__brooklet_metadata-0/")
    };
    paths.filter(in_one).collect()
}

pub(super) fn names(input: &[u8]) {
    try_name(&String::from_utf8_lossy(input));
}

pub(super) fn some_names() -> Vec<Vec<u8>> {
    let names =
        ["a", "..", "a.b-0", "a_b", "-1", "0-0", "a.0123456789abcdef-delete", "a/b", "..-0"];
    names.iter().map(|name| name.as_bytes().to_vec()).collect()
}

/// Names in a store's directory, and in those of partitions: good ones, near misses, and others.
const FILES: [&str; 32] = [
    "brooklet.store",
    "meta.properties",
    ".lock",
    ".kafka_cleanshutdown",
    "recovery-point-offset-checkpoint",
    "log-start-offset-checkpoint",
    "replication-offset-checkpoint",
    "replication-offset-checkpoint.tmp",
    "a-0/00000000000000000000.log",
    "a-0/00000000000000000000.index",
    "a-0/00000000000000000000.timeindex",
    "a-0/00000000000000000003.log",
    "a-0/00000000000000000000.log.deleted",
    "a-0/00000000000000000000.log.tmp",
    "a-0/09223372036854775807.log",
    "a-0/99999999999999999999.log",
    "a-0/partition.metadata",
    "a-0/leader-epoch-checkpoint",
    "a-00/00000000000000000000.log",
    "a-+1/00000000000000000000.log",
    "a-2147483647/00000000000000000000.log",
    "b.c-0/00000000000000000000.log",
    "b_c-1/partition.metadata",
    "-0/partition.metadata",
    "..-0/partition.metadata",
    "a-0.0123456789abcdef0123456789abcdef-delete/00000000000000000000.log",
    "a-0.delete/x",
    "__brooklet_metadata-0/00000000000000000000.log",
    "__brooklet_metadata-0/leader-epoch-checkpoint",
    "__brooklet_metadata-1/00000000000000000000.log",
    "__consumer_offsets-0/00000000000000000000.log",
    "lost+found/x",
];

/// Files that no store has: they are not touched.
const FOREIGN: [&str; 3] = ["/a-00", "/a-0.delete", "/lost+found"];

/// H4, A7, A16: a store of any files opens, or is refused with an error. What is not its own stays as it is.
///
/// Each byte pair of the input is one thing that is done: to which name, and what.
pub(super) fn trees(input: &[u8]) {
    let (choice, rest) = split_choice(input);
    let good = store();
    let disk = if choice & 1 == 0 { store() } else { Disk::new() };
    for pair in rest.chunks_exact(2).take(16) {
        let path = FILES[usize::from(pair[0]) % FILES.len()];
        if pair[1] & 7 == 0 {
            let _missing = disk.remove(path);
            continue;
        }
        let source = FILES[usize::from(pair[1] >> 3)];
        let mut content = good.read(source).unwrap_or_default().to_vec();
        match pair[1] & 7 {
            1 => content.clear(),
            2 => content.truncate(content.len() / 2),
            3 => content.extend_from_slice(rest),
            4 => content = rest.to_vec(),
            5 => content = vec![0; 100],
            6 => {
                let _taken = disk.create_dir(path);
                continue;
            }
            _ => {}
        }
        if let Some((dir, _)) = path.rsplit_once('/')
            && disk.create_dir(dir).is_err()
        {
            continue;
        }
        // A directory may be there by this name.
        let _taken = disk.write(path, &content);
    }
    let before = foreign(&disk);
    for _ in 0..2 {
        let Some(cluster) = open(&disk) else { break };
        look(&cluster);
        close(cluster);
    }
    assert_eq!(foreign(&disk), before, "not the store's");
}

/// The files that are not the store's.
fn foreign(disk: &Disk) -> Vec<(PathBuf, Bytes)> {
    let files = disk.files().into_iter().map(|(path, _)| path);
    let files = files.filter(|path| FOREIGN.iter().any(|dir| path.starts_with(dir)));
    files.map(|path| (path.clone(), disk.read(path).unwrap())).collect()
}

pub(super) fn some_trees() -> Vec<Vec<u8>> {
    let each = (0..32u8).flat_map(|file| (0..8u8).map(move |how| vec![0, file, how | file << 3]));
    each.chain([vec![1], vec![0], vec![1, 0, 7, 27, 0xdf]]).collect()
}
