//! What is done with bytes from outside, whoever brings them: the tests of this folder, and the fuzzer in `tests/fuzz`.
//!
//! A body takes any bytes. It panics if they do what bytes must not: lead to a panic of the library, to other records
//! than were written, to an error without a kind. How much memory it takes is watched from outside.

mod batches;
mod programs;
mod store;
mod trees;

use crate::memory::peak_of;

pub(crate) use trees::{is_legal, try_name};

/// A body, and how much memory it may take.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&[u8]),
    pub(crate) memory: Memory,
    /// Inputs worth changing a little, beside those of the corpus.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
}

/// Bytes that may be allocated at once for an input.
#[derive(Clone, Copy)]
pub(crate) enum Memory {
    /// 32 for each of its bytes, and 1 MiB.
    OfInput,
    /// As [`Memory::OfInput`], counting the files of the store that it is put into: so many bytes.
    OfStore(usize),
    /// 256 MiB: it may be compressed.
    Compressed,
}

impl Memory {
    pub(crate) fn limit(self, input: usize) -> usize {
        let of = |bytes: usize| 32 * bytes + (1 << 20);
        match self {
            Self::OfInput => of(input),
            Self::OfStore(files) => of(input + files),
            Self::Compressed => 256 << 20,
        }
    }
}

/// Bytes in the files of the store that files are put into, at most.
const STORE: usize = 32 << 10;

/// Whoever adds a parser of bytes from a disk adds its target: a new kind of file is one line in `store`.
pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "batches",
        run: batches::batches,
        memory: Memory::Compressed,
        seeds: batches::golden,
    },
    Target {
        name: "records",
        run: batches::records,
        memory: Memory::OfInput,
        seeds: batches::plain_records,
    },
    Target {
        name: "codecs",
        run: batches::codecs,
        memory: Memory::Compressed,
        seeds: batches::compressed,
    },
    Target {
        name: "log_file",
        run: store::log_file,
        memory: Memory::Compressed,
        seeds: store::log_files,
    },
    Target {
        name: "index_files",
        run: store::index_files,
        memory: Memory::OfStore(STORE),
        seeds: store::indexes,
    },
    Target {
        name: "checkpoints",
        run: store::checkpoints,
        memory: Memory::OfStore(STORE),
        seeds: store::checkpoint_files,
    },
    Target {
        name: "identity",
        run: store::identity,
        memory: Memory::OfStore(STORE),
        seeds: store::identity_files,
    },
    Target {
        name: "metadata",
        run: store::metadata,
        memory: Memory::OfStore(STORE),
        seeds: store::metadata_records,
    },
    Target { name: "names", run: trees::names, memory: Memory::OfInput, seeds: trees::some_names },
    Target {
        name: "trees",
        run: trees::trees,
        memory: Memory::Compressed,
        seeds: trees::some_trees,
    },
    Target {
        name: "programs",
        run: programs::programs,
        memory: Memory::Compressed,
        seeds: programs::some_programs,
    },
];

/// Runs a body by its target's name, for the fuzzer.
#[allow(dead_code, reason = "the tests go through all of them")]
pub(crate) fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("there is no target {name}"));
    let (peak, limit) = (peak_of(|| (target.run)(input)), target.memory.limit(input.len()));
    assert!(peak <= limit, "{peak} of {limit} bytes of memory");
}

/// The first byte of an input, which chooses among ways of a body, and the rest.
fn split_choice(input: &[u8]) -> (u8, &[u8]) {
    input.split_first().map_or((0, input), |(choice, rest)| (*choice, rest))
}
