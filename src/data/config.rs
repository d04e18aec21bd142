//! The `data` section of a recipe: where the images are and how they are prepared. Values only;
//! [`super::Dataset::open`] acts on them.

use super::columns::Columns;
use super::{CaptionSource, Target};
use crate::error::{Error, Result};
use crate::keys::section;

/// The path that names the data set inside the binary.
pub const EMBEDDED_NOTO_EMOJI: &str = "embedded:noto-emoji";

section! {
    /// What to read and how to prepare it.
    pub struct DataConfig, prefix "data." {
        /// A folder of images, of archives, of tables, of IDX files or of CIFAR batches, relative to the working directory;
        /// archives (tar, WebDataset's shards, zip) or tables (Parquet) by name, many as in `train-{0000..0099}.tar`; a
        /// text file that lists images, a path a line and after tabs the class and a caption; or the data set inside the
        /// binary. Where a folder holds several EMNIST sets, append the name of one: `gzip/emnist-letters`.
        path: String = EMBEDDED_NOTO_EMOJI.to_owned(),
            allowed "a path or `embedded:noto-emoji`", resume Silent;
        /// Where captions come from: `auto` reads `metadata.jsonl` (a JSON object an image, `file_name` and `text`),
        /// `metadata.csv` (the same as columns) and text files beside the images (`x.txt` for `x.png`, a caption a
        /// line), `names` takes the names of the images, and with `none` there are none. They are kept with the codes.
        captions: CaptionSource = CaptionSource::Auto, resume Silent;
        /// The columns of tables that hold the images, the classes and the captions, where the usual names
        /// (`image`; `label` or `fine_label`; `text` or `caption`) are not there or not meant: `image=img,label=style`.
        columns: String = String::new(), allowed Columns::ALLOWED, resume Refused;
        /// Height and width of every image, in pixels.
        image_size: usize = 32, allowed 4..=1024, resume Refused;
        /// Channels: 1 is grey, 3 is RGB.
        channels: usize = 3, allowed [(1, "grey"), (3, "colour")], resume Refused;
        /// What transparent pixels are composited on.
        background: [u8; 3] = [255; 3],
            allowed "red, green and blue, each 0 to 255", resume Refused;
        /// The fraction of images held out for validation during training. Unused where a data set has a published
        /// validation split.
        validation: f64 = 0.05, allowed 0.0..1.0, resume Refused;
        /// The fraction of images held out for the final test. Unused where a data set has a published test split.
        test: f64 = 0.05, allowed 0.0..1.0, resume Refused;
        /// Random horizontal flips of training images, with probability one half, redrawn in each epoch.
        flip: bool = true, resume Refused;
        /// Random shifts of training images by up to this many pixels in each direction, replicating the edge; 0 is
        /// off. Images are decoded at `image_size` either way, so validation and code extraction are unaffected.
        crop: usize = 0, allowed "0 to half of `image_size`", resume Refused;
        /// Decoded images up to this many MiB are kept in memory; a larger data set is decoded again at every use.
        memory_budget_mb: usize = 2048, resume Silent;
    }
}

impl DataConfig {
    /// Checks every value against what is allowed, without touching a file.
    ///
    /// # Errors
    /// The first value that is not allowed, with its key and the allowed values.
    pub fn validate(&self) -> Result<()> {
        self.check_keys()?;
        let held_out = self.validation + self.test;
        let half = self.image_size / 2;
        let message = if self.path.is_empty() {
            "data.path is empty; it must be a folder or `embedded:noto-emoji`".to_owned()
        } else if Columns::parse(&self.columns).is_none() {
            format!("data.columns is {:?}, allowed are {}", self.columns, Columns::ALLOWED)
        } else if held_out >= 1.0 {
            format!("data.validation + data.test is {held_out}; it must be below 1")
        } else if self.crop > half {
            format!("data.crop is {}; it must be at most half of image_size, {half}", self.crop)
        } else {
            return Ok(());
        };
        Err(Error::invalid(message))
    }

    /// The settings that determine the pixels of a decoded image.
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
        let cases: [(&str, DataConfig); 8] = [
            ("data.columns", DataConfig { columns: "size=x".into(), ..Default::default() }),
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
