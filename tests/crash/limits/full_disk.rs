//! A disk that is full, and has room again.

use std::path::Path;
use std::process::Command;

use brooklet::{ErrorKind, NewTopic, Topic};

use super::{check, is_definite, open, policies, summary};
use crate::report::{Report, say};

/// A file system of its own, of so many KiB.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(dir: &'a Path, kib: u32) -> Option<Self> {
        let size = format!("size={kib}k");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir).output();
        mount.is_ok_and(|output| output.status.success()).then_some(Self(dir))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

/// Goal: a full disk costs the record that does not fit, and nothing else; deleting makes room.
#[test]
fn a_full_disk_refuses_records_until_there_is_room() {
    let report = Report::new("T10");
    let mut acknowledged = 0;
    for policy in policies() {
        let dir = tempfile::tempdir().unwrap();
        let Some(mounted) = Mounted::new(dir.path(), 2048) else {
            say("SKIPPED: no file system can be mounted here");
            return;
        };
        let root = dir.path().join("store");
        let cluster = open(&root, policy).unwrap();
        let topic = cluster.create_topic(NewTopic::new("t").partitions(2)).unwrap();
        let ballast = cluster.create_topic(NewTopic::new("ballast")).unwrap();
        let value = "x".repeat(10_000);
        let mut lines = Vec::new();
        let mut send = |topic: &Topic, partition: u32| {
            let producer = cluster.producer().build()?;
            let record = brooklet::Record::to(topic).partition(partition).value(&value);
            let metadata = producer.send(record)?.wait()?;
            if metadata.topic == "t" {
                lines.push(format!("ack {partition} {} {value}", metadata.offset.unwrap()));
            }
            Ok::<(), brooklet::Error>(())
        };
        for _ in 0..50 {
            send(&ballast, 0).unwrap();
        }
        let mut refused = 0;
        for number in 0..400 {
            if let Err(error) = send(&topic, number % 2) {
                assert_eq!(error.kind(), ErrorKind::StorageFull, "{error:?}");
                assert!(is_definite(&error), "{error:?}");
                refused += 1;
            }
        }
        assert!(refused > 200, "only {refused} were refused");
        drop(ballast);
        cluster.delete_topic("ballast").unwrap();
        send(&topic, 0).unwrap();
        send(&topic, 1).unwrap();
        drop(topic);
        cluster.close().unwrap();
        acknowledged += check(&root, &lines);
        drop(mounted);
    }
    summary(report, "full disk", policies().len(), acknowledged, "");
}
