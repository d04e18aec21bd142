//! Rules for the value of a single key. Each describes what it allows, and refuses the rest with the key, the value
//! seen and the values allowed. NaN breaks every rule about numbers, because every comparison with it is false.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::words::{json, or_list, values_of};
use crate::error::{Error, Result};

/// Most training steps: beyond it the step counter of a schedule would lose precision as f32.
pub(crate) const MOST_STEPS: usize = 16_777_216;
/// Most images or sequences in a batch.
pub(crate) const MOST_BATCH: usize = 65_536;

/// A rule for a value: `1..=5`, `0.0..1.0`, [`AboveZero`], a list of values with their meanings, or a text where
/// `validate` does the checking.
pub(crate) trait Allowed<T> {
    /// The allowed values, worded to follow "allowed are".
    fn text(&self) -> String;

    /// Refuses a value of `key` that is not allowed.
    fn check(&self, key: &str, value: &T) -> Result<()>;
}

fn refuse_unless(good: bool, key: &str, value: impl Display, allowed: String) -> Result<()> {
    if good {
        return Ok(());
    }
    Err(Error::invalid(format!("{key} is {value}, allowed are {allowed}")))
}

/// Inclusive range.
impl<T: PartialOrd + Display> Allowed<T> for RangeInclusive<T> {
    fn text(&self) -> String {
        format!("{} to {}", self.start(), self.end())
    }

    fn check(&self, key: &str, value: &T) -> Result<()> {
        refuse_unless(self.contains(value), key, value, self.text())
    }
}

/// Half-open range.
impl<T: PartialOrd + Display> Allowed<T> for Range<T> {
    fn text(&self) -> String {
        format!("{} up to but not {}", self.start, self.end)
    }

    fn check(&self, key: &str, value: &T) -> Result<()> {
        refuse_unless(self.contains(value), key, value, self.text())
    }
}

/// Above zero and at most this.
pub(crate) struct AboveZero(pub(crate) f64);

impl Allowed<f64> for AboveZero {
    fn text(&self) -> String {
        format!("numbers above 0 up to {}", self.0)
    }

    fn check(&self, key: &str, value: &f64) -> Result<()> {
        refuse_unless(*value > 0.0 && *value <= self.0, key, value, self.text())
    }
}

/// One of several values, each with its meaning.
impl<T: PartialEq + Display, const N: usize> Allowed<T> for [(T, &str); N] {
    fn text(&self) -> String {
        or_list(self.iter().map(|(value, meaning)| format!("{value} ({meaning})")))
    }

    fn check(&self, key: &str, value: &T) -> Result<()> {
        refuse_unless(self.iter().any(|(one, _)| one == value), key, value, self.text())
    }
}

/// A rule that involves other keys; checked by `validate`.
impl<T> Allowed<T> for &str {
    fn text(&self) -> String {
        (*self).to_owned()
    }

    fn check(&self, _: &str, _: &T) -> Result<()> {
        Ok(())
    }
}

/// The values that `rules`, at most one, allow.
pub(crate) fn rule_text<T: DeserializeOwned>(rules: &[&dyn Allowed<T>]) -> String {
    rules.first().map_or_else(values_of::<T>, |rule| rule.text())
}

/// Refuses any value of `key` but its default, because the key `of` has none of `values`.
pub(crate) fn refuse_unless_off<T>([key, of]: [&str; 2], value: &T, values: &[String]) -> Result<()>
where
    T: Default + PartialEq + Serialize,
{
    if *value == T::default() {
        return Ok(());
    }
    let name = of.rsplit_once('.').map_or(of, |(_, name)| name);
    let quoted = or_list(values.iter().map(json));
    Err(Error::invalid(format!(
        "{key} is only for the {} {name}: leave it out or set {of} to {quoted}",
        or_list(values)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(result: Result<()>) -> String {
        result.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn not_a_number_breaks_every_rule() {
        assert!((0.0..=1.0).check("k", &f64::NAN).is_err());
        assert!((0.0..1.0).check("k", &f64::NAN).is_err());
        assert!(AboveZero(1.0).check("k", &f64::NAN).is_err());
        assert!(AboveZero(1.0).check("k", &f64::INFINITY).is_err());
    }

    #[test]
    fn the_ends_of_a_range_are_as_the_message_says() {
        assert!((1..=3).check("k", &1).is_ok() && (1..=3).check("k", &3).is_ok());
        assert_eq!(message((1..=3).check("k", &0)), "k is 0, allowed are 1 to 3");
        assert_eq!(message((1..=3).check("k", &4)), "k is 4, allowed are 1 to 3");
        let above = "k is 0, allowed are numbers above 0 up to 1";
        assert_eq!(message(AboveZero(1.0).check("k", &0.0)), above);
        assert!(AboveZero(1.0).check("k", &1.0).is_ok());
        assert!((0.0..1.0).check("k", &0.0).is_ok());
        let below = "k is 1, allowed are 0 up to but not 1";
        assert_eq!(message((0.0..1.0).check("k", &1.0)), below);
    }

    #[test]
    fn one_of_some_values_is_named_with_what_it_means() {
        let rule = [(1, "grey"), (3, "colour")];
        assert!(rule.check("k", &1).is_ok() && rule.check("k", &3).is_ok());
        assert_eq!(message(rule.check("k", &2)), "k is 2, allowed are 1 (grey) or 3 (colour)");
    }

    #[test]
    fn a_key_without_meaning_must_be_off() {
        let values = ["a".to_owned(), "b".to_owned()];
        assert!(refuse_unless_off(["s.k", "s.kind"], &0, &values).is_ok());
        assert_eq!(
            message(refuse_unless_off(["s.k", "s.kind"], &1, &values)),
            r#"s.k is only for the a or b kind: leave it out or set s.kind to "a" or "b""#
        );
    }
}
