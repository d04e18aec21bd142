//! The recipe's section on the perceptual term of stage 1.

use serde::{Deserialize, Serialize};

use self::PerceptualNet::{Builtin, LpipsVgg};
use crate::data::DataConfig;
use crate::error::{Error, Result};
use crate::features::Lpips;
use crate::keys::{MOST_STEPS, section};

/// The net whose features are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PerceptualNet {
    /// There is no perceptual term.
    None,
    /// The first stages of EfficientNet-Lite0, which are part of the program.
    Builtin,
    /// VGG16 with the weights of LPIPS, from files.
    LpipsVgg,
}

section! {
    /// The perceptual term of the loss of stage 1.
    pub struct PerceptualSection, prefix "vqvae.perceptual." {
        /// The net: `builtin` is the first stages of EfficientNet-Lite0, trained on ImageNet and part of the program;
        /// `lpips-vgg` is LPIPS with VGG16, whose weights are in the files `vgg` and `linear`. It costs many times as
        /// much.
        net: PerceptualNet = PerceptualNet::None, resume Refused;
        /// The weight of the term.
        weight: f64,
            by net |_| 0.3, only net [Builtin, LpipsVgg], allowed 0.0..=1000.0, resume Refused;
        /// The share of a batch that the term is computed on, at least one image: which ones is random, because batches
        /// are. A smaller share costs less time and makes the gradient noisier.
        share: f64, by net |_| 1.0, only net [Builtin, LpipsVgg], allowed 0.0..=1.0, resume Told;
        /// The step from which the term is part of the loss; 0 is the first. Before it a step costs nothing more.
        start_step: usize,
            by net |_| 0, only net [Builtin, LpipsVgg], allowed 0..=MOST_STEPS, resume Refused;
        /// Torchvision's `vgg16-397923af.pth`, or safetensors with the same tensors.
        vgg: String = String::new(), only net [LpipsVgg], resume Refused;
        /// `vgg.pth` of lpips 0.1, or safetensors with the same tensors.
        linear: String = String::new(), only net [LpipsVgg], resume Refused;
    }
}

impl PerceptualSection {
    /// Refuses values out of range, keys that `net` would ignore, a net without its files, and images that are too small
    /// for it.
    pub(super) fn validate(&self, data: &DataConfig) -> Result<()> {
        self.check_keys()?;
        if self.net != LpipsVgg {
            return Ok(());
        }
        for (key, path, file) in [
            ("vgg", &self.vgg, "vgg16-397923af.pth of https://download.pytorch.org/models"),
            ("linear", &self.linear, "lpips/weights/v0.1/vgg.pth of PyPI's lpips 0.1.4"),
        ] {
            if path.is_empty() {
                return Err(Error::invalid(format!(
                    "vqvae.perceptual.{key} is empty, and the net lpips-vgg takes its weights from a file that vqgen does \
                     not download: set it to the path of {file}"
                )));
            }
        }
        if data.image_size < Lpips::SMALLEST {
            return Err(Error::invalid(format!(
                "vqvae.perceptual.net is lpips-vgg, which compares images of at least {0}x{0} pixels, and \
                 data.image_size is {1} (the net builtin compares images of any size)",
                Lpips::SMALLEST,
                data.image_size
            )));
        }
        Ok(())
    }
}
