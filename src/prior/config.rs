//! The shape of a prior. It is stored in the model file; how a prior is trained is the recipe's business.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How positions are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// One learned embedding per position, as in GPT-2.
    Learned,
    /// Rotary embeddings of row and column, half of each head's dimensions each (Su et al. 2021, in two dimensions).
    Rotary,
}

/// Kinds of prior.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PriorKind {
    /// Each code from those before it (Radford et al. 2019).
    #[default]
    Autoregressive,
    /// Every code from all others that are known, in a few passes (Chang et al. 2022, "MaskGIT").
    Masked,
}

impl PriorKind {
    fn is_autoregressive(&self) -> bool {
        *self == Self::Autoregressive
    }
}

/// How the residual stream is normalised before each part of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PriorNorm {
    /// To mean 0 and variance 1 (Ba et al. 2016).
    #[default]
    Layer,
    /// To root mean square 1, without a bias (Zhang and Sennrich 2019).
    Rms,
}

impl PriorNorm {
    fn is_layer(&self) -> bool {
        *self == Self::Layer
    }
}

/// The activation between the two maps of a block's MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PriorActivation {
    /// `x · Φ(x)`, as in GPT-2.
    #[default]
    Gelu,
    /// `max(x, 0)²` (So et al. 2021, "Primer").
    SquaredRelu,
}

impl PriorActivation {
    fn is_gelu(&self) -> bool {
        *self == Self::Gelu
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// The depth in files without one, written before codes had a depth.
fn one() -> usize {
    1
}

fn is_one(depth: &usize) -> bool {
    *depth == 1
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// The longest caption a prior may read, in tokens.
pub(crate) const LONGEST_CAPTION: usize = 32;

/// The shape of the GPT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriorConfig {
    /// How codes are predicted.
    #[serde(default, skip_serializing_if = "PriorKind::is_autoregressive")]
    pub kind: PriorKind,
    /// Number of codes, K: the width of the logits.
    pub codebook_size: usize,
    /// Number of classes; 0 for a data set without any.
    pub n_classes: usize,
    /// Rows of the code grid.
    pub grid_height: usize,
    /// Columns of the code grid.
    pub grid_width: usize,
    /// Codes per grid position, consecutive in the sequence.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub depth: usize,
    /// Number of tokens that captions are made of; 0 for a prior without captions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub caption_tokens: usize,
    /// Positions of the caption, before the class; 0 for a prior without captions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub caption_length: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Attention heads; must divide `width`.
    pub heads: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Probability of dropping an activation while training.
    pub dropout: f64,
    /// How positions are encoded.
    pub positions: Positions,
    /// Whether each position is also told where the next code is, so that codes may come in any order (Yu et al. 2024,
    /// "Randomized Autoregressive Visual Generation").
    #[serde(default, skip_serializing_if = "is_false")]
    pub target_positions: bool,
    /// Whether the head shares the code embeddings (weight tying).
    pub tie_weights: bool,
    /// The norms of the blocks and the last one.
    #[serde(default, skip_serializing_if = "PriorNorm::is_layer")]
    pub norm: PriorNorm,
    /// Of the MLPs.
    #[serde(default, skip_serializing_if = "PriorActivation::is_gelu")]
    pub activation: PriorActivation,
    /// Whether queries and keys are divided by their root mean square before attention.
    #[serde(default, skip_serializing_if = "is_false")]
    pub qk_norm: bool,
}

/// A shape of a few thousand parameters, for tests and examples that care for a part of it.
impl Default for PriorConfig {
    fn default() -> Self {
        Self {
            kind: PriorKind::Autoregressive,
            codebook_size: 16,
            n_classes: 0,
            grid_height: 4,
            grid_width: 4,
            depth: 1,
            caption_tokens: 0,
            caption_length: 0,
            layers: 1,
            heads: 2,
            width: 16,
            dropout: 0.0,
            positions: Positions::Learned,
            target_positions: false,
            tie_weights: false,
            norm: PriorNorm::Layer,
            activation: PriorActivation::Gelu,
            qk_norm: false,
        }
    }
}

impl PriorConfig {
    /// Codes per sequence.
    pub fn n_codes(&self) -> usize {
        self.grid_height * self.grid_width * self.depth
    }

    /// Whether it predicts every code from all others.
    pub fn is_masked(&self) -> bool {
        self.kind == PriorKind::Masked
    }

    /// Size of the input vocabulary: the codes, one token per class and the unconditional one, and of a masked prior the
    /// one in place of an unknown code.
    pub fn vocabulary_size(&self) -> usize {
        self.codebook_size + self.n_classes + 1 + usize::from(self.is_masked())
    }

    /// The token in place of an unknown code, of a masked prior.
    pub fn mask_token(&self) -> usize {
        self.codebook_size + self.n_classes + 1
    }

    /// Whether it reads captions.
    pub fn has_captions(&self) -> bool {
        self.caption_length > 0
    }

    /// Length of the prefix that a condition puts before the codes: the caption and the class.
    pub fn prefix(&self) -> usize {
        self.caption_length + 1
    }

    /// Positions per sequence: of an autoregressive prior the last code is predicted, never an input.
    pub fn n_positions(&self) -> usize {
        self.prefix() + self.n_codes() - usize::from(!self.is_masked())
    }

    /// The token that a sequence of `class` starts with; `None` for the unconditional one.
    pub(super) fn class_token(&self, class: Option<usize>) -> usize {
        self.codebook_size + class.unwrap_or(self.n_classes)
    }

    /// Refuses shapes that cannot be built; the message names the key, the value seen and what is allowed.
    pub fn validate(&self) -> Result<()> {
        let fail = |message: String| Err(Error::invalid(message));
        for (key, value, most) in [
            ("layers", self.layers, 256),
            ("heads", self.heads, 256),
            ("width", self.width, 65_536),
        ] {
            if value == 0 || value > most {
                return fail(format!("prior.{key} is {value}, allowed are 1 to {most}"));
            }
        }
        if !self.width.is_multiple_of(self.heads) {
            return fail(format!(
                "prior.width is {}, which {} heads do not divide",
                self.width, self.heads
            ));
        }
        if self.positions == Positions::Rotary && !(self.width / self.heads).is_multiple_of(4) {
            return fail(format!(
                "prior.width / prior.heads is {}, rotary positions in two dimensions need a multiple of 4",
                self.width / self.heads
            ));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return fail(format!(
                "prior.dropout is {}, allowed are 0 up to but not 1",
                self.dropout
            ));
        }
        if !(2..=65_536).contains(&self.codebook_size) || self.n_classes > 65_535 {
            return fail(format!(
                "a prior of {} codes and {} classes cannot be built (2 to 65536 codes, at most 65535 classes)",
                self.codebook_size, self.n_classes
            ));
        }
        let (tokens, length) = (self.caption_tokens, self.caption_length);
        if tokens > 65_536 || length > LONGEST_CAPTION || (tokens == 0) != (length == 0) {
            return fail(format!(
                "captions of {length} of {tokens} tokens cannot be read (1 to {LONGEST_CAPTION} of 1 to 65536, or 0 \
                 of 0)"
            ));
        }
        let n_positions = self.grid_height.checked_mul(self.grid_width);
        let n_codes = n_positions.and_then(|n| n.checked_mul(self.depth)).unwrap_or(0);
        if !(1..=65_536).contains(&n_codes) {
            return fail(format!(
                "a grid of {}x{} positions of depth {} cannot be modelled (1 to 65536 codes)",
                self.grid_height, self.grid_width, self.depth
            ));
        }
        if self.positions == Positions::Rotary && self.depth > 1 {
            return fail(format!(
                "rotary positions are for one code a position, here are {} (set prior.positions to \"learned\")",
                self.depth
            ));
        }
        if self.target_positions && (self.positions == Positions::Rotary || self.is_masked()) {
            return fail(
                "codes in random orders are for autoregressive priors with learned positions (set prior.order to \
                 \"raster\")"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::unwrap_used)]
    fn a_depth_of_1_is_left_out_of_files_and_others_are_not() {
        let text = r#"{"codebook_size":4,"n_classes":0,"grid_height":2,"grid_width":2,"layers":1,"heads":1,"width":4,"dropout":0.0,"positions":"learned","tie_weights":false}"#;
        let config: PriorConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.depth, 1);
        assert_eq!(serde_json::to_string(&config).unwrap(), text);
        let deep = PriorConfig { depth: 4, ..config };
        let again: PriorConfig =
            serde_json::from_str(&serde_json::to_string(&deep).unwrap()).unwrap();
        assert_eq!(again, deep);
    }
}
