//! The `resnet` preset, as in VQGAN (Esser et al. 2021, "Taming Transformers"): residual blocks with GroupNorm and
//! SiLU, strided 3x3 convolutions to downsample, nearest-neighbour upsampling and a convolution to upsample. With folds,
//! the finest resolutions, which cost the most, are left out. With `latent_channels` the layers are VQGAN's to the last,
//! so that weights of such tokenizers fit.

use burn::module::Module;
use burn::tensor::Tensor;

use super::TokenizerConfig;
use super::attention::SpatialAttention;
use crate::ops::conv::{Conv2d, ConvShape};
use crate::ops::init::WeightInit;
use crate::ops::norm::GroupNorm;
use crate::ops::resample::{depth_to_space, space_to_depth, upsample_nearest};

/// `shortcut(x) + conv2(silu(norm2(conv1(silu(norm1(x))))))`; the shortcut is the identity unless the number of
/// channels changes.
#[derive(Module, Debug)]
pub(super) struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

impl ResnetBlock {
    fn new(c_in: usize, c_out: usize, groups: usize, init: &mut WeightInit) -> Self {
        Self {
            norm1: GroupNorm::new(groups, c_in, init.device()),
            conv1: Conv2d::new(ConvShape::same(c_in, c_out, 3), init),
            norm2: GroupNorm::new(groups, c_out, init.device()),
            conv2: Conv2d::new(ConvShape::same(c_out, c_out, 3), init),
            shortcut: (c_in != c_out).then(|| Conv2d::new(ConvShape::same(c_in, c_out, 1), init)),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let h = self.conv1.forward(self.norm1.forward_silu(x.clone()));
        let shortcut = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x),
            None => x,
        };
        self.conv2.forward_onto(self.norm2.forward_silu(h), shortcut)
    }

    fn activations(&self, pixels: usize) -> usize {
        let [c_in, c_out] = self.conv1.channels();
        // Norm, SiLU and convolution, twice, the second with the sum: its two sides are not kept.
        pixels * (2 * c_in + c_out + 2 * c_out + c_out)
    }
}

/// The residual blocks of one resolution and the downsampling to the next.
#[derive(Module, Debug)]
pub(super) struct EncoderLevel {
    blocks: Vec<ResnetBlock>,
    /// After each block, or none.
    attention: Vec<SpatialAttention>,
    down: Option<Conv2d>,
}

/// Images to latents.
#[derive(Module, Debug)]
pub struct ResnetEncoder {
    fold: usize,
    stem: Conv2d,
    levels: Vec<EncoderLevel>,
    middle: Vec<ResnetBlock>,
    attention: Option<SpatialAttention>,
    norm: GroupNorm,
    to_codes: Conv2d,
}

impl ResnetEncoder {
    pub(super) fn new(config: &TokenizerConfig, init: &mut WeightInit) -> Self {
        let groups = config.norm_groups();
        let widths = config.level_widths();
        let mut channels = widths[0];
        let fold = config.fold();
        let stem = Conv2d::new(ConvShape::same(config.channels * fold * fold, channels, 3), init);
        let mut levels = Vec::with_capacity(widths.len());
        // VQGAN's downsampling has a kernel of 3 and pads after the image alone: that is a kernel of 4 that begins
        // with zeros and padding on both sides.
        let down = if config.is_vqgan() { 4 } else { 3 };
        for (i, width) in widths.iter().enumerate() {
            let blocks = block_row(channels, *width, groups, config.residual_blocks, init);
            channels = if config.residual_blocks == 0 { channels } else { *width };
            let attention = attention_row(i, blocks.len(), config, init);
            let down =
                ConvShape { kernel: down, ..ConvShape::same(channels, channels, 3).strided(2, 1) };
            let down = (i + 1 < widths.len()).then(|| Conv2d::new(down, init));
            levels.push(EncoderLevel { blocks, attention, down });
        }
        let middle = block_row(channels, channels, groups, 2, init);
        let attention = config.attention.then(|| SpatialAttention::new(channels, groups, init));
        Self {
            fold,
            stem,
            levels,
            middle,
            attention,
            norm: GroupNorm::new(groups, channels, init.device()),
            // VQGAN's two convolutions before the codebook, 3x3 and 1x1, are one.
            to_codes: Conv2d::new(
                ConvShape::same(channels, config.code_dim, if config.is_vqgan() { 3 } else { 1 }),
                init,
            ),
        }
    }

    /// # Shapes
    /// - `images`: `[batch, height, width, channels]`
    /// - output: `[batch, h, w, code_dim]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let mut h = self.stem.forward(space_to_depth(images, self.fold));
        for level in &self.levels {
            h = through(&level.blocks, &level.attention, h);
            if let Some(down) = &level.down {
                h = down.forward(h);
            }
        }
        h = middle(&self.middle, &self.attention, h);
        self.to_codes.forward(self.norm.forward_silu(h))
    }

    /// As [`Tokenizer::activations`](super::Tokenizer::activations), of images of `size` by `size` pixels.
    pub(super) fn activations(&self, mut size: usize) -> usize {
        size /= self.fold;
        let [folded, width] = self.stem.channels();
        let mut n = size * size * if self.fold > 1 { folded + width } else { width };
        for level in &self.levels {
            n += level_activations(&level.blocks, &level.attention, size * size);
            if let Some(down) = &level.down {
                size = down.output_size(size);
                n += size * size * down.channels()[1];
            }
        }
        n + middle_activations(&self.middle, &self.attention, size * size)
            + size * size * after_norm(&self.to_codes)
    }
}

/// The residual blocks of one resolution and the convolution after upsampling.
#[derive(Module, Debug)]
pub(super) struct DecoderLevel {
    blocks: Vec<ResnetBlock>,
    /// After each block, or none.
    attention: Vec<SpatialAttention>,
    up: Option<Conv2d>,
}

/// Quantized latents to images; `levels` are ordered from the coarsest to the finest resolution.
#[derive(Module, Debug)]
pub struct ResnetDecoder {
    /// VQGAN's 1x1 convolution after the codebook.
    after_codes: Option<Conv2d>,
    from_codes: Conv2d,
    middle: Vec<ResnetBlock>,
    attention: Option<SpatialAttention>,
    levels: Vec<DecoderLevel>,
    norm: GroupNorm,
    to_image: Conv2d,
    fold: usize,
}

impl ResnetDecoder {
    pub(super) fn new(config: &TokenizerConfig, init: &mut WeightInit) -> Self {
        let groups = config.norm_groups();
        let widths: Vec<usize> = config.level_widths().into_iter().rev().collect();
        let mut channels = widths[0];
        let after_codes = ConvShape::same(config.code_dim, config.latent_channels, 1);
        let after_codes = config.is_vqgan().then(|| Conv2d::new(after_codes, init));
        let c_in = if config.is_vqgan() { config.latent_channels } else { config.code_dim };
        let from_codes = Conv2d::new(ConvShape::same(c_in, channels, 3), init);
        let n_blocks = config.residual_blocks + usize::from(config.is_vqgan());
        let middle = block_row(channels, channels, groups, 2, init);
        let attention = config.attention.then(|| SpatialAttention::new(channels, groups, init));
        let mut levels = Vec::with_capacity(widths.len());
        for (i, width) in widths.iter().enumerate() {
            let blocks = block_row(channels, *width, groups, n_blocks, init);
            channels = if n_blocks == 0 { channels } else { *width };
            let attention = attention_row(widths.len() - 1 - i, blocks.len(), config, init);
            let up = ConvShape::same(channels, channels, 3);
            let up = (i + 1 < widths.len()).then(|| Conv2d::new(up, init));
            levels.push(DecoderLevel { blocks, attention, up });
        }
        let fold = config.fold();
        let to_image = ConvShape::same(channels, config.channels * fold * fold, 3);
        Self {
            after_codes,
            from_codes,
            middle,
            attention,
            levels,
            norm: GroupNorm::new(groups, channels, init.device()),
            to_image: Conv2d::new(to_image, init),
            fold,
        }
    }

    /// # Shapes
    /// - `latents`: `[batch, h, w, code_dim]`
    /// - output: `[batch, height, width, channels]`
    pub fn forward(&self, latents: Tensor<4>) -> Tensor<4> {
        let latents = match &self.after_codes {
            Some(after_codes) => after_codes.forward(latents),
            None => latents,
        };
        let mut h = middle(&self.middle, &self.attention, self.from_codes.forward(latents));
        for level in &self.levels {
            h = through(&level.blocks, &level.attention, h);
            if let Some(up) = &level.up {
                h = up.forward(upsample_nearest(h));
            }
        }
        depth_to_space(self.to_image.forward(self.norm.forward_silu(h)), self.fold)
    }

    /// As [`Tokenizer::activations`](super::Tokenizer::activations), of latents of `size` by `size` positions.
    pub(super) fn activations(&self, mut size: usize) -> usize {
        let [after_codes, width] = self.from_codes.channels();
        let after_codes = if self.after_codes.is_some() { after_codes } else { 0 };
        let mut n = size * size * (after_codes + width)
            + middle_activations(&self.middle, &self.attention, size * size);
        for level in &self.levels {
            n += level_activations(&level.blocks, &level.attention, size * size);
            if let Some(up) = &level.up {
                size *= 2;
                n += size * size * up.channels().iter().sum::<usize>(); // upsampled, convolved
            }
        }
        n + size * size * after_norm(&self.to_image)
    }
}

fn middle(blocks: &[ResnetBlock], attention: &Option<SpatialAttention>, h: Tensor<4>) -> Tensor<4> {
    blocks.iter().enumerate().fold(h, |h, (i, block)| match attention {
        Some(attention) if i + 1 == blocks.len() => block.forward(attention.forward(h)),
        _ => block.forward(h),
    })
}

fn middle_activations(
    blocks: &[ResnetBlock],
    attention: &Option<SpatialAttention>,
    pixels: usize,
) -> usize {
    let attention = attention.as_ref().map_or(0, |attention| attention.activations(pixels));
    row_activations(blocks, pixels) + attention
}

/// The blocks of a resolution, each followed by its attention where there is any.
fn through(blocks: &[ResnetBlock], attention: &[SpatialAttention], h: Tensor<4>) -> Tensor<4> {
    blocks.iter().enumerate().fold(h, |h, (i, block)| {
        let h = block.forward(h);
        match attention.get(i) {
            Some(attention) => attention.forward(h),
            None => h,
        }
    })
}

/// Attention after each of `count` blocks of the resolution `level`, counted from the finest; none at finer ones than
/// the configuration asks for.
fn attention_row(
    level: usize,
    count: usize,
    config: &TokenizerConfig,
    init: &mut WeightInit,
) -> Vec<SpatialAttention> {
    let widths = config.level_widths();
    let attends = level + config.attention_levels >= widths.len();
    let one = |_| SpatialAttention::new(widths[level], config.norm_groups(), init);
    (0..if attends { count } else { 0 }).map(one).collect()
}

fn level_activations(
    blocks: &[ResnetBlock],
    attention: &[SpatialAttention],
    pixels: usize,
) -> usize {
    let attention = attention.iter().map(|attention| attention.activations(pixels));
    row_activations(blocks, pixels) + attention.sum::<usize>()
}

fn row_activations(blocks: &[ResnetBlock], pixels: usize) -> usize {
    blocks.iter().map(|block| block.activations(pixels)).sum()
}

/// What is kept a pixel of norm, SiLU and this last convolution.
fn after_norm(conv: &Conv2d) -> usize {
    let [c_in, c_out] = conv.channels();
    2 * c_in + c_out
}

fn block_row(
    c_in: usize,
    c_out: usize,
    groups: usize,
    count: usize,
    init: &mut WeightInit,
) -> Vec<ResnetBlock> {
    let block = |i| ResnetBlock::new(if i == 0 { c_in } else { c_out }, c_out, groups, init);
    (0..count).map(block).collect()
}
