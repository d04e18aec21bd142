//! The checks that every section shares. Each names the key, the value seen and the values allowed. NaN fails
//! all of them, because every comparison with it is false.

use std::fmt::Display;

use crate::error::{Error, Result};

/// Most training steps: beyond it the step counter of a schedule would lose precision as f32.
pub(super) const MOST_STEPS: usize = 16_777_216;
/// Most images or sequences in a batch.
pub(super) const MOST_BATCH: usize = 65_536;

/// `least <= value <= most`.
pub(super) fn within<T: PartialOrd + Display>(
    key: &str,
    value: T,
    least: T,
    most: T,
) -> Result<()> {
    if value >= least && value <= most {
        return Ok(());
    }
    Err(Error::invalid(format!("{key} is {value}, allowed are {least} to {most}")))
}

/// `0 < value <= most`.
pub(super) fn positive(key: &str, value: f64, most: f64) -> Result<()> {
    if value > 0.0 && value <= most {
        return Ok(());
    }
    Err(Error::invalid(format!("{key} is {value}, allowed is anything above 0 up to {most}")))
}

/// `0 <= value < 1`.
pub(super) fn below_one(key: &str, value: f64) -> Result<()> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(format!("{key} is {value}, allowed are 0 up to but not 1")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_a_number_is_out_of_every_range() {
        assert!(within("k", f64::NAN, 0.0, 1.0).is_err());
        assert!(positive("k", f64::NAN, 1.0).is_err());
        assert!(positive("k", f64::INFINITY, 1.0).is_err());
        assert!(below_one("k", f64::NAN).is_err());
    }

    #[test]
    fn the_ends_of_a_range_are_as_the_message_says() {
        assert!(within("k", 1, 1, 3).is_ok() && within("k", 3, 1, 3).is_ok());
        assert!(within("k", 0, 1, 3).is_err() && within("k", 4, 1, 3).is_err());
        assert!(positive("k", 0.0, 1.0).is_err() && positive("k", 1.0, 1.0).is_ok());
        assert!(below_one("k", 0.0).is_ok() && below_one("k", 1.0).is_err());
    }
}
