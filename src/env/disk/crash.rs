//! What a power cut leaves of a disk.

use std::collections::BTreeMap;
use std::hash::Hasher;

use bytes::Bytes;
use fastrand::Rng;

use crate::env::disk::state::{
    Change, ChangeKind, Directory, DiskState, FileContent, Inode, NameChange, Node,
};
use crate::env::extents::{Extents, length_of};

/// The unit in which a disk writes: what a write replaces is old or new sector by sector.
const SECTOR: u64 = 512;

/// What becomes of changes that no sync has covered, when the power is cut.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PowerCut {
    /// None of them is there.
    LosesAll,
    /// All of them are there, as after a crash of the process alone.
    KeepsAll,
    /// All but one: the change of this number, from 0. See [`Disk::unsynced`](crate::sim::Disk::unsynced).
    LosesOne(usize),
    /// This one alone.
    KeepsOne(usize),
    /// By a seed, each independently: names are kept or lost; lengths are kept or lost; writes are kept, lost, cut
    /// at a byte or a sector, kept in some sectors, or replaced by zeros where there was nothing before.
    Mixes(u64),
}

impl DiskState {
    /// Number of changes that no sync has covered.
    pub(super) fn unsynced(&self) -> usize {
        let count = |node: &Node| match node {
            Node::Directory(directory) => directory.pending.len(),
            Node::File(file) => file.pending.len(),
        };
        self.nodes().map(|(_, node)| count(node)).sum()
    }

    /// The disk as it is found when the power is back.
    pub(super) fn after(&self, cut: PowerCut) -> Self {
        let mut fates = Fates::new(cut);
        Self::from_nodes(self.nodes().map(|(_, node)| match node {
            Node::Directory(directory) => Node::Directory(fates.directory(directory)),
            Node::File(file) => Node::File(fates.file(file)),
        }))
    }

    /// Tells disks of different content apart.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = rustc_hash::FxHasher::default();
        self.visit(&mut |name, node| {
            hasher.write(name.as_bytes());
            if let Node::File(file) = node {
                let length = usize::try_from(file.current.len()).unwrap_or(0);
                hasher.write(&file.current.read(0, length).unwrap_or_default());
            }
            hasher.write_u8(0);
        });
        hasher.finish()
    }
}

/// Decides, change by change.
struct Fates {
    cut: PowerCut,
    /// Number of the next change.
    next: usize,
    rng: Rng,
    /// Of 256, how many changes are kept whole.
    kept: u8,
}

impl Fates {
    fn new(cut: PowerCut) -> Self {
        let mut rng = Rng::with_seed(if let PowerCut::Mixes(seed) = cut { seed } else { 0 });
        let kept = rng.choice([0, 30, 128, 128, 225]).unwrap_or(128);
        Self { cut, next: 0, rng, kept }
    }

    /// Whether the next change is kept, `None` if that is up to the seed.
    fn next(&mut self) -> Option<bool> {
        let number = self.next;
        self.next += 1;
        match self.cut {
            PowerCut::LosesAll => Some(false),
            PowerCut::KeepsAll => Some(true),
            PowerCut::LosesOne(lost) => Some(number != lost),
            PowerCut::KeepsOne(kept) => Some(number == kept),
            PowerCut::Mixes(_) => None,
        }
    }

    fn toss(&mut self) -> bool {
        self.rng.u8(..) < self.kept
    }

    fn directory(&mut self, directory: &Directory) -> Directory {
        let mut names: BTreeMap<String, Inode> = directory.durable.clone();
        for change in &directory.pending {
            if self.next().unwrap_or_else(|| self.toss()) {
                NameChange::apply(change, &mut names);
            }
        }
        Directory { current: names.clone(), durable: names, pending: Vec::new() }
    }

    fn file(&mut self, file: &FileContent) -> FileContent {
        let mut content = file.durable.clone();
        let mut length = content.len();
        let mut before = length;
        for change in &file.pending {
            let decided = self.next();
            let resized = change.length != before;
            before = change.length;
            if resized && decided.unwrap_or_else(|| self.toss()) {
                length = change.length;
                if matches!(change.kind, ChangeKind::Length) {
                    content.set_len(length);
                }
            }
            match decided {
                Some(true) => self.keep(change, &mut content),
                Some(false) => {}
                None if self.toss() => self.keep(change, &mut content),
                None => self.tear(change, file.durable.len(), &mut content),
            }
        }
        content.set_len(length);
        FileContent { current: content.clone(), durable: content, pending: Vec::new() }
    }

    fn keep(&self, change: &Change, content: &mut Extents) {
        if let ChangeKind::Write { position, bytes } = &change.kind {
            put(content, *position, bytes);
        }
    }

    /// A write of which less than all got to the disk. `durable` bytes had been there before.
    fn tear(&mut self, change: &Change, durable: u64, content: &mut Extents) {
        let ChangeKind::Write { position, bytes } = &change.kind else { return };
        let cut_to = |to: u64| bytes.slice(..usize::try_from(to).unwrap_or(0).min(bytes.len()));
        match self.rng.u8(..5) {
            0 => {}
            1 => put(content, *position, &cut_to(self.rng.u64(..=length_of(bytes)))),
            2 => {
                let unit = if self.rng.bool() { SECTOR } else { 8 * SECTOR };
                let end = position + self.rng.u64(..=length_of(bytes));
                put(content, *position, &cut_to((end / unit * unit).saturating_sub(*position)));
            }
            3 => self.sectors(*position, bytes, content, None),
            _ => self.sectors(*position, bytes, content, Some(durable)),
        }
    }

    /// Keeps some sectors of a write; with `zeros_from`, those behind it become zeros instead of being lost.
    fn sectors(
        &mut self,
        start: u64,
        bytes: &Bytes,
        content: &mut Extents,
        zeros_from: Option<u64>,
    ) {
        let mut position = start;
        let end = start + length_of(bytes);
        while position < end {
            let next = (position / SECTOR + 1).saturating_mul(SECTOR).min(end);
            let at = |p: u64| usize::try_from(p - start).unwrap_or(usize::MAX);
            if self.rng.bool() {
                put(content, position, &bytes.slice(at(position)..at(next)));
            } else if zeros_from.is_some_and(|from| position >= from) {
                put(content, position, &Bytes::from(vec![0; at(next) - at(position)]));
            }
            position = next;
        }
    }
}

fn put(content: &mut Extents, position: u64, bytes: &Bytes) {
    // It fails past the end of what 64 bits can count, where no write can have been.
    let _end = content.write(position, bytes);
}
