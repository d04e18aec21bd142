//! Feature nets with their weights: the built-in one's are part of the program, the others' come from files.

mod files;

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::checkpoint::{foreign_from_bytes, parameters};
use crate::error::Result;
use crate::features::{BuiltinNet, EfficientNet, Lpips};
use crate::ops::init::WeightInit;
use crate::recipe::{PerceptualNet, PerceptualSection};

pub use files::{load_inception, load_lpips};

/// Where the weights below come from is told beside them.
const BUILTIN: (&str, &[u8]) = (
    "data/efficientnet-lite0/weights.safetensors",
    include_bytes!("../data/efficientnet-lite0/weights.safetensors"),
);

/// The feature net of a perceptual loss.
#[derive(Debug, Clone)]
pub enum FeatureNet {
    /// See [`builtin_net`].
    Builtin(BuiltinNet),
    /// See [`load_lpips`].
    Lpips(Lpips),
}

impl FeatureNet {
    /// The one that `section` asks for, on `device`; `None` where it asks for none.
    ///
    /// # Errors
    /// As [`load_lpips`].
    pub fn of(section: &PerceptualSection, device: &Device) -> Result<Option<Self>> {
        Ok(match section.net {
            PerceptualNet::None => None,
            PerceptualNet::Builtin => Some(Self::Builtin(builtin_net(device)?)),
            PerceptualNet::LpipsVgg => {
                let (vgg, linear) = (Path::new(&section.vgg), Path::new(&section.linear));
                Some(Self::Lpips(load_lpips(vgg, linear, device)?))
            }
        })
    }

    /// The distance between two sets of images, 0 for equal ones.
    ///
    /// # Shapes
    /// - `x`, `y`: `[batch, height, width, channels]` in [-0.5, 0.5], with 1 or 3 channels
    /// - output: `[1]`
    pub fn distance(&self, x: Tensor<4>, y: Tensor<4>) -> Tensor<1> {
        match self {
            Self::Builtin(net) => net.distance(x, y),
            Self::Lpips(net) => net.distance(x, y),
        }
    }

    /// The same net without autodiff.
    pub fn valid(&self) -> Self {
        match self {
            Self::Builtin(net) => Self::Builtin(net.valid()),
            Self::Lpips(net) => Self::Lpips(net.valid()),
        }
    }

    /// Activations that [`Self::distance`] keeps for the backward pass, for each image of `size` pixels a side.
    pub fn activations(&self, size: usize) -> usize {
        match self {
            Self::Builtin(net) => net.activations(size),
            Self::Lpips(net) => net.activations(size),
        }
    }
}

/// The built-in perceptual net on `device`. Its parameters require no gradient.
///
/// # Errors
/// None, unless the program itself is damaged.
pub fn builtin_net(device: &Device) -> Result<BuiltinNet> {
    let (name, bytes) = BUILTIN;
    let tensors = foreign_from_bytes(Path::new(name), bytes.to_vec())?;
    let net = EfficientNet::new(&mut WeightInit::new(0, device));
    Ok(BuiltinNet::new(parameters::load(net, tensors, Path::new(name))?.no_grad()))
}
