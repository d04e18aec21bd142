//! The recipe: one JSON file that says everything about an experiment, from the data to the samples. It
//! reads, overrides, checks and writes recipes; it knows no tensors and runs nothing.
//!
//! Reading is strict: a key that no section has, a duplicate key, a value of the wrong type or out of range is
//! an error that names the key, so no key of a recipe is ever dead. What a recipe leaves out comes from its
//! presets, then from the defaults, which are those of `configs/quickstart.json`.

mod json;
mod limits;
mod load;
mod overrides;
mod prior;
mod sample;
mod vqvae;

pub use load::{BUILT_IN, built_in_names};
pub use overrides::Override;
pub use prior::{PriorPreset, PriorSection, Views};
pub use sample::SampleSection;
pub use vqvae::{Codebook, ReconstructionLoss, Schedule, VqvaeSection};

use serde::{Deserialize, Serialize};

use crate::data::DataConfig;
use crate::error::{Error, Result};

/// One experiment. Read one with [`Recipe::load`]: deserialising it directly skips presets and checks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// Names the folders of the run: `checkpoints/<name>`, `generations/<name>`, `reconstructions/<name>`.
    pub name: String,
    /// Everything random in the run follows from it.
    pub seed: u64,
    /// Which images, at what size, and how they are split.
    pub data: DataConfig,
    /// Stage 1: the tokenizer and its training.
    pub vqvae: VqvaeSection,
    /// Stage 2: the prior and its training.
    pub prior: PriorSection,
    /// How images are sampled when the command line does not say otherwise.
    pub sample: SampleSection,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            name: "quickstart".to_owned(),
            seed: 0,
            data: DataConfig::default(),
            vqvae: VqvaeSection::default(),
            prior: PriorSection::default(),
            sample: SampleSection::default(),
        }
    }
}

impl Recipe {
    /// The recipe as JSON with every value filled in, one key a line.
    pub fn to_json(&self) -> String {
        // Every field is a number, a string, a list or a struct of those, which JSON can always hold.
        let mut text = serde_json::to_string_pretty(self)
            .unwrap_or_else(|error| panic!("a recipe could not be written as JSON: {error}"));
        text.push('\n');
        text
    }

    /// Refuses values out of range and combinations that cannot work; the message names the key, the value
    /// seen and the values allowed.
    pub fn validate(&self) -> Result<()> {
        validate_name(&self.name)?;
        self.data.validate()?;
        self.vqvae.validate(&self.data)?;
        self.prior.validate()?;
        // A stand-in for the number of classes, which only the data knows.
        let tokenizer = self.vqvae.tokenizer_config(&self.data);
        let grid = [tokenizer.grid_size(); 2];
        self.prior.prior_config(tokenizer.codebook_size, 0, grid).validate()?;
        self.sample.validate()
    }
}

/// A name becomes the last part of a folder, so it must be one.
fn validate_name(name: &str) -> Result<()> {
    // First, so that no message below repeats a long one.
    if name.len() > 128 {
        return Err(Error::invalid(format!(
            "name has {} bytes, at most 128 are allowed",
            name.len()
        )));
    }
    let forbidden = |c: char| c.is_control() || "/\\:*?\"<>|".contains(c);
    if name.trim().is_empty() || name.starts_with('.') || name.chars().any(forbidden) {
        return Err(Error::invalid(format!(
            "name is {name:?}, but it names folders: it needs at least one character, no dot in front and none of / \\ : * ? \" < > |"
        )));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_quickstart_recipe() {
        assert_eq!(Recipe::load("quickstart", &[]).unwrap(), Recipe::default());
    }

    #[test]
    fn every_built_in_recipe_loads_and_survives_a_round_trip() {
        for (name, _) in BUILT_IN {
            let recipe = Recipe::load(name, &[]).unwrap();
            assert_eq!(&recipe.name, name);
            let again = Recipe::parse(&recipe.to_json(), "a saved recipe", &[]).unwrap();
            assert_eq!(again, recipe);
        }
    }

    #[test]
    fn names_that_are_no_folder_names_are_refused() {
        for name in ["", "  ", "..", ".hidden", "a/b", "a\\b", "a\nb", "a:b"] {
            let recipe = Recipe { name: name.to_owned(), ..Recipe::default() };
            assert!(recipe.validate().unwrap_err().to_string().contains("name is"), "{name:?}");
        }
        assert!(validate_name("birds 2, größer").is_ok());
        let long = validate_name(&"a:".repeat(2_000)).unwrap_err().to_string();
        assert_eq!(long, "name has 4000 bytes, at most 128 are allowed");
    }

    #[test]
    fn the_published_small_recipe_is_what_was_published() {
        for name in ["fashion-mnist", "cifar10"] {
            let vqvae = Recipe::load(name, &[]).unwrap().vqvae;
            assert_eq!((vqvae.codebook_size, vqvae.code_dim, vqvae.batch_size), (512, 64, 32));
            assert_eq!((vqvae.ema_decay, vqvae.commitment), (0.99, 0.25));
            assert_eq!((vqvae.learning_rate, vqvae.weight_decay), (3e-4, 0.0));
            assert_eq!((vqvae.kmeans_init, vqvae.restart_after), (false, 0));
            assert_eq!((vqvae.schedule, vqvae.warmup_steps), (Schedule::Constant, 0));
            assert_eq!(vqvae.gradient_clip, 0.0);
        }
    }

    #[test]
    fn the_birds_recipe_has_a_grid_of_28_by_28() {
        let recipe = Recipe::load("birds", &[]).unwrap();
        let tokenizer = recipe.vqvae.tokenizer_config(&recipe.data);
        assert_eq!((tokenizer.grid_size(), tokenizer.codebook_size), (28, 512));
        assert_eq!(tokenizer.code_dim, 128);
        assert_eq!(recipe.prior.prior_config(512, 10, [28, 28]).n_codes(), 784);
    }
}
