//! Help, versions, and what is said to those who mistype.

use std::io::Read;
use std::process::Stdio;

use super::{brooklet, golden, program};

const COMMANDS: [&str; 3] = ["dump-log", "topics", "completions"];

#[test]
fn every_help_text_fits_a_hundred_columns() {
    let without = std::iter::once(Vec::new());
    for command in without.chain(COMMANDS.map(|command| vec![command])) {
        for help in ["--help", "-h"] {
            let arguments = command.iter().chain([&help]);
            let output = program().args(arguments).env("COLUMNS", "300").output().unwrap();
            assert!(output.status.success());
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(text.contains("Usage: brooklet"), "{text}");
            for line in text.lines() {
                assert!(line.chars().count() <= 100, "{command:?} {help}: {line}");
            }
        }
    }
}

#[test]
fn the_help_names_every_command() {
    let help = brooklet(["--help"]);
    for command in COMMANDS {
        assert!(help.lines().iter().any(|line| line.trim().starts_with(command)), "{command}");
    }
}

/// A command's options, from its help.
fn options(command: &str) -> Vec<String> {
    let help = brooklet([command, "--help"]);
    let options = help.lines().into_iter().filter_map(|line| line.trim().strip_prefix("--"));
    options.map(|line| format!("--{}", line.split(' ').next().unwrap())).collect()
}

#[test]
fn every_option_is_in_the_documentation() {
    let document = include_str!("../../docs/command-line.md");
    for command in ["dump-log", "topics"] {
        let options = options(command);
        assert!(options.len() >= 8, "{options:?}");
        for option in options {
            let named = [format!("`{option}`"), format!("`{option} ")];
            assert!(named.iter().any(|name| document.contains(name)), "{command} {option}");
        }
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    assert_eq!(brooklet(["--version"]).lines(), [concat!("brooklet ", env!("CARGO_PKG_VERSION"))]);
}

#[test]
fn what_is_mistyped_is_an_error_that_suggests_what_was_meant() {
    for (arguments, suggested) in [
        (&["dump-lgo"][..], "'dump-log'"),
        (&["dump-log", "--file", "x.log"], "'--files'"),
        (&["dump-log", "--files", "x.log", "--print-data"], "'--print-data-log'"),
        (&["topic", "--list"], "'topics'"),
        (&["topics", "--data", "x", "--lists"], "'--list'"),
        (
            &["topics", "--data", "x", "--create", "--topic", "x", "--partition", "3"],
            "'--partitions'",
        ),
    ] {
        let ended = brooklet(arguments);
        assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{ended:?}");
        assert!(ended.err.contains(suggested), "{arguments:?}: {}", ended.err);
    }
}

#[test]
fn what_is_missing_is_an_error_that_says_so() {
    let ended = brooklet(["dump-log"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
    assert!(ended.err.contains("--files <FILES>"), "{}", ended.err);
    let ended = brooklet::<&str>([]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
    assert!(ended.err.contains("Usage: brooklet <COMMAND>"), "{}", ended.err);
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = brooklet(["completions", shell]);
        assert!(script.lines().len() > 10, "{shell}");
        assert!(script.out.contains("dump-log") && script.out.contains("verify-index-only"));
    }
}

/// As in `brooklet dump-log ... | head -n 1`.
#[test]
fn a_reader_who_has_seen_enough_ends_the_program_quietly() {
    let log = golden().join("golden-0/00000000000000000000.log");
    // Not the records: without codecs that would be an error.
    let mut files = vec!["dump-log".into(), "--files".into()];
    files.extend(std::iter::repeat_n(log.into_os_string(), 100));
    let mut child =
        program().args(files).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 7];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(&first, b"Dumping");
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
}
