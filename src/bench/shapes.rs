//! The measured shapes, each a repeatable piece of work: a training step, a batch of images through one half of the
//! tokenizer, a batch of sequences sampled.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::error::{Error, Result};
use crate::generation::sample_codes;
use crate::prior::{Condition, Positions, Prior, PriorActivation, PriorConfig, PriorNorm};
use crate::recipe::{Recipe, VqvaeSection};
use crate::rng::{Purpose, Stream, stream};
use crate::sampling::{Request, SamplingConfig};
use crate::tokenizer::Tokenizer;
use crate::training::NonFinite;
use crate::training::prior::{PriorTrainer, SequenceBatch};
use crate::training::vqvae::VqvaeTrainer;

/// Repeatable work. It returns when the device has finished.
pub(super) type Work = Box<dyn FnMut() -> Result<()>>;

pub(super) const SEED: u64 = 0;
const LEARNING_RATE: f64 = 3e-4;
/// The variance of uniform pixels in a range of width 1.
pub(super) const VARIANCE: f64 = 1.0 / 12.0;
/// Top-k of sampling.
const TOP_K: usize = 100;

/// Images and a tokenizer for them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Images {
    pub(super) batch: usize,
    pub(super) channels: usize,
    pub(super) size: usize,
    /// Keys of the recipe's section `vqvae`.
    pub(super) keys: &'static [&'static str],
}

/// Sequences and a GPT for them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sequences {
    pub(super) batch: usize,
    /// Rows and columns of the code grid.
    pub(super) grid: [usize; 2],
    pub(super) layers: usize,
    pub(super) width: usize,
    pub(super) heads: usize,
    /// Rotary positions, normalised queries and keys, norms by the root mean square and squared ReLU.
    pub(super) other_blocks: bool,
    /// A value of `prior.optimizer`.
    pub(super) optimizer: &'static str,
}

/// Codes in the codebook of every case.
const CODES: usize = 512;

impl Images {
    /// The recipe with these keys, and the codebook updated by its gradient: nothing beyond a plain training step.
    pub(super) fn recipe(&self) -> Result<Recipe> {
        let data = [
            format!("data.channels={}", self.channels),
            format!("data.image_size={}", self.size),
            format!("vqvae.codebook_size={CODES}"),
            "vqvae.codebook=gradient".to_owned(),
            "vqvae.gradient_clip=0".to_owned(),
            "vqvae.restart_after=0".to_owned(),
        ];
        let keys = self.keys.iter().map(|key| format!("vqvae.{key}"));
        let overrides: Result<Vec<_>> =
            data.into_iter().chain(keys).map(|key| key.parse()).collect();
        Recipe::parse("{}", "the bench", &overrides?)
    }

    fn pixels(&self, device: &Device) -> Tensor<4> {
        random_pixels([self.batch, self.size, self.size, self.channels], device)
    }

    fn tokenizer(&self, device: &Device) -> Result<Tokenizer> {
        let Recipe { vqvae, data, .. } = self.recipe()?;
        Ok(Tokenizer::new(&vqvae.tokenizer_config(&data), SEED, device))
    }

    /// Forward, backward and update.
    pub(super) fn train(&self, device: &Device) -> Result<Work> {
        let recipe = self.recipe()?;
        let section: &VqvaeSection = &recipe.vqvae;
        let config = section.tokenizer_config(&recipe.data);
        let tracking = device.clone().autodiff();
        let trainer = VqvaeTrainer::new(&config, section, VARIANCE, SEED, &tracking)?;
        let images: Tensor<4> = Tensor::from_inner(self.pixels(device));
        Ok(vqvae_steps(trainer, images, device))
    }

    /// Images to code ids.
    pub(super) fn encode(&self, device: &Device) -> Result<Work> {
        let tokenizer = self.tokenizer(device)?;
        let images = self.pixels(device);
        Ok(Box::new(move || {
            let _ = tokenizer.encode(images.clone()).into_data(); // sync
            Ok(())
        }))
    }

    /// Code ids to images.
    pub(super) fn decode(&self, device: &Device) -> Result<Work> {
        let tokenizer = self.tokenizer(device)?;
        let grid = tokenizer.config().grid_size();
        let mut rng = rng();
        let codes = random_codes(self.batch * grid * grid, &mut rng);
        let codes = TensorData::new(codes, [self.batch, grid, grid, 1]);
        let codes = Tensor::<4, Int>::from_data(codes, device);
        Ok(Box::new(move || {
            let _ = tokenizer.decode(codes.clone()).into_data(); // sync
            Ok(())
        }))
    }
}

impl Sequences {
    /// The blocks of GPT-2, trained by AdamW, without a shape.
    pub(super) const PLAIN: Self = Self {
        batch: 0,
        grid: [0, 0],
        layers: 0,
        width: 0,
        heads: 0,
        other_blocks: false,
        optimizer: "adamw",
    };

    /// Codes per sequence.
    pub(super) fn length(&self) -> usize {
        self.grid[0] * self.grid[1]
    }

    fn config(&self) -> PriorConfig {
        let blocks = match self.other_blocks {
            false => PriorConfig::default(),
            true => PriorConfig {
                positions: Positions::Rotary,
                qk_norm: true,
                norm: PriorNorm::Rms,
                activation: PriorActivation::SquaredRelu,
                ..PriorConfig::default()
            },
        };
        PriorConfig {
            codebook_size: CODES,
            grid_height: self.grid[0],
            grid_width: self.grid[1],
            layers: self.layers,
            heads: self.heads,
            width: self.width,
            ..blocks
        }
    }

    /// Forward, backward and update.
    pub(super) fn train(&self, device: &Device) -> Result<Work> {
        let optimizer = format!("prior.optimizer={}", self.optimizer);
        let keys = ["prior.dropout=0", "prior.gradient_clip=0", &optimizer].map(str::parse);
        let keys: Result<Vec<_>> = keys.into_iter().collect();
        let recipe = Recipe::parse("{}", "the bench", &keys?)?;
        let config = self.config();
        config.validate()?;
        let tracking = device.clone().autodiff();
        let trainer = PriorTrainer::new(&config, &recipe.prior, SEED, &tracking);
        let mut rng = rng();
        let codes = random_codes(self.batch * self.length(), &mut rng);
        let conditions = vec![Condition::default(); self.batch];
        let batch = SequenceBatch::new(&conditions, codes.into_iter(), &config, device);
        Ok(prior_steps(trainer, batch, device))
    }

    /// Whole sequences, code by code, in one batch.
    pub(super) fn sample(&self, device: &Device) -> Result<Work> {
        let prior = Prior::new(&self.config(), SEED, device).valid();
        let request = |index| Request { index, ..Request::default() };
        let requests: Vec<_> = (0..self.batch as u64).map(request).collect();
        let lanes = self.batch;
        let config = SamplingConfig { top_k: Some(TOP_K), lanes, ..SamplingConfig::default() };
        Ok(Box::new(move || {
            sample_codes(&prior, &requests, &config, SEED, &mut |_, _| {})?;
            Ok(())
        }))
    }
}

/// Steps of stage 1 on the same images.
pub(super) fn vqvae_steps(mut trainer: VqvaeTrainer, images: Tensor<4>, device: &Device) -> Work {
    let (mut step, device) = (0, device.clone());
    Box::new(move || {
        let done = trainer.step(step, images.clone(), LEARNING_RATE, false);
        step += 1;
        finished(&device, done.map(|_| ()))
    })
}

/// Steps of stage 2 on the same sequences.
pub(super) fn prior_steps(
    mut trainer: PriorTrainer,
    batch: SequenceBatch,
    device: &Device,
) -> Work {
    let (mut step, device) = (0, device.clone());
    Box::new(move || {
        let one = std::iter::once(batch.clone());
        let done = trainer.step(step, one, LEARNING_RATE, false);
        step += 1;
        finished(&device, done.map(|_| ()))
    })
}

/// Waits until the device has completed the step.
fn finished(device: &Device, done: Result<(), NonFinite>) -> Result<()> {
    device.sync().map_err(|e| Error::invalid(format!("the device failed: {e}")))?;
    done.map_err(|found| Error::invalid(format!("the {} became {}", found.term, found.value)))
}

pub(super) fn rng() -> Stream {
    stream(SEED, Purpose::Augment, 0, 0)
}

pub(super) fn random_codes(n: usize, rng: &mut Stream) -> Vec<u16> {
    (0..n).map(|_| (rng.bits() % CODES as u64) as u16).collect()
}

pub(super) fn random_pixels(shape: [usize; 4], device: &Device) -> Tensor<4> {
    let mut rng = rng();
    let pixels = (0..shape.iter().product()).map(|_| rng.uniform() - 0.5).collect();
    Tensor::from_data(TensorData::new::<f32, _>(pixels, shape), device)
}
