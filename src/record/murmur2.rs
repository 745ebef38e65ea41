//! The hash by which Kafka's default partitioner places keys.

/// Murmur2 of `key` with Kafka's seed, 32 bits, signed as in Java.
///
/// The partition of a key is [`to_positive`] of this, modulo the number of partitions.
#[expect(clippy::little_endian_bytes, reason = "murmur2 is defined on little-endian words")]
pub fn murmur2(key: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;

    // Lengths beyond 32 bits would wrap; Java's arrays, and so Kafka's keys, end below that.
    let length = u32::try_from(key.len() & 0xffff_ffff).unwrap_or_default();
    let mut h = SEED ^ length;
    let (words, tail) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (place, &byte) in tail.iter().enumerate() {
            h ^= u32::from(byte) << (8 * place);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    (h ^ (h >> 15)).cast_signed()
}

/// `hash` without its sign bit, in `0..=i32::MAX`: what Kafka takes modulo the number of partitions.
pub const fn to_positive(hash: i32) -> u32 {
    hash.cast_unsigned() & 0x7fff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by Kafka's own function: key, murmur2, positive, and that modulo 6, 12 and 50.
    const VECTORS: [(&str, i32, u32, [u32; 3]); 13] = [
        ("", 275646681, 275646681, [3, 9, 31]),
        ("21", -973932308, 1173551340, [0, 0, 40]),
        ("abc", 479470107, 479470107, [3, 3, 7]),
        ("kafka", -798503068, 1348980580, [4, 4, 30]),
        ("key-0", 29210041, 29210041, [1, 1, 41]),
        ("key-1", 193331640, 193331640, [0, 0, 40]),
        ("foobar", -790332482, 1357151166, [0, 6, 16]),
        ("user-42", 1459644460, 1459644460, [4, 4, 10]),
        ("my-group", -1626987699, 520495949, [5, 5, 49]),
        ("naïve", 452640081, 452640081, [3, 9, 31]),
        ("a-little-bit-long-string", -985981536, 1161502112, [2, 8, 12]),
        ("a-little-bit-longer-string", -1486304829, 661178819, [5, 11, 19]),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971, 2088585677, [5, 5, 27]),
    ];

    #[test]
    fn hashes_are_kafkas() {
        for (key, hash, positive, partitions) in VECTORS {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
            assert_eq!(to_positive(hash), positive, "{key}");
            assert_eq!([6, 12, 50].map(|count| positive % count), partitions, "{key}");
        }
    }

    #[test]
    fn the_most_negative_hash_becomes_zero() {
        assert_eq!(to_positive(i32::MIN), 0);
        assert_eq!(to_positive(-1), u32::try_from(i32::MAX).unwrap());
    }
}
