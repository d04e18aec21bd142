//! The quickstart's repeated work, in its own shapes: a step of each stage, and its grid of samples. Its total time is
//! that of `vqvae.steps` steps of stage 1, `prior.steps` of stage 2 and one grid, plus a small remainder and the losses
//! that start later: the steps measured are those before them.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::shapes::{
    SEED, VARIANCE, Work, prior_steps, random_codes, random_pixels, rng, vqvae_steps,
};
use crate::error::Result;
use crate::generation::sample_codes;
use crate::prior::{Condition, Prior, PriorConfig};
use crate::recipe::Recipe;
use crate::sampling::{Request, SamplingConfig};
use crate::tokenizer::TokenizerConfig;
use crate::training::prior::{PriorTrainer, SequenceBatch};
use crate::training::vqvae::VqvaeTrainer;

/// Categories of the emoji.
const CLASSES: usize = 9;

/// Images per batch of the sampler on the CPU.
const LANES: usize = 64;

/// The recipe and the shapes that follow from it.
#[derive(Debug)]
pub(super) struct Quickstart {
    recipe: Recipe,
    tokenizer: TokenizerConfig,
    prior: PriorConfig,
}

impl Quickstart {
    /// The recipe itself.
    pub(super) fn new() -> Result<Self> {
        Ok(Self::of(Recipe::load("quickstart", &[])?))
    }

    /// The network and losses that are the defaults, with these keys of the section `vqvae` changed.
    pub(super) fn of_defaults(keys: &[&str]) -> Result<Self> {
        let keys: Result<Vec<_>> = keys.iter().map(|key| format!("vqvae.{key}").parse()).collect();
        Ok(Self::of(Recipe::parse("{}", "the defaults", &keys?)?))
    }

    fn of(recipe: Recipe) -> Self {
        let tokenizer = recipe.vqvae.tokenizer_config(&recipe.data);
        let grid = tokenizer.grid();
        let prior = recipe.prior.prior_config(tokenizer.codebook_size, CLASSES, grid);
        Self { recipe, tokenizer, prior }
    }

    /// Images per step of stage 1.
    pub(super) fn images(&self) -> usize {
        self.recipe.vqvae.batch_size
    }

    /// Codes per step of stage 2.
    pub(super) fn codes(&self) -> usize {
        self.recipe.prior.batch_size * self.prior.n_codes()
    }

    /// Codes of the grid.
    pub(super) fn sampled_codes(&self) -> usize {
        self.recipe.sample.count * self.prior.n_codes()
    }

    /// A step of stage 1.
    pub(super) fn train_vqvae(&self, device: &Device) -> Result<Work> {
        let (batch, size) = (self.images(), self.tokenizer.image_size);
        let images = random_pixels([batch, size, size, self.tokenizer.channels], device);
        let images: Tensor<4> = Tensor::from_inner(images);
        let tracking = device.clone().autodiff();
        let section = &self.recipe.vqvae;
        let trainer = VqvaeTrainer::new(&self.tokenizer, section, VARIANCE, SEED, &tracking)?;
        Ok(vqvae_steps(trainer, images, device))
    }

    /// A step of stage 2.
    pub(super) fn train_prior(&self, device: &Device) -> Result<Work> {
        let batch = self.recipe.prior.batch_size;
        let codes = random_codes(self.codes(), &mut rng());
        let conditions: Vec<_> =
            (0..batch).map(|i| Condition::of_class(Some(i % CLASSES))).collect();
        let batch = SequenceBatch::new(&conditions, codes.into_iter(), &self.prior, device);
        let tracking = device.clone().autodiff();
        let trainer = PriorTrainer::new(&self.prior, &self.recipe.prior, SEED, &tracking);
        Ok(prior_steps(trainer, batch, device))
    }

    /// The codes of the grid of samples.
    pub(super) fn sample(&self, device: &Device) -> Result<Work> {
        let section = &self.recipe.sample;
        let request = |index: usize| Request {
            index: index as u64,
            condition: Condition::of_class(Some(index % CLASSES)),
            ..Request::default()
        };
        let requests: Vec<_> = (0..section.count).map(request).collect();
        let config = SamplingConfig {
            temperature: section.temperature,
            top_k: (section.top_k > 0).then_some(section.top_k),
            top_p: (section.top_p < 1.0).then_some(section.top_p),
            guidance: section.guidance,
            lanes: LANES,
            passes: section.passes,
            ..SamplingConfig::default()
        };
        let prior = Prior::new(&self.prior, SEED, device).valid();
        Ok(Box::new(move || {
            sample_codes(&prior, &requests, &config, SEED, &mut |_, _| {})?;
            Ok(())
        }))
    }
}
