//! One record, where it lies in its batch.
//!
//! # Bytes
//! ```text
//! length: varint, of what follows      key_length: varint, -1 null, key
//! attributes: i8, unused               value_length: varint, -1 null, value
//! timestamp_delta: varlong             header_count: varint, and so many times:
//! offset_delta: varint                   key_length: varint, key in UTF-8, value_length: varint, -1 null, value
//! ```
//!
//! # Invariants
//! - [`RawRecord::take`] and [`take_header`] check all of this except UTF-8. `DecodedBatch::check` runs them, and
//!   the check for UTF-8, over every record before a view of it exists; views run them again, to find their way.

use bytes::{BufMut, BytesMut};

use super::builder::EncodedHeaders;
use super::varint::{length_size, put_length, read_varint, read_varlong};
use crate::base::Offset;
use crate::base::Timestamp;

/// A record, borrowed from its batch.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// The record's position in its partition.
    pub offset: Offset,
    /// Its timestamp, `None` if it was written without one or with one before 1970.
    pub timestamp: Option<Timestamp>,
    /// Its key; `None` differs from an empty one.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` (a tombstone, in a compacted topic) differs from an empty one.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: Headers<'a>,
}

/// The headers of a record, in the order they were added. Names may repeat. Parsed when looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    count: u32,
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    /// Number of headers, repeated names included.
    #[inline]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Names and values, in order. A value of `None` differs from an empty one.
    #[inline]
    pub const fn iter(&self) -> HeaderIter<'a> {
        HeaderIter { remaining: self.count, bytes: self.bytes }
    }

    /// The last header of this name, as in Kafka. The outer `None`: there is no such header. The inner: its
    /// value is null.
    pub fn get(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.iter().filter(|header| header.0 == name).last().map(|header| header.1)
    }
}

/// Copies the headers of a record as they are.
impl EncodedHeaders for Headers<'_> {
    fn size(&self) -> usize {
        length_size(self.len()) + self.bytes.len()
    }

    fn put(&self, buf: &mut BytesMut) {
        put_length(buf, self.len());
        buf.put_slice(self.bytes);
    }
}

impl<'a> IntoIterator for Headers<'a> {
    type Item = (&'a str, Option<&'a [u8]>);
    type IntoIter = HeaderIter<'a>;

    fn into_iter(self) -> HeaderIter<'a> {
        self.iter()
    }
}

/// Iterates over the names and values of [`Headers`].
#[derive(Clone, Debug)]
pub struct HeaderIter<'a> {
    remaining: u32,
    bytes: &'a [u8],
}

impl<'a> Iterator for HeaderIter<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.remaining = self.remaining.checked_sub(1)?;
        let (name, value) = take_header(&mut self.bytes).ok()?;
        Some((std::str::from_utf8(name).ok()?, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let remaining = self.remaining as usize;
        (remaining, Some(remaining))
    }
}

impl ExactSizeIterator for HeaderIter<'_> {}

/// A record as its bytes say it, before its batch's offset and timestamp are added.
#[derive(Clone, Copy)]
pub(super) struct RawRecord<'a> {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: Headers<'a>,
}

impl<'a> RawRecord<'a> {
    /// Fewest bytes that a record takes: seven fields of one byte each.
    pub(super) const MIN_SIZE: usize = 7;

    /// Takes a record off the front of `bytes`. The error says which rule it breaks.
    // Inlined by force: written to memory and read back, the record costs iteration half as much again.
    #[inline(always)]
    pub(super) fn take(bytes: &mut &'a [u8]) -> Result<Self, &'static str> {
        let length = read_varint(bytes).ok_or("length is no varint")?;
        let length = usize::try_from(length).map_err(|_| "length is negative")?;
        let (record, rest) = bytes.split_at_checked(length).ok_or("ends after its batch")?;
        *bytes = rest;
        let [_attributes, fields @ ..] = record else { return Err("has no attributes") };
        let mut fields = fields;
        let timestamp_delta = read_varlong(&mut fields).ok_or("timestamp is no varint")?;
        let offset_delta = read_varint(&mut fields).ok_or("offset is no varint")?;
        let key = take_nullable(&mut fields)?;
        let value = take_nullable(&mut fields)?;
        let count = read_varint(&mut fields).ok_or("header count is no varint")?;
        let count = u32::try_from(count).map_err(|_| "header count is negative")?;
        Ok(Self {
            timestamp_delta,
            offset_delta,
            key,
            value,
            headers: Headers { count, bytes: fields },
        })
    }

    /// Checks the headers from end to end: that all are there, have names in UTF-8, and fill the record.
    #[inline]
    pub(super) fn check_headers(&self) -> Result<(), &'static str> {
        let mut bytes = self.headers.bytes;
        // The count allocates nothing, and each turn takes two bytes or fails: it needs no bound of its own.
        for _ in 0..self.headers.count {
            let (name, _) = take_header(&mut bytes)?;
            std::str::from_utf8(name).map_err(|_| "header name is not UTF-8")?;
        }
        if bytes.is_empty() { Ok(()) } else { Err("is longer than its fields") }
    }
}

#[inline]
fn take_header<'a>(bytes: &mut &'a [u8]) -> Result<(&'a [u8], Option<&'a [u8]>), &'static str> {
    let name = take_nullable(bytes)?.ok_or("header name is null")?;
    Ok((name, take_nullable(bytes)?))
}

/// Takes a length and so many bytes, or -1 for null.
#[inline(always)]
fn take_nullable<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, &'static str> {
    let length = read_varint(bytes).ok_or("field length is no varint")?;
    match usize::try_from(length) {
        Ok(length) => {
            let (field, rest) =
                bytes.split_at_checked(length).ok_or("field ends after its record")?;
            *bytes = rest;
            Ok(Some(field))
        }
        Err(_) if length == -1 => Ok(None),
        Err(_) => Err("field length is negative"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bytes: &[u8]) -> Result<RawRecord<'_>, &'static str> {
        let mut rest = bytes;
        let record = RawRecord::take(&mut rest)?;
        record.check_headers()?;
        if rest.is_empty() { Ok(record) } else { Err("rest") }
    }

    /// Length 17, timestamp and offset 0, null key, value "hello", header "h1" = "v1".
    const EXAMPLE: &[u8] = b"\x22\0\0\0\x01\x0ahello\x02\x04h1\x04v1";

    #[test]
    fn the_worked_example_parses() {
        let record = taken(EXAMPLE).unwrap();
        assert_eq!((record.timestamp_delta, record.offset_delta), (0, 0));
        assert_eq!((record.key, record.value), (None, Some(&b"hello"[..])));
        assert_eq!(record.headers.iter().collect::<Vec<_>>(), [("h1", Some(&b"v1"[..]))]);
    }

    #[test]
    fn get_returns_the_last_header_of_a_name() {
        let bytes = b"\x02a\x021\x02b\x01\x02a\x022";
        let headers = Headers { count: 3, bytes };
        assert_eq!(headers.get("a"), Some(Some(&b"2"[..])));
        assert_eq!(headers.get("b"), Some(None));
        assert_eq!(headers.get("c"), None);
        assert_eq!(headers.iter().len(), 3);
    }

    #[test]
    fn every_cut_is_refused() {
        for length in 0..EXAMPLE.len() {
            assert!(taken(&EXAMPLE[..length]).is_err(), "{length}");
        }
    }

    /// Each of the lengths and counts in turn claims more than there is, or less than nothing.
    #[test]
    fn every_wrong_length_is_refused() {
        // Record, value, header count, header name, header value; key.
        for at in [0, 5, 11, 12, 15, 4] {
            // -1 (null), -2, -3, one more, and far too much.
            for wrong in [1, 3, 5, EXAMPLE[at].wrapping_add(2), 0x7e, 0x7f] {
                let mut bytes = EXAMPLE.to_vec();
                bytes[at] = wrong;
                if bytes != EXAMPLE {
                    assert!(taken(&bytes).is_err(), "byte {at} is {wrong}");
                }
            }
        }
    }

    #[test]
    fn a_header_name_that_is_not_utf8_is_refused() {
        let mut bytes = EXAMPLE.to_vec();
        bytes[13] = 0xff;
        assert_eq!(taken(&bytes).err(), Some("header name is not UTF-8"));
    }

    #[test]
    fn a_huge_header_count_ends_at_the_first_missing_header() {
        // Length 10: five bytes, all null or zero, and a count of 2^31 - 1.
        let bytes = b"\x14\0\0\0\x01\x01\xfe\xff\xff\xff\x0f";
        assert_eq!(taken(bytes).err(), Some("field length is no varint"));
    }
}
