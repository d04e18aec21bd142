//! The recipe's section on stage 2: the architecture of the GPT and its training.

use serde::{Deserialize, Serialize};

use self::PriorPreset::{Medium, Nano, Small};
use super::MatrixOptimizer::{self, Adamw, Muon};
use crate::data::View;
use crate::error::{Error, Result};
use crate::keys::{AboveZero, MOST_BATCH, MOST_STEPS, section};
use crate::prior::{
    LONGEST_CAPTION, Positions, PriorActivation, PriorConfig, PriorKind, PriorNorm,
};

/// See [`View::MOST_SHIFT`].
const MOST_SHIFT: usize = View::MOST_SHIFT;

/// Named sizes of the GPT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PriorPreset {
    /// 4 layers of 128, 4 heads: 0.9 million parameters with 512 codes.
    Nano,
    /// 6 layers of 192, 6 heads: 2.9 million.
    Small,
    /// 8 layers of 512, 8 heads: 26 million.
    Medium,
}

/// The order in which an autoregressive prior learns the codes of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CodeOrder {
    /// Row by row.
    Raster,
    /// At first a new random order for each sequence, at last the raster's.
    Annealed,
}

impl CodeOrder {
    /// The share of sequences in a random order at `step` of `steps`: all in the first half, none in the last quarter, and
    /// in between ever fewer, the schedule that Yu et al. 2024 found best.
    pub fn share_of_random(self, step: u64, steps: u64) -> f64 {
        match self {
            Self::Raster => 0.0,
            Self::Annealed => (3.0 - 4.0 * step as f64 / steps as f64).clamp(0.0, 1.0),
        }
    }
}

/// Which weights of a training the prior's file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeptWeights {
    /// Those with the lowest validation loss.
    Best,
    /// Those of the last step.
    Last,
}

/// Which views of an image become code sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Views {
    /// The image unchanged.
    None,
    /// The image and its horizontal flip.
    Flip,
}

impl Views {
    /// The views of each image, without shifts.
    pub fn of_images(self) -> Vec<View> {
        View::all(self == Self::Flip, 0)
    }
}

section! {
    /// Stage 2: the architecture of the GPT and its training.
    pub struct PriorSection, prefix "prior." {
        /// How codes are predicted: `autoregressive`, each from those before it, or `masked`, all that are unknown from all
        /// that are known, in a few passes.
        kind: PriorKind = PriorKind::Autoregressive, resume Refused;
        /// The size; with 512 codes `nano` has 0.9 million parameters, `small` 2.9 and `medium` 26.
        preset: PriorPreset = Small, resume Refused;
        /// Transformer blocks.
        layers: usize,
            by preset |given| match given.preset() { Nano => 4, Small => 6, Medium => 8 },
            allowed 1..=256, resume Refused;
        /// Attention heads; must divide `width`.
        heads: usize,
            by preset |given| match given.preset() { Nano => 4, Small => 6, Medium => 8 },
            allowed 1..=256, resume Refused;
        /// Width of the residual stream.
        width: usize,
            by preset |given| match given.preset() { Nano => 128, Small => 192, Medium => 512 },
            allowed 1..=65_536, resume Refused;
        /// Dropout probability.
        dropout: f64 = 0.1, allowed 0.0..1.0, resume Told;
        /// Positional encoding: one learned vector per position, or two-dimensional rotary embeddings.
        positions: Positions = Positions::Learned, resume Refused;
        /// Whether the output layer shares the weights of the code embedding.
        tie_weights: bool = false, resume Refused;
        /// The norms of the blocks: `layer`, or `rms` by the root mean square alone.
        norm: PriorNorm = PriorNorm::Layer, resume Refused;
        /// The activation of the MLPs: `gelu` or `squared-relu`.
        activation: PriorActivation = PriorActivation::Gelu, resume Refused;
        /// Whether attention divides queries and keys by their root mean square, which bounds its scores.
        qk_norm: bool = false, resume Refused;
        /// Probability of training a sequence without its class and its caption; classifier-free guidance needs some.
        class_dropout: f64 = 0.1, allowed 0.0..=1.0, resume Told;
        /// The most tokens of a caption that count, where the code file has captions; 0 ignores them. If 99 of 100
        /// captions are shorter, sequences are too.
        caption_length: usize = LONGEST_CAPTION, allowed 0..=LONGEST_CAPTION, resume Refused;
        /// Probability of training a sequence without its caption, so that a class can be sampled without one.
        caption_dropout: f64 = 0.1, allowed 0.0..=1.0, resume Told;
        /// Probability of showing the model a random code in place of each, while it learns what follows the right ones.
        code_noise: f64 = 0.0, allowed 0.0..1.0, resume Told;
        /// The order in which an autoregressive prior learns the codes of an image: `raster`, or `annealed`, random in the
        /// first half of the steps, the raster's in the last quarter, and in between ever more often so.
        order: CodeOrder = CodeOrder::Raster, resume Refused;
        /// Probability of training without each word of a caption.
        word_dropout: f64 = 0.0, allowed 0.0..1.0, resume Told;
        /// Decay of a step of the moving average of the weights, which validation and files use; 0 keeps none.
        ema_weights: f64 = 0.0, allowed 0.0..=0.999_999, resume Refused;
        /// Total optimizer steps.
        steps: usize = 1200, allowed 1..=MOST_STEPS, resume Silent;
        /// Sequences per micro batch.
        batch_size: usize = 32, allowed 1..=MOST_BATCH, resume Refused;
        /// Micro batches per optimizer step (gradient accumulation).
        accumulate: usize = 1, allowed 1..=65_536, resume Refused;
        /// What changes the matrices of the blocks: `adamw`, or `muon`, whose changes move all directions of a matrix alike.
        /// Everything else is AdamW's.
        optimizer: MatrixOptimizer = Adamw, resume Refused;
        /// The peak learning rate.
        learning_rate: f64,
            by optimizer |given| match given.optimizer() { Adamw => 1e-3, Muon => 6e-3 },
            allowed AboveZero(10.0), resume Told;
        /// The learning rate at the end of the cosine.
        min_learning_rate: f64 = 1e-4, allowed "0 to `learning_rate`", resume Told;
        /// AdamW's decay of the second moment; the first is 0.9.
        beta2: f64 = 0.99, allowed 0.0..1.0, resume Told;
        /// Decoupled weight decay of the matrices.
        weight_decay: f64 = 0.1, allowed 0.0..=10.0, resume Told;
        /// Steps of linear warm-up; a shorter training ends within them.
        warmup_steps: usize = 100, allowed 0..=MOST_STEPS, resume Told;
        /// The maximum global norm of the gradient; 0 disables clipping.
        gradient_clip: f64 = 1.0, allowed 0.0..=1e6, resume Told;
        /// Validations without a better loss before training stops; 0 never stops early.
        patience: usize = 5, resume Told;
        /// Which weights the file holds: `best`, those with the lowest validation loss, or `last`, whatever `patience`. A
        /// prior that learns its images by heart predicts others worse, and may draw what its captions say better.
        keep: KeptWeights = KeptWeights::Best, resume Told;
        /// How many steps with a loss or gradient that is not finite may be skipped; one more ends the training.
        skip_non_finite: usize = 0, allowed 0..=MOST_STEPS, resume Told;
        /// Which views of the images become sequences: `none` for the image unchanged, `flip` for that and its
        /// horizontal flip.
        views: Views = Views::Flip, resume Refused;
        /// Each of these views of a training image also shifted by up to this many pixels in both directions: (2 `shift`
        /// + 1)² times the sequences. More of them keep a prior of few images from memorising.
        shift: usize = 0, allowed 0..=MOST_SHIFT, resume Refused;
        /// Steps between log lines.
        log_every: usize = 50, allowed 1..=MOST_STEPS, resume Silent;
        /// Steps between validations.
        validate_every: usize = 100, allowed 1..=MOST_STEPS, resume Silent;
        /// Steps between checkpoints.
        checkpoint_every: usize = 250, allowed 1..=MOST_STEPS, resume Silent;
    }
}

impl PriorSection {
    /// The views of each training image, shifted ones too.
    pub fn all_views(&self) -> Vec<View> {
        View::all(self.views == Views::Flip, self.shift)
    }

    /// The model's architecture for `codebook_size` codes in a grid of `[rows, columns, depth]` and `n_classes`
    /// classes, without captions.
    pub fn prior_config(
        &self,
        codebook_size: usize,
        n_classes: usize,
        grid: [usize; 3],
    ) -> PriorConfig {
        let [grid_height, grid_width, depth] = grid;
        PriorConfig {
            kind: self.kind,
            codebook_size,
            n_classes,
            grid_height,
            grid_width,
            depth,
            caption_tokens: 0,
            caption_length: 0,
            layers: self.layers,
            heads: self.heads,
            width: self.width,
            dropout: self.dropout,
            positions: self.positions,
            target_positions: self.order != CodeOrder::Raster,
            tie_weights: self.tie_weights,
            norm: self.norm,
            activation: self.activation,
            qk_norm: self.qk_norm,
        }
    }

    /// Refuses values out of range. The architecture itself is checked by [`PriorConfig::validate`].
    pub fn validate(&self) -> Result<()> {
        self.check_keys()?;
        if !(0.0..=self.learning_rate).contains(&self.min_learning_rate) {
            return Err(Error::invalid(format!(
                "prior.min_learning_rate is {}, allowed are 0 to prior.learning_rate, {}",
                self.min_learning_rate, self.learning_rate
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_preset_is_the_shape_that_it_says_and_can_be_built() {
        for (preset, shape) in
            [("nano", (4, 4, 128)), ("small", (6, 6, 192)), ("medium", (8, 8, 512))]
        {
            let given = json!({ "preset": preset });
            let section: PriorSection = serde_json::from_value(given).unwrap();
            assert_eq!((section.layers, section.heads, section.width), shape, "{preset}");
            section.validate().unwrap();
            section.prior_config(512, 10, [8, 8, 1]).validate().unwrap();
        }
        let small: PriorSection = serde_json::from_value(json!({ "preset": "small" })).unwrap();
        assert_eq!(small, PriorSection::default());
    }

    #[test]
    fn the_ranges_of_the_shape_are_those_that_a_model_file_may_have() {
        let shape = |change: &dyn Fn(&mut PriorSection)| {
            let mut section = PriorSection::default();
            change(&mut section);
            let config = section.prior_config(512, 10, [8, 8, 1]);
            (section.check_keys().is_ok(), config.validate().is_ok())
        };
        let both = |inside: bool| (inside, inside);
        for (value, inside) in [(0, false), (1, true), (256, true), (257, false)] {
            assert_eq!(shape(&|section| section.layers = value), both(inside), "{value}");
            let heads = |section: &mut PriorSection| {
                (section.heads, section.width) = (value, 4 * value.max(1));
            };
            assert_eq!(shape(&heads), both(inside), "{value}");
        }
        for (value, inside) in [(0, false), (1, true), (65_536, true), (65_537, false)] {
            let width = |section: &mut PriorSection| (section.heads, section.width) = (1, value);
            assert_eq!(shape(&width), both(inside), "{value}");
        }
        for (value, inside) in [(-0.1, false), (0.0, true), (0.99, true), (1.0, false)] {
            assert_eq!(shape(&|section| section.dropout = value), both(inside), "{value}");
        }
    }

    #[test]
    fn random_orders_are_all_at_first_and_none_at_last() {
        let share = |step| CodeOrder::Annealed.share_of_random(step, 400);
        let shares = [0, 199, 200, 250, 300, 399, 1_000].map(share);
        assert_eq!(shares, [1.0, 1.0, 1.0, 0.5, 0.0, 0.0, 0.0]);
        assert_eq!(CodeOrder::Raster.share_of_random(0, 400), 0.0);
    }

    #[test]
    fn a_learning_rate_that_ends_above_its_peak_is_refused() {
        let section = PriorSection { min_learning_rate: 1.0, ..PriorSection::default() };
        let message = section.validate().unwrap_err().to_string();
        assert!(message.contains("prior.min_learning_rate is 1"), "{message}");
    }
}
