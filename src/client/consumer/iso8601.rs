//! Durations as ISO 8601 and Java's `Duration` write them: `P1DT2H30M`, `PT0.5S`.

use std::fmt::Write;
use std::time::Duration;

/// The units, and whether they come behind the `T`, in the order in which they stand.
const UNITS: [(char, bool, u64); 4] =
    [('D', false, 86_400), ('H', true, 3_600), ('M', true, 60), ('S', true, 1)];

/// The duration that `text` stands for. `None` if it is none, or negative, or longer than can be.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let text = text.to_ascii_uppercase();
    let (date, time) = match text.strip_prefix('P')?.split_once('T') {
        Some((_, "")) => return None,
        Some((date, time)) => (date, time),
        None => (text.strip_prefix('P')?, ""),
    };
    if date.is_empty() && time.is_empty() {
        return None;
    }
    let (mut date, mut time, mut total) = (date, time, Duration::ZERO);
    for (unit, is_time, seconds) in UNITS {
        let rest = if is_time { &mut time } else { &mut date };
        let Some((number, behind)) = rest.split_once(unit) else { continue };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let seconds = digits(whole)?.checked_mul(seconds)?;
        let nanos = if unit == 'S' { nanos(number, fraction)? } else { 0 };
        if unit != 'S' && number.contains('.') {
            return None;
        }
        total = total.checked_add(Duration::new(seconds, nanos))?;
        *rest = behind;
    }
    (date.is_empty() && time.is_empty()).then_some(total)
}

fn digits(text: &str) -> Option<u64> {
    // Not "+5", which parses as well.
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// The fraction of a second behind the point in `number`.
fn nanos(number: &str, fraction: &str) -> Option<u32> {
    match fraction.len() {
        0 => (!number.contains('.')).then_some(0),
        1..=9 => u32::try_from(digits(&format!("{fraction:0<9}"))?).ok(),
        _ => None,
    }
}

/// The shortest text that [`parse`] reads as `duration`.
pub(super) fn format(duration: Duration) -> String {
    let mut text = "PT".to_owned();
    let (hours, seconds) = (duration.as_secs() / 3_600, duration.as_secs() % 3_600);
    for (number, unit) in [(hours, 'H'), (seconds / 60, 'M')] {
        if number > 0 {
            let _ = write!(text, "{number}{unit}");
        }
    }
    let (seconds, nanos) = (seconds % 60, duration.subsec_nanos());
    if nanos > 0 {
        let fraction = format!("{nanos:09}");
        let _ = write!(text, "{seconds}.{}S", fraction.trim_end_matches('0'));
    } else if seconds > 0 || text == "PT" {
        let _ = write!(text, "{seconds}S");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_java_reads_them() {
        for (text, seconds) in [
            ("P7D", 604_800.0),
            ("PT1H", 3_600.0),
            ("P1DT2H3M4.5S", 93_784.5),
            ("pt0.25s", 0.25),
            ("PT90M", 5_400.0),
            ("PT0S", 0.0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
    }

    #[test]
    fn other_text_is_no_duration() {
        for text in [
            "",
            "P",
            "PT",
            "P1DT",
            "1D",
            "P1H",
            "PT1D",
            "PT1M1H",
            "PT1",
            "P-1D",
            "PT-1S",
            "PT1.S",
            "PT.5S",
            "PT1.5M",
            "PT+1S",
            "PT1SS",
            "P1Y",
            "P1W",
            "PT99999999999999999999S",
            "PT0.1234567891S",
            "P D",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(seconds in any::<u64>(), nanos in 0..1_000_000_000u32) {
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(parse(&format(duration)), Some(duration));
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = parse(&text);
        }
    }
}
