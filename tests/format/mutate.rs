//! Inputs made from other inputs, by a seed.

use fastrand::Rng;

/// Values at which something changes: signs, lengths of varints, sizes of fields.
const EDGES: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// Longest input that is made.
const MAX_LENGTH: usize = 64 << 10;

/// An input like one of `inputs`, changed in a few places.
pub(crate) fn mutate(inputs: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = rng.choice(inputs).cloned().unwrap_or_default();
    for _ in 0..1 << rng.u8(0..4) {
        change(&mut input, inputs, rng);
    }
    input.truncate(MAX_LENGTH);
    input
}

fn change(input: &mut Vec<u8>, inputs: &[Vec<u8>], rng: &mut Rng) {
    let at = rng.usize(..=input.len());
    match rng.u8(..9) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.u8(..8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = rng.u8(..);
            }
        }
        2 => {
            // The width of some field, big-endian.
            let width = 1 << rng.u8(..4);
            let edge = rng.choice(EDGES).unwrap_or(0).wrapping_add(rng.u64(..3)).wrapping_sub(1);
            let bytes = &edge.to_be_bytes()[8 - width..];
            let end = (at + width).min(input.len());
            input[at..end].copy_from_slice(&bytes[..end - at]);
        }
        3 => input.truncate(at),
        4 => {
            let end = rng.usize(at..=input.len());
            input.drain(at..end);
        }
        5 => {
            let count = rng.usize(1..16);
            let bytes = (0..count).map(|_| rng.u8(..)).collect::<Vec<_>>();
            input.splice(at..at, bytes);
        }
        6 => {
            let end = rng.usize(at..=input.len());
            let copy = input[at..end].to_vec();
            let to = rng.usize(..=input.len());
            input.splice(to..to, copy);
        }
        7 => {
            let other = rng.choice(inputs).map_or(&[][..], Vec::as_slice);
            let from = rng.usize(..=other.len());
            input.splice(at.., other[from..].iter().copied());
        }
        _ => {
            let byte = rng.choice([0, 0xff, b'\n', b' ', b'0', b'9']).unwrap_or(0);
            let count = rng.usize(1..64);
            input.splice(at..at, std::iter::repeat_n(byte, count));
        }
    }
}
