//! Numbers, times and names as a person reads them.

use std::borrow::Cow;

/// `text` as a terminal may show it: names that come from files can hold control characters, which would move its
/// cursor or change its colours. They are shown as Rust escapes; line ends and tabs stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_control(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Four significant digits, without an exponent where it would be longer to read.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".to_owned()
    } else if !(1e-4..1e7).contains(&size) {
        format!("{value:.2e}")
    } else if value.fract() == 0.0 || size >= 1000.0 {
        format!("{value:.0}")
    } else {
        let decimals = 3 - size.log10().floor() as i32;
        format!("{value:.*}", decimals.max(0) as usize)
    }
}

/// A count as `1.9 million` or with thousands separated.
pub(super) fn count(n: usize) -> String {
    if n >= 1_000_000 {
        return format!("{:.1} million", n as f64 / 1e6);
    }
    let digits = n.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size as `430 MB` or `3.5 GB`.
pub(super) fn bytes(n: u64) -> String {
    let megabytes = n as f64 / 1e6;
    if megabytes < 1000.0 {
        format!("{megabytes:.0} MB")
    } else {
        format!("{:.1} GB", megabytes / 1e3)
    }
}

/// `42 s`, `3 min 10 s`, `2 h 5 min`.
pub(super) fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_of_names_do_not_reach_the_terminal() {
        let shown = printable("skipped \u{1b}[2J\u{9b}1m\rcäts\t👍");
        assert_eq!(shown, "skipped \\u{1b}[2J\\u{9b}1m\\rcäts\t👍");
        assert!(matches!(printable("two\nlines"), Cow::Borrowed("two\nlines")));
    }

    #[test]
    fn numbers_keep_four_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.0812349, "0.08123"),
            (1.0, "1"),
            (3.62984, "3.630"),
            (123.456, "123.5"),
            (12345.6, "12346"),
            (1e-6, "1.00e-6"),
            (f64::NAN, "NaN"),
            (-0.5, "-0.5000"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(count(999), "999");
        assert_eq!(count(12_345), "12,345");
    }

    #[test]
    fn durations_read_as_people_say_them() {
        assert_eq!(duration(41.6), "42 s");
        assert_eq!(duration(190.0), "3 min 10 s");
        assert_eq!(duration(7500.0), "2 h 5 min");
    }
}
