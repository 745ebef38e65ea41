//! Small text files of our own, with a checksum.
//!
//! # On disk
//! Lines of text, the last of them `crc32=` and the CRC-32 (IEEE) of all bytes before that line, in eight hexadecimal
//! digits.

/// The content of a file that says `text`.
pub(crate) fn seal(text: &str) -> String {
    format!("{text}crc32={:08x}\n", crc32fast::hash(text.as_bytes()))
}

/// What a file says, if its checksum fits.
pub(crate) fn unseal(content: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(content).ok()?;
    let (body, checksum) = text.trim_end_matches('\n').rsplit_once("crc32=")?;
    (u32::from_str_radix(checksum, 16).ok()? == crc32fast::hash(body.as_bytes())).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_of_a_sealed_text_is_noticed() {
        let sealed = seal("version=1\nemail 0 17\n");
        assert_eq!(unseal(sealed.as_bytes()), Some("version=1\nemail 0 17\n"));
        let end = sealed.trim_end().len();
        for position in 0..end {
            for bit in 0..8 {
                let mut damaged = sealed.clone().into_bytes();
                damaged[position] ^= 1 << bit;
                // Hexadecimal digits have two cases.
                assert!(unseal(&damaged).is_none() || position >= end - 8, "{position} {bit}");
            }
            assert_eq!(unseal(&sealed.as_bytes()[..position]), None);
        }
    }
}
