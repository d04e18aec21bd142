//! Feature nets from files, whose weights vqgen neither has nor downloads.

use std::path::Path;

use burn::tensor::Device;

use crate::checkpoint::{Origin, load_foreign};
use crate::error::Result;
use crate::features::{Inception, LinearLayers, Lpips, Vgg16};

const VGG: Origin = Origin {
    weights: "torchvision's vgg16",
    url: "https://download.pytorch.org/models/vgg16-397923af.pth",
};
const LINEAR: Origin = Origin {
    weights: "lpips v0.1 for vgg",
    url: "lpips/weights/v0.1/vgg.pth of PyPI's lpips 0.1.4 or of https://github.com/richzhang/PerceptualSimilarity",
};
const INCEPTION: Origin = Origin {
    weights: "pytorch-fid's Inception",
    url: "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
};

/// LPIPS with the weights of torchvision's `vgg16-397923af.pth` and of lpips' `vgg.pth`, or of safetensors with the same
/// tensors.
///
/// # Errors
/// A file that cannot be read, or a tensor that is missing or has another shape.
pub fn load_lpips(vgg: &Path, linear: &Path, device: &Device) -> Result<Lpips> {
    let same_name = |name: &str| Some(name.to_owned());
    // The small file first: the wrong way round, both would be wrong.
    let linear = load_foreign(LinearLayers::new(device), linear, LINEAR, &same_name)?;
    let vgg = load_foreign(Vgg16::new(device), vgg, VGG, &same_name)?;
    Ok(Lpips::new(vgg, linear))
}

/// The Inception of `pt_inception-2015-12-05-6726825d.pth`, or of safetensors with the same tensors.
///
/// # Errors
/// As [`load_lpips`].
pub fn load_inception(path: &Path, device: &Device) -> Result<Inception> {
    let name = |name: &str| Some(Inception::name_in_file(name));
    load_foreign(Inception::new(device), path, INCEPTION, &name)
}
