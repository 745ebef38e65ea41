//! A year of flights as an event log: write them, close, open again, seek to a date, read to the end.
//!
//! `cargo run --release --example flights -- [CSV or CSV.GZ] [--data DIR] [--from YYYY-MM-DD]`
//!
//! Each flight is a record: its key is the aeroplane's tail number (none if unknown), its timestamp
//! the scheduled hour of departure, its value the line of the CSV file. Without a file, the sample
//! in `examples/data` is used; without `--data`, a temporary directory.

#![allow(clippy::print_stdout, reason = "a program talks to its user")]
#![allow(clippy::disallowed_methods, reason = "files and clocks are real here, not simulated")]

use std::cmp::Reverse;
use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use brooklet::{Cluster, ErrorKind, NewTopic, Record, SeekTo, Timestamp};
use flate2::read::GzDecoder;
use indicatif::{HumanFloatCount, ProgressBar, ProgressStyle};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/flights-sample.csv");

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let args = Args::parse()?;
    let scratch = tempfile::tempdir()?;
    let dir = args.data.as_deref().unwrap_or(scratch.path());

    let cluster = Cluster::open(dir)?;
    match cluster.topic("flights") {
        Ok(_) => println!("{} has flights already: only reading", dir.display()),
        Err(e) if e.kind() == ErrorKind::UnknownTopicOrPartition => write(&cluster, &args.csv)?,
        Err(e) => return Err(e.into()),
    }
    cluster.close()?;

    let cluster = Cluster::open(dir)?;
    let planes = read(&cluster, args.from)?;
    print_most_delayed(&planes);
    Ok(cluster.close()?)
}

/// Sends every flight of the file in the order of their times, and waits until all are on disk.
fn write(cluster: &Cluster, csv: &Path) -> Result<()> {
    let text = load(csv).map_err(|e| format!("{}: {e}", csv.display()))?;
    let mut flights = text.lines().skip(1).map(Flight::parse).collect::<Result<Vec<_>>>()?;
    flights.sort_by_key(|flight| flight.time); // the file's months are ordered as text: 1, 10, 11

    let topic = NewTopic::new("flights").partitions(6).config("retention.ms", -1);
    let topic = cluster.create_topic(topic)?;
    let producer = cluster.producer().build()?;
    let mut progress = Progress::start("sent", flights.len() as u64)?;
    for flight in &flights {
        let mut record = Record::to(&topic).value(flight.line).timestamp(flight.time);
        if let Some(tail) = flight.tail {
            record = record.key(tail);
        }
        // Nobody waits for a single flight: the flush reports the first failure of any.
        producer.send(record)?;
        progress.add_record(flight.line.len());
    }
    producer.flush()?;
    progress.finish();
    Ok(())
}

/// What the log tells about one aeroplane.
#[derive(Default)]
struct Plane {
    flights: u32,
    delay: i64,
    last: Option<Timestamp>,
}

/// Reads all flights since `from`, checking that those of each aeroplane come in order.
fn read(cluster: &Cluster, from: Option<Timestamp>) -> Result<HashMap<String, Plane>> {
    let topic = cluster.topic("flights")?;
    let mut consumer = cluster.consumer().build()?;
    consumer.assign(topic.partitions())?;
    consumer.seek_all(from.map_or(SeekTo::Beginning, SeekTo::Timestamp))?;
    let mut left = 0;
    for partition in topic.partitions() {
        left += consumer.lag(&partition)?;
    }

    let mut progress = Progress::start("read", left)?;
    let mut planes = HashMap::<String, Plane>::new();
    while left > 0 {
        let records = consumer.poll(Duration::from_secs(10))?;
        if records.is_empty() {
            return Err(format!("{left} records are missing").into());
        }
        left = left.saturating_sub(records.len() as u64);
        for record in &records {
            let line = str::from_utf8(record.value().unwrap_or_default())?;
            let flight = Flight::parse(line)?;
            progress.add_record(line.len());
            if record.timestamp() != Some(flight.time) || from > Some(flight.time) {
                return Err(format!("not the right time: {record:?}").into());
            }
            let Some(tail) = flight.tail else { continue };
            let plane = planes.entry(tail.to_owned()).or_default();
            if plane.last.replace(flight.time) > Some(flight.time) {
                return Err(format!("an earlier flight of {tail} comes later: {record:?}").into());
            }
            plane.flights += 1;
            plane.delay += flight.arrival_delay.unwrap_or(0);
        }
    }
    progress.finish();
    println!("{} tail numbers, the flights of each in order", planes.len());
    Ok(planes)
}

fn print_most_delayed(planes: &HashMap<String, Plane>) {
    let mut ranking = planes.iter().collect::<Vec<_>>();
    ranking.sort_unstable_by_key(|(tail, plane)| (Reverse(plane.delay), *tail));
    println!("\n{:<11} {:>7} {:>22}", "tail number", "flights", "arrival delay, minutes");
    for (tail, plane) in ranking.into_iter().take(10) {
        println!("{tail:<11} {:>7} {:>22}", plane.flights, plane.delay);
    }
}

/// One line of the file, and the columns that matter here.
struct Flight<'a> {
    line: &'a str,
    tail: Option<&'a str>,
    time: Timestamp,
    /// In minutes; `None` for a flight that never arrived.
    arrival_delay: Option<i64>,
}

impl<'a> Flight<'a> {
    fn parse(line: &'a str) -> Result<Self> {
        let mut columns = line.split(','); // no field of this data set is quoted
        // Columns 9, 12 and 19: so many are between them.
        let [delay, tail, time] = [8, 2, 6].map(|skip| columns.nth(skip).unwrap_or("NA"));
        Ok(Self {
            line,
            tail: Some(tail).filter(|tail| *tail != "NA"),
            time: parse_hour(time).ok_or_else(|| format!("no time in {line:?}"))?,
            arrival_delay: delay.parse().ok(),
        })
    }
}

/// The moment that `2013-01-01T10:00:00Z` stands for, if it is a full hour.
fn parse_hour(text: &str) -> Option<Timestamp> {
    let number = |at: Range<usize>| text.get(at)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let hour = number(11..13).filter(|_| text.ends_with(":00:00Z"))?;
    if !(1..=12).contains(&month) {
        return None;
    }
    // In years that begin in March, the leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leap_days + (month * 153 + 2) / 5 + day - 719_469;
    Timestamp::from_millis((days * 24 + hour) * 3_600_000)
}

fn load(csv: &Path) -> io::Result<String> {
    let file = File::open(csv)?;
    if csv.extension().is_some_and(|extension| extension == "gz") {
        io::read_to_string(GzDecoder::new(file))
    } else {
        io::read_to_string(file)
    }
}

/// A progress bar that leaves a line with the rate behind.
struct Progress {
    bar: ProgressBar,
    bytes: usize,
    started: Instant,
}

impl Progress {
    fn start(what: &'static str, length: u64) -> Result<Self> {
        let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos} of {human_len}")?;
        let bar = ProgressBar::new(length).with_style(style).with_message(what);
        Ok(Self { bar, bytes: 0, started: Instant::now() })
    }

    fn add_record(&mut self, bytes: usize) {
        self.bar.inc(1);
        self.bytes += bytes;
    }

    fn finish(self) {
        let (records, bytes) = (self.bar.position() as f64, self.bytes as f64 / 1e6);
        let seconds = self.started.elapsed().as_secs_f64();
        let [total, rate] = [records, records / seconds].map(HumanFloatCount);
        self.bar.finish_and_clear();
        println!(
            "{} {total:.0} records, {bytes:.1} MB in {seconds:.2} s: {rate:.0} records/s, {:.1} MB/s",
            self.bar.message(),
            bytes / seconds,
        );
    }
}

struct Args {
    csv: PathBuf,
    data: Option<PathBuf>,
    from: Option<Timestamp>,
}

impl Args {
    fn parse() -> Result<Self> {
        use lexopt::prelude::{Long, Value, ValueExt};

        let mut args = Self { csv: SAMPLE.into(), data: None, from: None };
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                Long("data") => args.data = Some(parser.value()?.into()),
                Long("from") => {
                    let date = parser.value()?.string()?;
                    let midnight = parse_hour(&format!("{date}T00:00:00Z"));
                    args.from = Some(midnight.ok_or("--from takes a date like 2013-12-01")?);
                }
                Value(csv) => args.csv = csv.into(),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(args)
    }
}
