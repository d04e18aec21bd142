//! The recipe: one JSON file that defines an experiment, from the data to the samples. It reads, overrides, checks and
//! writes recipes; it knows no tensors and runs nothing.
//!
//! Reading is strict: an unknown key, a duplicate key, a value of the wrong type or out of range is an error that names
//! the key, so no key of a recipe is silently ignored. What a recipe leaves out comes from its presets, then from the
//! defaults: the published method without further losses, so that a recipe or a run that is older than a key means what it
//! meant. The best that we know is in `configs/quickstart.json`, which a new run takes where no recipe is named.
//!
//! A key is declared once, in its section: name, type, default, values allowed, meaning, and what happens on resume.
//! `docs/recipe.md` is generated from the declarations (`tests/recipe_doc.rs`).

mod adversarial;
mod fitted;
mod json;
mod load;
mod optimizer;
mod overrides;
mod perceptual;
mod precision;
mod prior;
mod sample;
mod unknown_key;
mod vqvae;

pub use adversarial::{Adversarial, AdversarialSection};
pub use fitted::Fitted;
pub use load::BUILT_IN;
pub use optimizer::MatrixOptimizer;
pub use overrides::Override;
pub use perceptual::{PerceptualNet, PerceptualSection};
pub use precision::PrecisionChoice;
pub use prior::{CodeOrder, KeptWeights, PriorPreset, PriorSection, Views};
pub use sample::SampleSection;
pub use vqvae::{Codebook, ReconstructionLoss, Schedule, VqvaeSection};

use crate::data::DataConfig;
use crate::error::{Error, Result};
use crate::keys::{Key, Section, section};

section! {
    /// One experiment. Read one with [`Recipe::load`]: deserialising it directly skips the checks.
    pub struct Recipe, prefix "" {
        /// The name of the run's folders: `checkpoints/<name>`, `generations/<name>`, `reconstructions/<name>`.
        name: String = "quickstart".to_owned(),
            allowed "the name of a folder, at most 128 bytes", resume Silent;
        /// The seed of all randomness in the run.
        seed: u64 = 0, resume Refused;
        /// What GEMM operands are rounded to on the CPU device; weights and sums are f32 in any case. `bf16` is
        /// for processors with AVX512-BF16 or AMX. `auto` is bf16 where that is faster, which it is with AMX and, but on
        /// Intel's processors, with AVX512-BF16, and f32 elsewhere. A run keeps what was chosen when it began, unless
        /// `--precision` says otherwise.
        precision: PrecisionChoice = PrecisionChoice::Auto, resume Silent;
    }
    sections {
        /// The images, their size and their splits.
        data: DataConfig;
        /// Stage 1: the tokenizer and its training.
        vqvae: VqvaeSection;
        /// Stage 2: the prior and its training.
        prior: PriorSection;
        /// Sampling, unless overridden on the command line.
        sample: SampleSection;
    }
}

/// Every section of a recipe, in the order of a saved one.
pub fn sections() -> impl Iterator<Item = &'static Section> {
    Recipe::SECTIONS.iter().flat_map(Section::with_inner)
}

/// Every key of a recipe, in the order of a saved one.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    Recipe::KEYS.iter().chain(sections().flat_map(|section| section.keys))
}

/// The key of this full path, as in `vqvae.steps`.
pub fn key(path: &str) -> Option<&'static Key> {
    keys().find(|key| key.path == path)
}

impl Recipe {
    /// The recipe as JSON with every value filled in, one key per line.
    pub fn to_json(&self) -> String {
        // Every field is a number, a string, a list or a struct of those, which JSON can always represent.
        let mut text = serde_json::to_string_pretty(self)
            .unwrap_or_else(|error| panic!("a recipe could not be written as JSON: {error}"));
        text.push('\n');
        text
    }

    /// Refuses values out of range and combinations that cannot work; the message names the key, the value
    /// seen and the values allowed.
    pub fn validate(&self) -> Result<()> {
        self.check_keys()?;
        validate_name(&self.name)?;
        self.data.validate()?;
        self.vqvae.validate(&self.data)?;
        self.prior.validate()?;
        // A placeholder for the number of classes, which only the data determines.
        let tokenizer = self.vqvae.tokenizer_config(&self.data);
        let grid = tokenizer.grid();
        self.prior.prior_config(tokenizer.codebook_size, 0, grid).validate()?;
        self.sample.validate()
    }
}

/// A name becomes the last component of a path, so it must be valid as one.
fn validate_name(name: &str) -> Result<()> {
    // First, so that no message below repeats a long name.
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
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_quickstart_recipe_has_the_defaults_but_for_stage_1_and_what_few_images_need() {
        let quickstart = Recipe::load("quickstart", &[]).unwrap();
        let vqvae = VqvaeSection::default();
        assert_ne!(quickstart.vqvae, vqvae);
        let prior = PriorSection::default();
        let prior = PriorSection {
            shift: 1,
            ema_weights: 0.995,
            steps: 2_400,
            optimizer: MatrixOptimizer::Muon,
            learning_rate: 6e-3,
            ..prior
        };
        let expected = Recipe { prior, ..Recipe::default() };
        assert_eq!(Recipe { vqvae, ..quickstart }, expected);
    }

    #[test]
    fn the_declared_keys_are_those_of_a_saved_recipe_in_its_order() {
        let saved = serde_json::to_value(Recipe::default()).unwrap();
        fn leaves_of<'a>(prefix: &str, value: &'a Value, leaves: &mut Vec<(String, &'a Value)>) {
            match value.as_object() {
                Some(section) => section.iter().for_each(|(key, value)| {
                    let path = [prefix, key].join(if prefix.is_empty() { "" } else { "." });
                    leaves_of(&path, value, leaves);
                }),
                None => leaves.push((prefix.to_owned(), value)),
            }
        }
        let mut leaves = Vec::new();
        leaves_of("", &saved, &mut leaves);
        let declared: Vec<_> = keys().map(|key| (key.path.to_owned(), (key.default)())).collect();
        assert_eq!(leaves.len(), declared.len());
        for ((path, value), (declared, default)) in leaves.iter().zip(&declared) {
            assert_eq!((path, *value), (declared, default));
        }
    }

    #[test]
    fn conditions_name_keys_and_values_of_the_same_section() {
        for one in keys() {
            let in_section = |name: &str| {
                let path = one.path.replace(one.name(), name);
                key(&path).unwrap_or_else(|| panic!("{} depends on {path}", one.path))
            };
            one.filled_by.map(in_section);
            for only in one.only {
                let choices = (in_section(only.key).choices)();
                let values = (only.values)();
                assert!(!values.is_empty(), "{}", one.path);
                for value in values {
                    assert!(choices.contains(&value.as_str()), "{} only {value}", one.path);
                }
            }
            assert!(!one.text.is_empty() && !(one.allowed)().is_empty(), "{}", one.path);
        }
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
        assert_eq!(recipe.prior.prior_config(512, 10, [28, 28, 1]).n_codes(), 784);
    }
}
