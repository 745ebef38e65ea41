//! Java's `.properties` files.
//!
//! A line is `key=value`, `key:value` or `key value`; white space around the separator is left out, and so is that
//! before the key, but not that behind the value. A line that begins with `#` or `!` is a comment. A `\` at the end of
//! a line joins the next one to it, without the white space that that one begins with. In keys and values `\t`, `\n`,
//! `\r`, `\f` and `\uXXXX` stand for characters (two of the last for one outside of the first 65,536), and `\` before
//! any other for that character itself. Text is UTF-8; Java reads ISO-8859-1, which is the same as far as ASCII goes.

use std::iter::Peekable;
use std::str::Chars;

use super::ConfigError;

/// One line, or several that were joined.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Property {
    pub(super) key: String,
    pub(super) value: String,
    /// Number of the line that it begins with, from 1.
    pub(super) line: usize,
}

/// The properties in a text, in its order. Keys may repeat.
pub(super) fn parse(text: &str) -> Result<Vec<Property>, ConfigError> {
    let mut properties = Vec::new();
    // All three ends of lines: `\r\n` makes an empty one more, which the numbers must not count.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = (1..).zip(text.split('\n'));
    while let Some((number, first)) = lines.next() {
        let first = first.trim_start_matches(is_space);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut joined = first.to_owned();
        while ends_in_backslash(&joined) {
            joined.pop();
            let Some((_, next)) = lines.next() else { break };
            joined.push_str(next.trim_start_matches(is_space));
        }
        let property = split(&joined)
            .map_err(|reason| ConfigError::Invalid(format!("line {number}: {reason}")))?;
        properties.push(Property { line: number, ..property });
    }
    Ok(properties)
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// An even number of them is an escaped one, or several.
fn ends_in_backslash(line: &str) -> bool {
    line.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1
}

fn split(line: &str) -> Result<Property, &'static str> {
    let mut rest = line.chars().peekable();
    let mut key = String::new();
    while let Some(c) = rest.next_if(|c| !is_space(*c) && !matches!(c, '=' | ':')) {
        unescape(c, &mut rest, &mut key)?;
    }
    while rest.next_if(|c| is_space(*c)).is_some() {}
    if rest.next_if(|c| matches!(c, '=' | ':')).is_some() {
        while rest.next_if(|c| is_space(*c)).is_some() {}
    }
    let mut value = String::new();
    while let Some(c) = rest.next() {
        unescape(c, &mut rest, &mut value)?;
    }
    Ok(Property { key, value, line: 0 })
}

/// Adds the character that begins with `c`.
fn unescape(c: char, rest: &mut Peekable<Chars<'_>>, to: &mut String) -> Result<(), &'static str> {
    let escaped = if c == '\\' { rest.next() } else { None };
    to.push(match escaped {
        None if c == '\\' => return Ok(()),
        None => c,
        Some('t') => '\t',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('f') => '\u{c}',
        Some('u') => unicode(rest)?,
        Some(other) => other,
    });
    Ok(())
}

/// The character of one `\uXXXX`, or of two that are a surrogate pair.
fn unicode(rest: &mut Peekable<Chars<'_>>) -> Result<char, &'static str> {
    let first = hex(rest)?;
    let units = match first {
        0xd800..=0xdbff if rest.next() == Some('\\') && rest.next() == Some('u') => {
            [first, hex(rest)?]
        }
        _ => [first, 0],
    };
    let decoded = char::decode_utf16(units).next();
    decoded.and_then(Result::ok).ok_or("\\u stands for half a character")
}

fn hex(rest: &mut Peekable<Chars<'_>>) -> Result<u16, &'static str> {
    let mut unit = 0u16;
    for _ in 0..4 {
        let digit = rest.next().and_then(|c| c.to_digit(16)).and_then(|d| u16::try_from(d).ok());
        unit = (unit << 4) | digit.ok_or("\\u needs four hexadecimal digits")?;
    }
    Ok(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().into_iter().map(|p| (p.key, p.value)).collect()
    }

    #[test]
    fn lines_are_read_as_java_reads_them() {
        for (line, key, value) in [
            ("a=b", "a", "b"),
            ("a:b", "a", "b"),
            ("a b", "a", "b"),
            ("a\tb", "a", "b"),
            ("  a  =  b  ", "a", "b  "),
            ("a = b = c", "a", "b = c"),
            ("a  : b", "a", "b"),
            ("a =: b", "a", ": b"),
            ("a", "a", ""),
            ("a=", "a", ""),
            ("= b", "", "b"),
            ("a\\=b\\:c\\ d=e", "a=b:c d", "e"),
            ("a=\\t\\n\\r\\f\\\\\\x", "a", "\t\n\r\u{c}\\x"),
            ("a=\\u00e9\\u20AC", "a", "é€"),
            ("a=\\ud83d\\ude00", "a", "😀"),
            ("a=é", "a", "é"),
            ("a=#no comment", "a", "#no comment"),
            ("a=\\", "a", ""),
            ("listeners=PLAINTEXT://:9092", "listeners", "PLAINTEXT://:9092"),
            ("log.dirs=C:\\\\data\\\\kafka", "log.dirs", "C:\\data\\kafka"),
        ] {
            assert_eq!(pairs(line), [(key.to_owned(), value.to_owned())], "{line:?}");
        }
    }

    #[test]
    fn comments_and_empty_lines_say_nothing_and_lines_are_counted() {
        let text = "# one\n! two\r\n\r\n   # three\n\t\na=1\\\n   ,2\\\n,3\n\nb=2\rc=3";
        let parsed = parse(text).unwrap();
        let property = |line, key: &str, value: &str| Property {
            key: key.to_owned(),
            value: value.to_owned(),
            line,
        };
        assert_eq!(
            parsed,
            [property(6, "a", "1,2,3"), property(10, "b", "2"), property(11, "c", "3")]
        );
    }

    /// A comment is not continued, and an escaped backslash continues nothing.
    #[test]
    fn only_a_single_backslash_at_the_end_joins_lines() {
        assert_eq!(pairs("# a \\\nb=1").len(), 1);
        assert_eq!(pairs("a=1\\\\\nb=2").len(), 2);
        // What is joined is no comment.
        assert_eq!(pairs("a=1\\\n#2"), [("a".to_owned(), "1#2".to_owned())]);
    }

    #[test]
    fn malformed_escapes_are_errors_that_name_the_line() {
        for text in ["\na=\\u12", "\na=\\u12g4", "\na=\\ud83d", "\na=\\ud83dx", "\na=\\udc00"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with("line 2: "), "{text:?}: {error}");
        }
    }

    /// As `java.util.Properties.store` writes them.
    fn store(text: &str) -> String {
        text.chars()
            .map(|c| match c {
                '\\' | ' ' | '=' | ':' | '#' | '!' => format!("\\{c}"),
                '\t' => "\\t".to_owned(),
                '\n' => "\\n".to_owned(),
                '\r' => "\\r".to_owned(),
                '\u{c}' => "\\f".to_owned(),
                ' '..='~' => c.to_string(),
                _ => {
                    let mut units = [0; 2];
                    c.encode_utf16(&mut units).iter().map(|u| format!("\\u{u:04X}")).collect()
                }
            })
            .collect()
    }

    proptest! {
        #[test]
        fn what_is_stored_is_loaded(stored in prop::collection::vec((".+", ".*"), 0..8)) {
            let text = stored.iter().map(|(k, v)| format!("{}={}\n", store(k), store(v)));
            prop_assert_eq!(pairs(&text.collect::<String>()), stored);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>()) {
            let _ = parse(&text);
        }
    }
}
