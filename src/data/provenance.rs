//! What a file made from a data set records of it, so that later commands can tell held-out images from training
//! images.

use serde::{Deserialize, Serialize};

/// A data set and the rule of its splits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// [`super::Dataset::fingerprint`].
    pub fingerprint: String,
    /// The fraction held out for validation.
    pub validation: f64,
    /// The fraction held out for the final test.
    pub test: f64,
    /// Whether the split of each image is determined by its content and the two fractions alone. Not so where splits
    /// are published, nor where an image was moved into a split that would have been empty.
    pub by_content: bool,
}

impl Provenance {
    /// Whether images held out in `now` were held out in this data set too, if they were in it at all.
    pub fn holds_out_those_of(&self, now: &Self) -> bool {
        let same_rule = (self.validation, self.test) == (now.validation, now.test);
        self.fingerprint == now.fingerprint || self.by_content && now.by_content && same_rule
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_out_images_stay_so_in_the_same_data_and_by_the_same_rule() {
        let of = |fingerprint: &str, test, by_content| Provenance {
            fingerprint: fingerprint.to_owned(),
            validation: 0.05,
            test,
            by_content,
        };
        let trained_on = of("a", 0.05, true);
        assert!(trained_on.holds_out_those_of(&of("a", 0.05, true)));
        assert!(trained_on.holds_out_those_of(&of("b", 0.05, true)));
        assert!(!trained_on.holds_out_those_of(&of("b", 0.3, true)));
        assert!(!trained_on.holds_out_those_of(&of("b", 0.05, false)));
        assert!(of("a", 0.05, false).holds_out_those_of(&of("a", 0.05, false)));
        assert!(!of("a", 0.05, false).holds_out_those_of(&of("b", 0.05, true)));
    }
}
