//! What all codecs have in common: round trips, limits, bombs, cuts.

use super::*;

const MIB: usize = 1 << 20;

/// The codecs of this build.
fn codecs() -> impl Iterator<Item = Compression> {
    [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
        .into_iter()
        .filter(|&codec| check_codec(codec, None).is_ok())
}

/// Text-like bytes: compressible, but not to nothing.
fn sample(length: usize) -> Vec<u8> {
    (0..length).map(|i| b"the quick brown fox "[(i * i / 7 + i) % 20]).collect()
}

#[test]
fn what_is_compressed_comes_back() {
    for codec in codecs() {
        for length in [0, 1, 100, 32 << 10, (32 << 10) + 1, 64 << 10, (64 << 10) + 1, 300_000] {
            let block = compress(codec, None, &sample(length)).unwrap();
            let records = decompress(codec, &block.into(), length).unwrap();
            assert!(records == sample(length), "{codec} {length}");
        }
    }
}

#[test]
fn one_byte_more_than_the_limit_is_too_large() {
    for codec in codecs() {
        for length in [1, 100, 100_000] {
            let block = compress(codec, None, &sample(length)).unwrap().into();
            let limit = length - 1;
            let error = decompress(codec, &block, limit).unwrap_err();
            assert_eq!(error, BatchError::TooLarge { limit }, "{codec}");
        }
    }
}

#[test]
fn every_cut_is_an_error() {
    for codec in codecs() {
        let block = Bytes::from(compress(codec, None, &sample(2000)).unwrap());
        // Snappy streams have no end mark: cut behind the header, nothing is left of them.
        let whole = if codec == Compression::Snappy { vec![16] } else { vec![] };
        for length in (1..block.len()).filter(|length| !whole.contains(length)) {
            let result = decompress(codec, &block.slice(..length), MIB);
            assert!(
                matches!(result, Err(BatchError::Decompress { .. })),
                "{codec} cut at {length}"
            );
        }
    }
}

#[test]
fn random_bytes_are_an_error() {
    for codec in codecs() {
        for length in 1..200u32 {
            let noise: Vec<u8> = (0..length)
                .map(|i| (i * length).wrapping_mul(2_654_435_761).to_be_bytes()[1])
                .collect();
            let _ = decompress(codec, &noise.into(), MIB);
        }
    }
}

#[test]
fn levels_outside_a_codecs_range_are_refused() {
    for codec in codecs() {
        let (good, bad) = match codec {
            Compression::Gzip => (vec![1, 9], vec![0, -1, 10]),
            Compression::Lz4 => (vec![9], vec![1, 8, 10, 17]),
            Compression::Zstd => (vec![-131_072, 1, 19], vec![-131_073, 23]),
            _ => (vec![], vec![1]),
        };
        for level in good {
            let block = compress(codec, Some(level), &sample(5000)).unwrap();
            assert_eq!(
                decompress(codec, &block.into(), MIB).unwrap(),
                sample(5000),
                "{codec} {level}"
            );
        }
        for level in bad {
            let error = BatchError::InvalidLevel { codec, level };
            assert_eq!(compress(codec, Some(level), b""), Err(error));
        }
    }
}

#[test]
fn a_codec_that_is_not_built_says_so() {
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        if codecs().all(|built| built != codec) {
            let error = BatchError::CodecNotBuilt(codec);
            assert_eq!(check_codec(codec, None), Err(error.clone()));
            assert_eq!(compress(codec, None, b""), Err(error.clone()));
            assert_eq!(decompress(codec, &Bytes::new(), 1), Err(error));
        }
    }
}

/// Goal: a small block that holds very much stops at the limit (H3). Method: 16 MiB of zeros, 64 times over, as
/// all codecs but LZ4 allow: gzip and zstd then hold 1 GiB in little, zstd 16 MiB in less than 2 KiB.
#[test]
fn bombs_are_stopped_at_the_limit() {
    for codec in codecs() {
        let once = compress(codec, None, &vec![0; 16 * MIB]).unwrap();
        for block in [once.repeat(64), once] {
            for limit in [0, 1000, MIB] {
                let result = decompress(codec, &block.clone().into(), limit);
                assert_eq!(result, Err(BatchError::TooLarge { limit }), "{codec}");
            }
        }
    }
}

#[cfg(feature = "zstd")]
#[test]
fn a_zstd_frame_with_a_huge_window_is_refused() {
    // Window descriptor 0x90: 2^28 bytes.
    let bomb = Bytes::from_static(&[0x28, 0xb5, 0x2f, 0xfd, 0, 0x90, 1, 0, 0]);
    let error = decompress(Compression::Zstd, &bomb, usize::MAX).unwrap_err();
    assert!(matches!(error, BatchError::Decompress { .. }), "{error}");
}

#[cfg(feature = "zstd")]
#[test]
fn a_zstd_frame_begins_as_kafkas() {
    let frame = compress(Compression::Zstd, None, b"abc").unwrap();
    assert_eq!(frame[..6], [0x28, 0xb5, 0x2f, 0xfd, 0, 0x58]);
}

#[cfg(feature = "gzip")]
#[test]
fn a_gzip_member_begins_as_kafkas_at_every_level() {
    for level in 1..=9 {
        let member = compress(Compression::Gzip, Some(level), b"abc").unwrap();
        assert_eq!(member[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
    }
}

#[cfg(feature = "snappy")]
mod snappy {
    use super::*;

    const STREAM: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";

    fn read(block: Vec<u8>) -> Result<Bytes, BatchError> {
        decompress(Compression::Snappy, &block.into(), MIB)
    }

    #[test]
    fn a_block_that_declares_too_much_is_refused_before_allocation() {
        // A raw block of declared length 2^32 - 1, and nothing behind it.
        let declared = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        let result =
            decompress(Compression::Snappy, &Bytes::copy_from_slice(&declared), usize::MAX);
        assert!(matches!(result, Err(BatchError::Decompress { .. })), "{result:?}");
    }

    #[test]
    fn a_raw_block_without_framing_is_read() {
        let raw = snap::raw::Encoder::new().compress_vec(&sample(1000)).unwrap();
        assert_eq!(read(raw).unwrap(), sample(1000));
    }

    #[test]
    fn streams_may_follow_one_another() {
        let stream = compress(Compression::Snappy, None, &sample(1000)).unwrap();
        assert_eq!(read(stream.repeat(3)).unwrap(), sample(1000).repeat(3));
    }

    #[test]
    fn bad_framing_is_refused() {
        let mut later = STREAM.to_vec();
        later[15] = 2;
        for block in [
            later,
            STREAM[..9].to_vec(),
            [&STREAM[..], &[0xff; 4]].concat(),
            [&STREAM[..], &[0, 0, 0, 9, 1]].concat(),
            [&STREAM[..], &[0, 0]].concat(),
        ] {
            assert!(matches!(read(block), Err(BatchError::Decompress { .. })));
        }
    }
}
