//! The scrub in the background, over virtual days.

use std::path::PathBuf;
use std::time::Duration;

use brooklet::sim::{Disk, Simulation};
use brooklet::{Cluster, NewTopic, Offset, Record, ScrubReport};

const RATE: u64 = 1000;

/// A store of two topics with three partitions each, and how many bytes its logs have.
fn filled(disk: &Disk) -> u64 {
    let cluster = Cluster::builder().open_on(disk).unwrap();
    for name in ["email", "orders"] {
        let topic = NewTopic::new(name).partitions(3).config("segment.bytes", "2000");
        let topic = cluster.create_topic(topic).unwrap();
        let producer = cluster.producer().build().unwrap();
        for value in 0..60 {
            let value = format!("{value:0100}");
            producer.send(Record::to(&topic).partition(0).value(&value)).unwrap().wait().unwrap();
        }
        // The second is small, and the third has no files.
        producer.send(Record::to(&topic).partition(1).value("x")).unwrap().wait().unwrap();
    }
    let bytes = cluster.scrub().unwrap().bytes;
    cluster.close().unwrap();
    bytes
}

fn scrubbed(disk: &Disk) -> Cluster {
    Cluster::builder().scrub_bytes_per_second(RATE).open_on(disk).unwrap()
}

fn log(name: &str) -> PathBuf {
    PathBuf::from(format!("{name}/00000000000000000000.log"))
}

/// Goal: everything is read, no faster than it may be, and what rots between two rounds is found by the second.
#[test]
fn the_background_reads_everything_at_its_rate_and_finds_what_has_rotted() {
    for seed in 0..5 {
        Simulation::new(seed).run(|sim| {
            let disk = Disk::new();
            let bytes = filled(&disk);
            assert!(bytes > 10_000, "{bytes}");
            let cluster = scrubbed(&disk);
            let round = Duration::from_secs(bytes / RATE);
            sim.sleep(round.mul_f64(0.8));
            assert!(cluster.background_scrub().bytes < bytes);
            sim.sleep(round);
            let report = cluster.background_scrub();
            assert_eq!((report.bytes, &report.damages[..]), (bytes, &[][..]));
            assert_eq!(report.batches, 122);

            let mut paths = disk.files().into_iter().map(|(path, _)| path);
            let path = paths.find(|path| path.ends_with(log("orders-0"))).unwrap();
            let byte = disk.read(&path).unwrap()[100] ^ 1;
            disk.damage(&path, 100, &[byte]).unwrap();
            sim.sleep(2 * round + Duration::from_secs(120));
            let report = cluster.background_scrub();
            assert_eq!(report.bytes, bytes);
            let [damage] = &report.damages[..] else { panic!("{report:?}") };
            assert_eq!(damage.partition.to_string(), "orders-0");
            assert_eq!(damage.offsets, Offset::ZERO..Offset::from(1));

            // What was found is there until it is looked at again.
            let orders = cluster.topic("orders").unwrap();
            orders.partition(0).unwrap().accept_loss(damage.offsets.clone()).unwrap();
            assert_eq!(cluster.background_scrub().damages.len(), 1);
            sim.sleep(2 * round + Duration::from_secs(120));
            assert_eq!(cluster.background_scrub().damages, []);
        });
    }
}

#[test]
fn the_background_scrub_is_in_nobodys_way() {
    for seed in 0..20 {
        Simulation::new(seed).run(|sim| {
            let disk = Disk::new();
            filled(&disk);
            let cluster = scrubbed(&disk);
            let email = cluster.topic("email").unwrap();
            let producer = cluster.producer().build().unwrap();
            for value in 0..20 {
                let value = format!("{value:0200}");
                producer
                    .send(Record::to(&email).partition(0).value(&value))
                    .unwrap()
                    .wait()
                    .unwrap();
                sim.sleep(Duration::from_millis(500));
                email
                    .partition(0)
                    .unwrap()
                    .delete_records(Offset::from(value.len() as u32 / 20))
                    .unwrap();
            }
            cluster.delete_topic("orders").unwrap();
            drop((email, producer));
            sim.sleep(Duration::from_secs(200));
            assert_eq!(cluster.background_scrub().damages, []);
            cluster.close().unwrap();
            // Nothing is left of it: the store is free, and was closed.
            let again = Cluster::builder().open_on(&disk).unwrap();
            assert!(again.open_report().clean);
            assert_eq!(again.background_scrub(), ScrubReport::default());
        });
    }
}
