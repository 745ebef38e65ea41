//! Programs that create, send, read, close, lose power and delete, while files are damaged in between; held against a
//! model.

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::{Arbitrary, Unstructured};
use brooklet::sim::{Disk, PowerCut};
use brooklet::{Cluster, Error, ErrorKind, NewTopic, Partition, Record};

use super::store::{assert_typed, open};

const NAMES: [&str; 3] = ["t", "t.u", "v-0"];
const PARTITIONS: u32 = 2;
const MAX_STEPS: usize = 40;

/// What a program does next.
#[derive(Debug)]
enum Step {
    Create(usize),
    Delete(usize),
    Send { name: usize, partition: u32, records: u32, size: usize },
    Read,
    Close,
    CutPower(PowerCut),
    Damage(Damage),
}

/// What happens to a file while the store is closed.
#[derive(Debug)]
struct Damage {
    /// Of those that there are.
    file: usize,
    position: u64,
    how: How,
}

#[derive(Debug)]
enum How {
    Overwrite([u8; 4]),
    Cut,
    Remove,
    Extend([u8; 4]),
}

impl<'a> Arbitrary<'a> for Step {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(match u.int_in_range(0..=15u8)? {
            0..=1 => Self::Create(u.choose_index(NAMES.len())?),
            2 => Self::Delete(u.choose_index(NAMES.len())?),
            3..=8 => Self::Send {
                name: u.choose_index(NAMES.len())?,
                partition: u.int_in_range(0..=PARTITIONS - 1)?,
                records: u.int_in_range(1..=3)?,
                size: u.int_in_range(0..=200)?,
            },
            9 => Self::Read,
            10 => Self::Close,
            11 => Self::CutPower(match u.int_in_range(0..=2u8)? {
                0 => PowerCut::LosesAll,
                1 => PowerCut::KeepsAll,
                _ => PowerCut::Mixes(u.arbitrary()?),
            }),
            _ => Self::Damage(Damage {
                file: u.arbitrary::<u8>()?.into(),
                position: u.arbitrary::<u16>()?.into(),
                how: match u.int_in_range(0..=3u8)? {
                    0 => How::Overwrite(u.arbitrary()?),
                    1 => How::Cut,
                    2 => How::Remove,
                    _ => How::Extend(u.arbitrary()?),
                },
            }),
        })
    }
}

pub(super) fn programs(input: &[u8]) {
    let mut u = Unstructured::new(input);
    let mut world = World {
        disk: Disk::new(),
        topics: BTreeMap::new(),
        shaky: false,
        sent: 0,
        steps: Vec::new(),
    };
    let Some(mut cluster) = world.open() else { return };
    for _ in 0..MAX_STEPS {
        if u.is_empty() {
            break;
        }
        let Ok(step) = u.arbitrary::<Step>() else { break };
        world.steps.push(format!("{step:?}"));
        match step {
            Step::Create(name) => world.create(&cluster, NAMES[name]),
            Step::Delete(name) => world.delete(&cluster, NAMES[name]),
            Step::Send { name, partition, records, size } => {
                world.send(&cluster, NAMES[name], partition, records, size);
            }
            Step::Read => world.check(&cluster),
            Step::Close | Step::CutPower(_) | Step::Damage(_) => {
                match step {
                    Step::CutPower(cut) => world.disk.cut_power(cut),
                    _ => world.close(cluster.clone()),
                }
                drop(cluster);
                if let Step::Damage(damage) = step {
                    world.damage(&damage);
                }
                let Some(opened) = world.open() else { return };
                cluster = opened;
            }
        }
    }
    world.check(&cluster);
    world.close(cluster);
}

/// What should be there.
struct World {
    disk: Disk,
    topics: BTreeMap<&'static str, [Log; PARTITIONS as usize]>,
    /// Something was damaged that no file makes good.
    shaky: bool,
    sent: u32,
    steps: Vec<String>,
}

/// Says what was done, if it went wrong.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("after {:#?}", self.steps);
        }
    }
}

#[derive(Default)]
struct Log {
    values: Vec<Vec<u8>>,
    /// All that were ever sent there, acknowledged or not.
    sent: BTreeSet<Vec<u8>>,
    /// Its files were damaged: some records may be errors, or, above the recovery point, gone.
    damaged: bool,
    /// It may hold what was sent to an earlier topic of the name.
    reborn: bool,
}

impl Log {
    fn send(
        &mut self,
        cluster: &Cluster,
        name: &str,
        to: u32,
        value: Vec<u8>,
    ) -> Result<(), Error> {
        let topic = cluster.topic(name)?;
        self.sent.insert(value.clone());
        let record = Record::to(&topic).partition(to).value(&value);
        let metadata = cluster.producer().build()?.send(record)?.wait()?;
        let offset = usize::try_from(metadata.offset.unwrap().value()).unwrap();
        assert!(self.damaged || offset == self.values.len(), "{metadata}");
        self.values.push(value);
        Ok(())
    }
}

impl World {
    fn open(&self) -> Option<Cluster> {
        let opened = open(&self.disk);
        assert!(opened.is_some() || self.shaky, "a store that nobody damaged opens");
        opened
    }

    fn close(&self, cluster: Cluster) {
        match cluster.close() {
            Err(error) if self.is_damaged() => assert_typed(&error),
            closed => closed.unwrap(),
        }
    }

    fn is_damaged(&self) -> bool {
        self.shaky || self.topics.values().flatten().any(|log| log.damaged)
    }

    fn create(&mut self, cluster: &Cluster, name: &'static str) {
        let topic = NewTopic::new(name).partitions(PARTITIONS);
        let topic = topic.config("segment.bytes", 500).config("index.interval.bytes", 60);
        match cluster.create_topic(topic) {
            Ok(_) => {
                let mut logs = <[Log; PARTITIONS as usize]>::default();
                // The metadata may have forgotten an earlier life of it, and what is left of that who it belongs to.
                for log in &mut logs {
                    (log.damaged, log.reborn) = (self.shaky, self.shaky);
                }
                let before = self.topics.insert(name, logs);
                assert!(before.is_none() || self.shaky, "{name} was created twice");
            }
            Err(error) if error.kind() == ErrorKind::TopicAlreadyExists => {
                assert!(self.topics.contains_key(name) || self.shaky, "{name} does not exist");
            }
            Err(error) => self.forgive(&error),
        }
    }

    fn delete(&mut self, cluster: &Cluster, name: &'static str) {
        match cluster.delete_topic(name) {
            Ok(()) => _ = self.topics.remove(name),
            Err(error) if error.kind() == ErrorKind::UnknownTopicOrPartition => {
                assert!(!self.topics.contains_key(name) || self.shaky, "{name} is lost");
            }
            Err(error) => self.forgive(&error),
        }
    }

    fn send(&mut self, cluster: &Cluster, name: &'static str, to: u32, count: u32, size: usize) {
        let Some(logs) = self.topics.get_mut(name) else { return };
        let log = &mut logs[to as usize];
        for _ in 0..count {
            self.sent += 1;
            let mut value = self.sent.to_be_bytes().to_vec();
            value.resize(4 + size, b'.');
            if let Err(error) = log.send(cluster, name, to, value) {
                assert!(log.damaged || self.shaky, "{error:?}");
                log.damaged = true;
            }
        }
    }

    fn check(&self, cluster: &Cluster) {
        for (name, logs) in &self.topics {
            let topic = match cluster.topic(name) {
                Ok(topic) => topic,
                Err(error) => {
                    self.forgive_missing(&error);
                    continue;
                }
            };
            for (partition, log) in topic.partitions().iter().zip(logs) {
                match read(partition, log) {
                    Ok(values) if !log.damaged => {
                        assert_eq!(values, log.values, "{partition}");
                    }
                    Ok(_) => {}
                    Err(error) => {
                        assert!(log.damaged || self.shaky, "{partition}: {error:?}");
                        assert_typed(&error);
                    }
                }
            }
        }
    }

    fn damage(&mut self, damage: &Damage) {
        let files = self.disk.files();
        let (path, length) = &files[damage.file % files.len()];
        let position = damage.position % (length + 1);
        match damage.how {
            How::Remove => self.disk.remove(path).unwrap(),
            How::Overwrite(bytes) => self.disk.damage(path, position, &bytes).unwrap(),
            How::Extend(bytes) => self.disk.damage(path, *length, &bytes).unwrap(),
            How::Cut => {
                let content = self.disk.read(path).unwrap();
                let position = usize::try_from(position).unwrap();
                self.disk.write(path, &content[..position]).unwrap();
            }
        }
        let path = path.to_string_lossy();
        let (dir, name) = path[1..].rsplit_once('/').unwrap_or(("", &path[1..]));
        let is_derived = name.ends_with("index")
            || name.ends_with("leader-epoch-checkpoint")
            || ["meta.properties", ".lock", ".kafka_cleanshutdown", "brooklet.store"]
                .contains(&name)
            || ["replication-offset-checkpoint", "log-start-offset-checkpoint"].contains(&name);
        if is_derived {
            // Each of the two that tell whose the store is stands in for the other, once.
            self.shaky |= ["brooklet.store", "meta.properties"].contains(&name);
            return;
        }
        match dir.rsplit_once('-').and_then(|(topic, partition)| self.log(topic, partition)) {
            Some(log) => log.damaged = true,
            // The metadata, or what says how much of each log is durable.
            None => {
                self.shaky = true;
                self.topics.values_mut().flatten().for_each(|log| log.damaged = true);
            }
        }
    }

    fn log(&mut self, topic: &str, partition: &str) -> Option<&mut Log> {
        self.topics.get_mut(topic)?.get_mut(partition.parse::<usize>().ok()?)
    }

    fn forgive(&self, error: &Error) {
        assert!(self.is_damaged(), "{error:?}");
        assert_typed(error);
    }

    fn forgive_missing(&self, error: &Error) {
        assert!(self.shaky, "{error:?}");
    }
}

/// All values, none of which was never sent.
fn read(partition: &Partition, log: &Log) -> Result<Vec<Vec<u8>>, Error> {
    let marks = partition.watermarks()?;
    let (mut values, mut next) = (Vec::new(), marks.low);
    while next < marks.high {
        let records = partition.read(next, 1000)?;
        if records.is_empty() {
            break;
        }
        for record in &records {
            assert!(record.offset() >= next, "{partition}: offsets rise");
            next = record.offset().checked_add(1).unwrap();
            let value = record.value().unwrap_or_default().to_vec();
            assert!(
                log.sent.contains(&value) || log.reborn,
                "{partition}@{}: never sent",
                record.offset()
            );
            values.push(value);
        }
    }
    Ok(values)
}

/// Bytes that happen to be long programs.
pub(super) fn some_programs() -> Vec<Vec<u8>> {
    let mut rng = fastrand::Rng::with_seed(7);
    (0..40)
        .map(|_| {
            let mut bytes = vec![0; rng.usize(100..400)];
            rng.fill(&mut bytes);
            // Something to damage first.
            bytes[..12].copy_from_slice(&[0, 0, 3, 0, 0, 2, 60, 3, 0, 1, 1, 30]);
            bytes
        })
        .collect()
}
