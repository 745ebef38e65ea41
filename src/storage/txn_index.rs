//! The transactions that markers in one segment have aborted.
//!
//! # On disk
//! Big-endian entries of 34 bytes, in the order of their markers, no header, no checksum: `version: i16` (0),
//! `producer_id: i64`, `first_offset: i64` (of the transaction), `last_offset: i64` (of the marker),
//! `last_stable_offset: i64` (below it no other transaction was open). A segment without an abort has no file.
//!
//! # Invariants
//! - Last offsets strictly increase from entry to entry.
//! - In memory all entries are there. Those of a log's durable part are in the file before a recovery point says so, since
//!   a file that lacks entries cannot be told from a complete one.
//!
//! # Locks
//! `saved` before `entries`. The file is written and synced under `saved` alone.

use std::path::Path;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::base::{Offset, ProducerId};
use crate::env::sync::{Mutex, RwLock};
use crate::env::{FileSystem, OpenFile, replace_file};
use crate::storage::StorageError;
use crate::storage::producers::AbortedTransaction;
use crate::storage::segment::{length, remove_file};

const VERSION: i16 = 0;
const ENTRY: usize = 34;

/// The aborted transactions of one segment.
#[derive(Debug)]
pub(super) struct TransactionIndex {
    entries: RwLock<Vec<AbortedTransaction>>,
    /// How many entries the file holds, and no others. `None` if it has to be written anew.
    saved: Mutex<Option<usize>>,
}

impl Default for TransactionIndex {
    /// No entries, and no file.
    fn default() -> Self {
        Self { entries: RwLock::default(), saved: Mutex::new(Some(0)) }
    }
}

impl TransactionIndex {
    /// Adds a transaction whose marker is behind all others'.
    pub(super) fn push(&self, aborted: AbortedTransaction) {
        self.entries.write().push(aborted);
    }

    /// Adds to `found` the transactions that batches in `from..upto` may be of. `false` if no later segment has more
    /// of them.
    pub(super) fn collect(
        &self,
        from: Offset,
        upto: Offset,
        found: &mut Vec<AbortedTransaction>,
    ) -> bool {
        let entries = self.entries.read();
        let first = entries.partition_point(|entry| entry.last < from);
        for entry in entries.iter().skip(first) {
            if entry.first < upto {
                found.push(*entry);
            }
            if entry.last_stable >= upto {
                return false;
            }
        }
        true
    }

    /// The index of what is left of the segment when it is cut at `offset`. Its file is to be saved before the segment's.
    pub(super) fn cut(&self, offset: Offset) -> Self {
        let saved = self.saved.lock();
        let entries = self.entries.read();
        let left = entries.iter().take_while(|entry| entry.last < offset).copied();
        let cut = Self::default();
        cut.set(left.collect(), saved.and_then(|count| entries.get(..count)));
        cut
    }

    /// Takes `entries` as the segment's. `file` is what the file holds: nothing if there is none, `None` if it is of no
    /// use.
    pub(super) fn set(
        &self,
        entries: Vec<AbortedTransaction>,
        file: Option<&[AbortedTransaction]>,
    ) {
        let mut saved = self.saved.lock();
        *saved = file.filter(|file| entries.starts_with(file)).map(<[_]>::len);
        *self.entries.write() = entries;
    }

    /// Writes entries that are not in the file `name` of `dir` yet, and makes them durable, with their file's name. After
    /// an error all are written once more by the next call: a second sync would say nothing of the first one's bytes.
    pub(super) fn save(
        &self,
        fs: &dyn FileSystem,
        dir: &Path,
        name: &str,
    ) -> Result<(), StorageError> {
        let path = &dir.join(name);
        let mut saved = self.saved.lock();
        let (count, from, bytes) = {
            let entries = self.entries.read();
            if *saved == Some(entries.len()) {
                return Ok(());
            }
            let from = saved.unwrap_or(0);
            (entries.len(), from, encode(entries.get(from..).unwrap_or_default()))
        };
        // Until all is done, nobody knows what the file holds.
        *saved = None;
        match (from, count) {
            (_, 0) => {
                remove_file(fs, path)?;
                fs.sync_dir(dir).map_err(StorageError::io("sync", dir))?;
            }
            // Half of a file that is written anew could not be told from a whole one.
            (0, _) => {
                replace_file(fs, dir, name, bytes).map_err(StorageError::io("replace", path))?;
            }
            _ => append(fs, path, length(from * ENTRY), bytes)
                .map_err(StorageError::io("write", path))?,
        }
        *saved = Some(count);
        Ok(())
    }
}

fn append(fs: &dyn FileSystem, path: &Path, position: u64, bytes: Bytes) -> std::io::Result<()> {
    let file = fs.open(path, OpenFile::Write)?;
    let end = position + length(bytes.len());
    file.write(position, &[bytes])?;
    if file.len()? != end {
        file.set_len(end)?;
    }
    file.sync()
}

fn encode(entries: &[AbortedTransaction]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(entries.len() * ENTRY);
    for entry in entries {
        bytes.put_i16(VERSION);
        bytes.put_i64(entry.producer.value());
        for offset in [entry.first, entry.last, entry.last_stable] {
            bytes.put_i64(offset.value());
        }
    }
    bytes.freeze()
}

/// The entries of a file, `None` if they cannot be those of a segment at `base`.
pub(super) fn decode(mut bytes: Bytes, base: Offset) -> Option<Vec<AbortedTransaction>> {
    if !bytes.len().is_multiple_of(ENTRY) {
        return None;
    }
    let mut entries = Vec::<AbortedTransaction>::new();
    entries.try_reserve_exact(bytes.len() / ENTRY).ok()?;
    while bytes.has_remaining() {
        let entry = AbortedTransaction::take(&mut bytes)?;
        let in_order = entries.last().is_none_or(|before| before.last < entry.last);
        let possible = entry.first < entry.last && entry.last_stable <= entry.last.next();
        if entry.last < base || !in_order || !possible {
            return None;
        }
        entries.push(entry);
    }
    Some(entries)
}

impl AbortedTransaction {
    /// Bytes of an entry.
    pub(crate) const SIZE: usize = ENTRY;

    /// Takes an entry off the front of at least [`SIZE`](Self::SIZE) bytes. `None` if it makes no sense.
    pub(crate) fn take(bytes: &mut Bytes) -> Option<Self> {
        let version = bytes.get_i16();
        let producer = ProducerId::new(bytes.get_i64());
        let [first, last, last_stable] = [(); 3].map(|()| Offset::new(bytes.get_i64()));
        (version == VERSION).then_some(())?;
        Some(Self { producer: producer?, first: first?, last: last?, last_stable: last_stable? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{MemFs, read_file};

    fn entry(producer: i64, offsets: [u32; 3]) -> AbortedTransaction {
        let [first, last, last_stable] = offsets.map(Offset::from);
        let producer = ProducerId::new(producer).unwrap();
        AbortedTransaction { producer, first, last, last_stable }
    }

    fn index(entries: &[AbortedTransaction]) -> TransactionIndex {
        let index = TransactionIndex::default();
        entries.iter().for_each(|entry| index.push(*entry));
        index
    }

    /// The bytes that Kafka wrote.
    #[test]
    fn entries_are_written_byte_for_byte() {
        let mut bytes = vec![0, 0];
        for field in [4000i64, 40, 43, 42] {
            bytes.extend(field.to_be_bytes());
        }
        let entries = [entry(4000, [40, 43, 42])];
        assert_eq!(encode(&entries), bytes);
        assert_eq!(decode(bytes.into(), Offset::ZERO), Some(entries.to_vec()));
    }

    #[test]
    fn a_search_ends_where_nothing_was_open_any_more() {
        let index = index(&[
            entry(1, [0, 5, 2]),
            entry(2, [2, 7, 8]),
            entry(3, [8, 9, 10]),
            entry(1, [11, 12, 13]),
        ]);
        let collect = |from: u32, upto: u32| {
            let mut found = Vec::new();
            let more = index.collect(Offset::from(from), Offset::from(upto), &mut found);
            (found.iter().map(|entry| entry.last.value()).collect::<Vec<_>>(), more)
        };
        assert_eq!(
            collect(0, 2),
            (vec![5], false),
            "the first entry says that all before 2 is decided"
        );
        assert_eq!(collect(0, 3), (vec![5, 7], false));
        assert_eq!(collect(6, 9), (vec![7, 9], false));
        assert_eq!(collect(10, 11), (vec![], false), "of a later transaction alone");
        assert_eq!(collect(10, 14), (vec![12], true));
        assert_eq!(collect(13, 14), (vec![], true));
    }

    #[test]
    fn only_new_entries_are_written_and_a_file_of_no_use_anew() {
        let fs = MemFs::default();
        fs.create_dir(Path::new("/d")).unwrap();
        let on_disk = || read_file(&fs, Path::new("/d/x")).unwrap();
        let index = TransactionIndex::default();
        let save = |index: &TransactionIndex| index.save(&fs, Path::new("/d"), "x").unwrap();
        save(&index);
        assert_eq!(on_disk(), None);
        let entries = [entry(1, [0, 5, 6]), entry(2, [6, 8, 9]), entry(2, [9, 10, 11])];
        index.push(entries[0]);
        save(&index);
        entries[1..].iter().for_each(|entry| index.push(*entry));
        save(&index);
        assert_eq!(on_disk(), Some(encode(&entries)));
        index.set(entries[..1].to_vec(), Some(&entries));
        save(&index);
        assert_eq!(on_disk(), Some(encode(&entries[..1])));
        index.set(Vec::new(), None);
        save(&index);
        assert_eq!(on_disk(), None);
    }

    /// H2: bytes that are no entries are told, whatever they claim.
    #[test]
    fn bytes_that_are_no_entries_are_refused() {
        let good = encode(&[entry(1, [40, 43, 42]), entry(1, [44, 46, 47])]).to_vec();
        let decodes =
            |bytes: &[u8]| decode(Bytes::copy_from_slice(bytes), Offset::from(40)).is_some();
        assert!(decodes(&good) && decodes(&[]));
        assert!(decode(good.clone().into(), Offset::from(44)).is_none(), "of another segment");
        for cut in (1..good.len()).filter(|cut| cut % ENTRY != 0) {
            assert!(!decodes(&good[..cut]));
        }
        assert!(!decodes(&[0; ENTRY]) && !decodes(&[0xff; ENTRY]));
        assert!(!decodes(&[&good[ENTRY..], &good[..ENTRY]].concat()), "out of order");
        for (at, byte) in
            [(1, 1), (2, 0x80), (10, 0x80), (17, 60), (18, 0x80), (26, 0x80), (33, 45)]
        {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(!decodes(&bad), "byte {at}");
        }
    }
}
