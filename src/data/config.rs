//! The `data` section of a recipe: where the images are and what becomes of them before training. Values
//! only; [`super::Dataset::open`] acts on them.

use serde::{Deserialize, Serialize};

use super::Target;
use crate::error::{Error, Result};

/// The path that names the data set inside the binary.
pub const EMBEDDED_NOTO_EMOJI: &str = "embedded:noto-emoji";

/// The image sizes a recipe may ask for. The upper end is what a VQ-VAE of this kind is published for.
const IMAGE_SIZES: std::ops::RangeInclusive<usize> = 4..=1024;

/// What to read and how to prepare it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// `embedded:noto-emoji`, or a folder of images, of IDX files or of CIFAR-10 batches; relative to the working
    /// directory. A folder of several EMNIST sets and the name of one, `gzip/emnist-letters`, is that one.
    pub path: String,
    /// Height and width of every image, in pixels, 4 to 1024.
    pub image_size: usize,
    /// 3 for colour, 1 for grey.
    pub channels: usize,
    /// What transparent pixels are composited on, red, green, blue.
    pub background: [u8; 3],
    /// The fraction of images held out to watch training with. Unused where a data set has a published validation split.
    pub validation: f64,
    /// The fraction of images held out to the end. Unused where a data set has a published test split.
    pub test: f64,
    /// Mirror half of the training images, drawn anew in each epoch.
    pub flip: bool,
    /// Shift training images by up to this many pixels each way, repeating the edge; 0 is off. Images are
    /// decoded at `image_size` either way, so that this changes nothing about validation or code extraction.
    pub crop: usize,
    /// Decoded images up to this many MiB are kept in memory; beyond it, each is decoded again at every use.
    pub memory_budget_mb: usize,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            path: EMBEDDED_NOTO_EMOJI.to_string(),
            image_size: 32,
            channels: 3,
            background: [255; 3],
            validation: 0.05,
            test: 0.05,
            flip: true,
            crop: 0,
            memory_budget_mb: 2048,
        }
    }
}

impl DataConfig {
    /// Checks every value against what is allowed, without touching a file.
    ///
    /// # Errors
    /// The first value that is not allowed, with its key and the values that are.
    pub fn validate(&self) -> Result<()> {
        let check = |good: bool, key: &str, value: &dyn std::fmt::Display, allowed: &str| {
            if good {
                return Ok(());
            }
            Err(Error::invalid(format!("data.{key} is {value}; it must be {allowed}")))
        };
        check(!self.path.is_empty(), "path", &"empty", "a folder or `embedded:noto-emoji`")?;
        check(IMAGE_SIZES.contains(&self.image_size), "image_size", &self.image_size, "4 to 1024")?;
        check(
            matches!(self.channels, 1 | 3),
            "channels",
            &self.channels,
            "1 (grey) or 3 (colour)",
        )?;
        for (key, fraction) in [("validation", self.validation), ("test", self.test)] {
            check((0.0..1.0).contains(&fraction), key, &fraction, "at least 0 and below 1")?;
        }
        let held_out = self.validation + self.test;
        check(held_out < 1.0, "validation + data.test", &held_out, "below 1")?;
        let half = self.image_size / 2;
        check(self.crop <= half, "crop", &self.crop, &format!("at most half of image_size, {half}"))
    }

    /// The part that decides what one decoded image looks like.
    pub fn target(&self) -> Target {
        Target { image_size: self.image_size, channels: self.channels, background: self.background }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_section_is_the_default_and_survives_a_round_trip() {
        let config: DataConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(config, DataConfig::default());
        config.validate().unwrap();
        let again: DataConfig =
            serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(config, again);
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let error = serde_json::from_str::<DataConfig>(r#"{"imagesize": 32}"#).unwrap_err();
        assert!(error.to_string().contains("imagesize"), "{error}");
    }

    #[test]
    fn values_that_are_not_allowed_are_named_with_what_is() {
        let cases: [(&str, DataConfig); 7] = [
            ("data.channels is 2", DataConfig { channels: 2, ..Default::default() }),
            ("data.image_size is 0", DataConfig { image_size: 0, ..Default::default() }),
            ("data.test is NaN", DataConfig { test: f64::NAN, ..Default::default() }),
            ("data.validation is -0.1", DataConfig { validation: -0.1, ..Default::default() }),
            ("below 1", DataConfig { validation: 0.5, test: 0.5, ..Default::default() }),
            ("at most half of image_size, 16", DataConfig { crop: 17, ..Default::default() }),
            ("data.path is empty", DataConfig { path: String::new(), ..Default::default() }),
        ];
        for (expected, config) in cases {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} does not contain {expected:?}");
        }
    }
}
