//! The checksum inside LZ4 frames.

#![expect(clippy::little_endian_bytes, reason = "xxHash is defined on little-endian words")]

const PRIME_1: u32 = 0x9e37_79b1;
const PRIME_2: u32 = 0x85eb_ca77;
const PRIME_3: u32 = 0xc2b2_ae3d;
const PRIME_4: u32 = 0x27d4_eb2f;
const PRIME_5: u32 = 0x1656_67b1;

/// xxHash32 of `bytes`, with seed 0.
pub(super) fn xxh32(bytes: &[u8]) -> u32 {
    let (stripes, rest) = bytes.as_chunks::<16>();
    let mut lanes = [PRIME_1.wrapping_add(PRIME_2), PRIME_2, 0, PRIME_1.wrapping_neg()];
    for stripe in stripes {
        let (words, _) = stripe.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            let word = u32::from_le_bytes(*word).wrapping_mul(PRIME_2);
            *lane = lane.wrapping_add(word).rotate_left(13).wrapping_mul(PRIME_1);
        }
    }
    let mut hash = if stripes.is_empty() {
        PRIME_5
    } else {
        let turned = lanes.iter().zip([1, 7, 12, 18]).map(|(lane, by)| lane.rotate_left(by));
        turned.fold(0, u32::wrapping_add)
    };
    // By definition the length counts modulo 2^32.
    hash = hash.wrapping_add(u32::try_from(bytes.len() & 0xffff_ffff).unwrap_or_default());
    let (words, tail) = rest.as_chunks::<4>();
    for word in words {
        let word = u32::from_le_bytes(*word).wrapping_mul(PRIME_3);
        hash = hash.wrapping_add(word).rotate_left(17).wrapping_mul(PRIME_4);
    }
    for &byte in tail {
        let byte = u32::from(byte).wrapping_mul(PRIME_5);
        hash = hash.wrapping_add(byte).rotate_left(11).wrapping_mul(PRIME_1);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(PRIME_2);
    hash = (hash ^ (hash >> 13)).wrapping_mul(PRIME_3);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_match_the_reference() {
        for (input, hash) in [
            ("", 0x02cc_5d05),
            ("a", 0x550d_7456),
            ("abc", 0x32d1_53ff),
            ("Nobody inspects the spammish repetition", 0xe229_3b2f),
        ] {
            assert_eq!(xxh32(input.as_bytes()), hash, "{input}");
        }
    }

    /// The one frame header that Kafka writes.
    #[test]
    fn kafkas_frame_header_has_its_checksum() {
        assert_eq!(xxh32(&[0x60, 0x40]).to_le_bytes()[1], 0x82);
    }
}
