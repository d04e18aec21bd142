//! The recipe's section on stage 1: the shape of the tokenizer and how it is trained.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::limits::{self, MOST_BATCH, MOST_STEPS};
use crate::data::DataConfig;
use crate::error::{Error, Result};
use crate::tokenizer::{TokenizerConfig, TokenizerPreset};

/// How the codebook learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codebook {
    /// Bias-corrected moving averages of the encoder outputs assigned to each code.
    Ema,
    /// The second term of Eq. 3: the optimizer moves the codes.
    Gradient,
}

/// The reconstruction term of the loss; both are divided by the variance of the training data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReconstructionLoss {
    /// Mean squared error, as published.
    Mse,
    /// Mean absolute error: sharper edges, lower PSNR.
    L1,
}

/// How the learning rate goes after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// Half a cosine down to zero at the last step.
    Cosine,
}

/// Stage 1. The keys from `width` to `code_dim` that are left out come from `preset`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VqvaeSection {
    /// The architecture: `plain`, `resnet` or `resnet34`.
    pub preset: TokenizerPreset,
    /// Channels of the widest layers (`plain`, `resnet34`) or of the finest level (`resnet`).
    pub width: usize,
    /// `resnet` only: the factor on `width` at each resolution, finest first, one more than `halvings`.
    pub channel_multipliers: Vec<usize>,
    /// Residual blocks at each resolution (`resnet`) or before and after the codes.
    pub residual_blocks: usize,
    /// `plain` only: hidden channels of a residual block.
    pub residual_width: usize,
    /// How often height and width are halved: 2, 3 and 4 give 4x, 8x and 16x fewer rows and columns of codes.
    pub halvings: usize,
    /// `resnet` only: self-attention at the coarsest resolution.
    pub attention: bool,
    /// Number of codes, K.
    pub codebook_size: usize,
    /// Numbers in a code, D.
    pub code_dim: usize,
    /// How the codebook learns: `ema` or `gradient`.
    pub codebook: Codebook,
    /// `ema` only: the decay of the moving averages.
    pub ema_decay: f64,
    /// Beta, the weight of the commitment term.
    pub commitment: f64,
    /// Whether latents and codes are l2-normalised before they are compared.
    pub normalize_codes: bool,
    /// `resnet34` only: a safetensors file with torchvision's weights to start from; empty starts afresh.
    pub backbone: String,
    /// Whether the codebook starts from k-means over encoder outputs.
    pub kmeans_init: bool,
    /// A code unused for this many steps restarts from a live encoder output; 0 never.
    pub restart_after: usize,
    /// The reconstruction term: `mse` or `l1`.
    pub loss: ReconstructionLoss,
    /// Optimizer steps in all.
    pub steps: usize,
    /// Images a step.
    pub batch_size: usize,
    /// The highest learning rate of AdamW.
    pub learning_rate: f64,
    /// Decoupled weight decay; 0 is plain Adam.
    pub weight_decay: f64,
    /// Steps over which the learning rate rises from zero. A shorter training ends within them, so that `--steps`
    /// alone changes nothing else and may be raised when a run is resumed.
    pub warmup_steps: usize,
    /// After the warm-up: `constant` or `cosine`.
    pub schedule: Schedule,
    /// The largest global norm of the gradient; 0 does not clip.
    pub gradient_clip: f64,
    /// Steps with a loss or gradient that is not finite that are passed over; the next one ends the training.
    pub skip_non_finite: usize,
    /// Steps between two lines of the log.
    pub log_every: usize,
    /// Steps between two validations.
    pub validate_every: usize,
    /// Steps between two checkpoints.
    pub checkpoint_every: usize,
}

impl Default for VqvaeSection {
    fn default() -> Self {
        Self {
            preset: TokenizerPreset::Plain,
            width: 128,
            channel_multipliers: Vec::new(),
            residual_blocks: 2,
            residual_width: 32,
            halvings: 2,
            attention: false,
            codebook_size: 512,
            code_dim: 64,
            codebook: Codebook::Ema,
            ema_decay: 0.99,
            commitment: 0.25,
            normalize_codes: false,
            backbone: String::new(),
            kmeans_init: true,
            restart_after: 20,
            loss: ReconstructionLoss::Mse,
            steps: 2400,
            batch_size: 32,
            learning_rate: 1.5e-3,
            weight_decay: 0.0,
            warmup_steps: 50,
            schedule: Schedule::Cosine,
            gradient_clip: 1.0,
            skip_non_finite: 0,
            log_every: 50,
            validate_every: 250,
            checkpoint_every: 500,
        }
    }
}

/// Keys that a preset fills; naming a preset on the command line resets them.
pub(super) const PRESET_KEYS: &[&str] = &[
    "width",
    "channel_multipliers",
    "residual_blocks",
    "residual_width",
    "halvings",
    "attention",
    "code_dim",
];

/// What the preset named in `section` gives to the keys that `section` leaves out. `None` for a name that is
/// no preset, which the types refuse later.
pub(super) fn preset_values(section: &Value) -> Option<Value> {
    let preset = section.get("preset").map_or(Some("plain"), Value::as_str)?;
    let values = match preset {
        // DeepMind's sonnet: 128 hidden units, 2 residual layers of 32, embedding dimension 64.
        "plain" => json!({
            "width": 128, "channel_multipliers": [], "residual_blocks": 2, "residual_width": 32,
            "halvings": 2, "attention": false, "code_dim": 64,
        }),
        "resnet" => {
            let halvings = section.get("halvings").and_then(Value::as_u64).unwrap_or(2);
            // As VQGAN's 1, 1, 2, 2, 4 without the second level at full width, which costs the most.
            let multipliers: Vec<_> =
                [1, 2, 2, 2, 4, 4].into_iter().take(halvings.min(5) as usize + 1).collect();
            // Low dimension is the strongest single lever on reconstruction (LlamaGen, table 1).
            json!({
                "width": 64, "channel_multipliers": multipliers, "residual_blocks": 2,
                "residual_width": 0, "halvings": halvings, "attention": false, "code_dim": 8,
            })
        }
        "resnet34" => json!({
            "width": 128, "channel_multipliers": [], "residual_blocks": 2, "residual_width": 0,
            "halvings": 3, "attention": false, "code_dim": 128,
        }),
        _ => return None,
    };
    Some(values)
}

impl VqvaeSection {
    /// The model's shape for images as `data` describes them.
    pub fn tokenizer_config(&self, data: &DataConfig) -> TokenizerConfig {
        TokenizerConfig {
            image_size: data.image_size,
            channels: data.channels,
            preset: self.preset,
            width: self.width,
            channel_multipliers: self.channel_multipliers.clone(),
            residual_blocks: self.residual_blocks,
            residual_width: self.residual_width,
            halvings: self.halvings,
            attention: self.attention,
            codebook_size: self.codebook_size,
            code_dim: self.code_dim,
            normalize_codes: self.normalize_codes,
        }
    }

    /// Refuses values out of range, and keys that the preset would ignore.
    pub fn validate(&self, data: &DataConfig) -> Result<()> {
        self.refuse_dead_keys()?;
        self.tokenizer_config(data).validate()?;
        limits::within("vqvae.ema_decay", self.ema_decay, 0.0, 0.999_999)?;
        limits::within("vqvae.commitment", self.commitment, 0.0, 100.0)?;
        limits::within("vqvae.restart_after", self.restart_after, 0, MOST_STEPS)?;
        limits::within("vqvae.steps", self.steps, 1, MOST_STEPS)?;
        limits::within("vqvae.batch_size", self.batch_size, 1, MOST_BATCH)?;
        limits::positive("vqvae.learning_rate", self.learning_rate, 10.0)?;
        limits::within("vqvae.weight_decay", self.weight_decay, 0.0, 10.0)?;
        limits::within("vqvae.warmup_steps", self.warmup_steps, 0, MOST_STEPS)?;
        limits::within("vqvae.gradient_clip", self.gradient_clip, 0.0, 1e6)?;
        limits::within("vqvae.skip_non_finite", self.skip_non_finite, 0, MOST_STEPS)?;
        limits::within("vqvae.log_every", self.log_every, 1, MOST_STEPS)?;
        limits::within("vqvae.validate_every", self.validate_every, 1, MOST_STEPS)?;
        limits::within("vqvae.checkpoint_every", self.checkpoint_every, 1, MOST_STEPS)
    }

    fn refuse_dead_keys(&self) -> Result<()> {
        use TokenizerPreset::{Plain, Resnet, Resnet34};
        let ignored = [
            (
                "channel_multipliers",
                self.preset != Resnet && !self.channel_multipliers.is_empty(),
                "resnet",
            ),
            ("attention", self.preset != Resnet && self.attention, "resnet"),
            ("backbone", self.preset != Resnet34 && !self.backbone.is_empty(), "resnet34"),
            ("residual_width", self.preset != Plain && self.residual_width != 0, "plain"),
        ];
        match ignored.into_iter().find(|(_, ignored, _)| *ignored) {
            Some((key, _, preset)) => Err(Error::invalid(format!(
                "vqvae.{key} is only for the {preset} preset: leave it out or set vqvae.preset to \"{preset}\""
            ))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_preset_is_the_default_section() {
        let values = preset_values(&json!({})).unwrap();
        let defaults = serde_json::to_value(VqvaeSection::default()).unwrap();
        for key in PRESET_KEYS {
            assert_eq!(values[key], defaults[key], "{key}");
        }
        assert_eq!(values.as_object().unwrap().len(), PRESET_KEYS.len());
    }

    #[test]
    fn every_preset_fills_every_preset_key_with_a_valid_shape() {
        for preset in ["plain", "resnet", "resnet34"] {
            let mut section = preset_values(&json!({ "preset": preset })).unwrap();
            for key in PRESET_KEYS {
                assert!(section.get(key).is_some(), "{preset} {key}");
            }
            section["preset"] = json!(preset);
            let section: VqvaeSection = serde_json::from_value(section).unwrap();
            section.validate(&DataConfig::default()).unwrap();
        }
    }

    #[test]
    fn the_resnet_preset_has_one_multiplier_a_resolution() {
        for halvings in 1..=5usize {
            let section = json!({ "preset": "resnet", "halvings": halvings });
            let values = preset_values(&section).unwrap();
            assert_eq!(values["channel_multipliers"].as_array().unwrap().len(), halvings + 1);
        }
    }

    #[test]
    fn a_key_that_the_preset_would_ignore_is_refused() {
        let data = DataConfig::default();
        let plain = VqvaeSection { attention: true, ..VqvaeSection::default() };
        assert!(plain.validate(&data).unwrap_err().to_string().contains("vqvae.attention"));
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
