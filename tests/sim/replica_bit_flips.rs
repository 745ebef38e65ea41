//! Rot in one store of three (suite T8).
//!
//! Method: as in `bit_flips`, with three brokers of which one's disk is damaged. Either the cluster refuses to be opened, with
//! a typed error, or the damage is told where it is found, or all stores become the same again, byte by byte. Never is
//! anything read that was not written, nor missing without an error; nor does the damage get to another store.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use brooklet::sim::{Disk, PowerCut, Sim, Simulation};
use brooklet::{Cluster, ClusterBuilder, ErrorKind};

use crate::bit_flips::{Content, Place, VALUES, check_kind, read, write};
use crate::replication::{difference, missing};
use crate::report::{Report, full, seeds};

/// Bytes damaged of each file of each store, in the quick tier.
const SAMPLES: u64 = 2;

/// How long it may take, in virtual time, until all is as it should be.
const RECOVERY: Duration = Duration::from_secs(60);

type Disks = BTreeMap<i32, Disk>;

fn builder(disks: &Disks) -> ClusterBuilder {
    let builder = Cluster::builder();
    disks.iter().fold(builder, |builder, (id, disk)| builder.broker_on(*id, disk))
}

/// Three stores with a topic that all have, and one that two have; closed, or left as a crash of the process does.
fn stores(clean: bool) -> (Disks, Content) {
    let written = Simulation::new(0).run(move |sim| {
        let disks = (1..=3).map(|id| (id, Disk::new())).collect::<Disks>();
        let cluster = builder(&disks).open().unwrap();
        let content = write(&cluster, 3);
        match clean {
            true => cluster.close().unwrap(),
            // Long enough for the recovery points to be written.
            false => sim.sleep(Duration::from_millis(1_500)),
        }
        (images(&disks), content)
    });
    written.value
}

fn images(disks: &Disks) -> Disks {
    disks.iter().map(|(id, disk)| (*id, disk.image(PowerCut::LosesAll))).collect()
}

/// What becomes of a cluster with a damaged store.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Found {
    /// It is not opened.
    Refused,
    /// All stores are the same again, and the report tells of batches that were damaged.
    Repaired,
    /// All stores are the same: a file was made anew, or the damage is where nothing is.
    MadeAnew,
    /// Readers, or the scrub of the store, are told. What they do not reach is as it was.
    Told,
}

fn examine(sim: &Sim, disks: &Disks, content: &Content) -> Found {
    let cluster = match builder(disks).scrub_bytes_per_second(1 << 20).open() {
        Ok(cluster) => cluster,
        Err(error) => {
            if error.kind() != ErrorKind::MetadataIncomplete {
                check_kind(&error);
            }
            return Found::Refused;
        }
    };
    // The others may not have been heard of yet.
    read_all(&cluster, content);
    let deadline = sim.elapsed() + RECOVERY;
    while let Some(missing) = missing(&cluster) {
        assert!(sim.elapsed() < deadline, "not well after {RECOVERY:?}: {missing}");
        sim.sleep(Duration::from_millis(100));
    }
    // The scrub has read all of it by then.
    sim.sleep(Duration::from_secs(2));
    let errors = read_all(&cluster, content);
    let report = cluster.open_report();
    let is_repaired = report.partitions.iter().any(|found| !found.repaired.is_empty());
    let is_told = errors > 0 || !cluster.background_scrub().damages.is_empty();
    // What is damaged cannot be closed well.
    let closed = cluster.close();
    match difference(disks) {
        None if is_repaired => Found::Repaired,
        None if errors == 0 => {
            closed.unwrap();
            Found::MadeAnew
        }
        difference => {
            assert!(is_told, "{difference:?}, and nobody was told");
            Found::Told
        }
    }
}

/// Reads everything, passing by what cannot be read. Returns the number of errors.
fn read_all(cluster: &Cluster, content: &Content) -> u64 {
    let read_topic = |(name, expected): (&String, &Vec<_>)| {
        let partition = cluster.topic(name).unwrap().partition(0).unwrap();
        read(&partition, expected).unwrap_or_else(|error| {
            use ErrorKind::{LeaderNotAvailable, OffsetNotAvailable};
            if ![LeaderNotAvailable, OffsetNotAvailable].contains(&error.kind()) {
                check_kind(&error);
            }
            1
        })
    };
    content.iter().map(read_topic).sum()
}

fn damage_and_examine(
    (disks, content): &(Disks, Content),
    id: i32,
    path: &Path,
    what: &str,
    damage: impl FnOnce(&mut Vec<u8>),
) -> Found {
    let place = Place(format!("broker {id}, {}: {what}", path.display()));
    let (disks, content) = (images(disks), content.clone());
    let mut bytes = disks[&id].read(path).unwrap().to_vec();
    damage(&mut bytes);
    disks[&id].write(path, &bytes).unwrap();
    let found = Simulation::new(0).run(move |sim| examine(sim, &disks, &content)).value;
    drop(place);
    found
}

/// Goal: no damage to one store becomes other data, or a loss, or a difference between stores that nobody is told of.
#[test]
fn damage_to_one_store_of_three_is_told_or_made_good_by_the_others() {
    let mut report = Report::new("T8");
    let mut found = BTreeMap::<Found, u64>::new();
    for (clean, seed) in [true, false].into_iter().flat_map(|c| seeds(1).map(move |s| (c, s))) {
        report.seeds += 1;
        let stores = stores(clean);
        for (id, disk) in &stores.0 {
            for (path, length) in disk.files() {
                let step = if full() { 1 } else { length.div_ceil(SAMPLES).max(1) };
                let first = if full() { 0 } else { seed.wrapping_add(7) % step };
                for position in (first..length).step_by(step as usize) {
                    let bit = (position + seed) % 8;
                    let what = format!("bit {bit} of byte {position}, clean {clean}");
                    let became = damage_and_examine(&stores, *id, &path, &what, |bytes| {
                        bytes[position as usize] ^= 1 << bit;
                    });
                    let is_of_topic = path.starts_with("/email-0") || path.starts_with("/sms-0");
                    let is_log = path.extension().is_some_and(|extension| extension == "log");
                    assert!(became != Found::Told || !is_of_topic || !is_log, "{what} is left");
                    assert!(became != Found::Refused || !is_log, "{what}: {}", path.display());
                    *found.entry(became).or_default() += 1;
                    report.faults += 1;
                }
            }
        }
    }
    report.states = report.faults;
    report.records_checked = report.states * 4 * VALUES as u64;
    report.say(format_args!("{found:?}"));
}
