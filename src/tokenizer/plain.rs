//! The `plain` preset: the convolutional network of van den Oord et al. 2017 as in DeepMind's sonnet. Strided 4x4
//! convolutions to downsample, transposed ones to upsample, ReLU residual blocks between, no normalisation.
//!
//! The `wide` preset is the same with more channels and layers where pictures are drawn: the full width at every
//! resolution, and a residual block in the decoder at each between that of the codes and that of the image.

use burn::module::Module;
use burn::tensor::Tensor;

use super::{TokenizerConfig, TokenizerPreset};
use crate::ops::conv::{Conv2d, ConvShape, ConvTranspose2d};
use crate::ops::init::WeightInit;

/// `x + conv1(relu(conv3(relu(x))))`, each block with its own weights.
#[derive(Module, Debug)]
pub(super) struct PlainBlock {
    conv3: Conv2d,
    conv1: Conv2d,
}

impl PlainBlock {
    fn new(width: usize, hidden: usize, init: &mut WeightInit) -> Self {
        Self {
            conv3: Conv2d::new(ConvShape::same(width, hidden, 3).without_bias(), init),
            conv1: Conv2d::new(ConvShape::same(hidden, width, 1).without_bias(), init),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let h = self.conv3.forward_relu(x.clone());
        self.conv1.forward_relu_onto(h, x)
    }

    fn activations(&self, pixels: usize) -> usize {
        pixels * (with_relu(self.conv3.channels()) + with_relu(self.conv1.channels()))
    }
}

/// Images to latents.
#[derive(Module, Debug)]
pub struct PlainEncoder {
    down: Vec<Conv2d>,
    mix: Conv2d,
    blocks: Vec<PlainBlock>,
    to_codes: Conv2d,
}

impl PlainEncoder {
    pub(super) fn new(config: &TokenizerConfig, init: &mut WeightInit) -> Self {
        let widths = halving_widths(config);
        let mut c_in = config.channels;
        let mut down = Vec::with_capacity(config.halvings);
        for c_out in widths {
            down.push(Conv2d::new(ConvShape::same(c_in, c_out, 4).strided(2, 1), init));
            c_in = c_out;
        }
        let width = config.width;
        Self {
            down,
            mix: Conv2d::new(ConvShape::same(width, width, 3), init),
            blocks: blocks(config, init),
            to_codes: Conv2d::new(ConvShape::same(width, config.code_dim, 1), init),
        }
    }

    /// # Shapes
    /// - `images`: `[batch, height, width, channels]`
    /// - output: `[batch, h, w, code_dim]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let mut h = images;
        for (i, conv) in self.down.iter().enumerate() {
            h = if i == 0 { conv.forward(h) } else { conv.forward_relu(h) };
        }
        let h = self.mix.forward_relu(h);
        let h = self.blocks.iter().fold(h, |h, block| block.forward(h));
        self.to_codes.forward_relu(h)
    }

    /// As [`Tokenizer::activations`](super::Tokenizer::activations), of images of `size` by `size` pixels.
    pub(super) fn activations(&self, mut size: usize) -> usize {
        let mut n = 0;
        for (i, conv) in self.down.iter().enumerate() {
            let [c_in, c_out] = conv.channels();
            let relu = if i == 0 { 0 } else { size * size * c_in };
            size = conv.output_size(size);
            n += relu + size * size * c_out;
        }
        let pixels = size * size;
        let blocks: usize = self.blocks.iter().map(|block| block.activations(pixels)).sum();
        let ends = with_relu(self.mix.channels()) + with_relu(self.to_codes.channels());
        n + blocks + pixels * ends
    }
}

/// Quantized latents to images.
#[derive(Module, Debug)]
pub struct PlainDecoder {
    from_codes: Conv2d,
    blocks: Vec<PlainBlock>,
    up: Vec<ConvTranspose2d>,
    /// One after each of `up` but the last; none in `plain`.
    refine: Vec<PlainBlock>,
}

impl PlainDecoder {
    pub(super) fn new(config: &TokenizerConfig, init: &mut WeightInit) -> Self {
        let from_codes = Conv2d::new(ConvShape::same(config.code_dim, config.width, 3), init);
        let blocks = blocks(config, init);
        let mut widths = halving_widths(config);
        widths.pop();
        let refine = match config.preset {
            TokenizerPreset::Wide => widths.iter().map(|_| block(config, init)).collect(),
            _ => Vec::new(),
        };
        let mut c_in = config.width;
        let mut up = Vec::with_capacity(config.halvings);
        for c_out in widths.into_iter().rev().chain([config.channels]) {
            up.push(ConvTranspose2d::new(ConvShape::same(c_in, c_out, 4).strided(2, 1), init));
            c_in = c_out;
        }
        Self { from_codes, blocks, up, refine }
    }

    /// # Shapes
    /// - `latents`: `[batch, h, w, code_dim]`
    /// - output: `[batch, height, width, channels]`
    pub fn forward(&self, latents: Tensor<4>) -> Tensor<4> {
        let h = self.from_codes.forward(latents);
        let h = self.blocks.iter().fold(h, |h, block| block.forward(h));
        self.up.iter().enumerate().fold(h, |h, (level, conv)| {
            let h = conv.forward_relu(h);
            match self.refine.get(level) {
                Some(block) => block.forward(h),
                None => h,
            }
        })
    }

    /// As [`Tokenizer::activations`](super::Tokenizer::activations), of latents of `size` by `size` positions.
    pub(super) fn activations(&self, mut size: usize) -> usize {
        let [_, width] = self.from_codes.channels();
        let pixels = size * size;
        let blocks: usize = self.blocks.iter().map(|block| block.activations(pixels)).sum();
        let mut n = pixels * width + blocks;
        for (level, conv) in self.up.iter().enumerate() {
            let [c_in, c_out] = conv.channels();
            n += size * size * c_in;
            size = conv.output_size(size);
            n += size * size * c_out;
            n += self.refine.get(level).map_or(0, |block| block.activations(size * size));
        }
        n
    }
}

/// What is kept a pixel of ReLU and a convolution that keeps the size.
fn with_relu([c_in, c_out]: [usize; 2]) -> usize {
    c_in + c_out
}

fn blocks(config: &TokenizerConfig, init: &mut WeightInit) -> Vec<PlainBlock> {
    (0..config.residual_blocks).map(|_| block(config, init)).collect()
}

fn block(config: &TokenizerConfig, init: &mut WeightInit) -> PlainBlock {
    PlainBlock::new(config.width, config.residual_width, init)
}

/// Channels after each halving: in `plain` half the width for all but the last.
fn halving_widths(config: &TokenizerConfig) -> Vec<usize> {
    let finer = match config.preset {
        TokenizerPreset::Wide => config.width,
        _ => config.width / 2,
    };
    let mut widths = vec![finer; config.halvings - 1];
    widths.push(config.width);
    widths
}
