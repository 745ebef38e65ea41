//! What the first bytes of a `.log` file are known to be.
//!
//! # On disk
//! `<base>.digest`: a sealed text of our own, a `key=value` a line: `version=1`, `segment=` topic id, partition and base
//! offset, `length=` bytes that it speaks of, `next=` offset behind them, `batches=`, `headers=` CRC-32 of all batch
//! headers, `first=` CRC-32 of the first header, `last=` position and CRC-32 of the last one. Headers hold the checksums
//! of the rest, so together all bytes are covered, the 21 without a checksum too (H5).
//!
//! # Invariants
//! - One of no bytes is that of the log's first segment: all that came before was removed. There is one if the log does
//!   not begin at 0, until the segment's own takes its place.
//! - It speaks of synced bytes alone, and of the first `length` of them: what is appended later does not make it wrong.
//! - It is never needed. One that is missing, damaged or another segment's says nothing.

use std::fmt;
use std::sync::Arc;

use crate::base::{Offset, PartitionId, TopicId, TopicPartition};
use crate::env::{read_file, replace_file};
use crate::record::{BatchHeader, HEADER_LENGTH};
use crate::storage::damage::Damage;
use crate::storage::segment::{MAX_SEGMENT_BYTES, Segment, length};
use crate::storage::{StorageError, names, seal, unseal};

/// Which log a segment is of, so that the digest of another is not taken for its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Owner {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionId,
}

/// What is known of the first bytes of one segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Digest {
    /// How many bytes.
    pub(crate) length: u64,
    /// Offset behind them.
    pub(crate) next: Offset,
    pub(crate) batches: u64,
    headers: u32,
    first: u32,
    last_position: u64,
    last: u32,
}

impl Digest {
    /// Of no bytes.
    pub(crate) fn empty(base: Offset) -> Self {
        Self { length: 0, next: base, batches: 0, headers: 0, first: 0, last_position: 0, last: 0 }
    }

    /// Adds the batch behind those that it speaks of.
    pub(crate) fn add(&mut self, bytes: &[u8], header: &BatchHeader) {
        let mut headers = crc32fast::Hasher::new_with_initial_len(
            self.headers,
            self.batches.saturating_mul(length(HEADER_LENGTH)),
        );
        headers.update(bytes);
        self.headers = headers.finalize();
        self.last = crc32fast::hash(bytes);
        if self.batches == 0 {
            self.first = self.last;
        }
        self.last_position = self.length;
        self.batches += 1;
        self.length += length(header.size());
        self.next = header.next_offset();
    }

    /// Goes on over the batches of `segment` that end at or before `upto`. `false` if one of them is not what comes
    /// next: nothing is said of it, and nothing can be said of those behind it.
    pub(super) fn extend(&mut self, segment: &Segment, upto: Offset) -> Result<bool, StorageError> {
        let size = segment.size();
        while self.length < size {
            let Some(header) = segment.header_at(self.length)? else { return Ok(false) };
            if !segment.layout().follows(header.base_offset(), self.next) {
                return Ok(false);
            }
            if header.next_offset() > upto {
                break;
            }
            self.add(&segment.read(self.length, HEADER_LENGTH)?, &header);
        }
        Ok(true)
    }

    /// Whether the file is the one that it speaks of: its first batch, or its last one, is there. A bit that has
    /// changed in one of them costs that batch alone, and its readers find out.
    pub(super) fn is_of(&self, segment: &Segment) -> Result<bool, StorageError> {
        let inside = |position| position + length(HEADER_LENGTH) <= segment.size();
        let has = |position, crc| {
            let is_it = || Ok(crc32fast::hash(&segment.read(position, HEADER_LENGTH)?) == crc);
            if inside(position) { is_it() } else { Ok::<_, StorageError>(false) }
        };
        // Of a file that was cut to next to nothing all that can be said is that it is too short.
        let unknown = self.batches == 0 || !inside(0);
        Ok(unknown || has(0, self.first)? || has(self.last_position, self.last)?)
    }

    fn encode(&self, owner: Owner, base: Offset) -> String {
        let place = Place(owner, base);
        let Self { length, next, batches, headers, first, last_position, last } = self;
        seal(&format!(
            "version=1\nsegment={place}\nlength={length}\nnext={next}\nbatches={batches}\n\
             headers={headers:08x}\nfirst={first:08x}\nlast={last_position} {last:08x}\n"
        ))
    }

    /// What a file says, and of which segment.
    pub(crate) fn decode(content: &[u8]) -> Option<(Place, Self)> {
        let mut lines = unseal(content)?.lines();
        let mut field = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix('=');
        (field("version")? == "1").then_some(())?;
        let place = Place::parse(field("segment")?)?;
        let hex = |text: &str| u32::from_str_radix(text, 16).ok();
        let length = field("length")?.parse().ok()?;
        let next = field("next")?.parse().ok().and_then(Offset::new)?;
        let batches = field("batches")?.parse().ok()?;
        let (headers, first) = (hex(field("headers")?)?, hex(field("first")?)?);
        let (position, last) = field("last")?.split_once(' ')?;
        let last_position = position.parse().ok()?;
        let last = hex(last)?;
        let digest = Self { length, next, batches, headers, first, last_position, last };
        // One more header than there are batches would be too much.
        let possible = length <= u64::from(MAX_SEGMENT_BYTES)
            && batches <= length / self::length(HEADER_LENGTH)
            && last_position <= length;
        possible.then_some((place, digest))
    }
}

/// A log, and the base offset of one of its segments.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Place(pub(crate) Owner, pub(crate) Offset);

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split(' ');
        let topic = TopicId::parse(fields.next()?)?;
        let partition = fields.next()?.parse().ok().and_then(PartitionId::new)?;
        let base = fields.next()?.parse().ok().and_then(Offset::new)?;
        fields.next().is_none().then_some(Self(Owner { topic, partition }, base))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Owner { topic, partition }, base) = self;
        write!(f, "{topic} {partition} {base}")
    }
}

impl Segment {
    /// Reads the digest file. Anything that is wrong with it, and it says nothing.
    pub(super) fn load_digest(&self, owner: Owner) {
        let (fs, path) = (self.file_system(), self.path(names::DIGEST));
        match read_file(fs, &path) {
            Ok(content) => {
                let found = content.as_deref().and_then(Digest::decode);
                let of_this = found.filter(|(place, _)| *place == Place(owner, self.base()));
                self.set_digest(of_this.map(|(_, digest)| digest));
            }
            Err(error) => log::warn!("{} was not read: {error}", path.display()),
        }
    }

    /// Says durably that the log begins with this segment, in a digest of no bytes: what comes before was removed.
    pub(super) fn save_empty_digest(&self, owner: Owner) -> Result<(), StorageError> {
        let digest = Digest::empty(self.base());
        self.write_digest(&digest, owner)?;
        self.set_digest(Some(digest));
        Ok(())
    }

    fn write_digest(&self, digest: &Digest, owner: Owner) -> Result<(), StorageError> {
        let name = names::segment_file(self.base(), names::DIGEST);
        let content = digest.encode(owner, self.base()).into();
        replace_file(self.file_system(), self.dir(), &name, content)
            .map_err(StorageError::io("replace", &self.path(names::DIGEST)))
    }

    /// Writes the digest of a segment that was made anew.
    pub(super) fn renew_digest(&self, owner: Owner, upto: Offset) {
        self.set_digest(Some(Digest::empty(self.base())));
        self.save_digest(owner, upto, true);
    }

    /// Brings the digest file up to date, as far as bytes below `upto` go, which are durable. The active segment's is
    /// written when it can speak of twice as much as before, or on `closing`. A failure costs a digest, nothing else.
    fn save_digest(&self, owner: Owner, upto: Offset, whole: bool) {
        let saved = self.digest();
        let known = saved.map_or(0, |saved| saved.length);
        let size = self.size();
        let is_due = if whole { size > known } else { size / 2 >= known };
        // Segments that came without one get none before they are written to: it would take a walk through all of them.
        if size == 0 || !is_due || (saved.is_none() && !self.was_written()) {
            return;
        }
        let mut digest = saved.unwrap_or(Digest::empty(self.base()));
        let mut write = || {
            if !digest.extend(self, upto)? {
                log::warn!("{} is damaged at {}", self.path(names::LOG).display(), digest.length);
            }
            if digest.length > known {
                self.write_digest(&digest, owner)?;
            }
            Ok::<_, StorageError>(digest)
        };
        match write() {
            Ok(digest) => self.set_digest(Some(digest)),
            Err(error) => log::warn!("a digest was not saved: {error}"),
        }
    }
}

/// Brings the digests of a log up to date that is durable below `flushed`.
pub(super) fn save(segments: &[Arc<Segment>], owner: Owner, flushed: Offset, closing: bool) {
    let nexts = segments.iter().skip(1).map(|next| next.base() <= flushed).chain([closing]);
    for (segment, whole) in segments.iter().zip(nexts) {
        segment.save_digest(owner, flushed, whole);
    }
}

/// What is wrong with the segments of a log that is durable below `durable`, by their lengths and digests. Where a
/// segment begins behind that, what comes before it may have been lost in a power cut.
pub(super) fn find_damage(
    partition: &TopicPartition,
    segments: &[Arc<Segment>],
    durable: Offset,
) -> Result<Option<Damage>, StorageError> {
    for (at, segment) in segments.iter().enumerate() {
        let Some(digest) = segment.digest() else { continue };
        let size = segment.size();
        let next = segments.get(at + 1);
        let damage = |offsets, position, reason| {
            Ok(Some(Damage::new(partition, segment, offsets, position, reason)))
        };
        if size < digest.length {
            let (position, end) = segment.end()?;
            let behind = next.map_or(digest.next, |next| next.base()).max(end);
            let reason = format!("it has {size} bytes, and had {}", digest.length);
            return damage(end..behind, position, reason);
        }
        match next {
            Some(next)
                if size == digest.length
                    && next.base() < durable
                    && !segment.layout().follows(next.base(), digest.next) =>
            {
                let (from, to) = (digest.next.min(next.base()), digest.next.max(next.base()));
                let reason = format!("the segment at {} is missing", digest.next);
                return damage(from..to, size, reason);
            }
            Some(_) => {}
            // What is appended to must not be another's.
            None if !digest.is_of(segment)? => {
                let offsets = segment.base()..digest.next;
                return damage(offsets, 0, "it was replaced by another".to_owned());
            }
            None => {}
        }
    }
    Ok(None)
}

/// Where the log begins, as far as one of the digests says so.
pub(super) fn beginning(segments: &[Arc<Segment>]) -> Option<Offset> {
    let begins = |segment: &&Arc<Segment>| segment.digest().is_some_and(|d| d.batches == 0);
    segments.iter().rev().find(begins).map(|segment| segment.base())
}

/// Everything below this offset was on disk when one of the digests was written.
pub(super) fn durable(segments: &[Arc<Segment>]) -> Offset {
    let nexts = segments.iter().filter_map(|segment| segment.digest()).map(|digest| digest.next);
    nexts.max().unwrap_or_default()
}
