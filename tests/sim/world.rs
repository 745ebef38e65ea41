//! What a scenario did, so that what is found on a disk can be held against it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brooklet::sim::{CallKind, Disk};
use brooklet::{
    Cluster, Consumer, ConsumerGroup, Delivery, Error, FlushPolicy, NewTopic, NextOffset, Offset,
    Outcome, Partition, Producer, Record, Topic, TopicId, TopicPartition,
};

/// Something that happened, from the point of view of the program.
#[derive(Clone, Debug)]
enum Event {
    Creating(String),
    Created(String, TopicId),
    Deleting(TopicId),
    Deleted(TopicId),
    /// The records of a partition below an offset.
    DeletingRecords(TopicId, i32, Offset),
    DeletedRecords(TopicId, i32, Offset),
    Sending(TopicId, String),
    /// It is definitely not in the log.
    Refused(TopicId, String),
    Acknowledged(TopicId, i32, Offset, String),
    /// Where a group is to go on.
    Committing(Place, Offset),
    Committed(Place, Offset),
    /// Everything acknowledged so far is on disk, whatever the policy.
    Synced,
}

/// A partition that a group reads.
type Place = (String, TopicPartition);

/// Values by their offsets.
type Values = BTreeMap<i64, String>;

/// A disk for each broker, the clusters on them, and what they were asked and said.
pub(crate) struct World {
    pub(crate) disks: Vec<Disk>,
    pub(crate) policy: FlushPolicy,
    /// With the number of changes to each disk before it.
    events: Mutex<Vec<(Vec<usize>, Event)>>,
    /// What the logs of a topic held when they were last looked at, and what was deleted from their beginnings.
    finals: Mutex<BTreeMap<(TopicId, i32), Values>>,
}

impl World {
    pub(crate) fn new(policy: FlushPolicy) -> Arc<Self> {
        Self::of_brokers(1, policy)
    }

    /// Of clusters of so many brokers.
    pub(crate) fn of_brokers(count: usize, policy: FlushPolicy) -> Arc<Self> {
        let disks = (0..count).map(|_| Disk::new()).collect();
        let (events, finals) = Default::default();
        Arc::new(Self { disks, policy, events, finals })
    }

    /// The first broker's disk.
    pub(crate) fn disk(&self) -> &Disk {
        &self.disks[0]
    }

    /// Number of changes to each disk so far.
    pub(crate) fn recorded(&self) -> Vec<usize> {
        self.disks.iter().map(Disk::recorded).collect()
    }

    fn note(&self, event: Event) {
        let at = self.recorded();
        self.events.lock().unwrap().push((at, event));
    }

    pub(crate) fn open(&self) -> Result<Cluster, Error> {
        open(&self.disks, self.policy)
    }

    pub(crate) fn create(
        &self,
        cluster: &Cluster,
        topic: NewTopic,
        name: &str,
    ) -> Result<Topic, Error> {
        self.note(Event::Creating(name.to_owned()));
        let topic = cluster.create_topic(topic)?;
        self.note(Event::Created(name.to_owned(), topic.describe()?.id));
        Ok(topic)
    }

    /// Deletes a topic, after a last look at it.
    pub(crate) fn delete(&self, cluster: &Cluster, topic: &Topic) -> Result<(), Error> {
        let id = topic.describe()?.id;
        self.look(topic)?;
        self.note(Event::Deleting(id));
        cluster.delete_topic(topic.name().as_str())?;
        self.note(Event::Deleted(id));
        Ok(())
    }

    /// Deletes the records of a partition below an offset, after a last look at them.
    pub(crate) fn delete_records(&self, topic: &Topic, before: Offset) -> Result<(), Error> {
        let (id, partition) = (topic.describe()?.id, topic.partition(0)?);
        self.look(topic)?;
        self.note(Event::DeletingRecords(id, 0, before));
        assert_eq!(partition.delete_records(before)?, before);
        self.note(Event::DeletedRecords(id, 0, before));
        Ok(())
    }

    pub(crate) fn send(
        &self,
        producer: &Producer,
        topic: &Topic,
        partition: u32,
        value: &str,
    ) -> Result<Sent, Error> {
        let id = topic.describe()?.id;
        let doomed = self.is_doomed(&format!("{topic}-{partition}"));
        self.note(Event::Sending(id, value.to_owned()));
        let sent = producer.send(Record::to(topic).partition(partition).value(value));
        let delivery = sent.inspect_err(|_| self.note(Event::Refused(id, value.to_owned())))?;
        Ok(Sent { id, value: value.to_owned(), delivery, doomed })
    }

    /// Waits for a record's acknowledgement.
    pub(crate) fn wait(&self, sent: Sent) -> Result<(), Error> {
        let Sent { id, value, delivery, doomed } = sent;
        match delivery.wait() {
            Ok(metadata) => {
                assert!(!doomed, "{metadata}: {value} is acknowledged after a failed sync");
                if let Some(offset) = metadata.offset {
                    let partition = metadata.partition.value();
                    self.note(Event::Acknowledged(id, partition, offset, value));
                }
                Ok(())
            }
            Err(error) => {
                if error.outcome() == Outcome::NotWritten {
                    self.note(Event::Refused(id, value));
                }
                Err(error)
            }
        }
    }

    /// Commits what polls have returned.
    pub(crate) fn commit(&self, consumer: &mut Consumer) -> Result<(), Error> {
        let group = consumer.group_metadata()?.group_id;
        let positions = consumer.positions().into_iter();
        let places = positions.map(|(at, offset)| ((group.clone(), at), offset));
        let places = places.collect::<Vec<_>>();
        let doomed = self.is_doomed("__consumer_offsets-0");
        for (place, offset) in &places {
            self.note(Event::Committing(place.clone(), *offset));
        }
        consumer.commit()?.wait()?;
        assert!(!doomed, "{places:?} is committed after a failed sync");
        for (place, offset) in places {
            self.note(Event::Committed(place, offset));
        }
        Ok(())
    }

    pub(crate) fn sync(&self, cluster: &Cluster) -> Result<(), Error> {
        cluster.sync()?;
        self.note(Event::Synced);
        Ok(())
    }

    /// Remembers what a topic's logs hold: nothing else will ever be at these offsets.
    pub(crate) fn look(&self, topic: &Topic) -> Result<(), Error> {
        let id = topic.describe()?.id;
        for partition in topic.partitions() {
            let place = (id, partition.id().value());
            self.finals.lock().unwrap().entry(place).or_default().extend(read(&partition)?);
        }
        Ok(())
    }

    /// Whether a sync of this partition's log has failed: from then on nothing may be acknowledged (R4).
    fn is_doomed(&self, partition: &str) -> bool {
        let directory = format!("/{partition}/");
        let is_of_log = |(kind, path): &(CallKind, PathBuf)| {
            let path = path.to_string_lossy();
            *kind == CallKind::Sync && path.starts_with(&directory) && path.ends_with(".log")
        };
        self.policy == FlushPolicy::OnAck && self.disk().failures().iter().any(is_of_log)
    }

    /// What had happened after so many changes to each disk.
    pub(crate) fn known(&self, changes: &[usize]) -> Known {
        let events = self.events.lock().unwrap();
        let finals = self.finals.lock().unwrap().clone();
        let mut known = Known { finals, ..Known::default() };
        let mut unsynced = Vec::new();
        let is_before = |at: &[usize]| at.iter().zip(changes).all(|(at, changes)| at <= changes);
        for (_, event) in events.iter().filter(|(at, _)| is_before(at)) {
            match event.clone() {
                Event::Creating(name) => _ = known.creating.insert(name),
                Event::Created(name, id) => _ = known.topics.insert(id, name),
                Event::Deleting(id) => _ = known.topics.remove(&id),
                Event::Deleted(id) => _ = known.deleted.insert(id),
                Event::DeletingRecords(id, partition, before) => {
                    known.starts.entry((id, partition)).or_default().1 = before;
                }
                Event::DeletedRecords(id, partition, before) => {
                    known.starts.entry((id, partition)).or_default().0 = before;
                }
                Event::Sending(id, value) => _ = known.sent.insert((id, value)),
                Event::Refused(id, value) => _ = known.refused.insert((id, value)),
                Event::Acknowledged(id, partition, offset, value) => {
                    known.acknowledged += 1;
                    if self.policy == FlushPolicy::OnAck {
                        known.durable.insert((id, partition, offset), value);
                    } else {
                        unsynced.push(((id, partition, offset), value));
                    }
                }
                Event::Committing(place, offset) => _ = known.committing.insert((place, offset)),
                Event::Committed(place, offset) => {
                    known.acknowledged += 1;
                    if self.policy == FlushPolicy::OnAck {
                        known.committed.insert(place, offset);
                    }
                }
                Event::Synced => known.durable.extend(unsynced.drain(..)),
            }
        }
        known
    }
}

/// Opens a cluster with a broker on each disk.
pub(crate) fn open(disks: &[Disk], policy: FlushPolicy) -> Result<Cluster, Error> {
    let builder = Cluster::builder().flush_policy(policy).config("offsets.topic.num.partitions", 1);
    match disks {
        [alone] => builder.open_on(alone),
        several => {
            let numbered = (1..).zip(several);
            numbered.fold(builder, |builder, (id, disk)| builder.broker_on(id, disk)).open()
        }
    }
}

/// A record on its way.
pub(crate) struct Sent {
    id: TopicId,
    value: String,
    delivery: Delivery,
    doomed: bool,
}

/// What a program could know at some moment.
#[derive(Default)]
pub(crate) struct Known {
    creating: BTreeSet<String>,
    topics: BTreeMap<TopicId, String>,
    deleted: BTreeSet<TopicId>,
    sent: BTreeSet<(TopicId, String)>,
    refused: BTreeSet<(TopicId, String)>,
    durable: BTreeMap<(TopicId, i32, Offset), String>,
    /// Where logs begin at least, and at most.
    starts: BTreeMap<(TopicId, i32), (Offset, Offset)>,
    finals: BTreeMap<(TopicId, i32), Values>,
    committing: BTreeSet<(Place, Offset)>,
    /// What groups have committed for good, unless it is more by now.
    committed: BTreeMap<Place, Offset>,
    pub(crate) acknowledged: u64,
}

impl Known {
    /// Holds what a cluster has against what is known. Returns how many records were looked at.
    ///
    /// # Panics
    /// If the cluster breaks a promise.
    pub(crate) fn check(&self, cluster: &Cluster) -> u64 {
        for (id, name) in &self.topics {
            let topic = cluster.topic(name).unwrap_or_else(|e| panic!("topic {name} is lost: {e}"));
            assert_eq!(topic.describe().unwrap().id, *id, "topic {name} is another");
        }
        let mut checked = self.check_groups(cluster);
        for topic in topics(cluster) {
            let (name, id) = (topic.name(), topic.describe().unwrap().id);
            assert!(self.creating.contains(name.as_str()), "topic {name} was never created");
            assert!(!self.deleted.contains(&id), "topic {name} is back from the dead");
            for partition in topic.partitions() {
                checked += self.check_partition(id, &partition);
            }
        }
        checked
    }

    /// What is committed was to be, all that was acknowledged is, and members are none: theirs was another process.
    fn check_groups(&self, cluster: &Cluster) -> u64 {
        let mut found = BTreeMap::new();
        for group in groups(cluster) {
            let members = group.members().unwrap();
            assert!(members.is_empty(), "{} has ghosts: {members:?}", group.id());
            for (at, next) in group.committed_offsets().unwrap() {
                let committed = ((group.id().to_owned(), at), next.offset());
                assert!(self.committing.contains(&committed), "{committed:?} was never committed");
                found.extend([committed]);
            }
        }
        for (place, offset) in &self.committed {
            assert!(found.get(place) >= Some(offset), "{place:?}: {offset} is lost: {found:?}");
        }
        found.len() as u64
    }

    fn check_partition(&self, id: TopicId, partition: &Partition) -> u64 {
        let number = partition.id().value();
        let values =
            read(partition).unwrap_or_else(|e| panic!("{partition} cannot be read: {e:?}"));
        let low = partition.watermarks().unwrap().low;
        let (deleted, deleting) = self.starts.get(&(id, number)).copied().unwrap_or_default();
        assert!((deleted..=deleting).contains(&low), "{partition} begins at {low}");
        let mut seen = BTreeSet::new();
        for (offset, value) in &values {
            let sent = (id, value.clone());
            assert!(self.sent.contains(&sent), "{partition}@{offset}: {value} was never sent");
            assert!(!self.refused.contains(&sent), "{partition}@{offset}: {value} was refused");
            assert!(seen.insert(value), "{partition}@{offset}: {value} is there twice");
        }
        if let Some(all) = self.finals.get(&(id, number)) {
            for (offset, value) in &values {
                let known = all.get(offset).unwrap_or(value);
                assert_eq!(value, known, "{partition}@{offset} is not what was written");
            }
        }
        let durable = (id, number, low)..=(id, number, Offset::MAX);
        for ((_, _, offset), value) in self.durable.range(durable) {
            let found = values.get(&offset.value());
            assert_eq!(found, Some(value), "{partition}@{offset} was acknowledged: {values:?}");
        }
        values.len() as u64
    }
}

/// All that are not the cluster's own.
pub(crate) fn topics(cluster: &Cluster) -> impl Iterator<Item = Topic> {
    let names = cluster.topics().unwrap().into_iter().filter(|name| !name.is_internal());
    names.map(|name| cluster.topic(name.as_str()).unwrap())
}

fn groups(cluster: &Cluster) -> impl Iterator<Item = ConsumerGroup> {
    let listed = cluster.consumer_groups().unwrap().into_iter();
    listed.map(|listing| cluster.consumer_group(&listing.id))
}

/// Writes to every partition, reads on in every group, closes, opens again: a store that was left in any state is a good
/// one by now.
pub(crate) fn use_again(cluster: Cluster, open: impl Fn() -> Cluster) -> u64 {
    let mut expected = BTreeMap::new();
    let producer = cluster.producer().build().unwrap();
    for topic in topics(&cluster) {
        for partition in topic.partitions() {
            let before = read(&partition).unwrap();
            let record = Record::to(&topic).partition(partition.id().value() as u32);
            let metadata = producer.send(record.value("later")).unwrap().wait().unwrap();
            let marks = partition.watermarks().unwrap();
            let offset = metadata.offset.unwrap().value();
            assert_eq!(offset, marks.low.value() + before.len() as i64, "{partition}");
            let mut after = before;
            after.insert(offset, "later".to_owned());
            assert_eq!(read(&partition).unwrap(), after, "{partition}");
            expected.insert((topic.name().clone(), partition.id().value()), after);
        }
    }
    drop(producer);
    let groups = groups(&cluster).map(|group| (group.id().to_owned(), read_on(&cluster, &group)));
    let groups = groups.collect::<Vec<_>>();
    cluster.close().unwrap();
    let cluster = open();
    let mut checked = 0;
    for ((name, partition), values) in expected {
        let topic = cluster.topic(name.as_str()).unwrap();
        let found = read(&topic.partition(partition as u32).unwrap()).unwrap();
        assert_eq!(found, values, "{name}-{partition} after it was closed and opened again");
        checked += values.len() as u64;
    }
    for (group, committed) in groups {
        let found = cluster.consumer_group(&group).committed_offsets().unwrap();
        assert_eq!(found, committed, "{group} after it was closed and opened again");
    }
    cluster.close().unwrap();
    checked
}

/// Has a new member read on, which is given everything, to the end of all partitions. Returns what is committed then.
fn read_on(cluster: &Cluster, group: &ConsumerGroup) -> BTreeMap<TopicPartition, NextOffset> {
    let before = group.committed_offsets().unwrap();
    let names = topics(cluster).map(|topic| topic.name().to_string()).collect::<Vec<_>>();
    let mut next = BTreeMap::new();
    let mut ends = BTreeMap::new();
    for partition in topics(cluster).flat_map(|topic| topic.partitions()) {
        let (at, marks) = (partition.topic_partition(), partition.watermarks().unwrap());
        next.insert(at.clone(), before.get(at).map_or(marks.low, NextOffset::offset));
        ends.insert(at.clone(), marks.high);
    }
    if next.is_empty() {
        return before;
    }
    let mut member = group.join(names).unwrap();
    assert_eq!(member.positions(), next, "{} goes on elsewhere", group.id());
    while next != ends {
        let records = member.poll(Duration::from_secs(10)).unwrap();
        assert!(!records.is_empty(), "{} has come to {next:?} of {ends:?}", group.id());
        for record in &records {
            let next = next.get_mut(record.topic_partition()).unwrap();
            assert_eq!(record.offset(), *next, "{}", record.topic_partition());
            *next = next.next();
        }
    }
    member.commit().unwrap().wait().unwrap();
    let committed = group.committed_offsets().unwrap();
    let offsets = committed.iter().map(|(at, next)| (at.clone(), next.offset()));
    assert_eq!(offsets.collect::<BTreeMap<_, _>>(), ends, "{}", group.id());
    committed
}

/// All values, which must be at offsets without gaps, from the log start on.
fn read(partition: &Partition) -> Result<Values, Error> {
    let marks = partition.watermarks()?;
    let mut values = Values::new();
    let mut next = marks.low.value();
    loop {
        let records = partition.read(Offset::new(next).unwrap(), 1 << 20)?;
        if records.is_empty() {
            assert_eq!(next, marks.high.value(), "{partition}");
            return Ok(values);
        }
        for record in &records {
            assert_eq!(record.offset().value(), next, "{partition}");
            let value = record.value().unwrap_or_default();
            // Long ones are their beginning, repeated.
            let text = String::from_utf8(value.to_vec()).unwrap();
            values.insert(next, text);
            next += 1;
        }
    }
}
