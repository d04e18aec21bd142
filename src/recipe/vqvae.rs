//! The recipe's section on stage 1: the architecture of the tokenizer and its training.

use serde::{Deserialize, Serialize};

use self::Codebook::{Ema, Gradient};
use super::{AdversarialSection, MatrixOptimizer, PerceptualSection};
use crate::data::DataConfig;
use crate::error::{Error, Result};
use crate::keys::{AboveZero, MOST_BATCH, MOST_STEPS, section};
use crate::tokenizer::QuantizerKind::{self, Fsq, Residual, Vq};
use crate::tokenizer::TokenizerPreset::{self, Plain, Resnet, Resnet34, Wide};
use crate::tokenizer::{GradientEstimator, TokenizerConfig};

/// How the codebook learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codebook {
    /// Bias-corrected moving averages of the encoder outputs assigned to each code.
    Ema,
    /// The second term of Eq. 3: the optimizer updates the codes.
    Gradient,
    /// The same term, but it updates one linear map of codes that stay as they were drawn (Zhu et al. 2024, "SimVQ").
    Simvq,
    /// There is none to learn.
    #[default]
    None,
}

/// The reconstruction term of the loss; all are divided by the variance of the training data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReconstructionLoss {
    /// Mean squared error, as published.
    Mse,
    /// Mean absolute error: sharper edges, lower PSNR.
    L1,
    /// Squared up to `huber_delta`, linear beyond.
    Huber,
}

/// The learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Constant.
    Constant,
    /// Cosine decay to zero at the last step.
    Cosine,
}

section! {
    /// Stage 1: the architecture of the tokenizer and its training.
    pub struct VqvaeSection, prefix "vqvae." {
        /// The architecture: `plain` is that of van den Oord et al., `wide` the same with more channels and residual
        /// blocks at the finer resolutions, `resnet` that of VQGAN, `resnet34` has the encoder of torchvision's ResNet-34.
        preset: TokenizerPreset = Plain, resume Refused;
        /// Channels of the widest layers (`plain`, `resnet34`), of all (`wide`) or of the finest level (`resnet`).
        width: usize,
            by preset |given| match given.preset() {
                Plain | Wide | Resnet34 => 128,
                Resnet => 64,
            },
            allowed 1..=16_384, resume Refused;
        /// The factor on `width` at each resolution, finest first.
        channel_multipliers: Vec<usize>,
            by preset |given| multipliers(given.halvings().saturating_sub(given.folds())),
            only preset [Resnet], allowed "a list, one more than `halvings` less `folds`", resume Refused;
        /// How many of the halvings fold 2x2 pixels into channels before the first convolution, and unfold them after the
        /// last: the finest resolutions cost the most.
        folds: usize, by preset |_| 0, only preset [Resnet], allowed 0..=5, resume Refused;
        /// Residual blocks at each resolution (`resnet`) or before and after the codes.
        residual_blocks: usize, by preset |_| 2, allowed 0..=64, resume Refused;
        /// Hidden channels of a residual block.
        residual_width: usize,
            by preset |_| 32, only preset [Plain, Wide], allowed 1..=16_384, resume Refused;
        /// How often height and width are halved: 2, 3 and 4 downsample by 4, 8 and 16.
        halvings: usize,
            by preset |given| match given.preset() {
                Plain | Wide | Resnet => 2,
                Resnet34 => 3,
            },
            allowed 1..=5, resume Refused;
        /// Self-attention at the coarsest resolution.
        attention: bool, by preset |_| false, only preset [Resnet], resume Refused;
        /// Where above 0, the layers are VQGAN's to the last, with this many channels between codebook and decoder: what
        /// `vqgen import` reads has them.
        latent_channels: usize,
            by preset |_| 0, only preset [Resnet], allowed 0..=16_384, resume Refused;
        /// At how many of the coarsest resolutions self-attention follows every residual block.
        attention_levels: usize,
            by preset |_| 0, only preset [Resnet], allowed 0..=6, resume Refused;
        /// How latents become codes: `vq` takes the nearest of K vectors, `fsq` rounds each of a few dimensions to a few
        /// levels, and `residual` has one codebook for the latents and others for what those before it leave over, so
        /// that a position has several codes.
        quantizer: QuantizerKind = Vq, resume Refused;
        /// Number of codes, K. Codes are stored as 16-bit integers. With `fsq` it chooses `levels`, and what these
        /// multiply to is the number of codes.
        codebook_size: usize = 512, allowed 2..=65_536, resume Refused;
        /// Number of levels of each dimension. By default 256, 512, 1024, 4096, 16384 and 65536 codes have the levels of
        /// the paper (240, 512, 1000, 4375, 15360 and 64000 codes), and others the 3 to 6 levels of 5 to 8 whose product
        /// is nearest; below 125 codes there may be smaller ones and two of them.
        levels: Vec<usize>,
            by codebook_size |given| TokenizerConfig::levels_for(given.codebook_size()), only quantizer [Fsq],
            allowed "2 to 10 levels of 3 to 256, at most 65536 codes", resume Refused;
        /// Codes per position, each from a codebook of its own.
        depth: usize, by quantizer |_| 4, only quantizer [Residual], allowed 2..=8, resume Refused;
        /// Dimension of a code, D.
        code_dim: usize,
            // Low dimension is the strongest single lever on reconstruction (LlamaGen, table 1).
            by preset |given| match given.preset() {
                Plain | Wide => 64,
                Resnet => 8,
                Resnet34 => 128,
            },
            only quantizer [Vq, Residual], allowed 1..=16_384, resume Refused;
        /// How the codebook is updated: by moving averages of the latents assigned to each code, by the gradient of
        /// the second term of Eq. 3, or by that of a linear map of codes that stay as they were drawn, so that all move
        /// and none is left unused (`simvq`).
        codebook: Codebook = Ema, only quantizer [Vq, Residual],
            allowed "`ema`, `gradient` or `simvq`", resume Refused;
        /// The decay of the moving averages; unused with `gradient`.
        ema_decay: f64 = 0.99, only codebook [Ema, Gradient], allowed 0.0..=0.999_999, resume Refused;
        /// Beta, the weight of the commitment term.
        commitment: f64 = 0.25, only quantizer [Vq, Residual], allowed 0.0..=100.0, resume Told;
        /// Whether latents and codes are l2-normalised before they are compared.
        normalize_codes: bool = false, only quantizer [Vq], resume Refused;
        /// How the decoder's gradient reaches the encoder across the choice of a code: unchanged, or rotated and scaled
        /// as the latent is on its way to the code (the rotation trick).
        gradient_estimator: GradientEstimator = GradientEstimator::StraightThrough,
            only quantizer [Vq, Residual], resume Refused;
        /// A file with torchvision's weights to start from (its `.pth`, or safetensors); empty for random initialisation.
        backbone: String = String::new(), only preset [Resnet34], resume Refused;
        /// Whether the codebook is initialised by k-means over encoder outputs.
        kmeans_init: bool = true, only codebook [Ema, Gradient], resume Refused;
        /// A code unused for this many steps restarts from a current encoder output; 0 never.
        restart_after: usize = 20, only codebook [Ema, Gradient], allowed 0..=MOST_STEPS, resume Told;
        /// The reconstruction term, divided by the variance of the training pixels: squared error, absolute error
        /// (sharper edges and a lower PSNR), or between both `huber`, the squared error up to `huber_delta` and its
        /// tangent beyond.
        loss: ReconstructionLoss = ReconstructionLoss::Mse, resume Refused;
        /// The difference at which `huber` becomes linear; black and white differ by 1.
        huber_delta: f64, by loss |_| 0.1,
            only loss [ReconstructionLoss::Huber], allowed AboveZero(1.0), resume Told;
        /// The weight of the focal frequency loss (Jiang et al. 2021), which compares spectra and weighs most what is
        /// reconstructed worst; 0 for none.
        focal_frequency: f64 = 0.0, allowed 0.0..=1000.0, resume Refused;
        /// Total optimizer steps.
        steps: usize = 2400, allowed 1..=MOST_STEPS, resume Silent;
        /// Images per step.
        batch_size: usize = 32, allowed 1..=MOST_BATCH, resume Refused;
        /// What changes the kernels of convolutions and the matrices: `adamw`, or `muon`, whose changes move all directions of
        /// a matrix alike. Everything else is AdamW's.
        optimizer: MatrixOptimizer = MatrixOptimizer::Adamw, resume Refused;
        /// The peak learning rate.
        learning_rate: f64 = 1.5e-3, allowed AboveZero(10.0), resume Told;
        /// Decoupled weight decay; 0 is plain Adam.
        weight_decay: f64 = 0.0, allowed 0.0..=10.0, resume Told;
        /// Steps of linear warm-up. A shorter training ends within them, so that `--steps` alone changes nothing else
        /// and may be raised when a run is resumed.
        warmup_steps: usize = 50, allowed 0..=MOST_STEPS, resume Told;
        /// The learning rate after the warm-up: constant, or a cosine decay to zero at the last step.
        schedule: Schedule = Schedule::Cosine, resume Told;
        /// The maximum global norm of the gradient; 0 disables clipping.
        gradient_clip: f64 = 1.0, allowed 0.0..=1e6, resume Told;
        /// How many steps with a loss or gradient that is not finite may be skipped; one more ends the training.
        skip_non_finite: usize = 0, allowed 0..=MOST_STEPS, resume Told;
        /// The decay of moving averages of the weights, which validation and files use in place of the last ones; 0 for
        /// none. .999 averages over about a thousand steps.
        ema_weights: f64 = 0.0, allowed 0.0..=0.999_999, resume Refused;
        /// Steps between log lines.
        log_every: usize = 50, allowed 1..=MOST_STEPS, resume Silent;
        /// Steps between validations.
        validate_every: usize = 250, allowed 1..=MOST_STEPS, resume Silent;
        /// Steps between checkpoints.
        checkpoint_every: usize = 500, allowed 1..=MOST_STEPS, resume Silent;
    }
    sections {
        /// The perceptual term of the loss: how far the features of a net trained on photographs differ between an
        /// image and its reconstruction. It makes shapes clean and textures plausible, where the pixel term alone
        /// blurs them.
        perceptual: PerceptualSection;
        /// The adversarial terms of the loss: a discriminator learns to tell patches of reconstructions from patches of
        /// images, and the decoder to leave it no difference to find. It makes edges and textures crisp, at some cost
        /// in PSNR.
        adversarial: AdversarialSection;
    }
}

/// VQGAN's 1, 1, 2, 2, 4 without the second level at full width, which costs the most: one per resolution.
fn multipliers(halvings: usize) -> Vec<usize> {
    [1, 2, 2, 2, 4, 4].into_iter().take(halvings.saturating_add(1)).collect()
}

impl VqvaeSection {
    /// The model's architecture for images as configured by `data`.
    pub fn tokenizer_config(&self, data: &DataConfig) -> TokenizerConfig {
        let (codebook_size, code_dim) = match self.quantizer {
            Vq | Residual => (self.codebook_size, self.code_dim),
            // Saturating, because validation calls this before it has checked the levels.
            Fsq => (
                self.levels.iter().fold(1, |n: usize, of| n.saturating_mul(*of)),
                self.levels.len(),
            ),
        };
        TokenizerConfig {
            image_size: data.image_size,
            channels: data.channels,
            preset: self.preset,
            width: self.width,
            channel_multipliers: self.channel_multipliers.clone(),
            folds: self.folds,
            residual_blocks: self.residual_blocks,
            residual_width: self.residual_width,
            halvings: self.halvings,
            attention: self.attention,
            latent_channels: self.latent_channels,
            attention_levels: self.attention_levels,
            codebook_size,
            code_dim,
            normalize_codes: self.normalize_codes,
            quantizer: self.quantizer,
            levels: self.levels.clone(),
            depth: if self.quantizer == Residual { self.depth } else { 1 },
            codebook_map: self.codebook == Codebook::Simvq,
        }
    }

    /// Refuses values out of range, keys that the preset or the quantizer would ignore and architectures that cannot be
    /// built.
    pub fn validate(&self, data: &DataConfig) -> Result<()> {
        self.check_keys()?;
        self.perceptual.validate(data)?;
        self.adversarial.validate()?;
        if self.codebook == Codebook::None && self.quantizer != Fsq {
            return Err(Error::invalid(
                "vqvae.codebook is none, allowed are ema, gradient or simvq (only the fsq quantizer has none)",
            ));
        }
        if self.quantizer == Fsq {
            self.check_levels()?;
        }
        self.tokenizer_config(data).validate()
    }
}

impl VqvaeSection {
    /// Refuses a codebook size that no levels come near.
    fn check_levels(&self) -> Result<()> {
        let codes: usize = self.levels.iter().fold(1, |n: usize, of| n.saturating_mul(*of));
        let is_default = self.levels == TokenizerConfig::levels_for(self.codebook_size);
        let ratio = codes as f64 / self.codebook_size as f64;
        if is_default && !(1.0 / FAR..=FAR).contains(&ratio) {
            return Err(Error::invalid(format!(
                "vqvae.codebook_size is {}, and the nearest levels of the fsq quantizer are {:?}, {codes} codes (set \
                 vqvae.codebook_size to {codes})",
                self.codebook_size, self.levels
            )));
        }
        Ok(())
    }
}

/// How far the number of codes that levels make may be from the one wanted, as a ratio.
const FAR: f64 = 1.3;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The section with the keys `given` and defaults otherwise.
    fn section(given: Value) -> VqvaeSection {
        serde_json::from_value(given).unwrap()
    }

    #[test]
    fn every_preset_is_a_shape_that_can_be_built() {
        for preset in ["plain", "wide", "resnet", "resnet34"] {
            section(json!({ "preset": preset })).validate(&DataConfig::default()).unwrap();
        }
    }

    #[test]
    fn the_presets_have_the_published_shapes() {
        // DeepMind's sonnet: 128 hidden units, 2 residual layers of 32, embedding dimension 64.
        let plain = section(json!({ "preset": "plain" }));
        assert_eq!(plain, VqvaeSection::default());
        let wide = section(json!({ "preset": "wide" }));
        assert_eq!(plain, VqvaeSection { preset: Plain, ..wide });
        assert_eq!((plain.width, plain.residual_blocks, plain.residual_width), (128, 2, 32));
        assert_eq!((plain.halvings, plain.code_dim), (2, 64));
        let resnet = section(json!({ "preset": "resnet" }));
        assert_eq!((resnet.width, resnet.residual_blocks, resnet.residual_width), (64, 2, 0));
        assert_eq!((resnet.halvings, resnet.code_dim), (2, 8));
        let resnet34 = section(json!({ "preset": "resnet34" }));
        assert_eq!((resnet34.width, resnet34.residual_blocks), (128, 2));
        assert_eq!((resnet34.halvings, resnet34.code_dim), (3, 128));
        assert!(resnet34.channel_multipliers.is_empty());
    }

    #[test]
    fn the_resnet_preset_has_one_multiplier_a_resolution() {
        for halvings in 1..=5 {
            let resnet = section(json!({ "preset": "resnet", "halvings": halvings }));
            assert_eq!(resnet.channel_multipliers.len(), halvings + 1);
            let folded = section(json!({ "preset": "resnet", "halvings": halvings, "folds": 1 }));
            assert_eq!(folded.channel_multipliers.len(), halvings);
        }
    }

    #[test]
    fn the_ranges_of_the_shape_are_those_that_a_model_file_may_have() {
        let shape = |change: &dyn Fn(&mut VqvaeSection)| {
            let mut section = VqvaeSection::default();
            change(&mut section);
            let data = DataConfig::default();
            (section.check_keys().is_ok(), section.tokenizer_config(&data).validate().is_ok())
        };
        let both = |inside: bool| (inside, inside);
        for (value, inside) in [(0, false), (2, true), (16_384, true), (16_386, false)] {
            assert_eq!(shape(&|section| section.width = value), both(inside), "width {value}");
        }
        for (value, inside) in [(0, false), (1, true), (16_384, true), (16_385, false)] {
            assert_eq!(shape(&|section| section.code_dim = value), both(inside), "{value}");
            assert_eq!(shape(&|section| section.residual_width = value), both(inside), "{value}");
        }
        for (value, inside) in [(0, true), (64, true), (65, false)] {
            assert_eq!(shape(&|section| section.residual_blocks = value), both(inside), "{value}");
        }
        for (value, inside) in [(0, false), (1, true), (5, true), (6, false)] {
            assert_eq!(shape(&|section| section.halvings = value), both(inside), "{value}");
        }
        for (value, inside) in [(1, false), (2, true), (65_536, true), (65_537, false)] {
            assert_eq!(shape(&|section| section.codebook_size = value), both(inside), "{value}");
        }
    }

    #[test]
    fn a_key_that_the_preset_would_ignore_is_refused() {
        let data = DataConfig::default();
        let plain = VqvaeSection { attention: true, ..VqvaeSection::default() };
        assert_eq!(
            plain.validate(&data).unwrap_err().to_string(),
            "vqvae.attention is only for the resnet preset: leave it out or set vqvae.preset to \"resnet\""
        );
    }

    #[test]
    fn every_quantizer_is_a_shape_that_can_be_built() {
        let data = DataConfig::default();
        for (given, codes, dim, depth) in [
            (json!({ "quantizer": "vq" }), 512, 64, 1),
            (json!({ "quantizer": "residual", "preset": "resnet" }), 512, 8, 4),
            (json!({ "quantizer": "residual", "depth": 8, "codebook": "simvq" }), 512, 64, 8),
            (json!({ "quantizer": "fsq" }), 512, 3, 1),
            (json!({ "quantizer": "fsq", "codebook_size": 256 }), 240, 3, 1),
            (json!({ "quantizer": "fsq", "codebook_size": 4096 }), 4375, 5, 1),
            (json!({ "quantizer": "fsq", "levels": [7, 3] }), 21, 2, 1),
            (json!({ "codebook": "simvq", "normalize_codes": true }), 512, 64, 1),
            (json!({ "gradient_estimator": "rotation" }), 512, 64, 1),
        ] {
            let section = section(given);
            section.validate(&data).unwrap();
            let config = section.tokenizer_config(&data);
            assert_eq!((config.codebook_size, config.code_dim, config.depth), (codes, dim, depth));
            // A saved recipe has every key, and is read as it was.
            let saved = serde_json::to_value(&section).unwrap();
            assert_eq!(serde_json::from_value::<VqvaeSection>(saved).unwrap(), section);
        }
    }

    #[test]
    fn a_value_out_of_range_is_named_with_its_range() {
        let data = DataConfig::default();
        let message = |section: VqvaeSection| section.validate(&data).unwrap_err().to_string();
        let base = VqvaeSection::default();
        assert_eq!(
            message(VqvaeSection { batch_size: 0, ..base.clone() }),
            "vqvae.batch_size is 0, allowed are 1 to 65536"
        );
        assert!(message(VqvaeSection { steps: 0, ..base.clone() }).contains("vqvae.steps is 0"));
        assert!(
            message(VqvaeSection { learning_rate: 0.0, ..base })
                .contains("vqvae.learning_rate is 0")
        );
    }
}
