//! The PatchGAN discriminator (Isola et al. 2017) in the form that VQGAN+ found best (Weber et al. 2024): 3x3
//! convolutions, GroupNorm, blurred downsampling; and the losses of adversarial training. It judges every patch of an image
//! by itself. Tensors in, tensors out; how it is trained is not known here.

mod loss;

use burn::module::Module;
use burn::tensor::Tensor;

pub use loss::{AdversarialLoss, feature_matching, lecam};

use crate::ops::activation::silu;
use crate::ops::conv::{Conv2d, ConvShape};
use crate::ops::depthwise::blur_downsample;
use crate::ops::init::WeightInit;
use crate::ops::norm::GroupNorm;

/// Groups of every norm.
const GROUPS: usize = 32;
/// Times that an image of up to [`SMALL`] pixels a side is halved.
const HALVINGS: usize = 2;
/// Larger images are halved once more, so that a patch shows as much of a picture.
const SMALL: usize = 64;

/// A discriminator of patches.
#[derive(Module, Debug)]
pub struct Discriminator {
    stem: Conv2d,
    levels: Vec<Level>,
    to_logits: Conv2d,
}

/// A convolution, its norm and SiLU.
#[derive(Module, Debug)]
struct Level {
    conv: Conv2d,
    norm: GroupNorm,
}

/// What a discriminator says of images.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// One for each patch, `[batch, h, w, 1]`; above 0 it takes the patch for real.
    pub logits: Tensor<4>,
    /// The activations of each level, `[batch, h, w, c]`.
    pub features: Vec<Tensor<4>>,
}

impl Discriminator {
    /// For images of `image_size` pixels a side. The first convolution has `width` channels, a multiple of 16, and each
    /// level doubles them.
    pub fn new(channels: usize, width: usize, image_size: usize, init: &mut WeightInit) -> Self {
        let halvings = HALVINGS + usize::from(image_size > SMALL);
        let stem = Conv2d::new(ConvShape::same(channels, width, 3), init);
        let level = |level: usize| {
            let (c_in, c_out) = (width << level, width << (level + 1));
            let conv = Conv2d::new(ConvShape::same(c_in, c_out, 3).without_bias(), init);
            Level { conv, norm: GroupNorm::new(GROUPS, c_out, init.device()) }
        };
        let levels = (0..halvings).map(level).collect();
        let width = width << halvings;
        Self { stem, levels, to_logits: Conv2d::new(ConvShape::same(width, 1, 3), init) }
    }

    /// # Shapes
    /// - `images`: `[batch, height, width, channels]`
    pub fn judge(&self, images: Tensor<4>) -> Judgement {
        let mut h = silu(self.stem.forward(images));
        let mut features = Vec::with_capacity(self.levels.len());
        for level in &self.levels {
            h = level.norm.forward_silu(level.conv.forward(blur_downsample(h)));
            features.push(h.clone());
        }
        Judgement { logits: self.to_logits.forward(h), features }
    }

    /// Activations that a pass keeps for the backward pass, for each image of `size` pixels a side.
    pub fn activations(&self, mut size: usize) -> usize {
        let [channels, width] = self.stem.channels();
        let mut n = size * size * (channels + 2 * width);
        for level in &self.levels {
            size = size.div_ceil(2);
            let [c_in, c_out] = level.conv.channels();
            n += size * size * (c_in + 2 * c_out);
        }
        n + size * size
    }
}
