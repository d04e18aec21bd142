//! Human-readable numbers, times and names.

use std::borrow::Cow;
use std::time::Duration;

use indicatif::HumanDuration;

/// `text`, safe to print on a terminal: names from files can contain control characters, which would move the cursor or
/// change colours. They are shown as Rust escapes; line ends and tabs are kept.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
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

/// Four significant digits, without an exponent unless that is shorter.
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

/// Seconds as [`HumanDuration`] words them: `42 seconds`, `3 minutes`.
pub(super) fn duration(seconds: f64) -> HumanDuration {
    // A century is beyond any estimate, and an estimate may be infinite.
    const MOST: f64 = 3.2e9;
    // Only NaN is still refused.
    let duration = Duration::try_from_secs_f64(seconds.clamp(0.0, MOST).round());
    HumanDuration(duration.unwrap_or_default())
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
    }

    #[test]
    fn durations_are_worded_whatever_the_estimate() {
        for (seconds, text) in [(41.6, "42 seconds"), (190.0, "3 minutes"), (-1.0, "0 seconds")] {
            assert_eq!(duration(seconds).to_string(), text);
        }
        assert!(duration(f64::INFINITY).to_string().contains("years"));
        assert_eq!(duration(f64::NAN).to_string(), "0 seconds");
    }
}
