//! Assigns images to training, validation and test. The split is a function of each image's content, so that an image
//! keeps it when others are added, removed or renamed, and copies of one file, which are common in scraped folders,
//! never fall into different splits.
//!
//! The rule, which is fixed: take the first 8 bytes of the SHA-256 of the file (of the raw pixels, where one file holds
//! many images) as a big-endian integer, divided by 2^64. Below `test` is test, below `test + validation` is
//! validation, the rest is train. A published test split is used as such, and the other images in `[test, test +
//! validation)` are validation. A published validation split is used as such, and the other images below `test` are
//! test, unless that is published too.
//!
//! A set of a few dozen images can leave a split empty. Then the image with the nearest number moves in, with its
//! copies: the largest number into an empty train, after that the smallest of train into an empty validation, then into
//! an empty test, as long as train keeps one. Only these images can change their split when others are added.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// One of the three parts of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Split {
    /// Images that models are trained on.
    Train = 0,
    /// Images for early stopping and selecting the best model.
    Validation = 1,
    /// Images for the final evaluation only.
    Test = 2,
}

impl Split {
    /// All three, in the order of their ids in files (0, 1, 2).
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// The name in file formats, flags and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Split {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|split| split.name() == name).ok_or_else(|| {
            Error::invalid(format!("unknown split `{name}` (train, validation or test)"))
        })
    }
}

/// The first 8 bytes of the SHA-256 of `content`: the key of [`assign`].
pub(super) fn content_key(content: &[u8]) -> u64 {
    let digest = Sha256::digest(content);
    digest.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// The number in `[0, 1)` that determines an image's split.
fn place(content_key: u64) -> f64 {
    // The upper 53 bits, which an f64 holds exactly; rounding all 64 could give 1.0.
    (content_key >> 11) as f64 / (1u64 << 53) as f64
}

/// The split of an image in a set without published splits, by the rule alone.
pub(super) fn by_content(content_key: u64, validation: f64, test: f64) -> Split {
    match place(content_key) {
        place if place < test => Split::Test,
        place if place < test + validation => Split::Validation,
        _ => Split::Train,
    }
}

/// The splits of the images with these content keys; `published[i]` is the split in which image `i` was published,
/// validation or test: `None` for those that others may be held out from.
pub(super) fn assign(
    content_keys: &[u64],
    published: &[Option<Split>],
    validation: f64,
    test: f64,
) -> Vec<Split> {
    let places: Vec<f64> = content_keys.iter().map(|&key| place(key)).collect();
    let is_published = |split| published.contains(&Some(split));
    let (has_validation, has_test) = (is_published(Split::Validation), is_published(Split::Test));
    let mut splits: Vec<Split> = places
        .iter()
        .zip(published)
        .map(|(place, published)| {
            let drawn = || match place {
                place if *place < test && !has_test => Split::Test,
                place if (test..test + validation).contains(place) && !has_validation => {
                    Split::Validation
                }
                _ => Split::Train,
            };
            published.unwrap_or_else(drawn)
        })
        .collect();

    if !splits.contains(&Split::Train) {
        // What was published as held out never trains a model.
        let movable = (0..splits.len()).filter(|&i| published[i].is_none());
        if let Some(last) = movable.map(|i| content_keys[i]).max() {
            for i in (0..splits.len()).filter(|&i| published[i].is_none()) {
                if content_keys[i] == last {
                    splits[i] = Split::Train;
                }
            }
        }
    }
    for (split, fraction) in [(Split::Validation, validation), (Split::Test, test)] {
        if fraction <= 0.0 || splits.contains(&split) {
            continue;
        }
        let train = || (0..splits.len()).filter(|&i| splits[i] == Split::Train);
        let keys = || train().map(|i| content_keys[i]);
        let Some(first) = keys().min().filter(|first| keys().any(|key| key != *first)) else {
            continue; // copies of one image stay together
        };
        let moved: Vec<usize> = train().filter(|&i| content_keys[i] == first).collect();
        moved.into_iter().for_each(|i| splits[i] = split);
    }
    splits
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn keys(n: usize) -> Vec<u64> {
        (0..n).map(|i| content_key(format!("image {i}").as_bytes())).collect()
    }

    fn assign_all(keys: &[u64], validation: f64, test: f64) -> Vec<Split> {
        assign(keys, &vec![None; keys.len()], validation, test)
    }

    #[test]
    fn the_place_of_a_content_never_changes() {
        // First 8 bytes of Python's hashlib.sha256(b"cats/1.png").digest(), over 2**64.
        let place = place(content_key(b"cats/1.png"));
        assert!((place - 0.011905832120588792).abs() < 1e-12, "{place}");
    }

    #[test]
    fn fractions_are_met_and_an_image_keeps_its_split_when_others_are_added() {
        let keys = keys(4000);
        let all = assign_all(&keys, 0.1, 0.2);
        let half = assign_all(&keys[..2000], 0.1, 0.2);
        assert_eq!(all[..2000], half);
        let share = |split| all.iter().filter(|&&s| s == split).count() as f64 / 4000.0;
        assert!((share(Split::Validation) - 0.1).abs() < 0.02);
        assert!((share(Split::Test) - 0.2).abs() < 0.02);
    }

    #[test]
    fn raising_a_fraction_of_validation_takes_images_from_train_alone() {
        let keys = keys(1000);
        let (before, after) = (assign_all(&keys, 0.1, 0.1), assign_all(&keys, 0.2, 0.1));
        for (before, after) in before.into_iter().zip(after) {
            assert!(before == after || (before, after) == (Split::Train, Split::Validation));
        }
    }

    #[test]
    fn a_tiny_set_can_always_train_and_fills_validation_first() {
        for n in 1..40 {
            let splits = assign_all(&keys(n), 0.05, 0.05);
            let count = |split| splits.iter().filter(|&&s| s == split).count();
            assert!(count(Split::Train) >= 1, "{n}");
            assert!(n < 2 || count(Split::Validation) + count(Split::Test) >= 1, "{n}");
            assert!(n < 3 || (count(Split::Validation) >= 1 && count(Split::Test) >= 1), "{n}");
        }
        let none = assign_all(&keys(20), 0.0, 0.0);
        assert!(none.iter().all(|&split| split == Split::Train));
    }

    #[test]
    fn a_published_test_split_stays_and_validation_comes_from_train() {
        let keys = keys(1000);
        let published: Vec<_> = (0..1000).map(|i| (i >= 800).then_some(Split::Test)).collect();
        let splits = assign(&keys, &published, 0.1, 0.1);
        for (i, split) in splits.iter().enumerate() {
            assert_eq!(*split == Split::Test, i >= 800);
        }
        let n_validation = splits.iter().filter(|&&s| s == Split::Validation).count();
        assert!((50..120).contains(&n_validation), "{n_validation}");
    }

    #[test]
    fn a_published_validation_split_stays_and_test_comes_from_train_unless_published() {
        let keys = keys(1000);
        let with_test: Vec<_> = (0..1000)
            .map(|i| match i {
                0..800 => None,
                800..900 => Some(Split::Validation),
                _ => Some(Split::Test),
            })
            .collect();
        let splits = assign(&keys, &with_test, 0.1, 0.1);
        assert!(splits.iter().zip(&with_test).all(|(a, b)| *a == b.unwrap_or(Split::Train)));

        let without = &with_test[..900];
        let splits = assign(&keys[..900], without, 0.1, 0.1);
        for ((split, published), key) in splits.iter().zip(without).zip(&keys) {
            let drawn = if place(*key) < 0.1 { Split::Test } else { Split::Train };
            assert_eq!(*split, published.unwrap_or(drawn));
        }
        assert!(splits.contains(&Split::Test));
    }

    #[test]
    fn names_of_splits_parse_back_and_others_are_refused() {
        for split in Split::ALL {
            assert_eq!(split.to_string().parse::<Split>().unwrap(), split);
        }
        assert!("valid".parse::<Split>().unwrap_err().to_string().contains("`valid`"));
    }
}
