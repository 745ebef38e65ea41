//! Variable-length integers of the record format.
//!
//! A number is zig-zag coded, so that small negative numbers are small, and then cut into groups of seven bits,
//! lowest first; the high bit of a byte says that another follows. A `varint` is an `i32` in at most 5 bytes, a
//! `varlong` an `i64` in at most 10. An *unsigned* varint, which Kafka's messages have and batches do not, is a `u32`
//! without the zig-zag.
//!
//! Nearly all varints of a record take one or two bytes, so these have a path of their own.

use bytes::{BufMut, BytesMut};

/// Most bytes that a varint takes.
pub(super) const MAX_VARINT: usize = 5;
/// Most bytes that a varlong takes.
pub(super) const MAX_VARLONG: usize = 10;

/// Takes a varint off the front of `bytes`. `None` if it is cut off or does not fit 32 bits.
#[inline]
pub(super) fn read_varint(bytes: &mut &[u8]) -> Option<i32> {
    let coded = match **bytes {
        [a, ref rest @ ..] if a < 0x80 => {
            *bytes = rest;
            u32::from(a)
        }
        [a, b, ref rest @ ..] if b < 0x80 => {
            *bytes = rest;
            u32::from(a & 0x7f) | u32::from(b) << 7
        }
        _ => u32::try_from(read_long_form(bytes, MAX_VARINT)?).ok()?,
    };
    Some((coded >> 1).cast_signed() ^ -(coded & 1).cast_signed())
}

/// Takes a varlong off the front of `bytes`. `None` if it is cut off or does not fit 64 bits.
#[inline]
pub(super) fn read_varlong(bytes: &mut &[u8]) -> Option<i64> {
    let coded = match **bytes {
        [a, ref rest @ ..] if a < 0x80 => {
            *bytes = rest;
            u64::from(a)
        }
        [a, b, ref rest @ ..] if b < 0x80 => {
            *bytes = rest;
            u64::from(a & 0x7f) | u64::from(b) << 7
        }
        _ => read_long_form(bytes, MAX_VARLONG)?,
    };
    Some((coded >> 1).cast_signed() ^ -(coded & 1).cast_signed())
}

/// Takes an unsigned varint off the front of `bytes`. `None` if it is cut off or does not fit 32 bits.
#[inline]
pub fn read_unsigned_varint(bytes: &mut &[u8]) -> Option<u32> {
    match **bytes {
        [a, ref rest @ ..] if a < 0x80 => {
            *bytes = rest;
            Some(u32::from(a))
        }
        _ => u32::try_from(read_long_form(bytes, MAX_VARINT)?).ok(),
    }
}

#[cold]
fn read_long_form(bytes: &mut &[u8], max_length: usize) -> Option<u64> {
    let mut value = 0u64;
    for (place, &byte) in bytes.iter().take(max_length).enumerate() {
        let group = u64::from(byte & 0x7f);
        let shift = 7 * place;
        // The tenth group holds one bit only.
        if (group << shift) >> shift != group {
            return None;
        }
        value |= group << shift;
        if byte < 0x80 {
            *bytes = bytes.get(place + 1..)?;
            return Some(value);
        }
    }
    None
}

#[inline]
const fn zigzag64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// Bytes that [`put_varlong`] writes for `value`: 1 to 10.
#[inline]
pub(super) const fn varlong_size(value: i64) -> usize {
    groups(zigzag64(value))
}

/// Bytes that [`put_length`] writes for `length`.
#[inline]
pub(super) const fn length_size(length: usize) -> usize {
    groups((length as u64) << 1)
}

/// Seven-bit groups that `coded` takes, at least one.
#[inline]
const fn groups(coded: u64) -> usize {
    (64 - (coded | 1).leading_zeros()).div_ceil(7) as usize
}

/// Appends `value` as a varlong.
#[inline]
pub(super) fn put_varlong(buf: &mut BytesMut, value: i64) {
    put_groups(buf, zigzag64(value));
}

/// Appends a length, a count, or another number that is not negative, as a varint. The caller sees to it that
/// it fits 31 bits.
#[inline]
pub(super) fn put_length(buf: &mut BytesMut, length: usize) {
    put_groups(buf, (length as u64) << 1);
}

/// Appends `value` as an unsigned varint.
#[inline]
pub fn put_unsigned_varint(buf: &mut BytesMut, value: u32) {
    put_groups(buf, u64::from(value));
}

/// Appends -1: the length of what is null.
#[inline]
pub(super) fn put_null(buf: &mut BytesMut) {
    buf.put_u8(1);
}

#[inline]
fn put_groups(buf: &mut BytesMut, coded: u64) {
    if coded < 1 << 7 {
        buf.put_u8(low_group(coded));
    } else if coded < 1 << 14 {
        buf.put_slice(&[low_group(coded) | 0x80, low_group(coded >> 7)]);
    } else {
        put_long_form(buf, coded);
    }
}

#[cold]
fn put_long_form(buf: &mut BytesMut, mut coded: u64) {
    while coded >= 1 << 7 {
        buf.put_u8(low_group(coded) | 0x80);
        coded >>= 7;
    }
    buf.put_u8(low_group(coded));
}

#[inline]
const fn low_group(coded: u64) -> u8 {
    (coded & 0x7f) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(value: i64) -> BytesMut {
        let mut buf = BytesMut::new();
        put_varlong(&mut buf, value);
        buf
    }

    #[test]
    fn small_numbers_have_kafkas_bytes() {
        for (value, bytes) in [
            (0, &[0][..]),
            (-1, &[1]),
            (1, &[2]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 1]),
            (500, &[0xe8, 0x07]),
            (-8191, &[0xfd, 0x7f]),
            (8192, &[0x80, 0x80, 1]),
            (-87_399_999, &[0xfd, 0xf8, 0xac, 0x53]),
        ] {
            assert_eq!(encoded(value), bytes, "{value}");
            let Ok(length) = usize::try_from(value) else { continue };
            let mut buf = BytesMut::new();
            put_length(&mut buf, length);
            assert_eq!(buf, bytes, "{value}");
            assert_eq!(buf.len(), length_size(length));
        }
    }

    #[test]
    fn every_power_of_two_round_trips_in_the_promised_size() {
        for shift in 0..64 {
            for value in
                [1i64 << shift, (1i64 << shift).wrapping_sub(1), (1i64 << shift).wrapping_neg()]
            {
                let buf = encoded(value);
                assert_eq!(buf.len(), varlong_size(value), "{value}");
                assert_eq!(read_varlong(&mut &buf[..]), Some(value));
                assert_eq!(read_varint(&mut &buf[..]), i32::try_from(value).ok());
            }
        }
    }

    #[test]
    fn unsigned_numbers_have_kafkas_bytes() {
        for (value, bytes) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (16_384, &[0x80, 0x80, 1]),
            (u32::MAX, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut buf = BytesMut::new();
            put_unsigned_varint(&mut buf, value);
            assert_eq!(buf, bytes, "{value}");
            assert_eq!(read_unsigned_varint(&mut &buf[..]), Some(value));
            for length in 0..buf.len() {
                assert_eq!(read_unsigned_varint(&mut &buf[..length]), None);
            }
        }
        assert_eq!(read_unsigned_varint(&mut &[0xff, 0xff, 0xff, 0xff, 0x1f][..]), None);
    }

    #[test]
    fn null_is_minus_one() {
        let mut buf = BytesMut::new();
        put_null(&mut buf);
        assert_eq!(read_varint(&mut &buf[..]), Some(-1));
    }

    #[test]
    fn a_cut_off_number_is_none() {
        for value in [64, 1 << 20, i64::MIN] {
            let buf = encoded(value);
            for length in 0..buf.len() {
                assert_eq!(read_varlong(&mut &buf[..length]), None);
                assert_eq!(read_varint(&mut &buf[..length]), None);
            }
        }
    }

    #[test]
    fn an_overlong_number_is_none() {
        assert_eq!(read_varint(&mut &[0x80, 0x80, 0x80, 0x80, 0x80, 0][..]), None);
        assert_eq!(read_varint(&mut &[0xff, 0xff, 0xff, 0xff, 0x1f][..]), None);
        assert_eq!(read_varint(&mut &[0xff, 0xff, 0xff, 0xff, 0x0f][..]), Some(i32::MIN));
        let mut eleven = [0x80; 11];
        eleven[10] = 0;
        assert_eq!(read_varlong(&mut &eleven[..]), None);
        let mut ten = [0xff; 10];
        ten[9] = 2;
        assert_eq!(read_varlong(&mut &ten[..]), None);
        ten[9] = 1;
        assert_eq!(read_varlong(&mut &ten[..]), Some(i64::MIN));
    }
}
