//! What holds for any records, and for any bytes.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::base::Compression;
use crate::base::LeaderEpoch;
use crate::base::Offset;
use crate::base::Timestamp;

/// A record that owns its parts.
#[derive(Clone, Debug, PartialEq)]
struct Record {
    timestamp: Option<Timestamp>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    fn of(view: &RecordView<'_>) -> Self {
        let owned =
            |(name, value): (&str, Option<&[u8]>)| (name.to_owned(), value.map(<[u8]>::to_vec));
        Self {
            timestamp: view.timestamp,
            key: view.key.map(<[u8]>::to_vec),
            value: view.value.map(<[u8]>::to_vec),
            headers: view.headers.iter().map(owned).collect(),
        }
    }

    fn append_to(&self, builder: &mut BatchBuilder) -> u32 {
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let record = RecordFields {
            timestamp: self.timestamp,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &headers,
        };
        let before = builder.len();
        let index = builder.append(&record).unwrap();
        let grown = builder.len() - before;
        assert!(grown + HEADER_LENGTH <= size_upper_bound(&record), "{grown}");
        index
    }
}

fn any_bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    // Lengths around 64 and 8192 change the size of their varints.
    option::of(prop_oneof![
        4 => vec(any::<u8>(), 0..100),
        1 => (8180..8200usize).prop_map(|length| vec![7; length]),
    ])
}

fn any_timestamp() -> impl Strategy<Value = Option<Timestamp>> {
    let millis = prop_oneof![
        4 => 1_700_000_000_000..1_700_000_100_000i64,
        1 => 0..=i64::MAX,
        1 => Just(-1),
    ];
    millis.prop_map(Timestamp::from_millis)
}

fn any_record() -> impl Strategy<Value = Record> {
    let headers = vec((".{0,8}", any_bytes()), 0..4);
    (any_timestamp(), any_bytes(), any_bytes(), headers)
        .prop_map(|(timestamp, key, value, headers)| Record { timestamp, key, value, headers })
}

fn any_codec() -> impl Strategy<Value = Compression> {
    use Compression::{Gzip, Lz4, None, Snappy, Zstd};
    let all = [None, Gzip, Snappy, Lz4, Zstd];
    let built: Vec<_> =
        all.into_iter().filter(|&codec| check_codec(codec, Option::None).is_ok()).collect();
    prop::sample::select(built)
}

fn built(records: &[Record], compression: Compression) -> EncodedBatch {
    let mut builder = BatchBuilder::new(BytesMut::new());
    for (place, record) in records.iter().enumerate() {
        assert_eq!(record.append_to(&mut builder), u32::try_from(place).unwrap());
    }
    builder.close(&CloseOptions { compression, ..CloseOptions::default() }).unwrap()
}

proptest! {
    #[test]
    fn what_is_appended_is_read_back(
        records in vec(any_record(), 1..40),
        codec in any_codec(),
        base_offset in 0..i64::MAX - 100,
    ) {
        let base_offset = Offset::new(base_offset).unwrap();
        let mut batch = built(&records, codec);
        batch.stamp(base_offset, LeaderEpoch::ZERO);
        let batch = batch.freeze();
        prop_assert_eq!(batch.verify_crc(), Ok(()));
        let header = *batch.header();
        prop_assert_eq!(header.record_count(), u32::try_from(records.len()).unwrap());
        prop_assert_eq!(header.base_timestamp(), records[0].timestamp);
        let max = records.iter().filter_map(|record| record.timestamp).max();
        prop_assert_eq!(header.max_timestamp(), max);
        prop_assert_eq!(BatchHeader::parse(batch.bytes()), Ok(header));

        let decoded = batch.decode(&Limits::default()).unwrap();
        let read: Vec<_> = decoded.iter().map(|view| Record::of(&view)).collect();
        prop_assert_eq!(read, records);
        for (place, view) in (0..).zip(&decoded) {
            prop_assert_eq!(view.offset, base_offset.checked_add(place).unwrap());
        }
    }

    /// Keeping some records, twice, is the same as keeping them once; their offsets stay.
    #[test]
    fn rewriting_keeps_records_and_offsets(
        records in vec((any_record(), any::<bool>()), 1..20),
        codec in any_codec(),
        horizon in any_timestamp(),
    ) {
        let (all, keep): (Vec<_>, Vec<_>) = records.into_iter().unzip();
        let original = built(&all, codec).freeze();
        let kept: Vec<_> = all.iter().zip(&keep).enumerate().filter(|(_, (_, keep))| **keep).collect();
        let mut batch = original;
        for _ in 0..2 {
            let mut rewriter = BatchRewriter::new(BytesMut::new(), batch.header(), horizon);
            for view in &batch.decode(&Limits::default()).unwrap() {
                if keep[usize::try_from(view.offset.value()).unwrap()] {
                    rewriter.keep(&view).unwrap();
                }
            }
            let last_offset = batch.header().last_offset();
            batch = rewriter.close(codec, None).unwrap().freeze();
            prop_assert_eq!(batch.header().last_offset(), last_offset);
            prop_assert_eq!(batch.verify_crc(), Ok(()));
        }
        let decoded = batch.decode(&Limits::default()).unwrap();
        prop_assert_eq!(decoded.iter().len(), kept.len());
        for (view, (place, (record, _))) in decoded.iter().zip(kept) {
            prop_assert_eq!(view.offset.value(), i64::try_from(place).unwrap());
            prop_assert_eq!(&Record::of(&view), record);
        }
    }

    /// Bytes behind a good header, with a good checksum, are records or an error, never a panic.
    #[test]
    fn hostile_bodies_do_not_panic(
        body in vec(prop_oneof![any::<u8>(), 0..20u8, Just(0xff)], 0..200),
        attributes in 0..=0x7fu8,
        count in prop_oneof![0..20u32, Just(0x7fff_ffff)],
    ) {
        let mut bytes = header_for(&body, count);
        bytes[22] = attributes;
        bytes.extend_from_slice(&body);
        if let Ok(decoded) = Batch::parse(bytes.freeze()).and_then(|batch| batch.decode(&Limits::default())) {
            assert_walks_to_the_end(&decoded);
        }
    }

    #[test]
    fn any_bytes_can_be_parsed(bytes in vec(any::<u8>(), 0..100)) {
        let _ = Frame::peek(&bytes, u64::try_from(bytes.len()).unwrap());
        let _ = BatchHeader::parse(&bytes);
        let _ = Batch::parse(Bytes::from(bytes));
    }
}

/// Iterating over a checked batch does not stop early, nor over the headers of its records.
pub(super) fn assert_walks_to_the_end(decoded: &DecodedBatch) {
    let mut records = 0;
    for record in decoded {
        assert_eq!(record.headers.iter().count(), record.headers.len());
        records += 1;
    }
    assert_eq!(records, decoded.iter().len());
}

/// A header that fits `body`, of `count` records.
fn header_for(body: &[u8], count: u32) -> BytesMut {
    let mut bytes = BytesMut::zeroed(HEADER_LENGTH);
    let length = u32::try_from(body.len() + HEADER_LENGTH - LOG_OVERHEAD).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[16] = 2;
    bytes[23..27].copy_from_slice(&count.saturating_sub(1).to_be_bytes());
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
    bytes
}

fn decode(body: &[u8], count: u32) -> Result<DecodedBatch, BatchError> {
    let mut bytes = header_for(body, count);
    bytes.extend_from_slice(body);
    Batch::parse(bytes.freeze()).unwrap().decode(&Limits::default())
}

/// Two records without anything: offsets 0 and 1.
const TWO: &[u8] = b"\x0c\0\0\0\x01\x01\0\x0c\0\0\x02\x01\x01\0";

fn refusal(result: Result<DecodedBatch, BatchError>) -> (u32, &'static str) {
    match result {
        Err(BatchError::InvalidRecord { index, reason }) => (index, reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn counts_that_do_not_match_the_records_are_refused() {
    assert_eq!(decode(TWO, 2).unwrap().iter().len(), 2);
    assert_eq!(refusal(decode(TWO, 1)), (1, "bytes remain after the last record"));
    assert_eq!(refusal(decode(TWO, 0)), (0, "bytes remain after the last record"));
    // H2: a count beyond what can be there is refused before any record is looked at.
    assert_eq!(refusal(decode(TWO, 3)), (0, "batch is too short for its record count"));
    assert_eq!(refusal(decode(TWO, 0x7fff_ffff)), (0, "batch is too short for its record count"));
}

#[test]
fn offsets_that_do_not_rise_within_the_batch_are_refused() {
    let with_second_delta = |delta| {
        let mut body = TWO.to_vec();
        body[10] = delta;
        body
    };
    assert_eq!(
        refusal(decode(&with_second_delta(0), 2)),
        (1, "offset is not above the one before")
    );
    assert_eq!(refusal(decode(&with_second_delta(1), 2)), (1, "offset is below its batch's"));
    assert_eq!(refusal(decode(&with_second_delta(4), 2)), (1, "offset is past its batch's last"));
}

#[test]
fn a_timestamp_that_overflows_is_refused_and_one_before_1970_is_none() {
    let with_delta = |delta: &[u8]| {
        let length = u8::try_from(2 * (5 + delta.len())).unwrap();
        [&[length, 0], delta, b"\0\x01\x01\0"].concat()
    };
    let decoded = decode(&with_delta(&[0x03]), 1).unwrap();
    assert_eq!(decoded.iter().next().unwrap().timestamp, None);
    let least = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let body = with_delta(&least);
    assert_eq!(decode(&body, 1).unwrap().iter().next().unwrap().timestamp, None);
    let mut bytes = header_for(&body, 1);
    bytes[27..35].copy_from_slice(&(-1i64).to_be_bytes());
    bytes.extend_from_slice(&body);
    let batch = Batch::parse(bytes.freeze()).unwrap();
    assert_eq!(refusal(batch.decode(&Limits::default())), (0, "timestamp does not fit 64 bits"));
}
