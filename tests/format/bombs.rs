//! H3: blocks that hold very much more than they take.

use brooklet::sim::Disk;
use brooklet::sim::record::{HEADER_LENGTH, LOG_OVERHEAD, crc32c};
use brooklet::{Cluster, ErrorKind, NewTopic, Offset, Record};

use crate::memory::peak_of;
use crate::{alone, report::Report};

const GIB: usize = 1 << 30;

/// A block of one codec, and what it holds.
struct Bomb {
    name: &'static str,
    codec: u8,
    block: Vec<u8>,
}

/// 1 GiB of zeros by each codec, in as little as its format allows, and blocks that only say that they hold so much.
fn bombs() -> Vec<Bomb> {
    let bomb = |name, codec, block| Bomb { name, codec, block };
    vec![
        bomb("gzip of 1 GiB", 1, gzip()),
        bomb("snappy of 1 GiB", 2, snappy(GIB)),
        bomb("snappy that says 4 GiB", 2, vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0]),
        bomb("lz4 of 1 GiB", 3, lz4()),
        bomb("zstd of 1 GiB", 4, zstd()),
        // Single segment, content size in 8 bytes: 2^62.
        bomb(
            "zstd that says 2^62",
            4,
            [&ZSTD[..], &[0xe0, 0, 0, 0, 0, 0, 0, 0, 0x40, 1, 0, 0]].concat(),
        ),
        bomb("zstd with a window of 2^41", 4, [&ZSTD[..], &[0, 0xf8, 1, 0, 0]].concat()),
    ]
}

const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A member of 16 MiB, 64 times.
fn gzip() -> Vec<u8> {
    use std::io::Write;
    let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    member.write_all(&vec![0; GIB / 64]).unwrap();
    member.finish().unwrap().repeat(64)
}

/// Blocks of 32 KiB: a zero, and copies of 64 bytes each.
fn snappy(size: usize) -> Vec<u8> {
    const BLOCK: usize = 32 << 10;
    let mut raw = vec![0x80, 0x80, 0x02, 0, 0];
    // A copy of 63 first, so that 64 go into the rest.
    raw.extend([62 << 2 | 2, 1, 0]);
    for _ in 1..BLOCK / 64 {
        raw.extend([63 << 2 | 2, 1, 0]);
    }
    let framed = [&(raw.len() as u32).to_be_bytes()[..], &raw].concat();
    [&b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"[..], &framed.repeat(size / BLOCK)].concat()
}

/// Blocks of 4 MiB: a zero, and one match as long as the block.
fn lz4() -> Vec<u8> {
    const BLOCK: usize = 4 << 20;
    let mut block = vec![0x1f, 0, 1, 0];
    // The match, 19 of it in the token, and five literals behind it.
    let rest = BLOCK - 1 - 5 - 19;
    block.extend(std::iter::repeat_n(0xff, rest / 255));
    block.push((rest % 255) as u8);
    block.extend([0x50, 0, 0, 0, 0, 0]);
    let framed = [&(block.len() as u32).to_le_bytes()[..], &block].concat();
    // Version 01, independent blocks of 4 MiB, no checksums.
    let header = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73];
    [&header[..], &framed.repeat(GIB / BLOCK), &[0; 4]].concat()
}

/// Blocks of one byte and how often it comes: 128 KiB, 8,192 times. 32 KiB in all.
fn zstd() -> Vec<u8> {
    const BLOCK: u32 = 128 << 10;
    let block = |last: u32| {
        let header = (BLOCK << 3 | 1 << 1 | last).to_le_bytes();
        [header[0], header[1], header[2], 0]
    };
    let blocks = GIB / BLOCK as usize;
    // A window of 128 KiB, no content size.
    [&ZSTD[..], &[0, 0x38], &block(0).repeat(blocks - 1), &block(1)].concat()
}

/// A batch of one record with the offset 1.
fn batch(codec: u8, block: &[u8]) -> Vec<u8> {
    let mut batch = vec![0; HEADER_LENGTH];
    batch[7] = 1;
    let length = (block.len() + HEADER_LENGTH - LOG_OVERHEAD) as u32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    batch[22] = codec;
    batch[60] = 1;
    batch.extend_from_slice(block);
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// Goal: a log that holds a bomb costs an error, no memory, and nobody else anything. Method: it is put between the
/// records of a store that was closed.
#[test]
fn bombs_are_errors_and_take_no_memory() {
    let _alone = alone();
    let mut report = Report::new("T7");
    for Bomb { name, codec, block } in bombs() {
        let disk = Disk::new();
        let cluster = Cluster::builder().open_on(&disk).unwrap();
        let topic = cluster.create_topic(NewTopic::new("t").partitions(2)).unwrap();
        let producer = cluster.producer().build().unwrap();
        for partition in 0..2 {
            let record = Record::to(&topic).partition(partition).value("good");
            producer.send(record).unwrap().wait().unwrap();
        }
        drop((producer, topic));
        cluster.close().unwrap();
        let path = "t-0/00000000000000000000.log";
        let log = [&disk.read(path).unwrap()[..], &batch(codec, &block)].concat();
        disk.write(path, &log).unwrap();
        // Where the log was closed: the bomb is behind that.
        disk.remove("recovery-point-offset-checkpoint").unwrap();
        disk.remove("brooklet.checkpoint").unwrap();
        disk.remove("replication-offset-checkpoint").unwrap();

        let peak = peak_of(|| {
            let cluster = Cluster::builder().open_on(&disk).unwrap();
            let topic = cluster.topic("t").unwrap();
            let read = |partition, offset| {
                topic.partition(partition).unwrap().read(Offset::from(offset), 1 << 20)
            };
            let built = [
                true,
                cfg!(feature = "gzip"),
                cfg!(feature = "snappy"),
                cfg!(feature = "lz4"),
                cfg!(feature = "zstd"),
            ][usize::from(codec)];
            let allowed: &[ErrorKind] = match built {
                false => &[ErrorKind::UnsupportedCompressionType],
                _ if name.contains(" of 1 GiB") => &[ErrorKind::MessageTooLarge],
                true => &[ErrorKind::MessageTooLarge, ErrorKind::CorruptMessage],
            };
            let error = read(0, 1).unwrap_err();
            assert!(allowed.contains(&error.kind()), "{name}: {error:?}");
            assert_eq!(read(0, 0).unwrap().len(), 1, "{name}: what comes before");
            assert_eq!(read(1, 0).unwrap().len(), 1, "{name}: its neighbour");
            cluster.close().unwrap();
        });
        assert!(peak <= 256 << 20, "{name} took {peak} bytes");
        report.faults += 1;
        report.ops += 1;
    }
    report.say("bombs");
}
