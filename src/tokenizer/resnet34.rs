//! The `resnet34` preset: torchvision's ResNet-34 (He et al. 2016) up to stride 8 and 128 channels, with torchvision's
//! parameter names. Batch norms are frozen: they apply stored statistics with a trained gain and bias, so that
//! pretrained weights keep their meaning and no batch statistics are involved.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::TokenizerConfig;
use crate::ops::conv::{Conv2d, ConvShape};
use crate::ops::init::WeightInit;
use crate::ops::relu;
use crate::ops::resample::max_pool;

/// As in torchvision.
const NORM_EPSILON: f64 = 1e-5;
/// Channels after the stem and in the first stage.
const NARROW: usize = 64;
/// Channels of the second stage, from which the latents are projected.
const WIDE: usize = 128;

/// Batch normalisation with frozen statistics.
#[derive(Module, Debug)]
pub(super) struct FrozenBatchNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    running_mean: Param<Tensor<1>>,
    running_var: Param<Tensor<1>>,
}

impl FrozenBatchNorm {
    /// The identity, times `gain`.
    fn new(channels: usize, gain: f32, init: &mut WeightInit) -> Self {
        Self {
            weight: init.constant([channels], gain),
            bias: init.constant([channels], 0.0),
            running_mean: init.constant([channels], 0.0).set_require_grad(false),
            running_var: init.constant([channels], 1.0).set_require_grad(false),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [channels] = self.weight.dims();
        let row = |tensor: Tensor<1>| tensor.reshape([1, 1, 1, channels]);
        let scale = self.running_var.val().add_scalar(NORM_EPSILON).sqrt().recip();
        let scale = self.weight.val() * scale;
        let shift = self.bias.val() - self.running_mean.val() * scale.clone();
        x * row(scale) + row(shift)
    }
}

/// 1x1 convolution and norm of a shortcut that changes the shape.
#[derive(Module, Debug)]
pub(super) struct Downsample {
    conv: Conv2d,
    norm: FrozenBatchNorm,
}

/// Two 3x3 convolutions and a shortcut.
#[derive(Module, Debug)]
pub(super) struct BasicBlock {
    conv1: Conv2d,
    bn1: FrozenBatchNorm,
    conv2: Conv2d,
    bn2: FrozenBatchNorm,
    downsample: Option<Downsample>,
}

impl BasicBlock {
    fn new(c_in: usize, c_out: usize, stride: usize, init: &mut WeightInit) -> Self {
        let conv = |c_in, stride, init: &mut WeightInit| {
            let shape = ConvShape::same(c_in, c_out, 3).without_bias().strided(stride, 1);
            Conv2d::new(shape, init)
        };
        let shortcut = ConvShape::same(c_in, c_out, 1).without_bias().strided(stride, 0);
        Self {
            conv1: conv(c_in, stride, init),
            bn1: FrozenBatchNorm::new(c_out, 1.0, init),
            conv2: conv(c_out, 1, init),
            // A gain of 0 makes a new block the identity, which trains without batch statistics (Goyal et al. 2017);
            // torchvision's weights replace it.
            bn2: FrozenBatchNorm::new(c_out, 0.0, init),
            downsample: (stride != 1 || c_in != c_out).then(|| Downsample {
                conv: Conv2d::new(shortcut, init),
                norm: FrozenBatchNorm::new(c_out, 1.0, init),
            }),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let h = relu(self.bn1.forward(self.conv1.forward(x.clone())));
        let h = self.bn2.forward(self.conv2.forward(h));
        let shortcut = match &self.downsample {
            Some(down) => down.norm.forward(down.conv.forward(x)),
            None => x,
        };
        relu(h + shortcut)
    }

    /// Of an input of `size` by `size` pixels, and the size of its output.
    fn activations(&self, size: usize) -> (usize, usize) {
        let [_, c_out] = self.conv1.channels();
        let size = self.conv1.output_size(size);
        let shortcut = usize::from(self.downsample.is_some());
        // Each convolution, for the gain of its norm, and both ReLUs.
        (size * size * c_out * (4 + shortcut), size)
    }
}

/// Images in [-0.5, 0.5] as torchvision's models expect them: normalised with ImageNet's mean and standard deviation of
/// each channel.
fn as_torchvision(images: Tensor<4>) -> Tensor<4> {
    const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
    const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];
    let row =
        |values: [f32; 3]| Tensor::<1>::from_floats(values, &images.device()).reshape([1, 1, 1, 3]);
    let (shift, scale) = (row(MEAN.map(|mean| 0.5 - mean)), row(DEVIATION.map(f32::recip)));
    (images + shift) * scale
}

/// Images to latents, by ResNet-34 and a linear projection.
#[derive(Module, Debug)]
pub struct Resnet34Encoder {
    conv1: Conv2d,
    bn1: FrozenBatchNorm,
    layer1: Vec<BasicBlock>,
    layer2: Vec<BasicBlock>,
    to_codes: Conv2d,
}

impl Resnet34Encoder {
    pub(super) fn new(config: &TokenizerConfig, init: &mut WeightInit) -> Self {
        let stem = ConvShape::same(config.channels, NARROW, 7).without_bias().strided(2, 3);
        let second = |i: usize, init: &mut WeightInit| match i {
            0 => BasicBlock::new(NARROW, WIDE, 2, init),
            _ => BasicBlock::new(WIDE, WIDE, 1, init),
        };
        Self {
            conv1: Conv2d::new(stem, init),
            bn1: FrozenBatchNorm::new(NARROW, 1.0, init),
            layer1: (0..3).map(|_| BasicBlock::new(NARROW, NARROW, 1, init)).collect(),
            layer2: (0..4).map(|i| second(i, init)).collect(),
            to_codes: Conv2d::new(ConvShape::same(WIDE, config.code_dim, 1), init),
        }
    }

    /// # Shapes
    /// - `images`: `[batch, height, width, 3]`
    /// - output: `[batch, height / 8, width / 8, code_dim]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let h = relu(self.bn1.forward(self.conv1.forward(as_torchvision(images))));
        let h = max_pool(h, 3, 2, 1);
        let h = self.layer1.iter().chain(&self.layer2).fold(h, |h, block| block.forward(h));
        self.to_codes.forward(h)
    }

    /// As [`Tokenizer::activations`](super::Tokenizer::activations), of images of `size` by `size` pixels.
    pub(super) fn activations(&self, mut size: usize) -> usize {
        let [c_in, c_out] = self.conv1.channels();
        let mut n = size * size * c_in; // as torchvision wants them
        size = self.conv1.output_size(size);
        n += size * size * c_out * 2; // and ReLU
        size = size.div_ceil(2);
        n += size * size * c_out; // the maxima
        for block in self.layer1.iter().chain(&self.layer2) {
            let (of_block, after) = block.activations(size);
            n += of_block;
            size = after;
        }
        n + size * size * self.to_codes.channels()[1]
    }
}
