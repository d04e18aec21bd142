//! The architecture of a tokenizer. It is stored in the model file, which is thus self-contained; how a tokenizer is
//! trained is the recipe's business.

mod quantizer;

use serde::{Deserialize, Serialize};

pub use quantizer::{GradientEstimator, QuantizerKind};

use self::quantizer::{is_false, is_one, is_vq, is_zero, one};
use crate::error::{Error, Result};

/// Most pixels per side of an image. No tensor of a model depends on it, so only this limit keeps a forged file from
/// requesting any amount of memory.
const MOST_PIXELS: usize = 1024;

/// Which published architecture the encoder and decoder follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenizerPreset {
    /// van den Oord et al. 2017 as in DeepMind's sonnet: strided 4x4 convolutions, ReLU residual blocks, no
    /// normalisation, transposed convolutions.
    Plain,
    /// `Plain` with the full width at every resolution, and residual blocks at each in the decoder.
    Wide,
    /// As in VQGAN (Esser et al. 2021): residual blocks with GroupNorm and SiLU, nearest-neighbour upsampling followed
    /// by a convolution.
    Resnet,
    /// The ResNet-34 backbone of torchvision up to stride 8, with a residual decoder; starts from torchvision's
    /// weights.
    Resnet34,
}

/// The architecture of encoder, codebook and decoder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerConfig {
    /// Height and width of an image in pixels.
    pub image_size: usize,
    /// 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// The architecture.
    pub preset: TokenizerPreset,
    /// Channels of the widest layers (`plain`), of all (`wide`) or of the first level (`resnet`).
    pub width: usize,
    /// `resnet`: the factor on `width` at each resolution, finest first; one more entry than `halvings`, less `folds`.
    pub channel_multipliers: Vec<usize>,
    /// `resnet`: how many of the halvings fold 2x2 pixels into channels before the first convolution, and unfold them
    /// after the last.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub folds: usize,
    /// Residual blocks at each resolution (`resnet`) or before and after the codes (`plain`, `wide`).
    pub residual_blocks: usize,
    /// `plain` and `wide`: hidden channels of a residual block.
    pub residual_width: usize,
    /// How often height and width are halved: 2, 3 and 4 downsample by 4, 8 and 16.
    pub halvings: usize,
    /// `resnet`: self-attention at the coarsest resolution.
    pub attention: bool,
    /// `resnet`: where above 0, the layers are VQGAN's to the last, with this many channels between the codebook and the
    /// decoder (taming-transformers' `z_channels`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub latent_channels: usize,
    /// `resnet`: at how many of the coarsest resolutions self-attention follows every residual block.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attention_levels: usize,
    /// Number of codes, K.
    pub codebook_size: usize,
    /// Dimension of a code, D.
    pub code_dim: usize,
    /// Whether latents and codes are l2-normalised before they are compared (Yu et al. 2022).
    pub normalize_codes: bool,
    /// How latents become codes.
    #[serde(default, skip_serializing_if = "is_vq")]
    pub quantizer: QuantizerKind,
    /// `fsq`: number of levels of each dimension; their product is `codebook_size`, their count `code_dim`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<usize>,
    /// Codes per position of the grid: the number of codebooks of `residual`, otherwise 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub depth: usize,
    /// Whether a learned linear map makes the code vectors of a frozen codebook (Zhu et al. 2024, "SimVQ").
    #[serde(default, skip_serializing_if = "is_false")]
    pub codebook_map: bool,
}

/// A shape of a few thousand parameters, for tests and examples that care for a part of it.
impl Default for TokenizerConfig {
    fn default() -> Self {
        Self {
            image_size: 16,
            channels: 3,
            preset: TokenizerPreset::Plain,
            width: 16,
            channel_multipliers: Vec::new(),
            folds: 0,
            residual_blocks: 1,
            residual_width: 4,
            halvings: 2,
            attention: false,
            latent_channels: 0,
            attention_levels: 0,
            codebook_size: 16,
            code_dim: 4,
            normalize_codes: false,
            quantizer: QuantizerKind::Vq,
            levels: Vec::new(),
            depth: 1,
            codebook_map: false,
        }
    }
}

impl TokenizerConfig {
    /// Height and width of the grid of codes.
    pub fn grid_size(&self) -> usize {
        self.image_size >> self.halvings
    }

    /// Rows, columns and depth of the codes of an image.
    pub fn grid(&self) -> [usize; 3] {
        [self.grid_size(), self.grid_size(), self.depth]
    }

    /// Codes per image.
    pub fn n_codes(&self) -> usize {
        self.grid().iter().product()
    }

    /// Refuses architectures that cannot be built; the message gives the key, the value seen and those allowed.
    pub fn validate(&self) -> Result<()> {
        let fail = |message: String| Err(Error::invalid(message));
        if self.channels != 1 && self.channels != 3 {
            return fail(format!(
                "channels is {}, allowed are 1 (grey) and 3 (RGB)",
                self.channels
            ));
        }
        if !(1..=5).contains(&self.halvings) {
            return fail(format!("vqvae.halvings is {}, allowed are 1 to 5", self.halvings));
        }
        if self.image_size > MOST_PIXELS {
            return fail(format!(
                "data.image_size is {}, allowed are up to {MOST_PIXELS}",
                self.image_size
            ));
        }
        if self.image_size == 0 || !self.image_size.is_multiple_of(1 << self.halvings) {
            return fail(format!(
                "data.image_size is {}, but {} halvings need a multiple of {}",
                self.image_size,
                self.halvings,
                1 << self.halvings
            ));
        }
        self.validate_quantizer()?;
        if !(2..=65_536).contains(&self.codebook_size) {
            return fail(format!(
                "vqvae.codebook_size is {}, allowed are 2 to 65536 (codes are stored as 16-bit integers)",
                self.codebook_size
            ));
        }
        for (key, value) in [("width", self.width), ("code_dim", self.code_dim)] {
            if value == 0 || value > 16_384 {
                return fail(format!("vqvae.{key} is {value}, allowed are 1 to 16384"));
            }
        }
        if self.residual_blocks > 64 {
            return fail(format!(
                "vqvae.residual_blocks is {}, allowed are 0 to 64",
                self.residual_blocks
            ));
        }
        if self.folds > 0 && self.preset != TokenizerPreset::Resnet {
            return fail(format!(
                "vqvae.folds is {}, which only the resnet preset has",
                self.folds
            ));
        }
        for (key, value, most) in [
            ("latent_channels", self.latent_channels, 16_384),
            ("attention_levels", self.attention_levels, self.channel_multipliers.len()),
        ] {
            if value > 0 && self.preset != TokenizerPreset::Resnet {
                return fail(format!("vqvae.{key} is {value}, which only the resnet preset has"));
            }
            if value > most {
                return fail(format!("vqvae.{key} is {value}, allowed are 0 to {most}"));
            }
        }
        match self.preset {
            TokenizerPreset::Plain | TokenizerPreset::Wide => self.validate_plain(),
            TokenizerPreset::Resnet => self.validate_resnet(),
            TokenizerPreset::Resnet34 => self.validate_resnet34(),
        }
    }

    fn validate_plain(&self) -> Result<()> {
        if self.preset == TokenizerPreset::Plain && !self.width.is_multiple_of(2) {
            return Err(Error::invalid(format!(
                "vqvae.width is {}, the plain preset needs an even number",
                self.width
            )));
        }
        if self.residual_width == 0 || self.residual_width > 16_384 {
            return Err(Error::invalid(format!(
                "vqvae.residual_width is {}, allowed are 1 to 16384",
                self.residual_width
            )));
        }
        Ok(())
    }

    fn validate_resnet(&self) -> Result<()> {
        if self.folds > self.halvings {
            return Err(Error::invalid(format!(
                "vqvae.folds is {}, allowed are 0 to the {} halvings",
                self.folds, self.halvings
            )));
        }
        let resolutions = self.halvings - self.folds + 1;
        if self.channel_multipliers.len() != resolutions {
            let folded = match self.folds {
                0 => String::new(),
                folds => format!(", {folds} of them folds,"),
            };
            return Err(Error::invalid(format!(
                "vqvae.channel_multipliers has {} entries, {} halvings{folded} need {resolutions} (one per resolution)",
                self.channel_multipliers.len(),
                self.halvings,
            )));
        }
        let groups = self.norm_groups();
        for multiplier in &self.channel_multipliers {
            let channels = self.width.saturating_mul(*multiplier);
            if channels == 0 || channels > 16_384 || channels % groups != 0 {
                return Err(Error::invalid(format!(
                    "vqvae.width {} times the multiplier {multiplier} is {channels}; GroupNorm needs a multiple of {groups}",
                    self.width
                )));
            }
        }
        Ok(())
    }

    fn validate_resnet34(&self) -> Result<()> {
        if self.halvings != 3 || self.channels != 3 {
            return Err(Error::invalid(format!(
                "the resnet34 preset has 3 halvings and 3 channels, the recipe asks for {} and {}",
                self.halvings, self.channels
            )));
        }
        if !self.width.is_multiple_of(16) {
            return Err(Error::invalid(format!(
                "vqvae.width is {}, the resnet34 preset needs a multiple of 16",
                self.width
            )));
        }
        Ok(())
    }

    /// Whether the layers are VQGAN's to the last.
    pub fn is_vqgan(&self) -> bool {
        self.latent_channels > 0
    }

    /// Pixels of a side that are folded into channels before the first convolution.
    pub fn fold(&self) -> usize {
        1 << self.folds
    }

    /// Channels of the residual blocks at each resolution, finest first (`resnet`, and the decoder of `resnet34`).
    pub fn level_widths(&self) -> Vec<usize> {
        match self.preset {
            // Full-resolution feature maps dominate the cost: with half the width at each finer level, elements double
            // per level instead of quadrupling.
            TokenizerPreset::Resnet34 => [8, 4, 2, 1].map(|part| self.width / part).to_vec(),
            // Saturating, because validation calls this before it has checked the factors.
            _ => self
                .channel_multipliers
                .iter()
                .map(|factor| self.width.saturating_mul(*factor))
                .collect(),
        }
    }

    /// Groups of every GroupNorm: 32 as published, fewer for narrow models.
    pub fn norm_groups(&self) -> usize {
        let narrowest = self.level_widths().into_iter().min().unwrap_or(self.width);
        [32, 16, 8, 4, 2].into_iter().find(|groups| narrowest.is_multiple_of(*groups)).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_beyond_all_measure_are_refused_and_not_computed() {
        let base = TokenizerConfig {
            image_size: 32,
            channels: 3,
            preset: TokenizerPreset::Resnet,
            width: 16,
            channel_multipliers: vec![1, 2],
            residual_blocks: 1,
            residual_width: 0,
            halvings: 1,
            codebook_size: 16,
            code_dim: 4,
            ..TokenizerConfig::default()
        };
        assert!(base.validate().is_ok());
        let wide = TokenizerConfig { channel_multipliers: vec![1, usize::MAX], ..base.clone() };
        let large = TokenizerConfig { image_size: usize::MAX - 1, ..base };
        for (config, key) in [(wide, "vqvae.width 16 times"), (large, "data.image_size is")] {
            let message = config.validate().err().map(|e| e.to_string()).unwrap_or_default();
            assert!(message.contains(key), "{message}");
        }
    }
}
