//! The fields of Kafka's messages, plain and flexible, one after another.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::base::PartitionId;
use crate::base::TopicId;
use crate::base::TopicName;
use crate::coordinator::records::RecordError;
use crate::record::{put_unsigned_varint, read_unsigned_varint};

/// Takes fields off the front of bytes.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    flexible: bool,
}

impl<'a> Reader<'a> {
    /// For fields whose version is known.
    pub(super) fn plain(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, flexible: false }
    }

    /// For what begins with its version, which is returned: one of `known`. From `flexible` on it is flexible.
    pub(super) fn versioned(
        bytes: &'a [u8],
        what: &'static str,
        known: RangeInclusive<i16>,
        flexible: i16,
    ) -> Result<(Self, i16), RecordError> {
        let mut from = Self::plain(bytes);
        let version = from.i16()?;
        from.flexible = version >= flexible;
        if known.contains(&version) {
            Ok((from, version))
        } else {
            Err(RecordError::UnknownVersion { what, version })
        }
    }

    pub(super) fn i8(&mut self) -> Result<i8, RecordError> {
        self.rest.try_get_i8().map_err(|_| RecordError::Truncated)
    }

    pub(super) fn i16(&mut self) -> Result<i16, RecordError> {
        self.rest.try_get_i16().map_err(|_| RecordError::Truncated)
    }

    pub(super) fn i32(&mut self) -> Result<i32, RecordError> {
        self.rest.try_get_i32().map_err(|_| RecordError::Truncated)
    }

    pub(super) fn i64(&mut self) -> Result<i64, RecordError> {
        self.rest.try_get_i64().map_err(|_| RecordError::Truncated)
    }

    /// A text, made by `new` unless that refuses it.
    pub(super) fn text<T>(
        &mut self,
        field: &'static str,
        new: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<T, RecordError> {
        self.nullable_text(field, new)?.ok_or(RecordError::InvalidField { field })
    }

    /// The same for one that need not be there.
    pub(super) fn nullable_text<T>(
        &mut self,
        field: &'static str,
        new: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<Option<T>, RecordError> {
        let length = if self.flexible {
            self.compact_length()?
        } else {
            plain_length(self.i16()?.into(), field)?
        };
        let Some(length) = length else { return Ok(None) };
        let text = std::str::from_utf8(self.take(length)?).ok().and_then(new);
        text.map(Some).ok_or(RecordError::InvalidField { field })
    }

    pub(super) fn bytes(&mut self, field: &'static str) -> Result<Bytes, RecordError> {
        self.nullable_bytes(field)?.ok_or(RecordError::InvalidField { field })
    }

    pub(super) fn nullable_bytes(
        &mut self,
        field: &'static str,
    ) -> Result<Option<Bytes>, RecordError> {
        let Some(length) = self.long_length(field)? else { return Ok(None) };
        self.take(length).map(|bytes| Some(Bytes::copy_from_slice(bytes)))
    }

    /// As many of what `item` takes as the count in front says.
    pub(super) fn list<T, C: FromIterator<T>>(
        &mut self,
        field: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<T, RecordError>,
    ) -> Result<C, RecordError> {
        let count = self.long_length(field)?.ok_or(RecordError::InvalidField { field })?;
        // Each item takes a byte at least.
        if count > self.rest.len() {
            return Err(RecordError::Truncated);
        }
        (0..count).map(|_| item(self)).collect()
    }

    pub(super) fn topic(&mut self) -> Result<TopicName, RecordError> {
        self.text("topic", |name| TopicName::new(name).ok())
    }

    pub(super) fn topic_id(&mut self) -> Result<TopicId, RecordError> {
        let (id, rest) = self.rest.split_first_chunk().ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(TopicId::from_bytes(*id))
    }

    pub(super) fn partition(&mut self) -> Result<PartitionId, RecordError> {
        PartitionId::new(self.i32()?).ok_or(RecordError::InvalidField { field: "partition" })
    }

    /// Milliseconds, as `i32`.
    pub(super) fn duration(&mut self, field: &'static str) -> Result<Duration, RecordError> {
        let millis = u64::try_from(self.i32()?);
        millis.map(Duration::from_millis).map_err(|_| RecordError::InvalidField { field })
    }

    /// The tagged fields that end a flexible struct: `field` is given the tag and bytes of each, and passes over those that
    /// it does not know.
    pub(super) fn tagged(
        &mut self,
        mut field: impl FnMut(u32, &'a [u8]) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.unsigned()? {
            let (tag, size) = (self.unsigned()?, self.unsigned()?);
            field(tag, self.take(usize::try_from(size).map_err(|_| RecordError::Truncated)?)?)?;
        }
        Ok(())
    }

    pub(super) fn skip_tagged(&mut self) -> Result<(), RecordError> {
        self.tagged(|_, _| Ok(()))
    }

    /// That no byte is left.
    pub(super) fn end(self) -> Result<(), RecordError> {
        if self.rest.is_empty() { Ok(()) } else { Err(RecordError::LeftOver(self.rest.len())) }
    }

    /// The length of bytes, or the count of a list.
    fn long_length(&mut self, field: &'static str) -> Result<Option<usize>, RecordError> {
        if self.flexible { self.compact_length() } else { plain_length(self.i32()?, field) }
    }

    fn compact_length(&mut self) -> Result<Option<usize>, RecordError> {
        let length = self.unsigned()?.checked_sub(1).map(usize::try_from);
        length.transpose().map_err(|_| RecordError::Truncated)
    }

    fn unsigned(&mut self) -> Result<u32, RecordError> {
        read_unsigned_varint(&mut self.rest).ok_or(RecordError::Truncated)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

fn plain_length(length: i32, field: &'static str) -> Result<Option<usize>, RecordError> {
    if length == -1 {
        return Ok(None);
    }
    usize::try_from(length).map(Some).map_err(|_| RecordError::InvalidField { field })
}

/// Appends fields, the version first.
pub(super) struct Writer {
    out: BytesMut,
    flexible: bool,
}

impl Writer {
    pub(super) fn plain(version: i16) -> Self {
        Self::new(version, false)
    }

    pub(super) fn flexible(version: i16) -> Self {
        Self::new(version, true)
    }

    fn new(version: i16, flexible: bool) -> Self {
        // Room for most keys and values.
        let mut out = BytesMut::with_capacity(64);
        out.put_i16(version);
        Self { out, flexible }
    }

    pub(super) fn i8(&mut self, value: i8) {
        self.out.put_i8(value);
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    /// A text of at most 32,767 bytes: no type of what is written here has longer ones.
    pub(super) fn text(&mut self, text: &impl AsRef<str>) {
        let text = text.as_ref();
        if self.flexible {
            self.compact_length(text.len());
        } else {
            self.out.put_i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
        }
        self.out.put_slice(text.as_bytes());
    }

    pub(super) fn nullable_text(&mut self, text: Option<&impl AsRef<str>>) {
        match text {
            Some(text) => self.text(text),
            None if self.flexible => self.out.put_u8(0),
            None => self.out.put_i16(-1),
        }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.out.put_slice(bytes);
    }

    pub(super) fn nullable_bytes(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bytes(bytes),
            None if self.flexible => self.out.put_u8(0),
            None => self.out.put_i32(-1),
        }
    }

    /// The count of a list, or the length of bytes. No batch has room for as many as do not fit.
    pub(super) fn count(&mut self, count: usize) {
        if self.flexible {
            self.compact_length(count);
        } else {
            self.out.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
        }
    }

    pub(super) fn topic_id(&mut self, id: TopicId) {
        self.out.put_slice(id.as_bytes());
    }

    /// Milliseconds, as `i32`.
    pub(super) fn duration(&mut self, duration: Duration) {
        self.i32(i32::try_from(duration.as_millis()).unwrap_or(i32::MAX));
    }

    /// The tagged fields that end a flexible struct, by rising tag.
    pub(super) fn tagged(&mut self, fields: &[(u32, &[u8])]) {
        self.unsigned(fields.len());
        for (tag, bytes) in fields {
            put_unsigned_varint(&mut self.out, *tag);
            self.unsigned(bytes.len());
            self.out.put_slice(bytes);
        }
    }

    pub(super) fn finish(self) -> Bytes {
        self.out.freeze()
    }

    fn compact_length(&mut self, length: usize) {
        self.unsigned(length.saturating_add(1));
    }

    fn unsigned(&mut self, value: usize) {
        put_unsigned_varint(&mut self.out, u32::try_from(value).unwrap_or(u32::MAX));
    }
}
