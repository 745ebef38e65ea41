//! Rules that hold for the text of this repository: what may import what, where the outside world is
//! touched, and that documents tell the truth about files.

#![allow(clippy::disallowed_methods, reason = "reads the repository itself")]
#![allow(clippy::unwrap_used, reason = "an unreadable repository fails the test, as it should")]

use std::fs;
use std::path::{Path, PathBuf};

/// The folders of `src/`. Each may use itself and those before it.
const LAYERS: [&str; 11] = [
    "base",
    "env",
    "record",
    "storage",
    "replica",
    "cluster",
    "coordinator",
    "client",
    "inspect",
    "sim",
    "cli",
];

const MAX_LINES: usize = 600;

#[test]
fn imports_only_point_down() {
    for (rank, layer) in LAYERS.iter().enumerate() {
        let files = text_files(&format!("src/{layer}"));
        assert!(!files.is_empty(), "src/{layer} is empty: is it still a layer?");
        assert_no_line(files.into_iter().map(File::without_comments), |_, line| {
            // What is no layer is re-exported by lib.rs, which is above them all.
            let mut used = line
                .split("crate::")
                .skip(1)
                .map(|path| identifiers(path).next().unwrap_or_default());
            used.any(|used| !LAYERS.iter().take(rank + 1).any(|below| *below == used))
        });
    }
}

#[test]
fn every_folder_of_src_is_a_layer() {
    for file in text_files("src") {
        let folder = file.path.split('/').nth(1).unwrap_or_default();
        assert!(
            LAYERS.contains(&folder) || folder == "lib.rs",
            "{}: which layer is that?",
            file.path
        );
    }
}

/// Else a path by way of `super` could lead to any layer.
#[test]
fn layers_are_named_from_the_root() {
    assert_no_line(code().map(File::without_tests), |file, line| {
        let depth =
            file.path.split('/').count() - if file.path.ends_with("/mod.rs") { 3 } else { 2 };
        line.matches("super::").count() > depth
    });
}

/// A simulated run must not reach the real disk, clock or scheduler by mistake.
#[test]
fn only_env_touches_files_clocks_and_threads() {
    const OUTSIDE: [&str; 6] = [
        "std::fs",
        "Instant::now",
        "SystemTime::now",
        "thread::spawn",
        "thread::sleep",
        "thread::park",
    ];
    let files = code().filter(|file| !file.path.starts_with("src/env/")).map(File::without_tests);
    assert_no_line(files, |_, line| OUTSIDE.iter().any(|name| line.contains(name)));
}

/// A21: a sync of a range of a file does not keep what the file has grown by.
#[test]
fn files_are_synced_whole() {
    assert_no_line(code(), |_, line| line.contains("sync_file_range"));
}

#[test]
fn unsafe_code_is_in_one_file() {
    let files = code().filter(|file| file.path != "src/env/mmap.rs");
    assert_no_line(files, |_, line| identifiers(line).any(|word| word == "unsafe"));
}

/// C16: nobody outside poses as a follower, and moves the high watermark by what it says.
#[test]
fn nothing_of_a_replica_is_public() {
    let files = code().filter(|file| file.path.starts_with("src/replica/"));
    assert_no_line(files, |_, line| line.trim_start().starts_with("pub "));
}

#[test]
fn source_files_are_short() {
    for file in text_files("src") {
        let lines = file.text.lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines, more than {MAX_LINES}", file.path);
    }
}

#[test]
fn the_readme_shows_the_quickstart_example() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let example = fs::read_to_string(root().join("examples/quickstart.rs")).unwrap();
    let mut blocks = readme.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next());
    assert!(
        blocks.any(|block| block.trim() == example.trim()),
        "no ```rust block of README.md equals examples/quickstart.rs"
    );
}

#[test]
fn links_of_documents_lead_somewhere() {
    let documents = everything().filter(|file| file.path.ends_with(".md"));
    assert_no_line(documents, |document, line| {
        let folder = root().join(&document.path).parent().unwrap().to_owned();
        let mut targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        targets.any(|target| !target.contains("://") && !folder.join(target).exists())
    });
}

/// Whoever clones the repository does not have them.
#[test]
fn nothing_names_folders_outside_the_repository() {
    let outside = [concat!("/wo", "rk/"), concat!("../sha", "red")];
    assert_no_line(everything(), |_, line| outside.iter().any(|path| line.contains(path)));
}

struct File {
    /// Relative to the repository, with `/`.
    path: String,
    text: String,
}

impl File {
    /// With lines that are comments left empty, so that the others keep their numbers.
    fn without_comments(mut self) -> Self {
        let code = |line: &str| {
            if line.trim_start().starts_with("//") { "\n".into() } else { format!("{line}\n") }
        };
        self.text = self.text.lines().map(code).collect();
        self
    }

    /// Without the unit tests, which stand at the foot of a file, or in one or a folder of their own.
    fn without_tests(mut self) -> Self {
        let of_tests = self.path.ends_with("tests.rs") || self.path.contains("/tests/");
        let end = self.text.find("#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        self.text.truncate(if of_tests { 0 } else { end });
        self
    }
}

/// Fails with every line that is bad, and its place.
fn assert_no_line(files: impl IntoIterator<Item = File>, is_bad: impl Fn(&File, &str) -> bool) {
    let mut bad = String::new();
    for file in files {
        for (number, line) in (1..).zip(file.text.lines()).filter(|(_, line)| is_bad(&file, line)) {
            bad += &format!("\n{}:{number}: {}", file.path, line.trim());
        }
    }
    assert!(bad.is_empty(), "these lines break the rule:{bad}");
}

fn identifiers(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

fn code() -> impl Iterator<Item = File> {
    text_files("src").into_iter().map(File::without_comments)
}

/// All that people write here.
fn everything() -> impl Iterator<Item = File> {
    let at_the_root = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    // In a work tree `.git` is a file, which nobody wrote.
    let is_ours = |path: &PathBuf| path.is_file() && !path.ends_with(".git");
    let at_the_root = at_the_root.filter(is_ours).filter_map(|path| read(&path));
    let folders = ["src", "tests", "examples", "benches", "docs", ".ci"];
    at_the_root.chain(folders.into_iter().flat_map(text_files))
}

/// The text files of a folder and of those in it; binary ones are left out.
fn text_files(folder: &str) -> Vec<File> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.extend(read(&path)) }
        }
    }
    files
}

fn read(path: &Path) -> Option<File> {
    let text = String::from_utf8(fs::read(path).unwrap()).ok()?;
    let relative = path.strip_prefix(root()).unwrap().to_str().unwrap();
    Some(File { path: relative.replace('\\', "/"), text })
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
