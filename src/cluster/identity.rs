//! Whose directory it is: `brooklet.store`, and Kafka's `meta.properties` beside it.
//!
//! # On disk
//! `brooklet.store`, ours: lines `key=value`, the last of them `crc32=` and the CRC-32 (IEEE) of all bytes before that
//! line, in eight hexadecimal digits.
//! ```text
//! version=4
//! cluster.id=J8qhyyGSTEyL2wb7RXvxsg
//! node.id=1
//! directory.id=NBvgHWrhTmqqCrXTwQvy8w
//! crc32=ad4b548e
//! ```
//! `meta.properties`, Kafka's: the same without checksum. It is written second, so a directory with only this one is
//! Kafka's and not ours.

use std::path::Path;

use crate::base::{BrokerId, TopicId};
use crate::cluster::ClusterError;
use crate::env::FileSystem;
use crate::env::{read_file, replace_file};
use crate::storage::{StorageError, seal, unseal};

pub(super) const STORE_FILE: &str = "brooklet.store";
pub(super) const KAFKA_FILE: &str = "meta.properties";

/// The version of the files that are this crate's own, and of the records in the metadata log.
const FORMAT_VERSION: u32 = 4;

/// Identity of a store. Kafka's ids have the form of topic ids.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Identity {
    pub(super) cluster: TopicId,
    pub(super) broker: BrokerId,
    pub(super) directory: TopicId,
}

impl Identity {
    /// Reads the identity of the store in `root`, `None` if there is none yet.
    pub(super) fn load(fs: &dyn FileSystem, root: &Path) -> Result<Option<Self>, ClusterError> {
        let path = root.join(STORE_FILE);
        let content = read_file(fs, &path).map_err(StorageError::io("read", &path))?;
        let Some(content) = content else { return Ok(None) };
        if let Some(text) = unseal(&content) {
            let version = property(text, "version").and_then(|v| v.parse().ok()).unwrap_or(0);
            if version > FORMAT_VERSION {
                return Err(ClusterError::NewerFormat {
                    path: root.to_owned(),
                    version,
                    supported: FORMAT_VERSION,
                });
            }
            if let Some(identity) = Self::parse(text) {
                // A crash between the two files of a new store.
                let second = root.join(KAFKA_FILE);
                let twin = read_file(fs, &second).map_err(StorageError::io("read", &second))?;
                // Or one of an older version, which must not be taken for such once this one has written to it.
                if twin.is_none() || version < FORMAT_VERSION {
                    identity.save(fs, root)?;
                }
                return Ok(Some(identity));
            }
        }
        // Written twice for this case: Kafka's file says the same.
        let second = root.join(KAFKA_FILE);
        let content =
            read_file(fs, &second).map_err(StorageError::io("read", &second))?.unwrap_or_default();
        let identity = std::str::from_utf8(&content).ok().and_then(Self::parse);
        match identity {
            Some(identity) => {
                log::warn!("{} is damaged: restored from {KAFKA_FILE}", path.display());
                identity.save(fs, root)?;
                Ok(Some(identity))
            }
            None => {
                Err(StorageError::damaged(&path, format!("and {KAFKA_FILE} is of no help")).into())
            }
        }
    }

    /// Writes both files, durably.
    pub(super) fn save(&self, fs: &dyn FileSystem, root: &Path) -> Result<(), StorageError> {
        let Self { cluster, broker, directory } = self;
        let ids = format!("cluster.id={cluster}\nnode.id={broker}\ndirectory.id={directory}\n");
        let ours = seal(&format!("version={FORMAT_VERSION}\n{ids}"));
        for (name, text) in [(STORE_FILE, ours), (KAFKA_FILE, format!("version=1\n{ids}"))] {
            let path = root.join(name);
            replace_file(fs, root, name, text.into()).map_err(StorageError::io("write", &path))?;
        }
        Ok(())
    }

    fn parse(text: &str) -> Option<Self> {
        Some(Self {
            cluster: TopicId::parse(property(text, "cluster.id")?)?,
            broker: property(text, "node.id")?.parse().ok().and_then(BrokerId::new)?,
            directory: TopicId::parse(property(text, "directory.id")?)?,
        })
    }
}

fn property<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{MemFs, OpenFile};

    fn store() -> (MemFs, &'static Path, Identity) {
        let (fs, root) = (MemFs::default(), Path::new("/s"));
        fs.create_dir(root).unwrap();
        let identity = Identity {
            cluster: TopicId::from_bytes([1; 16]),
            broker: BrokerId::new(1).unwrap(),
            directory: TopicId::from_bytes([2; 16]),
        };
        (fs, root, identity)
    }

    fn overwrite(fs: &MemFs, path: &Path, text: &str) {
        let file = fs.open(path, OpenFile::Write).unwrap();
        file.set_len(0).unwrap();
        file.write(0, &[text.to_owned().into()]).unwrap();
    }

    #[test]
    fn identity_round_trips() {
        let (fs, root, identity) = store();
        assert_eq!(Identity::load(&fs, root).unwrap(), None);
        identity.save(&fs, root).unwrap();
        assert_eq!(Identity::load(&fs, root).unwrap(), Some(identity));
    }

    #[test]
    fn a_damaged_file_is_restored_from_its_twin() {
        let (fs, root, identity) = store();
        identity.save(&fs, root).unwrap();
        overwrite(&fs, &root.join(STORE_FILE), "version=1\nnode.id=9\ncrc32=00000000\n");
        assert_eq!(Identity::load(&fs, root).unwrap(), Some(identity));
        overwrite(&fs, &root.join(KAFKA_FILE), "");
        assert_eq!(Identity::load(&fs, root).unwrap(), Some(identity), "it was mended");
        overwrite(&fs, &root.join(STORE_FILE), "");
        assert!(Identity::load(&fs, root).is_err());
    }

    #[test]
    fn a_missing_twin_is_written_again() {
        let (fs, root, identity) = store();
        identity.save(&fs, root).unwrap();
        fs.remove_file(&root.join(KAFKA_FILE)).unwrap();
        assert_eq!(Identity::load(&fs, root).unwrap(), Some(identity));
        assert!(read_file(&fs, &root.join(KAFKA_FILE)).unwrap().is_some());
    }

    #[test]
    fn a_newer_format_is_refused() {
        let (fs, root, _) = store();
        let text = format!("version={}\n", FORMAT_VERSION + 1);
        overwrite(&fs, &root.join(STORE_FILE), &seal(&text));
        let error = Identity::load(&fs, root).unwrap_err();
        assert!(
            matches!(error, ClusterError::NewerFormat { version, .. } if version > FORMAT_VERSION),
            "{error}"
        );
    }

    /// A build that knows the older version only must not take for damaged what this one has recorded.
    #[test]
    fn a_store_of_an_older_version_gets_this_one() {
        let (fs, root, identity) = store();
        identity.save(&fs, root).unwrap();
        let path = root.join(STORE_FILE);
        let content = || read_file(&fs, &path).unwrap().unwrap();
        let current = content();
        let text = std::str::from_utf8(&current).unwrap();
        let older = text.replace(&format!("version={FORMAT_VERSION}"), "version=1");
        let (body, _) = older.rsplit_once("crc32=").unwrap();
        overwrite(&fs, &path, &format!("{body}crc32={:08x}\n", crc32fast::hash(body.as_bytes())));
        assert_eq!(Identity::load(&fs, root).unwrap(), Some(identity));
        assert_eq!(content(), current);
    }
}
