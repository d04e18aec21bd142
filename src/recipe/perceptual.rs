//! The recipe's section on the perceptual term of stage 1.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::keys::section;

/// The net whose features are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PerceptualNet {
    /// There is no perceptual term.
    None,
    /// The first stages of EfficientNet-Lite0, which are part of the program.
    Builtin,
}

section! {
    /// The perceptual term of the loss of stage 1.
    pub struct PerceptualSection, prefix "vqvae.perceptual." {
        /// The net: `builtin` is the first stages of EfficientNet-Lite0, trained on ImageNet and part of the program.
        net: PerceptualNet = PerceptualNet::None, resume Refused;
        /// The weight of the term.
        weight: f64,
            by net |given| match given.net() { PerceptualNet::None => 0.0, PerceptualNet::Builtin => 0.3 },
            only net [PerceptualNet::Builtin], allowed 0.0..=1000.0, resume Told;
    }
}

impl PerceptualSection {
    /// Refuses values out of range, and keys that `net` would ignore.
    pub(super) fn validate(&self) -> Result<()> {
        self.check_keys()
    }
}
