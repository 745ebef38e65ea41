//! Settings from files.

use std::path::Path;

use crate::base::{ConfigError, Draft, ReadMode};
use crate::env::{FileSystem, OsFs, read_file};

/// Sets what the `.properties` file at `path` says.
pub(super) fn load(draft: &mut Draft, path: &Path) {
    let place = path.display().to_string();
    match read(path) {
        Ok(text) => draft.properties(&place, &text),
        Err(reason) => draft.fail(ConfigError::Invalid(reason).at(place)),
    }
}

fn read(path: &Path) -> Result<String, String> {
    let fs = OsFs::new(ReadMode::Pread);
    // Links are followed here: what orchestrators mount is a link.
    let content = fs.resolve(path).and_then(|path| read_file(&fs, &path));
    let content = content.map_err(|error| format!("it cannot be read: {error}"))?;
    let text = String::from_utf8(content.unwrap_or_default().to_vec());
    text.map_err(|_| "it is not text in UTF-8".to_owned())
}
