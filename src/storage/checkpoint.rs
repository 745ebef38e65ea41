//! Kafka's checkpoint files: small text files that are replaced whole.
//!
//! # On disk
//! UTF-8 lines, each ended by `\n`: the version `0`, the number of entries, then one entry a line, its fields
//! separated by one space. An empty file has no entries.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::base::{Offset, TopicPartition};
use crate::base::{PartitionId, TopicName};
use crate::env::FileSystem;
use crate::env::{read_file, replace_file};
use crate::storage::StorageError;

/// Offsets of partitions, as kept in `recovery-point-offset-checkpoint` and its like.
pub(crate) type OffsetCheckpoint = BTreeMap<TopicPartition, Offset>;

/// Reads the entries of a checkpoint file by `parse`, `None` if there is no such file.
pub(super) fn read_entries<T, C: FromIterator<T>>(
    fs: &dyn FileSystem,
    path: &Path,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<C>, StorageError> {
    let Some(content) = read_file(fs, path).map_err(StorageError::io("read", path))? else {
        return Ok(None);
    };
    let text =
        std::str::from_utf8(&content).map_err(|e| StorageError::damaged(path, e.to_string()))?;
    decode_entries(text, parse).map(Some).map_err(|reason| StorageError::damaged(path, reason))
}

fn decode_entries<T, C: FromIterator<T>>(
    text: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<C, &'static str> {
    let mut lines = text.lines();
    match lines.next() {
        None => return Ok(C::from_iter([])),
        Some("0") => {}
        Some(_) => return Err("its first line is not version 0"),
    }
    let declared = lines.next().and_then(|line| line.parse::<usize>().ok());
    if declared != Some(lines.clone().count()) {
        return Err("it does not hold as many entries as it says");
    }
    lines.map(parse).collect::<Option<C>>().ok_or("an entry has other fields than it should")
}

fn encode_entries(entries: impl ExactSizeIterator<Item = String>) -> String {
    let mut text = format!("0\n{}\n", entries.len());
    for entry in entries {
        // Writing to a `String` does not fail.
        let _ = writeln!(text, "{entry}");
    }
    text
}

/// Replaces a checkpoint file, durably.
pub(super) fn write_entries(
    fs: &dyn FileSystem,
    dir: &Path,
    name: &str,
    entries: impl ExactSizeIterator<Item = String>,
) -> Result<(), StorageError> {
    let text = encode_entries(entries);
    replace_file(fs, dir, name, text.into()).map_err(StorageError::io("replace", &dir.join(name)))
}

/// Reads a file of `topic partition offset` lines, `None` if there is no such file.
pub(crate) fn read_offsets(
    fs: &dyn FileSystem,
    path: &Path,
) -> Result<Option<OffsetCheckpoint>, StorageError> {
    read_entries(fs, path, parse_offset)
}

/// The text of a file of `topic partition offset` lines.
pub(crate) fn encode_offsets(offsets: &OffsetCheckpoint) -> String {
    encode_entries(offsets.iter().map(offset_line))
}

/// The entries of such a text, `None` if it is none.
pub(crate) fn decode_offsets(text: &str) -> Option<OffsetCheckpoint> {
    decode_entries(text, parse_offset).ok()
}

fn parse_offset(line: &str) -> Option<(TopicPartition, Offset)> {
    let mut fields = line.split(' ');
    let topic = TopicName::new(fields.next()?).ok()?;
    let partition = fields.next()?.parse().ok().and_then(PartitionId::new)?;
    let offset = fields.next()?.parse().ok().and_then(Offset::new)?;
    fields.next().is_none().then(|| (TopicPartition::new(topic, partition), offset))
}

fn offset_line((tp, offset): (&TopicPartition, &Offset)) -> String {
    format!("{} {} {offset}", tp.topic, tp.partition)
}

/// Replaces a file of `topic partition offset` lines, durably.
pub(crate) fn write_offsets(
    fs: &dyn FileSystem,
    dir: &Path,
    name: &str,
    offsets: &OffsetCheckpoint,
) -> Result<(), StorageError> {
    write_entries(fs, dir, name, offsets.iter().map(offset_line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{MemFs, OpenFile};

    fn dir() -> (MemFs, &'static Path) {
        let fs = MemFs::default();
        fs.create_dir(Path::new("/d")).unwrap();
        (fs, Path::new("/d"))
    }

    #[test]
    fn offsets_round_trip_in_kafkas_text() {
        let (fs, dir) = dir();
        let golden = TopicPartition::parse_directory_name("golden-0").unwrap();
        let offsets = OffsetCheckpoint::from([(golden, Offset::from(47))]);
        write_offsets(&fs, dir, "recovery-point-offset-checkpoint", &offsets).unwrap();
        let path = dir.join("recovery-point-offset-checkpoint");
        assert_eq!(&read_file(&fs, &path).unwrap().unwrap()[..], b"0\n1\ngolden 0 47\n");
        assert_eq!(read_offsets(&fs, &path).unwrap(), Some(offsets));
    }

    /// A7: whatever a checkpoint file holds, reading it is an answer, not a panic.
    #[test]
    fn damaged_checkpoints_are_errors() {
        let (fs, dir) = dir();
        let path = dir.join("c");
        assert_eq!(read_offsets(&fs, &path).unwrap(), None);
        for bad in [
            "1\n0\n",
            "0\n2\na 0 1\n",
            "0\nx\n",
            "0\n1\na 0\n",
            "0\n1\na 0 1 2\n",
            "0\n1\na/b 0 1\n",
            "0\n1\na -1 1\n",
            "\0\0\0",
        ] {
            let file = fs.open(&path, OpenFile::Write).unwrap();
            file.set_len(0).unwrap();
            file.write(0, &[bad.into()]).unwrap();
            assert!(read_offsets(&fs, &path).is_err(), "{bad:?}");
        }
        fs.open(&path, OpenFile::Write).unwrap().set_len(0).unwrap();
        assert_eq!(read_offsets(&fs, &path).unwrap(), Some(OffsetCheckpoint::new()));
    }
}
