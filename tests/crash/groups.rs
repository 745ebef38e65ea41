//! Groups whose members are killed, with their coordinator, in the middle of everything.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use brooklet::{Cluster, ConsumerGroup, Delivery, GroupState, Record, Topic};

use crate::report::{Report, full, seeds};
use crate::{PARTITIONS, kill_a_child, open, role};

const GROUP: &str = "mailer";

/// By partition, the offset that was committed last.
type Committed = BTreeMap<i32, i64>;

/// The child: writes for ever, and reads that as a group whose members come and go. A commit that was acknowledged is
/// reported as `committed <partition> <offset>`.
fn consume_for_ever(dir: &Path, round: u64) {
    let (cluster, topic) = open(dir, round);
    let group = cluster.consumer_group(GROUP);
    std::thread::scope(|scope| {
        scope.spawn(|| write(&cluster, &topic));
        for number in 0..3 {
            let (group, mut rng) = (&group, fastrand::Rng::with_seed(round * 3 + number));
            scope.spawn(move || {
                loop {
                    be_a_member(group, &mut rng);
                }
            });
        }
    });
}

fn write(cluster: &Cluster, topic: &Topic) {
    let producer = cluster.producer().build().unwrap();
    loop {
        let sent = (0..30 * PARTITIONS).map(|number| {
            let record = Record::to(topic).partition(number % PARTITIONS).value("welcome");
            producer.send(record).unwrap()
        });
        sent.collect::<Vec<_>>()
            .into_iter()
            .map(Delivery::wait)
            .for_each(|sent| drop(sent.unwrap()));
    }
}

fn be_a_member(group: &ConsumerGroup, rng: &mut fastrand::Rng) {
    let mut consumer = group.consumer().max_poll_records(10).join("t").unwrap();
    for _ in 0..rng.u32(10..60) {
        if consumer.poll(Duration::from_millis(5)).unwrap().is_empty() {
            continue;
        }
        let positions = consumer.positions();
        let commit = consumer.commit().unwrap();
        if rng.bool() {
            // Nobody is told what comes of it.
            continue;
        }
        commit.wait().unwrap();
        for (at, next) in positions {
            let line = format!("committed {} {next}\n", at.partition);
            std::io::stdout().write_all(line.as_bytes()).unwrap();
        }
    }
}

/// Holds what is left of the group against what was acknowledged, and has a new member read on. Returns how many records
/// that has read.
fn check(dir: &Path, round: u64, told: &mut Committed) -> u64 {
    let (cluster, topic) = open(dir, round);
    let group = cluster.consumer_group(GROUP);
    let described = group.describe().unwrap();
    let is_left = matches!(described.state, GroupState::Empty | GroupState::Dead);
    assert!(is_left && described.members.is_empty(), "ghosts in round {round}: {described:?}");
    let found = group.committed_offsets().unwrap();
    let (mut next, mut ends) = (BTreeMap::new(), BTreeMap::new());
    for partition in topic.partitions() {
        let at = partition.topic_partition().clone();
        let committed = found.get(&at).map_or(0, |next| next.offset().value());
        let told = told.get(&at.partition.value()).copied().unwrap_or_default();
        let end = partition.watermarks().unwrap().high.value();
        assert!(
            (told..=end).contains(&committed),
            "{at}, round {round}: {told} was acknowledged, {committed} found, of {end}"
        );
        next.insert(at.clone(), committed);
        ends.insert(at, end);
    }
    let mut member = group.join("t").unwrap();
    assert_eq!(member.assignment().len(), PARTITIONS as usize, "round {round}");
    let mut count = 0;
    while next != ends {
        let records = member.poll(Duration::from_secs(10)).unwrap();
        assert!(!records.is_empty(), "round {round}: at {next:?} of {ends:?}");
        for record in &records {
            let next = next.get_mut(record.topic_partition()).unwrap();
            assert_eq!(record.offset().value(), *next, "round {round}");
            *next += 1;
            count += 1;
        }
    }
    member.commit().unwrap().wait().unwrap();
    told.extend(ends.into_iter().map(|(at, end)| (at.partition.value(), end)));
    drop(member);
    cluster.close().unwrap();
    count
}

/// T5, G1 and G6. Goal: what a group was told is committed survives the death of the process, under every flush policy; its
/// members do not, and a new one gets everything and misses nothing. Method: kill a process at a random moment in which
/// members come, go and commit, again and again on the same directory; look every other time.
#[test]
fn committed_offsets_survive_kill_9() {
    if let Some(role) = role() {
        let (round, dir) = role.split_once(' ').unwrap();
        consume_for_ever(Path::new(dir), round.parse().unwrap());
    }
    let (dir, mut report) = (tempfile::tempdir().unwrap(), Report::new("T5"));
    let mut told = Committed::new();
    let rounds = seeds(if full() { 1_000 } else { 16 });
    for round in rounds.clone() {
        let mut rng = fastrand::Rng::with_seed(round);
        let test = "groups::committed_offsets_survive_kill_9";
        for line in kill_a_child(test, dir.path(), round, &mut rng) {
            let fields = line.split(' ').collect::<Vec<_>>();
            // The last number may be cut off, but then it is smaller than what was acknowledged.
            let ["committed", partition, offset] = fields[..] else { continue };
            let Ok(offset) = offset.parse::<i64>() else { continue };
            let highest = told.entry(partition.parse().unwrap()).or_default();
            *highest = offset.max(*highest);
            report.acked += 1;
        }
        if round % 2 == 1 || round + 1 == rounds.end {
            report.records_checked += check(dir.path(), round, &mut told);
        }
    }
    assert!(report.acked > 0);
    report.seeds = rounds.end - rounds.start;
    (report.states, report.faults) = (report.seeds, report.seeds);
    report.ops = report.acked;
    report.say("of=groups");
}
