//! The recipe's section on stage 2: the shape of the GPT and how it is trained.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::limits::{self, MOST_BATCH, MOST_STEPS};
use crate::error::{Error, Result};
use crate::prior::{Positions, PriorConfig};

/// Named sizes of the GPT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PriorPreset {
    /// 4 layers of 128, 4 heads: 0.9 million weights with 512 codes.
    Nano,
    /// 6 layers of 192, 6 heads: 2.9 million.
    Small,
    /// 8 layers of 512, 8 heads: 26 million.
    Medium,
}

/// Which views of an image become code sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Views {
    /// The image as it is.
    None,
    /// The image as it is and mirrored left to right.
    Flip,
}

/// Stage 2. `layers`, `heads` and `width` come from `preset` where they are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PriorSection {
    /// The size: `nano`, `small` or `medium`.
    pub preset: PriorPreset,
    /// Transformer blocks.
    pub layers: usize,
    /// Attention heads; must divide `width`.
    pub heads: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Probability of dropping an activation while training.
    pub dropout: f64,
    /// How positions enter: `learned` or `rotary` (over row and column).
    pub positions: Positions,
    /// Whether the logits use the code embeddings as weights.
    pub tie_weights: bool,
    /// Probability of training a sequence without its class; guidance needs some.
    pub class_dropout: f64,
    /// Optimizer steps in all.
    pub steps: usize,
    /// Sequences a forward pass.
    pub batch_size: usize,
    /// Forward passes an optimizer step.
    pub accumulate: usize,
    /// The highest learning rate of AdamW.
    pub learning_rate: f64,
    /// Where the cosine ends; not above `learning_rate`.
    pub min_learning_rate: f64,
    /// AdamW's decay of the second moment; the first is 0.9.
    pub beta2: f64,
    /// Decoupled weight decay of the matrices.
    pub weight_decay: f64,
    /// Steps over which the learning rate rises from zero; a shorter training ends within them.
    pub warmup_steps: usize,
    /// The largest global norm of the gradient; 0 does not clip.
    pub gradient_clip: f64,
    /// Validations without a better loss before training stops; 0 never stops early.
    pub patience: usize,
    /// Steps with a loss or gradient that is not finite that are passed over; the next one ends the training.
    pub skip_non_finite: usize,
    /// Which views of the images become sequences: `none` or `flip`.
    pub views: Views,
    /// Steps between two lines of the log.
    pub log_every: usize,
    /// Steps between two validations.
    pub validate_every: usize,
    /// Steps between two checkpoints.
    pub checkpoint_every: usize,
}

impl Default for PriorSection {
    fn default() -> Self {
        Self {
            preset: PriorPreset::Small,
            layers: 6,
            heads: 6,
            width: 192,
            dropout: 0.1,
            positions: Positions::Learned,
            tie_weights: false,
            class_dropout: 0.1,
            steps: 1200,
            batch_size: 32,
            accumulate: 1,
            learning_rate: 1e-3,
            min_learning_rate: 1e-4,
            beta2: 0.99,
            weight_decay: 0.1,
            warmup_steps: 100,
            gradient_clip: 1.0,
            patience: 5,
            skip_non_finite: 0,
            views: Views::Flip,
            log_every: 50,
            validate_every: 100,
            checkpoint_every: 250,
        }
    }
}

/// Keys that a preset fills; naming a preset on the command line resets them.
pub(super) const PRESET_KEYS: &[&str] = &["layers", "heads", "width"];

/// What the preset named in `section` gives to the keys that `section` leaves out. `None` for a name that is
/// no preset, which the types refuse later.
pub(super) fn preset_values(section: &Value) -> Option<Value> {
    match section.get("preset").map_or(Some("small"), Value::as_str)? {
        "nano" => Some(json!({ "layers": 4, "heads": 4, "width": 128 })),
        "small" => Some(json!({ "layers": 6, "heads": 6, "width": 192 })),
        "medium" => Some(json!({ "layers": 8, "heads": 8, "width": 512 })),
        _ => None,
    }
}

impl PriorSection {
    /// The model's shape for `codebook_size` codes in a `[rows, columns]` grid and `n_classes` classes.
    pub fn prior_config(
        &self,
        codebook_size: usize,
        n_classes: usize,
        grid: [usize; 2],
    ) -> PriorConfig {
        let [grid_height, grid_width] = grid;
        PriorConfig {
            codebook_size,
            n_classes,
            grid_height,
            grid_width,
            layers: self.layers,
            heads: self.heads,
            width: self.width,
            dropout: self.dropout,
            positions: self.positions,
            tie_weights: self.tie_weights,
        }
    }

    /// Refuses values out of range. The shape itself is checked by [`PriorConfig::validate`].
    pub fn validate(&self) -> Result<()> {
        limits::within("prior.class_dropout", self.class_dropout, 0.0, 1.0)?;
        limits::within("prior.steps", self.steps, 1, MOST_STEPS)?;
        limits::within("prior.batch_size", self.batch_size, 1, MOST_BATCH)?;
        limits::within("prior.accumulate", self.accumulate, 1, 65_536)?;
        limits::positive("prior.learning_rate", self.learning_rate, 10.0)?;
        if !(0.0..=self.learning_rate).contains(&self.min_learning_rate) {
            return Err(Error::invalid(format!(
                "prior.min_learning_rate is {}, allowed are 0 to prior.learning_rate, {}",
                self.min_learning_rate, self.learning_rate
            )));
        }
        limits::below_one("prior.beta2", self.beta2)?;
        limits::within("prior.weight_decay", self.weight_decay, 0.0, 10.0)?;
        limits::within("prior.warmup_steps", self.warmup_steps, 0, MOST_STEPS)?;
        limits::within("prior.gradient_clip", self.gradient_clip, 0.0, 1e6)?;
        limits::within("prior.skip_non_finite", self.skip_non_finite, 0, MOST_STEPS)?;
        limits::within("prior.log_every", self.log_every, 1, MOST_STEPS)?;
        limits::within("prior.validate_every", self.validate_every, 1, MOST_STEPS)?;
        limits::within("prior.checkpoint_every", self.checkpoint_every, 1, MOST_STEPS)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_small_preset_is_the_default_section() {
        let values = preset_values(&json!({})).unwrap();
        let defaults = serde_json::to_value(PriorSection::default()).unwrap();
        for key in PRESET_KEYS {
            assert_eq!(values[key], defaults[key], "{key}");
        }
    }

    #[test]
    fn every_preset_is_a_shape_that_can_be_built() {
        for preset in ["nano", "small", "medium"] {
            let mut section = preset_values(&json!({ "preset": preset })).unwrap();
            section["preset"] = json!(preset);
            let section: PriorSection = serde_json::from_value(section).unwrap();
            section.validate().unwrap();
            section.prior_config(512, 10, [8, 8]).validate().unwrap();
        }
    }

    #[test]
    fn a_learning_rate_that_ends_above_its_peak_is_refused() {
        let section = PriorSection { min_learning_rate: 1.0, ..PriorSection::default() };
        let message = section.validate().unwrap_err().to_string();
        assert!(message.contains("prior.min_learning_rate is 1"), "{message}");
    }
}
