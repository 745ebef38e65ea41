//! Batches, records, codecs: pure, so very fast.

use std::fs;
use std::path::Path;

use brooklet::Compression;
use brooklet::sim::record::{
    Batch, BatchBuilder, BatchError, BatchRewriter, CloseOptions, ControlRecord, EncodedBatch,
    Frame, HEADER_LENGTH, LOG_OVERHEAD, Limits, RecordFields, RecordView, crc32c,
};
use bytes::{Bytes, BytesMut};

use super::split_choice;

const CRC: std::ops::Range<usize> = 17..21;
const CRC_START: usize = 21;

pub(super) const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

/// H1: a run of batches, as they are and with checksums that fit: hardly anything would get past them.
pub(super) fn batches(input: &[u8]) {
    walk(Bytes::copy_from_slice(input), Batch::verify_crc);
    walk(Bytes::copy_from_slice(input), |_| Ok(()));
}

fn walk(mut rest: Bytes, check: impl Fn(&Batch) -> Result<(), BatchError>) {
    while let Frame::Complete(size) = Frame::peek(&rest, rest.len() as u64) {
        let bytes = rest.split_to(size);
        if let Ok(batch) = Batch::parse(bytes.clone()) {
            assert_eq!(batch.bytes(), &bytes);
            if check(&batch).is_ok() {
                inspect(&batch, &Limits::default());
            }
        }
    }
}

/// H2: records behind a header that fits them as far as it is not asked to lie.
pub(super) fn records(input: &[u8]) {
    let Some((choices, body)) = input.split_first_chunk::<4>() else { return };
    let count = if choices[1] == 0xff { i32::MAX as u32 } else { u32::from(choices[1]) };
    let spare = u32::from(choices[2]);
    let base_timestamp = [0, -1, i64::MAX, i64::MIN][usize::from(choices[3] % 4)];
    // Without the three bits of the codec.
    let mut bytes = header(u16::from(choices[0] & 0x78), count, spare, body.len());
    bytes[27..35].copy_from_slice(&base_timestamp.to_be_bytes());
    bytes.extend_from_slice(body);
    let Ok(batch) = Batch::parse(with_crc(bytes)) else { return };
    batch.verify_crc().unwrap();
    inspect(&batch, &Limits::default());
}

/// H3: a block of any codec is unpacked up to the limit, and no further; what was packed comes back.
pub(super) fn codecs(input: &[u8]) {
    let (choice, block) = split_choice(input);
    let number = u16::from(choice % 5);
    let limits = Limits { max_decompressed_bytes: 1 << 20 };
    for count in [1, 0] {
        let mut bytes = header(number, count, 0, block.len());
        bytes.extend_from_slice(block);
        inspect(&Batch::parse(with_crc(bytes)).unwrap(), &limits);
    }
    let mut builder = BatchBuilder::new(BytesMut::new());
    builder.append(&RecordFields { value: Some(block), ..RecordFields::default() }).unwrap();
    let compression = CODECS[usize::from(number)];
    match builder.close(&CloseOptions { compression, ..CloseOptions::default() }) {
        Ok(batch) => {
            let decoded = batch.freeze().decode(&Limits::default()).unwrap();
            assert_eq!(decoded.iter().next().unwrap().value, Some(block));
        }
        Err(error) => assert_eq!(error, BatchError::CodecNotBuilt(compression)),
    }
}

/// Goes through all of a batch, and writes it once more: bytes that were read are written as they were.
fn inspect(batch: &Batch, limits: &Limits) {
    let header = *batch.header();
    if let Some(epoch) = header.leader_epoch() {
        let mut copy = EncodedBatch::copy_from(batch).unwrap();
        copy.stamp(header.base_offset(), epoch);
        assert_eq!(copy.bytes(), &batch.bytes()[..], "the header is written as it was read");
    }
    let Ok(decoded) = batch.decode(limits) else { return };
    if header.compression() != Compression::None {
        assert!(decoded.body().len() <= limits.max_decompressed_bytes);
    }
    let mut least = header.base_offset();
    let (mut count, mut position) = (0, 0);
    for record in &decoded {
        assert!(record.offset >= least && record.offset <= header.last_offset());
        least = record.offset.checked_add(1).unwrap_or(record.offset);
        assert_eq!(record.headers.iter().count(), record.headers.len());
        let (again, next) = decoded.read_at(position).unwrap();
        assert!(is_same(&record, &again));
        (count, position) = (count + 1, next);
        if header.is_control() {
            let _any = ControlRecord::parse(&record);
        }
    }
    assert_eq!((count, position), (decoded.iter().len(), decoded.body().len()));
    let once = rewritten(batch, limits);
    let twice = rewritten(&once, limits);
    assert_eq!(once.bytes(), twice.bytes(), "what was written here is written again as it was");
    let reread = once.decode(limits).unwrap();
    assert_eq!(reread.iter().len(), count);
    assert!(decoded.iter().zip(&reread).all(|(a, b)| is_same(&a, &b)));
}

/// The batch with all its records, not compressed.
fn rewritten(batch: &Batch, limits: &Limits) -> Batch {
    let header = batch.header();
    let mut rewriter = BatchRewriter::new(BytesMut::new(), header, header.delete_horizon());
    for record in &batch.decode(limits).unwrap() {
        rewriter.keep(&record).unwrap();
    }
    let rewritten = rewriter.close(Compression::None, None).unwrap().freeze();
    rewritten.verify_crc().unwrap();
    rewritten
}

fn is_same(a: &RecordView<'_>, b: &RecordView<'_>) -> bool {
    (a.offset, a.timestamp, a.key, a.value) == (b.offset, b.timestamp, b.key, b.value)
        && a.headers.iter().eq(b.headers.iter())
}

/// A header for `count` records in a body of `length` bytes; `spare` offsets are left without a record.
fn header(attributes: u16, count: u32, spare: u32, length: usize) -> BytesMut {
    let mut bytes = BytesMut::zeroed(HEADER_LENGTH);
    let length = (length + HEADER_LENGTH - LOG_OVERHEAD) as u32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[16] = 2;
    bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
    let last = count.saturating_sub(1).saturating_add(spare).min(i32::MAX as u32);
    bytes[23..27].copy_from_slice(&last.to_be_bytes());
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
    bytes
}

/// The bytes of one batch with the checksum that they should have.
pub(super) fn with_crc(mut batch: BytesMut) -> Bytes {
    let crc = crc32c(&batch[CRC_START..]);
    batch[CRC].copy_from_slice(&crc.to_be_bytes());
    batch.freeze()
}

/// Batches that other implementations wrote.
pub(super) fn golden() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|e| e == "bin"));
    let mut files = files.collect::<Vec<_>>();
    files.sort();
    files.iter().map(|path| fs::read(path).unwrap()).filter(|bytes| bytes.len() < 8192).collect()
}

/// Bodies of batches that are not compressed, behind the choices for them.
pub(super) fn plain_records() -> Vec<Vec<u8>> {
    let bodies = golden().into_iter().filter_map(|bytes| {
        let batch = Batch::parse(bytes.into()).ok()?;
        let decoded = batch.decode(&Limits::default()).ok()?;
        let count = u8::try_from(decoded.iter().len()).ok()?;
        Some([&[0, count, 0, 0], &decoded.body()[..]].concat())
    });
    bodies.filter(|body| body.len() < 4096).collect()
}

/// Blocks of each codec, behind the number of the codec.
pub(super) fn compressed() -> Vec<Vec<u8>> {
    let block = |bytes: Vec<u8>| {
        let batch = Batch::parse(bytes.into()).ok()?;
        let codec = CODECS.iter().position(|codec| *codec == batch.header().compression())?;
        Some([&[codec as u8], &batch.bytes()[HEADER_LENGTH..]].concat())
    };
    golden().into_iter().filter_map(block).collect()
}
