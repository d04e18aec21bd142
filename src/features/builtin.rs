//! The built-in perceptual net: how alike two images are by the features of an ImageNet classifier, after LPIPS (Zhang
//! et al. 2018), but without its weights learned from human judgements.

use burn::module::Module;
use burn::tensor::Tensor;

use super::efficientnet::EfficientNet;
use crate::ops::direction::direction_distance;
use crate::ops::resample::enlarge;

/// Mean and standard deviation of ImageNet's pixels in 0 to 1, as every classifier of torchvision takes them.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];
/// What white is in the range of the tokenizer's pixels, -0.5 to 0.5.
const WHITE: f32 = 0.5;
/// Images with fewer pixels a side are enlarged: a classifier has seen photographs, in which edges span several pixels.
const SMALLEST: usize = 64;
/// Stages that the distance compares.
const COMPARED: usize = 4;

/// A feature net with what comes before and after it.
#[derive(Module, Debug)]
pub struct BuiltinNet {
    net: EfficientNet,
}

impl BuiltinNet {
    /// Length of the vectors of [`Self::pooled`].
    pub const FEATURES: usize = 112;

    /// With these weights, which should require no gradient.
    pub fn new(net: EfficientNet) -> Self {
        Self { net }
    }

    /// The distance between two sets of images, 0 for equal ones: the mean over images, positions and stages of the
    /// squared distance between the directions of their feature vectors.
    ///
    /// # Shapes
    /// - `x`, `y`: `[batch, height, width, channels]` in [-0.5, 0.5], with 1 or 3 channels
    /// - output: `[1]`
    pub fn distance(&self, x: Tensor<4>, y: Tensor<4>) -> Tensor<1> {
        let device = x.device();
        let [x, y] = [x, y].map(|images| self.net.stages(prepared(images), COMPARED));
        let stages = x.into_iter().zip(y).map(|(x, y)| {
            let [batch, height, width, channels] = x.dims();
            let rows = [batch * height * width, channels];
            let weight = Tensor::ones([channels], &device);
            direction_distance(x.reshape(rows), y.reshape(rows), weight)
        });
        stages
            .fold(Tensor::zeros([1], &device), |sum, stage| sum + stage)
            .div_scalar(COMPARED as f32)
    }

    /// Activations that [`Self::distance`] keeps for the backward pass, for each image of `size` pixels a side.
    pub fn activations(&self, size: usize) -> usize {
        self.net.activations(factor(size) * size, COMPARED)
    }

    /// The output of every stage.
    ///
    /// # Shapes
    /// - `images`: `[batch, height, width, channels]` in [-0.5, 0.5], with 1 or 3 channels
    /// - output: as [`EfficientNet::stages`]
    pub fn stages(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        self.net.stages(prepared(images), EfficientNet::STAGES)
    }

    /// The means over all positions of the last stage's features.
    ///
    /// # Shapes
    /// - `images`: `[batch, height, width, channels]` in [-0.5, 0.5], with 1 or 3 channels
    /// - output: `[batch, 112]`
    pub fn pooled(&self, images: Tensor<4>) -> Tensor<2> {
        let last = self.net.features(prepared(images));
        let [batch, height, width, channels] = last.dims();
        last.reshape([batch, height * width, channels]).mean_dim(1).reshape([batch, channels])
    }
}

/// Images as the net was trained on them: RGB, normalised, and enlarged by a whole factor where they are small.
///
/// # Shapes
/// - `images`: `[batch, height, width, channels]` in [-0.5, 0.5], with 1 or 3 channels
/// - output: `[batch, factor * height, factor * width, 3]`
fn prepared(images: Tensor<4>) -> Tensor<4> {
    let device = images.device();
    let [batch, height, width, _] = images.dims();
    let of_channels =
        |values: [f32; 3]| Tensor::<1>::from_floats(values, &device).reshape([1, 1, 1, 3]);
    let images = images.expand([batch, height, width, 3]);
    let images = (images + of_channels(MEAN.map(|mean| WHITE - mean)))
        * of_channels(DEVIATION.map(f32::recip));
    enlarge(images, factor(height.min(width)))
}

/// By how much images of `size` pixels along the shorter side are enlarged.
fn factor(size: usize) -> usize {
    SMALLEST.div_ceil(size).max(1)
}
