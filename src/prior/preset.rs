//! Named sizes of the transformer. The rest of a prior's shape follows from the codes it models.

use serde::{Deserialize, Serialize};

/// A size by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PriorPreset {
    /// 0.8 million weights: minutes on a laptop, nanoGPT's size for a CPU.
    Nano,
    /// 2.7 million: the quickstart.
    Small,
    /// 25 million: a GPU, or a patient CPU.
    Medium,
    /// 38 million, for the 28x28 codes of 224-pixel images: deeper, for sequences of 784.
    Seed,
}

/// The part of a [`PriorConfig`](crate::prior::PriorConfig) that a preset decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriorShape {
    /// Transformer blocks.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the residual stream.
    pub width: usize,
}

impl PriorPreset {
    /// The size behind the name. Every head has 32 or 64 dimensions, so that rotary positions fit too.
    pub fn shape(self) -> PriorShape {
        let (layers, heads, width) = match self {
            Self::Nano => (4, 4, 128),
            Self::Small => (6, 6, 192),
            Self::Medium => (8, 8, 512),
            Self::Seed => (12, 8, 512),
        };
        PriorShape { layers, heads, width }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_every_preset_divide_its_width_into_multiples_of_four() {
        for preset in
            [PriorPreset::Nano, PriorPreset::Small, PriorPreset::Medium, PriorPreset::Seed]
        {
            let PriorShape { heads, width, .. } = preset.shape();
            assert!(width % heads == 0 && (width / heads) % 4 == 0, "{preset:?}");
        }
    }
}
