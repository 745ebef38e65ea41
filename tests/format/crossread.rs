//! Another implementation reads what was written here, and its files are read: with every codec, nulls, headers, times.

use std::path::{Path, PathBuf};
use std::process::Command;

use brooklet::{Cluster, Compression, NewTopic, Offset, Partition, Record, Timestamp};
use serde::{Deserialize, Serialize};

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

/// A record as both sides write it down; bytes in hexadecimal digits.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Plain {
    timestamp: i64,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, Option<String>)>,
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(digit).collect()
}

/// Everything that records can be: null, empty, long, hard to compress; times that go back; names that repeat.
fn records() -> Vec<Plain> {
    let mut rng = fastrand::Rng::with_seed(9);
    let mut field = |number: i64| match number % 5 {
        0 => None,
        1 => Some(String::new()),
        2 => Some(hex("the same again ".repeat(rng.usize(1..20)))),
        3 => Some(hex((0..rng.usize(1..300)).map(|_| rng.u8(..)).collect::<Vec<_>>())),
        _ => Some(hex(format!("number {number}"))),
    };
    (0..200)
        .map(|number| Plain {
            timestamp: match number % 17 {
                0 => 0,
                _ => 1_700_000_000_000 + (number ^ 21) * 1000,
            },
            key: field(number),
            value: if number == 100 { Some(hex([7; 100_000])) } else { field(number / 5) },
            headers: (0..number % 4)
                .map(|header| {
                    let name = ["name", "name", "größe", ""][(number + header) as usize % 4];
                    (name.to_owned(), field(number + header))
                })
                .collect(),
        })
        .collect()
}

fn send(cluster: &Cluster, topic: &str, codec: Compression, records: &[Plain]) {
    let topic = cluster.topic(topic).unwrap();
    let producer = cluster.producer().compression(codec).build().unwrap();
    for (number, plain) in records.iter().enumerate() {
        let bytes = |field: &Option<String>| field.as_deref().map(unhex);
        let (key, value) = (bytes(&plain.key), bytes(&plain.value));
        let headers = plain.headers.iter().map(|(name, value)| (name, bytes(value)));
        let headers = headers.collect::<Vec<_>>();
        let time = Timestamp::from_millis(plain.timestamp).unwrap();
        let mut record = Record::to(&topic).timestamp(time);
        if let Some(key) = &key {
            record = record.key(key);
        }
        if let Some(value) = &value {
            record = record.value(value);
        }
        for (name, value) in &headers {
            record = match value {
                Some(value) => record.header(name, value),
                None => record.null_header(name),
            };
        }
        producer.send(record).unwrap();
        // Batches of one record, and of many.
        if number % 23 < 2 {
            producer.flush().unwrap();
        }
    }
    producer.flush().unwrap();
}

fn read(partition: &Partition) -> Vec<Plain> {
    let mut found = Vec::new();
    let high = partition.watermarks().unwrap().high;
    loop {
        let next = Offset::new(found.len() as i64).unwrap();
        if next >= high {
            return found;
        }
        for record in &partition.read(next, 1 << 16).unwrap() {
            assert_eq!(record.offset().value(), found.len() as i64);
            let headers = record.headers();
            found.push(Plain {
                timestamp: record.timestamp().unwrap().as_millis(),
                key: record.key().map(hex),
                value: record.value().map(hex),
                headers: headers.iter().map(|(name, v)| (name.to_owned(), v.map(hex))).collect(),
            });
        }
    }
}

/// Goal: files move between implementations. Method: `tests/crossread/codecs.py` reads our partitions and writes its
/// own in place of some; these are read after a clean stop, and, without their indexes, after another.
#[test]
#[ignore = "PYTHON names an interpreter with what tests/crossread/requirements.txt lists"]
fn another_implementation_reads_our_files_and_we_read_its() {
    let python = PathBuf::from(std::env::var_os("PYTHON").expect("PYTHON names an interpreter"));
    let dir = tempfile::tempdir().unwrap();
    let records = records();
    let codecs = CODECS.map(|codec| codec.to_string());
    let ours = |codec: &str| format!("ours-{codec}");
    let theirs = |codec: &str| format!("theirs-{codec}");

    let cluster = Cluster::open(dir.path().join("data")).unwrap();
    for (codec, name) in CODECS.iter().zip(&codecs) {
        cluster.create_topic(NewTopic::new(ours(name)).config("segment.bytes", 110_000)).unwrap();
        send(&cluster, &ours(name), *codec, &records);
        cluster.create_topic(NewTopic::new(theirs(name))).unwrap();
        send(&cluster, &theirs(name), Compression::None, &records[..1]);
    }
    cluster.close().unwrap();
    let expected = serde_json::to_vec(&records).unwrap();
    std::fs::write(dir.path().join("expected.json"), expected).unwrap();

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crossread/codecs.py");
    let status = Command::new(python).arg(script).arg(dir.path()).status().unwrap();
    assert!(status.success());

    let mut total = 0;
    let mut expected = records.clone();
    for clean in [true, false, true] {
        if !clean {
            std::fs::remove_file(dir.path().join("data/.kafka_cleanshutdown")).unwrap();
        }
        let cluster = Cluster::open(dir.path().join("data")).unwrap();
        for (codec, name) in CODECS.iter().zip(&codecs) {
            let partition = cluster.topic(&theirs(name)).unwrap().partition(0).unwrap();
            assert!(read(&partition) == expected, "{name}, clean: {clean}");
            total += expected.len();
            send(&cluster, &theirs(name), *codec, &records[1..3]);
        }
        expected.extend_from_slice(&records[1..3]);
        cluster.close().unwrap();
    }
    println!("crossread: {total} records of another implementation are as it wrote them");
}
