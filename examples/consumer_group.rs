//! Three members of a group share the partitions of a topic and count the flights of each carrier. One of them dies in the
//! middle of its work, another one comes: what becomes of the partitions, and of the count?
//!
//! ```text
//! cargo run --release --example consumer_group
//! ```
//!
//! A member commits what it has counted. If it dies between the two, the next owner of its partitions gets some records
//! once more: *at least once*. The place of a record tells them apart, and the count comes out right.

#![allow(clippy::disallowed_methods, reason = "files are real here, not simulated")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use brooklet::{Cluster, Consumer, ConsumerGroup, NewTopic, Offset, Record, TopicPartition};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/flights-sample.csv");
const PARTITIONS: usize = 6;
/// Flights that a member counts before it commits.
const LOT: usize = 200;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let csv = fs::read_to_string(SAMPLE)?;
    let flights = csv.lines().skip(1).collect::<Vec<_>>();
    let cluster = Cluster::temp()?;
    send(&cluster, &flights)?;
    let group = cluster.consumer_group("counters");
    let (mut out, mut count) = (io::stdout().lock(), Count::default());

    let mut members = Vec::new();
    for name in ["ann", "bob", "cid"] {
        members.push(Member::start(&group, name)?);
        rebalance(&mut out, &group, &members, &format!("{name} has joined"))?;
    }
    count.add(work(&members, 2)?);
    show_lag(&mut out, &group, "Each of them has counted two lots, and committed them")?;

    let bob = members.remove(1);
    count.add(bob.ask(Command::Die)?.lot);
    // What a group does by itself with a member that does not poll, after `max.poll.interval.ms`.
    group.remove_member(&bob.id)?;
    rebalance(
        &mut out,
        &group,
        &members,
        "bob has counted a lot more, and died before committing it",
    )?;
    members.push(Member::start(&group, "dan")?);
    rebalance(&mut out, &group, &members, "dan has joined")?;
    count.add(work(&members, 3)?);
    show_lag(&mut out, &group, "Three lots later")?;

    while group.lag()?.total().records > 0 {
        count.add(work(&members, 1)?);
    }
    show_lag(&mut out, &group, "In the end")?;
    count.check(&mut out, &flights)?;
    drop(members);
    Ok(cluster.close()?)
}

fn send(cluster: &Cluster, flights: &[&str]) -> Outcome<()> {
    let topic = NewTopic::new("flights").partitions(u32::try_from(PARTITIONS)?);
    let topic = cluster.create_topic(topic)?;
    let producer = cluster.producer().build()?;
    for some in flights.chunks(PARTITIONS * 50) {
        for (line, partition) in some.iter().zip((0..PARTITIONS).cycle()) {
            let record = Record::to(&topic).partition(u32::try_from(partition)?).value(line);
            producer.send(record)?;
        }
        // Batches of 50: lag counts bytes by the batch.
        producer.flush()?;
    }
    Ok(())
}

/// The column of a flight that says who flies.
fn carrier(line: &str) -> &str {
    line.split(',').nth(9).unwrap_or("?")
}

/// A thread that is a member of the group, and does what it is asked to.
struct Member {
    id: String,
    commands: Sender<Command>,
    answers: Receiver<Outcome<Answer>>,
}

enum Command {
    /// Take and give up partitions as the group says.
    Follow,
    /// Count a lot, and commit it.
    Work,
    /// Count a lot, and be gone.
    Die,
}

/// What a member has done.
#[derive(Default)]
struct Answer {
    /// It has all partitions that it is to have.
    is_settled: bool,
    lot: Vec<Counted>,
}

/// The carrier of a flight, and the place of its record.
type Counted = (String, TopicPartition, Offset);

impl Member {
    fn start(group: &ConsumerGroup, name: &str) -> Outcome<Self> {
        let consumer = group.consumer().client_id(name).max_poll_records(LOT);
        let mut consumer = consumer.join("flights")?;
        // Before others get what was this member's.
        consumer.on_revoke(|revocation| {
            if let Err(error) = revocation.commit().and_then(|commit| commit.wait()) {
                eprintln!("others will count some flights once more: {error}");
            }
        });
        let id = consumer.group_metadata()?.member_id;
        let (commands, asked) = mpsc::channel();
        let (tell, answers) = mpsc::channel();
        thread::spawn(move || serve(consumer, &asked, &tell));
        Ok(Self { id, commands, answers })
    }

    fn ask(&self, command: Command) -> Outcome<Answer> {
        self.commands.send(command)?;
        self.answers.recv()?
    }
}

/// A member's thread. It ends, and the member leaves, when nobody can ask for anything any more.
fn serve(mut consumer: Consumer, asked: &Receiver<Command>, tell: &Sender<Outcome<Answer>>) {
    for command in asked {
        let answer = match command {
            Command::Follow => follow(&mut consumer),
            Command::Work => count_lot(&mut consumer, true),
            Command::Die => count_lot(&mut consumer, false),
        };
        let _ = tell.send(answer);
        if matches!(command, Command::Die) {
            // Not even `drop` runs in a process that is killed.
            std::mem::forget(consumer);
            return;
        }
    }
}

fn follow(consumer: &mut Consumer) -> Outcome<Answer> {
    let is_settled = consumer.wait_assigned(Duration::ZERO)?;
    Ok(Answer { is_settled, lot: Vec::new() })
}

fn count_lot(consumer: &mut Consumer, commits: bool) -> Outcome<Answer> {
    let mut lot = Vec::with_capacity(LOT);
    for record in &consumer.poll(Duration::ZERO)? {
        let line = str::from_utf8(record.value().unwrap_or_default())?;
        lot.push((carrier(line).to_owned(), record.topic_partition().clone(), record.offset()));
    }
    if commits {
        consumer.commit()?.wait()?;
    }
    Ok(Answer { is_settled: true, lot })
}

/// Has all members work at the same time.
fn work(members: &[Member], lots: usize) -> Outcome<Vec<Counted>> {
    let mut counted = Vec::new();
    for _ in 0..lots {
        members.iter().try_for_each(|member| member.commands.send(Command::Work))?;
        for member in members {
            counted.append(&mut member.answers.recv()??.lot);
        }
    }
    Ok(counted)
}

/// Lets members give up and take partitions until all have what they are to have, and shows who has what.
fn rebalance(
    out: &mut impl Write,
    group: &ConsumerGroup,
    members: &[Member],
    what: &str,
) -> Outcome<()> {
    loop {
        let mut is_settled = true;
        for member in members {
            is_settled &= member.ask(Command::Follow)?.is_settled;
        }
        if is_settled {
            break;
        }
    }
    let described = group.describe()?;
    writeln!(out, "{what}. Epoch {}:", described.epoch)?;
    for member in described.members {
        let partitions = member.assigned.iter().map(|at| at.partition.to_string());
        let partitions = partitions.collect::<Vec<_>>().join(" ");
        writeln!(out, "  {:<4} reads  {partitions}", member.client_id)?;
    }
    Ok(writeln!(out)?)
}

/// A bar for each partition: how much of it is committed.
fn show_lag(out: &mut impl Write, group: &ConsumerGroup, what: &str) -> Outcome<()> {
    const WIDTH: i64 = 40;
    let lag = group.lag()?;
    writeln!(out, "{what}. The group is {lag}:")?;
    for (at, partition) in &lag.partitions {
        let (end, rest) = (partition.end.value().max(1), i64::try_from(partition.lag.records)?);
        let done = usize::try_from((end - rest) * WIDTH / end)?;
        let bar = format!("{:.<width$}", "#".repeat(done), width = usize::try_from(WIDTH)?);
        let member = partition.member.as_deref().unwrap_or("nobody");
        writeln!(out, "  {at}  {bar}  {rest:>4} to go  {member}")?;
    }
    Ok(writeln!(out)?)
}

/// How many flights each carrier has had.
#[derive(Default)]
struct Count {
    by_carrier: BTreeMap<String, Flights>,
    seen: BTreeSet<(TopicPartition, Offset)>,
}

#[derive(Default)]
struct Flights {
    flights: usize,
    /// Those that were counted before.
    again: usize,
}

impl Count {
    fn add(&mut self, counted: Vec<Counted>) {
        for (carrier, partition, offset) in counted {
            let of_carrier = self.by_carrier.entry(carrier).or_default();
            match self.seen.insert((partition, offset)) {
                true => of_carrier.flights += 1,
                false => of_carrier.again += 1,
            }
        }
    }

    /// Compares with the file itself.
    fn check(&self, out: &mut impl Write, flights: &[&str]) -> Outcome<()> {
        writeln!(out, "carrier   flights   counted once more")?;
        for (carrier, Flights { flights, again }) in &self.by_carrier {
            writeln!(out, "{carrier:<7}   {flights:>7}   {again:>17}")?;
        }
        for (carrier, counted) in &self.by_carrier {
            let plain = flights.iter().filter(|line| self::carrier(line) == carrier).count();
            if counted.flights != plain {
                return Err(
                    format!("{carrier} has {plain} flights, not {}", counted.flights).into()
                );
            }
        }
        let again = self.by_carrier.values().map(|flights| flights.again).sum::<usize>();
        if self.seen.len() != flights.len() || again != LOT {
            return Err(format!("{} flights, and {again} once more", self.seen.len()).into());
        }
        writeln!(
            out,
            "\nEach of the {} flights was counted. The {again} that bob had not",
            flights.len()
        )?;
        writeln!(out, "committed came once more; without them the count is that of the file.")?;
        Ok(())
    }
}
